"""Iterations of a small CNN on MNIST, and what they share."""

from mnist_s7.data import Digits, DigitsCorrupt, DigitsError, DigitsInvalid, DigitsUnavailable, load_digits
from mnist_s7.errors import InvalidArgument, MnistS7Error
from mnist_s7.experiments import SERIES, T1, T2, T3, T4, Experiment
from mnist_s7.models import MnistNet_1, MnistNet_2, MnistNet_3, MnistNet_4
from mnist_s7.receptive_field import receptive_field
from mnist_s7.results import OutputError, Run, RunFileError, RunsMissing, SyntheticRefused, load_runs
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
    "DigitsInvalid",
    "DigitsUnavailable",
    "Experiment",
    "InvalidArgument",
    "LossNotFinite",
    "MnistNet_1",
    "MnistNet_2",
    "MnistNet_3",
    "MnistNet_4",
    "MnistS7Error",
    "OutputError",
    "Run",
    "RunFileError",
    "RunsMissing",
    "SyntheticRefused",
    "evaluate",
    "fit",
    "load_digits",
    "load_runs",
    "predict",
    "receptive_field",
]
