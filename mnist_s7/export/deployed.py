"""What networks cost and classify where they are deployed: one JSON file."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

from mnist_s7 import MnistS7Error
from mnist_s7.data import Digits
from mnist_s7.export.cost import multiply_adds, parameters
from mnist_s7.export.folding import folded
from mnist_s7.export.network_files import onnx_model, predict_onnx
from mnist_s7.export.quantization import CALIBRATION, calibration_images, quantized, stored_bytes
from mnist_s7.results import write_atomically
from mnist_s7.results.machine import environment
from mnist_s7.training import predict

MACHINE = ("device", "system", "python", "torch")  # of the environment, what the figures may depend on


class DeployedFileError(MnistS7Error, ValueError):
    """A file that does not hold what networks cost where they are deployed."""


@dataclass(frozen=True)
class Deployed:
    """One network, as it was trained, folded, and quantised to int8.

    Multiply-adds are those of an image, as `multiply_adds` counts them. Accuracies are percentages of the test images;
    `changed` are test images whose predicted digit is not that of the trained network.
    """

    parameters: int
    folded_parameters: int
    multiply_adds: int
    folded_multiply_adds: int
    float32_bytes: int  # of the folded network's weights and biases, four each
    int8_bytes: int  # of weights (int8), biases (int32), scales (float32) and zero points (uint8)
    float32_file: int  # bytes of the ONNX file
    int8_file: int
    float32_accuracy: float
    folded_accuracy: float
    int8_accuracy: float
    folded_changed: int
    int8_changed: int


@dataclass(frozen=True)
class DeployedNetworks:
    """Networks by their names, and how they were measured."""

    environment: dict[str, str]
    dataset: str
    test_images: int
    calibration_images: int  # of the training images
    networks: dict[str, Deployed]

    def save(self, path: str | os.PathLike) -> None:
        """Write the JSON file atomically."""
        write_atomically(Path(path), json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike) -> "DeployedNetworks":
        """Raises `DeployedFileError` for a file that holds something else, or cannot be read."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            networks = {name: Deployed(**network) for name, network in content["networks"].items()}
            if not networks or not content["environment"].keys() >= {*MACHINE, "onnxruntime"}:
                raise ValueError("no networks, or not all of the environment")
            return cls(**{f.name: content[f.name] for f in fields(cls)} | {"networks": networks})
        except (OSError, KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise DeployedFileError(
                f"{path}: not what measure_deployed found ({type(error).__name__}: {error}); measure it again"
            ) from error


def measure_deployed(networks: Mapping[str, nn.Module], digits: Digits) -> DeployedNetworks:
    """Fold and quantise each of the trained `networks`, and classify the test images with all three.

    Calibrated on training images. Raises what `export_int8` does.
    """
    found = {name: _measure(model, digits) for name, model in networks.items()}
    machine = environment(torch.device("cpu"))
    return DeployedNetworks(
        environment={name: machine[name] for name in MACHINE} | {"onnxruntime": version("onnxruntime")},
        dataset=digits.name,
        test_images=len(digits.test_images),
        calibration_images=min(CALIBRATION, len(digits.train_images)),
        networks=found,
    )


def _measure(model: nn.Module, digits: Digits) -> Deployed:
    network = folded(model)
    proto = onnx_model(model)
    float32 = proto.SerializeToString()
    int8 = quantized(proto, calibration_images(digits.train_images))
    predicted = {
        "float32": predict(model, digits.test_images).argmax(1).cpu(),
        "folded": predict(network, digits.test_images).argmax(1).cpu(),
        "int8": predict_onnx(int8, digits.test_images).argmax(1),
    }

    def percent_right(name: str) -> float:
        return _percent(predicted[name] == digits.test_labels)

    def changed(name: str) -> int:
        return int((predicted[name] != predicted["float32"]).sum())

    return Deployed(
        parameters=parameters(model),
        folded_parameters=parameters(network),
        multiply_adds=multiply_adds(model),
        folded_multiply_adds=multiply_adds(network),
        float32_bytes=4 * parameters(network),
        int8_bytes=stored_bytes(int8),
        float32_file=len(float32),
        int8_file=len(int8),
        float32_accuracy=percent_right("float32"),
        folded_accuracy=percent_right("folded"),
        int8_accuracy=percent_right("int8"),
        folded_changed=changed("folded"),
        int8_changed=changed("int8"),
    )


def _percent(right: Tensor) -> float:
    return 100 * int(right.sum()) / len(right)
