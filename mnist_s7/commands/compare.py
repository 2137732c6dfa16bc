"""`mnist-s7 compare`: experiments side by side, from the runs of a folder."""

import argparse
from pathlib import Path

from mnist_s7 import InvalidArgument
from mnist_s7.catalog import EXPERIMENTS, find_experiment
from mnist_s7.catalog.own_files import split
from mnist_s7.commands.options import FIGURES, OWN, Command, seed
from mnist_s7.data import DATASETS, DigitsError, load_digits
from mnist_s7.experiments import FIRST_TO_LAST, SERIES
from mnist_s7.results import PUBLISHED, RUNS, Run, Runs, RunsMissing, has_targets, stored_folder
from mnist_s7.results.folders import OPTIONS


def add(command: Command) -> None:
    parser = command("compare", _compare, "compare experiments, from the runs of a folder: tables, tests and figures")
    parser.add_argument(
        "what",
        nargs="*",
        metavar="[FOLDER] EXPERIMENT",
        help=f"default: the stored runs, and {FIRST_TO_LAST}; an experiment by the name of its runs, {OWN}",
    )
    parser.add_argument("--seed", type=seed, default=1, help="of the runs shown one by one; default: %(default)s")
    parser.add_argument("--dataset", choices=DATASETS, default="mnist", help="default: %(default)s")
    parser.add_argument("--figures", type=Path, default=FIGURES, metavar="FOLDER", help="default: runs/figures")


def _compare(arguments: argparse.Namespace) -> None:
    from mnist_s7.report.across_seeds import against_first, means
    from mnist_s7.report.iteration import comparison
    from mnist_s7.report.stored import series_runs

    dataset = DATASETS[arguments.dataset]
    folder, names = _folder_and_names(arguments.what, dataset)
    if names:
        runs = _runs(folder, names, dataset)
        shown = {
            name: next((run for run in group if run.seed == arguments.seed), group[0]) for name, group in runs.items()
        }
    else:
        shown = series_runs(folder, arguments.seed, dataset)
        if missing := [experiment.name for experiment in SERIES if experiment.name not in shown]:
            print(f"Without {', '.join(missing)}: no run with seed {arguments.seed} on {dataset} in {folder}.\n")
        runs = _runs(folder, list(shown), dataset)
    print(f"{comparison(shown)}\n\n{means(runs)}")
    if len(runs) > 1:
        print(f"\n{against_first(runs)}")
    print("\nFigures:")
    for path in _draw(runs, shown, arguments.dataset, arguments.figures):
        print(f"  {path}")


def _folder_and_names(what: list[str], dataset: str) -> tuple[Path, list[str]]:
    """What comes first is a folder, unless it names an experiment; the stored runs' folder stands for one not named."""
    if what and (Path(what[0]).is_dir() or (_name(what[0]) not in EXPERIMENTS and split(what[0]) is None)):
        return Path(what[0]), what[1:]
    return stored_folder(dataset) or RUNS, what


def _runs(folder: Path, names: list[str], dataset: str) -> Runs:
    """The runs of each experiment: those in the folder, or where it has none the published ones.

    Raises `RunsMissing` where there are none at all.
    """
    from mnist_s7.report.stored import grouped_runs

    if not folder.is_dir():
        raise RunsMissing(f"{folder}: there is no such folder; name the one that the runs were saved in")
    asked = {_name(typed): typed for typed in names}
    found = {}
    here, stored = grouped_runs(folder, dataset), stored_folder(dataset)
    for name, typed in asked.items():
        if name in here:
            found[name] = here[name]
        elif stored and name in (published := grouped_runs(stored, dataset)):
            print(f"{folder} has no run of {name}: those of {stored} are compared.\n")
            found[name] = published[name]
        else:
            raise RunsMissing(
                f"{folder}: no run of {name} on {dataset}, but of {', '.join(here) or 'nothing'}; "
                f"`mnist-s7 sweep {typed}{OPTIONS.get(dataset, '')}"
                f"{'' if folder == PUBLISHED else f' --output {folder}'}` makes some"
            )
    return found


def _name(typed: str) -> str:
    """That of the experiment's runs, which may be all that is known here of one in a reader's file."""
    try:
        return find_experiment(typed).name
    except InvalidArgument:
        return typed


def _draw(runs: Runs, shown: dict[str, Run], option: str, folder: Path) -> list[Path]:
    from mnist_s7 import plots

    first, *others = shown.values()
    known = [name for name in runs if name in EXPERIMENTS and has_targets(DATASETS[option])]
    references = {name: EXPERIMENTS[name].reference for name in known}
    figures = {
        "final-accuracy": plots.every_seed(
            runs, {name: reference.final_test for name, reference in references.items() if reference}
        ),
        "accuracy-and-parameters": plots.accuracy_against_parameters(runs),
        "one-run-each": plots.compare_curves(shown),
    }
    if len({len(run.epochs) for group in runs.values() for run in group}) == 1:
        figures["accuracy-by-epoch"] = plots.accuracy_by_epoch(runs)
    try:
        digits = load_digits(dataset=option, download=False)
    except DigitsError as error:
        print(f"  (without the images that one gets right and the other wrong: {error})")
    else:
        for other in others:
            figures[f"disagreements-{other.experiment}"] = plots.disagreements(
                digits.test_images, digits.test_labels, first, other
            )
    return [plots.write_figure(figure, folder / f"{'-'.join(runs)}-{what}.png") for what, figure in figures.items()]
