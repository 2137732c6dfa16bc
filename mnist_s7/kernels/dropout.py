"""Dropout on a CPU, for which only the dropped elements are drawn."""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor


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
    if generator is not None and generator.device.type != "cpu":
        return (torch.rand(n, generator=generator, device=generator.device) >= p).to(torch.uint8)
    mask = torch.ones(n, dtype=torch.uint8, device="cpu")
    return mask.index_fill_(0, _successes(n, p, generator), 0) if p else mask


def _successes(n: int, p: float, generator: Generator | None = None) -> Tensor:
    """Positions, ascending, of the successes among `n` Bernoulli(p) trials, int64.

    PyTorch's dropout draws a number for every element, one after the other on a CPU. The gaps between successes of
    a Bernoulli process are geometric, so about n * p such draws give the same process (W. Feller, "An Introduction
    to Probability Theory and Its Applications", vol. 1, chapter VI.8).
    """
    draws = int(n * p + 6 * (n * p) ** 0.5) + 16  # six standard deviations more than the mean: seldom too few
    positions = _geometric(draws, p, generator).cumsum_(0).sub_(1)
    while positions[-1] < n:
        positions = torch.cat([positions, _geometric(draws, p, generator).cumsum_(0).add_(positions[-1])])
    return positions[: torch.searchsorted(positions, n)]


def _geometric(n: int, p: float, generator: Generator | None = None) -> Tensor:
    """(n,) int64 draws of the number of Bernoulli(p) trials up to and with the first success.

    By inversion (L. Devroye, "Non-Uniform Random Variate Generation", chapter X.2), which is vectorised as PyTorch's
    `geometric_` is not.
    """
    uniform = torch.rand(n, generator=generator, dtype=torch.float32, device="cpu")
    return uniform.neg_().log1p_().div_(math.log1p(-p)).long().add_(1)
