"""What stands in a chart's place where JavaScript is off: the figures of the notebooks, and tables."""

from matplotlib.figure import Figure

from mnist_s7 import InvalidArgument, plots
from mnist_s7.catalog import EXPERIMENTS
from mnist_s7.experiments import SERIES
from mnist_s7.page.pictures import figure_address
from mnist_s7.report.across_seeds import ablations
from mnist_s7.report.markdown import mean_sd, p_value
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


def still_tables(experiments: list[dict], pairs: list[dict], others: list[dict], networks: list[dict]) -> dict:
    """By panel, its numbers: tables as `{caption, heads, rows}`. Data as `measured` and `fields` make them."""
    named = [(e["name"], e["parameters"], mean_sd(e["mean"], e["sd"]), f"{len(e['seeds'])} runs") for e in experiments]
    stated = [(o["name"], o["parameters"], f"{o['mean']:.2f}", o["measured"]) for o in others]
    ordered = sorted([*named, *stated], key=lambda row: row[1])
    return {
        "compare": [
            {
                "caption": "All pairs: the difference of the first minus the second, in percentage points",
                "heads": ("pair", "difference", "95 % CI", "p", f"p adjusted for {len(pairs)} pairs"),
                "rows": [
                    (
                        " minus ".join(found["pair"]),
                        f"{found['mean']:+.3f}",
                        "{:+.3f} to {:+.3f}".format(*found["interval"]),
                        p_value(found["alone"]),
                        p_value(found["p"]),
                    )
                    for found in pairs
                ],
            }
        ],
        "parameters": [
            {
                "caption": "Final test accuracy, and what the authors of public networks state of theirs",
                "heads": ("network", "parameters", "test accuracy (%)", "how it was measured"),
                "rows": [(name, f"{parameters:,}", *rest) for name, parameters, *rest in ordered],
            }
        ],
        "fields": [
            {
                "caption": f"Receptive fields of {network['name']}, in pixels: rows x columns",
                "heads": ("layer", "kernel", "field", "effective stride"),
                "rows": [
                    (layer["name"], *("x".join(map(str, layer[what])) for what in ("kernel", "size", "jump")))
                    for layer in network["fields"]["layers"]
                ],
            }
            for network in networks
            if "fields" in network
        ],
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
