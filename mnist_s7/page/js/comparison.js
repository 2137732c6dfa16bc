// The panel "Any two compared": the difference of two experiments, their seeds, and the digits that divide them.

import { accuracyScale, errorOf, makeChart } from "./charts.js";
import { looksOf, makeSelect } from "./choices.js";
import { makeDigits } from "./digits.js";
import { make } from "./dom.js";

// Puts the panel into `element`. `experiments` and `pairs` as measured.py makes them, `sheet` as pictures.py makes it or
// null, `labelErrors` the test images with a wrong label, by index: the digit that they show, or null.
export function mountComparison(element, { experiments, pairs, sheet, labelErrors, note, first }) {
  const names = experiments.map(({ name }) => name);
  const one = makeSelect("Compare", names, first[0], update);
  const other = makeSelect("with", names, first[1], update);
  const sentence = make("p", { class: "finding", "aria-live": "polite" });
  const chart = makeChart("Final test accuracy of every seed");
  const digits = makeDigits(sheet, labelErrors);

  function update() {
    const two = [experiments[one.select.selectedIndex], experiments[other.select.selectedIndex]];
    const colours = [one, other].map(({ select }) => looksOf(experiments)[select.selectedIndex].colour);
    sentence.textContent = difference(two, pairs) + (note && ` All ${note}.`);
    chart.draw(two[0] === two[1] ? null : specification(two, colours), {
      text: `Final test accuracy of every seed${note && `, ${note}`}: a dot for each; the diamond is their mean, the line its 95 % CI.`,
      ...tableOf(two),
    });
    digits.show(two);
  }

  element.append(
    make("div", { class: "choices" }, one.element, other.element),
    sentence,
    chart.element,
    digits.element,
  );
  update();
}

// What the test of the pair says.
export function difference([one, other], pairs) {
  if (one === other) return "Choose two different experiments.";
  const found = pairs.find(({ pair }) => pair.includes(one.name) && pair.includes(other.name));
  if (!found) return `${one.name} and ${other.name}: a test needs two runs or more of each that trained.`;
  const turned = found.pair[0] === other.name;
  const sign = turned ? -1 : 1;
  const ends = found.interval.map((end) => sign * end).toSorted((a, b) => a - b);
  const n = turned ? found.n.toReversed() : found.n;
  const runs = found.test.startsWith("paired") ? `${n[0]} seeds` : `${n[0]} and ${n[1]} runs`;
  const together = pairs.length > 1 ? ` (adjusted for all ${pairs.length} pairs on this page, Holm: ${chance(found.p)})` : "";
  const side = sign * found.mean > 0 ? "higher" : "lower";
  const reading = found.positive === null ? "Inconclusive." : `${one.name} is ${side} than ${other.name}.`;
  return (
    `${one.name} minus ${other.name}: ${signed(sign * found.mean)} percentage points of final test accuracy ` +
    `(95 % CI ${signed(ends[0])} to ${signed(ends[1])}); ${found.test}, ${runs}; ` +
    `${chance(found.alone)}${together}. ` +
    reading
  );
}

function chance(p) {
  if (p < 0.001) return "p < 0.001";
  return p > 0.999 ? "p > 0.999" : `p = ${p.toFixed(3)}`;
}

const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`;
const finals = ({ curves }) => curves.map((curve) => curve.test_accuracy.at(-1));

function tableOf(two) {
  return {
    heads: ["experiment, seed", "final test accuracy (%)"],
    rows: two.flatMap((experiment) =>
      finals(experiment).map((accuracy, run) => [`${experiment.name}, seed ${experiment.seeds[run]}`, accuracy.toFixed(2)]),
    ),
  };
}

function specification(two, colours) {
  const seeds = two.flatMap((experiment) => {
    const times = new Map();
    return finals(experiment).map((accuracy, run) => {
      const before = times.get(accuracy) ?? 0; // seeds of the same accuracy, one above the other
      times.set(accuracy, before + 1);
      return { name: experiment.name, x: errorOf(accuracy), up: before, accuracy: `${accuracy.toFixed(2)} %`, seed: experiment.seeds[run] };
    });
  });
  const means = two.map(({ name, mean, interval }) => {
    const [low, high] = interval ?? [mean, mean];
    const words = interval ? `${mean.toFixed(2)} % (${low.toFixed(2)} to ${high.toFixed(2)})` : `${mean.toFixed(2)} %`;
    return { name, x: errorOf(mean), low: errorOf(low), high: errorOf(high), up: -1.5, words };
  });
  const accuracies = two.flatMap((experiment) => [...finals(experiment), ...(experiment.interval ?? [])]);
  const x = accuracyScale(accuracies, "final test accuracy");
  const highest = Math.max(3, ...seeds.map(({ up }) => up));
  const common = {
    y: { field: "name", type: "nominal", sort: null, axis: { title: null, labelLimit: 130, domain: false, ticks: false } },
    yOffset: { field: "up", type: "quantitative", scale: { domain: [highest + 1, -3] } },
    color: { field: "name", type: "nominal", legend: null, scale: { domain: two.map(({ name }) => name), range: colours } },
  };
  const point = { x: { field: "x", ...x }, ...common };
  return {
    layer: [
      {
        data: { values: means },
        mark: { type: "rule", strokeWidth: 3 },
        encoding: { x: { field: "low", ...x }, x2: { field: "high" }, ...common },
      },
      {
        data: { values: means },
        mark: { type: "point", shape: "diamond", size: 120, filled: true, opacity: 1 },
        encoding: { ...point, tooltip: [{ field: "words", type: "nominal", title: "mean and 95 % CI" }] },
      },
      {
        data: { values: seeds },
        mark: { type: "point", size: 60, filled: true, opacity: 1 },
        encoding: { ...point, tooltip: [{ field: "seed", type: "nominal" }, { field: "accuracy", type: "nominal", title: "final test accuracy" }] },
      },
    ],
  };
}
