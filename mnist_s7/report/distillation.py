"""What an iteration with teachers shows of them, and of the trials by which its recipe was chosen."""

from collections.abc import Mapping, Sequence
from statistics import mode

import torch
from matplotlib.figure import Figure
from torch import Tensor

from mnist_s7 import InvalidArgument, plots
from mnist_s7.catalog import pretrained
from mnist_s7.data import Digits
from mnist_s7.experiments import SERIES, Experiment
from mnist_s7.report.markdown import Text
from mnist_s7.results import MNIST, PUBLISHED, Run
from mnist_s7.results.search import Trial, read_trials
from mnist_s7.training import Evaluation, predict

SHOWN = 6  # digits
MOST = 8_000  # parameters, the series' target
# Columns of a search's file.
PARAMETERS, TRAINED_ON, EPOCHS, PLACE, CHOSEN = "parameters", "trained on", "epochs", "where", "chosen as"


def teachers(runs: Sequence[Run], together: Evaluation) -> Text:
    """Each teacher's test accuracy and cost, and that of the mean of their probabilities: as `teach` returns both."""
    lines = [
        f"{run.name}: {run.parameters:,} parameters, test accuracy {run.final.test_accuracy:.2f} %, loss "
        f"{run.final.test_loss:.4f} nats, trained in {sum(epoch.seconds for epoch in run.epochs) / 60:.0f} minutes"
        for run in runs
    ]
    mean = f"the mean of their probabilities: test accuracy {together.accuracy:.2f} %, loss {together.loss:.4f} nats"
    return Text("\n".join([*lines, mean]))


def soft_targets(experiment: Experiment, run: Run, taught_by: Sequence[Run], digits: Digits) -> Figure:
    """The test images that the teachers are least sure of, by the entropy of their mean probabilities at temperature 1,
    and what this run's network makes of them; on MNIST, where its weights are, also that of the iteration before, where
    there is one."""

    def probabilities(model: torch.nn.Module, images: Tensor = digits.test_images) -> Tensor:
        return predict(model, images).exp()

    of_teachers = torch.stack([probabilities(teacher.model) for teacher in taught_by]).mean(0)
    unsure = torch.special.entr(of_teachers).sum(1).argsort(descending=True, stable=True)[:SHOWN]
    images = digits.test_images[unsure]
    given = {f"{len(taught_by)} teachers, on average": of_teachers[unsure]}
    if experiment in SERIES and digits.name == MNIST:
        before = SERIES[SERIES.index(experiment) - 1]
        given[before.name] = probabilities(pretrained(before.name), images)
    given[experiment.name] = probabilities(run.model, images)
    title = "The digits that the teachers are least sure of, and what was learned of them"
    return plots.soft_targets(images, digits.test_labels[unsure], given, title, digits.name)


def search_figure(experiment: Experiment) -> Figure:
    """The recipes in the iteration's `search_<name>.csv` among the published results: small networks, and larger ones
    that might teach, each apart for each place where they were trained. A name has what is not as in most of its group;
    what was chosen is bold. Trials of fewer epochs than others of their group are left out.

    Raises `InvalidArgument` for a file without the columns that this goes by, and as `read_trials`.
    """
    path = PUBLISHED / f"search_{experiment.name}.csv"
    trials = read_trials(path)
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
        named[heading] = [(_words(_differing(trial.settings, usual)) or "as said above", trial) for trial in group]
    return plots.search_figure(named, [trial for group in groups.values() for trial in group if trial.settings[CHOSEN]])


def _differing(settings: Mapping[str, str], usual: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in settings.items() if value != usual[name]}


def _words(settings: Mapping[str, str]) -> str:
    written = {TRAINED_ON: "trained on {}", EPOCHS: "{} epochs", PARAMETERS: "", PLACE: "", CHOSEN: ""}
    return "; ".join(filter(None, (written.get(name, "{}").format(value) for name, value in settings.items())))
