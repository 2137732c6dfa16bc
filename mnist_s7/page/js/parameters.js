// The panel "Accuracy against parameters": the experiments, and what the authors of public networks state of theirs.

import { accuracyScale, errorOf, makeChart } from "./charts.js";
import { looksOf } from "./choices.js";

const ROW = 0.045; // of the chart's height, which a label takes

// Puts the panel into `element`. `experiments` and `others` as measured.py makes them, `limit`
// the parameters that the series is to stay under.
export function mountParameters(element, { experiments, others, limit, note }) {
  const chart = makeChart("Accuracy against parameters");
  const looks = looksOf(experiments);
  const own = experiments.map(({ name, failed, parameters, mean, sd, seeds }, index) => ({
    name,
    parameters,
    mean,
    sd,
    measured: `mean of ${seeds.length} ${seeds.length === 1 ? "run" : "runs"}, final epoch${failed}`,
    colour: looks[index].colour,
    kind: "this package",
  }));
  const stated = others.map((network) => ({ ...network, colour: looksOf([{}])[0].colour, kind: "public, as stated" }));
  const networks = [...own, ...stated].map((network) => ({ ...network, ends: endsOf(network) }));
  const text =
    `Final test accuracy against parameters${note && `, ${note}`}: mean of the seeds (filled) with one standard ` +
    "deviation on each side, and what the authors of public networks state of theirs (hollow)." +
    (others.length && note ? " Public networks are measured on MNIST." : "");
  element.append(chart.element);
  chart.draw(specification(networks, limit, element.clientWidth - 80), { text, ...tableOf(networks) });
}

function endsOf({ mean, sd }) {
  return [mean - (sd ?? 0), Math.min(mean + (sd ?? 0), 100)];
}

function tableOf(networks) {
  const accuracy = ({ mean, sd }) => mean.toFixed(2) + (sd === null ? "" : ` ± ${sd.toFixed(2)}`);
  return {
    heads: ["network", "parameters", "test accuracy (%)", "how it was measured"],
    rows: networks
      .toSorted((a, b) => a.parameters - b.parameters)
      .map((network) => [network.name, network.parameters.toLocaleString("en"), accuracy(network), network.measured]),
  };
}

function specification(networks, limit, width) {
  const y = accuracyScale(networks.flatMap(({ ends }) => ends), "test accuracy");
  const sizes = networks.map(({ parameters }) => parameters);
  const points = networks.map(({ ends, ...network }) => ({
    ...network,
    y: errorOf(network.mean),
    low: errorOf(ends[0]),
    high: errorOf(ends[1]),
    accuracy: `${network.mean.toFixed(2)} %`,
  }));
  const x = {
    field: "parameters",
    type: "quantitative",
    scale: { type: "log", domain: [Math.min(...sizes, limit) / 1.6, Math.max(...sizes, limit) * 1.6], nice: false },
    axis: { title: "parameters (log scale)", format: ",", grid: false, values: [500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6] },
  };
  const color = { field: "colour", type: "nominal", scale: null, legend: null };
  const tooltip = ["name", "parameters", "accuracy", "measured"].map((field) => ({ field, type: "nominal" }));
  const labels = (side, align, dx) => ({
    transform: [{ filter: `datum.side === '${side}'` }],
    mark: { type: "text", align, dx, baseline: "middle" },
    encoding: { x, y: { field: "y", ...y }, text: { field: "label" } },
  });
  const bound = { data: { values: [{ at: limit, words: `limit ${limit.toLocaleString("en")}` }] }, encoding: { x: { ...x, field: "at" } } };
  return {
    data: { values: withLabels(points, x.scale.domain, y.scale.domain, width) },
    layer: [
      { ...bound, mark: { type: "rule", strokeDash: [2, 3] } },
      {
        ...bound,
        mark: { type: "text", align: "left", dx: 5, y: 8 },
        encoding: { ...bound.encoding, text: { field: "words" } },
      },
      { mark: { type: "rule" }, encoding: { x, y: { field: "low", ...y }, y2: { field: "high" }, color } },
      {
        mark: { type: "point", size: 90, strokeWidth: 2, opacity: 1 },
        encoding: {
          x,
          y: { field: "y", ...y },
          tooltip,
          stroke: color,
          fill: { condition: { test: "datum.kind === 'this package'", ...color }, value: null },
        },
      },
      labels("right", "left", 10),
      labels("left", "right", -10),
    ],
  };
}

// Names for the points beside which there is room: to the right of them, or else to the left, or none. Places and sizes
// are shares of the chart, which is `width` pixels wide.
function withLabels(points, [fewest, most], [least, worst], width) {
  const letter = 7.5 / width;
  const gap = 8 / width;
  const across = ({ parameters }) => Math.log(parameters / fewest) / Math.log(most / fewest);
  const along = ({ y }) => Math.log(y / least) / Math.log(worst / least);
  const taken = points.map((point) => ({ from: across(point) - gap, to: across(point) + gap, at: along(point) }));
  return points.map((point, index) => {
    const label = point.name.replace(/^.*\//, "");
    const [x, at, length] = [across(point), along(point), letter * label.length];
    const sides = { right: { from: x + gap, to: x + gap + length, at }, left: { from: x - gap - length, to: x - gap, at } };
    const isFree = ({ from, to }) =>
      from > 0 &&
      to < 1 &&
      taken.every((other, of) => of === index || other.to <= from || other.from >= to || Math.abs(other.at - at) > ROW);
    const side = Object.keys(sides).find((each) => isFree(sides[each]));
    if (side) taken.push(sides[side]);
    return { ...point, label, side: side ?? "none" };
  });
}
