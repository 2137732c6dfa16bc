"""Where the digits come from: every layout, and every fault with its own message."""

import gzip
import hashlib
import os
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import MNIST

from mnist_s7 import DigitsCorrupt, DigitsUnavailable, InvalidArgument, load_digits
from mnist_s7.data import DATA_SETS, digits_or_synthetic, loading, places, validation_split

FILES = [file.name for file in DATA_SETS["mnist"].files]
IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def snapshot(folder):
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def test_real_mnist(mnist):
    assert mnist.train_images.shape == (60_000, 28, 28)
    assert mnist.test_images.shape == (10_000, 28, 28)
    assert mnist.train_images.dtype == mnist.test_images.dtype == torch.uint8
    assert mnist.train_labels.shape == (60_000,)
    assert mnist.train_labels.dtype == mnist.test_labels.dtype == torch.int64
    assert mnist.name == "MNIST"
    # the mean and standard deviation that the whole field normalises with
    assert (mnist.train_images / 255.0).mean() == pytest.approx(0.1307, abs=5e-5)
    assert (mnist.train_images / 255.0).std() == pytest.approx(0.3081, abs=5e-5)


def test_content_is_what_torchvision_reads(idx_files):
    root = idx_files.parent.parent
    digits = load_digits(root)

    theirs = MNIST(root, train=False)
    assert torch.equal(digits.test_images, theirs.data)
    assert torch.equal(digits.test_labels, theirs.targets)
    assert digits.train_images.shape == (6, 28, 28)


@pytest.mark.parametrize("layout", ["root", "raw", "folder of four"])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("named_by", ["argument", "variable"])
def test_layouts(idx_files, tmp_path, monkeypatch, layout, compressed, named_by):
    if compressed:
        for path in list(idx_files.iterdir()):
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    folder = {"root": idx_files.parent.parent, "raw": idx_files, "folder of four": tmp_path / "elsewhere"}[layout]
    if layout == "folder of four":
        shutil.copytree(idx_files, folder)

    if named_by == "variable":
        monkeypatch.setenv("MNIST_S7_DATA", os.fspath(folder))
    digits = load_digits(folder if named_by == "argument" else None)

    assert digits.train_labels.shape == (6,)
    assert digits.source == os.fspath(folder)


def test_argument_wins_over_variable(idx_files, monkeypatch, tmp_path):
    monkeypatch.setenv("MNIST_S7_DATA", os.fspath(tmp_path / "nowhere"))
    monkeypatch.setenv("MNIST_S7_DATASET", "synthetic")

    assert load_digits(idx_files, dataset="mnist").name == "MNIST"


def flip(path):
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)


def swap(path):
    other = path.with_name(LABELS)
    images, labels = path.read_bytes(), other.read_bytes()
    path.write_bytes(labels)
    other.write_bytes(images)


def compress_and_cut(path):
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes())[:-100])
    path.unlink()


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:1000]), "cut short, 1,000 bytes"),
        (lambda path: path.write_bytes(b""), "cut short, 0 bytes"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "4,721 bytes"),
        (flip, "its bytes differ, MD5"),
        (swap, "holds labels where images belong"),
        (lambda path: path.write_bytes(b"<html>not found</html>"), "not an IDX file"),
        (compress_and_cut, "not a whole gzip file"),
        (lambda path: path.rename(path.with_name(f"{path.name}.gz")), "not a whole gzip file"),
    ],
    ids=["truncated", "empty", "too long", "flipped byte", "swapped", "not IDX", "cut gzip", "not gzip"],
)
def test_a_corrupt_file_is_refused_and_left(idx_files, damage, found):
    expected = DATA_SETS["mnist"].files[0]
    damage(idx_files / IMAGES)
    before = snapshot(idx_files)

    with pytest.raises(DigitsCorrupt) as error:
        load_digits(idx_files)

    message = str(error.value)
    assert message.startswith(os.fspath(idx_files / IMAGES))
    assert found in message
    assert f"{expected.size:,} bytes" in message
    assert expected.md5 in message
    assert "put the right file in its place" in message
    assert snapshot(idx_files) == before


def test_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(DigitsUnavailable, match=r"nowhere .*does not exist"):
        load_digits(tmp_path / "nowhere")


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DigitsUnavailable, match=r"file .*is a file"):
        load_digits(tmp_path / "file")


def test_a_folder_without_the_files(tmp_path):
    with pytest.raises(DigitsUnavailable, match="none of MNIST's four files"):
        load_digits(tmp_path)


def test_one_of_four_files_missing(idx_files):
    (idx_files / LABELS).unlink()
    with pytest.raises(DigitsUnavailable, match=f"3 of MNIST's four files are there; missing: {LABELS} "):
        load_digits(idx_files.parent.parent)


def test_a_wrong_place_is_never_passed_over(idx_files, monkeypatch, tmp_path):
    """Not by the files in data/, and not by the synthetic digits of a notebook."""
    shutil.copytree(idx_files, places.DOWNLOADS)
    assert load_digits().source == os.fspath(places.DOWNLOADS)

    monkeypatch.setenv("MNIST_S7_DATA", os.fspath(tmp_path / "nowhere"))
    with pytest.raises(DigitsUnavailable):
        load_digits()
    with pytest.raises(DigitsUnavailable):
        digits_or_synthetic()


def test_an_unknown_dataset(monkeypatch):
    monkeypatch.setenv("MNIST_S7_DATASET", "fashion")
    with pytest.raises(ValueError, match="'fashion': it should be one of 'mnist', 'fashion-mnist', "):
        load_digits()


def test_an_unreadable_file(idx_files, unprivileged):
    for name in FILES:
        (unprivileged / name).touch()
    (unprivileged / IMAGES).chmod(0)

    with pytest.raises(DigitsUnavailable, match=rf"{IMAGES}: cannot be read \(Permission denied\)") as error:
        load_digits(unprivileged)
    assert "Three ways to fix it" in str(error.value)


@pytest.fixture
def mirrors(idx_files, serve, monkeypatch):
    """Names of mirrors -> torchvision is told to try these, in this order."""
    archives = {f"{name}.gz": gzip.compress((idx_files / name).read_bytes()) for name in FILES}
    checksums = [(name, hashlib.md5(content).hexdigest()) for name, content in archives.items()]
    monkeypatch.setattr(MNIST, "resources", checksums)

    def use(*names):
        monkeypatch.setattr(MNIST, "mirrors", [serve(name, archives) for name in names])

    return use


BROKEN = ["missing", "error-page", "half", "breaks"]


@pytest.mark.parametrize("first", BROKEN)
def test_download_goes_on_to_the_next_mirror(mirrors, first):
    mirrors(first, "good")

    digits = load_digits()

    assert digits.test_labels.shape == (4,)
    raw = places.DOWNLOADS / "MNIST" / "raw"
    assert sorted(path.name for path in raw.iterdir()) == sorted(FILES)
    assert load_digits(download=False).source == digits.source  # found there from now on


@pytest.mark.parametrize("only", BROKEN)
def test_a_failed_download_leaves_nothing_and_says_what_was_tried(mirrors, only):
    mirrors(only, only)

    with pytest.raises(DigitsUnavailable) as error:
        load_digits()

    assert str(error.value).count(f"/{only}/{IMAGES}.gz: ") == 2
    assert "MNIST_S7_DATASET=synthetic" in str(error.value)
    assert snapshot(places.DOWNLOADS) == {}
    assert list((places.DOWNLOADS / "MNIST" / "raw").iterdir()) == []


def test_download_fetches_only_what_is_missing(mirrors, serve, idx_files):
    raw = places.DOWNLOADS / "MNIST" / "raw"
    shutil.copytree(idx_files, raw)
    (raw / LABELS).unlink()
    mirrors("good")

    assert load_digits().train_labels.shape == (6,)
    assert set(serve.asked) == {f"/good/{LABELS}.gz"}


def test_a_corrupt_file_is_not_downloaded_over(mirrors, idx_files):
    shutil.copytree(idx_files, places.DOWNLOADS / "MNIST" / "raw")
    flip(places.DOWNLOADS / "MNIST" / "raw" / IMAGES)
    before = snapshot(places.DOWNLOADS)
    mirrors("good")

    with pytest.raises(DigitsCorrupt):
        load_digits()
    assert snapshot(places.DOWNLOADS) == before


def test_a_disk_that_takes_no_more(mirrors, capfd):
    """A limit on the size of files stands for a full disk: writing fails halfway through a file."""
    mirrors("good")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(DigitsUnavailable, match="File too large"):
            load_digits()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert snapshot(places.DOWNLOADS) == {}


def test_a_read_only_folder(mirrors, unprivileged, monkeypatch):
    mirrors("good")
    unprivileged.chmod(0o500)
    monkeypatch.setattr(places, "DOWNLOADS", unprivileged / "data")

    with pytest.raises(DigitsUnavailable, match=r"data/MNIST/raw: cannot be written \(Permission denied\)"):
        load_digits()
    unprivileged.chmod(0o700)


def test_without_download_it_says_so(idx_files):
    with pytest.raises(DigitsUnavailable, match="Three ways to fix it"):
        load_digits(download=False)
    assert not places.DOWNLOADS.exists()


def test_a_notebook_goes_on_with_synthetic_digits_and_says_so(mirrors, monkeypatch, capsys):
    mirrors("missing")
    made = (torch.zeros(1, 28, 28).byte(), torch.zeros(1).long()) * 2
    monkeypatch.setattr(loading, "synthetic_digits", lambda: made)

    assert digits_or_synthetic().name == "synthetic digits"
    assert "synthetic digits, not on MNIST" in capsys.readouterr().out


def test_arrays_are_writable_copies(idx_files):
    """A tensor on top of read-only memory would crash on an in-place operation."""
    digits = load_digits(idx_files)
    before = (idx_files / IMAGES).read_bytes()

    digits.train_images.zero_()

    assert (idx_files / IMAGES).read_bytes() == before
    assert np.all(digits.train_images.numpy() == 0)


def test_the_validation_set_is_the_last_images(idx_files):
    digits = load_digits(idx_files)

    validation = validation_split(digits, 2)

    assert torch.equal(torch.cat([validation.train_images, validation.test_images]), digits.train_images)
    assert validation.test_labels.shape == (2,)
    for count in (0, -1, 6, 7):
        with pytest.raises(
            InvalidArgument, match=f"count is {count}: of 6 training images, 1 to 5 can be the validation set"
        ):
            validation_split(digits, count)


@pytest.mark.parametrize("compressed", [False, True])
def test_names_with_a_dot(idx_files, compressed):
    """As archives on Kaggle have them: train-images.idx3-ubyte."""
    expected = load_digits(idx_files)
    for path in list(idx_files.iterdir()):
        dotted = path.rename(path.with_name(path.name.replace("-idx", ".idx")))
        if compressed:
            dotted.with_name(f"{dotted.name}.gz").write_bytes(gzip.compress(dotted.read_bytes()))
            dotted.unlink()

    assert torch.equal(load_digits(idx_files).test_images, expected.test_images)


@pytest.fixture
def npz(idx_files):
    """A folder with Keras's one file, and its arrays."""
    digits = load_digits(idx_files)
    arrays = {
        "x_train": digits.train_images.numpy(),
        "y_train": digits.train_labels.numpy().astype(np.uint8),
        "x_test": digits.test_images.numpy(),
        "y_test": digits.test_labels.numpy().astype(np.uint8),
    }
    for path in idx_files.iterdir():
        path.unlink()
    np.savez_compressed(idx_files / "mnist.npz", **arrays)
    return idx_files, digits, arrays


@pytest.mark.parametrize("compressed", [False, True])
def test_keras_npz(npz, compressed):
    folder, expected, arrays = npz
    (np.savez_compressed if compressed else np.savez)(folder / "mnist.npz", **arrays)

    digits = load_digits(folder)

    for name in ("train_images", "train_labels", "test_images", "test_labels"):
        assert torch.equal(getattr(digits, name), getattr(expected, name))


def flip_pixel(arrays):
    arrays["x_test"][0, 0, 0] ^= 1


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (flip_pixel, "its bytes differ, MD5"),
        (lambda arrays: arrays.pop("y_test"), "not a whole npz file with this array .*y_test"),
        (lambda arrays: arrays.update(y_test=arrays["y_test"].astype(int)), "y_test is int64 .*should be uint8"),
        (lambda arrays: arrays.update(x_train=arrays["x_train"][1:]), r"x_train is uint8 \(5, 28, 28\)"),
        (lambda arrays: arrays.update(y_train=np.array([None])), "not a whole npz file"),
    ],
)
def test_a_changed_npz_is_refused_and_left(npz, damage, found):
    folder, _, arrays = npz
    damage(arrays)
    np.savez(folder / "mnist.npz", **arrays)
    before = snapshot(folder)

    with pytest.raises(DigitsCorrupt, match=rf"mnist\.npz: .*{found}"):
        load_digits(folder)
    assert snapshot(folder) == before


@pytest.mark.parametrize("content", [b"", b"PK\3\4 cut", b"<html>"])
def test_what_is_no_npz(npz, content):
    folder, _, _ = npz
    (folder / "mnist.npz").write_bytes(content)

    with pytest.raises(DigitsCorrupt, match="not a whole npz file"):
        load_digits(folder)


def test_the_real_arrays_pass_as_keras_npz(mnist, tmp_path):
    arrays = {"x_train": mnist.train_images, "x_test": mnist.test_images}
    arrays |= {"y_train": mnist.train_labels.byte(), "y_test": mnist.test_labels.byte()}
    np.savez(tmp_path / "mnist.npz", **{name: array.numpy() for name, array in arrays.items()})

    assert torch.equal(load_digits(tmp_path, "mnist").test_images, mnist.test_images)
