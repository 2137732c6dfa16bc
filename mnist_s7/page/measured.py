"""What the page's charts show of the runs: curves, seeds, differences of pairs, and networks by their parameters.

Numbers are rounded to what a reader can use, which halves the page.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

from mnist_s7.catalog import EXPERIMENTS
from mnist_s7.plots.style import INK, looks_by_name
from mnist_s7.report.across_seeds import differences
from mnist_s7.report.published_networks import stated_elsewhere, trained_again
from mnist_s7.report.stored import baseline_runs
from mnist_s7.results import Run, Runs, failures, summarize, trained

CURVES = ("lr", "train_loss", "train_accuracy", "test_loss", "test_accuracy")


def experiments_data(runs: Runs) -> list[dict]:
    """Of each experiment that trained: its look, whether teachers give its training loss, the mean of its final test
    accuracies (percent) with its 95 % CI, its curves by seed, and the test images that its seeds' final epochs get
    wrong."""
    looks = looks_by_name(runs)
    return [_experiment(name, group, *looks[name]) for name, group in runs.items() if trained(group)]


def _experiment(name: str, all_runs: Sequence[Run], colour: str, marker: str) -> dict:
    group = trained(all_runs)
    final = summarize([run.final.test_accuracy for run in group])
    return {
        "name": name,
        "failed": failures(all_runs),
        "taught": name in EXPERIMENTS and EXPERIMENTS[name].distillation is not None,
        "parameters": group[0].parameters,
        "marker": marker,
        "colour": None if colour == INK else colour,  # the page's own ink is another one in the dark
        "mean": round(final.mean, 4),
        "sd": None if final.sd is None else round(final.sd, 4),
        "interval": final.interval and [round(end, 4) for end in final.interval_within(0, 100)],
        "seeds": [run.seed for run in group],
        "curves": [
            {what: [_rounded(getattr(epoch, what)) for epoch in run.epochs] for what in CURVES} for run in group
        ],
        "errors": _errors(group),
    }


def _rounded(value: float) -> float | None:
    """A loss can be infinite on the way, and JSON has no word for that."""
    return float(f"{value:.5g}") if math.isfinite(value) else None


def _errors(group: Sequence[Run]) -> dict[int, dict[int, int]]:
    """By test image, how many of the runs take it for which wrong digit."""
    found: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for run in group:
        for index, digit in run.errors:
            found[index][digit] += 1
    return found


def pairs_data(runs: Runs) -> list[dict]:
    """The difference of each pair of experiments in final test accuracy (percentage points), with the p of all of them
    adjusted together and, `alone`, as it is."""
    return [
        {
            "pair": pair,
            "mean": found.mean,
            "interval": found.interval,
            "p": found.p,
            "alone": differences(runs, [pair])[pair].p,
            "test": found.test,
            "n": found.n,
            "positive": found.positive,
        }
        for pair, found in differences(runs, combinations(runs, 2)).items()
    ]


def public_data() -> list[dict]:
    """Public networks: the mean of our runs of those that were trained again, and what the authors of the others state;
    test accuracy in percent, and how it was measured."""
    baselines = baseline_runs()
    again = [
        {
            "name": each.experiment.name,
            "parameters": each.experiment.parameters,
            "mean": round(final.mean, 4),
            "sd": None if final.sd is None else round(final.sd, 4),
            "measured": measured,
            "trainedAgain": True,
        }
        for each, final, measured in trained_again(baselines)
    ]
    stated = [
        {
            "name": network.source,
            "parameters": network.parameters,
            "mean": network.accuracy,
            "sd": network.sd,
            "measured": network.measured,
            "trainedAgain": False,
        }
        for network in stated_elsewhere(baselines)
    ]
    return again + stated
