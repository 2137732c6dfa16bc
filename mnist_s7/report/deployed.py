"""What the networks cost where they are deployed, as a Markdown table, with how it was measured."""

from mnist_s7.export import Deployed, DeployedNetworks
from mnist_s7.report.markdown import Markdown, table

ROWS = {
    "parameters, trained": lambda each: f"{each.parameters:,}",
    "parameters, BatchNorm folded": lambda each: f"{each.folded_parameters:,}",
    "multiply-adds per image, trained": lambda each: f"{each.multiply_adds:,}",
    "multiply-adds per image, BatchNorm folded": lambda each: f"{each.folded_multiply_adds:,}",
    "weights, float32 (kB)": lambda each: _kilobytes(each.float32_bytes),
    "weights, int8 (kB)": lambda each: _kilobytes(each.int8_bytes),
    "ONNX file, float32 (kB)": lambda each: _kilobytes(each.float32_file),
    "ONNX file, int8 (kB)": lambda each: _kilobytes(each.int8_file),
    "test accuracy, trained": lambda each: f"{each.float32_accuracy:.2f} %",
    "test accuracy, BatchNorm folded": lambda each: _accuracy(each, "folded"),
    "test accuracy, int8": lambda each: _accuracy(each, "int8"),
}


def deployed_table(record: DeployedNetworks) -> Markdown:
    """A column for each network."""
    rows = ((name, *map(figure, record.networks.values())) for name, figure in ROWS.items())
    return table(("deployed", *record.networks), rows)


def how_deployed(record: DeployedNetworks) -> str:
    """What the figures of `deployed_table` are, and on which machine they were measured."""
    machine = record.environment
    return (
        f"{machine['device']}, {machine['system']}, Python {machine['python']}, torch {machine['torch']}, onnxruntime "
        f"{machine['onnxruntime']}. Accuracies on {record.test_images:,} test images of {record.dataset}; a digit is "
        "changed where the prediction is not the trained network's. Multiply-adds: products with weights of "
        "convolutions and linear layers, and one for each value that a BatchNorm scales; additions of biases, ReLU, "
        "pools and the softmax are not counted. Weights, float32: those of the folded network with its biases, 4 bytes "
        "each. Weights, int8: all numbers in the ONNX file, which are weights (1 byte), biases (4 bytes), and the "
        "scales and zero points of both and of the feature maps. The ONNX files hold the names of layers too. "
        "Post-training quantisation: weights symmetric for each output channel, of 7 bits, so that every CPU gets the "
        "same sums; feature maps of 8 bits with a scale and a zero point each, calibrated on "
        f"{record.calibration_images:,} training images; no training after it."
    )


def _kilobytes(size: int) -> str:
    return f"{size / 1000:.1f}"


def _accuracy(each: Deployed, which: str) -> str:
    changed = getattr(each, f"{which}_changed")
    digits = "digit" if changed == 1 else "digits"
    return f"{getattr(each, f'{which}_accuracy'):.2f} % ({changed:,} {digits} changed)"
