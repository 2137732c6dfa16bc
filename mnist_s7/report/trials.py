"""The trials by which an iteration's recipe was chosen, as its `search_<name>.csv` among the published results has
them: a table of all, and a figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, mode

from matplotlib.figure import Figure

from mnist_s7 import InvalidArgument, plots
from mnist_s7.experiments import Experiment
from mnist_s7.report.markdown import Markdown, table
from mnist_s7.results import PUBLISHED
from mnist_s7.results.search import SEED_COLUMN, Trial, read_trials

MOST = 8_000  # parameters, the series' target
# Columns of the file.
PARAMETERS, TRAINED_ON, EPOCHS, PLACE, CHOSEN = "parameters", "trained on", "epochs", "where", "chosen as"
# How some of them are put into words; the others are said as they are.
WRITTEN = {TRAINED_ON: "trained on {}", EPOCHS: "{} epochs", PARAMETERS: "", PLACE: "", CHOSEN: ""}


def search(experiment: Experiment) -> Markdown:
    """The trials in the file's order, a row for each: of several seeds the mean, and the range in parentheses, or each
    value where one was not measured."""
    trials = read_trials(_file(experiment))
    rows = [(*trial.settings.values(), *map(_of_seeds, trial.measured, trial.measured.values())) for trial in trials]
    said = f"{sum(len(trial.losses) for trial in trials)} training runs"
    if any(len(trial.losses) > 1 for trial in trials):
        said += f" of {len(trials)} recipes; of several seeds the mean, and the range in parentheses"
    return Markdown(f"{said}:\n\n{table((*trials[0].settings, *trials[0].measured), rows)}")


def _of_seeds(column: str, values: Sequence[str]) -> str:
    if column == SEED_COLUMN:
        return ", ".join(values)
    if len(set(values)) == 1:
        return values[0]
    if "" in values:
        return ", ".join(value or "-" for value in values)
    numbers, decimals = [float(value) for value in values], len(values[0].partition(".")[2])
    return "{:.{n}f} ({:.{n}f} to {:.{n}f})".format(mean(numbers), min(numbers), max(numbers), n=decimals)


def search_figure(experiment: Experiment) -> Figure:
    """Small networks, and larger ones that might teach, each apart for each place where they were trained, and in a
    group the trial with the least mean loss first. A name has what is not as in most of its group; what was chosen is
    named, and bold. Trials of fewer epochs than others of their group are left out.

    Raises `InvalidArgument` for a file without the columns that this goes by, and as `read_trials`.
    """
    path = _file(experiment)
    trials = sorted(read_trials(path), key=lambda trial: trial.loss.mean)
    needed = PARAMETERS, EPOCHS, PLACE, CHOSEN
    if missing := [name for trial in trials[:1] for name in needed if name not in trial.settings]:
        raise InvalidArgument(f"{path}: no column {', '.join(missing)}, by which trials are shown in groups")
    groups: dict[tuple[bool, str], list[Trial]] = {}
    for trial in trials:
        small = int(trial.settings[PARAMETERS]) < MOST
        groups.setdefault((not small, trial.settings[PLACE]), []).append(trial)
    named = {}
    for (large, place), group in sorted(groups.items()):
        whole = max(int(trial.settings[EPOCHS]) for trial in group)
        group = [trial for trial in group if int(trial.settings[EPOCHS]) == whole]
        usual = {setting: mode(trial.settings[setting] for trial in group) for setting in group[0].settings}
        size = f"of {MOST:,} parameters and more" if large else f"below {MOST:,} parameters"
        heading = f"Networks {size}, on {place}. Where nothing else is said: {_words(usual)}"
        named[heading] = [(_name(trial, usual), trial) for trial in group]
    return plots.search_figure(named, [trial for group in groups.values() for trial in group if trial.settings[CHOSEN]])


def _file(experiment: Experiment) -> Path:
    return PUBLISHED / f"search_{experiment.name}.csv"


def _name(trial: Trial, usual: Mapping[str, str]) -> str:
    words = _words(_differing(trial.settings, usual)) or "as said above"
    return f"{chosen}: {words}" if (chosen := trial.settings[CHOSEN]) else words


def _differing(settings: Mapping[str, str], usual: Mapping[str, str]) -> dict[str, str]:
    """Of a setting in parts, those that differ, unless a part of the usual one is missing."""
    differing = {name: value for name, value in settings.items() if value != usual[name]}
    for name, value in differing.items():
        parts, usual_parts = value.split("; "), usual[name].split("; ")
        if name not in WRITTEN and len(parts) >= len(usual_parts):
            differing[name] = "; ".join(part for part in parts if part not in usual_parts)
    return differing


def _words(settings: Mapping[str, str]) -> str:
    return "; ".join(filter(None, (WRITTEN.get(name, "{}").format(value) for name, value in settings.items())))
