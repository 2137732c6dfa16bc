"""`load_digits`: a data set's digits, from wherever they can be had."""

import os
from pathlib import Path

from mnist_s7 import InvalidArgument
from mnist_s7.data import files, places
from mnist_s7.data.datasets import DATA_SETS, MNIST
from mnist_s7.data.digits import Digits, DigitsUnavailable
from mnist_s7.data.download import download as download_files
from mnist_s7.data.synthetic import SYNTHETIC_DIGITS, synthetic_digits

SYNTHETIC = "synthetic"  # the option for the synthetic digits
DATASETS = {option: each.name for option, each in DATA_SETS.items()} | {SYNTHETIC: SYNTHETIC_DIGITS}  # their names

NEEDS_MNIST = "needs MNIST's files"  # a test that is skipped without them gives this reason


def load_digits(root: str | os.PathLike | None = None, dataset: str | None = None, download: bool = True) -> Digits:
    """The digits of a data set, checked byte for byte; or with `dataset="synthetic"` the synthetic digits.

    They are looked for in `root`, or else where the environment variable MNIST_S7_DATA points, or else in `data/`
    of the project's folder, into which they are downloaded if they are not there and `download` is true. `dataset` is
    one of `DATASETS`: "mnist", "fashion-mnist", "kmnist", "emnist-digits", "qmnist" or "synthetic". None stands for
    "mnist" with a `root`, and without one for the environment variable MNIST_S7_DATASET, or "mnist" where that is not
    set.

    Raises `DigitsUnavailable` where they cannot be had and `DigitsCorrupt` where a file is not the data set's; neither
    changes anything on disk. A place that was named, by argument or variable, is never passed over.
    """
    option = dataset or (MNIST.option if root else _asked())
    if option not in DATASETS:
        names = ", ".join(map(repr, DATASETS))
        raise InvalidArgument(f"dataset (or MNIST_S7_DATASET) is {option!r}: it should be one of {names}")
    if option == SYNTHETIC:
        return Digits(*synthetic_digits(), SYNTHETIC_DIGITS, "drawn from the fonts that matplotlib ships")

    data_set, root = DATA_SETS[option], root or os.environ.get("MNIST_S7_DATA")
    if root:
        found = files.find(data_set, Path(os.path.expanduser(root)), named=True)
        return files.read(data_set, found, source=os.fspath(root))
    try:
        found = files.find(data_set, places.DOWNLOADS, named=False)
    except DigitsUnavailable as error:
        if not download:
            raise DigitsUnavailable(f"{error}\n{files.remedies(data_set)}", named=False) from None
        download_files(data_set, places.DOWNLOADS / data_set.torchvision / "raw", because=str(error))
        found = files.find(data_set, places.DOWNLOADS, named=False)
    return files.read(data_set, found, source=os.fspath(places.DOWNLOADS))


def digits_or_synthetic() -> Digits:
    """The digits for a notebook: `load_digits()`, or where MNIST cannot be had and neither it nor a place was named,
    the synthetic digits, with a line that says so and why."""
    try:
        return load_digits()
    except DigitsUnavailable as error:
        if error.named or _asked() != MNIST.option:
            raise
        print(f"MNIST cannot be had here, so what follows is on synthetic digits, not on MNIST.\n{error}")
        return load_digits(dataset=SYNTHETIC)


def option_of(name: str) -> str:
    """What `load_digits` is asked for the digits of this name by: one of `DATASETS`."""
    return next(option for option, own in DATASETS.items() if own == name)


def _asked() -> str:
    return os.environ.get("MNIST_S7_DATASET") or MNIST.option
