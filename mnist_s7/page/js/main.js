// Brings the page to life. Without it, the page still has its tables and figures.

import { mountComparison } from "./comparison.js";
import { mountCurves } from "./curves.js";
import { shownName } from "./dom.js";
import { mountDrawing } from "./draw.js";
import { mountFields } from "./fields.js";
import { mountParameters } from "./parameters.js";
import { makeSortable } from "./tables.js";

export function start() {
  const data = JSON.parse(document.getElementById("data").textContent);
  document.querySelectorAll("table.sortable").forEach(makeSortable);
  const mount = (id, panel, settings) => {
    const element = document.getElementById(id);
    if (element) panel(element, { ...data, ...settings });
  };
  for (const each of [...data.experiments, ...data.networks, ...data.others]) each.name = shownName(each.name);
  for (const each of data.pairs) each.pair = each.pair.map(shownName);
  data.first = data.first.map(shownName);
  const names = data.experiments.map(({ name }) => name);
  const [one = 0, other = Math.min(1, names.length - 1)] = data.first.map((name) => names.indexOf(name)).toReversed();
  mount("drawing", mountDrawing);
  mount("curves-panel", mountCurves);
  mount("compare-panel", mountComparison, { first: [one, other] });
  mount("parameters-panel", mountParameters);
  mount("fields-panel", mountFields, { networks: data.networks.filter(({ fields }) => fields) });
}
