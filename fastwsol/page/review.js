"use strict";
// The page of `python -m fastwsol.review`: images one by one, each with its boxes, to accept, correct or reject.
const data = JSON.parse(document.getElementById("data").textContent);
const el = (id) => document.getElementById(id);
const STORE = "fastwsol-review-2-" + data.key, OLDER_STORE = "fastwsol-review-" + data.key; // whose masks are whole
const LEAST_SIDE = 2; // pixels of a box that is drawn
const LEAST_MOVE = { mouse: 4, pen: 4, touch: 10 }; // pixels of the screen from which on a press is a drag
const LEAST_SHOWN = 48; // pixels of the screen: the short side of an image, however long the other one is

// What was done: an image has a verdict, or null, its boxes where they were changed, else null, where it was rejected and
// that was said, what is wrong: class, box or both; and when that was, since another tab may do more of them.
let states = data.images.map(() => ({ verdict: null, objects: null }));
let at = 0, selected = 0, drawing = null, drag = null, showMask = true, undone = [];
let choosing = false, byPointer = false; // in the list of classes: by keys, and whether a pointer opened it
let unsaved = false; // something was done that this browser does not keep
let found = []; // of each image, when that was done which was here when the page was opened, or was imported

// Of each image what was done last, here or in another tab.
function merge() {
  let kept = null;
  try { kept = JSON.parse(localStorage.getItem(STORE) || localStorage.getItem(OLDER_STORE) || "null"); } catch (error) { return null; } // damaged: none
  if (!kept || !Array.isArray(kept.states) || kept.states.length !== states.length) return null;
  // What a page of an earlier version has kept has no time: it comes before all that has one.
  const time = (state) => state.time || (state.verdict || state.objects ? 1 : 0);
  kept.states.forEach((each, k) => { if (each && time(each) > time(states[k])) states[k] = withMasks(each, k); });
  return kept;
}

// A mask that was predicted is kept by its number among the image's boxes: the browser's room for all pages is small.
function withoutMasks(state, k) {
  const numbered = ({ counts, ...rest }) => {
    const maskOf = counts ? data.images[k].objects.findIndex((one) => one.counts === counts) : -1;
    return maskOf < 0 ? { ...rest, counts } : { ...rest, maskOf };
  };
  return state.objects ? { ...state, objects: state.objects.map(numbered) } : state;
}

function withMasks(state, k) {
  const maskOf = (number) => { const of = data.images[k].objects[number]; return of ? of.counts : null; };
  const filled = ({ maskOf: number, ...rest }) => number === undefined ? rest : { ...rest, counts: maskOf(number) };
  return state.objects ? { ...state, objects: state.objects.map(filled) } : state;
}

function load() {
  try {
    const kept = merge();
    if (kept && data.images[kept.at]) ({ at } = kept);
    noteFound();
    const theme = localStorage.getItem("fastwsol-theme");
    const dark = theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    document.documentElement.dataset.theme = dark ? "dark" : "light";
  } catch (error) { trouble(error); }
}

function save() {
  try {
    merge();
    localStorage.setItem(STORE, JSON.stringify({ states: states.map(withoutMasks), at }));
    unsaved = false;
    el("trouble").hidden = true;
  } catch (error) { trouble(error); }
}

function trouble(error) {
  el("trouble").textContent = error.name === "QuotaExceededError" ?
    "This browser has no more room for what you do on this page: export before you close it." :
    "This browser keeps nothing for this page: export before you close it.";
  el("trouble").hidden = false;
}
addEventListener("beforeunload", (event) => { if (unsaved) event.preventDefault(); });

const image = () => data.images[at];
// What an image is called; while it is to be drawn without help by its number: its name may name the class.
const nameOf = (k) => data.images[k].phase === "drawn" && !states[k].verdict ? `image ${k + 1}` : data.images[k].name;
const objects = (k = at) => states[k].objects || (data.images[k].phase === "drawn" ? [] : data.images[k].objects);
const unaccepted = () => [...states.keys()].filter((k) => states[k].objects && !states[k].verdict);
const isTouched = (state) => Boolean(state.verdict || state.objects);
const wasFound = () => isTouched(states[at]) && (states[at].time || 0) === found[at];
const copied = () => objects().map((each) => ({ ...each, box: [...each.box] }));

// When something was done to an image: after all that was done to it before, whatever became of the clock.
const stamp = (state) => Math.max(Date.now(), (state.time || 0) + 1);

function change(next) {
  const time = stamp(states[at]);
  undone.push({ at, selected, state: states[at], time });
  states[at] = { ...next, time };
  unsaved = true;
  save();
}

function noteFound() { found = states.map((state) => isTouched(state) ? state.time || 0 : null); }

function changeObjects(list) { change({ verdict: null, objects: list }); show(); }

// Whether boxes that were changed are as they were predicted again.
function alike(some, others) {
  return some.length === others.length && some.every((each, k) => each.label === others[k].label &&
    each.box.every((edge, side) => Math.abs(edge - others[k].box[side]) < 0.01));
}

function decide(verdict, wrong = null) {
  let chosen = verdict;
  if (wrong && image().phase === "drawn") return say("Nothing predicted is shown: draw the box, or reject with X.");
  if (wrong === "class" && !image().objects.length) return say("No box was predicted: its box is wrong, or both are.");
  if (verdict === "accepted") {
    if (!objects().length) return say("There is no box: draw one, or reject the image.");
    if (objects().some((each) => each.label === null)) return say("Choose the class of the box first.");
    if (image().phase === "drawn") chosen = "drawn";
    else if (states[at].objects) chosen = alike(states[at].objects, image().objects) ? "accepted" : "corrected";
  }
  const kept = chosen === "accepted" ? null : states[at].objects;
  change({ verdict: chosen, objects: kept, ...(wrong && { wrong }) });
  if (at + 1 < data.images.length) go(at + 1); else show();
}

function say(text) { el("task").textContent = text; }

function undo() {
  const last = undone.pop();
  if (!last && !wasFound()) return say("There is nothing to undo.");
  if (!last) { // no step of it is known
    change({ verdict: null, objects: null });
    show();
    return say("All that was done to this image before is undone; Undo brings it back.");
  }
  if (states[last.at].time !== last.time) {
    go(last.at, last.selected);
    return say("This was changed in another tab since, and stays.");
  }
  const time = stamp(states[last.at]), before = undone.filter((each) => each.at === last.at).pop();
  states[last.at] = { ...last.state, time };
  unsaved = true;
  if (before) before.time = time;
  go(last.at, last.selected);
}

function go(to, object = 0) {
  drag = null; choosing = false;
  at = Math.max(0, Math.min(data.images.length - 1, to));
  selected = object; drawing = null;
  save(); show();
}

function nextOpen() {
  const after = [...states.keys()].map((k) => (at + 1 + k) % states.length); // this image comes last
  const changed = after.find((k) => !states[k].verdict && states[k].objects && states[k].objects.length);
  const open = changed !== undefined ? changed : after.find((k) => !states[k].verdict);
  if (open === undefined) say("All images are reviewed: export them."); else go(open);
}

const PHASES = { drawn: "to be drawn without help", sample: "of the random sample", uncertain: "of the least certain" };
const TASKS = {
  drawn: "Draw the object's box with the mouse, choose its class, then accept.",
  sample: "Are class and box right?",
  uncertain: "Are class and box right?",
};

const FAULTS = { class: ": its class is wrong", box: ": its box is wrong", both: ": class and box are wrong" };

function show() {
  const each = image(), state = states[at];
  const phase = data.images.filter((one) => one.phase === each.phase);
  const place = phase.indexOf(each) + 1;
  el("where").textContent = `${place} of ${phase.length} ${PHASES[each.phase]}`;
  const counts = {};
  states.forEach((one) => { if (one.verdict) counts[one.verdict] = (counts[one.verdict] || 0) + 1; });
  const done = Object.values(counts).reduce((a, b) => a + b, 0);
  el("bar").max = states.length; el("bar").value = done;
  el("counts").textContent = `${done} of ${states.length} reviewed` +
    Object.entries(counts).map(([name, count]) => ` · ${count} ${name}`).join("") +
    (unaccepted().length ? ` · ${unaccepted().length} changed, not accepted` : "");
  const drawHere = drawing && each.phase !== "drawn";
  say(drawHere ? "Drag the new box over the picture." :
    state.verdict ? `This image is ${state.verdict}${FAULTS[state.wrong] || ""}.` +
      (done === states.length ? " All images are reviewed: export them." : "") :
    state.objects && !state.objects.length && each.phase !== "drawn" ? "No box is left: draw one, reject, or undo." :
    state.objects ? "Changed: accept it, or undo." :
    each.objects.length || each.phase === "drawn" ? TASKS[each.phase] :
    `No box was found${each.label === null ? "" : `; the class is ${data.classes[each.label]}`}. Draw one, or reject.`);
  el("task").className = state.verdict || "";
  el("name").textContent = nameOf(at);
  const source = "data:image/jpeg;base64," + el("p" + at).textContent;
  if (el("picture").dataset.at !== String(at)) {
    el("picture").dataset.at = at;
    el("picture").src = source;
  }
  if (drawing === null && each.phase === "drawn" && !objects().length && !state.verdict) drawing = "new";
  el("boxes").classList.toggle("drawing", drawing !== null);
  el("draw").setAttribute("aria-pressed", drawing === "again");
  el("add").setAttribute("aria-pressed", drawing === "new");
  el("toggle").setAttribute("aria-pressed", showMask);
  el("undo").disabled = !undone.length && !wasFound();
  el("previous").disabled = at === 0;
  el("next").disabled = at + 1 === states.length;
  for (const fault of Object.keys(FAULTS)) el(`wrong-${fault}`).disabled = each.phase === "drawn";
  el("accept").querySelector("span").textContent =
    each.phase === "drawn" ? "Done" : state.objects ? "Accept as changed" : "Accept";
  selected = Math.min(selected, Math.max(0, objects().length - 1));
  const chosen = objects()[selected];
  el("class").disabled = !chosen;
  if (!choosing) el("class").value = chosen && chosen.label !== null ? String(chosen.label) : "";
  el("remove").disabled = !chosen;
  showList(); layout();
}

function showList() {
  const list = el("objects"), scrolled = list.scrollTop, hadFocus = list.contains(document.activeElement);
  list.replaceChildren(...(objects().length > 1 ? objects() : []).map((each, k) => {
    const button = document.createElement("button"), item = document.createElement("li");
    button.textContent = `${k + 1}  ${each.label === null ? "no class yet" : data.classes[each.label]}`;
    button.setAttribute("aria-pressed", k === selected);
    const choose = () => { if (!drag) { takeClass(); selected = k; show(); } };
    // The list is made anew where a class is taken: a click would come too late. A finger may only scroll.
    button.onpointerdown = (event) => { if (event.pointerType === "mouse") choose(); };
    button.onclick = choose;
    item.append(button);
    return item;
  }));
  const row = list.children[selected], chosen = `${at} ${selected}`;
  list.scrollTop = scrolled;
  if (row && list.dataset.chosen !== chosen) {
    list.scrollTop = Math.min(row.offsetTop, Math.max(scrolled, row.offsetTop + row.offsetHeight - list.clientHeight));
  }
  if (row && hadFocus) row.firstChild.focus({ preventScroll: true });
  list.dataset.chosen = chosen;
}

// The picture as large as there is room for it, and mask and boxes over it.
function layout() {
  const each = image(), narrow = innerWidth <= 760;
  const most = narrow ? 0.46 * innerHeight : Math.max(220, innerHeight - el("frame").getBoundingClientRect().top - scrollY - 50);
  const scale = Math.min(el("stage").clientWidth / each.width, most / each.height);
  const width = Math.max(LEAST_SHOWN, Math.round(scale * each.width));
  const height = Math.max(LEAST_SHOWN, Math.round(scale * each.height));
  el("frame").style.width = width + "px"; el("frame").style.height = height + "px";
  el("boxes").setAttribute("viewBox", `0 0 ${each.width} ${each.height}`);
  el("boxes").setAttribute("preserveAspectRatio", "none");
  drawMask(width, height); drawBoxes(each.width / width, each.height / height);
}

// COCO's run lengths: five bits a character, the lowest first, a sixth where more follow; from the third length on each
// is less the one two before it; column by column.
function runs(counts) {
  const lengths = [];
  let value = 0, shift = 0;
  for (const character of counts) {
    const bits = character.charCodeAt(0) - 48;
    value |= (bits & 31) << shift; shift += 5;
    if (!(bits & 32)) {
      if (bits & 16) value |= -1 << shift;
      lengths.push(lengths.length > 2 ? value + lengths[lengths.length - 2] : value);
      value = shift = 0;
    }
  }
  return lengths;
}

// How many pixels run lengths keep: every second length.
function pixels(counts) { return runs(counts).reduce((sum, length, k) => sum + (k % 2 ? length : 0), 0); }

function drawMask(width, height) {
  const canvas = el("mask"), each = image();
  canvas.width = Math.max(1, width); canvas.height = Math.max(1, height);
  const brush = canvas.getContext("2d");
  brush.fillStyle = "#ff2fa0";
  if (!showMask) return;
  for (const thing of objects()) {
    if (!thing.counts) continue;
    let place = 0, inside = false;
    for (let length of runs(thing.counts)) {
      let from = place;
      place += length;
      while (inside && from < place) { // a run may go on in the next columns
        const x = Math.floor(from / each.height), y = from % each.height;
        const rows = Math.min(place - from, each.height - y);
        const left = Math.floor(x * width / each.width), top = Math.floor(y * height / each.height);
        brush.fillRect(left, top, Math.ceil((x + 1) * width / each.width) - left,
          Math.ceil((y + rows) * height / each.height) - top);
        from += rows;
      }
      inside = !inside;
    }
  }
}

function part(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// Which edges a handle moves, by their place in x0, y0, x1, y1.
const EDGES = [["ns", [1]], ["ew", [2]], ["ns", [3]], ["ew", [0]]];
const CORNERS = [["nwse", [0, 1]], ["nesw", [2, 1]], ["nwse", [2, 3]], ["nesw", [0, 3]]];

function drawBoxes(perX, perY) {
  const groups = objects().map((thing, k) => {
    const [x0, y0, x1, y1] = thing.box, group = part("g", { class: k === selected ? "chosen" : "other" });
    const rectangle = { x: x0, y: y0, width: x1 - x0, height: y1 - y0 };
    group.append(part("rect", { class: "under", ...rectangle }), part("rect", { class: "line", ...rectangle }));
    const inside = part("rect", { class: "inside", ...rectangle });
    inside.dataset.object = k; inside.dataset.moves = "0,1,2,3";
    group.append(inside);
    if (k === selected && drawing === null) {
      const points = { 0: x0, 1: y0, 2: x1, 3: y1 };
      const lines = [[x0, y0, x1, y0], [x1, y0, x1, y1], [x0, y1, x1, y1], [x0, y0, x0, y1]];
      EDGES.forEach(([cursor, moves], j) => {
        const [ax, ay, bx, by] = lines[j];
        const edge = part("line", { class: `edge ${cursor}`, x1: ax, y1: ay, x2: bx, y2: by });
        edge.dataset.object = k; edge.dataset.moves = moves;
        group.append(edge);
      });
      CORNERS.forEach(([cursor, moves]) => {
        const radius = matchMedia("(pointer: coarse)").matches ? 12 : 7;
        const corner = part("ellipse", { class: `corner ${cursor}`, cx: points[moves[0]], cy: points[moves[1]],
          rx: radius * perX, ry: radius * perY });
        corner.dataset.object = k; corner.dataset.moves = moves;
        group.append(corner);
      });
    }
    return group;
  });
  el("boxes").replaceChildren(...groups.sort((a, b) => (a.getAttribute("class") === "chosen") - (b.getAttribute("class") === "chosen")));
}

// Where it points to, in the image's pixels; outside of the image where it is dragged there.
function pointer(event) {
  const frame = el("boxes").getBoundingClientRect(), each = image();
  return [(event.clientX - frame.left) / frame.width * each.width, (event.clientY - frame.top) / frame.height * each.height];
}

function within(box, each) {
  return box.map((edge, side) => Math.max(0, Math.min(side % 2 ? each.height : each.width, edge)));
}

el("boxes").addEventListener("pointerdown", (event) => {
  if (event.button || drag) return; // a second finger
  takeClass();
  const [x, y] = pointer(event), target = event.target.dataset || {};
  if (drawing !== null || !objects().length) {
    const list = copied();
    const anew = { label: null, box: [x, y, x, y], score: null, counts: null };
    if (drawing === "again" && list[selected]) {
      anew.label = list[selected].label;
      list[selected] = anew;
    } else { list.push(anew); selected = list.length - 1; }
    drag = { list, moves: [2, 3], from: [x, y], box: [...anew.box], isNew: true };
  } else if (target.moves !== undefined) {
    selected = Number(target.object);
    const list = copied();
    drag = { list, moves: String(target.moves).split(",").map(Number), from: [x, y], box: [...list[selected].box] };
  } else return;
  Object.assign(drag, { object: selected, pointer: event.pointerId, pressed: [event.clientX, event.clientY] });
  event.preventDefault();
  el("boxes").setPointerCapture(event.pointerId);
});

el("boxes").addEventListener("pointermove", (event) => {
  if (!drag || event.pointerId !== drag.pointer) return;
  const least = LEAST_MOVE[event.pointerType] || LEAST_MOVE.mouse;
  drag.moved = drag.moved || Math.hypot(event.clientX - drag.pressed[0], event.clientY - drag.pressed[1]) >= least;
  if (!drag.moved) return;
  const [x, y] = pointer(event), each = image();
  let box = [...drag.box];
  let dx = x - drag.from[0], dy = y - drag.from[1];
  if (drag.moves.length === 4) { // the whole box stays in the image
    dx = Math.max(-box[0], Math.min(each.width - box[2], dx));
    dy = Math.max(-box[1], Math.min(each.height - box[3], dy));
  }
  for (const side of drag.moves) box[side] += side % 2 ? dy : dx;
  box = within(box, each);
  const thing = drag.list[drag.object];
  thing.box = [Math.min(box[0], box[2]), Math.min(box[1], box[3]), Math.max(box[0], box[2]), Math.max(box[1], box[3])];
  const kept = states[at];
  states[at] = { verdict: null, objects: drag.list };
  layout();
  states[at] = kept;
});

function drop(event, cancelled) {
  if (!drag || event.pointerId !== drag.pointer) return;
  const { list, moved, isNew, object } = drag, thing = list[object];
  drag = null;
  const [x0, y0, x1, y1] = thing.box;
  if (cancelled || !moved || x1 - x0 < LEAST_SIDE || y1 - y0 < LEAST_SIDE) return show();
  thing.box = [x0, y0, x1, y1].map((edge) => Math.round(edge * 100) / 100);
  thing.counts = null; // the mask was another box's
  thing.moved = true;
  if (isNew && thing.label === null && image().phase !== "drawn") thing.label = image().label;
  drawing = null;
  changeObjects(list);
}
el("boxes").addEventListener("pointerup", (event) => drop(event, false));
el("boxes").addEventListener("pointercancel", (event) => drop(event, true));
el("boxes").addEventListener("lostpointercapture", (event) => drop(event, true)); // where no pointerup has come

function start(how) { drawing = drawing === how ? null : how; show(); }

function remove() {
  const list = copied();
  if (!list.length) return;
  list.splice(selected, 1);
  changeObjects(list);
}

// The class of an image that somebody judged: its own where that was shown and a box has it; else that whose boxes cover
// the most of it, as other formats have it, difficult ones aside.
function classOf(each, kept) {
  if (each.phase !== "drawn" && kept.some((thing) => thing.label === each.label)) return each.label;
  const areas = new Map(), plain = kept.filter((thing) => !thing.difficult);
  for (const { label, box: [x0, y0, x1, y1] } of plain.length ? plain : kept) {
    areas.set(label, (areas.get(label) || 0) + (x1 - x0) * (y1 - y0));
  }
  return [...areas].sort(([a, ofA], [b, ofB]) => ofB - ofA || a - b)[0][0];
}

function exported() {
  const ids = new Map();
  const counts = {};
  const images = [], annotations = [];
  data.images.forEach((each, k) => {
    const { verdict, wrong } = states[k];
    if (!verdict) return;
    counts[verdict] = (counts[verdict] || 0) + 1;
    ids.set(k, each.id);
    const kept = verdict === "rejected" ? [] : objects(k);
    const entry = { id: each.id, file_name: each.name, width: each.width, height: each.height,
      review: { phase: each.phase, verdict, ...(wrong && { wrong }),
        predicted: each.objects.map(({ label, box: [x0, y0, x1, y1] }) => ({
          category_id: label + 1, bbox: [x0, y0, x1 - x0, y1 - y0].map((value) => Math.round(value * 1e4) / 1e4) })) } };
    if (kept.length) entry.category_id = classOf(each, kept) + 1;
    images.push(entry);
    kept.forEach((thing) => {
      const [x0, y0, x1, y1] = thing.box;
      const found = { id: annotations.length + 1, image_id: each.id, category_id: thing.label + 1,
        bbox: [x0, y0, x1 - x0, y1 - y0].map((value) => Math.round(value * 1e4) / 1e4),
        segmentation: thing.counts ? { size: [each.height, each.width], counts: thing.counts } : [],
        ...(thing.difficult && { difficult: 1 }),
        area: thing.counts ? pixels(thing.counts) : Math.round((x1 - x0) * (y1 - y0) * 1e4) / 1e4, iscrowd: 0 };
      if (thing.score !== null && !thing.moved && !thing.renamed) found.score = thing.score;
      annotations.push(found);
    });
  });
  const review = { predictions: data.key, phases: data.phases, seed: data.seed, counts };
  return { info: { description: "reviewed with fastwsol", review }, categories: data.categories, images, annotations };
}

function download() {
  const text = JSON.stringify(exported());
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = "reviewed.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  if (!unaccepted().length) unsaved = false;
  const left = unaccepted(), emptied = left.filter((k) => !states[k].objects.length).map(nameOf); // N looks for others first
  const where = [...(emptied.length < left.length ? ["N goes there"] : []),
    ...(emptied.length ? [`no box is left in ${emptied.slice(0, 3).join(", ")}${emptied.length > 3 ? ", ..." : ""}`] : [])];
  const done = states.filter((state) => state.verdict).length;
  say(`Exported ${["no image", "1 image"][done] || `${done} images`} to reviewed.json among the browser's downloads` +
    (left.length ? `, without ${left.length === 1 ? "an image that was" : `${left.length} images that were`} ` +
      `changed and not accepted: ${where.join("; ")}.` : "."));
}

// Take up what was exported, of this page or of one with other images of the same predictions: of the images that it
// has with the same boxes predicted, shown or hidden alike. What is done here after the export was made stays.
function take(text) {
  const file = JSON.parse(text), label = {}, of = {}, asText = (list) => JSON.stringify(list);
  if (!file.info || !file.info.review || !file.images) throw new Error("no export of this page");
  const names = data.categories.map((each) => each.wnid);
  file.categories.forEach((each) => { label[each.id] = names.indexOf(each.wnid); });
  file.annotations.forEach((each) => { (of[each.image_id] = of[each.image_id] || []).push(each); });
  const place = new Map(data.images.map((each, k) => [each.name, k]));
  const rounded = ([x0, y0, x1, y1]) => [x0, y0, x1 - x0, y1 - y0].map((value) => Math.round(value * 1e4) / 1e4);
  const taken = [...states];
  const counts = { taken: 0, "not on this page": 0, "predicted otherwise": 0, "done here already": 0 };
  file.images.forEach((each) => {
    const k = place.get(each.file_name), { verdict, wrong, phase, predicted } = each.review || {};
    if (!Array.isArray(predicted)) throw new Error(`${each.file_name} has no review in it`);
    if (k === undefined) { counts["not on this page"] += 1; return; }
    const ours = data.images[k].objects.map((thing) => [thing.label, rounded(thing.box)]);
    const theirs = predicted.map((thing) => [label[thing.category_id], thing.bbox]);
    if (asText(ours) !== asText(theirs) || (phase === "drawn") !== (data.images[k].phase === "drawn") ||
        (of[each.id] || []).some((thing) => !(label[thing.category_id] >= 0))) { counts["predicted otherwise"] += 1; return; }
    if (taken[k].verdict || taken[k].objects) { counts["done here already"] += 1; return; }
    const objects = (of[each.id] || []).map(({ category_id, bbox: [x, y, width, height], segmentation, score, difficult }) => ({
      label: label[category_id], box: within([x, y, x + width, y + height], data.images[k]), score: score === undefined ? null : score,
      counts: (segmentation && segmentation.counts) || null, moved: score === undefined, ...(difficult && { difficult: 1 }) }));
    const changed = verdict === "corrected" || verdict === "drawn";
    taken[k] = { verdict, objects: changed ? objects : null, ...(wrong && { wrong }), time: stamp(taken[k]) };
    counts.taken += 1;
  });
  states = taken;
  undone = [];
  if (counts.taken) unsaved = true;
  noteFound();
  save(); show();
  say(`${file.images.length} images in the file: ` +
    Object.entries(counts).filter(([, count]) => count).map(([name, count]) => `${count} ${name}`).join(", ") + ".");
}

const ACTIONS = {
  accept: () => decide("accepted"), reject: () => decide("rejected"),
  "wrong-class": () => decide("rejected", "class"), "wrong-box": () => decide("rejected", "box"),
  "wrong-both": () => decide("rejected", "both"), previous: () => go(at - 1), next: () => go(at + 1),
  draw: () => start(objects().length ? "again" : "new"), add: () => start("new"), remove, undo,
  toggle: () => { showMask = !showMask; show(); }, open: nextOpen, export: download, import: () => el("file").click(),
};
// A pointer leaves nothing behind that Enter would press again; keys leave the focus where it is.
for (const [id, action] of Object.entries(ACTIONS)) el(id).onclick = (event) => {
  if (drag) return; // another finger
  action();
  if (event.detail) el(id).blur();
};
const KEYS = { a: "accept", Enter: "accept", x: "reject", r: "reject", 1: "wrong-class", 2: "wrong-box",
  3: "wrong-both", ArrowLeft: "previous", k: "previous", ArrowRight: "next", j: "next", d: "draw", b: "add",
  Delete: "remove", Backspace: "remove", u: "undo", m: "toggle", n: "open", e: "export" };
document.addEventListener("keydown", (event) => {
  if (drag) return event.preventDefault(); // first the box is let go
  if (event.repeat && !event.key.startsWith("Arrow")) { // a key that is held down decides one image
    if (event.target.matches("button")) event.preventDefault(); // which it would press again
    return;
  }
  if (event.key === "Tab") byPointer = false;
  const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey && !/^(F\d+|Tab)$/.test(event.key);
  const leaves = event.target === el("class") && byPointer && isPlain && !isOpen(el("class"));
  if (leaves) { // the list that the mouse had opened was closed: keys are the page's again
    event.preventDefault();
    el("class").blur();
  }
  const target = leaves ? document.body : event.target;
  const inField = target.matches("select, input, textarea, summary, button");
  if (target === el("class") && (event.key === "Enter" || event.key === "Escape")) {
    event.preventDefault();
    if (event.key === "Escape") choosing = false; // what was chosen is shown, and not taken
    el("class").blur();
    return show();
  }
  const key = keyOf(event);
  if ((event.ctrlKey || event.metaKey) && !event.shiftKey && key === "z") { event.preventDefault(); return undo(); }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (target === el("class") && event.key !== "Tab") choose();
  if (target.matches("select") || (inField && (event.key === "Enter" || event.key === " "))) return;
  if (key === "c" && !el("class").disabled) {
    event.preventDefault();
    el("class").focus();
    byPointer = false;
    return choose();
  }
  if (key === "o" && objects().length) { selected = (selected + 1) % objects().length; return show(); }
  if (key === "Escape") { drawing = null; return show(); }
  if (KEYS[key]) { event.preventDefault(); ACTIONS[KEYS[key]](); }
});
// The letter where the layout has it; where it has another alphabet, that of its place on the keyboard.
function keyOf({ key, code }) {
  const isLatin = key <= "~", [, place] = /^(?:Key|Digit)([A-Z0-9])$/.exec(code) || [];
  return !isLatin && place ? place.toLowerCase() : key.length === 1 ? key.toLowerCase() : key;
}
// Whether a list is shown; where the browser does not tell, it may be.
function isOpen(list) {
  try { return list.matches(":open"); } catch (error) { return true; }
}
function choose() {
  choosing = true;
  say("Type the name of the class, then Enter. Escape leaves it as it is.");
}
// By keys a class is passed on the way to another: the one that stands there when the field is left is taken.
function rename() {
  const list = copied(), label = Number(el("class").value);
  choosing = false;
  if (!list[selected] || el("class").value === "" || list[selected].label === label) return;
  list[selected].label = label;
  list[selected].renamed = true;
  changeObjects(list);
}
function takeClass() { if (choosing) { rename(); el("class").blur(); } }
el("class").onpointerdown = () => { choosing = false; byPointer = !el("class").disabled; };
el("class").onpointercancel = () => { byPointer = false; }; // a finger scrolls
el("class").onchange = () => { if (!choosing) { rename(); el("class").blur(); } };
el("class").onblur = () => { byPointer = false; if (choosing) rename(); };
el("file").onchange = async () => {
  const [file] = el("file").files;
  el("file").value = "";
  if (!file) return;
  try { take(await file.text()); } catch (error) { say(`${file.name}: cannot be taken up: ${error.message}`); }
};
addEventListener("storage", (event) => {
  if (event.key !== STORE || drag) return;
  try {
    const kept = merge();
    // The other tab may have written before it knew what was done here.
    if (kept && kept.states.some((each, k) => ((each && each.time) || 0) < (states[k].time || 0))) save();
    show();
  } catch (error) { trouble(error); }
});
el("theme").onclick = () => {
  const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  try { localStorage.setItem("fastwsol-theme", theme); } catch (error) { /* it is asked for again next time */ }
};
const none = document.createElement("option");
none.value = ""; none.textContent = "choose a class"; none.disabled = true;
el("class").append(none, ...data.classes.map((name, k) => {
  const option = document.createElement("option");
  option.value = k; option.textContent = name;
  return option;
}));
el("picture").addEventListener("load", layout);
addEventListener("resize", layout);
load(); show();
