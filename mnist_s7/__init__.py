"""Iterations of a small CNN on MNIST, and what they share."""

from mnist_s7.data import Digits, DigitsCorrupt, DigitsError, DigitsUnavailable, load_digits
from mnist_s7.experiments import SERIES, T1, T2, T3, T4, Experiment
from mnist_s7.models import MnistNet_1, MnistNet_2, MnistNet_3, MnistNet_4
from mnist_s7.receptive_field import receptive_field
from mnist_s7.results import Run, RunFileError, SyntheticRefused, load_runs
from mnist_s7.training import LossNotFinite, evaluate, fit, predict

__all__ = [
    "SERIES",
    "T1",
    "T2",
    "T3",
    "T4",
    "Digits",
    "DigitsCorrupt",
    "DigitsError",
    "DigitsUnavailable",
    "Experiment",
    "LossNotFinite",
    "MnistNet_1",
    "MnistNet_2",
    "MnistNet_3",
    "MnistNet_4",
    "Run",
    "RunFileError",
    "SyntheticRefused",
    "evaluate",
    "fit",
    "load_digits",
    "load_runs",
    "predict",
    "receptive_field",
]
