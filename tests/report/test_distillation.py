"""What a notebook shows of an iteration's teachers, and of the trials by which its recipe was chosen."""

import csv

import pytest
import torch

from mnist_s7 import T3, T4, fit
from mnist_s7.report import distillation
from mnist_s7.training import Evaluation, predict

HEADER = (
    *("network", "parameters", "optimiser", "taught by", "epochs", "trained on", "seed"),
    *("validation accuracy (%)", "validation loss (nats)"),
)


@pytest.fixture(scope="module")
def runs(few_digits):
    return [fit(T3, few_digits, seed=seed, epochs=1, device="cpu", progress=False) for seed in (1, 2)]


def test_each_teacher_has_a_line_and_all_together_one(runs):
    together = Evaluation(0.0123, 99.61, ())

    first, second, both = distillation.teachers(runs, together).splitlines()

    assert first.startswith(f"T3-seed1-few-digits: {runs[0].final.test_accuracy:.2f} %, loss ")
    assert second.startswith("T3-seed2-few-digits: ")
    assert "6,544 parameters, trained in 0 minutes" in second
    assert both == "the mean of their probabilities: 99.61 %, 0.0123"


def test_soft_labels_are_of_what_the_teachers_are_least_sure_of(runs, few_digits, monkeypatch):
    given = []
    monkeypatch.setattr(distillation.plots, "soft_labels", lambda *arguments: given.extend(arguments))
    monkeypatch.setattr(distillation, "pretrained", lambda name: T3.network().eval() if name == "T3" else None)

    distillation.soft_labels(T4, runs[0], runs, few_digits)

    images, labels, probabilities, _, name = given
    mean = torch.stack([predict(run.model, few_digits.test_images).exp() for run in runs]).mean(0)
    entropy = -(mean * mean.log()).sum(1)
    unsure = entropy.topk(6).indices
    assert torch.equal(images, few_digits.test_images[unsure])
    assert torch.equal(labels, few_digits.test_labels[unsure])
    assert list(probabilities) == ["2 teachers, on average", "T3, trained on labels", "T4, taught"]
    assert torch.allclose(probabilities["2 teachers, on average"], mean[unsure])
    assert torch.allclose(probabilities["T4, taught"], predict(runs[0].model, images).exp())
    assert name == "few digits"


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """What is drawn of a file of these trials."""
    given = []
    monkeypatch.setattr(distillation, "PUBLISHED", tmp_path)
    monkeypatch.setattr(distillation.plots, "search_figure", lambda *arguments: given.extend(arguments))

    def drawn(*rows):
        with (tmp_path / "search_T4.csv").open("w", newline="") as file:
            csv.writer(file).writerows([HEADER, *rows])
        distillation.search_figure(T4)
        return given

    return drawn


def test_trials_are_named_by_what_is_unusual_among_their_like(shown):
    usual = ("narrow", "7000", "SGD", "networks", "15", "a CPU")
    named, best = shown(
        (*usual, "1", "99.5", "0.02"),
        (*usual, "2", "99.6", "0.03"),
        ("wide", "7900", "SGD", "labels", "15", "a CPU", "1", "99.4", "0.01"),
        ("narrow", "7000", "Adam", "networks", "8", "a CPU", "1", "99.4", "0.04"),
        ("large", "20000", "SGD", "labels", "20", "a CPU", "1", "99.7", "0.005"),
        ("narrow", "7000", "SGD", "networks", "15", "a GPU", "1", "99.5", "0.002"),
    )

    said = "where nothing else is said"
    assert {heading: [name for name, _ in group] for heading, group in named.items()} == {
        f"Networks below 8,000 parameters, trained on a CPU; {said}: narrow; SGD; taught by networks; 15 epochs": [
            *("wide; taught by labels", "as said above", "Adam; 8 epochs")
        ],
        f"Networks below 8,000 parameters, trained on a GPU; {said}: narrow; SGD; taught by networks; 15 epochs": [
            "as said above"
        ],
        f"Networks of 8,000 parameters and more, trained on a CPU; {said}: large; SGD; taught by labels; 20 epochs": [
            "as said above"
        ],
    }
    assert best.losses == (0.002,)
