import pytest
import torch
from torch import nn

from mnist_s7 import SERIES


@pytest.fixture(scope="session")
def trained() -> dict[str, nn.Module]:
    """The trained networks of the series, by name."""
    from mnist_s7 import pretrained

    return {experiment.name: pretrained(experiment.name) for experiment in SERIES}


@pytest.fixture
def as_if_trained():
    """Gives each BatchNorm of a network statistics and weights that are far from those it starts with."""

    def change(network: nn.Module, seed: int = 0) -> nn.Module:
        generator = torch.Generator().manual_seed(seed)
        for layer in network.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                if layer.running_mean is not None:
                    layer.running_mean.normal_(generator=generator)
                    layer.running_var.uniform_(0.3, 3, generator=generator)
                if layer.affine:
                    nn.init.normal_(layer.weight, generator=generator)
                    nn.init.normal_(layer.bias, generator=generator)
        return network

    return change
