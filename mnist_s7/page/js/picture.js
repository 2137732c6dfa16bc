// A picture of an image's pixels on which a unit's field is marked, and the colours of a heat map.

import { make, makeSvg } from "./dom.js";

// From dark to light, each lighter than the one before: they can be told apart without seeing hues.
export const COLOURS = [[16, 20, 66], [39, 77, 134], [48, 139, 140], [140, 197, 119], [253, 245, 176]];

// The element, with a label for who does not see it, its `canvas` of `side` x `side` pixels, `markBox`, which outlines rows and columns, both [first, last],
// and `markCircle`, around `centre`, [row, column]; none where there is no effective field.
export function makePicture(side, label) {
  const canvas = make("canvas", { width: side, height: side, role: "img", "aria-label": label });
  // Every line twice: the wide one below makes the other one seen on any colour.
  const [boxes, circles] = ["rect", "circle"].map((tag) =>
    ["fields-halo", `fields-${tag}`].map((name) => makeSvg(tag, { class: name })),
  );
  const inside = makeSvg("svg", { width: side, height: side }, ...circles); // cuts off what is outside of the picture
  const marks = makeSvg("svg", { viewBox: `0 0 ${side} ${side}`, "aria-hidden": "true" }, inside, ...boxes);
  return {
    element: make("div", { class: "fields-picture" }, canvas, marks),
    canvas,
    markBox(rows, columns) {
      const [top, bottom] = clipped(rows, side);
      const [left, right] = clipped(columns, side);
      const [width, height] = [Math.max(0, right - left + 1), Math.max(0, bottom - top + 1)];
      setAll(boxes, { x: left, y: top, width, height });
    },
    markCircle(field) {
      const [row, column] = field?.centre ?? [0, 0];
      setAll(circles, { cx: column + 0.5, cy: row + 0.5, r: field?.radius ?? 0 }); // the first pixel is from 0 to 1
    },
  };
}

// What lies in the image of the pixels from first to last.
export function clipped([first, last], side) {
  return [Math.max(first, 0), Math.min(last, side - 1)];
}

// Draws places on the colour scale, from 0 dark to 1 light, on a canvas of as many pixels.
export function paintColours(canvas, places) {
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(canvas.width, canvas.height);
  places.forEach((place, index) => pixels.data.set([...colourAt(place), 255], 4 * index));
  context.putImageData(pixels, 0, 0);
}

function colourAt(place) {
  const at = place * (COLOURS.length - 1);
  const below = Math.min(Math.floor(at), COLOURS.length - 2);
  return COLOURS[below].map((part, index) => part + (at - below) * (COLOURS[below + 1][index] - part));
}

function setAll(elements, attributes) {
  for (const element of elements) {
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  }
}
