"""What a run shows as it goes: figures that never wait for a GPU, and a bounded number of updates."""

import re
import time

import pytest
import torch

from mnist_s7.results import progress


class LateEvent:
    """A CUDA event that has happened once it was asked three times."""

    def __init__(self):
        self.asked = 0

    def record(self): ...

    def query(self):
        self.asked += 1
        return self.asked > 3


def test_running_figures_never_wait_for_a_gpu(monkeypatch):
    """The GPU's path on a CPU: figures are asked for, and shown some steps later when they have arrived."""
    monkeypatch.setattr(progress, "REFRESH", 0)
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    monkeypatch.setattr(torch.cuda, "Event", LateEvent)
    figures = progress._Figures()

    seen = []
    for _ in range(4):
        figures.add(torch.tensor(0.5), torch.tensor(3), 4)
        seen.append(figures.latest())

    assert seen == [None, None, None, "loss=0.5000 Accuracy=75.00%"]


def test_running_figures_are_means_over_the_images(monkeypatch):
    monkeypatch.setattr(progress, "REFRESH", 0)
    figures = progress._Figures()

    figures.add(torch.tensor(1.0), torch.tensor(4), 4)
    figures.add(torch.tensor(4.0), torch.tensor(0), 2)

    assert figures.latest() == "loss=2.0000 Accuracy=66.67%"


def test_running_figures_are_looked_at_seldom():
    figures = progress._Figures()
    figures.add(torch.tensor(1.0), torch.tensor(4), 4)

    assert figures.latest() is None
    figures.looked = time.perf_counter() - 2 * progress.REFRESH
    assert figures.latest() is not None


class Recorder:
    """In the place of a notebook's live line."""

    def __init__(self):
        self.share = None
        self.written = []
        Recorder.last = self

    def write(self, text):
        if text.strip():
            self.written.append((text, self.share))

    def flush(self): ...


@pytest.fixture
def in_notebook(monkeypatch):
    monkeypatch.setattr(progress, "_in_notebook", lambda: True)
    monkeypatch.setattr(progress, "_NotebookLine", Recorder)


def test_a_notebooks_live_line_is_updated_a_bounded_number_of_times(monkeypatch, in_notebook):
    """However long an epoch takes: here each step takes longer than the time between two updates."""
    monkeypatch.setattr(progress, "REFRESH", 0)
    lines = progress.Lines("T1", epochs=2)
    lines.epoch_starts(0, 0.01, steps=469)
    for _ in range(469):
        lines.step(torch.tensor(1.0), torch.tensor(1), 128)
    lines.epoch_trained()

    written = Recorder.last.written
    assert 10 < len(written) <= progress.UPDATES + 2
    shares = [share for _, share in written if share is not None]
    assert shares == sorted(shares)
    assert 0.45 < shares[-1] <= 0.5  # one of two epochs


def test_a_bar_in_a_notebook_ends_with_what_was_done(in_notebook):
    assert list(progress.with_bar([3, 1, 2], "soft targets", "epoch")) == [3, 1, 2]

    assert re.fullmatch(r"soft targets: 3 epochs in \d s", Recorder.last.written[-1][0])


def test_nothing_is_said_of_nothing_to_do(in_notebook):
    Recorder.last = None

    assert list(progress.with_bar([], "soft targets", "epoch")) == []
    assert Recorder.last is None


def test_outside_of_notebooks_and_terminals_a_bar_says_nothing(capfd):
    assert list(progress.with_bar([3, 1, 2], "soft targets", "epoch")) == [3, 1, 2]

    assert capfd.readouterr() == ("", "")
