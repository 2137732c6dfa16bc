"""The calls that a model makes to torch in one run, and whether another image would have changed what is not followed.

Values can leave torch and come back: `x.max().item()`, NumPy, a C++ function that reads the memory, a decision. No rule
sees that. So a model is run on two images, and every call is compared: numbers and tensors among its arguments that
do not come from the image by calls that are followed must be the same, and so must be the order of the calls.
"""

from __future__ import annotations

import dataclasses
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from mnist_s7.receptive_field.functions import CONSTANT, WRITES, function_name


def tensors_in(value, seen: set[int] | None = None) -> Iterator[Tensor]:
    """All tensors in nested lists, tuples, mappings, dataclasses and other objects that are no modules."""
    seen = set() if seen is None else seen
    if isinstance(value, Tensor):
        yield value
    elif id(value) in seen or isinstance(value, (str, bytes, int, float, nn.Module, type, type(None))):
        return
    else:
        seen.add(id(value))
        if isinstance(value, (list, tuple, set, frozenset)):
            parts = value
        elif isinstance(value, Mapping):
            parts = value.values()
        elif dataclasses.is_dataclass(value):
            parts = [getattr(value, field.name, None) for field in dataclasses.fields(value)]
        else:
            parts = getattr(value, "__dict__", {}).values()
        for part in list(parts):
            yield from tensors_in(part, seen)


class Calls(TorchFunctionMode):
    """Sees every torch function that the model calls, and knows which tensors come from the image.

    record: of each call in turn its name and what it was given: of a tensor that comes from the image the call that
        made it, and of everything else its value.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.parameters = {id(parameter) for parameter in model.parameters()}  # the same on every image
        self.made_by = WeakTensorKeyDictionary()  # of what comes from the image
        self.record: list[tuple[str, Any]] = []
        self.complete = False  # whether the model ran to its end
        self.running: list[nn.Module] = []  # the modules that are being called now, outermost first
        self.failed_in: nn.Module | None = None  # the innermost module that raised an error

    def __enter__(self):
        """Sees the modules of this thread by global hooks, so that the model's own stay untouched."""
        thread = threading.get_ident()

        def here(hook):
            return lambda *call: hook(*call) if threading.get_ident() == thread else None

        self._hooks = (
            register_module_forward_pre_hook(here(lambda module, args: self.running.append(module))),
            register_module_forward_hook(here(self.after_module), always_call=True),
        )
        return super().__enter__()

    def __exit__(self, *error):
        for hook in self._hooks:
            hook.remove()
        return super().__exit__(*error)

    def after_module(self, module: nn.Module, args, output) -> None:
        failed = output is None and sys.exc_info()[0] is not None
        if failed and self.failed_in is None:
            self.failed_in = module
        if not failed:
            with torch._C.DisableTorchFunction():  # what follows is no call of the model's
                if isinstance(module, torch.jit.ScriptModule) and self.followed(args):
                    self.follow_output(output)
                self.left(module, args, output)
        self.running.pop()

    def left(self, module: nn.Module, args, output) -> None:
        """For those who want to know that a module has given its output."""

    @property
    def in_script(self) -> bool:
        return any(isinstance(module, torch.jit.ScriptModule) for module in self.running)

    def follow_input(self, tensor: Tensor) -> None:
        self.made_by[tensor] = f"input {len(self.made_by)}"

    def followed(self, *values) -> list[Tensor]:
        return [tensor for tensor in tensors_in(values) if tensor in self.made_by]

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = function_name(func)
        tracked = self.looked_at(name, args, kwargs)
        if tracked:
            self.note(name, args, kwargs)
        output = func(*args, **kwargs)
        if tracked and not self.in_script:
            self.follow_output((output, args[:1] if name in WRITES else ()))
        return output

    def looked_at(self, name: str, args: tuple, kwargs: dict) -> list[Tensor]:
        """The operands that come from the image, without those of which only shape or type count."""
        if name in CONSTANT:
            return []
        followed = self.followed(args, kwargs)
        if name.endswith("_as") or name == "to":
            first = next(tensors_in((args, kwargs)))
            return [tensor for tensor in followed if tensor is first]
        return followed

    def note(self, name: str, args: tuple, kwargs: dict) -> None:
        if name == "copy":  # what was in the memory before counts for nothing
            args = args[1:]
        self.record.append((name, self.given((args, kwargs))))

    def finish(self, output) -> None:
        """Of the model's output, as of one more call."""
        self.note("output", tuple(tensors_in(output)), {})
        self.complete = True

    def follow_output(self, output) -> None:
        for i, tensor in enumerate(tensors_in(output)):
            self.made_by[tensor] = f"call {len(self.record)}, output {i}"

    def given(self, value):
        """What can be compared of an argument."""
        if isinstance(value, Tensor):
            if value in self.made_by:
                return self.made_by[value]
            return rough_fingerprint(value) if id(value) in self.parameters else fingerprint(value)
        if isinstance(value, (list, tuple)):
            return tuple(map(self.given, value))
        if isinstance(value, Mapping):
            return tuple((key, self.given(item)) for key, item in value.items())
        if isinstance(value, slice):
            return self.given((value.start, value.stop, value.step))
        if isinstance(value, float) and value != value:
            return "nan"
        if isinstance(value, (bool, int, float, str)) or hasattr(value, "dtype"):
            return str(value)
        return None


def fingerprint(tensor: Tensor):
    """Equal for equal values; of a tensor without values its shape."""
    try:
        values = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
    except (RuntimeError, TypeError):  # on the meta device, sparse, quantised
        return tuple(tensor.shape)
    return tuple(tensor.shape), hash(values)


def rough_fingerprint(parameter: Tensor):
    """Of a parameter, which may be large: which it is, and the sum of its values."""
    return id(parameter), None if parameter.is_meta else str(parameter.detach().sum().item())
