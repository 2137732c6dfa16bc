"""Teachers: trained once, asked once, found by name."""

import dataclasses
from functools import partial

import pytest

from mnist_s7 import T2, T3, InvalidArgument, fit
from mnist_s7.catalog import find_experiment
from mnist_s7.distillation import Distillation
from mnist_s7.sweep import in_processes, teach, teacher_of, teachers
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


def test_what_an_experiment_of_ones_own_needs_is_made_once(own_file, few_digits, folder, monkeypatch):
    small = find_experiment(f"{own_file(FILE)}:SMALL")
    engine = partial(in_processes, at_once=2)

    runs, together = teach(small, few_digits, engine)

    assert [(run.experiment, run.seed, len(run.epochs)) for run in runs] == [("LARGE", 1, 1), ("LARGE", 2, 1)]
    assert together.loss < max(run.final.test_loss for run in runs)  # the mean of two is better than the worse of them
    assert fit(small, few_digits, device="cpu", progress=False).experiment == "SMALL"

    monkeypatch.setattr(SoftTargets, "make", None)  # nothing is left to do
    again, _ = teach(small, few_digits, None)
    assert [run.final for run in again] == [run.final for run in runs]


def test_a_pass_that_was_stopped_goes_on(own_file, few_digits, folder):
    small = find_experiment(f"{own_file(FILE)}:SMALL")
    teach(small, few_digits, partial(in_processes, at_once=2))
    targets = SoftTargets(small, few_digits)
    said = targets.path(1).read_bytes()
    targets.path(1).unlink()

    teach(small, few_digits, None)

    assert targets.path(1).read_bytes() == said


def test_teachers_are_found_by_name():
    assert teacher_of(dataclasses.replace(T3, distillation=Distillation(T2, 2))) is T2
    with pytest.raises(InvalidArgument, match="T3 has no teachers"):
        teacher_of(T3)
    for other in (dataclasses.replace(T2, name="another"), dataclasses.replace(T2, lr=0.5)):
        with pytest.raises(InvalidArgument, match=f"named {other.name}, and no experiment like it"):
            teacher_of(dataclasses.replace(T3, distillation=Distillation(other, 2)))


def test_missing_teachers_are_named(few_digits, folder):
    taught = dataclasses.replace(T3, distillation=Distillation(T2, 1))

    def fails(jobs, digits):
        yield from ((job, "it broke") for job in jobs)

    with pytest.raises(teachers.TeachersMissing, match="T2-seed1-few-digits failed: it broke"):
        teach(taught, few_digits, fails)
