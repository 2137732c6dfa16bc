"""`mnist-s7 teach`: what an experiment with teachers is trained on."""

import argparse

from mnist_s7.catalog import find_experiment
from mnist_s7.commands.options import OWN, Command, add_digits, add_settings, whole
from mnist_s7.commands.train import add_validation, training_digits
from mnist_s7.results.machine import usable_device
from mnist_s7.training import TEACHERS


def add(command: Command) -> None:
    parser = command(
        "teach",
        _teach,
        "make the soft targets of an experiment with distillation: train its teachers, and store their predictions",
    )
    parser.add_argument("experiment", metavar="EXPERIMENT", help=f"one that has teachers; {OWN}")
    add_settings(parser)
    parser.add_argument("--jobs", type=whole(1, 10_000), help="teachers at a time; default: as `sweep` has it")
    parser.add_argument("--device", help="cpu or cuda; default: cuda where there is one")
    add_digits(parser)
    add_validation(parser)


def _teach(arguments: argparse.Namespace) -> None:
    from mnist_s7.sweep import teach, teacher_of

    experiment = find_experiment(arguments.experiment, arguments.set)
    teacher_of(experiment)  # before the digits are looked for, as the device is
    usable_device(arguments.device)
    runs, together = teach(experiment, training_digits(arguments), arguments.jobs, arguments.device)
    for run in runs:
        print(f"{run.name}: final test accuracy {run.final.test_accuracy:.2f} %, {run.parameters:,} parameters")
    print(f"the mean of their probabilities: {together.accuracy:.2f} %, loss {together.loss:.4f}")
    print(f"The soft targets are in {TEACHERS}: {experiment.name} can be trained now.")
