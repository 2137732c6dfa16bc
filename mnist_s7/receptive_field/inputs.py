"""What a model is run on: images of the sizes that the caller names, in a model that comes back as it was."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from mnist_s7.receptive_field.errors import ReceptiveFieldError
from mnist_s7.receptive_field.fields import AXES


class Inputs:
    """The arguments of a model's call, made anew for each run.

    size: (H, W), (L,) or (D, H, W) of the image whose pixels are asked for; notes: on the other inputs.
    """

    def __init__(self, model: nn.Module, input_size: Sequence | Mapping):
        if hasattr(input_size, "tolist") and not isinstance(input_size, Tensor):  # of NumPy
            input_size = input_size.tolist()
        self.model, self.asked = model, input_size
        if not isinstance(model, nn.Module):
            raise ValueError(f"model={model!r}: must be a torch.nn.Module")
        tensors = [*model.parameters(), *model.buffers()]
        if any(nn.parameter.is_lazy(tensor) for tensor in tensors):
            raise ReceptiveFieldError("the model has lazy layers; run it once on real images first")
        self.like = next((tensor for tensor in tensors if tensor.is_floating_point()), torch.empty(0))
        sizes = [*_sizes_in(input_size)]
        images = [size for size in sizes if len(size) - 1 in AXES]
        if not images or not all(n > 0 for size in sizes for n in size):
            raise ValueError(
                f"input_size={input_size!r}: must be (C, H, W), (C, L) or (C, D, H, W), all at least 1, or a "
                "list or dict of such sizes for a model of several inputs"
            )
        self.size = images[0][1:]
        others = [size for size in sizes if size[1:] != self.size]
        self.notes = [f"The input of size {size} counts as constant; pixels are of {images[0]}." for size in others]

    @property
    def on_meta(self) -> bool:
        return self.like.device.type == "meta"

    def run(self, mode, zeros: bool = False):
        """The model's output; `mode.follow_input` is told the images, of zeros or of random numbers."""
        generator = torch.Generator().manual_seed(0)

        def made(value):
            size = _as_size(value)
            if size is not None:
                tensor = torch.randn(1, *size, generator=generator, device="cpu") + 1  # so that sums are not 0 either
                is_image = size[1:] == self.size
                if zeros or not is_image:
                    tensor.zero_()
                tensor = tensor.to(self.like.device, self.like.dtype)
                if is_image:
                    mode.follow_input(tensor)
                return tensor
            if isinstance(value, Mapping):
                return {name: made(item) for name, item in value.items()}
            return type(value)(map(made, value)) if type(value) in (list, tuple) else value

        if _as_size(self.asked) is not None:
            args, kwargs = (made(self.asked),), {}
        elif isinstance(self.asked, Mapping):
            args, kwargs = (), made(self.asked)
        else:
            args, kwargs = made(list(self.asked)), {}
        with left_as_it_was(self.model, self.like.device), warnings.catch_warnings(), mode:
            warnings.filterwarnings("ignore", message=".*global hooks on modules")  # of modules that were compiled
            return self.model(*args, **kwargs)


def _as_size(value) -> tuple[int, ...] | None:
    """A list or tuple of whole numbers, NumPy's as well, as a tuple of Python's."""
    if not isinstance(value, (list, tuple)) or not value or not all(hasattr(n, "__index__") for n in value):
        return None
    return None if any(isinstance(n, Tensor) and n.ndim for n in value) else tuple(n.__index__() for n in value)


def _sizes_in(value) -> Iterator[tuple[int, ...]]:
    size = _as_size(value)
    if size is not None:
        yield size
    elif isinstance(value, (list, tuple, Mapping)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _sizes_in(item)


@contextmanager
def left_as_it_was(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Evaluation mode, eager and without gradients; afterwards modes, buffers and random state are as before."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(m, name, b, b.clone()) for m in model.modules() for name, b in m._buffers.items() if b is not None]
    try:
        with ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(torch.random.fork_rng([device] if device.type == "cuda" else []))
            if "torch._dynamo" in sys.modules:  # so that what was compiled runs as it was written
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            model.eval()
            yield
    finally:
        for module, training in modes:
            module.training = training
        with torch.no_grad():
            for module, name, buffer, value in buffers:
                module._buffers[name] = buffer
                # a needless copy would spoil graphs that wait for backward
                if not buffer.is_meta and not torch.equal(buffer, value):
                    buffer.copy_(value)
