// The panel "Curves": what was measured in each epoch, of the experiments and seeds that one chooses.

import { accuracyScale, errorOf, makeChart } from "./charts.js";
import { looksOf, makeChecks, makeSelect } from "./choices.js";
import { make } from "./dom.js";

const MEASURES = [
  { field: "test_accuracy", title: "test accuracy", unit: " %", digits: 2 },
  { field: "train_accuracy", title: "training accuracy", unit: " %", digits: 2 },
  { field: "test_loss", title: "test loss", unit: " nats", digits: 4 },
  { field: "train_loss", title: "training loss", unit: " nats", digits: 4 },
  { field: "lr", title: "learning rate", unit: "", digits: 4 },
];
const LOWEST = 90; // percent: where all lines end above it, what is below it would take most of the chart
const MEAN = 0;
const EVERY = 1;
const MANY = 12; // lines

// Puts the panel into `element`. `experiments` as `experiments_data` in measured.py makes them, `note` what is to be
// said of their digits, `first` the names of those that are shown at first.
export function mountCurves(element, { experiments, note, first }) {
  const seeds = [...new Set(experiments.flatMap((experiment) => experiment.seeds))].toSorted((a, b) => a - b);
  const checks = makeChecks("Experiments", experiments, (index) => first.includes(experiments[index].name), update);
  const measures = makeSelect("Measure", MEASURES.map(({ title }) => title), 0, update);
  const shown = ["mean and range of the seeds", "every seed", ...seeds.map((seed) => `seed ${seed}`)];
  const choice = makeSelect("Seeds", shown, MEAN, update);
  const chart = makeChart("Curves by epoch");

  function update() {
    const measure = MEASURES[measures.select.selectedIndex];
    const which = choice.select.selectedIndex;
    const lines = linesOf(experiments, checks.chosen(), measure.field, which, seeds[which - 2]);
    const told = which === EVERY ? linesOf(experiments, checks.chosen(), measure.field, MEAN) : lines;
    const spec = lines.length ? specification(lines, told, measure, looksOf(experiments)) : null;
    const text = spec ? captionOf(lines, measure, which, seeds[which - 2]) : "No curve: tick an experiment with this seed.";
    chart.draw(spec, { text, ...tableOf(lines, measure) });
  }

  function captionOf(lines, measure, which, seed) {
    const ends = which === MEAN ? "the line is the mean of the seeds that trained, the band their range" : shown[which];
    const drawn = new Set(lines.map(({ index }) => index));
    const missing = checks.chosen().filter((index) => !drawn.has(index));
    const names = missing.map((index) => experiments[index].name).join(", ");
    const taught = [...drawn].filter((index) => experiments[index].taught).map((index) => experiments[index].name).join(", ");
    const off = measure.unit === " %" && lines.some(({ points }) => points.some(({ low }) => low < lowestOf(lines)));
    return (
      `${capital(measure.title)} by epoch: ${ends}${note && `, ${note}`}. Epochs count from 0.` +
      (measure.field === "train_loss" && taught ? ` That of ${taught} is to soft targets, and not to be compared.` : "") +
      (measure.field === "lr" ? " The learning rate is that at the start of an epoch." : "") +
      (off ? ` Values below ${LOWEST} % are off the chart; the table has them.` : "") +
      (names ? ` No seed ${seed} that trained: ${names}.` : "")
    );
  }

  element.append(make("div", { class: "choices" }, measures.element, choice.element), checks.element, chart.element);
  update();
}

// A line for each experiment, or each of its seeds: `points` of an epoch, a value, and the range around it.
export function linesOf(experiments, chosen, field, which, only) {
  return chosen.flatMap((index) => {
    const { name, seeds, curves } = experiments[index];
    if (which === MEAN) return [{ index, title: name, points: meanOf(curves.map((curve) => curve[field])) }];
    return curves.flatMap((curve, run) => {
      if (which !== EVERY && seeds[run] !== only) return [];
      const points = curve[field].map((value, epoch) => ({ epoch, value, low: value, high: value }));
      return [{ index, title: `${name}, seed ${seeds[run]}`, points }];
    });
  });
}

function meanOf(curves) {
  return Array.from({ length: Math.max(...curves.map((curve) => curve.length)) }, (_, epoch) => {
    const values = curves.map((curve) => curve[epoch] ?? null).filter((value) => value !== null);
    if (!values.length) return { epoch, value: null, low: null, high: null };
    const mean = values.reduce((total, value) => total + value, 0) / values.length;
    return { epoch, value: mean, low: Math.min(...values), high: Math.max(...values) };
  });
}

function lowestOf(lines) {
  return lines.every(({ points }) => (points.at(-1).low ?? 0) > LOWEST) ? LOWEST : 0;
}

const capital = (text) => text[0].toUpperCase() + text.slice(1);

function words({ value, low, high }, { digits }) {
  if (value === null) return "–";
  const range = low < high ? ` (${low.toFixed(digits)} to ${high.toFixed(digits)})` : "";
  return value.toFixed(digits) + range;
}

function tableOf(lines, measure) {
  const epochs = lines.length ? Math.max(...lines.map(({ points }) => points.length)) : 0;
  const rows = Array.from({ length: epochs }, (_, epoch) => [
    epoch,
    ...lines.map(({ points }) => (points[epoch] ? words(points[epoch], measure) : "–")),
  ]);
  return { heads: ["epoch", ...lines.map(({ title }) => `${title}${measure.unit && ` (${measure.unit.trim()})`}`)], rows };
}

function specification(lines, told, measure, looks) {
  const isAccuracy = measure.unit === " %";
  const place = isAccuracy ? errorOf : (value) => value;
  const points = lines.flatMap(({ index, points: own }, line) =>
    own
      .filter(({ value }) => value !== null)
      .map(({ epoch, value, low, high }) => ({ epoch, line, index, y: place(value), low: place(low), high: place(high) })),
  );
  const ends = lines.flatMap((line) => line.points.flatMap(({ low, high }) => [low, high]));
  const lowest = lowestOf(lines);
  const values = ends.map((value) => (value === null ? null : Math.max(value, lowest)));
  const plain = { type: "quantitative", scale: { type: measure.field === "lr" ? "linear" : "log", nice: false } };
  const y = isAccuracy
    ? accuracyScale(values, measure.title)
    : { ...plain, axis: { title: measure.title + (measure.unit && ` (${measure.unit.trim()}, log scale)`), format: "~g" } };
  const indices = looks.map((_, index) => index);
  const last = Math.max(...points.map(({ epoch }) => epoch));
  return {
    data: { values: points },
    encoding: {
      x: {
        field: "epoch",
        type: "quantitative",
        scale: { domain: [-0.5, last + 0.5], nice: false },
        axis: { title: "epoch", values: epochTicks(last), format: "d", grid: false },
      },
      color: { field: "index", type: "nominal", legend: null, scale: { domain: indices, range: looks.map(({ colour }) => colour) } },
      detail: { field: "line" },
    },
    layer: [
      { mark: { type: "area", opacity: 0.2, clip: true }, encoding: { y: { field: "low", ...y }, y2: { field: "high" } } },
      {
        mark: { type: "line", strokeWidth: 2, strokeJoin: "round", clip: true },
        encoding: {
          y: { field: "y", ...y },
          strokeDash: {
            field: "index",
            type: "nominal",
            legend: null,
            scale: { domain: indices, range: looks.map(({ dash }) => (dash ? dash.split(" ").map(Number) : [1, 0])) },
          },
        },
      },
      {
        mark: { type: "point", filled: true, size: lines.length > MANY ? 12 : 40, opacity: 1, clip: true },
        encoding: {
          y: { field: "y", ...y },
          shape: { field: "index", type: "nominal", legend: null, scale: { domain: indices, range: looks.map(({ shape }) => shape) } },
        },
      },
      pointer(told, measure, last),
    ],
  };
}

function epochTicks(last) {
  const step = Math.ceil((last + 1) / 16);
  return Array.from({ length: Math.floor(last / step) + 1 }, (_, index) => index * step);
}

// A band at the epoch under the pointer, with all values there.
function pointer(lines, measure, last) {
  const epochs = Array.from({ length: last + 1 }, (_, epoch) => {
    const values = lines.map(({ points }, line) => [
      `line${line}`,
      points[epoch] ? words(points[epoch], measure) + measure.unit : "–",
    ]);
    return { epoch, from: epoch - 0.5, to: epoch + 0.5, ...Object.fromEntries(values) };
  });
  const named = lines.map(({ title }, line) => ({ field: `line${line}`, type: "nominal", title }));
  return {
    data: { values: epochs },
    params: [{ name: "pointed", select: { type: "point", on: "pointerover", clear: "pointerout", encodings: ["x"] } }],
    mark: "rect",
    encoding: {
      x: { field: "from", type: "quantitative" },
      x2: { field: "to" },
      color: { value: "#888888" },
      detail: { field: "epoch" },
      opacity: { condition: { param: "pointed", empty: false, value: 0.25 }, value: 0 },
      tooltip: [{ field: "epoch", type: "nominal" }, ...named],
    },
  };
}
