"""The trials by which an iteration was chosen, each with several seeds, as its `search_<name>.csv` has them."""

import csv
import os
from dataclasses import dataclass

from mnist_s7 import InvalidArgument
from mnist_s7.results.statistics import Summary, summarize

SEED_COLUMN, ACCURACY, LOSS = "seed", "validation accuracy (%)", "validation loss (nats)"


@dataclass(frozen=True)
class Trial:
    """One recipe: its settings as words, by the names of the columns, and what it gave with each seed on the validation
    set, accuracies in percent and losses in nats."""

    settings: dict[str, str]
    accuracies: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def accuracy(self) -> Summary:
        return summarize(self.accuracies)

    @property
    def loss(self) -> Summary:
        return summarize(self.losses)


def read_trials(path: str | os.PathLike) -> list[Trial]:
    """The trials in the file, the one with the least mean loss first. A row is a run, and runs that differ in their
    seed alone are of one trial; settings are the columns before the seed's.

    Raises `InvalidArgument` for a file without those columns, `OSError` where it cannot be read, and `ValueError` for a
    figure that is no number.
    """
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        columns = rows.fieldnames or []
        if missing := {SEED_COLUMN, ACCURACY, LOSS} - set(columns):
            raise InvalidArgument(f"{path}: no column {', '.join(sorted(missing))}: no file of trials")
        settings = columns[: columns.index(SEED_COLUMN)]
        trials: dict[tuple[str, ...], list[tuple[float, float]]] = {}
        for row in rows:
            found = trials.setdefault(tuple(row[name] for name in settings), [])
            found.append((float(row[ACCURACY]), float(row[LOSS])))
    made = [
        Trial(dict(zip(settings, words, strict=True)), *zip(*found, strict=True)) for words, found in trials.items()
    ]
    return sorted(made, key=lambda trial: trial.loss.mean)
