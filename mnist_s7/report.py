"""What the notebooks, the command line and the README say of runs, as Markdown made from the runs themselves."""

import csv
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
import torchinfo
from torch import nn

from mnist_s7.claims import HEADLINE, TENTH, Claim, first_epoch_at
from mnist_s7.experiments import EXPERIMENTS, SERIES, Experiment, load_own_runs
from mnist_s7.receptive_field import receptive_field
from mnist_s7.results import PUBLISHED, Run, RunsMissing
from mnist_s7.transforms import changing

__all__ = [
    "Markdown",
    "analysis",
    "architecture",
    "changes",
    "comparison",
    "search",
    "seconds",
    "series_runs",
    "statistics",
    "summary",
    "table",
    "targets",
    "verdicts",
]


class Text(str):
    """Text that a notebook shows as it is, and not as a quoted string."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class Markdown(Text):
    """Markdown text: typeset by a notebook, plain in a terminal."""

    __slots__ = ()

    def _repr_markdown_(self) -> str:
        return str(self)


def table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> Markdown:
    """A Markdown table, its columns padded so that it can also be read as plain text."""
    lines = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return Markdown("\n".join([padded[0], rule, *padded[1:]]))


def statistics(model: nn.Module) -> torchinfo.ModelStatistics:
    """torchinfo's findings for one (1, 28, 28) image. PyTorch's random state is left as it was."""
    with torch.random.fork_rng(devices=[]):  # torchinfo draws its input from it
        return torchinfo.summary(
            model,
            input_size=(1, 1, 28, 28),
            device="cpu",
            verbose=0,
            col_names=("output_size", "num_params"),
            row_settings=("depth",),
        )


def summary(model: nn.Module) -> Text:
    """torchinfo's summary for one (1, 28, 28) image, in print."""
    # From Python 3.11 on, torchinfo 1.8 prints the name of an enumeration's member for the unit that it stands for.
    return Text(str(statistics(model)).replace("Units.MEGABYTES", "M"))


def architecture(model: nn.Module) -> Markdown:
    """The layers that change the map, in the original series' notation: height x width x channels of the input,
    height x width x channels in x channels out of the kernel, height (= width) of the output. A depthwise kernel, which
    meets one channel, has 1 for the channels in."""
    rows = []
    for layer in statistics(model).summary_list:
        if not layer.is_leaf_layer or len(layer.input_size) != 4:
            continue
        _, channels, height, width = layer.input_size
        taken = f"{height}x{width}x{channels}"
        match layer.module:
            case nn.Conv2d(kernel_size=(k, l), out_channels=out, groups=groups):
                rows.append((taken, f"{k}x{l}x{channels // groups}x{out}", layer.output_size[2]))
            case nn.MaxPool2d():
                rows.append((taken, "MaxPool()", layer.output_size[2]))
            case nn.AdaptiveAvgPool2d():
                rows.append((taken, "AdaptiveAvgPool()", layer.output_size[2]))
    channels = layer.output_size[1]
    return table(("INPUT", "KERNEL", "OUTPUT"), [*rows, (f"1x1x{channels}", "Flatten()", channels)])


def targets(experiment: Experiment) -> Markdown:
    """What the iteration is to reach."""
    return Markdown("\n".join(f"- {claim.text}" for claim in experiment.targets))


def changes(*experiments: Experiment) -> Markdown:
    """The settings of the `experiments` side by side; of several, only those in which they differ."""

    def images(experiment: Experiment) -> str:
        return " then ".join(f"`{change}`" for change in changing(experiment.train_transform)) or "as they are"

    def regularisation(experiment: Experiment) -> str:
        layers = list(experiment.network().modules())
        norms = sum(isinstance(layer, nn.BatchNorm2d) for layer in layers)
        dropout = [layer.p for layer in layers if isinstance(layer, nn.Dropout)]
        rates = " and ".join(f"{rate:g}" for rate in sorted(set(dropout)))
        return f"{norms} BatchNorm, {len(dropout)} dropout" + (f" of {rates}" if dropout else "")

    def parameters(experiment: Experiment) -> str:
        return f"{sum(p.numel() for p in experiment.network().parameters()):,}"

    settings = {
        "network": lambda experiment: f"`{type(experiment.network()).__name__}`",
        "parameters": parameters,
        "channels of the convolutions": lambda experiment: ", ".join(
            str(layer.out_channels) for layer in experiment.network().modules() if isinstance(layer, nn.Conv2d)
        ),
        "BatchNorm and dropout": regularisation,
        "training images": images,
        "optimiser": lambda experiment: experiment.recipe,
    }
    rows = [[what, *map(setting, experiments)] for what, setting in settings.items()]
    return table(
        ["", *(experiment.name for experiment in experiments)],
        [row for row in rows if len(experiments) == 1 or len(set(row[1:])) > 1],
    )


def search(experiment: Experiment) -> Markdown:
    """The trainings on held-out training images by which an iteration was chosen, in their order, as its
    `search_<name>.csv` among the published results has them."""
    with (PUBLISHED / f"search_{experiment.name}.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    return Markdown(f"{len(rows)} trainings:\n\n{table(header, rows)}")


def verdicts(experiment: Experiment, run: Run) -> Markdown:
    """Each target of the iteration and each claim of the original series, held against `run`."""

    def rows(kind: str, claims: Iterable[Claim]) -> Iterable[tuple[str, str, str, str]]:
        for claim in claims:
            verdict = claim.check(run)
            yield kind, claim.text, verdict.found, f"**{verdict}**"

    return table(
        ("", f"target or claim of {experiment.name}", _on("in this run", run), "verdict"),
        [*rows("target", experiment.targets), *rows("claim", experiment.claims)],
    )


def analysis(experiment: Experiment, run: Run, previous: Run | None = None) -> Markdown:
    """What the run's figures say, in sentences that hold whatever the figures are."""
    final, best = run.final, run.best
    late = run.epochs[TENTH:]
    reached = first_epoch_at(run, HEADLINE)
    below = sum(epoch.train_accuracy < epoch.test_accuracy for epoch in run.epochs)
    gap = final.train_accuracy - final.test_accuracy
    flattery = best.test_accuracy - final.test_accuracy
    picked = f"picked by its test accuracy, it flatters the run by {flattery:.2f} points"
    against = ""
    if experiment.document is not None:
        difference = final.test_accuracy - experiment.document.final_test
        against = f" That is {difference:+.2f} points against the original series' final epoch."
    points = [
        f"The final epoch ends at {final.train_accuracy:.2f} % train and {final.test_accuracy:.2f} % test "
        f"accuracy{_on('', run)}: {len(run.errors)} test images wrong.{against}",
        f"Its best epoch, {best.epoch}, has {best.test_accuracy:.2f} %; {picked}."
        if flattery > 0
        else "None of the epochs before it was better.",
        f"Train accuracy is {'below' if gap < 0 else 'above'} test accuracy at the end, by {abs(gap):.2f} points, and "
        f"below it in {below} of {len(run.epochs)} epochs. It is an average over the epoch, while the weights still "
        "move" + _harder_training(experiment) + ".",
    ]
    if reached is None:
        points.append(f"No epoch reaches {HEADLINE:g} % test accuracy.")
    else:
        lasting = sum(epoch.test_accuracy >= HEADLINE for epoch in late)
        points.append(
            f"{HEADLINE:g} % test accuracy is first reached in epoch {reached.epoch}; from the tenth epoch on it holds "
            f"in {lasting} of {len(late)} epochs."
        )
    if previous is not None:
        points.append(
            f"Against {previous.experiment} with the same seed: {run.parameters - previous.parameters:+,} parameters, "
            f"{final.test_accuracy - previous.final.test_accuracy:+.2f} points of final test accuracy."
        )
    return Markdown("\n".join(f"- {point}" for point in points))


def comparison(runs: dict[str, Run]) -> Markdown:
    """The iterations side by side, a column each: `runs` of one seed, by the experiment's name."""

    def row(what: str, figure: Callable[[Experiment, Run], object]) -> list[object]:
        return [what, *(figure(EXPERIMENTS[run.experiment], run) for run in runs.values())]

    def reached(experiment: Experiment, run: Run) -> str:
        epoch = first_epoch_at(run, HEADLINE)
        return "none" if epoch is None else f"{epoch.epoch}"

    def met(experiment: Experiment, run: Run) -> str:
        verdicts = {claim.text: claim.check(run).holds for claim in experiment.targets}
        said = [f"{sum(holds is True for holds in verdicts.values())} of {len(verdicts)}"]
        for what, which in (("missed", False), ("one run cannot tell", None)):
            if texts := [text for text, holds in verdicts.items() if holds is which]:
                said.append(f"{what}: {'; '.join(texts)}")
        return "; ".join(said)

    return table(
        ["", *(_on(f"{run.experiment}, seed {run.seed}", run) for run in runs.values())],
        [
            row("what changed", lambda experiment, run: experiment.change),
            row("parameters", lambda experiment, run: f"{run.parameters:,}"),
            row(
                "mult-adds of one image",
                lambda experiment, run: f"{statistics(experiment.network()).total_mult_adds / 1e6:.2f} M",
            ),
            row(
                "receptive field",
                lambda experiment, run: f"{receptive_field(experiment.network()).receptive_field} pixels",
            ),
            row("**final test accuracy**", lambda experiment, run: f"**{run.final.test_accuracy:.2f} %**"),
            row(
                "best test accuracy (picked on the test set)",
                lambda experiment, run: f"{run.best.test_accuracy:.2f} %, epoch {run.best.epoch}",
            ),
            row(
                "best train accuracy",
                lambda experiment, run: f"{max(epoch.train_accuracy for epoch in run.epochs):.2f} %",
            ),
            row(f"first epoch at {HEADLINE:g} % test", reached),
            row("seconds an epoch (median)", lambda experiment, run: f"{seconds(run):.1f}"),
            row("targets met", met),
        ],
    )


def series_runs(folder: Path, seed: int = 1, dataset: str = "MNIST") -> dict[str, Run]:
    """The runs of the series in `folder` with this seed and on these digits, by the experiment's name.

    Raises `RunsMissing` where one is not there.
    """
    found = {run.experiment: run for run in load_own_runs(folder) if (run.seed, run.dataset) == (seed, dataset)}
    option = "" if dataset == "MNIST" else " --dataset synthetic"
    if missing := [experiment.name for experiment in SERIES if experiment.name not in found]:
        raise RunsMissing(
            f"{folder}: no run of {', '.join(missing)} with seed {seed} on {dataset}; "
            f"`python -m mnist_s7 train NAME --seed {seed}{option} --output {folder}` makes one"
        )
    return {experiment.name: found[experiment.name] for experiment in SERIES}


def _on(text: str, run: Run) -> str:
    """`text` with the digits named, where they are not MNIST's."""
    return f"{text} (on {run.dataset}, not on MNIST)" if run.stand_in else text


def _harder_training(experiment: Experiment) -> str:
    network = experiment.network()
    harder = []
    if any(isinstance(module, nn.Dropout) for module in network.modules()):
        harder.append("with dropout on")
    if changing(experiment.train_transform):
        harder.append("on changed digits, which are harder than the test set's")
    return f", {' and '.join(harder)}" if harder else ""


def seconds(run: Run) -> float:
    """An epoch's wall time, the median of the run's."""
    return sorted(epoch.seconds for epoch in run.epochs)[len(run.epochs) // 2]
