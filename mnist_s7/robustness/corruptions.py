"""Corruptions: each a deterministic function of uint8 (N, 28, 28) images and a strength.

The kinds are those of MNIST-C (N. Mu & J. Gilmer, "MNIST-C: A Robustness Benchmark for Computer Vision", 2019,
arXiv:1906.02337), and strokes of another width those of Morpho-MNIST (D. C. Castro et al., JMLR 20(178), 2019,
arXiv:1809.10780). Here each has its own scale of strengths, so that accuracy can be drawn against it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from mnist_s7.data.digits import check_images
from mnist_s7.transforms import affine

SEED = 1  # of the noise
FINE = 4  # strokes are widened on pixels divided into so many, each way


@dataclass(frozen=True)
class Corruption:
    """A `function` of images and a strength in `unit`, the `strengths` that it is measured at, in ascending order, and
    the one of them that is `neutral`: it leaves the images as they are."""

    name: str
    unit: str
    function: Callable[[Tensor, float], Tensor]
    strengths: tuple[float, ...]
    neutral: float

    def __call__(self, images: Tensor, strength: float) -> Tensor:
        """The uint8 (N, 28, 28) images, corrupted. Raises `DigitsInvalid` for other images."""
        check_images(images)
        return self.function(images, strength)


def rotated(images: Tensor, degrees: float) -> Tensor:
    """Counter-clockwise about the centre, bilinear; what comes from outside the frame is black."""
    return _affine(images, degrees=-degrees)


def shifted_right(images: Tensor, pixels: float) -> Tensor:
    """What leaves the frame is lost; bilinear between pixels."""
    return _affine(images, shift=(pixels, 0))


def shifted_down(images: Tensor, pixels: float) -> Tensor:
    """What leaves the frame is lost; bilinear between pixels."""
    return _affine(images, shift=(0, pixels))


def scaled(images: Tensor, factor: float) -> Tensor:
    """`factor` times as large about the centre, bilinear; what leaves the frame is lost."""
    return _affine(images, scale=factor)


def with_noise(images: Tensor, sd: float) -> Tensor:
    """x + n with n ~ N(0, `sd`), in grey levels of 255: independent for each pixel, cut off at black and white.

    Noise of another strength is the same noise, multiplied.
    """
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(SEED))
    return _uint8(images + sd * noise)


def blurred(images: Tensor, sd: float) -> Tensor:
    """Convolved with exp(-r^2 / (2 `sd`^2)), normalised; `sd` in pixels, r up to 4 of them. Black outside the frame."""
    smooth = ndimage.gaussian_filter(images.numpy().astype(np.float32), (0, sd, sd), mode="constant")
    return _uint8(torch.from_numpy(smooth))


def with_strokes(images: Tensor, pixels: float) -> Tensor:
    """Horizontal and vertical strokes `pixels` wider, or narrower where that is negative, in steps of 2 / `FINE`.

    Grey-scale dilation, or erosion, by a square: each point gets the highest, or lowest, value of those up to half as
    many pixels away, by row and by column. Pixels are divided into `FINE` x `FINE` for it, and averaged again after.
    """
    side = round(FINE * abs(pixels)) + 1
    sign = 1 if pixels >= 0 else -1

    def of_part(part: Tensor) -> Tensor:
        fine = sign * part.float().repeat_interleave(FINE, 1).repeat_interleave(FINE, 2)
        for kernel in ((side, 1), (1, side)):  # the highest in a square, by its columns and then its rows
            fine = F.max_pool2d(fine, kernel, stride=1, padding=tuple(length // 2 for length in kernel))
        return _uint8(sign * F.avg_pool2d(fine, FINE))

    return torch.cat([of_part(part) for part in images.split(1000)])


def with_contrast(images: Tensor, factor: float) -> Tensor:
    """m + `factor` (x - m), with m the image's mean, cut off at black and white."""
    mean = images.float().mean((1, 2), keepdim=True)
    return _uint8(mean + factor * (images - mean))


CORRUPTIONS = (
    Corruption("rotation", "degrees, counter-clockwise", rotated, tuple(range(-45, 46, 5)), 0),
    Corruption("horizontal shift", "pixels to the right", shifted_right, tuple(range(-6, 7)), 0),
    Corruption("vertical shift", "pixels down", shifted_down, tuple(range(-6, 7)), 0),
    Corruption("scale", "times the size", scaled, (0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.3, 1.4, 1.5), 1),
    Corruption("Gaussian noise", "SD in grey levels of 255", with_noise, tuple(range(0, 121, 20)), 0),
    Corruption("blur", "SD in pixels", blurred, (0, 0.5, 1, 1.5, 2, 2.5, 3), 0),
    Corruption("stroke width", "pixels wider", with_strokes, (-1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 2.5, 3), 0),
    Corruption("contrast", "times the contrast", with_contrast, (0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1), 1),
)


def _affine(images: Tensor, degrees: float = 0, shift: tuple[float, float] = (0, 0), scale: float = 1) -> Tensor:
    n = len(images)
    all_alike = torch.full((n,), degrees), torch.tensor([shift]).expand(n, 2), torch.full((n,), scale)
    return affine(images.unsqueeze(1), *all_alike, mode="bilinear").squeeze(1)


def _uint8(values: Tensor) -> Tensor:
    return values.round().clamp(0, 255).to(torch.uint8)
