// The panel "Accuracy against parameters": the experiments, and what the authors of public networks state of theirs.

import { accuracyScale, errorOf, makeChart } from "./charts.js";
import { looksOf } from "./choices.js";

const LINE = 14; // pixels, which a label takes

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
    shape: looks[index].shape,
    own: true,
  }));
  const stated = others.map((network) => ({ ...network, ...looksOf([{ marker: "o" }])[0], own: network.trainedAgain }));
  const networks = [...own, ...stated].map((network) => ({ ...network, ends: endsOf(network) }));
  const text =
    `Final test accuracy against parameters${note && `, ${note}`}: mean of our runs (filled) with one standard ` +
    "deviation on each side, and what the authors of other public networks state of theirs (hollow)." +
    (others.length && note ? " Public networks are measured on MNIST." : "");
  element.append(chart.element);
  const size = { width: element.clientWidth - 80, height: chart.element.firstChild.clientHeight - 60 };
  chart.draw(specification(networks, limit, size), { text, ...tableOf(networks) });
}

function endsOf({ mean, sd }) {
  return [Math.max(mean - (sd ?? 0), 0), Math.min(mean + (sd ?? 0), 100)];
}

function tableOf(networks) {
  const accuracy = ({ mean, sd, own }) => mean.toFixed(2) + (sd === null ? "" : ` ± ${own ? sd.toFixed(2) : sd}`);
  return {
    heads: ["network", "parameters", "test accuracy (%)", "how it was measured"],
    rows: networks
      .toSorted((a, b) => a.parameters - b.parameters)
      .map((network) => [network.name, network.parameters.toLocaleString("en"), accuracy(network), network.measured]),
  };
}

function specification(networks, limit, { width, height }) {
  const y = accuracyScale(networks.flatMap(({ ends }) => ends), "test accuracy");
  const sizes = networks.map(({ parameters }) => parameters);
  const points = networks.map(({ ends, ...network }) => ({
    ...network,
    y: errorOf(network.mean),
    low: errorOf(ends[0]),
    high: errorOf(ends[1]),
    accuracy: `${network.mean.toFixed(2)} %`,
    size: network.parameters.toLocaleString("en"),
  }));
  const x = {
    field: "parameters",
    type: "quantitative",
    scale: { type: "log", domain: [Math.min(...sizes, limit) / 1.6, Math.max(...sizes, limit) * 1.6], nice: false },
    axis: { title: "parameters (log scale)", format: ",", grid: false, values: [500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6] },
  };
  const color = { field: "colour", type: "nominal", scale: null, legend: null };
  const tooltip = Object.entries({ name: "network", size: "parameters", accuracy: "test accuracy", measured: "measured" }).map(
    ([field, title]) => ({ field, title, type: "nominal" }),
  );
  const labels = (side, align, dx, rows) => ({
    transform: [{ filter: `datum.side === '${side}${rows}'` }],
    mark: { type: "text", align, dx, dy: LINE * rows, baseline: "middle" },
    encoding: { x, y: { field: "y", ...y }, text: { field: "label" } },
  });
  const bound = { data: { values: [{ at: limit, words: `limit ${limit.toLocaleString("en")}` }] }, encoding: { x: { ...x, field: "at" } } };
  return {
    data: { values: withLabels(points, x.scale.domain, y.scale.domain, width, height) },
    layer: [
      { ...bound, mark: { type: "rule", strokeDash: [2, 3] } },
      {
        ...bound,
        mark: { type: "text", align: "left", dx: 5, y: 8 },
        encoding: { ...bound.encoding, text: { field: "words" } },
      },
      { mark: { type: "rule" }, encoding: { x, y: { field: "low", ...y }, y2: { field: "high" }, color } },
      {
        mark: { type: "point", size: 80, strokeWidth: 2, opacity: 1 },
        encoding: {
          x,
          shape: { field: "shape", type: "nominal", scale: null, legend: null },
          y: { field: "y", ...y },
          tooltip,
          stroke: color,
          fill: { condition: { test: "datum.own", ...color }, value: null },
        },
      },
      ...[0, -1, 1].flatMap((rows) => [labels("right", "left", 10, rows), labels("left", "right", -10, rows)]),
    ],
  };
}

// Names for the points beside which there is room: beside them, or a line above or below that. Places and sizes are shares
// of the chart, which is `width` pixels wide and `height` high.
function withLabels(points, [fewest, most], [least, worst], width, height) {
  const [letter, gap, row] = [7.2 / width, 8 / width, LINE / height];
  const across = ({ parameters }) => Math.log(parameters / fewest) / Math.log(most / fewest);
  const along = ({ y }) => Math.log(y / least) / Math.log(worst / least);
  const taken = points.map((point) => ({ from: across(point) - gap, to: across(point) + gap, at: along(point) }));
  return points.map((point, index) => {
    const label = point.name.replace(/^.*\//, "");
    const [x, y, length] = [across(point), along(point), letter * label.length];
    const places = [0, -1, 1].flatMap((rows) => [
      { side: "right", rows, from: x + gap, to: x + gap + length, at: y + rows * row },
      { side: "left", rows, from: x - gap - length, to: x - gap, at: y + rows * row },
    ]);
    const isFree = ({ from, to, at }) =>
      from > 0 &&
      to < 1 &&
      taken.every((other, of) => of === index || other.to <= from || other.from >= to || Math.abs(other.at - at) > 0.9 * row);
    const free = places.find(isFree);
    if (free) taken.push(free);
    return { ...point, label, side: free ? `${free.side}${free.rows}` : "none" };
  });
}
