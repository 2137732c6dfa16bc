"""The notebooks' one skeleton, and an iteration that is begun with it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from mnist_s7 import SERIES, InvalidArgument
from mnist_s7.data import PROJECT
from mnist_s7.report import skeleton
from mnist_s7.report.notebooks import NOTEBOOKS

NEXT = f"T{len(SERIES) + 1}"


def code_of(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def titles_of(notebook):
    return [cell.source.splitlines()[0] for cell in notebook.cells if cell.source.startswith("## ")]


@pytest.mark.parametrize("name", [experiment.name for experiment in SERIES])
def test_every_notebook_has_the_skeletons_cells_in_their_order(name):
    made, stored = skeleton.notebook(name), nbformat.read(NOTEBOOKS / f"MNIST_S7_{name}.ipynb", as_version=4)

    assert titles_of(stored) == titles_of(made)
    rest = iter(code_of(stored))
    first, *others = code_of(made)
    names = set(first.splitlines()[0].partition("import ")[2].split(", "))
    assert names <= set(next(rest).splitlines()[0].partition("import ")[2].split(", "))
    for source in others:
        assert source in rest, source  # and so after the one before


@pytest.fixture
def project(tmp_path):
    """A copy of the working copy, without what is not needed here."""
    copy = tmp_path / "project"
    for folder in ("mnist_s7", "notebooks"):
        shutil.copytree(PROJECT / folder, copy / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("README.md", "pyproject.toml"):
        shutil.copy(PROJECT / file, copy)
    return copy


EXECUTE = f"""
import sys, torch
from IPython.core.interactiveshell import InteractiveShell
import mnist_s7, nbformat
from mnist_s7 import Digits
from mnist_s7.report import notebook_cells
from mnist_s7.results import RUNS

assert [each.name for each in mnist_s7.SERIES][-1] == "{NEXT}" and mnist_s7.{NEXT} is mnist_s7.SERIES[-1]
images = torch.randint(256, (600, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
few = Digits(images, torch.arange(600) % 10, images, torch.arange(600) % 10, "few digits", "a test")
notebook_cells.digits_or_synthetic = lambda: few
shell = InteractiveShell.instance()
for cell in nbformat.read(sys.argv[1], as_version=4).cells:
    # The network of a run that is not published yet is not there, and noise is no digit.
    if cell.cell_type == "code" and "pretrained(" not in cell.source and "predict_image(" not in cell.source:
        shell.run_cell(cell.source).raise_error()
assert (RUNS / "{NEXT}-seed1-few-digits.safetensors").exists()
"""


def test_an_iteration_that_is_begun_can_be_executed_at_once(project, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mnist_s7", "new", NEXT]
    answer = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    assert answer.returncode == 0, answer.stderr
    notebook = project / "notebooks" / f"MNIST_S7_{NEXT}.ipynb"
    nbformat.validate(nbformat.read(notebook, as_version=4))
    entry = (project / "mnist_s7" / "experiments.py").read_text()
    entry = entry.replace(f'name="{NEXT}",', f'name="{NEXT}",\n    epochs=1,')
    (project / "mnist_s7" / "experiments.py").write_text(entry)
    assert f"<!-- begin {NEXT} -->\n<!-- end {NEXT} -->" in (project / "README.md").read_text()
    assert all(name in answer.stdout for name in (notebook.name, "experiments.py", "README.md"))
    assert "__init__.py" not in answer.stdout  # nothing is left to do there
    ran = subprocess.run([sys.executable, "-c", EXECUTE, notebook], cwd=notebook.parent, env=environment, text=True)
    assert ran.returncode == 0
    again = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert again.returncode == 1
    assert f"the series ends with {NEXT}: the next iteration is " in again.stderr


@pytest.mark.parametrize("name", ["T1", "T9", "mine", ""])
def test_the_next_iteration_has_one_name(project, name):
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}

    with pytest.raises(InvalidArgument, match=f"the next iteration is {NEXT}, and not {name}"):
        skeleton.begin(name, project)
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before


def test_nothing_is_written_where_a_file_is_not_as_expected(project):
    readme = project / "README.md"
    readme.write_text(readme.read_text().replace("## Receptive fields", "## Fields"))
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}

    with pytest.raises(InvalidArgument, match="README.md: .* is there 0 times, and should be once"):
        skeleton.begin(NEXT, project)
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before


def test_an_iteration_is_begun_in_a_working_copy(tmp_path):
    with pytest.raises(InvalidArgument, match="is no working copy"):
        skeleton.begin(NEXT, tmp_path)
    assert list(Path(tmp_path).iterdir()) == []
