"""The benchmark's figure."""

from statistics import median

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from mnist_s7.bench import Benchmark
from mnist_s7.plots.style import FAINT, INK, LOOKS, MUTED, Picture, plain_axes, say

KINDS = {
    "usual": ("usual loop", MUTED),
    "ours": ("this package", None),
    "floor": ("PyTorch's convolutions alone", FAINT),
}
PANELS = {
    "by_batch_size": "batch size (images, log scale)",
    "by_threads": "threads",
    "by_images": "training images a pass",
}


def benchmark_picture(benchmark: Benchmark) -> Figure:
    """Seconds an epoch of the usual loop, ours and the floor; then ours by batch size, threads and images."""
    title = f"Seconds an epoch on {benchmark.cores} cores, by loop, batch size, threads and images"
    figure = Picture(5.6, title)
    grid = figure.add_gridspec(2, len(PANELS), height_ratios=(1.15, 1))
    _bars(figure.add_subplot(grid[0, :]), benchmark)
    for i, (by, label) in enumerate(PANELS.items()):
        ax = figure.add_subplot(grid[1, i])
        _lines(ax, benchmark, by)
        plain_axes(ax, xlabel=label, ylabel=("seconds a pass" if by == "by_images" else "seconds an epoch"))
    return figure


def _bars(ax: Axes, benchmark: Benchmark) -> None:
    """A group of bars for each iteration, with the lowest and highest round, and the ratios in words."""
    for i, (name, cost) in enumerate(benchmark.costs.items()):
        for j, (kind, (label, colour)) in enumerate(KINDS.items()):
            seconds, y = getattr(cost, kind), i + 0.27 * (j - 1)
            ax.barh(y, median(seconds), 0.25, color=colour or LOOKS[name][0], edgecolor=MUTED, linewidth=0.5)
            ax.plot([min(seconds), max(seconds)], [y, y], color=INK, linewidth=1)
            text = f"{label}: {median(seconds):.1f} s"
            if kind == "usual":
                text += f", {median(cost.ratios('usual', 'ours')):.1f} times ours"
            say(ax, text, max(seconds), y, dx=5)
    ax.set_yticks(range(len(benchmark.costs)), benchmark.costs, fontweight="bold")
    ax.invert_yaxis()
    ax.set_xlim(0, 1.45 * max(max(cost.usual) for cost in benchmark.costs.values()))
    ax.tick_params(axis="y", length=0)
    plain_axes(ax, xlabel="seconds an epoch (medians; lines, and bands below: lowest to highest round)", grid="x")


def _lines(ax: Axes, benchmark: Benchmark, by: str) -> None:
    for name, cost in benchmark.costs.items():
        colour, marker = LOOKS[name]
        at = [int(n) for n in getattr(cost, by)]
        rounds = np.array(list(getattr(cost, by).values()))  # (points, rounds)
        ax.fill_between(at, rounds.min(1), rounds.max(1), color=colour, alpha=0.15, linewidth=0)
        ax.plot(at, np.median(rounds, axis=1), color=colour, marker=marker, markersize=4.5, label=name)
    if by == "by_batch_size":
        ax.set_xscale("log", base=2)
        ax.xaxis.set_minor_locator(NullLocator())
        at = at[::2]  # all of them would not fit under the axis
    ax.set_xticks(at, [f"{n // 1000}k" if n >= 6_000 else str(n) for n in at])
    ax.tick_params(axis="x", labelsize=8)
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False, fontsize=8)
