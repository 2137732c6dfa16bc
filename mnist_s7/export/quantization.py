"""Post-training quantisation: 8-bit integers for weights and feature maps, with no training after it.

A weight is an integer times its output channel's scale, zero standing for zero. A value of a feature map is an integer
from 0 to 255, less the map's zero point, times the map's scale: both come from the least and the greatest value in
the map over the calibration images.
"""

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from mnist_s7.data import check_images
from mnist_s7.export.extras import require
from mnist_s7.export.network_files import INPUT, onnx_model, pixels
from mnist_s7.results import write_atomically

CALIBRATION = 1000  # training images
BATCH = 100


def export_int8(
    model: nn.Module, path: str | os.PathLike, images: Tensor, facts: Mapping[str, str] | None = None
) -> Path:
    """Write `model`, folded and quantised, as one ONNX file that takes and gives what that of `export_onnx` does, and
    return its path. Raises what `export_onnx` does.

    It is calibrated on `images`, uint8 (N, 28, 28) training images; see `calibration_images`.
    """
    path = Path(path)
    write_atomically(path, quantized(onnx_model(model, facts), images))
    return path


def calibration_images(train_images: Tensor) -> Tensor:
    """`CALIBRATION` of the training images, the same ones every time."""
    order = torch.randperm(len(train_images), generator=torch.Generator().manual_seed(0))
    return train_images[order[:CALIBRATION]]


def quantized(proto, images: Tensor) -> bytes:
    """The content of an ONNX file: `proto`, an `onnx.ModelProto` of `onnx_model`, calibrated on uint8 (N, 28, 28)
    `images`."""
    check_images(images)
    require("export", "onnx", "onnxruntime")
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    with tempfile.TemporaryDirectory() as folder, _without_advice():
        file = Path(folder) / "int8.onnx"
        quantize_static(
            proto,
            file,
            _reader(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # Weights of 7 bits, -64 to 64. CPUs with AVX2 and without VNNI add two products in 16 bits, and twice
            # 255 * 64 still fits: they get the same sums as others do, which with 127 they would not.
            reduce_range=True,
        )
        return file.read_bytes()


def stored_bytes(content: bytes) -> int:
    """Of all numbers in an ONNX file: weights, biases, scales and zero points, without the file's names."""
    import onnx

    numbers = onnx.load_from_string(content).graph.initializer
    return sum(onnx.numpy_helper.to_array(each).nbytes for each in numbers)


def _reader(images: Tensor):
    from onnxruntime.quantization import CalibrationDataReader

    class Batches(CalibrationDataReader):
        def __init__(self):
            self.batches = iter(images.split(BATCH))

        def get_next(self) -> dict | None:
            batch = next(self.batches, None)
            return None if batch is None else {INPUT: pixels(batch).numpy()}

    return Batches()


@contextmanager
def _without_advice() -> Iterator[None]:
    """The quantiser advises to infer shapes and optimise first, which the exporter has done."""

    def wanted(record: logging.LogRecord) -> bool:
        return "pre-processing" not in record.getMessage()

    logging.root.addFilter(wanted)
    try:
        yield
    finally:
        logging.root.removeFilter(wanted)
