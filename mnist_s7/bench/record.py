"""What the benchmark found: of whole loops, a JSON file for each instruction set, and of the layers of a step."""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from mnist_s7 import MnistS7Error
from mnist_s7.results import write_atomically

MACHINE = {"device", "system", "python", "torch", "kernels"}  # of an environment, what is reported


class BenchmarkFileError(MnistS7Error, ValueError):
    """A file that does not hold a benchmark."""


@dataclass
class Cost:
    """What an iteration costs. A list has an entry for each round; seconds are those of an epoch and its test."""

    baseline: list[float] = field(default_factory=list)  # a plain PyTorch training loop with a DataLoader
    in_memory: list[float] = field(default_factory=list)  # this package's loop on PyTorch's layers
    torch_compile: list[float] = field(default_factory=list)  # the same on torch.compile, compiled before
    jax: list[float] = field(default_factory=list)  # the same in JAX; empty where JAX, or the network there, is missing
    package: list[float] = field(default_factory=list)  # `fit`: the same on the compiled layers
    convolutions: list[float] = field(default_factory=list)  # PyTorch's alone, forward and backward, without any test
    each_core: list[float] = field(default_factory=list)  # seconds per epoch of all cores, with one process per core
    workers: int = 0  # of the baseline's DataLoader: the number that was fastest
    convolutions_setting: str = ""  # the data type and memory format that was fastest
    peak_memory: float = 0.0  # MB, of a process that trains it on all digits
    shares: dict[str, float] = field(default_factory=dict)  # percent of `package`
    by_batch_size: dict[str, list[float]] = field(default_factory=dict)
    by_threads: dict[str, list[float]] = field(default_factory=dict)
    by_images: dict[str, list[float]] = field(default_factory=dict)  # seconds of a pass over so many, not scaled

    def ratios(self, of: str, to: str) -> list[float]:
        """Each round's seconds of the one over those of the other; none of a loop that was not measured."""
        return [a / b for a, b in zip(getattr(self, of), getattr(self, to), strict=True)] if getattr(self, of) else []


@dataclass
class Benchmark:
    """Costs by the iterations' names, and how they were measured."""

    environment: dict
    instruction_set: str  # of the CPU
    cores: int
    rounds: int
    part: int  # training images of one measurement
    costs: dict[str, Cost]

    @property
    def processor(self) -> str:
        """The CPU's name and its instruction set."""
        return f"{self.environment['device']} ({self.instruction_set})"

    def save(self, folder: Path) -> Path:
        """Write the JSON file atomically, and return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / benchmark_file(self.instruction_set)
        write_atomically(path, json.dumps(asdict(self), indent=1) + "\n")
        return path

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


def benchmark_file(instruction_set: str) -> str:
    """The name of a benchmark's file."""
    return f"benchmark-{instruction_set}.json"


def stored_benchmarks(folder: Path) -> list[Benchmark]:
    """Those in `folder`, one for each instruction set. Raises `BenchmarkFileError` where one is none, and for none."""
    found = [Benchmark.load(path) for path in sorted(folder.glob(benchmark_file("*")))]
    if not found:
        raise BenchmarkFileError(f"{folder}: no {benchmark_file('*')}; `mnist-s7 bench --publish` measures one")
    return found


@dataclass(frozen=True)
class Pass:
    """A layer's forward or backward pass over a batch: floating-point operations of its multiplications and additions,
    bytes of feature maps read and written, and median seconds."""

    flop: float
    bytes: float
    seconds: float

    def bound(self, peak: float, bandwidth: float) -> float:
        """Seconds that it takes at least, at `peak` operations and `bandwidth` bytes per second."""
        return max(self.flop / peak, self.bytes / bandwidth)


@dataclass(frozen=True)
class LayerCost:
    name: str
    forward: Pass
    backward: Pass


@dataclass(frozen=True)
class LayerCosts:
    """Those of an experiment's training step on one core."""

    experiment: str
    batch_size: int
    device: str
    peak: float  # floating-point operations per second, measured
    bandwidth: float  # bytes per second, measured
    step: float  # median seconds of a whole step
    layers: tuple[LayerCost, ...]

    @property
    def passes(self) -> list[Pass]:
        return [each for layer in self.layers for each in (layer.forward, layer.backward)]

    @property
    def in_c(self) -> float:
        """Seconds of all layers."""
        return sum(each.seconds for each in self.passes)

    @property
    def arithmetic(self) -> float:
        """Seconds of all layers' arithmetic at the peak."""
        return sum(each.flop for each in self.passes) / self.peak

    @property
    def bound(self) -> float:
        """Seconds of all layers at least."""
        return sum(each.bound(self.peak, self.bandwidth) for each in self.passes)
