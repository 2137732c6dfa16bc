"""Trained networks: tested, and taken elsewhere."""

import csv

import pytest
import torch
from test_own_networks import table

from mnist_s7 import SERIES, Run, evaluate, load_model, predict, pretrained
from mnist_s7.results import PUBLISHED, calibration_error


def test_a_network_of_the_package_is_tested(mnist_s7, mnist, monkeypatch, tmp_path):
    monkeypatch.setattr("mnist_s7.commands.evaluate.FIGURES", tmp_path)
    run = Run.load(PUBLISHED / "T3-seed1.json")

    code, output, errors = mnist_s7("evaluate", "T3", "--show")

    assert (code, errors) == (0, "")
    [_, _, [images, wrong, accuracy, interval, loss, error]] = table(output, "images")
    assert (images, wrong, accuracy) == ("10,000", str(len(run.errors)), f"{run.final.test_accuracy:.2f}")
    low, high = map(float, interval.split(" to "))
    assert low < run.final.test_accuracy < high
    assert float(loss) == pytest.approx(run.final.test_loss, abs=1e-4)
    assert 0 < float(error) < 1
    per_digit = table(output, "digit")[2:]
    assert [int(row[0]) for row in per_digit] == list(range(10))
    assert sum(int(row[2]) for row in per_digit) == sum(int(row[5]) for row in per_digit) == len(run.errors)
    listed = [(int(row[0]), int(row[2])) for row in table(output, "image ")[2:]]
    assert sorted(listed) == run.errors
    assert (tmp_path / "T3-errors.png").stat().st_size > 10_000


def test_several_networks_are_tested_one_after_the_other(mnist_s7, on_few_digits):
    code, output, _ = mnist_s7("evaluate", "T1", "T4")

    assert code == 0
    assert [line for line in output.splitlines() if "on the test images" in line] == [
        "T1 (seed 1) on the test images of few digits:",
        "T4 (seed 1) on the test images of few digits:",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["T9"], "no trained network of 'T9' comes with the package: there are T1, T2, T3, T4, T5"),
        (
            ["T3-dropout-0.05"],
            "no trained network of 'T3-dropout-0.05' comes with the package: there are T1, T2, T3, T4, T5",
        ),
        (["--weights", "nowhere.json"], "nowhere.json: cannot be read"),
        (["--weights", "nowhere.safetensors"], "nowhere.safetensors: cannot be read"),
    ],
)
def test_what_cannot_be_tested_is_told(mnist_s7, on_few_digits, arguments, message):
    code, output, errors = mnist_s7("evaluate", *arguments)

    assert (code, output) == (1, "")
    assert errors.startswith(f"mnist-s7 evaluate: {message}")


def test_the_calibration_error_is_the_papers():
    """Two bins: 0.6 with half of them right, 0.95 with all of them."""
    probabilities = torch.tensor([0.6, 0.6, 0.95, 0.95, 0.95, 0.95])
    right = torch.tensor([True, False, True, True, True, True])

    assert calibration_error(probabilities, right) == pytest.approx(2 / 6 * 0.1 + 4 / 6 * 0.05, abs=1e-6)
    assert calibration_error(torch.tensor([1.0, 1.0]), torch.tensor([True, True])) == 0
    assert calibration_error(torch.tensor([1.0, 0.0]), torch.tensor([False, True])) == 1


def test_a_probability_on_the_edge_of_a_bin_belongs_to_the_lower_one():
    """As in the paper: bins are open below and closed above."""
    apart = calibration_error(torch.tensor([0.25, 0.3]), torch.tensor([True, False]), bins=4)
    together = calibration_error(torch.tensor([0.25, 0.2]), torch.tensor([True, False]), bins=4)

    assert apart == pytest.approx((0.75 + 0.3) / 2)
    assert together == pytest.approx((0.75 - 0.2) / 2)


def test_a_network_leaves_as_onnx_in_32_and_8_bits_and_as_a_program(mnist_s7, mnist, tmp_path):
    onnx = pytest.importorskip("onnx")
    from mnist_s7.export import predict_onnx

    files = {kind: tmp_path / f"T3.{kind}" for kind in ("onnx", "int8", "program")}

    options = [part for kind, path in files.items() for part in (f"--{kind}", path)]
    code, output, errors = mnist_s7("export", "T3", *options)

    assert (code, errors) == (0, "")
    assert all(str(path) in output for path in files.values())
    images = mnist.test_images[:500]
    expected = predict(pretrained("T3"), images)
    assert torch.equal(predict_onnx(files["onnx"], images).argmax(1), expected.argmax(1))
    assert (predict_onnx(files["int8"], images).argmax(1) == expected.argmax(1)).float().mean() > 0.99
    program = torch.export.load(files["program"]).module()
    torch.testing.assert_close(program(images.unsqueeze(1).float()), expected, rtol=0, atol=1e-4)
    facts = {entry.key: entry.value for entry in onnx.load(files["onnx"]).metadata_props}
    assert (facts["experiment"], facts["seed"]) == ("T3", "1")


def test_runs_leave_as_a_table_and_as_logs(mnist_s7, on_few_digits, tmp_path):
    pytest.importorskip("tensorboard")
    runs = tmp_path / "runs"
    for experiment in ("T1", "T3"):
        mnist_s7("train", experiment, "--epochs", 1, "--device", "cpu", "--output", runs)
    export = ["export", "--runs", runs, "--csv", tmp_path / "runs.csv", "--tensorboard", tmp_path / "logs"]

    code, output, errors = mnist_s7(*export)

    assert (code, errors) == (0, "")
    assert "2 runs" in output
    with (tmp_path / "runs.csv").open(newline="") as file:
        assert [row["experiment"] for row in csv.DictReader(file)] == ["T1", "T3"]
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == ["T1-seed1-few-digits", "T3-seed1-few-digits"]
    code, output, _ = mnist_s7("export", "T3", *export[1:])
    assert code == 0
    assert "1 runs" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["T3"], "nothing to write: say --onnx"),
        (["T1", "T2", "--onnx", "x.onnx"], "T1, T2: one network goes into a file; name one"),
        (["T9", "--csv", "x.csv"], "no run of T9"),
        (["T1", "T9", "--csv", "x.csv"], "no run of T9"),
        (["T1", "--onnx", "x.onnx", "--int8", "x.onnx"], "each needs a file of its own"),
    ],
)
def test_an_export_that_cannot_be_is_told(mnist_s7, on_few_digits, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    code, output, errors = mnist_s7("export", *arguments)

    assert (code, output) == (1, "")
    assert message in errors
    assert list(tmp_path.iterdir()) == []


def test_an_own_weights_file_leaves_as_onnx(mnist_s7, on_few_digits, tmp_path):
    pytest.importorskip("onnx")
    from mnist_s7.export import predict_onnx

    mnist_s7("train", "T1", "--epochs", 1, "--device", "cpu", "--output", tmp_path)
    weights = tmp_path / "T1-seed1-few-digits.safetensors"

    code, _, errors = mnist_s7("export", "--weights", weights, "--onnx", tmp_path / "mine.onnx")

    assert (code, errors) == (0, "")
    images = on_few_digits.test_images
    expected = evaluate(load_model(weights), images, on_few_digits.test_labels)
    found = predict_onnx(tmp_path / "mine.onnx", images).argmax(1)
    assert int((found != on_few_digits.test_labels).sum()) == len(expected.errors)
    assert SERIES[0].name == "T1"
