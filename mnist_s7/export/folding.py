"""BatchNorm folded into the layers beside it: the same function in fewer layers, for a network that no longer trains.

In evaluation mode a BatchNorm multiplies each channel by a constant and adds another one. A convolution before it, or
one after it, can do both with its own weights and bias.
"""

import contextlib
import copy
import warnings
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from mnist_s7 import MnistS7Warning
from mnist_s7.results import MNIST

IMAGE = (1, 28, 28)
NAMED = 3  # layers in a warning
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
DROPOUT_CALLS = (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout)
ADAPTIVE = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
AVERAGES = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
ADAPTIVE_CALLS = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)
MAXIMUM_CALLS = (F.max_pool1d, F.max_pool2d, F.max_pool3d)
MAXIMA = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)


class NotFolded(MnistS7Warning):
    """A BatchNorm that stays in a network. The network computes the same as before."""


def folded(model: nn.Module) -> nn.Module:
    """A copy of `model` in evaluation mode that computes the same without dropout, and with every BatchNorm folded into
    a layer beside it where that is exact.

    A BatchNorm folds into the convolution or linear layer before it; or into the one after it, if that has no zero
    padding and only pools lie between. Neither value may be used elsewhere, and the layer may have no other call. What
    cannot be folded stays, with the warning `NotFolded`; so does all of a network whose forward torch.fx cannot trace.
    """
    network = copy.deepcopy(model).eval()
    try:
        network = fx.GraphModule(network, fx.Tracer().trace(network)).eval()
        network.trained_on = getattr(model, "trained_on", MNIST)
    except Exception as error:  # forward is the user's, and meets symbols where it expects tensors
        _without_dropout(network)
        if any(isinstance(layer, NORMS) for layer in network.modules()):
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            _warn(f"torch.fx cannot trace {type(model).__name__} ({reason}), so that every BatchNorm stays")
        return network
    if stay := _Folding(network).fold():
        names = ", ".join(stay[:NAMED]) + (", ..." if len(stay) > NAMED else "")
        _warn(
            f"{len(stay)} BatchNorm of {type(model).__name__} could not be folded ({names}): each would need a "
            "convolution before it, or one without zero padding after it, that serves nothing else"
        )
    return network


def _warn(text: str) -> None:
    warnings.warn(f"{text}. The network computes the same, with more operations", NotFolded, stacklevel=3)


def _without_dropout(network: nn.Module) -> None:
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) in DROPOUTS:
                setattr(module, name, nn.Identity())


@dataclass(frozen=True)
class Affine:
    """What a BatchNorm does in evaluation mode: (channels,) float64 `scale`, and `shift` added after it."""

    scale: Tensor
    shift: Tensor

    @classmethod
    def of(cls, norm: nn.Module) -> "Affine":
        deviation = (norm.running_var.double() + norm.eps).sqrt()
        scale = 1 / deviation if norm.weight is None else norm.weight.detach().double() / deviation
        shift = -norm.running_mean.double() * scale
        return cls(scale, shift if norm.bias is None else shift + norm.bias.detach().double())

    def after(self, layer: nn.Module) -> nn.Module:
        """A layer that does what `layer` and then this does."""
        weight = layer.weight.detach().double()
        if type(layer) in TRANSPOSED:  # (channels in, channels out of a group, ...)
            grouped = weight.unflatten(0, (layer.groups, -1))
            scale = self.scale.view(layer.groups, 1, -1, *[1] * (weight.dim() - 2))
            weight = (grouped * scale).flatten(0, 1)
        else:  # (channels out, channels in of a group, ...)
            weight = weight * self.scale.view(-1, *[1] * (weight.dim() - 1))
        return _with(layer, weight, _bias(layer) * self.scale + self.shift)

    def before(self, layer: nn.Module) -> nn.Module:
        """A layer that does what this and then `layer` does. The layer pads with no zeros, or `shift` is 0."""
        weight = layer.weight.detach().double()
        groups = getattr(layer, "groups", 1)
        grouped = weight.unflatten(0, (groups, -1))  # (groups, channels out, channels in, ...)
        each = weight.shape[1] * groups // len(self.scale)  # of a flattened map, a channel is several features

        def by_input(values: Tensor) -> Tensor:
            return values.repeat_interleave(each).view(groups, 1, -1, *[1] * (weight.dim() - 2))

        shift = (grouped * by_input(self.shift)).flatten(2).sum(2).flatten()
        return _with(layer, (grouped * by_input(self.scale)).flatten(0, 1), _bias(layer) + shift)


def _bias(layer: nn.Module) -> Tensor | float:
    return 0.0 if layer.bias is None else layer.bias.detach().double()


def _with(layer: nn.Module, weight: Tensor, bias: Tensor) -> nn.Module:
    new = copy.deepcopy(layer)
    new.weight, new.bias = (nn.Parameter(value.to(layer.weight.dtype)) for value in (weight, bias))
    return new


class _Folding:
    """The graph of a network in evaluation mode, which `fold` changes in place."""

    def __init__(self, network: fx.GraphModule):
        self.network, self.graph = network, network.graph
        self.modules = dict(network.named_modules())

    def fold(self) -> list[str]:
        """The names of the BatchNorm layers that stay."""
        for node in self.graph.nodes:
            if self._type(node) in (*DROPOUTS, nn.Identity) or _is_dropout_call(node):
                self._remove(node)
        self.ranks = _ranks(self.network)
        self.in_place = any(
            node.op == "call_method" and node.target.endswith("_") and not node.target.endswith("__")
            for node in self.graph.nodes
        )
        for node in self._norms():
            self._into_layer_before(node)
        for node in reversed(self._norms()):  # of two in a row, the last one first
            self._into_layer_after(node)
        self.network.delete_all_unused_submodules()
        self.network.recompile()
        return list(dict.fromkeys(node.target for node in self._norms()))

    def _norms(self) -> list[fx.Node]:
        return [node for node in self.graph.nodes if self._type(node) in NORMS]

    def _type(self, node: fx.Node) -> type | None:
        """Of the layer that the node calls. A subclass may do anything, and is taken for none of torch's layers."""
        return type(self.modules[node.target]) if node.op == "call_module" else None

    def _remove(self, node: fx.Node) -> None:
        node.replace_all_uses_with(node.all_input_nodes[0])
        self.graph.erase_node(node)

    def _affine(self, node: fx.Node) -> Affine | None:
        norm = self.modules[node.target]
        return None if norm.running_mean is None or _has_hooks(norm) else Affine.of(norm)

    def _into_layer_before(self, node: fx.Node) -> None:
        [before] = node.all_input_nodes
        affine = self._affine(node)
        if affine and self._takes(before, node, flat=self.ranks.get(before) == 2) and len(before.users) == 1:
            self._replace(before, affine.after(self.modules[before.target]))
            self._remove(node)

    def _into_layer_after(self, node: fx.Node) -> None:
        affine = self._affine(node)
        # What the norm is given must not change before the later layer, by a user of it or of what it is a view of.
        given = node.all_input_nodes[0]
        alone = len(given.users) == 1 and not (self.in_place and given.op in ("call_method", "call_function"))
        after, flat = self._beyond_pools(node, affine) if affine and alone else (None, False)
        if after is None or not self._takes(after, node, flat) or self._type(after) in TRANSPOSED:
            return
        layer = self.modules[after.target]
        if flat or _is_unpadded(layer) or not affine.shift.any():
            self._replace(after, affine.before(layer))
            self._remove(node)

    def _beyond_pools(self, norm: fx.Node, affine: Affine) -> tuple[fx.Node | None, bool]:
        """The call that alone uses what `norm` gives, beyond those before which the norm could as well be after; and
        whether its input is (N, features)."""
        flat = self.ranks.get(norm) == 2
        dimensions = self._type(norm).__name__[-2:]
        node = norm
        while len(node.users) == 1:
            [node] = node.users
            layer = self.modules[node.target] if node.op == "call_module" else None
            if not flat and _flattens(node, layer):
                flat = True
            elif flat or not _commutes(node, layer, affine, dimensions):
                return node, flat
        return None, flat

    def _takes(self, node: fx.Node, norm: fx.Node, flat: bool) -> bool:
        """Whether the node calls a layer whose channels are those of `norm`, and that has no other call and no hook
        which a change of its weights could disturb."""
        kind = self._type(node)
        if kind is nn.Linear:
            fits = flat  # elsewhere its features are not the channels
        else:
            same = kind in CONVOLUTIONS + TRANSPOSED and kind.__name__[-2:] == self._type(norm).__name__[-2:]
            fits = same and not flat
        return fits and self._calls(node) == 1 and not _has_hooks(self.modules[node.target])

    def _calls(self, node: fx.Node) -> int:
        """How often the layer that `node` calls is called, and its weights are read by themselves."""
        return sum(
            other.op in ("call_module", "get_attr") and f"{other.target}.".startswith(f"{node.target}.")
            for other in self.graph.nodes
        )

    def _replace(self, node: fx.Node, layer: nn.Module) -> None:
        self.network.set_submodule(node.target, layer)
        self.modules[node.target] = layer


class _Ranks(fx.Interpreter):
    """Notes how many dimensions every value has."""

    def __init__(self, network: fx.GraphModule):
        super().__init__(network)
        self.found = {}

    def run_node(self, n: fx.Node) -> object:
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.found[n] = value.dim()
        return value


def _ranks(network: fx.GraphModule) -> dict[fx.Node, int]:
    """Dimensions of the network's values; of none where it does not take MNIST's images."""
    ranks = _Ranks(network)
    like = next(network.parameters(), torch.empty(0))
    with torch.no_grad(), contextlib.suppress(Exception):  # of a network for anything else
        ranks.run(torch.zeros(2, *IMAGE, dtype=like.dtype, device=like.device))
    return ranks.found


def _is_dropout_call(node: fx.Node) -> bool:
    """Of a dropout that is off."""
    if node.op != "call_function" or node.target not in DROPOUT_CALLS:
        return False
    training = node.kwargs.get("training", node.args[2] if len(node.args) > 2 else True)
    return training is False


def _flattens(node: fx.Node, layer: nn.Module | None) -> bool:
    """(N, channels, ...) -> (N, features)."""
    if type(layer) is nn.Flatten:
        return (layer.start_dim, layer.end_dim) == (1, -1)
    called = (node.op, node.target) in (("call_method", "flatten"), ("call_function", torch.flatten))
    names = dict(zip(("start_dim", "end_dim"), node.args[1:], strict=False)) | node.kwargs
    return called and names in ({"start_dim": 1}, {"start_dim": 1, "end_dim": -1})


def _commutes(node: fx.Node, layer: nn.Module | None, affine: Affine, dimensions: str) -> bool:
    """Whether the call, a pool, gives the same after scaling and shifting each channel as before."""
    name = type(layer).__name__ if layer else getattr(node.target, "__name__", "")
    if not name.endswith(dimensions):
        return False
    if type(layer) in ADAPTIVE or node.target in ADAPTIVE_CALLS:
        return True
    if type(layer) in AVERAGES:
        whole = layer.count_include_pad is False or layer.padding in (0, (0,), (0, 0), (0, 0, 0))
        return whole and getattr(layer, "divisor_override", None) is None
    if type(layer) in MAXIMA:
        return not layer.return_indices and bool((affine.scale >= 0).all())  # the largest stays the largest
    return node.target in MAXIMUM_CALLS and bool((affine.scale >= 0).all())


def _is_unpadded(layer: nn.Module) -> bool:
    return layer.padding_mode != "zeros" or layer.padding == "valid" or not any(layer.padding)


def _has_hooks(layer: nn.Module) -> bool:
    return bool(layer._forward_hooks or layer._forward_pre_hooks)
