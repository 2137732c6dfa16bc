"""The project's folder, in which data, notebooks, results and runs are looked for."""

from pathlib import Path

BESIDE_PACKAGE = Path(__file__).resolve().parents[2]

# The working copy, or the current folder where the package is installed apart from one: then nothing is to be written
# beside it.
PROJECT = BESIDE_PACKAGE if (BESIDE_PACKAGE / "pyproject.toml").exists() else Path.cwd()
DOWNLOADS = PROJECT / "data"
