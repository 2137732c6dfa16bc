"""Runs in a CSV file, read back with Python's own reader."""

import csv
import dataclasses

import pytest

from mnist_s7 import OutputError, Run
from mnist_s7.export import write_csv
from mnist_s7.results import Epoch

EPOCHS = [Epoch(0, 0.1, 1 / 3, 90.1, 2e-17, 98.0, 10.5), Epoch(1, 0.05, 0.1 + 0.2, 100 / 3, 1.5, 99.0, 11.0)]


def run(experiment="T1", dataset="MNIST", seed=1):
    return Run(experiment, "a recipe", seed, dataset, 10, {}, EPOCHS, [])


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_epoch_is_a_row_and_every_number_comes_back(tmp_path):
    path = write_csv([run(), run("T2", seed=2**64 - 1)], tmp_path / "new" / "runs.csv")

    found = rows(path)
    assert [(row["experiment"], row["seed"], row["epoch"]) for row in found] == [
        *(("T1", "1", "0"), ("T1", "1", "1")),
        *(("T2", str(2**64 - 1), "0"), ("T2", str(2**64 - 1), "1")),
    ]
    for row, epoch in zip(found, EPOCHS * 2, strict=True):
        numbers = [value for name, value in row.items() if name not in ("experiment", "dataset", "seed")]
        assert tuple(map(float, numbers)) == dataclasses.astuple(epoch)
    units = {name.rpartition("_")[2] for name in found[0] if "loss" in name or "accuracy" in name}
    assert units == {"nats", "percent"}


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://a","b")'])
def test_no_text_becomes_a_formula(text, tmp_path):
    [first, _] = rows(write_csv([run(text, text)], tmp_path / "runs.csv"))

    assert first["experiment"] == first["dataset"] == f"'{text}"


def test_separators_and_quotes_in_a_name_come_back(tmp_path):
    text = 'a, "b"\nc;é'
    assert rows(write_csv([run(text)], tmp_path / "runs.csv"))[0]["experiment"] == text


def test_no_runs_are_a_header(tmp_path):
    path = write_csv([], tmp_path / "runs.csv")
    assert path.read_text(encoding="utf-8").startswith("experiment,dataset,seed,epoch,lr,train_loss_nats,")
    assert rows(path) == []


def test_a_file_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(OutputError):
        write_csv([run()], tmp_path)
