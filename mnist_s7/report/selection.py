"""What is said of selection on the test set: how much it adds to an accuracy, in all stored runs."""

from statistics import median

from mnist_s7.report.markdown import Markdown, table
from mnist_s7.results import BEST_OF, Runs, Selection, selection
from mnist_s7.results.claims import signed

UNKNOWN = Markdown("What selection adds is not known: that needs two runs or more of an experiment.")


def selections(runs: Runs) -> list[Selection]:
    """That of each experiment with two or more runs that trained, by their parameters."""
    found = [selection(group) for group in runs.values()]
    found = [each for each in found if each and each.best_epoch.n > 1]
    return sorted(found, key=lambda each: (each.parameters, each.experiment))


def selection_table(runs: Runs) -> Markdown:
    """What the best epoch and the best of several runs add to the mean final test accuracy, by parameters."""
    if not (found := selections(runs)):
        return UNKNOWN
    rows = (
        (
            each.experiment,
            f"{each.parameters:,}",
            " to ".join(map(str, dict.fromkeys(each.epochs))),
            each.best_epoch.n,
            signed(each.best_epoch.mean),
            " to ".join(map(signed, each.best_epoch.interval)),
            *(signed(gain) if gain is not None else "-" for gain in (each.best_run, each.both)),
        )
        for each in found
    )
    header = (
        "added to the mean final test accuracy (pp)",
        "parameters",
        "epochs",
        "n",
        "best epoch",
        "95 % CI",
        f"best of {BEST_OF} runs",
        f"best epoch of the best of {BEST_OF}",
    )
    return table(header, rows)


def selection_summary(runs: Runs) -> Markdown:
    """What it adds in the median, and at most: one sentence."""
    if not (found := selections(runs)):
        return UNKNOWN
    sentence = (
        f"In the {len(found)} experiments with several stored runs, the best epoch is "
        f"{_spread([each.best_epoch.mean for each in found])} above the final one"
    )
    of_runs = [each.best_run for each in found if each.best_run is not None]
    if of_runs:
        sentence += f", and the best of {BEST_OF} runs {_spread(of_runs)} above their mean"
    return Markdown(f"{sentence}.")


def _spread(gains: list[float]) -> str:
    return f"{median(gains):.2f} pp (median; {max(gains):.2f} at most)"
