"""What the package raises where the one who calls it can mend things: all of one base class, so that a fault of the
package's own is never taken for one of the user's."""

__all__ = ["InvalidArgument", "MnistS7Error"]


class MnistS7Error(Exception):
    """The base of the package's errors. The message says what is wrong, where, and what to do."""


class InvalidArgument(MnistS7Error, ValueError):
    """An argument that cannot be: out of range, of the wrong type, or a name that nothing has."""
