"""Networks that go down and up again: the box of every unit of every feature map against autograd."""

import itertools

import pytest
import torch
from random_networks import DECODERS as RANDOM
from random_networks import RandomDecoder
from torch import nn
from torch.nn import functional as F

from mnist_s7.receptive_field import UnequalJumps, receptive_field
from mnist_s7.receptive_field.gradients import gradient_box, positive_copy, run


def assert_every_box(model, table, input_size, row, layer=None):
    """The boxes of a row's units, and the range of their sizes."""
    image, y = run(positive_copy(model), input_size, layer)
    row = next(r for r in table.rows if r.layer == row) if isinstance(row, str) else table.rows[row]
    sizes = []
    for unit in itertools.product(*map(range, y.shape[2:])):
        box = table.box(row, unit)
        assert box.clipped == gradient_box(image, y, unit), f"unit {unit} of {row.layer} of\n{model}\n{table}"
        if box.unclipped is None:
            sizes.append((0,) * (y.ndim - 2))
            continue
        sizes.append(tuple(last - first + 1 for first, last in box.unclipped))
        for unclipped, clipped in zip(box.unclipped, box.clipped or (), strict=False):
            assert unclipped[0] <= clipped[0] and clipped[1] <= unclipped[1]
    ranges = tuple((min(along), max(along)) for along in zip(*sizes, strict=True))
    assert row.r_range == (ranges[0] if len(set(ranges)) == 1 else ranges)
    assert row.r_out == (ranges[0][1] if len({r[1] for r in ranges}) == 1 else tuple(r[1] for r in ranges))


WITHOUT_COMMON_JUMP = {61}


@pytest.mark.parametrize("seed", range(RANDOM))
def test_random_decoder(seed):
    network = RandomDecoder(seed)
    if seed in WITHOUT_COMMON_JUMP:
        with pytest.raises(UnequalJumps):
            receptive_field(network, network.input_size)
        return
    assert_every_box(network, receptive_field(network, network.input_size), network.input_size, -1)


def conv(c_in, c_out, k=3, **options):
    return nn.Conv2d(c_in, c_out, k, padding=k // 2, **options)


class UNet(nn.Module):
    def __init__(self, up):
        super().__init__()
        self.down = nn.ModuleList([conv(1, 2), conv(2, 2), conv(2, 2)])
        self.up = nn.ModuleList([up(), up()])
        self.fuse = nn.ModuleList([conv(4, 2), conv(4, 1)])

    def forward(self, x):
        first = F.relu(self.down[0](x))
        second = F.relu(self.down[1](F.max_pool2d(first, 2)))
        x = F.relu(self.down[2](F.max_pool2d(second, 2)))
        for before, up, fuse in zip((second, first), self.up, self.fuse, strict=True):
            x = fuse(torch.cat([up(x), before], 1))
        return x


class FPN(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.ModuleList([conv(1, 2, stride=2), conv(2, 2, stride=2), conv(2, 2, stride=2)])
        self.side = nn.ModuleList([conv(2, 2, 1), conv(2, 2, 1), conv(2, 2, 1)])
        self.out = conv(2, 1)

    def forward(self, x):
        maps = []
        for down in self.down:
            x = F.relu(down(x))
            maps.append(x)
        y = self.side[2](maps[2])
        for side, x in zip((self.side[1], self.side[0]), (maps[1], maps[0]), strict=True):
            y = side(x) + F.interpolate(y, size=x.shape[-2:], mode="nearest")
        return self.out(y)


class DeepLab(nn.Module):
    """Atrous spatial pyramid pooling, with and without the branch that is pooled from the whole feature map."""

    def __init__(self, pooled):
        super().__init__()
        self.down = nn.Sequential(conv(1, 2, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        self.branches = nn.ModuleList([nn.Conv2d(2, 2, 3, padding=d, dilation=d) for d in (1, 2)])
        self.pooled = conv(2, 2, 1) if pooled else None
        self.fuse = conv(6 if pooled else 4, 1, 1)

    def forward(self, x):
        y = self.down(x)
        maps = [branch(y) for branch in self.branches]
        if self.pooled is not None:
            one = self.pooled(F.adaptive_avg_pool2d(y, 1))
            maps.append(F.interpolate(one, size=y.shape[-2:], mode="bilinear", align_corners=False))
        y = self.fuse(torch.cat(maps, 1))
        return F.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=False)


class SegNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.ModuleList([conv(1, 2), conv(2, 2)])
        self.up = nn.ModuleList([conv(2, 2), conv(2, 1)])
        self.pool, self.unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)

    def forward(self, x):
        places = []
        for down in self.down:
            size = x.shape[-2:]
            x, indices = self.pool(F.relu(down(x)))
            places.append((indices, size))
        for up in self.up:
            indices, size = places.pop()
            x = up(self.unpool(x, indices, output_size=size))
        return x


class Autoencoder(nn.Module):
    def __init__(self, bottleneck):
        super().__init__()
        self.encoder = nn.Sequential(conv(1, 2, stride=2), nn.ReLU(), conv(2, 2, stride=2), nn.ReLU())
        self.code = nn.Sequential(nn.Flatten(), nn.Linear(18, 3), nn.Linear(3, 18), nn.Unflatten(1, (2, 3, 3)))
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(2, 2, 3, stride=2, padding=1, output_padding=1), nn.ReLU(),
            nn.ConvTranspose2d(2, 1, 4, stride=2, padding=1), nn.Sigmoid(),
        )  # fmt: skip
        self.bottleneck = bottleneck

    def forward(self, x):
        x = self.encoder(x)
        return self.decoder(self.code(x) if self.bottleneck else x)


DECODERS = {
    "U-Net, transposed": (lambda: UNet(lambda: nn.ConvTranspose2d(2, 2, 2, stride=2)), (1, 16, 20)),
    "U-Net, bilinear": (lambda: UNet(lambda: nn.Upsample(scale_factor=2, mode="bilinear")), (1, 16, 20)),
    "FPN": (FPN, (1, 24, 16)),
    "FPN, odd sizes": (FPN, (1, 23, 18)),
    "DeepLab": (lambda: DeepLab(pooled=False), (1, 20, 24)),
    "DeepLab, pooled": (lambda: DeepLab(pooled=True), (1, 20, 24)),
    "SegNet": (SegNet, (1, 13, 16)),
    "autoencoder": (lambda: Autoencoder(bottleneck=False), (1, 12, 12)),
    "autoencoder, bottleneck": (lambda: Autoencoder(bottleneck=True), (1, 12, 12)),
}


@pytest.mark.parametrize("name", DECODERS)
def test_every_unit_of_every_module_of_a_decoder(name):
    make, input_size = DECODERS[name]
    model = make()
    table = receptive_field(model, input_size)
    modules = dict(model.named_modules())
    layers = [row.layer for row in table.rows if row.layer in modules]
    assert len(layers) >= 4
    for layer in layers:
        if not isinstance(modules[layer], (nn.Linear, nn.MaxPool2d, nn.MaxUnpool2d)):
            assert_every_box(model, table, input_size, layer, layer)
    assert_every_box(model, table, input_size, -1)


def test_a_column_says_how_sizes_vary():
    upsampled = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(1, 1, 3))
    table = receptive_field(upsampled, (1, 10, 10))
    assert [(row.r_out, row.r_range) for row in table.rows] == [(3, (3, 3)), (4, (3, 4)), (5, (4, 5))]
    lines = str(table).splitlines()
    assert "r_range" in lines[0] and "4 to 5" in lines[-1] and "3 to 4" in table.to_markdown()
    assert [row["r_range"] for row in table.to_dicts()] == [(3, 3), (3, 4), (4, 5)]
    assert (table.rows[1].s, table.rows[1].j_out) == (0.5, 0.5)
    assert "r_range" not in str(receptive_field(nn.Conv2d(1, 1, 3)))


def test_units_that_nothing_reaches():
    table = receptive_field(nn.ConvTranspose2d(1, 1, 1, stride=3), (1, 4, 4))
    assert table.rows[0].r_range == (0, 1)
    assert table.box(0, (3, 0)) == (((1, 1), (0, 0)), ((1, 1), (0, 0)))
    assert table.box(0, (3, 1)) == (None, None)
