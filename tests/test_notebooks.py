"""The stored notebooks are executed, clean and small, and alike in their sections."""

import re
import shutil
from dataclasses import replace

import nbformat
import pytest

from mnist_s7.notebooks import NOTEBOOKS, ORDER, refresh_tables, stale_cells
from mnist_s7.readme import published_runs, published_seeds

SECTIONS = ["Target", "Change", "Model", "Receptive field", "Data", "Training", "Result", "Analysis"]
TRAINS = "run = fit({}, digits, seed=1)\nrun.save(results_folder(RUNS)).name"
REPEATED = "report.Markdown(check_against_stored(run))"
PLACES = "stored = by_experiment(load_runs(PUBLISHED))\nseeds.place(run, stored)"
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
    assert any(cell.source == REPEATED for cell in notebook.cells)


@pytest.mark.parametrize("name", ORDER)
def test_shows_what_the_published_runs_give(name):
    assert stale_cells(name, published_runs(), published_seeds()) == []


def test_figures_that_the_runs_do_not_give_are_found():
    runs, stored = published_runs(), published_seeds()
    *others, final = runs["T3"].epochs
    runs["T3"] = replace(runs["T3"], epochs=[*others, replace(final, train_loss=final.train_loss + 0.001)])
    assert stale_cells("MNIST_S7_T3", runs, stored) == [REPEATED, TRAINS.format("T3")]

    *others, last = stored["T2"]
    stored["T2"] = others
    assert stale_cells("MNIST_S7_T2", runs, stored) == [PLACES, "seeds.claims(T2, stored)"]
    assert "seeds.differences(stored)" in stale_cells("compare", runs, stored)


def test_tables_are_refreshed_without_training(monkeypatch, tmp_path):
    """All else stays as it is, and a training's log, which only a training can write, stays stale."""
    shutil.copy(NOTEBOOKS / "MNIST_S7_T3.ipynb", tmp_path)
    monkeypatch.setattr("mnist_s7.notebooks.NOTEBOOKS", tmp_path)
    runs, stored = published_runs(), published_seeds()
    path, before = tmp_path / "MNIST_S7_T3.ipynb", (NOTEBOOKS / "MNIST_S7_T3.ipynb").read_bytes()

    refresh_tables("MNIST_S7_T3", runs, stored)
    assert path.read_bytes() == before

    *others, final = runs["T3"].epochs
    runs["T3"] = replace(runs["T3"], epochs=[*others, replace(final, test_accuracy=99.12, train_loss=0.035)])
    refresh_tables("MNIST_S7_T3", runs, stored)
    assert stale_cells("MNIST_S7_T3", runs, stored) == [TRAINS.format("T3")]
    assert "99.12 % test accuracy" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ORDER)
def test_shows_every_table(name):
    iteration = name.removeprefix("MNIST_S7_")
    calls = [f"report.verdicts({iteration}, run)", f"report.analysis({iteration}, run)", "seeds.place(run, stored)"]
    calls += [f"seeds.claims({iteration}, stored)"]
    if name == "compare":
        calls = ["seeds.differences(stored)", "seeds.means(series)", "seeds.worth(stored)", "report.comparison(runs)"]
    tables = [
        cell.source.splitlines()[-1]
        for cell in nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells
        if any("text/markdown" in output.get("data", {}) for output in cell.get("outputs", []))
    ]

    assert set(calls) <= set(tables)
