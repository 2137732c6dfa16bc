"""Where runs are: the published ones, by the digits that they were tested on, and everybody's own."""

import os
from pathlib import Path

from mnist_s7 import MnistS7Error
from mnist_s7.data import DATA_SETS, DATASETS, PROJECT, SYNTHETIC_DIGITS, find_data_set
from mnist_s7.data.datasets import DIGITS, FASHION_MNIST
from mnist_s7.data.datasets import VALIDATION as OF_VALIDATION

MNIST = "MNIST"  # a run's dataset: tested on MNIST's test set
PUBLISHED = PROJECT / "notebooks" / "results"
PYTORCH_LAYERS = PUBLISHED / "pytorch-layers"  # runs on MNIST without the compiled layers, for comparison
VALIDATION = PUBLISHED / "validation"  # trained on 50,000 training images, tested on the other 10,000
FASHION = PUBLISHED / "fashion-mnist"  # trained and tested on Fashion-MNIST
PUBLISHED_BASELINES = PUBLISHED / "baselines"  # runs on MNIST of networks that others have published
SYNTHETIC = PUBLISHED / "synthetic"  # to compare others on the synthetic digits with; in no table
WEIGHTS = Path(__file__).resolve().parents[1] / "weights"  # of the runs that are shown: a link to PUBLISHED / "weights"
RUNS = PROJECT / "runs" / "results"  # for everything that is not to be published

STORED = {
    MNIST: PUBLISHED,
    f"{MNIST}{OF_VALIDATION}": VALIDATION,
    FASHION_MNIST.name: FASHION,
    SYNTHETIC_DIGITS: SYNTHETIC,
}
ALSO_STORED = {MNIST: (PYTORCH_LAYERS, PUBLISHED_BASELINES)}  # apart from the series' own runs

# The command line's options for runs on these digits.
OPTIONS = {name: f" --dataset {option}" if name != MNIST else "" for option, name in DATASETS.items()}
OPTIONS |= {f"{name}{OF_VALIDATION}": f"{option} --validation" for name, option in OPTIONS.items()}


class PublishingRefused(MnistS7Error, ValueError):
    """A run was about to enter published results that it does not belong to."""


def stored_folder(dataset: str) -> Path | None:
    """Where this project's own runs on these digits are, for others to be compared with; None where there are none."""
    return STORED.get(dataset)


def stored_teachers(dataset: str) -> Path | None:
    """Where the runs of what teaches the iterations on these digits are, with their weights."""
    folder = stored_folder(dataset)
    return folder and folder / "teachers"


def results_folder(default: Path) -> Path:
    """The folder named by the environment variable MNIST_S7_RESULTS, or `default` where it is not set."""
    return Path(os.environ.get("MNIST_S7_RESULTS") or default)


def refuse_publishing(dataset: str, folder: str | os.PathLike) -> None:
    """Raise `PublishingRefused` where `folder`, however it is named, is among the published results and not where runs
    on this dataset are published."""
    place = Path(folder).resolve()
    if not place.is_relative_to(PUBLISHED.resolve()):
        return
    folders = stored_folder(dataset), stored_teachers(dataset), *ALSO_STORED.get(dataset, ())
    own = [path for path in folders if path]
    if place not in [path.resolve() for path in own]:
        where = f"published in {' or '.join(map(str, own))}" if own else f"published nowhere in {PUBLISHED}"
        raise PublishingRefused(f"{folder}: runs on {dataset} are {where}; name that, or a folder elsewhere")


def class_names(dataset: str) -> tuple[str, ...]:
    """What the ten classes are called, by their labels: the digits themselves, or a data set's own names."""
    found = find_data_set(dataset)
    return found.classes if found else DIGITS


def class_noun(dataset: str) -> str:
    """`digit`, or `class` where the classes are something else."""
    return "digit" if class_names(dataset) == DIGITS else "class"


def has_targets(dataset: str) -> bool:
    """Whether the series' targets, the reference series and public networks are about these digits: MNIST's, and those
    that are to look like them; not another data set's."""
    return find_data_set(dataset) in (None, DATA_SETS["mnist"])


def on_dataset(dataset: str) -> str:
    """What a title adds about the digits: nothing for MNIST's test set."""
    if dataset == MNIST:
        return ""
    if find_data_set(dataset) is None:
        return f"on {dataset}, not on MNIST"
    return f"on the {dataset} set" if dataset.endswith(OF_VALIDATION) else f"on {dataset}"
