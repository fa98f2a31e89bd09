// From a record, whatever is missing in it, to what pages say of a set. Nothing here throws for content of others.

// Student's t at 97.5 % for 1 to 30 degrees of freedom.
const T = [
  12.7062, 4.30265, 3.18245, 2.77645, 2.57058, 2.44691, 2.36462, 2.306, 2.26216, 2.22814, 2.20099, 2.17881, 2.16037,
  2.14479, 2.13145, 2.11991, 2.10982, 2.10092, 2.09302, 2.08596, 2.07961, 2.07387, 2.06866, 2.0639, 2.05954, 2.05553,
  2.05183, 2.04841, 2.04523, 2.04227,
]
const quantile = (freedom) => T[freedom - 1] || 1.959964 + 2.372272 / freedom + 2.8225 / freedom ** 2

function interval(values) {
  const mean = values.reduce((sum, each) => sum + each, 0) / values.length
  if (values.length < 2) return { mean, half: null, n: values.length }
  const variance = values.reduce((sum, each) => sum + (each - mean) ** 2, 0) / (values.length - 1)
  return { mean, half: quantile(values.length - 1) * Math.sqrt(variance / values.length), n: values.length }
}

function rowOf(row) {
  const mean = num(map(row).mean)
  if (mean === null || mean < 0 || mean > 100) return null // a percentage
  return {
    set: text(row.set),
    architecture: text(row.architecture) || "student",
    copy: text(row.copy),
    baseline: text(row.baseline),
    mean,
    half: num(row.half_width),
    std: num(row.std),
    n: num(row.n) || 1,
    ipc: text(row.ipc),
    epochs: num(row.epochs),
    rate: num(row.learning_rate),
    bytes: num(row.bytes),
    labelBytes: num(row.soft_label_bytes) || 0,
    temperature: num(row.temperature),
    backbone: text(row.backbone),
    scores: list(row.scores).filter((each) => num(each) !== null),
  }
}

// Of a row and the real images of a kind beside it, the difference student by student; null where nothing is paired.
function over(rows, row, kind) {
  const same = (each) => each.baseline === kind && each.architecture === row.architecture && each.ipc === row.ipc
  const other = rows.find((each) => same(each) && each.scores.length === row.scores.length)
  return other && row.scores.length ? interval(row.scores.map((each, place) => each - other.scores[place])) : null
}

function teacherOf(teacher) {
  const spec = map(teacher),
    repo = text(spec.repo_id),
    sha = text(spec.sha)
  const local = !/^[0-9a-f]{40}$/.test(sha) || !/^[\w.-]+\/[\w.-]+$/.test(repo)
  return {
    repo,
    sha,
    revision: text(spec.revision),
    architecture: text(spec.architecture),
    seed: num(spec.seed),
    epoch: num(spec.epoch),
    domain: text(spec.dataset),
    accuracy: num(spec.accuracy),
    library: text(spec.library),
    address: local ? null : `${HUB}/${repo}/tree/${sha}`,
  }
}

function protocolOf(results) {
  const protocol = map(results.protocol),
    name = text(protocol.name)
  if (!name) return null
  const changed = [
    ...list(protocol.changed).map((each) => `${text(each)} ${text(protocol[each])}`.trim()),
    ...Object.values(map(results.tested)).map((how) => `tested by ${text(how)}`),
  ]
  return `${name} v${text(protocol.version)}${changed.length ? `, changed: ${changed.join(", ")}` : ""}`
}

function guideOf(settings, run) {
  const guide = text(settings.clom)
  if (!guide || guide === "none") return null
  const came = num(run.clom_alpha),
    alpha = text(settings.clom_alpha)
  return { distance: guide, alpha: came === null ? alpha : `${alpha}, which came to ${plainly(came)}` }
}

function regimeOf(record, rows, results) {
  if (list(results.teachers).length) return "teachers online"
  const soft = rows.length ? rows[0].temperature !== null : Boolean(record.soft_labels)
  return soft ? "soft labels" : "hard labels"
}

function setOf(entry) {
  const record = map(entry.record),
    data = map(record.data),
    settings = map(record.settings),
    run = map(record.run)
  const results = entry.changed ? {} : map(record.results), // those of other rows
    imported = record.kind === "imported-set"
  const all = list(results.rows).map(rowOf).filter(Boolean)
  const first = all.find((row) => !row.baseline),
    rows = all.filter((row) => !row.baseline && row.set === first.set)
  const classes = list(data.class_names).map((each) => text(each, 80))
  const count = num(data.classes) ?? classes.length
  const images = num(record.images) ?? (num(settings.ipc) === null ? null : settings.ipc * count)
  const method = text(imported ? settings.method : settings.objective),
    known = Object.hasOwn(METHODS, method) ? METHODS[method] : {}
  const repo = text(data.repo_id),
    storage = map(record.storage),
    pushed = map(record.pushed)
  const ref =
    text(entry.ref) || (text(pushed.repo_id) && pushed.tag ? `${text(pushed.repo_id)}@${text(pushed.tag)}` : "")
  return {
    entry,
    record,
    imported,
    key: entry.key,
    name: text(entry.name) || text(record.name) || text(entry.key) || "without a name",
    ref,
    data: repo || text(data.name) || "unknown data",
    dataName: text(data.name) || repo || "unknown data",
    dataAddress: repo && /^[\w.-]+\/[\w.-]+$/.test(repo) ? `${HUB}/datasets/${repo}` : null,
    dataSha: text(data.sha),
    side: list(data.image_size).map(num),
    channels: num(data.channels),
    realImages: num(data.train_images),
    classes,
    count,
    images,
    ipc: num(settings.ipc) ?? (images !== null && count ? Math.round(images / count) : null),
    method: method || "unknown method",
    methodTitle: known.title || method || "unknown method",
    arxiv: known.arxiv,
    paper: text(settings.paper),
    chosen: settings.iterations === 0,
    architecture: text(settings.architecture),
    seed: num(settings.seed),
    iterations: num(run.iterations),
    seconds: num(run.seconds),
    hardware: text(run.hardware),
    guide: guideOf(settings, run),
    teachers: list(record.teachers).map(teacherOf),
    experts: list(record.experts).map(map),
    pool: text(record.pool),
    diversity: isMap(record.diversity) ? record.diversity : null,
    factor: num(map(record.decoded).factor),
    results,
    all,
    rows,
    protocol: protocolOf(results),
    best: rows[0] || null,
    gain: rows.length ? over(all, rows[0], "random") : null,
    regime: imported && !rows.length ? "unknown labels" : regimeOf(record, rows, results),
    bytes: num(storage["8bit"]) ?? (rows.length ? rows[0].bytes : null),
    floatBytes: num(storage.float),
    labelBytes: num(storage.soft_labels),
    address: entry.page ? ROOT + entry.page : hashed("index.html", `set/${encodeURIComponent(entry.key)}`),
    poolAddress: entry.pool ? ROOT + entry.pool : hashed("index.html", `pool/${encodeURIComponent(entry.key)}`),
  }
}

// What made a set, in a few words.
function made(set) {
  const guided = set.guide ? ` + CLoM ${set.guide.distance}` : ""
  const teachers = set.teachers.length ? `, ${plural(set.teachers.length, "teacher")}` : ""
  const experts = set.experts.length ? `, ${plural(set.experts.length, "expert")}` : ""
  return `${set.method}${guided}${teachers}${experts}${set.imported ? ", imported" : ""}`
}

const teachersOf = (set) =>
  set.teachers
    .map((each) => each.sha || `${each.repo}@${each.revision}`)
    .sort()
    .join(" ")
const poolName = (set) => set.pool || plural(set.teachers.length, "teacher")
