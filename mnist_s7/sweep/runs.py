"""Many runs: every seed of some experiments, each a file in one folder, made side by side."""

import os
import pickle
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from tqdm import tqdm

from mnist_s7 import InvalidArgument, MnistS7Error, MnistS7Warning
from mnist_s7.catalog import EXPERIMENTS, origin_of
from mnist_s7.data import Digits
from mnist_s7.experiments import Experiment
from mnist_s7.kernels import kernels_on
from mnist_s7.kernels.library import cpu_layers
from mnist_s7.results import Run, prepare, refuse_publishing, run_name
from mnist_s7.sweep.jobs import FailedRun, Job, Message
from mnist_s7.sweep.locks import RunLocks
from mnist_s7.training import whole_number

MOST_SEEDS = 100_000  # of one sweep: more are a slip of the hand
SEEDS_TOGETHER = 32  # in one network on a GPU

# Does jobs on pickled digits, and passes on their messages as they come.
Engine = Callable[[Iterable[Job], bytes], Iterator[tuple[Job, Message]]]


class RunConflict(MnistS7Error, ValueError):
    """The folder holds a run under the name of one that was asked for, and it is not that run."""


class MixedLayers(MnistS7Warning):
    """A sweep adds runs to some that were made with other layers, which changes figures a little."""


@dataclass
class Outcome:
    """What became of the runs of a sweep, by their names."""

    found: list[str] = field(default_factory=list)  # finished before
    made: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)  # and why
    elsewhere: list[str] = field(default_factory=list)  # under way in another sweep
    without_weights: list[str] = field(default_factory=list)  # found, though weights were asked for
    unlocked: str | None = None  # why another sweep could make the same runs
    layers: dict[str, str] = field(default_factory=dict)  # whose each run has that is found or made

    def note(self, run: Run, names: list[str]) -> None:
        """Add the run to `names`: to those found, or to those made."""
        names.append(run.name)
        self.layers[run.name] = run.environment["kernels"]

    def __str__(self) -> str:
        lines = [f"{len(self.made)} runs made, {len(self.found)} were there, {len(self.failed)} failed."]
        if self.elsewhere:
            lines.append(f"Under way in another sweep: {', '.join(self.elsewhere)}.")
        if self.without_weights:
            lines.append(
                f"Made before without weights: {', '.join(self.without_weights)}. To have them, move these runs' files "
                "and sweep again."
            )
        if self.unlocked:
            lines.append(f"Files cannot be locked there ({self.unlocked}): another sweep may have made the same runs.")
        if len(set(self.layers.values())) > 1:
            lines.append(f"Not all runs have the same layers, so figures differ slightly: {_by_layers(self.layers)}.")
        elif "PyTorch" in self.layers.values():
            lines.append("The runs have PyTorch's layers: figures differ slightly from those of the compiled ones.")
        return "\n".join([*lines, *(f"{name} failed: {reason}" for name, reason in self.failed.items())])


def run_sweep(
    experiments: Sequence[str],
    seeds: Sequence[int],
    digits: Digits,
    folder: str | os.PathLike,
    engine: Engine,
    epochs: int | None = None,
    device: str = "cpu",
    weights: bool = False,
) -> Outcome:
    """Train each of `experiments`, by name, with each of `seeds`, and save the runs in `folder`, with their `weights`
    if these are wanted.

    Runs that are there are not repeated, nor are those that another sweep is making. One that fails does not stop the
    others. However a sweep ends, each file is a whole run, and the next sweep goes on where it stopped.

    Raises `RunConflict` where a file in the folder is another run, `RunFileError` where it is none, and `OutputError`
    where runs cannot be saved; `PublishingRefused` for synthetic digits and the published results; `InvalidArgument`.
    """
    folder, outcome = Path(folder), Outcome()
    refuse_publishing(digits.name, folder)
    seeds = [whole_number("seed", seed, 0, 2**64 - 1) for seed in seeds]
    epochs = epochs if epochs is None else whole_number("epochs", epochs, 1, 10**6)
    prepare(folder)
    jobs = [
        replace(job, seeds=missing)
        for job in _jobs(experiments, seeds, epochs, device, weights)
        if (missing := _missing(job, digits, folder, outcome))
    ]
    if not jobs:
        return outcome
    _warn_of_mixed_layers(outcome.layers, folder, device)
    locks = RunLocks(folder)

    def locked() -> Iterator[Job]:
        """Each job at its time, with those of its seeds that no other sweep is making."""
        for job in jobs:
            own = []
            for seed in job.seeds:
                name = _name(job, seed, digits)
                if not locks.take(name):
                    outcome.elsewhere.append(name)
                elif run := _found(job, seed, digits, folder):  # another sweep has made it meanwhile
                    locks.give_back(name)
                    outcome.note(run, outcome.found)
                else:
                    own.append(seed)
            bar.total -= len(job.seeds) - len(own)
            if own:
                yield replace(job, seeds=tuple(own))

    bar = tqdm(
        total=sum(len(job.seeds) for job in jobs),
        bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left",
        smoothing=0,  # the time left from all runs so far: they do not end at regular intervals
        disable=None,  # where the output is no terminal
    )
    shares = Counter()
    try:
        for job, message in engine(locked(), pickle.dumps(digits)):
            match message:
                case float():
                    shares[job] += message
                    bar.update(message * len(job.seeds))
                case Run():
                    message.save(folder)
                    outcome.note(message, outcome.made)
                    locks.give_back(message.name)
                    bar.update(1 - shares[job])
                    minutes = sum(epoch.seconds for epoch in message.epochs) / 60
                    tqdm.write(f"{message.name}: {message.final.test_accuracy:.2f} % after {minutes:.1f} minutes")
                    sys.stdout.flush()  # at once, also into a file
                case FailedRun() | str():
                    lost, reason = (
                        ([message.seed], message.reason) if isinstance(message, FailedRun) else (job.seeds, message)
                    )
                    for name in {_name(job, seed, digits) for seed in lost} & locks.names:
                        outcome.failed[name] = reason
                        locks.give_back(name)
                        bar.update(1 - shares[job])
            bar.set_description_str(f"{len(outcome.made)} of {bar.total} runs")
    finally:
        bar.close()
        outcome.unlocked = locks.missing
        for name in list(locks.names):
            locks.give_back(name)
    return outcome


def parse_seeds(text: str) -> list[int]:
    """`1-3,7` -> [1, 2, 3, 7]. Raises `InvalidArgument` for anything else, and for more than a hundred thousand."""
    seeds = []
    for part in text.split(","):
        ends = part.split("-")
        if len(ends) > 2 or not all(end.isdecimal() and len(end) <= 20 for end in ends) or int(ends[-1]) < int(ends[0]):
            raise InvalidArgument(f"{text[:80]!r} are no seeds: write 1-10, or 1,4,7-9")
        several = range(int(ends[0]), int(ends[-1]) + 1)
        if len(seeds) + (several.stop - several.start) > MOST_SEEDS:
            raise InvalidArgument(f"{text[:80]!r} are more than {MOST_SEEDS:,} seeds")
        seeds += several
    return list(dict.fromkeys(seeds))


def _jobs(
    experiments: Sequence[str], seeds: Sequence[int], epochs: int | None, device: str, weights: bool
) -> list[Job]:
    """Seed by seed, so that what is there of a sweep that was stopped can be compared."""
    if unknown := [name for name in experiments if name not in EXPERIMENTS]:
        raise InvalidArgument(f"no experiment {', '.join(unknown)}: there are {', '.join(EXPERIMENTS)}")
    together = SEEDS_TOGETHER if device.startswith("cuda") else 1
    groups = [tuple(seeds[i : i + together]) for i in range(0, len(seeds), together)]
    return [
        Job(name, own, EXPERIMENTS[name].epochs if epochs is None else epochs, device, origin_of(name), weights)
        for group in groups
        for name in dict.fromkeys(experiments)
        for own in ([(seed,) for seed in group] if EXPERIMENTS[name].early_stopping else [group])
    ]


def _name(job: Job, seed: int, digits: Digits) -> str:
    return run_name(job.experiment, seed, digits.name)


def _missing(job: Job, digits: Digits, folder: Path, outcome: Outcome) -> tuple[int, ...]:
    """Those seeds of `job` whose run is not in the folder."""
    missing = []
    for seed in job.seeds:
        if run := _found(job, seed, digits, folder):
            outcome.note(run, outcome.found)
            if job.weights and run.weights is None:
                outcome.without_weights.append(run.name)
        else:
            missing.append(seed)
    return tuple(missing)


def _warn_of_mixed_layers(layers: dict[str, str], folder: Path, device: str) -> None:
    """Warn where runs in the folder have other layers than those to come; on a CPU, processes to come learn of what
    this one finds out about its C compiler."""
    on_gpu = device.startswith("cuda")
    if on_gpu and not torch.cuda.is_available():
        return  # another machine of a cluster has one, and this one cannot know what works there
    expected = kernels_on(torch.device(device), captured=True) if on_gpu else cpu_layers()
    if others := {name: kind for name, kind in layers.items() if kind != expected}:
        warnings.warn(
            f"runs in {folder} have other layers than new ones get here ({expected}), so figures "
            f"differ slightly: {_by_layers(others)}. Choose another folder for runs that are to be compared",
            MixedLayers,
            stacklevel=3,
        )


def _by_layers(layers: dict[str, str]) -> str:
    """`compiled in 8 runs (T1-seed1 ...), PyTorch in 1 (T1-seed9)`."""
    parts = []
    for kind, count in Counter(layers.values()).most_common():
        first = next(name for name in layers if layers[name] == kind)
        parts.append(f"{kind} in {count} ({first}{' ...' if count > 1 else ''})")
    return ", ".join(parts)


def _found(job: Job, seed: int, digits: Digits, folder: Path) -> Run | None:
    """The run, if it is in the folder. Raises as `stored_run`."""
    path = folder / f"{_name(job, seed, digits)}.json"
    return stored_run(path, EXPERIMENTS[job.experiment], job.epochs)


def stored_run(path: Path, experiment: Experiment, epochs: int | None) -> Run | None:
    """The run at `path`, where there is one: of this experiment, and with as many epochs, None being its own number, or
    with fewer where it stopped early.

    Raises `RunConflict` where another run has its name, and `RunFileError` where the file holds none.
    """
    if not path.exists():
        return None
    run, epochs = Run.load(path), epochs or experiment.epochs
    if run.name != path.stem or not experiment.is_whole(run.epochs, epochs):
        raise RunConflict(
            f"{path}: a run of {run.name} with {len(run.epochs)} epochs, and {path.stem} with {epochs} was asked for: "
            "choose another folder, or move the file"
        )
    if not experiment.matches(run):
        raise RunConflict(
            f"{path}: a run of another recipe; {experiment.name} has been changed since: choose another folder, or "
            "move the file"
        )
    return run
