"""The fields of a feature map's units: an interval of pixels along each axis, and the box of each unit in the image.

Two things are stored of every feature map. The one is the field by the formulas, along each axis by itself. The other
is the box of every single unit inside the image, found by running the network's windows on boxes instead of numbers:
the box of a window is the smallest box around the boxes in it, and padding has none.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from mnist_s7.receptive_field.axes import Axis, Interval
from mnist_s7.receptive_field.errors import Refused
from mnist_s7.receptive_field.windows import Window

AXES = {1: "L", 2: "HW", 3: "DHW"}


class UnitBox(NamedTuple):
    """The pixels that one unit looks at: an interval (first, last) an axis, D before H before W, both ends inside."""

    unclipped: tuple[Interval, ...] | None  # by the formulas; runs into the padding; None if it looks at nothing
    clipped: tuple[Interval, ...] | None  # what lies in the image and is really connected; None if nothing is


class Part(NamedTuple):
    """What a dimension of a tensor runs over along an axis of the image: n units, `step` units apart."""

    axis: str
    n: int
    step: int


Layout = tuple[tuple[Part | int, ...], ...]


class Pieces(NamedTuple):
    """The fields of single channels, so that a part of them looks at no more than it should.

    labels: for each channel the number of its field; of the tensor's shape, with 1 for each dimension along an axis.
    """

    labels: Tensor
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Field:
    """The fields of all units of one tensor.

    layout: for each dimension of the tensor, what it runs over, slowest first: axes of the image, whole or in
        parts, and numbers of channels or images. (N, C, H, W) is ((N,), (C,), (H,), (W,)), and flattened
        ((N,), (C, H, W)). Sizes of 1 are left out, so an axis with a single unit stands in no dimension.
    seen: (2 * axes, n_H, n_W): of the unit at each place the first pixels, negated, then the last ones, so
        that the box around two boxes is their maximum; -inf for a unit that sees nothing.
    pieces: where channels look at different pixels, as after a concatenation; this field is then the one around
        theirs.
    """

    axes: dict[str, Axis]
    layout: Layout
    seen: Tensor
    source: str  # the layer it comes from
    pieces: Pieces | None = None
    astray: tuple[tuple[str, int], ...] = ()  # axes with one unit, in another dimension than where torch expects them
    rough: bool = False  # channels look at different pixels, and which at which is no longer known

    @classmethod
    def of_image(cls, shape: Sequence[int]) -> Field:
        sizes = dict(zip(AXES[len(shape) - 2], shape[2:], strict=True))
        pixels = torch.stack(torch.meshgrid(*[torch.arange(float(n)) for n in sizes.values()], indexing="ij"))
        axes = {name: Axis(n, ((0, 0),), jump=1) for name, n in sizes.items()}
        return cls(axes, standard_layout(shape, axes), torch.cat([-pixels, pixels]), "input")

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(math.prod(map(size, dim)) for dim in self.layout)

    @property
    def is_constant(self) -> bool:
        """Whether all its units look at the same pixels."""
        return all(axis.is_constant for axis in self.axes.values()) and bool((self.seen == hull(self.seen)).all())

    def box(self, unit: tuple[int, ...]) -> UnitBox:
        sizes = tuple(axis.n for axis in self.axes.values())
        if len(unit) != len(sizes) or not all(0 <= i < n for i, n in zip(unit, sizes, strict=True)):
            raise IndexError(f"unit {unit} is not on the feature map of {sizes} units")
        unclipped = tuple(axis.interval(i) for axis, i in zip(self.axes.values(), unit, strict=True))
        first, last = self.seen[(slice(None), *unit)].chunk(2)
        boxed = tuple((int(-lo), int(hi)) for lo, hi in zip(first, last, strict=True) if not hi.isneginf())
        return UnitBox(
            unclipped if all(lo <= hi for lo, hi in unclipped) else None, boxed if len(boxed) == len(sizes) else None
        )

    def laid_out(self, layout: Layout) -> Field:
        return replace(self, layout=layout, pieces=None)

    def slide(self, windows: Mapping[str, Window]) -> Field:
        """The field after windows along some axes; the layout is left for the caller to set."""
        axes, seen = dict(self.axes), self.seen
        for dim, (name, axis) in enumerate(self.axes.items(), start=1):
            if name in windows:
                seen = widest(seen, dim, windows[name].units())
                axes[name] = axis.slide(windows[name])
        return replace(self, axes=axes, seen=seen, pieces=None)

    def spread(self, shape: Sequence[int]) -> Field:
        """Of a tensor of any shape, each of whose values looks at all that this field's units look at together.

        A tensor with as many dimensions as (N, C, H, W) is taken for a feature map.
        """
        is_map = len(shape) == 2 + len(self.axes)
        sizes = shape[2:] if is_map else [1] * len(self.axes)
        axes = {name: Axis(n, (axis.whole,), jump=0) for (name, axis), n in zip(self.axes.items(), sizes, strict=True)}
        layout = standard_layout(shape, axes) if is_map else tuple(map(channels, shape))
        seen = hull(self.seen).expand(-1, *sizes)
        return Field(axes, layout, seen, self.source, rough=self.rough or bool(self.pieces))

    def everywhere(self, value: Field) -> Field:
        """Of a tensor of the same layout, each of whose units looks at what the single unit of `value` looks at."""
        axes = {name: Axis(axis.n, (value.axes[name].whole,), jump=0) for name, axis in self.axes.items()}
        return replace(self, axes=axes, seen=value.seen.expand_as(self.seen), pieces=None, rough=False)

    def sees_the_same(self, other: Field) -> bool:
        """Whether every unit of every channel looks at the same pixels."""
        if self.axes != other.axes or not torch.equal(self.seen, other.seen):
            return False
        if bool(self.pieces) != bool(other.pieces) or self.rough or other.rough:
            return False
        return not self.pieces or (
            torch.equal(self.pieces.labels, other.pieces.labels)
            and all(map(Field.sees_the_same, self.pieces.fields, other.pieces.fields))
        )


def stretched(x: Field, shape: Sequence[int]) -> Field:
    """`x` repeated for a tensor of this shape; single units for a feature map, where there is room."""
    layout = ((),) * (len(shape) - len(x.layout)) + x.layout
    axes, seen, first = dict(x.axes), x.seen, len(shape) - len(x.axes)  # the dimension of the first axis
    parts = []
    for dim, (content, n) in enumerate(zip(layout, shape, strict=True)):
        name = list(axes)[dim - first] if dim >= first >= 2 else None
        if name is not None and content == () and n > 1 and x.astray:
            raise Refused(ASTRAY)
        if name is not None and content == () and axes[name].n == 1 < n:
            axes[name] = Axis(n, (axes[name].interval(0),), jump=0)
            seen = seen.repeat_interleave(n, 1 + dim - first)
            content = along(name, axes[name])
        parts.append(content if has_axis(content) else channels(n))
    pieces = channel_shape(tuple(parts)) and x.pieces
    if pieces:
        labels = pieces.labels.expand(channel_shape(tuple(parts)))
        pieces = Pieces(labels, tuple(stretched(replace(field, layout=x.layout), shape) for field in pieces.fields))
    return Field(axes, tuple(parts), seen, x.source, pieces or None, x.astray, x.rough or bool(x.pieces and not pieces))


def promoted(x: Field) -> Field:
    """Channels that stand where an axis would, along which all units see the same, are taken for its units."""
    first = len(x.layout) - len(x.axes)
    names = list(x.axes) if first >= 2 else []
    stray = [
        i for i, name in enumerate(names)
        if x.axes[name].n == 1 and x.layout[first + i] and not has_axis(x.layout[first + i])
    ]  # fmt: skip
    if not stray:
        return x
    if x.astray:
        raise Refused(ASTRAY)
    if x.rough or (x.pieces and any(x.pieces.labels.shape[first + i] > 1 for i in stray)):
        raise Refused("takes channels for units of a feature map that look at different pixels")
    axes, layout, seen = dict(x.axes), list(x.layout), x.seen
    for i in stray:
        axes[names[i]] = Axis(math.prod(layout[first + i]), (axes[names[i]].interval(0),), jump=0)
        seen = seen.repeat_interleave(axes[names[i]].n, 1 + i)
        layout[first + i] = along(names[i], axes[names[i]])
    pieces = x.pieces
    if pieces:
        fields = [promoted(replace(field, layout=x.layout, pieces=None)) for field in pieces.fields]
        pieces = Pieces(pieces.labels, tuple(fields))
    return Field(axes, tuple(layout), seen, x.source, pieces)


def hull(seen: Tensor) -> Tensor:
    """What all units see together: (2 * axes, 1, 1)."""
    return seen.amax(tuple(range(1, seen.ndim)), keepdim=True)


def widest(seen: Tensor, dim: int, taps: Tensor) -> Tensor:
    """The boxes around those at positions `taps` (n_out, k) along `dim`."""
    if len(taps) < taps.shape[1]:
        return pick(seen, dim, taps).amax(dim + 1)
    # one tap after the other: a feature map takes no more memory than it has
    return functools.reduce(torch.maximum, (pick(seen, dim, tap[:, None]).squeeze(dim + 1) for tap in taps.unbind(1)))


def pick(seen: Tensor, dim: int, taps: Tensor) -> Tensor:
    """`seen` at positions `taps` (n_out, k) along `dim`, which becomes two; outside nothing is seen."""
    n = seen.shape[dim]
    picked = seen.index_select(dim, taps.clamp(0, n - 1).flatten()).unflatten(dim, taps.shape)
    outside = ((taps < 0) | (taps >= n)).view(*taps.shape, *[1] * (seen.ndim - dim - 1))
    return picked.masked_fill(outside, -math.inf) if outside.any() else picked


# ------------------------------------------------------------------------------------------------------ layouts


def size(part: Part | int) -> int:
    return part.n if isinstance(part, Part) else part


def has_axis(dim: tuple[Part | int, ...]) -> bool:
    return any(isinstance(part, Part) for part in dim)


def channels(n: int) -> tuple[int, ...]:
    """What a dimension holds that runs along no axis of the image."""
    return (n,) if n > 1 else ()


def along(name: str, axis: Axis) -> tuple[Part, ...]:
    """What a dimension holds that runs along an axis of the image alone."""
    return (Part(name, axis.n, 1),) if axis.n > 1 else ()


def standard_layout(shape: Sequence[int], axes: Mapping[str, Axis]) -> Layout:
    """Of (N, C, H, W), (N, C, L) or (N, C, D, H, W)."""
    return (channels(shape[0]), channels(shape[1]), *[along(name, axis) for name, axis in axes.items()])


def refit(layout: Layout, shape: Sequence[int]) -> Layout:
    """The layout with its numbers of channels those of `shape`."""
    return tuple(dim if has_axis(dim) else channels(n) for dim, n in zip(layout, shape, strict=True))


def channel_shape(layout: Layout) -> list[int] | None:
    """The sizes of the dimensions that hold channels, and 1 for the others; None where one holds both."""
    if any(has_axis(dim) and any(isinstance(part, int) for part in dim) for dim in layout):
        return None
    return [1 if has_axis(dim) else math.prod(map(size, dim)) for dim in layout]


ASTRAY = "is given a feature map with a single unit along an axis, transposed; transpose it back before"


def axis_at(x: Field, dim: int) -> str | None:
    """The axis of the image that a dimension of the tensor runs along; None if it holds channels."""
    content, names, back = x.layout[dim], list(x.axes), len(x.layout) - dim
    if content == () and x.astray:
        raise Refused(ASTRAY)
    if content == () and 0 < back <= len(names) and x.axes[names[-back]].n == 1:
        return names[-back]  # a single unit: the axis stands where torch expects it
    if not has_axis(content):
        return None
    if len(content) > 1 or content[0].n < x.axes[content[0].axis].n:
        raise Refused(f"dimension {dim} of its input holds parts of axes, as of a torn or flattened feature map")
    return content[0].axis


def collapse(x: Field, dims: Sequence[int]) -> tuple[Field, dict[str, Window]]:
    """The field of a value that takes in whole dimensions: on their axes a window over all units."""
    parts = [part for dim in dims for part in x.layout[dim] if has_axis((part,))]
    windows = {}
    for name in dict.fromkeys(part.axis for part in parts):
        n = x.axes[name].n
        if math.prod(part.n for part in parts if part.axis == name) < n:
            raise Refused("takes in a part of a torn feature map")
        windows[name] = Window.sliding(n, n, (0, 0), 1, 1)
    return x.slide(windows), windows


class Step(NamedTuple):
    """What a function does to a field. With windows, however few of them, it has a row in the table."""

    before: Field
    after: Field
    windows: Mapping[str, Window] | None = None
    note: str = ""
