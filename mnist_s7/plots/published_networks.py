"""Figures of networks that others have published: what is stated of each beside runs of it, and what selection adds."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from mnist_s7 import InvalidArgument
from mnist_s7.plots.axes import ERROR_SCALE, accuracy_axis, parameter_axis
from mnist_s7.plots.style import BLUE, FAINT, INK, LOOKS, MUTED, ORANGE, TEXT, Picture, plain_axes, say
from mnist_s7.results import BEST_OF, CheckedClaim, Runs, Selection, Summary, summarize, trained

CLAIM = {"linestyle": "", "marker": "D", "markersize": 7, "color": INK, "markerfacecolor": "none"}
FINAL = {"linestyle": "", "marker": "o", "markersize": 6, "color": BLUE}
BEST = {"linestyle": "", "marker": "|", "markersize": 11, "markeredgewidth": 1.5, "color": MUTED}
ROW = 0.235  # inches
GAINS = (0, 0.01, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)  # ticks, in percentage points


def claims_figure(claims: Sequence[CheckedClaim], series: Runs) -> Figure:
    """Each stated accuracy (percent) beside runs of its network, and the iterations among them, by their parameters.

    A row has the claim, the mean of the final epochs with its 95 % CI and that of the best epochs, and the verdict.
    Raises `InvalidArgument` where there are no claims.
    """
    if not claims:
        raise InvalidArgument("no claims to draw: `claims` is empty")
    finals = {name: [run.final.test_accuracy for run in trained(group)] for name, group in series.items()}
    own = [(series[name][0].parameters, name, summarize(values)) for name, values in finals.items() if values]
    rows = sorted([(claim.parameters, claim.experiment, claim) for claim in claims] + own, key=lambda row: row[:2])
    figure = Picture(1.5 + ROW * len(rows), "Accuracies as published, and as trained again with several seeds")
    ax = figure.subplots()
    plain_axes(ax, xlabel=f"test accuracy ({ERROR_SCALE})", grid="x")
    ends = [end for _, _, found in rows for end in _ends(found)]
    accuracy_axis(ax, ends, along="x")
    for row, (_, name, found) in enumerate(rows):
        ax.axhline(row, color=FAINT, linewidth=0.7, zorder=0)
        if isinstance(found, CheckedClaim):
            ax.plot(found.best.mean, row, **BEST)
            _draw_mean(ax, row, found.final, FINAL)
            ax.plot(found.accuracy, row, **CLAIM)
            say(ax, found.words, 1.01, row, ("axes fraction", "data"), size=9)
        else:
            colour, marker = LOOKS.get(name, (INK, "X"))
            _draw_mean(ax, row, found, FINAL | {"color": colour, "marker": marker, "markersize": 8})
            say(ax, "this project's", 1.01, row, ("axes fraction", "data"), colour=colour, bold=True, size=9)
    # Experiments are named after their parameters; the iterations are not.
    labels = [name if isinstance(found, CheckedClaim) else f"{name}, {size:,}" for size, name, found in rows]
    ax.set_yticks(range(len(rows)), labels)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    claim = Line2D([], [], label="as published", **CLAIM)
    mean = Line2D([], [], label="trained again: mean final epoch, 95 % CI", **FINAL | {"linestyle": "-"})
    best = Line2D([], [], label="mean best epoch", **BEST)
    figure.legend(handles=[claim, mean, best], loc="outside lower center", ncols=3, frameon=False, fontsize=TEXT)
    return figure


def selection_figure(found: Sequence[Selection]) -> Figure:
    """What the best epoch, and the best of `BEST_OF` runs, add to the mean final test accuracy, by parameters.

    In percentage points, on a square-root scale, which has a 0. Raises `InvalidArgument` where there is nothing to
    draw.
    """
    if not found:
        raise InvalidArgument("nothing to draw: `found` is empty")
    figure = Picture(4.2, "What selection on the test set adds to the mean final test accuracy")
    ax = figure.subplots()
    plain_axes(ax, xlabel="parameters (log scale)", ylabel="percentage points (square-root scale)")
    ax.set_yscale("function", functions=(lambda y: abs(y) ** 0.5, lambda root: root**2))
    gains = {
        f"the best of {BEST_OF} runs": (ORANGE, "^", {each: each.best_run for each in found}),
        f"the best epoch of the best of {BEST_OF}": (INK, "x", {each: each.both for each in found}),
        "the best epoch": (BLUE, "o", {each: each.best_epoch.mean for each in found}),
    }
    handles = []
    for label, (colour, marker, values) in gains.items():
        points = [(each.parameters, max(value, 0)) for each, value in values.items() if value is not None]
        look = {"color": colour, "marker": marker, "markersize": 6, "linestyle": "", "alpha": 0.8}
        ax.plot([size for size, _ in points], [value for _, value in points], **look)
        handles.append(Line2D([], [], label=label, **look))
    highest = max(value for _, _, values in gains.values() for value in values.values() if value is not None)
    top = next((gain for gain in GAINS[2:] if gain >= highest), 100)
    sizes = [each.parameters for each in found]
    ax.set(xscale="log", xlim=(min(sizes) / 1.2, max(sizes) * 1.2), ylim=(0, 1.05 * top))
    parameter_axis(ax)
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_locator(FixedLocator(GAINS))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=TEXT)
    return figure


def _ends(found: CheckedClaim | Summary) -> tuple[float, ...]:
    """What of a row must be on its axis."""
    final = found.final if isinstance(found, CheckedClaim) else found
    marks = (found.accuracy, found.best.mean) if isinstance(found, CheckedClaim) else ()
    return *marks, final.mean, *_on_scale(final.interval or ())


def _on_scale(interval: Sequence[float]) -> list[float]:
    return [min(max(end, 0.0), 100.0) for end in interval]


def _draw_mean(ax: Axes, row: int, final: Summary, look: dict) -> None:
    if final.interval:
        ax.plot(_on_scale(final.interval), [row, row], color=look["color"], linewidth=2)
    ax.plot(final.mean, row, **look)
