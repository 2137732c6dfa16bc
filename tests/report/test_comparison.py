"""The iterations side by side, with the reference series' own runs."""

import dataclasses

import pytest
from test_iteration import REFERENCE, reference_run

from mnist_s7 import report


@pytest.fixture
def runs():
    return {name: reference_run(name) for name in REFERENCE}


def test_comparison_has_a_column_for_each_run(runs):
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in report.comparison(runs).splitlines()]
    rows = {line[0]: line[1:] for line in lines}

    assert rows[""] == ["T1, seed 1", "T2, seed 1", "T3, seed 1"]
    assert rows["parameters"] == ["8,620", "7,416", "6,544"]
    assert rows["multiply-adds per image"] == ["2.00 M", "1.13 M", "1.07 M"]
    assert rows["receptive field"] == ["28 pixels"] * 3
    assert rows["**final test accuracy**"] == ["**98.24 %**", "**99.34 %**", "**99.40 %**"]
    assert rows["best test accuracy (selected on the test set)"] == [
        "98.37 %, epoch 9",
        "99.47 %, epoch 12",
        "99.45 %, epoch 9",
    ]
    assert rows["first epoch at 99.4 % test"] == ["none", "9", "9"]
    assert rows["targets met"] == ["4 of 4", "3 of 4, 1 inconclusive from one run", "5 of 5"]


def test_comparison_counts_the_targets_that_are_missed(runs):
    runs["T2"] = dataclasses.replace(runs["T2"], parameters=8_001)
    (met,) = [line for line in report.comparison(runs).splitlines() if "targets met" in line]

    assert "| 2 of 4, 1 inconclusive from one run |" in " ".join(met.split())
