"""The receptive-field table against autograd: random networks, the series', and torchvision's."""

import ast
import copy
from pathlib import Path

import pytest
import torch
from random_networks import NETWORKS, Branches, Call, Crop, RandomNetwork
from torch import nn
from torch.nn import functional as F

from mnist_s7.models import MnistNet_1, MnistNet_2, MnistNet_3
from mnist_s7.receptive_field import gradient_receptive_field, gradients, receptive_field
from mnist_s7.receptive_field.gradients import gradient_box, positive_copy, run

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")


def each(value, count):
    return value if isinstance(value, tuple) else (value,) * count


def assert_agrees(model, input_size, twin=None):
    """Table against oracle: size, jump and start, and the boxes of corner, centre and other units."""
    table = receptive_field(model, input_size)
    row, axes = table.rows[-1], len(input_size) - 1
    found = gradient_receptive_field(twin or model, input_size)
    said = tuple(each(value, axes) for value in (row.r_out, row.j_out, row.start))
    if found.box is not None:  # else the centre unit looks at padding alone, and gradients say nothing of its size
        assert said == (found.receptive_field, found.jump, found.start), f"{model}\n{table}"

    image, y = run(positive_copy(model), input_size, None)
    sizes = each(row.n_out, axes)
    quarters = ((0, 0, 0), (4, 4, 4), (2, 2, 2), (0, 4, 0), (1, 3, 2))  # corners, the centre, another
    units = {tuple(i * (n - 1) // 4 for i, n in zip(unit, sizes, strict=False)) for unit in quarters}
    for unit in sorted(units):
        box = table.box(row, unit)
        assert box.clipped == gradient_box(image, y, unit), f"unit {unit} of\n{model}\n{table}"
        unclipped = tuple(
            (start + jump * i - (r - 1) / 2, start + jump * i + (r - 1) / 2)
            for r, jump, start, i in zip(*said, unit, strict=True)
        )
        assert box.unclipped == unclipped, f"unit {unit} of\n{model}\n{table}"


@pytest.mark.parametrize("seed", range(NETWORKS))
def test_random_network(seed):
    network = RandomNetwork(seed)
    assert_agrees(network, network.input_size, network.twin)


def test_misaligned_branches():
    apart = Branches("+", [Crop([(4, 0), (2, 2)]), nn.Sequential(nn.Conv2d(1, 1, 3), Crop([(0, 2), (1, 1)]))])
    assert_agrees(apart, (1, 12, 12))


@pytest.mark.parametrize("model", [MnistNet_1, MnistNet_2, MnistNet_3])
def test_every_map_of_the_series_agrees_with_autograd(model):
    model = model()
    for row in receptive_field(model).rows:
        if row.n_out > 1:
            found = gradient_receptive_field(model, layer=row.layer)
            assert (row.r_out, row.j_out, row.start) == (found.receptive_field[0], found.jump[0], found.start[0])
    assert gradient_receptive_field(model).box == ((0, 27), (0, 27))


def test_the_oracle_shares_nothing_with_the_table():
    source = ast.parse(Path(gradients.__file__).read_text())
    imported = [node for node in ast.walk(source) if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {getattr(node, "module", None) or node.names[0].name for node in imported}
    assert {name.split(".")[0] for name in names} <= {
        "__future__",
        "collections",
        "copy",
        "dataclasses",
        "math",
        "torch",
    }


# ------------------------------------------------------------------------------ what gradients need help with


class Picked(nn.Module):
    """A layer that gives values and places: the values."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0]


class ByHand(nn.Module):
    """Self-attention over the units of a feature map."""

    def forward(self, x):
        tokens = x.flatten(2)
        return (tokens @ (tokens.transpose(1, 2) @ tokens).softmax(-1)).view(x.shape)


class Choice(nn.Module):
    def __init__(self):
        super().__init__()
        self.decides, self.value = nn.Conv2d(1, 2, 7, padding=3), nn.Conv2d(1, 2, 3, padding=1)

    def forward(self, x):
        return torch.where(self.decides(x) > 0, self.value(x), 2 * self.value(x))


class ChannelNorm(nn.Module):
    def forward(self, x):
        return F.layer_norm(x.movedim(1, -1), x.shape[1:2]).movedim(-1, 1)


HARD_FOR_GRADIENTS = {
    "pooling with indices": (lambda: Picked(nn.MaxPool2d(2, return_indices=True)), (1, 28, 28), (2, 2)),
    "adaptive pooling with indices": (
        lambda: Picked(nn.Sequential(nn.MaxPool2d(4), nn.AdaptiveMaxPool2d(7, return_indices=True))), (1, 28, 28),
        (None, None),  # windows that grow with the image
    ),
    "3-D pooling": (lambda: nn.Sequential(nn.MaxPool3d(2), nn.Conv3d(1, 1, (2, 3, 3))), (1, 12, 16, 16), (4, 6, 6)),
    "where": (Choice, (1, 28, 28), (7, 7)),
    "minimum over channels": (
        lambda: nn.Sequential(nn.Conv2d(1, 4, 7), Call("min", lambda x: x.min(1, keepdim=True)[0])), (1, 28, 28),
        (7, 7),
    ),
    "median over channels": (
        lambda: nn.Sequential(nn.Conv2d(1, 4, 7), Call("median", lambda x: x.median(1, keepdim=True)[0])), (1, 28, 28),
        (7, 7),
    ),
    "masked": (lambda: Call("masked", lambda x: x.masked_fill(F.avg_pool2d(x, 5, 1, 2) > 0, 0.0)), (1, 28, 28), (5, 5)),
    "comparison as a factor": (lambda: Call("mask", lambda x: x * (F.avg_pool2d(x, 5, 1, 2) > 0)), (1, 28, 28), (5, 5)),
    "bounds": (lambda: Call("clamp", lambda x: torch.clamp(x, min=F.avg_pool2d(x, 5, 1, 2))), (1, 28, 28), (5, 5)),
    "variance": (lambda: Call("var", lambda x: F.avg_pool2d(x.var(1, keepdim=True), 3)), (3, 28, 28), (3, 3)),
    "local contrast": (lambda: Call("contrast", lambda x: (x - F.avg_pool2d(x, 3, 1, 1)) ** 2), (1, 28, 28), (3, 3)),
    "rounding": (lambda: nn.Sequential(nn.Conv2d(1, 1, 3), Call("round", torch.round)), (1, 28, 28), (3, 3)),
    "norm without weights": (lambda: nn.Sequential(nn.Conv2d(1, 4, (7, 9)), ChannelNorm()), (1, 28, 28), (7, 9)),
    "attention": (ByHand, (4, 8, 8), (None, None)),
}  # fmt: skip


@pytest.mark.parametrize("name", HARD_FOR_GRADIENTS)
def test_gradient_field_of(name):
    make, input_size, expected = HARD_FOR_GRADIENTS[name]
    assert gradient_receptive_field(make(), input_size).receptive_field == expected


def test_unpooling_reaches_the_whole_window():
    model = Call("unpool", lambda x: F.max_unpool2d(*F.max_pool2d(x, 3, return_indices=True), 3))
    assert gradient_receptive_field(model, (1, 12, 12), unit=(4, 4)).box == ((3, 5), (3, 5))


def test_places_have_no_gradient():
    with pytest.raises(ValueError, match="argmax gives places"):
        gradient_receptive_field(Call("place", lambda x: x.argmax(1, keepdim=True).double()))


def test_models_that_cannot_be_measured():
    conv = nn.Conv2d(1, 1, 3)
    for wrong, options, reason in (
        (conv, {"input_size": (3, 28, 28)}, "RuntimeError"),
        (conv, {"layer": "second"}, "second"),
        (Picked(nn.Sequential(conv)), {"layer": "layer.0", "unit": (-1, 0)}, "not on the feature map"),
        (conv, {"unit": (1,)}, "not on the feature map"),
        (Call("pair", lambda x: (x, x)), {}, "gives a tuple"),
        (nn.LazyConv2d(1, 3), {}, "cannot be measured"),
    ):
        with pytest.raises(ValueError, match=reason):
            gradient_receptive_field(wrong, **options)
    with pytest.raises(ValueError, match="fractional_max_pool2d"):
        gradient_receptive_field(nn.FractionalMaxPool2d(2, output_size=4))
    constant = gradient_receptive_field(Call("constant", lambda x: torch.ones(1, 1, 4, 4)))
    assert constant.box is None and constant.receptive_field == (None, None)
    maximum = Call("by keyword", lambda x: torch.max(input=x, dim=1, keepdim=True)[0])
    assert gradient_receptive_field(nn.Sequential(nn.Conv2d(1, 3, 5), maximum)).receptive_field == (5, 5)


# ----------------------------------------------------------------------------------------- torchvision


def torchvision_model(name):
    from torchvision import models

    options = {"init_weights": False} if name == "googlenet" else {}
    with torch.device("meta"):  # the table needs no weights, and drawing them takes seconds
        return getattr(models, name)(weights=None, **options).requires_grad_(False)


def without_gates(model):
    from torchvision.ops import SqueezeExcitation

    for module in [*model.modules()]:
        for name, child in module.named_children():
            if isinstance(child, SqueezeExcitation):
                setattr(module, name, nn.Identity())
    return model


# name: layer of the oracle, row of the table, size, jump. Published by Araujo, Norris & Sim 2019, "Computing
# Receptive Fields of Convolutional Neural Networks", Distill: 195 of AlexNet and 212 of VGG-16.
TORCHVISION = {
    "alexnet": ("features", "features.12", 195, 32),
    "vgg16": ("features", "features.30", 212, 32),
    "resnet18": ("layer4", "layer4.1.add", 435, 32),
    "resnet50": ("layer4", "layer4.2.add", 427, 32),  # v1.5, with its stride in the 3x3 convolution; v1 has 483
    "densenet121": ("features.denseblock4", "features.denseblock4.cat", 2071, 32),
    "mobilenet_v2": ("features", "features.18.0", 491, 32),
    "efficientnet_b0": ("features", "features.8.0", 851, 32),  # without its gates, as published tables have it
    "googlenet": ("inception5b", "inception5b.cat", 379, 32),
}


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_network(name):
    layer, row, size, jump = TORCHVISION[name]
    model = torchvision_model(name)
    table = receptive_field(model, (3, 224, 224), gates="ignore")
    row = next(r for r in table.rows if r.layer == row)
    assert (row.r_out, row.j_out) == (size, jump)

    if layer == "features":  # the linear layers after it are large
        model, layer = model.features, None
    oracle = positive_copy(without_gates(model).to_empty(device="cpu"))
    width = 64 if name == "alexnet" else 32  # long on one axis only: the nets are symmetric
    image, y = run(oracle, (3, size + 3 * jump + 64, width), layer)
    unit = y.shape[2] // 2
    (lo, hi), _ = gradient_box(image, y, (unit, 0))
    (next_lo, _), _ = gradient_box(image, y, (unit + 1, 0))
    assert (hi - lo + 1, next_lo - lo, (lo + hi) / 2 - jump * unit) == (size, jump, row.start)


def test_squeeze_and_excitation_sees_the_whole_input_unless_gates_are_ignored():
    model = torchvision_model("efficientnet_b0")
    model.features = model.features[:3]
    model.classifier[1] = nn.Linear(24, 2, device="meta")
    strict = receptive_field(model, (3, 40, 40))
    ignoring = receptive_field(model, (3, 40, 40), gates="ignore")
    row, other = ([r for r in table.rows if r.n_out == 10][-1] for table in (strict, ignoring))
    assert row.r_out > 40 > other.r_out
    assert "one value for the whole feature map" in str(strict) and "one value" not in str(ignoring)

    narrow = {r.layer: r.r_out for r in ignoring.rows}
    assert all(r.r_out >= narrow[r.layer] for r in strict.rows if r.layer in narrow)  # a gate adds to a field

    model.to_empty(device="cpu")
    bare = without_gates(copy.deepcopy(model))
    for unit in ((0, 0), (3, 4), (9, 9)):
        whole = gradient_receptive_field(model, (3, 40, 40), layer="features", unit=unit).box
        assert strict.box(row, unit).clipped == whole == ((0, 39), (0, 39))
        local = gradient_receptive_field(bare, (3, 40, 40), layer="features", unit=unit).box
        assert ignoring.box(other, unit).clipped == local


class LinearGate(nn.Module):
    """Squeeze-and-excitation with linear layers."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4), nn.Sigmoid())

    def forward(self, x):
        return x * self.gate(x).view(-1, 4, 1, 1).expand_as(x)


def test_gate_of_linear_layers():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), LinearGate(), nn.Conv2d(4, 4, 3))
    table = receptive_field(model)
    assert [row.r_out for row in table.rows] == [3, 28, 28, 28, 28]
    assert table.box(-1, (0, 0)).clipped == gradient_receptive_field(model, unit=(0, 0)).box == ((0, 27), (0, 27))
    assert receptive_field(model, gates="ignore").rows[-1].r_out == 5
