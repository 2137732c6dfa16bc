"""Learning-rate schedules and early stopping as data, and `Stepping`, which sets the rates as a network is trained."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import ClassVar

from torch import optim
from torch.optim.lr_scheduler import LRScheduler

from mnist_s7 import InvalidArgument


class Stepped(Enum):
    """What a schedule sets the rate again after. What it does after an epoch can be told in advance."""

    EPOCH = auto()
    STEP = auto()
    TRAINING_LOSS = auto()  # an epoch's
    TEST_LOSS = auto()


@dataclass(frozen=True)
class StepLR:
    """A learning rate that is multiplied by `gamma` every `step` epochs, however many there are in all."""

    gamma: float
    step: int = 1
    stepped: ClassVar = Stepped.EPOCH

    def __str__(self) -> str:
        return "constant" if self.gamma == 1 else f"StepLR (gamma {self.gamma:g}, step {self.step})"

    def scheduler(self, optimizer: optim.Optimizer, epochs: int, steps_per_epoch: int = 1) -> LRScheduler:
        return optim.lr_scheduler.StepLR(optimizer, self.step, gamma=self.gamma)


@dataclass(frozen=True)
class OneCycle:
    """A one-cycle schedule: linear warm-up over a share of the epochs, 0 < `warmup` < 1, then linear decay to 0.

    After L. Smith & N. Topin, "Super-Convergence" (arXiv:1708.07120). Here the momentum stays as it is, and so does
    the rate within an epoch: that of the epoch's middle.
    """

    warmup: float
    stepped: ClassVar = Stepped.EPOCH

    def __post_init__(self):
        if not 0 < self.warmup < 1:
            raise InvalidArgument(f"warmup is {self.warmup}: it should be a share of the epochs between 0 and 1")

    def __str__(self) -> str:
        return f"one-cycle schedule: linear warm-up over {100 * self.warmup:g} %, linear decay to 0"

    def scheduler(self, optimizer: optim.Optimizer, epochs: int, steps_per_epoch: int = 1) -> LRScheduler:
        def share(epoch: int) -> float:
            done = (epoch + 0.5) / epochs
            return min(done / self.warmup, (1 - done) / (1 - self.warmup))

        return optim.lr_scheduler.LambdaLR(optimizer, share)


@dataclass(frozen=True)
class RateTable:
    """The learning rate of each epoch, in a table whose first is the experiment's."""

    rates: tuple[float, ...]
    stepped: ClassVar = Stepped.EPOCH

    def __str__(self) -> str:
        return f"a table of {len(self.rates)} epochs, {self.rates[0]:g} to {self.rates[-1]:.2g}"

    def scheduler(self, optimizer: optim.Optimizer, epochs: int, steps_per_epoch: int = 1) -> LRScheduler:
        if epochs > len(self.rates):
            raise InvalidArgument(f"epochs is {epochs}, and the table of learning rates ends after {len(self.rates)}")
        last = len(self.rates) - 1  # asked for once more, after the last epoch
        return optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: self.rates[min(epoch, last)] / self.rates[0])


@dataclass(frozen=True)
class OneCycleLR:
    """PyTorch's OneCycleLR, whose highest rate is the experiment's, set again after each step: from highest /
    `div_factor` up over a share `pct_start` of all steps, and down to the first / `final_div_factor`, each along half a
    cosine.

    With `cycle_momentum`, PyTorch's default, the momentum falls from 0.95 to 0.85 and rises again, whatever the
    optimiser was told; Adam's beta1 does.
    """

    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    cycle_momentum: bool = True
    stepped: ClassVar = Stepped.STEP

    def __str__(self) -> str:
        momentum = "momentum from 0.95 to 0.85 and back" if self.cycle_momentum else "constant momentum"
        return f"OneCycleLR (rising over {100 * self.pct_start:g} %, cosine, {momentum})"

    def scheduler(self, optimizer: optim.Optimizer, epochs: int, steps_per_epoch: int = 1) -> LRScheduler:
        return optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=optimizer.param_groups[0]["lr"],
            total_steps=epochs * steps_per_epoch,
            pct_start=self.pct_start,
            div_factor=self.div_factor,
            final_div_factor=self.final_div_factor,
            cycle_momentum=self.cycle_momentum,
        )


@dataclass(frozen=True)
class ReduceLROnPlateau:
    """A learning rate that is multiplied by `factor`, down to `min_lr`, after more than `patience` epochs in which the
    mean training loss was not below the lowest by `threshold`: in nats, or that share of it where it is `relative`.
    """

    factor: float = 0.1
    patience: int = 10
    min_lr: float = 0.0
    threshold: float = 1e-4
    relative: bool = True
    stepped: ClassVar = Stepped.TRAINING_LOSS

    def __str__(self) -> str:
        return f"ReduceLROnPlateau (training loss, factor {self.factor:g}, patience {self.patience})"

    def scheduler(self, optimizer: optim.Optimizer, epochs: int, steps_per_epoch: int = 1) -> LRScheduler:
        return optim.lr_scheduler.ReduceLROnPlateau(
            optimizer,
            factor=self.factor,
            patience=self.patience,
            min_lr=self.min_lr,
            threshold=self.threshold,
            threshold_mode="rel" if self.relative else "abs",
        )


@dataclass(frozen=True)
class PlateauOnTestSet(ReduceLROnPlateau):
    """The same by the mean loss on the test set, which so selects the learning rates: as in a program whose accuracy is
    to be measured again, and in no recipe of one's own."""

    stepped: ClassVar = Stepped.TEST_LOSS

    def __str__(self) -> str:
        return f"ReduceLROnPlateau (test loss, factor {self.factor:g}, patience {self.patience})"


@dataclass(frozen=True)
class EarlyStopping:
    """Ends a run once the test accuracy has not been above its highest for `patience` epochs.

    The test set so selects how long a run is: for the recipes of others, whose accuracy is to be measured again, and
    for none of one's own.
    """

    patience: int

    def __post_init__(self):
        if self.patience < 1:
            raise InvalidArgument(f"patience is {self.patience}: it should be 1 epoch or more")

    def __str__(self) -> str:
        return f"early stopping (test accuracy, patience {self.patience})"

    def epochs(self, test_accuracies: Iterable[float]) -> int | None:
        """After how many epochs with these test accuracies a run ends; None where it goes on after all of them."""
        best, since = -math.inf, 0
        for epochs, accuracy in enumerate(test_accuracies, start=1):
            best, since = (accuracy, 0) if accuracy > best else (best, since + 1)
            if since == self.patience:
                return epochs
        return None


Schedule = StepLR | OneCycle | RateTable | OneCycleLR | ReduceLROnPlateau | PlateauOnTestSet


class Stepping:
    """A schedule at work on an optimiser, over `epochs` of so many steps each."""

    def __init__(self, schedule: Schedule, optimizer: optim.Optimizer, epochs: int, steps_per_epoch: int):
        self.stepped = schedule.stepped
        self.scheduler = schedule.scheduler(optimizer, epochs, steps_per_epoch)

    def after_step(self) -> None:
        if self.stepped is Stepped.STEP:
            self.scheduler.step()

    def after_epoch(self, train_loss: float, test_loss: float) -> None:
        """The losses are the epoch's means, in nats."""
        if self.stepped is Stepped.EPOCH:
            self.scheduler.step()
        elif self.stepped is Stepped.TRAINING_LOSS:
            self.scheduler.step(train_loss)
        elif self.stepped is Stepped.TEST_LOSS:
            self.scheduler.step(test_loss)
