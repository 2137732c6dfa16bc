"""The C functions: compiled where a C compiler is, kept in a cache that is checked, and called with tensors."""

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import stat
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from mnist_s7.errors import CompiledLayersMissing, CompiledLayersNotKept, InvalidArgument

__all__ = [
    "CHOICE",
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
    "cpu_layers",
    "kernels",
    "sums_size",
]

SOURCES = [Path(__file__).with_name(f"{name}.c") for name in ("layers", "normalize", "convolve", "depthwise", "pool")]
HEADER = Path(__file__).with_name("images.h")
FUNCTIONS = ["forward", "backward", "sums_size"]

# The environment variable that chooses `pytorch`, or the folder that the compiled functions are kept in. A process that
# finds out that it has to do without them, or without the cache, sets it: those that it starts need not find out again.
CHOICE = "MNIST_S7_KERNELS"

# Seconds after which a compiler counts as hanging.
VERSION_SECONDS, COMPILE_SECONDS = 20, 60

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


class _CompilerFailed(Exception):
    """The C compiler is missing, hangs or fails. The message says which."""


@functools.cache
def kernels() -> ctypes.CDLL | None:
    """The C functions, compiled for this very processor; None where `MNIST_S7_KERNELS` is `pytorch`, and where they
    cannot be had, which `CompiledLayersMissing` says.

    Raises `InvalidArgument` for another value of `MNIST_S7_KERNELS` that is no folder's absolute path either.
    """
    chosen = os.environ.get(CHOICE, "")
    if chosen == "pytorch":
        return None
    if chosen and not os.path.isabs(chosen):
        raise InvalidArgument(
            f"{CHOICE} is {chosen!r}: it should be pytorch, for PyTorch's layers, or the absolute path of the folder "
            "that the compiled layers are kept in"
        )
    try:
        return _library()
    except (OSError, _CompilerFailed) as fault:
        warning = CompiledLayersMissing(
            f"training without the compiled layers: {fault}. PyTorch's layers are slower, and rounding and dropout "
            "draws differ from those of compiled runs. Install a C compiler such as gcc, or fix what keeps "
            f"`cc` from working; {CHOICE}=pytorch chooses PyTorch's layers without this warning"
        )
        warnings.warn(warning, stacklevel=2)
        os.environ[CHOICE] = "pytorch"
        return None


def cpu_layers() -> str:
    """Whose layers a training run on a CPU has, as in its `environment["kernels"]`."""
    return "compiled" if kernels() else "PyTorch"


def _library() -> ctypes.CDLL:
    """From the cache, or from a folder of this process alone where the cache cannot be used or not be trusted."""
    flags = ["-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC"]
    if platform.system() == "Linux":  # where OpenMP is the one that PyTorch has loaded: its threads are shared
        flags.append("-fopenmp")
    compiler = _cc("--version", timeout=VERSION_SECONDS)
    sources = [path.read_bytes() for path in [*SOURCES, HEADER]]
    made_from = [*sources, compiler, _processor(), repr(flags).encode()]
    name = hashlib.sha256(b"\0".join(made_from)).hexdigest()
    cache, build = _cache(), functools.cache(functools.partial(_built, flags))  # once, whichever folder takes it
    try:
        return _kept(cache, name, build)
    except OSError as fault:
        own = Path(_own_folder().name)
        library = _kept(own, name, build)
        warning = CompiledLayersNotKept(
            f"{cache} cannot keep the compiled layers: {fault}. Until this process ends, they are in {own}. Fix the "
            "folder, or set XDG_CACHE_HOME to another one of your own"
        )
        warnings.warn(warning, stacklevel=3)
        os.environ[CHOICE] = os.fspath(own)
        return library


def _processor() -> bytes:
    """What the compiler may make use of."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_bytes().splitlines() if cpuinfo.exists() else []
    return next(
        (line for line in lines if line.lower().startswith((b"flags", b"features"))), platform.processor().encode()
    )


def _cache() -> Path:
    """Where the compiled functions are kept; no absolute path where nobody knows of a home."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(os.environ.get(CHOICE) or os.path.join(cache, "mnist_s7"))


@functools.cache
def _own_folder() -> tempfile.TemporaryDirectory:
    """Goes with the process."""
    return tempfile.TemporaryDirectory(prefix="mnist_s7-")


def _kept(folder: Path, name: str, build: Callable[[], bytes]) -> ctypes.CDLL:
    """The functions as `folder` keeps them, or else compiled and kept there. Raises `OSError` where it cannot be."""
    if not folder.is_absolute():
        raise OSError("this is no absolute path")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _refuse_others(folder, folder.stat())
    for path in folder.glob(f"{name}-*"):
        with contextlib.suppress(OSError):  # whatever is wrong with it: it is compiled again
            return _loaded(path)
    return _loaded(_stored(build(), folder, name))


def _refuse_others(path: Path, status: os.stat_result) -> None:
    """Raise `OSError` where someone else may have written what this process would execute."""
    if os.name == "posix" and status.st_uid != os.geteuid():
        raise PermissionError("it belongs to another user")
    if os.name == "posix" and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f"other users may write to it (chmod go-w {path})")


def _loaded(path: Path) -> ctypes.CDLL:
    """The library, whose name ends with its checksum: a damaged one can crash the process or compute something else."""
    status = path.lstat()  # of a link itself, which is refused
    _refuse_others(path, status)
    if not stat.S_ISREG(status.st_mode) or not path.name.endswith(f"-{_checksum(path.read_bytes())}"):
        raise OSError(f"{path} is not as it was written")
    library = ctypes.CDLL(os.fspath(path))
    if missing := [name for name in FUNCTIONS if not hasattr(library, name)]:
        raise OSError(f"{path} has no function {', '.join(missing)}")
    return library


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _built(flags: list[str]) -> bytes:
    """The library's content, fresh from the compiler."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "library"
        _cc(*flags, "-o", library, *SOURCES, "-lm", timeout=COMPILE_SECONDS)
        if not library.exists():
            raise _CompilerFailed("the C compiler `cc` reports success and has written nothing")
        return library.read_bytes()


def _stored(content: bytes, folder: Path, name: str) -> Path:
    """Where the library is: whole on the disk before it has its name, so that another process never finds a part."""
    path = folder / f"{name}-{_checksum(content)}"
    with (
        tempfile.TemporaryDirectory(dir=folder) as part,
        tempfile.NamedTemporaryFile(dir=part, delete=False) as file,  # which nobody else may write to
    ):
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        os.replace(file.name, path)
    return path


def _cc(*arguments: str | Path, timeout: int) -> bytes:
    """What the C compiler prints."""
    try:
        return subprocess.run(["cc", *arguments], check=True, capture_output=True, timeout=timeout).stdout
    except FileNotFoundError as fault:
        raise _CompilerFailed("there is no C compiler `cc`") from fault
    except OSError as fault:
        raise _CompilerFailed(f"the C compiler `cc` does not start: {fault.strerror}") from fault
    except subprocess.TimeoutExpired as fault:
        raise _CompilerFailed(f"the C compiler `cc` has not ended after {timeout} seconds") from fault
    except subprocess.CalledProcessError as fault:
        last = _last_error(fault.stderr.decode(errors="replace"))
        raise _CompilerFailed(f"the C compiler `cc` fails with exit code {fault.returncode}: {last}") from fault


def _last_error(errors: str) -> str:
    """The last line that tells something, shortened: not that the linker failed, and not the line of code."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    telling = [line for line in lines if ": " in line and not line.startswith(("collect2:", "clang:"))]
    return (telling or lines or ["it says nothing"])[-1][:200]


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
