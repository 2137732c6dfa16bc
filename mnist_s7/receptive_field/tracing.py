"""Following the model's real computation: every torch function that it calls in one run, modules or not."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from mnist_s7.receptive_field.calls import Calls, tensors_in
from mnist_s7.receptive_field.errors import ReceptiveFieldError, Refused, Unknown, UnsupportedLayer
from mnist_s7.receptive_field.fields import AXES, Field, Step, promoted
from mnist_s7.receptive_field.functions import (
    CONCATENATES,
    CONTRACTS,
    MOVES,
    PERMUTES,
    RULES,
    UNPOOLS,
    VIEWS,
    WRITES,
    apply,
    function_name,
    is_elementwise,
    plain,
)  # fmt: skip
from mnist_s7.receptive_field.inputs import Inputs
from mnist_s7.receptive_field.merges import concatenate, contract, matrix_product, merge
from mnist_s7.receptive_field.table import ReceptiveFieldTable, Row
from mnist_s7.receptive_field.unions import maps_among, together
from mnist_s7.receptive_field.views import is_torn, move, permute, settled

LEAVES_TORCH = {"numpy", "array", "tolist", "dlpack", "data_ptr"}
WHOLE = "unknown='whole' takes what it gives to see all of its input"
IDENTITY = "unknown='identity' takes it to leave the field as it is"
COMES_BACK = (
    "depends on a value or a decision that is another one for another image and cannot be followed, as numbers cannot "
    "that left torch by item() or NumPy"
)


class Reached(BaseException):
    """The layer that the caller wants to know no more than."""


class Tracer(Calls):
    """Gives the outputs of all functions that depend on the image fields, by the rules for them.

    reference: the calls of a run on another image; None where these cannot be compared.
    """

    def __init__(self, model: nn.Module, unknown: str, gates: str, until: str | None):
        super().__init__(model)
        self.unknown, self.gates, self.until = unknown, gates, until
        self.reference: Calls | None = None
        self.fields = WeakTensorKeyDictionary()  # tensor -> Field, or the error that its use raises
        self.versions = WeakTensorKeyDictionary()  # tensor -> how often it was written to when it got its field
        self.image: Field | None = None
        self.output: Field | None = None  # if the model gives one tensor
        self.rows: list[Row] = []
        self.calls_of: Counter[str] = Counter()  # how many rows a layer has
        modules = [*model.named_modules(remove_duplicate=False)]
        self.last = dict(modules).get(until)
        self.reached = False
        self.error: ReceptiveFieldError | None = None  # what stopped the run
        self.was_strange = False  # whether something depended on the image in a way that is not followed
        self.torn_by = ("view", "view")  # the last function that left a torn feature map
        self.names = {
            module: name.replace("_orig_mod.", "").removesuffix("_orig_mod") for name, module in reversed(modules)
        }

    def table(self, inputs: Inputs) -> ReceptiveFieldTable:
        return ReceptiveFieldTable(tuple(self.rows), tuple(inputs.size), tuple(inputs.notes), self.output)

    def follow_input(self, tensor: Tensor) -> None:
        super().follow_input(tensor)
        self.image = Field.of_image(tensor.shape)
        self.give(tensor, self.image)

    def field_of(self, tensor: Tensor) -> Field:
        if isinstance(self.fields[tensor], UnsupportedLayer):
            raise self.fields[tensor]
        return self.fields[tensor]

    # ------------------------------------------------------------------------------------- where the model is now

    def left(self, module: nn.Module, args, output) -> None:
        operands = [tensor for tensor in tensors_in(args) if tensor in self.fields]
        if isinstance(module, torch.jit.ScriptModule) and operands:
            reason = Unknown("its functions cannot be seen")
            self.pass_over("scripted module", reason, [self.field_of(t) for t in operands], output)
        if module is self.last:
            self.stop()

    def at(self) -> str:
        """Where a model failed, with a word on an input of too few axes."""
        module = self.failed_in
        kind = type(module).__name__
        if module is None:
            return ""
        rank = int(kind[-2]) if kind[-2:] in ("1d", "2d", "3d") else 0
        misfit = self.image is not None and rank and rank != len(self.image.axes)
        hint = f"takes (C, {', '.join(AXES[rank])}), without the batch; " if misfit else ""
        return f"layer {self.names.get(module, '')!r} ({kind}): {hint}"

    def stop(self) -> None:
        self.reached = True
        raise Reached

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

    # ---------------------------------------------------------------------------------------------- what it calls

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = function_name(func)
        looked_at = self.looked_at(name, args, kwargs)
        if not looked_at:
            return func(*args, **kwargs)
        self.note(name, args, kwargs)
        strange = self.is_strange() or any(tensor not in self.fields for tensor in looked_at)
        tracked = [tensor for tensor in looked_at if tensor in self.fields]
        self.check_versions(tracked)
        output = func(*args, **kwargs)
        if self.in_script:
            return output
        if name in LEAVES_TORCH and self.unknown != "whole":
            reason = "the values leave torch, and cannot be followed from there"
            raise UnsupportedLayer(*self.who(name), f"{reason}; {WHOLE}")
        written = args[:1] if name in WRITES else ()
        self.follow_output((output, written))
        if not written and not any(True for _ in tensors_in(output)):
            return output  # sizes, types, and numbers to decide on
        operands = [self.field_of(tensor) for tensor in tracked]
        try:
            if strange:
                self.was_strange = True
                operands.append(self.image)
                raise Refused(COMES_BACK)
            self.follow(func, name, tracked, output, args, kwargs)
        except Refused as refused:
            self.pass_over(name, refused, operands, written or output)
        return output

    def is_strange(self) -> bool:
        """Whether the last call was another one on the other image."""
        if self.reference is None or len(self.reference.record) < len(self.record):
            return self.reference is not None and self.reference.complete
        return self.reference.record[len(self.record) - 1] != self.record[-1]

    def follow(self, func, name: str, tracked: list[Tensor], output, args: tuple, kwargs: dict) -> None:
        """Gives the output tensors their fields, and the table its rows."""
        if kwargs.get("out") is not None or name in WRITES - {"copy"}:
            raise Refused("writes into a part of a tensor, which is not followed")
        try:
            steps = self.steps(func, name, tracked, output, args, kwargs)
        except ReceptiveFieldError:
            raise
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise Refused(f"is called in a way that is not followed: {error}") from error
        outputs = [*tensors_in(output)]
        alike = [outputs] if isinstance(steps, Step) else [[tensor] for tensor in outputs]
        for tensors, step in zip(alike, [steps] if isinstance(steps, Step) else steps, strict=True):
            if any(tuple(tensor.shape) != step.after.shape for tensor in tensors):
                raise Refused(f"gives {tuple(tensors[0].shape)}, where {step.after.shape} was expected")
            self.forget_shared(tensors, step, args)
            if step.windows is None and step.before.pieces and step.after.axes != step.before.axes:
                step = step._replace(windows={})  # some of the channels, that look at less
            field = step.after if step.windows is None else self.add_row(*self.who(name), step)
            if name in VIEWS and is_torn(field):
                self.torn_by = self.who(name)
            for tensor in tensors:
                self.give(tensor, field)

    def give(self, tensor: Tensor, field: Field | UnsupportedLayer) -> None:
        self.fields[tensor], self.versions[tensor] = field, version(tensor)

    def check_versions(self, tensors: list[Tensor]) -> None:
        """Forgets those that were written to by a function that is not followed."""
        for tensor in tensors:
            if self.versions[tensor] != version(tensor):
                reason = "uses a tensor that was written to in place by a function that is not followed"
                self.fields[tensor] = UnsupportedLayer(*self.who("in place"), reason)

    def forget_shared(self, outputs: list[Tensor], step: Step, args: tuple) -> None:
        """Tensors in whose memory a function writes what they did not look at can no longer be used."""
        for out in outputs:
            if not any(tensor is out for tensor in tensors_in(args)):
                continue
            before = self.fields.get(out)
            same = isinstance(before, Field) and before.sees_the_same(step.after)
            for tensor in self.sharing(out):
                self.versions[tensor] = version(tensor)
                if not same:
                    reason = "wrote in place into memory that another tensor shares, which is used later"
                    self.fields[tensor] = UnsupportedLayer(*self.who("in place"), f"{reason}; write x = x + y")

    def sharing(self, tensor: Tensor) -> list[Tensor]:
        """The other tensors that have fields and lie in the same memory."""
        memory = tensor.untyped_storage()._cdata
        return [other for other in [*self.fields] if other is not tensor and other.untyped_storage()._cdata == memory]

    def steps(self, func, name: str, tracked: list[Tensor], output, args: tuple, kwargs: dict) -> Step | list[Step]:
        """What the rule for a function says: one step for all its outputs, or one each."""
        if name not in VIEWS and not (len(tracked) == 1 and is_elementwise(name)):
            self.settle(tracked)
        operands = [self.fields[tensor] for tensor in tracked]
        layer = self.who(name)[0]
        if name == "copy":
            return merge(operands[-1:], args[0].shape, layer)
        if name in CONCATENATES:
            return self.concatenated(output, name == "stack", layer, *args, **kwargs)
        if name in CONTRACTS:
            tensors = [*tensors_in((args, kwargs))]
            equation = args[0] if name == "einsum" else matrix_product(*[tensor.ndim for tensor in tensors])
            return contract(
                equation, tensors, [self.fields.get(tensor) for tensor in tensors], output, layer, self.gates
            )
        if name in UNPOOLS:
            return self.unpooled(name, output, layer, *args, **kwargs)
        of_two = name in ("max", "min") and len([*tensors_in((args, kwargs))]) == 2
        if not of_two and name in RULES or name in PERMUTES or name in MOVES:
            if len(tracked) > 1 or (args and args[0] is not tracked[0]):
                raise Refused("has another operand than its first that depends on the image")
            args = tuple(map(plain, args[1:]))
            kwargs = {key: plain(value) for key, value in kwargs.items() if value is not tracked[0]}
            if name in PERMUTES:
                return permute(operands[0], output, func, *args, **kwargs)
            if name in MOVES:
                return move(operands[0], output, func, *args, **kwargs)
            return apply(RULES[name], operands[0], output, args, kwargs)
        if of_two or is_elementwise(name):
            if self.gates == "ignore" and name == "mul":
                operands = maps_among(operands)
            return merge(operands, next(tensors_in(output)).shape, layer)
        raise Unknown(f"the effect of {name} on the receptive field is not known")

    def settle(self, tensors: list[Tensor]) -> None:
        """Gives those that stand as a feature map again, after views that tore it, the field of that."""
        for tensor in tensors:
            step = settled(self.fields[tensor]) if is_torn(self.fields[tensor]) else None
            if step is not None:
                self.give(tensor, self.add_row(*self.torn_by, step))

    def concatenated(self, output: Tensor, new: bool, layer: str, tensors, dim=0, axis=None, out=None) -> Step:
        dim = (dim if axis is None else axis) % output.ndim
        lengths = [1 if new else tensor.shape[dim] for tensor in tensors]
        return concatenate([self.fields.get(t) for t in tensors], lengths, output.shape, new, dim, layer)

    def unpooled(self, name: str, output: Tensor, layer: str, input, indices, *args, **kwargs) -> Step:
        both = merge([self.fields[t] for t in (input, indices) if t in self.fields], input.shape, layer).after
        kwargs = {key: plain(value) for key, value in kwargs.items()}
        return apply(UNPOOLS[name], both, output, (indices, *map(plain, args)), kwargs)

    # ------------------------------------------------------------------------------------------ what becomes of it

    def add_row(self, layer: str, kind: str, step: Step) -> Field:
        """Adds a row, and returns the output's field with the row's name as its source."""
        self.calls_of[layer] += 1
        layer = f"{layer} ({self.calls_of[layer]})" if self.calls_of[layer] > 1 else layer
        step = step._replace(after=replace(step.after, source=layer))
        self.rows.append(Row.of(layer, kind, step))
        if layer == self.until:
            self.stop()
        return step.after

    def pass_over(self, name: str, refused: Refused, operands: list[Field], output) -> None:
        """What a function gives that is not followed: an error, or what the caller asked for instead."""
        who = self.who(name)
        constant = all(x.is_constant and not x.astray for x in operands)
        passes = self.unknown == "identity" and isinstance(refused, Unknown)
        if not (constant or passes or self.unknown == "whole"):
            ways = f"{WHOLE}, {IDENTITY}" if isinstance(refused, Unknown) else WHOLE
            raise UnsupportedLayer(*who, f"{refused}; {ways}") from refused
        everything = together(operands)
        alike = {x.shape: x for x in reversed(operands)}
        said = constant  # a row is added once
        for tensor in tensors_in(output):
            x = alike.get(tuple(tensor.shape))
            if constant or self.unknown == "whole":
                field = everything.spread(tensor.shape) if constant or x is None else x.everywhere(everything)
                if not said:
                    field = self.add_row(*who, Step(operands[0], field, {}, "taken to see all that its input sees"))
                    said = True
            elif x is not None:
                field = x
            else:
                reason = "cannot pass as identity, as its output has another shape than its input"
                field = UnsupportedLayer(*who, reason)
            in_place = tensor in self.fields
            self.give(tensor, field)
            for other in self.sharing(tensor) if in_place else ():
                known = self.fields[other]
                if isinstance(known, Field) and self.unknown == "whole":
                    known = known.everywhere(together([known, everything]))
                elif isinstance(known, Field):
                    known = UnsupportedLayer(*who, "wrote in place into memory that another tensor shares")
                self.give(other, known)

    def check_output(self, output) -> None:
        """Raises where the output cannot be followed to the image."""
        tensors = [*tensors_in(output)]
        self.finish(output)
        if self.is_strange():
            self.was_strange = True
            known = [self.fields[tensor] for tensor in tensors if isinstance(self.fields.get(tensor), Field)]
            self.pass_over("output", Refused(COMES_BACK), [*known, self.image], output)
        followed = [tensor for tensor in tensors if tensor in self.fields]
        if not followed:
            raise ReceptiveFieldError("the model's output does not come from its input by torch functions")
        self.check_versions(followed)
        for tensor in followed:
            self.field_of(tensor)
        self.settle(followed)
        if len(followed) == 1:
            with suppress(Refused):  # of channels that are no units of a feature map
                self.output = promoted(self.field_of(followed[0]))


def version(tensor: Tensor) -> int:
    """How often a tensor was written to in place, as torch counts it."""
    return 0 if tensor.is_inference() else tensor._version
