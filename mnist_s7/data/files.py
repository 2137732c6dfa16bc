"""A data set's four files: found in a folder, and checked before they are used."""

import gzip
import hashlib
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.lib.npyio import NpzFile

from mnist_s7.data import places
from mnist_s7.data.datasets import DATA_SETS, INT, UBYTE, DataSet, IdxFile
from mnist_s7.data.digits import Digits, DigitsCorrupt, DigitsUnavailable

NPZ_ARRAYS = ("x_train", "y_train", "x_test", "y_test")  # Keras's names, in the order of a data set's files
DTYPES = {UBYTE: np.dtype(np.uint8), INT: np.dtype(">i4")}


def remedies(data_set: DataSet) -> str:
    """What to do where the files cannot be had."""
    return f"""Three ways to fix it:
  1. have {data_set.name}'s four files, set MNIST_S7_DATA to their folder (a torchvision root, its
     {data_set.torchvision}/raw, or any folder that holds the four, .gz or not{_or_npz(data_set)});
  2. connect this machine to the network, and they are downloaded into {places.DOWNLOADS};
  3. set MNIST_S7_DATASET=synthetic, and go on with synthetic digits drawn from matplotlib's fonts."""


def _or_npz(data_set: DataSet) -> str:
    return f", or {data_set.npz}" if data_set.npz else ""


def find(data_set: DataSet, folder: Path, named: bool) -> dict[IdxFile, Path]:
    """The paths of the four files in whichever of the layouts `folder` has, or that of the .npz file for each. `named`
    tells whether it was given by argument or variable. Raises `DigitsUnavailable` where they are not all there."""
    name, raw = data_set.name, f"{data_set.torchvision}/raw"
    if not os.path.isdir(folder):  # False also where it may not be looked for
        found = "is a file" if os.path.exists(folder) else "does not exist, or may not be looked into"
        raise DigitsUnavailable(
            f"{_place(folder, named)}: the folder with {name}'s files {found}; name one that holds them, or none, "
            f"to have them looked for in {places.DOWNLOADS.name}/ and downloaded",
            named,
        )
    for place in (folder / raw, folder):
        found = {file: path for file in data_set.files if (path := _path(file, place))}
        if len(found) == len(data_set.files):
            return found
        if data_set.npz and os.path.isfile(place / data_set.npz):
            return dict.fromkeys(data_set.files, place / data_set.npz)
        if found:
            missing = ", ".join(file.name for file in data_set.files if file not in found)
            raise DigitsUnavailable(
                f"{_place(place, named)}: {len(found)} of {name}'s four files are there; "
                f"missing: {missing} (each with or without .gz): put them there, too",
                named,
            )
    raise DigitsUnavailable(
        f"{_place(folder, named)}: none of {name}'s four files is in it or in its {raw}; expected "
        f"{', '.join(file.name for file in data_set.files)}, each with or without .gz{_or_npz(data_set)}: put them "
        "there, or name another folder",
        named,
    )


def _path(file: IdxFile, place: Path) -> Path | None:
    # The one that has a checksum to be held against comes first.
    endings = ("", ".gz") if file.md5 else (".gz", "")
    names = file.name, file.name.replace("-idx", ".idx")  # as in archives on Kaggle
    paths = (place / f"{name}{ending}" for ending in endings for name in names)
    return next((path for path in paths if os.path.isfile(path)), None)  # False also where it may not be looked into


def _place(folder: Path, named: bool) -> str:
    return f"{folder} (named by argument or MNIST_S7_DATA)" if named else os.fspath(folder)


def read(data_set: DataSet, paths: dict[IdxFile, Path], source: str) -> Digits:
    """The digits of the four files. Raises as `checked`."""
    train_images, train_labels, test_images, test_labels = (
        _tensor(data_set, file, checked(data_set, file, path)) for file, path in paths.items()
    )
    return Digits(train_images, train_labels, test_images, test_labels, data_set.name, source)


def _tensor(data_set: DataSet, file: IdxFile, values: np.ndarray) -> torch.Tensor:
    """Images uint8 (N, 28, 28), upright, or labels int64 (N,)."""
    if file.holds_images:
        images = torch.from_numpy(values)
        return images.transpose(1, 2).contiguous() if data_set.transposed else images
    classes = values if values.ndim == 1 else values[:, 0]
    return torch.from_numpy(classes.astype(np.int64))


def checked(data_set: DataSet, file: IdxFile, path: Path) -> np.ndarray:
    """The elements of the IDX file, found at `path`, in its shape, once its bytes are the data set's own.

    By the MD5 of the extracted file or of the .gz, whichever is known; a file extracted from a .gz whose MD5 alone is
    known is held against its size, its header and the range of its labels.

    Raises `DigitsCorrupt` where it is another file, and `DigitsUnavailable` where it cannot be read.
    """
    md5 = file.md5 or file.archive_md5

    def corrupt(found: str) -> DigitsCorrupt:
        of = "" if file.md5 else " of its .gz"
        return DigitsCorrupt(
            f"{path}: {found}. Expected {file.name} of {data_set.name}, {file.size:,} bytes extracted, MD5{of} {md5}. "
            "It was left as it is: put the right file in its place"
        )

    try:
        if path.suffix == ".npz":
            stored = content = _from_npz(path, NPZ_ARRAYS[data_set.files.index(file)], file)
        else:
            stored = content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(stored)
    except (gzip.BadGzipFile, zipfile.BadZipFile, EOFError, zlib.error, ValueError, KeyError) as error:
        kind = "npz file with this array" if path.suffix == ".npz" else "gzip file"
        raise corrupt(f"not a whole {kind} ({error})") from error
    except OSError as error:
        raise DigitsUnavailable(
            f"{path}: cannot be read ({error.strerror})\n{remedies(data_set)}", named=True
        ) from error

    magic = file.header[:4]
    own, other = ("images", "labels") if file.holds_images else ("labels", "images")
    if content[:4] in {each.header[:4] for each in data_set.files} - {magic}:
        raise corrupt(f"holds {other} where {own} belong (swapped?)")
    if len(content) < file.size and magic.startswith(content[:4]):
        raise corrupt(f"cut short, {len(content):,} bytes")
    if content[:4] != magic:
        raise corrupt(f"not an IDX file of the right kind, it begins with the bytes {content[:4].hex(' ') or '(none)'}")
    if len(content) != file.size:
        raise corrupt(f"{len(content):,} bytes")
    compared = content if file.md5 else stored if path.suffix == ".gz" else None
    if compared is not None and (found := _md5(compared)) != md5:
        raise corrupt(f"its bytes differ, MD5 {found}{_whose(content)}")
    values = np.frombuffer(bytearray(content), DTYPES[file.kind], offset=len(file.header)).reshape(file.shape)
    if content[: len(file.header)] != file.header:
        raise corrupt("its header gives other dimensions")
    if not file.holds_images and (highest := values.reshape(len(values), -1)[:, 0].max()) > 9:
        raise corrupt(f"holds labels up to {highest}, and there are ten classes, 0 to 9")
    return values


def _from_npz(path: Path, name: str, file: IdxFile) -> bytes:
    """What the IDX file would hold: its own header, and the array's elements. An .npz is compressed anew by whoever
    writes it, so that its own bytes say nothing. Raises `ValueError` for an array of another kind."""
    with path.open("rb") as opened, NpzFile(opened) as arrays:
        values = arrays[name]
    if (values.dtype, values.shape) != (DTYPES[file.kind], file.shape):
        raise ValueError(f"{name} is {values.dtype} {values.shape}, and should be {DTYPES[file.kind]} {file.shape}")
    return file.header + values.tobytes()


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _whose(content: bytes) -> str:
    """`, which is KMNIST's`, where the extracted content is known to be: several data sets share names of files."""
    found = _md5(content)
    owner = next((each.name for each in DATA_SETS.values() if found in {file.md5 for file in each.files}), None)
    return f", which is {owner}'s" if owner else ""
