"""Random layers in a row, trained for a step, some of them in evaluation mode, and compared with PyTorch in float64.

As a program, `python random_chains.py 40 FLAG ...`: those of the first 40 seeds, with C compiled with more flags.
"""

import random
import sys

import torch
from reference import Residual, assert_trains_as_pytorch
from torch import Tensor, nn

from mnist_s7.kernels import library

CHANNELS = (1, 2, 3, 5, 7, 8, 9, 12, 16, 17, 24, 31, 32, 33, 48, 64)
KINDS = (
    *("conv", "conv", "conv", "depthwise", "norm", "norm"),
    *("pool", "anti-aliased pool", "residual", "residual", "relu"),
)


def check(seed: int) -> None:
    """What is about 0 may pass a ReLU in float32 and not in float64: then it is done with other numbers."""
    try:
        assert_trains_as_pytorch(*random_chain(seed, seed))
    except AssertionError:
        assert_trains_as_pytorch(*random_chain(seed, seed + 1_000))


def random_chain(seed: int, seed_of_numbers: int) -> tuple[nn.Sequential, Tensor]:
    """Layers, and x for them."""
    choose = random.Random(seed)
    torch.manual_seed(seed_of_numbers)
    n, c = choose.choice((1, 2, 3, 5, 16, 17, 35)), choose.choice(CHANNELS[:8])
    size = (choose.randint(5, 15), choose.randint(5, 15))
    x = torch.randn(n, c, *size).add_(choose.choice((0, 2)))
    layers = []
    for _ in range(choose.randint(2, 7)):
        added, c, size = _random_layers(choose, n, c, size)
        layers += added
    model = nn.Sequential(*layers)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    x.requires_grad_(choose.random() < 0.8 or not list(model.parameters()))
    model.to(memory_format=choose.choice((torch.contiguous_format, torch.channels_last)))
    return model.train(choose.random() < 0.8), x


def _random_layers(choose: random.Random, n: int, c: int, size: tuple[int, int]) -> tuple[list, int, tuple[int, int]]:
    """Layers on (n, c, *size), and what they give."""
    kind = choose.choice(KINDS)
    if kind == "conv":
        k = choose.choice([k for k in (1, 1, 2, 3, 3, 3, 5) if k <= min(size)])
        padding = choose.choice((0, k // 2, k - 1))
        c_out = choose.choice(CHANNELS)
        grown = 2 * padding - k + 1
        relu = choose.choice(([nn.ReLU()], [nn.ReLU()], [nn.LeakyReLU(0.2)], [], []))
        conv = nn.Conv2d(c, c_out, k, padding=padding, bias=choose.random() < 0.5)
        return [conv, *relu], c_out, (size[0] + grown, size[1] + grown)
    if kind == "depthwise" and min(size) >= 3:
        padding = choose.choice((0, 1, 2))
        grown = 2 * padding - 2
        return [_depthwise(c, padding)], c, (size[0] + grown, size[1] + grown)
    if kind == "norm" and n * size[0] * size[1] >= 16:  # of fewer values the variance has few digits
        return _norm(choose, c), c, size
    if kind == "pool" and min(size) >= 4:
        return [nn.MaxPool2d(2), *choose.choice(([], [], [nn.Dropout(0.3)]))], c, (size[0] // 2, size[1] // 2)
    if kind == "anti-aliased pool" and min(size) >= 3:
        return [nn.MaxPool2d(2, stride=1), nn.AvgPool2d(2)], c, tuple((side - 1) // 2 for side in size)
    if kind == "residual" and n * size[0] * size[1] >= 16:
        first = choose.choice(([_depthwise(c, 1)], [nn.Conv2d(c, c, 3, padding=1, bias=False)], _norm(choose, c)))
        middle = [nn.Conv2d(c, c, 1, bias=False)] if choose.random() < 0.7 else []
        return [Residual(nn.Sequential(*first, *middle, *_norm(choose, c)))], c, size
    return [nn.ReLU()], c, size


def _depthwise(c: int, padding: int) -> nn.Conv2d:
    return nn.Conv2d(c, c, 3, padding=padding, groups=c, bias=False)


def _norm(choose: random.Random, c: int) -> list[nn.Module]:
    norm, relu = nn.BatchNorm2d(c), nn.ReLU()
    layers = choose.choice(([norm], [norm, relu], [relu, norm]))
    return [*layers, nn.Dropout(choose.choice((0.0, 0.3)))] if choose.random() < 0.5 else layers


if __name__ == "__main__":
    seeds, *flags = sys.argv[1:]
    own = library._flags
    library._flags = lambda: [*own(), *flags]
    assert library.load() is not None
    for seed in range(int(seeds)):
        check(seed)
