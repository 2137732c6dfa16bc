"""One digit found in a picture, and made an image as MNIST's are.

Constants about digits were measured on MNIST's first 12,000 training images; those about paper and light were chosen
on drawings and photos (`tests/images/drawings.py`) of other seeds than those that accuracies are stated for.
"""

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor

from mnist_s7.images.reading import NoDigit, RawImage, SeveralDigits, Source, read_image

SIDE, BOX = 28, 20  # pixels: of MNIST's images, and of the box in them that its authors scaled each digit to fit
CENTRE = 14  # the row and column that holds the centre of mass: in 13.5 to 14.5 of every training image

# In MNIST's training images, in which the longer side of a digit is `BOX` pixels:
WIDEST = 1.7  # times as wide as high: 99.9 % of the digits are not wider
THIN, USUAL, THICKEST = 1.6, 2.4, 8.0  # pixels of stroke width: 5 % are thinner; the median; none is thicker
FULL = 0.9  # the quantile of a digit's ink that is 252 or more of 255 in 99 %
SHARPNESS = 0.22  # of ink per pixel, at half of the outline: 99.8 % are sharper
HOLES = 5  # 99.9 % have no more, counting those of a pixel
GAP = 0.3  # of the longer side: 95 % of the parts of broken digits are not farther from the rest
BESIDE = 0.12  # the same, where no column holds both: true of 25 of 30; farther, and two ones would be one digit
SPECK = 0.005  # of the largest part's area: no part is smaller
MARK = 0.05  # the same: what is smaller, and far from the rest, is taken for dirt and not for another digit
MANY = 20  # parts that stand apart: more are a texture, and not digits

# Of paper and light, chosen on drawings and photos.
MOST_PINHOLES = 500  # of any size in a digit: grain leaves 62 at most, and noise has thousands
LEAST_CONTRAST = 0.12  # of the paper's light; less is the other side of the sheet shining through
LEAST_IN_UNEVEN_LIGHT = 0.28  # the same: most shadows are paler, and nearly all ink is darker
FAINTEST = 0.06  # of white's light: 15 grey levels, which a JPEG's blocks may differ by
GRAIN = 3.5  # standard deviations of the paper's grain: ink that stands out less is lost in it
ONE_COLOUR = 0.2  # of the picture: paper of one shade covers more, even in a tight crop
LIGHTER = 0.02  # of the picture: more that is lighter than the paper, and the light is uneven
WINDOWS = (0.06, 0.15, 0.4)  # of the longer side; the last, of the widest stroke in a tight crop, is THICKEST / BOX
NEIGHBOURHOOD = 0.05  # of the longer side: paper this near has the same light
SMALLEST = 0.04  # of the longer side: about `BOX` pixels in the largest picture that is looked at
CONTRAST = 1.5  # that ink gains in large pictures, for the paper's grain to be black; more breaks blurred strokes
NEAR = 2.5  # pixels of MNIST's: the grey at a stroke's edge is not farther from it


def digit_image(picture: Source | RawImage) -> Tensor:
    """The digit in the `picture` as a uint8 (28, 28) tensor, 0 black to 255 white ink, made as MNIST's images were.

    That is, scaled to fit a box of 20x20 with its proportions kept, grey where an edge falls inside a pixel, and
    shifted until its centre of mass is in the middle (LeCun, Cortes and Burges, "The MNIST database"). Strokes
    thinner than MNIST's are thickened, which is our addition: a ballpoint's line in a photo is else hardly there.

    Raises `NoDigit`, `SeveralDigits`, and what `read_image` does.
    """
    picture = read_image(picture)
    try:
        ink = _ink(_one_channel(_fine(_without_repeats(picture.pixels))))
        return torch.from_numpy(_centred(_scaled(ink, _digit_mask(ink))))
    except (NoDigit, SeveralDigits) as error:
        if not picture.name:
            raise
        raise type(error)(f"{picture.name}: {error}") from error


# ------------------------------------------------------------------------------------------------- ink from paper


def _without_repeats(pixels: np.ndarray) -> np.ndarray:
    """The pixels of a picture that was enlarged by repeating them, each once."""
    rows = np.flatnonzero((pixels[1:] != pixels[:-1]).any(axis=(1, 2))) + 1
    columns = np.flatnonzero((pixels[:, 1:] != pixels[:, :-1]).any(axis=(0, 2))) + 1
    repeats = np.gcd.reduce([*rows, *columns, *pixels.shape[:2]])
    return pixels[::repeats, ::repeats]


def _fine(pixels: np.ndarray) -> np.ndarray:
    """Enlarged, if there are fewer than a digit of MNIST has: three times as large as that, and smooth."""
    height, width = pixels.shape[:2]
    if max(height, width) >= BOX:
        return pixels
    factor = 3 * BOX / max(height, width)
    size = (max(1, round(factor * width)), max(1, round(factor * height)))
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize(size, Image.Resampling.LANCZOS))


def _one_channel(pixels: np.ndarray) -> np.ndarray:
    """(H, W) float32 from 0 to 1, light paper and dark ink, of the uint8 (H, W, 3) pixels.

    The channels are mixed as neighbouring parts differ most, so that red ink on green paper is seen.
    """
    rgb = pixels.astype(np.float32) / 255
    detail = rgb - _blurred(rgb, max(rgb.shape) / 8)
    strong = detail * np.linalg.norm(detail, axis=2, keepdims=True)  # ink counts for more than the paper's grain
    _, axes = np.linalg.eigh(np.einsum("ijk,ijl->kl", strong, strong, dtype=np.float64))
    axis = axes[:, -1].round(6)
    axis = (axis / np.abs(axis).sum()).astype(np.float32)
    mixed = rgb @ axis + np.maximum(-axis, 0).sum()

    # Ink is a smaller part of the picture than paper, so that it differs more from the mean; and a still smaller one
    # of the border, which is not of the mean's shade then.
    detail = detail @ axis
    border = np.concatenate([mixed[0], mixed[-1], mixed[:, 0], mixed[:, -1]])
    skewness = (detail**3).mean() / max(detail.std(), 1e-6) ** 3
    light_ink = skewness + (mixed.mean() - border.mean()) / max(mixed.std(), 1e-6) > 0
    return 1 - mixed if light_ink else mixed


def _ink(grey: np.ndarray) -> np.ndarray:
    """The share of the paper's light that is missing at each pixel of `grey`, 0 where that is the paper's grain.

    Where most of the paper has one shade, that is its light. Else it is estimated, which depends on how wide strokes
    are. Of several widths, the one counts whose ink has the sharpest outline: with a smaller one, wide strokes are
    paper in part, and with a larger one shadows are ink.

    Raises `NoDigit` where nothing stands out.
    """
    counts = np.bincount((255 * grey.ravel()).round().clip(0, 255).astype(np.uint8), minlength=256)
    shade = int(counts.argmax())
    same, lighter = counts[max(shade - 2, 0) : shade + 3].sum(), counts[shade + 3 :].sum()
    if same > ONE_COLOUR * grey.size and lighter < LIGHTER * grey.size:
        found, least = [(0.0, 1 - grey * 255 / max(shade, 1), 0.0)], LEAST_CONTRAST
    else:
        found, least = _ink_in_uneven_light(grey), LEAST_IN_UNEVEN_LIGHT
    found = [(slope, ink, grain) for slope, ink, grain in found if ink.max() > 0]
    least = max(least, FAINTEST / max(float(np.median(grey)), 1e-6))
    clear = [f for f in found if 2 * _threshold(f[1]) >= max(least, GRAIN * f[2])]
    if not clear:
        raise NoDigit("no digit found: nothing stands out from the paper; write darker, or take a sharper picture")
    _, ink, grain = max(clear, key=lambda f: f[0])
    return np.where(ink > 3 * grain, ink, 0).clip(0, 1)


def _ink_in_uneven_light(grey: np.ndarray) -> list[tuple[float, np.ndarray, float]]:
    """For each of `WINDOWS`: the slope of `grey` at the ink's outline, the ink, the deviation of the paper's grain."""
    longer = max(grey.shape)
    smooth = ndimage.gaussian_filter(grey, longer / 500, mode="nearest")  # less noise, and strokes as they are
    slope = ndimage.morphological_gradient(smooth, 3)
    found = []
    for window in (round(share * longer) | 1 for share in WINDOWS):
        # The closing fills what is darker and narrower than the window, and keeps all else as it is.
        paper = ndimage.grey_closing(smooth, (window, window), mode="nearest")
        for _ in range(2):  # the closing is as light as the lightest grain, the mean of the paper nearby is not
            ink = 1 - grey / np.maximum(paper, 1 / 255)
            mask = ndimage.binary_dilation(ink > _threshold(ink), iterations=2)
            weight = (~mask).astype(np.float32)
            around = _blurred(weight, NEIGHBOURHOOD * longer)
            paper = (_blurred(weight * grey, NEIGHBOURHOOD * longer) + 1e-3 * paper) / (around + 1e-3)
        ink = 1 - grey / np.maximum(paper, 1 / 255)
        outline = _outline(ink > _threshold(ink))
        if outline.any() and not mask.all():
            found.append((float(slope[outline].mean()), ink, float(ink[~mask].std())))
    return found


def _blurred(values: np.ndarray, sigma: float) -> np.ndarray:
    """`values` (H, W) or (H, W, C) smoothed over about `sigma` pixels: twice the mean of a square, which is fast."""
    size = 2 * round(1.2 * sigma) + 1
    for axis in (0, 1, 0, 1):
        values = ndimage.uniform_filter1d(values, size, axis, mode="nearest")
    return values


def _threshold(ink: np.ndarray) -> float:
    """Half of the mean of what is above the threshold itself, found from above."""
    threshold = max(float(ink.max()) / 2, 0.0)
    for _ in range(10):
        threshold = float(ink[ink >= threshold].mean()) / 2
    return threshold


def _outline(mask: np.ndarray) -> np.ndarray:
    return mask & ~ndimage.binary_erosion(mask, border_value=1)


# ---------------------------------------------------------------------------------------------- the digit's parts


def _digit_mask(ink: np.ndarray) -> np.ndarray:
    """True where the strokes of the one digit are.

    Raises `NoDigit` and `SeveralDigits`.
    """
    mask = ink > _threshold(ink)
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    boxes = [None, *ndimage.find_objects(labels)]
    areas = np.bincount(labels.ravel())
    longer = np.array([0, *(max(side.stop - side.start for side in box) for box in boxes[1:])])
    inner = np.ones(count + 1, bool)
    inner[np.concatenate([[0], labels[0], labels[-1], labels[:, 0], labels[:, -1]])] = False
    # What touches the border is the desk, the paper's edge or a thumb; or it is the digit itself, tightly cropped.
    areas[0] = 0
    if (longer[inner] >= SMALLEST * max(ink.shape)).any():
        areas[~inner] = 0
    main = int(areas.argmax())
    if longer[main] < SMALLEST * max(ink.shape):
        raise NoDigit("no digit found: only specks; crop the picture to the digit")

    kept = labels == main
    rest = [k for k in range(1, count + 1) if k != main and areas[k] >= SPECK * areas[main]]
    while near := _near(kept, labels, boxes, rest):
        kept |= np.isin(labels, near)
        rest = [k for k in rest if k not in near]
    apart = [k for k in rest if areas[k] >= MARK * areas[main]]
    if len(apart) > MANY or (not apart and kept.sum() < areas.sum() / 2):
        raise NoDigit("no digit found: marks all over the picture; crop it to one digit")
    if apart:
        raise SeveralDigits(f"{len(apart) + 1} marks stand apart; crop the picture to one digit")
    return kept


def _near(kept: np.ndarray, labels: np.ndarray, boxes: list, rest: list[int]) -> list[int]:
    """Those of `rest` that are near enough to what is `kept` to be parts of one digit."""
    if not rest:
        return []
    (_, left), (height, width) = _box(kept)
    gaps = ndimage.minimum(ndimage.distance_transform_edt(~kept), labels, rest)
    beside = [max(boxes[k][1].start - left - width, left - boxes[k][1].stop) for k in rest]
    side = max(height, width)
    return [k for k, gap, b in zip(rest, gaps, beside, strict=True) if gap <= GAP * side and b <= BESIDE * side]


def _box(mask: np.ndarray) -> tuple[tuple[int, int], tuple[int, int]]:
    """The top left corner of what is true in `mask`, and its height and width."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return (rows[0], columns[0]), (rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1)


# ------------------------------------------------------------------------------------------------ as MNIST has it


def _scaled(ink: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The digit, float32 from 0 to 1, scaled to fit the box.

    Raises `NoDigit` and `SeveralDigits` for what has no digit's shape.
    """
    (top, left), (height, width) = _box(kept)
    scale = max(height, width, BOX) / BOX
    margin = int(np.ceil(NEAR * scale))
    cut = tuple(slice(max(0, a - margin), a + side + margin) for a, side in ((top, height), (left, width)))
    ink, kept = ink[cut], kept[cut]
    ink = ink / np.quantile(ink[kept], FULL)
    _check(ink, kept, scale)
    near = ndimage.distance_transform_edt(~kept) <= NEAR * scale
    values = np.where(near, ink, 0)
    if scale > 1:
        values = 0.5 + CONTRAST * (values - 0.5)
    values = _thickened(values.clip(0, 1), scale)
    (top, left), (height, width) = _box(values > 0)
    image = Image.fromarray(values[top : top + height, left : left + width].astype(np.float32))
    size = tuple(max(1, round(side * BOX / max(height, width))) for side in (width, height))
    filtered = image.resize(size, Image.Resampling.BOX if scale > 1 else Image.Resampling.BICUBIC)
    return np.asarray(filtered).clip(0, 1)


def _check(ink: np.ndarray, kept: np.ndarray, scale: float) -> None:
    """Raise `NoDigit` or `SeveralDigits` for a shape that no digit has."""
    _, (height, width) = _box(kept)
    if width > WIDEST * height:
        raise SeveralDigits(
            f"the ink is {width / height:.1f} times as wide as high, and digits are at most {WIDEST} times; "
            "crop the picture to one digit"
        )
    stroke = _stroke_width(ink * kept)
    edge = min(scale, stroke)  # as wide as a stroke's edges may be
    slopes = edge * ndimage.gaussian_gradient_magnitude(ink, edge / 2, mode="nearest")
    labels, _ = ndimage.label(~np.pad(kept, 1))
    sizes = np.bincount(labels.ravel())[1:]  # of what is around the digit, and of its holes
    holes = (sizes >= SPECK * kept.sum()).sum() - 1
    if np.median(slopes[_outline(kept)]) < SHARPNESS or holes > HOLES or len(sizes) > MOST_PINHOLES:
        raise NoDigit("no digit found: a shadow or a texture, and not strokes; write darker, or take a sharper picture")
    if stroke > THICKEST * scale:
        raise NoDigit("no digit found: a blot, and not strokes; crop the picture to one digit")


def _stroke_width(values: np.ndarray) -> float:
    """In pixels. A long line of width w has the area w * length, and its outline is 2 * length."""
    rows, columns = (np.diff(np.pad(values, 1), axis=axis) for axis in (0, 1))
    outline = np.sqrt(rows[:, 1:] ** 2 + columns[1:] ** 2).sum()
    return float(2 * values.sum() / outline)


def _thickened(values: np.ndarray, scale: float) -> np.ndarray:
    """Strokes of MNIST's usual width, where they would be thinner than MNIST's once they are scaled down by `scale`."""
    width = _stroke_width(values)
    if scale == 1 or width >= THIN * scale:
        return values
    radius = (USUAL * scale - width) / 2 / (1 - USUAL / BOX)  # the digit grows with its strokes, and is scaled down
    distance = ndimage.distance_transform_edt(np.pad(values, int(np.ceil(radius)) + 1) < 0.5)
    return (radius + 1 - distance).clip(0, 1)


def _centred(digit: np.ndarray) -> np.ndarray:
    """uint8 (28, 28), with the centre of mass in the middle, as far as the digit then stays inside."""
    # A symmetric digit's centre is often half a pixel off, where rounding errors would decide to which side it goes.
    middles = [round(middle, 6) for middle in ndimage.center_of_mass(digit.astype(np.float64))]
    corner = [int(np.clip(round(CENTRE - m), 0, SIDE - side)) for m, side in zip(middles, digit.shape, strict=True)]
    image = np.zeros((SIDE, SIDE), np.uint8)
    rows, columns = (slice(start, start + side) for start, side in zip(corner, digit.shape, strict=True))
    image[rows, columns] = (255 * digit).round()
    return image
