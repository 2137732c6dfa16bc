"""Running the notebooks top to bottom, and showing what their cells print as it comes."""

import os
import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from mnist_s7.data import WORKING_COPY, Digits
from mnist_s7.experiments import SERIES
from mnist_s7.results import write_whole

__all__ = ["NOTEBOOKS", "execute"]

NOTEBOOKS = WORKING_COPY / "notebooks"
ORDER = [*(f"MNIST_S7_{experiment.name}" for experiment in SERIES), "compare"]


def execute(name: str, folder: Path, results: Path, digits: Digits) -> Path:
    """Run `notebooks/<name>.ipynb` in a kernel of its own and write it, executed, to `folder`.

    Its runs go to `results`. On stand-in digits the file's name says so. A cell that fails raises nbclient's
    `CellExecutionError`; what was executed until then is written all the same.
    """
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    label = "" if digits.name == "MNIST" else f"-{digits.name.replace(' ', '-')}"
    path = folder / f"{name}{label}.ipynb"
    folder.mkdir(parents=True, exist_ok=True)
    client = _ShowingClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR"],  # a kernel on this machine alone need not warn about its network
        record_timing=False,  # times of day would make every execution differ
        resources={"metadata": {"path": os.fspath(NOTEBOOKS)}},
    )
    environment = os.environ | {"MNIST_S7_RESULTS": os.fspath(results)}
    if label:
        environment["MNIST_S7_DATASET"] = "rendered"  # settled: no need to look for MNIST again
    try:
        client.execute(env=environment)
    finally:
        _clean(notebook)
        write_whole(path, nbformat.writes(notebook) + "\n")
    return path


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
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                output.text = re.sub(r"[^\n]*\r", "", output.text)
