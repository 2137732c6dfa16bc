"""What makes training fast on a CPU, in one place: the models and the loop stay as they would be without it.

Where something here cannot work (another system, no C compiler), PyTorch's own layers do the same, more slowly.
"""

import ctypes
import functools
import hashlib
import math
import os
import platform
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

__all__ = ["Sequential", "keep_freed_memory", "kept", "kernels", "usable_cores"]

# Parameters of glibc's mallopt(3), from malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3

SOURCES = [Path(__file__).with_name(name) for name in ("normalize.c", "convolve.c")]

# As in normalize.c.
MOST_CHANNELS = 64
NO_RELU, RELU_BEFORE, RELU_AFTER = range(3)

# As in convolve.c, whose working memory is on the stack: an image, widened by its border, and the weights.
PARTS, LANES = 16, 8
MOST_FLOATS = 1 << 16


def keep_freed_memory() -> bool:
    """Have glibc keep freed memory for the next step instead of giving it back and faulting it in again.

    Acts on the whole process. Returns whether it could: elsewhere than on Linux with glibc, nothing happens.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    one_gibibyte = 1 << 30  # above any block that a step allocates
    return bool(mallopt(M_MMAP_THRESHOLD, one_gibibyte) and mallopt(M_TRIM_THRESHOLD, one_gibibyte))


def usable_cores() -> int:
    """The cores that this process may use, which in a container can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def kernels() -> ctypes.CDLL | None:
    """normalize.c and convolve.c, compiled for this very processor and kept for the next time in the user's cache;
    None where there is no C compiler."""
    flags = ["-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC"]
    if platform.system() == "Linux":  # where OpenMP is the one that PyTorch has loaded: its threads are shared
        flags.append("-fopenmp")
    try:
        compiler = subprocess.run(["cc", "--version"], check=True, capture_output=True, timeout=60).stdout
        made_from = [*(source.read_bytes() for source in SOURCES), compiler, _processor(), repr(flags).encode()]
        library = _cache() / hashlib.sha256(b"\0".join(made_from)).hexdigest()
        if not library.exists():
            with tempfile.TemporaryDirectory(dir=library.parent) as folder:  # another process never finds a part of it
                whole = Path(folder) / library.name
                command = ["cc", *flags, "-o", whole, *SOURCES, "-lm"]
                subprocess.run(command, check=True, capture_output=True, timeout=60)
                whole.replace(library)
        return ctypes.CDLL(str(library))
    except (OSError, subprocess.SubprocessError):
        return None


def _processor() -> bytes:
    """What the compiler may make use of."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_bytes().splitlines() if cpuinfo.exists() else []
    return next(
        (line for line in lines if line.lower().startswith((b"flags", b"features"))), platform.processor().encode()
    )


def _cache() -> Path:
    """A folder of this user's, or one for this process alone where there is none that can be written to."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mnist_s7"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError):  # the latter where nobody knows of a home
        return Path(_own_folder().name)


@functools.cache
def _own_folder() -> tempfile.TemporaryDirectory:
    """Goes with the process."""
    return tempfile.TemporaryDirectory(prefix="mnist_s7-")


class Sequential(nn.Sequential):
    """`nn.Sequential`, with fewer passes over memory while it trains on a CPU.

    There it computes what its layers say, but in functions compiled from C, and joins neighbours: a BatchNorm with the
    ReLU before or after it and the dropout behind it is one function, as is a convolution with the ReLU behind it.
    Only the elements that dropout drops are drawn. Hooks on these layers are not called. In evaluation mode, on
    other devices, in other types than float32 and without a C compiler, it is `nn.Sequential`.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or x.device.type != "cpu" or x.dtype != torch.float32 or kernels() is None:
            return super().forward(x)
        layers = list(self)
        while layers:
            match layers:
                case [nn.Conv2d() as conv, nn.ReLU(), nn.BatchNorm2d() as norm, *layers] if _can_join(norm):
                    p, layers = _dropout(layers)
                    x = _normalize(_convolve(x, conv), norm, RELU_BEFORE, p)
                case [nn.BatchNorm2d() as norm, nn.ReLU(), *layers] if _can_join(norm):
                    p, layers = _dropout(layers)
                    x = _normalize(x, norm, RELU_AFTER, p)
                case [nn.BatchNorm2d() as norm, *layers] if _can_join(norm):
                    p, layers = _dropout(layers)
                    x = _normalize(x, norm, NO_RELU, p)
                case [nn.Conv2d() as conv, nn.ReLU(), *layers]:
                    x = _convolve(x, conv, relu=True)
                case [nn.Conv2d() as conv, *layers]:
                    x = _convolve(x, conv)
                case [layer, *layers]:
                    x = layer(x)
        return x


def _can_join(norm: nn.BatchNorm2d) -> bool:
    """Whether `norm` normalises by its batch, with all that BatchNorm has by default."""
    whole = norm.affine and norm.track_running_stats and norm.momentum is not None
    return whole and norm.training and norm.num_features <= MOST_CHANNELS


def _dropout(layers: list[nn.Module]) -> tuple[float, list[nn.Module]]:
    """The probability of a dropout that `layers` start with, 0 if with none, and the layers after it."""
    match layers:
        case [nn.Dropout(training=True, p=p), *rest] if p < 1:
            return p, rest
    return 0.0, layers


def _normalize(x: Tensor, norm: nn.BatchNorm2d, relu: int, dropout: float) -> Tensor:
    """(N, C, H, W), through `norm`, the ReLU before or after it, and dropout; the running statistics follow.

    Dropout's scale goes into the weight and the bias: a ReLU in between does not mind a positive factor.
    """
    scale = 1 / (1 - dropout)
    mask = kept(x.numel(), dropout)
    y, mean, variance = _Normalize.apply(x, norm.weight * scale, norm.bias * scale, norm.eps, relu, mask)
    n = x.numel() // x.shape[1]
    with torch.no_grad():
        norm.num_batches_tracked.add_(1)
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * (n / (n - 1)), norm.momentum)
    return y


def _convolve(x: Tensor, conv: nn.Conv2d, relu: bool = False) -> Tensor:
    """(N, C, H, W), through `conv`, and through the ReLU behind it."""
    if _can_convolve(conv, x):
        return _Convolve.apply(x, conv.weight, conv.padding[0], relu)
    return conv(x).relu_() if relu else conv(x)


def _can_convolve(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether convolve.c does to `x` what `conv` does, and is the faster one: with few channels, and without a bias."""
    if x.dim() != 4 or x.shape[1] != conv.in_channels:
        return False
    (height, width), k = x.shape[2:], conv.kernel_size[0]
    channels = max(conv.in_channels, conv.out_channels)
    plain = conv.bias is None and conv.groups == 1 and conv.stride == conv.dilation == (1, 1)
    square = conv.kernel_size == (k, k) and conv.padding in [(p, p) for p in range(k)] and conv.padding_mode == "zeros"
    floats = channels * max((height + 2 * k) * (width + 2 * k), k * k * channels)
    small = channels <= MOST_CHANNELS and floats <= MOST_FLOATS
    return plain and square and small and min(height, width) + 2 * conv.padding[0] >= k


class _Convolve(torch.autograd.Function):
    """`convolve` of convolve.c, with a ReLU behind it or not: (N, C, H, W), (C_out, C, k, k) -> (N, C_out, H', W')."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, padding: int, relu: bool) -> Tensor:
        x, weight = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (x, weight))
        (n, c, h, w), (c_out, _, k, _) = x.shape, weight.shape
        size = n, c_out, h + 2 * padding - k + 1, w + 2 * padding - k + 1
        y = torch.empty(size, memory_format=torch.channels_last)
        ctx.sizes = n, h, w, c, c_out, k, padding, int(relu)
        _call(kernels().convolve, x, weight, y, *ctx.sizes)
        ctx.save_for_backward(x, weight, y if relu else None)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, y = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_x, of_weight = torch.empty_like(x) if ctx.needs_input_grad[0] else None, torch.empty_like(weight)
        lanes = -(-len(weight) // LANES) * LANES
        sums = x.new_zeros(PARTS * lanes * weight[0].numel())
        _call(kernels().convolve_backward, gradient, x, y, weight, of_x, of_weight, sums, *ctx.sizes)
        return of_x, of_weight, None, None


class _Normalize(torch.autograd.Function):
    """`normalize` of normalize.c on (N, C, H, W): the same shape, and the batch's mean and biased variance, (C,).

    `kept` has 1 for every element that dropout keeps, uint8, in the order of channels last memory.
    """

    @staticmethod
    def forward(
        ctx, x: Tensor, weight: Tensor, bias: Tensor, eps: float, relu: int, kept: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        x = x.contiguous(memory_format=torch.channels_last)
        y, mean, variance = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)
        _call(kernels().normalize, x, kept, y, *_pixels(x), relu, weight, bias, eps, mean, variance)
        ctx.save_for_backward(x, kept, weight, bias, mean, variance)
        ctx.eps, ctx.relu = eps, relu
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor, *_) -> tuple[Tensor | None, ...]:
        x, kept, weight, bias, mean, variance = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        gradients = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(bias)
        of_x, of_weight, of_bias = gradients
        given = (gradient, x, kept, of_x, *_pixels(x), ctx.relu, weight, bias, ctx.eps, mean, variance)
        _call(kernels().normalize_backward, *given, of_weight, of_bias)
        return *gradients, None, None, None


def _pixels(x: Tensor) -> tuple[int, int]:
    """How many pixels (N, C, H, W) has in all, and how many channels."""
    return x.numel() // x.shape[1], x.shape[1]


def _call(function: Callable, *arguments: Tensor | int | float | None) -> None:
    """Call a C function: tensors as addresses, None as no address, floats as C's, the number of threads at the end."""
    function(*map(_in_c, arguments), ctypes.c_long(torch.get_num_threads()))


def _in_c(argument: Tensor | int | float | None) -> ctypes.c_void_p | ctypes.c_long | ctypes.c_float:
    match argument:
        case Tensor(device=torch.device(type="cpu"), dtype=torch.float32 | torch.uint8):
            return ctypes.c_void_p(argument.data_ptr())
        case Tensor():
            raise ValueError(f"images in float32 on the CPU met a layer in {argument.dtype} on {argument.device}")
        case None:
            return ctypes.c_void_p()
    return ctypes.c_float(argument) if isinstance(argument, float) else ctypes.c_long(argument)


def kept(n: int, p: float, generator: Generator | None = None) -> Tensor:
    """(n,) uint8, 0 with probability `p`, else 1, on the generator's device; None is the global one of the CPU."""
    if generator is not None and generator.device.type != "cpu":
        return (torch.rand(n, generator=generator, device=generator.device) >= p).to(torch.uint8)
    ones = torch.ones(n, dtype=torch.uint8)
    return ones.index_fill_(0, _successes(n, p, generator), 0) if p else ones


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
    return torch.rand(n, generator=generator).neg_().log1p_().div_(math.log1p(-p)).long().add_(1)
