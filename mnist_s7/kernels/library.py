"""The C functions: compiled where there is a compiler, cached in a folder that is checked, called with tensors."""

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import stat
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor

from mnist_s7 import InvalidArgument, MnistS7Warning

C = Path(__file__).with_name("c")
SOURCES = [C / f"{name}.c" for name in ("layers", "normalize", "convolve", "depthwise", "pool", "dropout", "peak")]
HEADER = C / "kernels.h"

# The environment variable that chooses `pytorch`, or the folder of the cache. A process that finds out that it has to
# do without compiled layers, or without the cache, sets it: those that it starts need not find out again.
CHOICE = "MNIST_S7_KERNELS"

# Seconds after which a compiler counts as hanging.
VERSION_SECONDS, COMPILE_SECONDS = 20, 60

# As in kernels.h.
PARTS, MAX_LANES, MAX_CHANNELS, MAX_PERIOD = 16, 16, 64, 1024
IDENTITY, CONVOLUTION, DEPTHWISE, MAX_POOL, ANTI_ALIASED_POOL = range(5)
NO_RELU, RELU_BEFORE, RELU_AFTER, LEAKY_AFTER = range(4)
STREAMS, WORDS = 16, 4


class Layer(ctypes.Structure):
    """kernels.h's: (h, w, c) -> (h_out, w_out, c_out)."""

    _fields_ = [
        *((name, ctypes.c_long) for name in ("kind", "h", "w", "c", "h_out", "w_out", "c_out", "k", "padding", "relu")),
        ("weight", ctypes.c_void_p),
    ]


class Norm(ctypes.Structure):
    """kernels.h's: of a BatchNorm or a bias, its ReLU and dropout, and what is added: what C is given, and finds."""

    _fields_ = [
        *((name, ctypes.c_long) for name in ("c", "relu", "evaluates")),
        *((name, ctypes.c_void_p) for name in ("keep", "weight", "bias", "running_mean", "running_variance")),
        *((name, ctypes.c_float) for name in ("eps", "momentum", "scale", "below")),
        *((name, ctypes.c_void_p) for name in ("added", "added_norm")),
        ("variance", ctypes.c_float * MAX_CHANNELS),
        *((name, ctypes.c_float * MAX_PERIOD) for name in ("mean", "factor", "constant", "slope", "offset")),
    ]


# Each function's arguments and result.
FUNCTIONS = {
    "mnist_s7_layer_size": ([], ctypes.c_long),
    "mnist_s7_norm_size": ([], ctypes.c_long),
    "mnist_s7_sums_size": ([ctypes.POINTER(Layer)], ctypes.c_long),
    "mnist_s7_forward": (
        [ctypes.POINTER(Layer), *[ctypes.POINTER(Norm)] * 2, *[ctypes.c_void_p] * 2, *[ctypes.c_long] * 2],
        None,
    ),
    "mnist_s7_backward": (
        [ctypes.POINTER(Layer), *[ctypes.POINTER(Norm)] * 2, *[ctypes.c_void_p] * 9, *[ctypes.c_long] * 2],
        None,
    ),
    "mnist_s7_keep_mask": ([ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p, *[ctypes.c_long] * 2], None),
    "mnist_s7_multiply_and_add": ([ctypes.c_long, ctypes.c_void_p], ctypes.c_double),
}


class CompiledLayersMissing(MnistS7Warning):
    """Training runs have PyTorch's layers: on a CPU for want of a C compiler that works, on a GPU of Triton."""


class CompiledLayersNotKept(MnistS7Warning):
    """The compiled layers are there, but not for the next process: their cache cannot be used, or not be trusted."""


class _CompilerFailed(Exception):
    """The C compiler is missing, hangs or fails. The message says which."""


@functools.cache
def load() -> ctypes.CDLL | None:
    """The C functions, compiled for this very processor; None where `MNIST_S7_KERNELS` is `pytorch`, and where there
    are none, which `CompiledLayersMissing` says.

    Raises `InvalidArgument` for another value of `MNIST_S7_KERNELS` that is no folder's absolute path either.
    """
    chosen = os.environ.get(CHOICE, "")
    if chosen == "pytorch":
        return None
    if chosen and not os.path.isabs(chosen):
        raise InvalidArgument(
            f"{CHOICE} is {chosen!r}: it should be pytorch, for PyTorch's layers, or the absolute path of the folder "
            "of the compiled layers' cache"
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
    return "compiled" if load() else "PyTorch"


def _flags() -> list[str]:
    flags = ["-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC"]
    flags.append("-fvisibility=hidden")  # but for what is EXPORTED
    # Not -Werror: what a newer compiler warns of must not cost anybody the compiled layers. The tests have it.
    flags += ["-Wall", "-Wextra", "-Wno-unknown-pragmas"]  # those of OpenMP, without it
    if platform.system() == "Linux":  # where OpenMP is the one that PyTorch has loaded: its threads are shared
        flags.append("-fopenmp")
    return flags


def _library() -> ctypes.CDLL:
    """From the cache, or from a folder of this process alone where the cache cannot be used, or not be trusted."""
    flags = _flags()
    compiler = _cc("--version", timeout=VERSION_SECONDS)
    sources = [path.read_bytes() for path in [*SOURCES, HEADER]]
    made_from = [*sources, compiler, _processor(), repr(flags).encode()]
    name = hashlib.sha256(b"\0".join(made_from)).hexdigest()
    cache, build = _cache(), functools.cache(functools.partial(_built, flags))  # once, whichever folder takes it
    try:
        return _cached(cache, name, build)
    except OSError as fault:
        own = Path(_own_folder().name)
        library = _cached(own, name, build)
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
    flags = [line for line in lines if line.lower().startswith((b"flags", b"features"))]
    return flags[0] if flags else platform.processor().encode()


def _cache() -> Path:
    """The folder of the compiled functions; no absolute path where nobody knows of a home."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(os.environ.get(CHOICE) or os.path.join(cache, "mnist_s7"))


@functools.cache
def _own_folder() -> tempfile.TemporaryDirectory:
    """Goes with the process."""
    return tempfile.TemporaryDirectory(prefix="mnist_s7-")


def _cached(folder: Path, name: str, build: Callable[[], bytes]) -> ctypes.CDLL:
    """The functions from `folder`, or else compiled and stored there. Raises `OSError` where it cannot be."""
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
    return _declared(ctypes.CDLL(os.fspath(path)), path)


def _declared(library: ctypes.CDLL, path: Path) -> ctypes.CDLL:
    """With all its functions' types, and the structures as large as here: a difference would write over memory."""
    if missing := [name for name in FUNCTIONS if not hasattr(library, name)]:
        raise OSError(f"{path} has no function {', '.join(missing)}")
    for name, (arguments, result) in FUNCTIONS.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, result
    if (library.mnist_s7_layer_size(), library.mnist_s7_norm_size()) != (ctypes.sizeof(Layer), ctypes.sizeof(Norm)):
        raise OSError(f"{path} has structures of another size")
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
    return load().mnist_s7_sums_size(layer)


def forward(layer: Layer, before: Norm | None, after: Norm | None, x: Tensor, y: Tensor, n: int) -> None:
    """As `mnist_s7_forward` in layers.c says."""
    load().mnist_s7_forward(layer, before, after, address(x), address(y), n, torch.get_num_threads())


def backward(layer: Layer, before: Norm | None, after: Norm | None, *tensors_and_n: Tensor | int | None) -> None:
    """As `mnist_s7_backward` in layers.c says."""
    *tensors, n = tensors_and_n
    load().mnist_s7_backward(layer, before, after, *map(address, tensors), n, torch.get_num_threads())


def keep_mask(n: int, p: float, generator: Generator | None) -> Tensor:
    """(n,) uint8 of `mnist_s7_keep_mask` in dropout.c. The generator draws the states; None is PyTorch's global one."""
    states = torch.empty(PARTS * WORDS * STREAMS // 2, dtype=torch.int64, device="cpu")  # two words in each
    states.random_(-(2**63), None, generator=generator)
    mask = torch.empty(n, dtype=torch.uint8, device="cpu")
    dropped = min(round(p * 2**32), 2**32 - 1)  # of all numbers, so many; never all, which an int of C does not hold
    load().mnist_s7_keep_mask(address(states), dropped, address(mask), n, torch.get_num_threads())
    return mask


def peak_flops(steps: int = 2_000_000) -> float:
    """Floating-point operations in a second, on one core: multiplications and additions with nothing else to do."""
    started = time.perf_counter()
    operations = load().mnist_s7_multiply_and_add(steps, ctypes.byref(ctypes.c_float()))
    return operations / (time.perf_counter() - started)


OF_INPUT = 4  # among the tensors that `backward` takes, the gradient of the input


@dataclass(frozen=True)
class Call:
    """A call of C: `forward` or `backward` of a layer, the norms before and after it where there are any, whether it
    writes a gradient of its input, and the seconds that it took."""

    direction: str
    layer: Layer
    before: Norm | None
    after: Norm | None
    gives_gradient: bool
    seconds: float


@contextlib.contextmanager
def timed_calls() -> Iterator[list[Call]]:
    """The calls of C while this lasts, in their order: for the benchmark."""
    calls, functions = [], {"forward": forward, "backward": backward}

    def timed(direction: str, layer: Layer, before: Norm | None, after: Norm | None, *others: object) -> None:
        of_input = others[OF_INPUT] if direction == "backward" else None
        gives_gradient = of_input is not None and of_input is not others[0]  # which is that of the output
        started = time.perf_counter()
        functions[direction](layer, before, after, *others)
        calls.append(Call(direction, layer, before, after, gives_gradient, time.perf_counter() - started))

    globals().update({name: functools.partial(timed, name) for name in functions})
    try:
        yield calls
    finally:
        globals().update(functions)


def address(tensor: Tensor | None) -> int | None:
    """Where a tensor's numbers are. C takes float32; uint8 for a mask, int64 for the states that draw it."""
    return None if tensor is None else tensor.data_ptr()
