"""The receptive fields of a model: it is run on two images, and its calls in the second are followed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress

import torch
from torch import nn

from mnist_s7.receptive_field.calls import Calls
from mnist_s7.receptive_field.errors import ReceptiveFieldError
from mnist_s7.receptive_field.inputs import Inputs
from mnist_s7.receptive_field.table import ReceptiveFieldTable
from mnist_s7.receptive_field.tracing import Reached, Tracer


def receptive_field(
    model: nn.Module,
    input_size: Sequence | Mapping = (1, 28, 28),
    unknown: str = "error",
    gates: str = "count",
    until: str | None = None,
) -> ReceptiveFieldTable:
    """The receptive field after each convolution, pooling, upsampling, crop, merge and linear layer of a model.

    input_size: (C, H, W), (C, L) or (C, D, H, W), without the batch. Of a model with several inputs a list, or a dict
        by name, of such sizes, of other lists and dicts, and of whatever else the model takes, which is passed on as it
        is: `[(3, 32, 32), torch.tensor([7])]`, `{"image": (3, 32, 32)}`; a dict that is itself an argument stands in a
        list. The pixels are those of the first size; inputs with the same height and width lie on the same
        pixels, and other inputs count as constants.
    unknown: "error" raises UnsupportedLayer at self-attention, recurrent layers, normalisation over the feature map and
        all other functions whose effect is not known; "whole" takes their output to see all that any unit of
        their input sees, and so every layer that would be refused; "identity" takes those that are not known to
        leave the field as it is, where their output has the shape of their input.
    gates: a squeeze-and-excitation gate is pooled from the whole feature map, so that strictly every unit after it
        sees the whole input. "count" says so; "ignore" leaves out of a product the factors that are one value
        a channel, as published tables do.
    until: path of a module, or name of a row: the last one in the table. What comes after it is not looked at.

    Global pooling (`x.mean((2, 3))` as well) and a linear layer over a flattened feature map are rows with k = s =
    n_in. Branches that merge are a row where their fields differ; the merged field is the smallest one around
    both. After upsampling the size depends on the unit: `r_out` is the largest, `r_range` has both ends. Shapes are
    those of a real run, on random numbers, in evaluation mode and without gradients. The model's modes, buffers,
    gradients, device and hooks, and torch's random state, are as before afterwards.

    The model runs twice, on two images. Where a value or a decision that is not followed differs between them,
    because it left torch and came back, it is refused. What cannot be noticed: such a value that is the same on both
    images, as a threshold that neither or both of them pass; and, of a model on the "meta" device, all of them.

    Raises ReceptiveFieldError, with the rows so far as its `.table`: UnsupportedLayer, UnequalJumps where branches of
    unequal jump merge, or itself where the model cannot run on such an input. ValueError for wrong arguments.
    """
    for name, value, known in (
        ("unknown", unknown, ("error", "identity", "whole")),
        ("gates", gates, ("count", "ignore")),
    ):
        if value not in known:
            raise ValueError(f"{name}={value!r}: must be one of {known}")
    inputs = Inputs(model, input_size)
    with torch.device("cpu") if torch.get_default_device().type == "meta" else nullcontext():
        tracer = traced(inputs, Tracer(model, unknown, gates, until))
        if tracer.was_strange:  # what a model keeps from its first run is the same in all that follow
            tracer = traced(inputs, Tracer(model, unknown, gates, until))
    if tracer.error is not None:
        tracer.error.table = tracer.table(inputs)
        raise tracer.error
    if until is not None and not tracer.reached:
        names = ", ".join(row.layer for row in tracer.rows)
        raise ValueError(f"until={until!r}: no such row, and no such module was called; the rows are {names}")
    return tracer.table(inputs)


def traced(inputs: Inputs, tracer: Tracer) -> Tracer:
    """Follows a run of the model, as far as it goes; what stopped it is then the tracer's `error`."""
    if not inputs.on_meta:
        tracer.reference = recorded(inputs)
    try:
        tracer.check_output(inputs.run(tracer))
    except Reached:
        pass
    except ReceptiveFieldError as error:
        tracer.error = error
    except Exception as error:
        reason = f"the model cannot run on input_size={inputs.asked}: {tracer.at()}{type(error).__name__}: {error}"
        if isinstance(error, (TypeError, LookupError)):
            reason += "; several inputs, or a dict of them, are a list or dict of sizes, as the docstring says"
        tracer.error = ReceptiveFieldError(reason)
        tracer.error.__cause__ = error
    return tracer


def recorded(inputs: Inputs) -> Calls:
    """The calls on another image, up to where the model fails, which it will do again."""
    calls = Calls(inputs.model)
    with suppress(Exception):
        calls.finish(inputs.run(calls, zeros=True))
    return calls
