"""What may be published where goes by what a run is, and not by how the folder is named."""

import os
from pathlib import Path

import pytest
from example_runs import ENVIRONMENT, errors

from mnist_s7 import InvalidArgument, PublishingRefused, Run
from mnist_s7.data import SYNTHETIC_DIGITS
from mnist_s7.results import MNIST, Epoch, folders, on_dataset, refuse_publishing, results_folder, stored_folder

VALIDATION = "MNIST validation"
CUSTOM = "my digits"


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A project of its own in `tmp_path`, with published results."""
    place = tmp_path / "notebooks" / "results"
    stored = {MNIST: place, VALIDATION: place / "validation", SYNTHETIC_DIGITS: place / "synthetic"}
    monkeypatch.setattr(folders, "PUBLISHED", place)
    monkeypatch.setattr(folders, "STORED", stored)
    monkeypatch.setattr(folders, "ALSO_STORED", {MNIST: (place / "pytorch-layers", place / "baselines")})
    monkeypatch.chdir(tmp_path)
    place.mkdir(parents=True)
    (tmp_path / "link").symlink_to(place)
    (tmp_path / "parent").symlink_to(place.parent)
    (tmp_path / "elsewhere").mkdir()
    return place


def run_on(dataset):
    epochs = [Epoch(0, 0.05, 0.04, 98.9, 0.02, 99.4, 7.5)]
    return Run("T3", "a recipe", 1, dataset, 6544, ENVIRONMENT, epochs, errors(99.4))


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("dataset", [VALIDATION, SYNTHETIC_DIGITS, CUSTOM])
@pytest.mark.parametrize(
    "folder",
    [
        "notebooks/results",
        "notebooks/results/",
        "notebooks/results/pytorch-layers",
        "notebooks/results/new/folder",
        "link",
        "link/new",
        "parent/results",
        "elsewhere/../notebooks/results",
        "nowhere/../notebooks/results",
        "notebooks/results/validation/..",
        "notebooks/./results",
    ],
)
def test_other_runs_are_not_published_with_those_on_mnist(published, tmp_path, dataset, folder):
    for named in (folder, tmp_path / folder):
        with pytest.raises(PublishingRefused, match=f"runs on {dataset} are published ") as error:
            run_on(dataset).save(named)
        assert str(error.value).startswith(f"{Path(named)}: ")
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("dataset", "folder"),
    [
        (MNIST, "validation"),
        (MNIST, "synthetic/new"),
        (MNIST, "new"),
        (VALIDATION, "validation/new"),
        (VALIDATION, "synthetic"),
        (VALIDATION, "validation/../synthetic"),
        (SYNTHETIC_DIGITS, "validation"),
        (CUSTOM, "validation"),
        (CUSTOM, "synthetic"),
    ],
)
def test_runs_are_not_published_where_those_on_other_digits_are(published, dataset, folder):
    with pytest.raises(PublishingRefused, match=f"runs on {dataset} are published"):
        run_on(dataset).save(published / folder)
    assert files(published) == []


@pytest.mark.parametrize(
    ("dataset", "folder"),
    [
        (MNIST, "."),
        (MNIST, "pytorch-layers"),
        (MNIST, "baselines"),
        (VALIDATION, "validation"),
        (VALIDATION, "synthetic/../validation"),
        (SYNTHETIC_DIGITS, "synthetic"),
    ],
)
def test_runs_are_published_where_they_belong(published, dataset, folder):
    path = run_on(dataset).save(published / folder)

    assert Run.load(path) == run_on(dataset)
    assert path.resolve() == (published / folder).resolve() / f"{run_on(dataset).name}.json"


@pytest.mark.parametrize("dataset", [MNIST, VALIDATION, SYNTHETIC_DIGITS, CUSTOM])
@pytest.mark.parametrize("folder", ["elsewhere", ".", "notebooks", "notebooks/results2", "link/../elsewhere/new"])
def test_any_run_can_be_saved_outside(published, tmp_path, dataset, folder):
    assert run_on(dataset).save(folder).exists()
    assert files(published) == []


def test_the_projects_own_folders_are_known():
    assert stored_folder(MNIST) == folders.PUBLISHED
    assert stored_folder(VALIDATION) == folders.VALIDATION
    assert stored_folder(SYNTHETIC_DIGITS) == folders.SYNTHETIC
    assert stored_folder(CUSTOM) is stored_folder("KMNIST") is None
    assert stored_folder("Fashion-MNIST") == folders.PUBLISHED / "fashion-mnist"
    for name in (MNIST, VALIDATION, SYNTHETIC_DIGITS):
        refuse_publishing(name, stored_folder(name))
    with pytest.raises(PublishingRefused, match="published nowhere in"):
        refuse_publishing(CUSTOM, folders.PUBLISHED)
    assert not issubclass(PublishingRefused, InvalidArgument)


def test_the_environment_names_another_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("MNIST_S7_RESULTS", raising=False)
    assert results_folder(folders.RUNS) == folders.RUNS
    monkeypatch.setenv("MNIST_S7_RESULTS", os.fspath(tmp_path))
    assert results_folder(folders.RUNS) == tmp_path


def test_titles_name_digits_that_are_not_mnists_test_set():
    assert on_dataset(MNIST) == ""
    assert on_dataset(VALIDATION) == "on the MNIST validation set"
    assert on_dataset(SYNTHETIC_DIGITS) == "on synthetic digits, not on MNIST"
    assert on_dataset(CUSTOM) == "on my digits, not on MNIST"
    assert on_dataset("Fashion-MNIST") == "on Fashion-MNIST"
    assert on_dataset("KMNIST validation") == "on the KMNIST validation set"
