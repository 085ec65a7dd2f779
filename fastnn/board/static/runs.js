// The page that compares finished runs: curves with bands over seeds, a table of settings and results, pictures.

import { drawChart, number } from "./charts.js";

const byId = (id) => document.getElementById(id);
const UNIMPORTANT = ["seed", "threads"]; // runs that differ only in these are one group
let runs = [], shown = new Set(), sortedBy = null, isDescending = true;

byId("reload").addEventListener("click", load);
byId("curve").addEventListener("change", drawCurves);
byId("log").addEventListener("change", drawCurves);
window.addEventListener("resize", drawCurves);
load();

async function load() {
  byId("reload").disabled = true;
  try {
    const found = await (await fetch("runs.json")).json();
    runs = found.runs.filter((run) => !run.error);
    shown = new Set(runs.map((run) => run.name));
    byId("summary").textContent = `${runs.length} runs in ${found.folder}`;
    byId("errors").replaceChildren(...found.runs.filter((run) => run.error).map((run) => make("li", `${run.name}: ${run.error}`)));
    byId("empty").hidden = runs.length > 0;
    listCurves();
    drawCurves();
    drawTable();
  } catch {
    byId("summary").textContent = "fastnn board has ended";
  }
  byId("reload").disabled = false;
}

function make(kind, content, className) {
  const made = document.createElement(kind);
  if (content !== undefined) made.textContent = content;
  if (className) made.className = className;
  return made;
}

const isDifferent = (name) => new Set(runs.map((run) => JSON.stringify(run.settings[name]))).size > 1;
const different = () => [...new Set(runs.flatMap((run) => Object.keys(run.settings)))].filter(isDifferent);

function listCurves() {
  const names = [...new Set(runs.flatMap((run) => Object.keys(run.curves)))];
  const before = byId("curve").value, options = ["loss of the updates", ...names];
  byId("curve").replaceChildren(...options.map((name) => make("option", name)));
  const preferred = [before, "val_accuracy", ...names.filter((name) => name.endsWith("_accuracy")), "accuracy", "loss"].find((name) => options.includes(name));
  byId("curve").value = preferred ?? options[0];
}

// Runs with the same settings but for the seed, by their label.
function groups() {
  const names = different().filter((name) => !UNIMPORTANT.includes(name)), found = new Map();
  for (const run of runs.filter((each) => shown.has(each.name))) {
    const label = names.map((name) => `${name} ${run.settings[name] ?? "–"}`).join(", ") || "all runs";
    found.set(label, [...(found.get(label) ?? []), run]);
  }
  return found;
}

function drawCurves() {
  const name = byId("curve").value, ofUpdates = name === "loss of the updates";
  const curve = (run) => (ofUpdates ? run.loss : run.curves[name] ?? []);
  const series = [...groups()].map(([label, members]) => ({ name: label, ...meanOf(members.map(curve)) }));
  drawChart(byId("chart"), series.filter((s) => s.points.length), {
    xLabel: ofUpdates ? "updates" : "epochs", log: byId("log").checked,
  });
}

// The mean of several curves with the band of one standard deviation (n - 1), where all have a point.
function meanOf(curves) {
  const nonempty = curves.filter((points) => points.length);
  if (nonempty.length < 2) return { points: nonempty[0] ?? [] };
  const length = Math.min(...nonempty.map((points) => points.length)), points = [], band = [];
  for (let index = 0; index < length; index += 1) {
    const values = nonempty.map((each) => each[index][1]).filter((value) => value !== null);
    const mean = values.reduce((a, b) => a + b, 0) / values.length, x = nonempty[0][index][0];
    const spread = Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / Math.max(1, values.length - 1));
    points.push([x, values.length ? mean : null]);
    band.push([x, mean - spread, mean + spread]);
  }
  return { points, band };
}

function drawTable() {
  const settings = different(), results = [...new Set(runs.flatMap((run) => Object.keys(run.test)))];
  const columns = [
    ["run", (run) => run.name],
    ...settings.map((name) => [name, (run) => run.settings[name] ?? null]),
    ["epochs", (run) => run.epochs],
    ["seconds", (run) => run.seconds],
    ...results.map((name) => [`test ${name}`, (run) => run.test[name] ?? null]),
  ];
  const heading = make("tr");
  heading.append(make("th", ""), ...columns.map(([name], index) => {
    const cell = make("th", name, index ? "" : "name"), button = make("button", name);
    button.type = "button";
    button.addEventListener("click", () => sortBy(name));
    cell.replaceChildren(button);
    if (name === sortedBy) cell.setAttribute("aria-sort", isDescending ? "descending" : "ascending");
    return cell;
  }));
  const key = columns.find(([name]) => name === sortedBy)?.[1];
  const ordered = key ? [...runs].sort((a, b) => (isDescending ? -1 : 1) * compare(key(a), key(b))) : runs;
  byId("runs").replaceChildren(heading, ...ordered.map((run) => rowOf(run, columns)));
}

function rowOf(run, columns) {
  const row = make("tr"), box = make("input"), first = make("td");
  box.type = "checkbox";
  box.checked = shown.has(run.name);
  box.setAttribute("aria-label", `draw ${run.name}`);
  box.addEventListener("change", () => {
    box.checked ? shown.add(run.name) : shown.delete(run.name);
    drawCurves();
  });
  first.append(box);
  row.append(first, ...columns.map(([, value], index) => {
    const content = value(run), cell = make("td", typeof content === "number" ? number(content) : String(content ?? "–"), index ? "" : "name");
    if (index === 0) {
      const button = make("button", run.name);
      button.type = "button";
      button.addEventListener("click", () => showPictures(run));
      cell.replaceChildren(button);
      if (run.stopped) cell.append(make("span", ` stopped: ${run.stopped}`, "faint"));
    }
    return cell;
  }));
  return row;
}

function compare(a, b) {
  if (a === b) return 0;
  if (a === null || b === null) return a === null ? -1 : 1;
  return a < b ? -1 : 1;
}

function sortBy(name) {
  isDescending = sortedBy === name ? !isDescending : true;
  sortedBy = name;
  drawTable();
}

function showPictures(run) {
  byId("pictures-card").hidden = false;
  byId("pictures-title").textContent = run.name;
  const path = run.name.split("/").map(encodeURIComponent).join("/");
  byId("pictures").replaceChildren(...run.pictures.map((name) => {
    const image = make("img");
    image.alt = name;
    image.src = `pictures/${path}/${encodeURIComponent(name)}`;
    return image;
  }));
  if (!run.pictures.length) byId("pictures").replaceChildren(make("p", "This run has no pictures."));
  byId("pictures-card").scrollIntoView({ behavior: "smooth" });
}
