"""A training run as data: its epochs, its errors, the JSON file that keeps them, and the network that it ended with."""

import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from mnist_s7 import MnistS7Error
from mnist_s7.data import DATA_SETS
from mnist_s7.results.files import write_together
from mnist_s7.results.folders import MNIST, STORED, refuse_publishing
from mnist_s7.results.weights import (
    WeightsError,
    found_weights,
    read_state,
    run_path,
    weights_bytes,
    weights_path,
    with_state,
)

# How many images runs were tested on, where that is known.
TESTED_ON = dict.fromkeys(STORED, 10_000) | {each.name: each.files[2].shape[0] for each in DATA_SETS.values()}
FORMAT = 3  # raised whenever the meaning or the shape of a run's file changes

# What a run's environment always holds, and what each may be.
ENVIRONMENT = {
    **dict.fromkeys(("python", "torch", "torchvision", "system", "device"), str),
    "threads": int,
    **dict.fromkeys(("precision", "kernels", "freed_memory"), str),
    "commit": str | None,
    "dirty": bool | None,
}


class RunFileError(MnistS7Error, ValueError):
    """A file that does not hold a run which this version can read."""


class RunsMissing(MnistS7Error, FileNotFoundError):
    """A folder lacks runs that are needed."""


@dataclass(frozen=True)
class Epoch:
    """The figures of one epoch.

    `epoch` counts from 0. Accuracies are percentages, losses mean negative log-likelihoods in nats (with distillation
    the training loss is that of the soft targets), `seconds` the wall time of training and testing together. Training
    figures are averages over the epoch's steps, taken while the weights were still moving and on augmented images with
    dropout on: not comparable, image for image, with the test figures beside them.
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

    `fingerprint` is its experiment's, another one for another recipe. `errors` holds (test index, predicted digit)
    of every test image that the final epoch got wrong. `trained_model` is the network where it is in memory, as after
    `fit`, and `weights` the file that keeps it, after `load`, or the content of one; ask for `model`.
    """

    experiment: str
    fingerprint: str
    seed: int
    dataset: str
    parameters: int
    environment: dict
    epochs: list[Epoch]
    errors: list[tuple[int, int]]
    trained_model: nn.Module | None = field(default=None, repr=False, compare=False)
    weights: Path | bytes | None = field(default=None, repr=False, compare=False)

    @property
    def model(self) -> nn.Module:
        """The trained network, (N, 1, 28, 28) -> (N, 10). That of a file is read when it is first asked for, and is in
        evaluation mode.

        Raises `WeightsError` where its weights are not stored, or the file that should hold them does not.
        """
        if self.trained_model is None:
            if (state := self._state()) is None:
                raise WeightsError(
                    f"{self.name}: no weights are stored beside its file; `mnist-s7 train` and `mnist-s7 sweep "
                    "--weights` keep them when they train it again"
                )
            self.trained_model = with_state(
                self.experiment, self.dataset, state, str(self.weights) if isinstance(self.weights, Path) else self.name
            )
        return self.trained_model

    def _state(self) -> Mapping[str, Tensor] | None:
        """The network's state_dict, wherever it is."""
        if self.trained_model is not None:
            return self.trained_model.state_dict()
        return None if self.weights is None else read_state(self.weights, self.facts)

    def without_model(self, weights: bool) -> "Run":
        """The same for another process, which may not know the network's class: without the model, or with its
        `weights` as bytes."""
        content = weights_bytes(self._state(), self.facts) if weights else None
        return replace(self, trained_model=None, weights=content)

    @property
    def final(self) -> Epoch:
        """The last epoch: the figure to quote."""
        return self.epochs[-1]

    @property
    def best(self) -> Epoch:
        """The first of the epochs with the highest test accuracy: selected on the test set, so biased upwards."""
        return max(self.epochs, key=lambda epoch: epoch.test_accuracy)

    @property
    def failed_to_train(self) -> bool:
        """Whether it ended near chance level, which is 10 % for ten digits."""
        return self.final.test_accuracy <= 20

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
        """Write `folder/<name>.json`, and beside it the network's weights as `<name>.safetensors`, where it has them:
        both as `write_together` does. Returns the path of the first.

        Where `folder` has a folder `weights`, weights go there. Raises `PublishingRefused` where `refuse_publishing`
        does, `OutputError` where a file cannot be written, `RunFileError` for a run that contradicts itself, which no
        reader would take, and `WeightsError` where `model` does.
        """
        folder = Path(folder)
        refuse_publishing(self.dataset, folder)
        path = folder / f"{self.name}.json"
        _check(self, path, "it is not saved")
        files = {path: _json(self._content())}
        if (state := self._state()) is not None:
            # The weights first: a run's file without its own weights would be found, and not made again.
            files = {weights_path(path): weights_bytes(state, self.facts)} | files
        write_together(files)
        return path

    def _content(self) -> dict:
        """What its file holds."""
        content = {"format": FORMAT} | {f.name: getattr(self, f.name) for f in _stored_fields()}
        content["epochs"] = [asdict(epoch) for epoch in self.epochs]
        return content

    @property
    def facts(self) -> dict[str, str]:
        """What the files of its network say of it. A weights file must say the same as the run that it belongs to."""
        content = json.dumps(self._content(), sort_keys=True)
        return {
            "experiment": self.experiment,
            "fingerprint": self.fingerprint,
            "seed": str(self.seed),
            "dataset": self.dataset,
            "commit": str(self.environment["commit"]),
            "test_accuracy": str(self.final.test_accuracy),
            "run": sha256(content.encode()).hexdigest(),  # of one seed there can be two runs, from two machines
        }

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Run":
        """The run in the file `path`, or whose weights are in it. They are not read before `model` is asked for.

        Raises `RunFileError` where it holds none, or one that contradicts itself.
        """
        path = run_path(Path(path))
        try:
            content = json.loads(
                path.read_text(encoding="utf-8"), parse_constant=_no_json, object_pairs_hook=_without_duplicates
            )
        except OSError as error:
            raise RunFileError(f"{path}: cannot be read ({error.strerror or error})") from error
        except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
            raise RunFileError(f"{path}: not JSON ({error}); train the run again to replace it") from error
        found = content.get("format") if isinstance(content, dict) else None
        if found != FORMAT:
            raise RunFileError(
                f"{path}: run format {found!r}, and this version reads {FORMAT}; train it again, "
                "or read the file with the version that wrote it"
            )
        expected = {"format", *(f.name for f in _stored_fields())}
        if content.keys() != expected:
            names = ", ".join(sorted(content.keys() ^ expected))
            raise RunFileError(f"{path}: not the shape of a run: fields that are missing or unknown: {names}")
        try:
            run = cls(**{name: content[name] for name in expected - {"format"}})
            run.epochs = [Epoch(**epoch) for epoch in run.epochs]
            run.errors = [(index, digit) for index, digit in run.errors]
        except (TypeError, ValueError) as error:
            raise RunFileError(f"{path}: not the shape of a run ({error})") from error
        _check(run, path, "train it again to replace the file")
        run.weights = found_weights(path)
        return run


def run_name(experiment: str, seed: int, dataset: str) -> str:
    """`T3-seed1`, the name of a run's file; on other digits than MNIST's these are named too."""
    return named_after(f"{experiment}-seed{seed}", dataset)


def named_after(name: str, dataset: str) -> str:
    """The name of a file about digits: their name is added where they are not MNIST's."""
    return name if dataset == MNIST else f"{name}-{dataset.replace(' ', '-')}"


def load_runs(folder: str | os.PathLike) -> list[Run]:
    """Every run in `folder`, in the order of their files' names.

    Raises `RunFileError` as `Run.load` does, and for a file under another run's name: a copy would count twice.
    """
    runs = []
    for path in sorted(Path(folder).glob("*-seed*.json")):
        run = Run.load(path)
        if path.stem != run.name:
            raise RunFileError(f"{path}: holds the run {run.name}; name it {run.name}.json, or move it")
        runs.append(run)
    return runs


def _stored_fields() -> Iterable:
    return (f for f in fields(Run) if f.name not in ("trained_model", "weights"))


def _json(content: dict) -> str:
    """JSON with a line for each epoch and one for all errors, so that a diff of two runs can be read."""

    def value(name: str, item) -> str:
        if name == "epochs":
            return "[\n  " + ",\n  ".join(json.dumps(epoch, allow_nan=False) for epoch in item) + "\n ]"
        return json.dumps(item, allow_nan=False)

    return "{\n " + ",\n ".join(f"{json.dumps(name)}: {value(name, item)}" for name, item in content.items()) + "\n}\n"


def _no_json(constant: str) -> None:
    raise ValueError(f"{constant} is no number in JSON")


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict:
    content = dict(pairs)
    if len(content) < len(pairs):
        twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
        raise ValueError(f"it says {', '.join(twice)} more than once")
    return content


def _check(run: Run, path: Path, consequence: str) -> None:
    """What is true of every run, whatever trained it. Raises `RunFileError`, naming `path`, where something is not."""

    def require(condition: bool, what: str) -> None:
        if not condition:
            raise RunFileError(f"{path}: not a run: {what}; {consequence}")

    def require_type(name: str, value: object, kind: type) -> None:
        # True and False are ints to Python, and neither seeds nor digits.
        fits = isinstance(value, kind) and (kind is not int or not isinstance(value, bool))
        require(fits, f"{name} should be of type {getattr(kind, '__name__', kind)}, found {str(value)[:80]!r}")

    for name, kind in (("experiment", str), ("fingerprint", str), ("dataset", str), ("environment", dict)):
        require_type(name, getattr(run, name), kind)
        require(bool(getattr(run, name)), f"{name} is empty")
    require(Path(run.name).name == run.name, f"{run.name!r} is no name for a file")
    require_type("seed", run.seed, int)
    require(0 <= run.seed < 2**64, f"seed is {str(run.seed)[:80]}: seeds are from 0 to 2^64 - 1")
    require_type("parameters", run.parameters, int)
    require(0 < run.parameters < 2**63, f"parameters is {str(run.parameters)[:80]}")
    for name, kind in ENVIRONMENT.items():
        require(name in run.environment, f"its environment does not say {name}")
        require_type(name, run.environment[name], kind)
    require(run.environment["threads"] > 0, "its environment has no thread")

    require(bool(run.epochs), "it has no epochs")
    for count, epoch in enumerate(run.epochs):
        require(type(epoch.epoch) is int and epoch.epoch == count, "its epochs do not count 0, 1, 2, ...")
        for name, value in asdict(epoch).items():
            most = 100.0 if name.endswith("accuracy") else math.inf
            finite = type(value) in (int, float) and abs(value) < 1e300
            require(
                finite and 0 <= value <= most,
                f"{name} of epoch {count} should be a number{' from 0 to 100' if most == 100 else ' of 0 or more'}, "
                f"found {str(value)[:80]!r}",
            )
    _check_errors(run.errors, run.final.test_accuracy, TESTED_ON.get(run.dataset), require)


def _check_errors(
    errors: list[tuple[int, int]], accuracy: float, images: int | None, require: Callable[[bool, str], None]
) -> None:
    """The errors are test images, each once, with a digit each, and as many as the final test accuracy says.

    Of digits whose number of test `images` is not known here, the accuracy and the errors give it.
    """
    require(all(type(index) is int and type(digit) is int for index, digit in errors), "an error is not two integers")
    require(all(0 <= digit <= 9 for _, digit in errors), "an error's predicted digit is not from 0 to 9")
    require(
        all(first < second for (first, _), (second, _) in pairwise(errors)),
        "the indices of its errors do not ascend: one is there twice, or out of its place",
    )
    what = f"{len(errors)} errors do not make a final test accuracy of {accuracy} %"
    if not errors or accuracy == 100:
        require(not errors and accuracy == 100, what)
        return
    images = images or round(len(errors) / (1 - accuracy / 100))
    require(math.isclose(100 * (images - len(errors)) / images, accuracy, abs_tol=1e-9), what)
    first, last = errors[0][0], errors[-1][0]
    require(first >= 0 and last < images, f"an error's index is not one of {images:,} test images, 0 to {images - 1:,}")
