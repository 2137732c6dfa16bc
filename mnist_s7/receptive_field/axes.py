"""The fields of a feature map's units along one axis, by the formulas.

An interval of input pixels moves by a constant jump from one unit to the next (Dumoulin & Visin 2016, arXiv:1603.07285;
Araujo, Norris & Sim 2019, "Computing Receptive Fields of Convolutional Neural Networks", Distill), or after upsampling
from one group of units to the next. Padding lies outside the image, so intervals can be negative.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from mnist_s7.receptive_field.windows import Window

Interval = tuple[int, int]  # first and last pixel, both inside
NOTHING = (math.inf, -math.inf)  # the interval of a unit that sees nothing


@dataclass(frozen=True)
class Axis:
    """The fields along one axis of a feature map, by the formulas.

    fields: intervals of the first units, one period of them; the next period's lie `jump` pixels further on. Most
        feature maps have a period of 1: unit i looks at the pixels lo + i * jump to hi + i * jump. A jump of 0 means
        that all units look at the same pixels.
    shared: pixels that all units look at besides, as after a gate that is pooled from the whole feature map. Sizes
        then differ from unit to unit, so the field of each is taken to be the one around all of them.
    """

    n: int
    fields: tuple[Interval, ...]
    jump: int
    shared: Interval | None = None

    def moving(self, unit: int) -> Interval:
        """The pixels that a unit looks at without those that are shared; there are such units in the padding, too."""
        period, i = divmod(unit, len(self.fields))
        return self.fields[i][0] + period * self.jump, self.fields[i][1] + period * self.jump

    @functools.cached_property
    def whole(self) -> Interval:
        """The pixels that any of its units looks at."""
        period = len(self.fields)
        ends = {*range(min(self.n, period)), *range(max(0, self.n - period), self.n)}  # the first period and the last
        return around([*map(self.moving, ends), self.shared or NOTHING])

    def interval(self, unit: int) -> Interval:
        return self.moving(unit) if self.shared is None else self.whole

    @property
    def sizes(self) -> tuple[int, int]:
        """Pixels in the smallest and in the largest field of its units."""
        units = range(1 if self.shared else min(self.n, len(self.fields)))
        sizes = [0 if hi < lo else hi - lo + 1 for lo, hi in map(self.interval, units)]
        return min(sizes), max(sizes)

    @property
    def size(self) -> int:
        return self.sizes[1]

    @property
    def pixels_per_unit(self) -> Fraction:
        return Fraction(self.jump, len(self.fields))

    @property
    def is_constant(self) -> bool:
        return self.n == 1 or self.jump == 0

    @property
    def centre(self) -> int | float | None:
        """Of the first unit's field; a whole number is an int; None if it sees nothing."""
        lo, hi = self.interval(0)
        if hi < lo:
            return None
        whole, odd = divmod(lo + hi, 2)
        return whole + 0.5 if odd else whole

    def slide(self, window: Window) -> Axis:
        """The fields after a window: of a sliding one r + (k - 1) * d * jump wide, shifted by the padding before it."""
        repeats = len(self.fields) // math.gcd(len(self.fields), window.step)  # until both periods end together
        fields = tuple(
            around([self.moving(unit + repeat * window.step) for unit in ends(units, len(self.fields))])
            for repeat in range(repeats)
            for units in window.taps
        )
        jump = self.jump * window.step * repeats // len(self.fields)
        return Axis(window.n_out, fields, jump, self.shared).shortened()

    def shortened(self) -> Axis:
        """The same with the shortest period."""
        period = len(self.fields)
        for length in (length for length in range(1, period // 2 + 1) if period % length == 0):
            jump, rest = divmod(self.jump * length, period)
            if rest == 0:
                short = replace(self, fields=self.fields[:length], jump=jump)
                if all(short.moving(i) == self.fields[i] for i in range(period)):
                    return short
        return self


def around(intervals: Sequence[Interval]) -> Interval:
    """The smallest interval around some; those that are NOTHING add nothing."""
    return min((lo for lo, _ in intervals), default=math.inf), max((hi for _, hi in intervals), default=-math.inf)


def ends(units: Sequence[int], period: int) -> Sequence[int]:
    """The first and the last of some units where fields move evenly; between them nothing lies further out."""
    return (min(units), max(units)) if period == 1 and units else units
