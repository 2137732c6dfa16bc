"""Every figure: functions that take runs, images or tables, and return a matplotlib `Figure`.

The figures live outside pyplot: one shows itself where a notebook's cell ends with it.
"""

import io
import math
import textwrap
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, MultipleLocator
from PIL import Image
from torch import Tensor

from mnist_s7.experiments import HEADLINE
from mnist_s7.receptive_field import EffectiveField, ReceptiveFieldTable
from mnist_s7.results import Run

# The colours of Okabe and Ito (2008), "Color Universal Design", which colour-blind readers can tell apart.
GREEN, BLUE, VERMILLION = "#009E73", "#0072B2", "#D55E00"
PURPLE, SKY, ORANGE = "#CC79A7", "#56B4E9", "#E69F00"
INK, MUTED, FAINT = "#222222", "#666666", "#DDDDDD"

# An iteration keeps its colour and marker in every figure; variants get the spare ones in their order.
LOOKS = {"T1": (VERMILLION, "o"), "T2": (GREEN, "s"), "T3": (BLUE, "^")}
SPARE_LOOKS = ((PURPLE, "D"), (ORANGE, "v"), (SKY, "P"))
STYLES = {
    "train": {"linestyle": "--", "linewidth": 1.3, "markersize": 4.5, "markerfacecolor": "white"},
    "test": {"linestyle": "-", "linewidth": 1.8, "markersize": 4.5},
}

LIMIT = 8_000  # parameters that the series is to stay under, while above HEADLINE percent
FLOOR = 90  # percent: where runs are compared, what lies below is told in words
WIDTH, DPI = 8.0, 110  # inches, dots an inch: 880 pixels, about what a README shows
TEXT = 9.5  # points, inside the axes


class Picture(Figure):
    """A figure that a notebook shows without pyplot or a magic. Its title names a dataset that is not MNIST."""

    def __init__(self, height: float, title: str, dataset: str = "MNIST", width: float = WIDTH):
        lines = textwrap.wrap(title, int(9.8 * width))
        if dataset != "MNIST":
            lines.append(f"on {dataset}, not MNIST")
        super().__init__(figsize=(width, height + 0.2 * (len(lines) - 1)), dpi=DPI, layout="constrained")
        self.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)

    def _repr_png_(self) -> bytes:
        drawn, small = io.BytesIO(), io.BytesIO()
        self.savefig(drawn, format="png")
        image = Image.open(drawn).convert("RGB")
        image.quantize(256, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)  # a third of the bytes
        return small.getvalue()


# ---------------------------------------------------------------------------------------------------- one run


def training_curves(run: Run, target: float | None = None) -> Figure:
    """Loss (nats) and accuracy (percent) over the epochs, train and test, with the learning rate under each.

    `target` is a test accuracy in percent, drawn as a line.
    """
    colour, marker = _looks([run])[0]
    colours = {"train": MUTED, "test": colour}
    title = f"{_name(run)}: final test accuracy {run.final.test_accuracy:.2f} %"
    figure = Picture(4.5, title, run.dataset)
    (loss, accuracy), rates = figure.subplots(2, 2, sharex="col", height_ratios=(3.6, 1))
    for ax, quantity in ((loss, "loss"), (accuracy, "accuracy")):
        for split in colours:
            values = [getattr(e, f"{split}_{quantity}") for e in run.epochs]
            ax.plot(values, color=colours[split], marker=marker, label=split, **STYLES[split])
    _style(loss, ylabel="loss (nats, log scale)")
    _loss_axis(loss)
    _style(accuracy, ylabel=f"accuracy ({ERROR_SCALE})")
    drawn = [a for e in run.epochs for a in (e.train_accuracy, e.test_accuracy)]
    _accuracy_axis(accuracy, drawn if target is None else [*drawn, target])
    if target is not None:
        _target_line(accuracy, target)
    finals = {split: getattr(run.final, f"{split}_loss") for split in colours}
    _end_labels(loss, {f"{split} {finals[split]:.3f}": c for split, c in colours.items()})
    finals = {split: getattr(run.final, f"{split}_accuracy") for split in colours}
    _end_labels(accuracy, {f"{split} {finals[split]:.2f} %": c for split, c in colours.items()})
    for ax in rates:
        ax.plot([e.lr for e in run.epochs], color=INK, drawstyle="steps-mid", linewidth=1.3, marker=".")
        _style(ax, ylabel="learning rate" if ax is rates[0] else "")
        ax.set_ylim(0, 1.25 * max(e.lr for e in run.epochs))
        ax.yaxis.set_major_locator(MaxNLocator(3))
        _epoch_axis(ax, len(run.epochs))
    return figure


def confusion_matrix(run: Run, labels: Tensor) -> Figure:
    """Counts of the final epoch's predictions, by label (row) and prediction; `labels` int64 (N,), the test set's.

    Colour tells errors alone: the diagonal, hundreds of times larger, stays grey.
    """
    counts = np.zeros((10, 10), dtype=int)
    np.add.at(counts, (labels.numpy(), run.predictions(labels).numpy()), 1)
    errors = np.where(np.eye(10, dtype=bool), 0, counts)
    title = f"{_name(run)}: {_count(errors.sum(), 'error')} in {len(labels):,} test images"
    figure = Picture(5.4, title, run.dataset, width=6.4)
    ax = figure.subplots()
    image = ax.imshow(np.ma.masked_equal(errors, 0), cmap="Oranges", vmin=0, vmax=max(errors.max(), 1))
    for (label, predicted), count in np.ndenumerate(counts):
        if label == predicted:
            ax.add_patch(Rectangle((predicted - 0.5, label - 0.5), 1, 1, facecolor="#EEEEEE"))
            _say(ax, str(count), predicted, label, colour=MUTED, ha="center", size=9)
        elif count:
            colour = "white" if count > 0.6 * errors.max() else INK
            _say(ax, str(count), predicted, label, colour=colour, ha="center", bold=True)
    ax.set(xticks=range(10), yticks=range(10), xlabel="predicted digit", ylabel="label")
    ax.tick_params(length=0)
    ax.spines[:].set_color(FAINT)
    bar = figure.colorbar(image, ax=ax, label="errors (test images)", shrink=0.8)
    bar.outline.set_visible(False)
    bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def accuracy_per_digit(run: Run, labels: Tensor) -> Figure:
    """Each digit's test accuracy (percent) in the final epoch, its 95 % Wilson interval and its errors."""
    right = run.predictions(labels) == labels
    digits = labels.unique().tolist()
    totals = np.array([(labels == d).sum().item() for d in digits])
    rights = np.array([right[labels == d].sum().item() for d in digits])
    low, high = _wilson(rights, totals)
    overall = 100 * rights.sum() / totals.sum()
    figure = Picture(4.2, f"{_name(run)}: test accuracy per digit", run.dataset, width=7)
    ax = figure.subplots()
    colour, marker = _looks([run])[0]
    ax.hlines(digits, low, high, color=colour, linewidth=2, alpha=0.5)
    ax.plot(100 * rights / totals, digits, linestyle="", color=colour, marker=marker, markersize=7)
    ax.axvline(overall, color=MUTED, linewidth=1, linestyle=":")
    text = f"all digits {overall:.2f} %"
    _say(ax, text, overall, 1, ("data", "axes fraction"), dy=8, colour=MUTED, ha="center")
    for digit, count, total in zip(digits, totals - rights, totals, strict=True):
        _say(ax, f"{count} of {total:,} wrong", 1.02, digit, ("axes fraction", "data"))
    _style(ax, xlabel="test accuracy (%, zoomed in), with 95 % Wilson intervals", ylabel="digit", grid="x")
    span = 100 - low.min()
    ax.set(yticks=digits, ylim=(9.6, -0.6), xlim=(100 - 1.05 * span, 100 + 0.03 * span))
    return figure


# ----------------------------------------------------------------------------------------------- several runs


def compare_curves(runs: dict[str, Run]) -> Figure:
    """Test and train accuracy (percent) over the epochs, a line for each run, its final figure at its end."""
    figure = Picture(4.0, "Accuracy by epoch", _dataset(runs.values()))
    test, train = figure.subplots(1, 2, sharey=True)
    drawn = [a for run in runs.values() for e in run.epochs for a in (e.train_accuracy, e.test_accuracy)]
    _accuracy_panel(test, runs, "test", drawn)
    _accuracy_panel(train, runs, "train", drawn)
    return figure


def results_picture(runs: dict[str, Run]) -> Figure:
    """The series in one picture: each run's test accuracy (percent) by epoch, and beside it its parameters."""
    (first, *_), (*_, last) = runs.values(), runs.values()
    start, end = (f"{r.parameters:,}{{}}{r.final.test_accuracy:.2f} %" for r in (first, last))
    title = f"From {start.format(' parameters and ')} to {end.format(' and ')} on the test set"
    figure = Picture(3.9, title, _dataset(runs.values()))
    curves, bars = figure.subplots(1, 2, width_ratios=(2.2, 1))
    _accuracy_panel(curves, runs, "test", [e.test_accuracy for run in runs.values() for e in run.epochs])
    sizes = [run.parameters for run in runs.values()]
    bars.barh(range(len(runs)), sizes, color=[colour for colour, _ in _looks(runs.values())], height=0.6)
    for row, (name, size) in enumerate(zip(runs, sizes, strict=True)):
        _say(bars, f"{name}  {size:,}", 0, row, dx=6, colour="white", bold=True, size=11)
    _style(bars, xlabel="parameters", grid="")
    bars.set(yticks=[], ylim=(len(runs) - 0.5, -0.5), xlim=(0, 1.05 * max(*sizes, LIMIT)))
    _parameter_axis(bars)
    return figure


def accuracy_against_parameters(runs: dict[str, Run]) -> Figure:
    """Each run's test accuracy (percent), of its final and of its best epoch, against its parameters."""
    figure = Picture(4.2, "Test accuracy against parameters", _dataset(runs.values()), width=7)
    ax = figure.subplots()
    _style(ax, xlabel="parameters", ylabel=f"test accuracy ({ERROR_SCALE})")
    drawn = [a for run in runs.values() for a in (run.final.test_accuracy, run.best.test_accuracy)]
    _accuracy_axis(ax, [*drawn, HEADLINE], margin=0.12)
    _target_line(ax, HEADLINE)
    sizes = [run.parameters for run in runs.values()]
    low, high = min(*sizes, LIMIT), max(*sizes, LIMIT)
    ax.set_xlim(low - 0.35 * (high - low), high + 0.3 * (high - low))
    _parameter_axis(ax)
    for i, (name, run) in enumerate(runs.items()):
        colour, marker = _looks(runs.values())[i]
        x, final, best = run.parameters, run.final.test_accuracy, run.best.test_accuracy
        look = {"color": colour, "marker": marker, "markersize": 9}
        ax.plot([x, x], [final, best], color=colour, linewidth=1)
        ax.plot(x, best, markerfacecolor="white", **look)
        ax.plot(x, final, **look)
        label = f"{name}, {x:,}\nfinal {final:.2f} %\nbest {best:.2f} %"
        down = 10 + 46 * sizes[:i].count(x)  # points; runs of one size are listed one under the other
        if _fraction(ax, final) > 0.5:
            _say(ax, label, x, final, dy=-down, colour=colour, bold=True, ha="center", va="top")
        else:
            _say(ax, label, x, best, dy=down, colour=colour, bold=True, ha="center", va="bottom")
    grey = {"color": MUTED, "linestyle": "", "marker": "o", "markersize": 8}
    final = Line2D([], [], label="final epoch", **grey)
    best = Line2D([], [], label="best epoch, picked on the test set", markerfacecolor="white", **grey)
    figure.legend(handles=[final, best], loc="outside lower center", ncols=2, frameon=False, fontsize=TEXT)
    return figure


# ----------------------------------------------------------------------------------------------------- digits


def augmentation_grid(
    before: Tensor, after: Tensor, labels: Tensor, title: str, columns: int = 10, dataset: str = "MNIST"
) -> Figure:
    """Digits above what augmentation made of them: `before`, `after` uint8 (n, 28, 28), `labels` int64 (n,)."""
    columns = min(columns, len(labels))
    pitch = 2.55  # image heights from one pair of rows to the next
    figure, ax = _sheet(title, columns, pitch * math.ceil(len(labels) / columns), dataset, left=0.9)
    for i, label in enumerate(labels.tolist()):
        x, y = 1.1 * (i % columns), pitch * (i // columns)
        _say(ax, str(label), x + 0.5, y + 0.15, ha="center")
        _digit(ax, before[i], x, y + 0.3, frame=MUTED)
        _digit(ax, after[i], x, y + 1.35, frame=BLUE)
        if i % columns == 0:
            _say(ax, "label", x - 0.1, y + 0.15, ha="right")
            _say(ax, "before", x - 0.1, y + 0.8, colour=MUTED, bold=True, ha="right")
            _say(ax, "after", x - 0.1, y + 1.85, colour=BLUE, bold=True, ha="right")
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
    best, predicted = log_probabilities.detach().cpu().max(dim=1)
    wrong = (predicted != labels).nonzero().flatten()
    shown = wrong[best[wrong].argsort(descending=True, stable=True)][:count].tolist()
    captions = [f"{labels[i]}→{predicted[i]} {_percent(best[i].exp().item())}\nno. {i}" for i in shown]
    heading = f"{_found(len(wrong), len(shown))}: label→prediction, its probability, number in the test set"
    return _gallery(title, [(heading, images[shown], captions)], dataset)


def disagreements(images: Tensor, labels: Tensor, first: Run, second: Run, count: int = 20) -> Figure:
    """Test images that one run's final epoch gets right and the other's wrong: two groups, each at most `count`.

    `images` uint8 (N, 28, 28), `labels` int64 (N,).
    """
    groups = []
    for right, wrong in ((first, second), (second, first)):
        guesses = wrong.predictions(labels)
        indices = ((right.predictions(labels) == labels) & (guesses != labels)).nonzero().flatten().tolist()
        shown = indices[:count]
        found = _found(len(indices), len(shown))
        heading = f"{_name(right)} right, {_name(wrong)} wrong: {found} (label→wrong prediction)"
        groups.append((heading, images[shown], [f"{labels[i]}→{guesses[i]}\nno. {i}" for i in shown]))
    return _gallery(f"{_name(first)} against {_name(second)}", groups, _dataset([first, second]))


def _gallery(title: str, groups: list[tuple[str, Tensor, list[str]]], dataset: str) -> Figure:
    """Groups of (heading, images (n, 28, 28), a caption of two lines each), ten to a row."""
    columns, pitch, head = 10, 1.65, 0.4
    lines = [math.ceil(len(images) / columns) for _, images, _ in groups]
    figure, ax = _sheet(title, columns, sum(head + pitch * n for n in lines), dataset)
    top = 0.0
    for (heading, images, captions), n in zip(groups, lines, strict=True):
        _say(ax, heading, 0, top + 0.2, size=10.5)
        for i, caption in enumerate(captions):
            x, y = 1.1 * (i % columns), top + head + pitch * (i // columns)
            _digit(ax, images[i], x, y)
            _say(ax, caption, x + 0.5, y + 1.04, ha="center", va="top", size=9)
        top += head + pitch * n
    return figure


def _sheet(title: str, columns: int, height: float, dataset: str, left: float = 0.0) -> tuple[Figure, Axes]:
    """An empty sheet for digits of side 1 that stand 1.1 apart, `height` high; y runs downwards."""
    width = left + 1.1 * columns - 0.1
    figure = Picture(0.35 + (WIDTH - 0.1) * height / width, title, dataset)
    ax = figure.subplots()
    ax.axis("off")
    ax.set(xlim=(-left, width - left), ylim=(height, 0), aspect="equal")
    ax.autoscale(False)
    return figure, ax


def _digit(ax: Axes, image: Tensor, x: float, y: float, frame: str = FAINT) -> None:
    """Draw an image (28, 28), black on white, with its top left corner at (x, y)."""
    extent = (x, x + 1, y + 1, y)
    ax.imshow(image.numpy(), cmap="gray_r", vmin=0, vmax=255, extent=extent, interpolation="nearest")
    ax.add_patch(Rectangle((x, y), 1, 1, fill=False, edgecolor=frame, linewidth=1))


# ------------------------------------------------------------------------------------------- receptive fields


def field_growth(table: ReceptiveFieldTable, image: Tensor, dataset: str = "MNIST") -> Figure:
    """The pixels of one digit that the centre unit of each layer's map sees, a panel for each row of the table.

    `image` uint8 (H, W) of the size that the table was made for. A box ends where the image does.
    """
    columns, pitch = 5, 1.53
    title = "The receptive field of each layer's centre unit"
    figure, ax = _sheet(title, columns, pitch * math.ceil(len(table.rows) / columns), dataset)
    for i, row in enumerate(table.rows):
        x, y = 1.1 * (i % columns), pitch * (i // columns)
        _digit(ax, image, x, y)
        unit = [n // 2 for n in _pair(row.n_out)]
        _field_box(ax, table, row, unit, x, y, pixel=1 / len(image), color=BLUE, linewidth=2)
        caption = "field {}×{}".format(*_pair(row.r_out))
        _say(ax, caption, x + 0.5, y + 1.09, colour=BLUE, bold=True, ha="center")
        caption = "{}\n{}, map {}×{}".format(row.kind, row.layer, *_pair(row.n_out))
        _say(ax, caption, x + 0.5, y + 1.16, ha="center", va="top", size=9)
    return figure


def effective_fields(
    before: EffectiveField, after: EffectiveField, table: ReceptiveFieldTable, dataset: str = "MNIST"
) -> Figure:
    """Where a unit's value comes from, before training and after: shares of the gradient, in percent a pixel.

    Both maps have one colour scale, so that they can be compared. Over each the theoretical field of the same
    unit, from the table, and the circle around the map's centre of mass that holds 95 % of the gradient.
    """
    figure = Picture(4.4, f"The effective receptive field of the centre unit of {after.layer}", dataset)
    axes = figure.subplots(1, 2, sharey=True)
    brightest = 100 * max(before.map.max().item(), after.map.max().item())
    for ax, field, when in zip(axes, (before, after), ("before", "after"), strict=True):
        shares = ax.imshow(100 * field.map.numpy(), cmap="Blues", vmin=0, vmax=brightest)
        circle = Circle(field.centre[::-1], field.radius, fill=False, color=VERMILLION, linewidth=2)
        ax.add_patch(circle).set_label("holds 95 % of the gradient")
        look = {"color": INK, "linewidth": 1.5, "linestyle": "--", "label": "theoretical field"}
        _field_box(ax, table, field.layer, field.unit, -0.5, -0.5, pixel=1, **look)
        ax.set_title(f"{when} training: 95 % within {field.radius:.1f} pixels", fontsize=11, loc="left")
        ax.set(xlabel="column (pixels)", ylabel="row (pixels)" if ax is axes[0] else "")
        ax.spines[:].set_color(FAINT)
    bar = figure.colorbar(shares, ax=axes, label="share of the gradient (% a pixel)", shrink=0.85)
    bar.outline.set_visible(False)
    handles, _ = axes[0].get_legend_handles_labels()
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=TEXT)
    return figure


def _field_box(ax: Axes, table: ReceptiveFieldTable, layer, unit, x: float, y: float, pixel: float, **look):
    """Outline what a unit sees of an image whose corner is at (x, y) and whose pixels are `pixel` wide."""
    (top, bottom), (left, right) = table.box(layer, unit).clipped
    corner, width, height = (x + pixel * left, y + pixel * top), right - left + 1, bottom - top + 1
    ax.add_patch(Rectangle(corner, pixel * width, pixel * height, fill=False, clip_on=False, **look))


# ------------------------------------------------------------------------------------------------------- axes


def _style(ax: Axes, xlabel: str = "", ylabel: str = "", grid: str = "y") -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.set(xlabel=xlabel, ylabel=ylabel, axisbelow=True)
    if grid:
        ax.grid(axis=grid, color=FAINT, linewidth=0.7)


def _epoch_axis(ax: Axes, epochs: int) -> None:
    ax.set(xlabel="epoch", xlim=(-0.5, epochs - 0.5))
    ax.xaxis.set_major_locator(MultipleLocator(math.ceil(epochs / 8)))


def _loss_axis(ax: Axes) -> None:
    """A logarithmic y axis with plain numbers, around the lines that are there."""
    values = np.concatenate([line.get_ydata() for line in ax.lines])
    ax.set(yscale="log", ylim=(values.min() / 1.3, values.max() * 1.3))
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    ax.minorticks_off()


def _parameter_axis(ax: Axes) -> None:
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=[1, 2, 5, 10]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    ax.axvline(LIMIT, color=INK, linewidth=1, linestyle=":")
    _say(ax, f"limit {LIMIT:,}", LIMIT, 1, ("data", "axes fraction"), dy=8, ha="center")


# Accuracies are drawn by the logarithm of the errors, so that 14 % and the tenths around 99.4 % both have room.
# Errors are taken 0.05 points larger than they are, which keeps 100 % on the axis.
def _height(accuracy):
    return -np.log10(np.maximum(100.05 - np.asarray(accuracy), 1e-9))


def _accuracy(height):
    return 100.05 - 10.0 ** -np.asarray(height)


ERROR_SCALE = "%, log scale of errors"  # said in the label of every such axis
TICKS = (0, 50, 80, 90, 95, 98, 99, 99.5, 99.8, 100)
FINE_TICKS = (*range(0, 91, 10), *range(91, 98), 98, 98.4, 98.7, 99, 99.2, 99.4, 99.6, 99.8, 99.9, 100)


def _accuracy_axis(ax: Axes, accuracies: Sequence[float], floor: float | None = None, margin: float = 0.07) -> None:
    """Scale the y axis to hold the accuracies (percent), or those of them above `floor`."""
    low, high = _height(min(accuracies) if floor is None else floor), _height(max(accuracies))
    pad = max(margin * (high - low), 0.05)
    bottom, top = _accuracy(low - pad) if floor is None else floor, min(_accuracy(high + pad), 100.03)
    ax.set_yscale("function", functions=(_height, _accuracy))
    ax.set_ylim(bottom, top)
    coarse, fine = ([t for t in ticks if bottom <= t <= top] for ticks in (TICKS, FINE_TICKS))
    ticks = coarse if len(coarse) >= 4 else fine
    ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()


def _accuracy_panel(ax: Axes, runs: dict[str, Run], split: str, scale: Sequence[float]) -> None:
    """Draw the runs' `split` accuracies over the epochs, on an axis that fits the accuracies in `scale`."""
    looks = _looks(runs.values())
    curves = [[getattr(e, f"{split}_accuracy") for e in run.epochs] for run in runs.values()]
    for name, curve, (colour, marker) in zip(runs, curves, looks, strict=True):
        ax.plot(curve, color=colour, marker=marker, label=name, **STYLES[split])
    learned = all(run.best.test_accuracy > FLOOR + 5 for run in runs.values())
    floor = FLOOR if learned and min(scale) < FLOOR else None
    _style(ax, ylabel=f"{split} accuracy ({ERROR_SCALE})")
    _accuracy_axis(ax, [*scale, HEADLINE], floor)
    _epoch_axis(ax, max(map(len, curves)))
    if split == "test":
        _target_line(ax, HEADLINE)
    texts = [f"{name} {curve[-1]:.2f} %" for name, curve in zip(runs, curves, strict=True)]
    _end_labels(ax, dict(zip(texts, (colour for colour, _ in looks), strict=True)))
    if floor is not None:
        below = [(name, sum(a < floor for a in curve)) for name, curve in zip(runs, curves, strict=True)]
        notes = [f"{name} is below {floor} % in {_count(n, 'epoch')}" for name, n in below if n]
        _say(ax, "\n".join(notes), 0.98, 0.03, "axes fraction", colour=MUTED, ha="right", va="bottom")


def _target_line(ax: Axes, target: float) -> None:
    ax.axhline(target, color=INK, linewidth=1, linestyle=":")
    ax.axhspan(target, ax.get_ylim()[1], color="#F3F3F3", zorder=0)
    _say(ax, f"target {target:g} %", 0, target, ("axes fraction", "data"), dx=4, dy=8)


def _end_labels(ax: Axes, colours: dict[str, str]) -> None:
    """Name each line (text: colour) at its right end, apart where ends are close. The limits must be set."""
    ends = [_fraction(ax, line.get_ydata()[-1]) for line in ax.lines[: len(colours)]]
    for y, (text, colour) in zip(_spread(ends, gap=0.075), colours.items(), strict=True):
        _say(ax, text, 1.01, y, "axes fraction", colour=colour, bold=True)


def _fraction(ax: Axes, y: float) -> float:
    """Where the value `y` stands between the bottom (0) and the top (1) of the axes."""
    return ax.transAxes.inverted().transform(ax.transData.transform((ax.get_xlim()[0], y)))[1]


def _spread(positions: Sequence[float], gap: float) -> np.ndarray:
    """The positions, moved until neighbours are at least `gap` apart."""
    order = np.argsort(positions, kind="stable")
    steps = gap * np.arange(len(order))
    loose = np.asarray(positions)[order] - steps
    pushed = (np.maximum.accumulate(loose) + np.minimum.accumulate(loose[::-1])[::-1]) / 2 + steps
    return pushed[np.argsort(order)]


def _say(ax, text, x, y, coords="data", dx=0, dy=0, colour=INK, bold=False, ha="left", va="center", size=TEXT) -> None:
    """Write at (x, y), moved by (dx, dy) points; `coords` as in matplotlib's annotate."""
    weight = "bold" if bold else "normal"
    look = {"color": colour, "fontweight": weight, "ha": ha, "va": va, "fontsize": size, "linespacing": 1.1}
    ax.annotate(text, (x, y), (dx, dy), xycoords=coords, textcoords="offset points", **look)


# ------------------------------------------------------------------------------------------ words and numbers


def _looks(runs: Iterable[Run]) -> list[tuple[str, str]]:
    """(colour, marker) of each run."""
    experiments = [run.experiment for run in runs]
    others = list(dict.fromkeys(name for name in experiments if name not in LOOKS))
    spare = {name: SPARE_LOOKS[i % len(SPARE_LOOKS)] for i, name in enumerate(others)}
    return [(LOOKS | spare)[name] for name in experiments]


def _name(run: Run) -> str:
    return f"{run.experiment} (seed {run.seed})"


def _dataset(runs: Iterable[Run]) -> str:
    """What the runs were trained on; the stand-in's name as soon as one of them was."""
    return next((run.dataset for run in runs if run.stand_in), "MNIST")


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def _found(found: int, shown: int) -> str:
    return _count(found, "image") + (f", {shown} shown" if shown < found else "")


def _percent(probability: float) -> str:
    return ">99 %" if probability >= 0.995 else f"{100 * probability:.0f} %"


def _pair(value) -> tuple:
    """(along H, along W) of a receptive-field table's entry."""
    return value if isinstance(value, tuple) else (value, value)


def _wilson(successes: np.ndarray, trials: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The Wilson score interval at 95 % of each proportion, in percent."""
    z = 1.959964
    centre = (successes + z**2 / 2) / (trials + z**2)
    half = z / (trials + z**2) * np.sqrt(successes * (trials - successes) / trials + z**2 / 4)
    return 100 * (centre - half), 100 * (centre + half)
