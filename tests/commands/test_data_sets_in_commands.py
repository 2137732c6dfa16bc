"""Other data sets than MNIST on the command line."""

import pytest

from mnist_s7 import Run
from mnist_s7.results import folders


@pytest.fixture
def fashion(mnist_s7, small_files, tmp_path, monkeypatch):
    """A folder with Fashion-MNIST's files, of ten images, and a run on them."""
    monkeypatch.setattr("mnist_s7.results.run.TESTED_ON", {})
    raw = small_files("fashion-mnist")
    training = ("train", "T3", "--epochs", 1, "--output", tmp_path / "runs")
    code, output, _ = mnist_s7(*training, "--dataset", "fashion-mnist", "--data", raw)
    assert code == 0
    assert output.startswith("T3 on Fashion-MNIST (")
    return raw, tmp_path / "runs" / "T3-seed1-Fashion-MNIST.json"


def test_a_run_carries_its_data_set(fashion):
    _, path = fashion

    run = Run.load(path)

    assert (run.dataset, run.model.trained_on) == ("Fashion-MNIST", "Fashion-MNIST")


@pytest.mark.parametrize("named_by", ["nothing", "option", "variable"])
def test_a_network_is_tested_on_what_it_was_trained_on(mnist_s7, fashion, monkeypatch, named_by):
    raw, path = fashion
    if named_by == "variable":
        monkeypatch.setenv("MNIST_S7_DATASET", "fashion-mnist")
        monkeypatch.setenv("MNIST_S7_DATA", str(raw))
    asked = {"nothing": ("--data", raw), "option": ("--data", raw, "--dataset", "fashion-mnist"), "variable": ()}[
        named_by
    ]

    code, output, errors = mnist_s7("evaluate", "--weights", path, *asked)

    assert (code, errors) == (0, "")
    assert "T3 (seed 1) on the test images of Fashion-MNIST:" in output
    assert "| class " in output


def test_or_on_what_was_asked_for(mnist_s7, fashion):
    raw, path = fashion

    code, _, errors = mnist_s7("evaluate", "--weights", path, "--data", raw, "--dataset", "kmnist")

    assert code == 1
    assert "of KMNIST" in errors  # these files are Fashion-MNIST's


def test_runs_are_looked_for_where_they_are_stored(mnist_s7, tmp_path, monkeypatch):
    monkeypatch.setitem(folders.STORED, "Fashion-MNIST", tmp_path)

    code, _, errors = mnist_s7("compare", "--dataset", "fashion-mnist")
    assert code == 1
    assert errors.startswith(f"mnist-s7 compare: {tmp_path}: no run of the iterations with seed 1 on Fashion-MNIST; ")
    assert "`mnist-s7 train NAME --seed 1 --dataset fashion-mnist --output" in errors

    code, _, errors = mnist_s7("page", "--dataset", "fashion-mnist")
    assert code == 1
    assert errors.startswith(
        f"mnist-s7 page: {tmp_path}: no run on Fashion-MNIST; `mnist-s7 train T3 --dataset fashion-m"
    )


def test_networks_trained_on_mnist_are_not_shown_with_another_data_set(mnist_s7, fashion, tmp_path):
    _, path = fashion
    path.with_suffix(".safetensors").unlink()

    # T3 of the package answers to drawings where runs on MNIST are shown
    code, _, _ = mnist_s7("page", path.parent, "--dataset", "fashion-mnist", "--output", tmp_path / "page.html")

    assert code == 0
    assert '"networks": [], ' in (tmp_path / "page.html").read_text(encoding="utf-8")
