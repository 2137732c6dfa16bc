"""Networks in integers: what the file holds, compared with the folded network, and what it classifies."""

import pytest
import torch

from mnist_s7 import T3, ExtraMissing, predict
from mnist_s7.export import calibration_images, export_int8, folded, predict_onnx
from mnist_s7.export.quantization import CALIBRATION, stored_bytes

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def numbers(path):
    return {each.name: torch.tensor(onnx.numpy_helper.to_array(each)) for each in onnx.load(path).graph.initializer}


def test_a_quantised_network_classifies_nearly_every_digit_as_before(trained, mnist, tmp_path):
    images = mnist.test_images[:2000]
    path = export_int8(trained["T3"], tmp_path / "T3.onnx", calibration_images(mnist.train_images))

    before, after = predict(trained["T3"], images).argmax(1), predict_onnx(path, images).argmax(1)

    assert (before != after).sum() <= 10
    assert torch.equal(predict_onnx(path, images[:7]).argmax(1), after[:7])
    assert torch.equal(predict_onnx(path, images[:1]).argmax(1), after[:1])
    onnx.checker.check_model(onnx.load(path), full_check=True)


def test_weights_are_the_nearest_integers_of_seven_bits(few_digits, tmp_path, as_if_trained):
    network = as_if_trained(T3.network())
    path = export_int8(network, tmp_path / "T3.onnx", few_digits.train_images)
    found = numbers(path)

    layers = {name: weight for name, weight in folded(network).named_parameters() if name.endswith("weight")}
    assert len(layers) == 7
    for name, weight in layers.items():
        integers, scale = found[f"network.{name}_quantized"], found[f"network.{name}_scale"]
        assert integers.dtype == torch.int8 and integers.abs().max() <= 64
        assert scale.shape == weight.shape[:1]
        each = scale.view(-1, 1, 1, 1)
        assert ((integers * each - weight).abs() <= 0.501 * each).all()
        assert not found[f"network.{name}_zero_point"].any()
    biases = [value for name, value in found.items() if name.endswith("bias_quantized")]
    assert {value.dtype for value in biases} == {torch.int32}
    assert stored_bytes(path.read_bytes()) == sum(value.nbytes for value in found.values())


def test_the_same_images_give_the_same_file(few_digits, tmp_path, caplog, capfd):
    network = T3.network()
    first, second = (
        export_int8(network, tmp_path / name, few_digits.train_images).read_bytes() for name in ("first", "second")
    )

    assert first == second
    assert b".py" not in first and str(tmp_path).encode() not in first
    assert not [record for record in caplog.records if record.levelname != "DEBUG"]
    assert capfd.readouterr() == ("", "")


def test_calibration_images_are_drawn_alike():
    images = torch.arange(5000).view(-1, 1, 1)
    chosen = calibration_images(images)

    assert len(chosen) == len(chosen.unique()) == CALIBRATION
    assert torch.equal(chosen, calibration_images(images))
    assert chosen.float().mean() == pytest.approx(2500, abs=200)


def test_onnxruntime_is_needed(monkeypatch, few_digits, tmp_path):
    monkeypatch.setattr("mnist_s7.export.extras.find_spec", lambda package: None if package == "onnxruntime" else "it")
    with pytest.raises(ExtraMissing, match="onnxruntime is not installed"):
        export_int8(T3.network(), tmp_path / "T3.onnx", few_digits.train_images)
