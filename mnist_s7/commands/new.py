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
    print("Begun. Look for TODO in these, and say what the iteration is:")
    for path in (notebook, *changed):
        if "TODO" in path.read_text(encoding="utf-8"):
            print(f"  {os.path.relpath(path)}")
