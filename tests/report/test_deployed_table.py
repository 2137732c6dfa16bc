"""The table of deployed networks has the record's figures."""

from mnist_s7.export import Deployed, DeployedNetworks
from mnist_s7.report.deployed import deployed_table, how_deployed

MACHINE = {"device": "a CPU", "system": "a system", "python": "3", "torch": "2", "onnxruntime": "1"}
T1 = Deployed(8620, 8610, 2_000_001, 2_000_000, 34_440, 9_198, 39_014, 20_349, 98.5, 98.5, 98.25, 0, 1)
T2 = Deployed(7416, 7338, 1_200_000, 1_100_000, 29_352, 8_603, 33_746, 20_242, 99.5, 99.5, 99.54, 0, 1234)
RECORD = DeployedNetworks(MACHINE, "MNIST", 10_000, 1000, {"T1": T1, "T2": T2})


def test_each_network_has_a_column():
    header, rule, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in deployed_table(RECORD).splitlines()
    )

    assert header == ["deployed", "T1", "T2"]
    assert rows == [
        ["parameters, trained", "8,620", "7,416"],
        ["parameters, BatchNorm folded", "8,610", "7,338"],
        ["multiply-adds per image, trained", "2,000,001", "1,200,000"],
        ["multiply-adds per image, BatchNorm folded", "2,000,000", "1,100,000"],
        ["weights, float32 (kB)", "34.4", "29.4"],
        ["weights, int8 (kB)", "9.2", "8.6"],
        ["ONNX file, float32 (kB)", "39.0", "33.7"],
        ["ONNX file, int8 (kB)", "20.3", "20.2"],
        ["test accuracy, trained", "98.50 %", "99.50 %"],
        ["test accuracy, BatchNorm folded", "98.50 % (0 digits changed)", "99.50 % (0 digits changed)"],
        ["test accuracy, int8", "98.25 % (1 digit changed)", "99.54 % (1,234 digits changed)"],
    ]


def test_it_is_said_how_they_were_measured():
    text = how_deployed(RECORD)

    assert "10,000 test images of MNIST" in text and "1,000 training images" in text
    assert all(value in text for value in MACHINE.values())
