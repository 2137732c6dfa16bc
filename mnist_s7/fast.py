"""What makes training fast on a CPU, in one place: the models and the loop stay as they would be without it.

Where something here cannot work (another system, no C compiler), PyTorch's own layers do the same, more slowly.
"""

import ctypes
import math
import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor, nn

from mnist_s7 import compiled
from mnist_s7.compiled import (
    CONVOLUTION,
    DEPTHWISE,
    IDENTITY,
    LANES,
    MAX_POOL,
    MOST_CHANNELS,
    NO_RELU,
    PARTS,
    RELU_AFTER,
    RELU_BEFORE,
    kernels,
)

__all__ = ["Residual", "Sequential", "keep_freed_memory", "kept"]

# Parameters of glibc's mallopt(3), from malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3

# What each array of C's working memory has room for: packed weights, or an image with its border. At most three of them
# are on a stack, and with the sums of a BatchNorm less than 1 MB.
MOST_FLOATS = 1 << 16


def keep_freed_memory() -> bool:
    """Have glibc keep freed memory for the next step instead of giving it back and faulting it in again.

    Acts on the whole process. Returns whether it could: elsewhere than on Linux with glibc, nothing happens.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    mebibyte = 1 << 20
    large = 1024 * mebibyte  # above any block that a step allocates
    # Older releases refuse a threshold of more than 32 MiB.
    mapped = mallopt(M_MMAP_THRESHOLD, large) or mallopt(M_MMAP_THRESHOLD, 32 * mebibyte)
    trimmed = mallopt(M_TRIM_THRESHOLD, large)
    return bool(mapped and trimmed)


class Residual(nn.Module):
    """The ReLU of x + `branch`(x), which has to be as large as x: (N, C, H, W) -> the same."""

    def __init__(self, branch: nn.Module):
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.branch(x)).relu_()


class Sequential(nn.Sequential):
    """`nn.Sequential`, with fewer passes over memory while it trains on a CPU.

    There it computes what its layers say, but in functions compiled from C: convolutions, depthwise ones, max pools by
    2, and what stands between two of them, a BatchNorm with the ReLU before or after it and the dropout behind it,
    which is applied while the next layer reads its images. A `Residual` whose branch is made of these and ends with a
    BatchNorm is added up while the next layer reads it. Only the elements that dropout drops are drawn. Hooks on these
    layers are not called. In evaluation mode, on other devices, in other types than float32 and without a C compiler,
    it is `nn.Sequential`.
    """

    def forward(self, x: Tensor) -> Tensor:
        layers = list(self)
        while layers:
            links, rest = _chain(layers, x) if self.training else ([], layers)
            if links:
                x, layers = _Chain.apply(x, links, *(p for link in links for p in link.parameters())), rest
            else:
                x, layers = layers[0](x), layers[1:]
        return x


@dataclass(frozen=True)
class _Norm:
    """A BatchNorm, where the ReLU beside it is, and the probability of the dropout behind it.

    At the end of a residual branch it `adds` what the link of that number reads, which is that link's input behind that
    link's own norm; and a ReLU is behind the sum.
    """

    module: nn.BatchNorm2d
    relu: int
    dropout: float
    adds: int | None = None

    def mask(self, n: int) -> Tensor | None:
        """(n,) uint8, with 1 for every element that dropout keeps; None where it keeps all."""
        return kept(n, self.dropout) if self.dropout else None

    def in_c(self, mask: Tensor | None, weight: Tensor, bias: Tensor) -> compiled.Norm:
        norm = self.module
        tensors = mask, weight, bias, norm.running_mean, norm.running_var
        settings = norm.eps, norm.momentum, 1 / (1 - self.dropout)
        return compiled.Norm(norm.num_features, self.relu, *map(compiled.address, tensors), *settings)


@dataclass(frozen=True)
class _Link:
    """A layer on images of (h, w, c), which give (h, w, c); what stands before it, and whether a ReLU is behind it."""

    kind: int
    size: tuple[int, int, int]
    size_out: tuple[int, int, int]
    before: _Norm | None
    conv: nn.Conv2d | None = None
    relu: bool = False

    @property
    def writes_nothing(self) -> bool:
        """Whether it only looks at its input."""
        return self.kind == IDENTITY and self.before is None

    @property
    def adds(self) -> int | None:
        """The number of the link that reads what is added to what stands before it."""
        return self.before.adds if self.before else None

    @property
    def needs_output(self) -> bool:
        """Whether its gradient needs its output."""
        return self.relu or (self.kind == IDENTITY and self.adds is not None)

    def parameters(self) -> list[nn.Parameter]:
        norm = [self.before.module.weight, self.before.module.bias] if self.before else []
        return norm + ([self.conv.weight] if self.conv else [])

    def in_c(self, weight: Tensor | None) -> compiled.Layer:
        k, padding = (self.conv.kernel_size[0], self.conv.padding[0]) if self.conv else (0, 0)
        sizes = *self.size, *self.size_out, k, padding, self.relu
        return compiled.Layer(self.kind, *sizes, compiled.address(weight))


@dataclass(frozen=True)
class _Plan:
    """Links in a row, and behind the last one images of (N, C, H, W) and a norm that no link has applied yet."""

    shape: tuple[int, int, int, int]
    links: tuple[_Link, ...] = ()
    norm: _Norm | None = None

    @property
    def size(self) -> tuple[int, int, int]:
        n, c, h, w = self.shape
        return h, w, c

    def then(self, link: _Link) -> "_Plan":
        """With another link, which applies the norm."""
        h, w, c = link.size_out
        return _Plan((self.shape[0], c, h, w), (*self.links, link))

    def applied(self) -> "_Plan":
        """With a link that does nothing but apply the norm."""
        return self.then(_Link(IDENTITY, self.size, self.size, self.norm))


def _chain(layers: list[nn.Module], x: Tensor) -> tuple[tuple[_Link, ...], list[nn.Module]]:
    """As many of the first `layers`, on (N, C, H, W), as C has functions for; and the others."""
    fit = x.dim() == 4 and x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    if not fit or _changes_its_input(layers) or kernels() is None:
        return (), layers
    plan, rest = _continued(_Plan(tuple(x.shape)), layers)
    return (plan.applied() if plan.norm else plan).links, rest


def _continued(plan: _Plan, layers: list[nn.Module]) -> tuple[_Plan, list[nn.Module]]:
    """`plan`, continued with as many of the first `layers` as C has functions for; and the others."""
    while layers:
        norm, rest = _norm(layers, plan.shape)
        if norm:
            applied = plan.applied() if plan.norm or not plan.links else plan
            plan, layers = replace(applied, norm=norm), rest
        elif _is(layers[0], Residual):
            added = _with_residual(plan, layers[0].branch)
            if added is None:
                break
            plan, layers = added, layers[1:]
        else:
            link = _link(layers[0], plan.size, plan.norm)
            if link is None:
                break
            plan, layers = plan.then(link), layers[1:]
            if link.kind == CONVOLUTION and layers and _is(layers[0], nn.ReLU) and not _norm(layers, plan.shape)[0]:
                plan, layers = replace(plan, links=(*plan.links[:-1], replace(link, relu=True))), layers[1:]
    return plan, layers


def _with_residual(plan: _Plan, branch: nn.Module) -> _Plan | None:
    """`plan`, continued with the residual of `branch`; None if C has no functions for all of it, or if no norm is at
    its end."""
    if not (_is(branch, Sequential) and branch.training) or _changes_its_input(list(branch)):
        return None
    if plan.norm and plan.norm.adds is not None:  # a sum: it is added up once, and not wherever it is read
        plan = plan.applied()
    first = len(plan.links)  # the link that reads what is added
    starts_with_norm = _norm(list(branch), plan.shape)[0] is not None
    if starts_with_norm and not plan.norm:  # what is added is not behind the branch's own norm
        plan = plan.applied()
    whole, rest = _continued(plan, list(branch))
    norm = whole.norm
    ends = not rest and whole.shape == plan.shape and norm and norm.adds is None
    if not ends or len(whole.links) == first or any(link.adds == first for link in whole.links):
        return None
    return replace(whole, norm=replace(norm, adds=first))


def _changes_its_input(layers: list[nn.Module]) -> bool:
    """Whether the first layer writes where it reads, which C's never do: others may read there, too."""
    return bool(layers) and getattr(layers[0], "inplace", False)


def _is(layer: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether `layer` computes what `kind` does: a class derived from it may not."""
    return isinstance(layer, kind) and type(layer).forward is kind.forward


def _norm(layers: list[nn.Module], shape: tuple[int, int, int, int]) -> tuple[_Norm | None, list[nn.Module]]:
    """The BatchNorm that `layers`, on images of `shape`, start with, together with its ReLU and its dropout; and the
    layers after them."""
    match layers:
        case [nn.ReLU() as first, nn.BatchNorm2d() as norm, *rest] if _is(first, nn.ReLU):
            relu = RELU_BEFORE
        case [nn.BatchNorm2d() as norm, nn.ReLU() as second, *rest] if _is(second, nn.ReLU):
            relu = RELU_AFTER
        case [nn.BatchNorm2d() as norm, *rest]:
            relu = NO_RELU
        case _:
            return None, layers
    if not _normalizes(norm, shape):
        return None, layers
    match rest:
        case [nn.Dropout(training=True, p=p) as dropout, *others] if p < 1 and _is(dropout, nn.Dropout):
            return _Norm(norm, relu, p), others
    return _Norm(norm, relu, 0.0), rest


def _normalizes(norm: nn.BatchNorm2d, shape: tuple[int, int, int, int]) -> bool:
    """Whether `norm` normalises images of `shape` by their batch, with all that BatchNorm has by default."""
    n, c, h, w = shape
    whole = norm.affine and all(x is not None for x in (norm.bias, norm.running_mean, norm.running_var, norm.momentum))
    written = whole and norm.running_mean.is_contiguous() and norm.running_var.is_contiguous()
    fits = 0 < norm.num_features == c <= MOST_CHANNELS and n * h * w > 1
    return _is(norm, nn.BatchNorm2d) and norm.training and written and fits


def _link(layer: nn.Module, size: tuple[int, int, int], norm: _Norm | None) -> _Link | None:
    """`layer` on images of (h, w, c), behind `norm`; None if C has no function for it, or PyTorch's is the faster."""
    h, w, c = size
    if _is(layer, nn.MaxPool2d) and _halves(layer) and min(h, w) >= 2 and h * w * c <= MOST_FLOATS:
        return _Link(MAX_POOL, size, (h // 2, w // 2, c), norm)
    if _is(layer, nn.Conv2d) and _convolves(layer, size):
        smaller = layer.kernel_size[0] - 1 - 2 * layer.padding[0]
        size_out = h - smaller, w - smaller, layer.out_channels
        return _Link(CONVOLUTION if layer.groups == 1 else DEPTHWISE, size, size_out, norm, layer)
    return None


def _halves(pool: nn.MaxPool2d) -> bool:
    settings = pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.return_indices, pool.ceil_mode
    return settings == (2, 2, 0, 1, False, False)


def _convolves(conv: nn.Conv2d, size: tuple[int, int, int]) -> bool:
    """Whether it has few channels, a small square kernel, no bias and nothing out of the ordinary."""
    (h, w, c), k = size, conv.kernel_size[0]
    channels = max(conv.in_channels, conv.out_channels)
    depthwise = conv.groups == conv.in_channels == conv.out_channels and k == 3
    plain = conv.bias is None and (conv.groups == 1 or depthwise) and conv.stride == conv.dilation == (1, 1)
    square = conv.kernel_size == (k, k) and conv.padding in [(p, p) for p in range(k)] and conv.padding_mode == "zeros"
    floats = (channels + LANES) * max((h + 2 * k) * (w + 2 * k), k * k * channels)
    small = channels <= MOST_CHANNELS and floats <= MOST_FLOATS
    some = c == conv.in_channels and min(size) > 0
    return some and plain and square and small and min(h, w) + 2 * conv.padding[0] >= k


class _Chain(torch.autograd.Function):
    """Layers in a row, (N, C, H, W) -> (N, C', H', W'). Between two of them, images are kept as they left the first."""

    @staticmethod
    def forward(ctx, x: Tensor, links: tuple[_Link, ...], *parameters: Tensor) -> Tensor:
        n, given = len(x), iter(parameters)
        maps, weights, norms, masks, alive = [_in_memory(x)], [], [], [], []  # C holds addresses of what is `alive`
        for link in links:
            before, mask = None, None
            if link.before:
                mask = link.before.mask(n * math.prod(link.size))
                alive += [next(given).contiguous(), next(given).contiguous()]
                before = link.before.in_c(mask, *alive[-2:])
                link.before.module.num_batches_tracked.add_(1)
            norms.append(before)
            masks.append(mask)
            weights.append(_in_memory(next(given)) if link.conv else None)
        for link, weight, before, after in zip(links, weights, norms, [*norms[1:], None], strict=True):
            maps.append(maps[-1] if link.writes_nothing else _empty(n, link.size_out))
            _locate_added(link, before, maps, norms)
            compiled.call("forward", link.in_c(weight), before, after, maps[-2], maps[-1], n)
        last = maps[-1] if links[-1].needs_output else None  # else it may be changed in place
        ctx.save_for_backward(*maps[:-1], last, *weights)
        ctx.links, ctx.norms, ctx.masks = links, norms, masks
        return maps[-1]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        # Who unpacks saved tensors in a way of their own may have changed their layout.
        saved, count = [None if x is None else _in_memory(x) for x in ctx.saved_tensors], len(ctx.links)
        maps, weights = saved[: count + 1], saved[count + 1 :]
        n, gradient = len(maps[0]), _in_memory(gradient)
        of_parameters, of_added, after = [], {}, None
        for i in reversed(range(count)):
            link, before = ctx.links[i], ctx.norms[i]
            layer = link.in_c(weights[i])
            of_x = of_weight = sums = None
            of_norm = [_floats(link.size[2]) for _ in range(2)] if before else [None, None]
            if link.conv:
                of_weight, sums = torch.empty_like(weights[i]), _floats(PARTS, compiled.sums_size(layer)).zero_()
            if link.kind == IDENTITY and not after and link.adds is None and i not in of_added:
                of_x = gradient
            elif i or ctx.needs_input_grad[0] or not link.conv:
                of_x = _empty(n, link.size)
            _locate_added(link, before, maps, ctx.norms)
            given = gradient, of_added.get(i), maps[i], maps[i + 1], of_x, sums, of_weight, *of_norm
            compiled.call("backward", layer, before, after, *given, n)
            of_parameters[:0] = [g for g in (*of_norm, of_weight) if g is not None]
            gradient, after = of_x, before
            if link.adds is not None:
                of_added[link.adds] = of_x
        return gradient, None, *of_parameters


def _locate_added(
    link: _Link, before: compiled.Norm | None, maps: Sequence[Tensor], norms: list[compiled.Norm | None]
) -> None:
    """Tell `before` where that is which the link adds: a tensor that was saved may have moved."""
    if link.adds is not None:
        norm = norms[link.adds]
        before.added = compiled.address(maps[link.adds])
        before.added_norm = ctypes.addressof(norm) if norm else None


def _in_memory(x: Tensor) -> Tensor:
    """(N, C, H, W), laid out as C takes it: channels last."""
    return x.contiguous(memory_format=torch.channels_last)


def _empty(n: int, size: tuple[int, int, int]) -> Tensor:
    """(N, C, H, W) for images of (h, w, c)."""
    h, w, c = size
    return torch.empty((n, c, h, w), dtype=torch.float32, device="cpu", memory_format=torch.channels_last)


def _floats(*size: int) -> Tensor:
    return torch.empty(size, dtype=torch.float32, device="cpu")


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
