"""The figure of accuracies on corrupted test images."""

import math

from matplotlib.lines import Line2D

from mnist_s7.plots.axes import ERROR_SCALE, accuracy_axis
from mnist_s7.plots.style import INK, Picture, looks_by_name, plain_axes
from mnist_s7.robustness import Robustness

COLUMNS = 3


def robustness_figure(record: Robustness) -> Picture:
    """Test accuracy (percent) of each network by the strength of each corruption, the mean of its seeds; on one scale,
    so that corruptions can be compared."""
    rows = math.ceil((len(record.curves) + 1) / COLUMNS)  # one place more, for the legend
    several = max(map(len, record.seeds.values())) > 1
    title = f"Test accuracy on corrupted test images{', mean of the seeds' if several else ''}"
    figure = Picture(0.6 + 2.6 * rows, title, record.dataset)
    panels = figure.subplots(rows, COLUMNS, sharey=True).flatten()
    looks = looks_by_name(record.seeds)
    means = {name: {network: curve.mean(network) for network in looks} for name, curve in record.curves.items()}
    accuracy_axis(panels[0], [a for by_network in means.values() for values in by_network.values() for a in values])
    for i, (ax, (name, curve)) in enumerate(zip(panels, record.curves.items(), strict=False)):
        plain_axes(ax, xlabel=curve.unit, ylabel="" if i % COLUMNS else f"accuracy ({ERROR_SCALE})")
        ax.set_title(name, loc="left", fontsize=11, fontweight="bold", color=INK)
        ax.axvline(curve.neutral, color=INK, linewidth=1, linestyle=":")
        for network, (colour, marker) in looks.items():
            ax.plot(curve.strengths, means[name][network], color=colour, marker=marker, markersize=4, linewidth=1.4)
    lines = [
        Line2D([], [], color=colour, marker=marker, markersize=6, label=network)
        for network, (colour, marker) in looks.items()
    ]
    lines.append(Line2D([], [], color=INK, linewidth=1, linestyle=":", label="images as they are"))
    for ax in panels[len(record.curves) :]:
        ax.set_axis_off()
    panels[len(record.curves)].legend(handles=lines, loc="center left", frameon=False, fontsize=11, labelcolor=INK)
    return figure
