"""Layers on a GPU: in Triton, where it is installed."""

import os
from functools import cache
from types import ModuleType

import torch

GRAPHS = "CUDA graphs"


def gpu_layers(device: torch.device) -> ModuleType | None:
    """`triton_layers` for a GPU; None elsewhere, and where Triton is missing. Its interpreter takes a CPU for a GPU."""
    return _triton_layers() if device.type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1" else None


def kernels_on(device: torch.device, captured: bool) -> str:
    """What a run of several seeds says of its layers: `captured` tells whether its steps are CUDA graphs."""
    layers = "Triton" if gpu_layers(device) else "PyTorch"
    return f"{layers}, {GRAPHS}" if captured else layers


@cache
def _triton_layers() -> ModuleType | None:
    try:
        from mnist_s7.kernels import triton_layers
    except ImportError:
        return None
    return triton_layers
