"""The teachers of an experiment: trained, and asked about every image that it will see."""

from contextlib import suppress
from functools import partial

import torch

from mnist_s7 import InvalidArgument, MnistS7Error
from mnist_s7.catalog import EXPERIMENTS, ExperimentFileError, find_experiment, origin_of
from mnist_s7.data import Digits
from mnist_s7.experiments import Experiment
from mnist_s7.results import PUBLISHED_TEACHERS, Run, run_name
from mnist_s7.results.machine import KERNEL_MEMORY, side_by_side
from mnist_s7.results.progress import with_bar
from mnist_s7.sweep.processes import in_processes
from mnist_s7.sweep.runs import Engine, run_sweep
from mnist_s7.training import TEACHERS, Evaluation, SoftTargets, evaluation, predict


class TeachersMissing(MnistS7Error):
    """Some teachers could not be trained, or their weights are not there."""


def teach(
    experiment: Experiment, digits: Digits, engine: Engine | None = None, device: str = "cpu"
) -> tuple[list[Run], Evaluation]:
    """Make what `fit` needs to train `experiment` on `digits`: its teachers, and what they say of each augmented image,
    in `runs/teachers`. What is there is not made again, so that it can be stopped and goes on where it was; of an
    iteration on MNIST, the teachers come with the working copy. `engine` trains the others, as many at once as cores
    and memory allow by default.

    The runs of the teachers, and how the mean of their probabilities does on the test images.

    Raises `InvalidArgument` for an experiment without teachers, `TeachersMissing`, and as `run_sweep`.
    """
    runs = _trained(experiment, digits, engine, device)
    models = [run.model.to(device).eval() for run in runs]
    soft_targets = SoftTargets(experiment, digits)
    for epoch in with_bar(soft_targets.missing(experiment.epochs), "soft targets", "epoch"):
        soft_targets.make(epoch, models)
    probabilities = torch.stack([predict(model, digits.test_images).exp() for model in models]).mean(0)
    return runs, evaluation(probabilities.log(), digits.test_labels)


def _trained(experiment: Experiment, digits: Digits, engine: Engine | None, device: str) -> list[Run]:
    teacher, count = teacher_of(experiment), experiment.distillation.teachers
    names = [run_name(teacher.name, seed, digits.name) for seed in range(1, count + 1)]
    _take_published(teacher, names)
    engine = engine or partial(in_processes, at_once=side_by_side(count, KERNEL_MEMORY))
    outcome = run_sweep([teacher.name], range(1, count + 1), digits, TEACHERS, engine, device=device, weights=True)
    if outcome.failed or outcome.elsewhere or outcome.without_weights:
        raise TeachersMissing(f"not all teachers are there, in {TEACHERS}:\n{outcome}")
    return [Run.load(TEACHERS / f"{name}.json") for name in names]


def _take_published(teacher: Experiment, names: list[str]) -> None:
    """Put the published runs of these names, with their weights, where `_trained` looks for them."""
    for name in names:
        published, own = PUBLISHED_TEACHERS / f"{name}.json", TEACHERS / f"{name}.json"
        if published.exists() and not own.exists() and teacher.matches(Run.load(published)):
            Run.load(published).save(TEACHERS)


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
