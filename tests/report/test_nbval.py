"""How notebooks are tested: nothing that a kernel sends is lost, and a failure is short."""

import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from mnist_s7.report.notebooks import NOTEBOOKS

UPDATES = """
from IPython.display import display
handle = display({"text/plain": ""}, raw=True, display_id=True)
for count in range(5_000):
    handle.update({"text/plain": f"line {count}"}, raw=True)
print("end")"""

FAILS = r"""
def deep(n):
    return 1 / n if n == 0 else deep(n - 1)

print("x\n" * 10_000)
deep(200)"""

# Each cell with what it is stored to print.
CELLS = {
    "updates": [(UPDATES, "end\n"), ("# NBVAL_CHECK_OUTPUT\nprint(count)", "4999\n")],
    "fails": [("print(1)", "1\n"), (FAILS, ""), ("print(2)", "2\n"), ("print(3)", "3\n")],
    "differs": [("# NBVAL_CHECK_OUTPUT\nprint(1)", "2\n"), ("# NBVAL_CHECK_OUTPUT\nprint(3)", "3\n")],
    "dies": [("import os\nos._exit(1)", ""), ("print(1)", "1\n")],
}


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    """The notebooks tested as `make test` does it, without MNIST."""
    folder = tmp_path_factory.mktemp("notebooks")
    shutil.copy(NOTEBOOKS / "conftest.py", folder)
    for name, cells in CELLS.items():
        notebook = new_notebook()
        for count, (source, printed) in enumerate(cells, start=1):
            outputs = [new_output("stream", text=printed)] if printed else []
            notebook.cells.append(new_code_cell(source.strip(), execution_count=count, outputs=outputs))
        nbformat.write(notebook, folder / f"{name}.ipynb")
    options = ["--nbval-lax", "--nbval-current-env", "-v", "-p", "no:cacheprovider", "-p", "no:anyio", "--color=no"]
    environment = os.environ | {"MNIST_S7_DATASET": "synthetic"}
    command = [sys.executable, "-m", "pytest", *options, folder]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def outcomes(tested, name):
    return re.findall(rf"{name}::ipynb::Cell \d (\w+)", tested.stdout.partition("= FAILURES =")[0])


def report(tested, name):
    """What is shown of the notebook's one cell that failed."""
    failures = re.split(r"\n_+ (\w+)\.ipynb::Cell \d _+\n", tested.stdout.partition("= short test summary")[0])
    [text] = [text for found, text in zip(failures[1::2], failures[2::2], strict=True) if found == name]
    assert len(text.splitlines()) <= 40
    return text


def test_whatever_number_of_messages_a_cell_sends_the_last_one_arrives(tested):
    """nbval reads them when the cell has ended."""
    assert outcomes(tested, "updates") == ["PASSED", "PASSED"]
    assert "iopub" not in tested.stdout


def test_a_failure_is_short_and_what_follows_from_it_is_skipped(tested):
    assert outcomes(tested, "fails") == ["PASSED", "FAILED", "SKIPPED", "SKIPPED"]
    shown = report(tested, "fails")
    assert shown.startswith("fails.ipynb, Cell 1 failed:\n    def deep(n):")
    assert "ZeroDivisionError: division by zero" in shown


def test_another_output_than_the_stored_one_is_a_failure_and_no_more(tested):
    assert outcomes(tested, "differs") == ["FAILED", "PASSED"]
    assert "assert reference_output == test_output failed" in report(tested, "differs")


def test_a_kernel_that_dies_is_one_failure(tested):
    assert outcomes(tested, "dies") == ["FAILED", "SKIPPED"]
    assert "its kernel died" in report(tested, "dies")


def test_without_mnist_the_end_says_what_was_not_tested(tested):
    assert tested.returncode == 1
    assert "Without MNIST: 0 unit tests were skipped, and the notebooks were executed on synth" in tested.stdout
    assert "set MNIST_S7_DATA to a folder" in tested.stdout
