"""`mnist-s7 sweep`: many runs."""

import argparse
from functools import partial

from mnist_s7 import InvalidArgument
from mnist_s7.catalog import find_experiment
from mnist_s7.commands.options import NAMES, OWN, Command, refuse_misplaced, whole
from mnist_s7.commands.train import add_training, training_digits
from mnist_s7.results import Run
from mnist_s7.results.machine import KERNEL_MEMORY, side_by_side, usable_device


def add(command: Command) -> None:
    parser = command("sweep", _sweep, "train experiments with many seeds, one process per core, and save the runs")
    parser.add_argument("experiments", nargs="+", metavar="EXPERIMENT", help=f"{NAMES}; {OWN}")
    parser.add_argument("--seeds", default="1-10", help="1-10, or 1,4,7-9; default: %(default)s")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--jobs",
        type=whole(1, 10_000),
        help="runs at a time; default: as many as cores and memory allow, or one on a GPU",
    )
    where.add_argument(
        "--ray", metavar="ADDRESS", help="hand the runs to the Ray cluster at HOST:PORT, or to a `local` one"
    )
    add_training(parser)
    parser.add_argument("--weights", action="store_true", help="save the trained networks, too")


def _sweep(arguments: argparse.Namespace) -> int:
    from mnist_s7.report.across_seeds import against_first, means
    from mnist_s7.results import by_experiment
    from mnist_s7.sweep import in_processes, on_ray, parse_seeds, run_sweep

    seeds = parse_seeds(arguments.seeds)
    asked = list(dict.fromkeys(find_experiment(name, arguments.set).name for name in arguments.experiments))
    for name in asked:
        refuse_misplaced(name, arguments.output)
    digits = training_digits(arguments)
    if arguments.ray is not None:
        device = arguments.device or "cpu"  # the cluster's machines are not this one
        if device not in ("cpu", "cuda"):
            raise InvalidArgument(f"device is {device!r}: on a Ray cluster it should be cpu or cuda")
        engine, where = partial(on_ray, address=arguments.ray), f"on Ray ({arguments.ray}), {device}"
    else:
        device = str(usable_device(arguments.device))
        most = side_by_side(len(seeds) * len(asked), KERNEL_MEMORY) if device == "cpu" else 1
        jobs = arguments.jobs or most
        engine, where = partial(in_processes, at_once=jobs), f"{jobs} at a time on {device}"
    print(f"{', '.join(asked)} on {digits.name}, seeds {arguments.seeds}, {where}", flush=True)
    outcome = run_sweep(
        asked, seeds, digits, arguments.output, engine, arguments.epochs, device, weights=arguments.weights
    )
    print(f"{outcome}\nThe runs are in {arguments.output}.")
    if names := sorted(outcome.found + outcome.made):
        runs = by_experiment([Run.load(arguments.output / f"{name}.json") for name in names])
        print(f"\n{means(runs)}")
        if len(runs) > 1:
            print(f"\n{against_first({name: runs[name] for name in asked if name in runs})}")
    return 1 if outcome.failed else 0
