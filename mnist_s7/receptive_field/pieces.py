"""Channels that look at different pixels, as after a concatenation: what a part of them looks at, and no more."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mnist_s7.receptive_field.axes import NOTHING, Axis
from mnist_s7.receptive_field.fields import Field, Pieces, channel_shape
from mnist_s7.receptive_field.unions import combine

LOST = "takes some of the channels, which look at different pixels, after a function that lost which at which"


def nothing_like(x: Field) -> Field:
    """The field of a tensor that does not depend on the image."""
    axes = {name: Axis(axis.n, (NOTHING,), jump=0) for name, axis in x.axes.items()}
    return replace(x, axes=axes, seen=torch.full_like(x.seen, -math.inf), pieces=None)


def in_pieces(x: Field, labels: Tensor, fields: Sequence[Field], layer: str = "") -> Field:
    """`x` of channels with these labels: it looks at what those fields look at that have a channel."""
    kinds: list[Field] = []
    number = torch.zeros(len(fields), dtype=torch.long)
    for label in labels.unique().tolist():
        field = replace(fields[label], layout=x.layout, pieces=None)
        same = [i for i, kind in enumerate(kinds) if kind.sees_the_same(field)]
        number[label] = same[0] if same else len(kinds)
        kinds += [] if same else [field]
    if len(kinds) == 1:
        return replace(x, axes=kinds[0].axes, seen=kinds[0].seen, pieces=None)
    axes, seen, _ = combine(kinds, layer)
    return replace(x, axes=axes, seen=seen, pieces=Pieces(number[labels], tuple(kinds)))


def by_piece(
    x: Field, y: Field, field: Callable[[Field], Field], labels: Callable[[Tensor], Tensor] = lambda labels: labels
) -> Field:
    """`y`, which a function made of `x`, with the pieces of `x`: what it does to each field, and to the labels."""
    shape = channel_shape(y.layout)
    if not x.pieces:
        return replace(y, pieces=None, rough=x.rough)
    changed = None if shape is None else labels(x.pieces.labels)
    if changed is None or changed.numel() != math.prod(shape):
        return replace(y, pieces=None, rough=True)
    return in_pieces(y, changed.reshape(shape), [field(one) for one in x.pieces.fields])


def merge_pieces(operands: Sequence[Field], y: Field, layer: str) -> Field:
    """`y`, the merge of some fields, in pieces where theirs are."""
    shapes = [channel_shape(x.layout) for x in (*operands, y)]
    if any(x.rough for x in operands):
        return replace(y, rough=True)
    if not any(x.pieces for x in operands):
        return y
    if None in shapes:
        return replace(y, rough=True)
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


def mixed(x: Field, labels: Tensor, dims: Sequence[int]) -> Field:
    """`x` with a field for each group of channels along `dims`, which look at what any of the group looks at.

    labels: those of its pieces, in any shape; its dimensions `dims` become 1.
    """
    kept = [dim for dim in range(labels.ndim) if dim not in {d % labels.ndim for d in dims}]
    groups = labels.permute(*kept, *[dim for dim in range(labels.ndim) if dim not in kept])
    rows = groups.reshape(math.prod(labels.shape[dim] for dim in kept), -1).tolist()
    looked_at = [tuple(sorted(set(row))) for row in rows]
    kinds = {kind: number for number, kind in enumerate(dict.fromkeys(looked_at))}
    fields = []
    for kind in kinds:
        axes, seen, _ = combine([x.pieces.fields[label] for label in kind], x.source)
        fields.append(replace(x, axes=axes, seen=seen, pieces=None))
    shape = [labels.shape[dim] if dim in kept else 1 for dim in range(labels.ndim)]
    return replace(x, pieces=Pieces(torch.tensor([kinds[kind] for kind in looked_at]).reshape(shape), tuple(fields)))


def of_groups(x: Field, groups: int, n_out: int, dim: int) -> Field:
    """`x` as the channels of a convolution see it: n_out channels along `dim`, in pieces by group and image."""
    if not x.pieces:
        return x
    labels = x.pieces.labels.unflatten(dim, (groups, -1))
    y = mixed(x, labels, [dim])  # (..., groups, 1, ...)
    repeated = y.pieces.labels.repeat_interleave(n_out // groups, dim).flatten(dim - 1, dim)
    return replace(y, pieces=Pieces(repeated, y.pieces.fields))
