"""The command line, as a user types it."""

import dataclasses
import signal
import subprocess
import sys
import time

import pytest
import torch

from mnist_s7 import SERIES, Digits, Run, __main__, load_runs

COMMANDS = ["run", "train", "sweep", "compare", "bench", "readme"]


@pytest.fixture
def mnist_s7(monkeypatch, capsys):
    """Runs a command line; gives its exit code, its output and its errors."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["mnist_s7", *map(str, arguments)])
        try:
            code = __main__.main()
        except SystemExit as exit:
            code = exit.code
        return code, *capsys.readouterr()

    return run


def test_help_lists_the_commands(mnist_s7):
    code, output, _ = mnist_s7("--help")

    assert code == 0
    assert all(f"  {command}" in output for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(mnist_s7, command):
    code, output, _ = mnist_s7(command, "--help")

    assert code == 0
    assert f"usage: python -m mnist_s7 {command}" in output


def test_a_wrong_place_is_told_in_one_line(mnist_s7, tmp_path):
    code, _, errors = mnist_s7("train", "T1", "--data", tmp_path / "nowhere")

    assert code == 1
    assert errors.startswith(f"mnist_s7 train: {tmp_path / 'nowhere'} ")
    assert "does not exist" in errors
    assert errors.count("\n") == 1


def test_comparing_an_empty_folder_says_what_to_do(mnist_s7, tmp_path):
    code, _, errors = mnist_s7("compare", tmp_path)

    assert code == 1
    assert "python -m mnist_s7 train NAME --seed 1" in errors


def test_a_sweep_tells_what_became_of_its_runs(mnist_s7, monkeypatch, few_digits, tmp_path):
    monkeypatch.setattr(__main__, "load_digits", lambda *_: few_digits)
    sweep = ["sweep", "T1", "--seeds", "2", "--epochs", "1", "--device", "cpu", "--output", tmp_path]

    code, output, _ = mnist_s7(*sweep)

    assert code == 0
    assert "T1 on few digits, seeds 2, " in output
    assert "1 runs made, 0 were there, 0 failed." in output
    [run] = load_runs(tmp_path)
    assert run.seed == 2
    assert "| T1 " in output

    broken = dataclasses.replace(few_digits, train_labels=few_digits.train_labels + 10)
    monkeypatch.setattr(__main__, "load_digits", lambda *_: broken)
    code, output, _ = mnist_s7(*sweep, "--seeds", "2,3")

    assert code == 1
    assert "0 runs made, 1 were there, 1 failed." in output
    assert "T1-seed3-few-digits failed: IndexError: Target" in output


@pytest.mark.parametrize("wrong", [["T9"], ["T1", "--seeds", "3-1"], ["T1", "--jobs", "0"]])
def test_a_sweep_that_cannot_be_says_why(mnist_s7, monkeypatch, few_digits, tmp_path, wrong):
    monkeypatch.setattr(__main__, "load_digits", lambda *_: few_digits)

    code, _, errors = mnist_s7("sweep", *wrong, "--output", tmp_path)

    assert code == 1
    assert errors.startswith("mnist_s7 sweep: ")
    assert errors.count("\n") == 1


def test_ctrl_c_leaves_no_file(tmp_path):
    program = (
        "import sys, torch; from mnist_s7 import Digits, __main__;"
        "images, labels = torch.zeros(60000, 28, 28, dtype=torch.uint8), torch.zeros(60000, dtype=torch.int64);"
        "__main__.load_digits = lambda *_: Digits(images, labels, images, labels, 'zeros', 'a test');"
        "sys.exit(__main__.main())"
    )
    arguments = ["train", "T1", "--device", "cpu", "--output", str(tmp_path)]
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where tests run in the background
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


def test_train_saves_a_run(mnist_s7, tmp_path, monkeypatch, few_digits):
    monkeypatch.setattr(__main__, "load_digits", lambda root, dataset: few_digits)

    code, output, _ = mnist_s7("train", "T1", "--seed", 7, "--epochs", 2, "--device", "cpu", "--output", tmp_path)

    assert code == 0
    (path,) = tmp_path.iterdir()
    run = Run.load(path)
    assert path.name == "T1-seed7-few-digits.json"
    assert (run.experiment, run.seed, run.dataset, len(run.epochs)) == ("T1", 7, "few digits", 2)
    assert f"final test accuracy {run.final.test_accuracy:.2f} %" in output


def test_held_out_images_are_tested_on_and_not_trained_on(mnist_s7, tmp_path, monkeypatch):
    images, labels = torch.zeros(10_300, 28, 28, dtype=torch.uint8), torch.zeros(10_300, dtype=torch.int64)
    labels[300:] = 1
    untouched = torch.full_like(labels, 10)  # no digit: an error to whom should use it
    digits = Digits(images, labels, images, untouched, "MNIST", "a test")
    monkeypatch.setattr(__main__, "load_digits", lambda root, dataset: digits)

    code, output, _ = mnist_s7("train", "T3", "--held-out", "--epochs", 1, "--device", "cpu", "--output", tmp_path)

    assert code == 0
    assert "on MNIST held out (the last 10,000 training images of a test, held out)" in output
    run = Run.load(tmp_path / "T3-seed1-MNIST-held-out.json")
    assert len(run.errors) == 10_000  # of ones, by a network that has only seen zeros
    assert {digit for _, digit in run.errors} == {0}


def test_a_notebook_that_is_not_there_is_named(mnist_s7, monkeypatch, few_digits):
    monkeypatch.setattr(__main__, "digits_or_synthetic", lambda: few_digits)

    code, _, errors = mnist_s7("run", "MNIST_S7_T9")

    assert code == 1
    assert "no notebook MNIST_S7_T9: there are MNIST_S7_T1, MNIST_S7_T2" in errors


def test_readme_writes_the_iterations_tables_too(mnist_s7, monkeypatch):
    """But not those of the page that compares, whose pictures would lag behind them."""
    refreshed = []
    monkeypatch.setattr("mnist_s7.notebooks.refresh_tables", lambda name, *_: refreshed.append(name))
    monkeypatch.setattr(__main__, "write_atomically", lambda *_: None)
    monkeypatch.setattr(__main__, "_draw", lambda *_: None)

    code, _, _ = mnist_s7("readme")

    assert code == 0
    assert refreshed == [f"MNIST_S7_{experiment.name}" for experiment in SERIES]
