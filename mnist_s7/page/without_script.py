"""What stands in a chart's place where JavaScript is off: the figures of the notebooks, and tables."""

from matplotlib.figure import Figure

from mnist_s7 import InvalidArgument, plots
from mnist_s7.catalog import EXPERIMENTS
from mnist_s7.experiments import SERIES
from mnist_s7.page.pictures import figure_address
from mnist_s7.report.across_seeds import ablations
from mnist_s7.results import Runs, trained

MOST = 4  # experiments in a figure, where none of them is of the series


def still_figures(runs: Runs) -> dict[str, list[dict]]:
    """By panel, its figures as addresses that hold them, each with the words that say what it shows."""
    shown = {name: group for name, group in runs.items() if trained(group)}
    series = [experiment.name for experiment in SERIES if experiment.name in shown] or list(shown)[:MOST]
    shown = {name: shown[name] for name in series}
    if not shown:
        return {}
    references = {name: EXPERIMENTS[name].reference for name in shown if name in EXPERIMENTS}
    finals = {name: reference.final_test for name, reference in references.items() if reference}
    return {
        "curves": _stills("Test and training accuracy by epoch", _curves(shown)),
        "compare": _stills("Final test accuracy of every seed", [plots.every_seed(shown, finals)])
        + _stills("What each change of an iteration is worth", _ablations(runs)),
        "parameters": _stills("Accuracy against parameters", [plots.accuracy_against_parameters(shown)]),
    }


def _stills(words: str, figures: list[Figure]) -> list[dict]:
    return [{"words": words, "address": figure_address(figure)} for figure in figures]


def _curves(runs: Runs) -> list[Figure]:
    try:
        return [plots.accuracy_by_epoch(runs)]
    except InvalidArgument:  # of runs of different lengths there is no mean by epoch
        return []


def _ablations(runs: Runs) -> list[Figure]:
    found = ablations(runs)
    dataset = next(iter(runs.values()))[0].dataset
    return [plots.ablation_study(found, dataset)] if found else []
