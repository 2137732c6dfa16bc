"""What becomes of the fields of several feature maps that are added, multiplied, concatenated or compared."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace

import torch

from mnist_s7.receptive_field.fields import Axis, Field, Layout, Refused, Step, UnequalJumps, channels, has_axis


def merge(operands: Sequence[Field], shape: Sequence[int], layer: str) -> Step:
    """The smallest field around those of all operands. With a row in the table where these differ.

    An operand with a single unit along an axis where others have more is the same for all their units.
    """
    layout = broadcast(operands, shape)
    axes, notes = {}, []
    for name in operands[0].axes:
        axes[name], note = around([(x.source, x.axes[name]) for x in operands], name, layer)
        notes += note
    seen = functools.reduce(torch.maximum, [x.seen for x in operands])
    y = Field(axes, layout, seen, operands[0].source)
    differ = len({tuple(x.axes.values()) for x in operands}) > 1
    widest = max(operands, key=lambda x: [axis.size for axis in x.axes.values()])
    x = replace(widest, axes={a: replace(widest.axes[a], n=axes[a].n, jump=axes[a].jump) for a in axes})
    return Step(x, y, {} if differ else None, "; ".join(dict.fromkeys(notes)))


def around(branches: list[tuple[str, Axis]], name: str, layer: str) -> tuple[Axis, list[str]]:
    """The fields around those of (source, axis) along one axis, and what is to be noted of them."""
    n = max(axis.n for _, axis in branches)
    moving = [(source, axis) for source, axis in branches if axis.n == n]
    jumps = {axis.jump: (source, axis.jump) for source, axis in reversed(moving)}
    if n > 1 and len(jumps) > 1:
        raise UnequalJumps(layer, name, sorted(jumps.values()))
    maps = [axis for _, axis in moving]
    single = [axis.interval(0) for _, axis in branches if axis.n < n]
    shared = single + [axis.shared for axis in maps if axis.shared]
    notes = []
    centres = sorted({axis.centre for axis in maps})
    if not shared and len(centres) > 1:
        text = " and ".join(map(str, centres))
        notes.append(f"misaligned along {name}: the branches' first fields have their centres at {text}")
    if n > 1 and shared and not all(axis.shared for axis in maps):
        notes.append("every unit also sees what the branch with one value for the whole feature map sees")
    whole = (min(first for first, _ in shared), max(last for _, last in shared)) if shared else None
    return Axis(n, min(a.lo for a in maps), max(a.hi for a in maps), max(jumps), whole), notes


def broadcast(operands: Sequence[Field], shape: Sequence[int]) -> Layout:
    """The layout of an output of this shape: in each dimension the axis that an operand has there, or channels."""
    layout = []
    for back in range(len(shape), 0, -1):
        contents = {x.layout[-back] for x in operands if back <= len(x.layout) and has_axis(x.layout[-back])}
        if len(contents) > 1:
            raise Refused(f"different axes of the image meet in dimension {len(shape) - back}")
        layout.append(contents.pop() if contents else channels(shape[-back]))
    located = [part for content in layout for part in content if isinstance(part, str)]
    if len(located) > len(set(located)):
        raise Refused("an axis of the image meets itself in another dimension")
    return tuple(layout)


def concatenate(operands: Sequence[Field], shape: Sequence[int], new: bool, layer: str, dim=0, axis=None, **_) -> Step:
    """`cat` along a dimension that there is, `stack` along a new one."""
    dim = (dim if axis is None else axis) % len(shape)
    if new:
        operands = [replace(x, layout=(*x.layout[:dim], (), *x.layout[dim:])) for x in operands]
    if any(has_axis(x.layout[dim]) for x in operands):
        raise Refused("merges feature maps along an axis of the image, so that units differ in their fields")
    return merge(operands, shape, layer)
