"""What several commands ask for: numbers, digits, experiments and trained networks."""

import argparse
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from mnist_s7 import InvalidArgument, MnistS7Warning
from mnist_s7.catalog import EXPERIMENTS, find_experiment, origin_of, pretrained, pretrained_weights
from mnist_s7.data import Digits, load_digits
from mnist_s7.experiments import SERIES, SETTINGS
from mnist_s7.results import RUNS, Run, WeightsError, load_model, read_facts
from mnist_s7.results.weights import run_path

KERNEL_MEMORY = 1_500 << 20  # bytes, with room to spare: a process that trains takes about 1.1 GB

# Adds a command of this name, that does this, with this help.
Command = Callable[[str, Callable[[argparse.Namespace], int | None], str], argparse.ArgumentParser]

NAMES = ", ".join(EXPERIMENTS)
OWN = "or FILE.py:NAME, an Experiment or an nn.Module class of your own"


def whole(least: int, most: int) -> Callable[[str], int]:
    """For argparse: a whole number of this range."""

    def number(text: str) -> int:
        if not text.isdecimal() or len(text) > 20 or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least:,} to {most:,}")
        return int(text)

    return number


seed = whole(0, 2**64 - 1)


def add_digits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", metavar="FOLDER", help="where MNIST's files are; default: MNIST_S7_DATA, or data/")
    parser.add_argument("--dataset", choices=["mnist", "synthetic"], help="default: MNIST_S7_DATASET, or mnist")


def digits_of(arguments: argparse.Namespace) -> Digits:
    return load_digits(arguments.data, arguments.dataset)


def add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help=f"settings that make a variant, named after them: {', '.join(SETTINGS)}",
    )


def add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=Path, default=RUNS, metavar="FOLDER", help="default: runs/results")


def add_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a run of your own, .json or .safetensors, instead of a network that comes with the package",
    )


class ExperimentChanged(MnistS7Warning):
    """A network is used with weights that were trained before its experiment was changed."""


@dataclass(frozen=True)
class Trained:
    """A network with trained weights, and what these say of their run."""

    name: str
    model: nn.Module
    facts: dict[str, str]


def trained_networks(names: list[str], weights: list[Path]) -> list[Trained]:
    """Those of the package with these names, T4 where nothing is said; or those with these weights, of which an
    experiment of one's own has to be named.

    Raises `InvalidArgument` for a name without weights, and `WeightsError` for weights that are not of one of `names`.
    """
    experiments = {experiment.name: experiment for experiment in map(find_experiment, names)}
    if not weights:
        return [_of_package(name) for name in experiments or [SERIES[-1].name]]
    found = []
    for path in weights:
        run = run_path(path)
        if run == path or run.exists():
            stored = Run.load(run)
            model, facts = stored.model, stored.facts
        else:  # weights whose run's file is elsewhere
            model, facts = load_model(path), read_facts(path)
        if experiments and facts["experiment"] not in experiments:
            raise WeightsError(f"{path}: weights of {facts['experiment']}, and {', '.join(experiments)} was asked for")
        experiment = experiments.get(facts["experiment"])
        if experiment and facts["fingerprint"] != experiment.fingerprint:
            warnings.warn(
                f"{path}: {experiment.name} has been changed since these weights were trained; if its forward was, the "
                "answers are others",
                ExperimentChanged,
                stacklevel=2,
            )
        found.append(Trained(path.stem, model, facts))
    return found


def _of_package(name: str) -> Trained:
    if origin_of(name):
        raise InvalidArgument(
            f"{name} is not trained: `mnist-s7 train` does that, and --weights names the run that it leaves"
        )
    return Trained(name, pretrained(name), read_facts(pretrained_weights(name)))
