"""Trained networks as files for other programs: ONNX, and PyTorch's own exported programs.

Both hold the folded network with the normalisation before it, so that a stranger needs nothing of this project:
`images`, float32 (N, 1, 28, 28) of raw pixels -> `log_probabilities`, float32 (N, 10). N is any number.
"""

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from mnist_s7 import MnistS7Error
from mnist_s7.data import check_images, normalization_of
from mnist_s7.export.extras import require
from mnist_s7.export.folding import IMAGE, folded
from mnist_s7.results import class_names, write_atomically
from mnist_s7.transforms import normalize

INPUT, OUTPUT = "images", "log_probabilities"
CONTRACT = {
    "input": f"{INPUT}: float32 (N, 1, 28, 28), raw pixels from 0 (black, the background) to 255 (white, the digit); "
    "they are normalised inside",
    "output": f"{OUTPUT}: float32 (N, 10), natural logarithms of the probabilities of the digits 0 to 9",
}


class NotExportable(MnistS7Error, ValueError):
    """A network that PyTorch's exporter cannot follow, or that is not one for MNIST's images."""


class FromPixels(nn.Module):
    """A network that normalises the pixels itself, by the `mean` and standard deviation of its data set."""

    def __init__(self, network: nn.Module, mean: float, std: float):
        super().__init__()
        self.network, self.mean, self.std = network, mean, std

    def forward(self, images: Tensor) -> Tensor:
        """(N, 1, 28, 28) of 0 to 255 -> (N, 10) log-probabilities."""
        return self.network(normalize(images, self.mean, self.std))


def export_onnx(model: nn.Module, path: str | os.PathLike, facts: Mapping[str, str] | None = None) -> Path:
    """Write `model`, folded, as one self-contained ONNX file, and return its path.

    Its metadata say what it takes and gives, and from the `facts` of a run, as `Run.facts` are, what it is.

    Raises `ExtraMissing` without the extra "export", `NotExportable`, and `OutputError` where the file cannot be
    written.
    """
    path = Path(path)
    write_atomically(path, onnx_model(model, facts).SerializeToString())
    return path


def export_program(model: nn.Module, path: str | os.PathLike) -> Path:
    """Write `model`, folded, as an exported program, `.pt2`, and return its path: `torch.export.load(path).module()`
    is the network, wherever PyTorch is.

    Raises `NotExportable`, and `OutputError` where the file cannot be written.
    """
    path, content = Path(path), io.BytesIO()
    with _exporting(model) as arguments:
        program = torch.export.export(**arguments)
        for part in program.graph_module.modules():
            for node in part.graph.nodes if isinstance(part, torch.fx.GraphModule) else ():
                node.meta.pop("stack_trace", None)  # names of this machine's files
        torch.export.save(program, content)
    write_atomically(path, content.getvalue())
    return path


def onnx_model(model: nn.Module, facts: Mapping[str, str] | None = None):
    """The `onnx.ModelProto` that `export_onnx` writes."""
    require("export", "onnx", "onnxscript")
    import onnx

    with _exporting(model) as arguments:
        names = {"input_names": [INPUT], "output_names": [OUTPUT]}
        proto = torch.onnx.export(arguments.pop("mod"), **arguments, **names, dynamo=True, verbose=False).model_proto
        _strip(proto)
        proto.doc_string, proto.model_version = "Classifies images of handwritten digits", 1
        onnx.helper.set_model_props(proto, CONTRACT | (_about(facts) if facts else {}))
        onnx.checker.check_model(proto, full_check=True)
    return proto


def predict_onnx(file: str | os.PathLike | bytes, images: Tensor, batch_size: int = 1000) -> Tensor:
    """(N, 10) log-probabilities for uint8 (N, 28, 28) `images`, as onnxruntime has them of an ONNX file of this room,
    given by path or content.

    Raises `ExtraMissing` without the extra "export", and `DigitsInvalid` for other images than those.
    """
    require("export", "onnxruntime")
    import onnxruntime

    check_images(images)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    content = file if isinstance(file, bytes) else os.fspath(file)
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    batches = (pixels(part).numpy() for part in images.split(batch_size))
    return torch.cat([torch.from_numpy(session.run([OUTPUT], {INPUT: batch})[0]) for batch in batches])


def pixels(images: Tensor) -> Tensor:
    """uint8 (N, 28, 28) images -> float32 (N, 1, 28, 28) on the CPU, as the files take them."""
    return images.unsqueeze(1).float().cpu()


@contextmanager
def _exporting(model: nn.Module) -> Iterator[dict]:
    """What `torch.export.export` takes; and its errors, whose kinds are many, as the project's own."""
    network = FromPixels(folded(model).cpu().float(), *normalization_of(model)).eval().requires_grad_(False)
    network.to(memory_format=torch.contiguous_format)  # exported programs warn about weights in another order
    example = torch.zeros(2, *IMAGE)  # two: a batch of one would be taken for a constant
    try:
        yield {"mod": network, "args": (example,), "dynamic_shapes": ({0: torch.export.Dim("N")},)}
    except Exception as error:
        cause = error.__cause__ or error
        reason = str(cause).strip().partition("\n")[0]
        raise NotExportable(
            f"{type(model).__name__} cannot be exported ({type(cause).__name__}: {reason}); it should take "
            "(N, 1, 28, 28) images for any N, and its forward should not depend on their values"
        ) from error


def _about(facts: Mapping[str, str]) -> dict[str, str]:
    said = {name: facts[name] for name in ("experiment", "seed", "dataset")}
    said["classes"] = ", ".join(class_names(facts["dataset"]))
    return said | {"float32_test_accuracy_percent": facts["test_accuracy"]}


def _strip(message) -> None:
    """Take off what the exporter says of its own work, stack traces with names of this machine's files among it."""
    from google.protobuf.message import Message

    for field, value in message.ListFields():
        if field.name in ("metadata_props", "doc_string"):
            message.ClearField(field.name)
        elif field.message_type:
            for part in [value] if isinstance(value, Message) else value:
                _strip(part)
