"""What several commands ask for: numbers, digits, experiments and trained networks."""

import argparse
import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from mnist_s7 import InvalidArgument, MnistS7Warning
from mnist_s7.baselines import BASELINES
from mnist_s7.catalog import (
    ABLATIONS,
    find_experiment,
    origin_of,
    pretrained,
    pretrained_names,
    pretrained_weights,
)
from mnist_s7.catalog.own_files import split
from mnist_s7.data import DATASETS, Digits, load_digits
from mnist_s7.data.datasets import VALIDATION
from mnist_s7.experiments import SERIES, SETTINGS
from mnist_s7.results import (
    PUBLISHED,
    PUBLISHED_BASELINES,
    RUNS,
    PublishingRefused,
    Run,
    WeightsError,
    load_model,
    read_facts,
)
from mnist_s7.results.weights import run_path

FIGURES = RUNS.parent / "figures"

# Adds a command of this name, that does this, with this help.
Command = Callable[[str, Callable[[argparse.Namespace], int | None], str], argparse.ArgumentParser]

NAMES = ", ".join(experiment.name for experiment in (*SERIES, *ABLATIONS))
OWN = (
    f"a published network of others, as {BASELINES[0].name} is one (mnist_s7/baselines); or FILE.py:NAME, an "
    "Experiment or an nn.Module class of your own"
)


def whole(least: int, most: int) -> Callable[[str], int]:
    """For argparse: a whole number of this range."""

    def number(text: str) -> int:
        if not text.isdecimal() or len(text) > 20 or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least:,} to {most:,}")
        return int(text)

    return number


seed = whole(0, 2**64 - 1)


def add_digits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", metavar="FOLDER", help="where the data set's files are; default: MNIST_S7_DATA, or data/"
    )
    parser.add_argument("--dataset", choices=DATASETS, help="default: MNIST_S7_DATASET, or mnist")


def digits_of(arguments: argparse.Namespace, networks: Sequence["Trained"] = ()) -> Digits:
    """The digits that were asked for; where none were, those that all `networks` were trained on."""
    trained_on = {each.facts["dataset"].removesuffix(VALIDATION) for each in networks}
    own = [option for option, name in DATASETS.items() if {name} == trained_on]
    asked = arguments.dataset or os.environ.get("MNIST_S7_DATASET")
    return load_digits(arguments.data, arguments.dataset if asked or not own else own[0])


def refuse_misplaced(name: str, folder: Path) -> None:
    """Raise `PublishingRefused` where runs of a reader's experiment would go among the published ones, or those of the
    baselines among those of the series, or the other way round."""
    place = folder.resolve()
    if not place.is_relative_to(PUBLISHED.resolve()):
        return
    if origin_of(name):
        raise PublishingRefused(
            f"{folder}: runs of {name} are not published, as it is not the package's; choose another"
        )
    is_baseline = name in [baseline.name for baseline in BASELINES]
    if is_baseline != (place == PUBLISHED_BASELINES.resolve()):
        where = PUBLISHED_BASELINES if is_baseline else PUBLISHED
        raise PublishingRefused(f"{folder}: runs of {name} are not published there, but in {where}; name that")


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
    """Those of the package with these names, the last iteration where none is said; or those with these weights, of
    which an experiment of one's own has to be named.

    Raises `InvalidArgument` for a name without weights, and `WeightsError` for weights that are not of one of `names`.
    """
    if not weights:
        return [_of_package(name) for name in names or [pretrained_names()[-1]]]
    asked = {find_experiment(name).name for name in names}
    several = {path.stem for path in weights if [other.stem for other in weights].count(path.stem) > 1}
    found = []
    for path in weights:
        facts, model = _stored(path, asked)
        found.append(Trained(str(path) if path.stem in several else path.stem, model, facts))
    return found


def _stored(path: Path, asked: set[str]) -> tuple[dict[str, str], nn.Module]:
    """What the weights at `path`, or of the run there, say of their run; and their network."""
    run = run_path(path)
    stored = Run.load(run) if run == path or run.exists() else None  # else the run's file is elsewhere
    facts = stored.facts if stored else read_facts(path)
    name = facts["experiment"]
    if asked and not any(name == each or name.startswith(f"{each}-") for each in asked):
        raise WeightsError(f"{path}: weights of {name}, and {', '.join(sorted(asked))} was asked for")
    with suppress(InvalidArgument):  # raised where it is not known here, which its weights say better
        experiment = find_experiment(name)  # a variant by its settings may not have been made yet
        if facts["fingerprint"] != experiment.fingerprint:
            warnings.warn(
                f"{path}: {name} has been changed since these weights were trained; if its forward was, the answers "
                "are others",
                ExperimentChanged,
                stacklevel=2,
            )
    return facts, stored.model if stored else load_model(path)


def _of_package(name: str) -> Trained:
    if split(name) or origin_of(name):
        raise InvalidArgument(
            f"{find_experiment(name).name} is not trained: `mnist-s7 train` does that, and --weights names the run "
            "that it leaves"
        )
    return Trained(name, pretrained(name), read_facts(pretrained_weights(name)))
