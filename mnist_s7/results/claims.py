"""Targets and claims as checks of one run, or of many."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from mnist_s7.results.run import Epoch, Run
from mnist_s7.results.statistics import ENOUGH, Difference, Runs, compare, prediction_interval

HEADLINE = 99.4  # percent of test images that the series is to exceed, with fewer than 8,000 parameters
TENTH = 9  # the tenth epoch: the series counts its epochs from 0
FIRST_FEW = 2  # epochs that claims about a run's course ignore, as the reference does: most is learned there


@dataclass(frozen=True)
class Verdict:
    """Whether a claim holds (None: inconclusive), the figures that say so, and the words for it where they are not
    the usual ones."""

    holds: bool | None
    found: str
    words: str | None = None


@dataclass(frozen=True)
class Claim:
    """A target or a claim of the reference series, in words and as a check of one run.

    `across_seeds` checks it with two or more runs of the experiment, those of all experiments, and the `difference`
    that the claim is about, its p adjusted for those beside it. It is None where it is enough to ask in how many runs
    the claim holds.
    """

    text: str
    check: Callable[[Run], Verdict]
    across_seeds: Callable[[Sequence[Run], Runs, Difference | None], Verdict] | None = None
    difference: Callable[[Runs], Difference | None] = lambda runs: None


@dataclass(frozen=True)
class Reference:
    """The reference series' own figures for an iteration, accuracies in percent, from its single run."""

    best_train: float
    best_test: float
    final_test: float


def first_epoch_at(run: Run, accuracy: float) -> Epoch | None:
    """The first epoch whose test accuracy is at least `accuracy` percent."""
    return next((epoch for epoch in run.epochs if epoch.test_accuracy >= accuracy), None)


def signed(difference: float) -> str:
    """`+0.050`, and never `-0.000`: with the digit that shows on which side of zero a narrow interval ends."""
    return f"{round(difference, 3) + 0.0:+.3f}"


# The checks: each is, or gives, a function of a run, and words its finding for a table's cell.


def parameters(limit: int, within: float | None = None) -> Callable[[Run], Verdict]:
    """Fewer than `limit` parameters, or with `within` no further from it than that part of it."""

    def check(run: Run) -> Verdict:
        if within is None:
            return Verdict(run.parameters < limit, f"{run.parameters:,}")
        share = run.parameters / limit - 1
        return Verdict(abs(share) <= within, f"{run.parameters:,}, {share:+.1%} (allowed: {within:.0%} either way)")

    return check


def layers(network: Callable[[], nn.Module], kind: type[nn.Module], present: bool) -> Callable[[Run], Verdict]:
    def check(run: Run) -> Verdict:
        count = sum(isinstance(module, kind) for module in network().modules())
        return Verdict((count > 0) == present, f"{count} {kind.__name__} layers")

    return check


def once_above(accuracy: float, reached: bool, last: int) -> Callable[[Run], Verdict]:
    """Test accuracy above `accuracy` percent (`reached`: at least that) in one of the epochs 0 to `last`."""

    def check(run: Run) -> Verdict:
        best = max(run.epochs[: last + 1], key=lambda epoch: epoch.test_accuracy)
        holds = best.test_accuracy >= accuracy if reached else best.test_accuracy > accuracy
        return Verdict(holds, f"highest {best.test_accuracy:.2f} %, in epoch {best.epoch}")

    return check


def of_recipe(text: str, check: Callable[[Run], Verdict]) -> Claim:
    """A claim about the recipe, which is the same whatever the seed."""
    return Claim(text, check, lambda own, runs, _: check(own[0]))


def near(what: str, figure: Callable[[Run], float], claimed: float, tolerance: float) -> Claim:
    """`figure` of the run no further than `tolerance` percentage points from the reference's."""

    def check(run: Run) -> Verdict:
        difference = round(figure(run) - claimed, 2)
        return Verdict(
            abs(difference) <= tolerance,
            f"{figure(run):.2f} %, {difference:+.2f} pp (allowed: {tolerance:g})",
        )

    def across_seeds(own: Sequence[Run], runs: Runs, _) -> Verdict:
        low, high = prediction_interval([figure(run) for run in own])
        holds = low <= claimed <= high if len(own) >= ENOUGH else None
        words = {True: "consistent with it", False: "not consistent with it", None: None}[holds]
        return Verdict(holds, f"95 % prediction interval {low:.2f} to {high:.2f} %", words)

    return Claim(f"{what} {claimed:.2f} %", check, across_seeds)


def reproduces(reference: Reference, tolerance: float) -> tuple[Claim, ...]:
    """The reference's accuracies. Two runs of one recipe differ by their seeds, and a best epoch by more."""
    return (
        near("best train accuracy", _best_train, reference.best_train, tolerance),
        near("best test accuracy", lambda run: run.best.test_accuracy, reference.best_test, tolerance),
        near("final epoch's test accuracy", final, reference.final_test, tolerance),
    )


def _best_train(run: Run) -> float:
    return max(epoch.train_accuracy for epoch in run.epochs)


def _gap(epochs: list[Epoch]) -> float:
    """Mean distance of train and test accuracy, in percentage points, whichever is higher."""
    return sum(abs(epoch.train_accuracy - epoch.test_accuracy) for epoch in epochs) / len(epochs)


def underfits_before_tenth(run: Run) -> Verdict:
    early = run.epochs[FIRST_FEW:TENTH]
    if not early:
        return Verdict(None, "too few epochs")
    gap = sum(epoch.train_accuracy - epoch.test_accuracy for epoch in early) / len(early)
    return Verdict(gap < 0, f"train minus test {gap:+.2f} pp, mean of epochs {FIRST_FEW} to {early[-1].epoch}")


def gap_narrows(run: Run) -> Verdict:
    early, late = run.epochs[FIRST_FEW:TENTH], run.epochs[TENTH:]
    if not early or not late:
        return Verdict(None, "too few epochs")
    before, after = _gap(early), _gap(late)
    return Verdict(
        after < before, f"mean gap {before:.2f} pp in epochs {FIRST_FEW} to {TENTH - 1}, {after:.2f} pp after"
    )


def train_overtakes(run: Run) -> Verdict:
    gap = run.final.train_accuracy - run.final.test_accuracy
    return Verdict(gap > 0, f"train minus test {gap:+.2f} pp in the final epoch")


def train_stays_below_99(run: Run) -> Verdict:
    return Verdict(_best_train(run) < 99, f"at most {_best_train(run):.2f} %")


def not_consistent(run: Run) -> Verdict:
    late, reached = run.epochs[TENTH:], epochs_at_headline(run)
    reached_once = run.best.test_accuracy >= HEADLINE
    return Verdict(
        reached_once and reached < len(late),
        f"at {HEADLINE:g} % or above in {reached} of the {len(late)} epochs from the tenth on",
    )


def consistent(run: Run) -> Verdict:
    late, reached = run.epochs[TENTH:], epochs_at_headline(run)
    lowest = min((epoch.test_accuracy for epoch in late), default=float("nan"))
    return Verdict(bool(late) and reached == len(late), f"in {reached} of {len(late)}, lowest {lowest:.2f} %")


def mean_of_finals(accuracy: float, seeds: int) -> Claim:
    """The mean final epoch's test accuracy of at least `accuracy` percent, with at least so many seeds.

    It is the mean of these seeds, without an interval.
    """

    def across_seeds(own: Sequence[Run], runs: Runs, _) -> Verdict:
        finals = [final(run) for run in own]
        mean = round(sum(finals) / len(finals), 9)  # not the rounding of floats is to decide
        return Verdict(mean >= accuracy if len(own) >= seeds else None, f"{mean:.3f} % with {len(own)} seeds")

    text = f"at least {accuracy:.2f} % test accuracy in the final epoch, as a mean of {seeds} seeds"
    return Claim(text, lambda run: Verdict(None, f"{final(run):.2f} %"), across_seeds)


def every_final(accuracy: float) -> Claim:
    """No seed's final epoch below `accuracy` percent: one run can only refute it."""

    def check(run: Run) -> Verdict:
        return Verdict(None if final(run) >= accuracy else False, f"{final(run):.2f} %")

    def across_seeds(own: Sequence[Run], runs: Runs, _) -> Verdict:
        every = runs[own[0].experiment]  # also those that failed to train
        reached = sum(final(run) >= accuracy for run in every)
        lowest = min(final(run) for run in every)
        return Verdict(reached == len(every), f"{reached} of {len(every)}, the lowest {lowest:.2f} %")

    return Claim(f"at least {accuracy:.2f} % with every seed", check, across_seeds)


def compares(
    text: str, one: str, other: str, figure: Callable[[Run], float], unit: str, paired: bool, better: bool = True
) -> Claim:
    """`figure` of experiment `one` less that of `other`, `paired` by seed or not; a claim that it is above 0, or a
    target that both are there."""

    def difference(runs: Runs) -> Difference | None:
        return compare(runs.get(one, ()), runs.get(other, ()), paired, figure)

    def across_seeds(own: Sequence[Run], runs: Runs, found: Difference | None) -> Verdict:
        if found is None:
            return Verdict(None, f"too few runs of {one} and {other} that trained")
        low, high = map(signed, found.interval)
        said = (
            f"{one} minus {other}: {signed(found.mean)} {unit}, 95 % CI {low} to {high}, p (Holm) {found.p:.3f}, "
            f"{found.test}"
        )
        return Verdict(found.positive, said) if better else Verdict(True, f"both were trained; {said}")

    return Claim(text, lambda run: Verdict(None, "compares two settings"), across_seeds, difference)


def final(run: Run) -> float:
    return run.final.test_accuracy


def epochs_at_headline(run: Run) -> int:
    """From the tenth epoch on."""
    return sum(epoch.test_accuracy >= HEADLINE for epoch in run.epochs[TENTH:])
