// The heat maps of a unit's gradient before and after training, side by side and on one colour scale.

import { make, makeSvg } from "./dom.js";
import { makePicture, paintColours } from "./picture.js";

const WHEN = ["Before training", "After training"];
const STEPS = 128; // of the colour scale

// The figures, the legend, and `show`, which takes what `effectiveField` gives before training and after, and the rows
// and columns of the theoretical field, both [first, last].
export function makeHeatMaps(side) {
  const maps = WHEN.map((when) => {
    const picture = makePicture(side, `Heat map. ${when}`);
    const caption = make("figcaption");
    return { when, picture, caption, figure: make("figure", {}, picture.element, caption) };
  });
  const bar = make("canvas", { class: "fields-scale", width: STEPS, height: 1, role: "img", "aria-label": "Colour scale" });
  const ticks = [0, 1, 2].map(() => make("span"));
  paintColours(bar, Float64Array.from({ length: STEPS }, (_, index) => index / (STEPS - 1)));

  function show(found, rows, columns) {
    const highest = Math.max(...found.map((field) => field?.map.reduce((a, b) => Math.max(a, b)) ?? 0));
    maps.forEach(({ when, picture, caption }, index) => {
      const field = found[index];
      const shares = field?.map ?? new Float64Array(side * side);
      paintColours(picture.canvas, shares.map((share) => Math.sqrt(share / (highest || 1))));
      picture.markBox(rows, columns);
      picture.markCircle(field);
      caption.textContent = `${when}: ${field ? `95 % within a radius of ${field.radius.toFixed(1)} pixels` : "no gradient"}`;
      picture.canvas.setAttribute("aria-label", `Heat map. ${caption.textContent}`);
    });
    // The colour goes with the square root: half of the scale is a quarter of the share.
    const shares = [0, highest / 4, highest].map((share) => `${(100 * share).toPrecision(2)} %`);
    ticks.forEach((tick, index) => {
      tick.textContent = highest || !index ? shares[index] : "–";
    });
    bar.setAttribute("aria-label", `Colour scale: from dark, no gradient, to light, ${shares[2]} in one pixel`);
  }

  const legend = make(
    "div",
    { class: "fields-legend" },
    make("div", {}, bar, make("div", { class: "fields-ticks" }, ...ticks), "share of the gradient in a pixel (square-root scale)"),
    make("div", { class: "fields-key" }, makeKey("rect", { x: 3, y: 3, width: 18, height: 18 }), "theoretical field"),
    make("div", { class: "fields-key" }, makeKey("circle", { cx: 12, cy: 12, r: 9 }), "holds 95 % of the gradient"),
  );
  return { figures: maps.map(({ figure }) => figure), legend, show };
}

function makeKey(tag, attributes) {
  const mark = makeSvg(tag, { class: `fields-${tag}`, ...attributes });
  return makeSvg("svg", { viewBox: "0 0 24 24", width: 24, height: 24, "aria-hidden": "true" }, mark);
}
