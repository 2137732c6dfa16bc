// The effective receptive field, as `effective_receptive_field` of the room `receptive_field` has it: the mean absolute
// gradient of a unit with respect to the pixels (Luo et al. 2016, arXiv:1701.04128).

const SHARE = 0.95; // of the gradient, that lies within the radius

// Of the gradients on several images of `side` x `side` pixels: `map`, shares of the gradient whose sum is 1; `centre`,
// its centre of mass as [row, column]; and `radius`, the pixels around that centre that hold 95 % of it. Null if there
// is no gradient.
export function effectiveField(gradients, side) {
  const map = new Float64Array(side * side);
  for (const gradient of gradients) {
    for (let pixel = 0; pixel < map.length; pixel++) map[pixel] += Math.abs(gradient[pixel]);
  }
  const total = map.reduce((a, b) => a + b);
  if (!(total > 0)) return null;
  const centre = [0, 0];
  for (let pixel = 0; pixel < map.length; pixel++) {
    map[pixel] /= total;
    centre[0] += map[pixel] * Math.floor(pixel / side);
    centre[1] += map[pixel] * (pixel % side);
  }
  return { map, centre, radius: radiusOf(map, centre, side) };
}

function radiusOf(map, [row, column], side) {
  const pixels = Array.from(map, (share, pixel) => ({
    share,
    distance: Math.hypot(Math.floor(pixel / side) - row, (pixel % side) - column),
  }));
  pixels.sort((one, other) => one.distance - other.distance);
  let sum = 0;
  return pixels.find(({ share }) => (sum += share) >= SHARE)?.distance ?? pixels.at(-1).distance;
}
