"""A run's file: written atomically, and refused where it cannot be what it says."""

import dataclasses
import json
import os

import pytest
import torch
from example_runs import ENVIRONMENT, errors

from mnist_s7 import OutputError, Run, RunFileError, RunsMissing, load_runs
from mnist_s7.results import Epoch, RunDiffers, check_against_stored, prepare


def make_run(test_accuracies=(98.0, 99.45, 99.40), **others):
    epochs = [Epoch(i, 0.05, 0.04, 98.9, 0.02, accuracy, 7.5) for i, accuracy in enumerate(test_accuracies)]
    settings = {"experiment": "T3", "fingerprint": "a recipe", "seed": 1, "dataset": "MNIST", "parameters": 6544}
    settings |= {"environment": ENVIRONMENT} | others
    return Run(epochs=epochs, **{"errors": errors(test_accuracies[-1])} | settings)


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


def test_predictions_are_the_labels_but_for_the_errors():
    labels = torch.tensor([9, 9, 9, 9, 9, 9, 9, 9])

    assert make_run(errors=[(2, 0), (7, 3)]).predictions(labels).tolist() == [9, 9, 0, 9, 9, 9, 9, 3]
    assert make_run(errors=[]).predictions(labels).tolist() == labels.tolist()


def spoiled(tmp_path, change):
    """The file of a run, after `change` of its content."""
    path = make_run().save(tmp_path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


def final(**figures):
    return lambda content: content["epochs"][-1].update(figures)


def error(place, index, digit):
    return lambda content: content["errors"].__setitem__(place, [index, digit])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.update(format=99), "run format 99, and this version reads 3"),
        (lambda content: content.pop("format"), "run format None"),
        (lambda content: content.pop("seed"), "missing or unknown: seed"),
        (lambda content: content.update(colour="red"), "missing or unknown: colour"),
        (lambda content: content.update(seed="one"), "seed should be of type int, found 'one'"),
        (lambda content: content.update(seed=True), "seed should be of type int, found 'True'"),
        (lambda content: content.update(seed=1.0), "seed should be of type int, found '1.0'"),
        (lambda content: content.update(seed=-1), "seed is -1: seeds are from 0"),
        (lambda content: content.update(seed=10**400), "seed is 10000"),
        (lambda content: content.update(experiment="../T3"), "'../T3-seed1' is no name for a file"),
        (lambda content: content.update(experiment=""), "experiment is empty"),
        (lambda content: content.update(fingerprint=None), "fingerprint should be of type str"),
        (lambda content: content.update(parameters=0), "parameters is 0"),
        (lambda content: content.update(environment={}), "environment is empty"),
        (lambda content: content.update(environment=[]), "environment should be of type dict"),
        (lambda content: content["environment"].pop("kernels"), "its environment does not say kernels"),
        (lambda content: content["environment"].update(threads="2"), "threads should be of type int"),
        (lambda content: content["environment"].update(threads=0), "its environment has no thread"),
        (lambda content: content["environment"].update(dirty="no"), "dirty should be of type bool | None"),
        (lambda content: content.update(epochs=[]), "it has no epochs"),
        (lambda content: content.update(epochs=3), "not the shape of a run"),
        (lambda content: content["epochs"].pop(0), "do not count"),
        (lambda content: content["epochs"][0].pop("lr"), "not the shape of a run .*lr"),
        (lambda content: content["epochs"][0].update(momentum=1), "not the shape of a run .*momentum"),
        (lambda content: content["epochs"][0].update(lr="fast"), "lr of epoch 0 should be a number.*, found 'fast'"),
        (lambda content: content["epochs"][1].update(test_loss=True), "test_loss of epoch 1 should be a number"),
        (lambda content: content["epochs"][1].update(epoch=True), "do not count"),
        (final(test_accuracy=250), "test_accuracy of epoch 2 should be a number from 0 to 100, found '250'"),
        (final(train_accuracy=-5), "train_accuracy of epoch 2 should be a number from 0 to 100, found '-5'"),
        (final(train_loss=-0.1), "train_loss of epoch 2 should be a number of 0 or more"),
        (final(train_loss=10**400), "train_loss of epoch 2 should be a number of 0 or more"),
        (final(seconds=-1), "seconds of epoch 2"),
        (final(test_accuracy=99.41), "60 errors do not make a final test accuracy of 99.41 %"),
        (final(test_accuracy=100), "60 errors do not make"),
        (final(test_accuracy=99.0), "60 errors do not make"),  # of 6,000 images, but MNIST's are 10,000
        (lambda content: content.update(errors=[]), "0 errors do not make a final test accuracy of 99.4 %"),
        (lambda content: content["errors"].pop(), "59 errors do not make"),
        (lambda content: content.update(errors=[1, 2]), "not the shape of a run"),
        (lambda content: content.update(errors=3), "not the shape of a run"),
        (error(59, 10_000, 1), "an error's index is not one of 10,000 test images, 0 to 9,999"),
        (error(0, -1, 1), "an error's index is not one of"),
        (error(59, 10**400, 1), "an error's index is not one of"),
        (error(3, 2, 1), "the indices of its errors do not ascend"),
        (error(3, 3, 12), "predicted digit is not from 0 to 9"),
        (error(3, 3, -1), "predicted digit is not from 0 to 9"),
        (error(3, 3.5, 1), "an error is not two integers"),
        (error(3, 3, True), "an error is not two integers"),
        (error(3, "3", 1), "an error is not two integers"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(tmp_path, change, message):
    path = spoiled(tmp_path, change)

    with pytest.raises(RunFileError, match=message) as error:
        Run.load(path)
    assert str(error.value).startswith(f"{path}: ")
    assert len(str(error.value)) < 400
    with pytest.raises(RunFileError, match=message):
        load_runs(tmp_path)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "1" * 5000])
def test_numbers_that_are_none_are_refused(tmp_path, number):
    path = make_run().save(tmp_path)
    path.write_text(path.read_text().replace("99.45", number))

    with pytest.raises(RunFileError, match="T3-seed1.json: not"):
        Run.load(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[]", b"3", b"null", b"[" * 100_000, b'{"a":' * 100_000, b'{"seed": 1, "seed": 2}'],
)
def test_a_file_that_is_not_a_run_is_refused(tmp_path, content):
    path = tmp_path / "T3-seed1.json"
    path.write_bytes(content)

    with pytest.raises(RunFileError, match="T3-seed1.json: "):
        Run.load(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere.json"):
        with pytest.raises(RunFileError, match=f"{path}: cannot be read"):
            Run.load(path)


def test_of_other_digits_the_accuracy_says_how_many_test_images_there_were(tmp_path):
    few = {"dataset": "few digits", "test_accuracies": [97.0]}
    path = make_run(errors=[(1, 2), (7, 3), (99, 0)], **few).save(tmp_path)
    assert len(Run.load(path).errors) == 3

    with pytest.raises(RunFileError, match="not one of 100 test images, 0 to 99"):
        make_run(errors=[(1, 2), (7, 3), (100, 0)], **few).save(tmp_path)


def test_a_copy_of_a_run_is_not_counted_twice(tmp_path):
    path = make_run().save(tmp_path)
    (tmp_path / "T3-seed1 copy.json").write_bytes(path.read_bytes())

    with pytest.raises(RunFileError, match="T3-seed1 copy.json: holds the run T3-seed1; name it"):
        load_runs(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [{"test_accuracies": [float("nan"), 99.4]}, {"errors": []}, {"seed": True}, {"environment": {}}],
)
def test_a_run_that_contradicts_itself_is_not_saved(tmp_path, wrong):
    with pytest.raises(RunFileError):
        make_run(**wrong).save(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, fault, step):
    path = make_run().save(tmp_path)
    before = path.read_bytes()

    def fail(*_):
        raise fault

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OutputError if isinstance(fault, OSError) else KeyboardInterrupt) as error:
        make_run([50.0]).save(tmp_path)

    if isinstance(fault, OSError):
        assert str(error.value).startswith(f"{path}: cannot be written (No space left on device); make room")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_files_have_the_rights_that_the_umask_gives(tmp_path, umask):
    before = os.umask(umask)
    try:
        path = make_run().save(tmp_path)
    finally:
        os.umask(before)

    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_folder_is_tried_before_it_is_needed(tmp_path):
    prepare(tmp_path / "new" / "folder", "T3-seed1.json")
    assert list((tmp_path / "new" / "folder").iterdir()) == []

    (tmp_path / "file").touch()
    (tmp_path / "T3-seed1.json").mkdir()
    for folder, message in {
        tmp_path / "file": "file: is no folder",
        tmp_path / "file" / "below": r"below: cannot be written \(Not a directory\)",
        tmp_path: "T3-seed1.json: is a folder, where a file is to be written",
    }.items():
        with pytest.raises(OutputError, match=message):
            prepare(folder, "T3-seed1.json")


def test_a_folder_that_may_not_be_written_to_is_named(unprivileged):
    unprivileged.chmod(0o500)
    for folder in (unprivileged, unprivileged / "new"):
        with pytest.raises(OutputError, match=rf"{folder}: cannot be written \(Permission denied\)"):
            prepare(folder)


def test_a_run_on_other_digits_names_them_in_its_file(tmp_path):
    assert make_run(dataset="synthetic digits").save(tmp_path).name == "T3-seed1-synthetic-digits.json"
    assert make_run(dataset="MNIST validation").save(tmp_path).name == "T3-seed1-MNIST-validation.json"


def test_load_runs_takes_every_run_of_a_folder(tmp_path):
    for seed in (2, 1, 3):
        make_run(seed=seed).save(tmp_path)
    (tmp_path / "notes.json").write_text("{}")

    assert [run.seed for run in load_runs(tmp_path)] == [1, 2, 3]


@pytest.fixture
def published(tmp_path, monkeypatch):
    monkeypatch.setattr("mnist_s7.results.rerun.stored_folder", {"MNIST": tmp_path, "synthetic digits": tmp_path}.get)
    return tmp_path


def changed(run, **figures):
    final = dataclasses.replace(run.final, **figures)
    return dataclasses.replace(run, epochs=[*run.epochs[:-1], final], errors=errors(final.test_accuracy))


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
def test_a_repeated_run_is_compared_with_the_stored_one(published, figures, agrees):
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

    with pytest.raises(RunsMissing, match="T3-seed1.json: no such stored run; `mnist-s7 sweep T3"):
        check_against_stored(make_run())
    assert "few digits, on which no runs are stored" in check_against_stored(make_run(dataset="few digits"))


def test_on_synthetic_digits_it_is_compared_with_runs_on_those(published):
    make_run(dataset="synthetic digits", test_accuracies=[99.9]).save(published)
    make_run(dataset="MNIST", test_accuracies=[98.0]).save(published)

    assert "test accuracy 99.900 %, +0.000" in check_against_stored(
        make_run(dataset="synthetic digits", test_accuracies=[99.9])
    )
    with pytest.raises(RunDiffers):
        check_against_stored(make_run(dataset="synthetic digits", test_accuracies=[98.0]))


def test_it_is_not_compared_with_a_run_of_another_recipe(published):
    make_run(fingerprint="another recipe").save(published)

    with pytest.raises(RunDiffers, match="T3-seed1: trained with another recipe than the stored run"):
        check_against_stored(make_run())
