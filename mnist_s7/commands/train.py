"""`mnist-s7 train`: one run."""

import argparse
from pathlib import Path

from mnist_s7.catalog import find_experiment
from mnist_s7.commands.options import (
    NAMES,
    OWN,
    Command,
    add_digits,
    add_output,
    add_settings,
    digits_of,
    refuse_misplaced,
    seed,
    whole,
)
from mnist_s7.data import Digits, validation_split
from mnist_s7.experiments import Experiment
from mnist_s7.results import Run, prepare, refuse_publishing, run_name
from mnist_s7.results.machine import usable_device
from mnist_s7.results.weights import weights_path
from mnist_s7.training import fit


def add(command: Command) -> None:
    parser = command("train", _train, "train one experiment and save the run and its network")
    parser.add_argument("experiment", metavar="EXPERIMENT", help=f"{NAMES}; {OWN}")
    parser.add_argument("--seed", type=seed, default=1, help="random seed; default: %(default)s")
    add_training(parser)
    parser.add_argument(
        "--tensorboard", action="store_true", help="also log each epoch for TensorBoard, in a folder of the output"
    )
    parser.add_argument("--csv", action="store_true", help="also save a row for each epoch, for a spreadsheet")


def add_training(parser: argparse.ArgumentParser) -> None:
    """What `train` and `sweep` ask for."""
    add_settings(parser)
    parser.add_argument(
        "--epochs",
        type=whole(1, 10**6),
        help="default: the experiment's own number; the run keeps its name, where --set epochs=N gives another",
    )
    parser.add_argument("--device", help="cpu or cuda; default: cuda where there is one")
    add_digits(parser)
    add_validation(parser)
    add_output(parser)


def add_validation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--validation",
        action="store_true",
        help="test on the last 10,000 training images and train on the others: to choose hyperparameters",
    )


def training_digits(arguments: argparse.Namespace) -> Digits:
    digits = digits_of(arguments)
    return validation_split(digits) if arguments.validation else digits


def _train(arguments: argparse.Namespace) -> None:
    from mnist_s7.sweep import RunConflict, RunLocks, stored_run

    experiment = find_experiment(arguments.experiment, arguments.set)
    usable_device(arguments.device)
    digits = training_digits(arguments)
    folder = arguments.output
    refuse_publishing(digits.name, folder)  # before the training, and not after it
    refuse_misplaced(experiment.name, folder)
    path = folder / f"{run_name(experiment.name, arguments.seed, digits.name)}.json"
    prepare(folder, path.name)
    weights = weights_path(path)
    prepare(weights.parent, weights.name)
    locks = RunLocks(folder)
    if not locks.take(path.stem):
        raise RunConflict(f"{path}: another process is making this run; wait for it, or choose another folder")
    try:
        if run := stored_run(path, experiment, arguments.epochs):
            print(f"{path} is there: final test accuracy {run.final.test_accuracy:.2f} %. To train it again, move it.")
        else:
            run = _trained(experiment, digits, arguments, path)
    finally:
        locks.give_back(path.stem)
    if arguments.tensorboard:
        from mnist_s7.export import write_tensorboard

        write_tensorboard(run, folder / "tensorboard", digits)  # with the final epoch's errors
    if arguments.csv:
        from mnist_s7.export import write_csv

        print(f"its epochs as a table: {write_csv([run], path.with_name(f'{path.stem}.csv'))}")


def _trained(experiment: Experiment, digits: Digits, arguments: argparse.Namespace, path: Path) -> Run:
    progress = True
    if arguments.tensorboard:
        from mnist_s7.export import TensorBoardLines

        log = path.parent / "tensorboard"
        progress = TensorBoardLines(experiment.name, arguments.epochs or experiment.epochs, log / path.stem)
        print(f"To watch it: tensorboard --logdir {log}")
    print(f"{experiment.name} on {digits.name} ({digits.source}), seed {arguments.seed}: {experiment.recipe}")
    run = fit(experiment, digits, arguments.seed, arguments.epochs, arguments.device, progress)
    saved = run.save(path.parent)
    print(f"final test accuracy {run.final.test_accuracy:.2f} %, saved as {saved} and {saved.stem}.safetensors")
    return run
