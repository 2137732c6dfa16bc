"""A chain of links as one autograd function, forward and backward in C."""

import ctypes
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mnist_s7.kernels import library
from mnist_s7.kernels.dropout import keep_mask
from mnist_s7.kernels.library import IDENTITY, PARTS, address
from mnist_s7.kernels.plan import Link, Norm


class Chain(torch.autograd.Function):
    """Layers in a row, (N, C, H, W) -> (N, C', H', W'). Between two links, maps are kept as they left the first."""

    @staticmethod
    def forward(ctx, x: Tensor, links: tuple[Link, ...], *parameters: Tensor) -> Tensor:
        n, given = len(x), iter(parameters)
        maps, weights, norms, masks, alive = [_channels_last(x)], [], [], [], []  # C has addresses of what is `alive`
        for link in links:
            before, mask = None, None
            if link.before:
                size = n * math.prod(link.size)
                mask = keep_mask(size, link.before.dropout) if link.before.dropout else None
                own = [next(given).contiguous() for _ in link.before.parameters()]
                alive += own
                before = _norm_for_c(link.before, mask, own)
                if isinstance(link.before.module, nn.BatchNorm2d) and link.before.module.training:
                    link.before.module.num_batches_tracked.add_(1)
            norms.append(before)
            masks.append(mask)
            weights.append(_channels_last(next(given)) if link.conv else None)
        for link, weight, before, after in zip(links, weights, norms, [*norms[1:], None], strict=True):
            maps.append(maps[-1] if link.writes_nothing else _empty_maps(n, link.size_out))
            _locate_added(link, before, maps, norms)
            library.forward(_layer_for_c(link, weight), before, after, maps[-2], maps[-1], n)
        last = maps[-1] if links[-1].needs_output else None  # else it may be changed in place
        ctx.save_for_backward(*maps[:-1], last, *weights)
        ctx.links, ctx.norms, ctx.masks = links, norms, masks
        return maps[-1]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        saved, count = ctx.saved_tensors, len(ctx.links)
        maps, weights = saved[: count + 1], saved[count + 1 :]
        n, gradient = len(maps[0]), _channels_last(gradient)
        of_parameters, of_added, after = [], {}, None
        for i in reversed(range(count)):
            link, before = ctx.links[i], ctx.norms[i]
            layer = _layer_for_c(link, weights[i])
            of_x = of_weight = sums = None
            of_norm = [None, None]
            if before:
                of_norm = [_floats(link.size[2]) if given else None for given in (before.weight, before.bias)]
            if link.conv:
                of_weight, sums = torch.empty_like(weights[i]), _floats(PARTS, library.sums_size(layer)).zero_()
            if link.kind == IDENTITY and not after and link.adds is None and i not in of_added:
                of_x = gradient
            elif i or ctx.needs_input_grad[0] or not link.conv:
                of_x = _empty_maps(n, link.size)
            _locate_added(link, before, maps, ctx.norms)
            given = gradient, of_added.get(i), maps[i], maps[i + 1]
            library.backward(layer, before, after, *given, of_x, sums, of_weight, *of_norm, n)
            of_parameters[:0] = [g for g in (*of_norm, of_weight) if g is not None]
            gradient, after = of_x, before
            if link.adds is not None:
                of_added[link.adds] = of_x
        return gradient, None, *of_parameters


def _layer_for_c(link: Link, weight: Tensor | None) -> library.Layer:
    k, padding = (link.conv.kernel_size[0], link.conv.padding[0]) if link.conv else (0, 0)
    return library.Layer(link.kind, *link.size, *link.size_out, k, padding, link.relu, address(weight))


def _norm_for_c(norm: Norm, mask: Tensor | None, parameters: list[Tensor]) -> library.Norm:
    """`mask` is (n,) uint8, with 1 for every element that dropout keeps; None where it keeps all."""
    module, running, settings = norm.module, (None, None), (0.0, 0.0)
    if isinstance(module, nn.BatchNorm2d):
        running, settings = (module.running_mean, module.running_var), (module.eps, module.momentum)
    weight, bias = parameters if len(parameters) == 2 else (None, *parameters)
    tensors = map(address, (mask, weight, bias, *running))
    scale = 1 / (1 - norm.dropout)
    return library.Norm(len(bias), norm.relu, not module.training, *tensors, *settings, scale, norm.below)


def _locate_added(
    link: Link, before: library.Norm | None, maps: Sequence[Tensor], norms: list[library.Norm | None]
) -> None:
    """Tell `before` where the maps are that the link adds: a tensor that was saved may have moved."""
    if link.adds is not None:
        norm = norms[link.adds]
        before.added = address(maps[link.adds])
        before.added_norm = ctypes.addressof(norm) if norm else None


def _channels_last(x: Tensor) -> Tensor:
    """(N, C, H, W), in memory as C takes it."""
    return x.contiguous(memory_format=torch.channels_last)


def _empty_maps(n: int, size: tuple[int, int, int]) -> Tensor:
    """(N, C, H, W) for feature maps of (h, w, c)."""
    h, w, c = size
    return torch.empty((n, c, h, w), dtype=torch.float32, device="cpu", memory_format=torch.channels_last)


def _floats(*size: int) -> Tensor:
    return torch.empty(size, dtype=torch.float32, device="cpu")
