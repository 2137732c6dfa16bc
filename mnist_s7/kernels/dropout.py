"""Dropout, whose masks C draws on a CPU, if it is compiled: PyTorch draws one number after another there."""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from mnist_s7.kernels import library


def dropped(x: Tensor, p: float, generators: Sequence[Generator | None] = (None,)) -> Tensor:
    """Dropout of (S * N, ...), one network's elements after another's, each network's from its own generator; in
    feature maps (S * N, C, H, W) it goes pixel by pixel, as C has them in memory."""
    in_maps = x.dim() == 4
    n, shape = len(x) // len(generators), (*x.shape[2:], x.shape[1]) if in_maps else x.shape[1:]
    size = n * math.prod(shape)
    masks = torch.cat([keep_mask(size, p, own).view(n, *shape) for own in generators])
    factors = masks.to(x.dtype).div_(1 - p)
    return x * (factors.movedim(3, 1) if in_maps else factors)


def keep_mask(n: int, p: float, generator: Generator | None = None) -> Tensor:
    """(n,) uint8, 0 with probability `p`, else 1, on the generator's device; None is the global one of the CPU."""
    device = generator.device if generator else torch.device("cpu")
    if device.type != "cpu" or library.load() is None:
        return (torch.rand(n, generator=generator, device=device) >= p).to(torch.uint8)
    return library.keep_mask(n, p, generator)
