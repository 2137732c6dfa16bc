"""The data sets beside MNIST, downloaded as torchvision does it, from its own addresses replaced by local ones."""

import hashlib
import io
import zipfile

import pytest
import torch
from torchvision import datasets

from mnist_s7 import DigitsUnavailable, load_digits
from mnist_s7.data import DATA_SETS, places

OTHERS = ["fashion-mnist", "kmnist", "emnist-digits", "qmnist"]


@pytest.fixture
def published(small_files, serve, monkeypatch):
    """Publishes a data set's small files where torchvision looks for them; gives the digits in them."""

    def publish(option, way="good"):
        raw = small_files(option)
        archives = {path.name: path.read_bytes() for path in raw.glob("*.gz")}
        checksums = {name: hashlib.md5(content).hexdigest() for name, content in archives.items()}
        loader = getattr(datasets, DATA_SETS[option].torchvision)
        match option:
            case "emnist-digits":
                packed = io.BytesIO()
                with zipfile.ZipFile(packed, "w") as content:
                    content.writestr("gzip/emnist-letters-train-labels-idx1-ubyte.gz", b"of another split")
                    for name, archive in archives.items():
                        content.writestr(f"gzip/{name}", archive)
                monkeypatch.setattr(loader, "url", serve(way, {"gzip.zip": packed.getvalue()}) + "gzip.zip")
                monkeypatch.setattr(loader, "md5", hashlib.md5(packed.getvalue()).hexdigest())
            case "qmnist":
                address = serve(way, archives)
                resources = {
                    part: [(f"{address}{name}", checksums[name]) for name in sorted(archives) if f"-{part}-" in name]
                    for part in ("train", "test")
                }
                monkeypatch.setattr(loader, "resources", resources)
            case _:
                monkeypatch.setattr(loader, "mirrors", [serve(way, archives)])
                monkeypatch.setattr(loader, "resources", list(checksums.items()))
        return load_digits(raw, option)

    return publish


@pytest.mark.parametrize("option", OTHERS)
def test_what_is_downloaded_is_what_was_published(published, serve, option):
    expected = published(option)

    digits = load_digits(dataset=option)

    for part in ("train_images", "train_labels", "test_images", "test_labels"):
        assert torch.equal(getattr(digits, part), getattr(expected, part))
    data_set = DATA_SETS[option]
    names = {file.name if file.md5 else f"{file.name}.gz" for file in data_set.files}
    assert {path.name for path in (places.DOWNLOADS / data_set.torchvision / "raw").iterdir()} == names
    assert len(set(serve.asked)) == (1 if option == "emnist-digits" else 4)
    assert torch.equal(load_digits(dataset=option, download=False).test_images, expected.test_images)  # found there


@pytest.mark.parametrize("option", OTHERS)
@pytest.mark.parametrize("way", ["missing", "error-page", "half", "breaks"])
def test_a_failed_download_leaves_nothing_and_says_what_was_tried(published, option, way):
    published(option, way)

    with pytest.raises(DigitsUnavailable) as error:
        load_digits(dataset=option)

    name, folder = DATA_SETS[option].name, places.DOWNLOADS / DATA_SETS[option].torchvision / "raw"
    assert f"{name} was not found and could not be downloaded. Tried:" in str(error.value)
    assert f"/{way}/" in str(error.value)
    assert f"1. have {name}'s four files" in str(error.value)
    assert list(folder.iterdir()) == []
