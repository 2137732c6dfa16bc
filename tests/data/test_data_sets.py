"""The data sets beside MNIST: read as torchvision reads them, in their own files, each with its own constants."""

import contextlib
import gzip
import os
import shutil

import pytest
import torch
from torchvision import datasets

from mnist_s7 import DigitsCorrupt, DigitsUnavailable, load_digits, transforms
from mnist_s7.data import DATA_SETS, normalization, normalization_of, places
from mnist_s7.data.datasets import INT

OTHERS = ["fashion-mnist", "kmnist", "emnist-digits", "qmnist"]
DEBIAN = "/usr/share/datasets/fashion-mnist"  # its package dataset-fashion-mnist


def torchvisions(option, root, train):
    """What torchvision's own loader reads: images and labels, as they are in the files."""
    match option:
        case "emnist-digits":
            return datasets.EMNIST(root, split="digits", train=train)
        case "qmnist":
            return datasets.QMNIST(root, train=train)
    return getattr(datasets, DATA_SETS[option].torchvision)(root, train=train)


@pytest.mark.parametrize("option", OTHERS)
def test_content_is_what_torchvision_reads(small_files, option):
    root = small_files(option).parent.parent

    digits = load_digits(root, option)

    assert (digits.name, digits.source) == (DATA_SETS[option].name, os.fspath(root))
    for train, images, labels in (
        (True, digits.train_images, digits.train_labels),
        (False, digits.test_images, digits.test_labels),
    ):
        theirs = torchvisions(option, root, train)
        # torchvision leaves EMNIST's images on their side
        assert torch.equal(images, theirs.data.transpose(1, 2) if option == "emnist-digits" else theirs.data)
        assert labels.tolist() == [theirs[i][1] for i in range(len(theirs))]


@pytest.mark.parametrize("option", OTHERS)
@pytest.mark.parametrize("layout", ["root", "raw", "folder of four"])
@pytest.mark.parametrize("kept", ["both", "extracted", "archives"])
def test_layouts(small_files, tmp_path, monkeypatch, option, layout, kept):
    raw = small_files(option)
    for path in list(raw.iterdir()):
        if kept != "both" and (path.suffix == ".gz") != (kept == "archives"):
            path.unlink()
    folder = {"root": raw.parent.parent, "raw": raw, "folder of four": tmp_path / "elsewhere"}[layout]
    if layout == "folder of four":
        shutil.copytree(raw, folder)
    monkeypatch.setenv("MNIST_S7_DATA", os.fspath(folder))
    monkeypatch.setenv("MNIST_S7_DATASET", option)

    digits = load_digits()

    assert (digits.name, len(digits.train_labels), len(digits.test_images)) == (DATA_SETS[option].name, 6, 4)


@pytest.mark.parametrize("option", OTHERS)
def test_missing_files_are_named(small_files, option):
    raw, file = small_files(option), DATA_SETS[option].files[1]
    for path in raw.glob(f"{file.name}*"):
        path.unlink()

    with pytest.raises(DigitsUnavailable) as error:
        load_digits(raw, option)

    assert f"3 of {DATA_SETS[option].name}'s four files are there; missing: {file.name} " in str(error.value)
    with pytest.raises(DigitsUnavailable, match=f"none of {DATA_SETS[option].name}'s four files"):
        load_digits(raw.parent, option)


@pytest.mark.parametrize("option", OTHERS)
def test_a_changed_archive_is_refused(small_files, option):
    raw, file = small_files(option), DATA_SETS[option].files[0]
    content = bytearray((raw / file.name).read_bytes())
    (raw / file.name).unlink()
    content[100] ^= 1
    (raw / f"{file.name}.gz").write_bytes(gzip.compress(content))

    with pytest.raises(DigitsCorrupt, match="its bytes differ, MD5") as error:
        load_digits(raw, option)
    assert (file.md5 or f"of its .gz {file.archive_md5}") in str(error.value)


def put(number, place):
    def damage(content):
        content[place] = number

    return damage


@pytest.mark.parametrize(
    ("file", "damage", "found"),
    [
        (0, put(7, 7), "its header gives other dimensions"),
        (0, lambda content: content.pop(), "cut short"),
        (0, put(1, 3), "holds labels where images belong"),
        (1, put(10, 8), "holds labels up to 10, and there are ten classes"),
    ],
)
def test_an_extracted_file_without_a_known_checksum_is_held_against_its_form(small_files, file, damage, found):
    raw = small_files("kmnist")
    path = raw / DATA_SETS["kmnist"].files[file].name
    path.with_name(f"{path.name}.gz").unlink()
    content = bytearray(path.read_bytes())
    damage(content)
    path.write_bytes(content)

    with pytest.raises(DigitsCorrupt, match=found) as error:
        load_digits(raw, "kmnist")
    assert str(error.value).startswith(os.fspath(path))


def test_the_files_of_another_data_set_are_named(idx_files, small_files):
    """Fashion-MNIST's files have the names of MNIST's."""
    small_files("fashion-mnist")

    with pytest.raises(DigitsCorrupt, match="its bytes differ, MD5 .*, which is MNIST's"):
        load_digits(idx_files, "fashion-mnist")


def test_checksums_of_the_archives_are_torchvisions():
    qmnist = datasets.QMNIST.resources["train"] + datasets.QMNIST.resources["test"]
    for option, resources in (("kmnist", datasets.KMNIST.resources), ("qmnist", qmnist)):
        known = {name.rpartition("/")[2]: md5 for name, md5 in resources}
        assert {f"{file.name}.gz": file.archive_md5 for file in DATA_SETS[option].files} == known


def test_classes_are_torchvisions():
    for option in ("fashion-mnist", "kmnist"):
        assert list(DATA_SETS[option].classes) == getattr(datasets, DATA_SETS[option].torchvision).classes
    assert list(DATA_SETS["emnist-digits"].classes) == datasets.EMNIST.classes_split_dict["digits"]


def test_sizes_are_those_of_the_published_files():
    """MNIST's are known; the others follow from the numbers of images."""
    sizes = [file.size for file in DATA_SETS["mnist"].files]

    assert sizes == [47_040_016, 60_008, 7_840_016, 10_008]
    assert [file.size for file in DATA_SETS["qmnist"].files] == [47_040_016, 1_920_012] * 2
    assert [file.kind for file in DATA_SETS["qmnist"].files[1::2]] == [INT, INT]


@pytest.mark.parametrize("option", DATA_SETS)
def test_constants_are_those_of_the_training_images(option):
    """Of every data set that is there, to the last decimal."""
    data_set = DATA_SETS[option]
    digits = any_digits(option)

    tolerance = 5e-4 if option == "emnist-digits" else 5e-5
    pixels = digits.train_images.double() / 255
    assert pixels.mean() == pytest.approx(data_set.mean, abs=tolerance)
    assert pixels.std() == pytest.approx(data_set.std, abs=tolerance)


def any_digits(option):
    """From a folder of this project's or Debian's that has them; names of files are the same in several data sets."""
    for folder in (os.environ.get("MNIST_S7_DATA"), places.DOWNLOADS, DEBIAN):
        with contextlib.suppress(DigitsUnavailable, DigitsCorrupt):
            return load_digits(folder or places.DOWNLOADS, option)
    pytest.skip(f"needs {DATA_SETS[option].name}'s files")


def test_mnists_constants_are_those_of_the_pipelines():
    assert normalization("MNIST") == (transforms.MEAN, transforms.STD)


def test_digits_of_another_kind_are_normalised_as_mnist():
    assert normalization("synthetic digits") == normalization("few digits") == normalization("MNIST")
    assert normalization("Fashion-MNIST validation") == normalization("Fashion-MNIST") == (0.2860, 0.3530)
    assert normalization_of(torch.nn.Identity()) == normalization("MNIST")
