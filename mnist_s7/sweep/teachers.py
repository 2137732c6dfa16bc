"""The teachers of an experiment: trained, and asked about every image that it will see."""

from contextlib import suppress
from functools import partial

import torch

from mnist_s7 import InvalidArgument, MnistS7Error
from mnist_s7.catalog import EXPERIMENTS, ExperimentFileError, find_experiment, origin_of
from mnist_s7.data import Digits
from mnist_s7.experiments import Experiment
from mnist_s7.results import Run, run_name, stored_teachers
from mnist_s7.results.machine import KERNEL_MEMORY, side_by_side, usable_device
from mnist_s7.results.progress import with_bar
from mnist_s7.sweep.processes import in_processes
from mnist_s7.sweep.runs import run_sweep
from mnist_s7.training import TEACHERS, Evaluation, SoftTargets, evaluation, predict


class TeachersMissing(MnistS7Error):
    """Some teachers could not be trained, or their weights are not there."""


def teach(
    experiment: Experiment, digits: Digits, jobs: int | None = None, device: str | None = None
) -> tuple[list[Run], Evaluation]:
    """Make what `fit` needs to train `experiment` on `digits`: its teachers, and what they say of each augmented image,
    in `runs/teachers`. What is there is not made again (but soft targets of other teachers are), so that it can be
    stopped: the next time it goes on with the teachers and the epochs that were not finished. An iteration's teachers
    for MNIST and the synthetic digits come with the working copy. Others are trained `jobs` at a time, by default as
    many as cores and memory allow, and one on a GPU; `device` of None stands for a CUDA GPU where there is one, and the
    CPU elsewhere.

    The runs of the teachers, and how the mean of their probabilities does on the test images.

    Raises `InvalidArgument` for an experiment without teachers, `TeachersMissing`, and as `run_sweep`.
    """
    device = str(usable_device(device))
    runs = _trained(experiment, digits, jobs, device)
    models = [run.model.to(device).eval() for run in runs]
    soft_targets = SoftTargets(experiment, digits)
    for epoch in with_bar(soft_targets.missing(experiment.epochs, models), "soft targets", "epoch"):
        soft_targets.make(epoch, models)
    probabilities = torch.stack([predict(model, digits.test_images).exp() for model in models]).mean(0)
    return runs, evaluation(probabilities.log(), digits.test_labels)


def _trained(experiment: Experiment, digits: Digits, jobs: int | None, device: str) -> list[Run]:
    teacher, count = teacher_of(experiment), experiment.distillation.teachers
    names = [run_name(teacher.name, seed, digits.name) for seed in range(1, count + 1)]
    for name in names:
        _take_stored(teacher, name, digits)
    if jobs is None:
        jobs = side_by_side(count, KERNEL_MEMORY) if device == "cpu" else 1
    engine = partial(in_processes, at_once=jobs)
    outcome = run_sweep([teacher.name], range(1, count + 1), digits, TEACHERS, engine, device=device, weights=True)
    if outcome.failed or outcome.elsewhere or outcome.without_weights:
        raise TeachersMissing(f"not all teachers are there, in {TEACHERS}:\n{outcome}")
    return [Run.load(TEACHERS / f"{name}.json") for name in names]


def _take_stored(teacher: Experiment, name: str, digits: Digits) -> None:
    """Put the run of this name that comes with the working copy, with its weights, where `_trained` looks for it; not
    where there is one, and not a run of another recipe."""
    stored = stored_teachers(digits.name)
    if stored is None or not (stored / f"{name}.json").exists() or (TEACHERS / f"{name}.json").exists():
        return
    run = Run.load(stored / f"{name}.json")
    if teacher.matches(run) and run.weights is not None:
        run.save(TEACHERS)


def teacher_of(experiment: Experiment) -> Experiment:
    """What trains its teachers, by its name: one of the package's, or in the same file as the reader's experiment.

    Raises `InvalidArgument` where there is none.
    """
    if experiment.distillation is None:
        raise InvalidArgument(f"{experiment.name} has no teachers: it is trained on labels, and needs nothing before")
    teacher = experiment.distillation.teacher
    known, origin = EXPERIMENTS.get(teacher.name), origin_of(experiment.name)
    if known is None and origin and origin.file:
        with suppress(ExperimentFileError):  # where its variable has another name
            known = find_experiment(f"{origin.file}:{teacher.name}")
    if known is None or (known.fingerprint, known.epochs) != (teacher.fingerprint, teacher.epochs):
        another = "not known here" if known is None else f"not the {teacher.name} that is known here"
        raise InvalidArgument(
            f"{experiment.name}: its teacher is named {teacher.name}, and is {another}; give it a name of its own, "
            'and its variable the same, as BIG = replace(T4, name="BIG", ...), in the file of the experiment that it '
            "teaches"
        )
    return known
