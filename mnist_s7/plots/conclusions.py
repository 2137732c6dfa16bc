"""The figure of conclusions on two data sets, side by side."""

import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from mnist_s7.plots.style import INK, MUTED, TEXT, Picture, plain_axes, say
from mnist_s7.results import Difference
from mnist_s7.results.conclusions import Comparison

MARK = {"linestyle": "", "marker": "o", "markersize": 7, "color": INK}


def two_data_sets(comparisons: Sequence[Comparison], names: tuple[str, str]) -> Figure:
    """A row for each conclusion: its difference (percentage points) and 95 % CI on each of two data sets, which are
    called `names`, and the verdict. Each data set has a scale of its own."""
    title = f"Conclusions on {names[0]}, and on {names[1]} with the same recipes"
    figure = Picture(1.5 + 0.52 * len(comparisons), title)
    panels = figure.subplots(1, 2, sharey=True)
    for column, (ax, name) in enumerate(zip(panels, names, strict=True)):
        found = [each.differences[column] for each in comparisons]
        for row, (each, difference) in enumerate(zip(comparisons, found, strict=True)):
            if difference is not None:
                _draw(ax, row, difference, each.conclusion.finding(difference) is None)
                if each.conclusion.margin is not None:
                    ax.plot([-each.conclusion.margin] * 2, [row - 0.35, row + 0.35], color=MUTED, linewidth=1.2)
        ax.axvline(0, color=INK, linewidth=1, linestyle=":")
        ax.margins(x=0.08)
        ax.set_ylim(len(comparisons) - 0.5, -0.5)
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.tick_params(axis="y", length=0)
        plain_axes(ax, xlabel="difference (pp) and its 95 % CI", grid="x")
        ax.set_title(name, loc="left", fontsize=11, fontweight="bold", color=INK)
    panels[0].set_yticks(range(len(comparisons)), [textwrap.fill(each.conclusion.text, 28) for each in comparisons])
    for row, each in enumerate(comparisons):
        say(panels[1], each.verdict, 1.03, row, ("axes fraction", "data"))
    handles = [
        Line2D([], [], label="conclusive", **MARK),
        Line2D([], [], label="inconclusive", markerfacecolor="white", **MARK),
    ]
    if any(each.conclusion.margin is not None for each in comparisons):
        margin = {"linestyle": "", "marker": "|", "markersize": 12, "markeredgewidth": 1.2, "color": MUTED}
        handles.append(Line2D([], [], label="at most this much less is allowed", **margin))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=TEXT)
    return figure


def _draw(ax: Axes, row: int, difference: Difference, inconclusive: bool) -> None:
    ax.plot(difference.interval, [row, row], color=INK, linewidth=2, alpha=0.5)
    ax.plot(difference.mean, row, markerfacecolor="white" if inconclusive else INK, **MARK)
