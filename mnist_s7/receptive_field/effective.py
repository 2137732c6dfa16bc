"""Which part of its receptive field a unit really uses, from gradients on real images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mnist_s7.receptive_field.errors import ReceptiveFieldError
from mnist_s7.receptive_field.inputs import left_as_it_was


@dataclass(frozen=True)
class EffectiveField:
    """Where in the image the centre unit of a layer gets its value from."""

    map: Tensor  # (H, W), (L,) or (D, H, W), float64 on the CPU; sums to 1
    centre: tuple[float, ...]  # the map's centre of mass, as (row, column), in pixels
    radius: float  # pixels around that centre that hold 95 % of the gradient
    layer: str
    unit: tuple[int, ...]


def effective_receptive_field(model: nn.Module, images: Tensor, layer: str | None = None) -> EffectiveField:
    """The mean absolute gradient of a layer's centre unit with respect to the pixels of real images.

    images: (N, C, H, W), (N, C, L) or (N, C, D, H, W), normalised as the model expects them.
    layer: path of a module with a feature map; if None, the last convolution whose feature map has more than one
        unit: that is the last one before global pooling, or before a convolution that takes in all that is left.

    The gradient is that of the unit's sum over channels, in evaluation mode; absolute values are averaged
    over images and colours (after Luo et al. 2016, arXiv:1701.04128). Of an even number of units the centre
    is the one after the middle, n // 2. The model is left as it was, its gradients included. Raises KeyError for a
    layer that there is not, and ReceptiveFieldError where the model cannot run or has no such gradient.
    """
    if not isinstance(images, Tensor):
        raise ReceptiveFieldError(f"images of type {type(images).__name__}: must be a tensor (N, C, H, W)")
    modules = dict(model.named_modules())
    if layer is not None and layer not in modules:
        raise KeyError(f"no module {layer!r} in the model")
    convolution = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}.get(images.ndim, ())
    names = [name for name, module in modules.items() if isinstance(module, convolution)] if layer is None else [layer]
    last = None  # of the layers that have such a feature map: name, unit, and the sum over its channels

    def keep(name: str, y) -> None:
        nonlocal last
        if isinstance(y, Tensor) and y.ndim == images.ndim and (layer is not None or y.shape[2:].numel() > 1):
            unit = tuple(n // 2 for n in y.shape[2:])
            last = name, unit, y[(slice(None), slice(None), *unit)].sum()  # now: an activation may overwrite y

    hooks = [modules[n].register_forward_hook(lambda m, args, y, n=n: keep(n, y)) for n in names]
    like = next(model.parameters(), images)
    if like.is_meta:
        raise ReceptiveFieldError("the model is on the meta device, where it has no values")
    try:
        with torch.inference_mode(False), left_as_it_was(model, like.device), torch.enable_grad():
            total = torch.zeros(images.shape[2:], dtype=torch.float64)
            for batch in images.split(250):
                pixels = batch.clone().detach().to(like.device, like.dtype).requires_grad_()
                run(model, pixels)
                if last is None and layer is None:
                    raise ReceptiveFieldError(
                        f"no convolution has a feature map of more than one unit, and as many axes as the images "
                        f"{tuple(images.shape)}; give images as (N, C, H, W), or name a layer"
                    )
                if last is None:
                    raise ReceptiveFieldError(
                        f"{layer!r} gives no feature map like the images, (N, C, ...); name another layer"
                    )
                name, unit, value = last
                gradient = torch.autograd.grad(value, pixels, allow_unused=True)[0] if value.requires_grad else None
                if gradient is None:
                    raise ReceptiveFieldError(f"{name!r} has no gradient: the model computes it without one")
                total += gradient.abs().sum((0, 1)).double().cpu()
    finally:
        for hook in hooks:
            hook.remove()
    if not total.isfinite().all():
        raise ReceptiveFieldError(f"the gradient of {name!r} is not finite on these images")
    if not total.sum() > 0:
        raise ReceptiveFieldError(f"the centre unit of {name!r} has no gradient on these images")
    total /= total.sum()
    pixels = torch.cartesian_prod(*[torch.arange(n, dtype=torch.float64) for n in total.shape]).view(-1, total.ndim)
    centre = (pixels * total.flatten()[:, None]).sum(0)
    distance = (pixels - centre).square().sum(1).sqrt()
    order = distance.argsort()
    enough = (total.flatten()[order].cumsum(0) >= 0.95).nonzero()[0]
    return EffectiveField(total, tuple(centre.tolist()), distance[order][enough].item(), name, unit)


def run(model: nn.Module, images: Tensor) -> None:
    try:
        model(images)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise ReceptiveFieldError(f"the model cannot run on images {tuple(images.shape)}: {reason}") from error
