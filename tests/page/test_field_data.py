"""The receptive fields that the page shows are those of the networks, matched with the steps that it runs."""

import base64
import json

import pytest
import torch
from example_networks import Network
from test_networks import own_networks
from torch import nn

from mnist_s7 import SERIES, receptive_field
from mnist_s7.catalog import ABLATIONS, EXPERIMENTS
from mnist_s7.page import digit_data, field_data, network_data
from mnist_s7.receptive_field import ReceptiveFieldError

pytestmark = pytest.mark.filterwarnings(
    "ignore:Using padding='same' with even kernel lengths", "ignore::mnist_s7.export.NotFolded"
)


@pytest.mark.parametrize("name", [each.name for each in (*SERIES, *ABLATIONS)])
def test_every_feature_map_of_the_package_s_networks_has_its_field(name):
    model = EXPERIMENTS[name].untrained()
    found = field_data(model, model)

    assert json.loads(json.dumps(found)) == found
    steps = network_data(model)["steps"]
    assert len(steps) == len(found["steps"])
    for step, index in zip(steps, found["steps"], strict=True):
        assert (index is not None) == (len(step["shape"]) == 3 and step["kind"] != "image")
        if index is not None:
            layer = found["layers"][index]
            assert step["shape"][1:] == [len(layer["rows"]), len(layer["columns"])]
            assert step["kind"] in ("relu", "add") or layer["name"] == step["name"]


def test_fields_are_those_of_the_table():
    model = EXPERIMENTS["T4"].untrained()
    table, layers = receptive_field(model), field_data(model, model)["layers"]

    assert [layer["name"] for layer in layers] == [row.layer for row in table.rows]
    for layer in layers:
        for row, rows in enumerate(layer["rows"]):
            for column, columns in enumerate(layer["columns"]):
                assert table.box(layer["name"], (row, column)).unclipped == (tuple(rows), tuple(columns))
    [last_pool] = [layer for layer in layers if layer["name"] == "block2.7"]
    assert {key: last_pool[key] for key in ("kernel", "stride", "size", "jump", "start")} == {
        "kernel": [2, 2],
        "stride": [2, 2],
        "size": [16, 16],
        "jump": [4, 4],
        "start": [2.5, 2.5],
    }


def test_unequal_sides_and_calls_of_one_name():
    def forward(network, x):
        x = network.first(x)
        y = network.second(x) + x
        return network.head((network.second(x) + y + x).flatten(1))

    layers = {"first": nn.Conv2d(1, 2, (3, 5), stride=(2, 1)), "second": nn.Conv2d(2, 2, 3, padding=1)}
    model = Network(forward, **layers, head=nn.Linear(2 * 13 * 24, 10))
    found = field_data(model, model)

    names = ["first", "second", "add", "second (2)", "add (2)", "head"]
    assert [layer["name"] for layer in found["layers"]] == names
    # The image, first, second, add, second again, + y, whose field is the same, and + x, whose field is smaller.
    assert found["steps"][:7] == [None, 0, 1, 2, 3, 3, 4]
    assert found["layers"][1] == {
        "name": "second",
        "kernel": [3, 3],
        "stride": [1, 1],
        "size": [7, 7],
        "jump": [2, 1],
        "start": [1, 2],
        "rows": [[2 * unit - 2, 2 * unit + 4] for unit in range(13)],
        "columns": [[unit - 1, unit + 5] for unit in range(24)],
    }


def test_a_call_in_place_has_its_row():
    model = own_networks()[20]
    found = field_data(model, model)

    assert [step["name"] for step in network_data(model)["steps"]][4:6] == ["add", "add_"]
    assert [found["layers"][index]["name"] for index in found["steps"][4:6]] == ["add", "add (2)"]


def test_a_step_looks_at_the_pixels_of_its_field():
    """Of other networks: a change of all pixels outside of a unit's field leaves the unit as it is."""
    for model in own_networks()[:20]:
        found = field_data(model.eval(), model)
        modules = dict(model.named_modules())
        for step, index in zip(network_data(model)["steps"], found["steps"], strict=True):
            if index is None:
                continue
            layer = found["layers"][index]
            unit = [n // 2 for n in step["shape"][1:]]
            (top, bottom), (left, right) = layer["rows"][unit[0]], layer["columns"][unit[1]]
            inside = torch.zeros(28, 28, dtype=torch.bool)
            inside[max(0, top) : bottom + 1, max(0, left) : right + 1] = True
            image = torch.randn(1, 1, 28, 28)
            values = []
            hook = modules[step["name"]].register_forward_hook(
                lambda module, given, value, unit=unit, values=values: values.append(value[(..., *unit)].clone())
            )
            with torch.no_grad():
                model(image.clone())
                model(image.where(inside, torch.randn(1, 1, 28, 28)))
            hook.remove()
            torch.testing.assert_close(*values)


def test_a_network_without_fields_says_so():
    dense = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    with pytest.raises(ReceptiveFieldError, match="Sequential: no layer has a feature map"):
        field_data(dense, dense)


def test_digits_are_the_first_of_each_class(mnist):
    found = digit_data(mnist)

    assert [digit["label"] for digit in found] == [str(digit) for digit in range(10)]
    for digit in found:
        first = mnist.test_images[mnist.test_labels == int(digit["label"])][0]
        assert base64.b64decode(digit["greys"]) == bytes(first.flatten().tolist())
