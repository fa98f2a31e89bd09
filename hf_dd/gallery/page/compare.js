// Sets picked by hand, side by side: images, results on one scale, and the options in which they differ.

function compareView(main, keys) {
  const sets = unique(keys)
    .map((key) => SETS.find((set) => set.key === key))
    .filter(Boolean)
  const rest = SETS.filter((set) => !sets.includes(set)).sort(natural)
  const go = (chosen) => {
    location.hash = `compare/${chosen.map((set) => encodeURIComponent(set.key)).join(",")}`
  }
  const add = select(
    "Add a set",
    [
      ["", sets.length ? "choose another" : "choose one"],
      ...rest.map((set) => [set.key, `${set.name} (${set.dataName}, ${set.ipc ?? "?"} per class, ${made(set)})`]),
    ],
    "",
    (key) => go([...sets, SETS.find((set) => set.key === key)].filter(Boolean)),
  )
  put(
    main,
    h(
      "header",
      {},
      h("h1", { tabindex: "-1" }, "Comparison"),
      h(
        "p",
        { class: "lead" },
        sets.length
          ? `${plural(sets.length, "set")} side by side.`
          : "Choose sets here, or tick them in the list of all.",
      ),
    ),
    add,
  )
  if (!sets.length) return
  const heads = [
    "",
    ...sets.map((set) =>
      h(
        "th",
        { scope: "col" },
        link(set.address, set.name),
        " ",
        h(
          "button",
          {
            type: "button",
            class: "remove",
            "aria-label": `Remove ${set.name}`,
            onclick: () => go(sets.filter((each) => each !== set)),
          },
          "×",
        ),
      ),
    ),
  ]
  const row = (label, of) => [label, ...sets.map(of)]
  const protocols = unique(sets.flatMap((set) => set.protocols))
  const labels = unique(sets.filter((set) => set.best).map(labelsOf))
  put(
    main,
    table(
      "What they are",
      heads,
      [
        row("Images", strip),
        row("Data", (set) => set.dataName),
        row("Images per class", (set) => (set.ipc ?? "–")),
        row("Method", (set) => set.methodTitle),
        row("Guide", (set) => (set.guide ? `CLoM ${set.guide.distance}, α ${set.guide.alpha}` : "none")),
        row("Teachers", (set) => (set.teachers.length ? link(set.poolAddress, poolName(set)) : "none")),
        row("Students learn from", labelsOf),
        row("Over random", (set) => gained(set.gain)),
        row("Bytes, 8 bit", (set) => size(set.bytes)),
        row("Bytes, float", (set) => size(set.floatBytes)),
        row("Labels beside them", (set) => besides(set) || "–"),
        row("Took", (set) => (set.seconds === null ? "–" : duration(set.seconds))),
        row("Protocol", (set) => set.protocols.join("; ") || "–"),
      ],
      { class: "sides" },
    ),
    section(
      "Accuracy",
      protocols.length > 1 || labels.length > 1 || unique(sets.map((set) => set.data)).length > 1
        ? h(
            "p",
            { role: "note" },
            "These were evaluated on different data, under different protocols or on different labels: their numbers say nothing of each other.",
          )
        : "",
      sideBySide(sets),
    ),
    section("Options that differ", options(sets)),
  )
}

function sideBySide(sets) {
  const rows = sets
    .flatMap((set) => set.rows.map((row) => ({ set, row })))
    .sort((a, b) => compared(a.row.architecture, b.row.architecture) || b.row.mean - a.row.mean)
  if (!rows.length) return h("p", {}, "None of them was evaluated.")
  const [low, high] = scale(rows.map((each) => each.row))
  const several = unique(rows.map((each) => each.row.labels)).length > 1
  return table(
    "Accuracy on the test images in %, 95 % intervals of the mean",
    ["Set", "Student", "Copy", ...(several ? ["Labels"] : []), "Accuracy in %", `${low} to ${high} %`, "Students"],
    rows.map(({ set, row }) => [
      link(set.address, set.name),
      row.architecture,
      row.copy,
      ...(several ? [row.labels] : []),
      accuracy(row),
      plot(row, low, high),
      whole(row.n),
    ]),
    { class: "results" },
  )
}

function options(sets) {
  const names = unique(sets.flatMap((set) => Object.keys(map(set.record.settings))))
  const rows = names.map((name) => [
    text(name, 60),
    ...sets.map((set) =>
      Object.hasOwn(map(set.record.settings), name) ? optionValue(set.record.settings[name]) : "",
    ),
  ])
  const differ = rows
    .filter(([, ...values]) => unique(values).length > 1)
    .map((row) => row.map((value) => value || "–"))
  if (!differ.length) return h("p", {}, sets.length > 1 ? "None." : "One set differs from nothing.")
  return table(
    `${plural(differ.length, "option")} of ${names.length}`,
    ["Option", ...sets.map((set) => set.name)],
    differ.slice(0, 200),
  )
}
