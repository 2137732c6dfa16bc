"""What glibc is asked for, on any system."""

import ctypes
import platform
from types import SimpleNamespace

import pytest

from mnist_s7.kernels import keep_freed_memory, memory


@pytest.mark.parametrize(
    ("max_threshold", "trims", "works"),
    [(1 << 30, True, True), (32 << 20, True, True), (0, True, False), (1 << 30, False, False)],
)
def test_freed_memory_is_kept_as_far_as_glibc_allows(monkeypatch, max_threshold, trims, works):
    taken = {}

    def mallopt(parameter, value):
        allowed = value <= max_threshold if parameter == memory.M_MMAP_THRESHOLD else trims
        taken.update({parameter: value} if allowed else {})
        return int(allowed)

    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.31"))
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(mallopt=mallopt))

    assert keep_freed_memory() is works
    assert taken.get(memory.M_MMAP_THRESHOLD, 0) == max_threshold
    assert taken.get(memory.M_TRIM_THRESHOLD) == ((1 << 30) if trims else None)
