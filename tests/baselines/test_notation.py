"""Networks as text: what each word makes, and what is said of text that makes none."""

import pytest
import torch
from torch import nn

from mnist_s7.baselines import notation
from mnist_s7.baselines.architecture import Architecture
from mnist_s7.baselines.layers import SampleNorm
from mnist_s7.baselines.notation import LAYERS, NormSettings, NotationError


def layers_of(text):
    return notation.layers_of(text, NormSettings())


HEAD = "globalavgpool, flatten, linear 10, logsoftmax"


def test_every_word_makes_its_layer():
    """Compared with the same layers written out, by what they show of themselves."""
    text = """
        pixels, conv 3x3 8 pad 1 bias, relu, batchnorm, maxpool 2
        depthwise 3x3, conv 1x1 12, leakyrelu 0.2, dropout2d 0.1, samplenorm
        conv 3x1 4 bias, prelu, dropout 0.05, avgpool 2
        flatten, linear 16 bias, relu, batchnorm, dropout 0.5
        linear 10, logsoftmax
        """

    expected = [
        *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(8), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 8, 3, groups=8, bias=False), nn.Conv2d(8, 12, 1, bias=False)),
        *(nn.LeakyReLU(0.2), nn.Dropout2d(0.1), SampleNorm()),
        *(nn.Conv2d(12, 4, (3, 1)), nn.PReLU(4), nn.Dropout(0.05), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(4 * 5 * 6, 16), nn.ReLU(), nn.BatchNorm1d(16), nn.Dropout(0.5)),
        *(nn.Linear(16, 10, bias=False), nn.LogSoftmax(1)),
    ]
    found = list(layers_of(text))
    assert [repr(layer) for layer in found[1:]] == [repr(layer) for layer in expected]
    assert all(layer.training for layer in found)
    assert {text.split()[0] for text in text.replace(",", "\n").split("\n") if text.strip()} | {"globalavgpool"} == {
        *LAYERS
    }


def test_a_layer_that_is_named_is_there_again_with_the_same_weights():
    layers = layers_of(f"conv 3x3 4\nconv 3x3 4 pad 1 bias as twice, relu\nagain twice\n{HEAD}")

    assert layers[3] is layers[1]
    assert sum(parameter.numel() for parameter in layers.parameters()) == 36 + (144 + 4) + 40


def test_layers_are_drawn_as_if_they_were_written_out():
    """In their order, and nothing besides is drawn: the same seed gives the same weights."""
    torch.manual_seed(1)
    found = layers_of(f"conv 3x3 4 bias, batchnorm, relu, dropout 0.5, conv 3x3 4, {HEAD}")
    torch.manual_seed(1)
    expected = [nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, bias=False), nn.Linear(4, 10, bias=False)]

    assert torch.equal(found[0].weight, expected[0].weight) and torch.equal(found[0].bias, expected[0].bias)
    assert torch.equal(found[4].weight, expected[1].weight) and torch.equal(found[7].weight, expected[2].weight)
    assert torch.equal(found[1].running_var, torch.ones(4))  # no image has been through it


def test_an_architecture_has_settings_of_its_own():
    network = Architecture(f"conv 3x3 4, batchnorm, {HEAD}", nn_init_ones, NormSettings(eps=0.5, momentum=0.2))()

    assert (network.layers[1].eps, network.layers[1].momentum) == (0.5, 0.2)
    assert network.layers[0].weight.eq(1).all()
    assert "initialised=nn_init_ones" in repr(network)  # so that the recipe's fingerprint has it


def nn_init_ones(layers):
    for parameter in layers.parameters():
        nn.init.ones_(parameter)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "conv 3x3 8\ncov 3x3 8",
            r"line 2, 'cov 3x3 8': 'cov' is no layer; there are conv, depthwise, linear, .*again$",
        ),
        ("conv 3x3", "line 1, 'conv 3x3': a setting is missing or wrong; write conv HEIGHTxWIDTH CHANNELS"),
        ("conv 3 8", "'conv 3 8': a setting is missing or wrong; write conv HEIGHTxWIDTH"),
        ("conv 3x3 eight", "'conv 3x3 eight': a setting is missing or wrong"),
        ("conv 3x3 8 pad", "'conv 3x3 8 pad': a setting is missing or wrong"),
        (
            "conv 3x3 8 padding 1",
            "'conv 3x3 8 padding 1': 'padding' is not known there; write conv .* as NAME after it",
        ),
        ("relu 0.2", r"'relu 0\.2': '0\.2' is not known there; write relu,"),
        ("conv 3x3 -1", "'conv 3x3 -1': a setting is missing or wrong"),
        ("dropout", "'dropout': a setting is missing or wrong; write dropout PROBABILITY"),
        ("dropout 1.5", "'dropout 1.5': a setting is missing or wrong"),
        ("conv 3x3 8 as a\nagain b", "line 2, 'again b': write again NAME; the names before it are a"),
        ("again b", "'again b': write again NAME; the names before it are none"),
        ("conv 3x3 8 as", "'conv 3x3 8 as': a setting is missing or wrong"),
        ("conv 3x3 8 as a, again a", r"'again a': does not fit the layer before it, which gives \(8, 26, 26\)"),
        ("conv 29x29 8", r"'conv 29x29 8': does not fit the layer before it, which gives \(1, 28, 28\)"),
        ("maxpool 32", "'maxpool 32': does not fit"),
        (
            "conv 3x3 10, flatten, logsoftmax",
            r"the last layer gives \(6760,\) for an image: \(10,\), one for each",
        ),
        ("", r"the last layer gives \(1, 28, 28\) for an image"),
    ],
)
def test_text_that_makes_no_network_is_refused(text, message):
    with pytest.raises(NotationError, match=message):
        layers_of(text)
