"""One digit found in a picture, and made an image as MNIST's are."""

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor

from mnist_s7.images.reading import NoDigit, RawImage, SeveralDigits, read_image

SIDE, BOX = 28, 20  # pixels: of MNIST's images, and of the box in them that its authors scaled each digit to fit
CENTRE = 14  # the row and column that holds the centre of mass: in 13.5 to 14.5 of every training image

# Of the light that the paper gives back. Less is a shadow, or the other side of the sheet shining through.
LEAST_CONTRAST = 0.12
NOISE = 3.5  # standard deviations of the paper's grain that ink must stand out by: grain alone reaches 4 of its own

# In MNIST's training images, in which the longer side of a digit is 20 pixels:
WIDEST = 1.7  # times as wide as high: 99.95 % of the digits are not wider
THIN, USUAL, THICKEST = 1.6, 2.4, 8.0  # pixels of stroke width: 5 % are thinner; the median; none is thicker
GAP = 0.3  # of the longer side: 95 % of the parts of broken digits are not farther from the rest
SPECK = 0.005  # of the largest part's area: no part of a digit is smaller
MARK = 0.05  # the same: what is smaller, and farther than GAP, is taken for dirt and not for another digit

RIM=1.0
FLAT=.25
UP=Image.Resampling.LANCZOS
SLOPE=1.5
NEAR=2.5
# Of the picture's longer side.
WINDOWS = (0.1, 0.2, 0.4)  # the last is as wide as the widest stroke of a digit that fills the picture
NEIGHBOURHOOD = 0.05  # over which the paper is taken to be one colour
SMALLEST = 0.04  # the longer side of a digit; what is smaller can be anything


def digit_image(picture: RawImage) -> Tensor:
    """The digit in the `picture` as a uint8 (28, 28) tensor, 0 black to 255 white ink, made as MNIST's images were.

    That is, scaled to fit a box of 20x20 with its proportions kept, grey where an edge falls inside a pixel, and
    shifted until its centre of mass is in the middle (LeCun, Cortes and Burges, "The MNIST database"). Strokes
    thinner than MNIST's are thickened, which is our addition: a ballpoint's line in a photo is else hardly there.

    Raises `NoDigit` and `SeveralDigits`.
    """
    picture = read_image(picture)
    try:
        ink = _ink(_one_channel(_fine(_without_repeats(picture.pixels))))
        return torch.from_numpy(_centred(_scaled(ink, _digit_mask(ink))))
    except (NoDigit, SeveralDigits) as error:
        error.args = (f"{picture.name}: {error}" if picture.name else str(error),)
        raise


# ------------------------------------------------------------------------------------------------ ink from paper


def _without_repeats(pixels: np.ndarray) -> np.ndarray:
    """The pixels of a picture that was enlarged by repeating them, each once."""
    for axis in (0, 1):
        pixels = pixels.swapaxes(0, 1)
        changes = np.flatnonzero((pixels[1:] != pixels[:-1]).any(axis=(1, 2))) + 1
        if len(changes):
            pixels = pixels[:: np.gcd.reduce([*changes, len(pixels)])]
    return pixels


def _fine(pixels: np.ndarray) -> np.ndarray:
    """Enlarged where there are fewer than a digit of MNIST's has, so that its strokes are a few pixels wide."""
    height, width = pixels.shape[:2]
    if max(height, width) >= BOX:
        return pixels
    factor = 3 * BOX / max(height, width)
    size = (max(1, round(factor * width)), max(1, round(factor * height)))
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize(size, UP))


def _one_channel(pixels: np.ndarray) -> np.ndarray:
    """(H, W) float32, 1 paper and less where there is ink, of the uint8 (H, W, 3) pixels.

    The channels are mixed as neighbouring parts differ most, so that red ink on green paper is seen.
    """
    rgb = pixels.astype(np.float32) / 255
    detail = rgb - _blurred(rgb, max(rgb.shape) / 8)
    strong = detail * np.linalg.norm(detail, axis=2, keepdims=True)  # ink counts for more than the paper's grain
    _, axes = np.linalg.eigh(np.einsum("ijk,ijl->kl", strong, strong, dtype=np.float64))
    axis = axes[:, -1].round(6) / np.abs(axes[:, -1].round(6)).sum()
    mixed = rgb @ axis.astype(np.float32) + np.maximum(-axis, 0).sum(dtype=np.float32)
    difference = detail @ axis.astype(np.float32)
    spread = max(float(mixed.std()), 1e-6)
    skew = float((difference**3).mean()) / max(float(difference.std()), 1e-6) ** 3
    rim = np.concatenate([mixed[0], mixed[-1], mixed[:, 0], mixed[:, -1]])
    # Ink has less of the picture than its paper, and less still of the border.
    lighter = skew + RIM * (mixed.mean() - rim.mean()) / spread
    return 1 - mixed if lighter > 0 else mixed


def _blurred(values: np.ndarray, sigma: float) -> np.ndarray:
    """(H, W) or (H, W, C) float32 `values`, smoothed over about `sigma` pixels: twice with a box, which is fast."""
    size = 2 * round(1.2 * sigma) + 1
    for axis in (0, 1, 0, 1):
        values = ndimage.uniform_filter1d(values, size, axis, mode="nearest")
    return values


def _ink(grey: np.ndarray) -> np.ndarray:
    """The share of the paper's light that is missing at each pixel of `grey`, 0 where that is its grain.

    What the paper's light is there, without the ink, depends on how wide strokes are. Of several widths, the one
    counts whose ink has the sharpest outline: with a smaller one, wide strokes are paper in part, and with a larger
    one shadows are ink.
    """
    shades = (255 * grey).round().clip(0, 255).astype(np.uint8)
    counts = np.bincount(shades.ravel(), minlength=256)
    shade = counts.argmax()
    if counts[max(shade - 2, 0) : shade + 3].sum() > FLAT * grey.size:
        return (1 - 255 * grey / max(shade, 1)).clip(0, 1)
    longer = max(grey.shape)
    smooth = ndimage.gaussian_filter(grey, longer / 500, mode="nearest")
    slope = ndimage.morphological_gradient(smooth, 3)
    found = []
    for share in WINDOWS:
        window = round(share * longer) | 1
        # The closing fills what is darker and narrower than the window, and keeps all else as it is.
        paper = ndimage.grey_closing(smooth, (window, window), mode="nearest")
        for _ in range(2):
            ink = 1 - grey / np.maximum(paper, 1 / 255)
            threshold = _threshold(ink)
            mask = ndimage.binary_dilation(ink > threshold, iterations=2)
            weight = (~mask).astype(np.float32)
            sigma = NEIGHBOURHOOD * longer
            paper = (_blurred(weight * grey, sigma) + 1e-3 * paper) / (_blurred(weight, sigma) + 1e-3)
        ink = 1 - grey / np.maximum(paper, 1 / 255)
        threshold = _threshold(ink)
        strokes = ink > threshold
        outline = strokes & ~ndimage.binary_erosion(strokes, border_value=1)
        grain = float(ink[~mask].std()) if not mask.all() else 0.0
        if 2 * threshold >= max(LEAST_CONTRAST, NOISE * grain) and outline.any():
            found.append((slope[outline].mean(), share, np.where(ink > 3 * grain, ink, 0).clip(0, 1)))
    if not found:
        raise NoDigit("no digit found: nothing stands out from the paper; write darker, or take a sharper picture")
    return max(found, key=lambda f: f[:2])[2]


def _threshold(ink: np.ndarray) -> float:
    """Half of the mean of all that is above it."""
    threshold = float(ink.max()) / 2
    for _ in range(10):
        threshold = float(ink[ink >= threshold].mean()) / 2
    return threshold


# ------------------------------------------------------------------------------------------------ the digit's parts


def _digit_mask(ink: np.ndarray) -> np.ndarray:
    """True where the strokes of the one digit are."""
    mask = ink > _threshold(ink)
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    areas = ndimage.sum_labels(mask, labels, range(count + 1))
    longer = np.array([0] + [max(s.stop - s.start for s in box) for box in ndimage.find_objects(labels)])
    rim = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    inner = np.ones(count + 1, bool)
    inner[rim] = inner[0] = False
    least = SMALLEST * max(ink.shape)
    # What touches the border is the desk, the paper's edge or a thumb; or it is the digit itself, tightly cropped.
    if (longer[inner] >= least).any():
        areas[~inner] = 0
    areas[0] = 0
    main = areas.argmax()
    if longer[main] < least:
        raise NoDigit("no digit found: only specks; crop the picture to the digit")
    kept = labels == main
    rest = {k for k in range(1, count + 1) if k != main and areas[k] >= SPECK * areas[main]}
    while rest:
        rows, columns = (np.flatnonzero(kept.any(axis=axis)) for axis in (1, 0))
        reach = GAP * max(np.ptp(rows) + 1, np.ptp(columns) + 1)
        distance = ndimage.distance_transform_edt(~kept)
        nearest = ndimage.minimum(distance, labels, list(rest))
        near = {k for k, gap in zip(rest, nearest, strict=True) if gap <= reach}
        if not near:
            break
        kept |= np.isin(labels, list(near))
        rest -= near
    apart = [k for k in rest if areas[k] >= MARK * areas[main]]
    if kept.sum() < areas.sum() / 2 or len(apart) > 20:
        raise NoDigit(f"no digit found: {len(apart) + 1} marks all over the picture; crop it to one digit")
    if apart:
        raise SeveralDigits(f"{len(apart) + 1} marks stand apart; crop the picture to one digit")
    return kept


# ------------------------------------------------------------------------------------------------ as MNIST has it


def _scaled(ink: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The digit, float32 from 0 to 1, scaled to fit `BOX`."""
    full = float(np.quantile(ink[kept], 0.75))
    scale = max(_box(kept)[1]) / BOX
    near = ndimage.distance_transform_edt(~kept) <= NEAR * max(scale, 1)
    values = np.where(near, ink / full, 0).clip(0, 1)
    if scale > 1:
        # A digit that is larger than MNIST's has edges as sharp for its size, as the bilevel originals of MNIST had.
        values = (0.5 + min(scale, SLOPE) * (values - 0.5)).clip(0, 1)
    values = _thickened(values, scale)
    corner, (height, width) = _box(values > 0)
    cut = values[corner[0] : corner[0] + height, corner[1] : corner[1] + width]
    if width > WIDEST * height:
        raise SeveralDigits(
            f"the ink is {width / height:.1f} times as wide as high, and digits are at most {WIDEST} times; "
            "crop the picture to one digit"
        )
    size = tuple(max(1, round(side * BOX / max(height, width))) for side in (width, height))
    return np.asarray(Image.fromarray(cut).resize(size, Image.Resampling.BOX if scale > 1 else Image.Resampling.BICUBIC)).clip(0, 1)


def _thickened(values: np.ndarray, scale: float) -> np.ndarray:
    """Strokes of MNIST's usual width where they would be thinner than MNIST's, once scaled down by `scale`."""
    rows, columns = (np.diff(np.pad(values, 1), axis=axis) for axis in (0, 1))
    outline = np.sqrt(rows[:, 1:] ** 2 + columns[1:] ** 2).sum()
    stroke = 2 * values.sum() / outline  # a long line of width w has the area w * length, and the outline 2 * length
    if stroke / scale > THICKEST:
        raise NoDigit("no digit found: a blot, and not strokes; crop the picture to one digit")
    if scale <= 1 or stroke / scale >= THIN:
        return values
    radius = (USUAL * scale - stroke) / 2 / (1 - USUAL / BOX)  # the digit grows with its strokes
    margin = int(np.ceil(radius)) + 1
    distance = ndimage.distance_transform_edt(np.pad(values, margin) < 0.5)
    return (radius + 1 - distance).clip(0, 1).astype(np.float32)


def _box(mask: np.ndarray) -> tuple[tuple[int, int], tuple[int, int]]:
    """The top left corner of what is true in `mask`, and its height and width."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return (rows[0], columns[0]), (rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1)


def _centred(digit: np.ndarray) -> np.ndarray:
    """uint8 (28, 28), with the centre of mass in the middle, as far as the digit then stays inside."""
    corner = [
        int(np.clip(round(CENTRE - middle), 0, SIDE - side))
        for middle, side in zip(ndimage.center_of_mass(digit), digit.shape, strict=True)
    ]
    image = np.zeros((SIDE, SIDE), np.uint8)
    rows, columns = (slice(start, start + side) for start, side in zip(corner, digit.shape, strict=True))
    image[rows, columns] = (255 * digit).round()
    return image
