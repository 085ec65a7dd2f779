// Line charts as SVG: axes, curves, bands and a legend.

const NAMESPACE = "http://www.w3.org/2000/svg";
const LEFT = 54, RIGHT = 10, TOP = 10, BOTTOM = 36;
const COLOURS = ["blue", "orange", "green", "pink", "yellow", "sky"].map((name) => `var(--${name})`);

// Draw into `parent`. A series has `name`, `points` [[x, y], ...], and perhaps `band` [[x, low, high], ...],
// `colour` and `dashed`. A y of null leaves a gap.
export function drawChart(parent, series, { xLabel, log = false }) {
  const width = Math.max(260, parent.clientWidth), height = Math.min(380, Math.max(220, width / 2));
  const valid = (value) => value !== null && Number.isFinite(value) && (!log || value > 0);
  const points = series.flatMap((s) => [
    ...s.points.map(([x, y]) => [x, y]),
    ...(s.band ?? []).flatMap(([x, low, high]) => [[x, low], [x, high]]),
  ]).filter(([, y]) => valid(y));
  const xs = range(points.map(([x]) => x), 0), ys = range(points.map(([, y]) => (log ? Math.log10(y) : y)), 0.04);
  const x = (value) => LEFT + (width - LEFT - RIGHT) * ((value - xs[0]) / (xs[1] - xs[0]));
  const y = (value) =>
    height - BOTTOM - (height - TOP - BOTTOM) * (((log ? Math.log10(value) : value) - ys[0]) / (ys[1] - ys[0]));

  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img" });
  svg.append(element("path", {
    class: "axis", d: `M${LEFT} ${TOP}V${height - BOTTOM}H${width - RIGHT}`,
  }));
  for (const tick of ticks(...xs, 6)) {
    svg.append(element("path", { class: "axis", d: `M${x(tick)} ${height - BOTTOM}v4` }));
    svg.append(text(x(tick), height - BOTTOM + 17, short(tick), "middle"));
  }
  for (const value of log ? logarithmicTicks(...ys) : ticks(...ys, 5)) {
    svg.append(element("path", { class: "axis", d: `M${LEFT} ${y(value)}H${width - RIGHT}`, opacity: 0.5 }));
    svg.append(text(LEFT - 6, y(value) + 4, short(value), "end"));
  }
  svg.append(text((LEFT + width) / 2, height - 3, xLabel, "middle"));

  const legend = document.createElement("div");
  legend.className = "legend";
  series.forEach((s, index) => {
    const colour = s.colour ?? COLOURS[index % COLOURS.length];
    const band = (s.band ?? []).filter(([, low, high]) => valid(low) && valid(high));
    if (band.length > 1) {
      const upper = band.map(([at, , high]) => `${x(at)} ${y(high)}`);
      const lower = band.map(([at, low]) => `${x(at)} ${y(low)}`).reverse();
      svg.append(element("path", { class: "band", fill: colour, d: `M${[...upper, ...lower].join("L")}Z` }));
    }
    let path = "", drawing = false;
    for (const [at, value] of s.points) {
      path += valid(value) ? `${drawing ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}` : "";
      drawing = valid(value);
    }
    svg.append(element("path", {
      class: "curve", stroke: colour, d: path, ...(s.dashed ? { "stroke-dasharray": "5 4" } : {}),
    }));
    if (s.points.length === 1 && valid(s.points[0][1])) {
      svg.append(element("circle", { cx: x(s.points[0][0]), cy: y(s.points[0][1]), r: 3, fill: colour }));
    }
    const last = s.points.length ? s.points[s.points.length - 1][1] : null;
    const mark = document.createElement("i");
    mark.style.background = colour;
    const label = document.createElement("span");
    label.append(mark, last === null ? s.name : `${s.name} ${number(last)}`);
    legend.append(label);
  });
  parent.replaceChildren(svg, legend);
}

// Four significant digits, with separators for thousands.
export function number(value) {
  if (value === null || value === undefined) return "–";
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en");
  return String(Number(value.toPrecision(4)));
}

// The range of the values, with a margin that is a fraction of it.
function range(values, margin) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (low > high) return [0, 1];
  if (low === high) return [low - 0.5, high + 0.5];
  return [low - margin * (high - low), high + margin * (high - low)];
}

// Round numbers between low and high.
function ticks(low, high, count) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= raw);
  const found = [];
  for (let index = Math.ceil(low / step); index * step <= high + step * 1e-9; index += 1) found.push(index * step);
  return found;
}

// Powers of ten between 10^low and 10^high, with 2 and 5 times these if there are few.
function logarithmicTicks(low, high) {
  const factors = high - low < 3 ? [1, 2, 5] : [1], found = [];
  for (let power = Math.floor(low); power <= Math.ceil(high); power += 1) {
    found.push(...factors.map((factor) => factor * 10 ** power));
  }
  return found.filter((value) => Math.log10(value) >= low && Math.log10(value) <= high);
}

function short(value) {
  if (Math.abs(value) >= 1e4) return value.toLocaleString("en", { notation: "compact" });
  return String(Number(value.toPrecision(3)));
}

function element(name, attributes) {
  const made = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function text(x, y, content, anchor) {
  const made = element("text", { x, y, "text-anchor": anchor });
  made.textContent = content;
  return made;
}
