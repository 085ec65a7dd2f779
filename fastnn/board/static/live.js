// The page of a running training. The server sends what is new, twice a second.

import { drawChart, number } from "./charts.js";

const byId = (id) => document.getElementById(id);
let loss = [], curves = {}, isOver = false;

const events = new EventSource("events");
events.onmessage = (event) => show(JSON.parse(event.data));
events.onerror = () => {
  if (isOver || events.readyState === EventSource.CLOSED) {
    events.close();
    if (!isOver) byId("status").textContent = "the program has ended";
    byId("stop").disabled = true;
  } else {
    byId("status").textContent = "connection lost, trying again";
  }
};

byId("stop").addEventListener("click", async () => {
  byId("stop").disabled = true;
  byId("stop").textContent = "Stopping";
  await fetch("stop", { method: "POST" });
});

function show(news) {
  if (news.status === "waiting") {
    byId("status").textContent = "waiting for a training";
    return;
  }
  if (news.reset) start(news.reset);
  isOver = news.status === "ended";
  byId("status").textContent = isOver ? `ended: ${news.reason}` : `epoch ${Math.min(news.epoch + 1, news.epochs)} of ${news.epochs}`;
  document.title = isOver ? "fastnn: ended" : `fastnn: epoch ${news.epoch + 1}`;
  if (isOver) byId("stop").disabled = true;
  loss = news.loss.from_start ? news.loss.points : loss.concat(news.loss.points);
  for (const [name, points] of Object.entries(news.curves)) curves[name] = (curves[name] ?? []).concat(points);
  showNumbers(news);
  showCurves();
  if (news.filters) showFilters(news.filters);
  if (news.confusion) showConfusion(news.confusion);
}

function start(title) {
  loss = [];
  curves = {};
  byId("title").textContent = title;
  byId("stop").disabled = false;
  byId("stop").textContent = "Stop training";
  for (const id of ["accuracy-card", "filters-card", "confusion-card"]) byId(id).hidden = true;
}

function showNumbers(news) {
  const left = news.total && news.updates_per_second ? (news.total - news.updates) / news.updates_per_second : null;
  const last = (name) => (curves[name] ? curves[name][curves[name].length - 1][1] : undefined);
  const rows = {
    updates: news.total ? `${number(news.updates)} of ${number(news.total)}` : number(news.updates),
    "time": seconds(news.seconds),
    "time left": news.status === "training" && left !== null ? seconds(left) : "–",
    "updates per second": number(news.updates_per_second),
    "samples per second": number(news.samples_per_second),
    "of the peak": news.of_peak === null ? "–" : `${(100 * news.of_peak).toFixed(0)} %`,
    "learning rate": number(news.lr),
  };
  for (const quantity of ["loss", "accuracy"]) {
    for (const [label, name] of sets(quantity)) rows[`${label} ${quantity}`] = number(last(name));
  }
  byId("numbers").replaceChildren(...Object.entries(rows).map(([label, value]) => {
    const row = document.createElement("div"), term = document.createElement("dt"), text = document.createElement("dd");
    term.textContent = label;
    text.textContent = value;
    row.append(term, text);
    return row;
  }));
  byId("progress").value = news.total ? news.updates / news.total : 0;
}

// The validation sets that have a curve of a quantity: what the page calls them, and the names of the curves.
function sets(quantity) {
  const words = { val: "validation", running: "running training" }, ending = `_${quantity}`;
  const prefixes = Object.keys(curves).filter((name) => name.endsWith(ending)).map((name) => name.slice(0, -ending.length));
  return prefixes.map((prefix) => [words[prefix] ?? prefix, prefix + ending]);
}

function showCurves() {
  const series = [{ name: "training", points: loss }];
  for (const [name, curve] of sets("loss")) series.push({ name, points: curves[curve].map(([, value, update]) => [update, value]) });
  drawChart(byId("loss"), series, { xLabel: "updates", log: series.every((s) => s.points.every(([, y]) => y > 0)) });
  const accuracies = [["training", "accuracy"], ...sets("accuracy")].filter(([, name]) => curves[name]);
  byId("accuracy-card").hidden = accuracies.length === 0;
  drawChart(byId("accuracy"), accuracies.map(([name, curve]) => ({ name, points: curves[curve] })), { xLabel: "epochs" });
}

function showFilters({ units, height, width, levels }) {
  byId("filters-card").hidden = false;
  const columns = Math.min(units, width > 12 ? 8 : 16), rows = Math.ceil(units / columns), canvas = byId("filters");
  canvas.width = columns * (width + 1) - 1;
  canvas.height = rows * (height + 1) - 1;
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  levels.forEach((level, index) => {
    const unit = Math.floor(index / (width * height)), pixel = index % (width * height);
    const x = (unit % columns) * (width + 1) + (pixel % width);
    const y = Math.floor(unit / columns) * (height + 1) + Math.floor(pixel / width);
    const size = Math.abs(level - 128) / 127, full = level < 128 ? [0, 114, 178] : [213, 94, 0];
    const colour = full.map((part) => 255 + size * (part - 255));
    image.data.set([...colour, 255], 4 * (y * canvas.width + x));
  });
  context.putImageData(image, 0, 0);
}

function showConfusion({ of, counts, names }) {
  byId("confusion-card").hidden = false;
  const cell = (kind, content) => {
    const made = document.createElement(kind);
    made.textContent = content;
    return made;
  };
  const heading = document.createElement("tr");
  heading.append(cell("th", ""), ...names.map((name) => cell("th", name)));
  const rows = counts.map((row, index) => {
    const line = document.createElement("tr"), total = Math.max(1, row.reduce((a, b) => a + b, 0));
    line.append(cell("th", names[index]), ...row.map((count, column) => {
      const made = cell("td", count || "");
      const colour = column === index ? "--blue" : "--orange";
      made.style.background = `color-mix(in srgb, var(${colour}) ${Math.round((70 * count) / total)}%, transparent)`;
      return made;
    }));
    return line;
  });
  byId("confusion").replaceChildren(heading, ...rows);
  byId("counted").textContent = `${number(counts.flat().reduce((a, b) => a + b, 0))} ${of}`;
}

function seconds(value) {
  if (value < 60) return `${value.toFixed(1)} s`;
  const whole = Math.round(value), parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return parts.map((part) => String(part).padStart(2, "0")).join(":");
}
