"""What becomes of the fields of several feature maps that are added, multiplied, concatenated or compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mnist_s7.receptive_field.errors import Refused, Unknown
from mnist_s7.receptive_field.fields import (
    Field,
    Layout,
    Part,
    Step,
    axis_at,
    channels,
    collapse,
    has_axis,
    stretched,
)  # fmt: skip
from mnist_s7.receptive_field.pieces import by_piece, in_pieces, merge_pieces, mixed, nothing_like
from mnist_s7.receptive_field.unions import combine, maps_among
from mnist_s7.receptive_field.windows import Window


def merge(operands: Sequence[Field], shape: Sequence[int], layer: str) -> Step:
    """The smallest field around those of all operands. With a row in the table where these differ.

    An operand whose units all look at the same pixels, as a gate's, adds these to all units of the others.
    """
    if len(operands) == 1 and operands[0].shape == tuple(shape):
        return Step(operands[0], operands[0])
    maps = maps_among(operands)
    axes, seen, notes = combine(operands, layer)
    astray = next((x.astray for x in maps if x.astray), ())
    y = stretched(Field(axes, broadcast(maps, shape), seen, maps[0].source, astray=astray), shape)
    differ = not all(x.sees_the_same(operands[0]) for x in operands)
    widest = max(maps, key=lambda x: [axis.size for axis in x.axes.values()])
    return Step(widest, merge_pieces(operands, y, layer), {} if differ else None, "; ".join(dict.fromkeys(notes)))


def broadcast(operands: Sequence[Field], shape: Sequence[int]) -> Layout:
    """The layout of an output of this shape: in each dimension the axis that an operand has there, or channels.

    Nothing where all operands have one value, even if a constant with more makes the output larger.
    """
    layout = []
    for back in range(len(shape), 0, -1):
        contents = {x.layout[-back] for x in operands if back <= len(x.layout) and has_axis(x.layout[-back])}
        if len(contents) > 1:
            raise Refused(f"different axes of the image meet in dimension {len(shape) - back}")
        single = all(x.layout[-back] == () for x in operands if back <= len(x.layout))
        layout.append(contents.pop() if contents else () if single else channels(shape[-back]))
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
        operands = [x and unsqueezed(x, dim) for x in operands]
    followed = [x for x in operands if x]
    if any(has_axis(x.layout[dim]) or (dim >= 2 and axis_at(x, dim) and not x.is_constant) for x in followed):
        raise Refused("concatenates feature maps along an axis of the image, so that units differ in their fields")
    if dim >= 2 and any(axis_at(x, dim) and not x.sees_the_same(followed[0]) for x in followed):
        raise Refused("concatenates single units along an axis of the image, that look at different pixels")
    step = merge([replace(x, pieces=None) for x in followed], shape, layer)
    if any(x.rough for x in followed):
        return step
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


def unsqueezed(x: Field, dim: int) -> Field:
    y = x.laid_out((*x.layout[:dim], (), *x.layout[dim:]))
    return by_piece(x, y, lambda field: field, lambda labels: labels.unsqueeze(dim))


# ----------------------------------------------------------------------------------------- products of matrices


def matrix_product(left: int, right: int) -> str:
    """`matmul` of tensors with so many dimensions, as an equation for einsum."""
    terms = "k" if left == 1 else "...ik", "k" if right == 1 else "...kj"
    return f"{','.join(terms)}->...{'i' * (left > 1)}{'j' * (right > 1)}"


def contract(
    equation: str, tensors: Sequence[Tensor], operands: Sequence[Field | None], output: Tensor, layer: str, gates: str
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
        y, collapsed = summed(x, term, result)
        windows |= collapsed
        fields.append(y)
    if gates == "ignore":
        fields = maps_among(fields)
    if len(fields) == 1:
        y = stretched(fields[0], output.shape)
        return Step(next(x for x in operands if x), y, windows or None)
    step = merge(fields, output.shape, layer)
    return step._replace(windows={}) if windows else step


def summed(x: Field, term: str, result: str) -> tuple[Field, Mapping[str, Window]]:
    """Of one operand, by the letters of its dimensions: the sum over those that `result` lacks, in its order."""
    dims = [dim for dim, letter in enumerate(term) if letter not in result]
    y, windows = collapse(x, dims)
    y = y.laid_out(tuple(x.layout[term.index(letter)] if letter in term else () for letter in result))
    looked_at = mixed(x, x.pieces.labels, dims) if x.pieces and dims else x

    def in_order(labels: Tensor) -> Tensor:
        kept = [letter for letter in term if letter in result]
        labels = labels.reshape([n for n, letter in zip(labels.shape, term, strict=True) if letter in result])
        labels = labels.permute([kept.index(letter) for letter in result if letter in term])
        return labels[tuple(slice(None) if letter in term else None for letter in result)]

    return by_piece(looked_at, y, lambda field: field.slide(windows), in_order), windows
