"""Learning rates as tensors, set as PyTorch's schedules say: a captured step cannot read Python's numbers."""

import torch
from torch import nn

from mnist_s7.experiments import Experiment
from mnist_s7.schedules import Stepped


class Rates:
    """The learning rates and the momentum of S networks, as tensors that stay and as the schedule has them.

    A schedule that goes by a loss gives each network a rate of its own; others give all the same.
    """

    def __init__(self, experiment: Experiment, networks: int, epochs: int, images: int, device: torch.device):
        self.networks = networks
        alone = experiment.schedule.stepped in (Stepped.TRAINING_LOSS, Stepped.TEST_LOSS)
        # Of a parameter that nothing moves: PyTorch's schedules set an optimiser's rates.
        self.optimizers = [
            experiment.optimizer(nn.Linear(1, 1, device="meta")) for _ in range(networks if alone else 1)
        ]
        self.steppings = [experiment.stepping(optimizer, epochs, images) for optimizer in self.optimizers]
        for optimizer in self.optimizers:
            optimizer.step()  # PyTorch warns of a schedule that is ahead of its optimiser
        self.lr = torch.zeros(len(self.optimizers), 1, device=device)
        self.momentum = torch.zeros((), device=device)
        self.set: tuple[list[float], float] | None = None

    def fill(self) -> None:
        """Put the rates of the step to come into the tensors."""
        group = self.optimizers[0].param_groups[0]
        rates = [optimizer.param_groups[0]["lr"] for optimizer in self.optimizers]
        momentum = group["momentum"] if "momentum" in group else group["betas"][0]
        if self.set != (rates, momentum):
            self.set = rates, momentum
            for place, rate in enumerate(rates):
                self.lr[place].fill_(rate)
            self.momentum.fill_(momentum)

    def of_networks(self) -> list[float]:
        rates = [optimizer.param_groups[0]["lr"] for optimizer in self.optimizers]
        return rates if len(rates) == self.networks else rates * self.networks

    def after_step(self) -> None:
        for stepping in self.steppings:
            stepping.after_step()

    def after_epoch(self, train_losses: list[float], test_losses: list[float]) -> None:
        for stepping, *losses in zip(self.steppings, train_losses, test_losses, strict=False):
            stepping.after_epoch(*losses)
