"""What an iteration with teachers shows of them."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure

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
    there is one. The title has their Kullback-Leibler divergence from the teachers, the mean over all test images."""
    networks = {experiment.name: run.model}
    if experiment in SERIES and digits.name == MNIST:
        before = SERIES[SERIES.index(experiment) - 1]
        networks = {before.name: pretrained(before.name)} | networks
    of_teachers = torch.stack([predict(teacher.model, digits.test_images).exp() for teacher in taught_by]).mean(0)
    of_networks = {name: predict(network, digits.test_images) for name, network in networks.items()}
    unsure = torch.special.entr(of_teachers).sum(1).argsort(descending=True, stable=True)[:SHOWN]
    given = {f"{len(taught_by)} teachers, on average": of_teachers[unsure]}
    given |= {name: log_probabilities[unsure].exp() for name, log_probabilities in of_networks.items()}
    apart = [
        f"{name} {F.kl_div(log_probabilities, of_teachers, reduction='batchmean'):.4f}"
        for name, log_probabilities in of_networks.items()
    ]
    title = (
        "The digits that the teachers are least sure of, and what was learned of them. Divergence from them on all "
        f"{len(of_teachers):,} test images: {', '.join(apart)} nats"
    )
    return plots.soft_targets(digits.test_images[unsure], digits.test_labels[unsure], given, title, digits.name)
