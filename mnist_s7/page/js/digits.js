// Test images that one of two experiments gets right more often than the other.

import { make } from "./dom.js";

const SIDE = 28;
const SHOWN = 12; // of each list at first

// The element, and `show`, which takes the two experiments.
export function makeDigits(sheet, labelErrors) {
  const element = make("div", { class: "divided" });
  const image = sheet && new Image();
  if (image) image.src = sheet.png;
  const places = new Map(sheet?.indices.map((index, place) => [index, place]));

  function show(two) {
    const lists = [two, two.toReversed()].map(([better, worse]) => makeList(better, worse));
    element.replaceChildren(...(two[0] === two[1] ? [] : lists));
  }

  function makeList(better, worse) {
    const found = divided(better, worse);
    const list = make("ul", { class: "digits" }, ...found.slice(0, SHOWN).map((each) => card(each, better, worse)));
    const title = make("h3", {}, `${better.name} more often right than ${worse.name}: ${counted(found.length)}`);
    const order = make("p", { class: "note" }, "Those with the largest difference in their share of seeds come first.");
    const section = make("section", {}, title, ...(found.length > 1 ? [order] : []), list);
    if (found.length > SHOWN) {
      const more = make("button", { type: "button" }, `Show all ${found.length.toLocaleString("en")}`);
      more.addEventListener("click", () => {
        list.append(...found.slice(SHOWN).map((each) => card(each, better, worse)));
        more.remove();
        list.children[SHOWN].focus();
      });
      section.append(more);
    }
    return section;
  }

  function card({ index }, better, worse) {
    const place = places.get(index);
    const label = place === undefined ? "" : `label ${sheet.labels[place]}`;
    const wrong = index in labelErrors ? labelError(labelErrors[index]) : "";
    const texts = [label, `no. ${index}`, told(better, index), told(worse, index)].filter(Boolean);
    const lines = texts.map((text) => make("span", {}, text));
    if (wrong) lines.push(make("strong", {}, wrong));
    const item = make("li", { tabindex: -1 }, make("div", {}, ...lines));
    if (place !== undefined) item.prepend(picture(place, `Test image ${index}`));
    return item;
  }

  function picture(place, label) {
    const canvas = make("canvas", { width: SIDE, height: SIDE, role: "img", "aria-label": label });
    const [row, column] = [Math.floor(place / sheet.columns), place % sheet.columns];
    const draw = () =>
      canvas.getContext("2d").drawImage(image, column * SIDE, row * SIDE, SIDE, SIDE, 0, 0, SIDE, SIDE);
    image.decode().then(draw);
    return canvas;
  }

  return { element, show };
}

// The test images that `worse` gets wrong in a larger share of its seeds, those of the largest difference first.
export function divided(better, worse) {
  const share = (experiment, index) => times(experiment, index) / experiment.seeds.length;
  return Object.keys(worse.errors)
    .map((index) => ({ index: Number(index), by: share(worse, index) - share(better, index) }))
    .filter(({ by }) => by > 0)
    .toSorted((a, b) => b.by - a.by || a.index - b.index);
}

const times = ({ errors }, index) => Object.values(errors[index] ?? {}).reduce((total, count) => total + count, 0);

// "T3 wrong in 7 of 10: 4 (6), 9 (1)"
function told(experiment, index) {
  const digits = Object.entries(experiment.errors[index] ?? {}).toSorted(([, a], [, b]) => b - a);
  const as = digits.map(([digit, count]) => (digits.length > 1 ? `${digit} (${count})` : digit)).join(", ");
  return `${experiment.name} wrong in ${times(experiment, index)} of ${experiment.seeds.length}${as && `: says ${as}`}`;
}

const labelError = (digit) => (digit === null ? "label disputed" : `wrong label: it is a ${digit}`);
const counted = (count) => `${count.toLocaleString("en")} test ${count === 1 ? "image" : "images"}`;
