"""`mnist-s7 run`: execute the notebooks."""

import argparse
import os
import sys
import time
from pathlib import Path

from mnist_s7 import InvalidArgument
from mnist_s7.catalog import EXPERIMENTS
from mnist_s7.commands.options import Command
from mnist_s7.commands.page import page_path
from mnist_s7.commands.page import write as write_page
from mnist_s7.data import PROJECT, digits_or_synthetic
from mnist_s7.kernels import library
from mnist_s7.results import MNIST, PUBLISHED, RUNS, PublishingRefused, Run, prepare, run_name
from mnist_s7.results.machine import KERNEL_MEMORY, side_by_side, usable_device


def add(command: Command) -> None:
    parser = command("run", _run, "run the notebooks top to bottom, then show the iterations side by side")
    parser.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="by name, MNIST_S7_T1 say; default: all")
    parser.add_argument("--publish", action="store_true", help="store outputs and results under notebooks/; MNIST only")


def _run(arguments: argparse.Namespace) -> None:
    from mnist_s7.report import comparison, series_runs
    from mnist_s7.report.notebook_progress import Overview, in_words
    from mnist_s7.report.notebooks import NOTEBOOKS, ORDER, execute
    from mnist_s7.report.stored import SEED
    from mnist_s7.sweep import stored_run, teach
    from mnist_s7.training import SoftTargets

    if not NOTEBOOKS.is_dir():
        raise InvalidArgument(f"{NOTEBOOKS} does not exist: this command is for a working copy of the repository")
    *iterations, compare = ORDER
    names = arguments.notebooks or ORDER
    if unknown := set(names) - set(ORDER):
        raise InvalidArgument(f"no notebook {', '.join(sorted(unknown))}: there are {', '.join(ORDER)}")
    folder, results = (NOTEBOOKS, PUBLISHED) if arguments.publish else (PROJECT / "runs", RUNS)
    prepare(folder, *(f"{name}.ipynb" for name in names))
    prepare(results)
    digits = digits_or_synthetic()
    if arguments.publish and digits.name != MNIST:
        raise PublishingRefused(f"only runs on MNIST are published, and these digits are {digits.name}")
    if not arguments.publish:  # a notebook replaces the run of its name, and must not replace another one
        for name in set(names) & set(iterations):
            experiment = EXPERIMENTS[name.removeprefix("MNIST_S7_")]
            stored_run(results / f"{run_name(experiment.name, SEED, digits.name)}.json", experiment, None)

    expected = {name: _usual_seconds(name.removeprefix("MNIST_S7_"), SEED) for name in iterations if name in names}
    expected = dict(sorted(expected.items(), key=lambda each: -each[1]))  # the longest first: then all end together
    at_once = side_by_side(len(expected), KERNEL_MEMORY)
    # Runs side by side get more out of the cores than one after the other on all of them.
    if arguments.publish:
        os.environ["OMP_NUM_THREADS"] = "1"
    elif len(expected) > 1:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    started = time.monotonic()
    for name in set(names) & set(iterations):
        experiment = EXPERIMENTS[name.removeprefix("MNIST_S7_")]
        if experiment.distillation and SoftTargets(experiment, digits).missing(experiment.epochs):
            # Before the notebooks, which have a core each: this takes all of them.
            print(f"The soft targets of {experiment.name}, from its teachers, are made once ...", flush=True)
            teach(experiment, digits)
    made = []
    if expected:
        if usable_device(None).type == "cpu":
            library.load()  # so that what it warns of is said once, here, and not in each notebook
        print(f"{len(expected)} notebooks on {digits.name}, {at_once} at a time:", flush=True)
        made += execute(list(expected), at_once, folder, results, digits, Overview(expected, at_once))
    if compare in names:
        made += execute([compare], 1, folder, results, digits, Overview({compare: 1.0}, 1))

    print(f"Made in {in_words(time.monotonic() - started)}:")
    for path in sorted(made):
        print(f"  {os.path.relpath(path)}")
    print(f"The runs are in {os.path.relpath(results)}.")
    print(f"To look at the notebooks: {_jupyter()} lab {os.path.relpath(folder)}")
    if compare in names:
        page = write_page(results, digits.name, digits, page_path(digits.name))
        print(f"To look, compare and draw a digit, open this page in a browser: {os.path.relpath(page)}")
        print(f"\n{comparison(series_runs(results, dataset=digits.name))}")


def _usual_seconds(experiment: str, seed: int) -> float:
    """Of the published run with this seed; a guess for an iteration that has none yet."""
    path = PUBLISHED / f"{run_name(experiment, seed, MNIST)}.json"
    return sum(epoch.seconds for epoch in Run.load(path).epochs) if path.exists() else 200.0


def _jupyter() -> str:
    """The command, as it can be typed here."""
    there = Path(sys.executable).with_name("jupyter")
    return os.path.relpath(there) if there.exists() else "jupyter"
