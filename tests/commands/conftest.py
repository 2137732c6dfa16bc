import sys

import pytest

from mnist_s7 import cli
from mnist_s7.commands import compare, evaluate, options


@pytest.fixture
def mnist_s7(monkeypatch, capsys):
    """Runs a command line; gives its exit code, its output and its errors."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["mnist_s7", *map(str, arguments)])
        try:
            code = cli.main()
        except SystemExit as exit:
            code = exit.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def on_few_digits(monkeypatch, few_digits, tmp_path):
    """The commands find these digits, and draw in a folder of the test."""
    for module in (options, compare):
        monkeypatch.setattr(module, "load_digits", lambda *_, **__: few_digits)
    for module in (compare, evaluate):
        monkeypatch.setattr(module, "FIGURES", tmp_path / "figures")
    return few_digits
