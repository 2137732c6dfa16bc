"""What a process may use, under the limits of groups as containers have them; and which commit a run is of."""

import os
import re
import subprocess
from types import SimpleNamespace

import psutil
import pytest
import torch

from mnist_s7.results import machine
from mnist_s7.results.machine import environment

GIB = 1 << 30


@pytest.fixture
def group(tmp_path, monkeypatch):
    """Writes a file of the group of this process, or of one around it; at first there is none."""
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "OWN_GROUP", tmp_path / "own")
    (tmp_path / "own").write_text("12:cpu:/old\n0::/outer/inner\n")
    (tmp_path / "cgroup" / "outer" / "inner").mkdir(parents=True)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64), raising=False)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=100 * GIB))

    def write(name, text):
        (tmp_path / "cgroup" / name).write_text(text)

    return write


def test_without_limits_it_is_the_machines(group):
    assert machine.usable_cores() == 64
    assert machine.free_memory() == 100 * GIB


def test_the_narrowest_limit_of_all_groups_counts(group):
    group("cpu.max", "max 100000\n")
    group("outer/cpu.max", "250000 100000\n")
    group("outer/inner/cpu.max", "3200000 100000\n")
    group("outer/inner/memory.max", f"{8 * GIB}\n")
    group("outer/inner/memory.current", f"{5 * GIB}\n")
    group("outer/inner/memory.stat", f"anon 1\ninactive_file {GIB}\n")
    group("outer/memory.max", "max\n")
    group("outer/memory.current", "0\n")

    assert machine.usable_cores() == 2
    assert machine.free_memory() == 4 * GIB


def test_a_share_of_a_core_is_one(group):
    group("outer/cpu.max", "50000 100000\n")

    assert machine.usable_cores() == 1


@pytest.mark.parametrize(
    ("cores", "free", "expected"), [(64, 100, 4), (2, 100, 2), (64, 3, 3), (64, 0.5, 1), (1, 100, 1)]
)
def test_side_by_side_is_as_many_as_cores_and_memory_allow(monkeypatch, cores, free, expected):
    monkeypatch.setattr(machine, "usable_cores", lambda: cores)
    monkeypatch.setattr(machine, "free_memory", lambda: int(free * GIB))

    assert machine.side_by_side(4, GIB) == expected


def test_nothing_at_all_is_done_one_at_a_time():
    assert machine.side_by_side(0, GIB) == 1


def test_the_commit_is_the_working_copys_own(monkeypatch, tmp_path):
    """And not that of a repository which the package lies in, as in a virtual environment, or unpacked."""
    commit = environment(torch.device("cpu"))["commit"]
    assert commit is None or re.fullmatch("[0-9a-f]{40}", commit)

    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    git = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "another project's"], check=True)
    package = tmp_path / "unpacked" / "mnist_s7"
    package.mkdir(parents=True)
    monkeypatch.setattr(machine, "PACKAGE", package)
    found = environment(torch.device("cpu"))
    assert (found["commit"], found["dirty"]) == (None, None)

    (tmp_path / "mnist_s7").mkdir()
    monkeypatch.setattr(machine, "PACKAGE", tmp_path / "mnist_s7")
    assert re.fullmatch("[0-9a-f]{40}", environment(torch.device("cpu"))["commit"])
