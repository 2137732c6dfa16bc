"""Runs as data: their files, what many of them say together, and how a rerun or a claim is checked.

May import torch, safetensors, SciPy and of the package `data` alone. Open `run` first, which says what a `Run` file
holds; `files` writes it, and `weights` keeps its network. `statistics` has means, intervals and tests, `claims` the
checks of runs, `rerun` whether a repeated run agrees with the stored ones, `public_networks` the figures of others,
`folders` where runs are, `machine` what they depend on, and `progress` what a run shows while it trains.
"""

from mnist_s7.results.files import OutputError, prepare, write_atomically, write_together
from mnist_s7.results.folders import (
    MNIST,
    PUBLISHED,
    PYTORCH_LAYERS,
    RUNS,
    SYNTHETIC,
    VALIDATION,
    WEIGHTS,
    PublishingRefused,
    on_dataset,
    refuse_publishing,
    results_folder,
    stored_folder,
)
from mnist_s7.results.public_networks import PUBLIC_NETWORKS, PublicNetwork
from mnist_s7.results.rerun import RunDiffers, check_against_stored
from mnist_s7.results.run import Epoch, Run, RunFileError, RunsMissing, load_runs, run_name
from mnist_s7.results.statistics import (
    CORRECTED_LABELS,
    ENOUGH,
    LABEL_ERRORS,
    TEST_IMAGES,
    Difference,
    Misclassified,
    Runs,
    Summary,
    adjusted,
    by_experiment,
    compare,
    corrected_accuracy,
    failures,
    misclassified,
    prediction_interval,
    summarize,
    trained,
    wilson,
)
from mnist_s7.results.weights import NETWORKS, WeightsError, load_model, read_facts

__all__ = [
    "CORRECTED_LABELS",
    "ENOUGH",
    "LABEL_ERRORS",
    "MNIST",
    "NETWORKS",
    "PUBLIC_NETWORKS",
    "PUBLISHED",
    "PYTORCH_LAYERS",
    "RUNS",
    "SYNTHETIC",
    "TEST_IMAGES",
    "VALIDATION",
    "WEIGHTS",
    "WeightsError",
    "Difference",
    "Epoch",
    "Misclassified",
    "OutputError",
    "PublicNetwork",
    "PublishingRefused",
    "Run",
    "RunDiffers",
    "RunFileError",
    "Runs",
    "RunsMissing",
    "Summary",
    "adjusted",
    "by_experiment",
    "check_against_stored",
    "compare",
    "corrected_accuracy",
    "failures",
    "load_model",
    "load_runs",
    "misclassified",
    "on_dataset",
    "prediction_interval",
    "prepare",
    "read_facts",
    "refuse_publishing",
    "results_folder",
    "run_name",
    "stored_folder",
    "summarize",
    "trained",
    "wilson",
    "write_atomically",
    "write_together",
]
