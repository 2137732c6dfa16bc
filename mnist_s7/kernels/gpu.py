"""Layers on a GPU: in Triton, where that works."""

import os
import warnings
from functools import cache
from types import ModuleType

import torch

from mnist_s7.kernels.library import CHOICE, CompiledLayersMissing

GRAPHS = "CUDA graphs"


def gpu_layers(device: torch.device) -> ModuleType | None:
    """`triton_layers` for a GPU. None elsewhere, where `MNIST_S7_KERNELS` is `pytorch`, and where Triton does not work,
    which `CompiledLayersMissing` says. Triton's interpreter takes a CPU for a GPU."""
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if os.environ.get(CHOICE) == "pytorch" or not (device.type == "cuda" or interpreted):
        return None
    return _triton_layers(device)


def kernels_on(device: torch.device, captured: bool) -> str:
    """What a run of several seeds says of its layers: `captured` tells whether its steps are CUDA graphs."""
    layers = "Triton" if gpu_layers(device) else "PyTorch"
    return f"{layers}, {GRAPHS}" if captured else layers


@cache
def _triton_layers(device: torch.device) -> ModuleType | None:
    """Tried once: Triton needs a C compiler of its own, and not every GPU has what the kernels ask for."""
    try:
        from mnist_s7.kernels import triton_layers

        x = torch.ones(2, 1, 3, 3, device=device)
        found = triton_layers.convolve(x, torch.ones(1, 3, 3, 1, 1, device=device), None, (0, 0))
        if not torch.equal(found.flatten().cpu(), torch.tensor([9.0, 9.0])):
            raise RuntimeError(f"a sum of nine ones is {found[0].item()}")
    except Exception as fault:  # of whatever kind: PyTorch's layers do the same
        warnings.warn(
            CompiledLayersMissing(
                f"training on PyTorch's layers: those in Triton do not work on {device} ({type(fault).__name__}: "
                f"{fault}). PyTorch's are slower; {CHOICE}=pytorch chooses them without this warning"
            ),
            stacklevel=2,
        )
        return None
    return triton_layers
