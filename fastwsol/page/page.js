// Draws what Python computed: figures, and the gallery at the threshold that the slider is at. It measures nothing.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const PAGE = 24; // cards that are added at a time
const NO_TRUTH = 255;
const SIDE = 128; // pixels of a canvas

const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
for (const run of data.runs) {
  run.images = run.images.map((image) => ({
    ...image,
    boxes: new Uint16Array(bytes(image.boxes).buffer),
    ious: bytes(image.ious),
  }));
}

// Theme: as the system has it, until the button says otherwise.
const dark = () => document.documentElement.dataset.theme === "dark";
function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  const ink = getComputedStyle(document.documentElement).getPropertyValue("--ink").trim();
  const line = getComputedStyle(document.documentElement).getPropertyValue("--line").trim();
  for (const chart of document.querySelectorAll(".chart")) {
    if (chart.data) {
      Plotly.relayout(chart, {
        "font.color": ink, "xaxis.gridcolor": line, "yaxis.gridcolor": line,
        "xaxis.zerolinecolor": line, "yaxis.zerolinecolor": line,
      });
    }
  }
}
byId("theme").addEventListener("click", () => setTheme(dark() ? "light" : "dark"));

// Figures
function drawCharts() {
  for (const [id, figure] of Object.entries(data.figures)) {
    Plotly.newPlot(id, figure.data, figure.layout, { responsive: true, displaylogo: false, displayModeBar: false });
  }
}

// Gallery
const controls = Object.fromEntries(
  ["level", "iou", "kind", "class", "outcome", "run", "view"].map((id) => [id, byId(id)]));
data.classes.forEach((name, label) => {
  if (data.images.some((image) => image.label === label)) controls.class.add(new Option(name, label));
});
data.runs.forEach((run, number) => controls.run.add(new Option(run.name, number)));
byId("of-run").hidden = data.runs.length < 2;

const state = () => ({
  level: Number(controls.level.value), iou: Number(controls.iou.value), kind: controls.kind.value,
  label: controls.class.value, outcome: controls.outcome.value, run: Number(controls.run.value || 0),
  view: controls.view.value,
});

const isHit = (seen, level, iou) => seen.ious[level] !== NO_TRUTH && seen.ious[level] >= iou;
const hasTruth = (seen) => seen.ious[0] !== NO_TRUTH;

function chosen(now) {
  return data.images.flatMap((image, index) => {
    const seen = data.runs[now.run].images[index];
    if (now.kind && image.kind !== now.kind) return [];
    if (now.label !== "" && image.label !== Number(now.label)) return [];
    if (now.outcome && (!hasTruth(seen) || isHit(seen, now.level, now.iou) !== (now.outcome === "hit"))) return [];
    return [index];
  });
}

const pictures = new Map();
function picture(address) {
  if (!pictures.has(address)) {
    const image = new Image();
    pictures.set(address, new Promise((resolve) => {
      image.onload = () => resolve(image);
      image.src = address;
    }));
  }
  return pictures.get(address);
}

// Levels of grey to colours and transparency, once: the colours of "turbo".
const COLOURS = data.colours;
const heatmaps = new Map();
async function heatmap(address) {
  if (!heatmaps.has(address)) {
    const image = await picture(address);
    const canvas = Object.assign(document.createElement("canvas"), { width: image.width, height: image.height });
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
    for (let k = 0; k < pixels.data.length; k += 4) {
      [pixels.data[k], pixels.data[k + 1], pixels.data[k + 2]] = COLOURS[pixels.data[k]];
    }
    context.putImageData(pixels, 0, 0);
    heatmaps.set(address, canvas);
  }
  return heatmaps.get(address);
}

function outline(context, box, frame, colour) {
  const scale = SIDE / frame;
  const [x0, y0, x1, y1] = Array.from(box, (side) => side * scale);
  if (x1 <= x0) return;
  context.lineWidth = 4; context.strokeStyle = "rgba(0, 0, 0, .55)";
  context.strokeRect(x0 + 2, y0 + 2, x1 - x0 - 4, y1 - y0 - 4);
  context.lineWidth = 2.5; context.strokeStyle = colour;
  context.strokeRect(x0 + 2, y0 + 2, x1 - x0 - 4, y1 - y0 - 4);
}

async function draw(canvas, what, image, seen, frame, level) {
  const context = canvas.getContext("2d");
  const photo = await picture(image.picture);
  const heat = await heatmap(seen.map);
  context.imageSmoothingEnabled = false;
  context.globalAlpha = 1;
  if (what !== "map") context.drawImage(photo, 0, 0, SIDE, SIDE);
  if (what !== "image") {
    context.globalAlpha = what === "map" ? 1 : 0.5;
    context.drawImage(heat, 0, 0, SIDE, SIDE);
    context.globalAlpha = 1;
  }
  if (what !== "map") {
    for (const truth of image.truths) outline(context, truth, data.frame, "#4c8dff");
    outline(context, seen.boxes.subarray(4 * level, 4 * level + 4), frame, "#1fd267");
  }
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function card(index, now) {
  const image = data.images[index];
  const item = element("li", "card");
  item.append(element("h3", "", `${data.classes[image.label]} · ${image.name}`));
  for (const run of data.runs) {
    const seen = run.images[index];
    const row = element("div", "row");
    for (const what of now.view === "all" ? ["image", "map", "overlay"] : ["overlay"]) {
      const canvas = Object.assign(element("canvas"), { width: SIDE, height: SIDE });
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `${what} of ${image.name}, ${run.name}`);
      draw(canvas, what, image, seen, run.frame, now.level);
      row.append(canvas);
    }
    const said = element("p");
    const right = seen.predicted === image.label;
    said.append(
      element("span", "", data.runs.length > 1 ? `${run.name}: ` : ""),
      element("span", "", right ? "class right" : `taken for ${data.classes[seen.predicted]}`));
    if (hasTruth(seen)) {
      const hit = isHit(seen, now.level, now.iou);
      said.append(` · IoU ${(seen.ious[now.level] / 100).toFixed(2)} `, element("span", hit ? "hit" : "miss", hit ? "hit" : "miss"));
    }
    item.append(row, said);
  }
  return item;
}

let shown = PAGE;
function show() {
  const now = state();
  const found = chosen(now);
  byId("level-shown").textContent = `${(now.level / 255).toFixed(2)} of the maximum (level ${now.level})`;
  const key = { 30: "0.3", 50: "0.5", 70: "0.7" }[now.iou];
  const whole = data.runs.filter((run) => run.with_boxes).map((run) => {
    const hits = run.curve[key][now.level];
    return `${run.name}: ${hits.toLocaleString("en")} of ${run.with_boxes.toLocaleString("en")} images hit (${(100 * hits / run.with_boxes).toFixed(2)} %)`;
  });
  byId("counts").textContent = `${whole.length ? `${whole.join("; ")}. ` : ""}Here ${found.length} of ${data.images.length} pictures.`;
  byId("cards").replaceChildren(...found.slice(0, shown).map((index) => card(index, now)));
  byId("more").hidden = found.length <= shown;
}
let waiting = 0;
function showSoon() {
  cancelAnimationFrame(waiting);
  waiting = requestAnimationFrame(show);
}
for (const control of Object.values(controls)) {
  control.addEventListener("input", () => {
    if (control !== controls.level) shown = PAGE;
    showSoon();
  });
}
byId("controls").addEventListener("submit", (event) => event.preventDefault());
byId("more").addEventListener("click", () => { shown += PAGE; show(); });

drawCharts();
setTheme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
if (data.images.length) show(); else byId("gallery").hidden = true;
