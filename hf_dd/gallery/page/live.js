// Reading the Hub from the page itself: which sets there are now, their records, and their images when they are seen.

const AT_ONCE = 6 // requests
const LARGEST_ROWS = 24e6 // bytes of a set's rows that a page reads

async function fetched(address, kind) {
  const answer = await fetch(address, { credentials: "omit" })
  if (!answer.ok) throw new Error(`${answer.status}`)
  return { body: await answer[kind](), next: /<([^>]+)>;\s*rel="next"/.exec(answer.headers.get("Link") || "")?.[1] }
}

async function inTurn(items, work) {
  const rest = items[Symbol.iterator]()
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      for (const item of rest) await work(item)
    }),
  )
}

// Which sets are on the Hub, by key. `done` is called with the entry of each that this page wasn't built with, as it comes.
async function refresh(known, done) {
  const found = []
  const query = new URLSearchParams([
    ["filter", LIVE.tag],
    ["limit", "1000"],
    ["expand", "sha"],
    ...(LIVE.owner ? [["author", LIVE.owner]] : []),
  ])
  let next = `${LIVE.hub}/api/datasets?${query}`
  for (let pages = 0; next && pages < 50; pages += 1) {
    const { body, next: after } = await fetched(next, "json")
    found.push(
      ...list(body)
        .map(map)
        .filter((each) => /^[\w.-]+\/[\w.-]+$/.test(each.id) && /^[0-9a-f]{40}$/.test(each.sha)),
    )
    next = after && new URL(after).origin === new URL(LIVE.hub, location).origin ? after : null
  }
  const present = new Map(known.map((entry) => [entry.key, entry.sha]))
  await inTurn(
    found.filter((each) => present.get(each.id) !== each.sha),
    async ({ id, sha }) => {
      try {
        const { body } = await fetched(`${LIVE.hub}/datasets/${id}/resolve/${sha}/${TABLES.record}`, "json")
        if (TABLES.kinds.includes(map(body).kind)) {
          const told = { ...toldOf(body), ...linesOf(body, id, sha) }
          done({ key: id, name: id, ref: id, sha, hub: `${HUB}/datasets/${id}`, record: body, told, live: true })
        }
      } catch {
        /* without a record, or gone meanwhile: not one of ours */
      }
    },
  )
  return new Set(found.map((each) => each.id))
}

// ---- what hf-dd tells a page of a set (gallery/told.py), of a record that the page read itself; a test holds the two
// together. What there is to doubt in its results isn't told: that stands on its card.

// Student's t at 97.5 % for 1 to 30 degrees of freedom.
const T = [
  12.7062, 4.30265, 3.18245, 2.77645, 2.57058, 2.44691, 2.36462, 2.306, 2.26216, 2.22814, 2.20099, 2.17881, 2.16037,
  2.14479, 2.13145, 2.11991, 2.10982, 2.10092, 2.09302, 2.08596, 2.07961, 2.07387, 2.06866, 2.0639, 2.05954, 2.05553,
  2.05183, 2.04841, 2.04523, 2.04227,
]
const quantile = (freedom) => T[freedom - 1] || 1.959964 + 2.372272 / freedom + 2.8225 / freedom ** 2

function interval(values) {
  const mean = values.reduce((sum, each) => sum + each, 0) / values.length
  if (values.length < 2) return { mean, half_width: null, n: values.length }
  const variance = values.reduce((sum, each) => sum + (each - mean) ** 2, 0) / (values.length - 1)
  return { mean, half_width: quantile(values.length - 1) * Math.sqrt(variance / values.length), n: values.length }
}

const isText = (value) => typeof value === "string" && value !== ""
const isCount = (value) => Number.isInteger(value) && value >= 0
const inWords = (regime) => (Object.hasOwn(TABLES.regimes, regime) ? TABLES.regimes[regime] : regime)
const spelt = (value) => (typeof value === "number" ? plainly(value) : isText(value) ? value : "")

function isRow(row) {
  const { mean, std, half_width: half, n, scores, bytes, learning_rate: rate } = map(row)
  const texts = [row?.set, row?.architecture, row?.copy].every((each) => typeof each === "string")
  const numbers = [mean, std, n, bytes, rate, half ?? 0].every((each) => num(each) !== null)
  const scored = Array.isArray(scores) && scores.every((each) => num(each) !== null)
  return texts && numbers && scored && half !== undefined && mean >= 0 && mean <= 100
}

function regimeOf(row, rows, results) {
  if (isText(row.regime)) return row.regime
  if (isText(map(results.protocol).labels)) return results.protocol.labels
  return rows.every((each) => num(each.temperature) === null) ? "hard" : "soft"
}

function protocolOf(results, regime) {
  const own = map(map(results.protocols)[regime]),
    protocol = isText(own.name) ? own : map(results.protocol)
  if (!isText(protocol.name)) return null
  const changed = [
    ...list(protocol.changed)
      .filter((each) => typeof each === "string")
      .map((each) => `${each} ${spelt(protocol[each])}`.trim()),
    ...Object.values(map(results.tested))
      .filter((how) => typeof how === "string")
      .map((how) => `tested by ${how}`),
  ]
  return `${protocol.name} v${spelt(protocol.version)}${changed.length ? `, changed: ${changed.join(", ")}` : ""}`
}

function rowsOf(results) {
  const rows = list(results.rows).filter(isRow)
  const first = rows.find((row) => !row.baseline)
  const regimes = new Map(rows.map((row) => [row, regimeOf(row, rows, results)]))
  const over = (row) => {
    const same = (each) =>
      each.baseline === "random" &&
      each.architecture === row.architecture &&
      each.ipc === row.ipc &&
      regimes.get(each) === regimes.get(row) &&
      each.scores.length === row.scores.length
    const other = row.scores.length && rows.find(same)
    return other ? interval(row.scores.map((each, place) => each - other.scores[place])) : null
  }
  return rows.map((row) => ({
    ...row,
    own: !row.baseline && row.set === first.set,
    labels: inWords(regimes.get(row)),
    protocol: protocolOf(results, regimes.get(row)),
    gain: row.baseline ? null : over(row),
  }))
}

// As config's: a text in lower case, its words joined.
function joinedWords(words) {
  const text = words.toLowerCase().replace(/\+(?![\p{L}\p{N}_])/gu, "plus")
  return (text.match(/[\p{L}\p{N}]+/gu) || ["data"]).join("-")
}

function originOf(record, settings) {
  if (record.kind !== TABLES.imported)
    return num(settings.iterations) === null ? null : settings.iterations > 0 ? "synthetic" : "chosen"
  const method = joinedWords(text(settings.method))
  return !Object.hasOwn(METHODS, method) ? null : TABLES.chosen.includes(method) ? "chosen" : "synthetic"
}

function toldOf(record) {
  const settings = map(record.settings),
    results = map(record.results),
    stored = map(record.storage)
  const rows = rowsOf(results),
    own = rows.filter((row) => row.own),
    classes = list(map(record.data).class_names).length
  const count = isCount(record.images)
    ? record.images
    : isCount(settings.ipc) && classes
      ? settings.ipc * classes
      : null
  const ipc = [...own.map((row) => row.ipc), settings.ipc].find((each) => isText(each) || isCount(each))
  const beside = [record.soft_labels && "soft", record.crop_labels && "crops"].filter(Boolean)
  const labels = "soft_labels" in record ? (beside.length ? beside : ["hard"]).map(inWords) : []
  const copies = own.filter((row) => ["float", "8bit"].includes(row.copy)).map((row) => [row.copy, row.bytes])
  const bytes = ["float", "8bit", "soft_labels"].map((name) => [name, stored[name]])
  bytes.push(["crop_labels", map(record.crop_labels).bytes])
  return {
    imported: record.kind === TABLES.imported,
    images: count,
    ipc: ipc === undefined ? null : String(ipc),
    mean_ipc: count && classes ? count / classes : null,
    origin: originOf(record, settings),
    labels: own.length ? unique(own.map((row) => row.labels)) : labels,
    storage: Object.fromEntries([...copies, ...bytes.filter(([, value]) => isCount(value) && value > 0)]),
    rows,
    hardware: isText(results.hardware) ? results.hardware : null,
  }
}

// The lines to use a set of the Hub at a commit: both are letters, digits and marks that mean nothing there.
function linesOf(record, id, sha) {
  const [place, commit] = TABLES.place
  const filled = (line) => line.replace(place, id).replace(commit, sha)
  return {
    load: TABLES.load[record.decoded ? 1 : 0].map(filled),
    reproduce: record.command ? filled(TABLES.reproduce) : null,
  }
}

// ---- images

const STARTS = TABLES === null ? [] : Object.entries(TABLES.starts)

function source(bytes) {
  const kind = bytes && STARTS.find(([, start]) => start.every((each, place) => bytes[place] === each))
  return kind && URL.createObjectURL(new Blob([bytes], { type: `image/${kind[0]}` }))
}

// As many images of each class as a page takes, the first ones.
function fewer(images) {
  const each = Math.max(1, Math.floor(TABLES.most / new Set(images.map(([label]) => label)).size)),
    seen = new Map()
  const kept = images.filter(([label]) => {
    seen.set(label, (seen.get(label) || 0) + 1)
    return seen.get(label) <= each
  })
  return kept.slice(0, TABLES.most)
}

// [label, address] of each image of a set that is read live; read once.
function imagesFromHub(set) {
  set.read ??= (async () => {
    if ((set.floatBytes || 0) > LARGEST_ROWS) throw new Error("too large")
    const { body } = await fetched(
      `${LIVE.hub}/datasets/${set.key}/resolve/${set.entry.sha}/${TABLES.rows}`,
      "arrayBuffer",
    )
    const rows = await readParquet({ file: body, columns: ["image", "label"], utf8: false })
    return rows
      .map((row) => [Number(row.label), source(map(row.image).bytes)])
      .filter(([label, address]) => Number.isInteger(label) && address)
  })()
  return set.read
}

async function showImages(set, place) {
  place.replaceChildren(h("p", { "aria-busy": "true" }, "Reading its images …"))
  try {
    const images = await imagesFromHub(set)
    if (!images.length) throw new Error("no images")
    place.replaceChildren(...pictures(set, fewer(images), images.length))
  } catch {
    place.replaceChildren(h("p", {}, "Its images aren't here: its rows can't be read, or are too large for a page."))
  }
}

async function showStrip(set, place, words) {
  try {
    const first = new Map((await imagesFromHub(set)).toReversed())
    const images = [...first].sort(([a], [b]) => a - b).slice(0, 10)
    const shown = h(
      "span",
      { class: "strip many", role: "img", "aria-label": words },
      images.map(([, address]) => h("img", { src: address, alt: "", decoding: "async" })),
    )
    place.replaceWith(shown)
  } catch {
    place.textContent = "no images"
  }
}

const seen = new Map()
const watcher = new IntersectionObserver(
  (entries) => {
    for (const entry of entries.filter((each) => each.isIntersecting)) {
      watcher.unobserve(entry.target)
      seen.get(entry.target)?.()
      seen.delete(entry.target)
    }
  },
  { rootMargin: "200px" },
)

function whenSeen(element, then) {
  seen.set(element, then)
  watcher.observe(element)
}
