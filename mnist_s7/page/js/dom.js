// Elements made without HTML text, so that no data can become markup.

const SVG = "http://www.w3.org/2000/svg";

// An element with these attributes and children; a child that is text stays text.
export function make(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function makeSvg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// A name as it can stand in any sentence and be any key: one of other letters keeps its own direction of writing, and one
// that JavaScript has a meaning for loses that.
export function shownName(name) {
  return /^[\w .,=()/+-]+$/.test(name) && !(name in {}) ? name : `\u2068${name}\u2069`;
}

// Draws greys from 0 black to 255 white on a canvas of as many pixels.
export function paint(canvas, greys) {
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(canvas.width, canvas.height);
  const { data } = pixels;
  for (let index = 0; index < greys.length; index++) {
    data[4 * index] = data[4 * index + 1] = data[4 * index + 2] = greys[index];
    data[4 * index + 3] = 255;
  }
  context.putImageData(pixels, 0, 0);
}
