"""Teachers: trained once, asked once, found by name."""

import dataclasses
from functools import partial

import pytest

from mnist_s7 import T2, T3, InvalidArgument, fit
from mnist_s7.catalog import find_experiment
from mnist_s7.commands import options, train
from mnist_s7.data import validation_split
from mnist_s7.distillation import Distillation
from mnist_s7.sweep import teach, teacher_of, teachers
from mnist_s7.training import SoftTargets, soft_targets

FILE = """
    from dataclasses import replace
    from mnist_s7 import T3, MnistNet_3
    from mnist_s7.distillation import Distillation

    LARGE = replace(T3, name="LARGE", epochs=1)
    SMALL = replace(T3, name="SMALL", epochs=2, distillation=Distillation(LARGE, 2))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for module in (soft_targets, teachers):
        monkeypatch.setattr(module, "TEACHERS", tmp_path / "teachers")
    return tmp_path / "teachers"


def trains_none(jobs, digits, at_once):
    """In the place of what trains: nothing is to be trained."""
    assert list(jobs) == []
    return iter(())


def test_what_an_experiment_of_ones_own_needs_is_made_once(own_file, few_digits, folder, monkeypatch):
    small = find_experiment(f"{own_file(FILE)}:SMALL")
    runs, together = teach(small, few_digits, jobs=2, device="cpu")

    assert [(run.experiment, run.seed, len(run.epochs)) for run in runs] == [("LARGE", 1, 1), ("LARGE", 2, 1)]
    assert together.loss < max(run.final.test_loss for run in runs)  # the mean of two is better than the worse of them
    assert fit(small, few_digits, device="cpu", progress=False).experiment == "SMALL"

    monkeypatch.setattr(SoftTargets, "make", None)  # nothing is left to do
    monkeypatch.setattr(teachers, "in_processes", trains_none)
    again, _ = teach(small, few_digits, device="cpu")
    assert [run.final for run in again] == [run.final for run in runs]


def test_what_is_missing_or_of_other_teachers_is_made_again(own_file, few_digits, folder, monkeypatch):
    small = find_experiment(f"{own_file(FILE)}:SMALL")
    teach(small, few_digits, device="cpu")
    targets = SoftTargets(small, few_digits)
    said = [targets.path(epoch).read_bytes() for epoch in (0, 1)]
    targets.make(0, [T3.network().eval()])  # by another teacher
    targets.path(1).unlink()

    monkeypatch.setattr(teachers, "in_processes", trains_none)
    teach(small, few_digits, device="cpu")

    assert [targets.path(epoch).read_bytes() for epoch in (0, 1)] == said


def test_stored_teachers_are_not_trained_again(own_file, few_digits, folder, monkeypatch):
    small = find_experiment(f"{own_file(FILE)}:SMALL")
    stored = folder.parent / "stored"
    monkeypatch.setattr(teachers, "stored_teachers", {few_digits.name: stored}.get)
    made, _ = teach(small, few_digits, jobs=2, device="cpu")
    folder.rename(stored)
    monkeypatch.setattr(teachers, "in_processes", trains_none)

    runs, _ = teach(small, few_digits, device="cpu")

    assert [run.final for run in runs] == [run.final for run in made]
    assert {path.name for path in folder.iterdir()} == {path.name for path in stored.iterdir()} - {".lock"}


def test_stored_teachers_of_another_recipe_or_without_weights_are_left_alone(
    own_file, few_digits, folder, monkeypatch, tmp_path
):
    small = find_experiment(f"{own_file(FILE)}:SMALL")
    large = small.distillation.teacher
    run = fit(large, few_digits, device="cpu", progress=False)
    taken = folder / f"{run.name}.json"
    for stored, recipe, weights in (
        (tmp_path / "another recipe", dataclasses.replace(large, lr=0.02), True),
        (tmp_path / "no weights", large, False),
        (tmp_path / "whole", large, True),
    ):
        monkeypatch.setattr(teachers, "stored_teachers", {few_digits.name: stored}.get)
        run.without_model(weights=weights).save(stored)
        teachers._take_stored(recipe, run.name, few_digits)
        assert taken.exists() == (stored.name == "whole"), stored.name
    teachers._take_stored(large, run.name, dataclasses.replace(few_digits, name="other digits"))


def test_teachers_are_found_by_name():
    assert teacher_of(dataclasses.replace(T3, distillation=Distillation(T2, 2))) is T2
    with pytest.raises(InvalidArgument, match="T3 has no teachers"):
        teacher_of(T3)
    for other, reason in (
        (dataclasses.replace(T2, name="another"), "named another, and is not known here; give it"),
        (dataclasses.replace(T2, lr=0.5), "named T2, and is not the T2 that is known here; give it"),
        (dataclasses.replace(T2, epochs=30), "named T2, and is not the T2 that is known here; give it"),
    ):
        with pytest.raises(InvalidArgument, match=reason):
            teacher_of(dataclasses.replace(T3, distillation=Distillation(other, 2)))


def test_a_teacher_whose_variable_has_another_name_is_not_found(own_file):
    path = own_file(FILE.replace('name="LARGE"', 'name="HUGE"'))
    small = find_experiment(f"{path}:SMALL")

    with pytest.raises(
        InvalidArgument, match=r"its teacher is named HUGE, and is not known here; .* variable the same"
    ):
        teacher_of(small)


def test_missing_teachers_are_named(few_digits, folder, monkeypatch):
    taught = dataclasses.replace(T3, distillation=Distillation(T2, 1))

    def fails(jobs, digits, at_once):
        yield from ((job, "it broke") for job in jobs)

    monkeypatch.setattr(teachers, "in_processes", fails)
    with pytest.raises(teachers.TeachersMissing, match="T2-seed1-few-digits failed: it broke"):
        teach(taught, few_digits, device="cpu")


def test_command_makes_what_a_run_needs_on_the_digits_that_it_is_given(
    own_file, few_digits, folder, monkeypatch, mnist_s7, tmp_path
):
    monkeypatch.setattr(options, "load_digits", lambda *_, **__: few_digits)
    small = f"{own_file(FILE)}:SMALL"
    training = [small, "--set", "batch_size=200", "--device", "cpu"]
    on_validation = partial(validation_split, count=100)
    monkeypatch.setattr(train, "validation_split", on_validation)

    code, output, _ = mnist_s7("teach", *training, "--jobs", "1", "--validation")

    assert code == 0
    assert output.count("final test accuracy") == 2
    assert "mean of their probabilities" in output
    assert {path.name.partition("-seed")[0] for path in folder.glob("*.json")} == {"LARGE"}
    assert mnist_s7("train", *training, "--validation", "--output", tmp_path)[0] == 0
    code, _, errors = mnist_s7("train", *training, "--output", tmp_path)  # of all digits nothing is there
    assert (code, "soft targets that are not there" in errors) == (1, True)
    code, _, errors = mnist_s7("teach", "T3")
    assert (code, "T3 has no teachers" in errors) == (1, True)
