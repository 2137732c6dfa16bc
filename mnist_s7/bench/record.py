"""What the benchmark found: one JSON file."""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from mnist_s7.errors import MnistS7Error
from mnist_s7.results import write_atomically

__all__ = ["Benchmark", "BenchmarkFileError", "Cost"]


MACHINE = {"device", "system", "python", "torch", "kernels"}  # of an environment, what is told


class BenchmarkFileError(MnistS7Error, ValueError):
    """A file that does not hold a benchmark."""


@dataclass
class Cost:
    """What an iteration costs. A list has an entry for each round; seconds are those of an epoch and its test."""

    usual: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)  # forward and backward of the convolutions, without any test
    each_core: list[float] = field(default_factory=list)  # seconds an epoch takes of all cores, with a run on each
    workers: int = 0  # of the usual loop's DataLoader: the number that was fastest
    floor_setting: str = ""  # the data type and memory format that was fastest
    peak_memory: float = 0.0  # MB, of a process that trains it on all digits
    shares: dict[str, float] = field(default_factory=dict)  # percent of `ours`
    by_batch_size: dict[str, list[float]] = field(default_factory=dict)
    by_threads: dict[str, list[float]] = field(default_factory=dict)
    by_images: dict[str, list[float]] = field(default_factory=dict)  # seconds of a pass over so many, not scaled

    def ratios(self, of: str, to: str) -> list[float]:
        """Each round's seconds of the one over those of the other."""
        return [a / b for a, b in zip(getattr(self, of), getattr(self, to), strict=True)]


@dataclass
class Benchmark:
    """Costs by the iterations' names, and how they were measured."""

    environment: dict
    cores: int
    rounds: int
    part: int  # training images of one measurement
    costs: dict[str, Cost]

    def save(self, path: Path) -> None:
        """Write the JSON file atomically."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> "Benchmark":
        """Raises `BenchmarkFileError` for a file that is not a benchmark's, or cannot be read."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            costs = {name: Cost(**cost) for name, cost in content["costs"].items()}
            if not costs or not content["environment"].keys() >= MACHINE:
                raise ValueError("no costs, or not all of the environment")
            return cls(**{f.name: content[f.name] for f in fields(cls)} | {"costs": costs})
        except (OSError, KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise BenchmarkFileError(
                f"{path}: not a benchmark ({type(error).__name__}: {error}); `make bench` measures one"
            ) from error
