"""The fields of a feature map's units: an interval of pixels along each axis, and the box of each unit in the image.

Two things are stored of every feature map. The one is the field by the formulas: an interval of input pixels on each
axis, that moves by a constant jump from one unit to the next (Dumoulin & Visin 2016, arXiv:1603.07285; Araujo, Norris
& Sim 2019, "Computing Receptive Fields of Convolutional Neural Networks", Distill). Padding lies outside the image,
so it can be negative. The other is the box of every single unit inside the image, found by running the network's
windows on boxes instead of numbers: the box of a window is the smallest box around the boxes in it, and padding has
none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor


class ReceptiveFieldError(ValueError):
    """The receptive field cannot be given; the message says why, where, and what to do."""


class UnsupportedLayer(ReceptiveFieldError):
    """A layer of unknown effect on the field, or of none that holds for all units. Has `.layer`, `.kind`."""

    def __init__(self, layer: str, kind: str, reason: str):
        self.layer, self.kind = layer, kind
        super().__init__(f"layer {layer!r} ({kind}): {reason}")


class UnequalJumps(ReceptiveFieldError):
    """Branches merge whose units are different numbers of pixels apart. Has `.layer` and `.branches`."""

    def __init__(self, layer: str, axis: str, branches: list[tuple[str, int]]):
        self.layer, self.branches = layer, [name for name, _ in branches]
        jumps = ", ".join(f"{name!r} has jump {jump}" for name, jump in branches)
        super().__init__(
            f"merge {layer!r}: unequal jumps along {axis}: {jumps}; such feature maps drift apart from unit to unit. "
            "Give all branches the same total stride."
        )


class Refused(Exception):
    """Why a function cannot be followed. The tracer adds which layer it is, and makes an UnsupportedLayer of it."""


Interval = tuple[int, int]  # first and last pixel, both inside


class UnitBox(NamedTuple):
    """The pixels that one unit looks at: an interval (first, last) an axis, H before W, both ends inside."""

    unclipped: tuple[Interval, ...]  # by the formulas; runs into the padding
    clipped: tuple[Interval, ...] | None  # what lies in the image and is really connected; None if nothing is


class Window(NamedTuple):
    """What a convolution, a pooling, a padding or a crop does along one axis."""

    k: int
    s: int
    p: tuple[int, int]  # units of padding before and after; negative where units are cut off
    d: int
    n_out: int


@dataclass(frozen=True)
class Axis:
    """The fields along one axis of a feature map: unit i looks at the pixels lo + i * jump to hi + i * jump.

    `shared` are pixels that all units look at besides, as after a gate that is pooled from the whole map. Sizes then
    differ from unit to unit, so the field of each is taken to be the one around all of them.
    """

    n: int
    lo: int
    hi: int
    jump: int
    shared: Interval | None = None

    def interval(self, unit: int) -> Interval:
        if self.shared is None:
            return self.lo + self.jump * unit, self.hi + self.jump * unit
        return min(self.lo, self.shared[0]), max(self.hi + self.jump * (self.n - 1), self.shared[1])

    @property
    def size(self) -> int:
        first, last = self.interval(0)
        return last - first + 1

    @property
    def centre(self) -> int | float:
        """Of the first unit's field; a whole number is an int."""
        whole, odd = divmod(sum(self.interval(0)), 2)
        return whole + 0.5 if odd else whole

    def slide(self, window: Window) -> Axis:
        """The field after a window: r + (k - 1) * d * jump wide, and shifted by the padding before it."""
        lo = self.lo - window.p[0] * self.jump
        hi = self.hi + ((window.k - 1) * window.d - window.p[0]) * self.jump
        return Axis(window.n_out, lo, hi, self.jump * window.s, self.shared)


Layout = tuple[tuple[int | str, ...], ...]


@dataclass(frozen=True)
class Field:
    """The fields of all units of one tensor.

    layout: for each dimension of the tensor, what it runs over, slowest first: axes of the image by name, and
        numbers of channels or images. (N, C, H, W) is ((N,), (C,), ("H",), ("W",)), and flattened
        ((N,), (C, "H", "W")). Sizes of 1 are left out, so an axis with a single unit stands in no dimension.
    seen: (2 * axes, n_H, n_W): of the unit at each place the first pixels, negated, then the last ones, so
        that the box around two boxes is their maximum; -inf for a unit that sees nothing.
    """

    axes: dict[str, Axis]
    layout: Layout
    seen: Tensor
    source: str  # the layer it comes from

    @classmethod
    def of_image(cls, shape: Sequence[int]) -> Field:
        sizes = dict(zip("HW" if len(shape) == 4 else "L", shape[2:], strict=True))
        pixels = torch.stack(torch.meshgrid(*[torch.arange(float(n)) for n in sizes.values()], indexing="ij"))
        axes = {name: Axis(n, lo=0, hi=0, jump=1) for name, n in sizes.items()}
        layout = tuple((part,) if n > 1 else () for part, n in zip((*shape[:2], *axes), shape, strict=True))
        return cls(axes, layout, torch.cat([-pixels, pixels]), "input")

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(math.prod(self.size(part) for part in dim) for dim in self.layout)

    def size(self, part: int | str) -> int:
        return self.axes[part].n if isinstance(part, str) else part

    def box(self, unit: tuple[int, ...]) -> UnitBox:
        sizes = tuple(axis.n for axis in self.axes.values())
        if len(unit) != len(sizes) or not all(0 <= i < n for i, n in zip(unit, sizes, strict=True)):
            raise IndexError(f"unit {unit} is not on the feature map of {sizes} units")
        unclipped = tuple(axis.interval(i) for axis, i in zip(self.axes.values(), unit, strict=True))
        first, last = self.seen[(slice(None), *unit)].chunk(2)
        if last.isneginf().any():
            return UnitBox(unclipped, None)
        return UnitBox(unclipped, tuple((int(-lo), int(hi)) for lo, hi in zip(first, last, strict=True)))

    def slide(self, windows: dict[str, Window]) -> Field:
        """The field after windows along some axes; the layout is left for the caller to set."""
        axes, seen = dict(self.axes), self.seen
        for dim, (name, axis) in enumerate(self.axes.items(), start=1):
            if name in windows:
                k, s, (before, _), d, n_out = windows[name]
                taps = torch.arange(n_out)[:, None] * s - before + torch.arange(k) * d  # (n_out, k)
                seen = pick(seen, dim, taps).amax(dim + 1)
                axes[name] = axis.slide(windows[name])
        return replace(self, axes=axes, seen=seen)


def pick(seen: Tensor, dim: int, taps: Tensor) -> Tensor:
    """`seen` at positions `taps` (n_out, k) along `dim`, which becomes two; outside nothing is seen."""
    n = seen.shape[dim]
    picked = seen.index_select(dim, taps.clamp(0, n - 1).flatten()).unflatten(dim, taps.shape)
    outside = ((taps < 0) | (taps >= n)).view(*taps.shape, *[1] * (seen.ndim - dim - 1))
    return picked.masked_fill(outside, -math.inf)


def has_axis(dim: tuple[int | str, ...]) -> bool:
    return any(isinstance(part, str) for part in dim)


def channels(n: int) -> tuple[int, ...]:
    """What a dimension holds that runs along no axis of the image."""
    return (n,) if n > 1 else ()


class Step(NamedTuple):
    """What a function does to a field. With windows, however few of them, it has a row in the table."""

    before: Field
    after: Field
    windows: dict[str, Window] | None = None
    note: str = ""
