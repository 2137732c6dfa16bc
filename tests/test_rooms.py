"""The package's rooms: which may import which, what each loads, and where a reader begins."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import mnist_s7

PACKAGE = Path(mnist_s7.__file__).parent
ERRORS = {"InvalidArgument", "MnistS7Error", "MnistS7Warning"}  # of mnist_s7 itself, for all
LINES = 350  # of a module: more cannot be read top to bottom

# What each room may import of the package. A room is a folder, or a module beside the folders.
ARROWS = {
    "models": set(),
    "transforms": set(),
    "schedules": set(),
    "optimizers": set(),
    "distillation": set(),
    "source_code": set(),
    "receptive_field": set(),
    "kernels": set(),
    "data": set(),
    "results": {"data"},
    "experiments": {"models", "transforms", "schedules", "optimizers", "distillation", "source_code", "results"},
    "baselines": {"transforms", "schedules", "optimizers", "experiments", "results"},
    "catalog": {"models", "transforms", "experiments", "source_code", "results", "baselines"},
    "training": {"experiments", "catalog", "transforms", "schedules", "data", "kernels", "results"},
    "sweep": {"training", "catalog", "experiments", "results", "data", "kernels"},
    "bench": {"training", "optimizers", "catalog", "experiments", "results", "data", "transforms", "kernels"},
    "images": {"data", "training", "results"},
    "robustness": {"data", "transforms", "training", "results", "kernels"},
    "plots": {"results", "receptive_field", "bench", "images", "robustness"},
    "export": {"training", "catalog", "experiments", "results", "data", "transforms", "plots"},
    "report": {
        *("results", "experiments", "data", "transforms", "receptive_field", "plots", "bench", "training", "models"),
        *("source_code", "catalog", "export", "robustness", "baselines", "schedules"),
    },
    "page": {
        *("export", "catalog", "experiments", "results", "report", "plots", "images", "data", "training"),
        *("receptive_field", "transforms"),
    },
    "commands": {
        *("models", "transforms", "receptive_field", "kernels", "data", "results", "experiments", "training"),
        *("catalog", "baselines", "sweep", "bench", "plots", "report", "images", "export", "page", "robustness"),
    },
    "cli": {"commands", "receptive_field"},
    "__main__": {"cli"},
    "__init__": set(),
}

TRAINING = ARROWS["training"] | {
    "training",
    "models",
    "schedules",
    "optimizers",
    "distillation",
    "source_code",
    "baselines",
}

MODULES = sorted(PACKAGE.rglob("*.py"))
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(source: str, folder: tuple[str, ...] = ()) -> Iterator[str]:
    """The rooms that the source imports, wherever in it; `folder` is that of the module in the package.

    A name that `mnist_s7` itself passes on is of the room that it is from; the base errors are of none.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            inside = ("mnist_s7", *folder)
            start = inside[: len(inside) - node.level + 1] if node.level else ()
            module = (*start, *(node.module.split(".") if node.module else ()))
            names = [(*module, alias.name) for alias in node.names]
        else:
            continue
        for name in names:
            if name[0] != "mnist_s7":
                continue
            first = name[1] if len(name) > 1 else "__init__"
            home = mnist_s7._HOME_OF.get(first)
            if home:
                yield home.split(".")[1]
            elif first not in ERRORS:
                yield first


def test_imports_are_found_wherever_they_are():
    source = """
import mnist_s7.plots.style as style, json
from typing import TYPE_CHECKING
from mnist_s7 import InvalidArgument, experiments, fit
from . import folders
from ..data.mnist import load_digits
if TYPE_CHECKING:
    from mnist_s7.bench import Benchmark
def function():
    from mnist_s7.sweep.runs import run_sweep
    import mnist_s7
"""
    found = list(imports(source, folder=("results",)))

    expected = ["plots", "experiments", "training", "results", "data", "bench", "sweep", "__init__"]
    assert sorted(found) == sorted(expected)


def test_every_module_is_in_a_known_room():
    assert {room_of(path) for path in MODULES} == set(ARROWS)
    assert all(path.with_name("__init__.py").exists() for path in MODULES)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_room_imports_what_it_may(path):
    folder = path.relative_to(PACKAGE).parts[:-1]
    found = set(imports(path.read_text(encoding="utf-8"), folder)) - {room_of(path)}

    assert found <= ARROWS[room_of(path)], f"{name_of(path)} imports {sorted(found - ARROWS[room_of(path)])}"


def test_the_arrows_have_no_cycle():
    assert len(list(TopologicalSorter(ARROWS).static_order())) == len(ARROWS)
    with pytest.raises(CycleError):
        list(TopologicalSorter(ARROWS | {"data": {"results"}}).static_order())


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_which_file_to_open_first(room):
    """One that is there, or the room is without a beginning."""
    words = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8"))) or ""

    assert "Open `" in words
    first = words.partition("Open `")[2].partition("`")[0].removesuffix(".py")
    assert (PACKAGE / room / f"{first}.py").exists()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_can_be_read_top_to_bottom(path):
    source = path.read_text(encoding="utf-8")
    lines = source.count("\n")

    assert lines <= LINES
    if source.strip() and path.name != "__main__.py":
        assert ast.get_docstring(ast.parse(source))


def in_fresh_process(program: str) -> str:
    """What `program` prints in a Python that has loaded nothing yet."""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def loaded_by(module: str) -> set[str]:
    """The modules that an import of `module` loads."""
    return set(in_fresh_process(f"import sys, {module}; print(*sys.modules)").split())


def rooms_in(loaded: set[str]) -> set[str]:
    return {name.split(".")[1] for name in loaded if name.startswith("mnist_s7.")}


@pytest.mark.parametrize(
    ("module", "rooms", "without"),
    [
        ("mnist_s7", set(), {"torch", "numpy", "matplotlib"}),
        ("mnist_s7.receptive_field", {"receptive_field"}, {"matplotlib", "torchvision", "scipy"}),
        ("mnist_s7.models", {"models"}, {"matplotlib", "torchvision", "scipy"}),
        ("mnist_s7.kernels", {"kernels"}, {"matplotlib", "torchvision", "scipy"}),
        ("mnist_s7.data", {"data"}, {"matplotlib", "torchvision", "scipy"}),
        ("mnist_s7.results", {"data", "results"}, {"matplotlib", "torchvision"}),
        (
            "mnist_s7.training",
            TRAINING,
            {"matplotlib", "jupyter_client"},
        ),
        (
            "mnist_s7.export",
            TRAINING | {"export"},
            {"matplotlib", "onnx", "onnxruntime", "onnxscript", "tensorboard"},
        ),
    ],
)
def test_a_room_can_be_had_alone(module, rooms, without):
    loaded = loaded_by(module)

    assert rooms_in(loaded) <= rooms
    assert not without & loaded
    assert module in loaded


FIRST = [
    "mnist_s7",
    "mnist_s7.receptive_field",
    "mnist_s7.receptive_field.tracing",
    "mnist_s7.plots",
    "mnist_s7.report",
]


@pytest.mark.parametrize("first", FIRST)
def test_receptive_field_is_a_room_and_its_main_function(first):
    """Whatever was imported first."""
    said = in_fresh_process(
        f"import {first}\n"
        "from mnist_s7 import MnistNet_1, receptive_field\n"
        "import mnist_s7, mnist_s7.receptive_field as room\n"
        "from mnist_s7.receptive_field import receptive_field as function\n"
        "assert callable(receptive_field) and receptive_field is room is mnist_s7.receptive_field\n"
        "assert str(receptive_field(MnistNet_1())) == str(function(MnistNet_1()))\n"
        "print(receptive_field(MnistNet_1()).receptive_field)"
    )

    assert said.split() == ["28"]


def test_every_name_of_the_package_can_be_got():
    said = in_fresh_process(
        "import mnist_s7\n"
        "for name in mnist_s7.__all__:\n"
        "    assert getattr(mnist_s7, name) is not None and name in dir(mnist_s7)\n"
        "from mnist_s7 import *\n"
        "assert {*mnist_s7.__all__} <= {*globals()}\n"
        "import mnist_s7.bench, mnist_s7.kernels\n"
        "from mnist_s7 import bench, data, export, kernels, plots, report, results, sweep\n"
        "try:\n"
        "    mnist_s7.nothing\n"
        "except AttributeError as error:\n"
        "    print(error)"
    )

    assert said.strip() == "module 'mnist_s7' has no attribute 'nothing'"
    assert len(set(mnist_s7.__all__)) == len(mnist_s7.__all__)
