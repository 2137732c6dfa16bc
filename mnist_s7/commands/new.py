"""`mnist-s7 new`: begin an iteration."""

import argparse
import os

from mnist_s7.commands.options import Command
from mnist_s7.experiments import SERIES


def add(command: Command) -> None:
    parser = command("new", _new, "begin the next iteration of the series: its notebook, and its entry in the package")
    parser.add_argument("name", metavar="NAME", help=f"T{len(SERIES) + 1}, say")


def _new(arguments: argparse.Namespace) -> None:
    from mnist_s7.report.skeleton import begin

    notebook, *changed = begin(arguments.name)
    print(f"Begun with {os.path.relpath(notebook)}. Now say what it is:")
    for path in changed:
        print(f"  {os.path.relpath(path)}")
