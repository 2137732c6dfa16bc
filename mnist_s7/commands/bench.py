"""`mnist-s7 bench`: measure the training loops."""

import argparse
from collections.abc import Sequence

from mnist_s7 import InvalidArgument
from mnist_s7.catalog import find_experiment
from mnist_s7.commands.options import FIGURES, OWN, Command, whole
from mnist_s7.data import load_digits
from mnist_s7.experiments import SERIES, Experiment
from mnist_s7.results import MNIST, PUBLISHED, RUNS, PublishingRefused, prepare
from mnist_s7.results.machine import instruction_set


def add(command: Command) -> None:
    parser = command(
        "bench",
        _bench,
        "measure seconds per epoch: this package, a baseline loop, torch.compile, JAX, the convolutions alone",
    )
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help=f"default: the series; {OWN}")
    parser.add_argument("--rounds", type=whole(1, 1000), default=5, help="repetitions; default: %(default)s")
    parser.add_argument(
        "--layers",
        action="store_true",
        help="measure each layer of a training step on one core instead, beside the least that it would take",
    )
    parser.add_argument(
        "--publish",
        action="store_true",
        help="store the figures for the README, as those of this processor's instruction set",
    )


def _bench(arguments: argparse.Namespace) -> None:
    from mnist_s7.bench import benchmark_file
    from mnist_s7.bench.measure import benchmark
    from mnist_s7.report import benchmark as tables
    from mnist_s7.report.pages import draw_benchmark

    if arguments.publish and not PUBLISHED.is_dir():
        raise InvalidArgument(f"{PUBLISHED} does not exist: --publish is for a working copy of the repository")
    experiments = [find_experiment(name) for name in arguments.experiments] or SERIES
    if arguments.publish and arguments.experiments:
        raise InvalidArgument("--publish is for the whole series: name no experiment")
    if arguments.publish and arguments.layers:
        raise InvalidArgument("--publish is for whole loops: leave out --layers")
    if arguments.layers:
        _bench_layers(experiments)
        return
    folder, digits = PUBLISHED if arguments.publish else RUNS, load_digits()
    if arguments.publish and digits.name != MNIST:
        raise PublishingRefused(f"only a benchmark on MNIST is published, and these digits are {digits.name}")
    prepare(folder, benchmark_file(instruction_set()))
    found = benchmark(digits, arguments.rounds, experiments)
    path = found.save(folder)
    for text in (tables.costs, tables.ratios, tables.throughput, tables.shares, tables.scaling, tables.how_measured):
        print(f"\n{text(found)}")
    print(f"\nsaved as {path} and {draw_benchmark(found, folder.parent)}")


def _bench_layers(experiments: Sequence[Experiment]) -> None:
    from mnist_s7.bench.layers import layer_costs
    from mnist_s7.plots import layers_figure, write_figure
    from mnist_s7.report import benchmark as tables

    prepare(FIGURES)
    digits = load_digits()
    for experiment in experiments:
        costs = layer_costs(experiment, digits)
        print(f"\n{tables.layers_in_words(costs)}\n\n{tables.layers(costs)}\n")
        print(f"drawn in {write_figure(layers_figure(costs), FIGURES / f'layers-{experiment.name}.png')}")
