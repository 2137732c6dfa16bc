"""`mnist-s7 evaluate --robustness`: tables, a figure, and what is published of it."""

import dataclasses

import pytest

from mnist_s7 import evaluate, pretrained
from mnist_s7.catalog import pretrained_names
from mnist_s7.report import stored
from mnist_s7.robustness import CORRUPTIONS, Robustness


@pytest.fixture
def figures(monkeypatch, tmp_path):
    """The folder that figures are drawn to, and the file that is published as robustness.json."""
    monkeypatch.setattr("mnist_s7.commands.evaluate.FIGURES", tmp_path)
    monkeypatch.setattr("mnist_s7.commands.evaluate.PUBLISHED", tmp_path)
    monkeypatch.setattr(stored, "ROBUSTNESS", tmp_path / "robustness.json")
    return tmp_path


def test_networks_are_tested_on_corrupted_images(mnist_s7, on_few_digits, figures):
    code, output, errors = mnist_s7("evaluate", "T1", "T3", "--robustness")

    assert (code, errors) == (0, "")
    for corruption in CORRUPTIONS:
        assert f"{corruption.name} ..." in output and f"| {corruption.name} ({corruption.unit})" in output
    assert "100 test images of few digits" in output
    assert [path.name for path in figures.iterdir()] == ["T1-T3-robustness.png"]


def test_the_series_networks_are_published(mnist_s7, few_digits, figures, monkeypatch):
    digits = dataclasses.replace(few_digits, name="MNIST")
    monkeypatch.setattr("mnist_s7.commands.evaluate.digits_of", lambda arguments: digits)

    code, output, errors = mnist_s7("evaluate", "--robustness", "--publish")

    assert (code, errors) == (0, "")
    record = Robustness.load(figures / "robustness.json")
    assert record.seeds == dict.fromkeys(pretrained_names(), [1])
    intact = evaluate(pretrained("T2"), digits.test_images, digits.test_labels).accuracy
    for curve in record.curves.values():
        assert curve.accuracies["T2"][0][curve.strengths.index(curve.neutral)] == intact
    assert f"saved as {figures / 'robustness.json'}" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--publish"], "--publish stores what --robustness measures: say both"),
        (["T3", "--robustness", "--publish"], "--publish is for the whole series: name no model and no weights"),
        (["--robustness", "--publish"], "only figures on MNIST are published, and these digits are few digits"),
    ],
)
def test_what_is_not_published_is_told(mnist_s7, on_few_digits, figures, arguments, message):
    code, output, errors = mnist_s7("evaluate", *arguments)

    assert (code, output) == (1, "")
    assert errors == f"mnist-s7 evaluate: {message}\n"
    assert list(figures.iterdir()) == []
