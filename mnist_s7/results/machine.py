"""The machine that runs are made on: what their figures may depend on, and how much of it this process may use, which
in a container is less than there is."""

import os
import platform
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import psutil
import torch
from torch import nn

from mnist_s7 import InvalidArgument

KERNEL_MEMORY = 1_500 << 20  # bytes, with room to spare: a process that trains takes about 1.1 GB

PACKAGE = Path(__file__).resolve().parents[1]

# Linux's limits for groups of processes, version 2.
CGROUPS, OWN_GROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def environment(device: torch.device) -> dict:
    """What a run's figures and seconds may depend on, as far as the machine and what is installed go.

    `dirty` tells whether the package's files differ from the commit's; both are None where there is no git.
    """
    top = _git("rev-parse", "--show-toplevel")
    in_git = top is not None and os.path.samefile(top, PACKAGE.parent)  # and not in another repository around it
    changes = _git("status", "--porcelain", "--", PACKAGE) if in_git else None
    autocast = str(torch.get_autocast_dtype(device.type)) if torch.is_autocast_enabled(device.type) else None
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "system": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name(),
        "threads": torch.get_num_threads(),
        "precision": f"autocast to {autocast.removeprefix('torch.')}" if autocast else "float32",
        "commit": _git("rev-parse", "HEAD") if in_git else None,
        "dirty": None if changes is None else changes != "",
    }


def instruction_set() -> str:
    """AVX2, AVX512 and the like: that of this CPU, as PyTorch names it."""
    return torch.backends.cpu.get_cpu_capability()


def usable_device(device: str | torch.device | None) -> torch.device:
    """`device`, None standing for a CUDA GPU where there is one. Raises `InvalidArgument` for one that is not there."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    try:
        found = torch.device(device or ("cuda" if gpus else "cpu"))
    except (RuntimeError, TypeError):
        found = None
    if found is None or (found.index or 0) >= {"cpu": 1, "cuda": gpus}.get(found.type, 0):
        usable = ["cpu", *(["cuda"] if gpus else []), *(f"cuda:{i}" for i in range(gpus) if gpus > 1)]
        raise InvalidArgument(f"device is {str(device)!r}: on this machine it should be {' or '.join(usable)}")
    return torch.device("cpu") if found.type == "cpu" else found


def in_fast_layout(model: nn.Module) -> nn.Module:
    """`model`, on the CPU, with its weights channels last: the faster memory format for convolutions with few channels,
    on CPU and GPU alike. As it is where its forward cannot do with that, as where it calls `view`."""
    were_training = [module for module in model.modules() if module.training]
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            model.to(memory_format=torch.channels_last).eval()(torch.zeros(2, 1, 28, 28))
    except Exception:  # whatever a forward from elsewhere raises
        model.to(memory_format=torch.contiguous_format)
    finally:
        for module in were_training:
            module.training = True
    return model


def usable_cores() -> int:
    """At least one: those that this process may run on, and no more than its groups' shares of time amount to."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for group in _groups():
        quota, _, period = _read(group / "cpu.max").partition(" ")
        if quota.isdecimal():
            cores = min(cores, int(quota) // int(period))
    return max(cores, 1)


def free_memory() -> int:
    """Bytes that can still be had without swapping: the machine's, and no more than its groups are left."""
    free = psutil.virtual_memory().available
    for group in _groups():
        most, used = _read(group / "memory.max"), _read(group / "memory.current")
        if most.isdecimal() and used.isdecimal():
            counts = dict(line.split() for line in _read(group / "memory.stat").splitlines())
            cached = int(counts.get("inactive_file", 0))  # files' contents, given back when memory is short
            free = min(free, int(most) - int(used) + cached)
    return free


def side_by_side(count: int, memory: int) -> int:
    """How many of `count` tasks of one thread and so many bytes each to do at once: at least one."""
    return max(1, min(count, usable_cores(), free_memory() // memory))


def _groups() -> Iterator[Path]:
    """This process's group and those around it, as far as they can be seen; none where groups are of version 1."""
    for line in _read(OWN_GROUP).splitlines():
        if line.startswith("0::/"):
            group = CGROUPS / line.removeprefix("0::/")
            yield from (group, *(parent for parent in group.parents if parent.is_relative_to(CGROUPS)))


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # no such limit here
        return ""


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def peak_memory() -> int:
    """The most memory that this process has had so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux, where getrusage would count what the parent held when it started this process
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) * 1024
    import resource  # which Windows lacks

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes, as on macOS


def _git(*arguments: str) -> str | None:
    """What git says of the working copy; None where there is no git or no repository."""
    try:
        answer = subprocess.run(
            ["git", "-C", PACKAGE, *arguments], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


@contextmanager
def torch_defaults() -> Iterator[None]:
    """PyTorch's own defaults, whatever the caller has set for all of the process: new tensors are float32 and on the
    CPU, and gradients are recorded."""
    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    torch.set_default_dtype(torch.float32)
    if device.type != "cpu":
        torch.set_default_device("cpu")
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.set_default_dtype(dtype)
        if device.type != "cpu":
            torch.set_default_device(device)
