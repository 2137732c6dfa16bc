"""A run's file: whole or not at all, and refused where it cannot be what it says."""

import dataclasses
import json
import os

import pytest
import torch

from mnist_s7 import Run, RunFileError, SyntheticRefused, load_runs
from mnist_s7.results import Epoch, RunDiffers, check_against_stored


def make_run(test_accuracies=(98.0, 99.45, 99.40), dataset="MNIST", **others):
    epochs = [Epoch(i, 0.05, 0.04, 98.9, 0.02, accuracy, 7.5) for i, accuracy in enumerate(test_accuracies)]
    settings = {"seed": 1, "parameters": 6544, "environment": {"torch": "2"}, "errors": [(7, 3), (2, 0)]} | others
    return Run(experiment="T3", recipe="a recipe", dataset=dataset, epochs=epochs, **settings)


def test_final_is_the_last_epoch_and_best_the_first_of_the_highest():
    run = make_run([98.0, 99.5, 99.5, 99.4])

    assert run.final.epoch == 3
    assert run.best.epoch == 1


def test_saved_and_loaded_it_is_the_same(tmp_path):
    run = make_run()

    path = run.save(tmp_path / "new" / "folder")

    assert path.name == "T3-seed1.json"
    assert Run.load(path) == run
    assert json.loads(path.read_text())["epochs"][1]["test_accuracy"] == 99.45


def test_the_model_stays_out_of_the_file(tmp_path):
    run = make_run(model=torch.nn.Linear(1, 1))

    assert Run.load(run.save(tmp_path)).model is None


def test_predictions_are_the_labels_but_for_the_errors():
    labels = torch.tensor([9, 9, 9, 9, 9, 9, 9, 9])

    assert make_run().predictions(labels).tolist() == [9, 9, 0, 9, 9, 9, 9, 3]
    assert make_run(errors=[]).predictions(labels).tolist() == labels.tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.update(format=99), "run format 99, and this version reads 2"),
        (lambda content: content.pop("format"), "run format None"),
        (lambda content: content.pop("seed"), "not the shape of a run .*seed"),
        (lambda content: content.update(seed="one"), "seed should be int, found 'one'"),
        (lambda content: content.update(epochs=[]), "it has no epochs"),
        (lambda content: content["epochs"].pop(0), "do not count"),
        (lambda content: content["epochs"][0].pop("lr"), "not the shape of a run .*lr"),
        (lambda content: content["epochs"][0].update(momentum=1), "not the shape of a run .*momentum"),
        (lambda content: content["epochs"][0].update(lr="fast"), "lr of epoch 0 should be a number, found 'fast'"),
        (lambda content: content.update(errors=[1, 2]), "not the shape of a run"),
    ],
)
def test_a_file_of_another_version_or_shape_is_refused(tmp_path, change, message):
    path = make_run().save(tmp_path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))

    with pytest.raises(RunFileError, match=message) as error:
        Run.load(path)
    assert str(error.value).startswith(os.fspath(path))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"3"])
def test_a_file_that_is_not_a_run_is_refused(tmp_path, content):
    path = tmp_path / "T3-seed1.json"
    path.write_bytes(content)

    with pytest.raises(RunFileError, match="T3-seed1.json: "):
        Run.load(path)


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, fault, step):
    path = make_run().save(tmp_path)
    before = path.read_bytes()

    def fail(*_):
        raise fault

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(fault)):
        make_run([50.0]).save(tmp_path)

    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_stand_in_runs_are_labelled_and_never_published(tmp_path, monkeypatch):
    run = make_run(dataset="synthetic digits")
    monkeypatch.setattr("mnist_s7.results.run.PUBLISHED", tmp_path / "published")
    (tmp_path / "link").symlink_to(tmp_path / "published")

    assert run.save(tmp_path).name == "T3-seed1-synthetic-digits.json"
    for folder in ("published", "link", "x/../published"):
        with pytest.raises(SyntheticRefused, match="these digits are synthetic digits"):
            run.save(tmp_path / folder)
    assert not (tmp_path / "published").exists()


def test_load_runs_takes_every_run_of_a_folder(tmp_path):
    for seed in (2, 1, 3):
        make_run(seed=seed).save(tmp_path)
    (tmp_path / "notes.json").write_text("{}")

    assert [run.seed for run in load_runs(tmp_path)] == [1, 2, 3]


@pytest.fixture
def published(tmp_path, monkeypatch):
    monkeypatch.setattr("mnist_s7.results.repeated.PUBLISHED", tmp_path)
    return tmp_path


def changed(run, **figures):
    return dataclasses.replace(run, epochs=[*run.epochs[:-1], dataclasses.replace(run.final, **figures)])


@pytest.mark.parametrize(
    ("figures", "agrees"),
    [
        ({}, True),
        ({"train_accuracy": 98.9 + 0.24, "test_accuracy": 99.4 - 0.49, "train_loss": 0.049}, True),
        ({"train_accuracy": 98.9 + 0.26}, False),
        ({"test_accuracy": 99.4 - 0.51}, False),
        ({"train_loss": 0.051}, False),
        ({"train_loss": float("nan")}, False),
        ({"lr": 0.04}, False),
    ],
)
def test_a_repeated_run_is_held_against_the_stored_one(published, figures, agrees):
    make_run().save(published)
    again = changed(make_run(), **figures)

    if agrees:
        assert "test accuracy" in check_against_stored(again)
    else:
        with pytest.raises(RunDiffers):
            check_against_stored(again)


@pytest.mark.parametrize(("accuracy", "agrees"), [(99.05, True), (99.03, False), (99.75, True), (99.77, False)])
def test_where_seeds_are_stored_their_spread_says_what_is_allowed(published, accuracy, agrees):
    for seed, stored in enumerate([99.3, 99.35, 99.4, 99.45, 99.5, 99.33, 99.47, 99.37, 99.43, 99.4], start=1):
        changed(make_run(seed=seed), test_accuracy=stored, train_accuracy=98.9 + seed / 100).save(published)
    again = changed(make_run(seed=3), test_accuracy=accuracy)  # 99.4 +- t(0.9995, 8) * 0.0676 * sqrt(10 / 9)

    if agrees:
        said = check_against_stored(again)
        assert "99.9% prediction interval of the 9 other seeds" in said
        assert f"{accuracy - 99.4:+.3f} from the stored run" in said
    else:
        with pytest.raises(RunDiffers, match="test accuracy"):
            check_against_stored(again)


def test_without_a_stored_run_the_check_fails(published):
    make_run(seed=2).save(published)

    with pytest.raises(FileNotFoundError, match="T3-seed1.json: no such stored run; `python -m mnist_s7 sweep T3"):
        check_against_stored(make_run())
    assert "synthetic digits" in check_against_stored(make_run(dataset="synthetic digits"))
