import dataclasses
import gzip
import hashlib
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
def small_files(tmp_path, monkeypatch):
    """Writes a data set's four files with 6 + 4 images into a torchvision root, and has them taken for its own: gives
    their folder. Its checksums are known where those of the real files are."""
    from mnist_s7.data import DATA_SETS, places

    monkeypatch.setattr(places, "DOWNLOADS", tmp_path / "downloads")
    monkeypatch.delenv("MNIST_S7_DATA", raising=False)
    monkeypatch.delenv("MNIST_S7_DATASET", raising=False)

    def write(option):
        data_set, random = DATA_SETS[option], np.random.default_rng([*option.encode()])
        raw = tmp_path / "root" / data_set.torchvision / "raw"
        raw.mkdir(parents=True)
        files = []
        for file, n in zip(data_set.files, (6, 6, 4, 4), strict=True):
            small = dataclasses.replace(file, shape=(n, *file.shape[1:]))
            values = random.integers(0, 256 if file.holds_images else 10, small.shape)
            content = small.header + values.astype(np.uint8 if file.kind == 0x08 else ">i4").tobytes()
            archive = gzip.compress(content)
            (raw / file.name).write_bytes(content)
            (raw / f"{file.name}.gz").write_bytes(archive)
            kind, summed = ("md5", content) if file.md5 else ("archive_md5", archive)
            files.append(dataclasses.replace(small, **{kind: hashlib.md5(summed).hexdigest()}))
        monkeypatch.setitem(DATA_SETS, option, dataclasses.replace(data_set, files=tuple(files)))
        return raw

    return write


@pytest.fixture
def idx_files(small_files):
    """The folder of `small_files` for MNIST, extracted ones alone."""
    raw = small_files("mnist")
    for archive in raw.glob("*.gz"):
        archive.unlink()
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
        "convolutions": [5.0, 5.0],
        "each_core": [8.0, 6.0],
        "workers": 1,
        "convolutions_setting": "float32, channels last",
        "peak_memory": 812.0,
        "shares": {"data": 25.0, "forward": 75.0},
        "by_batch_size": {"32": [30.0, 32.0], "2048": [8.0, 8.0]},
        "by_threads": {"1": [20.0, 20.0], "2": [10.0, 20.0]},
        "by_images": {"6000": [1.0, 1.5], "60000": [10.0, 15.0]},
    }
    machine = {"device": "a CPU", "system": "a system", "python": "3", "torch": "2", "kernels": "compiled"}
    return Benchmark(machine, "AVX2", 2, 2, 12_000, {experiment.name: Cost(**cost) for experiment in SERIES})


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
