"""The Triton layers against PyTorch's in float64, network by network; `test_triton_layers` runs them, interpreted."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mnist_s7.kernels import gpu_layers
from mnist_s7.training.ensemble import Ensemble

CPU = torch.device("cpu")
layers = gpu_layers(CPU)
S, N = 2, 3  # networks, and images of each


@pytest.fixture(autouse=True, params=[64, 2], ids=["", "few parts"])
def parts(request, monkeypatch):
    """A sum is made in few parts of several blocks, too, as that of a whole batch is."""
    monkeypatch.setattr(layers, "PARTS", request.param)
    torch.manual_seed(1)


def drawn(*shape):
    return torch.randn(shape, requires_grad=True)


def compare(given, expected, inputs, exact, atol=1e-4):
    """The two outputs, and the gradients of what went into each."""
    torch.testing.assert_close(given.double(), expected, rtol=1e-5, atol=3e-5)
    gradient = torch.randn_like(given)
    found = torch.autograd.grad(given, inputs, gradient)
    wanted = torch.autograd.grad(expected, exact, gradient.double())
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=atol)


def doubles(*inputs):
    return [each.detach().double().requires_grad_() for each in inputs]


def each_network(function, x, *weights):
    return torch.cat([function(*one) for one in zip(x.chunk(S), *weights, strict=True)])


@pytest.mark.parametrize(
    ("c_in", "c_out", "kernel", "padding", "size"),
    [
        (1, 8, (3, 3), (0, 0), (9, 9)),
        (5, 10, (3, 3), (1, 1), (7, 6)),
        (16, 30, (1, 1), (0, 0), (5, 5)),
        (4, 12, (3, 1), (0, 0), (6, 5)),
        (3, 20, (5, 5), (2, 2), (7, 7)),
        (8, 10, (5, 5), (0, 0), (5, 5)),
        (2, 3, (4, 4), (3, 1), (8, 6)),
    ],
)
@pytest.mark.parametrize("biased", [True, False])
def test_convolution(c_in, c_out, kernel, padding, size, biased):
    x, weight, bias = drawn(S * N, c_in, *size), drawn(S, *kernel, c_in, c_out), drawn(S, c_out)
    inputs = [x, weight, bias] if biased else [x, weight]
    exact = doubles(*inputs)

    def plain(x, weight, bias=None):
        return F.conv2d(x, weight.permute(3, 2, 0, 1), bias, padding=padding)

    compare(layers.convolve(x, weight, bias if biased else None, padding), each_network(plain, *exact), inputs, exact)


@pytest.mark.parametrize(("channels", "kernel", "padding", "size"), [(5, 3, 1, 6), (8, 3, 0, 7), (32, 2, 1, 5)])
@pytest.mark.parametrize("biased", [True, False])
def test_depthwise_convolution(channels, kernel, padding, size, biased):
    x, weight, bias = drawn(S * N, channels, size, size), drawn(S, kernel, kernel, channels), drawn(S, channels)
    inputs = [x, weight, bias] if biased else [x, weight]
    exact = doubles(*inputs)

    def plain(x, weight, bias=None):
        return F.conv2d(x, weight.permute(2, 0, 1).unsqueeze(1), bias, padding=padding, groups=channels)

    given = layers.convolve_depthwise(x, weight, bias if biased else None, (padding, padding))
    compare(given, each_network(plain, *exact), inputs, exact)


@pytest.mark.parametrize("shape", [(6, 7, 7), (40,)], ids=["maps", "features"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize(("before", "after"), [(False, False), (True, False), (False, True)])
def test_norm(shape, before, after, dropout):
    """Far from zero, where sums of squares alone lose their digits. Dropout's mask is seen from what it made 0."""
    channels, momentum, eps = shape[0], 0.2, 1e-3
    centre = 0.5 if before or after else 100
    x = (torch.randn(S * 8, *shape) + centre).requires_grad_()
    weight, bias, keys = drawn(S, channels), drawn(S, channels), torch.tensor([5, 9])
    running = [torch.randn(S, channels), torch.rand(S, channels)]
    exact = doubles(x, weight, bias)
    statistics = [each.double() for each in running]

    def plain(x, weight, bias, mean, variance):
        y = F.batch_norm(F.relu(x) if before else x, mean, variance, weight, bias, True, momentum, eps)
        return F.relu(y) if after else y

    given = layers.Normalization.apply(x, weight, bias, running, keys, 3, eps, momentum, before, after, dropout)
    expected = each_network(plain, *exact, *statistics)
    if dropout:
        kept = given != 0
        share = kept[expected != 0].double().mean()
        assert abs(share - (1 - dropout)) < 0.1
        expected = expected * kept / (1 - dropout)
    # The weight's gradient sums the rounding of the mean over some 400 pixels: 4e-6 where the mean is 100
    compare(given, expected, [x, weight, bias], exact, atol=5e-4 if centre == 100 else 1e-4)
    for found, wanted in zip(running, statistics, strict=True):
        torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-4)


def test_a_nan_stays_one():
    x, one = torch.full((S * N, 2, 3, 3), torch.nan), torch.ones(S, 2)
    settings = torch.tensor([1, 2]), 1, 1e-5, 0.1
    for before, after in ((True, False), (False, True)):
        given = layers.Normalization.apply(x, one, one, [one.clone(), one.clone()], *settings, before, after, 0.0)
        assert given.isnan().all()
        assert layers.normalize(x, one, one, one, before, after).isnan().all()


def test_one_value_of_a_channel_is_no_batch():
    one = torch.ones(S, 2)
    with pytest.raises(ValueError, match="more than one value of a channel"):
        layers.Normalization.apply(
            torch.ones(S, 2), one, one, [one, one], torch.tensor([1, 2]), 1, 1e-5, 0.1, False, False, 0.0
        )


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("after", [True, False])
def test_norm_with_known_statistics(before, after):
    x, statistics = torch.randn(S * N, 5, 4, 4), [torch.randn(S, 5) for _ in range(3)]

    def plain(x, mean, factor, offset):
        y = (F.relu(x) if before else x) - mean[:, None, None]
        y = y * factor[:, None, None] + offset[:, None, None]
        return F.relu(y) if after else y

    given = layers.normalize(x, *statistics, before, after)
    torch.testing.assert_close(given, each_network(plain, x, *statistics))


@pytest.mark.parametrize(("size", "height", "width"), [(2, 6, 6), (2, 7, 5), (3, 9, 10)])
def test_max_pool(size, height, width):
    x = drawn(S * N, 5, height, width)
    [exact] = doubles(x)

    compare(layers.MaxPool.apply(x, size), F.max_pool2d(exact, size), [x], [exact])


def test_masks_are_a_networks_own_and_the_layers_and_steps():
    keys = torch.tensor([5, 9])
    mask = layers.keep_mask(keys, 5000, 3, 0.25)

    assert mask.unique().tolist() == pytest.approx([0, 4 / 3])
    assert ((mask > 0).double().mean(1) - 0.75).abs().max() < 0.03
    assert torch.equal(layers.keep_mask(keys[1:], 5000, 3, 0.25)[0], mask[1])  # whatever is beside it
    for other in (mask[1], *(layers.keep_mask(key, 5000, layer, 0.25)[0] for key, layer in ((keys, 4), (keys + 1, 3)))):
        assert 0.3 < (other != mask[0]).double().mean() < 0.45  # as often as chance has it: 2 * 0.25 * 0.75


def test_a_network_of_all_layers():
    def network():
        return nn.Sequential(
            *(nn.Conv2d(1, 6, 3, padding=1), nn.LeakyReLU(0.2), nn.MaxPool2d(2)),
            *(nn.Conv2d(6, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.0)),
            *(nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.ReLU(), nn.BatchNorm2d(8), nn.Dropout2d(0.0)),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 12), nn.BatchNorm1d(12), nn.PReLU()),
            *(nn.Linear(12, 10), nn.LogSoftmax(1)),
        )

    models = [network() for _ in range(S)]
    ensemble = Ensemble(models, [torch.Generator().manual_seed(i) for i in range(S)], CPU)
    x = torch.randn(S, 5, 1, 10, 10)

    labels = torch.randint(10, (S, 5))
    loss = F.nll_loss(ensemble(x).flatten(0, 1), labels.flatten(), reduction="sum")
    found = torch.cat([each.flatten(1) for each in torch.autograd.grad(loss, ensemble.views)], dim=1)
    for i, model in enumerate(models):
        own = torch.autograd.grad(F.nll_loss(model(x[i]), labels[i], reduction="sum"), list(model.parameters()))
        own = [each.permute(2, 3, 1, 0) if each.dim() == 4 else each for each in own]
        torch.testing.assert_close(found[i], torch.cat([each.flatten() for each in own]), rtol=1e-3, atol=1e-4)
    for training in (True, False):  # in evaluation with the statistics that training has moved
        given = ensemble.train(training)(x)
        expected = torch.stack([model.train(training)(one) for model, one in zip(models, x, strict=True)])
        torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-4)
    assert ensemble.keys.tolist() == (ensemble.first_keys + 2).tolist()


def test_one_dropout_twice_draws_twice():
    dropout = nn.Dropout(0.5)
    models = [nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), dropout, dropout, nn.Flatten()) for _ in range(S)]
    ensemble = Ensemble(models, [torch.Generator().manual_seed(i) for i in range(S)], CPU)

    kept = ensemble(torch.ones(S, 4, 1, 28, 28)) != 0

    assert 0.2 < kept.double().mean() < 0.3
