"""Networks of one architecture as one: their weights in one tensor, and each layer over all of them at once.

Feature maps of S networks are (S * N, C, H, W), one network's images after another's. So a layer without weights works
as it is, and those that have some are replaced by `ensemble_layers`. `check_ensemble` says whether a network can do so.
"""

import copy
from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mnist_s7 import InvalidArgument
from mnist_s7.kernels import gpu_layers, is_ordinary
from mnist_s7.results.machine import torch_defaults
from mnist_s7.training.ensemble_layers import (
    Batchwise,
    EnsembleConvolution,
    EnsembleDropout,
    EnsembleNorm,
    EnsemblePool,
    Mapped,
    plain,
    stored,
)

TOLERANCE = 1e-3  # of what an ensemble gives, relative to what its networks give: far above float32's rounding


class CannotBeMerged(InvalidArgument):
    """A network of which several cannot be trained as one; alone it can."""


class Ensemble(nn.Module):
    """S networks of one architecture: (S, N, 1, 28, 28), or (N, 1, 28, 28) for all -> (S, N, 10).

    `weights` are all their parameters, (S, P), and `views` the parts of these of which gradients are taken. Each
    network's dropout draws from its own of `generators`: on a CPU as in `fit`, on a GPU numbers of its own.

    Raises `CannotBeMerged` for a layer that cannot be merged with those of other networks.
    """

    def __init__(self, models: Sequence[nn.Module], generators: Sequence[Generator], device: torch.device):
        super().__init__()
        self.size, self.generators = len(models), generators
        self.dropouts = 0  # calls of dropout in a forward, so far
        rows = [torch.cat([stored(each).flatten() for each in model.parameters()]) for model in models]
        self.weights = torch.stack([row.detach() for row in rows]).to(device)
        network = copy.deepcopy(models[0])
        parameters = list(network.parameters())
        parts = self.weights.split([each.numel() for each in parameters], dim=1)
        self.views = [
            part.view(self.size, *stored(each).shape).detach().requires_grad_()
            for part, each in zip(parts, parameters, strict=True)
        ]
        self.statistics = {
            name: torch.stack([model.get_buffer(name) for model in models]).to(device)
            for name, buffer in network.named_buffers()
            if buffer.dim() > 0
        }
        if gpu_layers(device):
            self.keys = torch.stack([torch.randint(2**40, (), generator=g, device=g.device) for g in generators])
        else:
            self.keys = torch.zeros(self.size, dtype=torch.int64, device=device)
        self.first_keys = self.keys.clone()
        self.network = _Merging(self, network, dict(zip(map(id, parameters), self.views, strict=True))).merge(network)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 4:
            x = x.expand(self.size, -1, -1, -1, -1)
        self.dropouts = 0
        if self.training:
            self.keys += 1
        return self.network(x.flatten(0, 1)).unflatten(0, (self.size, -1))

    def give_back(self, models: Sequence[nn.Module]) -> None:
        """Put each network's weights and statistics into its own of `models`."""
        steps = (self.keys - self.first_keys).tolist()
        with torch.no_grad():
            for i, model in enumerate(models):
                for parameter, view in zip(model.parameters(), self.views, strict=True):
                    parameter.copy_(plain(view[i : i + 1])[0])
                for name, buffer in model.named_buffers():
                    if buffer.dim() > 0:
                        buffer.copy_(self.statistics[name][i])
                    else:
                        buffer += steps[i]  # BatchNorm's count of batches


class _Merging:
    """Replaces the layers of a network by those of an ensemble."""

    def __init__(self, owner: Ensemble, network: nn.Module, views: dict[int, Tensor]):
        self.owner, self.views, self.done = owner, views, {}
        self.uses = Counter(id(child) for module in network.modules() for child in module._modules.values())
        self.names = {id(module): name for name, module in network.named_modules()}

    def merge(self, layer: nn.Module) -> nn.Module:
        if id(layer) not in self.done:
            self.done[id(layer)] = self._merged(layer), layer  # which stays, and so does its id
        return self.done[id(layer)][0]

    def _merged(self, layer: nn.Module) -> nn.Module:
        own = list(layer.parameters(recurse=False))
        if not is_ordinary(layer) or not all(each.requires_grad for each in own):
            raise self._refusal(layer)
        match layer:
            case nn.Conv2d(padding_mode="zeros") if type(layer) is nn.Conv2d:
                return EnsembleConvolution(layer, self.owner.size, *self._views(layer))
            case _BatchNorm():
                return self._norm(layer, False, False, 0.0)
            case nn.Dropout() | nn.Dropout2d() if type(layer) in (nn.Dropout, nn.Dropout2d) and layer.p < 1:
                return EnsembleDropout(self.owner, layer)
            case nn.MaxPool2d() if type(layer) is nn.MaxPool2d and _tiles(layer):
                return EnsemblePool(layer.kernel_size)
        children = {key: child for key, child in layer._modules.items() if child is not None}
        if isinstance(layer, nn.modules.dropout._DropoutNd) or list(layer.buffers(recurse=False)) or (own and children):
            raise self._refusal(layer)
        if own:
            return Mapped(layer, {key: self.views[id(each)] for key, each in layer.named_parameters()})
        if type(layer) is nn.Sequential:
            self._fuse(layer)
        for key, child in layer._modules.items():
            layer._modules[key] = child and self.merge(child)
        return layer

    def _fuse(self, layers: nn.Sequential) -> None:
        """A BatchNorm with the ReLU before or after it and the dropout after that become one layer."""
        keys = list(layers._modules)
        kinds = [type(layers._modules[key]) if is_ordinary(layers._modules[key]) else None for key in keys]
        kinds += [None] * 2
        for i, key in enumerate(keys):
            norm = layers._modules[key]
            if kinds[i] not in (nn.BatchNorm1d, nn.BatchNorm2d) or self.uses[id(norm)] > 1:
                continue
            before, after, dropout = i > 0 and kinds[i - 1] is nn.ReLU, kinds[i + 1] is nn.ReLU, 0.0
            place = i + 1 + after
            fused = [*([i - 1] if before else []), *([i + 1] if after else [])]
            if kinds[place] is nn.Dropout and layers._modules[keys[place]].p < 1:
                dropout = layers._modules[keys[place]].p
                fused.append(place)
            for each in fused:
                layers._modules[keys[each]], kinds[each] = nn.Identity(), nn.Identity
            layers._modules[key] = self._norm(norm, before, after, dropout)
            self.done[id(layers._modules[key])] = layers._modules[key], norm

    def _norm(self, norm: nn.Module, before: bool, after: bool, dropout: float) -> EnsembleNorm:
        weight, bias = self._views(norm)
        usual = type(norm) in (nn.BatchNorm1d, nn.BatchNorm2d) and norm.momentum is not None
        if not usual or weight is None or bias is None or norm.running_mean is None or not is_ordinary(norm):
            raise self._refusal(norm)
        name = self.names[id(norm)]
        running = [self.owner.statistics[f"{name}.{each}".lstrip(".")] for each in ("running_mean", "running_var")]
        batchwise = Batchwise(norm.eps, norm.momentum, weight, bias, *running)
        return EnsembleNorm(self.owner, batchwise, before, after, dropout)

    def _views(self, layer: nn.Module) -> list[Tensor | None]:
        return [self.views.get(id(each)) for each in (layer.weight, layer.bias)]

    def _refusal(self, layer: nn.Module) -> CannotBeMerged:
        name = self.names[id(layer)]
        where = f"{name} is a {type(layer).__name__}" if name else f"the network is a {type(layer).__name__}"
        return CannotBeMerged(f"{where} that cannot be merged with those of other seeds: train one seed at a time")


def _tiles(pool: nn.MaxPool2d) -> bool:
    """Whether it takes the maximum of squares that lie side by side."""
    size = pool.kernel_size
    others = (pool.stride, pool.padding, pool.dilation, pool.ceil_mode, pool.return_indices)
    return isinstance(size, int) and others == (size, 0, 1, False, False)


def check_ensemble(name: str, network: Callable[[], nn.Module]) -> None:
    """Raise `CannotBeMerged` where two networks as one do not give what each gives alone, on a CPU and without dropout:
    where a forward mixes the images of a batch, say, or calls a part of a module.

    PyTorch's random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]), torch_defaults():
        try:
            models = [_without_dropout(network()) for _ in range(2)]
            ensemble = Ensemble(models, [Generator(), Generator()], torch.device("cpu"))
            x = torch.randn(2, 3, 1, 28, 28)
            for training in (True, False):  # in evaluation with the statistics that training has moved
                found = ensemble.train(training)(x)
                expected = torch.stack([model.train(training)(one) for model, one in zip(models, x, strict=True)])
                _compare(name, found, expected)
                if training:
                    weighted = torch.randn_like(found)
                    gradients = torch.autograd.grad((found * weighted).sum(), ensemble.views, materialize_grads=True)
                    for i, model in enumerate(models):
                        own = torch.autograd.grad(
                            (expected[i] * weighted[i]).sum(),
                            list(model.parameters()),
                            retain_graph=True,
                            materialize_grads=True,
                        )
                        row = torch.cat([plain(each[i : i + 1]).flatten() for each in gradients])
                        _compare(name, row, torch.cat([each.flatten() for each in own]))
        except CannotBeMerged:
            raise
        except Exception as error:  # whatever a forward from elsewhere raises on maps of several networks
            raise CannotBeMerged(f"{name}: networks of several seeds cannot be trained as one ({error})") from error


def _without_dropout(model: nn.Module) -> nn.Module:
    for layer in model.modules():
        if isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p < 1:
            layer.p = 0.0
    return model


def _compare(name: str, found: Tensor, expected: Tensor) -> None:
    """Where both are NaN, a seed has diverged before its first step, which training will say."""
    if not torch.allclose(
        found, expected, rtol=TOLERANCE, atol=TOLERANCE * expected.abs().max().item(), equal_nan=True
    ):
        raise CannotBeMerged(
            f"{name}: as one, networks of several seeds do not give what each gives alone, as where a forward mixes "
            "the images of a batch or calls a part of a module: train one seed at a time"
        )
