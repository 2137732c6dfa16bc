// The paper to draw on: with the mouse, a pen, a finger or the keyboard.

import { make, makeSvg } from "./dom.js";

const SIDE = 280; // pixels
const PEN = 21; // pixels wide: about MNIST's usual stroke in a digit of two thirds of the paper
const STEP = 1 / 32; // of the paper's side, that an arrow key moves the pen
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

// The paper's element, with `strokes` on it, and what is on it: `greys()`, uint8 row after row, dark ink on white, and
// `isEmpty()`. A stroke is a list of points, [x, y] from 0 to 1, to the right and down. `changed` is called at most
// once a frame.
export function makePaper(strokes, changed) {
  strokes = strokes.map((stroke) => [...stroke]);
  let drawing = null; // the stroke that the pen is drawing
  let pointer = null; // the id of the one that draws; null if the keyboard does
  let cursor = [0.5, 0.5]; // of the keyboard's pen
  let waiting = false;

  const canvas = make("canvas", {
    class: "draw-canvas",
    width: SIDE,
    height: SIDE,
    tabindex: 0,
    role: "application",
    "aria-label": "Paper to draw a digit on",
    "aria-describedby": "draw-help",
  });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const ring = makeSvg("circle", { r: PEN / SIDE / 2 });
  const penState = make("output", { class: "draw-pen-state" });
  const undo = make("button", { type: "button" }, "Undo");
  const clear = make("button", { type: "button" }, "Clear");
  const element = make(
    "div",
    { class: "draw-paper" },
    make("div", { class: "draw-sheet" }, canvas, makeSvg("svg", { viewBox: "0 0 1 1", "aria-hidden": "true" }, ring)),
    make("div", { class: "draw-buttons" }, undo, clear, penState),
    make(
      "p",
      { class: "draw-help", id: "draw-help" },
      "The 3 is an example: clear it, and draw your own, with the mouse, a pen or a finger. With the keyboard, focus the paper: the arrow keys move the pen, and " +
        "the space bar puts it down or up.",
    ),
  );

  function redraw() {
    context.fillStyle = "white";
    context.fillRect(0, 0, SIDE, SIDE);
    for (const stroke of strokes) drawStroke(context, stroke);
  }

  function showPen() {
    penState.textContent = drawing ? "Pen down" : "Pen up";
    ring.setAttribute("cx", cursor[0]);
    ring.setAttribute("cy", cursor[1]);
  }

  function update() {
    showPen();
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      redraw();
      changed();
    });
  }

  function penDown(point, id) {
    drawing = [point];
    pointer = id;
    strokes.push(drawing);
    update();
  }

  function penUp() {
    drawing = null;
    pointer = null;
    update();
  }

  function keep(count) {
    strokes.length = Math.max(0, count);
    penUp();
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !event.isPrimary) return;
    canvas.setPointerCapture(event.pointerId);
    penDown(pointIn(canvas, event), event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerId !== pointer) return;
    // Several moves come as one event a frame, which knows them all, though not in every browser.
    drawing.push(...[...(event.getCoalescedEvents?.() ?? []), event].map((move) => pointIn(canvas, move)));
    update();
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, (event) => event.pointerId === pointer && penUp());
  }
  canvas.addEventListener("keydown", (event) => {
    const direction = ARROWS[event.key];
    if ((!direction && event.key !== " ") || event.ctrlKey || event.altKey || event.metaKey || pointer !== null) return;
    event.preventDefault(); // no scrolling
    if (direction) {
      cursor = cursor.map((place, axis) => inside(place + STEP * direction[axis]));
      if (drawing) drawing.push(cursor);
      update();
    } else if (drawing) {
      penUp();
    } else {
      penDown(cursor, null);
    }
  });
  canvas.addEventListener("blur", () => pointer === null && penUp());
  undo.addEventListener("click", () => keep(strokes.length - 1));
  clear.addEventListener("click", () => keep(0));

  redraw();
  showPen();
  return {
    element,
    isEmpty: () => !strokes.length,
    greys() {
      const { data } = context.getImageData(0, 0, SIDE, SIDE);
      const values = new Uint8Array(SIDE * SIDE);
      for (let index = 0; index < values.length; index++) values[index] = data[4 * index];
      return { values, side: SIDE };
    },
  };
}

const inside = (place) => Math.min(Math.max(place, 0), 1);

function pointIn(canvas, { clientX, clientY }) {
  const box = canvas.getBoundingClientRect();
  return [inside((clientX - box.left) / box.width), inside((clientY - box.top) / box.height)];
}

// A curve through the middles between the points, which a hand's corners would show without.
function drawStroke(context, stroke) {
  const points = stroke.map(([x, y]) => [x * SIDE, y * SIDE]);
  const [first, last] = [points[0], points[points.length - 1]];
  context.fillStyle = context.strokeStyle = "black";
  context.lineWidth = PEN;
  context.lineCap = context.lineJoin = "round";
  context.beginPath();
  context.arc(...first, PEN / 2, 0, 2 * Math.PI); // a point alone has no line
  context.fill();
  context.beginPath();
  context.moveTo(...first);
  for (let index = 1; index < points.length; index++) {
    const [[x, y], [nextX, nextY]] = [points[index - 1], points[index]];
    context.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2);
  }
  context.lineTo(...last);
  context.stroke();
}
