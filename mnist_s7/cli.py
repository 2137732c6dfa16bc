"""The command line: mnist-s7 COMMAND, or python -m mnist_s7 COMMAND. What each command does is in `commands`."""

import argparse
import errno
import os
import signal
import sys
import warnings
from collections.abc import Callable
from functools import partial

from mnist_s7 import MnistS7Error, MnistS7Warning
from mnist_s7.commands import bench, compare, evaluate, export, new, page, predict, readme, run, sweep, teach, train
from mnist_s7.receptive_field import ReceptiveFieldError

COMMANDS = (run, train, sweep, teach, compare, predict, evaluate, export, page, new, bench, readme)
RESUMABLE = "sweep", "teach"


def main() -> int:
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as it is under nohup
            signal.signal(number, _end)
    for stream in (sys.stdout, sys.stderr):  # a file's name may hold what the terminal's encoding lacks
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    arguments = _parser().parse_args()
    warnings.showwarning = partial(_show_warning, warnings.showwarning)
    try:
        code = arguments.do(arguments) or 0
        if sys.stdout:
            sys.stdout.flush()  # a reader that has gone is noticed here, and not while Python ends
        return code
    except (MnistS7Error, ReceptiveFieldError) as error:
        print(f"mnist-s7 {arguments.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        rest = "; the same command goes on" if arguments.command in RESUMABLE else ""
        print(f"\nmnist-s7 {arguments.command}: stopped; no run was left half-written{rest}", file=sys.stderr)
        return 128 + signal.SIGINT
    except OSError as error:
        if not _output_fails():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still has to write there
        if error.errno == errno.EPIPE:  # `| head`, say, has seen enough
            return 128 + signal.SIGPIPE
        print(f"mnist-s7 {arguments.command}: its output cannot be written ({error.strerror})", file=sys.stderr)
        return 1


def _output_fails() -> bool:
    """Whether nothing more can be written to the standard output."""
    try:
        print(flush=True)
    except OSError:
        return True
    return False


def _end(number: int, _) -> None:
    """End as after an error, so that what was begun is cleaned up: other processes, locks, temporary files."""
    name = signal.Signals(number).name
    os.write(2, f"\nmnist-s7: stopped by {name}; no run was left half-written\n".encode())  # print may be at work
    sys.exit(128 + number)


def _show_warning(others: Callable, message: Warning, category: type[Warning], *where) -> None:
    """The package's own as one line; others as Python shows them, with a line of their code."""
    if issubclass(category, MnistS7Warning):
        print(f"mnist-s7: {message}", file=sys.stderr)
    else:
        others(message, category, *where)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mnist-s7", description="Train, use, compare and measure small CNNs on MNIST."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, do: Callable, help: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        added.set_defaults(do=do)
        return added

    for module in COMMANDS:
        module.add(command)
    return parser
