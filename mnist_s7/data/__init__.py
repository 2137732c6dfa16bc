"""The digits: found, downloaded or drawn, and always checked before use.

Imports nothing else of the package. Open `digits` first, which says what `Digits` are. `datasets` says which data sets
there are, with their files, classes and normalisation; `loading` has `load_digits`, for which `files` finds and checks
a data set's four files and `download` fetches them; `synthetic` draws digits from matplotlib's fonts, and `places` says
which folder is the project's.
"""

from mnist_s7.data.datasets import DATA_SETS, DataSet, find_data_set, normalization, normalization_of
from mnist_s7.data.digits import (
    Digits,
    DigitsCorrupt,
    DigitsError,
    DigitsInvalid,
    DigitsUnavailable,
    check_images,
    check_labels,
    validation_split,
)
from mnist_s7.data.loading import DATASETS, NEEDS_MNIST, digits_or_synthetic, load_digits, option_of
from mnist_s7.data.places import PROJECT
from mnist_s7.data.synthetic import SYNTHETIC_DIGITS

__all__ = [
    "DATASETS",
    "DATA_SETS",
    "NEEDS_MNIST",
    "PROJECT",
    "SYNTHETIC_DIGITS",
    "DataSet",
    "Digits",
    "DigitsCorrupt",
    "DigitsError",
    "DigitsInvalid",
    "DigitsUnavailable",
    "check_images",
    "check_labels",
    "digits_or_synthetic",
    "find_data_set",
    "load_digits",
    "normalization",
    "normalization_of",
    "option_of",
    "validation_split",
]
