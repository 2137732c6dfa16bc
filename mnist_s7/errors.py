"""What the package raises where the one who calls it can fix things: all of one base class, so that a fault of the
package's own is never taken for one of the user's. And what it warns of."""

__all__ = [
    "CompiledLayersMissing",
    "CompiledLayersNotKept",
    "InvalidArgument",
    "MixedLayers",
    "MnistS7Error",
    "MnistS7Warning",
]


class MnistS7Error(Exception):
    """The base of the package's errors. The message says what is wrong, where, and what to do."""


class InvalidArgument(MnistS7Error, ValueError):
    """An argument that is out of range, of the wrong type, or the name of nothing."""


class MnistS7Warning(UserWarning):
    """The base of the package's warnings. The message says what is wrong, where, and what to do."""


class CompiledLayersMissing(MnistS7Warning):
    """Training runs on a CPU have PyTorch's layers, since there is no C compiler that works."""


class CompiledLayersNotKept(MnistS7Warning):
    """The compiled layers are there, but not for the next process: their cache cannot be used or not be trusted."""


class MixedLayers(MnistS7Warning):
    """A sweep adds runs to some that were made with other layers, which changes figures a little."""
