"""Whether layers of several networks are computed in Triton."""

import os
from functools import cache
from types import ModuleType

import torch


def gpu_layers(device: torch.device) -> ModuleType | None:
    """`triton_layers` for a GPU, where Triton is; None elsewhere. Triton's interpreter takes the CPU for one."""
    return _triton_layers() if device.type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1" else None


@cache
def _triton_layers() -> ModuleType | None:
    try:
        from mnist_s7.kernels import triton_layers
    except ImportError:
        return None
    return triton_layers
