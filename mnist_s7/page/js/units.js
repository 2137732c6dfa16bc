// Where one chooses a unit of a layer: over a digit, and in a grid of all of the layer's units; with the mouse, a pen, a
// finger or the arrow keys.

import { make, makeSvg, paint } from "./dom.js";
import { makePicture } from "./picture.js";

const ARROWS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
const DOT = 0.5; // pixels: the radius of the dot at the middle of the unit's field

// The two figures, and `show`, which takes the digit as `{label, image}`, the layer and the unit, [row, column]. A layer
// has `units`, how many along each axis, and `field`, as `field_data` in fields.py makes it. `moved` is called with the
// unit that one chooses.
export function makeUnits(side, help, moved) {
  const attributes = { tabindex: 0, role: "application", "aria-describedby": help };
  const picture = makePicture(side, "A digit");
  const over = make("div", { class: "fields-over", ...attributes }, picture.element);
  const lines = makeSvg("path", { class: "fields-lines" });
  const chosen = makeSvg("rect", { class: "fields-chosen", width: 1, height: 1 });
  const svg = makeSvg("svg", { preserveAspectRatio: "none", "aria-hidden": "true" }, lines, chosen);
  const grid = make("div", { class: "fields-grid", ...attributes }, svg);
  const caption = make("figcaption");
  let layer = null;
  let unit = null;

  const move = (next) => moved(next.map((index, axis) => Math.min(Math.max(index, 0), layer.units[axis] - 1)));
  const step = (direction) => move(unit.map((index, axis) => index + direction[axis]));
  onMoves(over, (place) => move(nearestUnit(layer.field, place.map((part) => part * side - 0.5))), step);
  onMoves(grid, (place) => move(place.map((part, axis) => Math.floor(part * layer.units[axis]))), step);

  return {
    figures: [
      make("figure", {}, over, caption),
      make("figure", { class: "fields-units" }, grid, make("figcaption", {}, "The layer’s units")),
    ],
    show(digit, shownLayer, shownUnit) {
      [layer, unit] = [shownLayer, shownUnit];
      const [row, column] = unit;
      const [height, width] = layer.units;
      paint(picture.canvas, digit.image);
      picture.canvas.setAttribute("aria-label", `A handwritten ${digit.label}`);
      picture.markBox(layer.field.rows[row], layer.field.columns[column]);
      picture.markCircle({ centre: middleOf(layer.field, unit), radius: DOT });
      svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      lines.setAttribute("d", gridLines(width, height));
      chosen.setAttribute("x", column);
      chosen.setAttribute("y", row);
      over.setAttribute("aria-label", `Unit over the digit: row ${row}, column ${column} of ${height}×${width}`);
      grid.setAttribute("aria-label", `Units of the layer: row ${row}, column ${column} of ${height}×${width}`);
      const size = layer.field.size.join("×");
      caption.textContent = `Unit (${row}, ${column}) of ${height}×${width}, at the dot; field ${size}`;
    },
  };
}

// The pixel in the middle of a unit's field, [row, column].
export function middleOf(field, [row, column]) {
  return [field.rows[row], field.columns[column]].map(([first, last]) => (first + last) / 2);
}

// The unit whose field's middle is nearest to a pixel; of two the latter, as the centre one of an even number is.
export function nearestUnit(field, pixel) {
  return [field.rows, field.columns].map((fields, axis) => {
    const distances = fields.map(([first, last]) => Math.abs((first + last) / 2 - pixel[axis]));
    return distances.lastIndexOf(Math.min(...distances));
  });
}

function gridLines(width, height) {
  const down = Array.from({ length: width + 1 }, (_, x) => `M${x} 0V${height}`);
  const across = Array.from({ length: height + 1 }, (_, y) => `M0 ${y}H${width}`);
  return [...down, ...across].join("");
}

// Pressing and dragging calls `pointed` with the place in the element, [down, to the right], from 0 to 1; an arrow key
// calls `stepped` with its direction, [down, to the right].
function onMoves(element, pointed, stepped) {
  let pointer = null; // the id of the one that is down

  function point({ clientX, clientY }) {
    const box = element.getBoundingClientRect();
    pointed([(clientY - box.top) / box.height, (clientX - box.left) / box.width]);
  }

  element.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !event.isPrimary) return;
    element.setPointerCapture(event.pointerId);
    pointer = event.pointerId;
    point(event);
  });
  element.addEventListener("pointermove", (event) => event.pointerId === pointer && point(event));
  for (const end of ["pointerup", "pointercancel"]) {
    element.addEventListener(end, () => {
      pointer = null;
    });
  }
  element.addEventListener("keydown", (event) => {
    const direction = ARROWS[event.key];
    if (!direction || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault(); // no scrolling
    stepped(direction);
  });
}
