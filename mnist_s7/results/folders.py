"""Where runs are: the published ones, by the digits that they were tested on, and everybody's own."""

import os
from pathlib import Path

from mnist_s7 import MnistS7Error
from mnist_s7.data import PROJECT, SYNTHETIC_DIGITS

MNIST = "MNIST"  # a run's dataset: tested on MNIST's test set
PUBLISHED = PROJECT / "notebooks" / "results"
PYTORCH_LAYERS = PUBLISHED / "pytorch-layers"  # runs on MNIST without the compiled layers, for comparison
VALIDATION = PUBLISHED / "validation"  # trained on 50,000 training images, tested on the other 10,000
PUBLISHED_BASELINES = PUBLISHED / "baselines"  # runs on MNIST of networks that others have published
SYNTHETIC = PUBLISHED / "synthetic"  # to compare others on the synthetic digits with; in no table
WEIGHTS = Path(__file__).resolve().parents[1] / "weights"  # of the runs that are shown: a link to PUBLISHED / "weights"
RUNS = PROJECT / "runs" / "results"  # for everything that is not to be published

STORED = {MNIST: PUBLISHED, f"{MNIST} validation": VALIDATION, SYNTHETIC_DIGITS: SYNTHETIC}
ALSO_STORED = {MNIST: (PYTORCH_LAYERS, PUBLISHED_BASELINES)}  # apart from the series' own runs

# The command line's options for runs on these digits.
OPTIONS = {f"{MNIST} validation": " --validation", SYNTHETIC_DIGITS: " --dataset synthetic"}


class PublishingRefused(MnistS7Error, ValueError):
    """A run was about to enter published results that it does not belong to."""


def stored_folder(dataset: str) -> Path | None:
    """Where this project's own runs on these digits are, for others to be compared with; None where there are none."""
    return STORED.get(dataset)


def results_folder(default: Path) -> Path:
    """The folder named by the environment variable MNIST_S7_RESULTS, or `default` where it is not set."""
    return Path(os.environ.get("MNIST_S7_RESULTS") or default)


def refuse_publishing(dataset: str, folder: str | os.PathLike) -> None:
    """Raise `PublishingRefused` where `folder`, however it is named, is among the published results and not where runs
    on this dataset are published."""
    place = Path(folder).resolve()
    if not place.is_relative_to(PUBLISHED.resolve()):
        return
    own = [path for path in (stored_folder(dataset), *ALSO_STORED.get(dataset, ())) if path]
    if place not in [path.resolve() for path in own]:
        where = f"published in {' or '.join(map(str, own))}" if own else f"published nowhere in {PUBLISHED}"
        raise PublishingRefused(f"{folder}: runs on {dataset} are {where}; name that, or a folder elsewhere")


def on_dataset(dataset: str) -> str:
    """What a title adds about the digits: nothing for MNIST's test set."""
    if dataset == MNIST:
        return ""
    return f"on the {dataset} set" if stored_folder(dataset) == VALIDATION else f"on {dataset}, not on MNIST"
