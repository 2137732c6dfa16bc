"""The benchmark's figure."""

from statistics import median

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from mnist_s7.bench import Benchmark
from mnist_s7.plots.style import FAINT, INK, MUTED, Picture, looks_by_name, plain_axes, say

LOOPS = {
    "baseline": ("baseline loop", MUTED),
    "in_memory": ("in memory, PyTorch's layers", "#999999"),
    "torch_compile": ("in memory, torch.compile", "#BBBBBB"),
    "jax": ("in memory, JAX", "#CCCCCC"),
    "package": ("in memory, compiled layers", None),
    "convolutions": ("PyTorch's convolutions alone", FAINT),
}
BAR = 0.22  # inches, that what is said of one does not meet the next
PANELS = {
    "by_batch_size": "batch size (images, log scale)",
    "by_threads": "threads",
    "by_images": "training images per pass",
}


def benchmark_figure(benchmark: Benchmark) -> Figure:
    """Seconds per epoch of each loop; then those of this package by batch size, threads and images."""
    where = f"{benchmark.cores} cores of {benchmark.processor}"
    title = f"Seconds per epoch on {where}, by loop, batch size, threads and images"
    bars = sum(bool(getattr(cost, loop)) for cost in benchmark.costs.values() for loop in LOOPS)
    heights = BAR * bars + 0.6, 2.4  # inches: below the bars is their axis
    figure = Picture(sum(heights), title)
    grid = figure.add_gridspec(2, len(PANELS), height_ratios=heights)
    _bars(figure.add_subplot(grid[0, :]), benchmark)
    for i, (by, label) in enumerate(PANELS.items()):
        ax = figure.add_subplot(grid[1, i])
        _lines(ax, benchmark, by)
        plain_axes(ax, xlabel=label, ylabel=("seconds per pass" if by == "by_images" else "seconds per epoch"))
    return figure


def _bars(ax: Axes, benchmark: Benchmark) -> None:
    """A group of bars for each iteration, with the lowest and highest round, and the ratios in words."""
    looks = looks_by_name(benchmark.costs)
    for i, (name, cost) in enumerate(benchmark.costs.items()):
        measured = {loop: seconds for loop in LOOPS if (seconds := getattr(cost, loop))}
        for j, (loop, seconds) in enumerate(measured.items()):
            (label, colour), y = LOOPS[loop], i + 0.85 / len(measured) * (j - (len(measured) - 1) / 2)
            ax.barh(
                y, median(seconds), 0.75 / len(measured), color=colour or looks[name][0], edgecolor=MUTED, linewidth=0.5
            )
            ax.plot([min(seconds), max(seconds)], [y, y], color=INK, linewidth=1)
            text = f"{label}: {median(seconds):.1f} s"
            if loop not in ("package", "convolutions"):
                text += f", {median(cost.ratios(loop, 'package')):.1f} times the compiled layers"
            say(ax, text, max(seconds), y, dx=5)
    ax.set_yticks(range(len(benchmark.costs)), benchmark.costs, fontweight="bold")
    ax.invert_yaxis()
    longest = max(max(getattr(cost, loop), default=0) for cost in benchmark.costs.values() for loop in LOOPS)
    ax.set_xlim(0, 1.75 * longest)
    ax.tick_params(axis="y", length=0)
    plain_axes(
        ax,
        xlabel="seconds per epoch (medians, also of each round's ratios; lines, and bands below: range of the rounds)",
        grid="x",
    )


def _lines(ax: Axes, benchmark: Benchmark, by: str) -> None:
    looks = looks_by_name(benchmark.costs)
    for name, cost in benchmark.costs.items():
        colour, marker = looks[name]
        at = [int(n) for n in getattr(cost, by)]
        rounds = np.array(list(getattr(cost, by).values()))  # (points, rounds)
        ax.fill_between(at, rounds.min(1), rounds.max(1), color=colour, alpha=0.15, linewidth=0)
        ax.plot(at, np.median(rounds, axis=1), color=colour, marker=marker, markersize=4.5, label=name)
    if by == "by_batch_size":
        ax.set_xscale("log", base=2)
        ax.xaxis.set_minor_locator(NullLocator())
        at = at[::2]  # all of them would not fit under the axis
        ax.legend(frameon=False, fontsize=8)  # here, where lines fall: it is that of all panels
    ax.set_xticks(at, [f"{n // 1000}k" if n >= 6_000 else str(n) for n in at])
    ax.tick_params(axis="x", labelsize=8)
    ax.set_ylim(bottom=0)
