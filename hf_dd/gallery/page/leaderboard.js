// Leaderboards: a table for each data set, images per class, protocol, student and kind of labels. Nothing else is
// comparable.

const MOST_BOARDS = 40

function boards() {
  const found = new Map()
  for (const set of SETS) {
    const seen = new Set()
    for (const row of set.rows) {
      const ipc = row.ipc || set.ipc,
        protocol = row.protocol || "unknown protocol"
      const key = JSON.stringify([set.data, ipc, protocol, row.architecture, row.backbone, row.labels])
      if (seen.has(key)) continue // the first copy counts
      seen.add(key)
      if (!found.has(key))
        found.set(key, {
          key,
          name: set.dataName,
          data: set.data,
          ipc,
          meanIpc: set.meanIpc,
          protocol,
          student: row.architecture,
          labels: row.labels,
          entries: [],
          real: new Map(),
        })
      const board = found.get(key)
      board.entries.push({ set, row })
      for (const other of set.all)
        if (
          other.baseline &&
          other.architecture === row.architecture &&
          other.ipc === row.ipc &&
          other.labels === row.labels &&
          !board.real.has(other.baseline)
        )
          board.real.set(other.baseline, other)
    }
  }
  return [...found.values()].sort(
    (a, b) => compared(a.name, b.name) || compared(a.meanIpc ?? NONE, b.meanIpc ?? NONE) || b.entries.length - a.entries.length,
  )
}

function leaderboardView(main) {
  const all = boards(),
    chosen = {},
    place = h("div", {})
  const fields = {
    Data: "name",
    "Images per class": "ipc",
    Protocol: "protocol",
    Student: "student",
    Labels: "labels",
  }
  const filters = Object.entries(fields).map(([label, field]) => {
    const values = unique(all.map((board) => String(board[field] ?? "unknown")))
    return values.length > 1
      ? select(label, [["", "all"], ...values.slice(0, 300).map((each) => [each, each])], "", (value) => {
          chosen[field] = value
          show()
        })
      : ""
  })
  const status = h("p", { role: "status", class: "status" })
  put(
    main,
    h(
      "header",
      {},
      h("h1", { tabindex: "-1" }, "Leaderboards"),
      h(
        "p",
        { class: "lead" },
        "Accuracy on the test images by data set and images per class, each under one protocol with one kind of student. The first stored copy counts. ≈ stands at a rank whose interval reaches the first one's.",
      ),
    ),
    h("form", { role: "search", class: "filters", onsubmit: (event) => event.preventDefault() }, filters),
    status,
    place,
  )
  show()

  function show() {
    const some = all.filter((board) =>
      Object.entries(chosen).every(([field, value]) => !value || String(board[field] ?? "unknown") === value),
    )
    status.textContent = !all.length
      ? "No set was evaluated yet."
      : some.length > MOST_BOARDS
        ? `${MOST_BOARDS} of ${plural(some.length, "leaderboard")}: choose fewer above.`
        : plural(some.length, "leaderboard")
    place.replaceChildren(...some.slice(0, MOST_BOARDS).map(boardOf))
  }
}

function boardOf(board) {
  const entries = board.entries.toSorted((a, b) => b.row.mean - a.row.mean)
  const real = [...board.real.values()]
  const [low, high] = scale([...entries.map((each) => each.row), ...real])
  const best = entries[0].row
  const rows = [
    ...entries.map(({ set, row }, rank) => ({
      mean: row.mean,
      cells: [
        reaches(row, best) && rank ? `${rank + 1} ≈` : String(rank + 1),
        link(set.address, set.name),
        made(set),
        accuracy(row),
        plot(row, low, high),
        gained(row.gain),
        whole(row.n),
        bytesOf(row),
      ],
    })),
    ...real.map((row) => ({
      mean: row.mean,
      real: true,
      cells: ["", row.set, "real images", accuracy(row), plot(row, low, high), "", whole(row.n), bytesOf(row)],
    })),
  ].sort((a, b) => b.mean - a.mean)
  const cells = (content, place) => (place === 1 ? h("th", { scope: "row" }, content) : h("td", {}, content))
  const title = `${board.name}, ${board.ipc === null ? "unknown size" : `${board.ipc} per class`}`
  return h(
    "section",
    { class: "board" },
    h("h2", {}, title),
    table(
      `${board.student} students, ${board.labels}, protocol ${board.protocol}`,
      ["Rank", "Set", "Made by", "Accuracy in %", `${low} to ${high} %`, "Over random", "Students", "Bytes"],
      rows.map((row) => h("tr", { class: row.real ? "baseline" : "" }, row.cells.map(cells))),
      { class: "results" },
    ),
  )
}

// Whether an interval reaches the best one's: then the two aren't told apart here.
const reaches = (row, best) =>
  row === best || row.half === null || best.half === null || row.mean + row.half >= best.mean - best.half
