"""What a process of a sweep does: one task, on one thread, telling the sweep how it goes."""

import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection

import torch

from mnist_s7.errors import MnistS7Error
from mnist_s7.experiments import EXPERIMENTS
from mnist_s7.many import fit_many
from mnist_s7.progress import Silent
from mnist_s7.results import Epoch, Run
from mnist_s7.training import LossNotFinite, fit

__all__ = ["Lost", "Task", "Told", "depend_on_parent", "do", "work"]


@dataclass(frozen=True)
class Task:
    """Runs to be made in one go: of one seed, or on a GPU of several that are trained together."""

    experiment: str
    seeds: tuple[int, ...]
    epochs: int
    device: str


@dataclass(frozen=True)
class Lost:
    """A run of a task that failed while the others went on, and why."""

    seed: int
    reason: str


# The share of the task that was done just now; a finished run; one that failed; what went wrong with all that are left.
Told = float | Run | Lost | str


def do(task: Task, digits: bytes, tell: Callable[[Told], None]) -> None:
    """Train the runs of `task` on pickled `digits`, each as when it is alone on one thread. Errors are told, too."""
    torch.set_num_threads(1)
    experiment = EXPERIMENTS[task.experiment]
    try:
        if len(task.seeds) == 1:
            show = _EachEpoch(tell, task.epochs)
            runs = [fit(experiment, pickle.loads(digits), task.seeds[0], task.epochs, task.device, show)]
        else:
            runs = fit_many(experiment, pickle.loads(digits), task.seeds, task.epochs, task.device)
    except Exception as error:  # whatever it is: the other runs go on, and the sweep ends with it
        if not isinstance(error, MnistS7Error):  # a fault of our own, or of a network from elsewhere
            traceback.print_exc()
        tell(_in_words(error))
        return
    for seed, run in zip(task.seeds, runs, strict=True):
        if isinstance(run, LossNotFinite):
            tell(Lost(seed, _in_words(run)))
        else:
            run.model = None
            tell(run)


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


class _EachEpoch(Silent):
    def __init__(self, tell: Callable[[Told], None], epochs: int):
        self.tell, self.epochs = tell, epochs

    def epoch_ends(self, record: Epoch, tested: int) -> None:
        self.tell(1 / self.epochs)


def work(task: Task, digits: bytes, connection: Connection) -> None:
    """`do` in a process of its own, which ends with its parent."""
    depend_on_parent()
    do(task, digits, connection.send)


def depend_on_parent() -> None:
    """Let this process end with its parent, however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent_process().join()
    os._exit(1)
