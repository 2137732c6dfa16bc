"""What each layer and function of torch does to the field of its input: a rule for each, by name, in `RULES`.

A rule is called with the field of the function's first argument, the output that really occurred, and the function's
other arguments as torch has them. It returns a Step, or a list of them, one for each output; or raises Refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_s7.receptive_field.fields import Field, Layout, Refused, Step, Window, channels, has_axis, pick


def first_tensor(output) -> Tensor:
    """The values, of functions that may give indices as well."""
    return output if isinstance(output, Tensor) else output[0]


def refit(layout: Layout, shape: Sequence[int]) -> Layout:
    """The layout with its numbers of channels those of `shape`."""
    return tuple(dim if has_axis(dim) else channels(n) for dim, n in zip(layout, shape, strict=True))


def axis_at(x: Field, dim: int) -> str | None:
    """The axis of the image that a dimension of the tensor runs along; None if it holds channels."""
    content, names, back = x.layout[dim], list(x.axes), len(x.layout) - dim
    if content == () and back <= len(names) and x.axes[names[-back]].n == 1:
        return names[-back]  # a single unit: the axis stands where torch expects it
    if has_axis(content) and len(content) > 1:
        raise Refused(f"dimension {dim} of its input is a flattened feature map")
    return content[0] if has_axis(content) else None


# ---------------------------------------------------------------------------------- windows over the feature map


def slide(x: Field, out: Tensor, rank: int, kernel, stride, padding, dilation=1) -> Step:
    """A window over the last `rank` dimensions; its numbers are one for all of them, or one each."""
    windows, layout = {}, list(refit(x.layout, out.shape))
    for dim in range(len(x.layout) - rank, len(x.layout)):
        name = axis_at(x, dim)
        if name is None and x.shape[dim] == out.shape[dim] == 1:  # a 2-D layer over a (1, L) feature map
            continue
        if name is None:
            raise Refused(f"dimension {dim} of its input runs along no axis of the image")
        k, s, p, d = (
            value if isinstance(value, (int, str)) else value[(dim - len(x.layout)) % len(value)]
            for value in (kernel, stride or kernel, padding, dilation)
        )
        if p == "same":  # torch puts the odd unit at the end
            before, after = (k - 1) * d // 2, (k - 1) * d - (k - 1) * d // 2
        else:
            before = after = 0 if p == "valid" else p
        windows[name] = Window(k, s, (before, after), d, out.shape[dim])
        layout[dim] = (name,) if out.shape[dim] > 1 else ()
    return Step(x, replace(x.slide(windows), layout=tuple(layout)), windows)


def conv(x, out, weight, bias=None, stride=1, padding=0, dilation=1, groups=1) -> Step:
    return slide(x, out, weight.ndim - 2, tuple(weight.shape[2:]), stride, padding, dilation)


def max_pool(rank, x, out, kernel_size, stride=None, padding=0, dilation=1, *_, **__) -> Step:
    return slide(x, first_tensor(out), rank, kernel_size, stride, padding, dilation)


def avg_pool(rank, x, out, kernel_size, stride=None, padding=0, *_, **__) -> Step:
    return slide(x, out, rank, kernel_size, stride, padding)


def lp_pool(rank, x, out, norm_type, kernel_size, stride=None, *_, **__) -> Step:
    return slide(x, out, rank, kernel_size, stride, 0)


def adaptive_pool(rank, x, out, *_, **__) -> Step:
    out = first_tensor(out)
    kernel = []
    for n_in, n_out in zip(x.shape[-rank:], out.shape[-rank:], strict=True):
        if n_in % n_out:
            raise Refused(
                f"the windows from {n_in} to {n_out} units differ in size, and so do their fields; "
                f"choose an output or input size with {n_in} a multiple of {n_out}"
            )
        kernel.append(n_in // n_out)
    return slide(x, out, rank, kernel, None, 0)


def upsample(x, out, *_, **__) -> Step:
    raise Refused("upsamples: neighbouring units differ in their fields, so there is no one size")


def pad(x, out, pad, mode="constant", value=None) -> Step:
    y, windows, layout = x, {}, list(refit(x.layout, out.shape))
    pairs = zip(pad[::2], pad[1::2], strict=True)
    for back, (before, after) in enumerate(pairs, start=1):  # the last dimension comes first
        dim = len(x.layout) - back
        name = axis_at(x, dim) if before or after else None
        if name is None:
            continue
        windows[name] = Window(1, 1, (before, after), 1, out.shape[dim])
        layout[dim] = (name,) if out.shape[dim] > 1 else ()
        # what torch itself puts at each place of the padded feature map: a unit of the feature map, or -1 for none
        units = torch.arange(float(x.axes[name].n))[None, None]
        units = F.pad(units, (before, after), mode, -1.0 if mode == "constant" else None).long()
        place = 1 + list(x.axes).index(name)
        seen = pick(y.seen, place, units.view(-1, 1)).squeeze(place + 1)
        y = replace(y, seen=seen, axes=y.axes | {name: x.axes[name].slide(windows[name])})
    return Step(x, replace(y, layout=tuple(layout)), windows or None)


# ----------------------------------------------------------------------------------------------- whole dimensions


def collapse(x: Field, dims: Sequence[int]) -> tuple[Field, dict[str, Window]]:
    """The field of a value that takes in whole dimensions: on their axes a window over all units."""
    names = [part for dim in dims for part in x.layout[dim] if isinstance(part, str)]
    windows = {name: Window(x.axes[name].n, x.axes[name].n, (0, 0), 1, 1) for name in names}
    return x.slide(windows), windows


def reduce(x, out, dim=None, *_, **others) -> Step:
    dim = others.get("axis", dim)
    if isinstance(dim, bool):
        raise Refused("give dim by name")
    dims = range(len(x.layout)) if dim is None else [dim] if isinstance(dim, int) else dim
    dims = {d % len(x.layout) for d in dims}
    y, windows = collapse(x, sorted(dims))
    kept = first_tensor(out).ndim == len(x.layout)
    layout = tuple(() if d in dims else content for d, content in enumerate(x.layout) if kept or d not in dims)
    return Step(x, replace(y, layout=layout), windows or None)


def linear(x, out, weight, bias=None) -> Step:
    y, windows = collapse(x, [-1])
    return Step(x, replace(y, layout=(*x.layout[:-1], channels(out.shape[-1]))), windows)


def within(x: Field, out: Tensor, dims: Sequence[int]) -> Step:
    """A function that mixes values along some dimensions; if those are channels, the field stays."""
    if any(has_axis(x.layout[dim]) for dim in dims):
        raise Refused(
            "mixes all units of the feature map, so that every unit sees the whole input; "
            "unknown='identity' leaves that out of account"
        )
    return Step(x, replace(x, layout=refit(x.layout, out.shape)))


def softmax(x, out, dim=None, *_, **__) -> Step:
    return within(x, out, range(len(x.layout)) if dim is None else [dim])


def normalize(x, out, p=2.0, dim=1, *_, **__) -> Step:
    return within(x, out, [dim])


def glu(x, out, dim=-1) -> Step:
    return within(x, out, [dim])


def layer_norm(x, out, normalized_shape, *_, **__) -> Step:
    return within(x, out, range(-len(normalized_shape), 0))


def map_norm(x, out, *_, **__) -> Step:
    return within(x, out, range(1, len(x.layout)))


def channel_norm(x, out, *_, **__) -> Step:
    return within(x, out, [1])


def batch_norm(x, out, mean, var, weight=None, bias=None, training=False, *_, **__) -> Step:
    return within(x, out, range(len(x.layout)) if training else [])


# -------------------------------------------------------------------------------- other views of a feature map


def permute(x: Field, func: Callable, *args, **kwargs) -> Step:
    probe = torch.empty(*range(2, 2 + len(x.layout)), device="meta")  # sizes tell the dimensions apart
    order = [size - 2 for size in func(probe, *args, **kwargs).shape]
    return Step(x, replace(x, layout=tuple(x.layout[dim] for dim in order)))


def reshape(x, out, *_, **__) -> Step:
    """Views in row-major order: the parts of the layout are dealt out again to the new sizes."""
    torn = Refused(f"from {x.shape} to {tuple(out.shape)} it tears the feature map apart")
    parts = [part for dim in x.layout for part in dim]
    layout = []
    for size in out.shape:
        content = []
        while size > 1:
            if not parts:  # a view as numbers of fewer bytes
                raise torn
            part = parts.pop(0)
            while isinstance(part, int) and parts and isinstance(parts[0], int):
                part *= parts.pop(0)  # neighbouring channels are one run of channels
            n = x.size(part)
            if size % n == 0:
                content.append(part)
                size //= n
            elif isinstance(part, int) and n % size == 0:
                content.append(size)
                parts.insert(0, n // size)
                size = 1
            else:
                raise torn
        layout.append(tuple(content))
    return Step(x, replace(x, layout=tuple(layout)))


def expand(x, out, *_, **__) -> Step:
    return Step(x, replace(x, layout=refit(((),) * (out.ndim - len(x.layout)) + x.layout, out.shape)))


def getitem(x, out, index) -> Step:
    """Whole numbers and slices: on channels they change nothing, along the feature map they are a crop."""
    index = index if isinstance(index, tuple) else (index,)
    if not all(item is None or item is ... or type(item) in (int, slice) for item in index):
        raise Refused("only slices and whole numbers can be followed as an index")
    if not any(item is ... for item in index):
        index = (*index, ...)
    taken = sum(item is not None and item is not ... for item in index)
    at = index.index(...)
    whole = (slice(None),) * (len(x.layout) - taken)
    contents = list(x.layout)
    layout, windows = [], {}
    for item in (*index[:at], *whole, *index[at + 1 :]):
        if item is None:
            layout.append(())
            continue
        content = contents.pop(0)
        size = math.prod(x.size(part) for part in content)
        taps = range(size)[item if isinstance(item, slice) else slice(item % size, item % size + 1)]
        if len(taps) == 0:
            raise Refused("takes nothing of the map")
        if not has_axis(content):
            content = channels(len(taps))
        elif len(taps) < size:
            if len(content) > 1:
                raise Refused("takes a part of a flattened feature map")
            cut = (taps[0], size - 1 - taps[-1])
            windows[content[0]] = Window(1, taps.step, (-cut[0], -cut[1]), 1, len(taps))
            content = content if len(taps) > 1 else ()
        if isinstance(item, slice):
            layout.append(content)
    return Step(x, replace(x.slide(windows), layout=tuple(layout)), windows or None)


def narrow(x, out, dim, start, length) -> Step:
    start %= x.shape[dim]
    return getitem(x, out, (*[slice(None)] * (dim % len(x.layout)), slice(start, start + length)))


def select(x, out, dim, index) -> Step:
    return getitem(x, out, (*[slice(None)] * (dim % len(x.layout)), index))


def split(x, out, size, dim=0) -> list[Step]:
    steps, start = [], 0
    for piece in out:
        steps.append(narrow(x, piece, dim, start, piece.shape[dim]))
        start += piece.shape[dim]
    return steps


def unbind(x, out, dim=0) -> list[Step]:
    return [select(x, piece, dim, index) for index, piece in enumerate(out)]


RULES = {
    name: rule
    for names, rule in (
        ("conv1d conv2d", conv),
        ("max_pool1d max_pool1d_with_indices", partial(max_pool, 1)),
        ("max_pool2d max_pool2d_with_indices", partial(max_pool, 2)),
        ("avg_pool1d", partial(avg_pool, 1)),
        ("avg_pool2d", partial(avg_pool, 2)),
        ("lp_pool1d", partial(lp_pool, 1)),
        ("lp_pool2d", partial(lp_pool, 2)),
        ("adaptive_avg_pool1d adaptive_max_pool1d adaptive_max_pool1d_with_indices", partial(adaptive_pool, 1)),
        ("adaptive_avg_pool2d adaptive_max_pool2d adaptive_max_pool2d_with_indices", partial(adaptive_pool, 2)),
        ("conv_transpose1d conv_transpose2d interpolate upsample pixel_shuffle fold", upsample),
        ("pad", pad),
        ("mean sum amax amin max min std var prod logsumexp argmax argmin any all", reduce),
        ("linear", linear),
        ("softmax log_softmax softmin cumsum", softmax),
        ("normalize", normalize),
        ("glu", glu),
        ("layer_norm rms_norm", layer_norm),
        ("group_norm instance_norm", map_norm),
        ("local_response_norm", channel_norm),
        ("batch_norm", batch_norm),
        ("view reshape flatten unflatten squeeze unsqueeze view_as reshape_as ravel", reshape),
        ("expand expand_as broadcast_to", expand),
        ("getitem", getitem),
        ("narrow", narrow),
        ("select", select),
        ("split chunk tensor_split", split),
        ("unbind", unbind),
    )
    for name in names.split()
}
