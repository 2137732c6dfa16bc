"""What runs of a network say of the accuracy that its authors state: `RULE` in words, `check_claim` as a function.

`FIGURES` are what a stated accuracy can be of a run. Its best epoch is selected on the test set, and so is the best of
several runs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mnist_s7.results.run import Run
from mnist_s7.results.statistics import ENOUGH, Summary, prediction_interval, summarize, trained

BEST_EPOCH, LAST_EPOCH, LAST_THREE = "best epoch", "last epoch", "mean of the last 3 epochs"
FIGURES: dict[str, Callable[[Run], float]] = {
    BEST_EPOCH: lambda run: run.best.test_accuracy,
    LAST_EPOCH: lambda run: run.final.test_accuracy,
    LAST_THREE: lambda run: sum(epoch.test_accuracy for epoch in run.epochs[-3:]) / len(run.epochs[-3:]),
}

REPRODUCED, NOT_REPRODUCED, EXCEEDED = "reproduced", "not reproduced", "exceeded"
INCONCLUSIVE, NOT_COMPARABLE = "inconclusive", "not comparable"

RULE = (
    "A claim is compared with the same figure of our runs: a best epoch with best epochs, a last epoch with last "
    f"epochs. It is *{REPRODUCED}* where it lies in the 95 % prediction interval of that figure for one more run. For "
    "the best of k runs, the interval ends higher: where, with 97.5 % confidence, none of k more runs is above "
    f"(Bonferroni). A claim above the interval is *{NOT_REPRODUCED}*, and one below it *{EXCEEDED}*: our runs do "
    f"better. With fewer than {ENOUGH} runs that trained it is *{INCONCLUSIVE}*, and *{NOT_COMPARABLE}* where our runs "
    "have no such figure. A claim that is a best epoch, or the best of several runs, was selected on the test set. If "
    "it also lies above the 95 % confidence interval of our mean final epoch, it is *optimistic*, by its distance from "
    "that mean: where one more run of the recipe is expected to end."
)


@dataclass(frozen=True)
class CheckedClaim:
    """An accuracy that the authors of a network state, and what runs of it say: all accuracies in percent.

    `final` and `best` summarise the final and the best epochs of the runs that trained; `reached_final` and
    `reached_best` count those at `accuracy` or above, of all `runs`. `interval` is that of `RULE`, None where there is
    none. `verdict` is one of the words above; `optimistic_by`, in percentage points, is None where the claim is not
    optimistic.
    """

    experiment: str
    parameters: int
    accuracy: float
    runs: int
    final: Summary
    best: Summary
    reached_final: int
    reached_best: int
    interval: tuple[float, float] | None
    verdict: str
    optimistic_by: float | None

    @property
    def words(self) -> str:
        """`reproduced, optimistic by 0.07 pp`."""
        optimistic = "" if self.optimistic_by is None else f", optimistic by {self.optimistic_by:.2f} pp"
        return f"{self.verdict}{optimistic}"


def check_claim(runs: Sequence[Run], accuracy: float, figure: str | None, best_of: int = 1) -> CheckedClaim | None:
    """What the `runs` of one experiment say of a stated `accuracy`, in percent, by `RULE`; None where none trained.

    `figure` is one of `FIGURES`, or None for an accuracy that is none of a run's epochs; `best_of` is of how many runs
    it is the highest.
    """
    own = trained(runs)
    if not own:
        return None
    final = summarize([run.final.test_accuracy for run in own])
    interval = None
    if figure is not None and len(own) >= ENOUGH:
        interval = _interval([FIGURES[figure](run) for run in own], best_of)
    selected = figure == BEST_EPOCH or best_of > 1
    optimistic = interval is not None and selected and accuracy > round(final.interval[1], 9)
    return CheckedClaim(
        experiment=runs[0].experiment,
        parameters=runs[0].parameters,
        accuracy=accuracy,
        runs=len(runs),
        final=final,
        best=summarize([run.best.test_accuracy for run in own]),
        reached_final=_reached(runs, LAST_EPOCH, accuracy),
        reached_best=_reached(runs, BEST_EPOCH, accuracy),
        interval=interval,
        verdict=NOT_COMPARABLE if figure is None else _verdict(accuracy, interval),
        optimistic_by=accuracy - final.mean if optimistic else None,
    )


def _interval(values: Sequence[float], best_of: int) -> tuple[float, float]:
    """That of one more run, or to an end that none of `best_of` more is expected to be above.

    Bonferroni's bound for several future observations: Hahn & Meeker 1991, "Statistical Intervals", section 4.8. The
    lower end stays that of one run, which the best of several is below less often still.
    """
    low, _ = prediction_interval(values)
    _, high = prediction_interval(values, 1 - 0.05 / best_of)
    return round(low, 9), round(high, 9)  # where all runs are alike, not the rounding of floats is to decide


def _verdict(accuracy: float, interval: tuple[float, float] | None) -> str:
    if interval is None:
        return INCONCLUSIVE
    low, high = interval
    return NOT_REPRODUCED if accuracy > high else EXCEEDED if accuracy < low else REPRODUCED


def _reached(runs: Sequence[Run], figure: str, accuracy: float) -> int:
    return sum(round(FIGURES[figure](run), 9) >= accuracy for run in runs)
