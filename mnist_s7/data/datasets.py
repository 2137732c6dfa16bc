"""The data sets of ten classes and 28x28 pixels that come as IDX files: their files, classes and normalisation.

File names, folders and addresses are those of torchvision's loaders, so that a folder serves both.
"""

import math
import struct
from dataclasses import dataclass
from functools import cached_property

from torch import nn

# Type codes of an IDX file and the bytes of an element (Y. LeCun, C. Cortes, C. Burges, "The MNIST database of
# handwritten digits", file formats).
UBYTE, INT = 0x08, 0x0C
ELEMENT_BYTES = {UBYTE: 1, INT: 4}


@dataclass(frozen=True)
class IdxFile:
    """One file as it should be. `md5` is that of the extracted file; where nobody has published it, `archive_md5` is
    that of the .gz, which torchvision has."""

    name: str
    shape: tuple[int, ...]
    md5: str | None = None
    archive_md5: str | None = None
    kind: int = UBYTE

    @cached_property
    def header(self) -> bytes:
        """The magic number, whose last byte counts the dimensions, and the dimensions, big-endian."""
        return bytes((0, 0, self.kind, len(self.shape))) + struct.pack(f">{len(self.shape)}i", *self.shape)

    @property
    def size(self) -> int:
        """Bytes of the extracted file."""
        return len(self.header) + ELEMENT_BYTES[self.kind] * math.prod(self.shape)

    @property
    def holds_images(self) -> bool:
        return len(self.shape) == 3


@dataclass(frozen=True)
class DataSet:
    """Four IDX files, and what is to be known about them.

    `option` is its name on the command line, `torchvision` that of torchvision's class, whose folder has the same name.
    `files` are training images, training labels, test images, test labels. `mean` and `std` are those of all pixels of
    the training images, scaled to 0..1. `transposed` says that the files hold each image with rows and columns swapped.
    `npz` is a file of NumPy's that holds the same as the four.
    """

    option: str
    name: str
    torchvision: str
    files: tuple[IdxFile, IdxFile, IdxFile, IdxFile]
    classes: tuple[str, ...]
    mean: float
    std: float
    transposed: bool = False
    npz: str | None = None


DIGITS = tuple("0123456789")


def _named_as_mnist(**checksums: tuple[str, str, str, str]) -> tuple[IdxFile, ...]:
    """The four files as MNIST names them, with their `md5` or their `archive_md5`."""
    shapes = {
        "train-images-idx3-ubyte": (60_000, 28, 28),
        "train-labels-idx1-ubyte": (60_000,),
        "t10k-images-idx3-ubyte": (10_000, 28, 28),
        "t10k-labels-idx1-ubyte": (10_000,),
    }
    [(kind, four)] = checksums.items()
    return tuple(IdxFile(*file, **{kind: md5}) for file, md5 in zip(shapes.items(), four, strict=True))


MNIST = DataSet(
    option="mnist",
    name="MNIST",
    torchvision="MNIST",
    files=_named_as_mnist(
        md5=(
            "6bbc9ace898e44ae57da46a324031adb",
            "a25bea736e30d166cdddb491f175f624",
            "2646ac647ad5339dbf082846283269ea",
            "27ae3e4e09519cfbb04c329615203637",
        ),
    ),
    classes=DIGITS,
    mean=0.1307,
    std=0.3081,
    npz="mnist.npz",  # Keras's, in ~/.keras/datasets
)

FASHION_MNIST = DataSet(
    option="fashion-mnist",
    name="Fashion-MNIST",
    torchvision="FashionMNIST",
    files=_named_as_mnist(
        md5=(
            "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "9018921c3c673c538a1fc5bad174d6f9",
            "8181f5470baa50b63fa0f6fddb340f0a",
            "15d484375f8d13e6eb1aabb0c3f46965",
        ),
    ),
    classes=(
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    mean=0.2860,
    std=0.3530,
)

KMNIST = DataSet(
    option="kmnist",
    name="KMNIST",
    torchvision="KMNIST",
    files=_named_as_mnist(
        archive_md5=(
            "bdb82020997e1d708af4cf47b453dcf7",
            "e144d726b3acfaa3e44228e80efcd344",
            "5c965bf0a639b31b8f53240b1b52f4d7",
            "7320c461ea6c1c855c0b718fb2a4b134",
        ),
    ),
    classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    mean=0.1918,  # as published; the files were not at hand to compute them
    std=0.3483,
)

# The .gz files' MD5s are those that the library numpyvision lists for its EMNIST; torchvision has the whole zip's.
EMNIST_DIGITS = DataSet(
    option="emnist-digits",
    name="EMNIST digits",
    torchvision="EMNIST",
    files=(
        IdxFile(
            "emnist-digits-train-images-idx3-ubyte", (240_000, 28, 28), archive_md5="d2662ecdc47895a6bbfce25de9e9a677"
        ),
        IdxFile("emnist-digits-train-labels-idx1-ubyte", (240_000,), archive_md5="2223fcfee618ac9c89ef20b6e48bcf9e"),
        IdxFile(
            "emnist-digits-test-images-idx3-ubyte", (40_000, 28, 28), archive_md5="a159b8b3bd6ab4ed4793c1cb71a2f5cc"
        ),
        IdxFile("emnist-digits-test-labels-idx1-ubyte", (40_000,), archive_md5="8afde66ea51d865689083ba6bb779fac"),
    ),
    classes=DIGITS,
    mean=0.173,  # Lightning Bolts, emnist_normalization("digits"), which has three decimals
    std=0.332,
    transposed=True,
)

# Tested on all 60,000 test images, as torchvision's QMNIST(train=False) is: the first 10,000 correspond to MNIST's test
# set, and the other 50,000 are what QMNIST adds. A label is eight numbers, the first of which is the class.
QMNIST = DataSet(
    option="qmnist",
    name="QMNIST",
    torchvision="QMNIST",
    files=(
        IdxFile("qmnist-train-images-idx3-ubyte", (60_000, 28, 28), archive_md5="ed72d4157d28c017586c42bc6afe6370"),
        IdxFile("qmnist-train-labels-idx2-int", (60_000, 8), archive_md5="0058f8dd561b90ffdd0f734c6a30e5e4", kind=INT),
        IdxFile("qmnist-test-images-idx3-ubyte", (60_000, 28, 28), archive_md5="1394631089c404de565df7b7aeaf9412"),
        IdxFile("qmnist-test-labels-idx2-int", (60_000, 8), archive_md5="5b5b05890a5e13444e108efe57b788aa", kind=INT),
    ),
    classes=DIGITS,
    mean=MNIST.mean,  # its training images are MNIST's, reconstructed
    std=MNIST.std,
)

DATA_SETS = {each.option: each for each in (MNIST, FASHION_MNIST, KMNIST, EMNIST_DIGITS, QMNIST)}

VALIDATION = " validation"  # what `validation_split` adds to the name of the digits


def find_data_set(name: str) -> DataSet | None:
    """The data set that digits of this name are of, a validation set's among them; None for all others."""
    own = name.removesuffix(VALIDATION)
    return next((each for each in DATA_SETS.values() if each.name == own), None)


def normalization(name: str) -> tuple[float, float]:
    """Mean and standard deviation by which networks for digits of this name have their pixels normalised, in 0..1:
    the data set's own, or MNIST's for digits of another kind, which are to look like MNIST's."""
    found = find_data_set(name) or MNIST
    return found.mean, found.std


def normalization_of(model: nn.Module) -> tuple[float, float]:
    """`normalization` for the digits that the network was trained on, which its attribute `trained_on` names. `fit`
    and `load_model` set it; a network that has none is taken for one of MNIST's."""
    return normalization(getattr(model, "trained_on", MNIST.name))
