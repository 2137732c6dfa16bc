"""Runs as logs for TensorBoard: the figures of every epoch, the recipe, and the errors as pictures."""

import io
import os
import time
from itertools import accumulate
from pathlib import Path

import numpy as np
from PIL import Image

from mnist_s7 import InvalidArgument
from mnist_s7.catalog import EXPERIMENTS
from mnist_s7.data import Digits
from mnist_s7.export.extras import require
from mnist_s7.results import Epoch, OutputError, Run, prepare
from mnist_s7.results.progress import Lines

TAGS = {
    "accuracy/train": "train_accuracy",
    "accuracy/test": "test_accuracy",
    "loss/train": "train_loss",
    "loss/test": "test_loss",
    "epoch/learning_rate": "lr",
    "epoch/seconds": "seconds",
}
MOST_ERRORS = 50  # that are drawn
DPI = 110


def write_tensorboard(run: Run, folder: str | os.PathLike, digits: Digits | None = None) -> Path:
    """Write the log of `run` to `folder/<its name>`, in place of one that is there, and return that path.

    `tensorboard --logdir folder` shows it, beside the other runs in the folder. With the `digits` that the run was
    tested on, its confusion matrix and its errors are drawn too.

    Raises `ExtraMissing` without the extra "tensorboard", `InvalidArgument` for other digits than the run's, and
    `OutputError` where the log cannot be written.
    """
    if digits is not None:
        _check_digits(run, digits)
    log = Path(folder) / run.name
    # The run does not say when it was made. The distances are its own, and no epoch is in the future.
    ends = list(accumulate(epoch.seconds for epoch in run.epochs))
    with _writer(log) as writer:
        for epoch, end in zip(run.epochs, ends, strict=True):
            _write_epoch(writer, epoch, time.time() - ends[-1] + end)
        writer.add_text("run", _about(run))
        if digits is not None:
            from mnist_s7.plots import confusion_matrix

            figures = {"confusion_matrix": confusion_matrix(run, digits.test_labels), "images": _errors(run, digits)}
            for name, figure in figures.items():
                writer.add_image(f"errors/{name}", _picture(figure), run.final.epoch)
    return log


class TensorBoardLines(Lines):
    """For `fit(progress=...)`: shows the run as `Lines` does, and writes each epoch's figures to the log in `folder`
    when it ends, in place of a log that is there."""

    def __init__(self, name: str, epochs: int, folder: str | os.PathLike):
        super().__init__(name, epochs)
        self.writer = _writer(Path(folder))  # before a training run, not after it

    def epoch_ends(self, record: Epoch, tested: int) -> None:
        super().epoch_ends(record, tested)
        _write_epoch(self.writer, record, time.time())
        self.writer.flush()

    def run_ends(self, records: list[Epoch]) -> None:
        super().run_ends(records)
        self.writer.close()


def _writer(log: Path):
    """An empty log. Nothing else in its folder is touched."""
    require("tensorboard", "tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    prepare(log)
    try:
        for old in log.glob("events.out.tfevents.*"):
            old.unlink()
    except OSError as error:
        raise OutputError(f"{log}: the log that is there cannot be replaced ({error.strerror})") from error
    return SummaryWriter(log)


def _write_epoch(writer, epoch: Epoch, ended: float) -> None:
    for tag, figure in TAGS.items():
        writer.add_scalar(tag, getattr(epoch, figure), epoch.epoch, ended)  # of doubles TensorBoard shows nothing


def _about(run: Run) -> str:
    """A Markdown table of the run's recipe and result."""
    experiment = EXPERIMENTS.get(run.experiment)
    known = experiment is not None and experiment.matches(run)
    recipe = {"change": experiment.change, "recipe": experiment.recipe} if known else {}
    about = {
        "experiment": run.experiment,
        "seed": run.seed,
        "dataset": run.dataset,
        "parameters": f"{run.parameters:,}",
        **recipe,
        "final test accuracy": f"{run.final.test_accuracy:.2f} %",
        "final test loss": f"{run.final.test_loss:.4f} nats",
        "units": "accuracies in percent, losses in nats, seconds of wall time per epoch",
        **run.environment,
    }
    return "\n".join(
        [f"| run | {run.name} |", "|---|---|", *(f"| {name} | {value} |" for name, value in about.items())]
    )


def _check_digits(run: Run, digits: Digits) -> None:
    """Raise `InvalidArgument` where the run cannot have been tested on `digits`."""
    count = len(digits.test_labels)
    belong = digits.name == run.dataset and all(
        index < count and digits.test_labels[index] != digit for index, digit in run.errors
    )
    if not belong or round(count * (100 - run.final.test_accuracy) / 100) != len(run.errors):
        raise InvalidArgument(
            f"the digits ({digits.name}, {count:,} test images) are not those that {run.name} was tested on "
            f"({run.dataset}): give those, or none"
        )


def _errors(run: Run, digits: Digits):
    """A figure of the first `MOST_ERRORS` test images that the final epoch got wrong."""
    from mnist_s7.plots.images import count_found, gallery, taken_for
    from mnist_s7.plots.style import name_of

    shown = run.errors[:MOST_ERRORS]
    title = f"{name_of(run)}: errors (label→prediction, number in the test set)"
    images = digits.test_images[[index for index, _ in shown]]
    captions = [f"{taken_for(run.dataset, digits.test_labels[index], digit)}\nno. {index}" for index, digit in shown]
    return gallery(title, [(count_found(len(run.errors), len(shown)), images, captions)], run.dataset)


def _picture(figure) -> np.ndarray:
    """(3, H, W) uint8. TensorBoard's own way goes through pyplot."""
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=DPI)
    return np.asarray(Image.open(png).convert("RGB")).transpose(2, 0, 1)
