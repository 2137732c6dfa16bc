"""A network as data that JSON can hold and `js/network.js` can run: the steps of its folded graph, in order."""

import base64
import math
import operator
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from mnist_s7 import MnistS7Error
from mnist_s7.data import normalization_of
from mnist_s7.export import NotFolded, folded
from mnist_s7.export.folding import Affine

IMAGE = (1, 28, 28)
CLASSES = 10


class NotInBrowser(MnistS7Error):
    """A network with a layer that the page's JavaScript does not have."""


def network_data(model: nn.Module) -> dict:
    """What `loadNetwork` of `js/network.js` takes: the steps of the folded `model`, the image being the first one.

    A step has a name, a kind, the shape of what it gives for one image, the indices of the steps it takes its inputs
    from, and its own settings. Parameters are little-endian float32 in base64, which is a third of decimal text.

    Raises `NotInBrowser` for a layer that the JavaScript does not have, and names it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotFolded)  # a BatchNorm that stays is a step like others
        network = folded(model).float().cpu()
    if not isinstance(network, fx.GraphModule):
        raise NotInBrowser(f"{type(model).__name__}: torch.fx cannot trace its forward, and the page needs its steps")
    with torch.no_grad():
        ShapeProp(network).propagate(torch.zeros(2, *IMAGE))
    steps = _Steps(network, type(model).__name__)
    for node in network.graph.nodes:
        steps.add(node)
    mean, std = normalization_of(model)
    return {"mean": mean, "std": std, "steps": steps.found}


@dataclass
class _Steps:
    """The steps `found` so far, and the index of the one that holds the value of each node."""

    network: fx.GraphModule
    title: str
    found: list[dict] = field(default_factory=list)
    index: dict[fx.Node, int] = field(default_factory=dict)

    def add(self, node: fx.Node) -> None:
        if node.op == "output":
            self._check_output(node)
        elif node.op == "placeholder" and not self.found:
            self._append(node, "image", {"kind": "image"})
        elif "tensor_meta" in node.meta:  # the rest are sizes, which the shapes tell
            kind, layer, inplace = self._kind(node)
            try:
                step = KINDS[kind](node, layer) if kind in KINDS else None
            except (LookupError, TypeError):  # arguments by name, or computed ones
                step = None
            if step is None or any(source not in self.index for source in _sources(node)):
                self._refuse(node, layer)
            self._append(node, self._name(node), {"kind": kind} | step)
            if inplace:  # whoever takes the input from now on, by any name, takes what it was changed to
                before, after = self.index[node.args[0]], self.index[node]
                self.index.update({other: after for other, index in self.index.items() if index == before})

    def _kind(self, node: fx.Node) -> tuple[str | None, nn.Module | None, bool]:
        """What the node does, by which layer if it is one, and whether in place."""
        if node.op == "call_module":
            layer = self.network.get_submodule(node.target)
            return MODULES.get(type(layer)), layer, getattr(layer, "inplace", False)
        kind = (METHODS if node.op == "call_method" else FUNCTIONS).get(node.target)
        name = node.target if node.op == "call_method" else getattr(node.target, "__name__", "")
        inplace = name.endswith("_") or node.kwargs.get("inplace", False)
        return kind, None, inplace

    def _append(self, node: fx.Node, name: str, step: dict) -> None:
        self.index[node] = len(self.found)
        sources = [self.index[source] for source in _sources(node)]
        self.found.append({"name": name, **step, "inputs": sources, "shape": _shape(node)})

    def _name(self, node: fx.Node) -> str:
        """The layer's, as in the network; of a call without one, `block1.3.add`: of the layer that calls it."""
        if node.op == "call_module":
            return node.target
        called = node.target if node.op == "call_method" else node.target.__name__
        owners = [name for name, _ in (node.meta.get("nn_module_stack") or {}).values()]
        return ".".join(part for part in (owners[-1] if owners else "", called) if part)

    def _check_output(self, node: fx.Node) -> None:
        [result] = node.args
        if not isinstance(result, fx.Node) or self.index.get(result) != len(self.found) - 1:
            raise NotInBrowser(f"{self.title}: its last step does not give its result, as the page needs it")
        if self.found[-1]["shape"] != [CLASSES]:
            raise NotInBrowser(f"{self.title} gives {self.found[-1]['shape']} for an image; log-probabilities are [10]")

    def _refuse(self, node: fx.Node, layer: nn.Module | None) -> None:
        what = f"{type(layer).__name__} with these settings" if type(layer) in MODULES else type(layer).__name__
        raise NotInBrowser(
            f"{self.title}: the page cannot compute {self._name(node) if node.op != 'get_attr' else node.target}"
            + (f", a {what}" if layer else "")
            + f"; it has {', '.join(KINDS)}"
        )


def _sources(node: fx.Node) -> list[fx.Node]:
    """The tensors that the node takes."""
    return [source for source in node.all_input_nodes if "tensor_meta" in source.meta]


def _shape(node: fx.Node) -> list[int]:
    return list(node.meta["tensor_meta"].shape[1:])


def _input_shape(node: fx.Node) -> list[int]:
    return _shape(node.args[0])


def _pair(value: int | tuple) -> list[int]:
    return [value, value] if isinstance(value, int) else [*value] * (2 // len(value))


def _encoded(values: Tensor | None) -> str | None:
    return None if values is None else base64.b64encode(values.detach().numpy().astype("<f4").tobytes()).decode()


# ------------------------------------------ each kind of step: its settings, or None where the JavaScript lacks them


def _conv2d(node: fx.Node, layer: nn.Conv2d) -> dict | None:
    if layer.padding_mode != "zeros":
        return None
    left, _, top, _ = layer._reversed_padding_repeated_twice  # "same" and "valid" in numbers
    return {
        "kernel": _pair(layer.kernel_size),
        "stride": _pair(layer.stride),
        "padding": [top, left],  # the shape tells how much there is on the other sides
        "dilation": _pair(layer.dilation),
        "groups": layer.groups,
        "weight": _encoded(layer.weight),
        "bias": _encoded(layer.bias),
    }


def _linear(node: fx.Node, layer: nn.Linear) -> dict | None:
    if len(_input_shape(node)) != 1:
        return None
    return {"weight": _encoded(layer.weight), "bias": _encoded(layer.bias)}


def _batchnorm(node: fx.Node, layer: nn.BatchNorm2d) -> dict | None:
    if layer.running_mean is None:
        return None
    affine = Affine.of(layer)
    return {"scale": _encoded(affine.scale), "shift": _encoded(affine.shift)}


def _relu(node: fx.Node, layer: nn.Module | None) -> dict:
    return {}


def _maxpool2d(node: fx.Node, layer: nn.MaxPool2d | None) -> dict | None:
    """Rounded up or down, the shape tells."""
    names = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
    given = vars(layer) if layer else dict(zip(names, node.args, strict=False)) | node.kwargs
    if given.get("return_indices"):
        return None
    return {
        "kernel": _pair(given["kernel_size"]),
        "stride": _pair(given.get("stride") or given["kernel_size"]),
        "padding": _pair(given.get("padding", 0)),
        "dilation": _pair(given.get("dilation", 1)),
    }


def _average(node: fx.Node, layer: nn.AvgPool2d | nn.AdaptiveAvgPool2d | None) -> dict | None:
    """Of whole windows: without padding, and rounded down. The only window of an adaptive one is the feature map."""
    if isinstance(layer, nn.AdaptiveAvgPool2d) or node.target is F.adaptive_avg_pool2d:
        _, *sides = _input_shape(node)
        return {"kernel": sides, "stride": sides} if _shape(node)[1:] == [1, 1] and len(sides) == 2 else None
    names = ("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
    given = vars(layer) if layer else dict(zip(names, node.args, strict=False)) | node.kwargs
    if any(_pair(given.get("padding", 0))) or given.get("ceil_mode") or given.get("divisor_override"):
        return None
    return {
        "kernel": _pair(given["kernel_size"]),
        "stride": _pair(given.get("stride") or given["kernel_size"]),
    }


def _add(node: fx.Node, layer: None) -> dict | None:
    tensors = _sources(node)
    twice = len(node.args) == 2 and len(tensors) == 2 and not node.kwargs
    return {} if twice and _shape(tensors[0]) == _shape(tensors[1]) else None


def _flatten(node: fx.Node, layer: nn.Flatten | None) -> dict | None:
    """Any other shape for the same values of one image."""
    whole = node.meta["tensor_meta"].shape[0] == 2 and math.prod(_shape(node)) == math.prod(_input_shape(node))
    return {} if whole else None


def _log_softmax(node: fx.Node, layer: nn.LogSoftmax | None) -> dict | None:
    dim = layer.dim if layer else node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
    channels, *rest = _shape(node)
    return {} if math.prod(rest) == 1 and (dim == 1 or (dim == -1 and not rest)) else None


KINDS: dict[str, Callable[[fx.Node, nn.Module | None], dict | None]] = {
    "conv2d": _conv2d,
    "linear": _linear,
    "batchnorm": _batchnorm,
    "relu": _relu,
    "maxpool2d": _maxpool2d,
    "average": _average,
    "add": _add,
    "flatten": _flatten,
    "log_softmax": _log_softmax,
}
MODULES = {
    nn.Conv2d: "conv2d",
    nn.Linear: "linear",
    nn.BatchNorm1d: "batchnorm",
    nn.BatchNorm2d: "batchnorm",
    nn.ReLU: "relu",
    nn.MaxPool2d: "maxpool2d",
    nn.AvgPool2d: "average",
    nn.AdaptiveAvgPool2d: "average",
    nn.Flatten: "flatten",
    nn.LogSoftmax: "log_softmax",
}
FUNCTIONS = {
    F.relu: "relu",
    F.relu_: "relu",
    torch.relu: "relu",
    F.max_pool2d: "maxpool2d",
    F.avg_pool2d: "average",
    F.adaptive_avg_pool2d: "average",
    operator.add: "add",
    torch.add: "add",
    torch.flatten: "flatten",
    F.log_softmax: "log_softmax",
    torch.log_softmax: "log_softmax",
}
METHODS = {
    "relu": "relu",
    "relu_": "relu",
    "add": "add",
    "add_": "add",
    "flatten": "flatten",
    "view": "flatten",
    "reshape": "flatten",
    "log_softmax": "log_softmax",
}
