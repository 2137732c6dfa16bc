"""Knowledge distillation as data: who teaches a network, and the loss that it is then trained on."""

import math
from dataclasses import dataclass
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

from mnist_s7 import InvalidArgument


class TeacherExperiment(Protocol):
    """What is asked of the `Experiment` that trains a teacher."""

    name: str
    fingerprint: str
    epochs: int


@dataclass(frozen=True)
class Distillation:
    """A network is trained on the probabilities that others, its teachers, give on average to the images that it sees.
    With a temperature, each teacher's own are softened before the mean: after it, one teacher alone that is unsure of
    an image would make all of them seem so.

    After G. Hinton, O. Vinyals & J. Dean, "Distilling the Knowledge in a Neural Network" (arXiv:1503.02531). The
    teachers are shown the very same images, augmentation included: consistent teaching, which L. Beyer et al.,
    "Knowledge distillation: A good teacher is patient and consistent" (arXiv:2106.05237), found better than any other.
    """

    teacher: TeacherExperiment  # trained with the seeds from 1 on
    teachers: int
    temperature: float = 1.0  # the logits are divided by it, so that small probabilities count for more
    labels: float = 0.0  # their share of the loss

    def __post_init__(self):
        if isinstance(self.teachers, bool) or not isinstance(self.teachers, int) or self.teachers < 1:
            raise InvalidArgument(f"teachers is {self.teachers!r}: a whole number of at least 1 is needed")
        if not _is_number(self.temperature) or not 0 < self.temperature < math.inf:
            raise InvalidArgument(f"temperature is {self.temperature!r}: a finite number above 0 is needed")
        if not _is_number(self.labels) or not 0 <= self.labels <= 1:
            raise InvalidArgument(f"labels is {self.labels!r}: their share of the loss, from 0 to 1, is needed")

    def __str__(self) -> str:
        several = f"{self.teachers} networks" if self.teachers > 1 else "a network"
        temperature = f" at temperature {self.temperature:g}" if self.temperature != 1 else ""
        labels = f", {100 * self.labels:g} % of the loss from labels" if self.labels else ""
        return f"soft targets of {several} of {self.teacher.name}{temperature}{labels}"

    @property
    def settings(self) -> tuple:
        """What an experiment's fingerprint holds of it."""
        return self.teacher.fingerprint, self.teacher.epochs, self.teachers, float(self.temperature), float(self.labels)

    def soft_targets(self, log_probabilities: Tensor) -> Tensor:
        """Of the (teachers, N, 10) log-probabilities of N images, what a network is trained on: (N, 10), softened by
        the temperature."""
        return (log_probabilities / self.temperature).softmax(-1).mean(0)

    def loss(self, log_probabilities: Tensor, labels: Tensor, soft_targets: Tensor) -> Tensor:
        """The mean of `losses`."""
        return self.losses(log_probabilities, labels, soft_targets).mean()

    def losses(self, log_probabilities: Tensor, labels: Tensor, soft_targets: Tensor) -> Tensor:
        """Of (..., 10) log-probabilities, (...) labels and (..., 10) `soft_targets`, each image's loss, (...) in nats:
        the Kullback-Leibler divergence from the teachers, at the temperature, and the labels' share of the negative
        log-likelihood.

        With a temperature the divergence is multiplied by its square, so that its gradients stay as large (Hinton et
        al., section 2).
        """
        log_softened = log_probabilities
        if self.temperature != 1:
            log_softened = (log_probabilities / self.temperature).log_softmax(-1)
        divergence = self.temperature**2 * F.kl_div(log_softened, soft_targets, reduction="none").sum(-1)
        if not self.labels:
            return divergence
        likelihood = log_probabilities.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
        return (1 - self.labels) * divergence - self.labels * likelihood


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
