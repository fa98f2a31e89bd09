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
        const { body } = await fetched(`${LIVE.hub}/datasets/${id}/resolve/${sha}/hf_dd.json`, "json")
        if (["distilled-set", "imported-set"].includes(map(body).kind))
          done({ key: id, name: id, ref: id, sha, hub: `${HUB}/datasets/${id}`, record: body, live: true })
      } catch {
        /* without a record, or gone meanwhile: not one of ours */
      }
    },
  )
  return new Set(found.map((each) => each.id))
}

const KINDS = [
  ["png", [0x89, 0x50, 0x4e, 0x47]],
  ["jpeg", [0xff, 0xd8, 0xff]],
  ["webp", [0x52, 0x49, 0x46, 0x46]],
]

function source(bytes) {
  const kind = bytes && KINDS.find(([, start]) => start.every((each, place) => bytes[place] === each))
  return kind && URL.createObjectURL(new Blob([bytes], { type: `image/${kind[0]}` }))
}

// [label, address] of each image of a set that is read live; read once.
function imagesFromHub(set) {
  set.read ??= (async () => {
    if ((set.floatBytes || 0) > LARGEST_ROWS) throw new Error("too large")
    const { body } = await fetched(
      `${LIVE.hub}/datasets/${set.key}/resolve/${set.entry.sha}/data/train-00000-of-00001.parquet`,
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
    place.replaceChildren(...pictures(set, images.slice(0, 2000), images.length))
  } catch {
    place.replaceChildren(h("p", {}, "Its images aren't here: no rows could be read."))
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
