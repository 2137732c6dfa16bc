import numpy as np
import pytest
import torch

from mnist_s7 import Digits, load_digits
from mnist_s7.data import DigitsUnavailable


@pytest.fixture(scope="session")
def mnist():
    """The real digits; tests that need them are skipped where there are none, and continuous integration has them."""
    try:
        return load_digits(download=False)
    except DigitsUnavailable as error:
        if error.named:
            raise
        pytest.skip(str(error).splitlines()[0])


@pytest.fixture(scope="session")
def few_digits():
    """Ten classes of blurred noise that a network can learn to tell apart: 512 to train on, 100 to test on."""
    generator = torch.Generator().manual_seed(0)
    patterns = torch.nn.functional.avg_pool2d(torch.rand(10, 1, 34, 34, generator=generator), 7, stride=1) * 400
    labels = torch.arange(612) % 10
    noise = 40 * torch.rand(612, 28, 28, generator=generator)
    images = (patterns[labels, 0] - 130 + noise).clamp(0, 255).byte()
    return Digits(images[:512], labels[:512], images[512:], labels[512:], "few digits", "made by the tests")


@pytest.fixture
def idx_files(tmp_path, monkeypatch):
    """A torchvision root with four small files, which `data` is told to take for MNIST's: 6 + 4 images."""
    from hashlib import md5

    from mnist_s7 import data

    raw = tmp_path / "root" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    random = np.random.default_rng(0)
    sizes = {}
    for part, n in (("train", 6), ("t10k", 4)):
        images, labels = random.integers(0, 256, (n, 28, 28), np.uint8), random.integers(0, 10, n, np.uint8)
        contents = {
            f"{part}-images-idx3-ubyte": b"\0\0\x08\x03" + np.array([n, 28, 28], ">i4").tobytes() + images.tobytes(),
            f"{part}-labels-idx1-ubyte": b"\0\0\x08\x01" + np.array([n], ">i4").tobytes() + labels.tobytes(),
        }
        for name, content in contents.items():
            (raw / name).write_bytes(content)
            sizes[name] = (len(content), md5(content).hexdigest())
    monkeypatch.setattr(data, "FILES", sizes)
    monkeypatch.setattr(data, "DOWNLOADS", tmp_path / "downloads")
    monkeypatch.delenv("MNIST_S7_DATA", raising=False)
    monkeypatch.delenv("MNIST_S7_DATASET", raising=False)
    return raw
