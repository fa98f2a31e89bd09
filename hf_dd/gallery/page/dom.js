// Elements, and numbers in words. Text only ever becomes a text node or an attribute: nothing of a record is markup.

const LONGEST = 120 // characters of a text of others that a page shows

function h(tag, properties, ...children) {
  const svg = ["svg", "path", "circle", "line"].includes(tag)
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag)
  for (const [name, value] of Object.entries(properties || {})) {
    if (value === null || value === undefined || value === false) continue
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value)
    else if (name === "style") for (const [key, each] of Object.entries(value)) element.style.setProperty(key, each)
    else element.setAttribute(name, value === true ? "" : value)
  }
  return put(element, ...children)
}

// Append children, but for those that are nothing.
function put(element, ...children) {
  element.append(
    ...children.flat(9).filter((each) => each !== null && each !== undefined && each !== false && each !== ""),
  )
  return element
}

const isMap = (value) => typeof value === "object" && value !== null && !Array.isArray(value)
const map = (value) => (isMap(value) ? value : {})
const list = (value) => (Array.isArray(value) ? value : [])
const num = (value) => (typeof value === "number" && Number.isFinite(value) ? value : null)
const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 })
const whole = (value) => (Math.abs(value) < 1e12 ? WHOLE.format(value) : value.toExponential(2))
const plural = (count, noun) => `${whole(count)} ${noun}${count === 1 ? "" : "s"}`
const unique = (values) => [...new Set(values)]

// A text of others on one line, cut; "" for what is no text. Control characters and marks that turn the reading order
// around are left out.
function text(value, most = LONGEST) {
  if (typeof value === "number" || typeof value === "boolean") return String(value)
  if (typeof value !== "string") return ""
  const line = value
    .slice(0, most + 1)
    .replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069]+/g, " ")
  return line.length > most ? `${line.slice(0, most)}…` : line
}

function size(bytes) {
  if (bytes === null) return "–"
  if (bytes < 1e3) return `${whole(bytes)} B`
  const [unit, name] = bytes < 1e6 ? [1e3, "kB"] : bytes < 1e9 ? [1e6, "MB"] : [1e9, "GB"]
  return `${(bytes / unit).toPrecision(3)} ${name}`
}

function duration(seconds) {
  if (seconds < 600) return `${seconds < 10 ? seconds.toFixed(1) : whole(seconds)} s`
  return seconds < 7200 ? `${whole(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`
}

const plainly = (value) => (value === null ? "–" : String(Number(value.toPrecision(4))))
const percent = (value) => value.toFixed(1)
const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(1)}`
const within = (half) => (half === null ? "" : half > 50 ? " ± over 50" : ` ± ${half.toFixed(1)}`)

// "54.3 ± 0.6", the mean with the half-width of its 95 % interval, and what there is to doubt in it.
function accuracy(found) {
  if (!found) return h("span", { class: "none" }, "–")
  const number = h("span", { class: "number", title: described(found) }, `${percent(found.mean)}${within(found.half)}`)
  return [number, found.mark ? h("span", { class: "mark" }, ` ${found.mark}`) : ""]
}

function described(found) {
  const interval = found.half === null ? "one student, no interval" : "95 % interval of the mean"
  return `${percent(found.mean)}${within(found.half)} % (${interval}, n = ${found.n})`
}

function gained(gain) {
  if (!gain) return h("span", { class: "none" }, "–")
  const told = gain.half === null ? "level" : gain.mean > gain.half ? "up" : gain.mean < -gain.half ? "down" : "level"
  return h("span", { class: `number ${told}` }, `${signed(gain.mean)}${within(gain.half)}`)
}

// A dot with its interval on a line from `low` to `high`; the number beside it says the same to who can't see it.
function plot(found, low, high) {
  if (!found) return null
  const at = (value) => Math.min(100, Math.max(0, (100 * (value - low)) / (high - low || 1)))
  const [left, right] = [at(found.mean - (found.half || 0)), at(found.mean + (found.half || 0))]
  const bar = h("span", { class: "bar", style: { left: `${left}%`, width: `${right - left}%` } })
  const dot = h("span", { class: "dot", style: { left: `${at(found.mean)}%` } })
  return h("span", { class: "plot", "aria-hidden": "true" }, bar, dot)
}

// The scale of several plots: round ends around all intervals.
function scale(all) {
  const ends = all.filter(Boolean).flatMap((each) => [each.mean - (each.half || 0), each.mean + (each.half || 0)])
  if (!ends.length) return [0, 100]
  const [low, high] = [Math.min(...ends), Math.max(...ends)]
  const room = Math.max(2, 0.08 * (high - low))
  return [Math.max(0, Math.floor(low - room)), Math.min(100, Math.ceil(high + room))]
}

const isAddress = (value) => typeof value === "string" && /^https?:\/\//i.test(value)

// A link; plain text where the address isn't one of the web or of this gallery.
function link(address, ...content) {
  if (!address) return h("span", {}, ...content)
  return h(
    "a",
    { href: address, ...(isAddress(address) ? { target: "_blank", rel: "noopener noreferrer" } : {}) },
    ...content,
  )
}

function table(caption, heads, rows, properties = {}) {
  const head = heads.map((each) => (each instanceof Node ? each : h("th", { scope: "col" }, each)))
  const body = rows.map((row) => (row instanceof Node ? row : h("tr", {}, row.map(cell))))
  const shown = h(
    "table",
    properties,
    h("caption", {}, caption),
    h("thead", {}, h("tr", {}, head)),
    h("tbody", {}, body),
  )
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, shown)
}

const cell = (content, place) => (place ? h("td", {}, content) : h("th", { scope: "row" }, content))
const code = (content) => h("pre", { tabindex: "0" }, h("code", {}, content))
const facts = (pairs) =>
  h(
    "dl",
    {},
    pairs
      .filter(([, value]) => value !== null && value !== "")
      .map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
  )

let fields = 0

function field(label, input) {
  input.id = `field-${(fields += 1)}`
  return h("div", { class: "field" }, h("label", { for: input.id }, label), input)
}

function select(label, options, chosen, changed) {
  const entries = options.map(([value, words]) => h("option", { value, selected: value === chosen }, words))
  return field(label, h("select", { onchange: (event) => changed(event.target.value) }, entries))
}
