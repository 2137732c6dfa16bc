"""What `Digits` are, and what is wrong where something is not."""

import os
from dataclasses import dataclass

import torch
from torch import Tensor

from mnist_s7 import InvalidArgument, MnistS7Error
from mnist_s7.data.datasets import VALIDATION


class DigitsError(MnistS7Error):
    """The digits cannot be used."""


class DigitsUnavailable(DigitsError):
    """Not there, or not readable. `named` tells whether the place was given by argument or variable."""

    def __init__(self, message: str, named: bool):
        super().__init__(message)
        self.named = named


class DigitsCorrupt(DigitsError):
    """There, but not what the data set's files hold."""


class DigitsInvalid(DigitsError, ValueError):
    """Tensors that are not images or labels of digits."""


@dataclass(frozen=True)
class Digits:
    """Training and test digits in memory: images uint8 (N, 28, 28), 0 black to 255 white; labels int64 (N,), 0 to 9.

    Raises `DigitsInvalid` for anything else, and where there are none.
    """

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    name: str
    source: str

    def __post_init__(self):
        if not self.name or "/" in self.name or os.sep in self.name:
            raise InvalidArgument(f"name is {self.name!r}: runs' files are named after it, so that it cannot be a path")
        for part in ("train", "test"):
            images, labels = getattr(self, f"{part}_images"), getattr(self, f"{part}_labels")
            check_images(images, f"{part}_images")
            check_labels(labels, len(images), f"{part}_labels")


def check_images(images: Tensor, name: str = "images") -> None:
    """Raise `DigitsInvalid` unless they are uint8 (N, 28, 28) with N > 0."""
    if not isinstance(images, Tensor):
        raise DigitsInvalid(f"{name}: a uint8 tensor is needed, found {type(images).__name__}; torch.from_numpy helps")
    if images.dtype != torch.uint8:
        raise DigitsInvalid(
            f"{name}: uint8 is needed, 0 black to 255 white, found {images.dtype}; images in 0..1 become that by "
            "(255 * images).round().byte()"
        )
    if images.dim() != 3 or images.shape[1:] != (28, 28):
        raise DigitsInvalid(f"{name}: the shape (N, 28, 28) is needed, found {tuple(images.shape)}")
    if len(images) == 0:
        raise DigitsInvalid(f"{name}: there are none; at least one is needed")


def check_labels(labels: Tensor, count: int, name: str = "labels") -> None:
    """Raise `DigitsInvalid` unless they are int64 (`count`,), each from 0 to 9."""
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
        found = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise DigitsInvalid(f"{name}: an int64 tensor is needed, found {found}; labels.long() makes one of a tensor")
    if labels.shape != (count,):
        raise DigitsInvalid(f"{name}: one for each of the {count:,} images is needed, found {tuple(labels.shape)}")
    low, high = (int(end) for end in labels.aminmax())
    if low < 0 or high > 9:
        raise DigitsInvalid(f"{name}: digits from 0 to 9 are needed, found {low} to {high}")


def validation_split(digits: Digits, count: int = 10_000) -> Digits:
    """The training images split in two: the last `count` are the validation set, which takes the test set's place.

    For choosing between recipes: one that is chosen on the test set has selection bias there.

    Raises `InvalidArgument` for a `count` that leaves no image on one side.
    """
    images = len(digits.train_images)
    if not 0 < count < images:
        raise InvalidArgument(
            f"count is {count}: of {images:,} training images, 1 to {images - 1:,} can be the validation set"
        )
    return Digits(
        digits.train_images[:-count],
        digits.train_labels[:-count],
        digits.train_images[-count:],
        digits.train_labels[-count:],
        f"{digits.name}{VALIDATION}",
        f"{digits.source}; tested on the last {count:,} training images",
    )
