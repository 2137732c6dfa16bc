"""Figures of runs on another data set: its classes by their names, and nothing that is about MNIST."""

import pytest
import torch
from test_runs_and_digits import make_run

from mnist_s7 import plots
from mnist_s7.data import DATA_SETS
from mnist_s7.images import Prediction
from mnist_s7.results import PUBLIC_NETWORKS, Misclassified

FASHION, CLASSES = "Fashion-MNIST", DATA_SETS["fashion-mnist"].classes


def words(figure):
    """Everything that is written in it but the title."""
    figure.draw_without_rendering()
    ticks = [label for ax in figure.axes for axis in (ax.xaxis, ax.yaxis) for label in axis.get_ticklabels()]
    labels = [label for ax in figure.axes for label in (ax.xaxis.label, ax.yaxis.label)]
    texts = [text for owner in (figure, *figure.axes) for text in owner.texts]
    return "\n".join(text.get_text() for text in (*ticks, *labels, *texts))


@pytest.fixture
def images():
    return torch.randint(0, 256, (200, 28, 28), generator=torch.Generator().manual_seed(0)).byte()


LABELS = torch.arange(200) % 10
WRONG = torch.full((200, 10), -5.0).scatter(1, ((LABELS + 1) % 10)[:, None], -0.1)


def figures(dataset, images):
    run = make_run("T1", errors=[(4, 9)], dataset=dataset)
    other = make_run("T2", errors=[(5, 6)], dataset=dataset)
    shares = (0.0, 0.9, *[0.0] * 7, 0.1)
    seen = Prediction(1, 0.9, 9, 0.1, shares, images[0], classes=CLASSES if dataset == FASHION else tuple("0123456789"))
    return {
        "confusion": plots.confusion_matrix(run, LABELS),
        "per class": plots.accuracy_per_digit(run, LABELS),
        "augmentation": plots.augmentation_grid(images[:10], images[:10], LABELS[:10], "Pairs", dataset=dataset),
        "errors": plots.confident_errors(images, LABELS, WRONG, "Wrong", dataset=dataset),
        "disagreements": plots.disagreements(images, LABELS, run, other),
        "misclassified": plots.most_misclassified(images, LABELS, [Misclassified(4, 1, 9)], runs=1, dataset=dataset),
        "predictions": plots.predictions([(images[0].numpy(), seen)]),
    }


def test_figures_name_the_classes(images):
    said = {name: words(figure) for name, figure in figures(FASHION, images).items()}

    for name in ("confusion", "per class", "augmentation", "predictions"):
        assert [each for each in CLASSES if each not in said[name]] == [], name
    assert "T-shirt/top→\nTrouser\n90 %, no. " in said["errors"]
    assert "Coat→\nAnkle boot\nno. 4" in said["disagreements"]
    assert "label Coat,\npredicted Ankle boot" in said["misclassified"]
    assert "predicted class" in said["confusion"]
    assert not any("digit" in text for text in said.values())


@pytest.mark.parametrize("dataset", ["MNIST", "QMNIST", "synthetic digits"])
def test_digits_are_digits(images, dataset):
    said = {name: words(figure) for name, figure in figures(dataset, images).items()}

    assert "predicted digit" in said["confusion"]
    assert "0→1 90 %\nno. " in said["errors"]
    assert "4→9\nno. 4" in said["disagreements"]
    assert "label 4, predicted 9" in said["misclassified"]


def in_groups(dataset):
    runs = {name: [make_run(name, dataset=dataset)] for name in ("T1", "T2")}
    return {
        "seeds": plots.every_seed(runs, {}),
        "epochs": plots.accuracy_by_epoch(runs),
        "parameters": plots.accuracy_against_parameters(runs, PUBLIC_NETWORKS),
        "curves": plots.training_curves(runs["T1"][0], target=99.4),
    }


@pytest.mark.parametrize("dataset", [FASHION, "KMNIST", "EMNIST digits", "QMNIST", "KMNIST validation"])
def test_targets_and_public_networks_are_about_mnist(dataset):
    for name, figure in in_groups(dataset).items():
        said = words(figure)
        assert "target" not in said, name
        assert "MNIST-CNN" not in said, name
        assert "public" not in figure.get_suptitle(), name


@pytest.mark.parametrize("dataset", ["MNIST", "MNIST validation", "synthetic digits", "my digits"])
def test_they_are_shown_with_digits_like_mnists(dataset):
    said = {name: words(figure) for name, figure in in_groups(dataset).items()}

    named = {name: "the series' target 99.4 %" in text for name, text in said.items()}
    assert named == {"seeds": True, "epochs": True, "parameters": True, "curves": False}  # the last has one of its own
    assert "target 99.4 %" in said["curves"]
    assert "MNIST-CNN" in said["parameters"]


@pytest.mark.parametrize(("low", "high"), [(83.5, 84.0), (86.0, 88.5), (99.61, 99.69)])
def test_a_narrow_range_of_accuracies_has_ticks(low, high):
    runs = {"T1": [make_run("T1", dataset=FASHION, seed=seed) for seed in (1, 2)]}
    for run, accuracy in zip(runs["T1"], (low, high), strict=True):
        object.__setattr__(run.epochs[-1], "test_accuracy", accuracy)

    [ax] = plots.every_seed(runs, {}).axes

    bottom, top = ax.get_ylim()
    assert sum(bottom <= tick <= top for tick in ax.get_yticks()) >= 3
