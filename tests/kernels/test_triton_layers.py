"""What `interpreted` says of the Triton layers. Triton reads its setting when kernels are defined, so that it has a
process of its own."""

import importlib
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch

from mnist_s7.kernels import CompiledLayersMissing, gpu, gpu_layers, kernels_on
from mnist_s7.kernels.library import CHOICE

INTERPRETED = Path(__file__).with_name("interpreted.py")
HOPPER = ("cuda", 90, 32)  # an H100's instructions, and threads of a warp

# What a kernel is compiled for: settings that most have, and those of each.
SETTINGS = {"KH": 3, "KW": 3, "PAD_H": 1, "PAD_W": 0, "BIAS": True, "FLIP": True, "PARTS": 64, "SIZE": 2}
SETTINGS |= {"RELU_BEFORE": True, "RELU_AFTER": True, "DROPOUT": True, "BLOCK": 128, "LANES": 16, "K_BLOCK": 16}
SETTINGS |= {"C": 12, "C_IN": 10, "C_OUT": 12}
KERNELS = {
    "triton_convolutions": ["convolve", "weight_gradient", "convolve_depthwise", "depthwise_weight_gradient"],
    "triton_norms": [
        *("moments", "finish_moments", "normalize", "norm_sums", "norm_gradient", "pool", "pool_gradient", "keep"),
    ],
}
TYPES = {"keys": "*i64", "mask": "*u8", "p": "fp32", "eps": "fp32", "momentum": "fp32"}
POINTERS = {"x", "weight", "bias", "y", "partial", "gradient", "of_bias", "found", "running_mean", "running_var"}
POINTERS |= {"sums", "of_x"}


def test_in_tritons_interpreter():
    pytest.importorskip("triton")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", INTERPRETED]
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    found = subprocess.run(command, env=own | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True)

    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-1000:]
    assert " passed" in found.stdout and "skipped" not in found.stdout


def test_a_cpu_has_none_and_neither_has_a_gpu_where_triton_does_not_work(monkeypatch):
    """As here, where there is no GPU."""
    monkeypatch.setattr(gpu, "_triton_layers", cache(gpu._triton_layers.__wrapped__))
    assert gpu_layers(torch.device("cpu")) is None
    assert kernels_on(torch.device("cpu"), captured=False) == "PyTorch"
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.warns(CompiledLayersMissing, match="those in Triton do not work on cuda"):
        assert gpu_layers(torch.device("cuda")) is None
    assert kernels_on(torch.device("cuda"), captured=True) == "PyTorch, CUDA graphs"  # and no second warning


def test_pytorchs_layers_can_be_chosen(monkeypatch):
    monkeypatch.setattr(gpu, "_triton_layers", lambda device: "layers")
    assert gpu_layers(torch.device("cuda")) == "layers"
    assert kernels_on(torch.device("cuda"), captured=True) == "Triton, CUDA graphs"
    monkeypatch.setenv(CHOICE, "pytorch")
    assert gpu_layers(torch.device("cuda")) is None


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in KERNELS.items() for name in names])
def test_a_kernel_compiles_for_a_gpu_that_is_not_here(module, name, tmp_path, monkeypatch):
    """The interpreter takes what the compiler would not."""
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(importlib.import_module(f"mnist_s7.kernels.{module}"), name)
    types = TYPES | {"mask": "*fp32"} if name == "keep" else TYPES
    signature = {
        each.name: "constexpr"
        if each.is_constexpr
        else types.get(each.name, "*fp32" if each.name in POINTERS else "i32")
        for each in kernel.params
    }
    constants = {each: SETTINGS[each] for each, kind in signature.items() if kind == "constexpr"}

    compiled = triton.compile(ASTSource(kernel, signature, constants), target=GPUTarget(*HOPPER))

    assert compiled.asm["cubin"]
