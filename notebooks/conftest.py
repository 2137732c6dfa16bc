"""Kernels for executing the notebooks side by side.

Jupyter looks for free TCP ports before the kernel binds them, and in between another worker's kernel may take the
same one: the later of the two dies ("Kernel died before replying to kernel_info"). Sockets that are files do not meet.
"""

import tempfile
from pathlib import Path
from uuid import uuid4

import nbval.kernel
from jupyter_client import KernelManager


def _kernel_of_its_own(**settings) -> KernelManager:
    sockets = Path(tempfile.gettempdir()) / f"kernel-{uuid4().hex}"
    return KernelManager(transport="ipc", ip=str(sockets), **settings)


nbval.kernel.KernelManager = _kernel_of_its_own
