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
from mnist_s7.kernels.library import (
    ANTI_ALIASED_POOL,
    CONVOLUTION,
    DEPTHWISE,
    IDENTITY,
    LEAKY_AFTER,
    MAX_POOL,
    NO_RELU,
    RELU_BEFORE,
    Call,
)
from mnist_s7.results.machine import environment, in_fast_layout
from mnist_s7.training import shuffled_batches, training_step
from mnist_s7.transforms import batched

FLOAT = 4  # bytes
WARM_UP = 5  # steps
COPIED = 1 << 20  # floats: about as many as the feature maps of a batch


def layer_costs(experiment: Experiment, digits: Digits, steps: int = 50) -> LayerCosts:
    """Measure a training step of `experiment` on one core. Peak and bandwidth are measured between the steps, since a
    machine's speed drifts.

    Raises `InvalidArgument` where C computes none of its convolutions.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            return _measured(experiment, digits, steps)
    finally:
        torch.set_num_threads(threads)


def _measured(experiment: Experiment, digits: Digits, steps: int) -> LayerCosts:
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
        ways = [call.direction for call in calls]
        if not any(call.layer.k for call in calls) or ways.count("forward") != ways.count("backward"):
            raise InvalidArgument(
                f"{experiment.name}: C computes none of its convolutions here, or layers before the first weights, "
                "which have no backward pass; layers are measured where C computes a network from its start on"
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
    timed = list(zip(steps[0], seconds, strict=True))
    forward = [each for each in timed if each[0].direction == "forward"]
    backward = [each for each in timed if each[0].direction == "backward"][::-1]
    return tuple(
        LayerCost(_name(call), _forward(call, images, taken), _backward(call_back, images, taken_back))
        for (call, taken), (call_back, taken_back) in zip(forward, backward, strict=True)
    )


def _forward(call: Call, images: int, seconds: float) -> Pass:
    inputs, outputs = _sizes(call, images)
    return Pass(_operations(call) * outputs, FLOAT * (inputs + outputs), seconds)


def _backward(call: Call, images: int, seconds: float) -> Pass:
    """The gradients of the weights and of the input are as many operations as the forward pass, each. The input and the
    output's gradient are read, the input's written; the output is read where a norm or a ReLU needs it, if it is not
    the input itself."""
    inputs, outputs = _sizes(call, images)
    gradients = 1 + call.gives_gradient
    sums = call.layer.kind == IDENTITY and call.before is not None and bool(call.before.added)
    read = 1 + (outputs > 0 and (call.after is not None or bool(call.layer.relu) or sums))
    outputs = outputs or inputs
    return Pass(gradients * _operations(call) * outputs, FLOAT * (gradients * inputs + read * outputs), seconds)


def _sizes(call: Call, images: int) -> tuple[int, int]:
    """Floats of the input and of the output, which is none where only statistics are found."""
    layer = call.layer
    outputs = images * layer.h_out * layer.w_out * layer.c_out
    return images * layer.h * layer.w * layer.c, 0 if layer.kind == IDENTITY and call.before is None else outputs


def _operations(call: Call) -> int:
    """Multiplications and additions of one float of the output."""
    layer = call.layer
    return {CONVOLUTION: 2 * layer.k**2 * layer.c, DEPTHWISE: 2 * layer.k**2}.get(layer.kind, 0)


def _name(call: Call) -> str:
    """`3x3 convolution 8 -> 16 of 26x26, after BatchNorm, ReLU, dropout`"""
    layer, norm = call.layer, call.before
    kinds = {
        IDENTITY: f"{layer.c} channels",
        CONVOLUTION: f"{layer.k}x{layer.k} convolution {layer.c} -> {layer.c_out}",
        DEPTHWISE: f"3x3 depthwise {layer.c}",
        MAX_POOL: f"max pool {layer.c}",
        ANTI_ALIASED_POOL: f"anti-aliased pool {layer.c}",
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
