import pytest

from mnist_s7.commands import compare, evaluate, options


@pytest.fixture
def on_few_digits(monkeypatch, few_digits, tmp_path):
    """The commands find these digits, and draw in a folder of the test."""
    for module in (options, compare):
        monkeypatch.setattr(module, "load_digits", lambda *_, **__: few_digits)
    for module in (compare, evaluate):
        monkeypatch.setattr(module, "FIGURES", tmp_path / "figures")
    return few_digits
