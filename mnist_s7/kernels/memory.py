"""What the process does with memory that a training step has freed."""

import ctypes
import platform

# Parameters of glibc's mallopt(3), from malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3

MEBIBYTE = 1 << 20
LARGE = 1024 * MEBIBYTE  # above any block that a step allocates


def keep_freed_memory() -> bool:
    """Make glibc keep freed memory for the next step instead of giving it back and faulting it in again.

    Acts on the whole process. Returns whether it could: elsewhere than on Linux with glibc, nothing happens.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # Older releases refuse a threshold of more than 32 MiB.
    mapped = mallopt(M_MMAP_THRESHOLD, LARGE) or mallopt(M_MMAP_THRESHOLD, 32 * MEBIBYTE)
    trimmed = mallopt(M_TRIM_THRESHOLD, LARGE)
    return bool(mapped and trimmed)
