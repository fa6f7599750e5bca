// Draws what Python computed: figures, and the gallery at the threshold that the slider is at. It measures nothing.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const PAGE = 24; // cards that are added at a time
const NO_TRUTH = data.no_truth; // in place of an IoU
const SIDE = 128; // pixels of a canvas
const TOP_LEVEL = data.levels.top;

const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

// What a run says of an image: its text is decoded when it is first asked for.
function seenBy(run, index) {
  const image = run.images[index];
  if (typeof image.ious === "string") {
    image.ious = bytes(image.ious);
    image.boxes = new Uint16Array(bytes(image.boxes).buffer);
  }
  return image;
}

// Theme: as the system has it, until the button says otherwise or the system changes.
const dark = () => document.documentElement.dataset.theme === "dark";
const ofTheme = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
function chartColours() {
  const ink = ofTheme("--ink"), line = ofTheme("--line");
  return {
    "font.color": ink, "hoverlabel.bgcolor": ofTheme("--raised"), "hoverlabel.font.color": ink,
    "hoverlabel.bordercolor": line, "xaxis.gridcolor": line, "yaxis.gridcolor": line,
    "xaxis.zerolinecolor": line, "yaxis.zerolinecolor": line, "xaxis.linecolor": line,
  };
}
function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  for (const chart of document.querySelectorAll(".chart")) {
    if (chart.data) Plotly.relayout(chart, chartColours());
  }
}
byId("theme").addEventListener("click", () => setTheme(dark() ? "light" : "dark"));

// Figures: each when it is about to be seen, or the page to be printed.
// Plotly stands in the page as text, and is read with the first of them: the page opens without it.
function loadPlotly() {
  if (window.Plotly) return;
  const script = document.createElement("script");
  script.textContent = byId("plotly").textContent;
  document.head.append(script);
}
// A figure is so high that its legend takes nothing from the lines: Plotly gives a legend half of the height, and a
// scroll bar where that is too little.
const PLOT = 316, ROW = 19, SYMBOL = 45; // pixels
const ruler = document.createElement("canvas").getContext("2d");
function longestOf(names) {
  ruler.font = '12px "Open Sans", verdana, arial, sans-serif'; // Plotly's
  return Math.max(0, ...names.map((name) => ruler.measureText(name).width));
}
function roomFor(figure, width) {
  const names = figure.data.filter((trace) => trace.showlegend !== false).map((trace) => trace.name);
  const columns = 2 * (SYMBOL + longestOf(names)) <= 0.9 * (width - 60) ? 2 : 1;
  const legend = ROW * Math.ceil(names.length / columns);
  const above = figure.layout.legend.yanchor === "top"; // and below the axis its names, upright where they are many
  const ticks = above ? longestOf(figure.data[0].x) : 0;
  const { layout } = figure, margin = above ? { t: legend + 16 } : { b: legend + 52 };
  return {
    height: Math.max(PLOT + 1.5 * ROW + legend, 2 * (legend + ROW)) + ticks,
    margin: { ...layout.margin, ...margin }, legend: { ...layout.legend, entrywidth: 0.9 / columns },
  };
}
async function drawChart(place) {
  if (place.dataset.drawn) return;
  place.dataset.drawn = "yes";
  loadPlotly();
  const figure = data.figures[place.id];
  const layout = { ...figure.layout, ...roomFor(figure, place.clientWidth) };
  await Plotly.newPlot(place, figure.data, layout, { responsive: true, displaylogo: false, displayModeBar: false });
  await Plotly.relayout(place, chartColours());
}
// Each chart has its room before it is drawn: what lies below it stays where it is.
function makeRoom(places) {
  for (const place of places) place.style.minHeight = `${roomFor(data.figures[place.id], place.clientWidth).height}px`;
}
function drawChartsInView() {
  const places = document.querySelectorAll(".chart");
  makeRoom(places);
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) drawChart(entry.target);
  }, { rootMargin: "300px" });
  for (const place of places) watch.observe(place);
  addEventListener("resize", () => {
    makeRoom(places);
    for (const chart of places) {
      if (chart.data) Plotly.relayout(chart, { ...roomFor(data.figures[chart.id], chart.clientWidth), autosize: true });
    }
  });
  addEventListener("beforeprint", () => places.forEach(drawChart));
}
// On paper the page is light, and all cards that are listed have their pictures.
let themeOfScreen = null;
addEventListener("beforeprint", () => {
  themeOfScreen ??= document.documentElement.dataset.theme;
  setTheme("light");
  for (const item of cards.values()) item.drawPictures();
});
addEventListener("afterprint", () => {
  if (themeOfScreen) setTheme(themeOfScreen);
  themeOfScreen = null;
});

// Gallery
const controls = Object.fromEntries(
  ["level", "iou", "seed", "localizer", "kind", "class", "outcome", "run", "view"].map((id) => [id, byId(id)]));
let wantedRun = ""; // whose hits are filtered by, also while a seed is shown that it has no run of

function fillControls() {
  const labels = new Set(data.images.map((image) => image.label));
  data.classes.forEach((name, label) => { if (labels.has(label)) controls.class.add(new Option(name, label)); });
  for (const seed of data.seeds) controls.seed.add(new Option(seed, seed));
  controls.seed.parentElement.hidden = !data.seeds.length;
  const localizers = new Set(data.runs.map((run) => run.localizer));
  for (const name of localizers) controls.localizer.add(new Option(name, name));
  controls.localizer.parentElement.hidden = localizers.size < 2;
  const measured = data.runs.some((run) => run.with_boxes);
  for (const id of ["iou", "kind", "outcome", "run"]) controls[id].parentElement.hidden = !measured;
  if (data.runs.length < 2) controls.run.parentElement.hidden = true;
  byId("counts").parentElement.hidden = !measured;
  fillRuns();
}
// The runs that are shown side by side: of one seed, where settings have several; of one localizer, where it is chosen.
function shownRuns() {
  const localizer = controls.localizer.value;
  return data.runs.filter((run) => (!data.seeds.length || run.seed === controls.seed.value)
    && (localizer === "" || run.localizer === localizer));
}
function fillRuns() {
  controls.run.replaceChildren(...shownRuns().map((run) => new Option(run.name, run.name)));
  if (shownRuns().some((run) => run.name === wantedRun)) controls.run.value = wantedRun;
}

let moved = false; // whether the slider says the level of all maps, and not each run's own cut
const levelOf = (run, now) => (now.moved ? now.level : run.level);
const state = () => ({
  level: Number(controls.level.value), moved, iou: Number(controls.iou.value), kind: controls.kind.value,
  label: controls.class.value, outcome: controls.outcome.value, view: controls.view.value, runs: shownRuns(),
  run: shownRuns().find((run) => run.name === controls.run.value),
});

const isHit = (seen, level, iou) => seen.ious[level] !== NO_TRUTH && seen.ious[level] >= iou;
const hasTruth = (seen) => seen.ious[0] !== NO_TRUTH;

function chosen(now) {
  return data.images.flatMap((image, index) => {
    if (now.kind && image.kind !== now.kind) return [];
    if (now.label !== "" && image.label !== Number(now.label)) return [];
    if (now.outcome && !now.run) return []; // this seed has no run with such maps
    if (now.outcome) {
      const seen = seenBy(now.run, index);
      if (!hasTruth(seen) || isHit(seen, levelOf(now.run, now), now.iou) !== (now.outcome === "hit")) return [];
    }
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

// Levels of grey to colours, once.
const heatmaps = new Map();
function heatmap(address) {
  if (!heatmaps.has(address)) {
    heatmaps.set(address, picture(address).then(coloured));
    pictures.delete(address);
  }
  return heatmaps.get(address);
}
function coloured(image) {
  const canvas = Object.assign(document.createElement("canvas"), { width: image.width, height: image.height });
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  for (let k = 0; k < pixels.data.length; k += 4) {
    [pixels.data[k], pixels.data[k + 1], pixels.data[k + 2]] = data.colours[pixels.data[k]];
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

function outline(context, box, square, colour) {
  const scale = SIDE / square;
  const [x0, y0, x1, y1] = Array.from(box, (side) => side * scale);
  if (x1 <= x0) return;
  context.lineWidth = 4; context.strokeStyle = "rgba(0, 0, 0, .55)";
  context.strokeRect(x0 + 2, y0 + 2, x1 - x0 - 4, y1 - y0 - 4);
  context.lineWidth = 2.5; context.strokeStyle = colour;
  context.strokeRect(x0 + 2, y0 + 2, x1 - x0 - 4, y1 - y0 - 4);
}

async function draw({ canvas, what, run, seen, level, box }, image) {
  const photo = await picture(image.picture);
  const heat = await heatmap(seen.map);
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.globalAlpha = 1;
  if (what !== "map") context.drawImage(photo, 0, 0, SIDE, SIDE);
  if (what !== "image") {
    context.globalAlpha = what === "map" ? 1 : 0.5;
    context.drawImage(heat, 0, 0, SIDE, SIDE);
    context.globalAlpha = 1;
  }
  if (what !== "map") {
    for (const truth of image.truths) outline(context, truth, data.square, "#4c8dff");
    outline(context, box, run.square, "#1fd267");
  }
  canvas.dataset.level = level;
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}


// Cards draw their pictures when they are about to be seen, at the level that the slider is then at.
const inView = new Set();
const cardWatch = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    inView[isIntersecting ? "add" : "delete"](target);
    if (isIntersecting) target.drawPictures();
  }
}, { rootMargin: "400px" });

// One image with every shown run; `paint` brings it to a level, and later to another.
function card(index, now) {
  const image = data.images[index];
  const item = element("li", "card");
  const title = element("h3", "", data.classes[image.label]);
  title.append(element("span", "", ` ${image.name}`));
  item.append(title);
  const canvases = [];
  const says = now.runs.map((run) => {
    const seen = seenBy(run, index);
    const row = element("div", `row of-${now.view}`);
    for (const what of now.view === "all" ? ["image", "map", "overlay"] : ["overlay"]) {
      const canvas = Object.assign(element("canvas"), { width: SIDE, height: SIDE });
      canvas.setAttribute("role", "img");
      row.append(canvas);
      canvases.push({ canvas, what, run, seen });
    }
    const said = element("p"), measured = element("span"), verdict = element("span");
    if (now.runs.length > 1) said.append(element("b", "", run.name), " ");
    said.append(seen.predicted === image.label ? "class right" : `taken for ${data.classes[seen.predicted]}`);
    if (hasTruth(seen)) said.append(" · ", measured, " ", verdict);
    item.append(row, said);
    return (now) => {
      const level = levelOf(run, now), iou = now.iou;
      measured.textContent = `IoU ${(seen.ious[level] / 100).toFixed(2)}`;
      verdict.className = verdict.textContent = isHit(seen, level, iou) ? "hit" : "miss";
    };
  });
  item.drawPictures = () => {
    for (const each of canvases) draw(each, image);
  };
  item.paint = (now) => {
    for (const each of canvases) {
      const level = levelOf(each.run, now);
      each.level = level;
      each.box = each.seen.boxes.subarray(4 * level, 4 * level + 4);
      const around = each.what === "map" ? "" : `, box ${each.box.join(", ")}`;
      each.canvas.setAttribute("aria-label", `${each.what} of ${image.name}, ${each.run.name}${around}`);
    }
    for (const say of says) say(now);
    if (inView.has(item)) item.drawPictures();
  };
  cardWatch.observe(item);
  return item;
}

let most = PAGE;
let cards = new Map(); // those that are shown, by the index of their image
let cardsFor = "";
function showCards(wanted, now) {
  const what = `${now.view} ${controls.seed.value} ${controls.localizer.value}`;
  const before = what === cardsFor ? cards : new Map(); // cards that stay are only painted anew
  cards = new Map(wanted.map((index) => [index, before.get(index) ?? card(index, now)]));
  cardsFor = what;
  const items = [...cards.values()], list = byId("cards");
  if (items.length !== list.children.length || items.some((item, k) => item !== list.children[k])) {
    list.replaceChildren(...items);
  }
  for (const item of items) item.paint(now);
}
function show() {
  const now = state();
  const found = chosen(now);
  showCards(found.slice(0, most), now);
  const owns = [...new Set(now.runs.map((run) => run.level))].sort((a, b) => a - b);
  if (!now.moved && owns.length) controls.level.value = owns[0];
  const share = (level) => (level / TOP_LEVEL).toFixed(2);
  const one = now.moved || !owns.length ? now.level : owns[0];
  const text = !now.moved && owns.length > 1 ? `each run's own, ${owns.map(share).join(" or ")}` :
    `${share(one)} of each map's scale (level ${one})${now.moved ? "" : owns.length ? ", the runs' own" : ""}`;
  byId("level-shown").textContent = text;
  controls.level.setAttribute("aria-valuetext", text);
  const key = { 30: "0.3", 50: "0.5", 70: "0.7" }[now.iou];
  byId("counts").tBodies[0].replaceChildren(...now.runs.filter((run) => run.with_boxes).map((run) => {
    const hits = run.curve[key][levelOf(run, now)];
    const row = element("tr");
    const cells = [hits.toLocaleString("en"), run.with_boxes.toLocaleString("en"), (100 * hits / run.with_boxes).toFixed(2)];
    const head = element("th", "", run.name);
    head.scope = "row";
    row.append(head, ...cells.map((each) => element("td", "", each)));
    return row;
  }));
  const ofLocalizer = (run) => !controls.localizer.value || run.localizer === controls.localizer.value;
  const missing = new Set(data.runs.filter(ofLocalizer).map((run) => run.name));
  for (const run of now.runs) missing.delete(run.name);
  const without = missing.size ? `; of this seed there is no run of ${[...missing].join(", ")}` : "";
  byId("found").textContent = `${found.length} of ${data.images.length} pictures${without}`;
  byId("more").hidden = found.length <= most;
}
let waiting = 0;
function showSoon() {
  cancelAnimationFrame(waiting);
  waiting = requestAnimationFrame(show);
}
for (const control of Object.values(controls)) {
  control.addEventListener("input", () => {
    if (control === controls.seed || control === controls.localizer) fillRuns();
    if (control === controls.run) wantedRun = controls.run.value;
    if (control !== controls.level) most = PAGE;
    else moved = true;
    showSoon();
  });
}
for (const form of document.forms) form.addEventListener("submit", (event) => event.preventDefault());
byId("reset").addEventListener("click", () => { moved = false; show(); });
byId("more").addEventListener("click", () => { most += PAGE; show(); });

const system = matchMedia("(prefers-color-scheme: dark)");
system.addEventListener("change", () => setTheme(system.matches ? "dark" : "light"));
setTheme(system.matches ? "dark" : "light");
if (data.images.length) {
  fillControls();
  show();
} else {
  byId("gallery").hidden = true;
  for (const link of document.querySelectorAll("a[href='#gallery']")) link.hidden = true;
}
drawChartsInView();
