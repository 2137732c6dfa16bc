"""Markdown that a notebook typesets and a terminal can read, and how figures are written in it."""

from collections.abc import Iterable

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer


class Text(str):
    """Text that a notebook shows as it is, and not as a quoted string."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class Markdown(Text):
    """Markdown text: typeset by a notebook, plain in a terminal."""

    __slots__ = ()

    def _repr_markdown_(self) -> str:
        return str(self)


class Source(Text):
    """Python source: highlighted by a notebook, plain in a terminal."""

    __slots__ = ()

    def _repr_markdown_(self) -> str:
        return f"```python\n{self}\n```"

    def _repr_html_(self) -> str:
        style = "font-family: monospace; line-height: 1.3"  # Markdown's code blocks lose it in some exported pages
        return highlight(str(self), PythonLexer(), HtmlFormatter(noclasses=True, nobackground=True, prestyles=style))


def table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> Markdown:
    """A Markdown table, its columns padded so that it can also be read as plain text."""
    lines = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return Markdown("\n".join([padded[0], rule, *padded[1:]]))


def mean_sd(mean: float, sd: float | None) -> str:
    """`99.40 ± 0.08`; of a single run, whose SD is None, `99.40`."""
    return f"{mean:.2f}" if sd is None else f"{mean:.2f} ± {sd:.2f}"


def between(interval: tuple[float, float]) -> str:
    """`99.32 to 99.48`."""
    return "{:.2f} to {:.2f}".format(*interval)


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
