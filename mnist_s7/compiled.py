"""The C functions: compiled where a C compiler is, and called with tensors."""

import ctypes
import functools
import hashlib
import os
import platform
import subprocess
import tempfile
from pathlib import Path

import torch
from torch import Tensor

__all__ = [
    "CONVOLUTION",
    "DEPTHWISE",
    "IDENTITY",
    "LANES",
    "MAX_POOL",
    "MOST_CHANNELS",
    "NO_RELU",
    "PARTS",
    "RELU_AFTER",
    "RELU_BEFORE",
    "Layer",
    "Norm",
    "address",
    "call",
    "kernels",
    "sums_size",
]

SOURCES = [Path(__file__).with_name(f"{name}.c") for name in ("layers", "normalize", "convolve", "depthwise", "pool")]
HEADER = Path(__file__).with_name("images.h")

# As in images.h.
PARTS, LANES, MOST_CHANNELS, LONGEST_PERIOD = 16, 8, 64, 512
IDENTITY, CONVOLUTION, DEPTHWISE, MAX_POOL = range(4)
NO_RELU, RELU_BEFORE, RELU_AFTER = range(3)


class Layer(ctypes.Structure):
    """images.h's: (h, w, c) -> (h_out, w_out, c_out)."""

    _fields_ = [
        *((name, ctypes.c_long) for name in ("kind", "h", "w", "c", "h_out", "w_out", "c_out", "k", "padding", "relu")),
        ("weight", ctypes.c_void_p),
    ]


class Norm(ctypes.Structure):
    """images.h's: what of a BatchNorm, of the ReLU and dropout beside it, and of what is added, is given and found."""

    _fields_ = [
        *((name, ctypes.c_long) for name in ("c", "relu")),
        *((name, ctypes.c_void_p) for name in ("kept", "weight", "bias", "running_mean", "running_variance")),
        *((name, ctypes.c_float) for name in ("eps", "momentum", "scale")),
        *((name, ctypes.c_void_p) for name in ("added", "added_norm")),
        ("variance", ctypes.c_float * MOST_CHANNELS),
        *((name, ctypes.c_float * LONGEST_PERIOD) for name in ("mean", "factor", "constant", "slope", "offset")),
    ]


@functools.cache
def kernels() -> ctypes.CDLL | None:
    """The C functions, compiled for this very processor and kept for the next time in the user's cache; None where
    there is no C compiler."""
    flags = ["-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC"]
    if platform.system() == "Linux":  # where OpenMP is the one that PyTorch has loaded: its threads are shared
        flags.append("-fopenmp")
    try:
        compiler = subprocess.run(["cc", "--version"], check=True, capture_output=True, timeout=60).stdout
        sources = [path.read_bytes() for path in [*SOURCES, HEADER]]
        made_from = [*sources, compiler, _processor(), repr(flags).encode()]
        library = _cache() / hashlib.sha256(b"\0".join(made_from)).hexdigest()
        if not library.exists():
            with tempfile.TemporaryDirectory(dir=library.parent) as folder:  # another process never finds a part of it
                whole = Path(folder) / library.name
                command = ["cc", *flags, "-o", whole, *SOURCES, "-lm"]
                subprocess.run(command, check=True, capture_output=True, timeout=60)
                whole.replace(library)
        return ctypes.CDLL(str(library))
    except (OSError, subprocess.SubprocessError):
        return None


def _processor() -> bytes:
    """What the compiler may make use of."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_bytes().splitlines() if cpuinfo.exists() else []
    return next(
        (line for line in lines if line.lower().startswith((b"flags", b"features"))), platform.processor().encode()
    )


def _cache() -> Path:
    """A folder of this user's, or one for this process alone where there is none that can be written to."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mnist_s7"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError):  # the latter where nobody knows of a home
        return Path(_own_folder().name)


@functools.cache
def _own_folder() -> tempfile.TemporaryDirectory:
    """Goes with the process."""
    return tempfile.TemporaryDirectory(prefix="mnist_s7-")


def sums_size(layer: Layer) -> int:
    """How many floats a part's sums of the weights' gradient are."""
    return kernels().sums_size(ctypes.byref(layer))


def call(name: str, *arguments: ctypes.Structure | Tensor | int | None) -> None:
    """Call a C function: structures and tensors as addresses, None as no address; at the end, the number of threads."""
    getattr(kernels(), name)(*map(_in_c, arguments), ctypes.c_long(torch.get_num_threads()))


def _in_c(argument: ctypes.Structure | Tensor | int | None) -> ctypes.c_void_p | ctypes.c_long:
    match argument:
        case ctypes.Structure():
            return ctypes.byref(argument)
        case int():
            return ctypes.c_long(argument)
    return ctypes.c_void_p(address(argument))


def address(tensor: Tensor | None) -> int | None:
    """Where a tensor's numbers are. Raises `ValueError` for one that C's functions are not made for."""
    if tensor is None:
        return None
    if tensor.is_cpu and tensor.dtype in (torch.float32, torch.uint8):
        return tensor.data_ptr()
    raise ValueError(f"images in float32 on the CPU met a layer in {tensor.dtype} on {tensor.device}")
