"""The table of a model's receptive fields: a row a layer, its printed forms, and the box of any unit."""

from __future__ import annotations

import html
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from mnist_s7.receptive_field.fields import Field, Step, UnitBox
from mnist_s7.receptive_field.windows import Window


@dataclass(frozen=True)
class Row:
    """One call of one layer. A value is a number where all axes agree, else a tuple, H before W.

    Padding that differs between its two ends is (before, after); of a 2-D feature map, one such pair an axis.
    """

    layer: str  # the module's path; of a functional call, the path of its module and the function's name
    kind: str
    n_in: int | tuple  # units
    k: int | tuple
    s: int | float | tuple  # below 1 of an upsampling
    p: int | tuple
    d: int | tuple
    n_out: int | tuple  # units
    r_in: int | tuple  # input pixels
    j_in: int | float | tuple  # input pixels
    r_out: int | tuple  # of the unit with the largest field
    r_range: tuple  # smallest and largest field of the feature map's units; of axes that differ, one such pair each
    j_out: int | float | tuple
    start: int | float | tuple  # centre of the first unit's field, in input pixels
    note: str  # what a reader of the numbers must know; mostly empty
    _field: Field = field(repr=False, compare=False)

    @classmethod
    def of(cls, layer: str, kind: str, step: Step) -> Row:
        before, after = step.before.axes.values(), step.after.axes.values()
        still = {name: Window.sliding(1, 1, (0, 0), 1, axis.n) for name, axis in step.before.axes.items()}
        windows = (still | step.windows).values()
        pads = tuple(window.p for window in windows)
        if all(first == last for first, last in pads):
            p = _agree(first for first, _ in pads)
        else:
            p = pads if len(pads) > 1 else pads[0]
        return cls(
            layer,
            kind,
            n_in=_agree(axis.n for axis in before),
            k=_agree(window.k for window in windows),
            s=_agree(_number(window.s) for window in windows),
            p=p,
            d=_agree(window.d for window in windows),
            n_out=_agree(axis.n for axis in after),
            r_in=_agree(axis.size for axis in before),
            j_in=_agree(_number(axis.pixels_per_unit) for axis in before),
            r_out=_agree(axis.size for axis in after),
            r_range=_agree(axis.sizes for axis in after),
            j_out=_agree(_number(axis.pixels_per_unit) for axis in after),
            start=_agree(axis.centre for axis in after),
            note=step.note,
            _field=step.after,
        )


COLUMNS = ("layer", "kind", "n_in", "k", "s", "p", "d", "n_out", "r_in", "j_in", "r_out", "r_range", "j_out", "start")
NAMES = 2  # so many columns hold names, and are left-aligned; numbers are right-aligned


@dataclass(frozen=True, repr=False)
class ReceptiveFieldTable:
    """The rows of a model for one input size; prints as text, and as HTML in a notebook."""

    rows: tuple[Row, ...]
    image_size: tuple[int, ...]  # (H, W), (L,) or (D, H, W)
    about_inputs: tuple[str, ...] = ()  # sentences about inputs that are no images of this size
    output: Field | None = field(
        default=None, repr=False, compare=False
    )  # of the model's output, if that is one tensor

    @property
    def receptive_field(self) -> int | tuple:
        """Of a unit of the model's output, in input pixels; `r_out` of the last row where it has several outputs."""
        if self.output is not None:
            return _agree(axis.size for axis in self.output.axes.values())
        return self.rows[-1].r_out if self.rows else 1

    def box(self, layer: str | int | Row, unit: int | Sequence[int]) -> UnitBox:
        """The box of a unit, (row, column) or position, along the axes of the image.

        layer: a row, its name, or its index in `rows`; or "output", the model's output if that is one tensor.
        Raises KeyError for a name that there is not, and IndexError for a unit that is not on the feature map.
        """
        units = tuple(map(operator.index, unit if isinstance(unit, Sequence) else (unit,)))
        if layer == "output" and self.output is not None:
            return self.output.box(units)
        if isinstance(layer, str):
            named = [row for row in self.rows if row.layer == layer]
            if not named:
                raise KeyError(f"no row {layer!r}; the rows are {', '.join(row.layer for row in self.rows)}")
            layer = named[0]
        elif not isinstance(layer, Row):
            layer = self.rows[operator.index(layer)]
        return layer._field.box(units)

    def to_dicts(self) -> list[dict]:
        """One dict a row, the columns and `note`; ready for JSON, csv.DictWriter or a data frame."""
        return [{name: getattr(row, name) for name in (*COLUMNS, "note")} for row in self.rows]

    @property
    def notes(self) -> list[str]:
        """Sentences about rows and inputs that need one."""
        notes = [*self.about_inputs, *[f"{row.layer}: {row.note}" for row in self.rows if row.note]]
        for row in self.rows:
            if any(a.size > n for a, n in zip(row._field.axes.values(), self.image_size, strict=True)):
                size = _agree(self.image_size)
                return [*notes, f"From {row.layer} on, the receptive field is larger than the input of {size} pixels."]
        return notes

    @property
    def _shown(self) -> list[str]:
        """The columns; without the range of sizes where no feature map has one."""
        ranges = any(axis.sizes[0] < axis.size for row in self.rows for axis in row._field.axes.values())
        return [name for name in COLUMNS if ranges or name != "r_range"]

    def _cells(self) -> list[list[str]]:
        shown = self._shown
        return [[_text(name, getattr(row, name)) for name in shown] for row in self.rows]

    def __repr__(self) -> str:
        lines = [self._shown, *self._cells()]
        width = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            line[:NAMES] = map(str.ljust, line[:NAMES], width[:NAMES])
            line[NAMES:] = map(str.rjust, line[NAMES:], width[NAMES:])
        return "\n".join(["  ".join(line).rstrip() for line in lines] + self.notes)

    def to_markdown(self) -> str:
        """The table in GitHub's Markdown."""
        columns = self._shown
        lines = [columns, ["---"] * NAMES + ["---:"] * (len(columns) - NAMES), *self._cells()]
        return "\n".join(["| " + " | ".join(line) + " |" for line in lines] + [f"\n{note}" for note in self.notes])

    def _repr_html_(self) -> str:
        shown = self._shown
        sides = ["left"] * NAMES + ["right"] * (len(shown) - NAMES)  # written out: Jupyter's own is right for all

        def tr(tag: str, cells: Sequence[str]) -> str:
            aligned = [
                f'<{tag} style="text-align: {side}">{html.escape(cell)}</{tag}>'
                for side, cell in zip(sides, cells, strict=True)
            ]
            return "<tr>" + "".join(aligned) + "</tr>"

        body = "\n".join(tr("td", cells) for cells in self._cells())
        notes = "".join(f"\n<p>{html.escape(note)}</p>" for note in self.notes)
        return f"<table>\n<thead>{tr('th', shown)}</thead>\n<tbody>\n{body}\n</tbody>\n</table>{notes}"


def _number(value: Fraction) -> int | float:
    return value.numerator if value.denominator == 1 else float(value)


def _text(column: str, value) -> str:
    """An entry; fractions with three digits, and a range of sizes as "5 to 7"."""
    if column == "r_range":
        ranges = value if isinstance(value[0], tuple) else (value,)
        return ", ".join(str(low) if low == high else f"{low} to {high}" for low, high in ranges)
    if isinstance(value, tuple):
        return f"({', '.join(_text('', item) for item in value)})"
    return "none" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _agree(values) -> int | float | tuple:
    values = tuple(values)
    return values[0] if len(set(values)) == 1 else values
