"""Waiting for other processes, however slow the machine is."""

import time

import psutil

PATIENCE = 120  # seconds: a process that imports PyTorch on a busy machine takes many of them


def wait_for(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def has_ended(pid):
    """Also where nobody has waited for it: in a container, often nobody waits for orphans."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
