// What a reader chooses from: lists to select one of, and experiments to tick, each with its look in the charts.

import { make, makeSvg } from "./dom.js";

// Of matplotlib's markers, as SVG paths from -1 to 1.
const SHAPES = {
  o: "M-1,0A1,1,0,1,1,1,0A1,1,0,1,1,-1,0Z",
  s: "M-0.9,-0.9H0.9V0.9H-0.9Z",
  "^": "M0,-1L1,0.8H-1Z",
  v: "M0,1L1,-0.8H-1Z",
  D: "M0,-1.2L1.2,0L0,1.2L-1.2,0Z",
  P: "M-0.4,-1.1H0.4V-0.4H1.1V0.4H0.4V1.1H-0.4V0.4H-1.1V-0.4H-0.4Z",
  X: "M0,-0.5L0.7,-1.2L1.2,-0.7L0.5,0L1.2,0.7L0.7,1.2L0,0.5L-0.7,1.2L-1.2,0.7L-0.5,0L-1.2,-0.7L-0.7,-1.2Z",
  "*": "M0,-1.25L0.29,-0.4L1.19,-0.39L0.48,0.15L0.73,1.01L0,0.5L-0.73,1.01L-0.48,0.15L-1.19,-0.39L-0.29,-0.4Z",
};
const DASHES = ["", "7 3", "2 3", "9 3 2 3"];

let lists = 0;

// The list with its label; `options` are texts, and `changed` is called after a selection.
export function makeSelect(label, options, selected, changed) {
  const id = `choice-${++lists}`;
  const select = make("select", { id }, ...options.map((text) => make("option", {}, text)));
  select.selectedIndex = selected;
  select.addEventListener("change", changed);
  return { element: make("div", { class: "choice" }, make("label", { for: id }, label), select), select };
}

// Each experiment's colour and shape, and the dashes that tell it from others of its colour. One without a colour has the
// text's.
export function looksOf(experiments) {
  const ink = getComputedStyle(document.documentElement).getPropertyValue("--ink").trim();
  const seen = new Map();
  return experiments.map(({ colour, marker }) => {
    const times = seen.get(colour) ?? 0;
    seen.set(colour, times + 1);
    return { colour: colour ?? ink, dash: DASHES[times % DASHES.length], shape: SHAPES[marker] };
  });
}

// Boxes to tick, which are the chart's legend too; `chosen()` gives the indices of those that are ticked.
export function makeChecks(legend, experiments, ticked, changed) {
  const boxes = experiments.map((_, index) => {
    const box = make("input", { type: "checkbox" });
    box.checked = ticked(index);
    box.addEventListener("change", changed);
    return box;
  });
  const labels = looksOf(experiments).map(({ dash, shape }, index) => {
    const { colour, name, failed } = experiments[index];
    const paint = colour ?? "currentColor"; // which follows light and dark
    const line = makeSvg("line", { x1: 0, x2: 32, y1: 6, y2: 6, stroke: paint, "stroke-width": 2, "stroke-dasharray": dash });
    const mark = makeSvg("path", { d: shape, fill: paint, transform: "translate(16 6) scale(4.5)" });
    const swatch = makeSvg("svg", { width: 32, height: 12, "aria-hidden": "true" }, line, mark);
    return make("label", { class: "check" }, boxes[index], swatch, make("span", {}, name + failed));
  });
  const none = make("button", { type: "button" }, "None");
  none.addEventListener("click", () => {
    for (const box of boxes) box.checked = false;
    changed();
  });
  const element = make("fieldset", { class: "checks" }, make("legend", {}, legend), ...labels, none);
  const chosen = () => boxes.flatMap((box, index) => (box.checked ? [index] : []));
  return { element, chosen };
}
