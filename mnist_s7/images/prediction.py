"""What a network says about a picture."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor, nn

from mnist_s7.data.datasets import DIGITS
from mnist_s7.images.preprocessing import digit_image
from mnist_s7.images.reading import ImageError, RawImage, Source, read_image
from mnist_s7.results import MNIST, class_names
from mnist_s7.training import predict


@dataclass(frozen=True, eq=False)
class Prediction:
    """The digit that a network finds most probable in a picture, and the one after it.

    `probabilities` are those of the ten digits, from 0 to 1; `seen` is what the network saw, uint8 (28, 28); `name`
    is the picture's file, or ""; `classes` are the names of what the digits stand for in the network's data set.
    """

    digit: int
    probability: float
    runner_up: int
    runner_up_probability: float
    probabilities: tuple[float, ...]
    seen: Tensor
    name: str = ""
    classes: tuple[str, ...] = DIGITS

    def __str__(self) -> str:
        """`7.png: 7 (99.8 %), then 1 (0.1 %)`."""
        first, second = map(_percent, (self.probability, self.runner_up_probability))
        said = f"{self.classes[self.digit]} ({first}), then {self.classes[self.runner_up]} ({second})"
        return f"{self.name}: {said}" if self.name else said


def _percent(probability: float) -> str:
    if probability < 0.0005 or probability > 0.9995:
        return "< 0.1 %" if probability < 0.5 else "> 99.9 %"
    return f"{100 * probability:.1f} %"


def predict_image(model: nn.Module, image: Source | RawImage) -> Prediction:
    """The prediction of `model`, which takes MNIST's images and gives log-probabilities, for the digit in `image`.

    `image` is anything that `read_image` takes. Raises `ImageUnreadable`, `NoDigit` and `SeveralDigits`.
    """
    picture = read_image(image)
    seen = digit_image(picture)
    probabilities = predict(model, seen.unsqueeze(0))[0].double().exp().tolist()
    digit, runner_up = sorted(range(10), key=probabilities.__getitem__, reverse=True)[:2]
    return Prediction(
        digit=digit,
        probability=probabilities[digit],
        runner_up=runner_up,
        runner_up_probability=probabilities[runner_up],
        probabilities=tuple(probabilities),
        seen=seen,
        name=picture.name,
        classes=class_names(getattr(model, "trained_on", MNIST)),
    )


def image_files(paths: Iterable[str | os.PathLike]) -> list[Path]:
    """The `paths`, where a folder stands for the pictures in it, as a person counts: 2.png comes before 10.png.

    Pictures are told by the extensions that Pillow knows; hidden files and folders inside are passed over. A path that
    is no folder is returned as it is, there or not.

    Raises `ImageError` for a folder without pictures, or one that cannot be read.
    """
    found = []
    for path in paths:
        if not os.fspath(path):
            raise ImageError("a name of no letters; give a picture's file")
        found += _pictures_in(Path(path)) if os.path.isdir(path) else [Path(path)]  # of too long a name, no error here
    return found


def _pictures_in(folder: Path) -> list[Path]:
    extensions = Image.registered_extensions()
    try:
        files = [f for f in folder.iterdir() if f.suffix.lower() in extensions and f.name[0] != "." and f.is_file()]
    except OSError as error:
        raise ImageError(f"{folder}: the folder cannot be read ({error.strerror}); check its permissions") from error
    if not files:
        raise ImageError(f"{folder}: no picture in this folder; give one that has some, or the files themselves")
    return sorted(files, key=_natural)


def _natural(path: Path) -> list:
    """A key that sorts digits in a name by the number that they are."""
    parts = re.split(r"(\d+)", path.name.casefold())
    return [(part.isdecimal(), int(part) if part.isdecimal() else part) for part in parts]
