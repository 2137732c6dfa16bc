"""The field around several fields: of an axis, and of whole feature maps."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mnist_s7.receptive_field.axes import NOTHING, Axis, around
from mnist_s7.receptive_field.errors import UnequalJumps
from mnist_s7.receptive_field.fields import Field, hull


def maps_among(operands: Sequence[Field]) -> Sequence[Field]:
    """Those whose units look at different pixels; all of them where none does."""
    return [x for x in operands if not x.is_constant] or operands


def combine(operands: Sequence[Field], layer: str) -> tuple[dict[str, Axis], Tensor, list[str]]:
    """Axes and boxes around those of some fields, and what is to be noted of them."""
    maps = maps_among(operands)
    constants = [x for x in operands if not any(x is one for one in maps)]
    axes, notes = {}, []
    for name in operands[0].axes:
        branches = [(x.source, x.axes[name]) for x in maps]
        axes[name], note = along_axis(branches, [x.axes[name] for x in constants], name, layer)
        notes += note
    seen = functools.reduce(torch.maximum, [x.seen for x in maps] + [hull(x.seen) for x in constants])
    return axes, seen, notes


def together(operands: Sequence[Field]) -> Field:
    """Of a single value that looks at all that the operands look at."""
    axes = {name: Axis(1, (around([x.axes[name].whole for x in operands]),), jump=0) for name in operands[0].axes}
    seen = functools.reduce(torch.maximum, [hull(x.seen) for x in operands])
    return Field(axes, (), seen, operands[0].source)


def along_axis(
    branches: Sequence[tuple[str, Axis]], constant: Sequence[Axis], name: str, layer: str
) -> tuple[Axis, list[str]]:
    """The fields around those of (source, axis) along one axis, and what is to be noted of them.

    constant: what all units look at besides.
    """
    n = max(axis.n for _, axis in branches)
    moving = [(source, axis) for source, axis in branches if axis.n == n and axis.jump]
    constant = [*constant, *[axis for _, axis in branches if axis.n < n or not axis.jump]]
    constant = [axis for axis in constant if axis.whole != NOTHING]
    if not moving:
        return Axis(n, (around([axis.whole for axis in constant]),), jump=0), []
    jumps = {axis.pixels_per_unit: (source, axis.pixels_per_unit) for source, axis in reversed(moving)}
    maps = sorted((axis for _, axis in moving), key=lambda axis: (len(axis.fields), -axis.jump))
    period = math.lcm(*[len(axis.fields) for axis in maps])
    if n > 1 and len(jumps) > 1:
        if all(len(axis.fields) == 1 for axis in maps):
            raise UnequalJumps(layer, name, sorted(jumps.values()))
        period = n  # resized to one size: the boxes drift apart, but each is known
    fields = tuple(around([axis.moving(unit) for axis in maps]) for unit in range(period))
    shared = [axis.whole for axis in constant] + [axis.shared for axis in maps if axis.shared]
    notes = []
    if period == n and len(jumps) > 1:
        notes.append(f"unequal jumps along {name}: {' and '.join(map(str, sorted(jumps)))}, so that sizes vary")
    centres = sorted({axis.centre for axis in maps if axis.centre is not None})
    if not shared and period == 1 and len(centres) > 1:
        text = " and ".join(map(str, centres))
        notes.append(f"misaligned along {name}: the branches' first fields have their centres at {text}")
    if n > 1 and shared and not all(axis.shared for axis in maps):
        notes.append("every unit also sees what the branch with one value for the whole feature map sees")
    axis = Axis(n, fields, maps[0].jump * period // len(maps[0].fields), around(shared) if shared else None)
    return axis.shortened(), notes
