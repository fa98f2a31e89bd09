// All sets: a table that is filtered and sorted where it stands.

const NONE = -Infinity
const AT_FIRST = 200 // rows, until all are asked for: a browser takes its time for thousands
const ORDERS = {
  name: ["Set", (set) => set.name.toLowerCase(), 1],
  data: ["Data", (set) => set.dataName.toLowerCase(), 1],
  ipc: ["Per class", (set) => set.meanIpc ?? NONE, 1],
  accuracy: ["Accuracy in %", (set) => set.best?.mean ?? NONE, -1],
  gain: ["Over random", (set) => set.gain?.mean ?? NONE, -1],
  bytes: ["Bytes (8 bit)", (set) => (set.bytes ?? Infinity) + set.softBytes + set.cropBytes, 1],
}

function compared(a, b) {
  return a < b ? -1 : a > b ? 1 : 0
}

const natural = (a, b) =>
  compared(a.dataName, b.dataName) || compared(a.meanIpc ?? NONE, b.meanIpc ?? NONE) || compared(b.best?.mean ?? NONE, a.best?.mean ?? NONE)

// By its label, of what a filter asks: what a set has of it. A set without teachers is found as such.
const FACETS = {
  Data: (set) => [set.dataName],
  "Images per class": (set) => (set.ipc === null ? [] : [set.ipc]),
  Method: (set) => [set.method],
  Teachers: (set) =>
    set.teachers.length ? ["with teachers", ...set.teachers.map((each) => each.architecture)] : ["without teachers"],
  Labels: (set) => (set.labels.length ? set.labels : [labelsOf(set)]),
}

function overview(main) {
  const chosen = {},
    picked = new Set()
  let order = null,
    direction = 1,
    words = "",
    most = AT_FIRST
  const sets = SETS.toSorted(natural)
  const [low, high] = scale(sets.map((set) => set.best && interval95(set.best)))
  const rows = new Map() // that were shown once
  let sorted = sets
  const body = h("tbody", {})
  const more = h("button", {
    type: "button",
    class: "more secondary",
    onclick: () => {
      most = Infinity
      show()
    },
  })
  const heads = Object.entries(ORDERS).map(([key, [label]]) =>
    h(
      "th",
      { scope: "col", class: key },
      h("button", { type: "button", class: "order", onclick: () => sort(key) }, label),
    ),
  )
  const status = h("p", { role: "status", class: "status" })
  const compare = h("a", { role: "button", class: "compare" })
  const search = h("input", {
    type: "search",
    placeholder: "Name, data, method, teacher",
    oninput: (event) => {
      words = event.target.value.toLowerCase()
      show()
    },
  })
  const filters = Object.entries(FACETS)
    .filter(([, of]) => unique(sets.flatMap(of)).some((value) => !sets.every((set) => of(set).includes(value))))
    .map(([label, of]) => {
      const values = unique(sets.flatMap(of))
        .filter(Boolean)
        .sort((a, b) => a - b || compared(a.toLowerCase(), b.toLowerCase()))
      return select(label, [["", "all"], ...values.slice(0, 300).map((each) => [each, each])], "", (value) => {
        chosen[label] = value
        show()
      })
    })
  const captions = [
    h("th", { scope: "col", class: "pick" }, h("span", { class: "unseen" }, "Compare")),
    h("th", { scope: "col" }, "Images"),
    ...heads,
  ]
  const shown = h(
    "table",
    { class: "sets" },
    h("caption", { class: "unseen" }, "All distilled sets"),
    h("thead", {}, h("tr", {}, captions)),
    body,
  )
  const title = h("h1", { tabindex: "-1" }, "Distilled sets")
  put(
    main,
    h("header", {}, title, h("p", { class: "lead" }, about(sets))),
    h(
      "form",
      { role: "search", class: "filters", onsubmit: (event) => event.preventDefault() },
      field("Find", search),
      filters,
    ),
    h("div", { class: "line" }, status, compare),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "All distilled sets" }, shown),
    more,
  )
  show()
  tell()

  function sort(key) {
    direction = order === key ? -direction : ORDERS[key][2]
    order = key
    const value = ORDERS[key][1]
    sorted = sets.toSorted((a, b) => {
      const [left, right] = [value(a), value(b)]
      const missing = compared(Math.abs(left) === Infinity, Math.abs(right) === Infinity) // at the end, either way
      return missing || direction * compared(left, right) || natural(a, b)
    })
    show()
    heads.forEach((head, place) => {
      const own = Object.keys(ORDERS)[place] === key
      if (own) head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending")
      else head.removeAttribute("aria-sort")
    })
  }

  function show() {
    const asked = Object.entries(chosen).filter(([, value]) => value)
    const found = sorted.filter(
      (set) =>
        asked.every(([label, value]) => FACETS[label](set).includes(value)) &&
        (!words || haystack(set).includes(words)),
    )
    body.replaceChildren(...found.slice(0, most).map(rowOfSet))
    status.textContent =
      found.length === sets.length
        ? plural(found.length, "set")
        : `${whole(found.length)} of ${plural(sets.length, "set")}`
    more.hidden = found.length <= most
    more.textContent = `Show all ${whole(found.length)}, not the first ${whole(most)} alone`
  }

  function rowOfSet(set) {
    if (!rows.has(set)) rows.set(set, overviewRow(set, low, high, picked, tell))
    return rows.get(set)
  }

  function tell() {
    compare.textContent = picked.size ? `Compare ${plural(picked.size, "set")}` : "Tick sets to compare them"
    if (picked.size)
      compare.setAttribute("href", hashed("compare.html", `compare/${[...picked].map(encodeURIComponent).join(",")}`))
    else compare.removeAttribute("href")
    compare.setAttribute("aria-disabled", String(!picked.size))
  }
}

function haystack(set) {
  const teachers = set.teachers.map((each) => `${each.architecture} ${each.repo}`)
  return (set.words ??= [
    set.name,
    set.ref,
    set.data,
    set.dataName,
    set.method,
    set.methodTitle,
    labelsOf(set),
    set.pool,
    ...teachers,
  ]
    .join(" ")
    .toLowerCase())
}

function about(sets) {
  const data = unique(sets.map((set) => set.dataName))
  const methods = unique(sets.map((set) => set.method))
  if (!sets.length) return LIVE ? "Nothing here yet: push a set with the tag hf-dd." : "None."
  return `${plural(sets.length, "small set")} that ${sets.length === 1 ? "stands" : "stand"} in for ${data.length === 1 ? data[0] : plural(data.length, "data set")}, by ${methods.length === 1 ? methods[0] : plural(methods.length, "method")}.`
}

const interval95 = (row) => ({ mean: row.mean, half: row.half, n: row.n })

function overviewRow(set, low, high, picked, tell) {
  const pick = (event) => {
    picked[event.target.checked ? "add" : "delete"](set.key)
    tell()
  }
  const box = h("input", { type: "checkbox", "aria-label": `Compare ${set.name}`, onchange: pick })
  return h(
    "tr",
    {},
    h("td", { class: "pick" }, box),
    h("td", { class: "images" }, strip(set)),
    h(
      "th",
      { scope: "row" },
      link(set.address, set.name),
      h("small", {}, [made(set), labelsOf(set) === USUAL ? "" : labelsOf(set)].filter(Boolean).join(", ")),
    ),
    h("td", { class: "data" }, set.dataName),
    h("td", { class: "ipc number" }, set.ipc ?? "–"),
    h(
      "td",
      { class: "accuracy" },
      accuracy(set.best),
      " ",
      set.best && h("small", {}, set.best.architecture),
      plot(set.best, low, high),
    ),
    h("td", { class: "gain" }, gained(set.gain)),
    h("td", { class: "bytes number" }, size(set.bytes), besides(set) && h("small", {}, `+ ${besides(set)}`)),
  )
}

// One image of each of the first classes, side by side; of a set that is read live, once it comes into view.
function strip(set) {
  const most = Math.min(10, set.count || 10)
  const words = `One image of each of ${most === set.count ? "its" : "the first"} ${most} classes of ${set.name}`
  const side = set.side[0] > 0 ? set.side[0] : 32,
    height = side <= 32 ? side * Math.floor(32 / side) : 32 // by a whole factor
  if (set.entry.strip)
    return h("img", {
      src: set.entry.strip,
      alt: words,
      loading: "lazy",
      decoding: "async",
      class: "strip",
      style: { height: `${height}px` },
    })
  const place = h("span", { class: "strip none" }, LIVE && set.entry.live ? "" : "no images")
  if (LIVE && set.entry.live) whenSeen(place, () => showStrip(set, place, words))
  return place
}
