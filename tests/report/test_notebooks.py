"""The stored notebooks are executed, clean and small, and alike in their sections."""

import re

import nbformat
import pytest

from mnist_s7 import SERIES, Run
from mnist_s7.catalog import EXPERIMENTS
from mnist_s7.report import notebooks
from mnist_s7.report.notebooks import NOTEBOOKS, ORDER, refresh, stale_cells
from mnist_s7.results import PUBLISHED

SECTIONS = ["Target", "Change", "Model", "Receptive field", "Data", "Training", "Result", "Analysis", "Try it"]
TRAINS = "run = fit({}, digits, seed=1)\nreport.save(run)"
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
    """GitHub shows notebooks of up to about a megabyte."""
    assert sum(len(text) for text in texts(notebook)) < 900_000


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

    taught = ["Teachers"] if EXPERIMENTS[name.removeprefix("MNIST_S7_")].distillation else []
    assert headings == [*SECTIONS[:5], *taught, *SECTIONS[5:]]


@pytest.mark.parametrize("name", ORDER[:-1])
def test_models_and_tables_are_compared_on_every_execution(name):
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    compared = [cell.source for cell in notebook.cells if "# NBVAL_CHECK_OUTPUT" in cell.source]

    for what in ("report.architecture(", "report.summary(", "receptive_field(", ".train_transform"):
        assert any(what in source for source in compared)
    assert any(cell.source == "report.check_rerun(run)" for cell in notebook.cells)


@pytest.mark.parametrize("name", ORDER)
def test_shows_what_the_published_runs_give(name):
    assert stale_cells(name) == []


@pytest.fixture
def tampered(tmp_path, monkeypatch):
    """Takes a copy of a stored notebook for it, after `change` of its cells, by the last lines of their sources."""

    def tamper(name, change=lambda cells: None):
        notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
        change({cell.source.splitlines()[-1]: cell for cell in notebook.cells if cell.source})
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
        return tmp_path / f"{name}.ipynb"

    monkeypatch.setattr(notebooks, "NOTEBOOKS", tmp_path)
    return tamper


def replace_in(cell, old, new):
    """In all that the cell shows."""
    for output in cell.outputs:
        shown = output if output.output_type == "stream" else output.data
        for kind in ["text"] if output.output_type == "stream" else list(shown):
            shown[kind] = shown[kind].replace(old, new)


def last_lines(sources):
    return [source.splitlines()[-1] for source in sources]


def test_figures_that_the_runs_do_not_give_are_found(tampered):
    final = Run.load(PUBLISHED / "T3-seed1.json").final

    def change(cells):
        replace_in(cells["report.analysis(T3, run)"], f"{final.test_accuracy:.2f} %", "99.99 %")
        replace_in(cells["report.replication(T3)"], "holds", "does not hold")
        replace_in(cells["report.save(run)"], f"{final.train_loss:.7f}", "0.0000001")

    tampered("MNIST_S7_T3", change)

    assert last_lines(stale_cells("MNIST_S7_T3")) == [
        "report.save(run)",
        "report.analysis(T3, run)",
        "report.replication(T3)",
    ]


def test_a_table_of_the_page_that_compares_is_found(tampered):
    tampered(
        "compare", lambda cells: replace_in(cells["report.against_previous(stored)"], "T3 minus T2", "T2 minus T3")
    )

    assert last_lines(stale_cells("compare")) == ["report.against_previous(stored)"]


def test_tables_are_refreshed_without_training(tampered):
    """All else stays as it is, and a training run's log, which only training can write, stays stale."""
    before = tampered("MNIST_S7_T3").read_bytes()
    final = Run.load(PUBLISHED / "T3-seed1.json").final

    def change(cells):
        replace_in(cells["report.verdicts(T3, run)"], "met", "not met")
        replace_in(cells["report.rank_among_seeds(run)"], "stored runs", "runs")

    path = tampered("MNIST_S7_T3", change)
    assert path.read_bytes() != before
    refresh("MNIST_S7_T3")
    assert path.read_bytes() == before

    log = f"{final.train_loss:.7f}"
    path = tampered("MNIST_S7_T3", lambda cells: replace_in(cells["report.save(run)"], log, "0.0000001"))
    refresh("MNIST_S7_T3")
    assert last_lines(stale_cells("MNIST_S7_T3")) == ["report.save(run)"]


@pytest.mark.parametrize("name", ORDER)
def test_shows_every_table(name):
    iteration = name.removeprefix("MNIST_S7_")
    calls = [
        *(f"report.{what}({iteration})" for what in ("targets", "changes", "source", "architecture", "replication")),
        *(f"report.{what}({iteration}, run)" for what in ("verdicts", "analysis")),
        *("report.check_rerun(run)", "report.rank_among_seeds(run)", f"report.source({iteration}.network)"),
    ]
    if name == "compare":
        calls = [
            *("report.against_previous(stored)", "report.means(series)", "report.ablation_table(stored)"),
            *("report.public_comparison(series, published)", "report.comparison(runs)"),
            *("report.place(stored, published)", "report.claims_table(published)", "report.variants_table(published)"),
            "report.selection_table(stored | published)",
            *(f"report.replication(SERIES[{i}])" for i in range(len(SERIES))),
        ]
    tables = [
        cell.source.splitlines()[-1]
        for cell in nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells
        if any("text/markdown" in output.get("data", {}) for output in cell.get("outputs", []))
    ]

    assert set(calls) <= set(tables)


@pytest.mark.parametrize("name", ORDER)
def test_a_notebook_has_one_import_and_one_cell_that_trains(name):
    code = [cell for cell in nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells if cell.cell_type == "code"]

    importing = [line for cell in code for line in cell.source.splitlines() if re.match(r"(import|from) ", line)]
    training = [cell.source for cell in code if "training" in cell.metadata.get("tags", ())]
    assert len(importing) == 1 and importing[0] == code[0].source.splitlines()[0]
    if name == "compare":
        assert training == [] and not any("fit(" in cell.source for cell in code)
    else:
        iteration = name.removeprefix("MNIST_S7_")
        assert training == [TRAINS.format(iteration)]
        names = "fit, plots, predict_image, pretrained, receptive_field, report"
        assert importing[0].startswith(f"from mnist_s7 import {iteration}, {names}")


def test_tables_are_made_without_digits(monkeypatch, tmp_path):
    """A machine without MNIST checks the pages all the same, and does not look for it once per notebook."""
    monkeypatch.setenv("MNIST_S7_DATA", str(tmp_path / "nowhere"))

    assert stale_cells("compare") == []
