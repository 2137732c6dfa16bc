"""Packages that only this room needs, and that a plain installation does without."""

from importlib.util import find_spec

from mnist_s7 import MnistS7Error


class ExtraMissing(MnistS7Error, ModuleNotFoundError):
    """A package of one of the project's extras is not installed."""


def require(extra: str, *packages: str) -> None:
    """Raise `ExtraMissing` unless all of the packages, which `extra` of pyproject.toml installs, are there."""
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise ExtraMissing(
            f'{" and ".join(missing)} {verb} not installed: pip install -e ".[{extra}]" in this repository'
        )
