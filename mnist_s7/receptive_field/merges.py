"""What becomes of the fields of several feature maps that are added, multiplied, concatenated or compared."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mnist_s7.receptive_field.errors import Refused, UnequalJumps, Unknown
from mnist_s7.receptive_field.fields import (
    NOTHING,
    Axis,
    Field,
    Layout,
    Part,
    Pieces,
    Step,
    around,
    axis_at,
    channel_shape,
    channels,
    collapse,
    has_axis,
    hull,
    refit,
)


def merge(operands: Sequence[Field], shape: Sequence[int], layer: str) -> Step:
    """The smallest field around those of all operands. With a row in the table where these differ.

    An operand whose units all look at the same pixels, as a gate's, adds these to all units of the others.
    """
    if len(operands) == 1 and operands[0].shape == tuple(shape):
        return Step(operands[0], operands[0])
    maps = maps_among(operands)
    axes, seen, notes = combine(operands, layer)
    y = Field(axes, broadcast(maps, shape), seen, maps[0].source)
    differ = len({tuple(x.axes.values()) for x in operands}) > 1
    widest = max(maps, key=lambda x: [axis.size for axis in x.axes.values()])
    return Step(widest, merge_pieces(operands, y, layer), {} if differ else None, "; ".join(dict.fromkeys(notes)))


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


def broadcast(operands: Sequence[Field], shape: Sequence[int]) -> Layout:
    """The layout of an output of this shape: in each dimension the axis that an operand has there, or channels."""
    layout = []
    for back in range(len(shape), 0, -1):
        contents = {x.layout[-back] for x in operands if back <= len(x.layout) and has_axis(x.layout[-back])}
        if len(contents) > 1:
            raise Refused(f"different axes of the image meet in dimension {len(shape) - back}")
        layout.append(contents.pop() if contents else channels(shape[-back]))
    located = [part for content in layout for part in content if isinstance(part, Part)]
    if len(located) > len(set(located)):
        raise Refused("an axis of the image meets itself in another dimension")
    return tuple(layout)


def concatenate(
    operands: Sequence[Field | None], lengths: Sequence[int], shape: Sequence[int], new: bool, dim: int, layer: str
) -> Step:
    """`cat` along a dimension that there is, `stack` along a new one.

    operands: their fields, None of those that do not depend on the image; lengths: their sizes along `dim`.
    """
    dim %= len(shape)
    if new:
        operands = [x and x.laid_out((*x.layout[:dim], (), *x.layout[dim:])) for x in operands]
    followed = [x for x in operands if x]
    if any(has_axis(x.layout[dim]) or (dim >= 2 and axis_at(x, dim) and not x.is_constant) for x in followed):
        raise Refused("concatenates feature maps along an axis of the image, so that units differ in their fields")
    step = merge([replace(x, pieces=None) for x in followed], shape, layer)
    after = replace(step.after, pieces=None)
    labels, fields = [], []
    for x, length in zip(operands, lengths, strict=True):
        own = x.pieces if x else None
        sizes = [1 if has_axis(part) else n for part, n in zip(after.layout, after.shape, strict=True)]
        sizes[dim] = length
        one = torch.zeros(sizes, dtype=torch.long) if own is None else own.labels.expand(sizes)
        labels.append(one + len(fields))
        fields += own.fields if own else [x or nothing_like(after)]
    return step._replace(after=in_pieces(after, torch.cat(labels, dim), fields, layer))


# ------------------------------------------------------------------------- channels that look at different pixels


def nothing_like(x: Field) -> Field:
    """The field of a tensor that does not depend on the image."""
    axes = {name: Axis(axis.n, (NOTHING,), jump=0) for name, axis in x.axes.items()}
    return replace(x, axes=axes, seen=torch.full_like(x.seen, -math.inf), pieces=None)


def in_pieces(x: Field, labels: Tensor, fields: Sequence[Field], layer: str = "") -> Field:
    """`x` of channels with these labels: it looks at what those fields look at that have a channel."""
    used = labels.unique().tolist()
    fields = [replace(fields[label], layout=x.layout, pieces=None) for label in used]
    if all(field.sees_the_same(fields[0]) for field in fields[1:]):
        return replace(x, axes=fields[0].axes, seen=fields[0].seen, pieces=None)
    axes, seen, _ = combine(fields, layer)
    number = torch.zeros(max(used) + 1, dtype=torch.long)
    number[used] = torch.arange(len(used))
    return replace(x, axes=axes, seen=seen, pieces=Pieces(number[labels], tuple(fields)))


def by_piece(
    x: Field, y: Field, field: Callable[[Field], Field], labels: Callable[[Tensor], Tensor] = lambda labels: labels
) -> Field:
    """`y`, which a function made of `x`, with the pieces of `x`: what it does to each field, and to the labels."""
    shape = channel_shape(y.layout)
    if not x.pieces or shape is None:
        return replace(y, pieces=None)
    changed = labels(x.pieces.labels)
    if changed.numel() != math.prod(shape):
        return replace(y, pieces=None)
    return in_pieces(y, changed.reshape(shape), [field(one) for one in x.pieces.fields])


def merge_pieces(operands: Sequence[Field], y: Field, layer: str) -> Field:
    """`y`, the merge of some fields, in pieces where theirs are."""
    shapes = [channel_shape(x.layout) for x in (*operands, y)]
    if not any(x.pieces for x in operands) or None in shapes:
        return y
    own = [
        x.pieces or Pieces(torch.zeros(shape, dtype=torch.long), (x,))
        for x, shape in zip(operands, shapes, strict=False)
    ]
    labels = torch.stack([pieces.labels.expand(shapes[-1]).flatten() for pieces in own], 1)  # (channels, operands)
    together, number = labels.unique(dim=0, return_inverse=True)
    fields = []
    for chosen in together.tolist():
        parts = [replace(p.fields[i], layout=x.layout) for p, i, x in zip(own, chosen, operands, strict=True)]
        axes, seen, _ = combine(parts, layer)
        fields.append(Field(axes, y.layout, seen, y.source))
    return in_pieces(y, number.reshape(shapes[-1]), fields, layer)


def of_groups(x: Field, y: Field, groups: int, dim: int) -> Field:
    """`y`, made of `x` by a convolution in groups: each group's channels look at what its own inputs look at."""
    if groups == 1 or not x.pieces or x.pieces.labels.numel() != x.shape[dim]:
        return y
    fields = []
    for labels in x.pieces.labels.flatten().chunk(groups):
        axes, seen, _ = combine([x.pieces.fields[label] for label in labels.unique().tolist()], x.source)
        fields.append(replace(x, axes=axes, seen=seen, pieces=None))
    shape = channel_shape(y.layout)
    number = torch.arange(groups).repeat_interleave(y.shape[dim] // groups).reshape(shape)
    return Field(y.axes, y.layout, y.seen, y.source, Pieces(number, tuple(fields)))


# ----------------------------------------------------------------------------------------- products of matrices


def matrix_product(left: int, right: int) -> str:
    """`matmul` of tensors with so many dimensions, as an equation for einsum."""
    terms = "k" if left == 1 else "...ik", "k" if right == 1 else "...kj"
    return f"{','.join(terms)}->...{'i' * (left > 1)}{'j' * (right > 1)}"


def contract(
    equation: str, tensors: Sequence[Tensor], operands: Sequence[Field | None], output: Tensor, layer: str
) -> Step:
    """`einsum`: each operand's values are summed over the letters that the output lacks."""
    if not isinstance(equation, str):
        raise Unknown("einsum can be followed where its equation is a text")
    inputs, arrow, result = equation.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if not arrow:  # the letters that occur once, in alphabetical order
        once = sorted(letter for letter in set(inputs) - {",", "."} if inputs.count(letter) == 1)
        result = "..." * ("..." in inputs) + "".join(once)
    extra = [t.ndim - len(term.replace("...", "")) for t, term in zip(tensors, terms, strict=True)]
    dots = "0123456789"[: max(extra)]  # letters for the dimensions that "..." stands for
    result = result.replace("...", dots)
    fields, windows = [], {}
    for term, n, x in zip(terms, extra, operands, strict=True):
        term = term.replace("...", dots[len(dots) - n :])
        if x is None:
            continue
        if len(set(term)) < len(term):
            raise Unknown("takes a diagonal")
        y, collapsed = collapse(x, [dim for dim, letter in enumerate(term) if letter not in result])
        windows |= collapsed
        fields.append(y.laid_out(tuple(x.layout[term.index(letter)] if letter in term else () for letter in result)))
    if len(fields) == 1:
        y = fields[0].laid_out(refit(fields[0].layout, output.shape))
        return Step(next(x for x in operands if x), y, windows or None)
    step = merge(fields, output.shape, layer)
    return step._replace(windows={}) if windows else step
