"""The figure of what networks learn from others: the probabilities that each gives to some digits."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from mnist_s7 import InvalidArgument
from mnist_s7.plots.images import draw_digit
from mnist_s7.plots.style import INK, TEXT, Picture, looks_by_name, plain_axes
from mnist_s7.results import MNIST, class_names

COLUMNS = 3


def soft_targets(
    images: Tensor, labels: Tensor, probabilities: Mapping[str, Tensor], title: str, dataset: str = MNIST
) -> Figure:
    """Images, and the probabilities that each of some networks gives to the ten classes: `images` uint8 (n, 28, 28),
    `labels` int64 (n,), `probabilities` (n, 10) by the networks' names.

    Raises `InvalidArgument` for none.
    """
    if not probabilities:
        raise InvalidArgument("no networks, and so no probabilities to draw")
    rows = -(-len(images) // COLUMNS)
    figure = Picture(0.9 + 1.75 * rows, title, dataset)
    grid = figure.add_gridspec(rows, 2 * COLUMNS, width_ratios=(1, 2.2) * COLUMNS)
    width, looks = 0.8 / len(probabilities), looks_by_name(probabilities)
    for i, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        row, column = divmod(i, COLUMNS)
        seen = figure.add_subplot(grid[row, 2 * column])
        seen.set(xlim=(0, 1), ylim=(1, 0), aspect="equal", xticks=[], yticks=[])
        seen.spines[:].set_visible(False)
        draw_digit(seen, image, 0, 0)
        seen.set_xlabel(f"label {class_names(dataset)[label]}", color=INK)
        ax = figure.add_subplot(grid[row, 2 * column + 1])
        for j, (name, given) in enumerate(probabilities.items()):
            places = np.arange(10) + (j - (len(probabilities) - 1) / 2) * width
            ax.bar(places, 100 * given[i].numpy(), width, color=looks[name][0], label=name)
        plain_axes(ax, ylabel="probability (%)" if column == 0 else "", xlabel="digit" if row == rows - 1 else "")
        ax.set(ylim=(0, 100), yticks=(0, 50, 100), xticks=range(10))
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=TEXT)
    return figure
