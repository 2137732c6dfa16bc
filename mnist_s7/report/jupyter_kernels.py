"""Jupyter kernels for notebooks that are executed side by side.

Jupyter looks for free TCP ports before the kernel binds them, and in between another one may take the same: the later
of the two dies ("Kernel died before replying to kernel_info"). Sockets that are files, in a folder of the kernel's own,
do not meet.
"""

import os
import shutil
import tempfile
import weakref
from pathlib import Path

import zmq
from jupyter_client import AsyncKernelManager, BlockingKernelClient, KernelManager

LONGEST = 80  # bytes of a folder's name: with a socket's name after it, systems take about 100


class _OwnFolder:
    """A kernel manager whose connection file and sockets are in a folder that goes with it."""

    def __init__(self, **settings):
        if folder := _short_folder():
            settings |= {"transport": "ipc", "ip": f"{folder / 's'}", "connection_file": f"{folder / 'kernel.json'}"}
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        super().__init__(**settings)


class AsyncKernel(_OwnFolder, AsyncKernelManager):
    """For nbclient."""


class Kernel(_OwnFolder, KernelManager):
    """For nbval, which reads what a cell shows only after the cell has ended: its client keeps all of it."""

    def client(self, **settings) -> BlockingKernelClient:
        context = zmq.Context()
        context.setsockopt(zmq.RCVHWM, 0)  # by default a socket keeps 1,000 messages and drops the others
        return super().client(context=context, **settings)


def _short_folder() -> Path | None:
    """None where there is no folder for sockets: then they are TCP's."""
    if not zmq.has("ipc"):
        return None
    for place in (tempfile.gettempdir(), "/tmp"):
        if len(os.fsencode(place)) < LONGEST and Path(place).is_dir():
            try:
                return Path(tempfile.mkdtemp(prefix="kernel-", dir=place))
            except OSError:  # full, or not to be written to
                continue
    return None
