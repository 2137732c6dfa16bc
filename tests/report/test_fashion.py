"""What is said of Fashion-MNIST, with as many runs as are stored: none, some, or all."""

import dataclasses

import numpy as np
import pytest
from test_across_seeds import cells, ending

from mnist_s7.catalog import EXPERIMENTS
from mnist_s7.report import fashion
from mnist_s7.report.fashion import (
    CONCLUSIONS,
    comparisons,
    fashion_figure,
    fashion_report,
    fashion_table,
    fashion_verdicts,
)
from mnist_s7.results import FASHION, PUBLISHED, VALIDATION, adjusted, compare

ON_MNIST = {"T1": 98.4, "T2": 99.4, "T3": 99.39, "T4": 99.5, "T3-no-batchnorm": 98.9, "T3-no-augmentation": 99.38}
ON_VALIDATION = {"T4": 99.4, "T4-standard": 99.2, "T4-StepLR": 99.1, "T4-rotations": 99.2}
ON_FASHION = ON_MNIST | {"T4-standard": 99.7, "T4-StepLR": 99.1, "T4-rotations": 99.4}


def runs(means, dataset="MNIST"):
    """Four runs of each experiment around its mean."""
    found = {}
    for i, (name, mean) in enumerate(means.items()):
        finals = (mean + np.random.default_rng(i).normal(0, 0.02, 4)).round(3).tolist()
        found[name] = [dataclasses.replace(run, dataset=dataset) for run in ending(name, *finals)]
    return found


MNIST_RUNS, VALIDATION_RUNS = runs(ON_MNIST), runs(ON_VALIDATION, "MNIST validation")


def compared(on_fashion):
    return comparisons(MNIST_RUNS, VALIDATION_RUNS, on_fashion)


@pytest.fixture
def all_of_them():
    return compared(runs(ON_FASHION, "Fashion-MNIST"))


def test_conclusions_are_about_experiments_that_are_known():
    for each in CONCLUSIONS:
        assert {each.one, each.other} <= EXPERIMENTS.keys()


def test_each_has_a_verdict(all_of_them):
    verdicts = {f"{each.conclusion.one} {each.conclusion.other}": each.verdict for each in all_of_them}

    assert verdicts == {
        "T2 T1": "holds",
        "T3 T3-no-batchnorm": "holds",
        "T3 T3-no-augmentation": "inconclusive",
        "T3 T2": "holds",
        "T4 T3": "holds",
        "T4 T4-standard": "reversed",
        "T4 T4-StepLR": "holds",
        "T4 T4-rotations": "holds",
    }


def test_parts_of_t4_are_compared_where_they_were_measured(all_of_them):
    found = {each.conclusion.other: each for each in all_of_them}
    here = compare(VALIDATION_RUNS["T4"], VALIDATION_RUNS["T4-StepLR"], paired=True)

    assert found["T4-StepLR"].differences[0].interval == here.interval
    assert found["T4-StepLR"].differences[0].p == pytest.approx(
        adjusted([compare(*pair, paired) for pair, paired in pairs_on_mnist()])[6].p
    )
    rows = fashion_table(all_of_them)
    assert "validation set: higher" in cells(rows, "the one-cycle")[2]
    assert "validation set" not in cells(rows, "the one-cycle")[3]
    assert cells(rows, "BatchNorm raises")[1] == "T3 minus T3-no-batchnorm"
    assert cells(rows, "BatchNorm raises")[2].endswith(", n = 4: higher")
    assert cells(rows, "T3's fewer")[2].endswith(", n = 4: yes")


def pairs_on_mnist():
    """Each conclusion's runs on MNIST, and whether they are paired: variants whose weights have the same shapes."""
    alike = {"T3-no-augmentation", "T4-StepLR", "T4-rotations"}
    for each in CONCLUSIONS:
        source = VALIDATION_RUNS if each.other.startswith("T4-") else MNIST_RUNS
        yield (source[each.one], source[each.other]), each.other in alike


def test_what_comes_out_otherwise_is_named(all_of_them):
    said = fashion_verdicts(all_of_them)

    assert "of 8 that are measured on both data sets: 6 (" in said
    assert "Reversed there: 1 (depthwise separable convolutions" in said
    assert "or on both: 1 (rotations raise accuracy)." in said


def test_some_runs_leave_the_others_unmeasured():
    found = compared(runs({"T1": 90.0, "T2": 91.0}, "Fashion-MNIST"))

    assert [each.verdict for each in found] == ["holds"] + ["not measured"] * 7
    assert cells(fashion_table(found), "BatchNorm raises")[3:] == ["-", "not measured"]
    assert "of 1 that are measured on both data sets: 1 (T2's changes" in fashion_verdicts(found)
    assert "Reversed there: none." in fashion_verdicts(found)


@pytest.fixture
def published(monkeypatch):
    """Has these runs on Fashion-MNIST stored."""

    def store(on_fashion):
        stored = {PUBLISHED: MNIST_RUNS, VALIDATION: VALIDATION_RUNS, FASHION: on_fashion}
        monkeypatch.setattr(fashion, "stored_runs", stored.__getitem__)
        monkeypatch.setattr(fashion, "stored_comparisons", fashion.stored_comparisons.__wrapped__)

    return store


def test_all_that_is_stored_is_reported(published, all_of_them):
    published(runs(ON_FASHION, "Fashion-MNIST"))

    said = fashion_report()

    assert "on Fashion-MNIST" in said and fashion_table(all_of_them) in said and fashion_verdicts(all_of_them) in said
    assert cells(said, "T4 ")[2] == "4"
    assert fashion_figure() is not None
    assert len(fashion.compared_runs()) == 6 + 4 + 9


@pytest.mark.parametrize("stored", [{}, {"T1": ending("T1", 90.0), "T2": ending("T2", 91.0)}])
def test_with_too_few_runs_it_is_said_how_to_make_some(stored, published):
    published(stored)

    assert "--dataset fashion-mnist" in fashion_report()
    assert ("| T1 " in fashion_report()) == bool(stored)
    assert fashion_figure() is None


def test_runs_that_failed_to_train_are_counted():
    on_fashion = runs(ON_FASHION, "Fashion-MNIST")
    failed = ending("T3-no-batchnorm", *[10.0] * 5)[-1]
    on_fashion["T3-no-batchnorm"] = [*on_fashion["T3-no-batchnorm"], failed]

    cell = cells(fashion_table(compared(on_fashion)), "BatchNorm raises")[3]

    assert "n = 4, T3-no-batchnorm (1 of 5 runs failed to train): higher" in cell
