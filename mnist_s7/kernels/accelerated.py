"""A model whose layers are computed by C wherever C computes the same."""

import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from mnist_s7.kernels import library
from mnist_s7.kernels.chain import Chain
from mnist_s7.kernels.dropout import dropped
from mnist_s7.kernels.memory import keep_freed_memory
from mnist_s7.kernels.plan import plan_chain
from mnist_s7.kernels.residual import Residual, find_residuals
from mnist_s7.kernels.untouched import (
    KNOWS_THIS_TORCH,
    METHODS,
    classes_untouched,
    is_ordinary_step,
    is_sequential,
    unhooked,
    untouched,
)

UNKNOWN_TORCH = (
    f"training without the compiled layers: PyTorch {torch.__version__} lacks a function that tells when they may not "
    f"be used. Install the release in requirements.txt; {library.CHOICE}=pytorch chooses PyTorch's layers without "
    "this warning"
)


def accelerate(model: nn.Module) -> "Accelerated":
    """A module that shares `model`'s parameters and buffers, and trains and evaluates them faster on a CPU.

    There it compiles the layers in C, if that has not been done yet, and makes the process keep freed memory. What C
    cannot compute, and each layer that anybody has changed, is left to PyTorch; so is a call on another device or in
    another type, and one in training mode without gradients. Dropout masks are not those that PyTorch would draw; C
    gives feature maps that are channels last, and has no second derivatives.
    """
    parameters = model.parameters()
    if not any(parameter.device.type == "cpu" and parameter.dtype == torch.float32 for parameter in parameters):
        return Accelerated(model, compiled=False, keeps_memory=False)
    compiled = library.load() is not None
    if compiled and not KNOWS_THIS_TORCH:
        warnings.warn(library.CompiledLayersMissing(UNKNOWN_TORCH), stacklevel=2)
        compiled = False
    return Accelerated(model, compiled, keeps_memory=keep_freed_memory())


class Accelerated(nn.Module):
    """`model`, with its `nn.Sequential`s run by C as far as C can, for the time of a call. `accelerate` makes it."""

    def __init__(self, model: nn.Module, compiled: bool, keeps_memory: bool):
        super().__init__()
        self.model = model
        self.compiled, self.ran_compiled = compiled, False
        self.freed_memory = "kept" if keeps_memory else "given back"
        self.residuals = find_residuals(model) if compiled else {}
        if hasattr(model, "trained_on"):  # by which its images are normalised
            self.trained_on = model.trained_on

    @property
    def kernels(self) -> str:
        """Whose layers have run so far: "compiled" if any of them was C's."""
        return "compiled" if self.ran_compiled else "PyTorch"

    def forward(self, *inputs, **settings):
        blocks = list(_plain_sequentials(self.model)) if self.compiled and classes_untouched() else []
        try:
            for block in blocks:
                vars(block)["forward"] = _Forward(block, self)
            return self.model(*inputs, **settings)
        finally:
            for block in blocks:
                vars(block).pop("forward", None)  # another thread may have been here, too


class _Forward:
    """The `forward` of an `nn.Sequential` in a call of `accelerated`: the model, its hooks and its own code go on."""

    def __init__(self, block: nn.Sequential, accelerated: Accelerated):
        self.block, self.accelerated = block, accelerated

    def __call__(self, input: Tensor) -> Tensor:
        layers = list(self.block)
        while layers:
            links, ordinary = (), is_ordinary_step(input, self.block)
            if ordinary:
                links, count = plan_chain(layers, tuple(input.shape), self._branch_of)
            if links:
                self.accelerated.ran_compiled = True
                input = Chain.apply(input, links, *(p for link in links for p in link.parameters()))
            elif ordinary and _drops(layers[0]):
                input, count = dropped(input, layers[0].p), 1
            else:
                input, count = layers[0](input), 1
            layers = layers[count:]
        return input

    def _branch_of(self, block: nn.Module) -> nn.Sequential | None:
        """The branch of `block` if it is a residual block that C may compute."""
        residual = self.accelerated.residuals.get(type(block).forward)
        called = type(block).__call__, type(block)._call_impl
        calls_forward = called == (nn.Module.__call__, nn.Module._call_impl)  # a derived class may do otherwise
        whole = None not in block._modules.values()  # a forward may depend on what is not there
        if residual is None or not (calls_forward and whole and untouched(block) and _has_plain_relu(block, residual)):
            return None
        branch = block._modules.get(residual.branch)
        plain = isinstance(branch, nn.Sequential) and isinstance(vars(branch).get("forward"), _Forward)
        return branch if plain and unhooked(branch) else None


def _drops(layer: nn.Module) -> bool:
    """Whether it is a dropout as any other, whose input nobody expects to be changed."""
    return type(layer) is nn.Dropout and untouched(layer) and layer.training and 0 < layer.p < 1 and not layer.inplace


def _has_plain_relu(block: nn.Module, residual: Residual) -> bool:
    if residual.relu is None:
        return True
    relu = block._modules.get(residual.relu)
    return type(relu) is nn.ReLU and untouched(relu)


def _plain_sequentials(module: nn.Module) -> Iterator[nn.Sequential]:
    """Every `nn.Sequential` in `module` whose `forward` is PyTorch's, but for those that `torch.compile` compiles."""
    if "_compiled_call_impl" in vars(module) or "_orig_mod" in module._modules:
        return
    if is_sequential(type(module)) and METHODS.isdisjoint(vars(module)):
        yield module
    for child in module.children():
        yield from _plain_sequentials(child)
