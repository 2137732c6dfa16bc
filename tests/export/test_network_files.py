"""Files of trained networks, read by other programs than the one that wrote them."""

import copy
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mnist_s7 import SERIES, ExtraMissing, OutputError, Run, export_onnx, predict
from mnist_s7.export import NotExportable, NotFolded, export_program, multiply_adds, parameters, predict_onnx
from mnist_s7.export.folding import folded
from mnist_s7.report.iteration import model_statistics
from mnist_s7.results import PUBLISHED

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

NAMES = [experiment.name for experiment in SERIES]
TRACES = re.compile(rb"site-packages|stack_trace|\.py\b|" + re.escape(str(Path(__file__).parents[2]).encode()))
FROM_NOTHING = """
import sys
sys.modules["mnist_s7"] = None  # so that it cannot be imported
import numpy, torch
images = torch.from_numpy(numpy.load(sys.argv[1]))
for path in sys.argv[2:]:
    network = torch.export.load(path).module()
    numpy.save(path + ".npy", torch.cat([network(part) for part in images.split([1, 7, 92])]).numpy())
"""


def test_files_normalise_as_the_networks_data_set_does(trained, few_digits, tmp_path):
    images, network = few_digits.test_images, copy.deepcopy(trained["T3"])
    on_mnist = predict(network, images)
    network.trained_on = "Fashion-MNIST"

    with torch.no_grad():
        expected = network((images.unsqueeze(1) / 255 - 0.2860) / 0.3530)
    assert not torch.allclose(on_mnist, expected, atol=0.1)
    for found in (
        predict(network, images),
        predict(folded(network), images),
        predict_onnx(export_onnx(network, tmp_path / "fashion.onnx"), images),
    ):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_onnxruntime_classifies_raw_pixels_as_pytorch_does(name, trained, mnist, tmp_path):
    images = mnist.test_images[:1008]
    expected = predict(trained[name], images)

    facts = Run.load(PUBLISHED / f"{name}-seed1.json").facts
    path = export_onnx(trained[name], tmp_path / "new" / f"{name}.onnx", facts)

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    pixels = images.numpy().astype(np.float32)[:, None]
    parts = [session.run(["log_probabilities"], {"images": pixels[i:j]})[0] for i, j in ((0, 1), (1, 8), (8, 1008))]
    found = torch.from_numpy(np.concatenate(parts))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert torch.equal(found.argmax(1), expected.argmax(1))
    torch.testing.assert_close(predict_onnx(path, images), found, rtol=0, atol=1e-5)

    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    assert {node.op_type for node in proto.graph.node}.isdisjoint({"BatchNormalization", "Dropout"})
    said = {entry.key: entry.value for entry in proto.metadata_props}
    assert (said["experiment"], said["seed"], said["dataset"]) == (name, "1", "MNIST")
    assert 98 < float(said["float32_test_accuracy_percent"]) < 100
    assert "0 (black" in said["input"] and "log_probabilities" in said["output"]
    assert [file.name for file in path.parent.iterdir()] == [path.name]  # one file, and no other beside it
    assert not TRACES.search(path.read_bytes())


def test_an_exported_program_needs_pytorch_alone(trained, mnist, tmp_path):
    images = mnist.test_images[:100]
    paths = [export_program(network, tmp_path / f"{name}.pt2") for name, network in trained.items()]
    np.save(tmp_path / "images.npy", images.numpy().astype(np.float32)[:, None])

    program = [sys.executable, "-W", "error", "-c", FROM_NOTHING, tmp_path / "images.npy", *paths]
    answer = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True)

    assert answer.returncode == 0, answer.stderr
    for path, network in zip(paths, trained.values(), strict=True):
        found = torch.from_numpy(np.load(f"{path}.npy"))
        torch.testing.assert_close(found, predict(network, images), rtol=0, atol=1e-4)
        assert not TRACES.search(path.read_bytes())


def test_a_network_in_training_and_in_double_precision_is_left_as_it_is(few_digits, tmp_path):
    network = SERIES[2].network().double()

    path = export_onnx(network, tmp_path / "T3.onnx")

    assert network.training and next(network.parameters()).dtype == torch.float64
    expected = predict(network.float(), few_digits.test_images)
    torch.testing.assert_close(predict_onnx(path, few_digits.test_images), expected, rtol=0, atol=1e-4)
    assert {entry.key for entry in onnx.load(path).metadata_props} == {"input", "output"}


class Undecided(nn.Module):
    """Another network for bright images than for dark ones."""

    def __init__(self):
        super().__init__()
        self.network = SERIES[2].network()

    def forward(self, x):
        return self.network(x) if x.sum() > 0 else x.flatten(1)[:, :10]


@pytest.mark.parametrize("export", [export_onnx, export_program])
def test_a_network_that_cannot_be_exported_is_refused(export, tmp_path):
    with (
        pytest.warns(NotFolded),
        pytest.raises(NotExportable, match=r"Undecided cannot be exported .* on their values"),
    ):
        export(Undecided(), tmp_path / "file")
    with pytest.raises(NotExportable, match="Linear cannot be exported"):
        export(nn.Linear(3, 2), tmp_path / "file")

    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        export_program(SERIES[0].network(), tmp_path / "file" / "T1.pt2")


def test_what_is_not_installed_is_told(monkeypatch, few_digits, tmp_path):
    monkeypatch.setattr("mnist_s7.export.extras.find_spec", lambda package: None)

    with pytest.raises(ExtraMissing, match=r'onnx and onnxscript are not installed: pip install -e "\.\[export\]"'):
        export_onnx(SERIES[0].network(), tmp_path / "T1.onnx")
    with pytest.raises(ModuleNotFoundError, match="onnxruntime is not installed"):
        predict_onnx(tmp_path / "T1.onnx", few_digits.test_images)


@pytest.mark.parametrize("experiment", SERIES, ids=NAMES)
def test_multiply_adds_are_torchinfos_but_for_batchnorm(experiment):
    network = experiment.network()
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    values = []
    for norm in norms:
        norm.register_forward_hook(lambda layer, inputs, output: values.append(output.numel()))
    torchinfos = model_statistics(network)  # which counts 2 for each channel of a BatchNorm
    convolutions = torchinfos.total_mult_adds - sum(2 * norm.num_features for norm in norms)

    assert parameters(network) == experiment.parameters == torchinfos.total_params
    assert multiply_adds(folded(experiment.network())) == convolutions
    values.clear()
    assert multiply_adds(network) == convolutions + sum(values)
