"""What leaves the project: networks for other programs, and runs for other viewers.

May import `training`, `experiments`, `results`, `data`, `transforms` and `plots`; onnx, onnxruntime, TensorBoard and
matplotlib are loaded when they are first needed, and `extras` tells of those that are not installed. Open `folding`
first: the network without BatchNorm and dropout that every file holds. `network_files` writes ONNX files and exported
programs, `quantization` ONNX files of 8-bit integers, and `cost` counts. `deployed` measures all of that and keeps it;
tables of it are made in `report.deployed`. `csv_file` and `tensorboard_log` write runs.
"""

from mnist_s7.export.cost import multiply_adds, parameters
from mnist_s7.export.csv_file import write_csv
from mnist_s7.export.deployed import Deployed, DeployedFileError, DeployedNetworks, measure_deployed
from mnist_s7.export.extras import ExtraMissing
from mnist_s7.export.folding import NotFolded, folded
from mnist_s7.export.network_files import NotExportable, export_onnx, export_program, predict_onnx
from mnist_s7.export.quantization import calibration_images, export_int8
from mnist_s7.export.tensorboard_log import TensorBoardLines, write_tensorboard

__all__ = [
    "Deployed",
    "DeployedFileError",
    "DeployedNetworks",
    "ExtraMissing",
    "NotExportable",
    "NotFolded",
    "TensorBoardLines",
    "calibration_images",
    "export_int8",
    "export_onnx",
    "export_program",
    "folded",
    "measure_deployed",
    "multiply_adds",
    "parameters",
    "predict_onnx",
    "write_csv",
    "write_tensorboard",
]
