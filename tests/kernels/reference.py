"""What layers in C are compared with: the same on PyTorch in float64, with the dropout masks that C used."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnist_s7.kernels import Accelerated, chain, dropout, library


def in_c(model: nn.Module) -> Accelerated:
    """As `accelerate` gives it, but for any model: a pool alone has no parameters, by which that knows of a CPU."""
    return Accelerated(model, compiled=library.load() is not None, keeps_memory=False)


class Residual(nn.Module):
    def __init__(self, branch: nn.Module):
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.branch(x))


class GivenDrop(nn.Module):
    """Dropout with the elements that it keeps given, in the order of channels last memory."""

    def __init__(self, p: float, keep: Tensor):
        super().__init__()
        self.p, self.keep = p, keep

    def forward(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        return x * self.keep.view(n, height, width, channels).permute(0, 3, 1, 2) / (1 - self.p)


@contextmanager
def masks_drawn() -> Iterator[list[Tensor]]:
    masks, draw = [], chain.keep_mask

    def noted(n, p, generator=None):
        masks.append(draw(n, p, generator))
        return masks[-1]

    with mock.patch.object(chain, "keep_mask", noted), mock.patch.object(dropout, "keep_mask", noted):
        yield masks


def with_given_drops(model: nn.Module, masks: Iterator[Tensor]) -> nn.Module:
    """`model`, whose dropouts keep what `masks` say, in their order."""
    for name, layer in list(model.named_children()):
        if isinstance(layer, nn.Dropout) and layer.training and 0 < layer.p < 1:
            if (mask := next(masks, None)) is not None:
                setattr(model, name, GivenDrop(layer.p, mask))
        else:
            with_given_drops(layer, masks)
    return model


def gradients(forward, model: nn.Module, x: Tensor) -> list[Tensor]:
    """Of the parameters and of x, for a weighted sum of the outputs."""
    x = x.detach().requires_grad_()
    model.zero_grad()
    y = forward(x)
    (y * torch.arange(y.numel()).view(y.shape).remainder(7)).sum().backward()
    return [parameter.grad for parameter in model.parameters() if parameter.requires_grad] + [x.grad]


def assert_same(ours: Tensor, exact: Tensor, scale: float | None = None) -> None:
    """Within float32's rounding of the same in float64. `scale` is that of what was summed up, by default `exact`'s."""
    scale = largest([exact]) if scale is None else scale
    torch.testing.assert_close(ours.double(), exact.double(), rtol=1e-4, atol=3e-5 * scale)


def largest(tensors: list[Tensor]) -> float:
    return max(tensor.detach().abs().max().item() for tensor in tensors)


def assert_trains_as_pytorch(model: nn.Module, x: Tensor) -> Tensor:
    """That outputs, gradients and buffers are PyTorch's; the outputs."""
    exact = copy.deepcopy(model)
    with masks_drawn() as masks:
        y = in_c(model)(x)
    weights = torch.randn(y.shape).contiguous()  # also a gradient in another memory format than y's
    (y * weights).sum().backward()

    exact = with_given_drops(exact, iter(masks)).double()
    exact_x = x.detach().double().requires_grad_(x.requires_grad)
    exact_y = exact(exact_x)
    (exact_y * weights).sum().backward()

    assert_same(y, exact_y)
    ours, exact_ones = (
        [tensor.grad for tensor in (*layers.parameters(), given) if tensor.requires_grad]
        for layers, given in ((model, x), (exact, exact_x))
    )
    for one, other in zip(ours, exact_ones, strict=True):
        assert_same(one, other, largest(exact_ones))  # some are zero but for rounding, as a bias's before a BatchNorm
    for one, other in zip(model.buffers(), exact.buffers(), strict=True):
        assert_same(one, other)
    return y
