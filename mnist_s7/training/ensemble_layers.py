"""The layers of an ensemble of S networks, on feature maps (S * N, C, H, W): in Triton on a GPU, else in PyTorch."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap

from mnist_s7.kernels import dropped, gpu_layers

if TYPE_CHECKING:
    from mnist_s7.training.ensemble import Ensemble

MOST_CHANNELS = 64  # of feature maps that the kernels take
MOST_ELEMENTS = 2**31  # of a network's feature maps: the kernels' indices are 32 bits


def stored(parameter: Tensor) -> Tensor:
    """As it is in memory: a convolution's weights as (kh, kw, c_in, c_out), for the kernels."""
    return parameter.permute(2, 3, 1, 0) if parameter.dim() == 4 else parameter


def plain(view: Tensor) -> Tensor:
    """(S, ...) as PyTorch has them, from how they are in memory."""
    return view.permute(0, 4, 3, 1, 2) if view.dim() == 5 else view


def _beside(x: Tensor, size: int) -> Tensor:
    """(S * N, C, ...) -> (N, S * C, ...)"""
    return x.unflatten(0, (size, -1)).transpose(0, 1).flatten(1, 2)


def _below(x: Tensor, size: int) -> Tensor:
    """(N, S * C, ...) -> (S * N, C, ...)"""
    return x.unflatten(1, (size, -1)).transpose(0, 1).flatten(0, 1)


def _fits(x: Tensor, size: int) -> bool:
    """Whether the kernels take feature maps, or features, as large as these."""
    return x.dim() in (2, 4) and x.shape[1] <= MOST_CHANNELS and x.numel() // size < MOST_ELEMENTS


class EnsembleConvolution(nn.Module):
    def __init__(self, layer: nn.Conv2d, size: int, weight: Tensor, bias: Tensor | None):
        super().__init__()
        self.layer, self.size, self.weight, self.bias = [layer], size, weight, bias
        self.depthwise = layer.groups > 1 and layer.groups == layer.in_channels == layer.out_channels
        self.in_triton = (
            (layer.stride, layer.dilation) == ((1, 1), (1, 1))
            and (layer.groups == 1 or self.depthwise)
            and layer.out_channels <= MOST_CHANNELS
            and not isinstance(layer.padding, str)
            and all(p < k for p, k in zip(layer.padding, layer.kernel_size, strict=True))
        )

    def forward(self, x: Tensor) -> Tensor:
        [layer], size = self.layer, self.size
        gpu = gpu_layers(x.device)
        if gpu and self.in_triton and _fits(x, size):
            if self.depthwise:
                return gpu.convolve_depthwise(x, self.weight.squeeze(3), self.bias, layer.padding)
            return gpu.convolve(x, self.weight, self.bias, layer.padding)
        weight = plain(self.weight).flatten(0, 1)
        bias = None if self.bias is None else self.bias.flatten()
        settings = layer.stride, layer.padding, layer.dilation, layer.groups * size
        return _below(F.conv2d(_beside(x, size), weight, bias, *settings), size)


@dataclass(frozen=True)
class Batchwise:
    """Of S networks what a BatchNorm of theirs has, tensors (S, C); the running ones are moved on."""

    eps: float
    momentum: float
    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_variance: Tensor


class EnsembleNorm(nn.Module):
    """BatchNorm over each network's own batch, the ReLU before or after it, and the dropout after that."""

    def __init__(self, owner: "Ensemble", norm: Batchwise, relu_before: bool, relu_after: bool, dropout: float):
        super().__init__()
        self.owner, self.norm = [owner], norm
        self.relu_before, self.relu_after, self.dropout = relu_before, relu_after, dropout

    def forward(self, x: Tensor) -> Tensor:
        [owner], norm, gpu = self.owner, self.norm, gpu_layers(x.device)
        running = norm.running_mean, norm.running_variance
        p = self.dropout if self.training else 0.0
        relus = self.relu_before, self.relu_after
        if gpu and _fits(x, owner.size):
            if self.training:
                owner.dropouts += 1
                settings = owner.keys, owner.dropouts, norm.eps, norm.momentum, *relus, p
                return gpu.Normalization.apply(x, norm.weight, norm.bias, running, *settings)
            factor = norm.weight * torch.rsqrt(norm.running_variance + norm.eps)
            return gpu.normalize(x, norm.running_mean, factor, norm.bias, *relus)
        if self.relu_before:
            x = F.relu(x)
        flat = [each.flatten() for each in (*running, norm.weight, norm.bias)]  # views: the statistics move on
        x = F.batch_norm(_beside(x, owner.size), *flat, self.training, norm.momentum, norm.eps)
        x = _below(x, owner.size)
        if self.relu_after:
            x = F.relu(x)
        return dropped(x, p, owner.generators) if p else x


class EnsembleDropout(nn.Module):
    """Of elements, or of whole channels as `nn.Dropout2d` has it."""

    def __init__(self, owner: "Ensemble", layer: nn.Dropout | nn.Dropout2d):
        super().__init__()
        self.owner, self.p, self.of_channels = [owner], layer.p, isinstance(layer, nn.Dropout2d)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        [owner], gpu = self.owner, gpu_layers(x.device)
        like = x[:, :, :1, :1] if self.of_channels else x
        if gpu:
            owner.dropouts += 1
            mask = gpu.keep_mask(owner.keys, like.numel() // owner.size, owner.dropouts, self.p)
            return x * mask.view(like.shape)
        if self.of_channels:
            parts = zip(like.chunk(owner.size), owner.generators, strict=True)
            masks = [torch.empty_like(part).bernoulli_(1 - self.p, generator=own) for part, own in parts]
            return x * torch.cat(masks).div_(1 - self.p)
        return dropped(x, self.p, owner.generators)


class EnsemblePool(nn.Module):
    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        gpu = gpu_layers(x.device)
        return gpu.MaxPool.apply(x, self.size) if gpu and x.dim() == 4 else F.max_pool2d(x, self.size)


class Mapped(nn.Module):
    """Any other layer with weights, for each network by itself."""

    def __init__(self, layer: nn.Module, weights: dict[str, Tensor]):
        super().__init__()
        self.layer, self.weights = [layer], weights

    def forward(self, x: Tensor) -> Tensor:
        [layer], size = self.layer, len(next(iter(self.weights.values())))
        layer.train(self.training)
        own = {name: plain(view) for name, view in self.weights.items()}
        each = vmap(lambda weights, inputs: functional_call(layer, weights, inputs), randomness="different")
        return each(own, x.unflatten(0, (size, -1))).flatten(0, 1)
