"""What can be wrong with a question about receptive fields."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction


class ReceptiveFieldError(ValueError):
    """The receptive field cannot be given; the message says why, where, and what to do.

    Raised by `receptive_field`, it has `.table`: the rows of all layers that were reached before; None if none was run.
    """

    table = None


class UnsupportedLayer(ReceptiveFieldError):
    """A layer of unknown effect on the field, or of one that cannot be given. Has `.layer`, `.kind`."""

    def __init__(self, layer: str, kind: str, reason: str):
        self.layer, self.kind = layer, kind
        super().__init__(f"layer {layer!r} ({kind}): {reason}")


class UnequalJumps(ReceptiveFieldError):
    """Branches merge whose units are different numbers of pixels apart. Has `.layer` and `.branches`."""

    def __init__(self, layer: str, axis: str, branches: Sequence[tuple[str, Fraction]]):
        self.layer, self.branches = layer, [name for name, _ in branches]
        jumps = ", ".join(f"{name!r} has jump {jump}" for name, jump in branches)
        super().__init__(
            f"merge {layer!r}: unequal jumps along {axis}: {jumps}; such feature maps drift apart from unit to unit. "
            "Give all branches the same total stride."
        )


class Refused(Exception):
    """Why a function cannot be followed. The tracer adds which layer it is, and makes an UnsupportedLayer of it."""


class Unknown(Refused):
    """Of a function whose effect is not known: the caller may say what to take it for."""
