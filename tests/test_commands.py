"""The command line, as a user types it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from mnist_s7 import Run

COMMANDS = ["run", "train", "compare", "readme"]


def mnist_s7(*arguments, **variables):
    return subprocess.run(
        [sys.executable, "-m", "mnist_s7", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | variables,
        timeout=120,
    )


def test_help_lists_the_commands():
    answer = mnist_s7("--help")

    assert answer.returncode == 0
    assert all(f"  {command}" in answer.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command, capsys, monkeypatch):
    from mnist_s7.__main__ import _parser

    with pytest.raises(SystemExit, match="0"):
        _parser().parse_args([command, "--help"])
    assert f"usage: python -m mnist_s7 {command}" in capsys.readouterr().out


def test_a_wrong_place_is_told_in_one_line(tmp_path):
    answer = mnist_s7("train", "T1", "--data", tmp_path / "nowhere")

    assert answer.returncode == 1
    assert answer.stderr.startswith(f"mnist_s7 train: {tmp_path / 'nowhere'} ")
    assert "does not exist" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_comparing_an_empty_folder_says_what_to_do(tmp_path):
    answer = mnist_s7("compare", tmp_path)

    assert answer.returncode == 1
    assert "python -m mnist_s7 train NAME --seed 1" in answer.stderr


@pytest.fixture
def training(tmp_path):
    """T1 under way on the stand-in digits, and the folder that it is to save to."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "mnist_s7",
            "train",
            "T1",
            "--dataset",
            "rendered",
            "--epochs",
            "1",
            "--output",
            tmp_path,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if line.startswith("Adjusting learning rate"):
            break
    yield process, tmp_path
    process.kill()
    process.wait()


def test_ctrl_c_leaves_no_file(training):
    process, folder = training
    time.sleep(1)
    process.send_signal(signal.SIGINT)

    _, errors = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "stopped" in errors
    assert "Traceback" not in errors
    assert list(folder.iterdir()) == []


def test_train_saves_a_run(training):
    process, folder = training

    output, _ = process.communicate(timeout=120)

    assert process.returncode == 0
    (path,) = folder.iterdir()
    run = Run.load(path)
    assert path.name == "T1-seed1-rendered-digits.json"
    assert (run.experiment, run.dataset, len(run.epochs)) == ("T1", "rendered digits", 1)
    assert f"final test accuracy {run.final.test_accuracy:.2f} %" in output
