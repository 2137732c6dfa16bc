"""What a process of a sweep does: one job, on one thread, sending messages about it to the sweep."""

import contextlib
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

from mnist_s7 import MnistS7Error
from mnist_s7.catalog import EXPERIMENTS, Origin
from mnist_s7.data import Digits
from mnist_s7.experiments import Experiment
from mnist_s7.results import Epoch, Run
from mnist_s7.results.progress import Silent
from mnist_s7.training import CannotBeMerged, LossNotFinite, fit, fit_seeds


@dataclass(frozen=True)
class Job:
    """Runs to be made in one go: of one seed, or on a GPU of several that are trained together."""

    experiment: str
    seeds: tuple[int, ...]
    epochs: int
    device: str
    origin: Origin | None = None  # of an experiment that other processes do not know
    weights: bool = False  # whether the runs bring them along


@dataclass(frozen=True)
class FailedRun:
    """A run of a job that failed while the others went on, and why."""

    seed: int
    reason: str


# The share of the job that was done just now; a finished run; one that failed; what went wrong with all that are left.
Message = float | Run | FailedRun | str


def run_job(job: Job, digits: bytes, send: Callable[[Message], None]) -> None:
    """Train the runs of `job` on pickled `digits`, on a CPU each as when it is alone on one thread. Errors, too, are
    messages."""
    if job.device == "cpu":  # a GPU's jobs, which come one by one, have all threads to prepare images with
        torch.set_num_threads(1)
    try:
        experiment = job.origin.experiment() if job.origin else EXPERIMENTS[job.experiment]
        show = _EachEpoch(send, job.epochs)
        runs = _runs(experiment, pickle.loads(digits), job, show)
    except Exception as error:  # whatever it is: the other runs go on, and the sweep ends with it
        if not isinstance(error, MnistS7Error):  # a fault of our own, or of a network from elsewhere
            traceback.print_exc()
        send(_in_words(error))
        return
    for seed, run in zip(job.seeds, runs, strict=True):
        if isinstance(run, LossNotFinite):
            send(FailedRun(seed, _in_words(run)))
        else:
            send(run.without_model(job.weights))


def _runs(experiment: Experiment, digits: Digits, job: Job, show: Silent) -> list[Run | LossNotFinite]:
    if len(job.seeds) > 1:
        with contextlib.suppress(CannotBeMerged):  # then one after the other
            return fit_seeds(experiment, digits, job.seeds, job.epochs, job.device, show)
    return [_run(experiment, digits, seed, job, show) for seed in job.seeds]


def _run(experiment: Experiment, digits: Digits, seed: int, job: Job, show: Silent) -> Run | LossNotFinite:
    try:
        return fit(experiment, digits, seed, job.epochs, job.device, show)
    except LossNotFinite as error:
        return error


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


class _EachEpoch(Silent):
    def __init__(self, send: Callable[[Message], None], epochs: int):
        self.send, self.epochs = send, epochs

    def epoch_ends(self, record: Epoch, tested: int) -> None:
        self.send(1 / self.epochs)


def worker_main(job: Job, digits: bytes, connection: Connection) -> None:
    """`run_job` in a process of its own, which ends with its parent."""
    depend_on_parent()
    run_job(job, digits, connection.send)


def depend_on_parent() -> None:
    """Let this process end with its parent, however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent_process().join()
    os._exit(1)
