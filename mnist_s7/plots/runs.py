"""Figures of one training run, and of several beside each other."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from mnist_s7 import InvalidArgument
from mnist_s7.plots.axes import (
    ERROR_SCALE,
    accuracy_axis,
    end_labels,
    epoch_axis,
    headline,
    loss_axis,
    target_line,
)
from mnist_s7.plots.style import (
    FAINT,
    INK,
    MUTED,
    Picture,
    counted,
    dataset_of,
    looks_of,
    name_of,
    plain_axes,
    say,
)
from mnist_s7.results import Run, class_names, class_noun, has_targets, wilson

LOWEST = 90  # percent: where runs that end above it are compared, epochs below it are only counted
LINES = {
    "train": {"linestyle": "--", "linewidth": 1.3, "markersize": 4.5, "markerfacecolor": "white"},
    "test": {"linestyle": "-", "linewidth": 1.8, "markersize": 4.5},
}

# ---------------------------------------------------------------------------------------------------- one run


def training_curves(run: Run, target: float | None = None, soft_targets: bool = False) -> Figure:
    """Loss (nats) and accuracy (percent) over the epochs, train and test, with the learning rate under each.

    `target` is a test accuracy in percent, drawn as a line where the run is on digits that it is for. With
    `soft_targets` the training loss is that towards teachers' probabilities, another quantity than the test loss.
    """
    target = target if has_targets(run.dataset) else None
    figure = Picture(4.5, f"{name_of(run)}: final test accuracy {run.final.test_accuracy:.2f} %", run.dataset)
    (loss, accuracy), rates = figure.subplots(2, 2, sharex="col", height_ratios=(3.2, 1))
    [(colour, marker)] = looks_of([run])
    for ax, quantity in ((loss, "loss"), (accuracy, "accuracy")):
        for split, shade in (("train", MUTED), ("test", colour)):
            values = _by_epoch(run, f"{split}_{quantity}")
            label = "train, to soft\ntargets" if soft_targets and (split, quantity) == ("train", "loss") else split
            ax.plot(values, color=shade, marker=marker, label=label, **LINES[split])
    plain_axes(loss, ylabel="loss (nats, log scale)")
    loss_axis(loss)
    end_labels(loss, "{:.3f}")
    plain_axes(accuracy, ylabel=f"accuracy ({ERROR_SCALE})")
    drawn = _by_epoch(run, "train_accuracy") + _by_epoch(run, "test_accuracy")
    accuracy_axis(accuracy, drawn if target is None else [*drawn, target])
    if target is not None:
        target_line(accuracy, target)
    end_labels(accuracy, "{:.2f} %")
    learning_rates = _by_epoch(run, "lr")
    for ax in rates:
        ax.plot(learning_rates, color=INK, drawstyle="steps-mid", linewidth=1.3, marker=".")
        plain_axes(ax, ylabel="learning rate" if ax is rates[0] else "")
        ax.set_ylim(0, 1.25 * max(learning_rates))
        ax.yaxis.set_major_locator(MaxNLocator(3))
        epoch_axis(ax, len(run.epochs))
    return figure


def confusion_matrix(run: Run, labels: Tensor) -> Figure:
    """Counts of the final epoch's predictions, by label (row) and prediction; `labels` int64 (N,), the test set's.

    Colour tells errors alone: the diagonal, hundreds of times larger, stays grey.
    """
    counts = np.zeros((10, 10), dtype=int)
    np.add.at(counts, (labels.numpy(), run.predictions(labels).numpy()), 1)
    errors = np.where(np.eye(10, dtype=bool), 0, counts)
    title = f"{name_of(run)}: {counted(errors.sum(), 'error')} in {len(labels):,} test images"
    figure = Picture(4.4, title, run.dataset, width=5.2)
    ax = figure.subplots()
    image = ax.imshow(np.ma.masked_equal(errors, 0), cmap="Oranges", vmin=0, vmax=max(errors.max(), 1))
    for (label, predicted), count in np.ndenumerate(counts):
        if label == predicted:
            ax.add_patch(Rectangle((predicted - 0.5, label - 0.5), 1, 1, facecolor="#EEEEEE"))
            say(ax, str(count), predicted, label, colour=MUTED, ha="center", size=8)
        elif count:
            colour = "white" if count > 0.6 * errors.max() else INK
            say(ax, str(count), predicted, label, colour=colour, ha="center", bold=True)
    names = class_names(run.dataset)
    ax.set(xlabel=f"predicted {class_noun(run.dataset)}", ylabel="label")
    ax.set_xticks(range(10), names, rotation=90 if max(map(len, names)) > 3 else 0)
    ax.set_yticks(range(10), names)
    ax.tick_params(length=0)
    ax.spines[:].set_color(FAINT)
    bar = figure.colorbar(image, ax=ax, label="errors (test images)", shrink=0.8)
    bar.outline.set_visible(False)
    bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def accuracy_per_digit(run: Run, labels: Tensor) -> Figure:
    """The test accuracy (percent) of each digit or class in the final epoch, its 95 % Wilson interval and its errors.

    `labels` int64 (N,), the test set's.
    """
    digits, totals = np.unique(labels.numpy(), return_counts=True)
    errors = np.bincount(labels[run.predictions(labels) != labels].numpy(), minlength=10)[digits]
    rights = totals - errors
    low, high = np.transpose([wilson(right, total) for right, total in zip(rights, totals, strict=True)])
    overall = 100 * rights.sum() / totals.sum()
    noun = class_noun(run.dataset)
    figure = Picture(4.2, f"{name_of(run)}: test accuracy per {noun}", run.dataset, width=7)
    ax = figure.subplots()
    [(colour, marker)] = looks_of([run])
    ax.hlines(digits, low, high, color=colour, linewidth=2, alpha=0.5)
    ax.plot(100 * rights / totals, digits, linestyle="", color=colour, marker=marker, markersize=7)
    ax.axvline(overall, color=MUTED, linewidth=1, linestyle=":")
    text = f"all {'digits' if noun == 'digit' else 'classes'} {overall:.2f} %"
    say(ax, text, overall, 1, ("data", "axes fraction"), dy=8, colour=MUTED, ha="center")
    for digit, count, total in zip(digits, errors, totals, strict=True):
        say(ax, f"{count} of {total:,} wrong", 1.02, digit, ("axes fraction", "data"))
    plain_axes(ax, xlabel="test accuracy (%, zoomed in), with 95 % Wilson intervals", ylabel=noun, grid="x")
    span = 100 - low.min()
    ax.set_yticks(digits, [class_names(run.dataset)[digit] for digit in digits])
    ax.set(ylim=(9.6, -0.6), xlim=(100 - 1.05 * span, 100 + 0.03 * span))
    return figure


# ----------------------------------------------------------------------------------------------- several runs


def compare_curves(runs: dict[str, Run]) -> Figure:
    """Test and train accuracy (percent) over the epochs, a line for each run, its final figure at its end."""
    refuse_empty(runs)
    figure = Picture(4.0, "Accuracy by epoch", dataset_of(runs.values()))
    test, train = figure.subplots(1, 2, sharey=True)
    groups = {name: [run] for name, run in runs.items()}
    accuracy_panel(test, groups, "test")
    accuracy_panel(train, groups, "train")
    return figure


def refuse_empty(runs: Mapping) -> None:
    if not runs:
        raise InvalidArgument("no runs to draw: `runs` is empty")


def accuracy_panel(ax: Axes, groups: Mapping[str, Sequence[Run]], split: str) -> None:
    """Draw `split` accuracies over the epochs, on an axis that has room for train and test alike.

    Each group of runs, which have equally many epochs, is a line for their mean; several of them have a band for their
    range.
    """
    accuracies = {name: np.array([_by_epoch(run, f"{split}_accuracy") for run in g]) for name, g in groups.items()}
    means = {name: values.mean(axis=0) for name, values in accuracies.items()}
    firsts = [group[0] for group in groups.values()]
    for (name, values), (colour, marker) in zip(accuracies.items(), looks_of(firsts), strict=True):
        ax.plot(means[name], color=colour, marker=marker, label=name, **LINES[split])
        if len(values) > 1:
            epochs = range(values.shape[1])
            ax.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15, linewidth=0)
    plain_axes(ax, ylabel=f"{split} accuracy ({ERROR_SCALE})")
    runs = [run for group in groups.values() for run in group]
    ends = [min(run.final.train_accuracy, run.final.test_accuracy) for run in runs]
    lowest = LOWEST if min(ends) > LOWEST else 0
    both = [a for run in runs for s in LINES for a in _by_epoch(run, f"{s}_accuracy")]
    targets = headline(dataset_of(runs))
    accuracy_axis(ax, [*targets, *(max(a, lowest) for a in both)])
    epoch_axis(ax, max(map(len, means.values())))
    for target in targets if split == "test" else ():
        target_line(ax, target, "the series'")
    end_labels(ax, "{:.2f} %")
    below = {name: sum(a < lowest for a in values) for name, values in means.items()}
    notes = [f"{name} is below {lowest} % in {counted(n, 'epoch')}" for name, n in below.items() if n]
    say(ax, "\n".join(notes), 0.98, 0.03, "axes fraction", colour=MUTED, ha="right", va="bottom")


def _by_epoch(run: Run, quantity: str) -> list[float]:
    return [getattr(epoch, quantity) for epoch in run.epochs]
