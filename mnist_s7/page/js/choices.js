// What a reader chooses from: lists to select one of, and experiments to tick, each with its look in the charts.

import { make, makeSvg } from "./dom.js";

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

// Each experiment's colour, and the dashes that tell it from others of its colour. One without a colour has the text's.
export function looksOf(experiments) {
  const ink = getComputedStyle(document.documentElement).getPropertyValue("--ink").trim();
  const seen = new Map();
  return experiments.map(({ colour }) => {
    const times = seen.get(colour) ?? 0;
    seen.set(colour, times + 1);
    return { colour: colour ?? ink, dash: DASHES[times % DASHES.length] };
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
  const labels = looksOf(experiments).map(({ dash }, index) => {
    const { colour, name, failed } = experiments[index];
    const line = makeSvg("line", { x1: 0, x2: 26, y1: 5, y2: 5, "stroke-width": 3, "stroke-dasharray": dash });
    line.setAttribute("stroke", colour ?? "currentColor");
    const swatch = makeSvg("svg", { width: 26, height: 10, "aria-hidden": "true" }, line);
    return make("label", { class: "check" }, boxes[index], swatch, make("span", {}, name + failed));
  });
  const element = make("fieldset", { class: "checks" }, make("legend", {}, legend), ...labels);
  const chosen = () => boxes.flatMap((box, index) => (box.checked ? [index] : []));
  return { element, chosen };
}
