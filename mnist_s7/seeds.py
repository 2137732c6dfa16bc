"""What is said of experiments over their seeds, as Markdown made from the runs."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mnist_s7.claims import Claim, Runs, Verdict, signed
from mnist_s7.errors import InvalidArgument
from mnist_s7.experiments import ABLATIONS, EXPERIMENTS, SERIES, Experiment
from mnist_s7.published import Published
from mnist_s7.report import Markdown, table
from mnist_s7.results import (
    CORRECTED_LABELS,
    TEST_IMAGES,
    Difference,
    Run,
    corrected_accuracy,
    paired,
    prediction_interval,
    summarize,
    wilson,
)

__all__ = [
    "Missed",
    "against_published",
    "against_the_first",
    "claims",
    "differences",
    "every_claim",
    "means",
    "missed",
    "place",
    "probability",
    "spread",
    "worth",
    "worths",
]

VARIANTS = [(variant.name, variant.name.partition("-")[0]) for variant in ABLATIONS]
WORDS = {True: "holds", False: "does not hold", None: "cannot be told"}
READINGS = {True: "better", False: "worse", None: "cannot be told"}


def means(runs: Runs) -> Markdown:
    """The final epoch's test accuracy of each experiment over its seeds, and behind it the best epoch's.

    In the order of `EXPERIMENTS`, without runs that are no better than guessing, whose number is told. Raises
    `InvalidArgument` for runs of an experiment that is not there.
    """
    if unknown := runs.keys() - EXPERIMENTS.keys():
        raise InvalidArgument(f"runs of {', '.join(sorted(unknown))}, and the experiments are {', '.join(EXPERIMENTS)}")
    others = sorted({run.dataset for group in runs.values() for run in group if run.stand_in})
    on = f" ({', '.join(others)})" if others else ""

    def row(name: str, all_runs: Sequence[Run]) -> tuple[str, ...]:
        group = [run for run in all_runs if run.learned]
        left_out = len(all_runs) - len(group)
        label = name + (f" (left out: {left_out} of {len(all_runs)} runs, no better than guessing)" if left_out else "")
        if not group:
            return label, f"{all_runs[0].parameters:,}", "0", *["-"] * 6
        final = summarize([run.final.test_accuracy for run in group])
        best = summarize([run.best.test_accuracy for run in group])
        on_mnist = not group[0].stand_in
        corrected = summarize([corrected_accuracy(run) for run in group]) if on_mnist else None
        document = EXPERIMENTS[name].document if on_mnist else None
        return (
            label,
            f"{group[0].parameters:,}",
            str(final.n),
            f"**{spread(final.mean, final.deviation)}**",
            "-" if final.interval is None else between(final.interval, "{:.2f}"),
            f"{final.minimum:.2f} to {final.maximum:.2f}",
            spread(corrected.mean, corrected.deviation) if corrected else "-",
            f"{document.final_test:.2f}" if document else "-",
            spread(best.mean, best.deviation),
        )

    header = (
        f"percent of test images{on}",
        "parameters",
        "n",
        "final epoch: mean ± deviation",
        "95 % interval of the mean",
        "lowest to highest",
        f"with {len(CORRECTED_LABELS)} labels corrected",
        "original series, one run",
        "best epoch, picked on the test set",
    )
    return table(header, [row(name, runs[name]) for name in EXPERIMENTS if name in runs])


def differences(runs: Runs) -> Markdown:
    """Each iteration against the one before, over equal seeds."""
    names = [experiment.name for experiment in SERIES]
    return _differences(runs, zip(names[1:], names, strict=False))


def against_the_first(runs: Runs) -> Markdown:
    """Each experiment against the first of them, over equal seeds."""
    first, *others = runs
    return _differences(runs, ((other, first) for other in others))


def worth(runs: Runs) -> Markdown:
    """Each variant against the iteration that it is one of, over equal seeds."""
    return _differences(runs, VARIANTS)


def worths(runs: Runs) -> dict[str, Difference]:
    """The differences of `worth`, in points, by what was changed."""
    found = {one: paired(runs.get(one, ()), runs.get(other, ())) for one, other in VARIANTS}
    return {
        f"{other}: {EXPERIMENTS[one].change}{_left_out(runs, one, other, reason=False)}": found[one]
        for one, other in VARIANTS
        if found[one] is not None
    }


def against_published(runs: Runs, published: Iterable[Published]) -> Markdown:
    """The experiments and the networks of others, by their parameters, with how each accuracy was measured."""
    rows = []
    for name, group in runs.items():
        final = summarize([run.final.test_accuracy for run in group])
        measured = "one run" if final.n == 1 else f"mean of {final.n} runs, final epoch"
        rows.append((name, group[0].parameters, spread(final.mean, final.deviation), measured))
    for other in published:
        link = f"[{other.source}](https://github.com/{other.source})"
        deviation = f" ± {other.deviation:g}" if other.deviation else ""  # with all the digits that they state
        rows.append((link, other.parameters, f"{other.accuracy:.2f}{deviation}", other.measured))
    rows.sort(key=lambda row: row[1])
    header = ("network", "parameters", "test accuracy (%)", "how it was measured")
    return table(header, [(name, f"{parameters:,}", *others) for name, parameters, *others in rows])


def claims(experiment: Experiment, runs: Runs) -> Markdown:
    """Each target of the iteration and each claim of the original series, held against all seeds.

    One about the recipe is settled by any run. One about a run holds where it does so in most: where the 95 % Wilson
    interval of its share of the runs is above one half. A figure holds where it lies in the 95 % prediction interval of
    one more run. One about all seeds, or their mean, is settled by those that are there.
    """
    own = runs.get(experiment.name, ())
    if len(own) < 2:
        return Markdown(f"Fewer than two seeds of {experiment.name} are stored, so nothing is known of its spread.")

    def rows(kind: str, said: Iterable[Claim]) -> Iterable[tuple[str, str, str, str]]:
        for claim in said:
            verdict = _verdict(claim, own, runs)
            yield kind, claim.text, verdict.found, f"**{WORDS[verdict.holds]}**"

    header = ("", f"target or claim of {experiment.name}", f"in {len(own)} runs", "verdict")
    return table(header, [*rows("target", experiment.targets), *rows("claim", experiment.claims)])


def every_claim(runs: Runs) -> Markdown:
    """`claims` of each iteration, one table under the other."""
    return Markdown("\n\n".join(claims(experiment, runs) for experiment in SERIES))


def place(run: Run, runs: Runs) -> Markdown:
    """Where one run lies among those of its experiment on MNIST."""
    if run.stand_in:
        return Markdown(f"The stored seeds are runs on MNIST, and this one is on {run.dataset}.")
    values = [each.final.test_accuracy for each in runs.get(run.experiment, ())]
    if len(values) < 2:
        return Markdown(f"Fewer than two seeds of {run.experiment} are stored, so nothing is known of its spread.")
    final, above = summarize(values), sum(value > run.final.test_accuracy for value in values)
    expected = between(prediction_interval(values), "{:.2f}")
    open_by_test_set = between(wilson(TEST_IMAGES - len(run.errors), TEST_IMAGES), "{:.2f}")
    return Markdown(
        f"This run ends at {run.final.test_accuracy:.2f} %. Over the {final.n} stored seeds of {run.experiment} the "
        f"final epoch has {spread(final.mean, final.deviation)} % ({final.minimum:.2f} to {final.maximum:.2f}), "
        f"{above} of them above this run; one more run is to be expected in {expected} % (95 % prediction interval). "
        f"The test set alone leaves this much open: {open_by_test_set} % (95 % Wilson interval of one run)."
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
    images = [Missed(index, digits.total(), digits.most_common(1)[0][0]) for index, digits in predictions.items()]
    return sorted(images, key=lambda image: (-image.times, image.index))


def spread(mean: float, deviation: float | None) -> str:
    """`99.40 ± 0.08`."""
    return f"{mean:.2f}" if deviation is None else f"{mean:.2f} ± {deviation:.2f}"


def between(interval: tuple[float, float], form: str) -> str:
    low, high = map(form.format, interval)
    return f"{low} to {high}"


def probability(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _differences(runs: Runs, pairs: Iterable[tuple[str, str]]) -> Markdown:
    rows = []
    for one, other in pairs:
        found, left_out = paired(runs.get(one, ()), runs.get(other, ())), _left_out(runs, one, other)
        if found is not None:
            interval = " to ".join(map(signed, found.interval))
            reading = f"**{READINGS[found.positive]}**"
            figures = (str(found.n), f"**{signed(found.mean)}**", interval, probability(found.p), reading)
        elif left_out:
            figures = ("-",) * 5
        else:
            continue
        rows.append((f"{one} minus {other}", EXPERIMENTS[one].change + left_out, *figures))
    if not rows:
        return Markdown("No two seeds of them are stored yet.")
    header = ("points", "what changed", "seeds", "difference", "95 % interval", "p", "the first is")
    return table(header, rows)


def _left_out(runs: Runs, *names: str, reason: bool = True) -> str:
    """Of how many of the seeds that two experiments have in common `paired` takes no account, and because of which."""
    seeds = [{run.seed: run.learned for run in runs.get(name, ())} for name in names]
    common = seeds[0].keys() & seeds[1].keys()
    lost = {seed for seed in common if not (seeds[0][seed] and seeds[1][seed])}
    if not lost:
        return ""
    who = " and ".join(name for name, own in zip(names, seeds, strict=True) if any(not own[seed] for seed in lost))
    because = f", with which {who} was no better than guessing" if reason else ""
    return f" (left out: {len(lost)} of {len(common)} seeds{because})"


def _verdict(claim: Claim, own: Sequence[Run], runs: Runs) -> Verdict:
    if claim.over_seeds is not None:
        return claim.over_seeds(own, runs)
    verdicts = [claim.check(run) for run in own]
    for verdict in verdicts:
        if verdict.holds is None:
            return verdict
    held = sum(verdict.holds for verdict in verdicts)
    low, high = wilson(held, len(own))
    return Verdict(True if low > 50 else False if high < 50 else None, f"in {held} of {len(own)}")
