"""Many runs: every seed of some experiments, each a file in one folder, made side by side."""

import contextlib
import multiprocessing
import os
import pickle
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from mnist_s7.compiled import cpu_layers
from mnist_s7.data import Digits
from mnist_s7.errors import InvalidArgument, MixedLayers, MnistS7Error
from mnist_s7.experiments import EXPERIMENTS, Experiment, is_of
from mnist_s7.results import Run, prepare, refuse_synthetic, run_name
from mnist_s7.training import whole_number
from mnist_s7.worker import Lost, Task, Told, work

__all__ = ["Engine", "Outcome", "RunConflict", "in_processes", "parse_seeds", "stored_run", "sweep"]

MOST_SEEDS = 100_000  # of one sweep: more are a slip of the hand
SEEDS_TOGETHER = 32  # in one network on a GPU

# Does tasks on pickled digits, and passes on what each tells, as it comes.
Engine = Callable[[Iterable[Task], bytes], Iterator[tuple[Task, Told]]]


class RunConflict(MnistS7Error, ValueError):
    """The folder holds a run under the name of one that was asked for, and it is not that run."""


@dataclass
class Outcome:
    """What became of the runs of a sweep, by their names."""

    found: list[str] = field(default_factory=list)  # finished before
    made: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)  # and why
    elsewhere: list[str] = field(default_factory=list)  # under way in another sweep
    unlocked: str | None = None  # why another sweep was not kept from making the same runs
    layers: dict[str, str] = field(default_factory=dict)  # whose each run has that is found or made

    def note(self, run: Run, names: list[str]) -> None:
        """Add the run to `names`: to those found, or to those made."""
        names.append(run.name)
        self.layers[run.name] = run.environment["kernels"]

    def __str__(self) -> str:
        lines = [f"{len(self.made)} runs made, {len(self.found)} were there, {len(self.failed)} failed."]
        if self.elsewhere:
            lines.append(f"Under way in another sweep: {', '.join(self.elsewhere)}.")
        if self.unlocked:
            lines.append(f"Files cannot be locked there ({self.unlocked}): another sweep may have made the same runs.")
        if len(set(self.layers.values())) > 1:
            lines.append(f"Not all runs have the same layers, so figures differ slightly: {_by_layers(self.layers)}.")
        elif "PyTorch" in self.layers.values():
            lines.append("The runs have PyTorch's layers: figures differ slightly from those of the compiled ones.")
        return "\n".join([*lines, *(f"{name} failed: {reason}" for name, reason in self.failed.items())])


def sweep(
    experiments: Sequence[str],
    seeds: Sequence[int],
    digits: Digits,
    folder: str | os.PathLike,
    engine: Engine,
    epochs: int | None = None,
    device: str = "cpu",
) -> Outcome:
    """Train each of `experiments`, by name, with each of `seeds`, and save the runs in `folder`.

    Runs that are there are not repeated, nor are those that another sweep is making. One that fails does not stop the
    others. However a sweep ends, each file is a whole run, and the next sweep goes on where it stopped.

    Raises `RunConflict` where a file in the folder is another run, `RunFileError` where it is none, and `OutputError`
    where runs cannot be saved; `SyntheticRefused` for synthetic digits and the published results; `InvalidArgument`.
    """
    folder, outcome = Path(folder), Outcome()
    refuse_synthetic(digits.name, folder)
    seeds = [whole_number("seed", seed, 0, 2**64 - 1) for seed in seeds]
    epochs = epochs if epochs is None else whole_number("epochs", epochs, 1, 10**6)
    prepare(folder)
    tasks = [
        replace(task, seeds=missing)
        for task in _tasks(experiments, seeds, epochs, device)
        if (missing := _missing(task, digits, folder, outcome))
    ]
    if not tasks:
        return outcome
    _warn_of_mixed_layers(outcome.layers, folder, device)
    claims = _Claims(folder)

    def claimed() -> Iterator[Task]:
        """Each task when its turn has come, with those of its seeds that nobody else is at."""
        for task in tasks:
            own = []
            for seed in task.seeds:
                name = _name(task, seed, digits)
                if not claims.take(name):
                    outcome.elsewhere.append(name)
                elif run := _found(task, seed, digits, folder):  # another sweep has made it meanwhile
                    claims.give_back(name)
                    outcome.note(run, outcome.found)
                else:
                    own.append(seed)
            bar.total -= len(task.seeds) - len(own)
            if own:
                yield replace(task, seeds=tuple(own))

    bar = tqdm(
        total=sum(len(task.seeds) for task in tasks),
        bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left",
        smoothing=0,  # the time left from all runs so far: they do not end at regular intervals
        disable=None,  # where the output is no terminal
    )
    shares = Counter()
    try:
        for task, told in engine(claimed(), pickle.dumps(digits)):
            match told:
                case float():
                    shares[task] += told
                    bar.update(told * len(task.seeds))
                case Run():
                    told.save(folder)
                    outcome.note(told, outcome.made)
                    claims.give_back(told.name)
                    bar.update(1 - shares[task])
                    minutes = sum(epoch.seconds for epoch in told.epochs) / 60
                    tqdm.write(f"{told.name}: {told.final.test_accuracy:.2f} % after {minutes:.1f} minutes")
                    sys.stdout.flush()  # at once, also into a file
                case Lost() | str():
                    seeds_lost, reason = ([told.seed], told.reason) if isinstance(told, Lost) else (task.seeds, told)
                    for name in {_name(task, seed, digits) for seed in seeds_lost} & claims.names:
                        outcome.failed[name] = reason
                        claims.give_back(name)
                        bar.update(1 - shares[task])
            bar.set_description_str(f"{len(outcome.made)} of {bar.total} runs")
    finally:
        bar.close()
        outcome.unlocked = claims.missing
        for name in list(claims.names):
            claims.give_back(name)
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


def in_processes(tasks: Iterable[Task], digits: bytes, jobs: int) -> Iterator[tuple[Task, Told]]:
    """An `Engine`: a process for each task, `jobs` of them at a time."""
    if jobs < 1:
        raise InvalidArgument(f"jobs is {jobs}: at least one process is needed")
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    context.set_forkserver_preload(["mnist_s7.worker"])  # so that PyTorch is imported once, and not by each process
    waiting = iter(tasks)
    running: dict[Connection, tuple[Task, multiprocessing.Process]] = {}
    try:
        while True:
            while len(running) < jobs and (task := next(waiting, None)):
                connection, its_end = context.Pipe(duplex=False)
                process = context.Process(target=work, args=(task, digits, its_end))
                process.start()
                its_end.close()  # here, so that the process holds the only one and its end can be noticed
                running[connection] = task, process
            if not running:
                return
            for connection in wait(list(running)):
                task, process = running[connection]
                try:
                    yield task, connection.recv()
                except (EOFError, ConnectionError):
                    del running[connection]
                    process.join()
                    if process.exitcode:
                        yield task, f"its process ended with exit code {process.exitcode}"
    finally:
        for _, process in running.values():
            process.kill()


def _tasks(experiments: Sequence[str], seeds: Sequence[int], epochs: int | None, device: str) -> list[Task]:
    """Seed by seed, so that what is there of a sweep that was stopped can be compared."""
    if unknown := [name for name in experiments if name not in EXPERIMENTS]:
        raise InvalidArgument(f"no experiment {', '.join(unknown)}: there are {', '.join(EXPERIMENTS)}")
    together = SEEDS_TOGETHER if device.startswith("cuda") else 1
    groups = [tuple(seeds[i : i + together]) for i in range(0, len(seeds), together)]
    return [
        Task(name, group, EXPERIMENTS[name].epochs if epochs is None else epochs, device)
        for group in groups
        for name in dict.fromkeys(experiments)
    ]


def _name(task: Task, seed: int, digits: Digits) -> str:
    return run_name(task.experiment, seed, digits.name)


def _missing(task: Task, digits: Digits, folder: Path, outcome: Outcome) -> tuple[int, ...]:
    """Those seeds of `task` whose run is not in the folder."""
    missing = []
    for seed in task.seeds:
        if run := _found(task, seed, digits, folder):
            outcome.note(run, outcome.found)
        else:
            missing.append(seed)
    return tuple(missing)


def _warn_of_mixed_layers(layers: dict[str, str], folder: Path, device: str) -> None:
    """Warn where runs in the folder have other layers than those to come; on a CPU, processes to come learn of what
    this one finds out about its C compiler."""
    expected = {"CUDA graphs", "PyTorch"} if device.startswith("cuda") else {cpu_layers()}
    if others := {name: kind for name, kind in layers.items() if kind not in expected}:
        warnings.warn(
            f"runs in {folder} have other layers than new ones get here ({' or '.join(sorted(expected))}), so figures "
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


def _found(task: Task, seed: int, digits: Digits, folder: Path) -> Run | None:
    """The run, if it is in the folder. Raises as `stored_run`."""
    path = folder / f"{_name(task, seed, digits)}.json"
    return stored_run(path, EXPERIMENTS[task.experiment], task.epochs)


def stored_run(path: Path, experiment: Experiment, epochs: int | None) -> Run | None:
    """The run at `path`, where there is one: of this experiment, and with as many epochs, None being its own number.

    Raises `RunConflict` where another run has its name, and `RunFileError` where the file holds none.
    """
    if not path.exists():
        return None
    run, epochs = Run.load(path), epochs or experiment.epochs
    if run.name != path.stem or len(run.epochs) != epochs:
        raise RunConflict(
            f"{path}: a run of {run.name} with {len(run.epochs)} epochs, and {path.stem} with {epochs} was asked for: "
            "choose another folder, or move the file"
        )
    if not is_of(run, experiment):
        raise RunConflict(
            f"{path}: a run of another recipe; {experiment.name} has been changed since: choose another folder, or "
            "move the file"
        )
    return run


class _Claims:
    """The runs that this sweep is making: a locked file for each. However a process ends, its locks end with it.

    Where files cannot be locked, as on some network file systems, the sweep goes on without: another one may make the
    same run, which spoils nothing. `missing` then says why.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.locks: dict[str, FileLock | None] = {}
        self.missing: str | None = None

    @property
    def names(self) -> set[str]:
        return set(self.locks)

    def take(self, name: str) -> bool:
        """Whether the run was free."""
        lock = FileLock(self.folder / f".{name}.lock", blocking=False, fallback_to_soft=False)
        try:
            lock.acquire()
        except Timeout:
            return False
        except (OSError, NotImplementedError) as error:
            self.missing = getattr(error, "strerror", None) or str(error)
            lock = None
        self.locks[name] = lock
        return True

    def give_back(self, name: str) -> None:
        lock = self.locks.pop(name)
        if lock:
            with contextlib.suppress(PermissionError):  # Windows removes no open file
                Path(lock.lock_file).unlink(missing_ok=True)  # while it is locked: nobody takes one about to go
            lock.release()
