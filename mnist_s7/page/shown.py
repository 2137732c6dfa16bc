"""The networks that the page shows: trained, and as they were before."""

from dataclasses import dataclass

import torch
from torch import nn

from mnist_s7 import InvalidArgument
from mnist_s7.catalog import find_experiment, pretrained, pretrained_names
from mnist_s7.report.stored import SEED
from mnist_s7.results import Runs, WeightsError, has_targets


@dataclass(frozen=True)
class Network:
    """A network with the weights of a training run, and with those that it started from."""

    trained: nn.Module
    untrained: nn.Module | None  # None where its experiment is not known here


def networks_of(runs: Runs) -> dict[str, Network | WeightsError]:
    """Of each experiment that has a trained one: that of a run with weights, or the one that comes with the package.
    Where the weights cannot be used, as where a reader's file with the network is gone, the error that says why."""
    networks = {}
    for name, group in runs.items():
        if stored := next((run for run in group if run.weights), None):
            try:
                networks[name] = Network(stored.model, _untrained(name, stored.seed))
            except WeightsError as error:
                networks[name] = error
        elif name in pretrained_names() and has_targets(group[0].dataset):  # these are trained on MNIST
            networks[name] = Network(pretrained(name), _untrained(name, SEED))
    return networks


def _untrained(name: str, seed: int) -> nn.Module | None:
    try:
        experiment = find_experiment(name)
    except InvalidArgument:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return experiment.untrained()
