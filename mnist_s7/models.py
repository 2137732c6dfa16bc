"""The networks: (N, 1, 28, 28) normalised images -> (N, 10) log-probabilities. No convolution has a bias.

Plain PyTorch: this file can be copied out as it is. Layers, their order and their parameter counts are, in the first
three, those of the reference series' model summaries.
"""

import torch.nn.functional as F
from torch import Tensor, nn


def _conv(channels_in: int, channels_out: int, kernel_size: int = 3) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, kernel_size, bias=False)


def _conv_relu_norm(channels_in: int, channels_out: int, dropout: float) -> list[nn.Module]:
    return [_conv(channels_in, channels_out), nn.ReLU(), nn.BatchNorm2d(channels_out), nn.Dropout(dropout)]


def _conv_norm_relu(channels_in: int, channels_out: int, dropout: float) -> list[nn.Module]:
    return [_conv(channels_in, channels_out), nn.BatchNorm2d(channels_out), nn.ReLU(), nn.Dropout(dropout)]


def _log_probabilities(x: Tensor) -> Tensor:
    """(N, 10, 1, 1) scores -> (N, 10) log-probabilities."""
    return F.log_softmax(x.flatten(1), dim=1)


class MnistNet_1(nn.Module):
    """T1's network, 8,620 parameters: convolutions and ReLU alone, closed by a 5x5 convolution."""

    def __init__(self):
        super().__init__()
        self.block1 = nn.Sequential(  # (N, 1, 28, 28)
            _conv(1, 8), nn.ReLU(),  # (N, 8, 26, 26)
            _conv(8, 16), nn.ReLU(),  # (N, 16, 24, 24)
            _conv(16, 16), nn.ReLU(),  # (N, 16, 22, 22)
            _conv(16, 8, kernel_size=1),  # (N, 8, 22, 22)
            nn.MaxPool2d(2),  # (N, 8, 11, 11)
        )  # fmt: skip
        self.block2 = nn.Sequential(
            _conv(8, 8), nn.ReLU(),  # (N, 8, 9, 9)
            _conv(8, 8), nn.ReLU(),  # (N, 8, 7, 7)
            _conv(8, 16), nn.ReLU(),  # (N, 16, 5, 5)
            _conv(16, 10, kernel_size=1), nn.ReLU(),  # (N, 10, 5, 5)
        )  # fmt: skip
        self.head = nn.Sequential(_conv(10, 10, kernel_size=5))  # (N, 10, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return _log_probabilities(self.head(self.block2(self.block1(x))))


class _Pooled(nn.Module):
    """Two blocks, (N, 1, 28, 28) -> (N, 8, 12, 12) -> (N, 16, 6, 6), a global average pool, a 1x1 convolution."""

    def __init__(self, block1: list[nn.Module], block2: list[nn.Module]):
        super().__init__()
        self.block1 = nn.Sequential(*block1)
        self.block2 = nn.Sequential(*block2)
        self.pool = nn.AdaptiveAvgPool2d(1)  # (N, 16, 1, 1)
        self.head = nn.Sequential(_conv(16, 10, kernel_size=1))  # (N, 10, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return _log_probabilities(self.head(self.pool(self.block2(self.block1(x)))))


class MnistNet_2(_Pooled):
    """T2's network, 7,416 parameters: ReLU, BatchNorm and dropout after every 3x3 convolution.

    The global average pool takes the place of T1's 5x5 convolution, which alone held 2,500 parameters.
    """

    def __init__(self, dropout: float = 0.05):
        super().__init__(
            block1=[
                *_conv_relu_norm(1, 8, dropout),  # (N, 8, 26, 26)
                *_conv_relu_norm(8, 16, dropout),  # (N, 16, 24, 24)
                _conv(16, 8, kernel_size=1),  # (N, 8, 24, 24)
                nn.MaxPool2d(2),  # (N, 8, 12, 12)
            ],
            block2=[
                *_conv_relu_norm(8, 16, dropout),  # (N, 16, 10, 10)
                *_conv_relu_norm(16, 16, dropout),  # (N, 16, 8, 8)
                *_conv_relu_norm(16, 16, dropout),  # (N, 16, 6, 6)
            ],
        )


class MnistNet_3(_Pooled):
    """T3's network, 6,544 parameters: T2's with 12 channels for 16 in one layer, and in the first block
    BatchNorm before the ReLU."""

    def __init__(self, dropout: float = 0.01):
        super().__init__(
            block1=[
                *_conv_norm_relu(1, 8, dropout),  # (N, 8, 26, 26)
                *_conv_norm_relu(8, 16, dropout),  # (N, 16, 24, 24)
                _conv(16, 8, kernel_size=1),  # (N, 8, 24, 24)
                nn.MaxPool2d(2),  # (N, 8, 12, 12)
            ],
            block2=[
                *_conv_relu_norm(8, 12, dropout),  # (N, 12, 10, 10)
                *_conv_relu_norm(12, 16, dropout),  # (N, 16, 8, 8)
                *_conv_relu_norm(16, 16, dropout),  # (N, 16, 6, 6)
            ],
        )


def _separable(channels_in: int, channels_out: int) -> list[nn.Module]:
    """A depthwise separable convolution: each channel by itself in 3x3, padded, then all of them in each pixel.

    After A. Howard et al., "MobileNets" (arXiv:1704.04861), section 3.1, less the ReLU at the end.
    """
    return [
        nn.Conv2d(channels_in, channels_in, 3, padding=1, groups=channels_in, bias=False),
        nn.BatchNorm2d(channels_in),
        nn.ReLU(),
        _conv(channels_in, channels_out, kernel_size=1),
        nn.BatchNorm2d(channels_out),
    ]


class Residual(nn.Module):
    """(N, C, H, W) -> the same: a separable convolution of the input, added to it, and a ReLU.

    After K. He et al., "Deep Residual Learning for Image Recognition" (arXiv:1512.03385), figure 2.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.branch = nn.Sequential(*_separable(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.branch(x))


class MnistNet_4(nn.Module):
    """T4's network, 7,824 parameters: after the first, depthwise separable convolutions, every other one residual.

    A separable convolution from 32 channels to 32 has 1,312 weights where a standard 3x3 one has 9,216: that pays for
    twice T3's channels, and for more layers. `widths` are the channels of the three residual layers and of the last.
    """

    def __init__(self, widths: tuple[int, int, int, int] = (16, 32, 32, 40)):
        super().__init__()
        first, second, third, last = widths
        self.block1 = nn.Sequential(
            _conv(1, first), nn.BatchNorm2d(first), nn.ReLU(),  # (N, 16, 26, 26)
            Residual(first),  # (N, 16, 26, 26)
            nn.MaxPool2d(2),  # (N, 16, 13, 13)
        )  # fmt: skip
        self.block2 = nn.Sequential(
            *_separable(first, second), nn.ReLU(),  # (N, 32, 13, 13)
            Residual(second),  # (N, 32, 13, 13)
            nn.MaxPool2d(2),  # (N, 32, 6, 6)
        )  # fmt: skip
        self.block3 = nn.Sequential(
            *_separable(second, third), nn.ReLU(),  # (N, 32, 6, 6)
            Residual(third),  # (N, 32, 6, 6)
            *_separable(third, last), nn.ReLU(),  # (N, 40, 6, 6)
        )  # fmt: skip
        self.pool = nn.AdaptiveAvgPool2d(1)  # (N, 40, 1, 1)
        self.head = nn.Sequential(_conv(last, 10, kernel_size=1))  # (N, 10, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return _log_probabilities(self.head(self.pool(self.block3(self.block2(self.block1(x))))))


class MnistNet_5(nn.Module):
    """T5's network, 7,824 parameters: T4's layers, four of them with 12x12 pixels, and anti-aliased pools.

    T4 has two separable convolutions with 13x13 pixels and three with 6x6; here the second pool follows all residual
    layers, of which there is one more in the place of a separable convolution without a skip connection. `widths` are
    the channels of the first residual layer, of the other three, and of the last layer.
    """

    def __init__(self, widths: tuple[int, int, int] = (16, 32, 40)):
        super().__init__()
        first, middle, last = widths
        self.block1 = nn.Sequential(
            _conv(1, first), nn.BatchNorm2d(first), nn.ReLU(),  # (N, 16, 26, 26)
            Residual(first),  # (N, 16, 26, 26)
            *_anti_aliased_pool(),  # (N, 16, 25, 25), (N, 16, 12, 12)
        )  # fmt: skip
        self.block2 = nn.Sequential(
            *_separable(first, middle), nn.ReLU(),  # (N, 32, 12, 12)
            Residual(middle),  # (N, 32, 12, 12)
            Residual(middle),  # (N, 32, 12, 12)
            Residual(middle),  # (N, 32, 12, 12)
            *_anti_aliased_pool(),  # (N, 32, 11, 11), (N, 32, 5, 5)
        )  # fmt: skip
        self.block3 = nn.Sequential(*_separable(middle, last), nn.ReLU())  # (N, 40, 5, 5)
        self.pool = nn.AdaptiveAvgPool2d(1)  # (N, 40, 1, 1)
        self.head = nn.Sequential(_conv(last, 10, kernel_size=1))  # (N, 10, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return _log_probabilities(self.head(self.pool(self.block3(self.block2(self.block1(x))))))


def _anti_aliased_pool() -> list[nn.Module]:
    """(N, C, H, W), H and W even, -> (N, C, H / 2 - 1, W / 2 - 1): maxima of 2x2 pixels at every pixel, then averages
    of 2x2 maxima.

    A shift of the image by a pixel changes less of these than of 2x2 maxima at every other pixel. The last row and
    column of the maxima are left out. After R. Zhang, "Making Convolutional Networks Shift-Invariant Again"
    (arXiv:1904.11486), section 3, with a filter of 2x2.
    """
    return [nn.MaxPool2d(2, stride=1), nn.AvgPool2d(2)]


class Teacher(nn.Sequential):
    """What teaches T5's network, 72,656 parameters: standard convolutions and BatchNorm."""

    def __init__(self):
        super().__init__(
            *_conv_bn_relu(1, 16, padding=0), *_conv_bn_relu(16, 16, padding=0),  # (N, 16, 26, 26), (N, 16, 24, 24)
            nn.MaxPool2d(2),  # (N, 16, 12, 12)
            *_conv_bn_relu(16, 32), *_conv_bn_relu(32, 32),  # (N, 32, 12, 12), twice
            nn.MaxPool2d(2),  # (N, 32, 6, 6)
            *_conv_bn_relu(32, 64), *_conv_bn_relu(64, 64),  # (N, 64, 6, 6), twice
            nn.AdaptiveAvgPool2d(1),  # (N, 64, 1, 1)
            _conv(64, 10, kernel_size=1), nn.Flatten(), nn.LogSoftmax(1),  # (N, 10)
        )  # fmt: skip


def _conv_bn_relu(channels_in: int, channels_out: int, padding: int = 1) -> list[nn.Module]:
    """(N, C, H, W) -> (N, C', H, W) with the padding, and (N, C', H - 2, W - 2) without."""
    conv = nn.Conv2d(channels_in, channels_out, 3, padding=padding, bias=False)
    return [conv, nn.BatchNorm2d(channels_out), nn.ReLU()]


# Variants of these networks, for the ablation study.


def without_batchnorm() -> nn.Module:
    """T3's network without its BatchNorm layers."""
    network = MnistNet_3()
    for name, block in network.named_children():
        if isinstance(block, nn.Sequential):
            setattr(network, name, nn.Sequential(*(layer for layer in block if not isinstance(layer, nn.BatchNorm2d))))
    return network


def without_skips() -> nn.Module:
    """T4's network without its skip connections: the same layers, with the same parameters."""
    network = MnistNet_4()
    for block in (network.block1, network.block2, network.block3):
        for name, layer in block.named_children():
            if isinstance(layer, Residual):
                setattr(block, name, nn.Sequential(*layer.branch, nn.ReLU()))
    return network


def with_dropout() -> nn.Module:
    """T4's network, with T3's dropout after each ReLU but those after a skip connection."""
    network = MnistNet_4()
    for layers in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for place in reversed(range(len(layers))):
            if isinstance(layers[place], nn.ReLU):
                layers.insert(place + 1, nn.Dropout(0.01))
    return network


def with_max_pools() -> nn.Module:
    """T5's network with max pools, as the others have them."""
    network = MnistNet_5()
    for block in (network.block1, network.block2):
        del block[-2:]
        block.append(nn.MaxPool2d(2))
    return network


def standard_convolutions() -> nn.Module:
    """About as many parameters as T4's network has, 7,852, in standard 3x3 convolutions with as many pools."""
    return nn.Sequential(
        nn.Sequential(
            *(*_conv_bn_relu(1, 8), *_conv_bn_relu(8, 8), nn.MaxPool2d(2)),
            *(*_conv_bn_relu(8, 13), *_conv_bn_relu(13, 14), nn.MaxPool2d(2)),
            *(*_conv_bn_relu(14, 16), *_conv_bn_relu(16, 16)),
        ),
        nn.AdaptiveAvgPool2d(1),
        nn.Sequential(nn.Conv2d(16, 10, 1, bias=False), nn.Flatten(), nn.LogSoftmax(1)),
    )
