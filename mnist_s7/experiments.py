"""The iterations as data: what each trains, what it was to reach, and what the reference series says it did.

T2 says only how it differs from T1, T3 from T2, T4 from T3. The figures of the reference series are its
own; its claims are put here so that runs can be compared with them. T4 is not in it: it is this project's own.
"""

import hashlib
import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import nn, optim
from torchvision import transforms

from mnist_s7 import InvalidArgument
from mnist_s7.distillation import Distillation
from mnist_s7.models import MnistNet_1, MnistNet_2, MnistNet_3, MnistNet_4, MnistNet_5, Teacher
from mnist_s7.optimizers import SGD, Adam
from mnist_s7.results import Epoch, Run, claims
from mnist_s7.results.claims import HEADLINE, TENTH, Claim, Reference, Verdict
from mnist_s7.results.machine import torch_defaults
from mnist_s7.schedules import EarlyStopping, OneCycle, OneCycleLR, Schedule, StepLR, Stepped, Stepping
from mnist_s7.source_code import foreign_source
from mnist_s7.transforms import AUGMENTED, ELASTIC, ONE_AFFINE, PLAIN

NUMBERS = {bool: bool, int: int, float: (int, float)}  # what may stand for each type

# What a setting may be: its type, the least value, and the one that it stays below.
SETTINGS = {
    "lr": (float, 0, 3e38),  # as float32 has it
    "momentum": (float, 0, 1),
    "nesterov": (bool, False, math.inf),
    "weight_decay": (float, 0, 3e38),
    "batch_size": (int, 1, 10**9),
    "epochs": (int, 1, 10**6 + 1),
}


@dataclass(frozen=True)
class Experiment:
    """One iteration: a network, how it is trained, and what is said about it. The loss is the mean negative
    log-likelihood, or that of its `distillation`."""

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
    schedule: Schedule = StepLR(1.0)
    nesterov: bool = False
    momentum: float = 0.9  # Adam's beta1
    weight_decay: float = 0.0
    batch_size: int = 128
    epochs: int = 15
    algorithm: SGD | Adam = SGD()
    left_out: float = 0.0  # the share of the training images, the last ones, that the network is not trained on
    distillation: Distillation | None = None  # where others teach it: soft targets in place of labels, or beside them
    early_stopping: EarlyStopping | None = None  # then `epochs` is the maximum

    def __post_init__(self):
        name = self.name
        if not isinstance(name, str) or not name.isprintable() or len(name) > 100 or name != name.strip(" .-"):
            raise InvalidArgument(f"name is {str(name)[:120]!r}: up to 100 letters, digits and signs are needed")
        if not name or "/" in name or os.sep in name:
            raise InvalidArgument(f"name is {name!r}: runs' files are named after it, so that it cannot be a path")
        for setting, (kind, least, below) in SETTINGS.items():
            value = getattr(self, setting)
            fits = isinstance(value, NUMBERS[kind]) and (type(value) is bool) == (kind is bool)
            if not fits or not least <= value < below:
                limits = f", {least} or more" + (f" and below {below:g}" if below < math.inf else "")
                what = {int: f"a whole number{limits}", float: f"a number{limits}", bool: "True or False"}[kind]
                raise InvalidArgument(f"{self.name}: {setting} is {value!r}, and should be {what}")
        if self.nesterov and not self.momentum:
            raise InvalidArgument(f"{self.name}: Nesterov momentum needs a momentum above 0")
        if self.early_stopping and isinstance(self.schedule, OneCycle | OneCycleLR):
            raise InvalidArgument(f"{self.name}: early stopping needs a schedule that does not plan all epochs ahead")
        if self.nesterov and not isinstance(self.algorithm, SGD):
            raise InvalidArgument(f"{self.name}: Nesterov momentum is SGD's; leave nesterov out, or train with SGD")

    @property
    def fingerprint(self) -> str:
        """Another one whenever a layer of the network or a setting of its training is: a run says which it is of.

        How a forward of `models` connects its layers is not in it, nor is the number of epochs. Of other networks,
        which change more often, the source of their classes is.
        """
        network = self.untrained()
        optimizer = float(self.lr), float(self.momentum), self.nesterov, float(self.weight_decay), self.schedule
        # What the first runs did not have is there only where it is used: those runs' fingerprints hold.
        added = [each for each in (self.algorithm, self.left_out) if each not in (SGD(), 0.0)]
        added += [self.distillation.settings] if self.distillation else []
        added += [self.early_stopping] if self.early_stopping else []
        settings = network, self.train_transform, self.batch_size, *optimizer, *added, *foreign_source(network)
        text = re.sub(r" at 0x[0-9a-f]+", "", "\n".join(map(repr, settings)))  # addresses of functions that are shown
        # After PyTorch 2.11 norms also say whether they have a bias, which by default they have where they are affine.
        text = re.sub(r"(Norm\w*\(.*affine=(\w+))(?=, track|\)$)", r"\1, bias=\2", text, flags=re.MULTILINE)
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]

    @property
    def parameters(self) -> int:
        """How many numbers of the network are trained."""
        return sum(parameter.numel() for parameter in self.untrained().parameters())

    def optimizer(self, model: nn.Module) -> optim.Optimizer:
        settings = self.lr, self.momentum, self.nesterov, self.weight_decay
        return self.algorithm.optimizer(model.parameters(), *settings)

    def stepping(self, optimizer: optim.Optimizer, epochs: int, images: int) -> Stepping:
        """The schedule at work on the optimiser, over epochs of so many images."""
        return Stepping(self.schedule, optimizer, epochs, -(-images // self.batch_size))

    def trained_on(self, images: int) -> int:
        """On how many of so many training images the network is trained: the first ones."""
        return int(images * (1 - self.left_out))

    def learning_rates(self, epochs: int) -> list[float]:
        """That of each epoch, as it is used. Raises `InvalidArgument` for a schedule that changes it within an epoch,
        or by how training goes."""
        if self.schedule.stepped is not Stepped.EPOCH:
            raise InvalidArgument(f"{self.name}: no learning rate of an epoch is known in advance with {self.schedule}")
        optimizer = self.optimizer(nn.Linear(1, 1, device="meta"))  # without random numbers
        scheduler = self.schedule.scheduler(optimizer, epochs)
        rates = []
        for _ in range(epochs):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()  # without gradients it moves nothing; PyTorch warns of a schedule that is ahead of it
            scheduler.step()
        return rates

    @property
    def optimisation(self) -> str:
        """The optimiser, the learning rate's course and when it stops, for a person to read."""
        known = self.schedule.stepped is Stepped.EPOCH
        highest = max(self.learning_rates(self.epochs)) if known else self.lr
        algorithm = self.algorithm.described(self.momentum, self.nesterov)
        weight_decay = f", weight decay {self.weight_decay:g}" if self.weight_decay else ""
        rate = "learning rate" if self.schedule == StepLR(1.0) else "highest learning rate"
        stopping = f", {self.early_stopping}" if self.early_stopping else ""
        return f"{algorithm}{weight_decay}, {rate} {highest:.4g}, {self.schedule}{stopping}"

    @property
    def recipe(self) -> str:
        """What it is trained on where that is not labels, and its `optimisation`."""
        return f"{self.distillation}; {self.optimisation}" if self.distillation else self.optimisation

    def matches(self, run: Run) -> bool:
        """Whether the run was trained as this says; its learning rates, too, where they are known in advance."""
        fingerprint, parameters, rates = _expected(self, len(run.epochs))
        same = (run.fingerprint, run.parameters) == (fingerprint, parameters)
        return same and (rates is None or all(map(math.isclose, rates, (epoch.lr for epoch in run.epochs))))

    def is_whole(self, records: Sequence[Epoch], epochs: int) -> bool:
        """Whether a run of at most so many epochs is at its end after these."""
        ended = self.early_stopping and self.early_stopping.epochs(record.test_accuracy for record in records)
        return len(records) == min(epochs, ended or epochs)

    def untrained(self) -> nn.Module:
        """The network as it is built, on the CPU. PyTorch's random state is left as it was."""
        with torch.random.fork_rng(devices=[]), torch_defaults():
            return self.network()


@cache  # many runs are of one experiment
def _expected(experiment: Experiment, epochs: int) -> tuple[str, int, list[float] | None]:
    known = experiment.schedule.stepped is Stepped.EPOCH
    return experiment.fingerprint, experiment.parameters, experiment.learning_rates(epochs) if known else None


def start_alike(one: Experiment, other: Experiment) -> bool:
    """Whether the two networks start from the same weights with the same seed, being variants of one: then their runs
    are compared seed by seed."""
    shapes = [[parameter.shape for parameter in each.untrained().parameters()] for each in (one, other)]
    return shapes[0] == shapes[1]


def _settings_varied(run: Run) -> Verdict:
    def settings(experiment: Experiment) -> tuple[float, Schedule, float]:
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

# T5 and its teachers were chosen as T4 was: notebooks/results/search_T5.csv. With nine times T4's parameters a network
# can come closer to learning its images by heart. So the teachers have elastic deformation and five times the weight
# decay; the second was not searched for, and of the first the file has one seed without it, which says little.
T5_TEACHER = replace(
    T4,
    name="T5-teacher",
    title="teaches T5",
    change="standard convolutions, elastic deformation, more weight decay, 20 epochs",
    network=Teacher,
    train_transform=ELASTIC,
    weight_decay=5e-4,
    epochs=20,
    targets=(),
)

T5 = replace(
    T4,
    name="T5",
    title="taught by larger networks",
    change="knowledge distillation from four larger networks, a later second pool, anti-aliased pools",
    network=MnistNet_5,
    distillation=Distillation(T5_TEACHER, teachers=4, temperature=2.0),
)

SERIES = (T1, T2, T3, T4, T5)
FIRST_TO_LAST = f"{SERIES[0].name} to {SERIES[-1].name}"
