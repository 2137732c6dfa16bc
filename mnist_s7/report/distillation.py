"""What an iteration with teachers shows of them."""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from mnist_s7 import plots
from mnist_s7.catalog import pretrained
from mnist_s7.data import Digits
from mnist_s7.experiments import SERIES, Experiment
from mnist_s7.report.markdown import Text
from mnist_s7.results import MNIST, Run
from mnist_s7.training import Evaluation, predict

SHOWN = 6  # digits


def teachers(runs: Sequence[Run], together: Evaluation) -> Text:
    """Each teacher's test accuracy and cost, and that of the mean of their probabilities: as `teach` returns both."""
    lines = [
        f"{run.name}: {run.parameters:,} parameters, test accuracy {run.final.test_accuracy:.2f} %, loss "
        f"{run.final.test_loss:.4f} nats, trained in {sum(epoch.seconds for epoch in run.epochs) / 60:.0f} minutes"
        for run in runs
    ]
    mean = f"the mean of their probabilities: test accuracy {together.accuracy:.2f} %, loss {together.loss:.4f} nats"
    return Text("\n".join([*lines, mean]))


def soft_targets(experiment: Experiment, run: Run, taught_by: Sequence[Run], digits: Digits) -> Figure:
    """The test images that the teachers are least sure of, by the entropy of their mean probabilities at temperature 1,
    and what this run's network makes of them; on MNIST, where its weights are, also that of the iteration before, where
    there is one."""

    def probabilities(model: torch.nn.Module, images: Tensor = digits.test_images) -> Tensor:
        return predict(model, images).exp()

    of_teachers = torch.stack([probabilities(teacher.model) for teacher in taught_by]).mean(0)
    unsure = torch.special.entr(of_teachers).sum(1).argsort(descending=True, stable=True)[:SHOWN]
    images = digits.test_images[unsure]
    given = {f"{len(taught_by)} teachers, on average": of_teachers[unsure]}
    if experiment in SERIES and digits.name == MNIST:
        before = SERIES[SERIES.index(experiment) - 1]
        given[before.name] = probabilities(pretrained(before.name), images)
    given[experiment.name] = probabilities(run.model, images)
    title = "The digits that the teachers are least sure of, and what was learned of them"
    return plots.soft_targets(images, digits.test_labels[unsure], given, title, digits.name)
