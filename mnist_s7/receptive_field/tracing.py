"""Following the model's real computation: every torch function that it calls in one run, modules or not."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from mnist_s7.receptive_field.fields import Field, ReceptiveFieldError, Refused, Step, UnsupportedLayer
from mnist_s7.receptive_field.layers import RULES, permute
from mnist_s7.receptive_field.merges import concatenate, merge
from mnist_s7.receptive_field.table import ReceptiveFieldTable, Row


def receptive_field(
    model: nn.Module,
    input_size: Sequence[int] = (1, 28, 28),
    unknown: str = "error",
    gates: str = "count",
) -> ReceptiveFieldTable:
    """The receptive field after each convolution, pooling, padding, crop, merge and linear layer of a model.

    input_size: (C, H, W) or (C, L), without the batch.
    unknown: "error" raises UnsupportedLayer at self-attention, recurrent and all other layers that are not
        known; "identity" takes them to leave the field as it is, where their output has the shape of their
        input.
    gates: a squeeze-and-excitation gate is pooled from the whole feature map, so that strictly every unit after it
        sees the whole input. "count" says so; "ignore" leaves out of a product the factors that are one value
        a channel, as published tables do.

    Global pooling (`x.mean((2, 3))` as well) and a linear layer over a flattened feature map are rows with k = s =
    n_in. Branches that merge are a row where their fields differ; the merged field is the smallest one around
    both. Shapes are those of a real run, on zeros, in evaluation mode and without gradients. The model's
    modes, buffers, gradients, device and hooks, and the random state, are as before afterwards.

    Raises UnsupportedLayer (also at transposed convolution and interpolation, at adaptive pooling with
    windows of unequal size, and at normalisation over the feature map), UnequalJumps where branches of unequal jump
    merge, both of them ReceptiveFieldError.
    """
    for name, value, known in (
        ("unknown", unknown, ("error", "identity")),
        ("gates", gates, ("count", "ignore")),
    ):
        if value not in known:
            raise ValueError(f"{name}={value!r}: must be one of {known}")
    if len(input_size) not in (2, 3):
        raise ValueError(f"input_size={tuple(input_size)}: must be (C, H, W) or (C, L)")
    tensors = [*model.parameters(), *model.buffers()]
    if any(nn.parameter.is_lazy(tensor) for tensor in tensors):
        raise ReceptiveFieldError("the model has lazy layers; run it once on real images first")
    like = next((tensor for tensor in tensors if tensor.is_floating_point()), torch.empty(0))
    image = torch.zeros(1, *input_size, dtype=like.dtype, device=like.device)
    tracer = Tracer(model, unknown, gates)
    tracer.fields[image] = Field.of_image(image.shape)
    with left_as_it_was(model, like.device), tracer.following_modules(), tracer:
        output = model(image)
    followed = [tensor for tensor in tensors_in(output) if tensor in tracer.fields]
    if not followed:
        raise ReceptiveFieldError("the model's output does not come from its input by torch functions")
    for tensor in followed:
        tracer.field_of(tensor)
    return ReceptiveFieldTable(tuple(tracer.rows), tuple(input_size[1:]))


@contextmanager
def left_as_it_was(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards modes, buffers and random state are those from before."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(m, name, b, b.clone()) for m in model.modules() for name, b in m._buffers.items() if b is not None]
    try:
        with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
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


def tensors_in(value) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from tensors_in(item)


# -------------------------------------------------------------------------------------------- names of functions


def function_name(func) -> str:
    """The name that torch.add, Tensor.add_, Tensor.__iadd__ and Tensor.__radd__ share."""
    name = func.__name__.strip("_")
    if name in ("get", "set") and func.__name__.startswith("__"):  # attributes: x.T, x.data = y
        name = {"get": "", "set": "set_"}[name] + func.__self__.__name__
    return ARITHMETIC.get(name, name)


ARITHMETIC = {
    **{prefix + name: name for prefix in "ri" for name in ("add", "sub", "mul", "pow")},
    **{prefix + "truediv": "div" for prefix in ("", "r", "i")},
    "true_divide": "div", "multiply": "mul", "subtract": "sub", "divide": "div",
}  # fmt: skip

# What works on every element alone but lacks torch's tag for that, or did in 2.11.
ELEMENTWISE = {
    "leaky_relu", "hardswish", "prelu", "softsign", "tanhshrink", "logsigmoid", "and", "or", "xor", "invert",
    "contiguous", "to", "float", "half", "double", "bfloat16", "type", "type_as", "cpu", "cuda", "detach", "data",
    "requires_grad", "channel_shuffle", "dropout", "dropout1d", "dropout2d", "alpha_dropout",
    "feature_alpha_dropout",
}  # fmt: skip
CONSTANT = {
    "zeros", "ones", "full", "empty", "rand", "randn", "new_zeros", "new_ones", "new_full", "new_empty",
    "new_tensor", "zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like",
}  # fmt: skip
PERMUTES = {"permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "t", "T", "mT", "H", "mH", "adjoint"}
CONCATENATES = {"cat", "concat", "concatenate", "stack"}
LEAVES_TORCH = {"numpy", "array", "tolist", "dlpack"}
WRITES = {"setitem", "set_data", "copy"}
PARTLY = "writes into a part of a tensor, which is not followed"


@functools.cache
def is_elementwise(name: str) -> bool:
    packet = getattr(torch.ops.aten, name, None)
    tagged = packet and any(torch.Tag.pointwise in getattr(packet, o).tags for o in packet.overloads())
    return name in ELEMENTWISE or bool(tagged)


# --------------------------------------------------------------------------------------------------- the tracer


class Tracer(TorchFunctionMode):
    """Sees every torch function that the model calls, and gives its outputs fields by the rules for it."""

    def __init__(self, model: nn.Module, unknown: str, gates: str):
        super().__init__()
        self.unknown, self.gates = unknown, gates
        self.fields = WeakTensorKeyDictionary()  # tensor -> Field, or the error that its use raises
        self.rows: list[Row] = []
        self.names = {module: name for name, module in reversed([*model.named_modules(remove_duplicate=False)])}
        self.running: list[nn.Module] = []  # the modules that are being called now, outermost first

    def field_of(self, tensor: Tensor) -> Field:
        if isinstance(self.fields[tensor], UnsupportedLayer):
            raise self.fields[tensor]
        return self.fields[tensor]

    def followed(self, *values) -> list[Tensor]:
        return [tensor for tensor in tensors_in(values) if tensor in self.fields]

    @contextmanager
    def following_modules(self) -> Iterator[None]:
        """Global hooks, so that the model's own stay untouched."""
        before = register_module_forward_pre_hook(lambda module, args: self.running.append(module))
        after = register_module_forward_hook(self.after_module, always_call=True)
        try:
            yield
        finally:
            before.remove()
            after.remove()

    def after_module(self, module: nn.Module, args, output) -> None:
        if isinstance(module, torch.jit.ScriptModule) and output is not None:
            reason = "its functions cannot be seen; unknown='identity' takes it to leave the field as it is"
            self.pass_over("scripted module", reason, self.followed(args), output)
        self.running.pop()

    def who(self, function: str) -> tuple[str, str]:
        """Path and kind of what is running: a torch layer, else a function called by some module."""
        module = self.running[-1] if self.running else None
        path = self.names.get(module, "")
        containers = (nn.Module, nn.Sequential, nn.ModuleList, nn.ModuleDict)
        is_layer = any(c.__module__.startswith("torch.nn") and c not in containers for c in type(module).__mro__)
        kind = type(module).__name__
        if module is None or not is_layer or (function == "pad" and "pad" not in kind.lower()):
            return f"{path}.{function}".lstrip("."), function
        return path or kind, kind

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = function_name(func)
        tracked = self.followed(args, kwargs)
        output = func(*args, **kwargs)
        if not tracked or name in CONSTANT or any(isinstance(m, torch.jit.ScriptModule) for m in self.running):
            return output
        if name in LEAVES_TORCH:
            raise UnsupportedLayer(*self.who(name), "the values leave torch, and cannot be followed from there")
        if not any(True for _ in tensors_in(output)):
            if name in WRITES:
                raise UnsupportedLayer(*self.who(name), PARTLY)
            return output  # sizes, types, and numbers to decide on
        for tensor in tracked:
            self.field_of(tensor)
        try:
            self.follow(func, name, tracked, output, args, kwargs)
        except Refused as refused:
            self.pass_over(name, str(refused), tracked, output)
        return output

    def follow(self, func, name: str, tracked: list[Tensor], output, args: tuple, kwargs: dict) -> None:
        """Gives the output tensors their fields, and the table its rows."""
        if "out" in kwargs or name in WRITES:
            raise Refused(PARTLY)
        if name.endswith("_as") or name == "to":  # of the second operand only shape or type count
            if args[0] is not tracked[0]:
                return
            tracked = tracked[:1]
        steps = self.steps(func, name, tracked, output, args, kwargs)
        outputs = [*tensors_in(output)]
        alike = [outputs] if isinstance(steps, Step) else [[tensor] for tensor in outputs]
        for tensors, step in zip(alike, [steps] if isinstance(steps, Step) else steps, strict=True):
            if any(tuple(tensor.shape) != step.after.shape for tensor in tensors):
                raise Refused(f"gives {tuple(tensors[0].shape)}, where {step.after.shape} was expected")
            field = step.after if step.windows is None else self.record(name, step)
            for tensor in tensors:
                self.fields[tensor] = field

    def steps(self, func, name: str, tracked: list[Tensor], output, args: tuple, kwargs: dict) -> Step | list[Step]:
        """What the rule for a function says: one step for all its outputs, or one each."""
        operands = [self.fields[tensor] for tensor in tracked]
        if name in CONCATENATES:
            return concatenate(operands, output.shape, name == "stack", self.who(name)[0], *args[1:], **kwargs)
        of_two = name in ("max", "min") and len([*tensors_in((args, kwargs))]) == 2
        if not of_two and (name in RULES or name in PERMUTES):
            if len(tracked) > 1 or (args and args[0] is not tracked[0]):
                raise Refused("has another operand than its first that depends on the image")
            kwargs = {key: value for key, value in kwargs.items() if value is not tracked[0]}
            if name in PERMUTES:
                return permute(operands[0], func, *args[1:], **kwargs)
            return RULES[name](operands[0], output, *args[1:], **kwargs)
        if of_two or is_elementwise(name):
            out = next(tensors_in(output))
            if len(tracked) > 1 and any(tensor is out for tensor in tracked):
                memory = out.untyped_storage()._cdata
                if any(tensor is not out and tensor.untyped_storage()._cdata == memory for tensor in self.fields):
                    raise Refused("writes in place into memory that another tensor shares; write x = x + y")
            if self.gates == "ignore" and name == "mul":
                operands = [x for x in operands if any(axis.n > 1 for axis in x.axes.values())] or operands
            return merge(operands, out.shape, self.who(name)[0])
        raise Refused(
            f"the effect of {name} on the receptive field is not known; unknown='identity' takes it to have none"
        )

    def record(self, function: str, step: Step) -> Field:
        """Adds a row, and returns the output's field with the row's name as its source."""
        layer, kind = self.who(function)
        calls = sum(row.layer == layer or row.layer.startswith(f"{layer} (") for row in self.rows)
        layer = f"{layer} ({calls + 1})" if calls else layer
        step = step._replace(after=replace(step.after, source=layer))
        self.rows.append(Row.of(layer, kind, step))
        return step.after

    def pass_over(self, function: str, reason: str, tracked: list[Tensor], output) -> None:
        """An output of its input's shape keeps its field, if the caller asked for that; others are lost."""
        who = self.who(function)
        if self.unknown == "error":
            raise UnsupportedLayer(*who, reason)
        lost = UnsupportedLayer(*who, "cannot pass as identity, as its output has another shape than its input")
        for tensor in tensors_in(output):
            alike = [self.field_of(t) for t in tracked if self.field_of(t).shape == tuple(tensor.shape)]
            self.fields[tensor] = alike[0] if alike else lost
