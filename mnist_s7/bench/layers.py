"""What each layer costs in C, beside the least that its arithmetic and its memory would take: a roofline.

After S. Williams, A. Waterman & D. Patterson, "Roofline: An Insightful Visual Performance Model for Multicore
Architectures" (Communications of the ACM 52(4), 2009).
"""

import time
from collections.abc import Sequence
from statistics import median

import torch

from mnist_s7 import InvalidArgument
from mnist_s7.bench.record import LayerCost, LayerCosts, Pass
from mnist_s7.data import Digits
from mnist_s7.experiments import Experiment
from mnist_s7.kernels import accelerate, library
from mnist_s7.kernels.library import CONVOLUTION, DEPTHWISE, IDENTITY, LEAKY_AFTER, MAX_POOL, NO_RELU, RELU_BEFORE, Call
from mnist_s7.results.machine import environment, in_fast_layout
from mnist_s7.training import shuffled_batches, training_step
from mnist_s7.transforms import batched

FLOAT = 4  # bytes
WARM_UP = 5  # steps
COPIED = 1 << 20  # floats: about as many as the feature maps of a batch


def layer_costs(experiment: Experiment, digits: Digits, steps: int = 50) -> LayerCosts:
    """Measure a training step of `experiment` on one core. Peak and bandwidth are measured between the steps, since a
    machine's speed drifts.

    Raises `InvalidArgument` where C computes none of its layers.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _measured(experiment, digits, steps)
    finally:
        torch.set_num_threads(threads)


def _measured(experiment: Experiment, digits: Digits, steps: int) -> LayerCosts:
    with torch.random.fork_rng(devices=[]):
        model = in_fast_layout(experiment.network())
    accelerated = accelerate(model).train()
    step = training_step(accelerated, experiment.optimizer(model))
    generator, few = torch.Generator().manual_seed(1), slice(experiment.batch_size)
    transform = batched(experiment.train_transform)
    [batch] = shuffled_batches(
        digits.train_images[few], digits.train_labels[few], transform, experiment.batch_size, generator
    )
    seconds, of_steps, peaks, bandwidths = [], [], [], []
    for i in range(WARM_UP + steps):
        with library.timed_calls() as calls:
            started = time.perf_counter()
            step(*batch)
            took = time.perf_counter() - started
        if not calls:
            raise InvalidArgument(
                f"{experiment.name}: no layer of it is computed in C here, and only those are measured"
            )
        if i >= WARM_UP:
            seconds.append(took)
            of_steps.append(calls)
            peaks.append(library.peak_flops())
            bandwidths.append(_bandwidth())
    return LayerCosts(
        experiment.name,
        len(batch[1]),
        environment(torch.device("cpu"))["device"],
        median(peaks),
        median(bandwidths),
        median(seconds),
        _layers(of_steps, len(batch[1])),
    )


def _bandwidth() -> float:
    """Bytes per second of a copy, those read and those written."""
    source, target = torch.ones(COPIED), torch.empty(COPIED)
    target.copy_(source)  # pages are there after it
    started = time.perf_counter()
    target.copy_(source)
    return 2 * COPIED * FLOAT / (time.perf_counter() - started)


def _layers(steps: Sequence[list[Call]], images: int) -> tuple[LayerCost, ...]:
    """Of each layer, in the order of the network: forward passes are called in it, backward passes the other way."""
    seconds = [median(call.seconds for call in same) for same in zip(*steps, strict=True)]
    forward = [(call, s) for call, s in zip(steps[0], seconds, strict=True) if call.direction == "forward"]
    backward = [s for call, s in zip(steps[0], seconds, strict=True) if call.direction == "backward"][::-1]
    return tuple(
        _cost(call, images, taken, taken_back, first=i == 0)
        for i, ((call, taken), taken_back) in enumerate(zip(forward, backward, strict=True))
    )


def _cost(call: Call, images: int, forward: float, backward: float, first: bool) -> LayerCost:
    """The gradients of weights and of input are as much arithmetic as the forward pass, each. The first layer's input
    needs none. A backward pass reads the input, the output and its gradient, and writes that of the input."""
    layer = call.layer
    inputs, outputs = images * layer.h * layer.w * layer.c, images * layer.h_out * layer.w_out * layer.c_out
    per_output = {CONVOLUTION: 2 * layer.k**2 * layer.c, DEPTHWISE: 2 * layer.k**2}.get(layer.kind, 0)
    gradients = 1 if first else 2
    return LayerCost(
        _name(call),
        Pass(per_output * outputs, FLOAT * (inputs + outputs), forward),
        Pass(gradients * per_output * outputs, FLOAT * (gradients * inputs + 2 * outputs), backward),
    )


def _name(call: Call) -> str:
    """`3x3 convolution 8 -> 16 of 26x26, after BatchNorm, ReLU, dropout`"""
    layer, norm = call.layer, call.before
    kinds = {
        IDENTITY: f"norm alone {layer.c}",
        CONVOLUTION: f"{layer.k}x{layer.k} convolution {layer.c} -> {layer.c_out}",
        DEPTHWISE: f"3x3 depthwise {layer.c}",
        MAX_POOL: f"max pool {layer.c}",
    }
    name = f"{kinds[layer.kind]} of {layer.h}x{layer.w}"
    if norm is None:
        return name
    parts = ["BatchNorm" if norm.weight else "bias"]
    if norm.relu != NO_RELU:
        relu = "leaky ReLU" if norm.relu == LEAKY_AFTER else "ReLU"
        parts.insert(0 if norm.relu == RELU_BEFORE else 1, relu)
    parts += ["dropout"] if norm.keep else []
    parts += ["sum, ReLU"] if norm.added else []
    return f"{name}, after {', '.join(parts)}"
