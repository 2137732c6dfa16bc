"""A network of PyTorch layers in JAX, a peer in the benchmark: the same training step, compiled by XLA.

Images are channels last, (N, h, w, c), and a convolution's weights (k, k, c_in, c_out), which XLA is faster on than on
PyTorch's order. JAX is an extra: only what measures it imports this.
"""

import copy
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F
from jax import lax
from torch import Tensor, fx, nn

from mnist_s7 import MnistS7Error
from mnist_s7.experiments import Experiment
from mnist_s7.optimizers import SGD
from mnist_s7.transforms import PLAIN, batched

jax.config.update("jax_platforms", "cpu")  # what it is compared with is measured there
TOLERANCE = 1e-3  # of how far the network's answers to two images are apart


class NotInJax(MnistS7Error):
    """A network or an optimiser that the benchmark does not have in JAX."""


class JaxTraining:
    """A fresh network of an experiment, as `experiment.network()` gives it, and its training with SGD."""

    def __init__(self, experiment: Experiment):
        """Raises `NotInJax`."""
        if not isinstance(experiment.algorithm, SGD):
            raise NotInJax(f"{experiment.name} is trained with {experiment.algorithm}, and only SGD is here in JAX")
        model = experiment.network()
        self.experiment, self.network = experiment, _Network(model)
        self._step = jax.jit(self._stepped, donate_argnums=(0, 1, 2))
        self._count = jax.jit(lambda *state, images, labels: _figures(self.network(*state, images)[0], labels))
        self._compare(_random(model))
        self._start(model)

    def _start(self, model: nn.Module) -> None:
        """With the weights of `model`."""
        self.parameters, self.statistics = _parameters(model), _statistics(model)
        self.velocity = jax.tree.map(jnp.zeros_like, self.parameters)
        self.key = jax.random.key(1, impl="rbg")  # the faster generator

    def _compare(self, model: nn.Module) -> None:
        """A layer may have settings that are not here: let the network compute what PyTorch's does, and be trained."""
        images, labels = torch.randn(2, 1, 28, 28), torch.zeros(2, dtype=torch.long)
        with torch.no_grad():
            expected = model.eval()(images).numpy()
        try:
            self._start(model)
            found, _ = self.network(self.parameters, self.statistics, _channels_last(images))
            far = abs(np.array(found) - expected).max() / abs(expected[0] - expected[1]).max()
            state = self.parameters, self.velocity, self.statistics, self.key
            jax.eval_shape(self._stepped, *state, **_arrays(images, labels))
        except Exception as error:  # of JAX, which has many for shapes that do not fit
            raise NotInJax(f"{type(model).__name__} cannot be computed in JAX: {error}") from error
        if not far < TOLERANCE:
            raise NotInJax(f"{type(model).__name__} is another network in JAX: a layer has settings that are not here")

    def epoch(self, batches: Iterable[tuple[Tensor, Tensor]], test_images: Tensor, test_labels: Tensor) -> jax.Array:
        """Train on the batches, test on uint8 (N, 28, 28) images and (N,) labels, and give the `_figures` of both when
        they are there: (2, 2)."""
        trained = sum(self.step(*batch) for batch in batches)
        tested = self.count(batched(PLAIN)(test_images.unsqueeze(1), None), test_labels)
        return jnp.stack([trained, tested]).block_until_ready()

    def step(self, images: Tensor, labels: Tensor) -> jax.Array:
        """Train on (B, 1, 28, 28) images and (B,) labels, at the experiment's `lr`: `_figures`."""
        state = self.parameters, self.velocity, self.statistics, self.key
        *state, figures = self._step(*state, **_arrays(images, labels))
        self.parameters, self.velocity, self.statistics, self.key = state
        return figures

    def count(self, images: Tensor, labels: Tensor) -> jax.Array:
        """`_figures` in evaluation mode."""
        return self._count(self.parameters, self.statistics, **_arrays(images, labels))

    def _stepped(self, parameters, velocity, statistics, key, images, labels):
        """As torch.optim.SGD does it."""
        key, dropout = jax.random.split(key)

        def loss(parameters):
            log_probabilities, new = self.network(parameters, statistics, images, dropout)
            figures = _figures(log_probabilities, labels)
            return figures[0] / len(labels), (new, figures)

        momentum, decay = self.experiment.momentum, self.experiment.weight_decay
        gradients, (statistics, figures) = jax.grad(loss, has_aux=True)(parameters)
        gradients = jax.tree.map(lambda gradient, weights: gradient + decay * weights, gradients, parameters)
        velocity = jax.tree.map(lambda last, gradient: momentum * last + gradient, velocity, gradients)
        moves = velocity
        if self.experiment.nesterov:
            moves = jax.tree.map(lambda gradient, new: gradient + momentum * new, gradients, velocity)
        parameters = jax.tree.map(lambda weights, move: weights - self.experiment.lr * move, parameters, moves)
        return parameters, velocity, statistics, key, figures


def _random(model: nn.Module) -> nn.Module:
    """A copy with weights and statistics that show in what it answers, as an untrained network's hardly do."""
    changed = copy.deepcopy(model)
    with torch.no_grad():
        for layer in changed.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)
            elif isinstance(layer, nn.BatchNorm2d):
                for values in filter(None.__ne__, (layer.weight, layer.bias, layer.running_mean, layer.running_var)):
                    values.uniform_(0.5, 1.5)
    return changed


def _parameters(model: nn.Module) -> dict:
    """By the layers' names."""
    found = {}
    for name, layer in model.named_modules():
        own = {kind: weights.detach() for kind, weights in layer.named_parameters(recurse=False)}
        if isinstance(layer, nn.Conv2d):
            own["weight"] = own["weight"].permute(2, 3, 1, 0)
        if own:
            found[name] = {kind: jnp.array(weights.numpy()) for kind, weights in own.items()}
    return found


def _statistics(model: nn.Module) -> dict:
    """The running means and variances, by the names of the BatchNorm layers."""
    norms = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.BatchNorm2d)}
    return {
        name: (jnp.array(norm.running_mean.numpy()), jnp.array(norm.running_var.numpy()))
        for name, norm in norms.items()
    }


def _arrays(images: Tensor, labels: Tensor) -> dict:
    return {"images": _channels_last(images), "labels": labels.numpy()}


def _channels_last(images: Tensor) -> np.ndarray:
    return images.permute(0, 2, 3, 1).contiguous().numpy()


def _figures(log_probabilities: jax.Array, labels: jax.Array) -> jax.Array:
    """(2,): the sum of the losses, and how many are right."""
    loss = -jnp.take_along_axis(log_probabilities, labels[:, None], 1).sum()
    return jnp.stack([loss, (log_probabilities.argmax(1) == labels).sum().astype(loss.dtype)])


@dataclass(frozen=True)
class _Call:
    """A call of a layer, with what is the layer's own; where it is trained, there is a key to draw dropout from."""

    layer: nn.Module | None
    parameters: dict | None
    statistics: tuple | None
    key: jax.Array | None


class _Network:
    """What a PyTorch module computes, call by call."""

    def __init__(self, model: nn.Module):
        """Raises `NotInJax`."""
        self.layers = dict(model.named_modules())
        try:
            self.calls = list(fx.Tracer().trace(model).nodes)
        except Exception as error:  # forward may be a reader's own, and meets symbols where it expects tensors
            raise NotInJax(f"torch.fx cannot trace {type(model).__name__}: {error}") from error
        for node in self.calls:
            if node.op not in ("placeholder", "output") and self._function(node) is None:
                called = type(self.layers[node.target]).__name__ if node.op == "call_module" else node.target
                raise NotInJax(f"there is no {called} here in JAX")
        if any(isinstance(layer, nn.Conv2d) and layer.groups > 1 for layer in self.layers.values()):
            raise NotInJax("convolutions in groups, which XLA is no peer at on a CPU, are not here in JAX")

    def __call__(self, parameters: dict, statistics: dict, images: jax.Array, key: jax.Array | None = None):
        """(N, 28, 28, 1) images -> (N, 10) log-probabilities, and the statistics after them; with a key in training."""
        values, statistics = {}, dict(statistics)
        for i, node in enumerate(self.calls):
            if node.op == "placeholder":
                values[node] = images
            elif node.op == "output":
                return values[node.args[0]], statistics
            else:
                own = None if key is None else jax.random.fold_in(key, i)
                name = node.target
                call = _Call(self.layers.get(name), parameters.get(name), statistics.get(name), own)
                values[node] = self._function(node)(call, *fx.map_arg(node.args, values.get))
                if name in statistics:
                    values[node], statistics[name] = values[node]

    def _function(self, node: fx.Node) -> Callable | None:
        return LAYERS.get(type(self.layers[node.target]) if node.op == "call_module" else node.target)


def _convolution(call: _Call, x: jax.Array) -> jax.Array:
    layer, weights = call.layer, call.parameters["weight"]
    padding = [(pad, pad) for pad in layer.padding]
    orders = ("NHWC", "HWIO", "NHWC")
    y = lax.conv_general_dilated(x, weights, layer.stride, padding, dimension_numbers=orders)
    return y if layer.bias is None else y + call.parameters["bias"]


def _batchnorm(call: _Call, x: jax.Array) -> tuple[jax.Array, tuple]:
    layer, (mean, variance) = call.layer, call.statistics
    if call.key is not None:
        n = x.size // x.shape[-1]
        last, (mean, variance) = (mean, variance), (x.mean((0, 1, 2)), x.var((0, 1, 2)))
        batch = mean, variance * n / (n - 1)
        after = tuple(old + layer.momentum * (new - old) for old, new in zip(last, batch, strict=True))
    else:
        after = mean, variance
    scale = call.parameters["weight"] * lax.rsqrt(variance + layer.eps)
    return (x - mean) * scale + call.parameters["bias"], after


def _dropout(call: _Call, x: jax.Array) -> jax.Array:
    if call.key is None:
        return x
    kept = 1 - call.layer.p
    return x * jax.random.bernoulli(call.key, kept, x.shape) / kept


def _max_pool(call: _Call, x: jax.Array) -> jax.Array:
    size, stride = (1, *[call.layer.kernel_size] * 2, 1), (1, *[call.layer.stride] * 2, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, size, stride, "VALID")


LAYERS = {
    nn.Conv2d: _convolution,
    nn.BatchNorm2d: _batchnorm,
    nn.ReLU: lambda call, x: jax.nn.relu(x),
    F.relu: lambda call, x: jax.nn.relu(x),
    nn.Dropout: _dropout,
    nn.MaxPool2d: _max_pool,
    nn.AdaptiveAvgPool2d: lambda call, x: x.mean((1, 2), keepdims=True),  # to 1x1
    operator.add: lambda call, a, b: a + b,
    "flatten": lambda call, x, start: x.reshape(len(x), -1),  # of 1x1 maps, where the order of axes is all one
    F.log_softmax: lambda call, x: jax.nn.log_softmax(x),
}
