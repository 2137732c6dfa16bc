"""What a training run shows while it goes on: a live bar, and the lines that each epoch leaves."""

import math
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from mnist_s7.results import Epoch

T = TypeVar("T")
REFRESH = 0.2  # seconds between looks at the running figures
UPDATES = 20  # of a notebook's live line in an epoch: who reads a kernel's messages late gets them all at once
SHARE = "application/vnd.mnist-s7.share+json"  # beside the live line's text: how much of the run is done, 0 to 1


class Silent:
    """Shows nothing. The moments of a run that can be shown, in their order."""

    def epoch_starts(self, epoch: int, lr: float, steps: int) -> None: ...

    def step(self, loss: Tensor, correct: Tensor, size: int) -> None:
        """`loss` and `correct` may still be on their way: reading one would wait for the device."""

    def epoch_trained(self) -> None:
        """Also when the training was interrupted."""

    def epoch_ends(self, record: Epoch, tested: int) -> None: ...

    def run_ends(self, records: list[Epoch]) -> None: ...


def logged(record: Epoch, tested: int) -> tuple[str, str]:
    """An epoch's figures in the reference series' form: of its training, and of the `tested` test images."""
    correct = round(record.test_accuracy * tested / 100)
    return (
        f"loss={record.train_loss:.7f} Accuracy={record.train_accuracy:.2f}%",
        f"Test set: Average loss: {record.test_loss:.7f}, Accuracy: {correct}/{tested} ({record.test_accuracy:.2f}%)",
    )


class Lines(Silent):
    """The reference series' lines: the epoch's bar, the test set's figures, the learning rate when it changes.

    The live bar is apart from the lines. In a notebook it is one output above them, redrawn in place, so that the
    stored notebook keeps neither its fragments nor a widget; elsewhere it is at the foot of the terminal.
    """

    def __init__(self, name: str, epochs: int):
        self.name, self.epochs = name, epochs
        self.lr = None
        self.bar = None
        self.live = _NotebookLine() if _in_notebook() else None

    def epoch_starts(self, epoch: int, lr: float, steps: int) -> None:
        if lr != self.lr:
            self._line(f"Adjusting learning rate to {lr:.4e}.")
            self.lr = lr
        self.epoch, self.steps, self.started = epoch, steps, time.perf_counter()
        self.figures = _Figures()
        if self.live:
            where = {"file": self.live, "miniters": steps // UPDATES + 1, "maxinterval": math.inf}
        else:
            where = {"file": sys.stderr, "disable": None}  # None: shown only where that is a terminal
        self.bar = tqdm(total=steps, leave=False, mininterval=REFRESH, **where)

    def step(self, loss: Tensor, correct: Tensor, size: int) -> None:
        self.figures.add(loss, correct, size)
        if latest := self.figures.latest():
            self.bar.set_description(f"{self.name} epoch {self.epoch} of {self.epochs}: {latest}", refresh=False)
        if self.live:
            self.live.share = (self.epoch + (self.bar.n + 1) / self.steps) / self.epochs
        self.bar.update()

    def epoch_trained(self) -> None:
        self.trained = time.perf_counter()
        self.bar.close()

    def epoch_ends(self, record: Epoch, tested: int) -> None:
        train, test = logged(record, tested)
        prefix = f"Epoch={record.epoch} Batch={self.steps - 1} {train}"
        self._line(tqdm.format_meter(self.steps, self.steps, self.trained - self.started, prefix=prefix))
        self._line(f"{test}\n")

    def run_ends(self, records: list[Epoch]) -> None:
        seconds = sum(record.seconds for record in records)
        summary = f"{self.name}: {len(records)} epochs in {seconds:.0f} s"
        if self.live:
            self.live.share = None  # what is stored in the notebook is the text alone
            self.live.write(summary)
        else:
            self._line(summary)

    def _line(self, text: str) -> None:
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()  # at once, also into a pipe


def with_bar(steps: Sequence[T], name: str, unit: str) -> Iterator[T]:
    """The steps, with a bar while they are taken: on a terminal, or in a notebook's cell, which then says how long they
    took. Nothing is shown of no steps."""
    if not steps or not _in_notebook():
        yield from tqdm(steps, desc=name, unit=unit, disable=None if steps else True)  # None: unless on a terminal
        return
    live, started = _NotebookLine(), time.perf_counter()
    yield from tqdm(steps, desc=name, unit=unit, file=live, leave=False)
    live.write(f"{name}: {len(steps)} {unit}s in {time.perf_counter() - started:.0f} s")


class _Figures:
    """An epoch's running loss and accuracy, looked at now and then, without ever waiting for a GPU."""

    def __init__(self):
        self.total = None  # (3,) on the device: summed loss, images right, images in all
        self.looked = time.perf_counter()
        self.copy = self.copied = None

    def add(self, loss: Tensor, correct: Tensor, size: int) -> None:
        loss = loss.mean()  # of several networks, where they are trained together
        step = torch.stack([loss * size, correct.to(loss.dtype).mean(), torch.full_like(loss, size)])
        self.total = step if self.total is None else self.total + step

    def latest(self) -> str | None:
        """New figures in words, if it is time for them and they have arrived."""
        if self.copy is None:
            if time.perf_counter() - self.looked < REFRESH:
                return None
            self.looked = time.perf_counter()
            self.copy = self.total.to("cpu", non_blocking=True)
            if self.total.is_cuda:
                self.copied = torch.cuda.Event()
                self.copied.record()
        if self.copied is not None and not self.copied.query():
            return None  # still under way: asked again after the next step
        loss, correct, seen = self.copy.tolist()
        self.copy = self.copied = None
        return f"loss={loss / seen:.4f} Accuracy={100 * correct / seen:.2f}%"


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and "IPKernelApp" in shell.config


class _NotebookLine:
    """A file for tqdm that shows the last line written to it, in one output of the running cell."""

    def __init__(self):
        from IPython.display import display  # only here is IPython sure to be there

        self.handle = display({"text/plain": ""}, raw=True, display_id=True)
        self.share = None

    def write(self, text: str) -> None:
        if line := text.strip():
            share = {} if self.share is None else {SHARE: self.share}
            self.handle.update({"text/plain": line} | share, raw=True)

    def flush(self) -> None: ...
