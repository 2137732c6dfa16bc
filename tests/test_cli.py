"""The command line, as a user types it."""

import os
import signal
import subprocess
import sys
import time
import warnings

import nbformat
import psutil
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from waiting import PATIENCE, has_ended, wait_for

from mnist_s7 import Digits, Run, cli, load_runs
from mnist_s7.commands import compare, options, run, train
from mnist_s7.kernels.library import CHOICE, load

COMMANDS = [
    "run",
    "train",
    "sweep",
    "teach",
    "compare",
    "predict",
    "evaluate",
    "export",
    "page",
    "new",
    "bench",
    "readme",
]


def test_help_lists_the_commands(mnist_s7):
    code, output, _ = mnist_s7("--help")

    assert code == 0
    assert all(f"  {command}" in output for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(mnist_s7, command):
    code, output, _ = mnist_s7(command, "--help")

    assert code == 0
    assert f"usage: mnist-s7 {command}" in output


def test_a_wrong_place_is_named_in_one_line(mnist_s7, tmp_path):
    code, _, errors = mnist_s7("train", "T1", "--data", tmp_path / "nowhere")

    assert code == 1
    assert errors.startswith(f"mnist-s7 train: {tmp_path / 'nowhere'} ")
    assert "does not exist" in errors
    assert errors.count("\n") == 1


def test_comparing_an_empty_folder_says_what_to_do(mnist_s7, tmp_path):
    code, _, errors = mnist_s7("compare", tmp_path)

    assert code == 1
    assert "mnist-s7 train NAME --seed 1" in errors


def test_a_sweep_says_what_became_of_its_runs(mnist_s7, monkeypatch, few_digits, tmp_path):
    monkeypatch.setattr(options, "load_digits", lambda *_: few_digits)
    sweep = ["sweep", "T1", "--seeds", "2", "--epochs", "1", "--device", "cpu", "--output", tmp_path]

    code, output, _ = mnist_s7(*sweep)

    assert code == 0
    assert "T1 on few digits, seeds 2, " in output
    assert "1 runs made, 0 were there, 0 failed." in output
    [run] = load_runs(tmp_path)
    assert run.seed == 2
    assert "| T1 " in output

    few_digits.train_labels[0] = 10  # which no network can give
    code, output, _ = mnist_s7(*sweep, "--seeds", "2,3")

    few_digits.train_labels[0] = 0
    assert code == 1
    assert "0 runs made, 1 were there, 1 failed." in output
    assert "T1-seed3-few-digits failed: IndexError: Target" in output


@pytest.mark.parametrize(
    "wrong", [["T9"], ["T1", "--seeds", "3-1"], ["T1", "--seeds", "1-1000000000"], ["T1", "--ray", ""]]
)
def test_a_sweep_that_cannot_be_says_why(mnist_s7, monkeypatch, few_digits, tmp_path, wrong):
    monkeypatch.setattr(options, "load_digits", lambda *_: few_digits)

    code, _, errors = mnist_s7("sweep", *wrong, "--output", tmp_path)

    assert code == 1
    assert errors.startswith("mnist-s7 sweep: ")
    assert errors.count("\n") == 1


def test_ctrl_c_leaves_no_file(tmp_path):
    program = (
        "import sys, torch; from mnist_s7 import Digits, cli; from mnist_s7.commands import options;"
        "images, labels = torch.zeros(60000, 28, 28, dtype=torch.uint8), torch.zeros(60000, dtype=torch.int64);"
        "options.load_digits = lambda *_: Digits(images, labels, images, labels, 'zeros', 'a test');"
        "sys.exit(cli.main())"
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
        _, errors = process.communicate(timeout=PATIENCE)

    assert process.returncode == 130
    assert "stopped" in errors
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_train_saves_a_run(mnist_s7, tmp_path, monkeypatch, few_digits):
    monkeypatch.setattr(options, "load_digits", lambda root, dataset: few_digits)

    code, output, _ = mnist_s7("train", "T1", "--seed", 7, "--epochs", 2, "--device", "cpu", "--output", tmp_path)

    assert code == 0
    path, weights = sorted(tmp_path.iterdir())
    run = Run.load(path)
    assert path.name == "T1-seed7-few-digits.json"
    assert (run.experiment, run.seed, run.dataset, len(run.epochs)) == ("T1", 7, "few digits", 2)
    assert f"final test accuracy {run.final.test_accuracy:.2f} %" in output


@pytest.mark.filterwarnings("default::mnist_s7.kernels.CompiledLayersMissing")
def test_without_a_c_compiler_it_says_so_in_one_line(mnist_s7, tmp_path, monkeypatch, few_digits):
    monkeypatch.setattr(options, "load_digits", lambda root, dataset: few_digits)
    monkeypatch.setenv(CHOICE, "")
    monkeypatch.setenv("PATH", str(tmp_path))
    load.cache_clear()
    try:
        code, _, errors = mnist_s7("train", "T1", "--epochs", 1, "--device", "cpu", "--output", tmp_path)
    finally:
        load.cache_clear()

    assert code == 0
    assert errors.startswith("mnist-s7: training without the compiled layers: there is no C compiler `cc`. ")
    assert "warn" not in errors.replace("without this warning\n", "")
    [run] = load_runs(tmp_path)
    assert run.environment["kernels"] == "PyTorch"


@pytest.mark.filterwarnings("default::UserWarning")
def test_other_warnings_stay_as_they_are(mnist_s7, tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "_compare", lambda _: warnings.warn("beware", stacklevel=1))

    with pytest.warns(UserWarning, match="beware"):
        mnist_s7("compare", tmp_path)


def test_validation_images_are_tested_on_and_not_trained_on(mnist_s7, tmp_path, monkeypatch):
    images, labels = torch.zeros(10_300, 28, 28, dtype=torch.uint8), torch.zeros(10_300, dtype=torch.int64)
    labels[300:] = 1
    untouched = torch.full_like(labels, 9)
    digits = Digits(images, labels, images, untouched, "MNIST", "a test")
    untouched.fill_(10)  # no digit: an error to whom should use it
    monkeypatch.setattr(options, "load_digits", lambda root, dataset: digits)

    code, output, _ = mnist_s7("train", "T3", "--validation", "--epochs", 1, "--device", "cpu", "--output", tmp_path)

    assert code == 0
    assert "on MNIST validation (a test; tested on the last 10,000 training images)" in output
    run = Run.load(tmp_path / "T3-seed1-MNIST-validation.json")
    assert len(run.errors) == 10_000  # of ones, by a network that has only seen zeros
    assert {digit for _, digit in run.errors} == {0}


def test_a_notebook_that_is_not_there_is_named(mnist_s7):
    code, _, errors = mnist_s7("run", "MNIST_S7_T9")

    assert code == 1
    assert "no notebook MNIST_S7_T9: there are MNIST_S7_T1, MNIST_S7_T2" in errors


def test_readme_writes_the_pages_or_names_what_is_stale(mnist_s7, monkeypatch):
    written = []
    monkeypatch.setattr("mnist_s7.report.pages.write_pages", lambda: written.append("pages"))
    monkeypatch.setattr("mnist_s7.report.pages.stale_pages", lambda at_once: ["README.md is stale"])

    assert mnist_s7("readme") == (0, "", "")
    assert written == ["pages"]
    assert mnist_s7("readme", "--check") == (1, "", "README.md is stale\n")
    monkeypatch.setattr("mnist_s7.report.pages.stale_pages", lambda at_once: [])
    code, output, errors = mnist_s7("readme", "--check")
    assert (code, errors) == (0, "")
    assert output.startswith("README.md, the results page, their figures and the notebooks' tables are what ")
    assert written == ["pages"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep", "T1", "--jobs", "0"], "'0' is not a whole number from 1 to 10,000"),
        (["sweep", "T1", "--epochs", "0"], "'0' is not a whole number from 1 to 1,000,000"),
        (["train", "T1", "--epochs", "-1"], "'-1' is not a whole number"),
        (["train", "T1", "--seed", "1.5"], "'1.5' is not a whole number"),
        (["train", "T1", "--seed", "9" * 5000], "is not a whole number"),
        (["compare", "--seed", "one"], "'one' is not a whole number"),
        (["bench", "--rounds", "0"], "'0' is not a whole number from 1 to 1,000"),
    ],
)
def test_a_number_that_cannot_be_is_refused(mnist_s7, arguments, message):
    code, _, errors = mnist_s7(*arguments)

    assert code == 2
    assert message in errors


@pytest.mark.parametrize("command", ["train", "sweep"])
@pytest.mark.parametrize("device", ["cpu:x", "cpu:1", "cuda:7", "tpu"])
def test_a_device_that_is_not_there_is_named(mnist_s7, monkeypatch, few_digits, tmp_path, command, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(options, "load_digits", lambda *_: few_digits)

    code, _, errors = mnist_s7(command, "T1", "--device", device, "--output", tmp_path)

    assert code == 1
    assert errors == f"mnist-s7 {command}: device is '{device}': on this machine it should be cpu\n"


@pytest.fixture
def trains_in_vain(monkeypatch, few_digits):
    monkeypatch.setattr(options, "load_digits", lambda *_: few_digits)
    monkeypatch.setattr(train, "fit", lambda *_, **__: pytest.fail("trained in vain"))
    monkeypatch.setattr("mnist_s7.sweep.in_processes", lambda *_, **__: pytest.fail("trained in vain"))


@pytest.mark.parametrize("command", ["train", "sweep"])
@pytest.mark.usefixtures("trains_in_vain")
def test_where_a_run_cannot_be_saved_none_is_trained(mnist_s7, tmp_path, command, unprivileged):
    unprivileged.chmod(0o500)
    code, _, errors = mnist_s7(command, "T1", "--output", unprivileged)
    assert (code, errors.count("\n")) == (1, 1)
    assert errors.startswith(f"mnist-s7 {command}: {unprivileged}: cannot be written (Permission denied)")


@pytest.mark.parametrize("command", ["train", "sweep"])
@pytest.mark.usefixtures("trains_in_vain")
def test_a_file_for_a_folder_and_a_folder_for_a_file_are_named(mnist_s7, tmp_path, command):
    (tmp_path / "file").touch()
    code, _, errors = mnist_s7(command, "T1", "--output", tmp_path / "file")
    assert code == 1
    assert f"{tmp_path / 'file'}: is no folder" in errors

    (tmp_path / "T1-seed1-few-digits.json").mkdir()
    code, _, errors = mnist_s7(command, "T1", "--output", tmp_path)
    assert code == 1
    assert f"{tmp_path / 'T1-seed1-few-digits.json'}: " in errors


def test_train_repeats_no_run_and_replaces_no_other(mnist_s7, tmp_path, monkeypatch, few_digits):
    monkeypatch.setattr(options, "load_digits", lambda *_: few_digits)
    train = ["train", "T1", "--device", "cpu", "--output", tmp_path, "--epochs"]
    assert mnist_s7(*train, 2)[0] == 0
    path = tmp_path / "T1-seed1-few-digits.json"
    before = path.read_bytes()

    code, output, _ = mnist_s7(*train, 2)
    assert code == 0
    assert output.startswith(f"{path} is there: final test accuracy ")
    code, _, errors = mnist_s7(*train, 1)
    assert code == 1
    assert (
        "with 2 epochs, and T1-seed1-few-digits with 1 was asked for: choose another folder, or move the file" in errors
    )
    assert path.read_bytes() == before


def test_a_fault_of_our_own_is_no_error_of_the_user(mnist_s7, monkeypatch, few_digits, tmp_path):
    monkeypatch.setattr(options, "load_digits", lambda *_: few_digits)
    monkeypatch.setattr(train, "fit", lambda *_: int("a fault"))

    with pytest.raises(ValueError, match="a fault"):
        mnist_s7("train", "T1", "--output", tmp_path)


def compare_into(monkeypatch, capsys, file):
    """The exit code and the errors of a command whose output goes there."""
    monkeypatch.setattr(sys, "argv", ["mnist_s7", "compare"])
    with os.fdopen(file, "w", buffering=1) as output:
        monkeypatch.setattr(sys, "stdout", output)
        return cli.main(), capsys.readouterr().err


def test_a_reader_that_has_seen_enough_is_no_error(monkeypatch, capsys):
    reading, writing = os.pipe()
    os.close(reading)  # as `| head` does

    assert compare_into(monkeypatch, capsys, writing) == (128 + signal.SIGPIPE, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a file that is always full is Linux's")
def test_an_output_that_takes_no_more_is_one_line(monkeypatch, capsys):
    code, errors = compare_into(monkeypatch, capsys, os.open("/dev/full", os.O_WRONLY))

    assert code == 1
    assert errors == "mnist-s7 compare: its output cannot be written (No space left on device)\n"


def test_a_full_disk_elsewhere_is_not_taken_for_the_outputs(mnist_s7, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mnist_s7.report.stored.series_runs", full)

    with pytest.raises(OSError, match="No space left on device"):
        mnist_s7("compare")


RUNS_A_NOTEBOOK = """
import sys, torch
from pathlib import Path
from mnist_s7 import Digits, cli
from mnist_s7.commands import run
from mnist_s7.report import notebooks
here = Path(sys.argv.pop())
images, labels = torch.zeros(1, 28, 28, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)
run.digits_or_synthetic = lambda: Digits(images, labels, images, labels, "MNIST", "a test")
run.PROJECT, notebooks.NOTEBOOKS = here, here
run.RUNS = notebooks.RUNS = here / "runs" / "results"
sys.exit(cli.main())
"""


def under_nohup():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background


@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGKILL", -9)])
def test_a_run_that_is_ended_leaves_no_kernel(tmp_path, number, code):
    """A hangup does not end it under nohup."""
    source = "from pathlib import Path\nimport os, time\nPath('pid').write_text(str(os.getpid()))\ntime.sleep(600)"
    nbformat.write(
        new_notebook(cells=[new_markdown_cell("# T1"), new_code_cell(source)]), tmp_path / "MNIST_S7_T1.ipynb"
    )
    with subprocess.Popen(
        [sys.executable, "-c", RUNS_A_NOTEBOOK, "run", "MNIST_S7_T1", tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=under_nohup,
    ) as process:
        wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        process.send_signal(signal.SIGHUP)
        process.send_signal(getattr(signal, number))
        _, errors = process.communicate(timeout=PATIENCE)

    assert process.returncode == code
    assert len(errors.strip().splitlines()) == (number != "SIGKILL")
    wait_for(lambda: has_ended(int((tmp_path / "pid").read_text())))
    assert (tmp_path / "runs" / "MNIST_S7_T1-unfinished.ipynb").exists() == (number == "SIGINT" or number == "SIGTERM")


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGTERM, 143, "mnist-s7: stopped by SIGTERM; no run was left half-written"),
        (signal.SIGINT, 130, "mnist-s7 sweep: stopped; no run was left half-written; the same command goes on"),
    ],
    ids=["SIGTERM", "SIGINT"],
)
def test_a_sweep_that_is_told_to_end_leaves_no_lock_and_no_worker(tmp_path, number, code, said):
    program = (
        "import sys, torch; from mnist_s7 import Digits, cli; from mnist_s7.commands import options;"
        "images, labels = torch.zeros(60000, 28, 28, dtype=torch.uint8), torch.zeros(60000, dtype=torch.int64);"
        "options.load_digits = lambda *_: Digits(images, labels, images, labels, 'zeros', 'a test');"
        "sys.exit(cli.main())"
    )
    arguments = ["sweep", "T1", "--jobs", "2", "--device", "cpu", "--output", str(tmp_path)]
    command = [sys.executable, "-c", program, *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=under_nohup) as process:
        wait_for(lambda: len(list(tmp_path.glob(".T1-seed*.lock"))) == 2)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        _, errors = process.communicate(timeout=PATIENCE)

    assert (process.returncode, errors) == (code, f"\n{said}\n")
    assert children
    wait_for(lambda: all(has_ended(child.pid) for child in children))
    assert list(tmp_path.iterdir()) == []


def test_teachers_have_spoken_before_the_notebook_is_executed(mnist_s7, tmp_path, monkeypatch, few_digits):
    """Only those that a notebook needs."""
    monkeypatch.setattr(run, "digits_or_synthetic", lambda: few_digits)
    monkeypatch.setattr(run, "PROJECT", tmp_path)
    monkeypatch.setattr(run, "RUNS", tmp_path / "results")
    done = []
    monkeypatch.setattr("mnist_s7.sweep.teach", lambda experiment, digits: done.append(experiment.name))
    monkeypatch.setattr("mnist_s7.report.notebooks.execute", lambda names, *_: done.append(names) or [])

    assert mnist_s7("run", "MNIST_S7_T4")[0] == 0
    code, output, _ = mnist_s7("run", "MNIST_S7_T5", "MNIST_S7_T4")

    assert code == 0
    assert "The soft targets of T5" in output
    taught, notebooks = done[1:]
    assert (done[0], taught, sorted(notebooks)) == (["MNIST_S7_T4"], "T5", ["MNIST_S7_T4", "MNIST_S7_T5"])

    monkeypatch.setattr("mnist_s7.training.SoftTargets.missing", lambda self, epochs: [])
    code, output, _ = mnist_s7("run", "MNIST_S7_T5")

    assert code == 0
    assert done[3:] == [["MNIST_S7_T5"]] and "soft targets" not in output


def test_run_does_not_replace_another_run(mnist_s7, tmp_path, monkeypatch, few_digits):
    """Of fewer epochs, say; that is noticed before any notebook is executed."""
    monkeypatch.setattr(options, "load_digits", lambda *_: few_digits)
    monkeypatch.setattr(run, "digits_or_synthetic", lambda: few_digits)
    monkeypatch.setattr(run, "PROJECT", tmp_path)
    monkeypatch.setattr(run, "RUNS", tmp_path / "results")
    monkeypatch.setattr("mnist_s7.report.notebooks.execute", lambda *_: pytest.fail("executed in vain"))
    assert mnist_s7("train", "T1", "--epochs", 1, "--device", "cpu", "--output", tmp_path / "results")[0] == 0

    code, _, errors = mnist_s7("run", "MNIST_S7_T1")

    assert code == 1
    assert "with 1 epochs, and T1-seed1-few-digits with 15 was asked for" in errors
