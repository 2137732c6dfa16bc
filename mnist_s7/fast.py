"""What makes training fast on a CPU, in one place: the models and the loop stay as they would be without it."""

import ctypes
import platform

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Sequential", "keep_freed_memory"]

# Parameters of glibc's mallopt(3), from malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> bool:
    """Have glibc keep freed memory for the next step instead of giving it back and faulting it in again.

    Acts on the whole process. Returns whether it could: elsewhere than on Linux with glibc, nothing happens.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    one_gibibyte = 1 << 30  # above any block that a step allocates
    return bool(mallopt(M_MMAP_THRESHOLD, one_gibibyte) and mallopt(M_TRIM_THRESHOLD, one_gibibyte))


class Sequential(nn.Sequential):
    """`nn.Sequential`, with fewer passes over memory while it trains on a CPU.

    There it computes what its layers say, but joins neighbours: a ReLU works in place on the convolution or the
    BatchNorm before it, dropout's scale goes into the BatchNorm's weight and bias (a ReLU in between does not mind a
    positive factor), and only the elements that are dropped are drawn and written. A BatchNorm before dropout is
    taken to have weight, bias, running statistics and a momentum, as by default. Hooks on joined layers are not
    called then. In evaluation mode, and on other devices, it is `nn.Sequential`.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or x.device.type != "cpu":
            return super().forward(x)
        layers = list(self)
        while layers:
            match layers:
                case [nn.BatchNorm2d() as norm, nn.ReLU(), nn.Dropout() as dropout, *layers] if _join(norm, dropout):
                    x = _normalize(x, norm, dropout.p)
                    x = _ReluDrop.apply(x, _successes(x.numel(), dropout.p))
                case [nn.BatchNorm2d() as norm, nn.Dropout() as dropout, *layers] if _join(norm, dropout):
                    x = _normalize(x, norm, dropout.p)
                    x = _Drop.apply(x, _successes(x.numel(), dropout.p))
                case [nn.Conv2d() | nn.BatchNorm2d() as layer, nn.ReLU(), *layers]:
                    x = layer(x).relu_()
                case [layer, *layers]:
                    x = layer(x)
        return x


def _join(norm: nn.BatchNorm2d, dropout: nn.Dropout) -> bool:
    """Whether both layers train, as they do in a network that is not partly frozen."""
    return norm.training and dropout.training and dropout.p < 1


def _normalize(x: Tensor, norm: nn.BatchNorm2d, dropout: float) -> Tensor:
    """What `norm` gives in training, times dropout's 1 / (1 - p)."""
    scale = 1 / (1 - dropout)
    norm.num_batches_tracked.add_(1)
    return F.batch_norm(
        x, norm.running_mean, norm.running_var, norm.weight * scale, norm.bias * scale, True, norm.momentum, norm.eps
    )


def _successes(n: int, p: float) -> Tensor:
    """Positions, ascending, of the successes among `n` Bernoulli(p) trials, int64.

    PyTorch's dropout draws a number for every element, one after the other on a CPU. The gaps between successes of
    a Bernoulli process are geometric, so about n * p such draws give the same process (W. Feller, "An Introduction
    to Probability Theory and Its Applications", vol. 1, chapter VI.8).
    """
    if p == 0:
        return torch.empty(0, dtype=torch.int64)
    draws = int(n * p + 6 * (n * p) ** 0.5) + 16  # six standard deviations more than the mean: seldom too few
    positions = torch.empty(draws, dtype=torch.int64).geometric_(p).cumsum_(0).sub_(1)
    while positions[-1] < n:
        more = torch.empty(draws, dtype=torch.int64).geometric_(p).cumsum_(0).add_(positions[-1])
        positions = torch.cat([positions, more])
    return positions[: torch.searchsorted(positions, n)]


def _in_memory_order(x: Tensor) -> Tensor:
    """The elements of a dense tensor as one row, whatever its memory format."""
    return x.as_strided((x.numel(),), (1,))


class _Drop(torch.autograd.Function):
    """In place: 0 at `positions`, counted in memory order; the gradient likewise."""

    @staticmethod
    def forward(ctx, x: Tensor, positions: Tensor) -> Tensor:
        ctx.mark_dirty(x)
        ctx.save_for_backward(positions)
        ctx.strides = x.stride()
        _in_memory_order(x).index_fill_(0, positions, 0)
        return x

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        (positions,) = ctx.saved_tensors
        # a copy, since others may use the gradient too, laid out as x was, since that is what the positions count
        gradient = torch.empty_strided(gradient.shape, ctx.strides, dtype=gradient.dtype).copy_(gradient)
        _in_memory_order(gradient).index_fill_(0, positions, 0)
        return gradient, None


class _ReluDrop(torch.autograd.Function):
    """In place: ReLU, then 0 at `positions`, counted in memory order. Where the result is 0, the gradient is."""

    @staticmethod
    def forward(ctx, x: Tensor, positions: Tensor) -> Tensor:
        ctx.mark_dirty(x)
        _in_memory_order(x.relu_()).index_fill_(0, positions, 0)
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        (result,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(gradient, result, 0), None
