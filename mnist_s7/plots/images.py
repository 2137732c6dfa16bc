"""Figures made of digits: augmented, got wrong, in a person's pictures, and as much of one as a unit sees."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from matplotlib.patheffects import withStroke
from torch import Tensor

from mnist_s7 import InvalidArgument
from mnist_s7.images import Prediction, read_image
from mnist_s7.images.reading import RawImage, Source
from mnist_s7.plots.style import (
    BLUE,
    FAINT,
    INK,
    MUTED,
    ORANGE,
    TEXT,
    VERMILLION,
    WIDTH,
    Picture,
    counted,
    dataset_of,
    name_of,
    plain_axes,
    say,
)
from mnist_s7.receptive_field import EffectiveField, ReceptiveFieldTable, UnitBox
from mnist_s7.results import Run, class_names

# ----------------------------------------------------------------------------------------------------- digits

COLUMNS = 10  # digits in a row
LONG, SMALL = 6, 8  # letters of a class's name that do not fit beside others, and the points that they are written in


def augmentation_grid(before: Tensor, after: Tensor, labels: Tensor, title: str, dataset: str = "MNIST") -> Figure:
    """Images above what augmentation made of them: `before`, `after` uint8 (n, 28, 28), `labels` int64 (n,)."""
    pitch = 2.55  # image heights from one pair of rows to the next
    names = class_names(dataset)
    figure, ax = sheet(title, COLUMNS, pitch * math.ceil(len(labels) / COLUMNS), dataset, left=0.9)
    for i, label in enumerate(labels.tolist()):
        x, y = 1.1 * (i % COLUMNS), pitch * (i // COLUMNS)
        say(ax, names[label], x + 0.5, y + 0.15, ha="center", size=SMALL if has_long_names(dataset) else TEXT)
        draw_digit(ax, before[i], x, y + 0.3, frame=MUTED)
        draw_digit(ax, after[i], x, y + 1.35, frame=BLUE)
        if i % COLUMNS == 0:
            say(ax, "label", x - 0.1, y + 0.15, ha="right")
            say(ax, "before", x - 0.1, y + 0.8, colour=MUTED, bold=True, ha="right")
            say(ax, "after", x - 0.1, y + 1.85, colour=BLUE, bold=True, ha="right")
    return figure


def confident_errors(
    images: Tensor,
    labels: Tensor,
    log_probabilities: Tensor,
    title: str,
    count: int = 20,
    dataset: str = "MNIST",
) -> Figure:
    """The `count` wrongly classified images with the highest probability of the wrong digit, highest first.

    `images` uint8 (N, 28, 28), `labels` int64 (N,), `log_probabilities` (N, 10).
    """
    highest, predicted = log_probabilities.detach().cpu().max(dim=1)
    wrong = (predicted != labels).nonzero().flatten()
    shown = wrong[highest[wrong].argsort(descending=True, stable=True)][:count].tolist()
    before, after = ("\n", ", ") if has_long_names(dataset) else (" ", "\n")  # the probability
    captions = [
        f"{taken_for(dataset, labels[i], predicted[i])}{before}{_percent(highest[i].exp().item())}{after}no. {i}"
        for i in shown
    ]
    heading = f"{count_found(len(wrong), len(shown))}: label→prediction, its probability, number in the test set"
    return gallery(title, [(heading, images[shown], captions)], dataset)


def disagreements(images: Tensor, labels: Tensor, first: Run, second: Run, count: int = 20) -> Figure:
    """Test images that one run's final epoch gets right and the other's wrong: two groups, each at most `count`.

    `images` uint8 (N, 28, 28), `labels` int64 (N,).
    """
    groups, dataset = [], dataset_of([first, second])
    for right, wrong in ((first, second), (second, first)):
        guesses = wrong.predictions(labels)
        indices = ((right.predictions(labels) == labels) & (guesses != labels)).nonzero().flatten().tolist()
        shown = indices[:count]
        found = count_found(len(indices), len(shown))
        heading = f"{name_of(right)} right, {name_of(wrong)} wrong: {found} (label→wrong prediction)"
        captions = [f"{taken_for(dataset, labels[i], guesses[i])}\nno. {i}" for i in shown]
        groups.append((heading, images[shown], captions))
    return gallery(f"{name_of(first)} against {name_of(second)}", groups, dataset)


def taken_for(dataset: str, label: int | Tensor, predicted: int | Tensor) -> str:
    """`7→1`; two lines where the classes have long names."""
    names, arrow = class_names(dataset), "→\n" if has_long_names(dataset) else "→"
    return f"{names[label]}{arrow}{names[predicted]}"


def has_long_names(dataset: str) -> bool:
    return max(map(len, class_names(dataset))) >= LONG


def predictions(pictures: Sequence[tuple[Source | RawImage, Prediction]]) -> Figure:
    """A row for each picture: as it was given, what the network saw of it, and the probabilities of the ten digits."""
    if not pictures:
        raise InvalidArgument("no pictures: at least one with its prediction is needed")
    figure = Picture(0.4 + 1.75 * len(pictures), "Pictures, what the network saw of them, and its predictions")
    grid = figure.add_gridspec(len(pictures), 3, width_ratios=(1.15, 1, 3))
    for row, (picture, prediction) in enumerate(pictures):
        given, seen, bars = (figure.add_subplot(grid[row, column]) for column in range(3))
        given.imshow(read_image(picture).pixels)
        seen.imshow(prediction.seen.numpy(), cmap="gray", vmin=0, vmax=255)
        given.set_xlabel(_short(Path(prediction.name).name) or "picture", color=MUTED)
        seen.set_xlabel("as the network saw it" if row == 0 else "", color=MUTED)
        for ax in (given, seen):
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_color(FAINT)
        _bars(bars, prediction)
    return figure


def _bars(ax: Axes, prediction: Prediction) -> None:
    colours = [BLUE if digit == prediction.digit else ORANGE for digit in range(10)]
    percent = [100 * p for p in prediction.probabilities]
    ax.bar(range(10), percent, color=colours)
    long = max(map(len, prediction.classes)) >= LONG
    plain_axes(ax, xlabel="" if long else "digit", ylabel="probability (%)")
    ax.set(ylim=(0, 118), yticks=(0, 50, 100))
    ax.set_xticks(range(10), prediction.classes, rotation=90 if long else 0, fontsize=SMALL if long else None)
    for digit in (prediction.digit, prediction.runner_up):
        bold = digit == prediction.digit
        say(ax, f"{percent[digit]:.1f} %", digit, percent[digit], dy=7, ha="center", colour=INK, bold=bold)


def gallery(title: str, groups: list[tuple[str, Tensor, list[str]]], dataset: str) -> Figure:
    """Groups of (heading, images uint8 (n, 28, 28), a caption for each, as `taken_for` begins one and a line more)."""
    long = has_long_names(dataset)
    pitch, head, size = 1.85 if long else 1.65, 0.4, SMALL if long else 9  # image heights: from row to row, a heading's
    heights = [head + pitch * math.ceil(len(images) / COLUMNS) for _, images, _ in groups]
    figure, ax = sheet(title, COLUMNS, sum(heights), dataset)
    top = 0.0
    for (heading, images, captions), height in zip(groups, heights, strict=True):
        say(ax, heading, 0, top + 0.2, size=10.5)
        for i, caption in enumerate(captions):
            x, y = 1.1 * (i % COLUMNS), top + head + pitch * (i // COLUMNS)
            draw_digit(ax, images[i], x, y)
            say(ax, caption, x + 0.5, y + 1.04, ha="center", va="top", size=size)
        top += height
    return figure


def sheet(title: str, columns: int, height: float, dataset: str, left: float = 0.0) -> tuple[Figure, Axes]:
    """An empty sheet for digits of side 1 that stand 1.1 apart, `height` high; y runs downwards."""
    width = left + 1.1 * columns - 0.1
    figure = Picture(0.35 + (WIDTH - 0.1) * height / width, title, dataset)
    ax = figure.subplots()
    ax.axis("off")
    ax.set(xlim=(-left, width - left), ylim=(height, 0), aspect="equal")
    ax.autoscale(False)
    return figure, ax


def draw_digit(ax: Axes, image: Tensor, x: float, y: float, frame: str = FAINT, linewidth: float = 1) -> None:
    """Draw an image (28, 28), black on white, with its top left corner at (x, y)."""
    _draw(ax, image.numpy(), (x, y), (1, 1), frame, linewidth)


def _draw(ax: Axes, pixels: np.ndarray, corner: tuple, size: tuple, frame: str, linewidth: float) -> None:
    """Draw pixels (H, W) of 0 to 255, which is black, or (H, W, 3) of 0 to 1; `corner` is top left, `size` (w, h)."""
    (x, y), (width, height) = corner, size
    extent = (x, x + width, y + height, y)
    ax.imshow(pixels, cmap="gray_r", vmin=0, vmax=255, extent=extent, interpolation="nearest")
    ax.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=frame, linewidth=linewidth))


def count_found(found: int, shown: int) -> str:
    return counted(found, "image") + (f", {shown} shown" if shown < found else "")


def _percent(probability: float) -> str:
    return ">99 %" if probability >= 0.995 else f"{100 * probability:.0f} %"


# ------------------------------------------------------------------------------------------- receptive fields


PANELS = 20  # of a network with more layers, so many are shown


def receptive_fields(table: ReceptiveFieldTable, image: Tensor, dataset: str = "MNIST") -> Figure:
    """The pixels of one image that the centre unit of each layer's feature map sees, a panel for each row of the table.

    `image` (H, W) or (C, H, W) with one or three colours, of the size that the table was made for; uint8, or floats
    that are shown from their least to their greatest. A box ends where the image does. Under the image stand the
    field's size, out into the padding, the layer, its kind and the size of its feature map. Of a table with more rows
    than `PANELS`, rows at even distances are shown, the first and the last among them. Raises InvalidArgument for an
    image of another size.
    """
    pixels = _pixels(image, table.image_size)
    rows = [table.rows[i] for i in _spaced(len(table.rows), PANELS)]
    side = max(pixels.shape[:2])
    height, width = pixels.shape[0] / side, pixels.shape[1] / side
    columns = 5
    pitch = height + 0.55
    title = "The receptive field of each layer's centre unit"
    if len(rows) < len(table.rows):
        title += f": {len(rows)} of {len(table.rows)} layers"
    figure, ax = sheet(title, columns, pitch * math.ceil(len(rows) / columns), dataset)
    for i, row in enumerate(rows):
        x, y = 1.1 * (i % columns) + (1 - width) / 2, pitch * (i // columns)
        _draw(ax, pixels, (x, y), (width, height), FAINT, linewidth=1)
        box = table.box(row, [n // 2 for n in _pair(row.n_out)])
        if box.clipped is not None:
            halo = [withStroke(linewidth=4, foreground="white")]  # so that it can be seen on any picture
            _outline(ax, box, x, y, pixel=1 / side, color=BLUE, linewidth=2, path_effects=halo)
        under = {"x": x + width / 2, "y": y + height, "ha": "center", "va": "baseline"}
        sizes = "×".join(str(last - first + 1) for first, last in box.unclipped) if box.unclipped else "of no pixel"
        say(ax, f"field {sizes}", dy=-13, colour=BLUE, bold=True, **under)
        say(ax, _short(row.layer), dy=-26, size=9, **under)
        say(ax, _short("{}, {}×{}".format(row.kind, *_pair(row.n_out))), dy=-38, size=9, **under)
    return figure


def _pixels(image: Tensor, size: tuple[int, ...]) -> np.ndarray:
    """(H, W) from 0 to 255, or (H, W, 3) from 0 to 1, of an image (H, W) or (C, H, W)."""
    if not isinstance(image, Tensor) or image.is_meta:
        raise InvalidArgument(f"an image of type {type(image).__name__}: must be a tensor with values")
    if len(size) != 2 or image.ndim not in (2, 3) or tuple(image.shape[-2:]) != tuple(size):
        raise InvalidArgument(
            f"an image of shape {tuple(image.shape)}: must be (H, W) or (C, H, W) with the table's size, "
            f"{' x '.join(map(str, size))} pixels"
        )
    if image.ndim == 3 and len(image) not in (1, 3):
        raise InvalidArgument(f"an image of {len(image)} colours: must have 1 or 3, as (C, H, W)")
    pixels = image.detach().cpu().float()
    pixels = pixels[0] if pixels.ndim == 3 and len(pixels) == 1 else pixels
    low, high = (0, 255) if image.dtype == torch.uint8 else (pixels.min().item(), pixels.max().item())
    shown = ((pixels - low) / max(high - low, 1e-12)).numpy()
    return 255 * shown if shown.ndim == 2 else shown.transpose(1, 2, 0)


def _spaced(n: int, most: int) -> list[int]:
    """At most `most` numbers below n, at even distances, with the first and the last."""
    return list(range(n)) if n <= most else [round(i * (n - 1) / (most - 1)) for i in range(most)]


def _short(text: str, most: int = 24) -> str:
    text = text.encode("utf-8", "replace").decode()  # a file's name can hold what is no letter
    shown = text if len(text) <= most else "…" + text[1 - most :]
    return shown.replace("$", r"\$")  # which matplotlib would take for mathematics


def effective_fields(
    before: EffectiveField, after: EffectiveField, table: ReceptiveFieldTable, dataset: str = "MNIST"
) -> Figure:
    """Where a unit's value comes from, before training and after: shares of the gradient, in percent per pixel.

    Both panels have one colour scale, so that they can be compared. Over each the theoretical field of the same
    unit, from the table, and the circle around the gradient's centre of mass that holds 95 % of the gradient.
    """
    figure = Picture(4.4, f"The effective receptive field of the centre unit of {after.layer}", dataset)
    axes = figure.subplots(1, 2, sharey=True)
    brightest = 100 * max(before.map.max().item(), after.map.max().item())
    for ax, field, when in zip(axes, (before, after), ("before", "after"), strict=True):
        shares = ax.imshow(100 * field.map.numpy(), cmap="Blues", vmin=0, vmax=brightest)
        circle = Circle(field.centre[::-1], field.radius, fill=False, color=VERMILLION, linewidth=2)
        ax.add_patch(circle).set_label("holds 95 % of the gradient")
        look = {"color": INK, "linewidth": 1.5, "linestyle": "--", "label": "theoretical field"}
        _outline(ax, table.box(field.layer, field.unit), -0.5, -0.5, pixel=1, **look)
        ax.set_title(f"{when} training: 95 % within {field.radius:.1f} pixels", fontsize=11, loc="left")
        ax.set(xlabel="column (pixels)", ylabel="row (pixels)" if ax is axes[0] else "")
        ax.spines[:].set_color(FAINT)
    bar = figure.colorbar(shares, ax=axes, label="share of the gradient (% per pixel)", shrink=0.85)
    bar.outline.set_visible(False)
    handles, _ = axes[0].get_legend_handles_labels()
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=TEXT)
    return figure


def _outline(ax: Axes, box: UnitBox, x: float, y: float, pixel: float, **look) -> None:
    """Draw what a unit sees of an image whose top left corner is at (x, y) and whose pixels are `pixel` wide."""
    (top, bottom), (left, right) = box.clipped
    corner, width, height = (x + pixel * left, y + pixel * top), right - left + 1, bottom - top + 1
    ax.add_patch(Rectangle(corner, pixel * width, pixel * height, fill=False, clip_on=False, **look))


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    """(along H, along W) of a table's entry, which is a number where both agree."""
    return value if isinstance(value, tuple) else (value, value)
