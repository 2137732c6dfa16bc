"""What an iteration with teachers shows of them, and of the trials by which its recipe was chosen."""

from collections.abc import Sequence
from statistics import mode

import torch
from matplotlib.figure import Figure
from torch import Tensor

from mnist_s7 import plots
from mnist_s7.catalog import pretrained
from mnist_s7.data import Digits
from mnist_s7.experiments import SERIES, Experiment
from mnist_s7.report.markdown import Text
from mnist_s7.results import PUBLISHED, Run
from mnist_s7.results.search import Trial, read_trials
from mnist_s7.training import Evaluation, predict

SHOWN = 6  # digits
MOST = 8_000  # parameters, the series' target
PARAMETERS, EPOCHS, TAUGHT_BY, PLACE = "parameters", "epochs", "taught by", "trained on"  # columns


def teachers(runs: Sequence[Run], together: Evaluation) -> Text:
    """Each teacher's test accuracy and cost, and that of the mean of their probabilities: as `teach` returns both."""
    lines = [
        f"{run.name}: {run.final.test_accuracy:.2f} %, loss {run.final.test_loss:.4f}, {run.parameters:,} parameters, "
        f"trained in {sum(epoch.seconds for epoch in run.epochs) / 60:.0f} minutes"
        for run in runs
    ]
    return Text("\n".join([*lines, f"the mean of their probabilities: {together.accuracy:.2f} %, {together.loss:.4f}"]))


def soft_labels(experiment: Experiment, run: Run, taught_by: Sequence[Run], digits: Digits) -> Figure:
    """The test images that the teachers are least sure of, by the entropy of their mean probabilities, and what the
    iteration before, which learned from labels, and this run's network make of them."""

    def probabilities(model: torch.nn.Module, images: Tensor = digits.test_images) -> Tensor:
        return predict(model, images).exp()

    of_teachers = torch.stack([probabilities(teacher.model) for teacher in taught_by]).mean(0)
    unsure = torch.special.entr(of_teachers).sum(1).argsort(descending=True, stable=True)[:SHOWN]
    images = digits.test_images[unsure]
    before = SERIES[SERIES.index(experiment) - 1].name
    given = {
        f"{len(taught_by)} teachers, on average": of_teachers[unsure],
        f"{before}, trained on labels": probabilities(pretrained(before), images),
        f"{experiment.name}, taught": probabilities(run.model, images),
    }
    title = "The digits that the teachers are least sure of, and what was learned of them"
    return plots.soft_labels(images, digits.test_labels[unsure], given, title, digits.name)


def search_figure(experiment: Experiment) -> Figure:
    """Every recipe in the iteration's `search_<name>.csv` among the published results: small networks, and larger ones
    that might teach, apart for each place where they were trained. A name has what is not as in most of its group. The
    best one of so few parameters as an iteration may have is bold."""
    trials = read_trials(PUBLISHED / f"search_{experiment.name}.csv")
    groups: dict[tuple[bool, str], list[Trial]] = {}
    for trial in trials:
        groups.setdefault((_is_small(trial), trial.settings[PLACE]), []).append(trial)
    named = {}
    for (small, place), group in sorted(groups.items(), key=lambda each: (not each[0][0], each[0][1])):
        usual = {setting: mode(each.settings[setting] for each in group) for setting in trials[0].settings}
        size = f"below {MOST:,} parameters" if small else f"of {MOST:,} parameters and more"
        heading = f"Networks {size}, trained on {place}; where nothing else is said: {_words(usual)}"
        named[heading] = [(_words(_differing(trial.settings, usual)) or "as said above", trial) for trial in group]
    return plots.search_figure(named, next(filter(_is_small, trials)))


def _is_small(trial: Trial) -> bool:
    return int(trial.settings[PARAMETERS]) < MOST


def _differing(settings: dict[str, str], usual: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in settings.items() if value != usual[name]}


def _words(settings: dict[str, str]) -> str:
    written = {TAUGHT_BY: "taught by {}", EPOCHS: "{} epochs", PARAMETERS: "", PLACE: ""}
    return "; ".join(filter(None, (written.get(name, "{}").format(value) for name, value in settings.items())))
