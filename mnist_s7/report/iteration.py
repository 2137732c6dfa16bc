"""One iteration: its targets, what it changes, its source and its layers; one run of it: verdicts and analysis; and one
run of each iteration side by side."""

import ast
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from statistics import median

import torch
import torchinfo
from torch import nn

from mnist_s7 import experiments
from mnist_s7.catalog import EXPERIMENTS
from mnist_s7.experiments import SERIES, Experiment
from mnist_s7.receptive_field import ReceptiveFieldError, receptive_field
from mnist_s7.report.markdown import Markdown, Source, Text, table
from mnist_s7.report.stored import previous_run
from mnist_s7.results import MNIST, Run, has_targets, on_dataset
from mnist_s7.results.claims import HEADLINE, TENTH, Claim, first_epoch_at
from mnist_s7.source_code import used
from mnist_s7.transforms import augmentation_of

VERDICTS = {True: "met", False: "not met", None: "inconclusive from one run"}


def targets(experiment: Experiment) -> Markdown:
    """What the iteration is to reach."""
    return Markdown("\n".join(f"- {claim.text}" for claim in experiment.targets))


def changes(experiment: Experiment) -> Markdown:
    """The iteration's settings beside those of the iteration before, where they differ; all of the first one's."""
    before = SERIES[SERIES.index(experiment) - 1 : SERIES.index(experiment)] if experiment in SERIES else ()
    compared = *before, experiment

    def augmentation(each: Experiment) -> str:
        return ", then ".join(f"`{step}`" for step in augmentation_of(each.train_transform)) or "none"

    def regularisation(each: Experiment) -> str:
        layers = list(each.network().modules())
        norms = sum(isinstance(layer, nn.BatchNorm2d) for layer in layers)
        dropout = [layer.p for layer in layers if isinstance(layer, nn.Dropout)]
        rates = " and ".join(f"{rate:g}" for rate in sorted(set(dropout)))
        return f"{norms} BatchNorm, {len(dropout)} dropout" + (f" of {rates}" if dropout else "")

    settings = {
        "network": lambda each: f"`{type(each.network()).__name__}`",
        "parameters": lambda each: f"{each.parameters:,}",
        "channels of the convolutions": lambda each: ", ".join(
            str(layer.out_channels) for layer in each.network().modules() if isinstance(layer, nn.Conv2d)
        ),
        "BatchNorm and dropout": regularisation,
        "augmentation": augmentation,
        "trained on": lambda each: str(each.distillation or "labels"),
        "optimiser": lambda each: each.optimisation,
    }
    rows = [[what, *map(setting, compared)] for what, setting in settings.items()]
    return table(
        ["", *(each.name for each in compared)],
        [row for row in rows if len(compared) == 1 or len(set(row[1:])) > 1],
    )


def source(what: Experiment | Callable) -> Source:
    """The source of a function, of a class with what it uses of its own module, or of an iteration or its teacher: what
    really runs, highlighted in a notebook."""
    if isinstance(what, Experiment):
        [name] = [name for name, value in vars(experiments).items() if value is what]
        parts = [_assignment(experiments, name)]
    else:
        module = sys.modules[what.__module__]
        names = used(module, what.__name__) if isinstance(what, type) else [what.__name__]
        parts = [inspect.getsource(getattr(module, name)) for name in names]
    return Source("\n\n".join(part.rstrip() + "\n" for part in parts).rstrip())


def _assignment(module, name: str) -> str:
    text = inspect.getsource(module)
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == name:
            return ast.get_source_segment(text, node)
    raise KeyError(name)


def model_statistics(model: nn.Module) -> torchinfo.ModelStatistics:
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


def summary(experiment: Experiment) -> Text:
    """torchinfo's summary of the network for one (1, 28, 28) image, in print."""
    # From Python 3.11 on, torchinfo 1.8 prints the name of an enumeration's member for the unit that it stands for.
    return Text(str(model_statistics(experiment.network())).replace("Units.MEGABYTES", "M"))


def architecture(experiment: Experiment) -> Markdown:
    """The layers that change the feature map, in the reference series' notation: height x width x channels of the
    input, height x width x channels in x channels out of the kernel, height (= width) of the output. A depthwise
    kernel, which meets one channel, has 1 for the channels in."""
    rows = []
    for layer in model_statistics(experiment.network()).summary_list:
        if not layer.is_leaf_layer or len(layer.input_size) != 4:
            continue
        _, channels, height, width = layer.input_size
        taken = f"{height}x{width}x{channels}"
        match layer.module:
            case nn.Conv2d(kernel_size=(k, l), out_channels=out, groups=groups):
                rows.append((taken, f"{k}x{l}x{channels // groups}x{out}", layer.output_size[2]))
            case nn.MaxPool2d():
                rows.append((taken, "MaxPool()", layer.output_size[2]))
            case nn.AvgPool2d():
                rows.append((taken, "AvgPool()", layer.output_size[2]))
            case nn.AdaptiveAvgPool2d():
                rows.append((taken, "AdaptiveAvgPool()", layer.output_size[2]))
    channels = layer.output_size[1]
    return table(("INPUT", "KERNEL", "OUTPUT"), [*rows, (f"1x1x{channels}", "Flatten()", channels)])


def verdicts(experiment: Experiment, run: Run) -> Markdown:
    """Each target of the iteration and each claim of the reference series, checked with `run`."""

    def rows(kind: str, claims: Iterable[Claim]) -> Iterable[tuple[str, str, str, str]]:
        for claim in claims:
            verdict = claim.check(run)
            yield kind, claim.text, verdict.found, f"**{VERDICTS[verdict.holds]}**"

    return table(
        ("", f"target or claim of {experiment.name}", with_dataset("this run", run), "verdict"),
        [*rows("target", experiment.targets), *rows("claim", experiment.claims)],
    )


def analysis(experiment: Experiment, run: Run) -> Markdown:
    """What the run's figures say, in sentences that hold whatever the figures are."""
    final, best = run.final, run.best
    late = run.epochs[TENTH:]
    reached = first_epoch_at(run, HEADLINE)
    below = sum(epoch.train_accuracy < epoch.test_accuracy for epoch in run.epochs)
    gap = final.train_accuracy - final.test_accuracy
    bias = best.test_accuracy - final.test_accuracy
    against = ""
    if experiment.reference is not None:
        difference = final.test_accuracy - experiment.reference.final_test
        against = f" That is {difference:+.2f} pp from the reference series' final epoch."
    points = [
        with_dataset(
            f"The final epoch has {final.train_accuracy:.2f} % train and {final.test_accuracy:.2f} % test accuracy", run
        )
        + f": {len(run.errors)} test images wrong.{against}",
        f"The best epoch, {best.epoch}, has {best.test_accuracy:.2f} %, {bias:.2f} pp more: it is selected on the test "
        "set."
        if bias > 0
        else "No epoch before it was better.",
        f"Train accuracy is {'below' if gap < 0 else 'above'} test accuracy at the end, by {abs(gap):.2f} pp, and "
        f"below it in {below} of {len(run.epochs)} epochs. It is an average over the epoch, while the weights still "
        "move" + _harder_training(experiment) + ".",
    ]
    if reached is None:
        points.append(f"No epoch reaches {HEADLINE:g} % test accuracy.")
    else:
        lasting = sum(epoch.test_accuracy >= HEADLINE for epoch in late)
        points.append(
            f"{HEADLINE:g} % test accuracy is first reached in epoch {reached.epoch}; from the tenth epoch on, "
            f"{lasting} of {len(late)} epochs have it."
        )
    if (previous := previous_run(experiment, run)) is not None:
        points.append(
            f"{run.parameters - previous.parameters:+,} parameters and "
            f"{final.test_accuracy - previous.final.test_accuracy:+.2f} pp of final test accuracy from "
            f"{previous.experiment} with the same seed."
        )
    return Markdown("\n".join(f"- {point}" for point in points))


def comparison(runs: Mapping[str, Run]) -> Markdown:
    """A column for each experiment: a run of each, by the experiment's name. What takes the network or the targets is
    left open of an experiment that is not known here."""

    def row(what: str, figure: Callable[[Experiment, Run], object]) -> list[object]:
        experiments = (EXPERIMENTS.get(run.experiment) for run in runs.values())
        return [
            what,
            *("-" if each is None else figure(each, run) for each, run in zip(experiments, runs.values(), strict=True)),
        ]

    def run_row(what: str, figure: Callable[[Run], object]) -> list[object]:
        return [what, *map(figure, runs.values())]

    def reached(run: Run) -> str:
        epoch = first_epoch_at(run, HEADLINE)
        return "none" if epoch is None else f"{epoch.epoch}"

    def met(experiment: Experiment, run: Run) -> str:
        holds = [claim.check(run).holds for claim in experiment.targets]
        if not holds:
            return "has none"
        counts = [f"{holds.count(True)} of {len(holds)}"]
        if None in holds:
            counts.append(f"{holds.count(None)} inconclusive from one run")
        return ", ".join(counts)

    with_targets = all(has_targets(run.dataset) for run in runs.values())
    rows = [
        row("change", lambda experiment, run: experiment.change),
        run_row("parameters", lambda run: f"{run.parameters:,}"),
        row(
            "multiply-adds per image",
            lambda experiment, run: f"{model_statistics(experiment.network()).total_mult_adds / 1e6:.2f} M",
        ),
        row(
            "receptive field",
            lambda experiment, run: _receptive_field(experiment.network()),
        ),
        run_row("epochs", lambda run: f"{len(run.epochs)}"),
        run_row("**final test accuracy**", lambda run: f"**{run.final.test_accuracy:.2f} %**"),
        run_row(
            "best test accuracy (selected on the test set)",
            lambda run: f"{run.best.test_accuracy:.2f} %, epoch {run.best.epoch}",
        ),
        run_row(
            "best train accuracy",
            lambda run: f"{max(epoch.train_accuracy for epoch in run.epochs):.2f} %",
        ),
        run_row(f"first epoch at {HEADLINE:g} % test", reached) if with_targets else None,
        run_row("seconds per epoch (median)", lambda run: f"{seconds_per_epoch(run):.1f}"),
        row("targets met", met) if with_targets else None,
    ]
    header = ["", *(with_dataset(f"{run.experiment}, seed {run.seed}", run) for run in runs.values())]
    return table(header, [row for row in rows if row])


def _receptive_field(network: nn.Module) -> str:
    """In pixels, as far as it can be told."""
    try:
        return f"{receptive_field(network).receptive_field} pixels"
    except ReceptiveFieldError:  # a reader's network can hold what has none, attention say
        return "-"


def with_dataset(text: str, run: Run) -> str:
    """`text` with the digits named, where they are not MNIST's test set."""
    return text if run.dataset == MNIST else f"{text} ({on_dataset(run.dataset)})"


def _harder_training(experiment: Experiment) -> str:
    harder = []
    if any(isinstance(module, nn.Dropout) for module in experiment.network().modules()):
        harder.append("with dropout on")
    if augmentation_of(experiment.train_transform):
        harder.append("on augmented images, which are harder than the test set's")
    return f", {' and '.join(harder)}" if harder else ""


def seconds_per_epoch(run: Run) -> float:
    """Wall time, the median of the run's epochs."""
    return median(epoch.seconds for epoch in run.epochs)
