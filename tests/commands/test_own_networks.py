"""A network of one's own, from its file to a place beside the series."""

import csv
import dataclasses
import shutil

import pytest
from example_networks import EXPERIMENT, NETWORK
from PIL import Image

from mnist_s7 import SERIES, DigitsUnavailable, Run
from mnist_s7.catalog import EXPERIMENTS
from mnist_s7.commands import compare, options
from mnist_s7.results import NETWORKS, PUBLISHED
from mnist_s7.sweep import RunLocks


def table(output, first):
    """The cells of the table whose header begins with `first`."""
    lines = output.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {first}"))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


@pytest.mark.parametrize(("asked", "name"), [(":MINE", "MINE"), (":Net", "Net")])
def test_a_network_of_ones_own_is_trained_and_evaluated(mnist_s7, on_few_digits, own_file, tmp_path, asked, name):
    path = own_file(NETWORK, EXPERIMENT)
    folder = tmp_path / "runs"

    code, output, errors = mnist_s7("train", f"{path}{asked}", "--epochs", 1, "--device", "cpu", "--output", folder)

    assert (code, errors) == (0, "")
    run = Run.load(folder / f"{name}-seed1-few-digits.json")
    assert f"saved as {folder / run.name}.json and {run.name}.safetensors" in output
    for suffix in (".json", ".safetensors"):
        code, output, errors = mnist_s7("evaluate", f"{path}{asked}", "--weights", folder / f"{run.name}{suffix}")
        assert (code, errors) == (0, "")
        assert f"{name} (seed 1) on the test images of few digits" in output
        [_, _, [images, wrong, accuracy, *_]] = table(output, "images")
        assert (images, int(wrong)) == ("100", len(run.errors))
        assert float(accuracy) == pytest.approx(run.final.test_accuracy, abs=0.005)


def test_weights_of_ones_own_need_the_file_with_the_network(mnist_s7, on_few_digits, own_file, tmp_path):
    path = own_file(NETWORK, EXPERIMENT)
    mnist_s7("train", f"{path}:MINE", "--epochs", 1, "--device", "cpu", "--output", tmp_path)
    weights = tmp_path / "MINE-seed1-few-digits.safetensors"

    code, _, errors = mnist_s7("evaluate", "T3", "--weights", weights)
    assert code == 1
    assert "weights of MINE, and T3 was asked for" in errors
    code, _, errors = mnist_s7("evaluate", f"{path}:MINE")
    assert code == 1
    assert "MINE is not trained: `mnist-s7 train` does that, and --weights names the run" in errors


@pytest.mark.filterwarnings("default::mnist_s7.commands.options.ExperimentChanged")
def test_weights_of_a_file_that_was_changed_since_come_with_a_warning(mnist_s7, on_few_digits, own_file, tmp_path):
    path = own_file(NETWORK)
    mnist_s7("train", path, "--epochs", 1, "--device", "cpu", "--output", tmp_path)
    own_file(NETWORK.replace("F.relu", "F.silu"))

    code, _, errors = mnist_s7("evaluate", path, "--weights", tmp_path / "Net-seed1-few-digits.json")

    assert code == 0
    assert "Net-seed1-few-digits.json: Net has been changed since these weights were trained" in errors
    assert errors.count("\n") == 1


def test_a_network_that_cannot_work_is_told_in_one_line(mnist_s7, on_few_digits, own_file, tmp_path):
    path = own_file(NETWORK.replace("nn.Linear(WIDTH * 16, 10)", "nn.Linear(WIDTH * 16, 12)"))

    for command in ("train", "sweep", "bench", "evaluate"):
        code, output, errors = mnist_s7(command, path)
        assert (code, output) == (1, "")
        assert errors.startswith(f"mnist-s7 {command}: Net gives (3, 12) for 3 images: (3, 10) is needed")
        assert errors.count("\n") == 1


def test_settings_make_a_variant_beside_the_experiment(mnist_s7, on_few_digits, tmp_path):
    train = ["train", "T1", "--device", "cpu", "--output", tmp_path, "--set", "epochs=1", "lr=0.1"]

    code, output, _ = mnist_s7(*train)

    assert code == 0
    assert "T1-lr=0.1-epochs=1 on few digits" in output
    run = Run.load(tmp_path / "T1-lr=0.1-epochs=1-seed1-few-digits.json")
    assert [epoch.lr for epoch in run.epochs] == [0.1]
    assert "is there: final test accuracy" in mnist_s7(*train)[1]


def test_a_sweep_takes_own_networks_settings_and_weights(mnist_s7, on_few_digits, own_file, tmp_path):
    path = own_file(NETWORK, EXPERIMENT)
    folder = tmp_path / "runs"
    sweep = ["sweep", "T3", f"{path}:MINE", "--seeds", "1-2", "--device", "cpu", "--set", "epochs=12", "--weights"]

    code, output, _ = mnist_s7(*sweep, "--output", folder)

    assert code == 0
    assert "T3-epochs=12, MINE-epochs=12 on few digits, seeds 1-2" in output
    assert [row[0] for row in table(output, "test accuracy")[2:]] == ["T3-epochs=12", "MINE-epochs=12"]
    assert "MINE-epochs=12 minus T3-epochs=12" in output
    assert len(list(folder.glob("*.safetensors"))) == 4


@pytest.fixture
def two_swept(mnist_s7, monkeypatch, few_digits, own_file, tmp_path):
    """Runs of T3 and MINE, two seeds each, said to be on MNIST."""
    digits = dataclasses.replace(few_digits, name="MNIST")
    monkeypatch.setattr("mnist_s7.results.run.TESTED_ON", {})
    for module in (options, compare):
        monkeypatch.setattr(module, "load_digits", lambda *_, **__: digits)
    path = own_file(NETWORK, EXPERIMENT)
    sweep = ["sweep", "T3", f"{path}:MINE", "--seeds", "1-2", "--epochs", 12, "--device", "cpu"]
    assert mnist_s7(*sweep, "--output", tmp_path / "runs")[0] == 0
    return tmp_path / "runs", path


def test_compared_it_has_the_tables_tests_and_figures_of_the_series(mnist_s7, two_swept, tmp_path):
    folder, path = two_swept
    by_file = mnist_s7("compare", folder, "T3", f"{path}:MINE", "--figures", tmp_path / "by-file")

    del EXPERIMENTS["MINE"], NETWORKS["MINE"]  # as in a process that has not read the file
    by_name = mnist_s7("compare", folder, "T3", "MINE", "--figures", tmp_path / "by-name")

    for (code, output, errors), figures in ((by_file, "by-file"), (by_name, "by-name")):
        assert (code, errors) == (0, "")
        assert table(output, "  ")[0][1:] == ["T3, seed 1", "MINE, seed 1"]
        means = {row[0]: row for row in table(output, "test accuracy")}
        assert means["MINE"][1:3] == ["1,370", "2"]
        [_, _, difference] = table(output, "difference")
        assert difference[0] == "MINE minus T3"
        assert difference[2] == "Welch's, 2 and 2 runs"
        drawn = {path.name for path in (tmp_path / figures).iterdir()}
        assert drawn == {
            f"T3-MINE-{what}.png"
            for what in (
                *("accuracy-and-parameters", "accuracy-by-epoch", "disagreements-MINE", "final-accuracy"),
                "one-run-each",
            )
        }
        for name in drawn:
            assert str(tmp_path / figures / name) in output
            with Image.open(tmp_path / figures / name) as image:
                assert image.size[0] > 500
    rows = {row[0]: row[1:] for row in table(by_file[1], "  ")}
    assert rows["change"][1] == "a network of my_net.py"
    assert rows["receptive field"][1] != "-"
    assert {row[0]: row[2] for row in table(by_name[1], "  ")}["change"] == "-"


def test_what_the_folder_lacks_is_taken_from_the_published_runs(mnist_s7, two_swept, tmp_path, monkeypatch):
    """Where there are no digits, what needs none of them."""

    def nowhere(*_, **__):
        raise DigitsUnavailable("no digits", named=False)

    monkeypatch.setattr(compare, "load_digits", nowhere)
    folder, path = two_swept

    code, output, _ = mnist_s7("compare", folder, "T2", f"{path}:MINE", "--figures", tmp_path / "figures")

    assert code == 0
    assert f"{folder} has no run of T2: those of {PUBLISHED} are compared." in output
    means = {row[0]: row for row in table(output, "test accuracy")}
    assert means["T2"][2] == "10"
    assert "2 and 10 runs" in output
    assert "(without the images that one gets right and the other wrong: no digits)" in output
    assert "T2-MINE-accuracy-by-epoch.png" not in output  # they have not the same number of epochs


def test_a_name_without_runs_says_how_to_make_some(mnist_s7, two_swept, tmp_path):
    folder, path = two_swept

    code, _, errors = mnist_s7("compare", folder, "T3", f"{path}:Net")
    assert code == 1
    assert f"{folder}: no run of Net on MNIST, but of MINE, T3; `mnist-s7 sweep {path}:Net --output {folder}`" in errors
    code, _, errors = mnist_s7("compare", folder, "T3", "OTHER")
    assert code == 1
    assert f"{folder}: no run of OTHER on MNIST, but of MINE, T3" in errors
    code, _, errors = mnist_s7("compare", folder / "nowhere", "T3")
    assert code == 1
    assert f"{folder / 'nowhere'}: there is no such folder" in errors


def test_runs_of_a_file_that_was_changed_are_refused(mnist_s7, two_swept, own_file):
    folder, _ = two_swept
    path = own_file(NETWORK.replace("F.relu", "F.silu"), EXPERIMENT)

    code, _, errors = mnist_s7("compare", folder, f"{path}:MINE", "T3")

    assert code == 1
    assert "MINE-seed1.json: a run of another recipe than MINE has today" in errors


def test_without_names_the_series_is_compared(mnist_s7, tmp_path):
    code, output, _ = mnist_s7("compare", "--figures", tmp_path)

    assert code == 0
    assert table(output, "  ")[0][1:] == [f"{experiment.name}, seed 1" for experiment in SERIES]
    assert [row[0] for row in table(output, "test accuracy")[2:]] == [experiment.name for experiment in SERIES]


def test_an_iteration_without_a_run_in_a_folder_is_left_out(mnist_s7, tmp_path):
    for name in ("T1-seed1", "T3-seed1", "T3-seed2"):
        shutil.copy(PUBLISHED / f"{name}.json", tmp_path)

    code, output, _ = mnist_s7("compare", tmp_path, "--figures", tmp_path / "figures")

    assert code == 0
    assert output.startswith(f"Without T2, T4, T5: no run with seed 1 on MNIST in {tmp_path}.\n")
    assert table(output, "  ")[0][1:] == ["T1, seed 1", "T3, seed 1"]
    assert [row[0] for row in table(output, "test accuracy")[2:]] == ["T1", "T3"]


def test_a_run_is_also_a_table_and_a_log(mnist_s7, on_few_digits, tmp_path):
    pytest.importorskip("tensorboard")
    train = ["train", "T1", "--epochs", 2, "--device", "cpu", "--output", tmp_path, "--csv", "--tensorboard"]

    code, output, _ = mnist_s7(*train)

    assert code == 0
    run = Run.load(tmp_path / "T1-seed1-few-digits.json")
    assert f"tensorboard --logdir {tmp_path / 'tensorboard'}" in output
    assert len(list((tmp_path / "tensorboard" / run.name).glob("events.*"))) == 1
    with (tmp_path / f"{run.name}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["test_accuracy_percent"]) for row in rows] == [epoch.test_accuracy for epoch in run.epochs]


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_runs_of_ones_own_are_not_published(mnist_s7, on_few_digits, own_file, command, monkeypatch):
    monkeypatch.setattr("mnist_s7.results.folders.STORED", {"few digits": PUBLISHED})

    code, _, errors = mnist_s7(command, own_file(NETWORK), "--output", PUBLISHED)

    assert code == 1
    assert "runs of Net are not published" in errors


def test_a_run_that_another_process_makes_is_not_made_twice(mnist_s7, on_few_digits, tmp_path):
    locks = RunLocks(tmp_path)
    assert locks.take("T1-seed1-few-digits")

    code, _, errors = mnist_s7("train", "T1", "--epochs", 1, "--output", tmp_path)

    assert code == 1
    assert "another process is making this run" in errors
    locks.give_back("T1-seed1-few-digits")


def test_a_place_for_weights_that_cannot_be_written_is_told_before_the_training(mnist_s7, on_few_digits, tmp_path):
    (tmp_path / "T1-seed1-few-digits.safetensors").mkdir()

    code, output, errors = mnist_s7("train", "T1", "--epochs", 1, "--output", tmp_path)

    assert (code, output) == (1, "")
    assert "is a folder, where a file is to be written" in errors
