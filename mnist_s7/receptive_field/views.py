"""What functions of torch that only move values do to the field of their input: views, crops, repetitions.

The rules are called as those in `layers` are; those with `func` also get the function itself, to try it on numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mnist_s7.receptive_field.axes import Axis
from mnist_s7.receptive_field.errors import Refused
from mnist_s7.receptive_field.fields import (
    Field,
    Part,
    Pieces,
    Step,
    along,
    axis_at,
    channels,
    has_axis,
    size,
    stretched,
)
from mnist_s7.receptive_field.pieces import LOST, by_piece, in_pieces
from mnist_s7.receptive_field.windows import Window


def permute(x: Field, out: Tensor, func: Callable, *args, **kwargs) -> Step:
    probe = torch.empty(*range(2, 2 + len(x.layout)), device="meta")  # sizes tell the dimensions apart
    order = [n - 2 for n in func(probe, *args, **kwargs).shape]
    y = replace(x.laid_out(tuple(x.layout[dim] for dim in order)), astray=astray(x, order))
    return Step(x, by_piece(x, y, lambda field: field, lambda labels: labels.permute(order)))


def astray(x: Field, order: Sequence[int]) -> tuple[tuple[str, int], ...]:
    """After a permutation: the axes with one unit that are not in the dimension where torch expects them."""
    first = len(x.layout) - len(x.axes)
    if first != 2:
        return x.astray
    home = {name: first + i for i, name in enumerate(x.axes) if x.axes[name].n == 1}
    now = {name: order.index(dim) for name, dim in (home | dict(x.astray)).items()}
    return tuple((name, dim) for name, dim in now.items() if dim != home.get(name))


def reshape(x, out, *_, **__) -> Step:
    """Views in row-major order: the parts of the layout are dealt out again to the new sizes."""
    torn = Refused(f"from {x.shape} to {tuple(out.shape)} it tears the feature map apart")
    parts = [part for dim in x.layout for part in dim]
    layout = []
    for n in out.shape:
        content = []
        while n > 1:
            if not parts:  # a view as numbers of fewer bytes
                raise torn
            part = parts.pop(0)
            while isinstance(part, int) and parts and isinstance(parts[0], int):
                part *= parts.pop(0)  # neighbouring channels are one run of channels
            if n % size(part) == 0:
                content.append(part)
                n //= size(part)
            elif size(part) % n == 0:  # the slower part of it
                rest = size(part) // n
                slow = n if isinstance(part, int) else Part(part.axis, n, part.step * rest)
                content.append(slow)
                parts.insert(0, rest if isinstance(part, int) else Part(part.axis, rest, part.step))
                n = 1
            else:
                raise torn
        layout.append(joined(content))
    y = x.laid_out(tuple(layout))
    if all(axis.n == 1 for axis in x.axes.values()):  # a vector, wherever its axes stood
        y = replace(y, astray=())
    return Step(x, by_piece(x, y, lambda field: field))


def joined(content: Sequence[Part | int]) -> tuple[Part | int, ...]:
    """Neighbouring parts of one axis made one again."""
    whole = []
    for part in content:
        last = whole[-1] if whole else None
        if isinstance(part, Part) and isinstance(last, Part) and last[::2] == (part.axis, part.n * part.step):
            whole[-1] = Part(part.axis, last.n * part.n, part.step)
        else:
            whole.append(part)
    return tuple(whole)


def is_torn(x: Field) -> bool:
    """Whether its dimensions hold parts of axes, or axes together with channels, as after a view of a view."""
    parts = [(part, dim) for dim in x.layout[1:] for part in dim if isinstance(part, Part)]
    return any(part.n < x.axes[part.axis].n or any(isinstance(other, int) for other in dim) for part, dim in parts)


def settled(x: Field, own: Pieces | None = None) -> Step | None:
    """A torn feature map that stands as (N, C, H, W) again is a new one: space to channels, or channels to space.

    Each unit of the new one looks at the units of the old one at its place, whichever channel they went to. None if
    it does not stand so. own: the fields of its channels, if they differ.
    """
    names = list(x.axes)
    if len(x.layout) != 2 + len(names) or has_axis(x.layout[0]):
        return None
    places = {}  # of each axis: the unit of the old one at each place along its dimension
    for name, dim in zip(names, x.layout[2:], strict=True):
        if {part.axis for part in dim if isinstance(part, Part)} - {name}:
            return None
        if (x.rough or own) and any(isinstance(part, int) for part in dim):
            raise Refused(LOST)
        places[name] = counted(dim, name)
    offsets = [counted(x.layout[1], name) for name in names]  # how far from it that of each channel is

    def looking(field: Field, offsets: Sequence[Sequence[int]]) -> tuple[Field, dict[str, Window]]:
        windows = {
            name: regular([[unit + other for other in sorted({*others})] for unit in places[name]], x.axes[name].n)
            for name, others in zip(names, offsets, strict=True)
        }
        return field.slide(windows), windows

    y, windows = looking(x, offsets)
    front = (x.layout[0], channels(len(offsets[0])))
    y = y.laid_out((*front, *[along(name, axis) for name, axis in y.axes.items()]))
    labels = own.labels.flatten().tolist() if own else [0] * len(offsets[0])
    kind_of = [*zip(labels, *offsets, strict=True)] if len(labels) == len(offsets[0]) else []
    kinds = {kind: number for number, kind in enumerate(dict.fromkeys(kind_of))}
    if 1 < len(kinds) <= MOST_OFFSETS:
        fields = [looking(own.fields[label] if own else x, [[at] for at in one])[0] for label, *one in kinds]
        number = torch.tensor([kinds[kind] for kind in kind_of]).view(1, -1, *[1] * len(names))
        y = in_pieces(y, number, fields)
    elif len(kinds) > 1:
        y = replace(y, rough=True)
    return Step(x, y, windows)


MOST_OFFSETS = 64  # of more channels that look at different pixels, only what they look at together is known


def counted(dim: Sequence[Part | int], axis: str) -> list[int]:
    """The unit of an axis at each place along a dimension that holds parts of it."""
    units = [0]
    for part in dim:
        step = part.step if isinstance(part, Part) and part.axis == axis else 0
        units = [unit + i * step for unit in units for i in range(size(part))]
    return units


def regular(units: Sequence[Sequence[int]], n_in: int) -> Window:
    """The window with these taps: a sliding one if they are those of one."""
    window = Window.resampled(units, n_in)
    first = units[0]
    step = units[1][0] - first[0] if len(units) > 1 else n_in
    d = first[1] - first[0] if len(first) > 1 else 1
    sliding = Window.sliding(len(first), step, (-first[0], 0), d, len(units)) if step > 0 and d > 0 else window
    return sliding if torch.equal(sliding.units(), window.units()) else window


def expand(x, out, *_, **__) -> Step:
    """Single units are repeated for a whole feature map where they stand for one, and channels elsewhere."""
    return Step(x, stretched(x, out.shape))


def move(x: Field, out: Tensor, func: Callable, *args, **kwargs) -> Step:
    """Flips, rolls, repetitions and selections, by what they do to the numbers of the places in each dimension."""
    new = out.ndim - len(x.layout)
    layout, windows = [()] * new, {}
    for dim, content in enumerate(x.layout):
        shape = [n if d == dim else 1 for d, n in enumerate(x.shape)]
        device = "cpu" if out.is_meta else out.device
        numbers = torch.arange(x.shape[dim], device=device).view(shape).expand(x.shape)
        moved = func(numbers, *args, **kwargs)
        line = moved[tuple(slice(None) if d == dim + new else slice(1) for d in range(out.ndim))]
        if moved.shape != out.shape or not torch.equal(line.expand_as(moved), moved):
            raise Refused("moves values from one dimension to another")
        units = line.flatten().tolist()
        if units == list(range(x.shape[dim])):
            layout.append(content)
        elif not has_axis(content):
            if x.rough and {*units} != {*range(x.shape[dim])}:
                raise Refused(LOST)
            layout.append(channels(len(units)) if content else ())
        else:
            name = axis_at(x, dim)
            windows[name] = regular([[unit] for unit in units], x.axes[name].n)
            layout.append(along(name, Axis(len(units), (), 0)))
    y = stretched(x.slide(windows).laid_out(tuple(layout)), out.shape)

    def moved_labels(labels: Tensor) -> Tensor:
        return func(labels.expand(x.shape), *args, **kwargs)[tuple(slice(1 if has_axis(d) else None) for d in layout)]

    return Step(x, by_piece(x, y, lambda field: field.slide(windows), moved_labels), windows or None)


def getitem(x: Field, out: Tensor, index) -> Step:
    """Whole numbers and slices: on channels they change nothing, along the feature map they are a crop."""
    index = index if isinstance(index, tuple) else (index,)
    if not all(item is None or item is ... or type(item) in (int, slice) for item in index):
        return move(x, out, lambda numbers: numbers[index])
    if not any(item is ... for item in index):
        index = (*index, ...)
    taken = sum(item is not None and item is not ... for item in index)
    at = index.index(...)
    whole = (slice(None),) * (len(x.layout) - taken)
    index = (*index[:at], *whole, *index[at + 1 :])
    contents = list(x.layout)
    layout, windows, of_labels = [], {}, []
    for item in index:
        if item is None:
            layout.append(())
            of_labels.append(None)
            continue
        content = contents.pop(0)
        along_map = has_axis(content)
        n = math.prod(map(size, content))
        taps = range(n)[item if isinstance(item, slice) else slice(item % n, item % n + 1)]
        if len(taps) == 0:
            raise Refused("takes nothing of the feature map")
        if x.rough and len(taps) < n and any(isinstance(part, int) for part in content):
            raise Refused(LOST)
        if not has_axis(content):
            content = channels(len(taps))
        elif len(taps) < n:
            name, cut = axis_at(x, len(x.layout) - len(contents) - 1), (taps[0], n - 1 - taps[-1])
            windows[name] = Window.sliding(1, taps.step, (-cut[0], -cut[1]), 1, len(taps))
            content = along(name, Axis(len(taps), (), 0))
        if isinstance(item, slice):
            layout.append(content)
        if along_map:  # where labels have one place
            item = slice(None) if isinstance(item, slice) else 0
        of_labels.append(item)
    y = by_piece(
        x,
        x.slide(windows).laid_out(tuple(layout)),
        lambda field: field.slide(windows),
        lambda labels: labels[tuple(of_labels)],
    )
    return Step(x, y, windows or None)


def narrow(x, out, dim, start, length) -> Step:
    start %= x.shape[dim]
    return getitem(x, out, (*[slice(None)] * (dim % len(x.layout)), slice(start, start + length)))


def select(x, out, dim, index) -> Step:
    return getitem(x, out, (*[slice(None)] * (dim % len(x.layout)), index))


def split(x, out, sections, dim=0) -> list[Step]:
    steps, start = [], 0
    for piece in out:
        steps.append(narrow(x, piece, dim, start, piece.shape[dim]))
        start += piece.shape[dim]
    return steps


def unbind(x, out, dim=0) -> list[Step]:
    return [select(x, piece, dim, index) for index, piece in enumerate(out)]


def pixel_unshuffle(x, out, downscale_factor) -> Step:
    """(N, C, r H, r W) -> (N, C r r, H, W), as the same by views."""
    inner, outer = [], []
    for name in axes_of(x, 2):
        n = x.axes[name].n
        outer.append((Part(name, n // downscale_factor, downscale_factor),) if n > downscale_factor else ())
        inner += [Part(name, downscale_factor, 1)] if downscale_factor > 1 else []
    own = x.pieces
    if x.rough:
        raise Refused(LOST)
    if own:
        own = Pieces(own.labels.repeat_interleave(downscale_factor**2, 1), own.fields)
    return settled(x.laid_out((x.layout[0], (*x.layout[1], *inner), *outer)), own)


def pixel_shuffle(x, out, upscale_factor) -> Step:
    """(N, C r r, H, W) -> (N, C, r H, r W): each unit becomes r x r units, of channels of its own."""
    names = axes_of(x, 2)
    taps = ((0,),) * upscale_factor
    windows = {name: Window(1, (0, 0), 1, out.shape[2 + i], taps, 1) for i, name in enumerate(names)}
    y = x.slide(windows)
    y = y.laid_out((x.layout[0], channels(out.shape[1]), *[along(name, axis) for name, axis in y.axes.items()]))
    if not x.pieces and not x.rough:
        return Step(x, y, windows)
    labels = x.pieces.labels.unflatten(1, (out.shape[1], -1)) if x.pieces else None
    if labels is None or not torch.equal(labels, labels[:, :, :1].expand_as(labels)):
        raise Refused("puts channels side by side that look at different pixels")
    return Step(x, by_piece(x, y, lambda field: field.slide(windows), lambda _: labels[:, :, 0]), windows)


def axes_of(x: Field, rank: int) -> list[str]:
    """The axes of a feature map (N, C, H, W)."""
    names = [axis_at(x, dim) for dim in range(len(x.layout) - rank, len(x.layout))]
    if len(x.layout) != 2 + rank or None in names or has_axis(x.layout[0]) or has_axis(x.layout[1]):
        raise Refused("is given no feature map (N, C, H, W)")
    return names
