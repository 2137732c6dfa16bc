"""Figures of experiments across their seeds: final accuracies, curves, ablations, public networks, hard images."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox
from torch import Tensor

from mnist_s7 import InvalidArgument
from mnist_s7.plots.axes import ERROR_SCALE, LIMIT, accuracy_axis, headline, parameter_axis, target_line
from mnist_s7.plots.images import COLUMNS, count_found, draw_digit, has_long_names, sheet
from mnist_s7.plots.runs import accuracy_panel, refuse_empty
from mnist_s7.plots.style import INK, MUTED, TEXT, VERMILLION, Picture, counted, dataset_of, looks_of, plain_axes, say
from mnist_s7.results import (
    CORRECTED_LABELS,
    LABEL_ERRORS,
    MNIST,
    PUBLIC_NETWORKS,
    Difference,
    Misclassified,
    PublicNetwork,
    Run,
    Runs,
    class_names,
    class_noun,
    failures,
    has_targets,
    summarize,
    trained,
)
from mnist_s7.results.claims import signed

MARK = {"linestyle": "", "marker": "o", "markersize": 7}
REFERENCE = {"linestyle": "", "marker": "X", "markersize": 8, "color": INK}

# ------------------------------------------------------------------------------------------------- experiments


def every_seed(runs: Runs, references: Mapping[str, float]) -> Figure:
    """The final test accuracy (percent) of every seed, the mean with its 95 % CI, and the reference series' one run.

    `references` holds the reference series' final test accuracies, in percent, of the iterations that it has.
    """
    captions_end = {name: failures(group) for name, group in runs.items()}
    runs = _trained(runs)
    left_out = "".join(f", without {name}{failed}" for name, failed in captions_end.items() if name not in runs)
    figure = Picture(4.8, f"Final test accuracy of every seed{left_out}", dataset_of(_all(runs)))
    ax = figure.subplots()
    plain_axes(ax, ylabel=f"final test accuracy ({ERROR_SCALE})")
    finals = {name: [run.final.test_accuracy for run in group] for name, group in runs.items()}
    summaries = {name: summarize(values) for name, values in finals.items()}
    references = {name: references[name] for name in runs if name in references}
    ends = [min(max(end, 0), 100) for summary in summaries.values() for end in summary.interval or ()]
    targets = headline(dataset_of(_all(runs)))
    accuracy_axis(ax, [*targets, *(a for values in finals.values() for a in values), *references.values(), *ends])
    ax.set_xlim(-0.5 - 0.12 * len(runs), len(runs) - 0.5)  # room on the left for the words at the target
    for target in targets:
        target_line(ax, target, "the series'")
    captions = []
    for i, (name, (colour, marker)) in enumerate(zip(runs, _looks(runs), strict=True)):
        summary, look = summaries[name], {"color": colour, "marker": marker}
        places = i - 0.25 + 0.45 * (np.arange(summary.n) + 0.5) / summary.n  # beside each other: none hides another
        ax.plot(places, finals[name], linestyle="", markersize=7, markeredgecolor="white", markeredgewidth=0.6, **look)
        if summary.interval is not None:
            ax.plot([i + 0.33] * 2, summary.interval, color=colour, linewidth=2)
            ax.plot(i + 0.33, summary.mean, markersize=8, **look)
        if name in references:
            ax.plot(i - 0.36, references[name], **REFERENCE)
        size = f"{runs[name][0].parameters:,} parameters"
        seeds = f"{counted(summary.n, 'seed')}{captions_end[name].replace(' (', chr(10) + '(')}"
        captions.append(f"{name}\nmean {summary.mean:.2f} %\n{seeds}\n{size}")
    ax.set_xticks(range(len(runs)), captions)
    ax.tick_params(axis="x", length=0)
    seed = Line2D([], [], label="one seed", color=MUTED, **MARK)
    mean = Line2D([], [], label="mean of the seeds, its 95 % CI", color=MUTED, marker="o", markersize=8)
    reference = Line2D([], [], label="the reference series' single run", **REFERENCE)
    _legend(figure, [seed, mean, reference] if references else [seed, mean])
    return figure


def accuracy_by_epoch(runs: Runs) -> Figure:
    """Test and train accuracy (percent) over the epochs: the mean of the seeds, and a band for their range."""
    failed, runs = failures(_all(runs)), _trained(runs)
    _refuse_uneven(runs)
    title = f"Accuracy by epoch, {_seeds(runs)}: mean and range{failed}"
    figure = Picture(4.2, title, dataset_of(_all(runs)))
    test, train = figure.subplots(1, 2, sharey=True)
    accuracy_panel(test, runs, "test")
    accuracy_panel(train, runs, "train")
    return figure


def results_figure(runs: Runs) -> Figure:
    """The series in one picture: test accuracy (percent) by epoch, mean of the seeds, and beside it the parameters."""
    failed, runs = failures(_all(runs)), _trained(runs)
    _refuse_uneven(runs)
    sizes = [group[0].parameters for group in runs.values()]
    means = [summarize([run.final.test_accuracy for run in group]).mean for group in runs.values()]
    title = (
        f"From {sizes[0]:,} parameters and {means[0]:.2f} % to {sizes[-1]:,} and {means[-1]:.2f} % "
        f"(mean of {_seeds(runs)}){failed}"
    )
    figure = Picture(3.9, title, dataset_of(_all(runs)))
    curves, bars = figure.subplots(1, 2, width_ratios=(2.2, 1))
    accuracy_panel(curves, runs, "test")
    if max(map(len, runs.values())) > 1:
        curves.set_xlabel("epoch (line: mean of the seeds; band: range)")
    bars.barh(range(len(runs)), sizes, color=[colour for colour, _ in _looks(runs)], height=0.6)
    for row, (name, size) in enumerate(zip(runs, sizes, strict=True)):
        say(bars, f"{name}  {size:,}", 0, row, dx=6, colour="white", bold=True, size=11)
    plain_axes(bars, xlabel="parameters", grid="")
    bars.set(yticks=[], ylim=(len(runs) - 0.5, -0.5), xlim=(0, 1.05 * max(*sizes, LIMIT)))
    parameter_axis(bars)
    return figure


def ablation_study(differences: Mapping[str, Difference], dataset: str = MNIST) -> Figure:
    """What changes do to the final test accuracy: a row for each, the difference of the means and its 95 % CI.

    `differences`, in percentage points, are those of with and without the change, by the words for its row.
    """
    if not differences:
        raise InvalidArgument("no differences to draw: `differences` is empty")
    figure = Picture(1.5 + 0.42 * len(differences), "Ablation study: an iteration with one part changed", dataset)
    ax = figure.subplots()
    for row, found in enumerate(differences.values()):
        low, high = found.interval
        face = "white" if found.positive is None else INK
        ax.plot([low, high], [row, row], color=INK, linewidth=2, alpha=0.5)
        ax.plot(found.mean, row, color=INK, markerfacecolor=face, **MARK)
        say(ax, f"{signed(found.mean)} ({signed(low)} to {signed(high)})", 1.02, row, ("axes fraction", "data"))
    ax.axvline(0, color=INK, linewidth=1, linestyle=":")
    furthest = max(abs(end) for found in differences.values() for end in found.interval)
    reach = 1.1 * max(furthest, 0.01)  # as far on both sides, so that each has room for its words
    ax.set(xlim=(-reach, reach), ylim=(len(differences) - 0.5, -0.5))
    say(ax, "← worse with it", 0, 1, ("data", "axes fraction"), dx=-8, dy=8, ha="right")
    say(ax, "better with it →", 0, 1, ("data", "axes fraction"), dx=8, dy=8)
    ax.xaxis.set_major_locator(MaxNLocator(6))  # of labels as long as -0.075
    ax.set_yticks(range(len(differences)), [textwrap.fill(label, 30) for label in differences])
    ax.tick_params(axis="y", length=0)
    plain_axes(ax, xlabel="difference in final test accuracy (percentage points) and its 95 % CI", grid="x")
    conclusive = Line2D([], [], label="higher or lower (p adjusted by Holm below 0.05)", color=INK, **MARK)
    inconclusive = Line2D([], [], label="inconclusive", color=INK, markerfacecolor="white", **MARK)
    _legend(figure, [conclusive, inconclusive])
    return figure


# --------------------------------------------------------------------------------------------- other networks


@dataclass(frozen=True)
class _Network:
    """A mark of the figure, with its accuracy in percent and its SD in percentage points."""

    parameters: int
    accuracy: float
    sd: float | None
    label: str
    colour: str
    marker: str
    own: bool

    @property
    def ends(self) -> tuple[float, float]:
        """Percent, one SD below and above."""
        sd = self.sd or 0
        return self.accuracy - sd, self.accuracy + sd


def accuracy_against_parameters(runs: Runs, public: Sequence[PublicNetwork] = PUBLIC_NETWORKS) -> Figure:
    """Test accuracy (percent) against parameters: the mean of this package's final epochs, and what the authors of
    public networks state of theirs, which is on MNIST: they are left out beside runs on another data set."""
    failed, runs = failures(_all(runs)), _trained(runs)
    targets = headline(dataset := dataset_of(_all(runs)))
    public = public if has_targets(dataset) else ()
    networks = []
    for (name, group), look in zip(runs.items(), _looks(runs), strict=True):
        final = summarize([run.final.test_accuracy for run in group])
        networks.append(_Network(group[0].parameters, final.mean, final.sd, name, *look, own=True))
    for other in public:
        label = f"{other.source.partition('/')[2]}\n{textwrap.fill(other.measured, 20)}"
        networks.append(_Network(other.parameters, other.accuracy, other.sd, label, MUTED, "o", own=False))
    beside = ", beside public networks" if public else ""
    figure = Picture(5.2, f"Test accuracy against parameters{beside}{failed}", dataset)
    ax = figure.subplots()
    plain_axes(ax, xlabel="parameters (log scale)", ylabel=f"test accuracy ({ERROR_SCALE})")
    accuracy_axis(ax, [*targets, *(min(end, 100) for network in networks for end in network.ends)])
    sizes = [network.parameters for network in networks]
    ax.set(xscale="log", xlim=(min(sizes) / 1.6, max(sizes) * 1.6))
    for target in targets:
        target_line(ax, target, "the series'")
    parameter_axis(ax)
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_minor_locator(NullLocator())
    for network in networks:
        face = network.colour if network.own else "white"
        ax.plot([network.parameters] * 2, network.ends, color=network.colour, linewidth=1.5)
        look = {"color": network.colour, "marker": network.marker, "markerfacecolor": face, "markersize": 8}
        ax.plot(network.parameters, network.accuracy, **look)
    own = Line2D([], [], label="this package, mean of the final epochs", color=MUTED, **MARK)
    theirs = Line2D([], [], label="public, with how it was measured", color=MUTED, markerfacecolor="white", **MARK)
    line = Line2D([], [], label="SD of runs", color=MUTED, linestyle="", marker="|", markersize=12)
    _legend(figure, [own, theirs, line] if public else [own, line])
    _label(ax, networks)
    return figure


def _label(ax: Axes, networks: Sequence[_Network]) -> None:
    """Write each network's label at the nearest place around its mark that is free, with a line to the mark.

    What is free is found in pixels, so nothing that moves the axes may follow.
    """
    ax.figure.draw_without_rendering()
    point = ax.figure.dpi / 72
    marks = [Bbox(ax.transData.transform([(n.parameters, end) for end in n.ends])).padded(5 * point) for n in networks]
    solid = [*marks, *(text.get_window_extent() for text in ax.texts)]
    lines = [line.get_window_extent() for line in ax.lines]  # which a label's line may cross, but no label
    for network, mark in zip(networks, marks, strict=True):
        at = (network.parameters, network.accuracy)
        colour, weight = (network.colour, "bold") if network.own else (INK, "normal")
        look = {"color": colour, "fontweight": weight, "fontsize": TEXT, "textcoords": "offset points"}
        note = ax.annotate(network.label, at, (0, 0), **look)
        for distance, degrees in product((10, 22, 36, 52, 70, 90), (0, 180, 90, 270, 30, 150, 210, 330)):
            away = distance * np.array([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))])
            right, up = np.sign(away.round()).astype(int)
            note.set(position=away, ha=("center", "left", "right")[right], va=("center", "bottom", "top")[up])
            box = note.get_window_extent()
            path = ax.transData.transform(at) + np.linspace(0.3, 0.9, 9)[:, None] * away * point
            if (
                ax.bbox.containsx(box.x0)
                and ax.bbox.containsx(box.x1)
                and not box.count_overlaps(solid + lines)
                and not any(other.contains(*step) for other in solid if other is not mark for step in path)
            ):
                break
        solid.append(box)
        lines += [Bbox([step, step]).padded(1) for step in path]
        line = {"arrowstyle": "-", "color": network.colour, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 5}
        ax.annotate("", at, away, textcoords="offset points", arrowprops=line)


# ------------------------------------------------------------------------------------------------ hard images

SHOWN = 20
IN_A_ROW = COLUMNS // 2  # digits, each with a caption as wide as two


def most_misclassified(
    images: Tensor, labels: Tensor, found: Sequence[Misclassified], runs: int, dataset: str = MNIST
) -> Figure:
    """The first 20 of `found`, the test images that `runs` runs most often get wrong; label errors are framed.

    `images` uint8 (N, 28, 28), `labels` int64 (N,).
    """
    shown, names, between = found[:SHOWN], class_names(dataset), "\n" if has_long_names(dataset) else " "
    errors = LABEL_ERRORS if dataset == MNIST else ()
    head, pitch = 0.9, 2.1  # image heights: the heading's, and from row to row
    title = f"The test images that {counted(runs, 'run')} most often get wrong"
    figure, ax = sheet(title, COLUMNS, head + pitch * math.ceil(len(shown) / IN_A_ROW), dataset)
    wrong = f"most common wrong {class_noun(dataset)}"
    heading = f"{count_found(len(found), len(shown))}: label, {wrong}, number in the test set"
    if any(image.index in errors for image in shown):
        heading += "\nFramed: label errors according to five annotators, with the digit that most of them saw"
    say(ax, heading, 0, 0.1, va="top", size=10.5)
    for i, image in enumerate(shown):
        x, y = 2.2 * (i % IN_A_ROW) + 0.55, head + pitch * (i // IN_A_ROW)
        lines = (
            f"label {names[labels[image.index]]},{between}predicted {names[image.predicted]}",
            f"{image.times} of {counted(runs, 'run')}",
            f"no. {image.index}",
        )
        say(ax, "\n".join(lines), x + 0.5, y + 1.06, ha="center", va="top", size=9)
        if image.index not in errors:
            draw_digit(ax, images[image.index], x, y)
            continue
        draw_digit(ax, images[image.index], x, y, frame=VERMILLION, linewidth=3)
        corrected = CORRECTED_LABELS.get(image.index)
        words = "label error" if corrected is None else f"label error, is {corrected}"
        say(ax, words, x + 0.5, y + 1.68, colour=VERMILLION, bold=True, ha="center", va="top", size=9)
    return figure


# -------------------------------------------------------------------------------------------- what they share


def _refuse_empty(runs: Runs) -> None:
    refuse_empty(runs)
    for name, group in runs.items():
        if not group:
            raise InvalidArgument(f"no runs to draw of {name}")


def _trained(runs: Runs) -> Runs:
    """Without the runs that failed to train, and the experiments that are left with none."""
    _refuse_empty(runs)
    found = {name: trained(group) for name, group in runs.items()}
    refuse_empty(found := {name: group for name, group in found.items() if group})
    return found


def _refuse_uneven(runs: Runs) -> None:
    _refuse_empty(runs)
    for name, group in runs.items():
        if len({len(run.epochs) for run in group}) > 1:
            raise InvalidArgument(f"the runs of {name} have different numbers of epochs, and so no mean by epoch")


def _seeds(runs: Runs) -> str:
    fewest, most = min(map(len, runs.values())), max(map(len, runs.values()))
    return counted(most, "seed") if fewest == most else f"{fewest} to {most} seeds"


def _all(runs: Runs) -> list[Run]:
    return [run for group in runs.values() for run in group]


def _looks(runs: Runs) -> list[tuple[str, str]]:
    """(colour, marker) of each experiment."""
    return looks_of(group[0] for group in runs.values())


def _legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=TEXT)
