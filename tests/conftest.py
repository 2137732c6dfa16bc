import os
import shutil
import sys
import tempfile
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from mnist_s7 import SERIES, Digits, MnistS7Warning, cli, load_digits
from mnist_s7.bench import Benchmark, Cost
from mnist_s7.catalog import EXPERIMENTS, known
from mnist_s7.data import NEEDS_MNIST, DigitsUnavailable
from mnist_s7.kernels.library import load
from mnist_s7.results import NETWORKS
from mnist_s7.results.machine import side_by_side

WORKER_MEMORY = 1_500 << 20  # bytes: of one that trains, or has a notebook's kernel train


def pytest_configure(config):
    """Where there is no C compiler, the tests pass all the same: those of the compiled layers are skipped."""
    for warning in ("CompiledLayersMissing", "CompiledLayersNotKept"):  # named here, since pyproject.toml's imports it
        config.addinivalue_line("filterwarnings", f"ignore::mnist_s7.kernels.{warning}")
    with warnings.catch_warnings():
        warnings.simplefilter("default", MnistS7Warning)
        load()  # before other processes of the tests start, which then need not find out or compile


def pytest_xdist_auto_num_workers(config):
    """For `-n auto`: as many as cores and memory allow, and not so many that each hardly does more than start."""
    return side_by_side(8, WORKER_MEMORY)


@pytest.fixture(scope="session")
def mnist():
    """The real digits; tests that need them are skipped where there are none, and continuous integration has them."""
    try:
        return load_digits(dataset="mnist", download=False)
    except DigitsUnavailable as error:
        if error.named:
            raise
        pytest.skip(NEEDS_MNIST)


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

    from mnist_s7.data import mnist as data

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


@pytest.fixture
def mnist_s7(monkeypatch, capsys):
    """Runs a command line; gives its exit code, its output and its errors."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["mnist_s7", *map(str, arguments)])
        try:
            code = cli.main()
        except SystemExit as exit:
            code = exit.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def own_file(tmp_path):
    """Writes a Python file of a reader's own, and gives its path. Its experiments are forgotten afterwards."""

    def write(*parts, name="my_net.py"):
        path = tmp_path / name
        path.write_text("\n".join(map(textwrap.dedent, parts)))
        return path

    yield write
    for name in list(known._ORIGINS):
        for named in (known._ORIGINS, EXPERIMENTS, NETWORKS):
            named.pop(name, None)


@pytest.fixture
def measured() -> Benchmark:
    """A benchmark of two rounds with figures that are easy to check."""
    cost = {
        "baseline": [40.0, 60.0],
        "in_memory": [20.0, 30.0],
        "torch_compile": [30.0, 40.0],
        "package": [10.0, 20.0],
        "lower_bound": [5.0, 5.0],
        "each_core": [8.0, 6.0],
        "workers": 1,
        "lower_bound_setting": "float32, channels last",
        "peak_memory": 812.0,
        "shares": {"data": 25.0, "forward": 75.0},
        "by_batch_size": {"32": [30.0, 32.0], "2048": [8.0, 8.0]},
        "by_threads": {"1": [20.0, 20.0], "2": [10.0, 20.0]},
        "by_images": {"6000": [1.0, 1.5], "60000": [10.0, 15.0]},
    }
    machine = {"device": "a CPU", "system": "a system", "python": "3", "torch": "2", "kernels": "compiled"}
    return Benchmark(machine, 2, 2, 12_000, {experiment.name: Cost(**cost) for experiment in SERIES})


@pytest.fixture
def unprivileged():
    """A folder of the user `nobody`, with the process acting for that user where it was root: root may do anything."""
    folder = Path(tempfile.mkdtemp())
    was_root = os.geteuid() == 0
    if was_root:
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if was_root:
            os.seteuid(0)
        folder.chmod(0o700)
        shutil.rmtree(folder)
