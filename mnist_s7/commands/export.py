"""`mnist-s7 export`: networks for other programs, and runs for other viewers."""

import argparse
from pathlib import Path

from mnist_s7 import InvalidArgument
from mnist_s7.catalog import find_experiment
from mnist_s7.catalog.own_files import split
from mnist_s7.commands.options import (
    OWN,
    Command,
    Trained,
    add_digits,
    add_weights,
    digits_of,
    trained_networks,
)
from mnist_s7.data import DigitsError
from mnist_s7.experiments import FIRST_TO_LAST, SERIES
from mnist_s7.results import MNIST, PUBLISHED, PublishingRefused, RunsMissing, load_runs, prepare


def add(command: Command) -> None:
    parser = command("export", _export, "write a trained network as an ONNX file, or runs for TensorBoard or a table")
    parser.add_argument(
        "experiments",
        nargs="*",
        metavar="EXPERIMENT",
        help=f"the network, {FIRST_TO_LAST}, or with --weights {OWN}; of runs, whose to write, default: all",
    )
    add_weights(parser)
    networks = parser.add_argument_group("networks, BatchNorm folded, for images of 0 to 255")
    networks.add_argument("--onnx", type=Path, metavar="FILE", help="ONNX in float32")
    networks.add_argument("--int8", type=Path, metavar="FILE", help="ONNX in 8-bit integers")
    networks.add_argument("--program", type=Path, metavar="FILE", help="a program of torch.export, .pt2")
    runs = parser.add_argument_group("runs")
    runs.add_argument("--tensorboard", type=Path, metavar="FOLDER", help="logs for TensorBoard, a folder for each run")
    runs.add_argument("--csv", type=Path, metavar="FILE", help="a table with a row for each epoch")
    runs.add_argument(
        "--runs", type=Path, default=PUBLISHED, metavar="FOLDER", help="where they are; default: notebooks/results"
    )
    add_digits(parser)
    parser.add_argument(
        "--publish", action="store_true", help="measure what the series' networks cost when deployed, for the results"
    )


def _export(arguments: argparse.Namespace) -> None:
    networks = {"onnx": arguments.onnx, "int8": arguments.int8, "program": arguments.program}
    if not (any(networks.values()) or arguments.tensorboard or arguments.csv or arguments.publish):
        raise InvalidArgument("nothing to write: say --onnx, --int8, --program, --tensorboard or --csv, and where")
    files = [path.resolve() for path in (*networks.values(), arguments.csv) if path]
    if len(set(files)) < len(files):
        raise InvalidArgument(f"{', '.join(map(str, files))}: each needs a file of its own")
    if any(networks.values()):
        trained = trained_networks(arguments.experiments, arguments.weights)
        if len(trained) > 1:
            raise InvalidArgument(f"{', '.join(each.name for each in trained)}: one network goes into a file; name one")
        _write_network(trained[0], arguments)
    if arguments.tensorboard or arguments.csv:
        _write_runs(arguments)
    if arguments.publish:
        _publish(arguments)


def _write_network(trained: Trained, arguments: argparse.Namespace) -> None:
    from mnist_s7.export import calibration_images, export_int8, export_onnx, export_program

    if arguments.onnx:
        print(f"{trained.name} as {export_onnx(trained.model, arguments.onnx, trained.facts)}")
    if arguments.int8:
        images = calibration_images(digits_of(arguments, [trained]).train_images)
        print(
            f"{trained.name} in 8-bit integers as {export_int8(trained.model, arguments.int8, images, trained.facts)}"
        )
    if arguments.program:
        print(f"{trained.name} as {export_program(trained.model, arguments.program)}")


def _write_runs(arguments: argparse.Namespace) -> None:
    from mnist_s7.export import write_csv, write_tensorboard

    names = [find_experiment(name).name if split(name) else name for name in arguments.experiments]
    runs = [run for run in load_runs(arguments.runs) if run.experiment in names or not names]
    missing = [name for name in names if name not in {run.experiment for run in runs}]
    if missing or not runs:
        raise RunsMissing(f"{arguments.runs}: no run of {', '.join(missing) or 'any experiment'}")
    if arguments.csv:
        print(f"{len(runs)} runs as {write_csv(runs, arguments.csv)}")
    if arguments.tensorboard:
        try:
            digits = digits_of(arguments)
        except DigitsError as error:
            print(f"without confusion matrices and wrong images: {error}")
            digits = None
        for run in runs:
            write_tensorboard(run, arguments.tensorboard, digits if digits and digits.name == run.dataset else None)
        print(f"{len(runs)} runs. To look at them: tensorboard --logdir {arguments.tensorboard}")


def _publish(arguments: argparse.Namespace) -> None:
    from mnist_s7.export import measure_deployed
    from mnist_s7.report.deployed import deployed_table, how_deployed
    from mnist_s7.report.stored import DEPLOYED

    digits = digits_of(arguments)
    if digits.name != MNIST:
        raise PublishingRefused(f"only figures on MNIST are published, and these digits are {digits.name}")
    prepare(PUBLISHED, DEPLOYED.name)
    trained = trained_networks([experiment.name for experiment in SERIES], [])
    found = measure_deployed({each.name: each.model for each in trained}, digits)
    found.save(DEPLOYED)
    print(f"{deployed_table(found)}\n\n{how_deployed(found)}\n\nsaved as {DEPLOYED}")
