"""A folded network computes what the network did, with no dropout and with BatchNorm only where it has to stay."""

import copy
import random

import pytest
import torch
import torch.nn.functional as F
from example_networks import Network
from torch import nn

from mnist_s7 import SERIES, folded, predict
from mnist_s7.baselines import BASELINES
from mnist_s7.catalog import ABLATIONS
from mnist_s7.export import NotFolded

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def images(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=dtype)


def kinds(network):
    return [type(layer) for layer in network.modules()]


def norms(network):
    return sum(kind in NORMS for kind in kinds(network))


@pytest.mark.parametrize("experiment", (*SERIES, *ABLATIONS), ids=lambda experiment: experiment.name)
def test_every_network_of_the_series_folds(experiment, as_if_trained):
    network = as_if_trained(experiment.network())
    before = copy.deepcopy(network.state_dict())
    x = images(3, 1, 28, 28)

    found = folded(network)

    assert network.training and not any(module.training for module in found.modules())
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not {*NORMS, nn.Dropout} & {*kinds(found)}
    torch.testing.assert_close(found(x), network.eval()(x), rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore::mnist_s7.export.NotFolded")
@pytest.mark.parametrize("experiment", BASELINES, ids=lambda experiment: experiment.name)
def test_published_networks_compute_the_same_folded(experiment, as_if_trained):
    """Some of their BatchNorms are before zero padding, and some of their convolutions are used three times."""
    network = as_if_trained(experiment.network())
    x = images(3, 1, 28, 28)

    found = folded(network)

    assert not {nn.Dropout, nn.Dropout2d} & {*kinds(found)}
    torch.testing.assert_close(found(x), network.eval()(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [experiment.name for experiment in SERIES])
def test_the_trained_networks_say_the_same_of_every_test_image(name, trained, mnist):
    before, after = (predict(network, mnist.test_images, 100) for network in (trained[name], folded(trained[name])))

    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5)
    assert torch.equal(after.argmax(1), before.argmax(1))


def conv(channels_in, channels_out, *arguments, **settings):
    return nn.Conv2d(channels_in, channels_out, 3, *arguments, **settings)


def positive(norm):
    norm.weight.requires_grad_(False).abs_()
    return norm


def with_weight_read(network, x):
    return network.norm(network.conv(x)) + network.conv.weight.sum()


def residual(network, x):
    x = F.relu(network.first(x))
    return F.relu(x + network.norm(network.second(x)))


SHARED = conv(1, 1, padding=1)
SHARED_NORM = nn.BatchNorm2d(4)

# Networks for (N, 1, 28, 28), and the number of their BatchNorm layers that stay.
FOLDS = {
    "bias": (nn.Sequential(conv(1, 4, bias=True), nn.BatchNorm2d(4)), 0),
    "padded": (nn.Sequential(conv(1, 4, padding=1), nn.BatchNorm2d(4)), 0),
    "groups": (nn.Sequential(conv(1, 4), conv(4, 6, groups=2, bias=False), nn.BatchNorm2d(6)), 0),
    "depthwise": (nn.Sequential(conv(1, 4), conv(4, 8, groups=4), nn.BatchNorm2d(8)), 0),
    "transposed": (nn.Sequential(conv(1, 4), nn.ConvTranspose2d(4, 6, 3, 2, groups=2), nn.BatchNorm2d(6)), 0),
    "dropout between": (nn.Sequential(conv(1, 4), nn.Dropout2d(0.5), nn.BatchNorm2d(4)), 0),
    "first of all": (nn.Sequential(nn.BatchNorm2d(1), conv(1, 4)), 0),
    "nested": (nn.Sequential(nn.Sequential(conv(1, 4)), nn.Sequential(nn.Sequential(nn.BatchNorm2d(4)))), 0),
    "not affine": (nn.Sequential(conv(1, 4), nn.BatchNorm2d(4, affine=False)), 0),
    "no statistics": (nn.Sequential(conv(1, 4), nn.BatchNorm2d(4, track_running_stats=False)), 1),
    "two in a row": (nn.Sequential(conv(1, 4), nn.BatchNorm2d(4), nn.BatchNorm2d(4)), 0),
    "linear": (nn.Sequential(nn.Flatten(), nn.Linear(784, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 3)), 0),
    "linear after": (nn.Sequential(nn.Flatten(), nn.BatchNorm1d(784), nn.Linear(784, 3, bias=False)), 0),
    "linear of rows": (nn.Sequential(nn.Flatten(1, 2), nn.Linear(28, 28), nn.BatchNorm1d(28)), 1),
    "rows, then linear": (nn.Sequential(nn.Flatten(1, 2), nn.BatchNorm1d(28), nn.Linear(28, 28)), 1),
    "residual": (Network(residual, first=conv(1, 4), second=conv(4, 4, padding=1), norm=nn.BatchNorm2d(4)), 0),
    "weight read": (Network(with_weight_read, conv=conv(1, 4), norm=nn.BatchNorm2d(4)), 1),
    "shared convolution": (nn.Sequential(SHARED, nn.BatchNorm2d(1), nn.ReLU(), SHARED, nn.BatchNorm2d(1)), 2),
    "shared norm": (nn.Sequential(conv(1, 4), SHARED_NORM, nn.ReLU(), conv(4, 4), SHARED_NORM), 0),
    "value used twice": (Network(lambda n, x: n.norm(n.a(x)) + n.a(x), a=conv(1, 4), norm=nn.BatchNorm2d(4)), 1),
    "alone": (nn.Sequential(nn.ReLU(), nn.BatchNorm2d(1), nn.ReLU()), 1),
}  # fmt: skip

# What may come between ReLU and BatchNorm, and the next layer.
AFTER_RELU = {
    "convolution": ([nn.BatchNorm2d(4), conv(4, 5)], 0),
    "valid": ([nn.BatchNorm2d(4), conv(4, 5, padding="valid")], 0),
    "depthwise": ([nn.BatchNorm2d(4), conv(4, 8, groups=4)], 0),
    "groups": ([nn.BatchNorm2d(4), conv(4, 6, groups=2, bias=False)], 0),
    "zero padding": ([nn.BatchNorm2d(4), conv(4, 5, padding=1)], 1),
    "same padding": ([nn.BatchNorm2d(4), conv(4, 5, padding="same")], 1),
    "reflected padding": ([nn.BatchNorm2d(4), conv(4, 5, padding=1, padding_mode="reflect")], 0),
    "no shift": ([nn.BatchNorm2d(4, affine=False), conv(4, 5, padding=1)], 0),
    "transposed": ([nn.BatchNorm2d(4), nn.ConvTranspose2d(4, 5, 3)], 1),
    "dropout": ([nn.BatchNorm2d(4), nn.Dropout(0.3), conv(4, 5)], 0),
    "ReLU": ([nn.BatchNorm2d(4), nn.ReLU(), conv(4, 5)], 1),
    "average pool": ([nn.BatchNorm2d(4), nn.AvgPool2d(3, 2, ceil_mode=True), conv(4, 5)], 0),
    "padded average": ([nn.BatchNorm2d(4), nn.AvgPool2d(3, 1, padding=1), conv(4, 5)], 1),
    "true average": ([nn.BatchNorm2d(4), nn.AvgPool2d(3, 1, padding=1, count_include_pad=False), conv(4, 5)], 0),
    "sum pool": ([nn.BatchNorm2d(4), nn.AvgPool2d(2, divisor_override=1), conv(4, 5)], 1),
    "max pool": ([positive(nn.BatchNorm2d(4)), nn.MaxPool2d(3, 2, padding=1), conv(4, 5)], 0),
    "negative max pool": ([nn.BatchNorm2d(4), nn.MaxPool2d(2), conv(4, 5)], 1),
    "global pool": ([nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)], 0),
    "pool, linear": ([nn.BatchNorm2d(4), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4 * 13 * 13, 5)], 0),
    "pool over channels": ([nn.BatchNorm2d(4), nn.Flatten(2), nn.AdaptiveAvgPool2d((4, 9)), nn.Linear(9, 5)], 1),
    "two norms": ([nn.BatchNorm2d(4), nn.BatchNorm2d(4), conv(4, 5)], 0),
    "linear of rows": ([nn.BatchNorm2d(4), nn.Linear(26, 5)], 1),
}  # fmt: skip
CASES = FOLDS | {
    f"ReLU, {name}": (nn.Sequential(conv(1, 4), nn.ReLU(), *layers), stay)
    for name, (layers, stay) in AFTER_RELU.items()
}


@pytest.mark.parametrize("case", CASES)
def test_a_norm_folds_where_that_is_exact(case, as_if_trained):
    network, stay = CASES[case]
    network = as_if_trained(copy.deepcopy(network).double())
    for norm in [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]:
        if not norm.affine and case.endswith("no shift"):
            norm.running_mean.zero_()
        if case.endswith(", max pool"):
            positive(norm)
        elif norm.affine:
            norm.weight.data[0] = -1.5
    x = images(3, 1, 28, 28, dtype=torch.float64)

    if stay:
        with pytest.warns(NotFolded, match=f"^{stay} BatchNorm of .* could not be folded") as warned:
            found = folded(network)
        assert len(warned) == 1 and warned[0].filename == __file__
    else:
        found = folded(network)

    assert norms(found) == stay
    torch.testing.assert_close(found(x), network.eval()(x), rtol=1e-10, atol=1e-10)


def test_a_warning_names_a_few_layers():
    network = nn.Sequential(*(layer for _ in range(5) for layer in (nn.ReLU(), nn.BatchNorm2d(1))), nn.ReLU())

    with pytest.warns(NotFolded, match=r"^5 BatchNorm of Sequential could not be folded \(1, 3, 5, \.\.\.\): each"):
        folded(network)


def test_functional_pools_and_dropout_are_followed(as_if_trained):
    def forward(network, x):
        x = F.max_pool2d(network.norm1(F.relu(network.conv1(x))), 2)
        x = F.dropout(network.norm2(F.relu(network.conv2(x))), 0.5, network.training)
        return network.linear(torch.flatten(F.adaptive_avg_pool2d(x, 2), 1))

    network = as_if_trained(
        Network(
            forward,
            **{"conv1": conv(1, 4), "norm1": nn.BatchNorm2d(4), "conv2": conv(4, 5), "norm2": nn.BatchNorm2d(5)},
            linear=nn.Linear(20, 3),
        )
    )
    positive(network.norm1)
    x = images(2, 1, 28, 28)

    found = folded(network)

    assert norms(found) == 0 and "dropout" not in found.code
    torch.testing.assert_close(found(x), network.eval()(x), rtol=1e-5, atol=1e-5)


def test_a_hook_keeps_its_layer(as_if_trained):
    network = as_if_trained(nn.Sequential(conv(1, 4), nn.BatchNorm2d(4)))
    network[0].register_forward_hook(lambda layer, inputs, output: 2 * output)
    x = images(2, 1, 28, 28)

    with pytest.warns(NotFolded):
        found = folded(network)

    torch.testing.assert_close(found(x), network.eval()(x))


@pytest.mark.parametrize("dimensions", [1, 3])
def test_other_dimensions_fold_too(dimensions, as_if_trained):
    convolution, norm = getattr(nn, f"Conv{dimensions}d"), getattr(nn, f"BatchNorm{dimensions}d")
    layers = [convolution(2, 4, 3), norm(4), nn.ReLU(), norm(4), nn.Dropout(), convolution(4, 6, 2, groups=2)]
    network = as_if_trained(nn.Sequential(*layers))
    x = images(2, 2, *[7] * dimensions)

    found = folded(network)

    assert norms(found) == 0
    torch.testing.assert_close(found(x), network.eval()(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layers", [1, 0])
def test_a_network_that_cannot_be_traced_loses_its_dropout_alone(layers, as_if_trained):
    def forward(network, x):
        return network.layers(x) if x.sum() > 0 else x

    norm = [nn.BatchNorm2d(4)] * layers
    network = as_if_trained(Network(forward, layers=nn.Sequential(conv(1, 4), *norm, nn.Dropout(0.5))))
    x = images(2, 1, 28, 28).abs()

    if layers:
        with pytest.warns(NotFolded, match="cannot trace Network .*control flow"):
            found = folded(network)
    else:
        found = folded(network)

    assert nn.Dropout not in kinds(found) and nn.Dropout in kinds(network)
    torch.testing.assert_close(found(x), network.eval()(x))


def random_network(seed: int) -> nn.Sequential:
    draw = random.Random(seed)
    channels, size, layers = 1, 28, []
    while size > 6:
        kernel, padding, groups = draw.choice([1, 2, 3]), draw.choice([0, 0, 1]), draw.choice([1, channels])
        wider = channels * draw.choice([1, 2]) if channels < 12 else channels
        mode = draw.choice(["zeros", "zeros", "reflect"])
        layers.append(nn.Conv2d(channels, wider, kernel, 1, padding, 1, groups, draw.random() < 0.5, mode))
        channels, size = wider, size + 2 * padding - kernel + 1
        extras = [nn.ReLU(), nn.BatchNorm2d(channels), nn.BatchNorm2d(channels, affine=False), nn.Dropout(0.1)]
        pools = [nn.AvgPool2d(2), nn.AvgPool2d(2, padding=1), nn.MaxPool2d(2)]
        for layer in draw.sample([*extras, *pools], k=draw.randint(1, 4)):
            if layer not in pools or size > 6:
                layers.append(layer)
                size = (size + 2 * layer.padding) // 2 if layer in pools else size
    return nn.Sequential(*layers)


@pytest.mark.filterwarnings("ignore::mnist_s7.export.NotFolded")
def test_random_networks_compute_the_same(as_if_trained):
    before = after = 0
    for seed in range(60):
        network = as_if_trained(random_network(seed), seed).double()
        x = images(2, 1, 28, 28, dtype=torch.float64)
        found = folded(network)
        torch.testing.assert_close(found(x), network.eval()(x), rtol=1e-9, atol=1e-9, msg=lambda m, s=seed: f"{s}: {m}")
        before, after = before + norms(network), after + norms(found)

    assert 0 < after < before / 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_network_stays_on_its_device(as_if_trained):
    network = as_if_trained(SERIES[2].network()).cuda()
    x = images(2, 1, 28, 28).cuda()

    torch.testing.assert_close(folded(network)(x), network.eval()(x), rtol=1e-4, atol=1e-4)


class FlattensTheWrongEnd(nn.Module):
    """Of (N, 4, 1, 4) the batch and the channels into one."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 4, (28, 25)), nn.BatchNorm2d(4), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.norm(self.conv(x).relu()).flatten(end_dim=1))


class ChangesAView(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3)

    def forward(self, x):
        y = self.conv(x).relu()
        z = self.norm(y[:])
        y.add_(5)
        return self.head(z)


@pytest.mark.filterwarnings("ignore::mnist_s7.export.NotFolded")
@pytest.mark.parametrize("kind", [FlattensTheWrongEnd, ChangesAView])
def test_what_only_looks_as_if_it_could_be_folded_stays(kind):
    torch.manual_seed(0)
    model = kind().eval()
    for value in (model.norm.running_mean, model.norm.running_var, model.norm.weight.data, model.norm.bias.data):
        value.uniform_(0.5, 2)
    images = torch.randn(3, 1, 28, 28)

    with torch.no_grad():
        torch.testing.assert_close(folded(model)(images), model(images), rtol=1e-5, atol=1e-5)
