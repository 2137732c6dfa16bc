"""The iterations as data: what each trains, what it was to reach, and what the original series says it did.

T2 says only how it differs from T1, and T3 from T2. The figures of the original series are those of its document;
its claims are put here so that a run can be held against them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from torch import nn, optim
from torchvision import transforms

from mnist_s7.fast import Sequential
from mnist_s7.models import MnistNet_1, MnistNet_2, MnistNet_3
from mnist_s7.results import Epoch, Run, paired, prediction_interval
from mnist_s7.transforms import AUGMENTED, PLAIN

__all__ = [
    "ABLATIONS",
    "EXPERIMENTS",
    "SERIES",
    "T1",
    "T2",
    "T3",
    "Claim",
    "Document",
    "Experiment",
    "Verdict",
    "first_epoch_at",
]

HEADLINE = 99.4  # percent of test images that the series is to exceed, with fewer than 8,000 parameters
TENTH = 9  # the tenth epoch: the series counts its epochs from 0


@dataclass(frozen=True)
class Verdict:
    """Whether a claim holds for a run (None: one run cannot tell), and the figures that say so."""

    holds: bool | None
    found: str

    def __str__(self) -> str:
        return {True: "met", False: "not met", None: "cannot be told from one run"}[self.holds]


Runs = Mapping[str, Sequence[Run]]  # by the experiment's name


@dataclass(frozen=True)
class Claim:
    """A target or a claim of the original series, in words and as a check of one run.

    `over_seeds` holds it against two or more runs of the experiment, with those of all experiments beside them; None
    where it is enough to ask in how many of them it holds.
    """

    text: str
    check: Callable[[Run], Verdict]
    over_seeds: Callable[[Sequence[Run], Runs], Verdict] | None = None


@dataclass(frozen=True)
class Document:
    """The original series' own figures for an iteration, accuracies in percent, from its single run."""

    best_train: float
    best_test: float
    final_test: float


@dataclass(frozen=True)
class Experiment:
    """One iteration: a network, how it is trained, and what is said about it.

    SGD on the mean negative log-likelihood; the learning rate is multiplied by `lr_decay` every `lr_decay_epochs`.
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
    lr_decay: float = 1.0
    lr_decay_epochs: int = 1
    nesterov: bool = False
    momentum: float = 0.9
    batch_size: int = 128
    epochs: int = 15

    def optimizer(self, model: nn.Module) -> optim.Optimizer:
        return optim.SGD(model.parameters(), lr=self.lr, momentum=self.momentum, nesterov=self.nesterov)

    def scheduler(self, optimizer: optim.Optimizer) -> optim.lr_scheduler.LRScheduler:
        """Stepped once an epoch, after it."""
        return optim.lr_scheduler.StepLR(optimizer, self.lr_decay_epochs, gamma=self.lr_decay)

    @property
    def recipe(self) -> str:
        """The optimiser and the learning rate's course, for a person to read."""
        nesterov = " with Nesterov's" if self.nesterov else ""
        decay = "constant" if self.lr_decay == 1 else f"x{self.lr_decay:g} every {self.lr_decay_epochs} epochs"
        return f"SGD, momentum {self.momentum:g}{nesterov}, learning rate {self.lr:g}, {decay}"


def first_epoch_at(run: Run, accuracy: float) -> Epoch | None:
    """The first epoch whose test accuracy is at least `accuracy` percent."""
    return next((epoch for epoch in run.epochs if epoch.test_accuracy >= accuracy), None)


# The checks: each returns a function of the run, and words its finding for a table's cell.


def _parameters(limit: int, within: float | None = None) -> Callable[[Run], Verdict]:
    """Fewer than `limit` parameters, or with `within` no further from it than that part of it."""

    def check(run: Run) -> Verdict:
        if within is None:
            return Verdict(run.parameters < limit, f"{run.parameters:,}")
        share = run.parameters / limit - 1
        return Verdict(abs(share) <= within, f"{run.parameters:,}, {share:+.1%} (allowed: {within:.0%} either way)")

    return check


def _layers(network: Callable[[], nn.Module], kind: type[nn.Module], present: bool) -> Callable[[Run], Verdict]:
    def check(run: Run) -> Verdict:
        count = sum(isinstance(module, kind) for module in network().modules())
        return Verdict((count > 0) == present, f"{count} {kind.__name__} layers")

    return check


def _once_above(accuracy: float, reached: bool, last: int) -> Callable[[Run], Verdict]:
    """Test accuracy above `accuracy` percent (`reached`: at least that) in one of the epochs 0 to `last`."""

    def check(run: Run) -> Verdict:
        best = max(run.epochs[: last + 1], key=lambda epoch: epoch.test_accuracy)
        holds = best.test_accuracy >= accuracy if reached else best.test_accuracy > accuracy
        return Verdict(holds, f"at most {best.test_accuracy:.2f} %, in epoch {best.epoch}")

    return check


def _near(what: str, figure: Callable[[Run], float], claimed: float, tolerance: float) -> Claim:
    """`figure` of the run no further than `tolerance` points from the document's."""

    def check(run: Run) -> Verdict:
        difference = round(figure(run) - claimed, 2)
        return Verdict(
            abs(difference) <= tolerance,
            f"{figure(run):.2f} %, {difference:+.2f} points (allowed: {tolerance:g})",
        )

    def over_seeds(own: Sequence[Run], runs: Runs) -> Verdict:
        low, high = prediction_interval([figure(run) for run in own])
        return Verdict(low <= claimed <= high, f"one more run is expected between {low:.2f} and {high:.2f} %")

    return Claim(f"{what} {claimed:.2f} %", check, over_seeds)


def _reproduces(document: Document, tolerance: float) -> tuple[Claim, ...]:
    """The document's accuracies. Two runs of one recipe differ by their seeds, and a best epoch by more."""
    return (
        _near("best train accuracy", _best_train, document.best_train, tolerance),
        _near("best test accuracy", lambda run: run.best.test_accuracy, document.best_test, tolerance),
        _near("final epoch's test accuracy", _final, document.final_test, tolerance),
    )


def _best_train(run: Run) -> float:
    return max(epoch.train_accuracy for epoch in run.epochs)


def _gap(epochs: list[Epoch]) -> float:
    """Mean distance of train and test accuracy, in points, whichever is higher."""
    return sum(abs(epoch.train_accuracy - epoch.test_accuracy) for epoch in epochs) / len(epochs)


def _underfits_before_tenth(run: Run) -> Verdict:
    early = run.epochs[:TENTH]
    below = sum(epoch.train_accuracy < epoch.test_accuracy for epoch in early)
    return Verdict(below == len(early), f"train below test in {below} of the first {len(early)} epochs")


def _gap_narrows(run: Run) -> Verdict:
    # Epochs 0 and 1, before the network has learned anything, would make any later gap look narrow.
    early, late = run.epochs[2:TENTH], run.epochs[TENTH:]
    if not early or not late:
        return Verdict(None, "too few epochs")
    before, after = _gap(early), _gap(late)
    return Verdict(after < before, f"mean gap {before:.2f} points in epochs 2-8, {after:.2f} from epoch 9 on")


def _train_overtakes(run: Run) -> Verdict:
    gap = run.final.train_accuracy - run.final.test_accuracy
    return Verdict(gap > 0, f"train {gap:+.2f} points against test in the final epoch")


def _train_stays_below_99(run: Run) -> Verdict:
    return Verdict(_best_train(run) < 99, f"at most {_best_train(run):.2f} %")


def _not_consistent(run: Run) -> Verdict:
    late, reached = run.epochs[TENTH:], _epochs_at_headline(run)
    reached_once = run.best.test_accuracy >= HEADLINE
    return Verdict(
        reached_once and reached < len(late),
        f"at {HEADLINE:g} % or above in {reached} of the {len(late)} epochs from the tenth on",
    )


def _consistent(run: Run) -> Verdict:
    late, reached = run.epochs[TENTH:], _epochs_at_headline(run)
    lowest = min((epoch.test_accuracy for epoch in late), default=float("nan"))
    return Verdict(bool(late) and reached == len(late), f"in {reached} of {len(late)}, lowest {lowest:.2f} %")


def _settings_varied(run: Run) -> Verdict:
    def settings(experiment: Experiment) -> tuple[float, tuple[float, int], float]:
        dropout = next(layer.p for layer in experiment.network().modules() if isinstance(layer, nn.Dropout))
        return experiment.lr, (experiment.lr_decay, experiment.lr_decay_epochs), dropout

    varied = [mine != theirs for mine, theirs in zip(settings(T3), settings(T2), strict=True)]
    return Verdict(all(varied), f"{sum(varied)} of the 3 are not T2's")


def _compares(text: str, one: str, other: str, figure: Callable[[Run], float], unit: str, better: bool = True) -> Claim:
    """`figure` of experiment `one` less that of `other`, over equal seeds; a claim that it is above 0, or a target
    that both are there."""

    def over_seeds(own: Sequence[Run], runs: Runs) -> Verdict:
        if len({run.seed for run in runs.get(one, ())} & {run.seed for run in runs.get(other, ())}) < 2:
            return Verdict(None, f"no two seeds of {one} and {other}")
        found = paired(runs[one], runs[other], figure)
        low, high = found.interval
        holds = (True if low > 0 else False if high < 0 else None) if better else True
        means = (sum(map(figure, runs[name])) / len(runs[name]) for name in (one, other))
        sides = " for ".join(f"{mean:.2f} ({name})" for mean, name in zip(means, (one, other), strict=True))
        return Verdict(holds, f"{sides}: {found.mean:+.2f} {unit}, 95 % interval {low:+.2f} to {high:+.2f}")

    return Claim(text, lambda run: Verdict(None, "compares two settings"), over_seeds)


def _final(run: Run) -> float:
    return run.final.test_accuracy


def _epochs_at_headline(run: Run) -> int:
    """From the tenth epoch on."""
    return sum(epoch.test_accuracy >= HEADLINE for epoch in run.epochs[TENTH:])


DOCUMENT_1 = Document(best_train=98.66, best_test=98.37, final_test=98.24)

T1 = Experiment(
    name="T1",
    change="a plain stack of convolutions",
    network=MnistNet_1,
    train_transform=PLAIN,
    lr=0.01,
    goal=98.0,
    targets=(
        Claim("about 8K parameters", _parameters(8_000, within=0.1)),
        Claim("above 98 % test accuracy within 10 epochs", _once_above(98, reached=False, last=TENTH)),
        Claim("no BatchNorm", _layers(MnistNet_1, nn.BatchNorm2d, present=False)),
        Claim("no regularisation (dropout)", _layers(MnistNet_1, nn.Dropout, present=False)),
    ),
    document=DOCUMENT_1,
    claims=(
        *_reproduces(DOCUMENT_1, tolerance=0.3),
        Claim("looks like underfitting before epoch 10: train below test", _underfits_before_tenth),
        Claim("the gap of train and test narrows after it", _gap_narrows),
        Claim("then train overtakes test", _train_overtakes),
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
    lr_decay=0.65,
    lr_decay_epochs=2,
    nesterov=True,
    targets=(
        Claim("fewer than 8K parameters", _parameters(8_000)),
        Claim("with BatchNorm", _layers(MnistNet_2, nn.BatchNorm2d, present=True)),
        Claim("with regularisation (dropout)", _layers(MnistNet_2, nn.Dropout, present=True)),
        _compares("vary the dropout rate", "T2-dropout-0.01", "T2", _final, "points", better=False),
    ),
    document=DOCUMENT_2,
    claims=(
        *_reproduces(DOCUMENT_2, tolerance=0.2),
        Claim(f"reaches {HEADLINE:g} % but is not consistent", _not_consistent),
        Claim("train accuracy stays under 99 %", _train_stays_below_99),
    ),
)

DOCUMENT_3 = Document(best_train=98.92, best_test=99.45, final_test=99.40)

T3 = replace(
    T2,
    name="T3",
    change="fewer channels, less dropout, a learning rate that falls later and faster",
    network=MnistNet_3,
    lr=0.05,
    lr_decay=0.35,
    lr_decay_epochs=4,
    nesterov=False,
    targets=(
        Claim("fewer than 7K parameters", _parameters(7_000)),
        Claim("with BatchNorm", _layers(MnistNet_3, nn.BatchNorm2d, present=True)),
        Claim("with regularisation (dropout)", _layers(MnistNet_3, nn.Dropout, present=True)),
        Claim("vary learning rate, scheduler and dropout", _settings_varied),
        Claim(
            f"at least {HEADLINE:g} % test accuracy once before the 10th epoch (in epochs 0 to 9)",
            _once_above(HEADLINE, reached=True, last=TENTH),
        ),
    ),
    document=DOCUMENT_3,
    claims=(
        *_reproduces(DOCUMENT_3, tolerance=0.2),
        Claim(f"at least {HEADLINE:g} % in every epoch from the tenth (epoch 9) on", _consistent),
        Claim("train accuracy stays under 99 %", _train_stays_below_99),
        _compares("dropout 0.01 does better than 0.05", "T3", "T3-dropout-0.05", _final, "points"),
        _compares(
            f"is more consistent than T2: more epochs at {HEADLINE:g} % from the tenth on",
            *("T3", "T2"),
            _epochs_at_headline,
            "epochs",
        ),
    ),
)

SERIES = (T1, T2, T3)


# What each idea is worth: an iteration with one thing changed. They have no targets and no claims of their own.


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


ABLATIONS = (
    _variant(T2, "dropout-0.01", "T3's dropout", network=partial(MnistNet_2, dropout=0.01)),
    _variant(T3, "dropout-0.05", "T2's dropout", network=partial(MnistNet_3, dropout=0.05)),
    _variant(T3, "no-batchnorm", "no BatchNorm", network=_without_norm),
    _variant(T3, "no-augmentation", "digits as they are", train_transform=PLAIN),
    _variant(
        T3, "rotation-7", "the turn by up to 7 degrees alone", train_transform=_turned_by(transforms.RandomRotation)
    ),
    _variant(
        T3, "rotation-15", "the turn by up to 15 degrees alone", train_transform=_turned_by(transforms.RandomAffine)
    ),
)

EXPERIMENTS = {experiment.name: experiment for experiment in (*SERIES, *ABLATIONS)}
