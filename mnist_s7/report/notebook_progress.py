"""How far several notebooks are that are executed side by side, and how long it will take: one line."""

import shutil
import sys
import time
from dataclasses import dataclass

ON_TERMINAL, IN_LOG = 0.5, 30.0  # seconds between looks, and between lines in a log


@dataclass
class _Notebook:
    """`expected` is in seconds on some machine, `share` of 0 to 1; started and ended are times, as far as they are."""

    expected: float
    share: float = 0.0
    started: float | None = None
    ended: float | None = None
    state: str = "waits"


class Overview:
    """One line, redrawn in place on a terminal and written every half minute elsewhere.

    `expected` holds how long each notebook takes on some machine, in seconds: how they compare is all that counts.
    """

    def __init__(self, expected: dict[str, float], at_once: int, now=time.monotonic):
        self.notebooks = {name: _Notebook(seconds) for name, seconds in expected.items()}
        self.at_once, self.now = at_once, now
        self.on_terminal = sys.stdout.isatty()
        self.interval = ON_TERMINAL if self.on_terminal else 1.0
        self.shown = now()

    def starts(self, name: str) -> None:
        self.notebooks[name].started, self.notebooks[name].state = self.now(), "starts"

    def update(self, name: str, share: float) -> None:
        """`share` of the notebook's training run is done, of 0 to 1."""
        # A little is left for the cells after the training run.
        self.notebooks[name].share, self.notebooks[name].state = 0.95 * share, f"{0.95 * share:.0%}"

    def ends(self, name: str, state: str) -> None:
        notebook = self.notebooks[name]
        notebook.ended, notebook.share, notebook.state = self.now(), 1.0, state

    @property
    def share(self) -> float:
        """Of the whole."""
        total = sum(notebook.expected for notebook in self.notebooks.values())
        return sum(notebook.expected * notebook.share for notebook in self.notebooks.values()) / total

    def seconds_left(self) -> float | None:
        """None as long as nothing is known of this machine's pace: until a hundredth of a notebook is done."""
        started = [each for each in self.notebooks.values() if each.started is not None and each.share >= 0.01]
        if not started:
            return None
        spent = sum((each.ended or self.now()) - each.started for each in started)
        pace = spent / sum(each.expected * each.share for each in started)  # seconds for an expected one
        left = sorted(each.expected * (1 - each.share) * pace for each in self.notebooks.values() if each.ended is None)
        # At the best the work is spread evenly; and no notebook is spread over two cores.
        return max(sum(left) / self.at_once, left[-1]) if left else 0.0

    def __str__(self) -> str:
        left = self.seconds_left()
        when = "how long it takes is not known yet" if left is None else f"about {in_words(left)} left"
        each = ", ".join(f"{name.removeprefix('MNIST_S7_')} {each.state}" for name, each in self.notebooks.items())
        return f"{self.share:.0%}, {when} ({each})"

    def show(self) -> None:
        """As often as is fit; to be called at least every `interval` seconds."""
        if self.on_terminal:
            print(f"\r\033[K{str(self)[: shutil.get_terminal_size().columns - 1]}", end="", flush=True)
        elif self.now() - self.shown >= IN_LOG:
            self.shown = self.now()
            print(self, flush=True)

    def close(self) -> None:
        if self.on_terminal:
            print("\r\033[K", end="", flush=True)


def in_words(seconds: float) -> str:
    """To the minute where it is more than one and a half."""
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
