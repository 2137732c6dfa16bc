// Numbers and grids of numbers, for preprocessing.js: what NumPy, SciPy and Pillow do for its Python equivalent.
//
// A grid is `{values, width, height}`, row after row: a Uint8Array of greys, or a mask, whose values are 0 and 1, or a
// Float64Array. What is gone through in plain loops and takes little new memory is fast in a browser.

export const mean = (values) => sum(values) / values.length;
export const clipped = (value) => Math.min(Math.max(value, 0), 1);

export function sum(values) {
  let total = 0;
  for (let index = 0; index < values.length; index++) total += values[index];
  return total;
}

export function largest(values) {
  let found = -Infinity;
  for (let index = 0; index < values.length; index++) found = Math.max(found, values[index]);
  return found;
}

// A grid of what `change` makes of each value, given its index too.
export function map(grid, change) {
  const values = new Float64Array(grid.values.length);
  for (let index = 0; index < values.length; index++) values[index] = change(grid.values[index], index);
  return { ...grid, values };
}

// A mask, 1 where `test` is true of a value, given its index too.
export function where({ values, width, height }, test) {
  const found = new Uint8Array(values.length);
  for (let index = 0; index < values.length; index++) found[index] = test(values[index], index) ? 1 : 0;
  return { values: found, width, height };
}

// The values where the mask is 1.
export function valuesIn(mask, { values }) {
  const found = new Float64Array(sum(mask.values));
  for (let index = 0, count = 0; index < values.length; index++) {
    if (mask.values[index]) found[count++] = values[index];
  }
  return found;
}

// Halves go to the even neighbour, as NumPy and Python round.
export function rounded(value) {
  const below = Math.floor(value);
  return value - below === 0.5 ? below + (below % 2) : Math.round(value);
}

export function deviation(values) {
  const middle = mean(values);
  let squares = 0;
  for (let index = 0; index < values.length; index++) squares += (values[index] - middle) * (values[index] - middle);
  return Math.sqrt(squares / values.length);
}

// Between the two values that `share` falls between.
export function quantile(values, share) {
  const sorted = values.toSorted(); // of a typed array, by number
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
}

// --------------------------------------------------------------------------------------------------- smoothed, resized

// Twice the mean of a square.
export function blurred(grid, sigma) {
  const radius = rounded(1.2 * sigma);
  const { width, height } = grid;
  const means = new Float64Array(width * height);
  const transposed = new Float64Array(width * height);
  for (const values of [grid.values, means]) {
    columnMeans(values, width, height, radius, transposed);
    columnMeans(transposed, height, width, radius, means);
  }
  return { values: means, width, height };
}

// Writes into `means`, transposed, the means over `radius` pixels above and below each; the ends go on outside. All
// columns are summed side by side, since going down one after the other misses the cache.
function columnMeans(values, width, height, radius, means) {
  const totals = new Float64Array(width);
  const size = 2 * radius + 1;
  const rowAt = (y) => Math.min(Math.max(y, 0), height - 1) * width;
  for (let y = -radius; y <= radius; y++) {
    const row = rowAt(y);
    for (let x = 0; x < width; x++) totals[x] += values[row + x];
  }
  for (let y = 0; y < height; y++) {
    const [enters, leaves] = [rowAt(y + radius + 1), rowAt(y - radius)];
    for (let x = 0; x < width; x++) {
      means[x * height + y] = totals[x] / size;
      totals[x] += values[enters + x] - values[leaves + x];
    }
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
      across[y * width + x] = weighted(weights, grid.values, y * grid.width + start, 1);
    }
  });
  const values = new Float64Array(width * height);
  windows(grid.height, height, filter).forEach(({ start, weights }, y) => {
    for (let x = 0; x < width; x++) values[y * width + x] = weighted(weights, across, start * width + x, width);
  });
  return { values, width, height };
}

// The weighted sum of values that are `stride` apart, from `start` on.
function weighted(weights, values, start, stride) {
  let total = 0;
  for (let k = 0; k < weights.length; k++) total += weights[k] * values[start + k * stride];
  return total;
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
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (values[y * width + x] <= 0) continue;
      left = Math.min(left, x);
      right = Math.max(right, x);
      top = Math.min(top, y);
      bottom = y;
    }
  }
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
  const found = new values.constructor(size.width * size.height);
  for (let y = 0; y < size.height; y++) {
    const start = (top + y) * width + left;
    found.set(values.subarray(start, start + size.width), y * size.width);
  }
  return { values: found, ...size };
}

export function padded({ values, width, height }, margin) {
  const wide = { width: width + 2 * margin, height: height + 2 * margin };
  const found = new values.constructor(wide.width * wide.height);
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
      for (let nextY = Math.max(y - 1, 0); nextY <= Math.min(y + 1, height - 1); nextY++) {
        for (let nextX = Math.max(x - 1, 0); nextX <= Math.min(x + 1, width - 1); nextX++) {
          const next = nextY * width + nextX;
          if (!values[next] || labels[next] || (!diagonally && nextX !== x && nextY !== y)) continue;
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
// Sampled Functions" (2012): distances along the columns, and then the lower envelope of the parabolas that their
// squares make along the rows.
export function distanceTo({ values, width, height }) {
  const far = width + height; // further than any pixel, and finite, so that parabolas can be compared
  const distances = new Float64Array(values.length);
  for (let index = 0; index < values.length; index++) {
    const above = index < width ? far : distances[index - width];
    distances[index] = values[index] ? 0 : Math.min(above + 1, far);
  }
  for (let index = values.length - width - 1; index >= 0; index--) {
    distances[index] = Math.min(distances[index], distances[index + width] + 1);
  }
  const squares = new Float64Array(width);
  const envelope = { lowest: new Int32Array(width), from: new Float64Array(width) };
  for (let start = 0; start < distances.length; start += width) {
    for (let x = 0; x < width; x++) squares[x] = distances[start + x] ** 2;
    const last = lowerEnvelope(squares, envelope);
    for (let x = 0, piece = 0; x < width; x++) {
      while (piece < last && envelope.from[piece + 1] < x) piece++;
      const lowest = envelope.lowest[piece];
      distances[start + x] = Math.sqrt((x - lowest) ** 2 + squares[lowest]);
    }
  }
  return { values: distances, width, height };
}

// Of the parabolas (x - k)^2 + squares[k]: the k of each that is lowest somewhere, from left to right, and from where
// on it is. Returns the index of the last.
function lowerEnvelope(squares, { lowest, from }) {
  const meeting = (a, b) => (squares[b] + b * b - squares[a] - a * a) / (2 * (b - a));
  let last = 0;
  lowest[0] = 0;
  from[0] = -Infinity;
  for (let index = 1; index < squares.length; index++) {
    while (meeting(lowest[last], index) <= from[last]) last--;
    from[last + 1] = meeting(lowest[last], index);
    lowest[++last] = index;
  }
  return last;
}

// The indices of the pixels of the mask that are beside one outside of it.
export function outline({ values, width, height }) {
  const found = [];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const index = y * width + x;
      if (!values[index]) continue;
      const open =
        (x && !values[index - 1]) ||
        (x < width - 1 && !values[index + 1]) ||
        (y && !values[index - width]) ||
        (y < height - 1 && !values[index + width]);
      if (open) found.push(index);
    }
  }
  return found;
}

// How steep the values are at the `places`, seen through a Gaussian: rows are smoothed everywhere, and columns there.
// The weights of the smoothing are the same on both sides of a pixel, and those of the slope have opposite signs.
export function slopesAt(places, { values, width, height }, sigma) {
  const radius = Math.floor(4 * sigma + 0.5);
  const smoothing = Float64Array.from({ length: radius + 1 }, (_, offset) => Math.exp(-0.5 * (offset / sigma) ** 2));
  const total = 2 * sum(smoothing) - smoothing[0];
  for (let offset = 0; offset <= radius; offset++) smoothing[offset] /= total;
  const slope = smoothing.map((weight, offset) => (weight * offset) / sigma ** 2);
  const [smooth, steep] = [new Float64Array(values.length), new Float64Array(values.length)];
  const row = new Float64Array(width + 2 * radius); // the ends go on outside
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < row.length; x++) row[x] = values[y * width + Math.min(Math.max(x - radius, 0), width - 1)];
    for (let x = 0; x < width; x++) {
      let level = smoothing[0] * row[x + radius];
      let change = 0;
      for (let offset = 1; offset <= radius; offset++) {
        const before = row[x + radius - offset];
        const after = row[x + radius + offset];
        level += smoothing[offset] * (after + before);
        change += slope[offset] * (after - before);
      }
      smooth[y * width + x] = level;
      steep[y * width + x] = change;
    }
  }
  return Float64Array.from(places, (place) => {
    const x = place % width;
    const y = (place - x) / width;
    let [across, down] = [smoothing[0] * steep[place], 0];
    for (let offset = 1; offset <= radius; offset++) {
      const above = Math.max(y - offset, 0) * width + x;
      const below = Math.min(y + offset, height - 1) * width + x;
      across += smoothing[offset] * (steep[below] + steep[above]);
      down += slope[offset] * (smooth[below] - smooth[above]);
    }
    return Math.hypot(across, down);
  });
}
