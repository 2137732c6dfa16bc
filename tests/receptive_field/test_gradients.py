"""The receptive-field table against autograd: random networks, the series', and torchvision's."""

import ast
import copy
from pathlib import Path

import pytest
import torch
from random_networks import Branches, Crop, RandomNetwork
from torch import nn

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


@pytest.mark.parametrize("seed", range(400))
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
