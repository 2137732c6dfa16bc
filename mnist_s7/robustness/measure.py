"""Accuracy on corrupted test images: measured, and kept as one JSON file."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mnist_s7 import MnistS7Error
from mnist_s7.data import Digits
from mnist_s7.kernels import accelerate
from mnist_s7.results import write_atomically
from mnist_s7.results.machine import environment
from mnist_s7.robustness.corruptions import CORRUPTIONS, Corruption
from mnist_s7.training import predict

MACHINE = ("device", "system", "python", "torch")  # of the environment, what the figures may depend on


class RobustnessFileError(MnistS7Error, ValueError):
    """A file that does not hold accuracies on corrupted images."""


@dataclass(frozen=True)
class Curve:
    """Test accuracies (percent) by the strength of a corruption, which is given in `unit`.

    `accuracies` has for each network a list for each of its seeds, with an accuracy for each of the `strengths`; at the
    `neutral` one the images are as they were.
    """

    unit: str
    strengths: list[float]
    neutral: float
    accuracies: dict[str, list[list[float]]]

    def mean(self, network: str) -> list[float]:
        """The network's accuracy (percent) at each strength, the mean of its seeds."""
        return np.mean(self.accuracies[network], axis=0).tolist()


@dataclass(frozen=True)
class Robustness:
    """Curves by the corruptions' names, the seeds of each network, and how they were measured."""

    environment: dict[str, str]
    dataset: str
    test_images: int
    seeds: dict[str, list[int]]
    curves: dict[str, Curve]

    def save(self, path: str | os.PathLike) -> None:
        """Write the JSON file atomically."""
        write_atomically(Path(path), json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Robustness":
        """Raises `RobustnessFileError` for a file that holds something else, or cannot be read."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            curves = {name: Curve(**curve) for name, curve in content["curves"].items()}
            found = cls(**{f.name: content[f.name] for f in fields(cls)} | {"curves": curves})
            if not curves or not found.environment.keys() >= {*MACHINE}:
                raise ValueError("no curves, or not all of the environment")
            for name, curve in curves.items():
                shapes = {network: np.shape(values) for network, values in curve.accuracies.items()}
                if shapes != {network: (len(seeds), len(curve.strengths)) for network, seeds in found.seeds.items()}:
                    raise ValueError(f"{name}: not an accuracy for each network, seed and strength")
            return found
        except (OSError, KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise RobustnessFileError(
                f"{path}: not what measure_robustness found ({type(error).__name__}: {error}); measure it again with "
                "`mnist-s7 evaluate --robustness --publish`"
            ) from error


def measure_robustness(
    networks: Mapping[str, Mapping[int, nn.Module]],
    digits: Digits,
    corruptions: Sequence[Corruption] = CORRUPTIONS,
    on_corruption: Callable[[Corruption], None] = lambda corruption: None,
) -> Robustness:
    """Classify the corrupted test images with trained `networks`, given by their names and then by their seeds.

    `on_corruption` is called before each of the `corruptions`.
    """
    intact = _accuracies(networks, digits.test_images, digits.test_labels)
    curves = {}
    for corruption in corruptions:
        on_corruption(corruption)
        by_strength = [
            intact
            if strength == corruption.neutral
            else _accuracies(networks, corruption(digits.test_images, strength), digits.test_labels)
            for strength in corruption.strengths
        ]
        accuracies = {
            name: [[found[name, seed] for found in by_strength] for seed in models] for name, models in networks.items()
        }
        curves[corruption.name] = Curve(corruption.unit, list(corruption.strengths), corruption.neutral, accuracies)
    machine = environment(torch.device("cpu"))
    return Robustness(
        environment={name: machine[name] for name in MACHINE},
        dataset=digits.name,
        test_images=len(digits.test_images),
        seeds={name: list(models) for name, models in networks.items()},
        curves=curves,
    )


def _accuracies(
    networks: Mapping[str, Mapping[int, nn.Module]], images: Tensor, labels: Tensor
) -> dict[tuple[str, int], float]:
    """Percent, by name and seed."""

    def accuracy(model: nn.Module) -> float:
        predicted = predict(accelerate(model), images).argmax(1).cpu()
        return 100 * int((predicted == labels).sum()) / len(labels)

    return {(name, seed): accuracy(model) for name, models in networks.items() for seed, model in models.items()}
