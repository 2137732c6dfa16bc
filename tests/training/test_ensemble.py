"""Networks as one against each of them by itself, on a CPU: outputs, gradients, statistics, and what is refused."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from mnist_s7.catalog import EXPERIMENTS
from mnist_s7.training.ensemble import CannotBeMerged, Ensemble, check_ensemble

CPU = torch.device("cpu")
S = 2


def network_of(*layers):
    return lambda: nn.Sequential(*copy.deepcopy(layers), nn.Flatten(), nn.LazyLinear(10), nn.LogSoftmax(1))


class Tied(nn.Module):
    """With one convolution twice, and a BatchNorm of its own after each."""

    def __init__(self):
        super().__init__()
        shared = nn.Conv2d(1, 1, 3, padding=1, bias=False)
        self.layers = nn.Sequential(shared, nn.BatchNorm2d(1), nn.ReLU(), shared, nn.BatchNorm2d(1), nn.Flatten())
        self.scale = nn.Sequential(nn.Linear(784, 10))

    def forward(self, x):
        return F.log_softmax(self.scale(self.layers(x)), dim=1)


OTHERS = {
    "strides": network_of(nn.Conv2d(1, 4, 5, stride=2), nn.MaxPool2d(3, stride=2), nn.ReLU()),
    "groups": network_of(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 6, 3, groups=2, dilation=2)),
    "same padding": network_of(
        nn.Conv2d(1, 4, 3, padding="same"), nn.Conv2d(4, 2, 3, padding=1, padding_mode="reflect")
    ),
    "other norms": network_of(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True)),
    "PReLU": network_of(nn.Conv2d(1, 4, 3), nn.PReLU(4), nn.AvgPool2d(2)),
    "BatchNorm alone": network_of(nn.BatchNorm2d(1), nn.Conv2d(1, 4, 3), nn.Tanh(), nn.BatchNorm2d(4), nn.ReLU()),
    "tied": Tied,
}
NETWORKS = {name: experiment.network for name, experiment in EXPERIMENTS.items()} | OTHERS


def without_dropout(network):
    """Also with weights and biases of norms that differ."""
    model = network()
    model(torch.zeros(2, 1, 28, 28))  # lazy layers
    for layer in model.modules():
        if isinstance(layer, nn.Dropout | nn.Dropout2d):
            layer.p = 0.0
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1, 0.1)
            nn.init.normal_(layer.bias, 0, 0.1)
    return model


def ensemble_of(models):
    return Ensemble(models, [torch.Generator().manual_seed(i) for i in range(len(models))], CPU)


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_each_network_is_as_it_is_alone(network):
    torch.manual_seed(0)
    models = [without_dropout(network) for _ in range(S)]
    ensemble, given_back = ensemble_of(models), [without_dropout(network) for _ in range(S)]
    for model, other in zip(models, given_back, strict=True):
        other.load_state_dict(model.state_dict())
    x, labels = torch.randn(S, 4, 1, 28, 28), torch.randint(10, (S, 4))

    found = ensemble(x)
    loss = F.nll_loss(found.flatten(0, 1), labels.flatten(), reduction="sum")
    gradients = torch.autograd.grad(loss, ensemble.views)
    ensemble.give_back(given_back)

    for i, (model, same) in enumerate(zip(models, given_back, strict=True)):
        expected = model(x[i])
        torch.testing.assert_close(found[i], expected, rtol=1e-4, atol=1e-4)
        wanted = torch.autograd.grad(F.nll_loss(expected, labels[i], reduction="sum"), list(model.parameters()))
        scale = torch.cat([each.flatten() for each in wanted]).norm()
        row = torch.cat([each[i].flatten() for each in gradients])
        plain = torch.cat([(each.permute(2, 3, 1, 0) if each.dim() == 4 else each).flatten() for each in wanted])
        assert (row - plain).norm() <= 1e-5 * scale
        for name, tensor in model.state_dict().items():
            torch.testing.assert_close(same.state_dict()[name], tensor, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        ensemble.eval()(x), torch.stack([m.eval()(one) for m, one in zip(models, x, strict=True)])
    )


@pytest.mark.parametrize("norm", [nn.Identity(), nn.BatchNorm1d(784)], ids=["alone", "after a norm"])
def test_dropout_of_features_is_each_networks_own(norm):
    models = [nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten(), copy.deepcopy(norm), nn.Dropout(0.3)) for _ in range(S)]
    for model in models:
        nn.init.ones_(model[0].bias)

    dropped = ensemble_of(models)(torch.rand(S, 20, 1, 28, 28)) == 0

    assert ((dropped.double().mean((1, 2)) - 0.3).abs() < 0.02).all()
    assert not torch.equal(dropped[0], dropped[1])


def frozen():
    conv = nn.Conv2d(1, 1, 3)
    conv.weight.requires_grad_(False)
    return conv


def hooked():
    conv = nn.Conv2d(1, 1, 3)
    conv.register_forward_hook(lambda layer, given, found: 2 * found)
    return conv


class WithBuffer(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.rand(()))

    def forward(self, x):
        return x * self.scale


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (lambda: nn.BatchNorm2d(1, track_running_stats=False), "BatchNorm2d"),
        (lambda: nn.BatchNorm2d(1, affine=False), "BatchNorm2d"),
        (lambda: nn.BatchNorm2d(1, momentum=None), "BatchNorm2d"),
        (lambda: nn.InstanceNorm2d(1, track_running_stats=True), "InstanceNorm2d"),
        (lambda: weight_norm(nn.Conv2d(1, 1, 3)), "ParametrizedConv2d"),
        (lambda: nn.Dropout(1.0), "Dropout"),
        (lambda: nn.AlphaDropout(0.1), "AlphaDropout"),
        *((frozen, "Conv2d"), (hooked, "Conv2d"), (WithBuffer, "WithBuffer")),
    ],
)
def test_a_layer_that_cannot_be_merged_is_named(layer, name):
    with pytest.raises(CannotBeMerged, match=f"0 is a {name} that cannot be merged.*one seed at a time"):
        ensemble_of([nn.Sequential(layer(), nn.Conv2d(1, 1, 1)) for _ in range(S)])


class Usual(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(1, 2, 3, stride=5), nn.BatchNorm2d(2), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(72, 10)

    def scores(self, x):
        return self.head(self.block(x).flatten(1))

    def forward(self, x):
        return F.log_softmax(self.scores(x), dim=1)


class MixesImages(Usual):
    def scores(self, x):
        return super().scores(x - x.mean(0))


class CallsAPart(Usual):
    """Without the ReLU after the BatchNorm, which is a part of that in an ensemble."""

    def scores(self, x):
        return self.head(self.block[:2](x).flatten(1))


class UsesAWeight(Usual):
    def scores(self, x):
        return super().scores(x) + self.head.weight.sum()


class HidesALayer(Usual):
    def __init__(self):
        super().__init__()
        self.hidden = [nn.Linear(10, 10)]

    def scores(self, x):
        return self.hidden[0](super().scores(x))


class DropsByItself(Usual):
    def scores(self, x):
        return F.dropout(super().scores(x), 0.5, self.training)


class SharesALayer(Usual):
    def __init__(self):
        super().__init__()
        self.again = self.head

    def scores(self, x):
        return self.again(self.block(x).flatten(1))


class HasMore(Usual):
    """A layer that is never called."""

    def __init__(self):
        super().__init__()
        self.more = nn.Linear(3, 3)


@pytest.mark.parametrize("network", [Usual, SharesALayer, HasMore])
def test_networks_that_are_the_same_as_one_pass(network):
    state = torch.random.get_rng_state()
    check_ensemble("mine", network)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("network", [MixesImages, CallsAPart, UsesAWeight, HidesALayer, DropsByItself])
def test_those_that_are_not_are_refused(network):
    with pytest.raises(CannotBeMerged, match="mine: .*as one"):
        check_ensemble("mine", network)


@pytest.mark.parametrize("network", [experiment.network for experiment in EXPERIMENTS.values()], ids=EXPERIMENTS)
def test_all_experiments_pass(network):
    check_ensemble("this", network)
