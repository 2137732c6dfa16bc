// The receptive fields of a network's layers as a table, for whoever wants the numbers.

import { make } from "./dom.js";

const COLUMNS = {
  Kernel: ({ kernel }) => kernel.join("×"),
  Stride: ({ stride }) => one(stride),
  "Field (pixels)": ({ size }) => size.join("×"),
  "Effective stride": ({ jump }) => one(jump),
  Start: ({ start }) => one(start),
};

// The element, `show`, which takes the network's name and its layers as `field_data` in fields.py makes them, and `mark`,
// which takes one of them.
export function makeFieldTable() {
  const caption = make("caption");
  const body = make("tbody");
  const heads = ["Layer", ...Object.keys(COLUMNS)].map((text) => make("th", { scope: "col" }, text));
  const table = make("table", {}, caption, make("thead", {}, make("tr", {}, ...heads)), body);
  let rows = new Map(); // of each layer
  const scroller = make(
    "div",
    { class: "fields-scroller", tabindex: 0, role: "region", "aria-label": "Receptive fields of the layers" },
    table,
  );
  return {
    element: make(
      "details",
      {},
      make("summary", {}, "All layers of the network as a table"),
      scroller,
      make(
        "p",
        { class: "fields-help" },
        "Sizes are in pixels. The effective stride is the distance between the fields of two units side by side, and " +
          "the start is the centre of the first unit’s field. Each BatchNorm is folded into a layer beside it.",
      ),
    ),
    show(name, layers) {
      caption.textContent = `Receptive fields of ${name}`;
      rows = new Map(layers.map((layer) => [layer, rowOf(layer)]));
      body.replaceChildren(...rows.values());
    },
    mark(marked) {
      for (const [layer, row] of rows) row.setAttribute("aria-current", layer === marked);
    },
  };
}

function rowOf(layer) {
  const cells = Object.values(COLUMNS).map((text) => make("td", {}, text(layer)));
  return make("tr", {}, make("th", { scope: "row" }, layer.name), ...cells);
}

// One number where both axes agree.
const one = ([down, across]) => (down === across ? `${down}` : `${down}, ${across}`);
