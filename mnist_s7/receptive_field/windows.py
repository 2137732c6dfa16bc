"""Which units of a feature map each unit of the next one looks at, along one axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

NOWHERE = -(10**9)  # stands for no unit, where units of one feature map look at different numbers of others


@dataclass(frozen=True)
class Window:
    """What a convolution, a pooling, a padding, a crop or an upsampling does along one axis.

    Unit i looks at the units `taps[i % period] + (i // period) * step`, period = len(taps); those outside the feature
    map are padding. A sliding window has one row of taps and its stride as step; one that upsamples by 2 has two rows
    and a step of 1, which is a stride of 1/2.
    """

    k: int
    p: tuple[int, int]  # units of padding before and after; negative where units are cut off
    d: int
    n_out: int
    taps: tuple[tuple[int, ...], ...]
    step: int

    @property
    def s(self) -> Fraction:
        return Fraction(self.step, len(self.taps))

    @classmethod
    def sliding(cls, k: int, s: int, p: tuple[int, int], d: int, n_out: int) -> Window:
        return cls(k, p, d, n_out, (tuple(range(-p[0], -p[0] + k * d, d)),), s)

    @classmethod
    def transposed(cls, k: int, s: int, p: int, d: int, n_out: int) -> Window:
        """Of a transposed convolution: unit j adds to the units j * s - p + t * d, for t from 0 to k - 1."""
        period = tuple(tuple((i + p - t * d) // s for t in range(k) if (i + p - t * d) % s == 0) for i in range(s))
        return cls(k, (p, p), d, n_out, period, 1)

    @classmethod
    def resampled(cls, units: Sequence[Sequence[int]], n_in: int) -> Window:
        """Of any other function, by the units that each of its units looks at."""
        return cls(max(map(len, units)), (0, 0), 1, len(units), tuple(map(tuple, units)), n_in)

    def units(self) -> Tensor:
        """int64 (n_out, most taps): the units that each unit looks at, NOWHERE where it looks at fewer."""
        most = max(1, *map(len, self.taps))
        period = torch.tensor([[*row, *[NOWHERE] * (most - len(row))] for row in self.taps[: self.n_out]])
        unit = torch.arange(self.n_out)
        return period[unit % len(self.taps)] + (unit // len(self.taps))[:, None] * self.step
