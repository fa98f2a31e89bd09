// A pool: its teachers over the four options, how much they differ, and what the sets gained that it guided.

function poolView(main, set) {
  const own = teachersOf(set)
  const guided = SETS.filter((each) => each.teachers.length && teachersOf(each) === own).sort(natural)
  const measured = guided.find((each) => each.diversity) || set
  const options = [
    ["Initialisation", "seed"],
    ["Architecture", "architecture"],
    ["Epoch", "epoch"],
    ["Domain", "domain"],
  ].map(([label, field]) => {
    const values = unique(
      set.teachers.map((each) => (field === "epoch" && each.epoch === null ? each.revision : each[field])),
    )
      .filter((each) => each !== null && each !== "")
      .sort((a, b) => a - b || compared(a, b))
    return [label, values.length ? `${values.slice(0, 12).join(", ")}${values.length > 12 ? ", …" : ""}` : "unknown"]
  })
  const accuracies = set.teachers
    .map((each) => each.accuracy)
    .filter((each) => each !== null)
    .sort((a, b) => a - b)
  const range = accuracies.length ? `${percent(100 * accuracies[0])} to ${percent(100 * accuracies.at(-1))} %` : ""
  put(
    main,
    h(
      "header",
      {},
      h("h1", { tabindex: "-1" }, set.pool ? `Pool ${set.pool}` : `Pool of ${plural(set.teachers.length, "teacher")}`),
      h(
        "p",
        { class: "lead" },
        `${plural(set.teachers.length, "teacher")} that ${plural(guided.length, "set")} here learned from.`,
      ),
    ),
    section("The four options", facts([...options, ["Accuracy", range]])),
    section("Teachers", teachersTable(set)),
    section("Diversity", ...differences(measured)),
    section("Sets that it guided", gains(guided)),
  )
}

function differences(set) {
  const found = map(set.diversity),
    pairs = list(found.pairs).map(map)
  const count = set.teachers.length,
    name = (place) => `${place + 1}`
  if (num(found.cka) === null && num(found.disagreement) === null)
    return [h("p", {}, count > 1 ? "It wasn't measured." : "A single teacher has none.")]
  const told = h("p", {}, `On ${num(found.images) === null ? "some" : whole(found.images)} images${diversity(set)}`)
  if (pairs.length < 2 || count > 24) return [told]
  const at = new Map(pairs.map((pair) => [list(pair.teachers).join(), num(pair.disagreement)]))
  const of = (a, b) => at.get(`${a},${b}`) ?? at.get(`${b},${a}`) ?? null
  const most = Math.max(...[...at.values()].filter((each) => each !== null), 1e-9)
  const places = [...Array(count).keys()]
  const rows = places.map((row) =>
    h(
      "tr",
      {},
      h(
        "th",
        { scope: "row" },
        `${name(row)} ${set.teachers[row].architecture} seed ${set.teachers[row].seed ?? "–"} ${set.teachers[row].revision}`,
      ),
      places.map((column) => {
        const value = row === column ? null : of(row, column)
        return h(
          "td",
          { class: "heat number", style: value === null ? {} : { "--heat": (value / most).toFixed(3) } },
          value === null ? "" : percent(100 * value),
        )
      }),
    ),
  )
  return [
    told,
    table("Images in % on which two teachers disagree", ["Teacher", ...places.map(name)], rows, { class: "matrix" }),
  ]
}

// The set of the same data, size and method that no teacher took part in, under the same protocol and students.
function unguided(set) {
  const same = (each) =>
    !each.teachers.length && each.data === set.data && each.ipc === set.ipc && each.method === set.method
  return (
    SETS.find(
      (each) =>
        same(each) &&
        each.best &&
        set.best &&
        each.best.protocol === set.best.protocol &&
        each.best.labels === set.best.labels &&
        each.best.architecture === set.best.architecture,
    ) || null
  )
}

function gains(guided) {
  const rows = guided.map((set) => {
    const plain = unguided(set)
    const halves = plain && [plain.best.half, set.best.half]
    const half = plain && (halves.includes(null) ? null : Math.hypot(...halves))
    return [
      link(set.address, set.name),
      set.dataName,
      set.ipc ?? "–",
      set.guide ? `CLoM ${set.guide.distance}` : "labels or starts",
      accuracy(set.best),
      gained(set.gain),
      plain
        ? [
            gained({ mean: set.best.mean - plain.best.mean, half }),
            " ",
            h("small", {}, link(plain.address, plain.name)),
          ]
        : h("span", { class: "none" }, "–"),
    ]
  })
  return table(
    "Gains in points with 95 % intervals; over random paired by student",
    ["Set", "Data", "Images per class", "Guide", "Accuracy in %", "Over random", "Over the same without teachers"],
    rows,
  )
}
