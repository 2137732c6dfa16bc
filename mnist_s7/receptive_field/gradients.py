"""The receptive field by autograd alone: which pixels a unit's gradient reaches. The oracle of the analytical table.

Shares nothing with the rest of the package, so that each is a test of the other.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Box = tuple[tuple[int, int], ...]  # first and last pixel along each axis, both inside


@dataclass(frozen=True)
class GradientField:
    """What gradients say of one unit: a tuple has one entry an axis, H before W."""

    box: Box | None  # pixels of the image that the unit depends on; None if on none
    receptive_field: tuple[int | None, ...]  # pixels; None where no image was large enough to hold the field
    jump: tuple[int | None, ...]  # pixels from a unit to the next; None where there is no next
    start: tuple[int | float | None, ...]  # centre of the first unit's field


# Functions of one feature map that only bend or round its values, or whose gradient torch gives up: left out, so that
# the network is a sum with positive weights.
BENDS = {
    "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish", "hardsigmoid",
    "hardtanh", "sigmoid", "tanh", "softplus", "softsign", "prelu", "rrelu", "threshold", "logsigmoid", "log_sigmoid",
    "tanhshrink", "hardshrink", "softshrink", "clamp", "clip", "clamp_min", "clamp_max", "exp", "log", "sqrt", "abs",
    "neg", "round", "floor", "ceil", "trunc", "sign", "sgn", "detach", "logical_not", "bitwise_not", "invert",
}  # fmt: skip
# Functions that choose between their operands, or compare them: their sum depends on the same.
CHOOSES = {
    "maximum", "minimum", "fmax", "fmin", "where", "masked_fill", "gt", "lt", "ge", "le", "eq", "ne", "greater", "less",
    "greater_equal", "less_equal", "not_equal", "logical_and", "logical_or", "logical_xor", "and", "or", "xor",
    "bitwise_and", "bitwise_or", "bitwise_xor",
}  # fmt: skip
# Functions that give places instead of values; what depends on these has no gradient.
PLACES = {
    "argmax", "argmin", "argsort", "sort", "topk", "searchsorted", "bucketize", "nonzero", "kthvalue", "mode",
    "fractional_max_pool2d", "fractional_max_pool3d",
}  # fmt: skip
LARGEST_RUN = 2**25  # values: so many may the functions of one run give together, 0.25 GB in float64


class TooLarge(Exception):
    """A run on a longer image would take too much memory and time."""


class Summing(TorchFunctionMode):
    """Makes a network linear in its image: activations pass, and maxima become sums over the same windows."""

    def __init__(self, limit: float):
        super().__init__()
        self.limit = limit

    def __torch_function__(self, func, types, args=(), kwargs=None):
        output = self.summed(func, args, kwargs or {})
        self.limit -= output.numel() if isinstance(output, Tensor) else 0
        if self.limit < 0:
            raise TooLarge
        return output

    def summed(self, func, args: tuple, kwargs: dict):
        name = func.__name__.strip("_")
        operands = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        if not any(operand.requires_grad for operand in operands):
            return func(*args, **kwargs)
        if name in PLACES:
            raise ValueError(f"{name} gives places instead of values, which have no gradient")
        if name in BENDS:  # with tensors as bounds, clamp chooses
            return sum(operands) if name in ("clamp", "clip", "clamp_min", "clamp_max") else operands[0]
        if name in CHOOSES or (name in ("max", "min") and len(operands) == 2):
            return sum(operand.to(torch.float64) for operand in operands)
        if name in ("max", "min", "amax", "amin", "aminmax", "median", "nanmedian"):
            others = {key: value for key, value in kwargs.items() if value is not operands[0]}
            return self.sum_of_all(func, name, operands[0], *args[1:], **others)
        if name.startswith(("max_pool", "adaptive_max_pool")):
            with_indices = kwargs.pop("return_indices", False) or name.endswith("_with_indices")
            if name.startswith("max_pool"):
                y = self.sum_pool(int(name[8]), func, *args, **kwargs)
            else:
                y = getattr(F, name.removesuffix("_with_indices").replace("max", "avg"))(*args[:2], **kwargs)
            return (y, torch.zeros_like(y, dtype=torch.int64)) if with_indices else y
        if name.startswith("max_unpool"):
            return self.spread_pool(int(name[10]), func, *args, **kwargs)
        return func(*args, **kwargs)

    @staticmethod
    def sum_of_all(func, name: str, x: Tensor, *args, **kwargs):
        """The mean instead of the greatest, the smallest or the middle value."""
        result = func(x, *args, **kwargs)
        values = result if isinstance(result, Tensor) else result[0]
        dim = kwargs.get("dim", kwargs.get("axis", args[0] if args else None))
        mean = x.mean() if dim is None else x.mean(dim, keepdim=values.ndim == x.ndim)
        if isinstance(result, Tensor):
            return mean
        return type(result)((mean, mean if name == "aminmax" else result[1]))

    @staticmethod
    def sum_pool(axes, func, x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
        with torch.no_grad():  # for the size of its feature map only
            y = func(x, kernel_size, stride, padding, dilation, ceil_mode)
            shape = (y if isinstance(y, Tensor) else y[0]).shape[-axes:]
        k, s, p, d = (each(v, axes) for v in (kernel_size, stride or kernel_size, padding, dilation))
        pads = [side for i in reversed(range(axes)) for side in (p[i], p[i] + s[i])]  # ceil_mode looks past the end
        convolve = getattr(F, f"conv{axes}d")
        ones = x.new_ones(x.shape[-axes - 1], 1, *k)
        y = convolve(F.pad(x, pads), ones, stride=s, dilation=d, groups=x.shape[-axes - 1])
        return y[(..., *[slice(n) for n in shape])]

    @staticmethod
    def spread_pool(axes, func, x, indices, kernel_size, stride=None, padding=0, output_size=None):
        """Each unit at every place of its window."""
        k, s, p = (each(v, axes) for v in (kernel_size, stride or kernel_size, padding))
        convolve = getattr(F, f"conv_transpose{axes}d")
        ones = x.new_ones(x.shape[-axes - 1], 1, *k)
        y = convolve(x, ones, stride=s, padding=p, groups=x.shape[-axes - 1])
        if output_size is None:
            return y
        pads = [(0, n - m) for n, m in zip(output_size[-axes:], y.shape[-axes:], strict=True)]
        return F.pad(y, [side for pair in reversed(pads) for side in pair])


def each(value, axes: int) -> tuple[int, ...]:
    """One number an axis."""
    return tuple(value) * (axes // len(value)) if isinstance(value, (tuple, list)) else (value,) * axes


def gradient_receptive_field(
    model: nn.Module,
    input_size: Sequence[int] = (1, 28, 28),
    layer: str | None = None,
    unit: Sequence[int] | None = None,
) -> GradientField:
    """The field of a feature map's units by autograd alone: the pixels where a unit's gradient is not zero.

    input_size: (C, H, W), (C, L) or (C, D, H, W), without the batch.
    layer: path of the module whose feature map is measured; the model's output if None.
    unit: (row, column) or (position,): measure only the box of this unit. If None, that of the centre, and
        the feature map's size, jump and start. An output without a feature map, (N, C), counts as one unit.

    Works on a copy in float64 with positive weights, without activations, and with sums for maxima, so that
    nothing cancels. `box` is measured on an image of `input_size`. Size, jump and start are measured on
    images that are made longer, one axis at a time, until the field no longer changes; where it grows with
    the image (global pooling, attention), or the model takes no other size, they are None. So are they where that
    would take an image of more than 5,000 pixels, or runs whose functions give more than `LARGEST_RUN` values. After
    upsampling, where sizes differ, they are those of the centre unit.

    What has no gradient cannot be seen: values that left torch, and what the model computes without gradients. Raises
    ValueError where the model cannot be measured so: it cannot be copied or cannot run, its layer gives no tensor, or
    it calls a function that gives places, as argmax does.
    """
    try:
        model = positive_copy(model)
        image, y = run(model, input_size, layer)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"the model cannot be measured on input_size={tuple(input_size)}: {reason}") from error
    sizes, units = input_size[1:], tuple(y.shape[2:]) if y.ndim == image.ndim else ()
    if (
        unit is not None
        and units
        and (len(unit) != len(units) or any(not 0 <= i < n for i, n in zip(unit, units, strict=True)))
    ):
        raise ValueError(f"unit={tuple(unit)}: is not on the feature map of {units} units")
    box = gradient_box(image, y, [n // 2 for n in units] if unit is None else unit)
    found = [(None, None, None)] * len(sizes)
    if y.ndim == image.ndim and unit is None:
        found = [measure_axis(model, input_size, axis, layer) for axis in range(len(sizes))]
    return GradientField(box, *zip(*found, strict=True))


def measure_axis(model: nn.Module, input_size: Sequence[int], axis: int, layer: str | None) -> tuple:
    """Size, jump and start along one axis: what two lengths of the image in a row agree on."""
    size = list(input_size)
    before = None
    while size[1 + axis] < 12 * max(input_size) + 5000:
        size[1 + axis] *= 2
        try:
            image, y = run(model, size, layer, LARGEST_RUN)
        except Exception:  # too large, or a size that the model does not take, as of a linear layer
            break
        unit = [n // 2 for n in y.shape[2:]]
        ahead = [n + 1 if i == axis else n for i, n in enumerate(unit)]
        if ahead[axis] >= y.shape[2 + axis]:
            continue
        box, next_box = gradient_box(image, y, unit), gradient_box(image, y, ahead)
        if box is None or next_box is None or box[axis][0] == 0 or next_box[axis][1] == size[1 + axis] - 1:
            continue
        lo, hi = box[axis]
        jump = next_box[axis][0] - lo
        whole, odd = divmod(lo + hi - 2 * jump * unit[axis], 2)
        now = hi - lo + 1, jump, whole + 0.5 if odd else whole
        if now == before:  # so neither the image's edge nor that of a feature map on the way has cut it
            return now
        before = now
    return None, None, None


def positive_copy(model: nn.Module) -> nn.Module:
    model = copy.deepcopy(model).to(torch.float64).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for tensor in model.parameters():  # around 1 / fan-in, so that feature maps stay of the same size; all different
        values = torch.rand(tensor.shape, generator=generator, dtype=torch.float64) + 0.5
        tensor.copy_(values / (tensor[0].numel() if tensor.ndim > 1 else 1))
    for module in model.modules():
        if getattr(module, "running_var", None) is not None:
            module.reset_running_stats()
    return model


def run(
    model: nn.Module, input_size: Sequence[int], layer: str | None, limit: float = math.inf
) -> tuple[Tensor, Tensor]:
    """An image, and the feature map that a layer makes of it; TooLarge if that takes over `limit` values."""
    maps = []
    device = next((tensor.device for tensor in model.parameters()), None)
    # of unequal values, so that differences and squares have a gradient
    image = 1 + torch.rand(1, *input_size, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) / 2
    image = image.to(device).requires_grad_()
    module = model.get_submodule(layer) if layer else model
    hook = module.register_forward_hook(lambda module, args, output: maps.append(output))
    try:
        with torch.enable_grad(), torch.random.fork_rng([device] if image.is_cuda else []), Summing(limit):
            model(image)
    finally:
        hook.remove()
    if not maps or not isinstance(maps[-1], Tensor):
        given = f"a {type(maps[-1]).__name__}" if maps else "nothing, as it is not used"
        raise TypeError(f"{'the model' if layer is None else f'layer {layer!r}'} gives {given} and no tensor")
    return image, maps[-1]


def gradient_box(image: Tensor, y: Tensor, unit: Sequence[int]) -> Box | None:
    at_unit = y[(slice(None), slice(None), *unit)] if y.ndim == image.ndim else y
    weights = torch.linspace(1, 2, at_unit.numel(), dtype=y.dtype, device=y.device)  # else normalised sums cancel out
    value = (at_unit * weights.view(at_unit.shape)).sum()
    if not value.requires_grad:
        return None
    (gradient,) = torch.autograd.grad(value, image, retain_graph=True)
    pixels = gradient[0].abs().sum(0).nonzero()
    if len(pixels) == 0:
        return None
    return tuple(zip(pixels.amin(0).tolist(), pixels.amax(0).tolist(), strict=True))
