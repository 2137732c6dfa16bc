"""`mnist-s7 page`: the series as one HTML file."""

import argparse
import webbrowser
from pathlib import Path

from mnist_s7.catalog import pretrained, pretrained_names
from mnist_s7.commands.options import Command
from mnist_s7.data import DATASETS
from mnist_s7.experiments import SERIES
from mnist_s7.results import RUNS, RunsMissing, has_targets, stored_folder
from mnist_s7.results.folders import OPTIONS


def add(command: Command) -> None:
    parser = command("page", _page, "write one HTML file: results to look at, and a digit to draw for the networks")
    parser.add_argument("folder", type=Path, nargs="?", help="of runs; default: the stored ones")
    parser.add_argument("--dataset", choices=DATASETS, default="mnist", help="default: %(default)s")
    parser.add_argument(
        "--output", type=Path, default=RUNS.parent / "page.html", metavar="FILE", help="default: runs/page.html"
    )
    parser.add_argument("--open", action="store_true", help="show it in the browser")


def _page(arguments: argparse.Namespace) -> None:
    from mnist_s7.page import write_page
    from mnist_s7.report.stored import grouped_runs

    dataset = DATASETS[arguments.dataset]
    folder = arguments.folder or stored_folder(dataset) or RUNS
    runs = grouped_runs(folder, dataset)
    if not runs:
        option = OPTIONS.get(dataset, "")
        raise RunsMissing(f"{folder}: no run on {dataset}; `mnist-s7 train T3{option}` makes one in runs/results")
    series = [experiment.name for experiment in SERIES if experiment.name in runs]
    runs = {name: runs[name] for name in (*series, *(name for name in runs if name not in series))}
    networks = {}
    for name, group in runs.items():
        if stored := next((run for run in group if run.weights), None):
            networks[name] = stored.model
        elif name in pretrained_names() and has_targets(dataset):  # these are trained on MNIST
            networks[name] = pretrained(name)
    print(f"written: {write_page(arguments.output, runs, networks)}")
    if arguments.open:
        webbrowser.open(arguments.output.resolve().as_uri())
