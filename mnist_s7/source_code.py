"""The source of functions and classes, with what they use of their own module: to be shown, and to be told apart."""

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType

from torch import nn

Definition = ast.FunctionDef | ast.ClassDef


def used(module: ModuleType, name: str) -> list[str]:
    """`name`, and the functions and classes of `module` that it uses, directly or not, in the module's order."""
    own = {node.name: [node] for node in _body(module) if isinstance(node, Definition)}
    return [each for each in own if each in _closure(own, name)]


def syntax(cls: type) -> str:
    """What a class says, with everything of its module that it uses, and the modules that are imported from beside it:
    the same whatever comments, docstrings and layout are. Of a class in a notebook's cell what its methods say; empty
    where there is no source at all."""
    try:
        body = _body(sys.modules[cls.__module__])
    except (OSError, TypeError, KeyError):
        return "\n".join(map(_of_method, filter(inspect.isfunction, vars(cls).values())))
    own: dict[str, list[ast.stmt]] = {}
    for node in body:
        for name in _names(node):
            own.setdefault(name, []).append(node)
    if cls.__qualname__ in own:
        found = _closure(own, cls.__qualname__)
        body = [node for node in body if found.intersection(_names(node))]
    # Otherwise it was made inside a function, and may use anything.
    return "\n".join(map(_without_docstrings, [*body, *_beside(sys.modules[cls.__module__], set())]))


def imported(tree: ast.AST) -> Iterator[str]:
    """The names of the modules that are imported anywhere in the `tree`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def _beside(module: ModuleType, seen: set[str]) -> list[ast.stmt]:
    """What the modules say that `module` imports from its own folder, and these in turn."""
    folder, found = Path(module.__file__).parent, []
    for name in imported(ast.Module(_body(module), [])):
        other = sys.modules.get(name)
        file = getattr(other, "__file__", None)
        if file and name not in seen and Path(file).parent == folder:
            seen.add(name)
            found += [*_body(other), *_beside(other, seen)]
    return found


def _of_method(function: FunctionType) -> str:
    try:
        [definition] = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    except (OSError, SyntaxError, ValueError):  # a SyntaxError for a lambda in the middle of something
        return ""
    return _without_docstrings(definition)


def _body(module: ModuleType) -> list[ast.stmt]:
    return ast.parse(inspect.getsource(module)).body


def _names(statement: ast.stmt) -> set[str]:
    """What a statement of a module defines, or may change: `K = 1`, `K.append(2)`, `Net.forward = other`."""
    if isinstance(statement, Definition):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).partition(".")[0] for alias in statement.names}
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        read = [node for target in targets for node in ast.walk(target)]
        read += [node for node in ast.walk(statement) if isinstance(node, ast.NamedExpr)]
        return {node.id for node in read if isinstance(node, ast.Name)}
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}


def _closure(own: dict[str, list[ast.stmt]], name: str) -> set[str]:
    found, open_names = set(), {name}
    while open_names:
        found |= open_names
        nodes = (node for each in open_names for statement in own[each] for node in ast.walk(statement))
        open_names = ({node.id for node in nodes if isinstance(node, ast.Name)} & own.keys()) - found
    return found


def _without_docstrings(statement: ast.stmt) -> str:
    for node in ast.walk(statement):
        if isinstance(node, Definition) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(statement)  # which says the same in every version of Python


def foreign_source(network: nn.Module) -> list:
    """Of the network's modules whose class neither PyTorch nor this package has made: the classes' source, and what
    the modules were told, which their forward may go by; PyTorch's own underscored attributes are not of that."""

    def is_foreign(cls: type) -> bool:
        return cls.__module__.partition(".")[0] not in ("torch", "mnist_s7", "builtins")

    classes = dict.fromkeys(cls for module in network.modules() for cls in type(module).__mro__)
    plain = (bool, int, float, str, tuple, type(None))
    told = [
        (
            name,
            sorted((key, value) for key, value in vars(module).items() if key[0] != "_" and isinstance(value, plain)),
        )
        for name, module in network.named_modules()
        if is_foreign(type(module))
    ]
    return [*map(syntax, filter(is_foreign, classes)), *told]
