// What the networks answer: the probabilities of the ten digits side by side, and a sentence.

import { make, makeSvg } from "./dom.js";

const DIGITS = [...Array(10).keys()];
const REST = 400; // milliseconds without a change after which the sentence is said: not at every point of a stroke

const percent = (probability) => `${(100 * probability).toFixed(1)} %`;

// The elements, and `show`, which takes the ten log-probabilities of each network, or null and why there are none.
export function makeAnswers(names) {
  const heads = names.map(() => make("td", { class: "draw-answer" }));
  const cells = DIGITS.map(() => names.map(makeCell));
  const table = make(
    "table",
    { class: "draw-table" },
    make("caption", {}, "Probability of each digit"),
    make(
      "thead",
      {},
      make("tr", {}, make("th", { scope: "col" }, "Digit"), ...names.map((name) => make("th", { scope: "col" }, name))),
      make("tr", {}, make("th", { scope: "row" }, "Answer"), ...heads),
    ),
    make(
      "tbody",
      {},
      ...DIGITS.map((digit) =>
        make("tr", {}, make("th", { scope: "row" }, digit), ...cells[digit].map((cell) => cell.element)),
      ),
    ),
  );
  const summary = make("p", { class: "draw-summary", "aria-live": "polite" });
  let timer = null;

  function say(sentence) {
    clearTimeout(timer);
    timer = setTimeout(() => {
      summary.textContent = sentence;
    }, REST);
  }

  function show(logProbabilities, reason) {
    const answers = names.map((name, column) => {
      const probabilities = logProbabilities ? Array.from(logProbabilities[column], Math.exp) : null;
      const best = probabilities ? probabilities.indexOf(Math.max(...probabilities)) : null;
      heads[column].textContent = best ?? "–";
      for (const digit of DIGITS) cells[digit][column].show(probabilities?.[digit], digit === best);
      return probabilities && `${name}: ${best}, ${percent(probabilities[best])}`;
    });
    if (!logProbabilities) summary.textContent = ""; // the last answer is none any more
    say(logProbabilities ? `${answers.join("; ")}.` : reason);
  }

  const scroller = make("div", { class: "draw-scroller", tabindex: 0, role: "region", "aria-label": "Answers" }, table);
  return { table: scroller, summary, show };
}

function makeCell() {
  const bar = makeSvg("rect", { width: 0, height: 1 });
  const text = make("span", {}, "–");
  const svg = makeSvg("svg", { viewBox: "0 0 1 1", preserveAspectRatio: "none", "aria-hidden": "true" }, bar);
  const element = make("td", {}, text, svg);
  return {
    element,
    show(probability, isBest) {
      text.textContent = probability === undefined ? "–" : percent(probability);
      bar.setAttribute("width", probability ?? 0);
      element.classList.toggle("draw-best", isBest);
    },
  };
}
