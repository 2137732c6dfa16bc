"""What layers and functions of torch that compute do to the field of their input: a rule for each kind of them.

A rule is called with the field of the function's first argument, the output that really occurred, and the function's
other arguments, by torch's names. It returns a Step, or raises Refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_s7.receptive_field.axes import Axis
from mnist_s7.receptive_field.errors import Refused, Unknown
from mnist_s7.receptive_field.fields import (
    AXES,
    Field,
    Pieces,
    Step,
    along,
    axis_at,
    channel_shape,
    channels,
    collapse,
    has_axis,
    pick,
    promoted,
    refit,
)
from mnist_s7.receptive_field.pieces import LOST, by_piece, in_pieces, mixed, nothing_like, of_groups
from mnist_s7.receptive_field.windows import Window

MIXES = "mixes all units of the feature map, so that every unit sees the whole input"


def first_tensor(output) -> Tensor:
    """The values, of functions that may give indices as well."""
    return output if isinstance(output, Tensor) else output[0]


# ---------------------------------------------------------------------------------- windows over the feature map


def slide(x: Field, out: Tensor, rank: int, window, by_channel: bool = True) -> Step:
    """Windows over the last `rank` dimensions: `window(i, n_in, n_out)` gives that of the i-th of these.

    Where such a dimension holds channels, each place of the feature map is looked at by itself. `by_channel`: whether
    each channel makes one of its own.
    """
    if out.ndim == rank + 1 and len(x.axes) < rank:
        raise Refused(
            f"takes (N, C, {', '.join(AXES[rank])}), but is given {x.shape}: input_size needs the channels as well, "
            f"as in {(1, *x.shape[1:])}"
        )
    x = promoted(x)
    windows, layout = {}, list(refit(x.layout, out.shape))
    for i, dim in enumerate(range(out.ndim - rank, out.ndim)):
        name = axis_at(x, dim)
        n_in, n_out = x.shape[dim], out.shape[dim]
        if name is not None:
            windows[name] = window(i, n_in, n_out)
            layout[dim] = along(name, Axis(n_out, (), 0))
            continue
        apart = x.rough or (x.pieces and x.pieces.labels.shape[dim] > 1)
        if apart and n_in > 1 and window(i, n_in, n_out) != Window.sliding(1, 1, (0, 0), 1, n_out):
            raise Refused("mixes some of the channels, which look at different pixels")
    y = x.slide(windows).laid_out(tuple(layout))
    return Step(x, by_piece(x, y, lambda field: field.slide(windows)) if by_channel else y, windows)


def per_axis(value, i: int) -> int | str:
    """Of a number for all axes, or one for each: that of the i-th axis."""
    return value[i % len(value)] if isinstance(value, (tuple, list)) else value


def sliding(x, out, rank, kernel, stride, padding=0, dilation=1, by_channel=True) -> Step:
    def window(i: int, n_in: int, n_out: int) -> Window:
        k, p, d = per_axis(kernel, i), per_axis(padding, i), per_axis(dilation, i)
        s = per_axis(stride or kernel, i)
        if p == "same":  # torch puts the odd unit at the end
            before, after = (k - 1) * d // 2, (k - 1) * d - (k - 1) * d // 2
        else:
            before = after = 0 if p == "valid" else p
        return Window.sliding(k, s, (before, after), d, n_out)

    return slide(x, out, rank, window, by_channel)


def conv(x, out, weight, bias=None, stride=1, padding=0, dilation=1, groups=1) -> Step:
    return grouped(
        x, out, weight.ndim - 2, groups,
        lambda field: sliding(
            field, out, weight.ndim - 2, tuple(weight.shape[2:]), stride, padding, dilation, by_channel=False
        ),
    )  # fmt: skip


def grouped(x: Field, out: Tensor, rank: int, groups: int, rule: Callable[[Field], Step]) -> Step:
    """A convolution: each output channel looks at the input channels of its group."""
    if has_axis(x.layout[-rank - 1]):
        raise Refused("its channels are units of the feature map, or of a torn one")
    step = rule(x)
    inputs = of_groups(x, groups, out.shape[-rank - 1], -rank - 1)
    if x.rough:
        if groups > 1:
            raise Refused(LOST)
        inputs = replace(inputs, rough=any(x.layout[: -rank - 1]))  # of images, if there are several
    return step._replace(after=by_piece(inputs, step.after, lambda field: rule(field).after))


def conv_transpose(x, out, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1) -> Step:
    def window(i: int, n_in: int, n_out: int) -> Window:
        k, s, p, d = weight.shape[2 + i], per_axis(stride, i), per_axis(padding, i), per_axis(dilation, i)
        return Window.transposed(k, s, p, d, n_out)

    rank = weight.ndim - 2
    return grouped(x, out, rank, groups, lambda field: slide(field, out, rank, window, by_channel=False))


def max_pool(rank, x, out, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    return sliding(x, first_tensor(out), rank, kernel_size, stride, padding, dilation)


def avg_pool(
    rank, x, out, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
) -> Step:
    return sliding(x, out, rank, kernel_size, stride, padding)


def lp_pool(rank, x, out, norm_type, kernel_size, stride=None, ceil_mode=False) -> Step:
    return sliding(x, out, rank, kernel_size, stride)


def max_unpool(rank, x, out, indices, kernel_size, stride=None, padding=0, output_size=None) -> Step:
    """Each unit takes the place in its pooling window that the indices name; `x` is the field of both together."""
    sizes = out.shape[-rank:]

    def window(i: int, n_in: int, n_out: int) -> Window:
        k = per_axis(kernel_size, i)
        s, p = per_axis(stride or kernel_size, i), per_axis(padding, i)
        place = indices // math.prod(sizes[i + 1 :]) % n_out  # along this axis
        first = (torch.arange(n_in, device=place.device) * s - p).view(-1, *[1] * (rank - 1 - i))
        if not indices.is_meta and bool(((place < first) | (place >= first + k)).any()):
            raise Refused("its indices lie outside of its own windows, as those of a pooling with another kernel do")
        return Window.transposed(k, s, p, 1, n_out)

    return slide(x, out, rank, window)


def adaptive_pool(rank, x, out, output_size, return_indices=False) -> Step:
    def window(i: int, n_in: int, n_out: int) -> Window:
        if n_in % n_out == 0:
            return Window.sliding(n_in // n_out, n_in // n_out, (0, 0), 1, n_out)
        starts = [(o * n_in // n_out, -(-(o + 1) * n_in // n_out)) for o in range(n_out)]
        return Window.resampled([range(*ends) for ends in starts], n_in)

    return slide(x, first_tensor(out), rank, window)


def interpolate(
    x, out, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None,
    antialias=False,
) -> Step:  # fmt: skip
    """Which units each unit is a weighted mean of, torch itself says: of single units set to 1, along one axis."""
    if mode in ("linear", "trilinear"):
        mode = "bilinear"  # the same along each axis

    def window(i: int, n_in: int, n_out: int) -> Window:
        apart = min(n_in, 16 + 8 * -(-n_in // n_out))  # further than one unit's weights reach
        probe = (torch.arange(n_in) % apart == torch.arange(apart)[:, None]).double()[:, None, None, :]
        to = {"size": (1, n_out)} if scale_factor is None else {"scale_factor": (1.0, per_axis(scale_factor, i))}
        weights = F.interpolate(
            probe, **to, mode=mode, align_corners=align_corners, recompute_scale_factor=recompute_scale_factor,
            antialias=antialias,
        )[:, 0, 0, :]  # fmt: skip
        units = [[] for _ in range(n_out)]  # a weight that is 0 but for rounding is none
        for unit, first in (weights.T.abs() > 1e-9).nonzero().tolist():
            # of the units that were set together, the one at the same place
            nth = min(max(0, round((unit * n_in / n_out - first) / apart)), (n_in - 1 - first) // apart)
            units[unit].append(first + nth * apart)
        return Window.resampled([sorted(one) for one in units], n_in)

    return slide(x, out, out.ndim - 2, window)


def pad(x, out, pad, mode="constant", value=None) -> Step:
    windows, layout, sources, beside = {}, list(refit(x.layout, out.shape)), {}, []
    pairs = zip(pad[::2], pad[1::2], strict=True)
    for back, (before, after) in enumerate(pairs, start=1):  # the last dimension comes first
        dim = len(x.layout) - back
        name = axis_at(x, dim) if before or after else None
        beside += [0, 0] if name or not (before or after) else [before, after]  # channels that look at nothing
        if name is None:
            continue
        windows[name] = Window.sliding(1, 1, (before, after), 1, out.shape[dim])
        layout[dim] = along(name, Axis(out.shape[dim], (), 0))
        # what torch itself puts at each place of the padded feature map: a unit of the feature map, or -1 for none
        units = torch.arange(float(x.axes[name].n))[None, None]
        sources[name] = F.pad(units, (before, after), mode, -1.0 if mode == "constant" else None).long().view(-1, 1)

    def padded(field: Field) -> Field:
        axes, seen = dict(field.axes), field.seen
        for dim, name in enumerate(field.axes, start=1):
            if name in windows:
                seen = pick(seen, dim, sources[name]).squeeze(dim + 1)
                axes[name] = axes[name].slide(windows[name])
        return replace(field, axes=axes, layout=tuple(layout), seen=seen, pieces=None)

    y = padded(x)
    if not any(beside):
        return Step(x, by_piece(x, y, padded), windows or None)
    if mode != "constant" or x.rough:
        raise Refused("pads channels with other channels" if mode != "constant" else LOST)
    own = x.pieces or Pieces(torch.zeros(channel_shape(x.layout), dtype=torch.long), (x,))
    labels = F.pad(own.labels, beside, value=len(own.fields))
    return Step(x, in_pieces(y, labels, [*map(padded, own.fields), nothing_like(y)]), windows or None)


# ----------------------------------------------------------------------------------------------- whole dimensions


def numbered(dim, ndim: int) -> list[int]:
    """The dimensions that an argument `dim` of torch names: all for None."""
    dims = range(ndim) if dim is None or dim == () or dim == [] else [dim] if isinstance(dim, int) else dim
    return sorted({d % ndim for d in dims})


def reduce(x, out, dim=None, keepdim=False, dtype=None) -> Step:
    dims = numbered(dim, len(x.layout))
    y, windows = collapse(x, dims)
    kept = first_tensor(out).ndim == len(x.layout)
    layout = tuple(() if d in dims else content for d, content in enumerate(x.layout) if kept or d not in dims)
    looked_at = mixed(x, x.pieces.labels, dims) if x.pieces else x
    if all(d in dims or not any(isinstance(part, int) for part in content) for d, content in enumerate(x.layout)):
        looked_at = replace(looked_at, rough=False)
    y = by_piece(looked_at, y.laid_out(layout), lambda field: field.slide(windows))
    return Step(x, y, windows or None)


def linear(x, out, weight, bias=None) -> Step:
    """Over the last dimension. Where that is an axis of a feature map, it has so many units that all see the same."""
    content, n_out = x.layout[-1], out.shape[-1]
    over_axis = len(x.layout) == 2 + len(x.axes) and len(content) == 1 and has_axis(content)

    def applied(field: Field) -> Field:
        y, _ = collapse(field, [-1])
        if not over_axis:
            return y.laid_out((*x.layout[:-1], channels(n_out)))
        name = content[0].axis
        axis = Axis(n_out, (y.axes[name].interval(0),), jump=0)
        seen = y.seen.repeat_interleave(n_out, 1 + list(y.axes).index(name))
        return replace(y, axes=y.axes | {name: axis}, layout=(*x.layout[:-1], along(name, axis)), seen=seen)

    looked_at = mixed(x, x.pieces.labels, [-1]) if x.pieces and not has_axis(content) else x
    if not any(isinstance(part, int) for dim in x.layout[:-1] for part in dim):
        looked_at = replace(looked_at, rough=False)
    labels = n_out if not has_axis(content) else 1
    y = by_piece(looked_at, applied(x), applied, lambda old: old.expand(*old.shape[:-1], labels))
    return Step(x, y, collapse(x, [-1])[1])


def within(x: Field, dims: Sequence[int]) -> Step:
    """A function that mixes values along some dimensions; if those are channels, the field stays."""
    if any(has_axis(x.layout[dim]) for dim in dims):
        raise Unknown(MIXES)
    if not x.pieces or all(x.pieces.labels.shape[dim] == 1 for dim in dims):
        return Step(x, x)
    y = mixed(x, x.pieces.labels, dims)
    return Step(x, in_pieces(x, y.pieces.labels.expand(x.pieces.labels.shape), y.pieces.fields))


def neighbours(x: Field, dim: int) -> Step:
    """A function that mixes some values along a dimension; if those are channels that look at the same, it stays."""
    if has_axis(x.layout[dim]):
        raise Unknown(MIXES)
    if x.pieces and x.pieces.labels.shape[dim] > 1:
        raise Refused("mixes some of the channels of a concatenation")
    return Step(x, x)


def softmax(x, out, dim=None, _stacklevel=3, dtype=None) -> Step:
    return within(x, numbered(dim, len(x.layout)))


def normalize(x, out, p=2.0, dim=1, eps=1e-12) -> Step:
    return within(x, numbered(dim, len(x.layout)))


def glu(x, out, dim=-1) -> Step:
    if has_axis(x.layout[dim]):
        raise Refused("multiplies one half of the feature map by the other")
    if x.rough:
        raise Refused(LOST)
    y = x.laid_out(refit(x.layout, out.shape))
    if not x.pieces:
        return Step(x, y)
    dim %= len(x.layout)
    return Step(x, by_piece(mixed(x, x.pieces.labels.unflatten(dim, (2, -1)), [dim]), y, lambda field: field))


def layer_norm(x, out, normalized_shape, weight=None, bias=None, eps=1e-5, cudnn_enable=True) -> Step:
    return within(x, range(-len(normalized_shape), 0))


def group_norm(x, out, num_groups, weight=None, bias=None, eps=1e-5, cudnn_enabled=True) -> Step:
    dims = range(1, len(x.layout))
    if not x.pieces or any(has_axis(x.layout[dim]) for dim in dims):
        return within(x, dims)
    labels = x.pieces.labels.unflatten(1, (num_groups, -1))
    y = mixed(x, labels, range(2, labels.ndim))
    return Step(x, in_pieces(x, y.pieces.labels.expand(labels.shape).flatten(1, 2), y.pieces.fields))


def instance_norm(
    x, out, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1, eps=1e-5,
    cudnn_enabled=True,
) -> Step:  # fmt: skip
    return within(x, range(2, len(x.layout)) if use_input_stats else [])


def local_response_norm(x, out, size, alpha=1e-4, beta=0.75, k=1.0) -> Step:
    return neighbours(x, 1)


def batch_norm(
    x, out, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5,
    cudnn_enabled=True,
) -> Step:  # fmt: skip
    return within(x, range(len(x.layout)) if training else [])
