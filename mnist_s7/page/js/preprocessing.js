// A drawing made an image as MNIST's are: what `digit_image` of mnist_s7/images/preprocessing.py does, for greys on
// clean paper of one shade and at least 20 pixels. The steps and constants are described there, and a test compares
// both. Uneven light is left out, since a canvas has none.

import {
  bicubicFilter,
  blurred,
  boxFilter,
  boxOf,
  clipped,
  cut,
  deviation,
  distanceTo,
  labelled,
  largest,
  map,
  mean,
  outline,
  padded,
  quantile,
  resized,
  rounded,
  slopesAt,
  sum,
  valuesIn,
  where,
} from "./grids.js";

const SIDE = 28;
const BOX = 20;
const CENTRE = 14;
const WIDEST = 1.7;
const THIN = 1.6;
const USUAL = 2.4;
const THICKEST = 8.0;
const FULL = 0.9;
const SHARPNESS = 0.22;
const HOLES = 5;
const GAP = 0.3;
const BESIDE = 0.12;
const SPECK = 0.005;
const MARK = 0.05;
const MANY = 20;
const LEAST_CONTRAST = 0.12;
const FAINTEST = 0.06;
const ONE_COLOUR = 0.2;
const LIGHTER = 0.02;
const SMALLEST = 0.04;
const CONTRAST = 1.5;
const NEAR = 2.5;

class Refused extends Error {}

// Of `greys`, uint8 of `width` by `height`, row after row: `{picture}`, 28x28 greys from 0 black to 255 white ink; or
// `{reason}`, why there is none.
export function digitImage(greys, width, height) {
  try {
    const ink = inkOf(upright(withoutRepeats({ values: greys, width, height })));
    return { picture: centred(scaled(ink, digitMask(ink))) };
  } catch (error) {
    if (error instanceof Refused) return { reason: error.message };
    throw error;
  }
}

// ---------------------------------------------------------------------------------------------------- ink from paper

// A drawing that was enlarged by repeating pixels, with each of them once.
function withoutRepeats({ values, width, height }) {
  const divisor = (a, b) => (b ? divisor(b, a % b) : a);
  let repeats = divisor(width, height);
  for (let y = 0; y < height && repeats > 1; y++) {
    for (let x = 0; x < width; x++) {
      const value = values[y * width + x];
      if (y && value !== values[(y - 1) * width + x]) repeats = divisor(repeats, y);
      if (x && value !== values[y * width + x - 1]) repeats = divisor(repeats, x);
    }
  }
  const few = { width: width / repeats, height: height / repeats };
  const kept = new Uint8Array(few.width * few.height);
  for (let index = 0; index < kept.length; index++) {
    const y = Math.floor(index / few.width);
    kept[index] = values[repeats * (y * width + (index % few.width))];
  }
  return { values: kept, ...few };
}

// As dark ink on light paper. Ink is what there is less of, most of all at the border.
function upright(grid) {
  const { values, width, height } = grid;
  const smooth = blurred(grid, Math.max(width, height) / 8).values;
  const detail = smooth; // a value at a time takes the place of the smooth one, so that no further memory is needed
  let cubes = 0;
  for (let index = 0; index < values.length; index++) {
    const value = (values[index] - smooth[index]) / 255;
    detail[index] = value;
    cubes += value * value * value;
  }
  const border = [];
  for (let x = 0; x < width; x++) border.push(values[x], values[(height - 1) * width + x]);
  for (let y = 0; y < height; y++) border.push(values[y * width], values[y * width + width - 1]);
  const skewness = cubes / values.length / Math.max(deviation(detail), 1e-6) ** 3;
  const lightInk = skewness + (mean(values) - mean(border)) / Math.max(deviation(values), 255e-6) > 0;
  return lightInk ? map(grid, (value) => 255 - value) : grid;
}

// The share of the paper's light that is missing at each pixel. Where the paper has no shade, Python looks for uneven
// light, and in a drawing that is inked all over finds nothing that stands out.
function inkOf(grey) {
  const counts = new Uint32Array(256);
  for (let index = 0; index < grey.values.length; index++) counts[grey.values[index]]++;
  const shade = counts.indexOf(largest(counts));
  const same = sum(counts.slice(Math.max(shade - 2, 0), shade + 3));
  const area = grey.values.length;
  const clean = same > ONE_COLOUR * area && sum(counts.slice(shade + 3)) < LIGHTER * area;
  const ink = map(grey, (value) => clipped(1 - value / Math.max(shade, 1)));
  const median = (greyAt(counts, (area - 1) >> 1) + greyAt(counts, area >> 1)) / 2;
  const least = Math.max(LEAST_CONTRAST, FAINTEST / Math.max(median / 255, 1e-6));
  if (!clean || largest(ink.values) <= 0 || 2 * threshold(ink.values) < least) {
    throw new Refused("no digit found: nothing stands out from the paper; write darker, or take a sharper picture");
  }
  return ink;
}

// The grey of the pixel at a place in the order of greys, of which `counts` says how often each is there.
function greyAt(counts, place) {
  let grey = 0;
  for (let upTo = counts[0]; upTo <= place; upTo += counts[grey]) grey++;
  return grey;
}

// Half of the mean of what is above the threshold itself, found from above.
function threshold(ink) {
  let found = Math.max(largest(ink) / 2, 0);
  for (let [time, before] = [0, NaN]; time < 10 && found !== before; time++) {
    before = found;
    let [total, count] = [0, 0];
    for (let index = 0; index < ink.length; index++) {
      if (ink[index] < found) continue;
      total += ink[index];
      count++;
    }
    found = total / count / 2;
  }
  return found;
}

// ------------------------------------------------------------------------------------------------- the digit's parts

function digitMask(ink) {
  const least = threshold(ink.values);
  const { labels, parts } = labelled(where(ink, (value) => value > least), true);
  const longer = Math.max(ink.width, ink.height);
  const largeEnough = (part) => Math.max(part.right - part.left, part.bottom - part.top) >= SMALLEST * longer;
  // What touches the border counts only if there is nothing else.
  const touches = (part) => !part.left || !part.top || part.right === ink.width || part.bottom === ink.height;
  const inner = parts.filter((part) => !touches(part));
  const candidates = inner.some(largeEnough) ? inner : parts;
  const most = largest(candidates.map((part) => part.area));
  const main = candidates.find((part) => part.area === most);
  if (!largeEnough(main)) throw new Refused("no digit found: only specks; crop the picture to the digit");

  const isDigit = new Uint8Array(parts.length + 1); // by label
  isDigit[main.label] = 1;
  const mask = () => where(ink, (_, index) => isDigit[labels[index]]);
  let rest = candidates.filter((part) => part !== main && part.area >= SPECK * most);
  for (let near = [main]; near.length && rest.length; ) {
    near = nearParts(mask(), labels, rest);
    for (const part of near) isDigit[part.label] = 1;
    rest = rest.filter((part) => !near.includes(part));
  }
  const apart = rest.filter((part) => part.area >= MARK * most);
  const kept = mask();
  if (apart.length > MANY || (!apart.length && sum(kept.values) < sum(candidates.map((part) => part.area)) / 2)) {
    throw new Refused("no digit found: marks all over the picture; crop it to one digit");
  }
  if (apart.length) throw new Refused(`${apart.length + 1} marks stand apart; crop the picture to one digit`);
  return kept;
}

// Those of `rest` that are near enough to what is `kept` to be parts of one digit.
function nearParts(kept, labels, rest) {
  const box = boxOf(kept);
  const side = Math.max(box.width, box.height);
  const margin = Math.ceil(GAP * side); // what is farther away is too far
  const labelsAround = cut({ ...kept, values: labels }, box, margin).values;
  const distance = distanceTo(cut(kept, box, margin)).values;
  const gaps = new Map(rest.map((part) => [part.label, Infinity]));
  for (let index = 0; index < distance.length; index++) {
    const label = labelsAround[index];
    if (gaps.has(label)) gaps.set(label, Math.min(gaps.get(label), distance[index]));
  }
  return rest.filter((part) => {
    const beside = Math.max(part.left - box.left - box.width, box.left - part.right);
    return gaps.get(part.label) <= GAP * side && beside <= BESIDE * side;
  });
}

// ----------------------------------------------------------------------------------------------------- as MNIST has it

// The digit, from 0 to 1, scaled to fit the box.
function scaled(wholeInk, wholeKept) {
  const box = boxOf(wholeKept);
  const scale = Math.max(box.width, box.height, BOX) / BOX;
  const kept = cut(wholeKept, box, Math.ceil(NEAR * scale));
  const part = cut(wholeInk, box, Math.ceil(NEAR * scale));
  const full = quantile(valuesIn(kept, part), FULL);
  const ink = map(part, (value) => value / full);
  checkShape(ink, kept, box, scale);
  const distance = distanceTo(kept).values;
  const digit = map(ink, (value, index) => {
    const near = distance[index] <= NEAR * scale ? value : 0;
    return clipped(scale > 1 ? 0.5 + CONTRAST * (near - 0.5) : near);
  });
  const strokes = thickened(digit, scale);
  const tight = cut(strokes, boxOf(strokes), 0);
  const fit = (side) => Math.max(1, rounded((side * BOX) / Math.max(tight.width, tight.height)));
  return map(resized(tight, fit(tight.width), fit(tight.height), scale > 1 ? boxFilter : bicubicFilter), clipped);
}

function checkShape(ink, kept, { width, height }, scale) {
  if (width > WIDEST * height) {
    throw new Refused(
      `the ink is ${oneDecimal(width / height)} times as wide as high, and digits are at most ${WIDEST} times; ` +
        "crop the picture to one digit",
    );
  }
  const stroke = strokeWidth(map(ink, (value, index) => value * kept.values[index]));
  const edge = Math.min(scale, stroke); // as wide as a stroke's edges may be
  const slope = edge * quantile(slopesAt(outline(kept), ink, edge / 2), 0.5);
  const { parts } = labelled(where(padded(kept, 1), (value) => !value), false);
  const area = sum(kept.values);
  const holes = parts.filter((part) => part.area >= SPECK * area).length - 1;
  if (slope < SHARPNESS || holes > HOLES) {
    throw new Refused(
      "no digit found: a shadow or a texture, and not strokes; write darker, or take a sharper picture",
    );
  }
  if (stroke > THICKEST * scale) {
    throw new Refused("no digit found: a blot, and not strokes; crop the picture to one digit");
  }
}

// Only quarters are halves of a tenth in binary, too, and those Python rounds to the even one.
function oneDecimal(value) {
  return (Number.isInteger(4 * value) ? rounded(10 * value) / 10 : value).toFixed(1);
}

// In pixels. A long line of width w has the area w * length, and its outline is 2 * length.
function strokeWidth(grid) {
  const { values, width, height } = padded(grid, 1);
  let outlineLength = 0;
  for (let y = 1; y < height; y++) {
    for (let x = 1; x < width; x++) {
      const value = values[y * width + x];
      const down = value - values[(y - 1) * width + x];
      const across = value - values[y * width + x - 1];
      outlineLength += Math.sqrt(down * down + across * across);
    }
  }
  return (2 * sum(grid.values)) / outlineLength;
}

// Strokes of MNIST's usual width, where they would be thinner than MNIST's once they are scaled down by `scale`.
function thickened(grid, scale) {
  const width = strokeWidth(grid);
  if (scale === 1 || width >= THIN * scale) return grid;
  const radius = (USUAL * scale - width) / 2 / (1 - USUAL / BOX); // the digit grows with its strokes
  const distance = distanceTo(where(padded(grid, Math.ceil(radius) + 1), (value) => value >= 0.5));
  return map(distance, (value) => clipped(radius + 1 - value));
}

// 28x28, with the centre of mass in the middle, as far as the digit then stays inside.
function centred({ values, width, height }) {
  const total = sum(values);
  // To six decimals: a symmetric digit's is often half a pixel off, and rounding errors would move it a whole one.
  const middle = (coordinate) => {
    const moment = sum(values.map((value, index) => value * coordinate(index)));
    return Math.round((1e6 * moment) / total) / 1e6;
  };
  const corner = (middleIn, side) => Math.min(Math.max(rounded(CENTRE - middleIn), 0), SIDE - side);
  const left = corner(middle((index) => index % width), width);
  const top = corner(middle((index) => Math.floor(index / width)), height);
  const picture = new Uint8Array(SIDE * SIDE);
  values.forEach((value, index) => {
    const y = Math.floor(index / width);
    picture[(top + y) * SIDE + left + (index % width)] = rounded(255 * value);
  });
  return picture;
}
