"""Which of the series' conclusions hold on Fashion-MNIST, with the same recipes: a table, sentences and a figure."""

from collections.abc import Sequence
from functools import cache, partial

from matplotlib.figure import Figure

from mnist_s7 import plots
from mnist_s7.catalog import EXPERIMENTS
from mnist_s7.data.datasets import FASHION_MNIST
from mnist_s7.experiments import start_alike
from mnist_s7.report.across_seeds import READINGS, means
from mnist_s7.report.markdown import Markdown, table
from mnist_s7.report.stored import series, stored_runs
from mnist_s7.results import FASHION, MNIST, PUBLISHED, VALIDATION, Difference, Run, Runs, adjusted, compare, failures
from mnist_s7.results.claims import signed
from mnist_s7.results.conclusions import HOLDS, INCONCLUSIVE, NOT_MEASURED, REVERSED, Comparison, Conclusion

MARGIN = 0.1  # percentage points: ten test images

CONCLUSIONS = (
    Conclusion("T2's changes together raise accuracy", "T2", "T1"),
    Conclusion("BatchNorm raises accuracy", "T3", "T3-no-batchnorm"),
    Conclusion("rotations raise accuracy", "T3", "T3-no-augmentation"),
    Conclusion(f"T3's fewer parameters cost at most {MARGIN:g} pp", "T3", "T2", margin=MARGIN),
    Conclusion("T4's changes together raise accuracy", "T4", "T3"),
    Conclusion("depthwise separable convolutions raise accuracy, for the same parameters", "T4", "T4-standard"),
    Conclusion("the one-cycle schedule raises accuracy", "T4", "T4-StepLR"),
    Conclusion("shifts and scaling beside rotations raise accuracy", "T4", "T4-rotations"),
)
NAMES = (MNIST, FASHION_MNIST.name)
TOO_FEW = (
    "Too few runs on Fashion-MNIST are stored to compare any. `mnist-s7 sweep T1 T2 T3 T4 --dataset fashion-mnist "
    "--output notebooks/results/fashion-mnist` makes some."
)
MARGIN_READINGS = {True: "yes", False: "no", None: "inconclusive"}


@cache
def stored_comparisons() -> tuple[Comparison, ...]:
    """`comparisons` of the published runs."""
    return comparisons(*map(stored_runs, (PUBLISHED, VALIDATION, FASHION)))


def comparisons(on_mnist: Runs, on_validation: Runs, on_fashion: Runs) -> tuple[Comparison, ...]:
    """Each of `CONCLUSIONS` on MNIST and on Fashion-MNIST, p adjusted for all of those on one data set.

    On MNIST, parts of T4 are compared on its validation set where they were measured there, as T4 was chosen on it; on
    Fashion-MNIST, nothing was chosen, and everything is compared on its test set.
    """
    found, notes = [], []
    for each in CONCLUSIONS:
        validated = each.other in on_validation and each.other not in on_mnist
        pairs = [
            [runs.get(name, ()) for name in (each.one, each.other)]
            for runs in (on_validation if validated else on_mnist, on_fashion)
        ]
        paired = start_alike(EXPERIMENTS[each.one], EXPERIMENTS[each.other])
        found.append([compare(*pair, paired) for pair in pairs])
        here, there = (_failures(each, *pair) for pair in pairs)
        notes.append((f"{', validation set' if validated else ''}{here}", there))
    columns = [_adjusted(column) for column in zip(*found, strict=True)]
    return tuple(map(Comparison, CONCLUSIONS, zip(*columns, strict=True), notes))


def compared_runs() -> dict[str, list[Run]]:
    """The published runs that `stored_comparisons` are of, by folder and experiment."""
    names = {name for each in CONCLUSIONS for name in (each.one, each.other)}
    return {
        f"{folder.name}/{name}": group
        for folder in (PUBLISHED, VALIDATION, FASHION)
        for name, group in stored_runs(folder).items()
        if name in names
    }


def fashion_report() -> Markdown:
    """All that is said of the published runs: accuracies, conclusions and verdicts; or how to make some where there
    are too few."""
    runs, found = series(stored_runs(FASHION)), stored_comparisons()
    parts = [means(runs, details=False)] if runs else []
    parts += [fashion_verdicts(found), fashion_table(found)] if any_measured(found) else [Markdown(TOO_FEW)]
    return Markdown("\n\n".join(parts))


def fashion_table(found: Sequence[Comparison]) -> Markdown:
    """A row for each conclusion: its difference on both data sets, and the verdict."""
    rows = (
        (
            each.conclusion.text,
            f"{each.conclusion.one} minus {each.conclusion.other}",
            *map(partial(_cell, each.conclusion), each.differences, each.notes),
            f"**{each.verdict}**",
        )
        for each in found
    )
    header = ("conclusion", "difference (pp), 95 % CI, runs", *(f"on {name}" for name in NAMES), "verdict")
    return table(header, rows)


def fashion_verdicts(found: Sequence[Comparison]) -> Markdown:
    """In sentences: how many of the conclusions hold, and which do not."""
    measured = [each for each in found if each.verdict != NOT_MEASURED]
    held, turned, unsettled = (
        _counted([each.conclusion.text for each in measured if each.verdict == verdict])
        for verdict in (HOLDS, REVERSED, INCONCLUSIVE)
    )
    return Markdown(
        f"Conclusions that hold on Fashion-MNIST, of {len(measured)} that are measured on both data sets: {held}. "
        f"Reversed there: {turned}. Inconclusive on one of the two, or on both: {unsettled}."
    )


def any_measured(found: Sequence[Comparison]) -> bool:
    """Whether one of the differences is there on Fashion-MNIST."""
    return any(each.differences[1] for each in found)


def fashion_figure() -> Figure | None:
    """The differences of the published runs side by side; None where none is stored on Fashion-MNIST."""
    found = stored_comparisons()
    return plots.two_data_sets(found, NAMES) if any_measured(found) else None


def _counted(texts: list[str]) -> str:
    return f"{len(texts)} ({'; '.join(texts)})" if texts else "none"


def _adjusted(differences: Sequence[Difference | None]) -> list[Difference | None]:
    """`adjusted`, with those that are not there left in their places."""
    known = iter(adjusted([each for each in differences if each is not None]))
    return [None if each is None else next(known) for each in differences]


def _failures(conclusion: Conclusion, ones: Sequence[Run], others: Sequence[Run]) -> str:
    groups = {conclusion.one: ones, conclusion.other: others}
    return "".join(f", {name}{failed}" for name, group in groups.items() if (failed := failures(group)))


def _cell(conclusion: Conclusion, difference: Difference | None, note: str) -> str:
    if difference is None:
        return "-"
    n = difference.n
    runs = f"n = {n[0]}" if n[0] == n[1] else f"n = {n[0]}, {n[1]}"
    interval = " to ".join(map(signed, difference.interval))
    readings = READINGS if conclusion.margin is None else MARGIN_READINGS
    return f"{signed(difference.mean)} ({interval}), {runs}{note}: {readings[conclusion.finding(difference)]}"
