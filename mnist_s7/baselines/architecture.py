"""A published network as data: its layers as text, and how its weights are drawn."""

from dataclasses import dataclass

from torch import Tensor, nn

from mnist_s7.baselines.layers import Initialise, glorot_uniform, pytorch_default
from mnist_s7.baselines.notation import NormSettings, layers_of

KERAS_NORM = NormSettings(eps=1e-3, momentum=0.01)  # its momentum is the share of the old statistics, 0.99


class PublishedNet(nn.Module):
    """(N, 1, 28, 28) normalised images -> (N, 10) log-probabilities, by `layers` in a row."""

    def __init__(self, layers: nn.Sequential, initialised: str):
        super().__init__()
        self.layers, self.initialised = layers, initialised

    def extra_repr(self) -> str:
        return f"initialised={self.initialised}"

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@dataclass(frozen=True)
class Architecture:
    """A network in the words of `notation`; a call builds it, with weights of its own. Raises `NotationError` then."""

    text: str
    initialise: Initialise = pytorch_default
    norm: NormSettings = NormSettings()

    def __call__(self) -> PublishedNet:
        layers = layers_of(self.text, self.norm)
        self.initialise(layers)
        return PublishedNet(layers, self.initialise.__name__)


def keras(text: str, initialise: Initialise = glorot_uniform) -> Architecture:
    """One of a Keras program: with Keras's defaults where those differ from PyTorch's, and the images as pixels."""
    return Architecture(f"pixels\n{text.strip()}", initialise, KERAS_NORM)
