"""The receptive field by autograd alone: which pixels a unit's gradient reaches. The oracle of the analytical table.

Shares nothing with the rest of the package, so that each is a test of the other.
"""

from __future__ import annotations

import copy
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


# Functions of one feature map that only bend its values: left out, so that it is a sum with positive weights.
BENDS = {
    "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish", "hardsigmoid",
    "hardtanh", "sigmoid", "tanh", "softplus", "softsign", "prelu", "rrelu", "threshold", "logsigmoid",
    "tanhshrink", "hardshrink", "softshrink", "clamp", "clip", "exp", "log", "sqrt", "abs", "softmax",
    "log_softmax", "softmin", "local_response_norm",
}  # fmt: skip


class Summing(TorchFunctionMode):
    """Makes a network linear in its image: activations pass, and maxima become sums over the same windows."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.__name__.strip("_")
        if name in BENDS:
            return args[0] if args else kwargs["input"]
        if name in ("max_pool1d", "max_pool2d"):
            return self.sum_pool(func, *args, **kwargs)
        if name in ("amax", "adaptive_max_pool1d", "adaptive_max_pool2d"):
            func = torch.mean if name == "amax" else getattr(F, name.replace("max", "avg"))
            kwargs = {key: value for key, value in kwargs.items() if key != "return_indices"}
        return func(*args, **kwargs)

    @staticmethod
    def sum_pool(func, x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
        with torch.no_grad():  # for the size of its feature map only
            shape = func(x, kernel_size, stride, padding, dilation, ceil_mode).shape[2:]
        axes = len(shape)
        k, s, p, d = (
            tuple(v) * (axes // len(v)) if isinstance(v, (tuple, list)) else (v,) * axes
            for v in (kernel_size, stride or kernel_size, padding, dilation)
        )
        pads = [side for i in reversed(range(axes)) for side in (p[i], p[i] + s[i])]  # ceil_mode looks past the end
        convolve = F.conv1d if axes == 1 else F.conv2d
        ones = x.new_ones(x.shape[1], 1, *k)
        y = convolve(F.pad(x, pads), ones, stride=s, dilation=d, groups=x.shape[1])
        return y[(..., *[slice(n) for n in shape])]


def gradient_receptive_field(
    model: nn.Module,
    input_size: Sequence[int] = (1, 28, 28),
    layer: str | None = None,
    unit: Sequence[int] | None = None,
) -> GradientField:
    """The field of a map's units by autograd alone: the pixels where a unit's gradient is not zero.

    input_size: (C, H, W) or (C, L), without the batch.
    layer: path of the module whose feature map is measured; the model's output if None.
    unit: (row, column) or (position,): measure only the box of this unit. If None, that of the centre, and
        the feature map's size, jump and start. An output without a feature map, (N, C), counts as one unit.

    Works on a copy in float64 with positive weights, without activations, and with sums for maxima, so that
    nothing cancels. `box` is measured on an image of `input_size`. Size, jump and start are measured on
    images that are made longer, one axis at a time, until the field no longer changes; where it grows with
    the image (global pooling), or the model takes no other size, they are None.
    """
    model = positive_copy(model)
    sizes = input_size[1:]
    image, y = run(model, input_size, layer)
    box = gradient_box(image, y, [n // 2 for n in y.shape[2:]] if unit is None else unit)
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
            image, y = run(model, size, layer)
        except RuntimeError:  # a linear layer takes one size only
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


def run(model: nn.Module, input_size: Sequence[int], layer: str | None) -> tuple[Tensor, Tensor]:
    """An image of ones, and the feature map that a layer makes of it."""
    maps = []
    device = next((tensor.device for tensor in model.parameters()), None)
    image = torch.ones(1, *input_size, dtype=torch.float64, device=device, requires_grad=True)
    module = model.get_submodule(layer) if layer else model
    hook = module.register_forward_hook(lambda module, args, output: maps.append(output))
    try:
        with torch.enable_grad(), torch.random.fork_rng([device] if image.is_cuda else []), Summing():
            model(image)
    finally:
        hook.remove()
    return image, maps[-1]


def gradient_box(image: Tensor, y: Tensor, unit: Sequence[int]) -> Box | None:
    value = y[(slice(None), slice(None), *unit)].sum() if y.ndim == image.ndim else y.sum()
    (gradient,) = torch.autograd.grad(value, image, retain_graph=True)
    pixels = gradient[0].sum(0).nonzero()
    if len(pixels) == 0:
        return None
    return tuple(zip(pixels.amin(0).tolist(), pixels.amax(0).tolist(), strict=True))
