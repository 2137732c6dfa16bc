"""Executing the notebooks top to bottom, several at once, and their tables alone."""

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from mnist_s7 import MnistS7Error
from mnist_s7.data import PROJECT, Digits, option_of
from mnist_s7.experiments import SERIES
from mnist_s7.report.jupyter_kernels import AsyncKernel
from mnist_s7.report.notebook_progress import Overview
from mnist_s7.report.stored import SEED
from mnist_s7.results import (
    MNIST,
    PUBLISHED,
    RUNS,
    TEST_IMAGES,
    OutputError,
    Run,
    named_after,
    on_dataset,
    run_name,
    write_atomically,
)
from mnist_s7.results.progress import SHARE, logged

NOTEBOOKS = PROJECT / "notebooks"
ORDER = [*(f"MNIST_S7_{experiment.name}" for experiment in SERIES), "compare"]
PATIENCE = 600  # seconds for a kernel to start or to send what it has printed: some machines are slow, and busy
LOADS_DIGITS = "report.digits()"  # as the notebooks' cells do it
NAME_ALONE = f"__import__('types').SimpleNamespace(name={MNIST!r})"  # in its place where only tables are made
KERNEL_ENDED = "its kernel ended, for want of memory perhaps, or did not start"
TRAINING, SKIP = "training", "skip"  # tags: of the cell that trains, and of one that is not executed
SHOWN_LINES, SHOWN_COLUMNS = 25, 300  # of the traceback of a cell that failed


class NotebookFailed(MnistS7Error):
    """A notebook cannot be read, a cell of it failed, or its kernel died."""


def execute(
    names: Sequence[str], at_once: int, folder: Path, results: Path, digits: Digits, overview: Overview
) -> list[Path]:
    """Run each `notebooks/<name>.ipynb` in a kernel of its own, `at_once` at a time, and write it, executed, to
    `folder`. Returns the paths of the executed notebooks.

    Their runs go to `results`. On other digits than MNIST's, title and file name say so. One that fails does not stop
    the others; what was executed of it until then is written to `runs/<name>-unfinished.ipynb`. Whatever ends this call
    early ends the kernels too.

    Raises `NotebookFailed` at the end, naming each that failed and why.
    """
    executions = [_Execution(name, folder, results, digits, overview) for name in names]
    with ThreadPoolExecutor(at_once) as pool:
        running = {pool.submit(execution.run) for execution in executions}
        try:
            while running:
                ended, running = wait(running, overview.interval, FIRST_COMPLETED)
                for each in ended:
                    each.result()  # raises what `run` does not expect
                overview.show()
        except BaseException:  # Ctrl-C
            while running:
                for execution in executions:
                    execution.stop()
                _, running = wait(running, 0.1)
            raise
        finally:
            overview.close()
    if failures := [execution.failure for execution in executions if execution.failure]:
        raise NotebookFailed("\n\n".join(failures))
    return [execution.path for execution in executions]


class _Execution:
    """One notebook's."""

    def __init__(self, name: str, folder: Path, results: Path, digits: Digits, overview: Overview):
        self.name, self.folder, self.overview = name, folder, overview
        self.failure: str | None = None
        self.stopped = False
        self.environment = os.environ | {"MNIST_S7_RESULTS": os.fspath(results)}
        self.notebook = _read(name)
        self.file = f"{named_after(name, digits.name)}.ipynb"
        if digits.name != MNIST:
            title = self.notebook.cells[0].source.split("\n")
            self.notebook.cells[0].source = "\n".join([f"{title[0]} ({on_dataset(digits.name)})", *title[1:]])
            self.environment["MNIST_S7_DATASET"] = option_of(digits.name)  # no need to look for MNIST again
        if place := os.environ.get("MNIST_S7_DATA"):  # from here, and not from the folder that the kernel works in
            self.environment["MNIST_S7_DATA"] = os.path.abspath(os.path.expanduser(place))
        self.client = _client(self.notebook, _Client, on_share=lambda share: overview.update(name, share))

    @property
    def path(self) -> Path:
        if self.failure or self.stopped:
            return RUNS.parent / self.file.replace(".ipynb", "-unfinished.ipynb")
        return self.folder / self.file

    def run(self) -> None:
        if self.stopped:  # before its turn
            return
        self.overview.starts(self.name)
        try:
            asyncio.run(self.client.async_execute(env=self.environment))
        except CellExecutionError as error:
            source = self.notebook.cells[self.client.place].source
            self.failure = failure(f"{self.name}, cell {self.client.place}", source, error.traceback)
        except (DeadKernelError, RuntimeError) as error:
            self.failure = f"{self.name}: {KERNEL_ENDED} ({error})"
        _clean(self.notebook)
        try:
            write_atomically(self.path, nbformat.writes(self.notebook) + "\n")
            if self.failure:
                self.failure += f"\nAs far as it came it is in {self.path}."
        except OutputError as error:
            self.failure = "\n".join(filter(None, [self.failure, f"{self.name}: {error}"]))
        self.overview.ends(self.name, "failed" if self.failure else "done")

    def stop(self) -> None:
        """Kill the kernel; `run` then ends by itself."""
        self.stopped = True
        manager = self.client.km
        process = manager.provisioner.process if manager and manager.provisioner else None
        if process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


class _Client(NotebookClient):
    """Passes on how much of a training run is done."""

    def __init__(self, notebook: nbformat.NotebookNode, on_share: Callable[[float], None], **settings):
        super().__init__(notebook, **settings)
        self.on_share = on_share
        self.place = 0  # of the cell that is executed, counted from 0

    async def async_execute_cell(self, cell, cell_index, **settings):
        self.place = cell_index
        return await super().async_execute_cell(cell, cell_index, **settings)

    def process_message(self, message, cell, cell_index):
        share = message["content"].get("data", {}).get(SHARE)
        if share is not None:
            self.on_share(share)
        return super().process_message(message, cell, cell_index)


def failure(where: str, source: str, traceback: str) -> str:
    """What to show of a cell that failed: where it is, how it begins, and the end of the traceback."""
    lines = re.sub(r"\x1b\[[\d;]*m", "", traceback).strip().splitlines()  # without colours
    cut = ["  ..."] if len(lines) > SHOWN_LINES else []
    start = [f"    {line}" for line in source.strip().splitlines()[:3]]
    return "\n".join(line[:SHOWN_COLUMNS] for line in [f"{where} failed:", *start, *cut, *lines[-SHOWN_LINES:]])


def stale_cells(name: str) -> list[str]:
    """The code of those cells of `notebooks/<name>.ipynb` that show other figures than the published runs give.

    Looked at are the cells that show Markdown, executed again as `refreshed` does, and the log of a training run, line
    by line.
    """
    stored, again = _read(name), refreshed(name)
    stale = []
    for cell, made in zip(stored.cells, again.cells, strict=True):
        if TRAINING in cell.metadata.get("tags", ()):
            run = _shown(name)
            log = "".join(output.text for output in cell.outputs if output.output_type == "stream")
            if not all(line in log for epoch in run.epochs for line in logged(epoch, TEST_IMAGES)):
                stale.append(cell.source)
        elif cell.get("outputs") != made.get("outputs"):
            stale.append(cell.source)
    return stale


def refresh(name: str) -> None:
    """Write `notebooks/<name>.ipynb` as `stale_cells` wants it: nothing is trained, and the pictures stay.

    Those of an iteration show its own run alone; the page that compares iterations, whose pictures show many, is
    executed instead.
    """
    write_atomically(NOTEBOOKS / f"{name}.ipynb", nbformat.writes(refreshed(name)) + "\n")


def refreshed(name: str) -> nbformat.NotebookNode:
    """The stored notebook with those of its cells executed again that show Markdown, and its first one.

    The published run takes the place of the one that the notebook trains, and needs no digits: of these, tables know
    the name alone.
    """
    notebook, executed = _read(name), _read(name)
    for number, cell in enumerate(executed.cells):
        if TRAINING in cell.get("metadata", {}).get("tags", ()):
            cell.source = f"from mnist_s7 import Run\nrun = Run.load({os.fspath(_run_path(name))!r})"
        elif LOADS_DIGITS in cell.source:
            cell.source = cell.source.replace(LOADS_DIGITS, NAME_ALONE)
        elif cell.cell_type == "code" and not _shows_markdown(cell) and number != _first_code(executed):
            cell.metadata.tags = [SKIP]
    environment = os.environ | {"MNIST_S7_RESULTS": os.fspath(PUBLISHED), "OMP_NUM_THREADS": "1"}
    try:
        asyncio.run(_client(executed, skip_cells_with_tag=SKIP).async_execute(env=environment))
    except CellExecutionError as error:
        raise NotebookFailed(failure(name, "", error.traceback)) from error
    except (DeadKernelError, RuntimeError) as error:
        raise NotebookFailed(f"{name}: {KERNEL_ENDED} ({error})") from error
    for cell, again in zip(notebook.cells, executed.cells, strict=True):
        if _shows_markdown(cell):
            for output in again.outputs:
                if "execution_count" in output:
                    output.execution_count = cell.execution_count
            cell.outputs = again.outputs
    return notebook


def _shows_markdown(cell: nbformat.NotebookNode) -> bool:
    return any("text/markdown" in output.get("data", {}) for output in cell.get("outputs", []))


def _first_code(notebook: nbformat.NotebookNode) -> int:
    return next(number for number, cell in enumerate(notebook.cells) if cell.cell_type == "code")


def _run_path(name: str) -> Path:
    return PUBLISHED / f"{run_name(name.removeprefix('MNIST_S7_'), SEED, MNIST)}.json"


def _shown(name: str) -> Run:
    return Run.load(_run_path(name))


def _client(notebook: nbformat.NotebookNode, kind: type[NotebookClient] = NotebookClient, **settings) -> NotebookClient:
    """Executes the notebook in a kernel of its own, in the notebooks' folder."""
    return kind(
        notebook,
        timeout=None,
        startup_timeout=PATIENCE,
        iopub_timeout=PATIENCE,
        kernel_name="python3",
        kernel_manager_class=AsyncKernel,
        extra_arguments=["--log-level=ERROR"],  # a kernel on this machine alone need not warn about its network
        coalesce_streams=True,  # one output for all that a cell prints, without what a carriage return overwrote
        record_timing=False,  # times of day would make every execution differ
        resources={"metadata": {"path": os.fspath(NOTEBOOKS)}},
        **settings,
    )


def _read(name: str) -> nbformat.NotebookNode:
    path = NOTEBOOKS / f"{name}.ipynb"
    try:
        return nbformat.read(path, as_version=4)
    except Exception as error:  # of many types, for what is no notebook
        raise NotebookFailed(f"{path}: no notebook that can be read ({str(error)[:200]})") from error


def _clean(notebook: nbformat.NotebookNode) -> None:
    """Leave in the notebook only what reads the same wherever it was executed."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {key: value for key, value in cell.metadata.items() if key == "tags"}
