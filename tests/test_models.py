"""The networks against the reference series' model summaries, row by row."""

import pytest
import torch

from mnist_s7 import T1, T2, T3, MnistNet_1, MnistNet_2, MnistNet_3, MnistNet_4, MnistNet_5
from mnist_s7.report import summary
from mnist_s7.report.iteration import model_statistics

# The reference series' rows after the network's own: layer, output shape, parameters (0 where it prints --).
T1_ROWS = """
Sequential 1,8,11,11 3656
Conv2d 1,8,26,26 72
ReLU 1,8,26,26 0
Conv2d 1,16,24,24 1152
ReLU 1,16,24,24 0
Conv2d 1,16,22,22 2304
ReLU 1,16,22,22 0
Conv2d 1,8,22,22 128
MaxPool2d 1,8,11,11 0
Sequential 1,10,5,5 2464
Conv2d 1,8,9,9 576
ReLU 1,8,9,9 0
Conv2d 1,8,7,7 576
ReLU 1,8,7,7 0
Conv2d 1,16,5,5 1152
ReLU 1,16,5,5 0
Conv2d 1,10,5,5 160
ReLU 1,10,5,5 0
Sequential 1,10,1,1 2500
Conv2d 1,10,1,1 2500
"""
T2_ROWS = """
Sequential 1,8,12,12 1400
Conv2d 1,8,26,26 72
ReLU 1,8,26,26 0
BatchNorm2d 1,8,26,26 16
Dropout 1,8,26,26 0
Conv2d 1,16,24,24 1152
ReLU 1,16,24,24 0
BatchNorm2d 1,16,24,24 32
Dropout 1,16,24,24 0
Conv2d 1,8,24,24 128
MaxPool2d 1,8,12,12 0
Sequential 1,16,6,6 5856
Conv2d 1,16,10,10 1152
ReLU 1,16,10,10 0
BatchNorm2d 1,16,10,10 32
Dropout 1,16,10,10 0
Conv2d 1,16,8,8 2304
ReLU 1,16,8,8 0
BatchNorm2d 1,16,8,8 32
Dropout 1,16,8,8 0
Conv2d 1,16,6,6 2304
ReLU 1,16,6,6 0
BatchNorm2d 1,16,6,6 32
Dropout 1,16,6,6 0
AdaptiveAvgPool2d 1,16,1,1 0
Sequential 1,10,1,1 160
Conv2d 1,10,1,1 160
"""
T3_ROWS = """
Sequential 1,8,12,12 1400
Conv2d 1,8,26,26 72
BatchNorm2d 1,8,26,26 16
ReLU 1,8,26,26 0
Dropout 1,8,26,26 0
Conv2d 1,16,24,24 1152
BatchNorm2d 1,16,24,24 32
ReLU 1,16,24,24 0
Dropout 1,16,24,24 0
Conv2d 1,8,24,24 128
MaxPool2d 1,8,12,12 0
Sequential 1,16,6,6 4984
Conv2d 1,12,10,10 864
ReLU 1,12,10,10 0
BatchNorm2d 1,12,10,10 24
Dropout 1,12,10,10 0
Conv2d 1,16,8,8 1728
ReLU 1,16,8,8 0
BatchNorm2d 1,16,8,8 32
Dropout 1,16,8,8 0
Conv2d 1,16,6,6 2304
ReLU 1,16,6,6 0
BatchNorm2d 1,16,6,6 32
Dropout 1,16,6,6 0
AdaptiveAvgPool2d 1,16,1,1 0
Sequential 1,10,1,1 160
Conv2d 1,10,1,1 160
"""

# The separable convolutions of T4 and T5: channels in, channels out.
FOURTH_SEPARABLE = ((16, 16), (16, 32), (32, 32), (32, 32), (32, 32), (32, 40))


@pytest.mark.parametrize(
    ("experiment", "rows", "parameters", "mult_adds", "activations"),
    [
        (T1, T1_ROWS, 8_620, "2.00", "0.22"),
        (T2, T2_ROWS, 7_416, "1.13", "0.32"),
        (T3, T3_ROWS, 6_544, "1.07", "0.32"),
    ],
)
def test_summary_is_the_references(experiment, rows, parameters, mult_adds, activations):
    found = model_statistics(experiment.network())

    described = [
        f"{layer.class_name} {','.join(map(str, layer.output_size))} {sum(map(torch.numel, layer.module.parameters()))}"
        for layer in found.summary_list[1:]
    ]
    assert described == rows.split("\n")[1:-1]
    assert found.summary_list[0].output_size == [1, 10]
    assert found.total_params == found.trainable_params == parameters
    assert f"{found.total_mult_adds / 1e6:.2f}" == mult_adds
    assert f"{found.total_output_bytes / 1e6:.2f}" == activations
    assert f"Total mult-adds (M): {mult_adds}\n" in summary(experiment)


@pytest.mark.parametrize("network", [MnistNet_4, MnistNet_5])
def test_the_separable_ones_count_what_their_description_says(network):
    found = model_statistics(network())

    first = 9 * 16 + 2 * 16
    separable = [9 * c_in + 2 * c_in + c_in * c_out + 2 * c_out for c_in, c_out in FOURTH_SEPARABLE]
    assert found.total_params == found.trainable_params == first + sum(separable) + 40 * 10 == 7_824
    convs = [layer for layer in network().modules() if isinstance(layer, torch.nn.Conv2d)]
    assert [conv.out_channels for conv in convs if conv.groups == 1] == [
        16,
        *(c_out for _, c_out in FOURTH_SEPARABLE),
        10,
    ]
    assert all(conv.groups in (1, conv.in_channels) and conv.bias is None for conv in convs)


def test_the_fifth_pools_at_the_sizes_that_it_says():
    model = MnistNet_5()
    sizes = [
        block(torch.zeros(1, c, n, n)).shape[1:] for block, c, n in ((model.block1, 1, 28), (model.block2, 16, 12))
    ]

    assert sizes == [(16, 12, 12), (32, 5, 5)]
    x = torch.randn(2, 16, 26, 26)
    maxima = torch.nn.functional.max_pool2d(x, 2, stride=1)
    top = (
        maxima[:, :, :24:2, :24:2],
        maxima[:, :, :24:2, 1:24:2],
        maxima[:, :, 1:24:2, :24:2],
        maxima[:, :, 1:24:2, 1:24:2],
    )
    torch.testing.assert_close(model.block1[-2:](x), sum(top) / 4)


def test_a_residual_of_nothing_leaves_what_came():
    """With its last BatchNorm at zero a residual layer adds nothing, and only its ReLU is left."""
    torch.manual_seed(0)
    model = MnistNet_4()
    for residual in (model.block1[3], model.block2[6], model.block3[6]):
        torch.nn.init.zeros_(residual.branch[-1].weight)
        x = torch.randn(3, residual.branch[0].in_channels, 6, 6)
        assert torch.equal(residual(x), x.relu())
        torch.nn.init.ones_(residual.branch[-1].weight)
        assert not torch.allclose(residual(x), x.relu())


@pytest.mark.parametrize("network", [MnistNet_1, MnistNet_2, MnistNet_3, MnistNet_4, MnistNet_5])
def test_outputs_are_log_probabilities(network):
    x = torch.randn(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))

    log_probabilities = network().eval()(x)

    assert log_probabilities.shape == (5, 10)
    torch.testing.assert_close(log_probabilities.exp().sum(1), torch.ones(5))


@pytest.mark.parametrize(("network", "dropout"), [(MnistNet_2, 0.05), (MnistNet_3, 0.01)])
def test_dropout_is_the_references_and_can_be_set(network, dropout):
    def rates(model):
        return [module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)]

    assert rates(network()) == [dropout] * 5
    assert rates(network(dropout=0.2)) == [0.2] * 5


def test_summary_leaves_the_random_state():
    model = MnistNet_1()
    state = torch.random.get_rng_state()

    model_statistics(model)

    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("network", [MnistNet_1, MnistNet_2, MnistNet_3, MnistNet_4, MnistNet_5])
def test_models_print_as_plain_pytorch(network):
    model = network()

    own = {type(module).__name__ for module in model.modules() if not type(module).__module__.startswith("torch.nn.")}
    residual = {"Residual"} if network in (MnistNet_4, MnistNet_5) else set()
    assert own == {network.__name__} | residual
    assert str(model).startswith(f"{network.__name__}(\n  (block1): Sequential(\n    (0): Conv2d(1, ")
