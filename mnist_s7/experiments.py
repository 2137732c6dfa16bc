"""The iterations as data: what each trains, what it was to reach, and what the original series says it did.

T2 says only how it differs from T1, T3 from T2, T4 from T3. The figures of the original series are those of its
document; its claims are put here so that a run can be held against them. T4 is not in it: it is this project's own.
"""

import hashlib
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn, optim
from torchvision import transforms

from mnist_s7 import claims
from mnist_s7.claims import HEADLINE, TENTH, Claim, Document, Verdict
from mnist_s7.errors import InvalidArgument
from mnist_s7.fast import Residual, Sequential
from mnist_s7.models import MnistNet_1, MnistNet_2, MnistNet_3, MnistNet_4
from mnist_s7.results import Run, RunFileError, load_runs
from mnist_s7.transforms import AUGMENTED, ONE_AFFINE, PLAIN

__all__ = [
    "ABLATIONS",
    "EXPERIMENTS",
    "SERIES",
    "T1",
    "T2",
    "T3",
    "T4",
    "Experiment",
    "OneCycle",
    "StepDecay",
    "check_recipe",
    "is_of",
    "load_own_runs",
]


@dataclass(frozen=True)
class StepDecay:
    """A learning rate that is multiplied by `factor` every so many epochs, however many there are in all."""

    factor: float
    every: int = 1

    def __str__(self) -> str:
        return "constant" if self.factor == 1 else f"x{self.factor:g} every {self.every} epochs"

    def scheduler(self, optimizer: optim.Optimizer, epochs: int) -> optim.lr_scheduler.LRScheduler:
        return optim.lr_scheduler.StepLR(optimizer, self.every, gamma=self.factor)


@dataclass(frozen=True)
class OneCycle:
    """A learning rate that rises in a line for a share of the epochs, 0 < `rise` < 1, and falls in another to the end.

    After L. Smith & N. Topin, "Super-Convergence" (arXiv:1708.07120). Here the momentum stays as it is, and so does
    the rate within an epoch: that of the epoch's middle.
    """

    rise: float

    def __post_init__(self):
        if not 0 < self.rise < 1:
            raise InvalidArgument(f"rise is {self.rise}: it should be a share of the epochs between 0 and 1")

    def __str__(self) -> str:
        return f"rising to it for {100 * self.rise:g} % of the epochs, then falling to 0"

    def scheduler(self, optimizer: optim.Optimizer, epochs: int) -> optim.lr_scheduler.LRScheduler:
        def share(epoch: int) -> float:
            done = (epoch + 0.5) / epochs
            return min(done / self.rise, (1 - done) / (1 - self.rise))

        return optim.lr_scheduler.LambdaLR(optimizer, share)


@dataclass(frozen=True)
class Experiment:
    """One iteration: a network, how it is trained, and what is said about it.

    SGD on the mean negative log-likelihood, its learning rate set anew for each epoch.
    """

    name: str
    change: str  # the one idea, in a few words
    network: Callable[[], nn.Module]
    train_transform: transforms.Compose
    lr: float
    goal: float  # percent of test images that are to be right
    targets: tuple[Claim, ...]
    claims: tuple[Claim, ...]
    document: Document | None  # None for an iteration that the original series does not have
    schedule: StepDecay | OneCycle = StepDecay(1.0)
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

        How a network joins its layers, and the number of epochs, are not in it.
        """
        with torch.device("meta"):  # without weights, and so without random numbers
            settings = self.network(), self.train_transform, self.batch_size, self.recipe
        return hashlib.sha256("\n".join(map(repr, settings)).encode()).hexdigest()[:16]

    @property
    def parameters(self) -> int:
        """How many numbers of the network are trained."""
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in self.network().parameters())

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
        """That of each epoch."""
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
        nesterov = " with Nesterov's" if self.nesterov else ""
        weight_decay = f", weight decay {self.weight_decay:g}" if self.weight_decay else ""
        return f"SGD, momentum {self.momentum:g}{nesterov}{weight_decay}, learning rate {self.lr:g}, {self.schedule}"


def _settings_varied(run: Run) -> Verdict:
    def settings(experiment: Experiment) -> tuple[float, StepDecay | OneCycle, float]:
        dropout = next(layer.p for layer in experiment.network().modules() if isinstance(layer, nn.Dropout))
        return experiment.lr, experiment.schedule, dropout

    varied = [mine != theirs for mine, theirs in zip(settings(T3), settings(T2), strict=True)]
    return Verdict(all(varied), f"{sum(varied)} of the 3 are not T2's")


DOCUMENT_1 = Document(best_train=98.66, best_test=98.37, final_test=98.24)

T1 = Experiment(
    name="T1",
    change="a plain stack of convolutions",
    network=MnistNet_1,
    train_transform=PLAIN,
    lr=0.01,
    goal=98.0,
    targets=(
        claims.settled("about 8K parameters", claims.parameters(8_000, within=0.1)),
        Claim("above 98 % test accuracy within 10 epochs", claims.once_above(98, reached=False, last=TENTH)),
        claims.settled("no BatchNorm", claims.layers(MnistNet_1, nn.BatchNorm2d, present=False)),
        claims.settled("no regularisation (dropout)", claims.layers(MnistNet_1, nn.Dropout, present=False)),
    ),
    document=DOCUMENT_1,
    claims=(
        *claims.reproduces(DOCUMENT_1, tolerance=0.3),
        Claim("looks like underfitting before epoch 10: train below test", claims.underfits_before_tenth),
        Claim("the gap of train and test narrows after it", claims.gap_narrows),
        Claim("then train overtakes test", claims.train_overtakes),
    ),
)

DOCUMENT_2 = Document(best_train=98.87, best_test=99.47, final_test=99.34)

T2 = replace(
    T1,
    name="T2",
    change="BatchNorm, dropout, a global average pool, turned digits, a falling learning rate",
    network=MnistNet_2,
    train_transform=AUGMENTED,
    lr=0.075,
    goal=HEADLINE,
    schedule=StepDecay(0.65, every=2),
    nesterov=True,
    targets=(
        claims.settled("fewer than 8K parameters", claims.parameters(8_000)),
        claims.settled("with BatchNorm", claims.layers(MnistNet_2, nn.BatchNorm2d, present=True)),
        claims.settled("with regularisation (dropout)", claims.layers(MnistNet_2, nn.Dropout, present=True)),
        claims.compares("vary the dropout rate", "T2-dropout-0.01", "T2", claims.final, "points", better=False),
    ),
    document=DOCUMENT_2,
    claims=(
        *claims.reproduces(DOCUMENT_2, tolerance=0.2),
        Claim(f"reaches {HEADLINE:g} % but is not consistent", claims.not_consistent),
        Claim("train accuracy stays under 99 %", claims.train_stays_below_99),
    ),
)

DOCUMENT_3 = Document(best_train=98.92, best_test=99.45, final_test=99.40)

T3 = replace(
    T2,
    name="T3",
    change="fewer channels, less dropout, a learning rate that falls later and faster",
    network=MnistNet_3,
    lr=0.05,
    schedule=StepDecay(0.35, every=4),
    nesterov=False,
    targets=(
        claims.settled("fewer than 7K parameters", claims.parameters(7_000)),
        claims.settled("with BatchNorm", claims.layers(MnistNet_3, nn.BatchNorm2d, present=True)),
        claims.settled("with regularisation (dropout)", claims.layers(MnistNet_3, nn.Dropout, present=True)),
        claims.settled("vary learning rate, scheduler and dropout", _settings_varied),
        Claim(
            f"at least {HEADLINE:g} % test accuracy once before the 10th epoch (in epochs 0 to 9)",
            claims.once_above(HEADLINE, reached=True, last=TENTH),
        ),
    ),
    document=DOCUMENT_3,
    claims=(
        *claims.reproduces(DOCUMENT_3, tolerance=0.2),
        Claim(f"at least {HEADLINE:g} % in every epoch from the tenth (epoch 9) on", claims.consistent),
        Claim("train accuracy stays under 99 %", claims.train_stays_below_99),
        claims.compares("dropout 0.01 does better than 0.05", "T3", "T3-dropout-0.05", claims.final, "points"),
        claims.compares(
            f"is more consistent than T2: more epochs at {HEADLINE:g} % from the tenth on",
            *("T3", "T2"),
            claims.epochs_at_headline,
            "epochs",
        ),
    ),
)

# Every choice was made on the last 10,000 training images, none on the test set: notebooks/results/search_T4.csv.
T4 = replace(
    T3,
    name="T4",
    change="depthwise separable and residual convolutions, digits also shifted and scaled, one learning rate cycle, "
    "weight decay for dropout",
    network=MnistNet_4,
    train_transform=ONE_AFFINE,
    lr=0.2,
    schedule=OneCycle(rise=0.2),
    nesterov=True,
    weight_decay=1e-4,
    goal=99.6,
    targets=(
        claims.settled("fewer than 8K parameters", claims.parameters(8_000)),
        claims.mean_of_finals(99.6, seeds=20),
        claims.every_final(99.5),
    ),
    claims=(),
    document=None,
)

SERIES = (T1, T2, T3, T4)


# What an idea is worth: an iteration with that part alone changed. They have no targets and no claims of their own.


def _variant(experiment: Experiment, what: str, change: str, **changes) -> Experiment:
    name = f"{experiment.name}-{what}"
    return replace(experiment, name=name, change=change, targets=(), claims=(), document=None, **changes)


def _without_norm() -> nn.Module:
    """T3's network without its BatchNorm layers."""
    network = MnistNet_3()
    for name, block in network.named_children():
        if isinstance(block, Sequential):
            setattr(network, name, Sequential(*(layer for layer in block if not isinstance(layer, nn.BatchNorm2d))))
    return network


def _turned_by(kind: type) -> transforms.Compose:
    """T3's transforms with one of its two turns."""
    turns = (transforms.RandomRotation, transforms.RandomAffine)
    return transforms.Compose(
        [t for t in T3.train_transform.transforms if isinstance(t, kind) or not isinstance(t, turns)]
    )


def _without_residuals() -> nn.Module:
    """T4's network, with nothing added to its separable convolutions: the same layers, with the same parameters."""
    network = MnistNet_4()
    for block in (network.block1, network.block2, network.block3):
        for name, layer in block.named_children():
            if isinstance(layer, Residual):
                setattr(block, name, Sequential(*layer.branch, nn.ReLU()))
    return network


def _with_dropout() -> nn.Module:
    """T4's network, with T3's dropout behind each ReLU but those of the residuals' sums."""
    network = MnistNet_4()
    for layers in [module for module in network.modules() if isinstance(module, Sequential)]:
        for place in reversed(range(len(layers))):
            if isinstance(layers[place], nn.ReLU):
                layers.insert(place + 1, nn.Dropout(0.01))
    return network


def _full_convolutions() -> nn.Module:
    """As many parameters as T4's network has, in full 3x3 convolutions with as many pools: 7,852."""

    def layers(*channels: int) -> Iterator[nn.Module]:
        for channels_in, channels_out in pairwise(channels):
            yield nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
            yield from (nn.BatchNorm2d(channels_out), nn.ReLU())

    return nn.Sequential(
        Sequential(*layers(1, 8, 8), nn.MaxPool2d(2), *layers(8, 13, 14), nn.MaxPool2d(2), *layers(14, 16, 16)),
        nn.AdaptiveAvgPool2d(1),
        Sequential(nn.Conv2d(16, 10, 1, bias=False), nn.Flatten(), nn.LogSoftmax(1)),
    )


ABLATIONS = (
    _variant(T2, "dropout-0.01", "dropout 0.01 for 0.05", network=partial(MnistNet_2, dropout=0.01)),
    _variant(T3, "dropout-0.05", "dropout 0.05 for 0.01", network=partial(MnistNet_3, dropout=0.05)),
    _variant(T3, "no-batchnorm", "no BatchNorm", network=_without_norm),
    _variant(T3, "no-augmentation", "digits as they are", train_transform=PLAIN),
    _variant(
        T3, "rotation-7", "the turn by up to 7 degrees alone", train_transform=_turned_by(transforms.RandomRotation)
    ),
    _variant(
        T3, "rotation-15", "the turn by up to 15 degrees alone", train_transform=_turned_by(transforms.RandomAffine)
    ),
    _variant(T4, "6.5K", "narrower, to T3's size", network=partial(MnistNet_4, widths=(16, 28, 28, 36))),
    _variant(T4, "5K", "narrower, to 5,000 parameters", network=partial(MnistNet_4, widths=(12, 24, 24, 32))),
    _variant(T4, "4K", "narrower, to half the parameters", network=partial(MnistNet_4, widths=(12, 20, 20, 28))),
    _variant(T4, "no-residual", "nothing added to the separable convolutions", network=_without_residuals),
    _variant(T4, "full", "as many parameters in full 3x3 convolutions", network=_full_convolutions),
    _variant(T4, "turns", "T3's two turns, nothing shifted or scaled", train_transform=T3.train_transform),
    _variant(
        T4,
        "steps",
        "T3's learning rate and its steps, no Nesterov momentum",
        lr=T3.lr,
        schedule=T3.schedule,
        nesterov=T3.nesterov,
    ),
    _variant(T4, "no-decay", "no weight decay", weight_decay=0.0),
    _variant(T4, "dropout-0.01", "T3's dropout", network=_with_dropout),
)

EXPERIMENTS = {experiment.name: experiment for experiment in (*SERIES, *ABLATIONS)}


def check_recipe(run: Run, path: str | os.PathLike) -> None:
    """Raise `RunFileError`, naming the run's file, unless it was trained as the experiment of its name is today.

    Of experiments that are not known here, nothing can be said.
    """
    experiment = EXPERIMENTS.get(run.experiment)
    if experiment is None:
        return
    if not is_of(run, experiment):
        raise RunFileError(
            f"{path}: a run of another recipe than {run.experiment} has today: one of the two has been changed; "
            "train it again, choose another folder, or move the file"
        )


def is_of(run: Run, experiment: Experiment) -> bool:
    """Whether the run was trained as `experiment` says."""
    fingerprint, parameters, rates = _expected(experiment, len(run.epochs))
    same = (run.recipe, run.parameters) == (fingerprint, parameters)
    return same and all(map(math.isclose, rates, (epoch.lr for epoch in run.epochs)))


@cache  # many runs are of one experiment
def _expected(experiment: Experiment, epochs: int) -> tuple[str, int, list[float]]:
    return experiment.fingerprint, experiment.parameters, experiment.learning_rates(epochs)


def load_own_runs(folder: str | os.PathLike) -> list[Run]:
    """`load_runs`, each run checked by `check_recipe`."""
    runs = load_runs(folder)
    for run in runs:
        check_recipe(run, Path(folder) / f"{run.name}.json")
    return runs
