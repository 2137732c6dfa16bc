// The panel "Receptive fields": one moves a unit of a layer over a digit, and sees which pixels it looks at, by the
// formulas and by its gradient, before training and after.

import { make } from "./dom.js";
import { effectiveField } from "./effective.js";
import { makeFieldTable } from "./fieldtable.js";
import { unitGradient } from "./gradient.js";
import { makeHeatMaps } from "./heatmaps.js";
import { titled } from "./maps.js";
import { loadNetwork, run } from "./network.js";
import { clipped } from "./picture.js";
import { makeUnits, middleOf, nearestUnit } from "./units.js";

const SIDE = 28; // pixels of an image
const FIRST = 3; // the digit that is shown at first: there is ink in its middle
const REST = 400; // milliseconds without a change after which the sentence is said

// Puts the panel into `element`. `networks` is a list of `{name, data, fields}`, with what `network_data` in networks.py
// and `field_data` in fields.py make; `digits` is a list of `{label, greys}`, an image's greys in base64.
export function mountFields(element, { networks, digits }) {
  const choices = networks.map(({ data, fields }) => layersOf(data, fields));
  const images = digits.map(({ greys }) => Uint8Array.from(atob(greys), (letter) => letter.charCodeAt(0)));
  const network = makeSelect("network", "Network", networks.map(({ name }) => name));
  const layer = makeSelect("layer", "Layer", []);
  const digit = makeSelect("digit", "Digit", digits.map(({ label }) => label));
  const average = makeSelect("average", "Gradient", [`mean over ${digits.length} digits`, "on this digit alone"]);
  digit.selectedIndex = Math.min(FIRST, digits.length - 1);
  const units = makeUnits(SIDE, "fields-help", moveTo);
  const maps = makeHeatMaps(SIDE);
  const table = makeFieldTable();
  const sentence = make("p", { class: "fields-sentence", "aria-live": "polite" });
  let runs = null; // of the network before training and after: what `run` gives of each digit
  let unit = null; // [row, column]
  let middle = null; // of the unit's field, [row, column] in pixels
  let waiting = false;
  let timer = null;

  const selected = () => choices[network.selectedIndex][layer.selectedIndex];

  function selectNetwork() {
    const { name, data, fields } = networks[network.selectedIndex];
    runs = [fields.untrained, data].map(loadNetwork).map((loaded) => ({
      loaded,
      results: images.map((image) => run(loaded, image).layers),
    }));
    const layers = choices[network.selectedIndex];
    layer.replaceChildren(...layers.map((each) => make("option", {}, each.title)));
    layer.selectedIndex = lastConvolution(layers);
    table.show(name, fields.layers);
    selectLayer();
  }

  // The unit is the centre one at first, and then stays where it is in the image, as far as it can.
  function selectLayer() {
    const { field, units: counts } = selected();
    table.mark(field);
    moveTo(middle ? nearestUnit(field, middle) : counts.map((count) => Math.floor(count / 2)));
  }

  function moveTo(next) {
    unit = next;
    middle = middleOf(selected().field, unit);
    update();
  }

  // The gradients take longer than an arrow key: only the last ones of a frame are shown.
  function update() {
    units.show({ label: digits[digit.selectedIndex].label, image: images[digit.selectedIndex] }, selected(), unit);
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      show();
    });
  }

  function show() {
    const chosen = selected();
    const found = runs.map(({ loaded, results }) => {
      const taken = average.selectedIndex === 0 ? results : [results[digit.selectedIndex]];
      return effectiveField(taken.map((layers) => unitGradient(loaded, layers, chosen.step, unit)), SIDE);
    });
    maps.show(found, chosen.field.rows[unit[0]], chosen.field.columns[unit[1]]);
    say(`${networks[network.selectedIndex].name}, ${chosen.name}, ${inWords(chosen, unit, found)}`);
  }

  function say(words) {
    clearTimeout(timer);
    timer = setTimeout(() => {
      sentence.textContent = words;
    }, REST);
  }

  network.addEventListener("change", selectNetwork);
  layer.addEventListener("change", selectLayer);
  digit.addEventListener("change", update);
  average.addEventListener("change", update);

  element.classList.add("fields");
  element.setAttribute("role", "group");
  element.setAttribute("aria-label", "Receptive fields");
  element.append(
    make("div", { class: "fields-selects" }, ...[network, layer, digit, average].map((select) => select.parentNode)),
    make("div", { class: "fields-figures" }, units.figures[0], ...maps.figures),
    make("div", { class: "fields-below" }, units.figures[1], sentence, maps.legend),
    make(
      "p",
      { class: "fields-help", id: "fields-help" },
      "Press and drag on the digit or on the layer’s units. With the keyboard, focus one of them and use the arrow keys. " +
        "Units, rows and columns count from 0.",
    ),
    table.element,
  );
  whenIdle(selectNetwork);
}

// The steps that have a field, each with its place among the steps.
function layersOf({ steps }, fields) {
  return steps.flatMap(({ name, kind, shape }, step) => {
    const field = fields.layers[fields.steps[step]];
    if (!field) return [];
    const title = `${titled(name, kind)}: ${field.size.join("×")}`;
    return [{ name, kind, step, field, units: shape.slice(1), title }];
  });
}

// The last one with more than one unit, which is the one that `effective_receptive_field` takes too.
function lastConvolution(layers) {
  const found = layers.findLastIndex(({ kind, units }) => kind === "conv2d" && Math.max(...units) > 1);
  return Math.max(found, 0);
}

function makeSelect(name, label, options) {
  const select = make("select", { id: `fields-${name}` }, ...options.map((text) => make("option", {}, text)));
  make("div", {}, make("label", { for: select.id }, label), select);
  return select;
}

// The network runs on all digits at first: not before the rest of the page is there, so that it is quick to open.
function whenIdle(start) {
  (window.requestIdleCallback ?? setTimeout)(start);
}

// What the unit sees, as a sentence.
function inWords({ field, units }, [row, column], [before, after]) {
  const [rows, columns] = [clipped(field.rows[row], SIDE), clipped(field.columns[column], SIDE)];
  const inImage = [rows, columns].map(([first, last]) => Math.max(0, last - first + 1));
  const size = field.size.join("×");
  const sees = `sees rows ${rows.join("–")}, columns ${columns.join("–")}`;
  const beyond = inImage.join("×") === size ? `${size} pixels` : `the part in the image of a field of ${size} pixels`;
  const seen = Math.min(...inImage) > 0 ? `${sees}, ${beyond}` : "sees padding alone";
  const place = `unit (${row}, ${column}) of ${units.join("×")}`;
  const [down, across] = field.jump;
  const apart = down === across ? `${pixels(down)} apart` : `${pixels(down)} apart downwards and ${across} sideways`;
  const stride = Math.max(...units) > 1 ? ` The fields of neighbouring units are ${apart} (effective stride).` : "";
  const gradient = after
    ? `95 % of the gradient lies within ${after.radius.toFixed(1)} pixels of the gradient’s centre`
    : "the unit has no gradient here";
  return `${place}: ${seen}; ${gradient} (before training: ${before ? before.radius.toFixed(1) : "none"}).${stride}`;
}

const pixels = (count) => (count === 1 ? "1 pixel" : `${count} pixels`);
