"""`mnist-s7 page`: the series as one HTML file."""

import argparse
import webbrowser
from pathlib import Path

from mnist_s7.catalog import EXPERIMENTS
from mnist_s7.commands.options import Command
from mnist_s7.data import DATASETS, Digits, DigitsError, load_digits
from mnist_s7.experiments import SERIES
from mnist_s7.results import RUNS, Run, Runs, RunsMissing, load_runs, named_after, stored_folder
from mnist_s7.results.folders import OPTIONS


def add(command: Command) -> None:
    parser = command(
        "page", _page, "write one HTML file: results to look at and compare, and a digit to draw for the networks"
    )
    parser.add_argument(
        "folder",
        type=Path,
        nargs="?",
        help="of runs, beside which the published ones are shown; default: the published ones alone",
    )
    parser.add_argument("--dataset", choices=DATASETS, default="mnist", help="default: %(default)s")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="default: runs/page.html, or with the name of other digits than MNIST",
    )
    parser.add_argument("--open", action="store_true", help="show it in the browser")


def _page(arguments: argparse.Namespace) -> None:
    dataset, digits = DATASETS[arguments.dataset], _digits(arguments.dataset)
    folder = arguments.folder or stored_folder(dataset) or RUNS
    path = write(folder, dataset, digits, arguments.output or page_path(dataset))
    print(f"written: {path}")
    if arguments.open:
        webbrowser.open(path.resolve().as_uri())


def page_path(dataset: str) -> Path:
    """Where a page about runs on these digits goes, unless another file is named."""
    return RUNS.parent / f"{named_after('page', dataset)}.html"


def write(folder: Path, dataset: str, digits: Digits | None, output: Path) -> Path:
    """Write the page about the runs of a folder on a dataset, with its digits where they are at hand; return its path.

    The published runs are shown beside them, but for those of the same experiment and seed. Raises `RunsMissing` where
    the folder has none.
    """
    from mnist_s7.page import networks_of, write_page

    runs, published = _runs(folder, dataset)
    return write_page(output, runs, networks_of(runs), digits, published)


def _runs(folder: Path, dataset: str) -> tuple[Runs, int]:
    """Those of the series first and then the reader's; and how many of them are published ones beside a reader's."""
    from mnist_s7.report.stored import grouped_runs

    if not folder.is_dir():
        raise RunsMissing(f"{folder}: there is no such folder; name the one that the runs were saved in")
    own = by_length(grouped_runs(folder, dataset))
    if not own:
        others = sorted({run.dataset for run in load_runs(folder)})
        found = f", but on {', '.join(others)}: see --dataset" if others else ""
        train = f"mnist-s7 train T3{OPTIONS.get(dataset, '')}"
        raise RunsMissing(f"{folder}: no run on {dataset}{found}; `{train}` makes one in runs/results")
    stored = stored_folder(dataset)
    others = grouped_runs(stored, dataset) if stored and stored.resolve() != folder.resolve() else {}
    names = dict.fromkeys([*(experiment.name for experiment in SERIES), *own, *others])
    runs = {name: _together(own.get(name, []), others.get(name, [])) for name in names}
    count = sum(map(len, runs.values())) - sum(map(len, own.values()))
    return {name: group for name, group in runs.items() if group}, count


def by_length(runs: Runs) -> dict[str, list[Run]]:
    """The runs of fewer or more epochs than their experiment has as groups of their own: their mean is another one."""
    found: dict[str, list[Run]] = {}
    for name, group in runs.items():
        lengths = {len(run.epochs) for run in group}
        usual = EXPERIMENTS[name].epochs if name in EXPERIMENTS else max(lengths)
        for run in group:
            count = len(run.epochs)
            own = name if count == usual else f"{name}, {count} {'epoch' if count == 1 else 'epochs'}"
            found.setdefault(own, []).append(run)
    return found


def _together(own: list[Run], published: list[Run]) -> list[Run]:
    seeds = {run.seed for run in own}
    return sorted([*own, *(run for run in published if run.seed not in seeds)], key=lambda run: run.seed)


def _digits(dataset: str) -> Digits | None:
    """Those that the runs were tested on, where they are at hand: the page is as good as can be without them."""
    try:
        return load_digits(dataset=dataset, download=False)
    except DigitsError as error:
        print(f"without the test images: {error}")
        return None
