"""The receptive fields of a network as data that JSON can hold and `js/fields.js` can show."""

import base64

from torch import nn

from mnist_s7.data import Digits
from mnist_s7.page.networks import network_data
from mnist_s7.receptive_field import ReceptiveFieldError, ReceptiveFieldTable, Row, receptive_field

WINDOWED = ("conv2d", "linear", "maxpool2d", "average")  # kinds of steps that are always a row of the table


def field_data(model: nn.Module, untrained: nn.Module) -> dict:
    """What `mountFields` of `js/fields.js` takes as a network's `fields`, next to its `network_data`.

    layers: the rows of the model's receptive-field table that have a feature map. Pairs are [along H, along W]:
        `kernel`, `stride`, `size` of the field, `jump` or effective stride, and `start`, the centre of the first
        unit's field. `rows` and `columns` have for each unit along that axis the [first, last] pixel of its field, by
        the formulas: they may lie outside of the image, in the padding.
    steps: for each step of `network_data(model)` the index in `layers` of the one whose field it has, or None where it
        has none: a ReLU has the field of its input.
    untrained: `network_data` of the network with the initial weights.

    Raises `NotInBrowser`, and `ReceptiveFieldError` where the fields are not defined.
    """
    table = receptive_field(model)
    layers = [_layer(table, row) for row in table.rows]
    steps = _layers_of(network_data(model)["steps"], layers)
    if not any(index is not None for index in steps):
        raise ReceptiveFieldError(f"{type(model).__name__}: no layer has a feature map, with a field for each unit")
    return {"layers": layers, "steps": steps, "untrained": network_data(untrained)}


def digit_data(digits: Digits) -> list[dict]:
    """The first test image of each class as `mountFields` takes it: its label, and its 784 greys in base64."""
    labels = digits.test_labels.tolist()
    firsts = [(label, digits.test_images[labels.index(label)]) for label in sorted(set(labels))]
    return [
        {"label": str(label), "greys": base64.b64encode(image.numpy().tobytes()).decode()} for label, image in firsts
    ]


def _layer(table: ReceptiveFieldTable, row: Row) -> dict:
    height, width = _pair(row.n_out)
    boxes = [table.box(row, (unit, 0)).unclipped for unit in range(height)]
    across = [table.box(row, (0, unit)).unclipped for unit in range(width)]
    return {
        "name": row.layer,
        "kernel": _pair(row.k),
        "stride": _pair(row.s),
        "size": _pair(row.r_out),
        "jump": _pair(row.j_out),
        "start": _pair(row.start),
        "rows": [list(rows) for rows, _ in boxes],
        "columns": [list(columns) for _, columns in across],
    }


def _layers_of(steps: list[dict], layers: list[dict]) -> list[int | None]:
    """The index of the layer whose field each step has.

    The steps and the table's rows are both in the order of the calls. A merge is a row only where the fields that it
    merges differ, and elementwise steps are none.
    """
    found: list[int | None] = []
    rows = enumerate(layers)
    for step in steps:
        given = [found[source] for source in step["inputs"]]
        fields = [None if index is None else (layers[index]["rows"], layers[index]["columns"]) for index in given]
        if step["kind"] in WINDOWED or any(field != fields[0] for field in fields):
            index, layer = next(rows, (None, {"name": ""}))
            if layer["name"].partition(" (")[0] != step["name"].removesuffix("_"):  # "add (2)" is the second `add`
                raise ReceptiveFieldError(f"the table of receptive fields has no row for the step {step['name']!r}")
            found.append(index)
        else:
            found.append(given[0] if given else None)
    return [index if len(step["shape"]) == 3 else None for step, index in zip(steps, found, strict=True)]


def _pair(value: float | tuple) -> list:
    return list(value) if isinstance(value, tuple) else [value, value]
