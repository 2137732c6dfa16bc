"""The package apart from its repository: what belongs to it goes with it."""

import os
import shutil
import subprocess
import sys

import pytest

from mnist_s7 import SERIES
from mnist_s7.data import PROJECT

PROGRAM = """
from mnist_s7 import SERIES, pretrained
from mnist_s7.results import WEIGHTS
for experiment in SERIES:
    print(sum(parameter.numel() for parameter in pretrained(experiment.name).parameters()), WEIGHTS)
"""


def test_a_wheel_has_the_trained_networks(tmp_path):
    source, site = tmp_path / "source", tmp_path / "site"
    shutil.copytree(PROJECT / "mnist_s7", source / "mnist_s7", symlinks=True)
    shutil.copytree(PROJECT / "notebooks" / "results" / "weights", source / "notebooks" / "results" / "weights")
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / file, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    built = subprocess.run([*pip, "wheel", "--no-deps", "-w", tmp_path, source], capture_output=True, text=True)
    if built.returncode and "setuptools" in built.stderr:
        pytest.skip("setuptools cannot be downloaded here, and a wheel cannot be built without it")
    assert built.returncode == 0, built.stderr
    [wheel] = tmp_path.glob("*.whl")
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--target", site, wheel], check=True)
    shutil.rmtree(source)

    environment = os.environ | {"PYTHONPATH": str(site)}
    program = [sys.executable, "-c", PROGRAM]
    answer = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True)

    assert answer.returncode == 0, answer.stderr
    expected = [f"{experiment.parameters} {site / 'mnist_s7' / 'weights'}" for experiment in SERIES]
    assert answer.stdout.splitlines() == expected
