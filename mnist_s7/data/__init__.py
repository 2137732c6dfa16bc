"""The digits: found, downloaded or drawn, and always checked before use.

Imports nothing else of the package. Open `digits` first, which says what `Digits` are; `mnist` finds MNIST's four files
or downloads them, `synthetic` draws other digits from matplotlib's fonts, and `places` says which folder is the
project's.
"""

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
from mnist_s7.data.mnist import NEEDS_MNIST, digits_or_synthetic, load_digits
from mnist_s7.data.places import PROJECT
from mnist_s7.data.synthetic import SYNTHETIC_DIGITS

__all__ = [
    "NEEDS_MNIST",
    "PROJECT",
    "SYNTHETIC_DIGITS",
    "Digits",
    "DigitsCorrupt",
    "DigitsError",
    "DigitsInvalid",
    "DigitsUnavailable",
    "check_images",
    "check_labels",
    "digits_or_synthetic",
    "load_digits",
    "validation_split",
]
