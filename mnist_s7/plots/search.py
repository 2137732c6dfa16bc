"""The figure of a search: the recipes that were tried, and what they gave on the validation set."""

import textwrap
from collections.abc import Collection, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import blended_transform_factory

from mnist_s7 import InvalidArgument
from mnist_s7.plots.style import BLUE, FAINT, INK, MUTED, TEXT, Picture, plain_axes
from mnist_s7.results.search import Trial

ROW, LETTERS, HEADING = 0.2, 58, 100  # inches of a trial's line; letters of its name, and of a heading, in a line


def search_figure(groups: Mapping[str, Sequence[tuple[str, Trial]]], chosen: Collection[Trial] = ()) -> Figure:
    """The validation loss of each trial, by its name, in a panel for each group, with the group's name above: every
    seed, and of several the mean with its standard error. The names of those that were `chosen` are bold.

    Raises `InvalidArgument` where there are no trials.
    """
    panels = {textwrap.fill(heading, HEADING): trials for heading, trials in groups.items() if trials}
    if not panels:
        raise InvalidArgument("no trials, and so nothing to draw")
    names = [[textwrap.fill(name, LETTERS) for name, _ in trials] for trials in panels.values()]
    heights = [sum(name.count("\n") + 1 for name in group) + 1 for group in names]
    headings = sum(heading.count("\n") + 4 for heading in panels)
    figure = Picture(1 + ROW * (sum(heights) + headings), "The recipes that were tried, on the validation set")
    axes = figure.subplots(len(panels), squeeze=False, height_ratios=heights)[:, 0]
    for ax, (heading, trials), group in zip(axes, panels.items(), names, strict=True):
        plain_axes(ax, xlabel="validation loss (nats)", grid="x")
        _draw(ax, group, trials, chosen)
        title = ax.set_title(heading, loc="left", fontsize=TEXT, color=INK, x=0.01)
        title.set_transform(blended_transform_factory(figure.transFigure, title.get_transform()))
    handles = [
        Line2D([], [], label="each seed", color=MUTED, marker="|", linestyle=""),
        Line2D([], [], label="mean of several seeds and its standard error", color=MUTED, marker="o", linewidth=2),
        Line2D([], [], label="bold: what was chosen", linestyle=""),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=TEXT)
    return figure


def _draw(ax: Axes, names: Sequence[str], trials: Sequence[tuple[str, Trial]], chosen: Collection[Trial]) -> None:
    """A row for each trial, from the top, as high as its name has lines."""
    row, places = 0, []
    for name, (_, trial) in zip(names, trials, strict=True):
        height = name.count("\n") + 1
        at = row + height / 2
        row += height
        places.append(at)
        ax.axhline(at, color=FAINT, linewidth=0.7, zorder=0)
        ax.plot(trial.losses, [at] * len(trial.losses), color=BLUE, marker="|", linestyle="", alpha=0.6)
        if trial.loss.sd is not None:
            error = trial.loss.sd / trial.loss.n**0.5
            ax.plot([trial.loss.mean - error, trial.loss.mean + error], [at, at], color=BLUE, linewidth=2)
            ax.plot(trial.loss.mean, at, color=BLUE, marker="o", markersize=6)
    ax.set_yticks(places, names, fontsize=9, color=INK)
    for label, (_, trial) in zip(ax.get_yticklabels(), trials, strict=True):
        label.set_fontweight("bold" if trial in chosen else "normal")
    ax.set_ylim(row, 0)
    ax.tick_params(axis="y", length=0)
    ax.locator_params(axis="x", nbins=6)
