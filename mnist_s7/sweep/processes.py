"""Jobs in processes of this machine."""

import multiprocessing
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection, wait

from mnist_s7 import InvalidArgument
from mnist_s7.sweep.jobs import Job, Message, worker_main


def in_processes(jobs: Iterable[Job], digits: bytes, at_once: int) -> Iterator[tuple[Job, Message]]:
    """An `Engine`: a process for each job, `at_once` of them at a time."""
    if at_once < 1:
        raise InvalidArgument(f"{at_once} processes at a time: at least one is needed")
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    context.set_forkserver_preload(["mnist_s7.sweep.jobs"])  # so that PyTorch is imported once, and not by each process
    waiting = iter(jobs)
    running: dict[Connection, tuple[Job, multiprocessing.Process]] = {}
    try:
        while True:
            while len(running) < at_once and (job := next(waiting, None)):
                connection, its_end = context.Pipe(duplex=False)
                process = context.Process(target=worker_main, args=(job, digits, its_end))
                process.start()
                its_end.close()  # here, so that the process holds the only one and its end can be noticed
                running[connection] = job, process
            if not running:
                return
            for connection in wait(list(running)):
                job, process = running[connection]
                try:
                    yield job, connection.recv()
                except (EOFError, ConnectionError):
                    del running[connection]
                    process.join()
                    if process.exitcode:
                        yield job, f"its process ended with exit code {process.exitcode}"
    finally:
        for _, process in running.values():
            process.kill()
