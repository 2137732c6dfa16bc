"""What of the machine this process may use: in a container less than there is."""

import os
from collections.abc import Iterator
from pathlib import Path

import psutil

__all__ = ["free_memory", "side_by_side", "usable_cores"]

# Linux's limits for groups of processes, version 2.
CGROUPS, OWN_GROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def usable_cores() -> int:
    """At least one: those that this process may run on, and no more than its groups' shares of time are worth."""
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
