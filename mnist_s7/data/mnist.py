"""MNIST's four files: found or downloaded, and checked byte for byte."""

import gzip
import hashlib
import os
import socket
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from mnist_s7 import InvalidArgument
from mnist_s7.data.digits import Digits, DigitsCorrupt, DigitsUnavailable
from mnist_s7.data.places import PROJECT
from mnist_s7.data.synthetic import SYNTHETIC_DIGITS, synthetic_digits

DOWNLOADS = PROJECT / "data"
MIRROR_TIMEOUT = 30  # seconds of silence after which a mirror counts as broken

# The extracted files' bytes and MD5; the first four bytes of an IDX file give its element type and dimensions
# (Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", file formats).
FILES = {
    "train-images-idx3-ubyte": (47_040_016, "6bbc9ace898e44ae57da46a324031adb"),
    "train-labels-idx1-ubyte": (60_008, "a25bea736e30d166cdddb491f175f624"),
    "t10k-images-idx3-ubyte": (7_840_016, "2646ac647ad5339dbf082846283269ea"),
    "t10k-labels-idx1-ubyte": (10_008, "27ae3e4e09519cfbb04c329615203637"),
}
IMAGES_MAGIC, LABELS_MAGIC = b"\0\0\x08\x03", b"\0\0\x08\x01"

NEEDS_MNIST = "needs MNIST's files"  # a test that is skipped without them gives this reason

REMEDIES = f"""Three ways to fix it:
  1. have MNIST's four files, set MNIST_S7_DATA to their folder (a torchvision root, its MNIST/raw, or any
     folder that holds the four, .gz or not);
  2. connect this machine to the network, and they are downloaded into {DOWNLOADS};
  3. set MNIST_S7_DATASET=synthetic, and go on with synthetic digits drawn from matplotlib's fonts."""


def load_digits(root: str | os.PathLike | None = None, dataset: str | None = None, download: bool = True) -> Digits:
    """MNIST's digits, checked byte for byte; or with `dataset="synthetic"` the synthetic digits.

    They are looked for in `root`, or else where the environment variable MNIST_S7_DATA points, or else in `data/`
    of the project's folder, into which they are downloaded if they are not there and `download` is true. `dataset` is
    "mnist" or "synthetic"; None stands for "mnist" with a `root`, and without one for the environment variable
    MNIST_S7_DATASET, or "mnist" where that is not set.

    Raises `DigitsUnavailable` where they cannot be had and `DigitsCorrupt` where a file is not MNIST's; neither
    changes anything on disk. A place that was named, by argument or variable, is never passed over.
    """
    dataset = dataset or ("mnist" if root else os.environ.get("MNIST_S7_DATASET") or "mnist")
    if dataset == "synthetic":
        return Digits(*synthetic_digits(), SYNTHETIC_DIGITS, "drawn from the fonts that matplotlib ships")
    if dataset != "mnist":
        raise InvalidArgument(f"dataset (or MNIST_S7_DATASET) is {dataset!r}: it should be 'mnist' or 'synthetic'")

    root = root or os.environ.get("MNIST_S7_DATA")
    if root:
        return _read(_find(Path(os.path.expanduser(root)), named=True), source=os.fspath(root))
    try:
        files = _find(DOWNLOADS, named=False)
    except DigitsUnavailable as error:
        if not download:
            raise DigitsUnavailable(f"{error}\n{REMEDIES}", named=False) from None
        _download(DOWNLOADS / "MNIST" / "raw", because=str(error))
        files = _find(DOWNLOADS, named=False)
    return _read(files, source=os.fspath(DOWNLOADS))


def digits_or_synthetic() -> Digits:
    """The digits for a notebook: `load_digits()`, or where MNIST cannot be had and no place was named, the
    synthetic digits, with a line that says so and why."""
    try:
        return load_digits()
    except DigitsUnavailable as error:
        if error.named:
            raise
        print(f"MNIST cannot be had here, so what follows is on synthetic digits, not on MNIST.\n{error}")
        return load_digits(dataset="synthetic")


def _find(folder: Path, named: bool) -> dict[str, Path]:
    """The paths of the four files in whichever of the three layouts `folder` has."""
    if not os.path.isdir(folder):  # False also where it may not be looked for
        found = "is a file" if os.path.exists(folder) else "does not exist, or may not be looked into"
        raise DigitsUnavailable(
            f"{_place(folder, named)}: the folder with MNIST's files {found}; name one that holds them, or none, "
            f"to have them looked for in {DOWNLOADS.name}/ and downloaded",
            named,
        )
    for place in (folder / "MNIST" / "raw", folder):
        found = {}
        for name in FILES:
            for path in (place / name, place / f"{name}.gz"):
                if os.path.isfile(path):  # False also where the folder may not be looked into
                    found.setdefault(name, path)
        if missing := [name for name in FILES if name not in found]:
            if found:
                raise DigitsUnavailable(
                    f"{_place(place, named)}: {len(found)} of MNIST's four files are there; "
                    f"missing: {', '.join(missing)} (each with or without .gz): put them there, too",
                    named,
                )
        else:
            return found
    raise DigitsUnavailable(
        f"{_place(folder, named)}: none of MNIST's four files is in it or in its MNIST/raw; expected "
        f"{', '.join(FILES)}, each with or without .gz: put them there, or name another folder",
        named,
    )


def _place(folder: Path, named: bool) -> str:
    return f"{folder} (named by argument or MNIST_S7_DATA)" if named else os.fspath(folder)


def _read(files: dict[str, Path], source: str) -> Digits:
    train_images, train_labels, test_images, test_labels = (_checked(name, path) for name, path in files.items())
    return Digits(
        train_images=torch.from_numpy(train_images).view(-1, 28, 28),
        train_labels=torch.from_numpy(train_labels).long(),
        test_images=torch.from_numpy(test_images).view(-1, 28, 28),
        test_labels=torch.from_numpy(test_labels).long(),
        name="MNIST",
        source=source,
    )


def _checked(name: str, path: Path) -> np.ndarray:
    """The elements of the IDX file `name`, found at `path`, as flat uint8, once its bytes are MNIST's own."""

    def corrupt(found: str) -> DigitsCorrupt:
        return DigitsCorrupt(
            f"{path}: {found}. Expected {name} of MNIST, {size:,} bytes extracted, MD5 {md5}. It was left as it is: "
            "put the right file in its place"
        )

    size, md5 = FILES[name]
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise corrupt(f"not a whole gzip file ({error})") from error
    except OSError as error:
        raise DigitsUnavailable(f"{path}: cannot be read ({error.strerror})\n{REMEDIES}", named=True) from error

    magic, other = (IMAGES_MAGIC, LABELS_MAGIC) if "images" in name else (LABELS_MAGIC, IMAGES_MAGIC)
    if content[:4] == other:
        kinds = ("images", "labels") if "images" in name else ("labels", "images")
        raise corrupt("holds {1} where {0} belong (swapped?)".format(*kinds))
    if len(content) < size and magic.startswith(content[:4]):
        raise corrupt(f"cut short, {len(content):,} bytes")
    if content[:4] != magic:
        raise corrupt(f"not an IDX file of the right kind, it begins with the bytes {content[:4].hex(' ') or '(none)'}")
    if len(content) != size:
        raise corrupt(f"{len(content):,} bytes")
    if (found := hashlib.md5(content, usedforsecurity=False).hexdigest()) != md5:
        raise corrupt(f"its bytes differ, MD5 {found}")
    header = 4 + 4 * magic[3]  # the magic number, then four bytes for each dimension
    return np.frombuffer(bytearray(content), dtype=np.uint8, offset=header)


def _download(folder: Path, because: str) -> None:
    """Have torchvision fetch the four files into `folder`: each arrives there whole and checked, or not at all."""
    from torchvision.datasets import MNIST  # here, since who has the files needs none of it

    tried = [because]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as scratch,
            _timeout(MIRROR_TIMEOUT),
        ):
            for archive, md5 in MNIST.resources:
                name = archive.removesuffix(".gz")
                if not (folder / name).exists() and not (folder / archive).exists():
                    urls = [f"{mirror}{archive}" for mirror in MNIST.mirrors]
                    os.replace(_fetch(name, urls, md5, Path(scratch), tried), folder / name)
    except OSError as error:
        tried.append(f"{folder}: cannot be written ({error.strerror or error})")
        raise DigitsUnavailable(_unavailable(tried), named=False) from error


def _fetch(name: str, urls: list[str], md5: str, scratch: Path, tried: list[str]) -> Path:
    """The extracted file `name` in a folder of its own under `scratch`, from the first of `urls` that has it right."""
    from torchvision.datasets.utils import download_and_extract_archive

    for number, url in enumerate(urls):
        place = scratch / f"{name}-{number}"  # torchvision keeps what it finds, also a broken part from before
        try:
            download_and_extract_archive(url, download_root=place, filename=url.rpartition("/")[2], md5=md5)
            _checked(name, place / name)
            return place / name
        except Exception as error:  # whatever a mirror, a proxy or the disk came up with, the next one is tried
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            tried.append(f"{url}: {reason}")
    raise DigitsUnavailable(_unavailable(tried), named=False)


def _unavailable(tried: list[str]) -> str:
    return "\n  ".join(["MNIST was not found and could not be downloaded. Tried:", *tried]) + f"\n{REMEDIES}"


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    """torchvision opens its connections without a time limit, and would wait for a silent mirror for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
