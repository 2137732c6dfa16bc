"""A training run as data: its epochs, its errors, and the JSON file that keeps them."""

import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import torch
from torch import Tensor, nn

from mnist_s7.data import WORKING_COPY
from mnist_s7.errors import MnistS7Error

__all__ = [
    "PUBLISHED",
    "RUNS",
    "Epoch",
    "Run",
    "RunFileError",
    "SyntheticRefused",
    "load_runs",
    "refuse_synthetic",
    "results_folder",
    "run_name",
]

FORMAT = 2  # raised whenever the meaning or the shape of a run's file changes
PUBLISHED = WORKING_COPY / "notebooks" / "results"
HELD_OUT = PUBLISHED / "held-out"  # runs tested on training images
RUNS = WORKING_COPY / "runs" / "results"  # for everything that is not to be published


class RunFileError(MnistS7Error, ValueError):
    """A file that does not hold a run which this version can read."""


class SyntheticRefused(MnistS7Error, ValueError):
    """A run on synthetic digits was about to enter the published results."""


@dataclass(frozen=True)
class Epoch:
    """What one epoch left behind.

    `epoch` counts from 0. Accuracies are percentages, losses mean negative log-likelihoods in nats, `seconds`
    the wall time of training and testing together. Training figures are averages over the epoch's steps, taken
    while the weights were still moving and on augmented images with dropout on: not comparable, image for image,
    with the test figures beside them.
    """

    epoch: int
    lr: float
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    seconds: float


@dataclass
class Run:
    """One training run of one experiment with one seed.

    `recipe` is its experiment's `fingerprint`. `errors` holds (test index, predicted digit) of every test image that
    the final epoch got wrong. `model`, the trained network, is there after `fit` and not after `load`: the file keeps
    figures, not weights.
    """

    experiment: str
    recipe: str
    seed: int
    dataset: str
    parameters: int
    environment: dict
    epochs: list[Epoch]
    errors: list[tuple[int, int]]
    model: nn.Module | None = field(default=None, repr=False, compare=False)

    @property
    def final(self) -> Epoch:
        """The last epoch: the figure to quote."""
        return self.epochs[-1]

    @property
    def best(self) -> Epoch:
        """The first of the epochs with the highest test accuracy: picked on the test set, so flattering."""
        return max(self.epochs, key=lambda epoch: epoch.test_accuracy)

    @property
    def learned(self) -> bool:
        """Whether it ended better than guessing, with room to spare: of ten digits, about one in ten is guessed."""
        return self.final.test_accuracy > 20

    @property
    def stand_in(self) -> bool:
        """Whether the digits were not MNIST's own."""
        return self.dataset != "MNIST"

    @property
    def name(self) -> str:
        return run_name(self.experiment, self.seed, self.dataset)

    def predictions(self, labels: Tensor) -> Tensor:
        """(N,) int64: the final epoch's predicted digits, from the test set's (N,) `labels` and the errors."""
        predicted = labels.clone()
        if self.errors:
            indices, digits = zip(*self.errors, strict=True)
            predicted[list(indices)] = torch.tensor(digits, dtype=labels.dtype)
        return predicted

    def save(self, folder: str | os.PathLike) -> Path:
        """Write `folder/<name>.json`, whole or not at all, and return its path.

        Raises `SyntheticRefused` where `refuse_synthetic` does.
        """
        folder = Path(folder)
        refuse_synthetic(self.dataset, folder)
        content = {"format": FORMAT} | {f.name: getattr(self, f.name) for f in _stored_fields()}
        content["epochs"] = [asdict(epoch) for epoch in self.epochs]
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.json"
        write_whole(path, _json(content))
        return path

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Run":
        """The run in the file `path`. Raises `RunFileError` where it holds none that can be read here."""
        path = Path(path)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise RunFileError(f"{path}: not JSON ({error}); run the training again to make it anew") from error
        found = content.get("format") if isinstance(content, dict) else None
        if found != FORMAT:
            raise RunFileError(
                f"{path}: run format {found!r}, and this version reads {FORMAT}; run the training again, "
                "or read the file with the version that wrote it"
            )
        try:
            run = cls(**{f.name: content[f.name] for f in _stored_fields()})
            run.epochs = [Epoch(**epoch) for epoch in run.epochs]
            run.errors = [(int(index), int(digit)) for index, digit in run.errors]
        except (KeyError, TypeError, ValueError) as error:
            raise RunFileError(f"{path}: not the shape of a run ({type(error).__name__}: {error})") from error
        _check(run, path)
        return run


def run_name(experiment: str, seed: int, dataset: str) -> str:
    """`T3-seed1`, the name of a run's file; on other digits than MNIST's these are named too."""
    suffix = "" if dataset == "MNIST" else f"-{dataset.replace(' ', '-')}"
    return f"{experiment}-seed{seed}{suffix}"


def refuse_synthetic(dataset: str, folder: str | os.PathLike) -> None:
    """Raise `SyntheticRefused` where `folder` is the published one and the digits are not MNIST's."""
    if dataset != "MNIST" and Path(folder).resolve() == PUBLISHED:
        raise SyntheticRefused(
            f"{PUBLISHED.name}/ holds results on MNIST alone, and these digits are {dataset}: name another folder"
        )


def results_folder(default: Path) -> Path:
    """The folder named by the environment variable MNIST_S7_RESULTS, or `default` where it is not set."""
    return Path(os.environ.get("MNIST_S7_RESULTS") or default)


def load_runs(folder: str | os.PathLike) -> list[Run]:
    """Every run in `folder`, in the order of their files' names."""
    return [Run.load(path) for path in sorted(Path(folder).glob("*-seed*.json"))]


def write_whole(path: Path, content: str | bytes) -> None:
    """Write `path` so that a reader, a crash or a full disk finds the old file or the new, never a part."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp's 0600 would keep other users from reading a result
        os.replace(temporary, path)
    except BaseException:  # Ctrl-C too
        Path(temporary).unlink(missing_ok=True)
        raise


def _stored_fields() -> Iterable:
    return (f for f in fields(Run) if f.name != "model")


def _json(content: dict) -> str:
    """JSON with a line for each epoch and one for all errors, so that a diff of two runs can be read."""

    def value(name: str, item) -> str:
        if name == "epochs":
            return "[\n  " + ",\n  ".join(json.dumps(epoch) for epoch in item) + "\n ]"
        return json.dumps(item)

    return "{\n " + ",\n ".join(f"{json.dumps(name)}: {value(name, item)}" for name, item in content.items()) + "\n}\n"


def _check(run: Run, path: Path) -> None:
    def require(condition: bool, what: str) -> None:
        if not condition:
            raise RunFileError(f"{path}: not the shape of a run: {what}")

    require(bool(run.epochs), "it has no epochs")
    require([e.epoch for e in run.epochs] == list(range(len(run.epochs))), "its epochs do not count 0, 1, 2, ...")
    for name, kind in (
        ("experiment", str),
        ("recipe", str),
        ("dataset", str),
        ("seed", int),
        ("parameters", int),
        ("environment", dict),
    ):
        value = getattr(run, name)
        require(isinstance(value, kind), f"{name} should be {kind.__name__}, found {value!r}")
    for epoch in run.epochs:
        for name, value in asdict(epoch).items():
            require(
                isinstance(value, (int, float)),
                f"{name} of epoch {epoch.epoch} should be a number, found {value!r}",
            )
