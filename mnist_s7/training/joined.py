"""Networks of one architecture as one: their weights in one tensor, and each layer over all of them at once.

Feature maps of S networks are (S * N, C, H, W), one network's images after another's. So a layer without weights works
as it is, and those that have some are replaced by joined ones: in Triton on a GPU, and in PyTorch elsewhere.
"""

import copy
import math
from collections import Counter
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.func import functional_call, vmap

from mnist_s7 import InvalidArgument
from mnist_s7.kernels import gpu_layers, keep_mask

MOST_LANES = 128  # channels of a map that the kernels take


class Joined(nn.Module):
    """S networks of one architecture: (S, N, 1, 28, 28), or (N, 1, 28, 28) for all -> (S, N, 10).

    `weights` are all their parameters, (S, P), and `views` the parts of these of which gradients are taken. Each
    network's dropout draws from its own of `generators`: on a CPU as in `fit`, on a GPU numbers of its own.

    Raises `InvalidArgument` for a layer that cannot be joined.
    """

    def __init__(self, models: Sequence[nn.Module], generators: Sequence[Generator], device: torch.device):
        super().__init__()
        self.size, self.generators = len(models), generators
        together = [torch.cat([_stored(each).flatten() for each in model.parameters()]) for model in models]
        self.weights = torch.stack([row.detach() for row in together]).to(device)
        network = copy.deepcopy(models[0])
        parameters = list(network.parameters())
        parts = self.weights.split([each.numel() for each in parameters], dim=1)
        self.views = [
            part.view(self.size, *_stored(each).shape).detach().requires_grad_()
            for part, each in zip(parts, parameters, strict=True)
        ]
        self.buffers_of = {
            name: torch.stack([model.get_buffer(name) for model in models]).to(device)
            for name, buffer in network.named_buffers()
            if buffer.dim() > 0
        }
        if gpu_layers(device):
            self.keys = torch.stack([torch.randint(2**40, (), generator=g, device=g.device) for g in generators])
        else:
            self.keys = torch.zeros(self.size, dtype=torch.int64, device=device)
        self.first_keys = self.keys.clone()
        joining = _Joining(self, network, dict(zip(map(id, parameters), self.views, strict=True)))
        self.network = joining.join(network, "")

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 4:
            x = x.expand(self.size, -1, -1, -1, -1)
        if self.training:
            self.keys += 1
        return self.network(x.flatten(0, 1)).unflatten(0, (self.size, -1))

    def give_back(self, models: Sequence[nn.Module]) -> None:
        """Put each network's weights and statistics into its own of `models`."""
        steps = (self.keys - self.first_keys).tolist()
        with torch.no_grad():
            for i, model in enumerate(models):
                for parameter, view in zip(model.parameters(), self.views, strict=True):
                    parameter.copy_(_plain(view[i : i + 1])[0])
                for name, buffer in model.named_buffers():
                    if buffer.dim() > 0:
                        buffer.copy_(self.buffers_of[name][i])
                    else:
                        buffer += steps[i]  # BatchNorm's count of batches


def _stored(parameter: Tensor) -> Tensor:
    """As it is in memory: a convolution's weights as (kh, kw, c_in, c_out), for the kernels."""
    return parameter.permute(2, 3, 1, 0) if parameter.dim() == 4 else parameter


def _plain(view: Tensor) -> Tensor:
    """(S, ...) as PyTorch has them, from how they are in memory."""
    return view.permute(0, 4, 3, 1, 2) if view.dim() == 5 else view


class _Joining:
    """Replaces the layers of a network by joined ones."""

    def __init__(self, owner: Joined, network: nn.Module, views: dict[int, Tensor]):
        self.owner, self.views, self.done, self.dropouts = owner, views, {}, 0
        self.uses = Counter(id(child) for module in network.modules() for child in module.children())
        self.names = {id(module): name for name, module in network.named_modules()}

    def join(self, layer: nn.Module, name: str) -> nn.Module:
        if id(layer) not in self.done:
            self.done[id(layer)] = self._joined(layer, name), layer  # which stays, and so does its id
        return self.done[id(layer)][0]

    def _joined(self, layer: nn.Module, name: str) -> nn.Module:
        size = self.owner.size
        if type(layer) is nn.Conv2d and layer.padding_mode == "zeros":
            return JoinedConvolution(layer, size, *self._own(layer, "weight", "bias"))
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            return self._norm(layer, False, False, None)
        if type(layer) in (nn.Dropout, nn.Dropout2d):
            self.dropouts += 1
            return JoinedDropout(self.owner, layer.p, type(layer) is nn.Dropout2d, self.dropouts)
        if type(layer) is nn.MaxPool2d and _tiles(layer):
            return JoinedPool(layer.kernel_size)
        if any(True for _ in layer.parameters(recurse=False)):
            if any(True for _ in layer.children()) or any(True for _ in layer.buffers()):
                raise self._refusal(layer)
            return Mapped(layer, {key: self.views[id(each)] for key, each in layer.named_parameters()})
        if type(layer) is nn.Sequential:
            self._fuse(layer)
        for key, child in layer.named_children() if type(layer) is not nn.Sequential else layer._modules.items():
            layer._modules[key] = self.join(child, f"{name}.{key}")
        return layer

    def _fuse(self, layers: nn.Sequential) -> None:
        """A BatchNorm with the ReLU before or after it and the dropout after that become one layer."""
        keys = list(layers._modules)
        kinds = [type(layers._modules[key]) for key in keys] + [None] * 2
        for i, key in enumerate(keys):
            norm = layers._modules[key]
            if not isinstance(norm, nn.modules.batchnorm._BatchNorm) or self.uses[id(norm)] > 1:
                continue
            before, after, dropout = i > 0 and kinds[i - 1] is nn.ReLU, kinds[i + 1] is nn.ReLU, None
            place = i + 1 + after
            if kinds[place] is nn.Dropout:
                dropout = layers._modules[keys[place]].p
                layers._modules[keys[place]], kinds[place] = nn.Identity(), nn.Identity
            if before:
                layers._modules[keys[i - 1]], kinds[i - 1] = nn.Identity(), nn.Identity
            if after:
                layers._modules[keys[i + 1]], kinds[i + 1] = nn.Identity(), nn.Identity
            joined = self._norm(norm, before, after, dropout)
            layers._modules[key] = joined
            self.done[id(joined)] = joined, joined

    def _norm(self, norm: nn.Module, before: bool, after: bool, dropout: float | None) -> nn.Module:
        plain = type(norm) in (nn.BatchNorm1d, nn.BatchNorm2d)
        if not plain or not norm.affine or norm.running_mean is None or norm.momentum is None:
            raise self._refusal(norm)
        self.dropouts += dropout is not None
        name = self.names[id(norm)]
        running = [self.owner.buffers_of[f"{name}.{which}".lstrip(".")] for which in ("running_mean", "running_var")]
        weights = self._own(norm, "weight", "bias")
        return JoinedNorm(self.owner, norm, *weights, running, before, after, dropout or 0.0, self.dropouts)

    def _own(self, layer: nn.Module, *names: str) -> list[Tensor | None]:
        return [self.views.get(id(getattr(layer, name))) for name in names]

    def _refusal(self, layer: nn.Module) -> InvalidArgument:
        return InvalidArgument(
            f"{self.names[id(layer)]} is a {type(layer).__name__} that cannot be joined with those of other networks: "
            "train one seed at a time"
        )


def _tiles(pool: nn.MaxPool2d) -> bool:
    """Whether it takes the maximum of squares that lie side by side."""
    size = pool.kernel_size
    others = (pool.stride, pool.padding, pool.dilation, pool.ceil_mode, pool.return_indices)
    return isinstance(size, int) and others == (size, 0, 1, False, False)


def _beside(x: Tensor, size: int) -> Tensor:
    """(S * N, C, ...) -> (N, S * C, ...)"""
    return x.unflatten(0, (size, -1)).transpose(0, 1).flatten(1, 2)


def _below(x: Tensor, size: int) -> Tensor:
    """(N, S * C, ...) -> (S * N, C, ...)"""
    return x.unflatten(1, (size, -1)).transpose(0, 1).flatten(0, 1)


class JoinedConvolution(nn.Module):
    def __init__(self, layer: nn.Conv2d, size: int, weight: Tensor, bias: Tensor | None):
        super().__init__()
        self.layer, self.size, self.weight, self.bias = [layer], size, weight, bias
        standard = (layer.stride, layer.dilation) == ((1, 1), (1, 1)) and not isinstance(layer.padding, str)
        self.depthwise = layer.groups > 1 and layer.groups == layer.in_channels == layer.out_channels
        fits = max(layer.in_channels, layer.out_channels) <= MOST_LANES and (layer.groups == 1 or self.depthwise)
        within = standard and all(p < k for p, k in zip(layer.padding, layer.kernel_size, strict=True))
        self.in_triton = standard and fits and within

    def forward(self, x: Tensor) -> Tensor:
        [layer], size = self.layer, self.size
        gpu = gpu_layers(x.device)
        if gpu and self.in_triton:
            if self.depthwise:
                return gpu.convolve_depthwise(x, self.weight.squeeze(3), self.bias, layer.padding)
            return gpu.convolve(x, self.weight, self.bias, layer.padding)
        weight = _plain(self.weight).flatten(0, 1)
        bias = None if self.bias is None else self.bias.flatten()
        settings = layer.stride, layer.padding, layer.dilation, layer.groups * size
        return _below(F.conv2d(_beside(x, size), weight, bias, *settings), size)


class JoinedNorm(nn.Module):
    """BatchNorm over each network's own batch, the ReLU before or after it, and the dropout after that."""

    def __init__(
        self,
        owner: Joined,
        norm: nn.Module,
        weight: Tensor,
        bias: Tensor,
        running: list[Tensor],
        relu_before: bool,
        relu_after: bool,
        dropout: float,
        number: int,
    ):
        super().__init__()
        self.owner, self.eps, self.momentum = [owner], norm.eps, norm.momentum
        self.weight, self.bias, self.running = weight, bias, running
        self.relu_before, self.relu_after, self.dropout, self.number = relu_before, relu_after, dropout, number

    def forward(self, x: Tensor) -> Tensor:
        [owner], gpu = self.owner, gpu_layers(x.device)
        mean, variance = self.running
        p = self.dropout if self.training else 0.0
        relus = self.relu_before, self.relu_after
        if gpu and p < 1 and x.shape[1] <= MOST_LANES:
            if self.training:
                settings = owner.keys, self.number, self.eps, self.momentum, *relus, p
                return gpu.Normalization.apply(x, self.weight, self.bias, self.running, *settings)
            factor = self.weight * torch.rsqrt(variance + self.eps)
            return gpu.normalize(x, mean, factor, self.bias, *relus)
        if self.relu_before:
            x = F.relu(x)
        flat = [each.flatten() for each in (self.weight, self.bias)]
        running = [each.flatten() for each in self.running]  # views: the statistics move on
        x = F.batch_norm(_beside(x, owner.size), *running, *flat, self.training, self.momentum, self.eps)
        x = _below(x, owner.size)
        if self.relu_after:
            x = F.relu(x)
        return _dropped(x, p, owner.generators, in_maps=True) if p else x


class JoinedDropout(nn.Module):
    def __init__(self, owner: Joined, p: float, of_channels: bool, number: int):
        super().__init__()
        self.owner, self.p, self.of_channels, self.number = [owner], p, of_channels, number

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        [owner], gpu = self.owner, gpu_layers(x.device)
        like = x[:, :, :1, :1] if self.of_channels else x
        if gpu and self.p < 1:
            mask = gpu.keep_mask(owner.keys, like.numel() // owner.size, self.number, self.p)
            return x * mask.view(like.shape)
        if self.of_channels:
            masks = [torch.empty_like(part).bernoulli_(1 - self.p, generator=own) for part, own in _own(like, owner)]
            return x * torch.cat(masks).div_(1 - self.p)
        return _dropped(x, self.p, owner.generators, in_maps=x.dim() == 4)


def _own(x: Tensor, owner: Joined) -> list[tuple[Tensor, Generator]]:
    return list(zip(x.chunk(owner.size), owner.generators, strict=True))


def _dropped(x: Tensor, p: float, generators: Sequence[Generator], in_maps: bool) -> Tensor:
    """Dropout for each network from its own generator, in maps pixel by pixel, as `fit` does for one."""
    n, shape = len(x) // len(generators), (*x.shape[2:], x.shape[1]) if in_maps else x.shape[1:]
    size = n * math.prod(shape)
    masks = torch.cat([keep_mask(size, p, own).view(n, *shape) for own in generators])
    return x * (masks.movedim(3, 1) if in_maps else masks) / (1 - p)


class JoinedPool(nn.Module):
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
        plain = {name: _plain(view) for name, view in self.weights.items()}
        separate = x.unflatten(0, (size, -1))
        return vmap(lambda own, inputs: functional_call(layer, own, inputs))(plain, separate).flatten(0, 1)
