"""How much higher an accuracy becomes by its selection on the test set: as a best epoch, or as the best of runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mnist_s7 import InvalidArgument
from mnist_s7.results.run import Run
from mnist_s7.results.statistics import ENOUGH, Summary, summarize, trained

BEST_OF = ENOUGH  # runs: the same for all experiments, as the best of more is higher


@dataclass(frozen=True)
class Selection:
    """What selection on the test set adds to an experiment's mean final test accuracy, in percentage points.

    `best_epoch` summarises, over its `runs` that trained, each run's best epoch minus its final one. `best_run` is the
    highest final epoch that is expected of `BEST_OF` runs, minus their mean, and `both` that of their best epochs; they
    are None of fewer runs.
    """

    experiment: str
    parameters: int
    epochs: tuple[int, int]  # of the shortest and of the longest run
    best_epoch: Summary
    best_run: float | None
    both: float | None


def selection(runs: Sequence[Run]) -> Selection | None:
    """That of the runs of one experiment; None where none trained."""
    own = trained(runs)
    if not own:
        return None
    finals = [run.final.test_accuracy for run in own]
    bests = [run.best.test_accuracy for run in own]
    mean, lengths = summarize(finals).mean, [len(run.epochs) for run in own]
    enough = len(own) >= BEST_OF
    return Selection(
        experiment=own[0].experiment,
        parameters=own[0].parameters,
        epochs=(min(lengths), max(lengths)),
        best_epoch=summarize([best - final for best, final in zip(bests, finals, strict=True)]),
        best_run=expected_best(finals, BEST_OF) - mean if enough else None,
        both=expected_best(bests, BEST_OF) - mean if enough else None,
    )


def expected_best(values: Sequence[float], best_of: int) -> float:
    """The mean of the highest value over all choices of `best_of` of them, in their unit.

    The i-th lowest is the highest of comb(i - 1, best_of - 1) of the comb(n, best_of) choices. Raises `InvalidArgument`
    where there are not so many values.
    """
    n = len(values)
    if not 1 <= best_of <= n:
        raise InvalidArgument(f"the best of {best_of} of {n} values: choose from 1 to {n}")
    return sum(math.comb(i, best_of - 1) * value for i, value in enumerate(sorted(values))) / math.comb(n, best_of)
