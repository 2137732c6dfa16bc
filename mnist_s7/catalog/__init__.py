"""Every experiment that has a name: the series', its ablations, and those that readers have in files of their own.

May import `models`, `transforms`, `experiments`, `source_code` and `results`. Open `known` first, which finds them by
name, and the trained networks that come with the package; `ablations` are the iterations with one part changed,
`own_files` reads a reader's, and `check` says whether a network can classify digits at all.
"""

from mnist_s7.catalog.ablations import ABLATIONS, base_of, narrower
from mnist_s7.catalog.check import NetworkUnfit, check_network
from mnist_s7.catalog.known import (
    EXPERIMENTS,
    Origin,
    find_experiment,
    origin_of,
    pretrained,
    pretrained_names,
    pretrained_weights,
)
from mnist_s7.catalog.own_files import ExperimentFileError
from mnist_s7.results import Run, load_model

__all__ = [
    "ABLATIONS",
    "EXPERIMENTS",
    "ExperimentFileError",
    "NetworkUnfit",
    "Origin",
    "Run",
    "base_of",
    "check_network",
    "find_experiment",
    "load_model",
    "narrower",
    "origin_of",
    "pretrained",
    "pretrained_names",
    "pretrained_weights",
]
