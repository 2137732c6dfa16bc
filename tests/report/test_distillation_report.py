"""What a notebook shows of an iteration's teachers."""

import dataclasses

import pytest
import torch

from mnist_s7 import T3, T5, RunsMissing, fit
from mnist_s7.catalog import EXPERIMENTS
from mnist_s7.report import distillation, stored
from mnist_s7.training import Evaluation, predict


@pytest.fixture(scope="module")
def runs(few_digits):
    return [fit(T3, few_digits, seed=seed, epochs=1, device="cpu", progress=False) for seed in (1, 2)]


def test_each_teacher_has_a_line_and_all_together_one(runs):
    together = Evaluation(0.0123, 99.61, ())

    first, second, both = distillation.teachers(runs, together).splitlines()

    final = runs[1].final
    assert first.startswith("T3-seed1-few-digits: ")
    assert second == (
        f"T3-seed2-few-digits: 6,544 parameters, test accuracy {final.test_accuracy:.2f} %, loss {final.test_loss:.4f} "
        "nats, trained in 0 minutes"
    )
    assert both == "the mean of their probabilities: test accuracy 99.61 %, loss 0.0123 nats"


@pytest.mark.parametrize(
    ("dataset", "networks"),
    [
        ("MNIST", ["2 teachers, on average", "T4", "T5"]),
        ("few digits", ["2 teachers, on average", "T5"]),  # T4's weights are of a run on MNIST
        ("MNIST", ["2 teachers, on average", "T5-one-teacher"]),  # no iteration is before a variant
    ],
)
def test_soft_targets_are_of_what_the_teachers_are_least_sure_of(runs, few_digits, monkeypatch, dataset, networks):
    given = []
    monkeypatch.setattr(distillation.plots, "soft_targets", lambda *arguments: given.extend(arguments))
    before = T3.network().eval()
    monkeypatch.setattr(distillation, "pretrained", {"T4": before}.get)
    digits = dataclasses.replace(few_digits, name=dataset)

    distillation.soft_targets(EXPERIMENTS[networks[-1]], runs[0], runs, digits)

    images, labels, probabilities, title, name = given
    mean = torch.stack([predict(run.model, digits.test_images).exp() for run in runs]).mean(0)
    entropy = -(mean * mean.log()).sum(1)
    unsure = torch.cat([(digits.test_images == image).all(2).all(1).nonzero().flatten() for image in images])
    # Which of two within rounding is the first is open.
    torch.testing.assert_close(entropy[unsure], entropy.topk(6).values)
    assert torch.equal(labels, digits.test_labels[unsure])
    assert list(probabilities) == networks
    expected = [mean[unsure], predict(before, images).exp(), predict(runs[0].model, images).exp()]
    for found, each in zip(probabilities.values(), expected if len(networks) == 3 else expected[::2], strict=True):
        torch.testing.assert_close(found, each)
    own = predict(runs[0].model, digits.test_images)
    divergence = (mean * (mean.log() - own)).sum(1).mean()
    assert title.endswith(f"{networks[-1]} {divergence:.4f} nats")
    assert ("T4 " in title) == ("T4" in networks)
    assert name == dataset


def test_teachers_are_published_with_what_they_taught(monkeypatch, tmp_path):
    name = T5.distillation.teacher.name
    assert [run.name for run in stored.published_teachers(T5)] == [f"{name}-seed{seed}" for seed in (1, 2, 3, 4)]
    one = dataclasses.replace(T5, distillation=dataclasses.replace(T5.distillation, teachers=1))
    assert [run.seed for run in stored.published_teachers(one)] == [1]

    monkeypatch.setattr(stored, "stored_teachers", lambda dataset: tmp_path)
    with pytest.raises(RunsMissing, match=f"0 of 4 runs of {name}; copy them .* `mnist-s7 teach T5` leaves them"):
        stored.published_teachers(T5)
