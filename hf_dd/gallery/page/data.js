// What this page was made with.

const PAGE = JSON.parse(document.getElementById("data").textContent)
const {
  title: TITLE,
  site: SITE,
  root: ROOT,
  hub: HUB,
  methods: METHODS,
  tables: TABLES,
  usual: USUAL,
  live: LIVE,
  start: START,
  single: SINGLE,
} = PAGE

// A view's address: a page of its own, or this page where it is the only one.
const hashed = (page, hash) => `${SINGLE ? "" : ROOT + page}${hash || SINGLE ? `#${hash}` : ""}`
