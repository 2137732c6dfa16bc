"""What a process of a sweep does: one task, on one thread, telling the sweep how it goes."""

import os
import pickle
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection

import torch

from mnist_s7.experiments import EXPERIMENTS
from mnist_s7.many import fit_many
from mnist_s7.progress import Silent
from mnist_s7.results import Epoch, Run
from mnist_s7.training import fit

__all__ = ["Task", "Told", "do", "work"]


@dataclass(frozen=True)
class Task:
    """Runs to be made in one go: of one seed, or on a GPU of several that are trained together."""

    experiment: str
    seeds: tuple[int, ...]
    epochs: int
    device: str


Told = float | Run | str  # the share of the task that was done just now; a finished run; what went wrong


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
        tell(f"{type(error).__name__}: {error}")
        return
    for run in runs:
        run.model = None
        tell(run)


class _EachEpoch(Silent):
    def __init__(self, tell: Callable[[Told], None], epochs: int):
        self.tell, self.epochs = tell, epochs

    def epoch_ends(self, record: Epoch, tested: int) -> None:
        self.tell(1 / self.epochs)


def work(task: Task, digits: bytes, connection: Connection) -> None:
    """`do` in a process of its own, which ends with its parent, however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    do(task, digits, connection.send)


def _end_with_parent() -> None:
    parent_process().join()
    os._exit(1)
