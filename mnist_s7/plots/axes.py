"""The axes of a run's figures: epochs, losses, accuracies and parameters, and what is written beside lines."""

import math
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, MultipleLocator

from mnist_s7.plots.style import INK, say
from mnist_s7.results import has_targets
from mnist_s7.results.claims import HEADLINE

LIMIT = 8_000  # parameters that the series is to stay under, while above HEADLINE percent
ERROR_SCALE = "%, log scale of errors"  # said in the label of every accuracy axis
TICKS = (0, 50, 80, 90, 95, 98, 99, 99.5, 99.8, 100)
FINE_TICKS = (*range(0, 91, 10), *range(91, 98), 98, 98.4, 98.7, 99, 99.2, 99.4, 99.6, 99.8, 99.9, 100)


def epoch_axis(ax: Axes, epochs: int) -> None:
    ax.set(xlabel="epoch", xlim=(-0.5, epochs - 0.5))
    ax.xaxis.set_major_locator(MultipleLocator(math.ceil(epochs / 8)))


def loss_axis(ax: Axes) -> None:
    """A logarithmic y axis with plain numbers, around the lines that are there."""
    values = np.concatenate([line.get_ydata() for line in ax.lines])
    ax.set(yscale="log", ylim=(values.min() / 1.3, values.max() * 1.3))
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    ax.minorticks_off()


def parameter_axis(ax: Axes) -> None:
    """An x axis of parameters, with the limit on it."""
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=[1, 2, 5, 10]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    ax.axvline(LIMIT, color=INK, linewidth=1, linestyle=":")
    say(ax, f"limit {LIMIT:,}", LIMIT, 1, ("data", "axes fraction"), dy=8, ha="center")


# Accuracies are drawn by the logarithm of the errors, so that 14 % and the tenths around 99.4 % both have room.
# Errors are taken 0.05 percentage points larger than they are, which keeps 100 % on the axis.
def _height(accuracy):
    return -np.log10(np.maximum(100.05 - np.asarray(accuracy), 1e-9))


def _accuracy(height):
    return 100.05 - 10.0 ** -np.asarray(height)


def accuracy_axis(ax: Axes, accuracies: Sequence[float], along: str = "y") -> None:
    """Scale the axis `along`, "x" or "y", to hold the accuracies (percent)."""
    low, high = _height(min(accuracies)), _height(max(accuracies))
    pad = max(0.1 * (high - low), 0.05)
    bottom, top = _accuracy(low - pad), min(_accuracy(high + pad), 100.03)
    getattr(ax, f"set_{along}scale")("function", functions=(_height, _accuracy))
    getattr(ax, f"set_{along}lim")(bottom, top)
    coarse, fine = ([t for t in ticks if bottom <= t <= top] for ticks in (TICKS, FINE_TICKS))
    ticks = coarse if len(coarse) >= (4 if along == "y" else 3) else fine  # side by side, labels take more room
    if len(ticks) < 3:  # a narrow range, where the scale is almost a plain one
        ticks = MaxNLocator(5).tick_values(bottom, min(top, 100))
        ticks = [t for t in ticks if bottom <= t <= min(top, 100)]
    getattr(ax, f"set_{along}ticks")(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()


def headline(dataset: str) -> list[float]:
    """The accuracy (percent) that the series is to reach, where it is to on these digits."""
    return [HEADLINE] if has_targets(dataset) else []


def target_line(ax: Axes, target: float, whose: str = "") -> None:
    """Draw the target (percent), and shade what reaches it. The limits must be set."""
    ax.axhline(target, color=INK, linewidth=1, linestyle=":")
    ax.axhspan(target, ax.get_ylim()[1], color="#F3F3F3", zorder=0)
    say(ax, f"{whose} target {target:g} %".strip(), 0, target, ("axes fraction", "data"), dx=4, dy=8)


def end_labels(ax: Axes, form: str) -> None:
    """Name each labelled line at its right end, with its last value as `form` writes it. The limits must be set.

    Labels stay apart where ends are close, and a long name takes several lines rather than the figure's width.
    """
    lines, names = ax.get_legend_handles_labels()
    names = ["\n".join(textwrap.fill(line, 24) for line in name.splitlines()) for name in names]
    rows = max((name.count("\n") + 1 for name in names), default=1)
    lasts = [line.get_ydata()[-1] for line in lines]
    heights = place_apart([fraction_of(ax, last) for last in lasts], gap=0.075 * rows)
    for line, name, last, y in zip(lines, names, lasts, heights, strict=True):
        say(ax, f"{name} {form.format(last)}", 1.01, y, "axes fraction", colour=line.get_color(), bold=True)


def fraction_of(ax: Axes, y: float) -> float:
    """Where the value `y` stands between the bottom (0) and the top (1) of the axes."""
    return ax.transAxes.inverted().transform(ax.transData.transform((ax.get_xlim()[0], y)))[1]


def place_apart(positions: Sequence[float], gap: float) -> np.ndarray:
    """The positions, moved until neighbours are at least `gap` apart."""
    order = np.argsort(positions, kind="stable")
    steps = gap * np.arange(len(order))
    loose = np.asarray(positions)[order] - steps
    pushed = (np.maximum.accumulate(loose) + np.minimum.accumulate(loose[::-1])[::-1]) / 2 + steps
    return pushed[np.argsort(order)]
