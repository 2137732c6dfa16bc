"""A series of small CNNs that classify MNIST digits, and the package that its notebooks share.

The series itself is in four files: `models`, `transforms`, `experiments` (with `schedules`, `optimizers` and
`source_code`) and `training`. The folders are rooms around them, each with a docstring that says what it holds:
`catalog`, `baselines`, `data`, `images`, `receptive_field`, `kernels`, `results`, `report`, `plots`, `sweep`, `bench`,
`export`, `page`, and `commands`, which are those of the command line. The names below are imported when they are first
used (PEP 562), so that a room can be had alone.
"""

from importlib import import_module

_HOMES = {
    "mnist_s7.data": (
        *("Digits", "DigitsCorrupt", "DigitsError", "DigitsInvalid", "DigitsUnavailable"),
        *("digits_or_synthetic", "load_digits"),
    ),
    # `Run` and `load_model` are of `results`; but whoever asks a run for its network needs the catalog's.
    "mnist_s7.catalog": ("ExperimentFileError", "NetworkUnfit", "Run", "find_experiment", "load_model", "pretrained"),
    "mnist_s7.experiments": ("SERIES", "T1", "T2", "T3", "T4", "T5", "Experiment"),
    "mnist_s7.export": ("ExtraMissing", "export_onnx", "folded"),
    "mnist_s7.images": ("ImageError", "ImageUnreadable", "NoDigit", "Prediction", "SeveralDigits", "predict_image"),
    "mnist_s7.models": ("MnistNet_1", "MnistNet_2", "MnistNet_3", "MnistNet_4", "MnistNet_5"),
    "mnist_s7.results": (
        *("OutputError", "PublishingRefused", "RunFileError", "RunsMissing", "WeightsError"),
        "load_runs",
    ),
    "mnist_s7.sweep": ("teach",),
    "mnist_s7.training": ("LossNotFinite", "evaluate", "fit", "predict"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_ROOMS = (  # imported as they are
    *(
        "baselines",
        "bench",
        "catalog",
        "data",
        "export",
        "images",
        "kernels",
        "page",
        "plots",
        "receptive_field",
        "report",
        "results",
        "sweep",
    ),
)

__all__ = ["InvalidArgument", "MnistS7Error", "MnistS7Warning", "receptive_field", *_HOME_OF]


class MnistS7Error(Exception):
    """The base of the package's errors. The message says what is wrong, where, and what to do."""


class InvalidArgument(MnistS7Error, ValueError):
    """An argument that is out of range, of the wrong type, or the name of nothing."""


class MnistS7Warning(UserWarning):
    """The base of the package's warnings. The message says what is wrong, where, and what to do."""


def __getattr__(name: str):
    if name in _ROOMS:
        return import_module(f"mnist_s7.{name}")
    if name in _HOME_OF:
        value = getattr(import_module(_HOME_OF[name]), name)
        globals()[name] = value  # found without this function from now on
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
