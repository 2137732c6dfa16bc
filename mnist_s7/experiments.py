"""The iterations as data: what each trains, what it was to reach, and what the reference series says it did.

T2 says only how it differs from T1, T3 from T2, T4 from T3. The figures of the reference series are its
own; its claims are put here so that runs can be compared with them. T4 is not in it: it is this project's own.
"""

import hashlib
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial

import torch
from torch import nn, optim
from torchvision import transforms

from mnist_s7 import InvalidArgument
from mnist_s7.models import (
    MnistNet_1,
    MnistNet_2,
    MnistNet_3,
    MnistNet_4,
    standard_convolutions,
    with_dropout,
    without_batchnorm,
    without_skips,
)
from mnist_s7.results import Run, claims
from mnist_s7.results.claims import HEADLINE, TENTH, Claim, Reference, Verdict
from mnist_s7.transforms import AUGMENTED, ONE_AFFINE, PLAIN


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


@dataclass(frozen=True)
class Experiment:
    """One iteration: a network, how it is trained, and what is said about it.

    SGD on the mean negative log-likelihood, its learning rate set again for each epoch.
    """

    name: str
    title: str  # its one idea
    change: str  # what differs from the iteration before
    network: Callable[[], nn.Module]
    train_transform: transforms.Compose
    lr: float
    goal: float  # percent of test images that are to be right
    targets: tuple[Claim, ...]
    claims: tuple[Claim, ...]
    reference: Reference | None  # None for an iteration that the reference series does not have
    schedule: StepLR | OneCycle = StepLR(1.0)
    nesterov: bool = False
    momentum: float = 0.9
    weight_decay: float = 0.0
    batch_size: int = 128
    epochs: int = 15

    def __post_init__(self):
        if not self.name or "/" in self.name or os.sep in self.name:
            raise InvalidArgument(f"name is {self.name!r}: runs' files are named after it, so that it cannot be a path")

    @property
    def fingerprint(self) -> str:
        """Another one whenever a layer of the network or a setting of its training is: a run says which it is of.

        How a network's forward connects its layers, and the number of epochs, are not in it.
        """
        optimizer = self.lr, self.momentum, self.nesterov, self.weight_decay, self.schedule
        settings = self._on_meta(), self.train_transform, self.batch_size, *optimizer
        return hashlib.sha256("\n".join(map(repr, settings)).encode()).hexdigest()[:16]

    @property
    def parameters(self) -> int:
        """How many numbers of the network are trained."""
        return sum(parameter.numel() for parameter in self._on_meta().parameters())

    def optimizer(self, model: nn.Module) -> optim.Optimizer:
        return optim.SGD(
            model.parameters(),
            lr=self.lr,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
        )

    def scheduler(self, optimizer: optim.Optimizer, epochs: int) -> optim.lr_scheduler.LRScheduler:
        """Stepped once an epoch, after it."""
        return self.schedule.scheduler(optimizer, epochs)

    def learning_rates(self, epochs: int) -> list[float]:
        """That of each epoch, as it is used."""
        optimizer = self.optimizer(nn.Linear(1, 1, device="meta"))  # without random numbers
        scheduler = self.scheduler(optimizer, epochs)
        rates = []
        for _ in range(epochs):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()  # without gradients it moves nothing; PyTorch warns of a schedule that is ahead of it
            scheduler.step()
        return rates

    @property
    def recipe(self) -> str:
        """The optimiser and the learning rate's course, for a person to read."""
        highest = max(self.learning_rates(self.epochs))
        nesterov = "Nesterov momentum" if self.nesterov else "momentum"
        weight_decay = f", weight decay {self.weight_decay:g}" if self.weight_decay else ""
        rate = "learning rate" if self.schedule == StepLR(1.0) else "highest learning rate"
        return f"SGD, {nesterov} {self.momentum:g}{weight_decay}, {rate} {highest:.4g}, {self.schedule}"

    def matches(self, run: Run) -> bool:
        """Whether the run was trained as this says."""
        expected = _expected(self, len(run.epochs))
        same = (run.fingerprint, run.parameters) == expected[:2]
        return same and all(map(math.isclose, expected[2], (epoch.lr for epoch in run.epochs)))

    def _on_meta(self) -> nn.Module:
        """The network without weights, and so without random numbers."""
        with torch.device("meta"):
            return self.network()


@cache  # many runs are of one experiment
def _expected(experiment: Experiment, epochs: int) -> tuple[str, int, list[float]]:
    return experiment.fingerprint, experiment.parameters, experiment.learning_rates(epochs)


def start_alike(one: Experiment, other: Experiment) -> bool:
    """Whether the two networks start from the same weights with the same seed, being variants of one: then their runs
    are compared seed by seed."""
    shapes = [[parameter.shape for parameter in each._on_meta().parameters()] for each in (one, other)]
    return shapes[0] == shapes[1]


def _settings_varied(run: Run) -> Verdict:
    def settings(experiment: Experiment) -> tuple[float, StepLR | OneCycle, float]:
        dropout = next(layer.p for layer in experiment.network().modules() if isinstance(layer, nn.Dropout))
        return experiment.lr, experiment.schedule, dropout

    varied = [mine != theirs for mine, theirs in zip(settings(T3), settings(T2), strict=True)]
    return Verdict(all(varied), f"{sum(varied)} of 3 differ from T2's")


REFERENCE_1 = Reference(best_train=98.66, best_test=98.37, final_test=98.24)

T1 = Experiment(
    name="T1",
    title="a plain stack of convolutions",
    change="convolutions, ReLU, a max pool, and a 5x5 convolution at the end",
    network=MnistNet_1,
    train_transform=PLAIN,
    lr=0.01,
    goal=98.0,
    targets=(
        claims.of_recipe("about 8K parameters", claims.parameters(8_000, within=0.1)),
        Claim("above 98 % test accuracy within 10 epochs", claims.once_above(98, reached=False, last=TENTH)),
        claims.of_recipe("no BatchNorm", claims.layers(MnistNet_1, nn.BatchNorm2d, present=False)),
        claims.of_recipe("no regularisation (dropout)", claims.layers(MnistNet_1, nn.Dropout, present=False)),
    ),
    reference=REFERENCE_1,
    claims=(
        *claims.reproduces(REFERENCE_1, tolerance=0.3),
        Claim("looks like underfitting before epoch 10: train below test on average", claims.underfits_before_tenth),
        Claim("the gap of train and test narrows after epoch 9", claims.gap_narrows),
        Claim("train is above test in the final epoch", claims.train_overtakes),
    ),
)

REFERENCE_2 = Reference(best_train=98.87, best_test=99.47, final_test=99.34)

T2 = replace(
    T1,
    name="T2",
    title="BatchNorm, dropout, rotations",
    change="BatchNorm, dropout, a global average pool, rotations, learning-rate decay",
    network=MnistNet_2,
    train_transform=AUGMENTED,
    lr=0.075,
    goal=HEADLINE,
    schedule=StepLR(gamma=0.65, step=2),
    nesterov=True,
    targets=(
        claims.of_recipe("fewer than 8K parameters", claims.parameters(8_000)),
        claims.of_recipe("with BatchNorm", claims.layers(MnistNet_2, nn.BatchNorm2d, present=True)),
        claims.of_recipe("with regularisation (dropout)", claims.layers(MnistNet_2, nn.Dropout, present=True)),
        claims.compares(
            "vary the dropout rate", "T2-dropout-0.01", "T2", claims.final, "pp", paired=True, better=False
        ),
    ),
    reference=REFERENCE_2,
    claims=(
        *claims.reproduces(REFERENCE_2, tolerance=0.2),
        Claim(f"reaches {HEADLINE:g} % but is not consistent", claims.not_consistent),
        Claim("train accuracy stays under 99 %", claims.train_stays_below_99),
    ),
)

REFERENCE_3 = Reference(best_train=98.92, best_test=99.45, final_test=99.40)

T3 = replace(
    T2,
    name="T3",
    title="fewer parameters, larger learning-rate steps",
    change="fewer channels, less dropout, learning-rate decay in larger steps",
    network=MnistNet_3,
    lr=0.05,
    schedule=StepLR(gamma=0.35, step=4),
    nesterov=False,
    targets=(
        claims.of_recipe("fewer than 7K parameters", claims.parameters(7_000)),
        claims.of_recipe("with BatchNorm", claims.layers(MnistNet_3, nn.BatchNorm2d, present=True)),
        claims.of_recipe("with regularisation (dropout)", claims.layers(MnistNet_3, nn.Dropout, present=True)),
        claims.of_recipe("vary learning rate, scheduler and dropout", _settings_varied),
        Claim(
            f"at least {HEADLINE:g} % test accuracy once before the 10th epoch (in epochs 0 to 9)",
            claims.once_above(HEADLINE, reached=True, last=TENTH),
        ),
    ),
    reference=REFERENCE_3,
    claims=(
        *claims.reproduces(REFERENCE_3, tolerance=0.2),
        Claim(f"at least {HEADLINE:g} % in every epoch from the tenth (epoch 9) on", claims.consistent),
        Claim("train accuracy stays under 99 %", claims.train_stays_below_99),
        claims.compares("dropout 0.01 does better than 0.05", "T3", "T3-dropout-0.05", claims.final, "pp", paired=True),
        claims.compares(
            f"is more consistent than T2: more epochs at {HEADLINE:g} % from the tenth on",
            *("T3", "T2"),
            claims.epochs_at_headline,
            "epochs",
            paired=False,
        ),
    ),
)

# Every choice was made on a validation set of 10,000 training images: notebooks/results/search_T4.csv.
T4 = replace(
    T3,
    name="T4",
    title="more layers for the same parameters",
    change="depthwise separable and residual convolutions, shifts and scaling, one-cycle schedule, weight decay",
    network=MnistNet_4,
    train_transform=ONE_AFFINE,
    lr=0.2,  # where warm-up and decay meet, between two epochs: no epoch has it, the highest one is a little lower
    schedule=OneCycle(warmup=0.2),
    nesterov=True,
    weight_decay=1e-4,
    goal=99.6,
    targets=(
        claims.of_recipe("fewer than 8K parameters", claims.parameters(8_000)),
        claims.mean_of_finals(99.6, seeds=20),
        claims.every_final(99.5),
    ),
    claims=(),
    reference=None,
)

SERIES = (T1, T2, T3, T4)


# An iteration with one part changed, for ablation studies. They have no targets and no claims of their own.


def _variant(experiment: Experiment, what: str, change: str, **changes) -> Experiment:
    name = f"{experiment.name}-{what}"
    return replace(experiment, name=name, change=change, targets=(), claims=(), reference=None, **changes)


def _rotated_by(kind: type) -> transforms.Compose:
    """T3's transforms with one of its two rotations."""
    rotations = (transforms.RandomRotation, transforms.RandomAffine)
    return transforms.Compose(
        [t for t in T3.train_transform.transforms if isinstance(t, kind) or not isinstance(t, rotations)]
    )


ABLATIONS = (
    _variant(T2, "dropout-0.01", "dropout 0.01 instead of 0.05", network=partial(MnistNet_2, dropout=0.01)),
    _variant(T3, "dropout-0.05", "dropout 0.05 instead of 0.01", network=partial(MnistNet_3, dropout=0.05)),
    _variant(T3, "no-batchnorm", "no BatchNorm", network=without_batchnorm),
    _variant(T3, "no-augmentation", "no augmentation", train_transform=PLAIN),
    _variant(
        T3, "rotation-7", "the rotation by up to 7° alone", train_transform=_rotated_by(transforms.RandomRotation)
    ),
    _variant(
        T3, "rotation-15", "the rotation by up to 15° alone", train_transform=_rotated_by(transforms.RandomAffine)
    ),
    _variant(T4, "6.5K", "narrower, to T3's size", network=partial(MnistNet_4, widths=(16, 28, 28, 36))),
    _variant(T4, "5K", "narrower, to 5,000 parameters", network=partial(MnistNet_4, widths=(12, 24, 24, 32))),
    _variant(T4, "4K", "narrower, to half the parameters", network=partial(MnistNet_4, widths=(12, 20, 20, 28))),
    _variant(T4, "no-skip", "no skip connections", network=without_skips),
    _variant(T4, "standard", "as many parameters in standard 3x3 convolutions", network=standard_convolutions),
    _variant(T4, "rotations", "T3's two rotations, no shifts or scaling", train_transform=T3.train_transform),
    _variant(
        T4,
        "StepLR",
        "T3's learning rate and schedule, no Nesterov momentum",
        lr=T3.lr,
        schedule=T3.schedule,
        nesterov=T3.nesterov,
    ),
    _variant(T4, "no-weight-decay", "no weight decay", weight_decay=0.0),
    _variant(T4, "dropout-0.01", "T3's dropout added", network=with_dropout),
)

EXPERIMENTS = {experiment.name: experiment for experiment in (*SERIES, *ABLATIONS)}


def base_of(variant: Experiment) -> Experiment:
    """The iteration that one of `ABLATIONS` is a variant of."""
    return EXPERIMENTS[variant.name.partition("-")[0]]
