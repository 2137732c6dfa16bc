// Brings the page to life. Without it, the page still has its tables.

import { mountDrawing } from "./draw.js";
import { makeSortable } from "./tables.js";

export function start() {
  const data = JSON.parse(document.getElementById("data").textContent);
  document.querySelectorAll("table.sortable").forEach(makeSortable);
  const panel = document.getElementById("drawing");
  if (panel && data.networks.length) mountDrawing(panel, { networks: data.networks });
}
