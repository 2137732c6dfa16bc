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
        maps, layers, weights, norms, masks = [_channels_last(x)], [], [], [], []
        alive = []  # what else C has addresses of
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
            layers.append(_layer_for_c(link, weights[-1]))
            maps.append(maps[-1] if link.writes_nothing else _empty_maps(n, link.size_out))
        # As little Python as can be from here on: C fills the caches with feature maps, which makes it slow.
        for i, layer in enumerate(layers):
            _locate_added(links[i], norms[i], maps, norms)
            library.forward(layer, norms[i], _after(norms, i), maps[i], maps[i + 1], n)
        last = maps[-1] if links[-1].needs_output else None  # else it may be changed in place
        ctx.save_for_backward(*maps[:-1], last, *weights)
        ctx.links, ctx.layers, ctx.norms, ctx.masks = links, layers, norms, masks
        return maps[-1]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        saved, count = ctx.saved_tensors, len(ctx.links)
        maps, weights = saved[: count + 1], saved[count + 1 :]
        n, gradient = len(maps[0]), _channels_last(gradient)
        of_norms = [_memory_for_gradients(norm) for norm in ctx.norms]
        of_weights = [None if weight is None else torch.empty_like(weight) for weight in weights]
        sums = [_floats(PARTS, library.sums_size(layer)).zero_() if layer.weight else None for layer in ctx.layers]
        of_added = {}
        for i in reversed(range(count)):
            link, layer, before, after = ctx.links[i], ctx.layers[i], ctx.norms[i], _after(ctx.norms, i)
            layer.weight = address(weights[i])  # which `parameter.data = ...` may have moved
            of_x = None
            if link.kind == IDENTITY and not after and link.adds is None and i not in of_added:
                of_x = gradient
            elif i or ctx.needs_input_grad[0] or not link.conv:
                of_x = _empty_maps(n, link.size)
            _locate_added(link, before, maps, ctx.norms)
            given = gradient, of_added.get(i), maps[i], maps[i + 1]
            library.backward(layer, before, after, *given, of_x, sums[i], of_weights[i], *of_norms[i], n)
            gradient = of_x
            if link.adds is not None:
                of_added[link.adds] = of_x
        of_links = zip(of_norms, of_weights, strict=True)
        return gradient, None, *(g for of_norm, of_weight in of_links for g in (*of_norm, of_weight) if g is not None)


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


def _memory_for_gradients(norm: library.Norm | None) -> tuple[Tensor | None, Tensor | None]:
    """Of its weight and its bias."""
    if not norm:
        return None, None
    return _floats(norm.c) if norm.weight else None, _floats(norm.c)


def _after(norms: Sequence[library.Norm | None], i: int) -> library.Norm | None:
    """The norm after the layer of link i."""
    return norms[i + 1] if i + 1 < len(norms) else None


def _channels_last(x: Tensor) -> Tensor:
    """(N, C, H, W), in memory as C takes it."""
    return x.contiguous(memory_format=torch.channels_last)


def _empty_maps(n: int, size: tuple[int, int, int]) -> Tensor:
    """(N, C, H, W) for feature maps of (h, w, c)."""
    h, w, c = size
    return torch.empty((n, c, h, w), dtype=torch.float32, device="cpu", memory_format=torch.channels_last)


def _floats(*size: int) -> Tensor:
    return torch.empty(size, dtype=torch.float32, device="cpu")
