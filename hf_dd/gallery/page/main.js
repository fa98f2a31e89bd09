// Which view a page begins with, which one an address behind # asks for, and what the Hub has had since.

const SETS = PAGE.entries.map(setOf)
const main = h("main", { id: "main" })
const news = h("p", { role: "status", class: "news" })

function show(moved) {
  const [kind, ...rest] = location.hash.slice(1).split("/")
  const asked = ["sets", "set", "pool", "compare", "leaderboard"].includes(kind)
  const view = asked ? kind : START.view
  const key = asked ? unquoted(rest.join("/")) : START.key
  const set = ["set", "pool"].includes(view) ? SETS.find((each) => each.key === key) : null
  main.replaceChildren()
  if (["set", "pool"].includes(view) && !set)
    put(
      main,
      h("h1", { tabindex: "-1" }, "Not here"),
      h("p", {}, waiting ? "Reading the Hub …" : `This gallery has no set ${text(key, 100)}.`),
    )
  else if (view === "set") setView(main, set)
  else if (view === "pool") poolView(main, set)
  else if (view === "compare") compareView(main, asked ? rest.join("/").split(",").map(unquoted) : [])
  else if (view === "leaderboard") leaderboardView(main)
  else overview(main)
  for (const each of document.querySelectorAll("nav a[data-view]")) {
    if (each.dataset.view === view) each.setAttribute("aria-current", "page")
    else each.removeAttribute("aria-current")
  }
  document.title = unique([main.querySelector("h1").textContent, SITE]).join(" · ")
  if (moved) {
    main.querySelector("h1").focus() // where a screen reader goes on reading
    scrollTo(0, 0)
  }
}

function unquoted(words) {
  try {
    return decodeURIComponent(words)
  } catch {
    return words
  }
}

function around() {
  const pages = [
    ["sets", "index.html", "All sets"],
    ["compare", "compare.html", "Compare"],
    ["leaderboard", "leaderboard.html", "Leaderboards"],
  ]
  const links = pages.map(([view, page, label]) =>
    h("li", {}, h("a", { href: hashed(page, SINGLE ? view : ""), "data-view": view }, label)),
  )
  const home = PAGE.repositories ? h("li", {}, h("a", { href: PAGE.repositories }, "Repositories")) : ""
  document.body.prepend(
    h(
      "a",
      {
        href: "#main",
        class: "skip",
        onclick: (event) => {
          event.preventDefault()
          main.querySelector("h1").focus()
        },
      },
      "Skip to content",
    ),
    h(
      "header",
      { class: "top" },
      h("nav", { "aria-label": "Gallery" }, h("ul", {}, h("li", {}, h("strong", {}, SITE))), h("ul", {}, links, home)),
    ),
    main,
    h("footer", { class: "bottom" }, news, h("small", {}, "Made by hf-dd from the sets' own records and rows.")),
  )
}

let waiting = Boolean(LIVE)
around()
show(false)
addEventListener("hashchange", () => show(true))
if (LIVE) {
  let fresh = 0
  const take = (entry) => {
    const place = SETS.findIndex((set) => set.key === entry.key)
    SETS.splice(place < 0 ? SETS.length : place, place < 0 ? 0 : 1, setOf(entry))
    fresh += 1
  }
  news.textContent = "Reading the Hub …"
  refresh(PAGE.entries, take)
    .then(
      (there) => {
        const gone = SETS.filter((set) => !there.has(set.key))
        for (const set of gone) SETS.splice(SETS.indexOf(set), 1)
        const words = [
          fresh && `${plural(fresh, "set")} read from the Hub just now.`,
          gone.length && `${plural(gone.length, "set")} gone from there.`,
        ].filter(Boolean)
        news.textContent = words.join(" ") || "The Hub has nothing newer."
        fresh += gone.length
      },
      () => {
        news.textContent = "The Hub can't be read from here: this is what it had when the page was made."
      },
    )
    .finally(() => {
      waiting = false
      if (fresh || !SETS.length || main.querySelector("h1").textContent === "Not here") show(false)
      document.body.dataset.ready = "live"
    })
} else document.body.dataset.ready = "built"
