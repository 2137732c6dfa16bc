"""Running the notebooks top to bottom, and showing what their cells print as it comes."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from mnist_s7 import report, seeds
from mnist_s7.claims import Runs
from mnist_s7.data import WORKING_COPY, Digits
from mnist_s7.experiments import SERIES
from mnist_s7.progress import logged
from mnist_s7.published import PUBLISHED_NETWORKS
from mnist_s7.results import (
    HELD_OUT,
    RUNS,
    TEST_IMAGES,
    Run,
    by_experiment,
    check_against_stored,
    load_runs,
    write_atomically,
)

__all__ = ["NOTEBOOKS", "ORDER", "execute", "execute_side_by_side", "refresh_tables", "stale_cells"]

NOTEBOOKS = WORKING_COPY / "notebooks"
ORDER = [*(f"MNIST_S7_{experiment.name}" for experiment in SERIES), "compare"]


def execute(name: str, folder: Path, results: Path, digits: Digits) -> Path:
    """Run `notebooks/<name>.ipynb` in a kernel of its own and write it, executed, to `folder`.

    Its runs go to `results`. On synthetic digits its title and its file's name say so. A cell that fails raises
    nbclient's `CellExecutionError`; what was executed until then is written all the same, but never over the
    notebook itself: then to `runs/`.
    """
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    environment = os.environ | {"MNIST_S7_RESULTS": os.fspath(results)}
    label = ""
    if digits.name != "MNIST":
        label = f"-{digits.name.replace(' ', '-')}"
        title = notebook.cells[0].source.split("\n")
        notebook.cells[0].source = "\n".join([f"{title[0]} (on {digits.name}, not on MNIST)", *title[1:]])
        environment["MNIST_S7_DATASET"] = "synthetic"  # settled: no need to look for MNIST again
    if place := os.environ.get("MNIST_S7_DATA"):  # from here, and not from the folder that the kernel works in
        environment["MNIST_S7_DATA"] = os.path.abspath(os.path.expanduser(place))
    client = _ShowingClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR"],  # a kernel on this machine alone need not warn about its network
        coalesce_streams=True,  # one output for all that a cell prints, without what a carriage return overwrote
        record_timing=False,  # times of day would make every execution differ
        resources={"metadata": {"path": os.fspath(NOTEBOOKS)}},
    )
    try:
        client.execute(env=environment)
    except BaseException:  # an interrupt too
        if folder == NOTEBOOKS:
            folder = RUNS.parent
        raise
    finally:
        _clean(notebook)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}{label}.ipynb"
        write_atomically(path, nbformat.writes(notebook) + "\n")
    return path


def execute_side_by_side(names: Iterable[str], at_once: int, *options: str) -> bool:
    """`python -m mnist_s7 run <name>` with `options` for each of the notebooks, `at_once` at a time, each line that
    they print under its notebook's name. Returns whether all went well.

    Each trains on one thread: trainings side by side get more out of the cores than one after the other on all of
    them, and the figures do not depend on the number of cores.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}

    def run(name: str) -> int:
        with subprocess.Popen(
            [sys.executable, "-m", "mnist_s7", "run", name, *options],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        ) as process:
            for line in process.stdout:
                if line.strip():
                    print(f"{name} | {line}", end="", flush=True)
        return process.returncode

    with ThreadPoolExecutor(at_once) as pool:
        return not any(pool.map(run, names))


def stale_cells(name: str, runs: dict[str, Run], stored: Runs) -> list[str]:
    """The code of those cells of `notebooks/<name>.ipynb` that show other figures than the stored runs give.

    Looked at are tables and sentences, which are Markdown made anew from `runs`, those of the notebooks, and `stored`,
    all seeds by experiment; and the log of a training, line by line.
    """
    run = runs.get(name.removeprefix("MNIST_S7_"))
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    stale = [cell.source for cell, output, markdown in _tables(notebook, name, runs, stored) if output.data != markdown]
    for cell in notebook.cells:
        if cell.cell_type == "code" and "fit" in _names_in(cell):
            log = "".join(output.text for output in cell.outputs if output.output_type == "stream")
            if not all(line in log for epoch in run.epochs for line in logged(epoch, TEST_IMAGES)):
                stale.append(cell.source)
    return stale


def refresh_tables(name: str, runs: dict[str, Run], stored: Runs) -> None:
    """Write the tables and sentences of `notebooks/<name>.ipynb` as `stale_cells` wants them: nothing is trained.

    The pictures stay. Those of an iteration show its own run alone; the page that compares iterations, whose pictures
    show many, is executed instead.
    """
    path = NOTEBOOKS / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    for _, output, markdown in _tables(notebook, name, runs, stored):
        output.data = markdown
    write_atomically(path, nbformat.writes(notebook) + "\n")


def _tables(
    notebook: nbformat.NotebookNode, name: str, runs: dict[str, Run], stored: Runs
) -> Iterator[tuple[nbformat.NotebookNode, nbformat.NotebookNode, dict[str, str]]]:
    """Each cell that shows Markdown, the output that does, and what that should hold."""
    names = {
        **{"report": report, "seeds": seeds, "PUBLISHED_NETWORKS": PUBLISHED_NETWORKS, "SERIES": SERIES},
        "check_against_stored": check_against_stored,
        **{experiment.name: experiment for experiment in SERIES},
        **{"run": runs.get(name.removeprefix("MNIST_S7_")), "runs": runs, "stored": stored},
        "held_out": by_experiment(load_runs(HELD_OUT)),
        "series": {experiment.name: stored[experiment.name] for experiment in SERIES},
    }
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "text/markdown" in output.get("data", {}):
                last = ast.Expression(ast.parse(cell.source).body[-1].value)  # a cell shows the value of its last line
                text = str(eval(compile(last, name, "eval"), names))
                yield cell, output, {"text/markdown": text, "text/plain": text}


def _names_in(cell: nbformat.NotebookNode) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Name)}


class _ShowingClient(NotebookClient):
    """Passes on what a cell prints; on a terminal also the text that it redraws in place."""

    def process_message(self, message, cell, cell_index):
        content = message["content"]
        if message["msg_type"] == "stream":
            self._overwrite(content["text"])
        elif message["msg_type"] == "update_display_data" and sys.stdout.isatty():
            self._overwrite(content["data"].get("text/plain", "")[:100], end="")
        return super().process_message(message, cell, cell_index)

    def _overwrite(self, text: str, end: str = "") -> None:
        print(f"\r\033[K{text}" if sys.stdout.isatty() else text, end=end, flush=True)


def _clean(notebook: nbformat.NotebookNode) -> None:
    """Leave in the notebook only what reads the same wherever it was executed."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {key: value for key, value in cell.metadata.items() if key == "tags"}
