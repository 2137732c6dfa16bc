"""Pictures of any kind, read into one form; and the errors of this room."""

import errno
import io
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from mnist_s7 import MnistS7Error

# About 450x450. A digit of a tenth of the height is then still twice as large as MNIST's; larger pictures cost time and
# memory, and are not classified better.
PIXELS = 200_000
# In a tight crop, 99.9 % of MNIST's training images have a smaller share of ink: what covers more is paper.
MOST_INK = 0.75
SHADES = 25  # grey levels that ink and sheet differ by; what is all of one colour has fewer

Source = str | os.PathLike | bytes | BinaryIO | Image.Image | np.ndarray | Tensor


class ImageError(MnistS7Error):
    """A picture that no digit can be classified in."""


class ImageUnreadable(ImageError):
    """Not there, or not a picture."""


class NoDigit(ImageError):
    """A picture without a digit: a blank page, say, or a blot."""


class SeveralDigits(ImageError):
    """A picture with more than one digit, or with a digit and other things."""


@dataclass(frozen=True, eq=False)
class RawImage:
    """A picture as `read_image` gives it: uint8 (H, W, 3), upright, no larger than about 450x450; and its file's name,
    as it was given."""

    pixels: np.ndarray
    name: str = ""


def read_image(source: Source | RawImage) -> RawImage:
    """Read the `source`: a path, bytes, a binary file, a PIL image, an array or a tensor.

    All that Pillow reads is taken: greys of 16 and 32 bits are scaled so that their highest value is white, a
    transparent sheet gets a colour that its ink stands out from, and the first frame of several is the picture.
    Arrays and tensors are (H, W), (H, W, 3) or (H, W, 4): uint8 from 0 black to 255 white, or floats from 0 to 1.

    Raises `ImageUnreadable` for anything else.
    """
    if isinstance(source, RawImage):
        return source
    name = _name_of(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about files that it reads all the same
            pixels = _pixels(source)
    except ImageUnreadable as error:
        raise ImageUnreadable(f"{name or 'the picture'}: {error}") from error
    except Exception as error:  # for damaged files, Pillow's formats raise errors of many kinds
        raise ImageUnreadable(f"{name or 'the picture'}: {_reason(error)}") from error
    return RawImage(pixels, name)


def _name_of(source: Source) -> str:
    """The file as it was named, or "" where there is none. An opened one has a name, and standard input's is none."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    name = getattr(source, "filename", None) or getattr(source, "name", None)
    return name if isinstance(name, str) and not name.startswith("<") else ""


def _reason(error: Exception) -> str:
    """What is wrong and what to do, of an error of Pillow or the system."""
    match error:
        case FileNotFoundError(filename=str(name)) if name.startswith(("http:/", "https:/")):
            return "addresses are not fetched; save the picture first, and give its file"
        case FileNotFoundError():
            return "there is no such file; check the path"
        case IsADirectoryError():
            return "this is a folder; give a file in it"
        case PermissionError():
            return "reading it is not permitted; change its permissions, or copy it"
        case UnidentifiedImageError():
            return "not a picture in a format that Pillow reads; save it as PNG or JPEG"
        case Image.DecompressionBombError():
            most = 2 * Image.MAX_IMAGE_PIXELS // 1_000_000
            return f"more than {most} million pixels, the most that is read; scale it down or crop it to the digit"
        case MemoryError():
            return "there is not enough memory to read it; scale it down or crop it to the digit"
        case OSError(errno=errno.ENAMETOOLONG):
            return "the name is too long to be a file's; check the path"
    return f"it cannot be read, and may be damaged or cut off ({error}); save or copy it again"


def _pixels(source: Source) -> np.ndarray:
    if isinstance(source, (np.ndarray, Tensor)):
        return _of_image(_of_array(source))
    if isinstance(source, Image.Image):
        return _of_image(source)
    if isinstance(source, (bytes, bytearray)):
        source = io.BytesIO(source)
    elif hasattr(source, "read"):
        source = io.BytesIO(source.read())  # standard input cannot be sought in
    elif not isinstance(source, (str, os.PathLike)):
        raise ImageUnreadable(
            f"found {type(source).__name__}; a path, bytes, a binary file, a PIL image, an array or a tensor is needed"
        )
    if isinstance(source, io.BytesIO) and not source.getbuffer().nbytes:
        raise ImageUnreadable("nothing in it; give a picture")
    if not isinstance(source, io.BytesIO) and Path(source).is_file() and not Path(source).stat().st_size:
        raise ImageUnreadable("the file is empty; save or copy it again")
    with Image.open(source) as image:
        shrink = max(1, int((image.width * image.height / PIXELS) ** 0.5))
        image.draft(None, (image.width // shrink, image.height // shrink))  # a JPEG, decoded at a fraction of its size
        return _of_image(image)


def _of_array(values: np.ndarray | Tensor) -> Image.Image:
    if isinstance(values, Tensor):
        values = (values.float() if values.is_floating_point() else values).detach().cpu().numpy()
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (3, 4)) or 0 in values.shape:
        raise ImageUnreadable(f"the shape (H, W), (H, W, 3) or (H, W, 4) is needed, found {values.shape}")
    if values.dtype == bool or np.issubdtype(values.dtype, np.floating):
        if not (values.min() >= 0 and values.max() <= 1):  # so written, NaN is refused too
            raise ImageUnreadable(
                f"floats from 0 black to 1 white are needed, found {values.min():g} to {values.max():g}; "
                "uint8 is taken from 0 to 255"
            )
        values = (255 * values.astype(np.float32)).round().astype(np.uint8)
    if values.dtype != np.uint8:
        raise ImageUnreadable(f"uint8, or floats from 0 to 1, are needed, found {values.dtype}; convert it to uint8")
    return Image.fromarray(np.ascontiguousarray(values))


def _of_image(image: Image.Image) -> np.ndarray:
    if 0 in image.size:
        raise ImageUnreadable(f"{image.width}x{image.height} pixels; at least one is needed")
    image = _small(_eight_bits(image))
    return np.array(_opaque(ImageOps.exif_transpose(image)))


def _eight_bits(image: Image.Image) -> Image.Image:
    """In a mode of 8 bits a channel, with the alpha channel if there is one."""
    if image.mode[0] in "IF":
        values = np.asarray(image)
        low, high = min(float(values.min()), 0), float(values.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ImageUnreadable("values that are no numbers, or infinite; replace them")
        exif, scale = image.getexif(), 255 / max(high - low, 1e-30)
        image = Image.fromarray(((values - low) * scale).round().astype(np.uint8))
        image.getexif().update(exif)
        return image
    if image.mode in ("L", "RGB", "RGBA"):
        image.load()
        if "transparency" not in image.info:
            return image
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _small(image: Image.Image) -> Image.Image:
    """Reduced to about `PIXELS` pixels, each the mean of those that it stands for."""
    shrink = (image.width * image.height / PIXELS) ** 0.5
    if shrink <= 1:
        return image
    exif = image.getexif()
    size = tuple(max(1, round(side / shrink)) for side in image.size)
    image = image.resize(size, Image.Resampling.BOX, reducing_gap=2.0)
    image.getexif().update(exif)
    return image


def _opaque(image: Image.Image) -> Image.Image:
    """RGB, with a colour under what is transparent that the rest stands out from.

    Where most of the picture is opaque and not of one colour, that is a sheet with ink on it, and the sheet goes on.
    Otherwise what is opaque is ink, or a sheet that the ink was cut out of, and black or white is farther from it.
    """
    if image.mode != "RGBA":
        return image.convert("RGB")
    values = np.asarray(image, np.float32)
    alpha = values[..., 3:] / 255
    opaque = values[..., :3][alpha[..., 0] > 0.5]
    if not len(opaque):
        opaque = np.zeros((1, 3), np.float32)  # all but transparent: as black ink
    under = np.full(3, 255.0 if opaque.mean() < 128 else 0.0)
    if len(opaque) > MOST_INK * alpha.size and np.ptp(opaque.mean(axis=1)) > SHADES:
        under = np.median(opaque, axis=0)
    mixed = values[..., :3] * alpha + under * (1 - alpha)
    return Image.fromarray(mixed.round().astype(np.uint8))
