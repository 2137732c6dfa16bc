"""Blocks of any class that compute relu(x + branch(x)), recognised by what their `forward` does."""

import dis
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import CodeType, FunctionType, SimpleNamespace

import torch
import torch.nn.functional as F
from torch import fx, nn

SUMS = [("call_function", operator.add), ("call_function", torch.add), ("call_method", "add")]
RELUS = [
    *(("call_function", function) for function in (F.relu, F.relu_, torch.relu, torch.relu_)),
    *(("call_method", name) for name in ("relu", "relu_")),
]

# Names that such a `forward` may use besides those of its submodules, and what they may stand for as global ones. A
# trace sees one way through the code, and not what else happens there: draws, counters, conditions. All of these need
# another name, or a function of the author's own.
NAMES = {"F", "add", "functional", "nn", "relu", "relu_", "torch"}
GLOBALS = [F, nn, torch, *(function for kind, function in SUMS + RELUS if kind == "call_function")]


@dataclass(frozen=True)
class Residual:
    """The submodules that a block's `forward` calls: its branch, and its ReLU if that is one of them."""

    branch: str
    relu: str | None


def find_residuals(model: nn.Module) -> dict[Callable, Residual]:
    """The `forward` of each class in `model` whose blocks compute relu(x + branch(x))."""
    found = {}
    for module in model.modules():
        forward = type(module).forward
        if forward not in found and _uses_no_other_names(forward, module):
            found[forward] = _residual(module)
    return {forward: residual for forward, residual in found.items() if residual}


def _uses_no_other_names(forward: Callable, module: nn.Module) -> bool:
    if not isinstance(forward, FunctionType) or not module._modules:
        return False
    code = forward.__code__
    nested = code.co_freevars or any(isinstance(constant, CodeType) for constant in code.co_consts)
    if nested or not NAMES.union(module._modules).issuperset(code.co_names):
        return False
    names = {step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"}
    return all(any(forward.__globals__.get(name) is own for own in GLOBALS) for name in names)


def _traced(forward: Callable, names: Iterable[str]) -> list[fx.Node]:
    """What `forward` does with x and the submodules of these names.

    `fx.symbolic_trace` would replace methods of `nn.Module` for the time of it, under other threads' feet.
    """
    graph = fx.Graph()
    tracer = fx.proxy.GraphAppendingTracer(graph)

    def submodule(name: str) -> Callable:
        return lambda *arguments, **settings: tracer.create_proxy("call_module", name, arguments, settings)

    block, x = SimpleNamespace(**{name: submodule(name) for name in names}), graph.placeholder("x")
    graph.output(forward(block, fx.Proxy(x, tracer)).node)
    return list(graph.nodes)


def _residual(block: nn.Module) -> Residual | None:
    try:
        nodes = _traced(type(block).forward, block._modules)
    except Exception:  # whatever `forward` cannot do with a proxy for x
        return None
    if [node.op for node in nodes[:2]] != ["placeholder", "call_module"] or len(nodes) != 5:
        return None
    x, branch, total, relu, output = nodes
    relu_is_module = relu.op == "call_module"
    matches = (
        (branch.args, branch.kwargs) == ((x,), {})
        and (total.op, total.target) in SUMS
        and total.args in ((x, branch), (branch, x))
        and not total.kwargs
        and (relu_is_module or (relu.op, relu.target) in RELUS)
        and relu.args == (total,)
        and relu.kwargs.keys() <= {"inplace"}
        and output.args == (relu,)
    )
    return Residual(branch.target, relu.target if relu_is_module else None) if matches else None
