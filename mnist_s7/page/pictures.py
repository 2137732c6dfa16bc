"""Pictures that the page carries in its own text: test images, and figures for a reader without JavaScript."""

import base64
import io
import math
from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from PIL import Image

from mnist_s7.data import Digits

COLUMNS = 32  # images in a row of the sheet


def image_sheet(digits: Digits, indices: Sequence[int]) -> dict:
    """The test images with these `indices` side by side in one PNG, row after row, with their labels."""
    rows = math.ceil(len(indices) / COLUMNS)
    sheet = torch.zeros(rows * COLUMNS, 28, 28, dtype=torch.uint8)
    sheet[: len(indices)] = digits.test_images[list(indices)]
    greys = sheet.view(rows, COLUMNS, 28, 28).transpose(1, 2).reshape(rows * 28, COLUMNS * 28)
    file = io.BytesIO()
    Image.fromarray(greys.numpy()).save(file, "PNG", optimize=True)
    return {
        "png": data_address("image/png", file.getvalue()),
        "columns": COLUMNS,
        "indices": list(indices),
        "labels": digits.test_labels[list(indices)].tolist(),
    }


def figure_address(figure: Figure) -> str:
    """The figure as an SVG picture, in an address that holds all of it."""
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None})  # the same runs make the same page
    return data_address("image/svg+xml", file.getvalue())


def data_address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
