"""Small random networks, 1-D to 3-D, of all that the receptive-field calculator says it can follow.

Every network is a function of its seed. Pieces are drawn until they fit the feature map that is left, so that none
has to be skipped. `RandomNetwork.twin` is the same network for images of any size: its last layer, where that
takes in the whole feature map, is a pooling or convolution with the window written out. In a `RandomDecoder` fields
differ from unit to unit, so there is no such twin.
"""

import copy
import math
import random

import torch
from torch import nn
from torch.nn import functional as F

NETWORKS, DECODERS = 400, 150  # so many of each are tried, by the seeds from 0 on


class Call(nn.Module):
    """A functional call, that prints as its text."""

    def __init__(self, text, function):
        super().__init__()
        self.text, self.function = text, function

    def forward(self, x):
        return self.function(x)

    def extra_repr(self):
        return self.text


class Branches(nn.Module):
    """Paths that are merged by "+" or "cat"."""

    def __init__(self, join, paths):
        super().__init__()
        self.join, self.paths = join, nn.ModuleList(paths)

    def forward(self, x):
        maps = [path(x) for path in self.paths]
        return torch.cat(maps, 1) if self.join == "cat" else sum(maps[1:], start=maps[0])

    def extra_repr(self):
        return self.join


class Crop(nn.Module):
    """Cuts units off both ends of each axis, as the skip connection beside an unpadded convolution does."""

    def __init__(self, cuts):
        super().__init__()
        self.cuts = cuts

    def forward(self, x):
        return x[
            (
                ...,
                *[slice(before, n - after) for (before, after), n in zip(self.cuts, x.shape[2:], strict=True)],
            )
        ]

    def extra_repr(self):
        return f"cuts={self.cuts}"


class Shuffle(nn.Module):
    def forward(self, x):
        n, c, *size = x.shape
        return x.view(n, 2, c // 2, *size).transpose(1, 2).reshape(n, c, *size)


class SpaceToDepth(nn.Module):
    """(N, C, H, W) -> (N, 4 C, H / 2, W / 2), by views as in many networks; an odd row or column is left out."""

    def __init__(self, order):
        super().__init__()
        self.order = order

    def forward(self, x):
        x = x[..., : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2]
        n, c, h, w = x.shape
        if self.order == "unshuffle":
            return F.pixel_unshuffle(x, 2)
        blocks = x.view(n, c, h // 2, 2, w // 2, 2)
        if self.order == "channels first":
            return blocks.permute(0, 1, 3, 5, 2, 4).reshape(n, 4 * c, h // 2, w // 2)
        return blocks.permute(0, 3, 5, 1, 2, 4).contiguous().view(n, 4 * c, h // 2, w // 2)


class ChannelMix(nn.Module):
    """A 1x1 convolution written as a product of matrices."""

    def __init__(self, channels, by):
        super().__init__()
        self.weight, self.by = nn.Parameter(torch.ones(channels, channels)), by

    def forward(self, x):
        if self.by == "einsum":
            return torch.einsum("nc...,dc->nd...", x, self.weight)
        return (x.movedim(1, -1) @ self.weight).movedim(-1, 1)


class RandomNetwork(nn.Module):
    """(N, 2, H, W), (N, 2, L) or (N, 2, D, H, W) -> a feature map (N, C, ...), or (N, C) after its head."""

    def __init__(self, seed):
        super().__init__()
        self.rng = random.Random(seed)
        self.rank = self.rng.choice((1, 1, 1, 2, 2, 2, 3))
        low, high = (12, 26) if self.rank < 3 else (7, 9)
        self.input_size = (2, *[self.rng.randint(low, high) for _ in range(self.rank)])
        self.body = nn.Sequential()
        self.stride = 1
        x = torch.zeros(1, *self.input_size)
        length = self.rng.randint(2, 7)
        while len(self.body) < length:
            stride = self.rng.choice((1, 1, 2)) if self.stride <= 4 else 1
            piece = self.draw(x.shape[1], x.shape[2:], stride)
            try:
                y = piece.eval()(x)
            except RuntimeError:  # the feature map is too small for this piece
                continue
            if min(y.shape[2:]) > 0 and max(y.shape[2:]) < 40 and y.shape[1] <= 12:
                self.body.append(piece)
                self.stride *= stride
                x = y
        self.head, self.twin_head = self.draw_head(x.shape)
        del self.rng  # its 625 numbers would take longer to copy than the network

    def forward(self, x):
        return self.head(self.body(x))

    @property
    def twin(self):
        twin = copy.deepcopy(self)
        twin.head = twin.twin_head
        return twin

    def each(self, low, high):
        """One number for both axes, or one an axis."""
        numbers = [self.rng.randint(low, high) for _ in range(self.rank)]
        return tuple(numbers if self.rng.random() < 0.4 else numbers[:1] * self.rank)

    def layer(self, name, *args, **kwargs):
        return getattr(nn, f"{name}{self.rank}d")(*args, **kwargs)

    def draw(self, channels, size, stride):
        kinds = [self.convolution] * 4 + [self.pool] * 3 + [self.branches] * 3
        kinds += [self.cropped_skip, self.padding, self.same_map, self.same_map, self.twice, self.nested]
        if not self.body:
            kinds = [self.convolution, self.pool]  # so that there is a row
        if self.rank == 2 and stride == 2 and not any(n % 2 for n in size):
            kinds += [self.space_to_depth] * 4
        return self.rng.choice(kinds)(channels, size, stride)

    def convolution(self, channels, size, stride):
        out = self.rng.choice((2, 4))
        if stride == 1 and self.rng.random() < 0.3:
            return self.layer(
                "Conv", channels, out, self.each(1, 4), padding="same", dilation=self.each(1, 2),
                groups=self.rng.choice((1, 2)),
            )  # fmt: skip
        return self.layer(
            "Conv", channels, out, self.each(1, 4), stride, self.each(0, 2), self.each(1, 3),
            groups=self.rng.choice((1, 2)),
            padding_mode=self.rng.choice(("zeros", "zeros", "reflect", "circular")),
        )  # fmt: skip

    def pool(self, channels, size, stride):
        k = self.each(1, 4)
        p = tuple(self.rng.randint(0, n // 2) for n in k)
        d, ceil = self.each(1, 2), self.rng.random() < 0.5
        kind = self.rng.choice(("MaxPool", "AvgPool", "max_pool", "avg_pool", "lp_pool"))
        if kind == "MaxPool":
            return self.layer(kind, k, stride, p, d, ceil_mode=ceil)
        if kind == "AvgPool":
            return self.layer(kind, k, stride, p, ceil, count_include_pad=self.rng.random() < 0.5)
        function = getattr(F, f"{kind}{self.rank}d")
        if kind == "max_pool":
            call = (f"k={k} s={stride} p={p} d={d} ceil={ceil}", lambda x: function(x, k, stride, p, d, ceil))
        elif kind == "avg_pool":
            call = (f"k={k} s={stride} p={p} ceil={ceil}", lambda x: function(x, k, stride, p, ceil))
        else:
            k = k[0] if self.rank == 1 else k
            call = (f"k={k} s={stride} ceil={ceil}", lambda x: function(x, 1, k, stride, ceil))
        return Call(f"{function.__name__ if hasattr(function, '__name__') else kind} {call[0]}", call[1])

    def path(self, channels, out, stride):
        """Layers from a feature map to one 1 / stride its size, whatever that is."""
        layers = [nn.Identity()]
        for s in [stride] + [1] * self.rng.randint(0, 2):
            k = tuple(self.rng.choice((1, 3, 5)) for _ in range(self.rank))
            if self.rng.random() < 0.2:
                k = tuple(min(n, 3) for n in k)
                layers.append(self.layer("MaxPool", k, s, tuple(n // 2 for n in k)))
                continue
            if s == 1 and self.rng.random() < 0.3:
                layers.append(self.layer("Conv", channels, out, self.each(1, 4), padding="same"))
            else:
                d = self.each(1, 2)
                p = tuple(a * (b - 1) // 2 for a, b in zip(d, k, strict=True))
                layers.append(self.layer("Conv", channels, out, k, s, p, d, bias=False))
            layers += [self.layer("BatchNorm", out), nn.ReLU(inplace=True)]
            channels = out
        if channels != out:
            layers.append(self.layer("Conv", channels, out, 1))
        return nn.Sequential(*layers)

    def branches(self, channels, size, stride):
        join = self.rng.choice(("cat", "+"))
        out = 2 if join == "cat" else channels
        paths = [self.path(channels, out, stride) for _ in range(self.rng.randint(2, 3))]
        if stride == 1 and self.rng.random() < 0.4:
            paths[0] = nn.Identity()
        return Branches(join, paths)

    def cropped_skip(self, channels, size, stride):
        k = self.each(2, 4)
        before = [self.rng.randint(0, n - 1) for n in k]
        crop = Crop([(b, n - 1 - b) for b, n in zip(before, k, strict=True)])
        return Branches("+", [crop, self.layer("Conv", channels, channels, k)])

    def padding(self, channels, size, stride):
        pads = tuple(self.rng.randint(0, 2) for _ in range(2 * self.rank))
        if self.rng.random() < 0.5:
            pads = (self.rng.randint(-1, 0), *pads[1:])
            return Call(f"pad {pads}", lambda x: F.pad(x, pads))
        return self.layer(self.rng.choice(("ZeroPad", "ReflectionPad", "ReplicationPad", "CircularPad")), pads)

    def space_to_depth(self, channels, size, stride):
        order = self.rng.choice(("unshuffle", "channels first", "blocks first"))
        return nn.Sequential(SpaceToDepth(order), nn.Conv2d(4 * channels, 2, 1))

    def same_map(self, channels, size, stride):
        return self.rng.choice((
            nn.Sequential(nn.Dropout(0.5), nn.LeakyReLU(), nn.Identity()),
            nn.Sequential(self.layer("BatchNorm", channels), nn.Hardswish()),
            Shuffle(),
            Call("swap halves", lambda x: torch.cat(x.chunk(2, dim=1)[::-1], dim=1)),
            Call("flatten and back", lambda x: x.flatten(1).relu().view(x.shape)),
            Call("channels last and back", lambda x: F.gelu(x.movedim(1, -1)).movedim(-1, 1)),
            Call("flip and roll channels", lambda x: x.flip(1).roll(1, dims=1)),
            Call("repeat and select channels", lambda x: x.repeat_interleave(2, dim=1)[:, : x.shape[1]]),
            Call("tile and select channels", lambda x: x.tile(2, *[1] * (x.ndim - 1)).index_select(1, torch.arange(2))),
            Call("norm over channels", lambda x: x / x.norm(dim=1, keepdim=True).clamp(min=1)),
            Call("a part of a concatenation", lambda x: torch.cat([x, x.roll(3, 2)], 1).relu()[:, : x.shape[1]]),
            ChannelMix(channels, "einsum"),
            ChannelMix(channels, "matmul"),
        ))  # fmt: skip

    def twice(self, channels, size, stride):
        conv = self.layer("Conv", channels, channels, self.each(1, 3), padding=self.each(0, 1))
        return nn.Sequential(conv, nn.ReLU(), conv)

    def nested(self, channels, size, stride):
        inner = nn.Sequential(self.path(channels, channels, 1), nn.Sigmoid())
        return nn.Sequential(Branches("+", [nn.Identity(), inner]), nn.Sequential(self.path(channels, 2, 1)))

    def draw_head(self, shape):
        channels, size = shape[1], tuple(shape[2:])
        kind = self.rng.choice(("none", "none", "none", "adaptive", "adaptive", "mean", "linear"))
        if kind == "none":
            return nn.Identity(), nn.Identity()
        if kind == "linear":
            head = nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(channels * math.prod(size), 3), nn.LogSoftmax(1))
            return head, self.layer("Conv", channels, 3, size, stride=size)
        k = tuple(self.rng.choice([k for k in range(1, n + 1) if n % k == 0]) for n in size)
        if kind == "adaptive":
            name = self.rng.choice(("AdaptiveAvgPool", "AdaptiveMaxPool"))
            return self.layer(name, tuple(n // a for n, a in zip(size, k, strict=True))), self.layer("AvgPool", k)
        axes = tuple(range(2, 2 + self.rank))
        return Call(f"mean {axes}", lambda x: x.mean(axes)), self.layer("AvgPool", size)


class RandomDecoder(nn.Module):
    """(N, 2, H, W), (N, 2, L) or (N, 2, D, H, W) -> a feature map that went down and up, with skip connections."""

    def __init__(self, seed):
        super().__init__()
        self.rng = random.Random(seed)
        self.rank = self.rng.choice((1, 2, 2, 3))
        low, high = {1: (10, 20), 2: (8, 14), 3: (5, 6)}[self.rank]
        self.input_size = (2, *[self.rng.randint(low, high) for _ in range(self.rank)])
        self.down = nn.ModuleList(self.drawn_down() for _ in range(self.rng.randint(0, 2)))
        self.up = nn.ModuleList(self.drawn_up() for _ in range(max(1, len(self.down) + self.rng.randint(0, 1))))
        self.out = nn.ModuleList(self.convolution(3) for _ in self.up)
        self.skips = [self.rng.choice(("cat", "+", "none")) for _ in self.up]
        self.fuse = nn.ModuleList(self.layer("Conv", 4 if skip == "cat" else 2, 2, 1) for skip in self.skips)
        self.resize = self.rng.choice(("nearest", {1: "linear", 2: "bilinear", 3: "trilinear"}[self.rank], "area"))

    def layer(self, name, *args, **kwargs):
        return getattr(nn, f"{name}{self.rank}d")(*args, **kwargs)

    def convolution(self, k, **kwargs):
        return self.layer("Conv", 2, 2, k, padding=k // 2, **kwargs)

    def drawn_down(self):
        pool = self.layer(self.rng.choice(("MaxPool", "AvgPool")), 2, ceil_mode=self.rng.random() < 0.5)
        return self.rng.choice((
            nn.Sequential(self.convolution(3), nn.ReLU(), pool),
            self.convolution(3, stride=2),
            nn.Sequential(self.convolution(1), self.layer("AdaptiveAvgPool", self.rng.randint(3, 5))),
        ))  # fmt: skip

    def drawn_up(self):
        k, s, d = self.rng.randint(1, 4), self.rng.randint(1, 3), self.rng.randint(1, 2)
        p, extra = self.rng.randint(0, (k - 1) * d // 2), self.rng.randint(0, max(s, d) - 1)
        linear = {1: "linear", 2: "bilinear", 3: "trilinear"}[self.rank]
        scale, corners = self.rng.choice((1.5, 2, 2, 3, 0.75)), self.rng.random() < 0.5
        size = tuple(self.rng.randint(4, 9) for _ in range(self.rank))
        choices = [
            self.layer("ConvTranspose", 2, 2, k, s, p, extra, dilation=d),
            self.layer("ConvTranspose", 2, 2, 2, 2),
            nn.Upsample(scale_factor=2),
            nn.Upsample(scale_factor=scale, mode=linear, align_corners=corners),
            nn.Upsample(size=size, mode=linear),
            Call(f"to {size}", lambda x: F.interpolate(x, size=size, mode="nearest-exact")),
        ]
        if self.rank == 2:
            choices += [
                nn.Sequential(nn.Conv2d(2, 8, 1), nn.PixelShuffle(2)),
                nn.Upsample(scale_factor=scale, mode="bicubic"),
                Call("flipped", lambda x: x.flip(2).roll((1, 2), (2, 3))),
            ]
        return self.rng.choice(choices)

    def forward(self, x):
        before = []
        for down in self.down:
            before.append(x)
            x = down(x)
        for up, skip, fuse, out in zip(self.up, self.skips, self.fuse, self.out, strict=True):
            x = up(x)
            other = before.pop() if before else None
            if skip != "none" and other is not None:
                x = F.interpolate(x, size=other.shape[2:], mode=self.resize)
                x = torch.cat([x, other], 1) if skip == "cat" else x + other
            elif skip == "cat":
                x = torch.cat([x, x], 1)
            x = out(fuse(x))
        return x
