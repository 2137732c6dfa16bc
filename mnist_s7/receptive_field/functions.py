"""Which rule each function of torch has, by the function's name, and how a call's arguments reach it."""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from mnist_s7.receptive_field import layers, views
from mnist_s7.receptive_field.errors import Refused
from mnist_s7.receptive_field.fields import Field, Step, refit
from mnist_s7.receptive_field.layers import reduce, within


def function_name(func) -> str:
    """The name that torch.add, Tensor.add_, Tensor.__iadd__ and Tensor.__radd__ share."""
    name = func.__name__.strip("_")
    if name in ("get", "set") and func.__name__.startswith("__"):  # attributes: x.T, x.data = y
        name = {"get": "", "set": "set_"}[name] + func.__self__.__name__
    return ARITHMETIC.get(name, name)


ARITHMETIC = {
    **{prefix + name: name for prefix in "ri" for name in ("add", "sub", "mul", "pow")},
    **{prefix + "truediv": "div" for prefix in ("", "r", "i")},
    **dict.fromkeys(("mm", "bmm", "mv", "dot"), "matmul"),
    "true_divide": "div", "multiply": "mul", "subtract": "sub", "divide": "div",
}  # fmt: skip

# What works on every element alone but lacks torch's tag for that, or did in 2.11.
ELEMENTWISE = {
    "leaky_relu", "hardswish", "prelu", "softsign", "tanhshrink", "logsigmoid", "log_sigmoid", "and", "or", "xor",
    "invert", "contiguous", "to", "float", "half", "double", "bfloat16", "type", "type_as", "cpu", "cuda", "detach",
    "data", "real", "requires_grad", "dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout",
    "feature_alpha_dropout",
}  # fmt: skip
CONSTANT = {
    "zeros", "ones", "full", "empty", "rand", "randn", "new_zeros", "new_ones", "new_full", "new_empty",
    "new_tensor", "zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like",
}  # fmt: skip
PERMUTES = {"permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "t", "T", "mT", "H", "mH", "adjoint"}
MOVES = {
    "flip", "fliplr", "flipud", "roll", "repeat", "tile", "repeat_interleave", "index_select", "channel_shuffle",
    "native_channel_shuffle", "take_along_dim",
}  # fmt: skip
# Functions that leave a torn feature map as it is until it stands as one again; a linear layer looks at its channels.
VIEWS = PERMUTES | {
    "view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as", "reshape_as", "ravel", "contiguous",
    "expand", "expand_as", "broadcast_to", "getitem", "narrow", "select", "split", "chunk", "unbind",
    "linear",
}  # fmt: skip
CONCATENATES = {"cat", "concat", "concatenate", "stack"}
CONTRACTS = {"einsum", "matmul"}
WRITES = {
    "setitem", "set", "set_data", "copy", "index_copy", "index_fill", "index_add", "masked_scatter", "scatter",
    "resize",
}  # fmt: skip
UNPOOLS = {f"max_unpool{rank}d": partial(layers.max_unpool, rank) for rank in (1, 2, 3)}


@functools.cache
def is_elementwise(name: str) -> bool:
    packet = getattr(torch.ops.aten, name, None)
    tagged = packet and any(torch.Tag.pointwise in getattr(packet, o).tags for o in packet.overloads())
    return name in ELEMENTWISE or bool(tagged)


# ------------------------------------------------------------------------- rules that are others in torch's words


def statistics(x, out, dim=None, unbiased=True, keepdim=False, correction=1) -> Step:
    return reduce(x, out, None if isinstance(dim, bool) else dim, keepdim)


def norm(x, out, p=None, dim=None, keepdim=False, dtype=None) -> Step:
    return reduce(x, out, dim, keepdim)


def kth(x, out, k, dim=-1, keepdim=False) -> Step:
    return reduce(x, out, dim, keepdim)


def quantile(x, out, q, dim=None, keepdim=False, interpolation="linear") -> Step:
    return reduce(x, out, dim, keepdim)


def ordered(x, out, dim=-1, descending=False, stable=False) -> Step:
    return within(x, [dim])


def msort(x, out) -> Step:
    return within(x, [0])


def topk(x, out, k, dim=-1, largest=True, sorted=True) -> Step:
    y = within(x, [dim]).after.laid_out(refit(x.layout, layers.first_tensor(out).shape))
    return Step(x, replace(y, rough=x.rough or bool(x.pieces)))


def constant_pad(x, out, pad, value=0) -> Step:
    return layers.pad(x, out, pad)


def cumulative(x, out, dim, dtype=None) -> Step:
    return layers.neighbours(x, dim)


RULES: dict[str, Callable] = {
    name: rule
    for names, rule in (
        ("conv1d conv2d conv3d", layers.conv),
        ("conv_transpose1d conv_transpose2d conv_transpose3d", layers.conv_transpose),
        *(
            (names.replace("#", str(rank)), partial(rule, rank))
            for rank in (1, 2, 3)
            for names, rule in (
                ("max_pool#d max_pool#d_with_indices", layers.max_pool),
                ("avg_pool#d", layers.avg_pool),
                ("lp_pool#d", layers.lp_pool),
                ("adaptive_avg_pool#d adaptive_max_pool#d adaptive_max_pool#d_with_indices", layers.adaptive_pool),
            )
        ),
        ("interpolate", layers.interpolate),
        ("pixel_shuffle", views.pixel_shuffle),
        ("pixel_unshuffle", views.pixel_unshuffle),
        ("pad", layers.pad),
        ("constant_pad_nd", constant_pad),
        ("amax amin max min argmax argmin any all aminmax median nanmedian mode logsumexp", reduce),
        ("mean sum prod nansum nanmean", reduce),
        ("std var std_mean var_mean", statistics),
        ("norm linalg_vector_norm linalg_norm vector_norm", norm),
        ("kthvalue", kth),
        ("quantile nanquantile", quantile),
        ("sort argsort", ordered),
        ("msort", msort),
        ("topk", topk),
        ("cumsum cumprod logcumsumexp cummax cummin", cumulative),
        ("linear", layers.linear),
        ("softmax log_softmax softmin", layers.softmax),
        ("normalize", layers.normalize),
        ("glu", layers.glu),
        ("layer_norm rms_norm", layers.layer_norm),
        ("group_norm", layers.group_norm),
        ("instance_norm", layers.instance_norm),
        ("local_response_norm", layers.local_response_norm),
        ("batch_norm", layers.batch_norm),
        ("view reshape flatten unflatten squeeze unsqueeze view_as reshape_as ravel", views.reshape),
        ("expand expand_as broadcast_to", views.expand),
        ("getitem", views.getitem),
        ("narrow", views.narrow),
        ("select", views.select),
        ("split split_with_sizes chunk tensor_split unsafe_split unsafe_chunk", views.split),
        ("unbind", views.unbind),
    )
    for name in names.split()
}

# Names that torch takes for one parameter besides the one it documents first.
SAME = {
    "axis": "dim", "keepdims": "keepdim", "ord": "p",
    **dict.fromkeys(("chunks", "indices_or_sections", "indices", "split_size_or_sections", "split_size",
                     "split_sizes"), "sections"),
}  # fmt: skip


def apply(rule: Callable, x: Field, out, args: Sequence, kwargs: dict) -> Step | list[Step]:
    """Calls a rule with the other arguments of a function, as its caller gave them."""
    kwargs = {name if name in _names(rule) else SAME.get(name, name): value for name, value in kwargs.items()}
    kwargs = {name: value for name, value in kwargs.items() if name != "out"}  # None, or it would have been refused
    try:
        bound = inspect.signature(rule).bind(x, out, *args, **kwargs)
    except TypeError as error:
        raise Refused(f"was called in a way that cannot be followed: {error}") from error
    return rule(*bound.args, **bound.kwargs)


@functools.cache
def _names(rule: Callable) -> frozenset[str]:
    return frozenset(inspect.signature(rule).parameters)


def plain(value):
    """An argument with its numbers as Python's: NumPy's integers, tensors of one integer, torch.Size."""
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return (list if isinstance(value, list) else tuple)(map(plain, value))
    if isinstance(value, slice):
        return slice(plain(value.start), plain(value.stop), plain(value.step))
    if isinstance(value, (bool, int, float, str)) or value is None or value is ...:
        return value
    if isinstance(value, Tensor) and (value.ndim or value.is_floating_point() or value.dtype == torch.bool):
        return value
    try:
        return operator.index(value)
    except (TypeError, RuntimeError):
        return value
