// The feature maps of a layer that one selects.

import { make, paint } from "./dom.js";

// The element, `network()`, the index of the network that is selected, and `show`, which takes what `run` gives of it,
// or null. `layersOf` are each network's layers, with names, kinds and shapes; `selected` is called after a selection.
export function makeMaps(names, layersOf, selected) {
  const networks = make("select", { id: "draw-network" }, ...names.map((name) => make("option", {}, name)));
  const layers = make("select", { id: "draw-layer" });
  const grid = make("div", { class: "draw-maps", role: "img" });
  const caption = make("figcaption");
  let canvases = [];
  networks.selectedIndex = names.length - 1;

  const layer = () => layersOf[networks.selectedIndex][layers.selectedIndex];

  function selectNetwork() {
    layers.replaceChildren(
      ...layersOf[networks.selectedIndex].map(({ name, kind, shape }) =>
        make("option", {}, `${titled(name, kind)}: ${shape.join("×")}`),
      ),
    );
    layers.selectedIndex = 1; // the image, which is seen elsewhere, is the first
    selectLayer();
  }

  function selectLayer() {
    const { name, shape } = layer();
    const [count, height = 1, width = 1] = shape;
    canvases = Array.from({ length: count }, () => make("canvas", { width, height }));
    grid.classList.toggle("draw-values", width * height === 1);
    grid.setAttribute("aria-label", `Feature maps of ${names[networks.selectedIndex]}, layer ${name}`);
    grid.replaceChildren(...canvases);
    selected();
  }

  function show(result) {
    const { name, kind, shape } = layer();
    const [count, height, width] = shape;
    const maps = count > 1 ? "maps" : "map";
    const what = height * width > 1 ? `${count} ${maps} of ${height}×${width}` : `${count} values`;
    const values = result?.layers[layers.selectedIndex].values;
    const lowest = values?.reduce((a, b) => Math.min(a, b));
    const highest = values?.reduce((a, b) => Math.max(a, b));
    const range = values ? `from ${signed(lowest)} (black) to ${signed(highest)} (white)` : "nothing to show";
    caption.textContent = `${names[networks.selectedIndex]}, ${titled(name, kind)}: ${what}, ${range}`;
    canvases.forEach((canvas, index) => {
      const size = canvas.width * canvas.height;
      const own = values?.subarray(index * size, (index + 1) * size) ?? new Float32Array(size);
      paint(canvas, own.map((value) => (255 * (value - (lowest ?? 0))) / (highest - lowest || 1)));
    });
  }

  networks.addEventListener("change", selectNetwork);
  layers.addEventListener("change", selectLayer);
  const element = make(
    "figure",
    { class: "draw-figure" },
    make(
      "div",
      { class: "draw-selects" },
      make("div", {}, make("label", { for: "draw-network" }, "Network"), networks),
      make("div", {}, make("label", { for: "draw-layer" }, "Layer"), layers),
    ),
    grid,
    caption,
  );
  return { element, network: () => networks.selectedIndex, start: selectNetwork, show };
}

// A call without a layer is named for what it does.
export function titled(name, kind) {
  return name === kind ? name : `${name}, ${kind}`;
}

// With a minus sign, and as many digits for every size.
function signed(value) {
  return (value < 0 ? "−" : "") + Math.abs(value).toPrecision(3);
}
