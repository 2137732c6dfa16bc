"""A reader's experiments, in a Python file of their own: `FILE.py:NAME`."""

import ast
import linecache
import sys
import traceback
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import ModuleType

from torch import nn

from mnist_s7 import MnistS7Error
from mnist_s7.catalog.check import in_words
from mnist_s7.experiments import SERIES, T3, Experiment
from mnist_s7.source_code import imported

# What T3 says of itself, and what a reader's experiment that was made from an iteration says instead.
SAID = ("title", "change", "targets", "claims", "reference")


class ExperimentFileError(MnistS7Error, ValueError):
    """A file that cannot be run, or that does not hold the experiment that was asked for."""


def split(text: str) -> tuple[Path, str] | None:
    """`FILE.py:NAME` or `FILE.py` -> the file and the name, which may be empty; None for anything else."""
    file, colon, name = text.rpartition(":")
    if colon and file.endswith(".py"):
        return Path(file), name
    return (Path(text), "") if text.endswith(".py") else None


def read(path: Path) -> str:
    """The file's text. Raises `ExperimentFileError`."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ExperimentFileError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise ExperimentFileError(f"{path}: not a Python file in UTF-8 ({error})") from error


def experiment_in(path: Path, text: str, name: str) -> Experiment:
    """The experiment called `name` in a file with this `text`; the only one there is where `name` is empty.

    An `nn.Module` class is trained by T3's recipe. What an iteration says of itself is not said of an experiment that
    was made from it by `replace`. Raises `ExperimentFileError`.
    """
    found = _candidates(_module(path, text))
    if not name and len(found) != 1:
        remedy = f"name one, as {path}:NAME" if found else "write one of the two, a class and not an instance of it"
        raise ExperimentFileError(f"{path}: holds {_listed(found)}; {remedy}")
    name = name or next(iter(found))
    if name not in found:
        raise ExperimentFileError(f"{path}: holds {_listed(found)}, and no {name}")
    thing = found[name]
    if not isinstance(thing, Experiment):
        thing = replace(T3, name=name, network=thing)
    told = {field: [getattr(each, field) for each in SERIES] for field in SAID}
    instead = {"title": name, "change": f"a network of {path.name}", "targets": (), "claims": (), "reference": None}
    changes = {field: instead[field] for field in SAID if getattr(thing, field) in told[field]}
    if thing.name in {each.name for each in SERIES}:  # as the iteration that it was made from
        changes["name"] = name
    return replace(thing, **changes)


def _candidates(module: ModuleType) -> dict[str, Experiment | type[nn.Module]]:
    """The experiments of the file, and the networks that it makes and no experiment has; not what it imports."""
    own = {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and not any(value is each for each in SERIES)
    }
    experiments = {name: value for name, value in own.items() if isinstance(value, Experiment)}
    networks = {
        name: value
        for name, value in own.items()
        if isinstance(value, type) and issubclass(value, nn.Module) and value.__module__ == module.__name__
    }
    return experiments | networks


def _module(path: Path, text: str) -> ModuleType:
    """The file, run as a module of a name that no other has. What is beside it can be imported."""
    path = path.resolve()
    name = f"mnist_s7_own_{sha256(str([path, text]).encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    module.__file__ = str(path)
    # Asked for later, the text is what was run, even if the file has been changed since, or is on another machine.
    linecache.cache[str(path)] = (len(text), None, text.splitlines(keepends=True), str(path))
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    sys.modules[name] = module
    try:
        exec(compile(text, str(path), "exec"), vars(module))
    except (Exception, SystemExit) as error:  # whatever a reader's file raises
        del sys.modules[name]
        raise ExperimentFileError(f"{path}, line {_line(error, str(path))}: {in_words(error)}") from error
    _refuse_others(path, text)
    return module


def _refuse_others(path: Path, text: str) -> None:
    """Raise `ExperimentFileError` where an import of what is beside the file has given another module of that name."""
    for name in imported(ast.parse(text)):
        beside, found = path.with_name(f"{name}.py"), getattr(sys.modules.get(name), "__file__", None)
        if beside.exists() and (found is None or Path(found).resolve() != beside.resolve()):
            raise ExperimentFileError(
                f"{path}: imports {name}, and got another module of that name, {found}; rename {beside.name}"
            )


def _line(error: BaseException, path: str) -> int:
    """The last line of the file that had a part in it."""
    if isinstance(error, SyntaxError) and error.filename == path:
        return error.lineno or 0
    return next((f.lineno for f in reversed(traceback.extract_tb(error.__traceback__)) if f.filename == path), 0)


def _listed(found: dict) -> str:
    return f"the experiments and networks {', '.join(found)}" if found else "no Experiment and no nn.Module class"
