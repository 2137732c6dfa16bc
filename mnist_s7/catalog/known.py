"""Every experiment that is known, by its name: the series, what teaches it, its variants, the baselines, and those of
readers' files."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from mnist_s7 import InvalidArgument
from mnist_s7.baselines import BASELINES
from mnist_s7.catalog import own_files
from mnist_s7.catalog.ablations import ABLATIONS
from mnist_s7.catalog.check import check_network
from mnist_s7.experiments import SERIES, SETTINGS, Experiment
from mnist_s7.results import NETWORKS, WEIGHTS, load_model

_TEACHERS = (experiment.distillation.teacher for experiment in SERIES if experiment.distillation)
EXPERIMENTS = {experiment.name: experiment for experiment in (*SERIES, *_TEACHERS, *ABLATIONS, *BASELINES)}
NETWORKS.update((name, experiment.network) for name, experiment in EXPERIMENTS.items())
PACKAGE_OWN = frozenset(EXPERIMENTS)


@dataclass(frozen=True)
class Origin:
    """Where an experiment comes from that is not the package's, so that another process can have it too: what it was
    asked for by, the text of its file, and its settings."""

    asked: str
    text: str | None
    settings: tuple[str, ...]

    @property
    def file(self) -> Path | None:
        """The reader's file; None for a variant of one of the package's."""
        return None if self.text is None else own_files.split(self.asked)[0]

    def experiment(self) -> Experiment:
        """Made again, and known by its name from now on. Raises as `find_experiment`."""
        if self.text is None:
            experiment = EXPERIMENTS[self.asked]
        else:
            path, name = own_files.split(self.asked)
            experiment = own_files.experiment_in(path, self.text, name)
            check_network(experiment.name, experiment.network)
        experiment = _with_settings(experiment, self.settings)
        if experiment.name in PACKAGE_OWN:
            if experiment is EXPERIMENTS[experiment.name]:
                return experiment
            raise InvalidArgument(
                f"{self.asked}: its experiment is named {experiment.name}, which is one of the package's; give it "
                "another name"
            )
        known = _ORIGINS.get(experiment.name, self)
        if known.file != self.file or (
            known.text == self.text and EXPERIMENTS.get(experiment.name, experiment) != experiment
        ):
            raise InvalidArgument(
                f"{self.asked} and {known.asked} are both named {experiment.name}, as their runs would be; give one of "
                "them another name"
            )
        EXPERIMENTS[experiment.name] = experiment
        NETWORKS[experiment.name] = experiment.network
        _ORIGINS[experiment.name] = self
        return experiment


_ORIGINS: dict[str, Origin] = {}


def find_experiment(asked: str, settings: Sequence[str] = ()) -> Experiment:
    """The experiment of this name, or in a reader's file, `FILE.py:NAME`; with `settings`, such as `lr=0.1`, a variant
    of it that is named after them. It is known by its name from now on.

    Raises `InvalidArgument` for a name or a setting that is none, `ExperimentFileError` for a file that cannot be run
    or does not hold it, and `NetworkUnfit` for a network that cannot classify digits.
    """
    if asked in EXPERIMENTS:
        if not settings:
            return EXPERIMENTS[asked]
        origin = _ORIGINS.get(asked, Origin(asked, None, ()))
        return replace(origin, settings=(*origin.settings, *settings)).experiment()
    base, *of_name = re.split(rf"-(?={'|'.join(SETTINGS)})", asked)
    if of_name and all("=" in setting for setting in of_name) and base in EXPERIMENTS:  # a variant's own name
        return find_experiment(base, [*of_name, *settings])
    if (place := own_files.split(asked)) is None:
        raise InvalidArgument(
            f"no experiment {asked}: there are {', '.join(EXPERIMENTS)}; or name your own, as FILE.py:NAME"
        )
    path, name = place
    whole = f"{path.resolve()}:{name}" if name else str(path.resolve())
    return Origin(whole, own_files.read(path), tuple(settings)).experiment()


def origin_of(name: str) -> Origin | None:
    """Of an experiment that is known by this name; None for one of the package's."""
    return _ORIGINS.get(name)


def pretrained(name: str) -> nn.Module:
    """The trained network of an iteration, (N, 1, 28, 28) normalised images -> (N, 10) log-probabilities, in
    evaluation mode: that of the run that its notebook shows. It comes with the package.

    Raises `InvalidArgument` for a name that has none.
    """
    return load_model(pretrained_weights(name))


def pretrained_weights(name: str) -> Path:
    """The file that holds the weights of `pretrained`. Raises as that."""
    if name not in pretrained_names():
        names = ", ".join(pretrained_names())
        raise InvalidArgument(f"no trained network of {name!r} comes with the package: there are {names}")
    return next(WEIGHTS.glob(f"{name}-seed*.safetensors"))


def pretrained_names() -> list[str]:
    """The iterations whose trained networks come with the package, in their order."""
    return sorted(
        (path.name.partition("-seed")[0] for path in WEIGHTS.glob("*.safetensors")), key=lambda n: (len(n), n)
    )


def _with_settings(experiment: Experiment, settings: Sequence[str]) -> Experiment:
    """`lr=0.1 epochs=20` -> the variant T3-lr=0.1-epochs=20; settings that are the experiment's own change nothing."""
    changes = {}
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals or name not in SETTINGS:
            raise InvalidArgument(
                f"{text!r} is no setting: write NAME=VALUE, where NAME is {', '.join(SETTINGS)}; for other changes, "
                f"write an Experiment of your own in a file, as replace({experiment.name}, name=...)"
            )
        if name in changes:
            raise InvalidArgument(f"{name} is set twice")
        changes[name] = _value(name, value)
    changes = {
        name: changes[name]
        for name in SETTINGS
        if changes.get(name, getattr(experiment, name)) != getattr(experiment, name)
    }
    if not changes:
        return experiment
    words = {setting: _shortest(value) for setting, value in changes.items()}
    name = "-".join([experiment.name, *(f"{setting}={value}" for setting, value in words.items())])
    what = ", ".join(f"{setting.replace('_', ' ')} {value}" for setting, value in words.items())
    return replace(experiment, name=name, change=what, targets=(), claims=(), reference=None, **changes)


def _shortest(value: float | int | bool) -> str:
    """`1000` for 1000.0, and all digits of what has more."""
    short = f"{value:g}"
    return short if type(value) is float and float(short) == value else str(value)


def _value(name: str, text: str) -> float | int | bool:
    kind = SETTINGS[name][0]
    values = {"true": True, "false": False, "1": True, "0": False}
    try:
        return values[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        what = {float: "a number", int: "a whole number", bool: "true or false"}[kind]
        raise InvalidArgument(f"{name}={text}: {what} is needed") from None
