"""How the notebooks are tested: side by side, on the digits that can be had, with failures that are short."""

import math
import os
import shutil
import tempfile
import time
from queue import Empty

import nbval.kernel
import nbval.plugin
import pytest
from nbval.plugin import IPyNbCell

from mnist_s7 import MnistS7Error
from mnist_s7.data import NEEDS_MNIST, SYNTHETIC_DIGITS, digits_or_synthetic
from mnist_s7.experiments import SERIES
from mnist_s7.report.jupyter_kernels import Kernel
from mnist_s7.report.notebooks import PATIENCE, failure
from mnist_s7.results import MNIST, run_name, stored_folder

ENVIRONMENT = {}  # of the kernels, besides this process's


class _Kernel(Kernel):
    def start_kernel(self, **settings):
        return super().start_kernel(env=os.environ | ENVIRONMENT, **settings)


class _RunningKernel(nbval.kernel.RunningKernel):
    def get_message(self, stream, timeout=None):
        """Without the live lines that are redrawn in place, which nbval does not know and prints a line about.

        Raises `RuntimeError` where the kernel has died, for which nbval would wait in vain, and `Empty` after that
        many seconds.
        """
        deadline = time.monotonic() + (math.inf if timeout is None else timeout)
        while True:
            try:
                message = super().get_message(stream, min(1, max(0, deadline - time.monotonic())))
            except Empty:
                if not self.is_alive():
                    raise RuntimeError("its kernel died, for want of memory perhaps") from None
                if time.monotonic() >= deadline:
                    raise
            else:
                if message["msg_type"] != "update_display_data":
                    return message


nbval.kernel.KernelManager = _Kernel
nbval.plugin.RunningKernel = _RunningKernel


def pytest_configure(config):
    """Decide once, and not in every kernel, which digits there are; and keep the runs out of the user's folder.

    Soft targets, which take minutes, are looked for and kept where they always are, in `runs/teachers`."""
    if hasattr(config, "workerinput"):  # a process of pytest-xdist
        ENVIRONMENT.update(config.workerinput["notebooks"])
        return
    asked_for_synthetic = os.environ.get("MNIST_S7_DATASET") == "synthetic"
    try:
        dataset = SYNTHETIC_DIGITS if asked_for_synthetic else digits_or_synthetic().name
    except MnistS7Error as error:  # a place that was named, and is wrong
        raise pytest.UsageError(str(error)) from None
    runs = tempfile.TemporaryDirectory(prefix="mnist_s7-runs-")
    config.add_cleanup(runs.cleanup)
    for experiment in SERIES:  # for the notebook that compares, which does not wait for the others
        name = f"{run_name(experiment.name, 1, dataset)}.json"
        shutil.copy(stored_folder(dataset) / name, runs.name)
    ENVIRONMENT["MNIST_S7_RESULTS"] = runs.name
    ENVIRONMENT["MNIST_S7_DATASET"] = "mnist" if dataset == MNIST else "synthetic"


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    node.workerinput["notebooks"] = ENVIRONMENT


def pytest_collection_modifyitems(items):
    for item in items:
        if isinstance(item, IPyNbCell):
            item.output_timeout = PATIENCE


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if isinstance(item, IPyNbCell) and report.failed:
        error = call.excinfo.value
        traceback = getattr(error, "inner_traceback", None)
        if str(error) != "Cell outputs differ":
            item.parent.failed = item.name  # what comes after it cannot be right
        report.longrepr = failure(f"{item.path.name}, {item.name}", item.cell.source, traceback or str(error))
        report.sections = []
    return report


def pytest_runtest_setup(item):
    if cell := getattr(item.parent, "failed", None):
        pytest.skip(f"{cell} failed")


def pytest_terminal_summary(terminalreporter):
    if ENVIRONMENT["MNIST_S7_DATASET"] == "synthetic":
        skipped = terminalreporter.stats.get("skipped", [])
        count = sum(NEEDS_MNIST in str(report.longrepr) for report in skipped)
        terminalreporter.write_line(
            f"Without MNIST: {count} unit tests were skipped, and the notebooks were executed on synthetic digits. "
            "To test all, set MNIST_S7_DATA to a folder with MNIST's files."
        )
