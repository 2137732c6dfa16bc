"""Runs as a CSV file, for a spreadsheet or a data frame."""

import csv
import io
import os
from collections.abc import Iterable
from dataclasses import astuple
from pathlib import Path

from mnist_s7.results import Run, write_atomically

HEADER = (
    *("experiment", "dataset", "seed", "epoch", "lr"),
    *("train_loss_nats", "train_accuracy_percent", "test_loss_nats", "test_accuracy_percent", "seconds"),
)
STARTS_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def write_csv(runs: Iterable[Run], path: str | os.PathLike) -> Path:
    """Write a row for each epoch of each of the `runs`, and return the file's path. Numbers keep all of their digits.

    Raises `OutputError` where the file cannot be written.
    """
    path, text = Path(path), io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow(HEADER)
    for run in runs:
        for epoch in run.epochs:
            rows.writerow([_plain(run.experiment), _plain(run.dataset), run.seed, *astuple(epoch)])
    write_atomically(path, text.getvalue())
    return path


def _plain(text: str) -> str:
    """`text` that a spreadsheet shows and does not compute: a run's file may come from anyone."""
    return f"'{text}" if text.startswith(STARTS_FORMULA) else text
