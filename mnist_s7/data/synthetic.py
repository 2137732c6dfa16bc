"""The synthetic digits: drawn from matplotlib's own fonts, for a machine that cannot have MNIST.

They have MNIST's look (white strokes on black, about 20 x 20 pixels in 28 x 28, centred by mass) and are
not MNIST: an accuracy on them says that the code trains, and nothing about handwriting. Titles say so.

Each digit of each font becomes a signed distance field, once. An image is then a look-up in one of the fields
along a bent and slanted grid: a shift of the distance thickens the stroke, a wider ramp blurs its edge.

The bytes are the same every time. An image's floats see only sums, products, quotients and square roots,
element by element, whose every bit IEEE 754 fixes: no sine, no matrix product, no sum over an axis. Image i
depends on the i-th row of the random numbers alone, so a small set is the beginning of a large one.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

SYNTHETIC_DIGITS = "synthetic digits"  # their name


class Font(NamedTuple):
    """A font file of matplotlib's and the character of a zero in it, which those of one to nine follow."""

    file: str
    zero: str = "0"


# STIXGeneral also holds Unicode's mathematical digits, drawn like a sans-serif's and a typewriter's.
SANS, SANS_BOLD, TYPEWRITER = "\U0001d7e2", "\U0001d7ec", "\U0001d7f6"

# Test digits come from font families that are not trained on, so that a network has to generalise.
# Left out are DejaVu Sans Mono (its zero has a dot inside), cmmi10 (old-style digits), cmsy10 and cmex10
# (symbols in the digits' place), and what varies with matplotlib's version: cmti10, DejaVu Serif's italics.
TRAIN_FONTS = (
    Font("DejaVuSans.ttf"),
    Font("DejaVuSans-Bold.ttf"),
    Font("DejaVuSans-Oblique.ttf"),
    Font("DejaVuSerif.ttf"),
    Font("DejaVuSerif-Bold.ttf"),
    Font("STIXGeneral.ttf"),
    Font("STIXGeneralBol.ttf"),
    Font("STIXGeneralItalic.ttf"),
    Font("STIXGeneralBolIta.ttf"),
    Font("STIXGeneral.ttf", SANS),
    Font("STIXGeneral.ttf", SANS_BOLD),
    Font("STIXGeneral.ttf", TYPEWRITER),
)
TEST_FONTS = tuple(Font(file) for file in ("cmr10.ttf", "cmb10.ttf", "cmss10.ttf", "cmtt10.ttf"))

TRAIN_SEED, TEST_SEED = 1, 2

SIDE = 28  # pixels, MNIST's
CENTRE = 14.0  # pixels: where MNIST's centre of mass lies, on both axes
CELLS = 64  # side of a distance field
GLYPH_CELLS = 36  # a digit's height in its field: two cells a pixel, and room around it for a thick stroke
CELL_STEPS = 256  # distances are rounded to 1/256 cell, so that the last bits of an outline reach no pixel
BATCH = 256  # images drawn at once: few enough for a core's cache

# Each image draws one number from each of these ranges, uniformly. They are chosen to bring ink, extent and
# sharpness near MNIST's while every digit stays legible.
RANGES = {
    "label": (0, 10),  # rounded down
    "font": (0, 1),  # as a share of the list of fonts
    "height": (15.0, 18.0),  # pixels from top to foot of the outline: the pen adds to it, MNIST's box is 20
    "aspect": (0.8, 1.15),  # width over the font's own width
    "slant": (-0.15, 0.3),  # to the right per pixel up: most writers lean right
    "rotation": (-0.15, 0.15),  # tangent of the angle, about 9 degrees either way
    "shift_x": (-0.7, 0.7),  # pixels
    "shift_y": (-0.7, 0.7),
    "pen": (0.9, 1.8),  # pixels, half of a stroke's mean width
    "blur": (0.9, 1.8),  # pixels from black to white across an edge
    "bow_x": (-0.2, 0.2),  # the bends, in half-heights: stems bow
    "bow_y": (-0.2, 0.2),  # and bars sag,
    "wedge_x": (-0.2, 0.2),  # the top outgrows the foot
    "wedge_y": (-0.2, 0.2),  # and the left the right,
    "swirl_x": (-0.2, 0.2),  # stems curl like an S
    "swirl_y": (-0.2, 0.2),  # and bars like a tilde
}
MOST_EROSION = 0.25  # pixels that a thin pen takes off a bold font's edges: more would break its hairlines


def synthetic_digits(train=60_000, test=10_000):
    """Tensors: train images uint8 (train, 28, 28), train labels int64 (train,), test images, test labels.

    The test digits come from font families that the train digits never use.
    """
    return *_draw(TRAIN_FONTS, train, TRAIN_SEED), *_draw(TEST_FONTS, test, TEST_SEED)


def _draw(fonts, count, seed):
    """Images uint8 (count, 28, 28) and labels int64 (count,)."""
    glyphs = [_distance_field(font, digit) for font in fonts for digit in range(10)]
    fields = np.stack([field for field, _ in glyphs]).astype(np.float32)  # (fonts * 10, CELLS, CELLS)
    half_strokes = np.array([half_stroke for _, half_stroke in glyphs], np.float32)

    low, high = np.array(list(RANGES.values())).T
    values = low + (high - low) * np.random.default_rng(seed).random((count, len(RANGES)))  # PCG64
    labels = values[:, 0].astype(np.int64)
    chosen = (values[:, 1] * len(fonts)).astype(np.int64) * 10 + labels  # which glyph
    values = values.astype(np.float32)

    images = np.empty((count, SIDE, SIDE), np.uint8)
    for start in range(0, count, BATCH):
        part = slice(start, start + BATCH)
        images[part] = _strokes(fields, half_strokes, chosen[part], values[part])
    return torch.from_numpy(images), torch.from_numpy(labels)


def _strokes(fields, half_strokes, chosen, values):
    """Images uint8 (N, 28, 28) of the chosen glyphs (N,), drawn as the random values (N, len(RANGES)) say."""
    v = {name: column[:, None, None] for name, column in zip(RANGES, values.T, strict=True)}  # each (N, 1, 1)
    unit = v["height"] / 2  # pixels: half-heights make the bends independent of the size

    # From a pixel back to the upright glyph: x to the right and y down, from the digit's centre of mass.
    pixel = np.arange(SIDE, dtype=np.float32) - CENTRE
    right, down = pixel[None, None, :] - v["shift_x"], pixel[None, :, None] - v["shift_y"]
    length = np.sqrt(1 + v["rotation"] * v["rotation"]) * unit
    x = (right + v["rotation"] * down) / length
    y = (down - v["rotation"] * right) / length
    x = (x + v["slant"] * y) / v["aspect"]
    # Off the digit the bends stop growing, lest the grid fold back on it.
    cx, cy = np.clip(x, -1, 1), np.clip(y, -1, 1)
    xx, xy, yy = cx * cx, cx * cy, cy * cy
    # A third is the mean of a square over -1..1: a bow moves the middle one way and the ends the other.
    bent_x = x + v["bow_x"] * (yy - 1 / 3) + v["wedge_x"] * xy + v["swirl_x"] * (yy - 1) * cy
    bent_y = y + v["bow_y"] * (xx - 1 / 3) + v["wedge_y"] * xy + v["swirl_y"] * (xx - 1) * cx

    # The distance to the outline in cells, read between the four nearest; beyond the field, at its edge.
    column = np.clip(bent_x * (GLYPH_CELLS / 2) + CELLS / 2, 0, CELLS - 1.001)
    row = np.clip(bent_y * (GLYPH_CELLS / 2) + CELLS / 2, 0, CELLS - 1.001)
    left, top = column.astype(np.int64), row.astype(np.int64)
    across, along = column - left.astype(np.float32), row - top.astype(np.float32)
    corner = (chosen[:, None, None] * CELLS + top) * CELLS + left
    flat = fields.reshape(-1)
    upper = flat.take(corner) * (1 - across) + flat.take(corner + 1) * across
    lower = flat.take(corner + CELLS) * (1 - across) + flat.take(corner + CELLS + 1) * across
    cells = upper * (1 - along) + lower * along

    pixels_per_cell = v["height"] / GLYPH_CELLS
    own = half_strokes[chosen][:, None, None] * pixels_per_cell
    thicker = np.maximum(v["pen"] - own, -MOST_EROSION)
    white = np.clip((cells * pixels_per_cell + thicker) / v["blur"] + 0.5, 0, 1)
    return (white * 255 + 0.5).astype(np.uint8)


@cache
def _distance_field(font, digit):
    """Distance to the digit's outline (CELLS, CELLS), positive inside, and half its mean stroke: in cells.

    The digit is GLYPH_CELLS high, and its centre of mass lies at the field's centre.
    """
    start, end, half_stroke = _outline(font, digit)
    (x0, y0), (x1, y1) = start.T.astype(np.float32), end.T.astype(np.float32)
    # Every point of the field, (CELLS, CELLS, 1), meets every piece of the outline, (S,).
    steps = np.arange(CELLS, dtype=np.float32) - CELLS / 2
    x, y = steps[None, :, None], steps[:, None, None]
    dx, dy = x1 - x0, y1 - y0

    squared = np.maximum(dx * dx + dy * dy, 1e-9)  # a contour may close with a piece of no length
    along = np.clip(((x - x0) * dx + (y - y0) * dy) / squared, 0, 1)  # the nearest point's place on the piece
    off_x, off_y = x - x0 - along * dx, y - y0 - along * dy
    distance = np.sqrt((off_x * off_x + off_y * off_y).min(-1))

    # From inside, a ray to the right crosses the outline more often one way than the other.
    way = ((y0 <= y) & (y1 > y)).astype(np.int8) - ((y1 <= y) & (y0 > y))  # (CELLS, 1, S)
    crossing = x0 + (y - y0) * dx / np.where(dy == 0, 1, dy)  # (CELLS, 1, S)
    inside = ((crossing > x) * way).sum(-1) != 0
    return np.round(np.where(inside, distance, -distance) * CELL_STEPS) / CELL_STEPS, half_stroke


def _outline(font, digit):
    """Where the outline's S straight pieces start and end, (S, 2) each, and half its mean stroke: in cells.

    x runs right and y down, from the digit's centre of mass.
    """
    import matplotlib  # here, since nobody who has MNIST needs it
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    file = Path(matplotlib.get_data_path(), "fonts", "ttf", font.file)
    text = TextPath((0, 0), chr(ord(font.zero) + digit), size=GLYPH_CELLS, prop=FontProperties(fname=file))
    contours = [contour * (1, -1) for contour in text.to_polygons()]  # a font's y runs up
    start = np.concatenate([contour[:-1] for contour in contours])
    end = np.concatenate([contour[1:] for contour in contours])
    scale = GLYPH_CELLS / np.ptp(start[:, 1])
    start, end = start * scale, end * scale

    # Area and mass sum over the triangles from the origin to each piece; holes run the other way round.
    doubled = start[:, 0] * end[:, 1] - end[:, 0] * start[:, 1]
    mass = ((start + end) * doubled[:, None]).sum(0) / (3 * doubled.sum())
    perimeter = np.sqrt(((end - start) ** 2).sum(1)).sum()
    half_stroke = abs(doubled.sum() / 2) / perimeter  # area is length x width, the outline two lengths
    return start - mass, end - mass, half_stroke
