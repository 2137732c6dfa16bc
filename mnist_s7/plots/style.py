"""How every figure looks: colours, the figure itself, text on the axes, and the words for runs and counts."""

import io
import textwrap
from collections.abc import Iterable
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from mnist_s7.results import MNIST, Run, on_dataset, write_atomically

# The colours of Okabe and Ito (2008), "Color Universal Design", which colour-blind readers can tell apart.
GREEN, BLUE, VERMILLION = "#009E73", "#0072B2", "#D55E00"
PURPLE, SKY, ORANGE = "#CC79A7", "#56B4E9", "#E69F00"
INK, MUTED, FAINT = "#222222", "#666666", "#DDDDDD"

# An iteration keeps its colour and marker in every figure; variants get the spare ones in their order.
LOOKS = {
    "T1": (VERMILLION, "o"),
    "T2": (GREEN, "s"),
    "T3": (BLUE, "^"),
    "T4": (PURPLE, "D"),
    "T5": (ORANGE, "v"),
}
SPARE_LOOKS = ((SKY, "P"), (INK, "X"), (MUTED, "*"))

WIDTH, DPI = 8.0, 110  # inches, dots an inch: 880 pixels, about what a README shows
TEXT = 9.5  # points, inside the axes


class Picture(Figure):
    """A figure that a notebook shows without pyplot or a magic. Its title names other digits than MNIST's test set.

    `width` and `height` in inches; it grows by as much as its title has lines beyond the first.
    """

    def __init__(self, height: float, title: str, dataset: str = MNIST, width: float = WIDTH):
        lines = textwrap.wrap(title, int(9.8 * width))
        if note := on_dataset(dataset):
            lines.append(note)
        super().__init__(figsize=(width, height + 0.2 * (len(lines) - 1)), dpi=DPI, layout="constrained")
        self.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)

    def _repr_png_(self) -> bytes:
        drawn, small = io.BytesIO(), io.BytesIO()
        self.savefig(drawn, format="png")
        image = Image.open(drawn).convert("RGB")
        image.quantize(64, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)  # a third of the bytes
        return small.getvalue()


def write_figure(figure: Figure, path: Path) -> Path:
    """Write the figure as a PNG file, atomically, and return its path. Raises `OutputError`."""
    image = io.BytesIO()
    figure.savefig(image, format="png")
    write_atomically(path, image.getvalue())
    return path


def plain_axes(ax: Axes, xlabel: str = "", ylabel: str = "", grid: str = "y") -> None:
    """Label the axes, and leave of them the left and bottom lines and the `grid`: "x", "y" or ""."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.set(xlabel=xlabel, ylabel=ylabel, axisbelow=True)
    if grid:
        ax.grid(axis=grid, color=FAINT, linewidth=0.7)


def say(ax, text, x, y, coords="data", dx=0, dy=0, colour=INK, bold=False, ha="left", va="center", size=TEXT) -> None:
    """Write at (x, y), moved by (dx, dy) points; `coords` as in matplotlib's annotate."""
    weight = "bold" if bold else "normal"
    look = {"color": colour, "fontweight": weight, "ha": ha, "va": va, "fontsize": size, "linespacing": 1.1}
    ax.annotate(text, (x, y), (dx, dy), xycoords=coords, textcoords="offset points", **look)


def looks_of(runs: Iterable[Run]) -> list[tuple[str, str]]:
    """(colour, marker) of each run; runs of one experiment share theirs."""
    experiments = [run.experiment for run in runs]
    looks = looks_by_name(experiments)
    return [looks[name] for name in experiments]


def looks_by_name(experiments: Iterable[str]) -> dict[str, tuple[str, str]]:
    """(colour, marker) of each experiment."""
    names = dict.fromkeys(experiments)
    spare = {
        name: SPARE_LOOKS[i % len(SPARE_LOOKS)] for i, name in enumerate(name for name in names if name not in LOOKS)
    }
    return {name: (LOOKS | spare)[name] for name in names}


def name_of(run: Run) -> str:
    return f"{run.experiment} (seed {run.seed})"


def dataset_of(runs: Iterable[Run]) -> str:
    """What the runs were tested on; other digits than MNIST's test set as soon as one of them was."""
    return next((run.dataset for run in runs if run.dataset != MNIST), MNIST)


def counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")
