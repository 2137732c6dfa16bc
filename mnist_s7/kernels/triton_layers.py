"""The Triton kernels as autograd functions, on feature maps of S networks: (S * N, C, H, W), channels last."""

import torch
from torch import Tensor

from mnist_s7.kernels import triton_convolutions, triton_norms

PARTS = 64  # a network's sums are made in as many parts, at most, and then added up in order
PIXELS = 128  # of a block


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
    """(S * N, c_in, H, W) with (S, kh, kw, c_in, c_out) weights and an (S, c_out) bias -> (S * N, c_out, H', W')."""
    return _Convolution.apply(x, weight, bias, padding)


def convolve_depthwise(x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
    """The same with (S, kh, kw, c) weights, a filter for each channel."""
    return _Depthwise.apply(x, weight, bias, padding)


def _blocks(count: int, block: int, networks: int) -> tuple[int, int]:
    """Into how many parts `count` elements in blocks are cut, and how many blocks each has."""
    blocks = -(-count // block)
    parts = max(1, min(PARTS, blocks, 4096 // networks))
    each = -(-blocks // parts)
    return -(-blocks // each), each


def _warps(channels: int) -> int:
    """Of a convolution's programs that write so many channels. Two were the fastest for up to 16, measured on an H100
    on T3's layers with 32 networks: four, Triton's default, took a fifth longer."""
    return 2 if channels <= 16 else 4


def _lanes(channels: int, least: int = 1) -> int:
    """The power of 2 from `channels` on."""
    return max(least, 1 << (channels - 1).bit_length())


def _maps(n: int, channels: int, height: int, width: int, like: Tensor) -> Tensor:
    return torch.empty((n, channels, height, width), device=like.device, memory_format=torch.channels_last)


def _output(
    x: Tensor, networks: int, kernel: tuple[int, int], padding: tuple[int, int], channels: int
) -> tuple[Tensor, tuple[int, ...], tuple[int, int]]:
    """What a convolution of x writes; images, height and width, of x and of that; and its programs."""
    n, (height, width) = len(x) // networks, x.shape[2:]
    size_out = [size + 2 * p - k + 1 for size, p, k in zip((height, width), padding, kernel, strict=True)]
    grid = -(-n * size_out[0] * size_out[1] // PIXELS), networks
    return _maps(len(x), channels, *size_out, x), (n, height, width, *size_out), grid


def _bias_of(weight: Tensor, bias: Tensor | None) -> tuple[Tensor, int]:
    """The bias and how far apart those of two networks are; where there is none, any tensor, which is not read."""
    return (weight, 0) if bias is None else (bias, bias.stride(0))


def _run_convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int], flip: bool = False
) -> Tensor:
    networks, kh, kw, c_in, c_out = weight.shape
    if flip:
        c_in, c_out = c_out, c_in
    y, sizes, grid = _output(x, networks, (kh, kw), padding, c_out)
    read, bias_stride = _bias_of(weight, bias)
    triton_convolutions.convolve[grid](
        x, weight, read, y, *sizes, weight.stride(0), bias_stride,
        c_in, c_out, kh, kw, *padding, flip, bias is not None, PIXELS, _lanes(c_out, 16), 16, num_warps=_warps(c_out),
    )  # fmt: skip
    return y


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(x, weight)
        ctx.padding, ctx.bias = padding, bias is not None
        return _run_convolution(x, weight, bias, padding)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor):
        x, weight = ctx.saved_tensors
        networks, kh, kw, c_in, c_out = weight.shape
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        n, (height, width), (height_out, width_out) = len(x) // networks, x.shape[2:], gradient.shape[2:]
        k, block = kh * kw * c_in, 64
        k_block = min(64, _lanes(k, 16))
        parts, each = _blocks(n * height_out * width_out, block, networks)
        partial = torch.empty((parts, networks, kh, kw, c_in, c_out), device=x.device)
        of_bias = torch.empty((parts, networks, c_out), device=x.device) if ctx.bias else None
        triton_convolutions.weight_gradient[parts, networks, -(-k // k_block)](
            x, gradient, partial, of_bias if ctx.bias else partial, n, height, width, height_out, width_out, each,
            c_in, c_out, kh, kw, *ctx.padding, ctx.bias, block, _lanes(c_out, 16), k_block, num_warps=_warps(c_out),
        )  # fmt: skip
        of_x = None
        if ctx.needs_input_grad[0]:
            around = kh - 1 - ctx.padding[0], kw - 1 - ctx.padding[1]
            of_x = _run_convolution(gradient, weight, None, around, flip=True)
        return of_x, partial.sum(0), of_bias.sum(0) if ctx.bias else None, None


def _by_network(maps: Tensor, networks: int) -> Tensor:
    """(S * N, C, H, W) -> (S, N * H * W, C)"""
    return maps.permute(0, 2, 3, 1).reshape(networks, -1, maps.shape[1])


def _run_depthwise(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int], flip: bool = False
) -> Tensor:
    networks, kh, kw, channels = weight.shape
    y, sizes, grid = _output(x, networks, (kh, kw), padding, channels)
    read, bias_stride = _bias_of(weight, bias)
    triton_convolutions.convolve_depthwise[grid](
        x, weight, read, y, *sizes, weight.stride(0), bias_stride,
        channels, kh, kw, *padding, flip, bias is not None, PIXELS, _lanes(channels),
    )  # fmt: skip
    return y


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(x, weight)
        ctx.padding, ctx.bias = padding, bias is not None
        return _run_depthwise(x, weight, bias, padding)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor):
        x, weight = ctx.saved_tensors
        networks, kh, kw, channels = weight.shape
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        n, (height, width), (height_out, width_out) = len(x) // networks, x.shape[2:], gradient.shape[2:]
        parts, each = _blocks(n * height_out * width_out, PIXELS, networks)
        partial = torch.empty((parts, networks, kh, kw, channels), device=x.device)
        triton_convolutions.depthwise_weight_gradient[parts, networks, kh * kw](
            x, gradient, partial, n, height, width, height_out, width_out, each,
            channels, kh, kw, *ctx.padding, PIXELS, _lanes(channels),
        )  # fmt: skip
        of_x = of_bias = None
        if ctx.needs_input_grad[0]:
            around = kh - 1 - ctx.padding[0], kw - 1 - ctx.padding[1]
            of_x = _run_depthwise(gradient, weight, None, around, flip=True)
        if ctx.bias:
            of_bias = _by_network(gradient, networks).sum(1)
        return of_x, partial.sum(0), of_bias, None


class Normalization(torch.autograd.Function):
    """BatchNorm of each network's own batch, (S * N, C, H, W) or (S * N, C); the ReLU before or after it, and dropout.

    Weight and bias are (S, C), the running statistics too, and are moved on. `keys` are (S,) int64, for dropout.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, running, keys, layer, eps, momentum, relu_before, relu_after, p):
        networks, channels = weight.shape
        x = x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x.contiguous()
        rows = x.numel() // networks // channels
        if rows == 1:
            raise ValueError(f"a BatchNorm in training needs more than one value of a channel, found {tuple(x.shape)}")
        flags = relu_before, relu_after
        parts, each = _blocks(rows, PIXELS, networks)
        lanes = _lanes(channels)
        partial = torch.empty((networks, parts, 2, channels), device=x.device)
        found = torch.empty((networks, 4, channels), device=x.device)
        triton_norms.moments[parts, networks](x, partial, rows, each, channels, relu_before, PIXELS, lanes)
        triton_norms.finish_moments[networks,](
            x, partial, weight, bias, *running, found, rows, parts, weight.stride(0), bias.stride(0), eps, momentum,
            channels, relu_before, PARTS, lanes,
        )  # fmt: skip
        y = torch.empty_like(x)
        mask = torch.empty(x.numel() if p else 1, dtype=torch.uint8, device=x.device)
        triton_norms.normalize[-(-rows // PIXELS), networks](
            x, found, keys, y, mask, rows, layer, p, channels, *flags, p > 0, PIXELS, lanes
        )
        ctx.save_for_backward(x, mask, found)
        ctx.settings = networks, channels, rows, parts, each, lanes, flags, p
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        x, mask, found = ctx.saved_tensors
        networks, channels, rows, parts, each, lanes, flags, p = ctx.settings
        gradient = gradient.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else gradient.contiguous()
        partial = torch.empty((networks, parts, 2, channels), device=x.device)
        triton_norms.norm_sums[parts, networks](
            x, gradient, mask, found, partial, rows, each, p, channels, *flags, p > 0, PIXELS, lanes
        )
        sums, of_x = partial.sum(1), torch.empty_like(x)
        triton_norms.norm_gradient[-(-rows // PIXELS), networks](
            x, gradient, mask, found, sums, of_x, rows, p, channels, *flags, p > 0, PIXELS, lanes
        )
        of_bias, of_weight = sums.unbind(1)
        return of_x, of_weight, of_bias, *(None,) * 8


def normalize(x: Tensor, mean: Tensor, factor: Tensor, offset: Tensor, relu_before: bool, relu_after: bool) -> Tensor:
    """(x - mean) * factor + offset with (S, C) statistics that are known, as in evaluation; without gradients."""
    networks, channels = factor.shape
    x = x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x.contiguous()
    rows, y = x.numel() // networks // channels, torch.empty_like(x)
    found = torch.stack([mean, factor, factor, offset], dim=1)
    triton_norms.normalize[-(-rows // PIXELS), networks](
        x, found, x, y, x, rows, 0, 0.0, channels, relu_before, relu_after, False, PIXELS, _lanes(channels)
    )
    return y


class MaxPool(torch.autograd.Function):
    """(S * N, C, H, W) -> (S * N, C, H // size, W // size)"""

    @staticmethod
    def forward(ctx, x: Tensor, size: int) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        n, channels, height, width = x.shape
        y = _maps(n, channels, height // size, width // size, x)
        triton_norms.pool[-(-y.numel() // 1024),](x, y, y.numel(), height, width, *y.shape[2:], channels, size, 1024)
        ctx.save_for_backward(x)
        ctx.size = size
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor):
        [x] = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        _, channels, height, width = x.shape
        even = height % ctx.size == 0 and width % ctx.size == 0
        of_x = torch.empty_like(x) if even else torch.zeros_like(x)
        triton_norms.pool_gradient[-(-gradient.numel() // 1024),](
            x, gradient, of_x, gradient.numel(), height, width, *gradient.shape[2:], channels, ctx.size, 1024
        )
        return of_x, None


def keep_mask(keys: Tensor, count: int, layer: int, p: float) -> Tensor:
    """(S, count): 0 with probability `p`, else 1 / (1 - p), drawn by each network's key."""
    mask = torch.empty((len(keys), count), device=keys.device)
    triton_norms.keep[-(-count // 1024), len(keys)](keys, mask, count, layer, p, 1024)
    return mask
