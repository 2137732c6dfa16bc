"""Where the project's folder is: the working copy, or where the user stands if the package is installed without one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import mnist_s7
from mnist_s7.data import PROJECT

PACKAGE = Path(mnist_s7.__file__).parent

SAVES = """
from mnist_s7 import Run
from mnist_s7.data import PROJECT, places
from mnist_s7.report import save
from mnist_s7.results import PUBLISHED, RUNS, Epoch
machine = dict.fromkeys(("python", "torch", "torchvision", "system", "device", "precision"), "some")
machine |= {"kernels": "compiled", "freed_memory": "kept", "threads": 1, "commit": None, "dirty": None}
print(PROJECT, places.DOWNLOADS, PUBLISHED, RUNS, sep="\\n")
print(save(Run("T1", "a recipe", 1, "MNIST", 8620, machine, [Epoch(0, 0.01, 0.1, 99.0, 0.1, 100.0, 1.0)], [])))
"""


@pytest.fixture
def installed(tmp_path):
    """The package in a site-packages, and the user in another folder: gives what runs a Python there."""
    site, user = tmp_path / "site-packages", tmp_path / "user"
    shutil.copytree(PACKAGE, site / "mnist_s7", ignore=shutil.ignore_patterns("__pycache__"))
    user.mkdir()
    environment = os.environ | {"PYTHONPATH": os.fspath(site), "PYTHONDONTWRITEBYTECODE": "1"}
    for name in ("MNIST_S7_RESULTS", "MNIST_S7_DATASET"):
        environment.pop(name, None)

    def run(*arguments):
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=user, env=environment, capture_output=True, text=True)

    run.user = user
    before = files(tmp_path)
    yield run
    assert [path for path in files(tmp_path) if path not in before and user not in path.parents] == []


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_in_a_working_copy_it_is_that():
    assert PACKAGE.parent == PROJECT
    assert (PROJECT / "pyproject.toml").exists()


def test_without_a_working_copy_it_is_where_the_user_is(installed):
    answer = installed("-c", SAVES)

    assert answer.stderr == ""
    user = installed.user
    expected = [user, user / "data", user / "notebooks" / "results", user / "runs" / "results", "T1-seed1.json"]
    assert answer.stdout.splitlines() == list(map(str, expected))
    assert files(user) == [user / "runs" / "results" / "T1-seed1.json"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare"], "{user}/notebooks/results: no run of the iterations with seed 1 on MNIST; `mnist-s7 train NAME "),
        (["compare", "nowhere"], "nowhere: no run of the iterations with seed 1 on MNIST; `mnist-s7 train NAME "),
        (["readme"], "{user}/README.md does not exist: this needs a working copy of the repository"),
        (["run"], "{user}/notebooks does not exist: this command is for a working copy of the repository"),
    ],
    ids=" ".join,
)
def test_what_is_missing_is_one_line(installed, arguments, message):
    answer = installed("-m", "mnist_s7", *arguments)

    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr.startswith(f"mnist-s7 {arguments[0]}: {message.format(user=installed.user)}")
    assert answer.stderr.count("\n") == 1
    assert files(installed.user) == []
