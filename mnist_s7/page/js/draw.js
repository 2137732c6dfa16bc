// The panel "Draw a digit": the networks answer while one draws, and show what they see.

import { makeAnswers } from "./answers.js";
import { make, paint } from "./dom.js";
import { makeMaps } from "./maps.js";
import { loadNetwork, run } from "./network.js";
import { makePaper } from "./paper.js";
import { digitImage } from "./preprocessing.js";

const SIDE = 28;
const EMPTY = { reason: "the paper is empty: draw a digit" };

// A three, as points from 0 to 1, to the right and down.
export const START = [
  [
    [0.3, 0.24], [0.36, 0.18], [0.47, 0.14], [0.58, 0.16], [0.65, 0.24], [0.64, 0.34], [0.57, 0.42], [0.45, 0.47],
    [0.56, 0.48], [0.66, 0.54], [0.7, 0.64], [0.66, 0.76], [0.56, 0.84], [0.43, 0.85], [0.33, 0.8], [0.28, 0.73],
  ],
];

// Puts the panel into `element`. `networks` is a list of `{name, data}`, with what `network_data` in networks.py makes;
// `start` are the strokes on the paper at first.
export function mountDrawing(element, { networks, start = START }) {
  const names = networks.map(({ name }) => name);
  const loaded = networks.map(({ data }) => loadNetwork(data));
  const paper = makePaper(start, update);
  const answers = makeAnswers(names);
  const seen = make("canvas", { class: "draw-seen", width: SIDE, height: SIDE, role: "img" });
  const steps = loaded.map((network) => network.steps);
  const maps = makeMaps(names, steps, update);

  function update() {
    const { values, side } = paper.greys();
    const { picture, reason } = paper.isEmpty() ? EMPTY : digitImage(values, side, side);
    const results = picture && loaded.map((network) => run(network, picture));
    const said = picture ? "The picture of 28x28 pixels that the networks see" : sentence(reason);
    answers.show(results?.map(({ logProbabilities }) => logProbabilities), said);
    maps.show(results?.[maps.network()]);
    paint(seen, picture ?? new Uint8Array(SIDE * SIDE));
    seen.setAttribute("aria-label", said);
  }

  element.classList.add("draw");
  element.append(
    paper.element,
    make(
      "div",
      { class: "draw-results" },
      answers.table,
      make(
        "div",
        { class: "draw-said" },
        make("figure", {}, seen, make("figcaption", {}, "What the networks see: 28×28 pixels")),
        answers.summary,
      ),
    ),
    maps.element,
  );
  maps.start();
}

// What a picture's sender is told to do, one who draws cannot.
const sentence = (text) =>
  `${text[0].toUpperCase()}${text.slice(1)}.`
    .replace(/crop (the picture|it) to (the|one) digit/, "draw one digit, with strokes")
    .replace(/write darker, or take a sharper picture/, "draw one digit, with strokes");
