"""How far back into the image a unit of a network looks.

    table = receptive_field(model, input_size=(1, 28, 28))
    print(table)                                  # a row for each layer that moves or widens the field
    table.receptive_field                         # 28
    table.box("conv1", (0, 0)).clipped            # ((0, 2), (0, 2)): rows 0 to 2, columns 0 to 2

`receptive_field` runs the model once and follows each tensor through the torch functions that are really
called. Of every map it keeps two things:

- the field of a unit by the formulas: an interval of input pixels on each axis, that moves by a constant step
  from one unit to the next (Dumoulin & Visin 2016, arXiv:1603.07285; Araujo, Norris & Sim 2019, "Computing
  Receptive Fields of Convolutional Neural Networks", Distill). Padding lies outside the image, so it can be
  negative;
- the box of every single unit inside the image, found by running the network's windows on boxes instead of
  numbers: the box of a window is the smallest box around the boxes in it, and padding has none.

`measured_receptive_field` finds the same boxes from gradients alone, and `effective_receptive_field` shows
which part of its field a unit really uses (Luo et al. 2016, arXiv:1701.04128).

Pixels are counted from 0, and pixel 0 has its centre at 0: a 3-wide convolution without padding starts at 1.
"""

from __future__ import annotations

import copy
import functools
import html
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

# ---------------------------------------------------------------------------------------------- errors


class ReceptiveFieldError(ValueError):
    """The receptive field cannot be given; the message says why, where, and what to do."""


class UnsupportedLayer(ReceptiveFieldError):
    """A layer of unknown effect on the field, or of none that holds for all units. Has `.layer`, `.kind`."""

    def __init__(self, layer: str, kind: str, reason: str):
        self.layer, self.kind = layer, kind
        super().__init__(f"layer {layer!r} ({kind}): {reason}")


class UnequalJumps(ReceptiveFieldError):
    """Branches join whose units are different numbers of pixels apart. Has `.layer` and `.branches`."""

    def __init__(self, layer: str, axis: str, branches: list[tuple[str, int]]):
        self.layer, self.branches = layer, [name for name, _ in branches]
        jumps = ", ".join(f"{name!r} has jump {jump}" for name, jump in branches)
        super().__init__(
            f"join {layer!r}: unequal jumps along {axis}: {jumps}; such maps drift apart from unit to unit. "
            "Give both branches the same total stride."
        )


# ----------------------------------------------------------------------------------------- the results

Interval = tuple[int, int]  # first and last pixel, both inside


class UnitBox(NamedTuple):
    """The pixels that one unit looks at: an interval (first, last) an axis, H before W, both ends inside."""

    unclipped: tuple[Interval, ...]  # by the formulas; runs into the padding
    clipped: tuple[Interval, ...] | None  # what lies in the image and is really connected; None if nothing is


@dataclass(frozen=True)
class Row:
    """One call of one layer. A value is a number where all axes agree, else a tuple, H before W.

    Padding that differs between its two ends is (before, after); of a 2-D map, one such pair an axis.
    """

    layer: str  # the module's path; of a functional call, the path of its module and the function's name
    kind: str
    n_in: int | tuple  # units
    k: int | tuple
    s: int | tuple
    p: int | tuple
    d: int | tuple
    n_out: int | tuple  # units
    r_in: int | tuple  # input pixels
    j_in: int | tuple  # input pixels
    r_out: int | tuple
    j_out: int | tuple
    start: float | tuple  # centre of the first unit's field, in input pixels
    note: str  # what a reader of the numbers must know; mostly empty
    _field: Field = field(repr=False, compare=False)


COLUMNS = ("layer", "kind", "n_in", "k", "s", "p", "d", "n_out", "r_in", "j_in", "r_out", "j_out", "start")


@dataclass(frozen=True)
class ReceptiveFieldTable:
    """The rows of a model for one input size; prints as text, and as HTML in a notebook."""

    rows: tuple[Row, ...]
    map_size: tuple[int, ...]  # (H, W) or (L,)

    @property
    def receptive_field(self) -> int | tuple:
        """`r_out` of the last row, in input pixels."""
        return self.rows[-1].r_out if self.rows else 1

    def box(self, layer: str | int | Row, unit: int | Sequence[int]) -> UnitBox:
        """The box of a unit, (row, column) or position. `layer`: a row, its name, or its index in `rows`."""
        if isinstance(layer, str):
            named = [row for row in self.rows if row.layer == layer]
            if not named:
                raise KeyError(f"no row {layer!r}; the rows are {', '.join(row.layer for row in self.rows)}")
            layer = named[0]
        elif isinstance(layer, int):
            layer = self.rows[layer]
        return layer._field.box((unit,) if isinstance(unit, int) else tuple(unit))

    def to_dicts(self) -> list[dict]:
        """One dict a row, the columns and `note`; ready for csv.DictWriter or a data frame."""
        return [{name: getattr(row, name) for name in (*COLUMNS, "note")} for row in self.rows]

    @property
    def notes(self) -> list[str]:
        """Sentences about rows that need one."""
        notes = [f"{row.layer}: {row.note}" for row in self.rows if row.note]
        wide = [
            row for row in self.rows if any(r > n for r, n in zip(_each(row.r_out, self), self.map_size, strict=True))
        ]
        if wide:
            notes.append(
                f"From {wide[0].layer} on, the receptive field is larger than the input of "
                f"{_text(_agree(self.map_size))} pixels."
            )
        return notes

    def _cells(self) -> list[list[str]]:
        return [[_text(getattr(row, name)) for name in COLUMNS] for row in self.rows]

    def __str__(self) -> str:
        lines = [list(COLUMNS), *self._cells()]
        width = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
        for line in lines:  # names to the left, numbers to the right
            line[:] = [c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(line, width, strict=True))]
        return "\n".join(["  ".join(line).rstrip() for line in lines] + self.notes)

    def to_markdown(self) -> str:
        """The table in GitHub's Markdown."""
        lines = [COLUMNS, ["---", "---"] + ["---:"] * (len(COLUMNS) - 2), *self._cells()]
        return "\n".join(["| " + " | ".join(line) + " |" for line in lines] + [f"\n{note}" for note in self.notes])

    def _repr_html_(self) -> str:
        def tr(tag: str, cells: Sequence[str]) -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

        body = "\n".join(tr("td", cells) for cells in self._cells())
        notes = "".join(f"\n<p>{html.escape(note)}</p>" for note in self.notes)
        return f"<table>\n<thead>{tr('th', COLUMNS)}</thead>\n<tbody>\n{body}\n</tbody>\n</table>{notes}"


def _agree(values: Sequence) -> int | float | tuple:
    values = tuple(values)
    return values[0] if len(set(values)) == 1 else values


def _each(value: int | tuple, table: ReceptiveFieldTable) -> tuple:
    return value if isinstance(value, tuple) else (value,) * len(table.map_size)


def _text(value) -> str:
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_text, value)) + ")"
    return f"{value:g}" if isinstance(value, float) else str(value)


# ------------------------------------------------------------------------------------------- one field


class Window(NamedTuple):
    """What a convolution, a pooling, a padding or a crop does along one axis."""

    k: int
    s: int
    p: tuple[int, int]  # units of padding before and after; negative where units are cut off
    d: int
    n_out: int


@dataclass(frozen=True)
class Axis:
    """The fields along one axis of a map: unit i looks at the pixels lo + i * step to hi + i * step.

    `step` is the jump, except where every unit looks at the same pixels: then it is 0.
    """

    n: int
    lo: int
    hi: int
    step: int
    jump: int

    @property
    def size(self) -> int:
        return self.hi - self.lo + 1

    @property
    def centre(self) -> float:
        return (self.lo + self.hi) / 2

    def slide(self, window: Window) -> Axis:
        """The field after a window: r + (k - 1) * d * jump wide, and shifted by the padding before it."""
        lo = self.lo - window.p[0] * self.step
        hi = self.hi + ((window.k - 1) * window.d - window.p[0]) * self.step
        return Axis(window.n_out, lo, hi, self.step * window.s, self.jump * window.s)


@dataclass(frozen=True)
class Field:
    """The fields of all units of one tensor.

    layout: for each dimension of the tensor, what it runs over, slowest first: axes of the image by name, and
        numbers of channels or images. (N, C, H, W) is ((N,), (C,), ("H",), ("W",)), and flattened
        ((N,), (C, "H", "W")). Sizes of 1 are left out, so an axis with a single unit stands in no dimension.
    seen: (2 * axes, n_H, n_W): of the unit at each place the first pixels, negated, then the last ones, so
        that the box around two boxes is their maximum; -inf for a unit that sees nothing.
    """

    axes: dict[str, Axis]
    layout: tuple[tuple[int | str, ...], ...]
    seen: Tensor
    source: str  # the layer it comes from

    @classmethod
    def of_image(cls, shape: Sequence[int]) -> Field:
        sizes = dict(zip("HW" if len(shape) == 4 else "L", shape[2:], strict=True))
        pixels = torch.stack(torch.meshgrid(*[torch.arange(float(n)) for n in sizes.values()], indexing="ij"))
        axes = {name: Axis(n, lo=0, hi=0, step=1, jump=1) for name, n in sizes.items()}
        layout = tuple((part,) if n > 1 else () for part, n in zip((*shape[:2], *axes), shape, strict=True))
        return cls(axes, layout, torch.cat([-pixels, pixels]), "input")

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(math.prod(self.size(part) for part in dim) for dim in self.layout)

    def size(self, part: int | str) -> int:
        return self.axes[part].n if isinstance(part, str) else part

    def box(self, unit: tuple[int, ...]) -> UnitBox:
        sizes = tuple(axis.n for axis in self.axes.values())
        if len(unit) != len(sizes) or not all(0 <= i < n for i, n in zip(unit, sizes, strict=True)):
            raise IndexError(f"unit {unit} is not on the map of {sizes} units")
        moved = [(a.lo + a.step * i, a.hi + a.step * i) for a, i in zip(self.axes.values(), unit, strict=True)]
        first, last = self.seen[(slice(None), *unit)].chunk(2)
        if last.isneginf().any():
            return UnitBox(tuple(moved), None)
        return UnitBox(tuple(moved), tuple((int(-lo), int(hi)) for lo, hi in zip(first, last, strict=True)))

    def slide(self, windows: dict[str, Window]) -> Field:
        """The field after windows along some axes; the layout is left for the caller to set."""
        axes, seen = dict(self.axes), self.seen
        for dim, name in enumerate(axes, start=1):
            if name in windows:
                k, s, (before, _), d, n_out = windows[name]
                taps = torch.arange(n_out)[:, None] * s - before + torch.arange(k) * d  # (n_out, k)
                seen = _pick(seen, dim, taps).amax(dim + 1)
                axes[name] = axes[name].slide(windows[name])
        return replace(self, axes=axes, seen=seen)


def _pick(seen: Tensor, dim: int, taps: Tensor) -> Tensor:
    """`seen` at positions `taps` (n_out, k) along `dim`, which becomes two; outside nothing is seen."""
    n = seen.shape[dim]
    picked = seen.index_select(dim, taps.clamp(0, n - 1).flatten()).unflatten(dim, taps.shape)
    outside = ((taps < 0) | (taps >= n)).view(*taps.shape, *[1] * (seen.ndim - dim - 1))
    return picked.masked_fill(outside, -math.inf)


def _has_axis(dim: tuple) -> bool:
    return any(isinstance(part, str) for part in dim)


# --------------------------------------------------------------------------------------------- tracing


def receptive_field(
    model: nn.Module,
    input_size: Sequence[int] = (1, 28, 28),
    unknown: str = "error",
    gates: str = "count",
) -> ReceptiveFieldTable:
    """The receptive field after each convolution, pooling, padding, crop, join and linear layer of a model.

    input_size: (C, H, W) or (C, L), without the batch.
    unknown: "error" raises UnsupportedLayer at self-attention, recurrent and all other layers that are not
        known; "identity" takes them to leave the field as it is, where their output has the shape of their
        input.
    gates: a squeeze-and-excitation gate is pooled from the whole map, so that strictly every unit behind it
        sees the whole input. "count" says so; "ignore" leaves out of a product the factors that are one value
        a channel, as published tables do.

    Global pooling (`x.mean((2, 3))` as well) and a linear layer over a flattened map are rows with k = s =
    n_in. Branches that join are a row where their fields differ; the joined field is the smallest one around
    both. Shapes are those of a real run, on zeros, in evaluation mode and without gradients. The model's
    modes, buffers, gradients, device and hooks, and the random state, are as before afterwards.

    Raises UnsupportedLayer (also at transposed convolution and interpolation, at adaptive pooling with
    windows of unequal size, and at normalisation over the map), UnequalJumps where branches of unequal jump
    join, both of them ReceptiveFieldError.
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
    tracer = _Tracer(model, unknown, gates)
    tracer.fields[image] = Field.of_image(image.shape)
    with _left_as_it_was(model, like.device), tracer.following_modules(), tracer:
        output = model(image)
    followed = [tensor for tensor in _tensors(output) if tensor in tracer.fields]
    if not followed:
        raise ReceptiveFieldError("the model's output does not come from its input by torch functions")
    for tensor in followed:
        tracer.field_of(tensor)
    return ReceptiveFieldTable(tuple(tracer.rows), tuple(input_size[1:]))


@contextmanager
def _left_as_it_was(model: nn.Module, device: torch.device) -> Iterator[None]:
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


def _tensors(value) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item)


def _function_name(func) -> str:
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


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What works on every element alone but lacks torch's tag for that, and what only moves or relabels values.
ELEMENTWISE = _names(
    "hardswish prelu softsign tanhshrink logsigmoid and or xor invert contiguous to float half double "
    "bfloat16 type type_as cpu cuda detach data requires_grad channel_shuffle "
    "dropout dropout1d dropout2d alpha_dropout feature_alpha_dropout"
)
CONSTANT = _names(
    "zeros ones full empty rand randn new_zeros new_ones new_full new_empty new_tensor "
    "zeros_like ones_like full_like empty_like rand_like randn_like"
)
PERMUTES = _names("permute transpose swapaxes swapdims movedim moveaxis t T mT H mH adjoint")
LEAVES_TORCH = _names("numpy array tolist dlpack")
WRITES = _names("setitem set_data copy")
UPSAMPLES = _names("conv_transpose1d conv_transpose2d interpolate upsample pixel_shuffle fold")


@functools.cache
def _is_elementwise(name: str) -> bool:
    packet = getattr(torch.ops.aten, name, None)
    tagged = packet and any(torch.Tag.pointwise in getattr(packet, o).tags for o in packet.overloads())
    return name in ELEMENTWISE or bool(tagged)


class _Tracer(TorchFunctionMode):
    """Sees every torch function that the model calls, and gives its outputs fields by the rules below."""

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

    # -- what is running

    @contextmanager
    def following_modules(self) -> Iterator[None]:
        """Global hooks, so that the model's own stay untouched."""
        before = register_module_forward_pre_hook(lambda module, args: self.running.append(module))
        after = register_module_forward_hook(self._after_module, always_call=True)
        try:
            yield
        finally:
            before.remove()
            after.remove()

    def _after_module(self, module: nn.Module, args, output) -> None:
        if isinstance(module, torch.jit.ScriptModule) and output is not None:  # its functions cannot be seen
            self._unknown("scripted module", [t for t in args if t in self.fields], output)
        self.running.pop()

    def _who(self, function: str) -> tuple[str, str]:
        """Path and kind of what is running: a torch layer, else a function called by some module."""
        module = self.running[-1] if self.running else None
        path = self.names.get(module, "")
        containers = (nn.Module, nn.Sequential, nn.ModuleList, nn.ModuleDict)
        is_layer = any(c.__module__.startswith("torch.nn") and c not in containers for c in type(module).__mro__)
        kind = type(module).__name__
        if module is None or not is_layer or (function == "pad" and "pad" not in kind.lower()):
            return f"{path}.{function}".lstrip("."), function
        return path or kind, kind

    def _refuse(self, function: str, reason: str) -> UnsupportedLayer:
        return UnsupportedLayer(*self._who(function), reason)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = _function_name(func)
        tracked = [tensor for tensor in _tensors((args, kwargs)) if tensor in self.fields]
        output = func(*args, **kwargs)
        if not tracked or name in CONSTANT or any(isinstance(m, torch.jit.ScriptModule) for m in self.running):
            return output
        if name in LEAVES_TORCH:
            raise self._refuse(name, "the values leave torch, and cannot be followed from there")
        if not any(True for _ in _tensors(output)):
            if name in WRITES:
                raise self._refuse(name, "writes into a part of a tensor, which is not followed")
            return output  # sizes, types, and numbers to decide on
        for tensor in tracked:
            self.field_of(tensor)
        try:
            self._follow(func, name, tracked, output, args, kwargs)
        except UnsupportedLayer:
            if self.unknown == "error":
                raise
            self._unknown(name, tracked, output)
        return output

    def _follow(self, func, name: str, tracked: list[Tensor], output, args: tuple, kwargs: dict) -> None:
        if "out" in kwargs or name in WRITES:
            raise self._refuse(name, "writes into a part of a tensor, which is not followed")
        if name.endswith("_as") or name == "to":  # of the second operand only shape or type count
            if args[0] is not tracked[0]:
                return
            tracked = tracked[:1]
        if name in ("max", "min") and len([*_tensors((args, kwargs))]) == 2:
            self._elementwise(name, tracked, output)
        elif name in ("cat", "concat", "concatenate", "stack"):
            self._cat(name, tracked, output, *args, **kwargs)
        elif name in RULES:
            if len(tracked) > 1 or (args and args[0] is not tracked[0]):
                raise self._refuse(name, "has another operand than its first that depends on the image")
            args = args[1:] if args else args
            kwargs = {key: value for key, value in kwargs.items() if value is not tracked[0]}
            RULES[name](self, name, self.field_of(tracked[0]), output, *args, **kwargs)
        elif name in PERMUTES:
            x = self.field_of(tracked[0])
            probe = torch.empty(*range(2, 2 + len(x.layout)), device="meta")  # sizes tell the dimensions apart
            order = [size - 2 for size in func(probe, *args[1:], **kwargs).shape]
            self.fields[output] = replace(x, layout=tuple(x.layout[dim] for dim in order))
        elif _is_elementwise(name):
            self._elementwise(name, tracked, output)
        elif name in UPSAMPLES:
            raise self._refuse(name, "upsamples: neighbouring units differ in their fields, so there is no one size")
        else:
            raise self._refuse(
                name, f"the effect of {name} on the receptive field is not known; "
                "unknown='identity' takes it to have none"
            )  # fmt: skip

    def _unknown(self, function: str, tracked: list[Tensor], output) -> None:
        """An output of its input's shape keeps its field, if the caller asked for that; others are lost."""
        if self.unknown == "error":
            raise self._refuse(function, "its functions cannot be seen; unknown='identity' passes it over")
        lost = self._refuse(function, "cannot pass as identity, as its output has another shape than its input")
        for tensor in _tensors(output):
            alike = [self.field_of(t) for t in tracked if self.field_of(t).shape == tuple(tensor.shape)]
            self.fields[tensor] = alike[0] if alike else lost

    # -- rules: name of the function, field of its input, its output, and its other arguments as torch has
    # them

    def _record(self, function: str, x: Field, y: Field, windows: dict[str, Window], note: str = "") -> Field:
        """Adds a row, and returns the output's field with the row's name as its source."""
        layer, kind = self._who(function)
        calls = sum(row.layer == layer or row.layer.startswith(f"{layer} (") for row in self.rows)
        layer = f"{layer} ({calls + 1})" if calls else layer
        y = replace(y, source=layer)
        still = {name: Window(1, 1, (0, 0), 1, axis.n) for name, axis in x.axes.items()}
        k, s, p, d, n_out = (
            _agree(values) for values in zip(*[(still | windows)[name] for name in x.axes], strict=True)
        )
        pads = [(still | windows)[name].p for name in x.axes]
        if all(before == after for before, after in pads):
            p = _agree([before for before, _ in pads])
        elif len(pads) > 1:
            p = tuple(pads)
        r_in, j_in, n_in = (_agree([getattr(a, of) for a in x.axes.values()]) for of in ("size", "jump", "n"))
        r_out, j_out, start = (_agree([getattr(a, of) for a in y.axes.values()]) for of in ("size", "jump", "centre"))
        row = Row(layer, kind, n_in, k, s, p, d, n_out, r_in, j_in, r_out, j_out, start, note, y)
        self.rows.append(row)
        return y

    def _axis_at(self, function: str, x: Field, dim: int) -> str | None:
        """The axis of the image that a dimension of the tensor runs along; None if it holds channels."""
        content, names, back = x.layout[dim], list(x.axes), len(x.layout) - dim
        if content == () and back <= len(names) and x.axes[names[-back]].n == 1:
            return names[-back]  # a single unit: the axis stands where torch expects it
        if _has_axis(content) and len(content) > 1:
            raise self._refuse(function, f"dimension {dim} of its input is a flattened map")
        return content[0] if _has_axis(content) else None

    def _windows(self, function: str, x: Field, out: Tensor, count: int, kernel, stride, padding, dilation) -> None:
        windows, layout = {}, list(_refit(x.layout, out.shape))
        for dim in range(len(x.layout) - count, len(x.layout)):
            name = self._axis_at(function, x, dim)
            if name is None and x.shape[dim] == out.shape[dim] == 1:  # a 2-D layer over a (1, L) map
                continue
            if name is None:
                raise self._refuse(function, f"dimension {dim} of its input runs along no axis of the image")
            k, s, p, d = (
                value if isinstance(value, (int, str)) else value[(dim - len(x.layout)) % len(value)]
                for value in (kernel, stride or kernel, padding, dilation)
            )
            if isinstance(p, str):  # torch puts the odd unit of "same" at the end
                before = (k - 1) * d // 2 if p == "same" else 0
                p = (before, (k - 1) * d - before if p == "same" else 0)
            windows[name] = Window(k, s, p if isinstance(p, tuple) else (p, p), d, out.shape[dim])
            layout[dim] = (name,) if out.shape[dim] > 1 else ()
        y = replace(x.slide(windows), layout=tuple(layout))
        self.fields[out] = self._record(function, x, y, windows)

    def _conv(self, name, x, out, weight, bias=None, stride=1, padding=0, dilation=1, groups=1) -> None:
        self._windows(name, x, out, weight.ndim - 2, tuple(weight.shape[2:]), stride, padding, dilation)

    def _max_pool(
        self,
        name,
        x,
        out,
        kernel_size,
        stride=None,
        padding=0,
        dilation=1,
        ceil_mode=False,
        return_indices=False,
    ) -> None:
        out = next(_tensors(out))  # behind it, perhaps, the indices
        self._windows(name, x, out, _rank(name), kernel_size, stride, padding, dilation)

    def _avg_pool(self, name, x, out, kernel_size, stride=None, padding=0, *_, **__) -> None:
        self._windows(name, x, out, _rank(name), kernel_size, stride, padding, 1)

    def _lp_pool(self, name, x, out, norm_type, kernel_size, stride=None, ceil_mode=False) -> None:
        self._windows(name, x, out, _rank(name), kernel_size, stride, 0, 1)

    def _adaptive_pool(self, name, x, out, output_size, return_indices=False) -> None:
        out = next(_tensors(out))
        kernel = []
        for n_in, n_out in zip(x.shape[-_rank(name) :], out.shape[-_rank(name) :], strict=True):
            if n_in % n_out:
                raise self._refuse(
                    name, f"the windows from {n_in} to {n_out} units differ in size, and so do their fields; "
                    f"choose an output or input size with {n_in} a multiple of {n_out}"
                )  # fmt: skip
            kernel.append(n_in // n_out)
        self._windows(name, x, out, _rank(name), kernel, None, 0, 1)

    def _pad(self, name, x, out, pad, mode="constant", value=None) -> None:
        y, windows, layout = x, {}, list(_refit(x.layout, out.shape))
        for back, (before, after) in enumerate(
            zip(pad[::2], pad[1::2], strict=True), start=1
        ):  # the last dimension comes first
            dim = len(x.layout) - back
            axis = self._axis_at(name, x, dim) if before or after else None
            if axis is None:
                continue
            windows[axis] = Window(1, 1, (before, after), 1, out.shape[dim])
            layout[dim] = (axis,) if out.shape[dim] > 1 else ()
            # what torch itself puts at each place of the padded map: a unit of the map, or -1 for none
            units = torch.arange(float(x.axes[axis].n))[None, None]
            units = F.pad(units, (before, after), mode, -1.0 if mode == "constant" else None).long()
            place = 1 + list(x.axes).index(axis)
            seen = _pick(y.seen, place, units.view(-1, 1)).squeeze(place + 1)
            y = replace(y, seen=seen, axes=y.axes | {axis: x.axes[axis].slide(windows[axis])})
        y = replace(y, layout=tuple(layout))
        self.fields[out] = self._record(name, x, y, windows) if windows else y

    def _collapse(self, x: Field, dims: Sequence[int]) -> tuple[Field, dict[str, Window]]:
        """The field of a value that takes in whole dimensions: on their axes a window over all units."""
        names = [part for dim in dims for part in x.layout[dim] if isinstance(part, str)]
        windows = {name: Window(x.axes[name].n, x.axes[name].n, (0, 0), 1, 1) for name in names}
        return x.slide(windows), windows

    def _reduce(self, name, x, out, dim=None, keepdim=False, **others) -> None:
        dim = others.get("axis", dim)
        if isinstance(dim, bool):
            raise self._refuse(name, "give dim by name")
        dims = range(len(x.layout)) if dim is None else [dim] if isinstance(dim, int) else list(dim)
        dims = {d % len(x.layout) for d in dims}
        y, windows = self._collapse(x, sorted(dims))
        kept = next(_tensors(out)).ndim == len(x.layout)
        layout = tuple(() if d in dims else content for d, content in enumerate(x.layout) if kept or d not in dims)
        y = replace(y, layout=layout)
        y = self._record(name, x, y, windows) if windows else y
        for tensor in _tensors(out):
            self.fields[tensor] = y

    def _linear(self, name, x, out, weight, bias=None) -> None:
        y, windows = self._collapse(x, [-1])
        y = replace(y, layout=(*x.layout[:-1], (out.shape[-1],) if out.shape[-1] > 1 else ()))
        self.fields[out] = self._record(name, x, y, windows)

    def _within(self, name: str, x: Field, out: Tensor, dims: Sequence[int]) -> None:
        """A function that mixes values along some dimensions; if those are channels, the field stays."""
        if any(_has_axis(x.layout[dim]) for dim in dims):
            raise self._refuse(
                name, "mixes all units of the map, so that every unit sees the whole input; "
                "unknown='identity' leaves that out of account"
            )  # fmt: skip
        self.fields[out] = replace(x, layout=_refit(x.layout, out.shape))

    def _softmax(self, name, x, out, dim=None, *_, **__) -> None:
        self._within(name, x, out, range(len(x.layout)) if dim is None else [dim])

    def _normalize(self, name, x, out, p=2.0, dim=1, *_, **__) -> None:
        self._within(name, x, out, [dim])

    def _glu(self, name, x, out, dim=-1) -> None:
        self._within(name, x, out, [dim])

    def _layer_norm(self, name, x, out, normalized_shape, *_, **__) -> None:
        self._within(name, x, out, range(-len(normalized_shape), 0))

    def _map_norm(self, name, x, out, *_, **__) -> None:
        self._within(name, x, out, range(1, len(x.layout)))

    def _channel_norm(self, name, x, out, *_, **__) -> None:
        self._within(name, x, out, [1])

    def _batch_norm(self, name, x, out, mean, var, weight=None, bias=None, training=False, *_, **__) -> None:
        self._within(name, x, out, range(len(x.layout)) if training else [])

    def _reshape(self, name, x, out, *_, **__) -> None:
        """Views in row-major order: the parts of the layout are dealt out again to the new sizes."""
        parts = [part for dim in x.layout for part in dim]
        layout = []
        for size in out.shape:
            content = []
            while size > 1:
                part = parts.pop(0)
                while isinstance(part, int) and parts and isinstance(parts[0], int):
                    part *= parts.pop(0)  # neighbouring channels are one run of channels
                n = x.size(part)
                if size % n == 0:
                    content.append(part)
                    size //= n
                elif isinstance(part, int) and n % size == 0:
                    content.append(size)
                    parts.insert(0, n // size)
                    size = 1
                else:
                    raise self._refuse(name, f"from {x.shape} to {tuple(out.shape)} it tears the map apart")
            layout.append(tuple(content))
        self.fields[out] = replace(x, layout=tuple(layout))

    def _expand(self, name, x, out, *_, **__) -> None:
        layout = ((),) * (out.ndim - len(x.layout)) + x.layout
        self.fields[out] = replace(x, layout=_refit(layout, out.shape))

    def _getitem(self, name, x, out, index) -> None:
        """Whole numbers and slices: on channels they change nothing, along the map they are a crop."""
        index = index if isinstance(index, tuple) else (index,)
        if not all(item is None or item is ... or type(item) in (int, slice) for item in index):
            raise self._refuse(name, "only slices and whole numbers can be followed as an index")
        if not any(item is ... for item in index):
            index = (*index, ...)
        taken = sum(item is not None and item is not ... for item in index)
        at = index.index(...)
        whole = (slice(None),) * (len(x.layout) - taken)
        contents = list(x.layout)
        layout, windows = [], {}
        for item in (*index[:at], *whole, *index[at + 1 :]):
            if item is None:
                layout.append(())
                continue
            content = contents.pop(0)
            size = math.prod(x.size(part) for part in content)
            taps = range(size)[item if isinstance(item, slice) else slice(item % size, item % size + 1)]
            if _has_axis(content) and len(taps) < size:
                if len(content) > 1:
                    raise self._refuse(name, "takes a part of a flattened map")
                cut = (taps.start, size - 1 - taps[-1])
                windows[content[0]] = Window(1, taps.step, (-cut[0], -cut[1]), 1, len(taps))
                content = content if len(taps) > 1 else ()
            elif not _has_axis(content):
                content = (len(taps),) if len(taps) > 1 else ()
            if isinstance(item, slice):
                layout.append(content)
        y = replace(x.slide(windows), layout=tuple(layout))
        self.fields[out] = self._record(name, x, y, windows) if windows else y

    def _narrow(self, name, x, out, dim, start, length) -> None:
        self._getitem(name, x, out, (*[slice(None)] * (dim % len(x.layout)), slice(start, start + length)))

    def _select(self, name, x, out, dim, index) -> None:
        self._getitem(name, x, out, (*[slice(None)] * (dim % len(x.layout)), index))

    def _split(self, name, x, out, size, dim=0) -> None:
        dim, start = dim % len(x.layout), 0
        for piece in out:
            self._narrow(name, x, piece, dim, start, piece.shape[dim])
            start += piece.shape[dim]

    def _unbind(self, name, x, out, dim=0) -> None:
        for index, piece in enumerate(out):
            self._select(name, x, piece, dim, index)

    # -- joins

    def _elementwise(self, name: str, tracked: list[Tensor], output) -> None:
        operands = [self.field_of(tensor) for tensor in tracked]
        out = next(_tensors(output))
        if any(torch.broadcast_shapes(x.shape, out.shape) != out.shape for x in operands):
            raise self._refuse(name, f"gives a map of another shape, {tuple(out.shape)}, than element by element")
        if len(operands) > 1 and any(t is out for t in tracked):
            memory = out.untyped_storage()._cdata
            if any(t is not out and t.untyped_storage()._cdata == memory for t in self.fields):
                raise self._refuse(name, "writes in place into memory that another tensor shares; write x = x + y")
        self._join(name, operands, out)

    def _cat(self, name, tracked, output, tensors, dim=0, **others) -> None:
        operands = [self.field_of(tensor) for tensor in tracked]
        dim = others.get("axis", dim) % output.ndim
        if name == "stack":
            operands = [replace(x, layout=(*x.layout[:dim], (), *x.layout[dim:])) for x in operands]
        if any(_has_axis(x.layout[dim]) for x in operands):
            raise self._refuse(name, "joins maps along an axis of the image, so that units differ in their fields")
        self._join(name, operands, output)

    def _join(self, name: str, operands: list[Field], output: Tensor) -> None:
        """The smallest field around those of all operands.

        An operand with a single unit along an axis is the same for all units there. With it the field of
        every unit is taken to be the one around all of them: step 0.
        """
        if self.gates == "ignore" and name == "mul":
            maps = [x for x in operands if any(axis.n > 1 for axis in x.axes.values())]
            operands = maps or operands
        layout = []
        for back in range(output.ndim, 0, -1):
            contents = {x.layout[-back] for x in operands if back <= len(x.layout) and _has_axis(x.layout[-back])}
            if len(contents) > 1:
                raise self._refuse(name, f"different axes of the image meet in dimension {output.ndim - back}")
            size = output.shape[-back]
            layout.append(contents.pop() if contents else (size,) if size > 1 else ())
        located = [part for content in layout for part in content if isinstance(part, str)]
        if len(located) > len(set(located)):
            raise self._refuse(name, "an axis of the image meets itself in another dimension")

        axes, notes = {}, []
        for axis in operands[0].axes:
            fields = [(x.source, x.axes[axis]) for x in operands]
            moving = [(source, a) for source, a in fields if a.n > 1]
            if len({a.jump for _, a in moving}) > 1:
                branches = {a.jump: (source, a.jump) for source, a in reversed(moving)}
                raise UnequalJumps(self._who(name)[0], axis, sorted(branches.values()))
            alike = len({(a.n > 1, a.step) for _, a in fields}) == 1 or not moving
            if alike and len({a.centre for _, a in fields}) > 1:
                centres = " and ".join(f"{c:g}" for c in sorted({a.centre for _, a in fields}))
                notes.append(f"misaligned along {axis}: the branches' first fields have their centres at {centres}")
            if not alike and any(a.step for _, a in moving):
                notes.append("every unit also sees what the branch with one value for the whole map sees")
            n = max(a.n for _, a in fields)
            reach = [a.hi if alike else a.hi + a.step * (a.n - 1) for _, a in fields]
            step = max(a.step for _, a in fields) if alike else 0
            jump = max(a.jump for _, a in moving or fields)
            axes[axis] = Axis(n, min(a.lo for _, a in fields), max(reach), step, jump)
        seen = functools.reduce(torch.maximum, [x.seen for x in operands])
        y = Field(axes, tuple(layout), seen, operands[0].source)
        if len({tuple(x.axes.values()) for x in operands}) > 1:
            widest = max(operands, key=lambda x: [axis.size for axis in x.axes.values()])
            x = replace(widest, axes={a: replace(widest.axes[a], n=axes[a].n, jump=axes[a].jump) for a in axes})
            y = self._record(name, x, y, {}, "; ".join(dict.fromkeys(notes)))
        self.fields[output] = y


def _rank(name: str) -> int:
    return 1 if "1d" in name else 2


def _refit(layout: tuple, shape: Sequence[int]) -> tuple:
    """The layout with its numbers of channels those of `shape`."""
    return tuple(dim if _has_axis(dim) else (n,) if n > 1 else () for dim, n in zip(layout, shape, strict=True))


RULES = {
    name: rule
    for names, rule in (
        ("conv1d conv2d", _Tracer._conv),
        ("max_pool1d max_pool2d max_pool1d_with_indices max_pool2d_with_indices", _Tracer._max_pool),
        ("avg_pool1d avg_pool2d", _Tracer._avg_pool),
        ("lp_pool1d lp_pool2d", _Tracer._lp_pool),
        (
            "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool1d adaptive_max_pool2d",
            _Tracer._adaptive_pool,
        ),
        ("adaptive_max_pool1d_with_indices adaptive_max_pool2d_with_indices", _Tracer._adaptive_pool),
        ("pad", _Tracer._pad),
        ("mean sum amax amin max min std var prod logsumexp argmax argmin any all", _Tracer._reduce),
        ("linear", _Tracer._linear),
        ("softmax log_softmax softmin cumsum", _Tracer._softmax),
        ("normalize", _Tracer._normalize),
        ("glu", _Tracer._glu),
        ("layer_norm rms_norm", _Tracer._layer_norm),
        ("group_norm instance_norm", _Tracer._map_norm),
        ("local_response_norm", _Tracer._channel_norm),
        ("batch_norm", _Tracer._batch_norm),
        ("view reshape flatten unflatten squeeze unsqueeze view_as reshape_as ravel", _Tracer._reshape),
        ("expand expand_as broadcast_to", _Tracer._expand),
        ("getitem", _Tracer._getitem),
        ("narrow", _Tracer._narrow),
        ("select", _Tracer._select),
        ("split chunk tensor_split", _Tracer._split),
        ("unbind", _Tracer._unbind),
    )
    for name in names.split()
}


# ------------------------------------------------------------------------------ by gradients: measured


@dataclass(frozen=True)
class MeasuredField:
    """What gradients say of one unit: a tuple has one entry an axis, H before W."""

    box: tuple[Interval, ...] | None  # pixels of the image that the unit depends on; None if on none
    receptive_field: tuple[int | None, ...]  # pixels; None where no image was large enough to hold the field
    jump: tuple[int | None, ...]  # pixels from a unit to the next; None where there is no next
    start: tuple[float | None, ...]  # centre of the first unit's field


# Functions of one map that only bend its values: left out, so that the map is a sum with positive weights.
BENDS = _names(
    "relu relu6 leaky_relu elu selu celu gelu silu mish hardswish hardsigmoid hardtanh sigmoid tanh softplus "
    "softsign prelu rrelu threshold logsigmoid tanhshrink hardshrink softshrink clamp clip exp log sqrt abs "
    "softmax log_softmax softmin local_response_norm"
)


class _Summing(TorchFunctionMode):
    """Makes a network linear in its image: activations pass, and maxima become sums over the same windows."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.__name__.strip("_")
        if name in BENDS:
            return args[0] if args else kwargs["input"]
        if name in ("max_pool1d", "max_pool2d"):
            return self.sum_pool(func, *args, **kwargs)
        if name in ("amax", "adaptive_max_pool1d", "adaptive_max_pool2d"):
            func = torch.mean if name == "amax" else getattr(F, name.replace("max", "avg"))
            kwargs = {key: value for key, value in kwargs.items() if key != "return_indices"}
        return func(*args, **kwargs)

    @staticmethod
    def sum_pool(func, x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
        with torch.no_grad():  # for the size of its map only
            shape = func(x, kernel_size, stride, padding, dilation, ceil_mode).shape[2:]
        axes = len(shape)
        k, s, p, d = (
            tuple(v) * (axes // len(v)) if isinstance(v, (tuple, list)) else (v,) * axes
            for v in (kernel_size, stride or kernel_size, padding, dilation)
        )
        pads = [side for i in reversed(range(axes)) for side in (p[i], p[i] + s[i])]  # ceil_mode looks past the end
        convolve = F.conv1d if axes == 1 else F.conv2d
        ones = x.new_ones(x.shape[1], 1, *k)
        y = convolve(F.pad(x, pads), ones, stride=s, dilation=d, groups=x.shape[1])
        return y[(..., *[slice(n) for n in shape])]


def measured_receptive_field(
    model: nn.Module,
    input_size: Sequence[int] = (1, 28, 28),
    layer: str | None = None,
    unit: Sequence[int] | None = None,
) -> MeasuredField:
    """The field of a map's units by autograd alone: the pixels where a unit's gradient is not zero.

    input_size: (C, H, W) or (C, L), without the batch.
    layer: path of the module whose map is measured; the model's output if None.
    unit: (row, column) or (position,): measure only the box of this unit. If None, that of the centre, and
        the map's size, jump and start. An output without a map, (N, C), counts as one unit.

    Works on a copy in float64 with positive weights, without activations, and with sums for maxima, so that
    nothing cancels. `box` is measured on an image of `input_size`. Size, jump and start are measured on
    images that are made longer, one axis at a time, until the field no longer changes; where it grows with
    the image (global pooling), or the model takes no other size, they are None. Shares no arithmetic with
    `receptive_field`, so that each is a test of the other.
    """
    model = _positive_copy(model)
    sizes = input_size[1:]
    image, y = _run(model, input_size, layer)
    box = _gradient_box(image, y, [n // 2 for n in y.shape[2:]] if unit is None else unit)
    found = [(None, None, None)] * len(sizes)
    if y.ndim == image.ndim and unit is None:
        found = [_measure_axis(model, input_size, axis, layer) for axis in range(len(sizes))]
    return MeasuredField(box, *zip(*found, strict=True))


def _measure_axis(model: nn.Module, input_size: Sequence[int], axis: int, layer: str | None) -> tuple:
    """Size, jump and start along one axis: what two lengths of the image in a row agree on."""
    size = list(input_size)
    before = None
    while size[1 + axis] < 12 * max(input_size) + 5000:
        size[1 + axis] *= 2
        try:
            image, y = _run(model, size, layer)
        except RuntimeError:  # a linear layer takes one size only
            break
        unit = [n // 2 for n in y.shape[2:]]
        ahead = [n + 1 if i == axis else n for i, n in enumerate(unit)]
        if ahead[axis] >= y.shape[2 + axis]:
            continue
        box, next_box = _gradient_box(image, y, unit), _gradient_box(image, y, ahead)
        if box is None or next_box is None or box[axis][0] == 0 or next_box[axis][1] == size[1 + axis] - 1:
            continue
        lo, hi = box[axis]
        jump = next_box[axis][0] - lo
        now = hi - lo + 1, jump, (lo + hi) / 2 - jump * unit[axis]
        if now == before:  # so neither the image's edge nor that of a map on the way has cut it
            return now
        before = now
    return None, None, None


def _positive_copy(model: nn.Module) -> nn.Module:
    model = copy.deepcopy(model).to(torch.float64).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for tensor in model.parameters():  # around 1 / fan-in, so that maps stay of the same size; all different
        values = torch.rand(tensor.shape, generator=generator, dtype=torch.float64) + 0.5
        tensor.copy_(values / (tensor[0].numel() if tensor.ndim > 1 else 1))
    for module in model.modules():
        if getattr(module, "running_var", None) is not None:
            module.reset_running_stats()
    return model


def _run(model: nn.Module, input_size: Sequence[int], layer: str | None) -> tuple[Tensor, Tensor]:
    """An image of ones, and the map that a layer makes of it."""
    maps = []
    device = next((tensor.device for tensor in model.parameters()), None)
    image = torch.ones(1, *input_size, dtype=torch.float64, device=device, requires_grad=True)
    module = model.get_submodule(layer) if layer else model
    hook = module.register_forward_hook(lambda module, args, output: maps.append(output))
    try:
        with torch.enable_grad(), torch.random.fork_rng([device] if image.is_cuda else []), _Summing():
            model(image)
    finally:
        hook.remove()
    return image, maps[-1]


def _gradient_box(image: Tensor, y: Tensor, unit: Sequence[int]) -> tuple[Interval, ...] | None:
    value = y[(slice(None), slice(None), *unit)].sum() if y.ndim == image.ndim else y.sum()
    (gradient,) = torch.autograd.grad(value, image, retain_graph=True)
    pixels = gradient[0].sum(0).nonzero()
    if len(pixels) == 0:
        return None
    return tuple(zip(pixels.amin(0).tolist(), pixels.amax(0).tolist(), strict=True))


# ----------------------------------------------------------------------------- by gradients: effective


@dataclass(frozen=True)
class EffectiveField:
    """Where in the image the centre unit of a layer gets its value from."""

    map: Tensor  # (H, W), float64 on the CPU; sums to 1
    centre: tuple[float, float]  # the map's centre of mass: row and column, in pixels
    radius: float  # pixels around that centre that hold 95 % of the map
    layer: str
    unit: tuple[int, int]


def effective_receptive_field(model: nn.Module, images: Tensor, layer: str | None = None) -> EffectiveField:
    """The mean absolute gradient of a layer's centre unit with respect to the pixels of real images.

    images: (N, C, H, W), normalised as the model expects them.
    layer: path of a module with a map; if None, the last convolution whose map has more than one unit: its
        map is the last one before global pooling, or before a convolution that takes in all that is left.

    The gradient is that of the unit's sum over channels, in evaluation mode; absolute values are averaged
    over images and colours (after Luo et al. 2016, arXiv:1701.04128). Of an even number of units the centre
    is the one behind the middle, n // 2. The model is left as it was, its gradients included.
    """
    last = []
    modules = dict(model.named_modules())
    if layer is not None and layer not in modules:
        raise KeyError(f"no module {layer!r} in the model")
    names = [layer] if layer is not None else [n for n, m in modules.items() if isinstance(m, (nn.Conv1d, nn.Conv2d))]

    def keep(name: str, y: Tensor) -> None:
        if y.ndim == 4 and (layer is not None or y.shape[2:].numel() > 1):
            unit = (y.shape[2] // 2, y.shape[3] // 2)
            last[:] = [name, unit, y[:, :, unit[0], unit[1]].sum()]  # now: an activation may overwrite y

    hooks = [modules[n].register_forward_hook(lambda m, args, y, n=n: keep(n, y)) for n in names]
    like = next(model.parameters(), images)
    total = torch.zeros(images.shape[2:], dtype=torch.float64)
    try:
        with _left_as_it_was(model, like.device), torch.enable_grad():
            for batch in images.split(250):
                pixels = batch.detach().to(like.device, like.dtype, copy=True).requires_grad_()
                model(pixels)
                if not last:
                    raise ReceptiveFieldError("no convolution with a map of more than one unit; name a layer")
                name, unit, value = last
                (gradient,) = torch.autograd.grad(value, pixels)
                total += gradient.abs().sum((0, 1)).double().cpu()
    finally:
        for hook in hooks:
            hook.remove()
    if not total.sum() > 0:
        raise ReceptiveFieldError(f"the centre unit of {name!r} has no gradient on these images")
    total /= total.sum()
    rows, columns = (torch.arange(n, dtype=torch.float64) for n in total.shape)
    centre = ((total.sum(1) * rows).sum().item(), (total.sum(0) * columns).sum().item())
    distance = ((rows[:, None] - centre[0]) ** 2 + (columns - centre[1]) ** 2).sqrt().flatten()
    order = distance.argsort()
    enough = (total.flatten()[order].cumsum(0) >= 0.95).nonzero()[0]
    return EffectiveField(total, centre, distance[order][enough].item(), name, unit)
