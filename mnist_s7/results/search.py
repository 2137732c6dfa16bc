"""The trials by which an iteration was chosen, each with several seeds, as its `search_<name>.csv` has them."""

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass

from mnist_s7 import InvalidArgument
from mnist_s7.results.statistics import Summary, summarize

SEED_COLUMN, ACCURACY, LOSS = "seed", "validation accuracy (%)", "validation loss (nats)"


@dataclass(frozen=True)
class Trial:
    """One recipe: its settings, and of each of its runs the seed and what it gave on the validation set; both as the
    file has them, by the names of the columns."""

    settings: dict[str, str]
    measured: dict[str, Sequence[str]]

    @property
    def losses(self) -> list[float]:
        """Nats, one for each seed."""
        return [float(loss) for loss in self.measured[LOSS]]

    @property
    def loss(self) -> Summary:
        return summarize(self.losses)


def read_trials(path: str | os.PathLike) -> list[Trial]:
    """The trials in the file, in its order. A row is a run, and runs that differ in their seed alone are of one trial;
    settings are the columns before the seed's.

    Raises `InvalidArgument` for a file without those columns or without trials, and `OSError` where it cannot be read.
    """
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        columns = rows.fieldnames or []
        if missing := {SEED_COLUMN, ACCURACY, LOSS} - set(columns):
            raise InvalidArgument(f"{path}: no column {', '.join(sorted(missing))}: no file of trials")
        settings, measured = columns[: columns.index(SEED_COLUMN)], columns[columns.index(SEED_COLUMN) :]
        trials: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
        for row in rows:
            runs = trials.setdefault(tuple(row[name] for name in settings), [])
            runs.append(tuple(row[name] for name in measured))
    if not trials:
        raise InvalidArgument(f"{path}: a header and no trials")
    return [
        Trial(dict(zip(settings, words, strict=True)), dict(zip(measured, zip(*runs, strict=True), strict=True)))
        for words, runs in trials.items()
    ]
