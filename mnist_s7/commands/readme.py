"""`mnist-s7 readme`: write the generated pages, or check them."""

import argparse
import sys

from mnist_s7.commands.options import Command
from mnist_s7.results.machine import KERNEL_MEMORY, side_by_side

MOST_NOTEBOOKS = 8  # executed at once


def add(command: Command) -> None:
    parser = command(
        "readme",
        _readme,
        "write the README, the results page, their figures and the notebooks' tables from the results",
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail if they or the notebooks differ")


def _readme(arguments: argparse.Namespace) -> int:
    from mnist_s7.report.pages import stale_pages, write_pages

    if not arguments.check:
        write_pages()
        return 0
    stale = stale_pages(side_by_side(MOST_NOTEBOOKS, KERNEL_MEMORY))
    for what in stale:
        print(what, file=sys.stderr)
    if not stale:
        print("README.md, the results page, their figures and the notebooks' tables are what notebooks/results gives.")
    return 1 if stale else 0
