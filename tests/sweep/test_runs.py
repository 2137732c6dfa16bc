"""Sweeps of real training runs on a few made-up digits, and what can happen to them."""

import contextlib
import dataclasses
import errno
import multiprocessing
import os
import pickle
import signal
import subprocess
from functools import partial

import pytest
import torch
from example_networks import EXPERIMENT, NETWORK
from waiting import has_ended, wait_for

from mnist_s7 import T3, InvalidArgument, MnistNet_1, Run, evaluate, find_experiment, fit, load_runs
from mnist_s7.catalog import EXPERIMENTS
from mnist_s7.results import PUBLISHED, OutputError, PublishingRefused, RunFileError, write_atomically
from mnist_s7.schedules import EarlyStopping
from mnist_s7.sweep import MixedLayers, RunConflict, in_processes, parse_seeds, run_sweep, runs
from mnist_s7.sweep.jobs import Job, run_job
from mnist_s7.sweep.locks import RunLocks

LONG = 10_000  # epochs: more than a test waits for


@pytest.fixture
def digits(few_digits, monkeypatch):
    monkeypatch.setattr("mnist_s7.results.run.TESTED_ON", {})  # these are fewer than MNIST's
    return dataclasses.replace(few_digits, name="MNIST")


def here(jobs, digits):
    """An engine without processes."""
    for job in jobs:
        messages = []
        run_job(job, digits, messages.append)
        for message in messages:
            yield job, message


def figures(run):
    return [dataclasses.replace(epoch, seconds=0) for epoch in run.epochs], run.errors


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_runs_are_those_that_are_run_alone(digits, tmp_path):
    outcome = run_sweep(["T1", "T3"], [2], digits, tmp_path, partial(in_processes, at_once=2), epochs=2, device="cpu")

    assert sorted(outcome.made) == ["T1-seed2", "T3-seed2"]
    assert files(tmp_path) == ["T1-seed2.json", "T3-seed2.json"]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for run in load_runs(tmp_path):
            alone = fit(EXPERIMENTS[run.experiment], digits, run.seed, epochs=2, device="cpu", progress=False)
            assert figures(run) == figures(alone)
            assert run.environment == alone.environment
    finally:
        torch.set_num_threads(threads)


def test_weights_are_kept_where_they_are_wanted(digits, tmp_path):
    outcome = run_sweep(["T1"], [1, 2], digits, tmp_path, partial(in_processes, at_once=1), epochs=1, weights=True)

    assert sorted(outcome.made) == ["T1-seed1", "T1-seed2"]
    for run in load_runs(tmp_path):
        found = evaluate(run.model, digits.test_images, digits.test_labels)
        assert found.errors == run.errors
    assert files(tmp_path) == [f"T1-seed{i}.{kind}" for i in (1, 2) for kind in ("json", "safetensors")]


def test_runs_that_were_made_without_weights_are_told(digits, tmp_path):
    run_sweep(["T1"], [1], digits, tmp_path, here, epochs=1)

    outcome = run_sweep(["T1"], [1, 2], digits, tmp_path, here, epochs=1, weights=True)

    assert outcome.made == ["T1-seed2"]
    assert outcome.without_weights == ["T1-seed1"]
    assert "Made before without weights: T1-seed1. To have them, move these runs' files" in str(outcome)
    assert "without weights" not in str(run_sweep(["T1"], [1], digits, tmp_path, here, epochs=1))


def test_an_experiment_of_a_readers_file_is_swept_in_other_processes(digits, tmp_path, own_file):
    experiment = find_experiment(f"{own_file(NETWORK, EXPERIMENT)}:MINE", ["lr=0.04"])
    folder = tmp_path / "runs"

    outcome = run_sweep(
        [experiment.name], [1, 2], digits, folder, partial(in_processes, at_once=2), epochs=1, weights=True
    )

    assert sorted(outcome.made) == ["MINE-lr=0.04-seed1", "MINE-lr=0.04-seed2"]
    for run in load_runs(folder):
        assert experiment.matches(run)
        assert evaluate(run.model, digits.test_images, digits.test_labels).errors == run.errors
    again = run_sweep([experiment.name], [1, 2], digits, folder, here, epochs=1)
    assert len(again.found) == 2


def test_a_run_of_a_file_that_was_changed_since_is_no_run_of_it(digits, tmp_path, own_file):
    folder = tmp_path / "runs"
    run_sweep([find_experiment(str(own_file(NETWORK))).name], [1], digits, folder, here, epochs=1)
    changed = find_experiment(str(own_file(NETWORK.replace("F.relu", "F.silu"))))

    with pytest.raises(RunConflict, match="Net-seed1.json: a run of another recipe; Net has been changed since"):
        run_sweep([changed.name], [1], digits, folder, here, epochs=1)


def test_a_run_has_one_thread(digits, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        run_sweep(["T1"], [1], digits, tmp_path, here, epochs=1)
    finally:
        torch.set_num_threads(threads)

    assert Run.load(tmp_path / "T1-seed1.json").environment["threads"] == 1


def test_a_job_on_a_gpu_keeps_the_threads_that_prepare_its_images(digits):
    """Here, where there is no GPU, it fails after that."""
    threads, messages = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        run_job(Job("T1", (1,), 1, "cuda:9"), pickle.dumps(digits), messages.append)
        kept = torch.get_num_threads()
    finally:
        torch.set_num_threads(threads)

    assert kept == 2
    assert "cuda:9" in messages[0]


def test_many_seeds_of_one_experiment_go_together_to_a_gpu(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "SEEDS_TOGETHER", 2)
    asked = []

    def on_gpu(jobs, pickled):
        asked.extend(jobs)
        yield from here([dataclasses.replace(job, device="cpu") for job in asked], pickled)

    outcome = run_sweep(["T3"], [1, 2, 3], digits, tmp_path, on_gpu, epochs=1, device="cuda")

    assert [job.seeds for job in asked] == [(1, 2), (3,)]
    assert len(outcome.made) == len(load_runs(tmp_path)) == 3


def test_seeds_that_stop_at_their_own_times_go_to_a_gpu_one_by_one(digits, tmp_path, monkeypatch):
    monkeypatch.setitem(EXPERIMENTS, "T1", dataclasses.replace(EXPERIMENTS["T1"], early_stopping=EarlyStopping(1)))
    asked = []

    def on_gpu(jobs, pickled):
        asked.extend(jobs)
        yield from here([dataclasses.replace(job, device="cpu") for job in asked], pickled)

    run_sweep(["T1", "T3"], [1, 2], digits, tmp_path, on_gpu, epochs=1, device="cuda")

    assert [(job.experiment, job.seeds) for job in asked] == [("T1", (1,)), ("T1", (2,)), ("T3", (1, 2))]


class MixesImages(MnistNet_1):
    def forward(self, x):
        return super().forward(x - x.mean(0))


def test_seeds_that_cannot_go_together_go_one_after_the_other(digits, tmp_path, monkeypatch):
    monkeypatch.setitem(EXPERIMENTS, "T3", dataclasses.replace(T3, network=MixesImages))

    def on_gpu(jobs, pickled):
        yield from here([dataclasses.replace(job, device="cpu") for job in jobs], pickled)

    outcome = run_sweep(["T3"], [1, 2], digits, tmp_path, on_gpu, epochs=1, device="cuda")

    assert outcome.made == ["T3-seed1", "T3-seed2"]
    assert all("seeds_together" not in run.environment for run in load_runs(tmp_path))


def nan_for_seed_2():
    network = T3.network()
    if torch.initial_seed() == 2:
        torch.nn.init.constant_(network.block1[0].weight, torch.nan)
    return network


def test_one_that_diverges_on_a_gpu_leaves_the_others(digits, tmp_path, monkeypatch):
    monkeypatch.setitem(EXPERIMENTS, "T3", dataclasses.replace(T3, network=nan_for_seed_2))

    def on_gpu(jobs, pickled):
        for job in jobs:
            for _, message in here([dataclasses.replace(job, device="cpu")], pickled):
                yield job, message

    outcome = run_sweep(["T3"], [1, 2, 3], digits, tmp_path, on_gpu, epochs=1, device="cuda")

    assert outcome.made == ["T3-seed1", "T3-seed3"]
    assert list(outcome.failed) == ["T3-seed2"]
    assert outcome.failed["T3-seed2"].startswith("LossNotFinite: T3: the loss is nan in epoch 0 at step 0")


def test_takes_up_where_it_stopped(digits, tmp_path):
    run_sweep(["T1"], [2], digits, tmp_path, here, epochs=1)
    before = (tmp_path / "T1-seed2.json").stat()

    outcome = run_sweep(["T1"], [1, 2, 3], digits, tmp_path, here, epochs=1)

    assert outcome.found == ["T1-seed2"]
    assert outcome.made == ["T1-seed1", "T1-seed3"]
    after = (tmp_path / "T1-seed2.json").stat()  # it may have been read
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_run_that_stopped_early_is_found_again(digits, tmp_path, monkeypatch):
    """With weights that stay, the second epoch is no better than the first."""
    stopping = dataclasses.replace(EXPERIMENTS["T1"], lr=0.0, early_stopping=EarlyStopping(1))
    monkeypatch.setitem(EXPERIMENTS, "T1", stopping)
    assert run_sweep(["T1"], [1], digits, tmp_path, here, epochs=5).made == ["T1-seed1"]
    assert len(Run.load(tmp_path / "T1-seed1.json").epochs) == 2

    assert run_sweep(["T1"], [1], digits, tmp_path, here, epochs=5).found == ["T1-seed1"]
    with pytest.raises(RunConflict, match="with 2 epochs, and T1-seed1 with 1 was asked for"):
        run_sweep(["T1"], [1], digits, tmp_path, here, epochs=1)


def test_another_run_under_the_same_name_is_not_taken_for_it(digits, tmp_path, monkeypatch):
    run_sweep(["T1"], [1], digits, tmp_path, here, epochs=1)

    with pytest.raises(RunConflict, match="T1-seed1 with 1 epochs, and T1-seed1 with 2 was asked for: choose another"):
        run_sweep(["T1"], [1], digits, tmp_path, here, epochs=2)
    with monkeypatch.context() as patch:
        patch.setitem(EXPERIMENTS, "T1", dataclasses.replace(EXPERIMENTS["T1"], momentum=0.8))
        with pytest.raises(RunConflict, match="a run of another recipe; T1 has been changed since"):
            run_sweep(["T1"], [1], digits, tmp_path, here, epochs=1)
    (tmp_path / "T1-seed1.json").write_text("{")
    with pytest.raises(RunFileError):
        run_sweep(["T1"], [1], digits, tmp_path, here, epochs=1)


def test_runs_with_other_layers_are_named(digits, tmp_path, monkeypatch):
    """Before they are joined by new ones, and after; but not where nothing is to be made."""
    monkeypatch.setattr(runs, "cpu_layers", lambda: "compiled")
    run_sweep(["T3"], [1, 2, 3], digits, tmp_path, here, epochs=1)
    for seed, layers in ((1, "compiled"), (2, "PyTorch"), (3, "PyTorch")):
        run = Run.load(tmp_path / f"T3-seed{seed}.json")
        run.environment["kernels"] = layers
        run.save(tmp_path)

    said = (
        r"have other layers than new ones get here \(compiled\), .*: PyTorch in 2 \(T3-seed2 \.\.\.\)\. Choose another"
    )
    with pytest.warns(MixedLayers, match=said):
        run_sweep(["T3"], [1, 2, 3, 4], digits, tmp_path, lambda *_: [], epochs=1)
    outcome = run_sweep(["T3"], [1, 2, 3], digits, tmp_path, here, epochs=1)
    assert "PyTorch in 2 (T3-seed2 ...), compiled in 1 (T3-seed1)." in str(outcome)
    assert "The runs have PyTorch's layers: " in str(run_sweep(["T3"], [2, 3], digits, tmp_path, here, epochs=1))
    assert "layers" not in str(run_sweep(["T3"], [1], digits, tmp_path, here, epochs=1))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(runs, "kernels_on", lambda device, captured: f"{device.type}'s")
    with pytest.warns(MixedLayers, match=r"than new ones get here \(cuda's\)"):
        outcome = run_sweep(["T3"], [2, 3, 4], digits, tmp_path, made_with("cuda's"), epochs=1, device="cuda")
    assert "PyTorch in 2 (T3-seed2 ...), cuda's in 1 (T3-seed4)." in str(outcome)


def made_with(layers):
    def engine(jobs, pickled):
        for job, message in here([dataclasses.replace(job, device="cpu") for job in jobs], pickled):
            if isinstance(message, Run):
                message.environment["kernels"] = layers
            yield job, message

    return engine


def test_a_run_that_fails_does_not_stop_the_others(digits, tmp_path, monkeypatch):
    diverging = dataclasses.replace(T3, name="diverging", lr=1e38)
    monkeypatch.setitem(EXPERIMENTS, "diverging", diverging)

    outcome = run_sweep(["diverging", "T3"], [1, 2], digits, tmp_path, here, epochs=1)

    assert outcome.made == ["T3-seed1", "T3-seed2"]
    assert list(outcome.failed) == ["diverging-seed1", "diverging-seed2"]
    assert "diverging-seed1 failed: LossNotFinite: diverging: the loss is" in str(outcome)
    assert files(tmp_path) == ["T3-seed1.json", "T3-seed2.json"]


def test_killed_workers_lose_their_own_runs(digits, tmp_path):
    killed = []

    def killing(jobs, pickled):
        """Kill the first two workers in their first epochs. The others have two."""
        jobs = (dataclasses.replace(job, epochs=LONG if job.seeds[0] <= 2 else 2) for job in jobs)
        for job, message in in_processes(jobs, pickled, at_once=1):
            if job.epochs == LONG and job not in killed:
                killed.append(job)
                [worker] = multiprocessing.active_children()
                os.kill(worker.pid, signal.SIGKILL)
            yield job, message

    outcome = run_sweep(["T1"], [1, 2, 3], digits, tmp_path, killing, epochs=2)

    assert outcome.made == ["T1-seed3"]
    assert outcome.failed == dict.fromkeys(["T1-seed1", "T1-seed2"], "its process ended with exit code -9")
    assert files(tmp_path) == ["T1-seed3.json"]


def _sweep_apart(digits, folder, seeds, epochs):
    """In a process of its own: a sweep of T1 that writes down who its workers are."""

    def noted(jobs, pickled):
        for job, message in in_processes(jobs, pickled, at_once=2):
            pids = " ".join(str(each.pid) for each in multiprocessing.active_children())
            write_atomically(folder.parent / "workers", pids)  # and so never found empty
            yield job, message

    fork = multiprocessing.get_context("fork")  # quick, and safe here: this process has trained nothing
    multiprocessing.get_context = lambda method: fork
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests were started in the background
    with contextlib.suppress(KeyboardInterrupt):
        run_sweep(["T1"], seeds, digits, folder, noted, epochs)


@pytest.fixture
def started(digits, tmp_path):
    """Starts a sweep of `seeds` in tmp_path/runs; gives its process and, if it is to be waited for, its workers."""
    processes = []

    def start(seeds, epochs):
        noted = tmp_path / "workers"
        noted.unlink(missing_ok=True)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["mnist_s7.sweep.jobs"])  # as the sweep, which may not be the first to start it
        process = context.Process(target=_sweep_apart, args=(digits, tmp_path / "runs", seeds, epochs))
        process.start()
        processes.append(process)
        wait_for(lambda: noted.exists() or not process.is_alive())
        return process, [int(pid) for pid in noted.read_text().split()]

    yield start
    for process in processes:
        process.kill()


def wait_for_end(pids):
    wait_for(lambda: all(map(has_ended, pids)))


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_sweep_that_is_ended_twice_ends_its_workers_and_is_finished_by_the_third(
    digits, tmp_path, started, signal_number
):
    run_sweep(["T1"], [1], digits, tmp_path / "runs", here, epochs=1)
    (tmp_path / "runs" / "T1-seed1.json").rename(tmp_path / "kept")
    for _ in range(2):
        process, workers = started([2, 3], LONG)
        assert workers
        os.kill(process.pid, signal_number)
        process.join(timeout=60)
        wait_for_end(workers)
        assert not list((tmp_path / "runs").glob("*.json"))
    (tmp_path / "kept").rename(tmp_path / "runs" / "T1-seed1.json")

    outcome = run_sweep(["T1"], [1, 2, 3], digits, tmp_path / "runs", here, epochs=1)

    assert outcome.found == ["T1-seed1"]
    assert outcome.made == ["T1-seed2", "T1-seed3"]
    assert files(tmp_path / "runs") == ["T1-seed1.json", "T1-seed2.json", "T1-seed3.json"]


def test_two_sweeps_at_once_share_the_runs(digits, tmp_path, started):
    process, workers = started([1, 2], LONG)

    outcome = run_sweep(["T1"], [1, 2, 3], digits, tmp_path / "runs", here, epochs=1)

    assert outcome.elsewhere == ["T1-seed1", "T1-seed2"]
    assert outcome.made == ["T1-seed3"]
    assert "Under way in another sweep: T1-seed1, T1-seed2." in str(outcome)
    process.kill()
    wait_for_end(workers)
    assert run_sweep(["T1"], [1, 2, 3], digits, tmp_path / "runs", here, epochs=1).made == ["T1-seed1", "T1-seed2"]


def test_a_run_that_another_sweep_has_made_meanwhile_is_not_repeated(digits, tmp_path):
    def late(jobs, pickled):
        run_sweep(["T1"], [1], digits, tmp_path, here, epochs=1)
        yield from here(jobs, pickled)

    outcome = run_sweep(["T1"], [1, 2], digits, tmp_path, late, epochs=1)

    assert (outcome.found, outcome.made) == (["T1-seed1"], ["T1-seed2"])
    assert files(tmp_path) == ["T1-seed1.json", "T1-seed2.json"]


def test_a_lock_whose_file_its_owner_removes_is_not_taken(tmp_path, monkeypatch):
    """Between opening the file and locking it, another sweep gives the run back and a third one takes it."""
    fcntl = pytest.importorskip("fcntl")
    first, second, third = (RunLocks(tmp_path) for _ in range(3))
    assert first.take("T1-seed1")
    flock = fcntl.flock
    taken = []

    def late(*arguments):
        monkeypatch.setattr(fcntl, "flock", flock)
        first.give_back("T1-seed1")
        taken.append(third.take("T1-seed1"))
        flock(*arguments)

    monkeypatch.setattr(fcntl, "flock", late)

    assert not second.take("T1-seed1")
    assert taken == [True]
    third.give_back("T1-seed1")
    assert files(tmp_path) == []


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_files_cannot_be_locked_a_sweep_goes_on_and_says_so(digits, tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)

    outcome = run_sweep(["T1"], [1, 2], digits, tmp_path, here, epochs=1)

    assert outcome.made == ["T1-seed1", "T1-seed2"]
    assert "Files cannot be locked there (" in str(outcome)
    assert [run.name for run in load_runs(tmp_path)] == outcome.made


def test_a_link_in_the_place_of_a_lock_is_not_followed(digits, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("kept")
    folder = tmp_path / "runs"
    folder.mkdir()
    (folder / ".T1-seed1.lock").symlink_to(precious)

    outcome = run_sweep(["T1"], [1], digits, folder, here, epochs=1)

    assert outcome.made == ["T1-seed1"]
    assert outcome.unlocked
    assert precious.read_text() == "kept"


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of 88 KB."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=88k", "tmpfs", tmp_path], capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


def test_a_full_disk_loses_what_was_under_way(digits, small_disk):
    filler = small_disk / "filler"

    def filling(jobs, pickled):
        for job, message in here(jobs, pickled):
            if isinstance(message, Run) and message.seed == 3:
                with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                    while True:
                        file.write(bytes(1024))
            yield job, message

    with pytest.raises(OutputError, match="T1-seed3.json: cannot be written \\(No space left on device\\)"):
        run_sweep(["T1"], [1, 2, 3, 4], digits, small_disk, filling, epochs=1)
    assert files(small_disk) == ["T1-seed1.json", "T1-seed2.json", "filler"]
    filler.unlink()

    outcome = run_sweep(["T1"], [1, 2, 3, 4], digits, small_disk, here, epochs=1)

    assert outcome.found == ["T1-seed1", "T1-seed2"]
    assert len(load_runs(small_disk)) == 4


def test_a_disk_that_is_full_is_noticed_before_anything_is_trained(digits, small_disk):
    (small_disk / "filler").write_bytes(bytes(60 * 1024))

    with pytest.raises(OutputError, match=f"{small_disk}: cannot be written \\(No space left on device\\)"):
        run_sweep(["T1"], [1], digits, small_disk, lambda *_: pytest.fail("trained in vain"))


def test_other_digits_never_enter_the_published_results(few_digits):
    with pytest.raises(PublishingRefused, match="runs on few digits are published nowhere"):
        run_sweep(["T1"], [1], few_digits, PUBLISHED, lambda *_: pytest.fail("trained in vain"))


def test_seeds_are_ranges_and_numbers():
    assert parse_seeds("1-3,7,2") == [1, 2, 3, 7]
    for wrong in ("", "3-1", "1,", "a", "-2", "1-2-3", "1-" + "9" * 5000):
        with pytest.raises(InvalidArgument, match="no seeds: write 1-10"):
            parse_seeds(wrong)
    for many in ("1-1000000000", "0-100000", "1-60000,70000-120000"):
        with pytest.raises(InvalidArgument, match="are more than 100,000 seeds"):
            parse_seeds(many)


def test_wrong_names_and_numbers_are_refused(digits, tmp_path):
    with pytest.raises(ValueError, match="no experiment T9: there are T1, T2, T3, "):
        run_sweep(["T9"], [1], digits, tmp_path, here)
    with pytest.raises(ValueError, match="0 processes at a time: at least one is needed"):
        run_sweep(["T1"], [1], digits, tmp_path, partial(in_processes, at_once=0))
    with pytest.raises(InvalidArgument, match="epochs is 0"):
        run_sweep(["T1"], [1], digits, tmp_path, here, epochs=0)
    with pytest.raises(InvalidArgument, match="seed is -1"):
        run_sweep(["T1"], [-1], digits, tmp_path, here)
    assert files(tmp_path) == []
