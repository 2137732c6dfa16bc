"""What deployed networks cost: measured, kept in a file, and read again."""

import dataclasses
import json

import pytest

from mnist_s7 import T3, MnistS7Error, OutputError, predict
from mnist_s7.export import Deployed, DeployedFileError, DeployedNetworks, measure_deployed

ONE = Deployed(8, 6, 100, 90, 24, 12, 40, 30, 99.5, 99.5, 99.0, 0, 7)
MACHINE = {"device": "a CPU", "system": "a system", "python": "3", "torch": "2", "onnxruntime": "1"}
RECORD = DeployedNetworks(MACHINE, "MNIST", 1000, 100, {"T1": ONE, "T2": ONE})


def test_a_trained_network_is_measured(trained, mnist):
    pytest.importorskip("onnxruntime")
    part = dataclasses.replace(mnist, test_images=mnist.test_images[:500], test_labels=mnist.test_labels[:500])

    record = measure_deployed({"T3": trained["T3"]}, part)

    [found] = record.networks.values()
    assert (found.parameters, found.folded_parameters) == (T3.parameters, 6_474)
    assert found.multiply_adds > found.folded_multiply_adds
    assert found.float32_bytes == 4 * found.folded_parameters < found.float32_file
    assert found.folded_parameters < found.int8_bytes < found.int8_file
    predicted = predict(trained["T3"], part.test_images).argmax(1)
    accuracy = 100 * (predicted == part.test_labels).double().mean().item()
    assert found.float32_accuracy == pytest.approx(accuracy, abs=1e-9) == found.folded_accuracy
    assert found.folded_changed == 0
    assert found.int8_accuracy == pytest.approx(accuracy, abs=0.2 * found.int8_changed)
    assert (record.dataset, record.test_images, record.calibration_images) == ("MNIST", 500, 1000)


def test_a_record_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "new" / "deployed.json"
    RECORD.save(path)

    assert DeployedNetworks.load(path) == RECORD


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.pop("dataset"),
        lambda content: content["networks"].clear(),
        lambda content: content["networks"]["T1"].pop("int8_file"),
        lambda content: content["networks"]["T1"].update(other=1),
        lambda content: content["environment"].pop("onnxruntime"),
        lambda content: content.update(networks=[1]),
    ],
)
def test_another_file_is_refused(change, tmp_path):
    path = tmp_path / "deployed.json"
    content = dataclasses.asdict(RECORD)
    change(content)
    path.write_text(json.dumps(content))

    with pytest.raises(DeployedFileError, match=r"deployed\.json: not what measure_deployed found .* again"):
        DeployedNetworks.load(path)


def test_no_file_and_no_json_are_refused(tmp_path):
    with pytest.raises(MnistS7Error, match="FileNotFoundError"):
        DeployedNetworks.load(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("[")
    with pytest.raises(DeployedFileError, match="JSONDecodeError"):
        DeployedNetworks.load(tmp_path / "text.json")
    with pytest.raises(OutputError):
        RECORD.save(tmp_path / "text.json" / "deployed.json")
