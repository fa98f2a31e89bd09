// One set: its images by class, results, where it comes from, and how to use it.

function setView(main, set) {
  const gain =
    set.gain && `${signed(set.gain.mean)}${within(set.gain.half)} points over random images of as many per class`
  const result = set.best && `${described(set.best)} with ${set.best.architecture} students`
  put(
    main,
    h(
      "header",
      {},
      h("h1", { tabindex: "-1" }, set.name),
      h("p", { class: "lead" }, summary(set)),
      h("p", {}, [result, gain].filter(Boolean).join("; "), result ? "." : set.entry.changed ? "" : "Not evaluated yet."),
    ),
    set.entry.changed &&
      h(
        "p",
        { role: "alert" },
        "Its rows aren't those that its record is of: they were changed since, so its results aren't shown.",
      ),
    section("Images", imagesOf(set)),
    !set.entry.changed && section("Results", resultsOf(set)),
    section("Where it comes from", lineage(set)),
    set.teachers.length
      ? section(
          "Teachers",
          teachersTable(set),
          set.teachers.length > 1 &&
            h(
              "p",
              {},
              link(set.poolAddress, `The pool of these ${plural(set.teachers.length, "teacher")}`),
              diversity(set),
            ),
        )
      : null,
    section("Use it", ...uses(set)),
    section("Options", optionsOf(set)),
  )
}

const section = (title, ...content) => h("section", {}, h("h2", {}, title), ...content)

function summary(set) {
  const size = set.side.length === 2 && set.side[0] ? ` of ${set.side.join(" × ")} pixels` : ""
  const guide = set.guide
    ? `, guided by ${plural(set.teachers.length, "teacher")} (CLoM ${set.guide.distance}, α ${set.guide.alpha})`
    : set.teachers.length
      ? ` with ${plural(set.teachers.length, "teacher")}`
      : ""
  const count = set.images === null ? "Images" : plural(set.images, `${set.origin && `${set.origin} `}image`)
  const real = set.realImages === null ? "" : `the ${whole(set.realImages)} training images of `
  return [
    `${count}${size} that ${set.images === 1 ? "stands" : "stand"} in for ${real}${set.dataName}, made by `,
    set.arxiv
      ? link(`https://arxiv.org/abs/${set.arxiv}`, set.methodTitle)
      : isAddress(set.paper)
        ? link(set.paper, set.methodTitle)
        : set.methodTitle,
    `${guide}${set.imported ? ", imported from another tool" : ""}.`,
  ]
}

// ---- images

function imagesOf(set) {
  const place = h("div", {})
  if (list(set.entry.images).length) place.append(...pictures(set, set.entry.images, set.entry.all))
  else if (LIVE && set.entry.live) showImages(set, place)
  else place.append(h("p", {}, "Its images aren't here: its rows can't be read, or are too large for a page."))
  return place
}

function pictures(set, images, all) {
  const classes = new Map()
  for (const [label, source] of images) classes.set(label, [...(classes.get(label) || []), source])
  const most = Math.max(...[...classes.values()].map((each) => each.length))
  const side = Math.max(...set.side.map((each) => each || 0), 1)
  const wanted = most > 10 ? 64 : most > 1 ? 84 : 112
  const width = side >= wanted ? Math.min(side, 224) : side * Math.max(1, Math.floor(wanted / side))
  const figures = [...classes]
    .sort(([a], [b]) => a - b)
    .map(([label, sources]) => {
      const name = set.classes[label] ?? `class ${label}`
      const shown = sources.map((source, place) =>
        h(
          "button",
          {
            type: "button",
            "aria-label": `Enlarge image ${place + 1} of ${name}`,
            onclick: () => enlarge(source, name, place + 1),
          },
          h("img", { src: source, alt: `${name}, image ${place + 1}`, width, loading: "lazy", decoding: "async" }),
        ),
      )
      return h("figure", {}, h("figcaption", {}, name), h("div", {}, shown))
    })
  const factor = set.factor > 1 ? `Each stored image holds ${set.factor ** 2} training images. ` : ""
  const left = all > images.length ? `${whole(images.length)} of ${plural(all, "image")} are shown.` : ""
  return [
    h("div", { class: most > 1 ? "classes rows" : "classes", style: { "--side": `${width}px` } }, figures),
    factor + left ? h("p", { class: "quiet" }, factor + left) : "",
  ]
}

function enlarge(source, name, place) {
  const dialog = h("dialog", { "aria-label": `${name}, image ${place}` })
  const close = h("button", { type: "button", autofocus: true, onclick: () => dialog.close() }, "Close")
  dialog.append(
    h(
      "article",
      {},
      h("img", { src: source, alt: `${name}, image ${place}, enlarged` }),
      h("footer", {}, h("span", {}, `${name}, image ${place}`), close),
    ),
  )
  dialog.addEventListener("close", () => dialog.remove())
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close())
  document.body.append(dialog)
  dialog.showModal()
}

// ---- results

function resultsOf(set) {
  if (!set.rows.length)
    return h("p", {}, "No students were trained on it yet: ", h("code", {}, "hf-dd evaluate"), " does that.")
  const rows = set.all
  const [low, high] = scale(rows)
  const several = unique(rows.map((row) => row.architecture)).length > 1
  const regimes = unique(rows.map((row) => row.labels))
  const heads = [
    "Trained on",
    ...(several ? ["Student"] : []),
    ...(regimes.length > 1 ? ["Labels"] : []),
    "Copy",
    "Accuracy in %",
    `${low} to ${high} %`,
    "Students",
    "Epochs",
    "Bytes",
  ]
  const shown = rows.map((row) => {
    const name = row.baseline ? row.set : "this set"
    const cells = [
      name,
      ...(several ? [row.architecture] : []),
      ...(regimes.length > 1 ? [row.labels] : []),
      row.copy,
      accuracy(row),
      plot(row, low, high),
      whole(row.n),
      row.epochs === null ? "–" : whole(row.epochs),
      bytesOf(row),
    ]
    return h("tr", { class: row.baseline ? "baseline" : "" }, cells.map(cell))
  })
  const who = several ? "" : `, ${rows[0].architecture} students`
  const protocols = regimes.map((labels) => {
    const { protocol } = rows.find((row) => row.labels === labels)
    return `${protocol || "unknown"} (${labels})`
  })
  return [
    ...sentences(set),
    table(`Accuracy on the test images with 95 % intervals of the mean${who}`, heads, shown, { class: "results" }),
    h("p", { class: "quiet" }, `Protocol ${protocols.join("; ")}; on ${text(set.told.hardware) || "unknown hardware"}.`),
  ]
}

// What the results say and what there is to doubt in them, as the card has it; of a set that is read live, where.
function sentences(set) {
  if (!set.entry.live)
    return list(set.told.sentences).map((each, place) => h("p", {}, h(place ? "span" : "strong", {}, text(each, 2000))))
  return [h("p", {}, "What they say, and what there is to doubt in them, is on ", link(set.entry.hub, "its card"), ".")]
}

// ---- lineage

function lineage(set) {
  const students = unique(set.rows.map((row) => row.architecture))
  const commit = set.dataSha && `commit ${set.dataSha.slice(0, 8)}`
  const steps = [
    [
      "Data",
      link(set.dataAddress, set.dataName),
      [
        set.realImages === null ? "" : plural(set.realImages, "training image"),
        set.count ? plural(set.count, "class").replace("classs", "classes") : "",
        commit,
      ],
    ],
    set.experts.length
      ? [
          "Experts",
          plural(set.experts.length, "trajectory").replace("trajectorys", "trajectories"),
          unique(set.experts.map((each) => text(each.architecture))),
        ]
      : null,
    set.teachers.length
      ? [
          "Teachers",
          plural(set.teachers.length, "checkpoint"),
          [
            unique(set.teachers.map((each) => each.architecture))
              .slice(0, 4)
              .join(", "),
            domains(set.teachers),
          ],
        ]
      : null,
    set.teachers.length
      ? ["Pool", link(set.poolAddress, poolName(set)), [set.guide ? `CLoM ${set.guide.distance}` : ""]]
      : null,
    [
      "Set",
      h("strong", {}, set.name),
      [
        set.methodTitle,
        set.iterations ? plural(set.iterations, "iteration") : "",
        set.seconds === null ? "" : `${duration(set.seconds)}${set.hardware ? ` on ${set.hardware}` : ""}`,
      ],
    ],
    [
      "Students",
      students.length ? students.join(", ") : set.entry.changed ? "not shown" : "none yet",
      [
        set.best ? `${plural(set.best.n, "student")} each` : "",
        ...set.protocols,
        set.entry.changed ? "what they learned from was changed" : "",
      ],
    ],
  ].filter(Boolean)
  return h(
    "ol",
    { class: "lineage" },
    steps.map(([kind, name, lines]) =>
      h(
        "li",
        {},
        h("span", { class: "kind" }, kind),
        h("span", { class: "what" }, name),
        lines.filter(Boolean).map((line) => h("small", {}, line)),
      ),
    ),
  )
}

const domains = (teachers) => {
  const found = unique(teachers.map((each) => each.domain).filter(Boolean))
  return found.length ? `trained on ${found.slice(0, 3).join(", ")}${found.length > 3 ? ", …" : ""}` : ""
}

function teachersTable(set) {
  const some = set.teachers.slice(0, 200)
  const rows = some.map((each) => [
    link(each.address, each.repo || "–"),
    h("code", {}, each.sha.replace(/^sha256:/, "").slice(0, 8) || "–"),
    each.architecture || "–",
    each.seed === null ? "–" : whole(each.seed),
    each.epoch === null ? each.revision || "–" : whole(each.epoch),
    each.domain || "–",
    each.accuracy === null ? "–" : percent(100 * each.accuracy),
  ])
  return table(
    `${plural(set.teachers.length, "teacher")}${some.length < set.teachers.length ? ", the first 200" : ""}`,
    ["Teacher", "Commit", "Architecture", "Initialisation", "Epoch", "Trained on", "Accuracy in %"],
    rows,
  )
}

function diversity(set) {
  const found = map(set.diversity),
    cka = num(found.cka),
    disagreement = num(found.disagreement)
  const words = [
    cka === null ? "" : `mean CKA ${plainly(cka)}`,
    disagreement === null ? "" : `they disagree on ${percent(100 * disagreement)} % of images`,
  ].filter(Boolean)
  return words.length ? `: ${words.join("; ")}.` : "."
}

// ---- use

function uses(set) {
  const command = text(set.record.command, 4000)
  const before = list(set.record.before)
    .map((each) => text(each, 4000))
    .filter(Boolean)
  const stored = [
    set.pngBytes === null ? "" : `${size(set.pngBytes)} as PNG`,
    set.floatBytes === null ? "" : `${size(set.floatBytes)} as float32`,
  ].filter(Boolean)
  return [
    set.entry.hub ? h("p", {}, "On the Hub: ", link(set.entry.hub, set.ref || set.name)) : "",
    h("h3", {}, "Load it"),
    code(list(set.told.load).map((line) => text(line, 1000)).join("\n")),
    stored.length
      ? h(
          "p",
          { class: "quiet" },
          `Its images take ${stored.join(", ")}${besides(set) && `; beside them ${besides(set)}`}.`,
        )
      : "",
    h("h3", {}, "Reproduce it"),
    set.told.reproduce
      ? code(text(set.told.reproduce, 1000))
      : h("p", {}, "Its record names no command that repeats it."),
    command ? [h("h3", {}, "The command that made it"), code([...before, command].join("\n"))] : "",
  ]
}

function optionsOf(set) {
  const rows = Object.entries(map(set.record.settings))
    .map(([name, value]) => [text(name, 60), optionValue(value)])
    .filter(([, value]) => value !== "")
  const versions = Object.entries(map(set.record.versions)).map(
    ([name, value]) => `${text(name, 60)} ${text(value, 60)}`,
  )
  return h(
    "details",
    {},
    h("summary", {}, `${plural(rows.length, "option")} and the versions`),
    rows.length ? table("Options", ["Option", "Value"], rows.slice(0, 400)) : "",
    h("p", { class: "quiet" }, versions.slice(0, 50).join(", ")),
  )
}

function optionValue(value) {
  if (value === null || value === undefined) return ""
  return text(
    Array.isArray(value)
      ? value
          .slice(0, 100)
          .map((each) => text(each))
          .join(" ")
      : isMap(value)
        ? JSON.stringify(value)
        : value,
    1000,
  )
}
