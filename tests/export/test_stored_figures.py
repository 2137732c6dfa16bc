"""The stored figures of deployed networks are those that are measured."""

import pytest

from mnist_s7 import SERIES, pretrained
from mnist_s7.export import DeployedNetworks, measure_deployed
from mnist_s7.report.stored import DEPLOYED

pytest.importorskip("onnxruntime")


def test_the_stored_figures_are_measured_again(mnist):
    stored = DeployedNetworks.load(DEPLOYED).networks

    measured = measure_deployed({name: pretrained(name) for name in stored}, mnist).networks

    assert list(stored) == [experiment.name for experiment in SERIES]
    for name, before in stored.items():
        now = measured[name]
        for figure in ("parameters", "folded_parameters", "multiply_adds", "folded_multiply_adds", "float32_bytes"):
            assert getattr(now, figure) == getattr(before, figure), (name, figure)
        for figure in ("float32_accuracy", "folded_accuracy"):
            assert getattr(now, figure) == pytest.approx(getattr(before, figure), abs=0.011), (name, figure)
        # Another CPU rounds otherwise, and a value between two integers falls to the other one.
        assert now.int8_accuracy == pytest.approx(before.int8_accuracy, abs=0.05), name
        assert now.int8_bytes == before.int8_bytes, name
