"""Learning-rate schedules as data, set again for each epoch."""

from dataclasses import dataclass

from torch import optim

from mnist_s7 import InvalidArgument


@dataclass(frozen=True)
class StepLR:
    """A learning rate that is multiplied by `gamma` every `step` epochs, however many there are in all."""

    gamma: float
    step: int = 1

    def __str__(self) -> str:
        return "constant" if self.gamma == 1 else f"StepLR (gamma {self.gamma:g}, step {self.step})"

    def scheduler(self, optimizer: optim.Optimizer, epochs: int) -> optim.lr_scheduler.LRScheduler:
        return optim.lr_scheduler.StepLR(optimizer, self.step, gamma=self.gamma)


@dataclass(frozen=True)
class OneCycle:
    """A one-cycle schedule: linear warm-up over a share of the epochs, 0 < `warmup` < 1, then linear decay to 0.

    After L. Smith & N. Topin, "Super-Convergence" (arXiv:1708.07120). Here the momentum stays as it is, and so does
    the rate within an epoch: that of the epoch's middle.
    """

    warmup: float

    def __post_init__(self):
        if not 0 < self.warmup < 1:
            raise InvalidArgument(f"warmup is {self.warmup}: it should be a share of the epochs between 0 and 1")

    def __str__(self) -> str:
        return f"one-cycle schedule: linear warm-up over {100 * self.warmup:g} %, linear decay to 0"

    def scheduler(self, optimizer: optim.Optimizer, epochs: int) -> optim.lr_scheduler.LRScheduler:
        def share(epoch: int) -> float:
            done = (epoch + 0.5) / epochs
            return min(done / self.warmup, (1 - done) / (1 - self.warmup))

        return optim.lr_scheduler.LambdaLR(optimizer, share)
