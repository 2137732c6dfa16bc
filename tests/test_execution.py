"""Executing a notebook: shown as it runs, stored clean, labelled on synthetic digits, kept when a cell fails."""

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from mnist_s7 import notebooks
from mnist_s7.data import Digits

PRINTS = "print('first', end='\\r')\nprint('second')"
SHOWS = "import os\nprint(os.environ['MNIST_S7_RESULTS'], os.environ.get('MNIST_S7_DATASET'))"


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """Executes a notebook with these cells; gives the notebook that was written, and its name."""
    monkeypatch.setattr(notebooks, "NOTEBOOKS", tmp_path)
    monkeypatch.delenv("MNIST_S7_DATASET", raising=False)

    def run(*cells, name="MNIST", folder=tmp_path / "out"):
        cells = [new_markdown_cell("# A title\n\nand more"), *map(new_code_cell, cells)]
        nbformat.write(new_notebook(cells=cells), tmp_path / "short.ipynb")
        path = notebooks.execute("short", folder, tmp_path / "results", Digits(*[None] * 4, name, "a test"))
        return nbformat.read(path, as_version=4), path.name

    return run


def test_what_is_printed_is_shown_and_stored_without_remains(execute, capsys):
    notebook, name = execute(PRINTS)

    assert "second" in capsys.readouterr().out
    assert name == "short.ipynb"
    assert notebook.cells[1].outputs[0].text == "second\n"
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }


def test_stand_in_digits_are_named_in_title_and_file(execute, tmp_path):
    notebook, name = execute(SHOWS, name="synthetic digits")

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


def test_a_failure_never_overwrites_the_notebook_itself(execute, tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "RUNS", tmp_path / "runs" / "results")
    with pytest.raises(CellExecutionError):
        execute("1 / 0", folder=tmp_path)

    assert nbformat.read(tmp_path / "short.ipynb", as_version=4).cells[1].outputs == []
    assert nbformat.read(tmp_path / "runs" / "short.ipynb", as_version=4).cells[1].outputs != []


def test_a_failing_cell_is_an_error_and_what_ran_before_is_kept(execute, tmp_path):
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        execute(PRINTS, "1 / 0", PRINTS)

    written = nbformat.read(tmp_path / "out" / "short.ipynb", as_version=4)
    assert written.cells[1].outputs[0].text == "second\n"
    assert written.cells[2].outputs[0].ename == "ZeroDivisionError"
    assert written.cells[3].outputs == []


def test_a_trainings_live_bar_leaves_one_line(execute, capsys):
    """In a real kernel: lines as printed text, and one output, redrawn in place, that ends with the run's time."""
    notebook, _ = execute(
        "import torch\nfrom mnist_s7 import T3, Digits, fit\n"
        "images, labels = torch.zeros(300, 28, 28, dtype=torch.uint8), torch.arange(300) % 10\n"
        "run = fit(T3, Digits(images, labels, images, labels, 'zeros', 'a test'), epochs=2)"
    )

    outputs = notebook.cells[1].outputs
    assert [output.output_type for output in outputs] == ["display_data", "stream"]
    assert outputs[0].data["text/plain"].startswith("T3: 2 epochs in ")
    lines = outputs[1].text.splitlines()
    assert [line.split("=")[0].split(":")[0] for line in lines if line] == [
        "Adjusting learning rate to 5.0000e-02.",
        "Epoch",
        "Test set",
        "Epoch",
        "Test set",
    ]
