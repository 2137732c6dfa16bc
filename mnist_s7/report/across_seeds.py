"""What the runs of many seeds say of the experiments: means, differences, which claims replicate."""

from collections.abc import Iterable, Sequence

from mnist_s7.catalog import ABLATIONS, EXPERIMENTS, base_of
from mnist_s7.experiments import SERIES, Experiment, start_alike
from mnist_s7.report.markdown import Markdown, between, mean_sd, p_value, table
from mnist_s7.report.stored import stored_runs
from mnist_s7.results import (
    CORRECTED_LABELS,
    MNIST,
    TEST_IMAGES,
    Difference,
    Run,
    Runs,
    RunsMissing,
    Summary,
    adjusted,
    compare,
    corrected_accuracy,
    failures,
    on_dataset,
    prediction_interval,
    summarize,
    trained,
    wilson,
)
from mnist_s7.results.claims import Claim, Verdict, signed

VERDICTS = {True: "holds", False: "does not hold", None: "inconclusive"}
TARGET_VERDICTS = {True: "met", False: "not met", None: "inconclusive"}
READINGS = {True: "higher", False: "lower", None: "inconclusive"}


def means(runs: Runs, details: bool = True) -> Markdown:
    """The final epoch's test accuracy of each experiment: mean, SD and its 95 % confidence interval. With `details`
    also the range, the accuracy with corrected labels, and the best epoch's.

    In the order of `EXPERIMENTS`, and then those that are not known here.
    """
    notes = sorted({on_dataset(run.dataset) for group in runs.values() for run in group} - {""})
    header = [f"test accuracy (%){', ' if notes else ''}{', '.join(notes)}", "parameters", "n", "mean ± SD", "95 % CI"]
    if details:
        header += ["range", f"{len(CORRECTED_LABELS)} labels corrected", "best epoch (selected on the test set)"]

    def row(name: str, all_runs: Sequence[Run]) -> list[str]:
        group = trained(all_runs)
        cells = [name + failures(all_runs), f"{all_runs[0].parameters:,}", str(len(group))]
        if not group:
            return cells + ["-"] * (len(header) - len(cells))
        final = summarize([run.final.test_accuracy for run in group])
        cells += [f"**{mean_sd(final.mean, final.sd)}**", confidence_interval(final)]
        if details:
            best = summarize([run.best.test_accuracy for run in group])
            on_mnist = group[0].dataset == MNIST
            corrected = summarize([corrected_accuracy(run) for run in group]) if on_mnist else None
            cells += [
                between((final.minimum, final.maximum)),
                mean_sd(corrected.mean, corrected.sd) if corrected else "-",
                mean_sd(best.mean, best.sd),
            ]
        return cells

    names = sorted(runs, key=lambda name: list(EXPERIMENTS).index(name) if name in EXPERIMENTS else len(EXPERIMENTS))
    return table(header, [row(name, runs[name]) for name in names if runs[name]])


def differences(runs: Runs, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Difference]:
    """The difference of each pair of experiments that two or more runs say something of, in percentage points of final
    test accuracy: paired by seed where the weights have the same shapes, and so are the same at the start; Welch's for
    others, and for an experiment that is not known here. p is adjusted for all of them."""
    found = {
        (one, other): compare(runs.get(one, ()), runs.get(other, ()), paired=_start_alike(one, other))
        for one, other in pairs
    }
    known = {pair: difference for pair, difference in found.items() if difference is not None}
    return dict(zip(known, adjusted(list(known.values())), strict=True))


def against_previous(runs: Runs) -> Markdown:
    """Each iteration compared with the one before."""
    names = [experiment.name for experiment in SERIES]
    return difference_table(runs, zip(names[1:], names, strict=False))


def against_first(runs: Runs) -> Markdown:
    """Each experiment compared with the first of them."""
    first, *others = runs
    return difference_table(runs, ((other, first) for other in others))


def ablation_table(runs: Runs, iteration: Experiment | None = None) -> Markdown:
    """Each variant compared with the iteration that it is one of: those of one, or of all. p is adjusted for the
    variants of an iteration, so that it is the same in either table."""
    return difference_table(runs, *(_variants(each) for each in ([iteration] if iteration else SERIES)))


def ablations(runs: Runs) -> dict[str, Difference]:
    """The differences of `ablation_table`, by what was changed."""
    return {
        f"{other}{failures(runs[other])}: {EXPERIMENTS[one].change}{failures(runs[one])}": found
        for iteration in SERIES
        for (one, other), found in differences(runs, _variants(iteration)).items()
    }


def difference_table(runs: Runs, *families: Iterable[tuple[str, str]]) -> Markdown:
    """A row for each pair of experiments that two or more runs say something of, and for one of which too many failed
    to train. p is adjusted for the pairs of the same family."""
    listed = [list(family) for family in families]
    found = {pair: each for family in listed for pair, each in differences(runs, family).items()}
    pairs = [pair for family in listed for pair in family if min(len(runs.get(name, ())) for name in pair) > 1]
    rows = []
    for one, other in pairs:
        failed = failures(runs[one]), failures(runs[other])
        names, change = f"{one}{failed[0]} minus {other}{failed[1]}", _change(one, other)
        if (difference := found.get((one, other))) is None:
            rows += [(names, change, *["-"] * 5)] if any(failed) else []
            continue
        n, pairing = difference.n, difference.test.removesuffix(" t-test").removesuffix("-test")
        rows.append(
            (
                names,
                change,
                f"{pairing}, {n[0]} seeds"
                if n[0] == n[1] and difference.test.startswith("paired")
                else f"{pairing}, {n[0]} and {n[1]} runs",
                f"**{signed(difference.mean)}**",
                " to ".join(map(signed, difference.interval)),
                p_value(difference.p),
                f"**{READINGS[difference.positive]}**",
            )
        )
    if not rows:
        return Markdown("No difference is tested: that needs two runs or more of each.")
    header = ("difference (pp)", "what changed", "t-test", "mean", "95 % CI", "p (Holm)", "the first is")
    return table(header, rows)


def replicated(experiment: Experiment, runs: Runs) -> dict[Claim, tuple[Verdict, str]]:
    """The verdict on each target of the iteration and each claim of the reference series from all of its runs that
    trained, and the words for it.

    One about the recipe is decided by any run. One about a run holds where it does so in most: where the 95 % Wilson
    interval of its share of the runs is above one half. A figure is consistent with the runs where it lies in the 95 %
    prediction interval of one more. One about all seeds, or their mean, is decided by those that are there. The p of
    comparisons are adjusted for all of them. A run that failed to train counts as one in which a claim does not hold.

    Raises `RunsMissing` where fewer than two runs trained.
    """
    own = trained(runs.get(experiment.name, ()))
    if len(own) < 2:
        raise RunsMissing(f"fewer than two runs of {experiment.name} trained: `mnist-s7 sweep` makes more")
    said = [*experiment.targets, *experiment.claims]
    found = [claim.difference(runs) for claim in said]
    known = iter(adjusted([each for each in found if each is not None]))
    verdicts = {}
    for claim, difference in zip(said, found, strict=True):
        verdict = _verdict(claim, own, runs, experiment.name, None if difference is None else next(known))
        words = TARGET_VERDICTS if claim in experiment.targets else VERDICTS
        verdicts[claim] = verdict, verdict.words or words[verdict.holds]
    return verdicts


def replication(experiment: Experiment, runs: Runs | None = None) -> Markdown:
    """`replicated` as a table; `runs` of None stands for the published ones."""
    runs = stored_runs() if runs is None else runs
    own = trained(runs.get(experiment.name, ()))
    if len(own) < 2:
        return Markdown(f"Fewer than two runs of {experiment.name} are stored, so nothing is known of its spread.")
    header = (
        "",
        f"target or claim of {experiment.name}",
        f"{len(own)} runs{failures(runs[experiment.name])}",
        "verdict",
    )
    rows = (
        ("target" if claim in experiment.targets else "claim", claim.text, verdict.found, f"**{words}**")
        for claim, (verdict, words) in replicated(experiment, runs).items()
    )
    return table(header, rows)


def rank_among_seeds(run: Run) -> Markdown:
    """Where one run lies among the published ones of its experiment on MNIST."""
    if run.dataset != MNIST:
        return Markdown(f"The stored seeds are runs on MNIST, and this one is {on_dataset(run.dataset)}.")
    group = stored_runs().get(run.experiment, ())
    values = [each.final.test_accuracy for each in trained(group)]
    if len(values) < 2:
        return Markdown(f"Fewer than two runs of {run.experiment} are stored, so nothing is known of its spread.")
    final, above = summarize(values), sum(value > run.final.test_accuracy for value in values)
    return Markdown(
        f"This run ends at {run.final.test_accuracy:.2f} %. The {final.n} stored runs of {run.experiment}"
        f"{failures(group)} end at {mean_sd(final.mean, final.sd)} % (mean ± SD; range {final.minimum:.2f} to "
        f"{final.maximum:.2f}), {above} of them above this one. The 95 % prediction interval for one more run is "
        f"{between(prediction_interval(values))} %. For the choice of 10,000 test images alone, the 95 % Wilson "
        f"interval of this run is {between(wilson(TEST_IMAGES - len(run.errors), TEST_IMAGES))} %."
    )


def confidence_interval(accuracy: Summary) -> str:
    """The mean's confidence interval, in percent, or `-`."""
    return between(accuracy.interval_within(0, 100)) if accuracy.interval else "-"


def _start_alike(one: str, other: str) -> bool:
    known = one in EXPERIMENTS and other in EXPERIMENTS
    return known and start_alike(EXPERIMENTS[one], EXPERIMENTS[other])


def _change(one: str, other: str) -> str:
    """What `one` says that it changed, where it is a variant of `other` or the iteration after it."""
    names = [experiment.name for experiment in SERIES]
    follows = (other, one) in zip(names, names[1:], strict=False)
    return EXPERIMENTS[one].change if one in EXPERIMENTS and (follows or one.startswith(f"{other}-")) else "-"


def _variants(iteration: Experiment) -> list[tuple[str, str]]:
    return [(variant.name, iteration.name) for variant in ABLATIONS if base_of(variant) is iteration]


def _verdict(claim: Claim, own: Sequence[Run], runs: Runs, name: str, difference: Difference | None) -> Verdict:
    if claim.across_seeds is not None:
        return claim.across_seeds(own, runs, difference)
    verdicts = [claim.check(run) for run in own]
    for verdict in verdicts:
        if verdict.holds is None:
            return verdict
    held, count = sum(verdict.holds for verdict in verdicts), len(runs[name])
    low, high = wilson(held, count)
    return Verdict(True if low > 50 else False if high < 50 else None, f"in {held} of {count}")
