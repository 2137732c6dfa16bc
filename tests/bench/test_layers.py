"""What each layer costs: the counts against PyTorch's own, the times against the peak, and how both are shown."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mnist_s7 import SERIES, T3, T4, T5, InvalidArgument
from mnist_s7.bench import LayerCost, LayerCosts, Pass
from mnist_s7.bench.layers import layer_costs
from mnist_s7.catalog import EXPERIMENTS
from mnist_s7.commands import bench
from mnist_s7.kernels import library
from mnist_s7.kernels.library import load
from mnist_s7.plots import layers_figure
from mnist_s7.report import benchmark as tables

compiled = pytest.mark.skipif(load() is None, reason="no compiled layers")


@compiled
@pytest.mark.parametrize("experiment", SERIES, ids=lambda experiment: experiment.name)
def test_operations_are_those_that_pytorch_counts(few_digits, experiment):
    costs = layer_costs(experiment, few_digits, steps=1)

    model = experiment.network()
    with FlopCounterMode(display=False) as counter:
        output = model(torch.zeros(costs.batch_size, 1, 28, 28))
        forward = counter.get_total_flops()
        output.sum().backward()
    backward = counter.get_total_flops() - forward
    assert sum(layer.forward.flop for layer in costs.layers) == forward
    if experiment in (T4, T5):  # PyTorch counts depthwise convolutions as whole ones here
        backward = 2 * forward - costs.layers[0].forward.flop
    assert sum(layer.backward.flop for layer in costs.layers) == backward


@compiled
def test_layers_are_named_and_timed(few_digits):
    costs = layer_costs(T3, few_digits, steps=9)

    assert [layer.name for layer in costs.layers][1:4] == [
        "3x3 convolution 8 -> 16 of 26x26, after BatchNorm, ReLU, dropout",
        "1x1 convolution 16 -> 8 of 24x24, after BatchNorm, ReLU, dropout",
        "max pool 8 of 24x24",
    ]
    assert costs.layers[1].forward.bytes == 128 * 4 * (26 * 26 * 8 + 24 * 24 * 16)
    assert costs.layers[1].backward.bytes == 2 * costs.layers[1].forward.bytes  # all four are read or written
    pool = costs.layers[3]
    assert pool.backward.bytes == 128 * 4 * (2 * 24 * 24 * 8 + 12 * 12 * 8)  # no norm after it asks for its output
    [norm] = [layer for layer in costs.layers if layer.name.startswith("16 channels of 6x6")]
    assert norm.backward.bytes == 128 * 4 * (2 * 6 * 6 * 16)  # the gradient that it is given is the one that it gives
    assert 0 < costs.in_c < costs.step
    wide = max(costs.passes, key=lambda each: each.flop)
    assert wide.flop / wide.seconds < 1.5 * costs.peak  # no layer is faster than the processor


@compiled
def test_other_norms_are_named(few_digits):
    names = [layer.name for layer in layer_costs(EXPERIMENTS["joshwarn-697"], few_digits, steps=1).layers]
    of_t4 = [layer.name for layer in layer_costs(T4, few_digits, steps=1).layers]

    assert "3x3 depthwise 6 of 14x14, after bias, leaky ReLU" in names
    assert "max pool 16 of 26x26, after BatchNorm, sum, ReLU" in of_t4


@compiled
def test_threads_and_functions_are_as_before(few_digits):
    functions, threads = (library.forward, library.backward), torch.get_num_threads()

    torch.set_num_threads(2)
    state = torch.get_rng_state()
    try:
        with pytest.raises(ZeroDivisionError), library.timed_calls():
            raise ZeroDivisionError
        layer_costs(T3, few_digits, steps=1)

        assert (library.forward, library.backward) == functions
        assert torch.get_num_threads() == 2
        assert torch.equal(torch.get_rng_state(), state)
    finally:
        torch.set_num_threads(threads)


def test_what_c_does_not_compute_is_refused(few_digits):
    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(1, 10, 3, stride=2), nn.Conv2d(10, 10, 3))

        def forward(self, x):
            return self.layers(x).mean((2, 3)).log_softmax(1)

    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.LogSoftmax(1))

        def forward(self, x):
            return self.layers(x)

    with pytest.raises(InvalidArgument, match="Flat: C computes none of its convolutions"):
        layer_costs(dataclasses.replace(T3, name="Flat", network=Flat), few_digits, steps=1)
    with pytest.raises(InvalidArgument, match="Pooled: C computes none of its convolutions here, or layers before"):
        layer_costs(dataclasses.replace(T3, name="Pooled", network=Pooled), few_digits, steps=1)


COSTS = LayerCosts(
    experiment="T9",
    batch_size=128,
    device="a CPU",
    peak=100e9,
    bandwidth=10e9,
    step=10e-3,
    layers=(
        LayerCost("first", Pass(1e8, 1e6, 2e-3), Pass(2e8, 2e6, 5e-3)),
        LayerCost("second", Pass(0, 4e6, 1e-3), Pass(0, 0, 1e-5)),
    ),
)


def test_the_bound_is_the_longer_of_two_times():
    first, back, second, _ = COSTS.passes

    assert first.bound(COSTS.peak, COSTS.bandwidth) == pytest.approx(1e-3)  # its operations
    assert back.bound(COSTS.peak, COSTS.bandwidth) == pytest.approx(2e-3)
    assert second.bound(COSTS.peak, COSTS.bandwidth) == pytest.approx(0.4e-3)  # its bytes
    assert (COSTS.in_c, COSTS.arithmetic, COSTS.bound) == pytest.approx((8.01e-3, 3e-3, 3.4e-3))


def test_table_figure_and_words_have_the_same_figures():
    table, figure, words = str(tables.layers(COSTS)), layers_figure(COSTS), tables.layers_in_words(COSTS)

    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    assert rows == [
        ["first", "100.0", "1.0", "2.00", "2.0", "200.0", "2.0", "5.00", "2.5"],
        ["second", "0.0", "4.0", "1.00", "2.5", "0.0", "0.0", "0.01", ""],
    ]
    assert "10.0 ms, of which layers in C take 8.0" in words
    assert "takes 3.0 ms at the measured peak of 100 GFLOP/s, so the layers take 2.7 and the step 3.3 times" in words
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["2.00", "5.00", "1.00"]  # what is too short is not labelled


@compiled
def test_command_prints_and_draws(mnist_s7, monkeypatch, few_digits, tmp_path):
    monkeypatch.setattr(bench, "load_digits", lambda: few_digits)
    monkeypatch.setattr(bench, "FIGURES", tmp_path)

    code, output, _ = mnist_s7("bench", "--layers", "T3")

    assert code == 0
    assert "3x3 convolution 8 -> 16 of 26x26" in output
    assert (tmp_path / "layers-T3.png").read_bytes().startswith(b"\x89PNG")
    code, _, errors = mnist_s7("bench", "--layers", "--publish")
    assert (code, "leave out --layers" in errors) == (1, True)
