"""Faster training steps of the same network: its layers in compiled C on a CPU, and in Triton on a GPU.

May import torch and Triton, and of the package the base errors alone. Open `accelerated` first: it has
`accelerate(model)`, which hands the layers to C that are `untouched`. `plan` says which layers in a row C takes, and
`residual` which blocks are residual ones; `chain` is the autograd function that runs them; `library` compiles the C
sources in `c` and calls them. `dropout` draws masks, and `memory` makes the process keep freed memory.

For a GPU, `triton_layers` has the layers of several networks at once, by the kernels in `triton_convolutions` and
`triton_norms`; `gpu` says whether they are to be had, and `cuda_graphs` starts a step's kernels together. README.md
shows how a layer is computed, and how to add one.
"""

from mnist_s7.kernels.accelerated import Accelerated, accelerate
from mnist_s7.kernels.dropout import dropped, keep_mask
from mnist_s7.kernels.gpu import gpu_layers, kernels_on
from mnist_s7.kernels.library import CompiledLayersMissing, CompiledLayersNotKept
from mnist_s7.kernels.memory import keep_freed_memory
from mnist_s7.kernels.untouched import is_ordinary

__all__ = [
    "Accelerated",
    "CompiledLayersMissing",
    "CompiledLayersNotKept",
    "accelerate",
    "dropped",
    "gpu_layers",
    "is_ordinary",
    "keep_freed_memory",
    "keep_mask",
    "kernels_on",
]
