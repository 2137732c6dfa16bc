"""A sweep on a Ray cluster: Ray finds each job a machine, and repeats it where that machine or its process is lost."""

import multiprocessing
import os
import socket
import textwrap
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue

from mnist_s7 import InvalidArgument, MnistS7Error
from mnist_s7.sweep.jobs import Job, Message, depend_on_parent, run_job

PACKAGE = Path(__file__).resolve().parents[1]
SECONDS_TO_ANSWER = 5  # for a machine to take a connection
SECONDS_TO_CONNECT = 120  # for Ray, which alone would take minutes to find that it talks to something else
SECONDS_BETWEEN_CHECKS = 10  # whether a machine for the jobs is left, while no message comes
SECONDS_TO_END = 10  # for Ray, in order
REPEATS = 3  # of a job whose process or machine is lost
CONNECTED = "connected"


class RayMissing(MnistS7Error, ModuleNotFoundError):
    """Ray is not installed."""


class ClusterUnreachable(MnistS7Error, ConnectionError):
    """There is no Ray cluster at the address, or it does not take this machine's programs."""


class ClusterUnfit(MnistS7Error, ValueError):
    """No machine of the cluster has what a job needs, so that it would wait for ever."""


class ClusterLost(MnistS7Error, ConnectionError):
    """The cluster has gone in the middle of a sweep. Its finished runs are in the folder."""


def on_ray(jobs: Iterable[Job], digits: bytes, address: str) -> Iterator[tuple[Job, Message]]:
    """An `Engine`: a Ray cluster, the one at `address`, or for "local" one that is started on this machine and ends
    with the sweep.

    Its machines need Ray and this package's dependencies; the package and the digits are sent to them.

    Raises `RayMissing`, `InvalidArgument` for an address that is none, `ClusterUnreachable`, `ClusterUnfit` and
    `ClusterLost`.
    """
    _refuse_dead(address)
    # Ray ends the process that has connected to a cluster when it loses that cluster: it gets one of its own. A forked
    # one would not see the environment's settings for Ray as they are now.
    context = multiprocessing.get_context("spawn")
    connection, its_end = context.Pipe(duplex=False)
    driver = context.Process(target=_drive, args=(list(jobs), digits, address, its_end))
    driver.start()
    its_end.close()  # here, so that the process holds the only one and its end can be noticed
    try:
        if address != "local" and not connection.poll(SECONDS_TO_CONNECT):
            raise ClusterUnreachable(f"no Ray cluster has answered at {address} in {SECONDS_TO_CONNECT} seconds")
        while message := _received(connection, address):
            if message != CONNECTED:
                yield message
    finally:
        driver.terminate()  # so that Ray can end what it has started, a local cluster above all
        driver.join(SECONDS_TO_END)
        driver.kill()


def _refuse_dead(address: str) -> None:
    """Raise the errors that need no connection: Ray itself would take minutes to find them."""
    host, _, port = address.rpartition(":")
    is_host = host and "/" not in host and port.isdecimal() and 0 < int(port) < 2**16
    if not (is_host or address in ("local", "auto")):
        raise InvalidArgument(
            f"{address!r} is no address of a Ray cluster: write HOST:PORT, `auto` for the cluster that this machine is "
            "part of, or `local`; to reach one from outside, let this machine join it: ray start --address=HOST:PORT"
        )
    if not find_spec("ray"):
        raise RayMissing('Ray is not installed: pip install -e ".[ray]" in this repository')
    if is_host:
        try:
            socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_ANSWER).close()
        except (OSError, UnicodeError) as error:
            raise ClusterUnreachable(
                f"no Ray cluster at {address} ({error}): start one there with ray start --head, or give another address"
            ) from error


def _received(connection: Connection, address: str) -> tuple[Job, Message] | str | None:
    try:
        message = connection.recv()
    except (EOFError, ConnectionError) as error:
        raise _lost(address, "its head no longer answers, or the process that talks to it ended") from error
    if isinstance(message, Exception):
        raise message
    return message


def _lost(address: str, reason: str) -> ClusterLost:
    return ClusterLost(
        f"the Ray cluster ({address}) is lost: {reason}. The finished runs are kept; the same command makes the others"
    )


def _drive(jobs: list[Job], digits: bytes, address: str, connection: Connection) -> None:
    """Do the jobs on the cluster, in a process of its own; send what `on_ray` passes on, and None or an error."""
    depend_on_parent()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # Ray's many messages; what matters is sent
        os.dup2(nowhere, stream)
    os.environ.update(
        RAY_USAGE_STATS_ENABLED="0",  # they are for the user to give
        RAY_task_oom_retries=str(REPEATS),  # where memory ran out; Ray's own number has no end
    )
    try:
        for message in _messages(jobs, digits, address):
            connection.send(message)
        connection.send(None)
    except Exception as error:  # the parent raises it
        connection.send(error)


def _messages(jobs: list[Job], digits: bytes, address: str) -> Iterator[tuple[Job, Message] | str]:
    """That the cluster is there, and then what `on_ray` passes on."""
    import ray

    try:
        ray.init(
            address, runtime_env={"py_modules": [os.fspath(PACKAGE)]}, include_dashboard=False, log_to_driver=False
        )
    except Exception as error:  # of several types: another version of Ray or Python, a missing token, ...
        raise ClusterUnreachable(f"Ray cannot use the cluster ({address}): {_reason(error)}") from None
    yield CONNECTED
    try:
        yield from _results(jobs, digits, address)
    except ray.exceptions.RayError as error:
        raise _lost(address, _reason(error)) from None
    finally:
        ray.shutdown()


def _results(jobs: list[Job], digits: bytes, address: str) -> Iterator[tuple[Job, Message]]:
    import ray

    gpus = int(any(job.device.startswith("cuda") for job in jobs))
    if not _has_machine(gpus):
        raise ClusterUnfit(
            f"no machine of the Ray cluster ({address}) has {_needs(gpus)}, and the runs would wait for one for ever: "
            f"{'use --device cpu, or ' if gpus else ''}add one to the cluster with ray start --address=HOST:PORT"
        )
    remote = ray.remote(num_cpus=1, num_gpus=gpus, num_returns="streaming", max_retries=REPEATS)(_train)
    sent = ray.put(digits)
    under_way = {remote.remote(job, sent): job for job in jobs}
    while under_way:
        ready, _ = ray.wait(list(under_way), num_returns=1, timeout=SECONDS_BETWEEN_CHECKS)
        if not ready and not _has_machine(gpus):
            raise _lost(address, f"no machine with {_needs(gpus)} is left")
        for stream in ready:
            try:
                yield under_way[stream], ray.get(next(stream))
            except StopIteration:
                del under_way[stream]
            except ray.exceptions.LocalRayletDiedError:  # of this machine: no job can be handed out any more
                raise
            except ray.exceptions.RayError as error:
                yield under_way.pop(stream), _reason(error)


def _has_machine(gpus: int) -> bool:
    import ray

    return any(
        node["Alive"] and node["Resources"].get("CPU", 0) >= 1 and node["Resources"].get("GPU", 0) >= gpus
        for node in ray.nodes()
    )


def _needs(gpus: int) -> str:
    return "a CPU and a GPU" if gpus else "a CPU"


def _reason(error: Exception) -> str:
    """One line of what Ray raises, which may hold a whole traceback or a table of processes."""
    from ray.exceptions import RayTaskError

    text = str(error.__cause__ or error).strip()
    if isinstance(error, RayTaskError) or "Traceback" in text:  # ends with what was raised
        text = text.splitlines()[-1]
    return textwrap.shorten(text, 300).rstrip(".")


def _train(job: Job, digits: bytes) -> Iterator[Message]:
    """`run_job` on a machine of the cluster: its messages, as they come.

    Where Ray repeats the job, it passes over as many items as it has had before: no share is counted twice.
    """
    messages = SimpleQueue()
    with ThreadPoolExecutor(1) as thread:
        training = thread.submit(run_job, job, digits, messages.put)
        training.add_done_callback(lambda _: messages.put(None))
        while (message := messages.get()) is not None:
            yield message
        training.result()  # raises what `run_job` has not sent
