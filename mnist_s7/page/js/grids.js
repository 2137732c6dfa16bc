// Numbers and grids of numbers, for preprocessing.js: what NumPy, SciPy and Pillow do for its Python equivalent.
//
// A grid is `{values, width, height}`, a typed array row after row; a mask is one whose values are 0 and 1.

export const sum = (values) => values.reduce((total, value) => total + value, 0);
export const mean = (values) => sum(values) / values.length;
export const largest = (values) => values.reduce((a, b) => Math.max(a, b), -Infinity);
export const map = (grid, change) => ({ ...grid, values: grid.values.map(change) });
export const real = (grid) => ({ ...grid, values: Float64Array.from(grid.values) });
export const clipped = (value) => Math.min(Math.max(value, 0), 1);

// Halves go to the even neighbour, as NumPy and Python round.
export function rounded(value) {
  const below = Math.floor(value);
  return value - below === 0.5 ? below + (below % 2) : Math.round(value);
}

export function deviation(values) {
  const middle = mean(values);
  return Math.sqrt(values.reduce((total, value) => total + (value - middle) * (value - middle), 0) / values.length);
}

// Between the two values that `share` falls between.
export function quantile(values, share) {
  const sorted = values.slice().sort(); // of a typed array, by number
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
}

// --------------------------------------------------------------------------------------------------- smoothed, resized

// Twice the mean of a square.
export function blurred(grid, sigma) {
  const radius = rounded(1.2 * sigma);
  const { values, width, height } = real(grid);
  for (let pass = 0; pass < 2; pass++) {
    for (let x = 0; x < width; x++) meanAlong(values, x, width, height, radius);
    for (let y = 0; y < height; y++) meanAlong(values, y * width, 1, width, radius);
  }
  return { ...grid, values };
}

// Changes a line of `count` values, `stride` apart, to their means over `radius` on each side; the ends go on outside.
function meanAlong(values, start, stride, count, radius) {
  const size = 2 * radius + 1;
  const line = new Float64Array(count + size);
  for (let index = 0; index < line.length; index++) {
    line[index] = values[start + Math.min(Math.max(index - radius, 0), count - 1) * stride];
  }
  let total = 0;
  for (let index = 0; index < size; index++) total += line[index];
  for (let index = 0; index < count; index++) {
    values[start + index * stride] = total / size;
    total += line[index + size] - line[index];
  }
}

export const boxFilter = { support: 0.5, weight: (x) => Number(x > -0.5 && x <= 0.5) };
export const bicubicFilter = {
  support: 2,
  weight(x) {
    const distance = Math.abs(x);
    if (distance < 1) return (1.5 * distance - 2.5) * distance ** 2 + 1;
    return distance < 2 ? ((-0.5 * distance + 2.5) * distance - 4) * distance + 2 : 0;
  },
};

// As Pillow resizes: the filter as wide as an output pixel where that is larger, first along rows, then along columns.
export function resized(grid, width, height, filter) {
  const across = new Float64Array(width * grid.height);
  windows(grid.width, width, filter).forEach(({ start, weights }, x) => {
    for (let y = 0; y < grid.height; y++) {
      across[y * width + x] = sum(weights.map((weight, k) => weight * grid.values[y * grid.width + start + k]));
    }
  });
  const values = new Float64Array(width * height);
  windows(grid.height, height, filter).forEach(({ start, weights }, y) => {
    for (let x = 0; x < width; x++) {
      values[y * width + x] = sum(weights.map((weight, k) => weight * across[(start + k) * width + x]));
    }
  });
  return { values, width, height };
}

// For each output pixel along a side, where its inputs start and their weights.
function windows(sizeIn, sizeOut, { support, weight }) {
  const scale = sizeIn / sizeOut;
  const wide = Math.max(scale, 1);
  return Array.from({ length: sizeOut }, (_, index) => {
    const centre = (index + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - support * wide + 0.5));
    const end = Math.min(sizeIn, Math.trunc(centre + support * wide + 0.5));
    const weights = Array.from({ length: end - start }, (_, k) => weight((start + k + 0.5 - centre) / wide));
    const total = sum(weights);
    return { start, weights: weights.map((value) => value / total) };
  });
}

// --------------------------------------------------------------------------------------------------------------- boxes

// Of what is above 0.
export function boxOf({ values, width, height }) {
  let [left, top, right, bottom] = [width, height, -1, -1];
  values.forEach((value, index) => {
    if (value <= 0) return;
    const x = index % width;
    const y = (index - x) / width;
    left = Math.min(left, x);
    right = Math.max(right, x);
    top = Math.min(top, y);
    bottom = Math.max(bottom, y);
  });
  return { left, top, width: right - left + 1, height: bottom - top + 1 };
}

// The part of the grid in a box that may go beyond it.
export function cut({ values, width, height }, box, margin) {
  const left = Math.max(0, box.left - margin);
  const top = Math.max(0, box.top - margin);
  const size = {
    width: Math.min(width, box.left + box.width + margin) - left,
    height: Math.min(height, box.top + box.height + margin) - top,
  };
  const found = new Float64Array(size.width * size.height);
  for (let y = 0; y < size.height; y++) {
    const start = (top + y) * width + left;
    found.set(values.subarray(start, start + size.width), y * size.width);
  }
  return { values: found, ...size };
}

export function padded({ values, width, height }, margin) {
  const wide = { width: width + 2 * margin, height: height + 2 * margin };
  const found = new Float64Array(wide.width * wide.height);
  for (let y = 0; y < height; y++) {
    found.set(values.subarray(y * width, (y + 1) * width), (y + margin) * wide.width + margin);
  }
  return { values: found, ...wide };
}

// --------------------------------------------------------------------------------------------------------------- masks

// The connected parts of what is 1, diagonally too or not: the label of each pixel, 0 for none, and of each part its
// label, area and box, whose right and bottom are the first ones outside.
export function labelled({ values, width, height }, diagonally) {
  const labels = new Int32Array(values.length);
  const parts = [];
  for (let start = 0; start < values.length; start++) {
    if (!values[start] || labels[start]) continue;
    const part = { label: parts.length + 1, area: 0, left: width, right: 0, top: height, bottom: 0 };
    const open = [start];
    labels[start] = part.label;
    while (open.length) {
      const index = open.pop();
      const x = index % width;
      const y = (index - x) / width;
      part.area++;
      part.left = Math.min(part.left, x);
      part.right = Math.max(part.right, x + 1);
      part.top = Math.min(part.top, y);
      part.bottom = Math.max(part.bottom, y + 1);
      for (let dy = -1; dy <= 1; dy++) {
        for (let dx = -1; dx <= 1; dx++) {
          const outside = x + dx < 0 || x + dx >= width || y + dy < 0 || y + dy >= height;
          const next = index + dy * width + dx;
          if (outside || (!diagonally && dx && dy) || !values[next] || labels[next]) continue;
          labels[next] = part.label;
          open.push(next);
        }
      }
    }
    parts.push(part);
  }
  return { labels, parts };
}

// From each pixel to the nearest one that is 1, after P. Felzenszwalb and D. Huttenlocher, "Distance Transforms of
// Sampled Functions" (2012): squares of distances along the columns, and then the lower envelope of their parabolas
// along the rows.
export function distanceTo(mask) {
  const { values, width, height } = mask;
  const far = (width + height) ** 2; // further than any pixel, and finite, so that parabolas can be compared
  const squares = values.map((value) => (value ? 0 : far));
  for (let x = 0; x < width; x++) envelopeAlong(squares, x, width, height);
  for (let y = 0; y < height; y++) envelopeAlong(squares, y * width, 1, width);
  return { ...mask, values: squares.map(Math.sqrt) };
}

function envelopeAlong(squares, start, stride, count) {
  const line = new Float64Array(count);
  for (let index = 0; index < count; index++) line[index] = squares[start + index * stride];
  const lowest = new Int32Array(count); // where the parabolas of the envelope have their lowest points
  const from = new Float64Array(count).fill(-Infinity); // and from where on each is the lowest
  const meeting = (a, b) => (line[b] + b * b - line[a] - a * a) / (2 * (b - a));
  let last = 0;
  for (let index = 1; index < count; index++) {
    while (meeting(lowest[last], index) <= from[last]) last--;
    from[last + 1] = meeting(lowest[last], index);
    lowest[++last] = index;
  }
  for (let index = 0, piece = 0; index < count; index++) {
    while (piece < last && from[piece + 1] < index) piece++;
    squares[start + index * stride] = (index - lowest[piece]) ** 2 + line[lowest[piece]];
  }
}

// The indices of the pixels of the mask that are beside one outside of it.
export function outline({ values, width, height }) {
  const found = [];
  values.forEach((value, index) => {
    const x = index % width;
    const y = (index - x) / width;
    const open =
      (x && !values[index - 1]) ||
      (x < width - 1 && !values[index + 1]) ||
      (y && !values[index - width]) ||
      (y < height - 1 && !values[index + width]);
    if (value && open) found.push(index);
  });
  return found;
}

// How steep the values are at the `places`, seen through a Gaussian: rows are smoothed everywhere, and columns there.
export function slopesAt(places, { values, width, height }, sigma) {
  const radius = Math.floor(4 * sigma + 0.5);
  const offsets = Array.from({ length: 2 * radius + 1 }, (_, index) => index - radius);
  const weights = offsets.map((offset) => Math.exp((-0.5 * offset ** 2) / sigma ** 2));
  const total = sum(weights);
  const smoothing = Float64Array.from(weights, (weight) => weight / total);
  const slope = smoothing.map((weight, index) => (weight * offsets[index]) / sigma ** 2);
  const [smooth, steep] = [new Float64Array(values.length), new Float64Array(values.length)];
  for (let y = 0; y < height; y++) {
    const row = new Float64Array(width + 2 * radius); // the ends go on outside
    for (let x = 0; x < row.length; x++) row[x] = values[y * width + Math.min(Math.max(x - radius, 0), width - 1)];
    for (let x = 0; x < width; x++) {
      let [level, change] = [0, 0];
      for (let k = 0; k < smoothing.length; k++) {
        level += smoothing[k] * row[x + k];
        change += slope[k] * row[x + k];
      }
      smooth[y * width + x] = level;
      steep[y * width + x] = change;
    }
  }
  return Float64Array.from(places, (place) => {
    const x = place % width;
    const y = (place - x) / width;
    let [across, down] = [0, 0];
    for (let k = 0; k < smoothing.length; k++) {
      const index = Math.min(Math.max(y + offsets[k], 0), height - 1) * width + x;
      across += smoothing[k] * steep[index];
      down += slope[k] * smooth[index];
    }
    return Math.hypot(across, down);
  });
}
