"""The room's README states how often answers are right, on pictures that no constant was chosen on."""

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from drawings import drawing, many, photo
from PIL import Image
from sklearn import datasets

import mnist_s7.images
from mnist_s7 import predict
from mnist_s7.images import ImageError, digit_image

NETWORKS = ("T1", "T2", "T3", "T4", "T5")
README = Path(mnist_s7.images.__file__).with_name("README.md")


def scikit_digits(side: int | None = None) -> Iterable[tuple[Image.Image, int]]:
    """scikit-learn's 8x8 digits, the second half: as they are, or enlarged to `side` with bicubic interpolation."""
    digits = datasets.load_digits()
    for values, label in zip(digits.images[898:], digits.target[898:], strict=True):
        image = Image.fromarray((values * 255 / 16).round().astype(np.uint8))
        yield image.resize((side, side), Image.Resampling.BICUBIC) if side else image, int(label)


SETS = {
    "drawings": lambda _: many(drawing, 300, seed=2024),
    "photos": lambda _: many(photo, 200, seed=2025),
    "scikit-learn's digits, 8x8": lambda _: scikit_digits(),
    "the same, enlarged to 96x96": lambda _: scikit_digits(96),
    "MNIST, first 1,000 test images": lambda mnist: zip(
        mnist.test_images[:1000], mnist.test_labels[:1000].tolist(), strict=True
    ),
}


def stated() -> dict[str, list[float]]:
    """The table's figures by set: images, refused, and the accuracies."""
    rows = re.findall(r"^\| (.+?) \| ([\d,]+) \| ([\d,]+) \| (.+) \|$", README.read_text(encoding="utf-8"), re.M)
    return {
        name: [float(images.replace(",", "")), float(refused), *map(float, accuracies.split(" | "))]
        for name, images, refused, accuracies in rows
    }


def measured(pictures: Iterable[tuple[object, int]]) -> list[float]:
    """Of images: how many, how many are refused, and the percentage that each network gets right of all."""
    from mnist_s7 import pretrained

    seen, labels, count = [], [], 0
    for picture, label in pictures:
        count += 1
        try:
            seen.append(digit_image(picture))
            labels.append(label)
        except ImageError:
            pass
    right = [(predict(pretrained(n), torch.stack(seen)).argmax(1) == torch.tensor(labels)).sum() for n in NETWORKS]
    return [count, count - len(seen), *(round(100 * r.item() / count, 2) for r in right)]


@pytest.mark.parametrize("name", SETS)
def test_the_readme_states_what_is_measured(name, mnist):
    found = measured(SETS[name](mnist))

    assert stated()[name] == pytest.approx(found, abs=0.5), f"| {name} | " + " | ".join(map(str, found)) + " |"


def test_the_readme_states_the_plain_accuracy(mnist):
    """Of the same test images, given to the networks as they are."""
    from mnist_s7 import pretrained

    images, labels = mnist.test_images[:1000], mnist.test_labels[:1000]
    found = [(predict(pretrained(n), images).argmax(1) == labels).float().mean().item() * 100 for n in NETWORKS]

    assert stated()["the same, without preprocessing"] == pytest.approx([1000, 0, *found], abs=0.5), found


def test_the_readme_has_these_sets():
    assert {*stated()} == {*SETS, "the same, without preprocessing"}
