"""The stored notebooks are executed, clean and small, and alike in their sections."""

import re

import nbformat
import pytest

from mnist_s7 import SERIES, report
from mnist_s7.notebooks import NOTEBOOKS, ORDER
from mnist_s7.readme import published_runs

SECTIONS = ["Target", "Change", "Model", "Receptive field", "Data", "Training", "Result", "Analysis"]
MACHINE_PATH = re.compile(r"(?<![\w.])/(home|root|tmp|work|Users|usr|opt|mnt)/|[A-Z]:\\\\")


@pytest.fixture(params=ORDER)
def notebook(request):
    return nbformat.read(NOTEBOOKS / f"{request.param}.ipynb", as_version=4)


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def texts(notebook):
    for output in outputs(notebook):
        yield from [output.text] if output.output_type == "stream" else map(str, output.get("data", {}).values())


def test_every_notebook_is_in_the_order():
    assert sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")) == sorted(ORDER)


def test_is_valid(notebook):
    nbformat.validate(notebook)


def test_was_executed_in_full_and_in_order(notebook):
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]

    assert counts == list(range(1, len(counts) + 1))


def test_has_no_errors_and_no_warnings(notebook):
    assert [output for output in outputs(notebook) if output.output_type == "error"] == []
    assert [output.text for output in outputs(notebook) if output.get("name") == "stderr"] == []


def test_has_no_widgets_and_no_remains_of_bars(notebook):
    kinds = {kind for output in outputs(notebook) for kind in output.get("data", {})}

    assert not any("widget" in kind for kind in kinds)
    assert "widgets" not in notebook.metadata
    assert not any("\r" in text for text in texts(notebook))


def test_has_no_machine_paths(notebook):
    assert [text for text in texts(notebook) if MACHINE_PATH.search(text)] == []


def test_is_small(notebook):
    assert sum(len(text) for text in texts(notebook)) < 500_000


@pytest.mark.parametrize("name", ORDER[:-1])
def test_iterations_have_the_same_sections(name):
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    headings = [
        line.removeprefix("## ")
        for cell in notebook.cells
        if cell.cell_type == "markdown"
        for line in cell.source.splitlines()
        if line.startswith("## ")
    ]

    assert headings == SECTIONS


@pytest.mark.parametrize("name", ORDER[:-1])
def test_models_and_tables_are_compared_on_every_execution(name):
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    compared = [cell.source for cell in notebook.cells if "# NBVAL_CHECK_OUTPUT" in cell.source]

    for what in ("report.architecture(", "report.summary(", "receptive_field(", ".train_transform"):
        assert any(what in source for source in compared)
    assert any(cell.source == "print(check_against_stored(run))" for cell in notebook.cells)


def shown(name, call):
    """The Markdown that the cell which ends with `call` shows."""
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    [cell] = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.endswith(call)]
    return cell.outputs[0].data["text/markdown"]


@pytest.mark.parametrize("experiment", SERIES, ids=lambda experiment: experiment.name)
def test_what_an_iteration_says_is_what_its_published_run_gives(experiment):
    run, name = published_runs()[experiment.name], f"MNIST_S7_{experiment.name}"

    assert shown(name, f"report.verdicts({experiment.name}, run)") == report.verdicts(experiment, run)
    assert shown(name, f"report.analysis({experiment.name}, run)") == report.analysis(experiment, run)
    assert shown(name, f"report.targets({experiment.name})") == report.targets(experiment)


def test_the_comparison_is_that_of_the_published_runs():
    assert shown("compare", "report.comparison(runs)") == report.comparison(published_runs())
