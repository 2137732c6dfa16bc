"""The figure of a search: every recipe that was tried, and what it gave on the validation set."""

import textwrap
from collections.abc import Mapping, Sequence
from itertools import accumulate

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mnist_s7 import InvalidArgument
from mnist_s7.plots.style import BLUE, FAINT, GREEN, INK, MUTED, PURPLE, TEXT, VERMILLION, Picture, plain_axes
from mnist_s7.results.search import Trial

ROW, LETTERS = 0.2, 58  # inches of a trial's line; letters of its name in a line
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE)


def search_figure(groups: Mapping[str, Sequence[tuple[str, Trial]]], chosen: Trial | None = None) -> Figure:
    """The validation loss of each trial, by its name, group after group, each below what it is called: every seed, and
    the mean with its standard error. The name of the one that was `chosen` is bold.

    Raises `InvalidArgument` where there are no trials, and for more groups than there are colours.
    """
    if not any(groups.values()) or len(groups) > len(COLOURS):
        raise InvalidArgument(f"{len(groups)} groups of trials: 1 to {len(COLOURS)} can be drawn, and not without any")
    rows: list[tuple[str, str, Trial | None]] = []  # a name, its colour, and what is to be drawn
    for (group, trials), colour in zip(groups.items(), COLOURS, strict=False):
        named = [(group, None), *trials]
        rows += [(textwrap.fill(name, LETTERS), colour, trial) for name, trial in named]
    heights = [name.count("\n") + (1 if trial else 2) for name, _, trial in rows]
    ends = list(accumulate(heights))
    figure = Picture(1.1 + ROW * ends[-1], "Every recipe that was tried, on the validation set")
    ax = figure.subplots()
    plain_axes(ax, xlabel="validation loss (nats)", grid="x")
    middles = [end - (name.count("\n") + 1) / 2 for (name, _, _), end in zip(rows, ends, strict=True)]
    ax.set_yticks(middles, [name for name, _, _ in rows], fontsize=9, color=INK)
    for (_, colour, trial), at, label in zip(rows, middles, ax.get_yticklabels(), strict=True):
        if trial is None:
            label.set_fontstyle("italic")
            continue
        label.set_fontweight("bold" if trial is chosen else "normal")
        ax.axhline(at, color=FAINT, linewidth=0.7, zorder=0)
        ax.plot(trial.losses, [at] * len(trial.losses), color=colour, marker="|", linestyle="", alpha=0.6)
        if trial.loss.sd is not None:
            error = trial.loss.sd / trial.loss.n**0.5
            ax.plot([trial.loss.mean - error, trial.loss.mean + error], [at, at], color=colour, linewidth=2)
        ax.plot(trial.loss.mean, at, color=colour, marker="o", markersize=6)
    ax.set_ylim(ends[-1] + 0.5, 0)
    ax.tick_params(axis="y", length=0)
    handles = [
        Line2D([], [], label="each seed", color=MUTED, marker="|", linestyle=""),
        Line2D([], [], label="mean and its standard error", color=MUTED, marker="o", linewidth=2),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=TEXT)
    return figure
