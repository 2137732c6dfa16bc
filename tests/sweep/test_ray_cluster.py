"""Sweeps on Ray clusters that are started on this machine, and what can happen to them."""

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from example_networks import EXPERIMENT, NETWORK

import mnist_s7.sweep.ray_cluster
from mnist_s7 import InvalidArgument, Run, evaluate, find_experiment, load_runs
from mnist_s7.sweep import in_processes, run_sweep
from mnist_s7.sweep.ray_cluster import ClusterLost, ClusterUnfit, ClusterUnreachable, RayMissing, on_ray

LONG = 10_000  # epochs: more than a test waits for
PATIENCE = 120  # seconds; a busy machine takes half of them to start a cluster
HEAD_ALONE = ["--include-dashboard=false", "--include-log-monitor=false", "--no-monitor"]


@pytest.fixture
def digits(few_digits, monkeypatch):
    monkeypatch.setattr("mnist_s7.results.run.TESTED_ON", {})  # these are fewer than MNIST's
    return dataclasses.replace(few_digits, name="MNIST")


def figures(run):
    return [dataclasses.replace(epoch, seconds=0) for epoch in run.epochs], run.errors


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def wait_for(condition):
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


class Cluster:
    """Machines of a Ray cluster, all of them this one, in a session of processes for each."""

    def __init__(self, folder):
        self.folder = folder
        self.address = f"127.0.0.1:{free_port()}"
        self.machines = []

    def start(self, *options):
        command = [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1", "--num-gpus=0"),
            *("--min-worker-port=0", "--max-worker-port=0", "--disable-usage-stats", "--object-store-memory=100000000"),
            *options,
        ]
        log = self.folder / f"{len(self.machines)}.log"
        for _ in range(3):  # Ray gives itself half a minute, which a busy machine may not keep
            with log.open("w") as output:
                process = subprocess.Popen(command, start_new_session=True, stdout=output, stderr=output)
            self.machines.append(process)
            wait_for(lambda process=process: process.poll() is not None or "Ray runtime started" in log.read_text())
            if process.poll() is None:
                return
            self.kill(self.machines.pop())
        pytest.fail(log.read_text())

    def start_head(self):
        port = self.address.split(":")[1]
        self.start("--head", f"--port={port}", *HEAD_ALONE, f"--temp-dir={self.folder}")

    def join(self):
        self.start(f"--address={self.address}")

    def workers(self):
        """Those of each machine that train: Ray names a process after what it does."""
        return [{pid for pid in of_session(it.pid) if b"ray::_train" in command_line(pid)} for it in self.machines]

    def kill(self, *machines):
        for machine in machines or self.machines:
            for pid in of_session(machine.pid):
                kill(pid)
            machine.wait()


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def of_session(leader):
    """The processes that `leader` has started, and they in turn, whether it is still there or not."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            if os.getsid(int(path.name)) == leader:
                found.add(int(path.name))
    return found


def command_line(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def kill(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def cluster_of(machines):
    pytest.importorskip("ray")
    with (
        tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder,  # short: it is to hold sockets
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("RAY_AUTH_MODE", "disabled")  # the user's token is none of these clusters' business
        # Ray gives its agents 15 seconds to start, and each of its processes imports jsonschema, which parses a grammar
        # for three of them where Jupyter has brought this package: too long with half a dozen processes on a busy core.
        Path(folder, "rfc3987_syntax.py").write_text("raise ImportError")
        patch.setenv("PYTHONPATH", folder, prepend=os.pathsep)
        cluster = Cluster(Path(folder))
        try:
            cluster.start_head()
            for _ in range(machines - 1):
                cluster.join()
            yield cluster
        finally:
            cluster.kill()


@pytest.fixture(scope="module")
def cluster():
    """Of two machines, with a CPU each."""
    with cluster_of(2) as cluster:
        yield cluster


def test_seeds_on_two_machines_have_the_figures_of_those_that_are_run_here(digits, tmp_path, cluster):
    """Also where a worker is killed while it trains, whose run is repeated and whose progress counts once."""
    at_work, killed, shares = set(), [], Counter()

    def killing(jobs, pickled):
        for job, message in on_ray(jobs, pickled, cluster.address):
            if isinstance(message, float):
                shares[job] += message
                workers = cluster.workers()
                at_work.update(i for i, of_machine in enumerate(workers) if of_machine)
                if not killed:
                    killed.extend(set().union(*workers))
                    for worker in killed:
                        kill(worker)
            yield job, message

    outcome = run_sweep(["T1", "T3"], [1, 2], digits, tmp_path / "ray", killing, epochs=20)

    assert at_work == {0, 1}
    assert killed
    assert sorted(outcome.made) == ["T1-seed1", "T1-seed2", "T3-seed1", "T3-seed2"]
    assert list(shares.values()) == pytest.approx([1, 1, 1, 1])
    run_sweep(["T1", "T3"], [1, 2], digits, tmp_path / "here", partial(in_processes, at_once=1), epochs=20)
    assert files(tmp_path / "ray") == files(tmp_path / "here")
    for run in load_runs(tmp_path / "here"):
        other = Run.load(tmp_path / "ray" / f"{run.name}.json")
        assert figures(other) == figures(run)
        assert (other.fingerprint, other.environment) == (run.fingerprint, run.environment)


def test_an_experiment_of_a_readers_file_goes_to_the_cluster_and_its_weights_come_back(
    digits, tmp_path, cluster, own_file
):
    path = own_file(NETWORK, EXPERIMENT)
    name = find_experiment(f"{path}:MINE").name
    path.unlink()  # another machine does not have it

    outcome = run_sweep(
        [name], [1], digits, tmp_path / "ray", partial(on_ray, address=cluster.address), epochs=1, weights=True
    )

    assert outcome.made == ["MINE-seed1"], outcome
    run = Run.load(tmp_path / "ray" / "MINE-seed1.json")
    assert evaluate(run.model, digits.test_images, digits.test_labels).errors == run.errors


def test_a_run_that_fails_or_kills_every_worker_does_not_stop_the_others(digits, tmp_path, cluster):
    ended = set()

    def spoiled(jobs, pickled):
        """Seed 1 is for a device that there is not, 2 for an experiment that there is not; 3 ends all its workers."""
        jobs = {job.seeds: job for job in jobs}
        changes = {(1,): {"device": "nowhere"}, (2,): {"experiment": "T9"}, (4,): {}, (3,): {"epochs": LONG}}
        changed = [dataclasses.replace(jobs[seeds], **change) for seeds, change in changes.items()]
        for job, message in on_ray(changed, pickled, cluster.address):
            if not isinstance(message, float):
                ended.add(job.seeds)
            elif job.epochs == LONG and ended == {(1,), (2,), (4,)}:
                for worker in set().union(*cluster.workers()):
                    kill(worker)
            yield jobs[job.seeds], message

    outcome = run_sweep(["T1"], [1, 2, 3, 4], digits, tmp_path, spoiled, epochs=1)

    assert outcome.made == ["T1-seed4"]
    reasons = [outcome.failed[f"T1-seed{seed}"] for seed in (1, 2, 3)]
    assert "nowhere" in reasons[0]
    assert reasons[1] == "KeyError: 'T9'"
    assert reasons[2].startswith("The worker died unexpectedly while executing this task.")
    assert not any("\n" in reason for reason in reasons)


def test_a_cluster_without_a_gpu_is_refused(digits, tmp_path, cluster):
    with pytest.raises(
        ClusterUnfit, match="no machine of the Ray cluster .* has a CPU and a GPU, .*: use --device cpu"
    ):
        run_sweep(["T1"], [1], digits, tmp_path, partial(on_ray, address=cluster.address), epochs=1, device="cuda")


def test_a_lost_cluster_ends_the_sweep_and_leaves_what_is_finished(digits, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "5")  # instead of a minute
    with cluster_of(1) as cluster:

        def losing(jobs, pickled):
            made = 0
            for job, message in on_ray(jobs, pickled, cluster.address):
                made += isinstance(message, Run)
                yield job, message
                if made and isinstance(message, float):
                    cluster.kill()

        start = time.monotonic()
        with pytest.raises(ClusterLost, match="is lost: .*The finished runs are kept"):
            run_sweep(["T1"], [1, 2, 3], digits, tmp_path, losing, epochs=2)

    assert time.monotonic() - start < PATIENCE
    assert files(tmp_path) == ["T1-seed1.json"]


@pytest.mark.parametrize("address", ["", "host", "host:", ":6379", "host:0", "host:65536", "ray://127.0.0.1:10001"])
def test_an_address_that_is_none_is_refused(digits, tmp_path, address):
    with pytest.raises(InvalidArgument, match="is no address of a Ray cluster: write HOST:PORT"):
        run_sweep(["T1"], [1], digits, tmp_path, partial(on_ray, address=address), epochs=1)


def test_where_nothing_answers_it_says_so_at_once(digits, tmp_path):
    pytest.importorskip("ray")
    address = f"127.0.0.1:{free_port()}"
    start = time.monotonic()

    with pytest.raises(ClusterUnreachable, match=f"no Ray cluster at {address} .*ray start --head"):
        run_sweep(["T1"], [1], digits, tmp_path, partial(on_ray, address=address), epochs=1)

    assert time.monotonic() - start < 10


def test_what_answers_and_is_no_cluster_is_not_waited_for(digits, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setattr(mnist_s7.sweep.ray_cluster, "SECONDS_TO_CONNECT", 1)
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"

        with pytest.raises(ClusterUnreachable, match=f"no Ray cluster has answered at {address} in 1 seconds"):
            run_sweep(["T1"], [1], digits, tmp_path, partial(on_ray, address=address), epochs=1)


def test_ctrl_c_ends_a_local_cluster(tmp_path):
    """And says in one line that it does."""
    pytest.importorskip("ray")
    command = [sys.executable, "-m", "mnist_s7", "sweep", "T1", "--seeds", "1", "--epochs", str(LONG)]
    command += ["--ray", "local", "--dataset", "synthetic", "--output", tmp_path]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            command,
            start_new_session=True,
            stdout=log,
            stderr=log,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # ignored in the background
        )
    try:
        wait_for(lambda: any(b"ray::_train" in command_line(pid) for pid in of_session(process.pid)))
        process.send_signal(signal.SIGINT)

        assert process.wait(PATIENCE) == 130
        wait_for(lambda: not any(map(command_line, of_session(process.pid))))  # but for what nobody has waited for
    finally:
        for pid in of_session(process.pid):
            kill(pid)
    assert (tmp_path / "log").read_text().splitlines()[-1].startswith("mnist-s7 sweep: stopped")


def test_without_ray_it_says_how_to_get_it(digits, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)

    with pytest.raises(RayMissing, match=r'pip install -e "\.\[ray\]"'):
        run_sweep(["T1"], [1], digits, tmp_path, partial(on_ray, address="local"), epochs=1)
