"""The command line, as a user types it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from mnist_s7 import Run, __main__

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
def test_each_command_has_help(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        __main__._parser().parse_args([command, "--help"])
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


def test_ctrl_c_leaves_no_file(tmp_path):
    arguments = ["train", "T1", "--dataset", "rendered", "--device", "cpu", "--output", str(tmp_path)]
    with subprocess.Popen(
        [sys.executable, "-m", "mnist_s7", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout:
            if line.startswith("Adjusting learning rate"):
                break
        time.sleep(1)  # well into the first of 15 epochs
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "stopped" in errors
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_train_saves_a_run(tmp_path, monkeypatch, capsys, few_digits):
    monkeypatch.setattr(__main__, "load_digits", lambda root, dataset: few_digits)
    arguments = ["train", "T1", "--seed", "7", "--epochs", "2", "--device", "cpu", "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["mnist_s7", *arguments])

    assert __main__.main() == 0

    (path,) = tmp_path.iterdir()
    run = Run.load(path)
    assert path.name == "T1-seed7-few-digits.json"
    assert (run.experiment, run.seed, run.dataset, len(run.epochs)) == ("T1", 7, "few digits", 2)
    assert f"final test accuracy {run.final.test_accuracy:.2f} %" in capsys.readouterr().out


def test_a_notebook_that_is_not_there_is_named(capsys, monkeypatch, few_digits):
    monkeypatch.setattr(__main__, "digits_or_stand_in", lambda: few_digits)
    monkeypatch.setattr(sys, "argv", ["mnist_s7", "run", "MNIST_S7_T9"])

    assert __main__.main() == 1
    assert "no notebook MNIST_S7_T9: there are MNIST_S7_T1, MNIST_S7_T2" in capsys.readouterr().err
