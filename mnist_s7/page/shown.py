"""The networks that the page shows: trained, and as they were before."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from mnist_s7 import InvalidArgument
from mnist_s7.catalog import find_experiment, pretrained, pretrained_names
from mnist_s7.report.stored import SEED
from mnist_s7.results import Run, Runs, WeightsError, has_targets


@dataclass(frozen=True)
class Network:
    """A network with the weights of a training run, and with those that it started from."""

    trained: nn.Module
    untrained: nn.Module | None  # None where its experiment is not known here
    run: str  # which one


def networks_of(runs: Runs) -> dict[str, Network | WeightsError]:
    """Of each experiment that has a trained one: that of a run with weights, or the one that comes with the package.
    Where the weights cannot be used, as where a reader's file with the network is gone, the error that says why."""
    networks = {}
    for name, group in runs.items():
        if stored := next((run for run in group if run.weights), None):
            try:
                networks[name] = Network(stored.model, _untrained(stored.experiment, stored.seed), _told(stored))
            except WeightsError as error:
                # Not where it is on this computer: the page may be sent to another one.
                networks[name] = WeightsError(str(error).replace(f"{Path(stored.weights).parent}{os.sep}", ""))
        elif name in pretrained_names() and has_targets(group[0].dataset):  # these are trained on MNIST
            networks[name] = Network(pretrained(name), _untrained(name, SEED), f"seed {SEED}, trained on MNIST")
    return networks


def _told(run: Run) -> str:
    return f"seed {run.seed}, {run.final.test_accuracy:.2f} %"


def _untrained(name: str, seed: int) -> nn.Module | None:
    try:
        experiment = find_experiment(name)
    except InvalidArgument:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return experiment.untrained()
