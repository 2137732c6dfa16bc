// Charts by Vega-Lite, in the page's colours, and the tables of numbers behind them.

import { make } from "./dom.js";

const dark = matchMedia("(prefers-color-scheme: dark)");

// A figure with a chart that `draw` fills, and below it a table that one can open. `draw(spec, table)` takes a
// Vega-Lite specification without its size and colours, or null for an empty chart, and `{text, heads, rows}`: the
// caption, and the table with its rows as lists of texts.
export function makeChart(label) {
  const place = make("div", { "aria-hidden": "true" });
  const chart = make("div", { class: "chart", role: "img", "aria-label": `${label}; its numbers are in the table below` }, place);
  const table = make("details", { class: "chart-table" });
  const caption = make("figcaption", { class: "note" });
  const pressed = make("p", { class: "note pressed" }); // what a finger, which cannot hover, has pressed on
  const element = make("figure", {}, chart, pressed, caption, table);
  let drawn = Promise.resolve();
  let spec = null;
  let view = null;

  // One after the other: a chart that is drawn while another one still is would be left beside it.
  function redraw() {
    drawn = drawn.then(async () => {
      view?.finalize();
      ({ view } = spec ? await window.vegaEmbed(place, styled(spec), OPTIONS) : {});
      view?.addEventListener("click", (event, item) => {
        const told = Object.entries(item?.tooltip ?? {}).map(([name, value]) => `${name} ${value}`);
        if (told.length) pressed.textContent = told.join("; ");
      });
      chart.dataset.drawn = Number(chart.dataset.drawn ?? 0) + 1;
    });
  }
  dark.addEventListener("change", redraw);

  function draw(specification, { text, heads, rows }) {
    spec = specification;
    for (const part of [chart, table, pressed]) part.hidden = !spec;
    redraw();
    caption.textContent = text;
    pressed.textContent = "";
    const open = table.open;
    table.replaceChildren(make("summary", {}, "The numbers of this chart"), makeTable(label, heads, rows));
    table.open = open;
  }
  return { element, draw };
}

// `ast` and no style of its own: the page's Content-Security-Policy forbids code and styles that are made on the way.
const OPTIONS = {
  actions: false,
  ast: true,
  renderer: "svg",
  defaultStyle: false,
  tooltip: { theme: "page", disableDefaultStyle: true },
};

function styled(spec) {
  const style = getComputedStyle(document.documentElement);
  const [ink, muted, line] = ["--ink", "--muted", "--line"].map((name) => style.getPropertyValue(name).trim());
  const text = { labelColor: ink, titleColor: ink, labelFontSize: 13, titleFontSize: 13, titleFontWeight: "normal" };
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    width: "container",
    height: "container",
    autosize: { type: "fit", contains: "padding", resize: true },
    ...spec,
    config: {
      background: null,
      font: "system-ui, sans-serif",
      view: { stroke: null },
      axis: { ...text, gridColor: line, domainColor: muted, tickColor: muted, labelBound: true },
      rule: { color: muted },
      text: { color: ink, fontSize: 13 },
    },
  };
}

export function makeTable(label, heads, rows) {
  const row = ([first, ...cells]) =>
    make("tr", {}, make("th", { scope: "row" }, first), ...cells.map((cell) => make("td", {}, cell)));
  return make(
    "div",
    { class: "scroller", tabindex: 0, role: "region", "aria-label": `Numbers: ${label}` },
    make(
      "table",
      { class: "results" },
      make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))),
      make("tbody", {}, ...rows.map(row)),
    ),
  );
}

// -------------------------------------------------------------------------------------------------- the accuracy axis

// Accuracies are drawn by the logarithm of the errors, so that 14 % and the tenths around 99.4 % both have room.
// Errors are taken 0.05 percentage points larger than they are, which keeps 100 % on the axis.
const WHOLE = 100.05;
const TICKS = [0, 50, 80, 90, 95, 98, 99, 99.5, 99.8, 100];
const FINE_TICKS = [97, 97.5, 98, 98.4, 98.7, 99, 99.2, 99.3, 99.4, 99.5, 99.6, 99.7, 99.8, 99.9, 100];
const FEWEST_TICKS = 4;

export const errorOf = (accuracy) => (accuracy === null ? null : WHOLE - accuracy);

// The scale and axis of a channel that holds `errorOf` the accuracies, all of which are given.
export function accuracyScale(accuracies, title) {
  const errors = accuracies.filter((accuracy) => accuracy !== null).map(errorOf);
  const [least, most] = [Math.min(...errors), Math.max(...errors)];
  const pad = Math.max((most / least) ** 0.08, 1.1);
  const domain = [least / pad, most * pad];
  const within = (ticks) => ticks.map(errorOf).filter((error) => error >= domain[0] && error <= domain[1]);
  const choices = [TICKS, FINE_TICKS, evenTicks(WHOLE - domain[1], WHOLE - domain[0])].map(within);
  return {
    type: "quantitative",
    scale: { type: "log", reverse: true, domain, nice: false },
    axis: {
      title: `${title} (%, log scale of errors)`,
      values: choices.find((ticks) => ticks.length >= FEWEST_TICKS) ?? choices[2],
      labelExpr: `format(${WHOLE} - datum.value, '.4~')`,
      grid: true,
    },
  };
}

// About five round numbers in between.
function evenTicks(lowest, highest) {
  const rough = (highest - lowest) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((times) => times * power).find((size) => size >= rough);
  const first = Math.ceil(lowest / step);
  return Array.from({ length: Math.floor(highest / step) - first + 1 }, (_, index) => (first + index) * step);
}
