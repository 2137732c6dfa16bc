"""Executing notebooks: how far they are, stored clean, labelled on synthetic digits, kept when a cell fails."""

import os
import signal
import threading

import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from waiting import has_ended, wait_for

from mnist_s7.data import Digits
from mnist_s7.report import notebooks
from mnist_s7.report.jupyter_kernels import LONGEST
from mnist_s7.report.notebook_progress import Overview
from mnist_s7.report.notebooks import NotebookFailed, failure

PRINTS = "print('first', end='\\r')\nprint('second')"
SHOWS = "import os\nprint(os.environ['MNIST_S7_RESULTS'], os.environ.get('MNIST_S7_DATASET'))"
IMAGES, LABELS = torch.zeros(1, 28, 28, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a notebook with these cells under a title."""
    monkeypatch.setattr(notebooks, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(notebooks, "RUNS", tmp_path / "runs" / "results")
    monkeypatch.delenv("MNIST_S7_DATASET", raising=False)

    def one(name, *cells):
        cells = [new_markdown_cell("# A title\n\nand more"), *map(new_code_cell, cells)]
        nbformat.write(new_notebook(cells=cells), tmp_path / f"{name}.ipynb")

    return one


def execute_all(names, tmp_path, at_once=1, digits="MNIST", folder=None):
    digits = Digits(IMAGES, LABELS, IMAGES, LABELS, digits, "a test")
    overview = Overview(dict.fromkeys(names, 1.0), at_once)
    return notebooks.execute(names, at_once, folder or tmp_path / "out", tmp_path / "results", digits, overview)


@pytest.fixture
def execute(write, tmp_path):
    """Executes a notebook with these cells; gives the notebook that was written, and its name."""

    def run(*cells, digits="MNIST", folder=None):
        write("short", *cells)
        [path] = execute_all(["short"], tmp_path, digits=digits, folder=folder)
        return nbformat.read(path, as_version=4), path.name

    return run


def test_what_is_printed_is_stored_without_remains(execute):
    notebook, name = execute(PRINTS)

    assert name == "short.ipynb"
    assert notebook.cells[1].outputs[0].text == "second\n"
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }


def test_synthetic_digits_are_named_in_title_and_file(execute, tmp_path):
    notebook, name = execute(SHOWS, digits="synthetic digits")

    assert name == "short-synthetic-digits.ipynb"
    assert notebook.cells[0].source == "# A title (on synthetic digits, not on MNIST)\n\nand more"
    assert notebook.cells[1].outputs[0].text == f"{tmp_path / 'results'} synthetic\n"


def test_on_mnist_nothing_is_named(execute, tmp_path):
    notebook, _ = execute(SHOWS)

    assert notebook.cells[0].source == "# A title\n\nand more"
    assert notebook.cells[1].outputs[0].text == f"{tmp_path / 'results'} None\n"


def test_a_relative_place_of_the_digits_is_taken_from_here(execute, tmp_path, monkeypatch):
    """The kernel works in the notebook's folder, and would look for it there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MNIST_S7_DATA", "digits")

    notebook, _ = execute("import os\nprint(os.environ['MNIST_S7_DATA'])")

    assert notebook.cells[1].outputs[0].text == f"{tmp_path / 'digits'}\n"


def test_a_failure_never_overwrites_the_notebook_itself(execute, tmp_path):
    with pytest.raises(NotebookFailed):
        execute("1 / 0", folder=tmp_path)

    assert nbformat.read(tmp_path / "short.ipynb", as_version=4).cells[1].outputs == []
    assert nbformat.read(tmp_path / "runs" / "short-unfinished.ipynb", as_version=4).cells[1].outputs != []


def test_a_failing_cell_is_an_error_and_what_ran_before_is_kept(execute, tmp_path):
    with pytest.raises(NotebookFailed) as error:
        execute(PRINTS, "1 / 0", PRINTS)

    lines = str(error.value).splitlines()
    assert lines[:2] == ["short, cell 2 failed:", "    1 / 0"]
    assert lines[-2] == "ZeroDivisionError: division by zero"
    assert lines[-1] == f"As far as it came it is in {tmp_path / 'runs' / 'short-unfinished.ipynb'}."
    assert len(lines) <= 40
    assert not (tmp_path / "out").exists()
    written = nbformat.read(tmp_path / "runs" / "short-unfinished.ipynb", as_version=4)
    assert written.cells[1].outputs[0].text == "second\n"
    assert written.cells[2].outputs[0].ename == "ZeroDivisionError"
    assert written.cells[3].outputs == []


def test_a_trainings_live_bar_leaves_one_line(execute):
    """In a real kernel: lines as printed text, and one output, redrawn in place, that ends with the run's time."""
    notebook, _ = execute(
        "import torch\nfrom mnist_s7 import T3, Digits, fit\n"
        "images, labels = torch.zeros(300, 28, 28, dtype=torch.uint8), torch.arange(300) % 10\n"
        "run = fit(T3, Digits(images, labels, images, labels, 'zeros', 'a test'), epochs=2)"
    )

    outputs = notebook.cells[1].outputs
    assert [output.output_type for output in outputs] == ["display_data", "stream"]
    assert outputs[0].data.keys() == {"text/plain"}
    assert outputs[0].data["text/plain"].startswith("T3: 2 epochs in ")
    lines = outputs[1].text.splitlines()
    assert [line.split("=")[0].split(":")[0] for line in lines if line] == [
        "Adjusting learning rate to 5.0000e-02.",
        "Epoch",
        "Test set",
        "Epoch",
        "Test set",
    ]


def test_one_that_fails_does_not_stop_the_others(write, tmp_path):
    write("first", "1 / 0")
    write("second", PRINTS)
    write("third", "import os\nos._exit(1)")

    with pytest.raises(NotebookFailed) as error:
        execute_all(["first", "second", "third"], tmp_path, at_once=2)

    assert "first, cell 1 failed:" in str(error.value)
    assert "third: its kernel ended" in str(error.value)
    assert "second" not in str(error.value)
    assert nbformat.read(tmp_path / "out" / "second.ipynb", as_version=4).cells[1].outputs[0].text == "second\n"


def test_a_notebook_that_cannot_be_written_is_an_error_and_stops_no_other(write, tmp_path, monkeypatch):
    write("short", PRINTS)
    write("second", PRINTS)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "short.ipynb").mkdir()

    with pytest.raises(NotebookFailed, match="short: .*short.ipynb: cannot be written") as error:
        execute_all(["short", "second"], tmp_path)
    assert "second" not in str(error.value)
    assert (tmp_path / "out" / "second.ipynb").exists()


def test_what_stops_it_stops_the_kernels(write, tmp_path):
    """Ctrl-C, when one of three notebooks waits for its turn."""
    for name in ("first", "second", "third"):
        write(name, f"from pathlib import Path\nimport os\nPath('{name}').write_text(str(os.getpid()))", SLEEPS)

    def stop():
        try:
            wait_for(lambda: all(_written(tmp_path / name) for name in ("first", "second")))
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
    try:
        threading.Thread(target=stop).start()
        with pytest.raises(KeyboardInterrupt):
            execute_all(["first", "second", "third"], tmp_path, at_once=2)
    finally:
        signal.signal(signal.SIGINT, before)

    assert not (tmp_path / "third").exists()
    for name in ("first", "second"):
        assert has_ended(int((tmp_path / name).read_text()))
        assert (tmp_path / "runs" / f"{name}-unfinished.ipynb").exists()  # as far as it came


def _written(path):
    """Whether it has its content: a file is there before."""
    return path.exists() and path.read_text() != ""


SLEEPS = "import time\ntime.sleep(600)"


def test_a_temporary_folder_with_a_long_name_is_no_place_for_sockets(execute, tmp_path, monkeypatch):
    place = tmp_path / ("long" * 25)
    place.mkdir()
    assert len(str(place)) > LONGEST
    monkeypatch.setattr("tempfile.tempdir", str(place))

    notebook, _ = execute(PRINTS)

    assert notebook.cells[1].outputs[0].text == "second\n"


def test_without_a_folder_for_sockets_they_are_tcps(execute, monkeypatch):
    monkeypatch.setattr("mnist_s7.report.jupyter_kernels._short_folder", lambda: None)

    notebook, _ = execute(PRINTS)

    assert notebook.cells[1].outputs[0].text == "second\n"


def test_a_failure_is_short_whatever_the_traceback():
    text = failure("a notebook, cell 3", "one\ntwo\nthree\nfour", "\x1b[31m" + "x" * 10_000 + "\n" * 100 + "Error: end")

    assert text.startswith("a notebook, cell 3 failed:\n    one\n    two\n    three\n  ...\n")
    assert text.endswith("\nError: end")
    assert "\x1b" not in text
    assert len(text.splitlines()) <= 30 and max(map(len, text.splitlines())) <= 300


def test_a_file_that_is_no_notebook_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "NOTEBOOKS", tmp_path)
    for content in ("", "{", "[]", "{}"):
        (tmp_path / "short.ipynb").write_text(content)
        with pytest.raises(NotebookFailed, match="short.ipynb: no notebook that can be read"):
            execute_all(["short"], tmp_path)
    with pytest.raises(NotebookFailed, match="nowhere.ipynb: no notebook that can be read"):
        execute_all(["nowhere"], tmp_path)
