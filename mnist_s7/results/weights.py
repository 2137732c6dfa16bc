"""A trained network's weights as a file beside its run's: safetensors, which holds numbers and no code."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from mnist_s7 import MnistS7Error
from mnist_s7.results.machine import in_fast_layout

SUFFIX = ".safetensors"
FACTS = {"experiment", "fingerprint", "seed", "dataset", "commit", "test_accuracy", "run"}  # of `Run.facts`
FOLDER = "weights"  # beside runs' files: where it is there, their weights are in it

# What builds the network of an experiment, by the experiment's name: `catalog` says it of each that it knows.
NETWORKS: dict[str, Callable[[], nn.Module]] = {}


class WeightsError(MnistS7Error, ValueError):
    """Weights that are not there, or a file that does not hold those of the network that they are asked for."""


def weights_path(run: Path) -> Path:
    """Where the weights of the run in this JSON file are to be written."""
    folder = run.parent / FOLDER
    return (folder if folder.is_dir() else run.parent) / f"{run.stem}{SUFFIX}"


def found_weights(run: Path) -> Path | None:
    """The weights of the run in this JSON file; None where there are none."""
    name = f"{run.stem}{SUFFIX}"
    return next((path for path in (run.parent / FOLDER / name, run.with_name(name)) if path.exists()), None)


def run_path(path: Path) -> Path:
    """The JSON file of the run whose JSON file or weights are at `path`."""
    if path.suffix != SUFFIX:
        return path
    run = path.with_suffix(".json")
    return run if run.exists() or path.parent.name != FOLDER else path.parents[1] / run.name


def weights_bytes(state: Mapping[str, object], facts: Mapping[str, str]) -> bytes:
    """The content of a weights file: a network's `state` (its state_dict), and `facts` about the run as its metadata.

    Raises `WeightsError` where the state holds something else than tensors.
    """
    if others := [name for name, value in state.items() if not isinstance(value, Tensor)]:
        raise WeightsError(
            f"{facts['experiment']}: {', '.join(others)} in the network's state_dict is no tensor, and only tensors "
            "are stored; keep it out of the state"
        )
    # Copies: two names of one tensor cannot share memory in the file.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    return _sorted_header(save(tensors, {"mnist_s7": "1", **facts}))


def read_facts(path: Path) -> dict[str, str]:
    """What the weights file says of its run, without reading the weights. Raises `WeightsError` where it is none."""
    return _read(path)[0]


def read_state(weights: Path | bytes, facts: Mapping[str, str]) -> dict[str, Tensor]:
    """The state in the weights file, or the content of one, of the run that `facts` are about.

    Raises `WeightsError` where it is none, or says something else of its run.
    """
    found, tensors = _read(weights)
    for name, expected in facts.items():
        if found.get(name) != expected:
            what = "another run with this seed" if name == "run" else f"{name} {found.get(name)}, not {expected}"
            where = weights if isinstance(weights, Path) else "weights"
            raise WeightsError(f"{where}: weights of {what}; train it again, or put the two files of one run together")
    return tensors


def load_model(path: str | os.PathLike, network: Callable[[], nn.Module] | None = None) -> nn.Module:
    """The network whose weights are in the file `path`, (N, 1, 28, 28) -> (N, 10), in evaluation mode on the CPU.

    `network` builds it, a class say; None stands for that of the experiment that the file names. PyTorch's random
    state is left as it was.

    Raises `WeightsError` where the file is none, is truncated, or is not of that network.
    """
    facts, tensors = _read(Path(path))
    return with_state(facts["experiment"], facts["dataset"], tensors, os.fspath(path), network)


def with_state(
    experiment: str,
    dataset: str,
    tensors: Mapping[str, Tensor],
    where: str,
    network: Callable[[], nn.Module] | None = None,
) -> nn.Module:
    """The experiment's network with the state from `where`, trained on `dataset`. Raises as `load_model`."""
    network = network or NETWORKS.get(experiment)
    if network is None and not NETWORKS:
        raise WeightsError(
            f"{where}: no network is known yet: import mnist_s7.catalog, which has those of the experiments"
        )
    if network is None:
        raise WeightsError(
            f"{where}: weights of {experiment}, which is no experiment of this package: name the file that has it, as "
            f"FILE.py:{experiment}, or in Python call load_model with its network"
        )
    with torch.random.fork_rng(devices=[]):
        model = network()
    _check(tensors, model, where)
    model.load_state_dict(tensors)
    model.trained_on = dataset  # by which its images are normalised
    return in_fast_layout(model).eval()  # as `fit` has it, so that sums are made in the same order


def _sorted_header(content: bytes) -> bytes:
    """The file with its header's entries in order, which the library shuffles: the same weights make the same file."""
    header = json.dumps(_header(content), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # aligned, as the format asks
    return len(header).to_bytes(8, "little") + header + content[8 + _header_length(content) :]


def _read(weights: Path | bytes) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a weights file, or of the content of one."""
    where = weights if isinstance(weights, Path) else "weights"
    try:
        content = weights.read_bytes() if isinstance(weights, Path) else weights
        tensors = load(content)
    except OSError as error:
        raise WeightsError(f"{where}: cannot be read ({error.strerror or error})") from error
    except (SafetensorError, ValueError) as error:  # a ValueError for a type of numbers that PyTorch lacks
        raise WeightsError(
            f"{where}: not a whole safetensors file ({error}); copy it again, or train the network again"
        ) from error
    found = _header(content).get("__metadata__", {})
    if found.get("mnist_s7") != "1" or not found.keys() >= FACTS:
        raise WeightsError(
            f"{where}: a safetensors file, and not one that `Run.save` has written: it lacks what that says of a run"
        )
    return found, tensors


def _header(content: bytes) -> dict:
    return json.loads(content[8 : 8 + _header_length(content)])


def _header_length(content: bytes) -> int:
    return int.from_bytes(content[:8], "little")


def _check(tensors: Mapping[str, Tensor], model: nn.Module, where: str) -> None:
    """Raise `WeightsError` unless the tensors are of the network's names, shapes and types, and all of them finite."""
    state = model.state_dict()
    wrong = [
        *(f"{name} is missing" for name in state.keys() - tensors.keys()),
        *(f"{name} is not in it" for name in tensors.keys() - state.keys()),
        *(
            f"{name} is {_kind(tensors[name])} and should be {_kind(value)}"
            for name, value in state.items()
            if name in tensors and _kind(tensors[name]) != _kind(value)
        ),
        *(f"{name} is not finite" for name, _ in model.named_parameters() if not _is_finite(tensors.get(name))),
    ]
    if wrong:
        more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise WeightsError(
            f"{where}: not the weights of a {type(model).__name__}: {'; '.join(sorted(wrong)[:3])}{more}. Give the "
            "network that was trained, or train this one"
        )


def _is_finite(tensor: Tensor | None) -> bool:
    return tensor is None or bool(tensor.isfinite().all())


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
