"""The synthetic digits: legible, like MNIST, unseen fonts in the test set, and the same bytes everywhere."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font
from scipy import ndimage

from mnist_s7.data import synthetic
from mnist_s7.data.synthetic import TEST_FONTS, TRAIN_FONTS, synthetic_digits

# Of the first 600 + 100 images and labels. It moves only with a change that is meant to move every image.
SHA256 = "b978091b994daa654e7e3c1892909e4f28fc6fea75c1412ba35bc1df2a4394db"

HOLES = (1, 0, 0, 0, 1, 0, 1, 0, 2, 1)  # in a 0, a 1, ... a 9


@pytest.fixture(scope="module")
def digits():
    return synthetic_digits(6000, 1000)


def checksum(tensors):
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in tensors)).hexdigest()


def test_shapes_and_types(digits):
    train_images, train_labels, test_images, test_labels = digits
    assert train_images.shape == (6000, 28, 28) and test_images.shape == (1000, 28, 28)
    assert train_labels.shape == (6000,) and test_labels.shape == (1000,)
    assert train_images.dtype == test_images.dtype == torch.uint8
    assert train_labels.dtype == test_labels.dtype == torch.int64
    assert synthetic.SYNTHETIC_DIGITS == "synthetic digits"


def test_labels_are_balanced_and_shuffled(digits):
    for labels in (digits[1], digits[3]):
        share = labels.bincount(minlength=10) / len(labels)  # 0.1 each, give or take its spread over draws
        assert len(share) == 10
        assert (share - 0.1).abs().max() < 4 * (0.1 * 0.9 / len(labels)) ** 0.5
        repeats = (labels[1:] == labels[:-1]).float().mean()  # as often as chance has it
        assert 0.06 < repeats < 0.14


def test_the_bytes_are_the_same_in_another_process_with_other_threads():
    program = (
        "import hashlib, torch; from mnist_s7.data.synthetic import synthetic_digits;"
        "torch.manual_seed(5); tensors = synthetic_digits(600, 100);"
        "print(hashlib.sha256(b''.join(t.numpy().tobytes() for t in tensors)).hexdigest())"
    )
    threads = str(torch.get_num_threads() + 1)
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "PYTHONHASHSEED": "7"}
    repository = Path(synthetic.__file__).parents[1]
    command = [sys.executable, "-c", program]
    there = subprocess.check_output(command, env=environment, cwd=repository, text=True)
    assert there.strip() == checksum(synthetic_digits(600, 100)) == SHA256


def test_a_small_set_is_the_beginning_of_a_large_one(digits):
    small = synthetic_digits(300, 50)  # ends inside a batch
    assert all(torch.equal(few, many[: len(few)]) for few, many in zip(small, digits, strict=True))


def test_test_fonts_are_of_other_families():
    def families(fonts):
        folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
        names = {get_font(folder / font.file).family_name for font in fonts}
        return {"Computer Modern" if name.startswith("cm") else name.split()[0] for name in names}

    assert families(TRAIN_FONTS) == {"DejaVu", "STIXGeneral"}
    assert families(TEST_FONTS) == {"Computer Modern"}


@pytest.mark.parametrize("font", TRAIN_FONTS + TEST_FONTS, ids="-".join)
def test_each_glyph_is_the_digit_it_claims(font):
    """One stroke around as many holes as the digit has: no dotted zero, no symbol, nothing broken."""
    for digit, holes in enumerate(HOLES):
        field, half_stroke = synthetic._distance_field(font, digit)
        ink = ndimage.zoom(field, 3, order=1) > -0.5  # finer and half a cell thicker: no hairline may break
        assert ndimage.label(ink)[1] == 1, digit
        grounds = np.bincount(ndimage.label(~ink)[0].flat)[1:]
        assert (grounds > 20).sum() == 1 + holes, digit  # fewer fine cells than that are a notch cut off
        assert 0.5 < half_stroke < 5, digit


@pytest.mark.parametrize("digit", range(10))
def test_distances_agree_with_scipys(digit):
    field, _ = synthetic._distance_field(TRAIN_FONTS[1], digit)
    inside = field > 0
    scipys = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    # scipy measures to the nearest cell across the outline: farther by about a cell, two at a sharp tip.
    excess = np.abs(scipys) - np.abs(field)
    assert excess.min() > -0.01 and excess.max() < 2.5


def test_ink_is_near_mnists(digits):
    for images in (digits[0], digits[2]):
        ink = images.double() / 255
        assert ink.mean() == pytest.approx(0.1307, abs=0.01)  # MNIST's, as everyone normalises with them
        assert ink.std() == pytest.approx(0.3081, abs=0.015)
        assert images.amin((1, 2)).max() == 0 and images.amax((1, 2)).min() > 200  # black and white
        grey = ((images > 0) & (images < 255)).double().mean()
        assert 0.08 < grey < 0.16  # edges are antialiased: MNIST has 0.12


def test_digits_fill_the_box_and_stay_inside(digits):
    for images in (digits[0], digits[2]):
        ink = images.double()
        place = torch.arange(28, dtype=torch.float64)
        for axis in (1, 2):
            centre = (ink.sum(axis) @ place) / ink.sum((1, 2))
            assert abs(centre.mean() - 14) < 0.15 and (centre - 14).abs().max() < 3
        height = (images > 50).any(2).sum(1).double()
        assert 18 < height.mean() < 20.5 and height.std() > 1
        border = torch.stack([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]])
        assert (border > 50).any(0).any(1).double().mean() < 0.02  # the tails of tall sevens


def test_no_image_comes_twice(digits):
    images = torch.cat([digits[0], digits[2]]).numpy()
    assert len({image.tobytes() for image in images}) == len(images)


@pytest.fixture(scope="module")
def means(digits):
    """The mean train image of each digit: (10, 784)."""
    pixels = digits[0].flatten(1).double()
    return torch.stack([pixels[digits[1] == digit].mean(0) for digit in range(10)])


def test_a_nearest_mean_reads_the_test_digits(digits, means):
    """Far above chance, so that every digit is legible; far below a net, so that there is something to learn."""
    images, labels = digits[2].flatten(1).double(), digits[3]
    right = (torch.cdist(images, means).argmin(1) == labels).double()
    assert 0.6 < right.mean() < 0.95
    assert all(right[labels == digit].mean() > 0.3 for digit in range(10))


@pytest.mark.parametrize("digit", range(10))
def test_labels_and_uprightness_agree_with_text_in_a_figure(means, digit):
    """matplotlib's own rendering of the character looks most like the mean of the images with that label."""
    figure = Figure(figsize=(0.28, 0.28), dpi=100)
    canvas = FigureCanvasAgg(figure)
    figure.text(0.5, 0.5, str(digit), size=17, family="DejaVu Sans", ha="center", va="center")
    canvas.draw()
    drawn = torch.tensor(255 - np.asarray(canvas.buffer_rgba())[:, :, 0]).double()  # (28, 28)
    place = torch.arange(28, dtype=torch.float64)
    down, right = (int((14 - drawn.sum(axis) @ place / drawn.sum()).round()) for axis in (1, 0))
    drawn = drawn.roll((down, right), (0, 1)).flatten()
    assert torch.cosine_similarity(means, drawn[None]).argmax() == digit
