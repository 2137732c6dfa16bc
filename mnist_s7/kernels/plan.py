"""Which layers in a row C takes, and as which links of a chain.

A link is a layer together with the norm before it: a BatchNorm, the ReLU beside it and the dropout after it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from mnist_s7.kernels.library import (
    ANTI_ALIASED_POOL,
    CONVOLUTION,
    DEPTHWISE,
    IDENTITY,
    LEAKY_AFTER,
    MAX_CHANNELS,
    MAX_LANES,
    MAX_POOL,
    NO_RELU,
    RELU_AFTER,
    RELU_BEFORE,
)
from mnist_s7.kernels.untouched import untouched

# What each array of C's working memory has room for: packed weights, or a feature map with its padding. At most three
# of them are on a stack, and with the sums of a BatchNorm less than 1 MB.
MAX_FLOATS = 1 << 16

# A layer's class if it does what that says, else None; and the layer.
Layers = list[tuple[type[nn.Module] | None, nn.Module]]

# Of a residual block that C may compute, its branch.
BranchOf = Callable[[nn.Module], nn.Sequential | None]


@dataclass(frozen=True)
class Norm:
    """A BatchNorm, where the ReLU beside it is, and the probability of the dropout after it. In evaluation mode it goes
    by its running statistics. Or a convolution's bias, which is a norm without statistics; its ReLU may be a leaky one,
    which multiplies what is below 0 by `below`.

    At the end of a residual branch it `adds` what the link of that number reads, which is that link's input after that
    link's own norm; and a ReLU is after the sum.
    """

    module: nn.BatchNorm2d | nn.Conv2d
    relu: int
    dropout: float
    adds: int | None = None
    below: float = 0.0

    @property
    def keeps_order(self) -> bool:
        """Whether the largest of a channel's values is the largest after it, too."""
        return isinstance(self.module, nn.Conv2d) and not self.dropout and self.adds is None and self.below >= 0

    def parameters(self) -> list[nn.Parameter]:
        own = self.module.weight, self.module.bias
        return list(own[1:] if isinstance(self.module, nn.Conv2d) else own)


@dataclass(frozen=True)
class Link:
    """A layer, or the `count` layers that are one, from maps of (h, w, c) to maps of (h, w, c); the norm before it,
    and whether a ReLU is after it."""

    kind: int
    size: tuple[int, int, int]
    size_out: tuple[int, int, int]
    before: Norm | None
    conv: nn.Conv2d | None = None
    relu: bool = False
    count: int = 1

    @property
    def writes_nothing(self) -> bool:
        """Whether it only looks at its input."""
        return self.kind == IDENTITY and self.before is None

    @property
    def adds(self) -> int | None:
        """The number of the link that reads what is added to what the norm before this one gives."""
        return self.before.adds if self.before else None

    @property
    def needs_output(self) -> bool:
        """Whether its gradient needs its output."""
        return self.relu or (self.kind == IDENTITY and self.adds is not None)

    def parameters(self) -> list[nn.Parameter]:
        norm = self.before.parameters() if self.before else []
        return norm + ([self.conv.weight] if self.conv else [])


def plan_chain(
    layers: Sequence[nn.Module], shape: tuple[int, int, int, int], branch_of: BranchOf
) -> tuple[tuple[Link, ...], int]:
    """As many of the first `layers`, on (N, C, H, W), as C has functions for; and how many of them that is."""
    if _changes_its_input(layers):
        return (), 0
    plan, rest = _continued(_Plan(shape), _classified(layers), branch_of)
    return (plan.applied() if plan.norm else plan).links, len(layers) - len(rest)


@dataclass(frozen=True)
class _Plan:
    """Links in a row; after the last one feature maps of (N, C, H, W), and a norm that no link has applied yet."""

    shape: tuple[int, int, int, int]
    links: tuple[Link, ...] = ()
    norm: Norm | None = None

    @property
    def size(self) -> tuple[int, int, int]:
        n, c, h, w = self.shape
        return h, w, c

    def then(self, link: Link) -> "_Plan":
        """With another link, which applies the norm."""
        h, w, c = link.size_out
        return _Plan((self.shape[0], c, h, w), (*self.links, link))

    def applied(self) -> "_Plan":
        """With a link that does nothing but apply the norm."""
        return self.then(Link(IDENTITY, self.size, self.size, self.norm))


def _classified(layers: Sequence[nn.Module]) -> Layers:
    return [(type(layer) if untouched(layer) else None, layer) for layer in layers]


def _changes_its_input(layers: Sequence[nn.Module]) -> bool:
    """Whether the first layer writes where it reads, which C's never do: others may read there, too."""
    return bool(layers) and getattr(layers[0], "inplace", False)


def _continued(plan: _Plan, layers: Layers, branch_of: BranchOf) -> tuple[_Plan, Layers]:
    """`plan`, continued with as many of the first `layers` as C has functions for; and the others."""
    while layers:
        norm, rest = _norm(layers, plan.shape)
        if norm:
            applied = plan.applied() if plan.norm or not plan.links else plan
            plan, layers = replace(applied, norm=norm), rest
        elif (branch := branch_of(layers[0][1])) is not None:
            added = _with_residual(plan, list(branch), branch_of)
            if added is None:
                break
            plan, layers = added, layers[1:]
        else:
            link = _link(layers, plan.size, plan.norm)
            if link is None:
                break
            if link.kind == MAX_POOL and plan.norm and plan.norm.keeps_order:
                moved, following = _with_dropout(plan.norm, layers[1:])
                pooled = plan.then(replace(link, before=None))
                if following and _link(following, pooled.size, moved):  # which applies it, to a quarter of the values
                    plan, layers = replace(pooled, norm=moved), following
                    continue
            plan, layers = plan.then(link), layers[link.count :]
            if link.conv is not None and link.conv.bias is not None:
                bias, layers = _bias(link.conv, layers)
                plan = replace(plan, norm=bias)
            elif link.kind == CONVOLUTION and layers and layers[0][0] is nn.ReLU and not _norm(layers, plan.shape)[0]:
                plan, layers = replace(plan, links=(*plan.links[:-1], replace(link, relu=True))), layers[1:]
    return plan, layers


def _with_residual(plan: _Plan, branch: Sequence[nn.Module], branch_of: BranchOf) -> _Plan | None:
    """`plan`, continued with relu(x + branch(x)); None if C has no functions for all of it, or no norm ends it."""
    if _changes_its_input(branch):
        return None
    if plan.norm and plan.norm.adds is not None:  # a sum: it is added up once, and not wherever it is read
        plan = plan.applied()
    # What is added is what this link reads, with `plan.norm` applied: so that must be the norm before the link.
    first, layers = len(plan.links), _classified(branch)
    starts_with_norm = _norm(layers, plan.shape)[0] is not None
    if starts_with_norm and not plan.norm:  # what is added is not after the branch's own norm
        plan = plan.applied()
    whole, rest = _continued(plan, layers, branch_of)
    norm = whole.norm
    ends = not rest and whole.shape == plan.shape and norm and norm.adds is None
    if not ends or len(whole.links) == first or any(link.adds == first for link in whole.links):
        return None
    if whole.links[first].before is not plan.norm:  # it moved behind a pool: what is added would be without it
        return None
    return replace(whole, norm=replace(norm, adds=first))


def _norm(layers: Layers, shape: tuple[int, int, int, int]) -> tuple[Norm | None, Layers]:
    """The BatchNorm that `layers`, on (N, C, H, W), start with, together with its ReLU and its dropout; and the layers
    after them."""
    match layers:
        case [(nn.ReLU, _), (nn.BatchNorm2d, norm), *rest]:
            relu = RELU_BEFORE
        case [(nn.BatchNorm2d, norm), (nn.ReLU, _), *rest]:
            relu = RELU_AFTER
        case [(nn.BatchNorm2d, norm), *rest]:
            relu = NO_RELU
        case _:
            return None, layers
    if not _normalizes(norm, shape):
        return None, layers
    return _with_dropout(Norm(norm, relu, 0.0), rest)


def _bias(conv: nn.Conv2d, layers: Layers) -> tuple[Norm, Layers]:
    """The bias of `conv`, together with the ReLU and the dropout that `layers` start with; and the layers after."""
    match layers:
        case [(nn.ReLU, _), *rest]:
            norm = Norm(conv, RELU_AFTER, 0.0)
        case [(nn.LeakyReLU, nn.LeakyReLU(negative_slope=below)), *rest]:
            norm = Norm(conv, LEAKY_AFTER, 0.0, below=below)
        case rest:
            norm = Norm(conv, NO_RELU, 0.0)
    return _with_dropout(norm, rest)


def _with_dropout(norm: Norm, layers: Layers) -> tuple[Norm, Layers]:
    match layers:
        case [(nn.Dropout, nn.Dropout(training=False)), *rest]:
            return norm, rest
        case [(nn.Dropout, nn.Dropout(p=p)), *rest] if p < 1:
            return replace(norm, dropout=p), rest
    return norm, layers


def _normalizes(norm: nn.BatchNorm2d, shape: tuple[int, int, int, int]) -> bool:
    """Whether `norm` normalises (N, C, H, W), with all that BatchNorm has by default."""
    n, c, h, w = shape
    running = norm.running_mean, norm.running_var
    tensors = norm.weight, norm.bias, *running
    whole = norm.track_running_stats and norm.momentum is not None and norm.num_batches_tracked is not None
    fits = 0 < norm.num_features == c <= MAX_CHANNELS
    varies = n * h * w > 1 or not norm.training  # one value has no variance
    return (
        whole
        and fits
        and varies
        and all(x is not None and x.shape == (c,) for x in tensors)
        and all(x.is_contiguous() and x.is_cpu and x.dtype == torch.float32 for x in running)
    )


def _link(layers: Layers, size: tuple[int, int, int], norm: Norm | None) -> Link | None:
    """The first of the `layers`, or the first two, on (h, w, c), after `norm`; None if C has no function for that, or
    no room in its arrays."""
    kind, layer = layers[0]
    h, w, c = size
    if kind is nn.MaxPool2d and _pools_by_2(layer, stride=2) and min(h, w) >= 2 and h * w * c <= MAX_FLOATS:
        return Link(MAX_POOL, size, (h // 2, w // 2, c), norm)
    if _is_anti_aliased(layers) and min(h, w) >= 3 and h * w * c <= MAX_FLOATS:
        return Link(ANTI_ALIASED_POOL, size, ((h - 1) // 2, (w - 1) // 2, c), norm, count=2)
    if kind is nn.Conv2d and _convolves(layer, size):
        smaller = layer.kernel_size[0] - 1 - 2 * layer.padding[0]
        size_out = h - smaller, w - smaller, layer.out_channels
        return Link(CONVOLUTION if layer.groups == 1 else DEPTHWISE, size, size_out, norm, layer)
    return None


def _pools_by_2(pool: nn.MaxPool2d, stride: int) -> bool:
    sides = map(_side, (pool.kernel_size, pool.stride, pool.padding, pool.dilation))
    return (*sides, pool.return_indices, pool.ceil_mode) == (2, stride, 0, 1, False, False)


def _is_anti_aliased(layers: Layers) -> bool:
    match layers:
        case [(nn.MaxPool2d, pool), (nn.AvgPool2d, average), *_] if _pools_by_2(pool, stride=1):
            sides = map(_side, (average.kernel_size, average.stride, average.padding))
            return (*sides, average.ceil_mode, average.divisor_override) == (2, 2, 0, False, None)
    return False


def _side(size: int | tuple[int, int]) -> int | None:
    """That of a square; None for another rectangle."""
    return size if isinstance(size, int) else size[0] if size[0] == size[-1] else None


def _convolves(conv: nn.Conv2d, size: tuple[int, int, int]) -> bool:
    """Whether it has few channels, a small square kernel and nothing out of the ordinary."""
    (h, w, c), k = size, conv.kernel_size[0]
    channels = max(conv.in_channels, conv.out_channels)
    depthwise = conv.groups == conv.in_channels == conv.out_channels and k == 3
    biased = conv.bias is None or conv.bias.shape == (conv.out_channels,)
    plain = biased and (conv.groups == 1 or depthwise) and conv.stride == conv.dilation == (1, 1)
    square = conv.kernel_size == (k, k) and conv.padding in [(p, p) for p in range(k)] and conv.padding_mode == "zeros"
    floats = (channels + MAX_LANES) * max((h + 2 * k) * (w + 2 * k), k * k * channels)
    small = channels <= MAX_CHANNELS and floats <= MAX_FLOATS
    some = c == conv.in_channels and min(*size, conv.out_channels) > 0
    whole = conv.weight.shape == (conv.out_channels, c // conv.groups, k, k)  # another one may have been put there
    return some and plain and square and small and whole and min(h, w) + 2 * conv.padding[0] >= k
