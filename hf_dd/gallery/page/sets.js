// What pages say of a set: as they are told it, and what its record names. Nothing here throws for content of others.

const intervalOf = (found) =>
  num(map(found).mean) === null ? null : { mean: found.mean, half: num(found.half_width), n: num(found.n) || 1 }

function rowOf(row) {
  return {
    ...intervalOf(row),
    own: row.own === true,
    set: text(row.set),
    architecture: text(row.architecture) || "student",
    copy: text(row.copy),
    baseline: text(row.baseline),
    ipc: text(row.ipc),
    epochs: num(row.epochs),
    bytes: num(row.bytes),
    labelBytes: num(row.soft_label_bytes) || 0,
    backbone: text(row.backbone),
    labels: text(row.labels),
    protocol: text(row.protocol, 400),
    mark: text(row.mark),
    gain: intervalOf(row.gain),
  }
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

function guideOf(settings, run) {
  const guide = text(settings.clom)
  if (!guide || guide === "none") return null
  const came = num(run.clom_alpha),
    alpha = text(settings.clom_alpha)
  return { distance: guide, alpha: came === null ? alpha : `${alpha}, which came to ${plainly(came)}` }
}

function setOf(entry) {
  const record = map(entry.record),
    data = map(record.data),
    settings = map(record.settings),
    run = map(record.run)
  const told = map(entry.told), // as hf-dd reads the record
    storage = map(told.storage)
  const all = list(told.rows).map(rowOf),
    rows = all.filter((row) => row.own)
  const classes = list(data.class_names).map((each) => text(each, 80))
  const count = num(data.classes) ?? classes.length
  const method = text(told.imported ? settings.method : settings.objective),
    known = Object.hasOwn(METHODS, method) ? METHODS[method] : {}
  const repo = text(data.repo_id)
  return {
    entry,
    record,
    told,
    imported: told.imported === true,
    key: entry.key,
    name: text(entry.name) || text(record.name) || text(entry.key) || "without a name",
    ref: text(entry.ref),
    data: repo || text(data.name) || "unknown data",
    dataName: text(data.name) || repo || "unknown data",
    dataAddress: repo && /^[\w.-]+\/[\w.-]+$/.test(repo) ? `${HUB}/datasets/${repo}` : null,
    dataSha: text(data.sha),
    side: list(data.image_size).map(num),
    channels: num(data.channels),
    realImages: num(data.train_images),
    classes,
    count,
    images: num(told.images),
    ipc: text(told.ipc) || null,
    meanIpc: num(told.mean_ipc),
    origin: text(told.origin),
    method: method || "unknown method",
    methodTitle: known.title || method || "unknown method",
    arxiv: known.arxiv,
    paper: text(settings.paper),
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
    all,
    rows,
    best: rows[0] || null,
    gain: rows.length ? rows[0].gain : null,
    labels: list(told.labels).map((each) => text(each)),
    protocols: unique(rows.map((row) => row.protocol || "unknown protocol")),
    bytes: num(storage["8bit"]) ?? num(storage.float),
    pngBytes: num(storage["8bit"]),
    floatBytes: num(storage.float),
    softBytes: num(storage.soft_labels) || 0,
    cropBytes: num(storage.crop_labels) || 0,
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
const labelsOf = (set) => set.labels.join(", ") || "unknown labels"

// What labels take beside the images, in words; "" where none are stored.
const besides = (set) => {
  const soft = set.softBytes && `${size(set.softBytes)} of soft labels`
  const crops = set.cropBytes && `${size(set.cropBytes)} of labels of crops`
  return [soft, crops].filter(Boolean).join(" + ")
}

const bytesOf = (row) => size(row.bytes) + (row.labelBytes ? ` + ${size(row.labelBytes)} of soft labels` : "")
