"""What the page says of each experiment: its row in the table, and its verdicts."""

from collections.abc import Sequence

from mnist_s7.experiments import SERIES, Experiment
from mnist_s7.export.cost import multiply_adds
from mnist_s7.plots.style import counted
from mnist_s7.receptive_field import ReceptiveFieldError, receptive_field
from mnist_s7.report.across_seeds import replicated
from mnist_s7.report.markdown import between, mean_sd
from mnist_s7.results import Run, Runs, RunsMissing, Summary, failures, summarize, trained

HEADS = (
    *("experiment", "test accuracy (%), mean ± SD", "95 % CI", "runs", "parameters", "multiply-adds per image"),
    *("receptive field (pixels)", "targets met", "idea"),
)


def iteration_of(name: str, group: Sequence[Run], experiment: Experiment | None, runs: Runs) -> dict:
    """The template's data of one experiment; `experiment` is None where it is not known here."""
    finals = [run.final.test_accuracy for run in trained(group)]
    final = summarize(finals) if finals else None
    verdicts = _verdicts(experiment, runs) if experiment else []
    met = sum(words == "met" for *_, words in verdicts)
    targets = len(experiment.targets) if experiment else 0
    cells = [
        _cell(mean_sd(final.mean, final.sd) if final else "-", final.mean if final else None),
        _cell(between(final.interval_within(0, 100)) if final and final.interval else "-"),
        _cell(f"{len(finals)}" if len(finals) == len(group) else f"{len(finals)} of {len(group)}", len(finals)),
        _cell(f"{group[0].parameters:,}", group[0].parameters),
        *_of_network(experiment),
        _cell(f"{met} of {targets}" if verdicts and targets else "-", met / targets if verdicts and targets else None),
        _cell((experiment.title if experiment in SERIES else experiment.change) if experiment else "-"),
    ]
    return {
        "name": name,
        "anchor": f"of-{''.join(c if c.isalnum() else '-' for c in name)}",
        "title": experiment.title if experiment in SERIES else name,
        "change": experiment.change if experiment else _unknown(name, group[0].experiment),
        "found": _found(final, group) if final else f"no run trained{failures(group)}",
        "cells": cells,
        "verdicts": verdicts,
    }


def _unknown(name: str, experiment: str) -> str:
    known = name != experiment
    return f"{experiment} for another number of epochs" if known else "an experiment that is not known here"


def _found(final: Summary, group: Sequence[Run]) -> str:
    accuracy = f"test accuracy {mean_sd(final.mean, final.sd)} %"
    return f"{accuracy}, {counted(final.n, 'run')}{failures(group)}, {group[0].parameters:,} parameters"


def _cell(text: str, value: float | None = None) -> dict:
    """`value` is what a column is sorted by, where that is a number."""
    return {"text": text, "value": value}


def _of_network(experiment: Experiment | None) -> list[dict]:
    if experiment is None:
        return [_cell("-"), _cell("-")]
    network = experiment.untrained()
    products = multiply_adds(network)
    try:
        field = int(receptive_field(network).receptive_field)
    except (ReceptiveFieldError, TypeError):
        return [_cell(f"{products:,}", products), _cell("-")]
    return [_cell(f"{products:,}", products), _cell(str(field), field)]


def _verdicts(experiment: Experiment, runs: Runs) -> list[tuple[str, str, str]]:
    try:
        found = replicated(experiment, runs)
    except RunsMissing:  # fewer than two of its runs trained
        return []
    return [(claim.text, verdict.found, words) for claim, (verdict, words) in found.items()]
