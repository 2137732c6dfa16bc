"""Layers of the published networks that PyTorch lacks, and the initialisations of theirs that are not its own."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mnist_s7.transforms import MEAN, STD

KERAS_NORM_EPS = 1e-3  # keras_contrib's InstanceNormalization
DEVIATION_CUT_AT_2 = 0.87962566103423978  # of a standard normal distribution that is cut off at -2 and 2


class Pixels(nn.Module):
    """(N, 1, 28, 28) normalised images -> the same with pixels from 0 to 1, as some authors feed them.

    So all networks of this package take the same images, and none can be given those of another.
    """

    def forward(self, x: Tensor) -> Tensor:
        return x * STD + MEAN


class SampleNorm(nn.Module):
    """Each sample by itself, (N, ...) -> the same: zero mean and unit deviation over all its values, then one gain and
    one offset for all of them.

    keras_contrib's InstanceNormalization with axis None: eps is added to the deviation, and the deviation is that of
    the values themselves, without Bessel's correction.
    """

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        own = tuple(range(1, x.dim()))
        centred = x - x.mean(own, keepdim=True)
        # As a norm, which is several times as fast as torch.std, and has a gradient where all values are the same.
        deviation = torch.linalg.vector_norm(centred, dim=own, keepdim=True) / math.sqrt(x[0].numel())
        return torch.addcmul(self.bias, centred, self.weight / (deviation + KERAS_NORM_EPS))


Initialise = Callable[[nn.Sequential], None]


def pytorch_default(layers: nn.Sequential) -> None:
    """As the layers' own constructors draw them: nothing is left to do."""


def glorot_uniform(layers: nn.Sequential) -> None:
    """Weights uniform within sqrt(6 / (fan in + fan out)), biases 0, which is Keras's default.

    After X. Glorot & Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks" (AISTATS
    2010), equation 16. Of a depthwise convolution Keras takes the two fans the other way round, which adds up the same.
    """
    for layer in layers.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            _no_bias(layer)


def he_normal_first(layers: nn.Sequential) -> None:
    """`glorot_uniform`, but the first convolution's weights from a normal distribution of variance 2 / fan in, cut off
    at two deviations, which is Keras's HeNormal.

    After K. He et al., "Delving Deep into Rectifiers" (arXiv:1502.01852), equation 10.
    """
    glorot_uniform(layers)
    first = next(layer for layer in layers.modules() if isinstance(layer, nn.Conv2d))
    fan_in = first.weight[0].numel()
    deviation = math.sqrt(2 / fan_in) / DEVIATION_CUT_AT_2
    nn.init.trunc_normal_(first.weight, std=deviation, a=-2 * deviation, b=2 * deviation)


def _no_bias(layer: nn.Module) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
