"""The published runs, read and checked: what every table, sentence and figure of the project is made from."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from mnist_s7.catalog import EXPERIMENTS
from mnist_s7.experiments import SERIES, Experiment
from mnist_s7.results import (
    MNIST,
    PUBLISHED,
    PUBLISHED_BASELINES,
    PYTORCH_LAYERS,
    VALIDATION,
    PublishingRefused,
    Run,
    RunFileError,
    Runs,
    RunsMissing,
    by_experiment,
    load_runs,
    stored_folder,
    stored_teachers,
)
from mnist_s7.results.folders import OPTIONS, STORED
from mnist_s7.training import TEACHERS

DEPLOYED = PUBLISHED / "deployed.json"  # what the series' networks cost elsewhere
ROBUSTNESS = PUBLISHED / "robustness.json"  # how they do on corrupted images
SEED = 1  # of the runs that the notebooks show


@cache
def stored_runs(folder: Path = PUBLISHED) -> Mapping[str, list[Run]]:
    """The runs of a published folder, by their experiments.

    Raises `PublishingRefused` where one is on digits that are not published there, and `RunFileError` where one is
    none, is cut short, or is of another recipe than its experiment has today.
    """
    dataset = next((name for name, path in STORED.items() if path == folder), MNIST)
    runs = _checked_runs(folder)
    for run in runs:
        path = folder / f"{run.name}.json"
        if run.experiment not in EXPERIMENTS:
            raise RunFileError(f"{path}: a run of {run.experiment}, and there is no such experiment")
        if run.dataset != dataset:
            raise PublishingRefused(f"{path} is a run on {run.dataset}, among runs on {dataset}: move it")
        if folder == PYTORCH_LAYERS and run.environment["kernels"] != "PyTorch":
            raise PublishingRefused(f"{path} is a run on compiled layers, among runs on PyTorch's: move it")
        experiment = EXPERIMENTS[run.experiment]
        if not experiment.is_whole(run.epochs, experiment.epochs):
            raise RunFileError(f"{path}: a run of fewer epochs than are published; train it again")
    return by_experiment(runs)


def validation_runs() -> Mapping[str, list[Run]]:
    """Those that were trained on 50,000 training images and tested on the other 10,000."""
    return stored_runs(VALIDATION)


def baseline_runs() -> Mapping[str, list[Run]]:
    """Those of networks that others have published; none where none are stored yet."""
    return stored_runs(PUBLISHED_BASELINES)


def published_teachers(experiment: Experiment) -> list[Run]:
    """Those that taught the stored runs of an iteration with distillation. Raises `RunsMissing` where one is not there,
    and as `stored_runs`."""
    name, count = experiment.distillation.teacher.name, experiment.distillation.teachers
    runs = [run for run in stored_runs(stored_teachers(MNIST)).get(name, []) if run.seed <= count]
    if len(runs) < count:
        raise RunsMissing(
            f"{stored_teachers(MNIST)}: {len(runs)} of {count} runs of {name}; copy them there, each with its weights, "
            f"from {TEACHERS}, where `mnist-s7 teach {experiment.name}` leaves them"
        )
    return runs


def series(runs: Runs) -> dict[str, list[Run]]:
    """Of `runs` those of the iterations, in the series' order."""
    return {experiment.name: runs[experiment.name] for experiment in SERIES if experiment.name in runs}


def series_runs(folder: Path, seed: int = SEED, dataset: str = MNIST) -> dict[str, Run]:
    """The runs of the series in `folder` with this seed and on these digits, by the experiment's name; an iteration
    that has none is left out.

    Raises `RunsMissing` where no iteration has one.
    """
    found = {run.experiment: run for run in _checked_runs(folder) if (run.seed, run.dataset) == (seed, dataset)}
    if not (shown := {experiment.name: found[experiment.name] for experiment in SERIES if experiment.name in found}):
        raise RunsMissing(
            f"{folder}: no run of the iterations with seed {seed} on {dataset}; "
            f"`mnist-s7 train NAME --seed {seed}{OPTIONS.get(dataset, '')} --output {folder}` makes one"
        )
    return shown


def grouped_runs(folder: Path, dataset: str) -> dict[str, list[Run]]:
    """Those in the folder that are on these digits, by their experiments. Raises `RunFileError` for one that is none,
    or was not trained as the experiment of its name is today."""
    return by_experiment(_checked_runs(folder, dataset))


def previous_run(experiment: Experiment, run: Run) -> Run | None:
    """The stored run of the iteration before, with the seed and on the digits of `run`; None where there is none."""
    names = [each.name for each in SERIES]
    if experiment.name not in names[1:] or (folder := stored_folder(run.dataset)) is None:
        return None
    before = names[names.index(experiment.name) - 1]
    return next((each for each in stored_runs(folder).get(before, ()) if each.seed == run.seed), None)


def _checked_runs(folder: Path, dataset: str | None = None) -> list[Run]:
    """`load_runs`, or those of them on a `dataset`; and `RunFileError` for a run that was not trained as the experiment
    of its name is today.

    Of experiments that are not known here, nothing can be said.
    """
    runs = [run for run in load_runs(folder) if dataset in (None, run.dataset)]
    for run in runs:
        if run.experiment in EXPERIMENTS and not EXPERIMENTS[run.experiment].matches(run):
            raise RunFileError(
                f"{folder / run.name}.json: a run of another recipe than {run.experiment} has today: one of the two "
                "has been changed; train it again, choose another folder, or move the file"
            )
    return runs
