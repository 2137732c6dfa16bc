"""Accuracies on corrupted images: measured, kept in a file, and read again."""

import dataclasses
import json

import pytest
import torch
from torch import nn

from mnist_s7 import SERIES, MnistS7Error, OutputError, pretrained
from mnist_s7.report.stored import ROBUSTNESS
from mnist_s7.robustness import CORRUPTIONS, Corruption, Curve, Robustness, RobustnessFileError, measure_robustness

MACHINE = {"device": "a CPU", "system": "a system", "python": "3", "torch": "2"}
CURVE = Curve("levels", [0, 10, 20], 0, {"T1": [[98.0, 97.0, 90.0], [99.0, 97.5, 91.0]], "T2": [[99.5, 99.0, 95.0]]})
RECORD = Robustness(MACHINE, "MNIST", 1000, {"T1": [1, 2], "T2": [1]}, {"noise": CURVE})


class Brightness(nn.Module):
    """Class 1 for an image that is brighter than `threshold` after normalisation, or else class 0."""

    def __init__(self, threshold):
        super().__init__()
        self.threshold = nn.Parameter(torch.tensor(threshold))

    def forward(self, x):
        bright = (x.mean((1, 2, 3)) > self.threshold).float()
        return torch.stack([1 - bright, bright], 1)


def test_each_network_classifies_what_each_strength_makes_of_the_images(few_digits):
    """Made so that it is known which of the images are bright: those of odd number, until all are made black."""
    images = torch.zeros(100, 28, 28, dtype=torch.uint8)
    images[1::2] = 200
    labels = torch.arange(100) % 2
    digits = dataclasses.replace(few_digits, test_images=images, test_labels=labels)
    darker = Corruption("darker", "levels", lambda images, by: (images.float() - by).clamp(0).byte(), (0, 100, 200), 0)
    started = []

    record = measure_robustness(
        {"A": {1: Brightness(0.0), 7: Brightness(1.5)}, "B": {1: Brightness(-9.0)}}, digits, [darker], started.append
    )

    assert started == [darker]
    assert (record.dataset, record.test_images) == ("few digits", 100)
    assert record.seeds == {"A": [1, 7], "B": [1]}
    curve = record.curves["darker"]
    assert (curve.unit, curve.strengths, curve.neutral) == ("levels", [0, 100, 200], 0)
    # 200 and 100 of 255 are 2.1 and 0.8 in standard deviations: the second network misses the second.
    assert curve.accuracies == {"A": [[100, 100, 50], [100, 50, 50]], "B": [[50, 50, 50]]}
    assert curve.mean("A") == [100, 75, 50]


def test_a_record_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "new" / "robustness.json"
    RECORD.save(path)

    assert Robustness.load(path) == RECORD


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.pop("dataset"),
        lambda content: content["curves"].clear(),
        lambda content: content["curves"]["noise"].pop("neutral"),
        lambda content: content["curves"]["noise"].update(other=1),
        lambda content: content["curves"]["noise"]["accuracies"]["T1"].pop(),
        lambda content: content["curves"]["noise"]["accuracies"]["T2"][0].pop(),
        lambda content: content["curves"]["noise"]["accuracies"].pop("T2"),
        lambda content: content["environment"].pop("torch"),
        lambda content: content.update(curves=[1]),
    ],
)
def test_another_file_is_refused(change, tmp_path):
    path = tmp_path / "robustness.json"
    content = dataclasses.asdict(RECORD)
    change(content)
    path.write_text(json.dumps(content))

    with pytest.raises(RobustnessFileError, match=r"robustness\.json: not what measure_robustness found .* again"):
        Robustness.load(path)


def test_no_file_and_no_folder_are_told(tmp_path):
    with pytest.raises(MnistS7Error, match="FileNotFoundError"):
        Robustness.load(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("[")
    with pytest.raises(RobustnessFileError, match="JSONDecodeError"):
        Robustness.load(tmp_path / "text.json")
    with pytest.raises(OutputError):
        RECORD.save(tmp_path / "text.json" / "robustness.json")


def test_the_stored_accuracies_are_those_of_today(mnist):
    """Of T1, on images as they are and on three kinds of corrupted ones."""
    stored = Robustness.load(ROBUSTNESS)

    assert list(stored.seeds) == [experiment.name for experiment in SERIES]
    assert {name: (each.unit, tuple(each.strengths), each.neutral) for name, each in stored.curves.items()} == {
        each.name: (each.unit, each.strengths, each.neutral) for each in CORRUPTIONS
    }
    fewer = [
        dataclasses.replace(each, strengths=(each.neutral, each.strengths[-2]))
        for each in CORRUPTIONS
        if each.name in ("rotation", "Gaussian noise", "stroke width")
    ]
    measured = measure_robustness({"T1": {1: pretrained("T1")}}, mnist, fewer)
    assert len(measured.curves) == 3
    for name, curve in measured.curves.items():
        before = stored.curves[name]
        expected = [before.accuracies["T1"][0][before.strengths.index(strength)] for strength in curve.strengths]
        assert curve.accuracies["T1"][0] == pytest.approx(expected, abs=0.05), name
