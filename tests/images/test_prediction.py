"""What a network says about a picture, which files a folder holds, and the figure of both."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from drawings import drawing, many
from PIL import Image
from torch import nn

import mnist_s7.images
from mnist_s7 import InvalidArgument, plots, pretrained
from mnist_s7.data import PROJECT
from mnist_s7.images import ImageError, Prediction, digit_image, image_files, predict_image


class Sure(nn.Module):
    """Log-probabilities of 90 % for 7 and 5 % for 1, and the rest shared, whatever it sees."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.05, *[0.05 / 8] * 8, 0.9]).log())

    def forward(self, images):
        order = [2, 0, 3, 4, 5, 6, 7, 9, 8, 1]
        return self.weight[order].expand(len(images), 10)


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "seven.png"
    next(many(drawing, 1, 0))[0].save(path)
    return path


def test_a_prediction_has_the_two_most_probable_digits(picture):
    found = predict_image(Sure(), picture)

    assert (found.digit, found.runner_up, found.name) == (7, 1, str(picture))
    assert found.probability == pytest.approx(0.9) and found.runner_up_probability == pytest.approx(0.05)
    assert sum(found.probabilities) == pytest.approx(1) and len(found.probabilities) == 10
    assert found.seen.equal(digit_image(picture))
    assert str(found) == f"{picture}: 7 (90.0 %), then 1 (5.0 %)"


def test_the_readmes_example_is_what_they_say(monkeypatch):
    monkeypatch.chdir(PROJECT)
    page = Path(mnist_s7.images.__file__).with_name("README.md").read_text(encoding="utf-8")
    [path] = set(re.findall(r'predict_image\(pretrained\("T5"\), "(.*)"\)', page))
    said = re.search(r"print\(prediction\)  # (.*)", page)[1]

    assert str(predict_image(pretrained("T5"), path)) == said
    assert f'predict_image(pretrained("T5"), "{path}")' in (PROJECT / "README.md").read_text(encoding="utf-8")


def test_a_picture_without_a_file_has_no_name(picture):
    assert str(predict_image(Sure(), picture.read_bytes())) == "7 (90.0 %), then 1 (5.0 %)"


def test_files_of_a_folder_are_in_a_persons_order(tmp_path):
    for name in ("10.png", "2.PNG", "a.jpeg", ".hidden.png", "notes.txt", "1.gif"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    alone = tmp_path / "notes.txt"

    found = image_files([alone, str(tmp_path), tmp_path / "missing.png"])

    assert [path.name for path in found] == ["notes.txt", "1.gif", "2.PNG", "10.png", "a.jpeg", "missing.png"]


def test_a_folder_without_pictures_is_an_error(tmp_path):
    with pytest.raises(ImageError, match=re.escape(f"{tmp_path}: no picture in this folder; give")):
        image_files([tmp_path])


def test_a_folder_that_cannot_be_read_is_an_error(unprivileged):
    folder = unprivileged / "secret"
    folder.mkdir()
    folder.chmod(0)
    with pytest.raises(ImageError, match="the folder cannot be read"):
        image_files([folder])


def test_the_figure_has_a_row_for_each_picture(picture):
    found = predict_image(Sure(), picture)
    large = Image.new("RGB", (900, 500), "white")

    figure = plots.predictions([(picture, found), (large, found)])

    assert len(figure.axes) == 6
    given, seen, bars = figure.axes[:3]
    assert given.get_xlabel() == "seven.png"
    assert np.array_equal(seen.images[0].get_array(), found.seen)
    assert [bar.get_height() for bar in bars.patches] == pytest.approx([100 * p for p in found.probabilities])
    assert {text.get_text() for text in bars.texts} == {"90.0 %", "5.0 %"}
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_a_figure_of_nothing_is_refused():
    with pytest.raises(InvalidArgument, match="no pictures"):
        plots.predictions([])


def test_a_trained_network_and_a_prediction(network, picture):
    Image.fromarray(255 - np.asarray(next(many(drawing, 8, 11))[0])).save(picture)
    found = predict_image(network, picture)

    assert isinstance(found, Prediction) and found.digit == 0 and found.probability > 0.5
    assert not network.training
