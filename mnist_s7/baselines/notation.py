"""A network's layers as text, one block a line: read into plain `torch.nn` modules.

    conv 3x3 8, relu, batchnorm, dropout 0.1
    conv 1x1 10, maxpool 2
    globalavgpool, flatten, logsoftmax

Commas separate layers, lines do as well. A layer is its name, its settings and its options; `LAYERS` lists them all.
How many channels or features go in is what the layer before gives, so that it is not written. `as NAME` names a layer,
and `again NAME` is that layer once more, with the same weights.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from mnist_s7 import MnistS7Error
from mnist_s7.baselines.layers import Pixels, SampleNorm


class NotationError(MnistS7Error, ValueError):
    """Text that describes no network. The message names the line, the layer and what is allowed there."""


@dataclass(frozen=True)
class NormSettings:
    """BatchNorm's own two: `eps` is added to the variance, `momentum` is the new batch's share in the statistics."""

    eps: float = 1e-5
    momentum: float = 0.1


# Words that are left of a layer; each of these functions takes its own away, and gives what they say.
Words = list[str]


def _convolution(words: Words, x: Tensor, norm: NormSettings, depthwise: bool = False) -> nn.Module:
    height, width = map(int, words.pop(0).split("x"))
    channels = x.shape[1]
    out = channels if depthwise else int(words.pop(0))
    padding = int(_option(words, "pad", "0"))
    groups = channels if depthwise else 1
    return nn.Conv2d(channels, out, (height, width), padding=padding, groups=groups, bias=_flag(words, "bias"))


def _linear(words: Words, x: Tensor, norm: NormSettings) -> nn.Module:
    return nn.Linear(x.shape[1], int(words.pop(0)), bias=_flag(words, "bias"))


def _batchnorm(words: Words, x: Tensor, norm: NormSettings) -> nn.Module:
    kind = nn.BatchNorm2d if x.dim() == 4 else nn.BatchNorm1d
    return kind(x.shape[1], eps=norm.eps, momentum=norm.momentum)


def _option(words: Words, name: str, default: str) -> str:
    """The word after `name`."""
    if name not in words:
        return default
    place = words.index(name)
    _, value = words[place : place + 2]
    del words[place : place + 2]
    return value


def _flag(words: Words, name: str) -> bool:
    found = name in words
    if found:
        words.remove(name)
    return found


@dataclass(frozen=True)
class Layer:
    """What may be written for a layer, and what makes a module of it: of its words, of what the layer before gives, and
    of BatchNorm's settings."""

    written: str
    build: Callable[[Words, Tensor, NormSettings], nn.Module]


LAYERS = {
    "conv": Layer("conv HEIGHTxWIDTH CHANNELS [pad N] [bias]", _convolution),
    "depthwise": Layer("depthwise HEIGHTxWIDTH [pad N] [bias]", partial(_convolution, depthwise=True)),
    "linear": Layer("linear FEATURES [bias]", _linear),
    "batchnorm": Layer("batchnorm", _batchnorm),
    "samplenorm": Layer("samplenorm", lambda words, x, norm: SampleNorm()),
    "relu": Layer("relu", lambda words, x, norm: nn.ReLU()),
    "leakyrelu": Layer("leakyrelu SLOPE", lambda words, x, norm: nn.LeakyReLU(float(words.pop(0)))),
    "prelu": Layer("prelu", lambda words, x, norm: nn.PReLU(x.shape[1])),
    "dropout": Layer("dropout PROBABILITY", lambda words, x, norm: nn.Dropout(float(words.pop(0)))),
    "dropout2d": Layer("dropout2d PROBABILITY", lambda words, x, norm: nn.Dropout2d(float(words.pop(0)))),
    "maxpool": Layer("maxpool SIZE", lambda words, x, norm: nn.MaxPool2d(int(words.pop(0)))),
    "avgpool": Layer("avgpool SIZE", lambda words, x, norm: nn.AvgPool2d(int(words.pop(0)))),
    "globalavgpool": Layer("globalavgpool", lambda words, x, norm: nn.AdaptiveAvgPool2d(1)),
    "flatten": Layer("flatten", lambda words, x, norm: nn.Flatten()),
    "logsoftmax": Layer("logsoftmax", lambda words, x, norm: nn.LogSoftmax(dim=1)),
    "pixels": Layer("pixels", lambda words, x, norm: Pixels()),
}
NAMES = f"{', '.join(LAYERS)}, again"


def layers_of(text: str, norm: NormSettings) -> nn.Sequential:
    """The layers in `text`, from (N, 1, 28, 28) on, drawn with PyTorch's own initialisation.

    Raises `NotationError` for a word that is not known, a setting that is missing or none, and a layer that does not
    fit what the one before it gives.
    """
    layers, named, x = nn.Sequential(), {}, torch.zeros(1, 1, 28, 28)
    for where, words in _written(text):
        layer = _layer(words, where, x, norm, named)
        try:
            with torch.no_grad():
                x = layer.eval()(x)
        except (RuntimeError, ValueError, IndexError) as error:
            shape, reason = tuple(x.shape[1:]), " ".join(str(error).split())
            raise NotationError(f"{where}: does not fit the layer before it, which gives {shape} ({reason})") from error
        layers.append(layer)
    if x.shape != (1, 10):
        raise NotationError(
            f"the last layer gives {tuple(x.shape[1:])} for an image: (10,), one for each digit, is needed"
        )
    return layers.train()


def _written(text: str) -> Iterator[tuple[str, Words]]:
    """Each layer's place, for errors, and its words."""
    for number, line in enumerate(text.strip().splitlines(), start=1):
        for layer in filter(None, map(str.strip, line.split(","))):
            yield f"line {number}, {layer!r}", layer.split()


def _layer(words: Words, where: str, x: Tensor, norm: NormSettings, named: dict[str, nn.Module]) -> nn.Module:
    kind, *rest = words
    if kind == "again":
        if len(rest) != 1 or rest[0] not in named:
            raise NotationError(f"{where}: write again NAME; the names before it are {', '.join(named) or 'none'}")
        return named[rest[0]]
    if kind not in LAYERS:
        raise NotationError(f"{where}: {kind!r} is no layer; there are {NAMES}")
    allowed = f"write {LAYERS[kind].written}, and as NAME after it to name it"
    try:
        name = _option(rest, "as", "")
        layer = LAYERS[kind].build(rest, x, norm)
    except (IndexError, ValueError, RuntimeError) as error:
        raise NotationError(f"{where}: a setting is missing or wrong; {allowed}") from error
    if rest:
        raise NotationError(f"{where}: {rest[0]!r} is not known there; {allowed}")
    if name:
        named[name] = layer
    return layer
