"""Networks as one against each of them by itself, on a CPU: outputs, gradients, statistics, and what is refused."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from mnist_s7 import InvalidArgument
from mnist_s7.catalog import EXPERIMENTS
from mnist_s7.training.joined import Joined

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


def joined_of(models):
    return Joined(models, [torch.Generator().manual_seed(i) for i in range(len(models))], CPU)


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_each_network_is_as_it_is_alone(network):
    torch.manual_seed(0)
    models = [without_dropout(network) for _ in range(S)]
    joined, given_back = joined_of(models), [without_dropout(network) for _ in range(S)]
    for model, other in zip(models, given_back, strict=True):
        other.load_state_dict(model.state_dict())
    x, labels = torch.randn(S, 4, 1, 28, 28), torch.randint(10, (S, 4))

    found = joined(x)
    loss = F.nll_loss(found.flatten(0, 1), labels.flatten(), reduction="sum")
    gradients = torch.autograd.grad(loss, joined.views)
    joined.give_back(given_back)

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
    torch.testing.assert_close(joined.eval()(x), torch.stack([m.eval()(one) for m, one in zip(models, x, strict=True)]))


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (nn.BatchNorm2d(1, track_running_stats=False), "BatchNorm2d"),
        (nn.BatchNorm2d(1, affine=False), "BatchNorm2d"),
        (nn.BatchNorm2d(1, momentum=None), "BatchNorm2d"),
        (weight_norm(nn.Conv2d(1, 1, 3)), "ParametrizedConv2d"),
    ],
)
def test_a_layer_that_cannot_be_joined_is_named(layer, name):
    with pytest.raises(InvalidArgument, match=f"0 is a {name} that cannot be joined.*one seed at a time"):
        joined_of([nn.Sequential(copy.deepcopy(layer), nn.Conv2d(1, 1, 1)) for _ in range(S)])
