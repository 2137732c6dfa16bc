"""What is said of experiments over their seeds, as Markdown made from the runs."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mnist_s7.claims import Claim, Runs, Verdict
from mnist_s7.experiments import ABLATIONS, EXPERIMENTS, SERIES, Experiment
from mnist_s7.published import Published
from mnist_s7.report import Markdown, table
from mnist_s7.results import (
    CORRECTED_LABELS,
    Difference,
    Run,
    Summary,
    corrected_accuracy,
    paired,
    prediction_interval,
    summarize,
    wilson,
)

__all__ = ["Missed", "against_published", "claims", "differences", "means", "missed", "place", "worth", "worths"]

SEEDS = 2  # that can be compared: one has no spread
VARIANTS = [(variant.name, variant.name.partition("-")[0]) for variant in ABLATIONS]
WORDS = {True: "holds", False: "does not hold", None: "cannot be told"}


def means(runs: Runs) -> Markdown:
    """The final epoch's test accuracy of each experiment over its seeds, and behind it the best epoch's."""

    def row(name: str, group: Sequence[Run]) -> tuple[str, ...]:
        final = summarize([run.final.test_accuracy for run in group])
        best = summarize([run.best.test_accuracy for run in group])
        corrected = summarize([corrected_accuracy(run) for run in group])
        document = EXPERIMENTS[name].document
        return (
            name,
            f"{group[0].parameters:,}",
            str(final.n),
            f"**{spread(final)}**",
            "-" if final.interval is None else between(final.interval, "{:.2f}"),
            f"{final.minimum:.2f} to {final.maximum:.2f}",
            spread(corrected),
            f"{document.final_test:.2f}" if document else "-",
            spread(best),
        )

    header = (
        "percent of test images",
        "parameters",
        "n",
        "final epoch: mean ± deviation",
        "95 % interval of the mean",
        "lowest to highest",
        f"with {len(CORRECTED_LABELS)} labels corrected",
        "original series, one run",
        "best epoch, picked on the test set",
    )
    return table(header, [row(name, group) for name, group in runs.items()])


def differences(runs: Runs) -> Markdown:
    """Each iteration against the one before, over equal seeds."""
    names = [experiment.name for experiment in SERIES]
    return _differences(runs, zip(names[1:], names, strict=False))


def worth(runs: Runs) -> Markdown:
    """Each variant against the iteration that it is one of, over equal seeds."""
    return _differences(runs, VARIANTS)


def worths(runs: Runs) -> dict[str, Difference]:
    """The differences of `worth`, in points, by what was changed."""
    found = {f"{other}: {EXPERIMENTS[one].change}": _difference(runs, one, other) for one, other in VARIANTS}
    return {what: difference for what, difference in found.items() if difference is not None}


def against_published(runs: Runs, published: Iterable[Published]) -> Markdown:
    """The experiments and the networks of others, by their parameters, with how each accuracy was measured."""
    rows = [
        (name, group[0].parameters, spread(final), f"mean of {final.n} runs, final epoch" if final.n > 1 else "one run")
        for name, group in runs.items()
        if (final := summarize([run.final.test_accuracy for run in group]))
    ]
    for other in published:
        accuracy = f"{other.accuracy:.2f}" + ("" if other.deviation is None else f" ± {other.deviation:.2f}")
        rows.append(
            (f"[{other.source}](https://github.com/{other.source})", other.parameters, accuracy, other.measured)
        )
    rows.sort(key=lambda row: row[1])
    header = ("network", "parameters", "test accuracy (%)", "how it was measured")
    return table(header, [(name, f"{parameters:,}", *others) for name, parameters, *others in rows])


def claims(experiment: Experiment, runs: Runs) -> Markdown:
    """Each target of the iteration and each claim of the original series, held against all seeds.

    One that is said of a single run holds where it does so in most: where the 95 % Wilson interval of its share of the
    runs is above one half. A figure holds where it lies in the 95 % prediction interval of one more run.
    """
    own = runs.get(experiment.name, ())

    def rows(kind: str, said: Iterable[Claim]) -> Iterable[tuple[str, str, str, str]]:
        for claim in said:
            verdict = _verdict(claim, own, runs)
            yield kind, claim.text, verdict.found, f"**{WORDS[verdict.holds]}**"

    header = ("", f"target or claim of {experiment.name}", f"in {len(own)} runs", "verdict")
    return table(header, [*rows("target", experiment.targets), *rows("claim", experiment.claims)])


def place(run: Run, runs: Runs) -> Markdown:
    """Where one run lies among those of its experiment on MNIST."""
    if run.stand_in:
        return Markdown(f"The stored seeds are runs on MNIST, and this one is on {run.dataset}.")
    values = [each.final.test_accuracy for each in runs.get(run.experiment, ())]
    if len(values) < SEEDS:
        return Markdown(f"No other seeds of {run.experiment} are stored, so nothing is known of its spread.")
    final, above = summarize(values), sum(value > run.final.test_accuracy for value in values)
    images = round(run.final.test_accuracy * 100)
    return Markdown(
        f"This run ends at {run.final.test_accuracy:.2f} %. Over the {final.n} stored seeds of {run.experiment} the "
        f"final epoch has {spread(final)} % ({final.minimum:.2f} to {final.maximum:.2f}), {above} of them above this "
        f"run; one more run is to be expected in {between(prediction_interval(values), '{:.2f}')} % (95 % prediction "
        f"interval). The test set alone leaves this much open: {between(wilson(images, 10_000), '{:.2f}')} % (95 % "
        "Wilson interval of one run)."
    )


@dataclass(frozen=True)
class Missed:
    """A test image that runs get wrong: how many of them, and the digit that most of these predict."""

    index: int
    times: int
    predicted: int


def missed(runs: Iterable[Run]) -> list[Missed]:
    """The test images that at least one of `runs` gets wrong in its final epoch, those of most runs first."""
    predictions = defaultdict(Counter)
    for run in runs:
        for index, digit in run.errors:
            predictions[index][digit] += 1
    found = [Missed(index, found.total(), found.most_common(1)[0][0]) for index, found in predictions.items()]
    return sorted(found, key=lambda image: (-image.times, image.index))


def spread(summary: Summary) -> str:
    """`99.40 ± 0.08`: the mean and the sample's deviation."""
    return f"{summary.mean:.2f}" + ("" if summary.deviation is None else f" ± {summary.deviation:.2f}")


def between(interval: tuple[float, float], form: str) -> str:
    low, high = map(form.format, interval)
    return f"{low} to {high}"


def _differences(runs: Runs, pairs: Iterable[tuple[str, str]]) -> Markdown:
    rows = []
    for one, other in pairs:
        found = _difference(runs, one, other)
        if found is None:
            continue
        verdict = "better" if found.interval[0] > 0 else "worse" if found.interval[1] < 0 else "cannot be told"
        rows.append(
            (
                f"{one} minus {other}",
                EXPERIMENTS[one].change,
                str(found.n),
                f"**{found.mean:+.2f}**",
                between(found.interval, "{:+.2f}"),
                f"{found.p:.3f}" if found.p >= 0.001 else "< 0.001",
                f"**{verdict}**",
            )
        )
    if not rows:
        return Markdown("No two of them have two seeds in common, so there is nothing to compare yet.")
    header = ("points", "what changed", "seeds", "difference", "95 % interval", "p", "the first is")
    return table(header, rows)


def _difference(runs: Runs, one: str, other: str) -> Difference | None:
    """None where fewer than two seeds are in both."""
    common = {run.seed for run in runs.get(one, ())} & {run.seed for run in runs.get(other, ())}
    return paired(runs[one], runs[other]) if len(common) >= SEEDS else None


def _verdict(claim: Claim, own: Sequence[Run], runs: Runs) -> Verdict:
    if len(own) < SEEDS:
        return Verdict(None, f"{len(own)} runs")
    if claim.over_seeds is not None:
        return claim.over_seeds(own, runs)
    verdicts = [claim.check(run).holds for run in own]
    if None in verdicts:
        return Verdict(None, "compares two settings")
    low, high = wilson(sum(verdicts), len(verdicts))
    holds = True if low > 50 else False if high < 50 else None
    return Verdict(holds, f"in {sum(verdicts)} of {len(verdicts)}")
