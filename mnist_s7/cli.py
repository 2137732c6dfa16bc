"""The command line: mnist-s7 run | train | sweep | compare | bench | readme, or python -m mnist_s7."""

import argparse
import errno
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mnist_s7 import InvalidArgument, MnistS7Error, MnistS7Warning
from mnist_s7.catalog import EXPERIMENTS
from mnist_s7.data import PROJECT, SYNTHETIC_DIGITS, Digits, digits_or_synthetic, load_digits, validation_split
from mnist_s7.kernels import library
from mnist_s7.receptive_field import ReceptiveFieldError
from mnist_s7.results import (
    MNIST,
    PUBLISHED,
    RUNS,
    PublishingRefused,
    Run,
    prepare,
    refuse_publishing,
    run_name,
)
from mnist_s7.results.machine import side_by_side, usable_device
from mnist_s7.training import fit

KERNEL_MEMORY = 1_500 << 20  # bytes, with room to spare: a notebook that trains takes about 1.1 GB
MOST_NOTEBOOKS = 8  # executed at once


def main() -> int:
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as it is under nohup
            signal.signal(number, _end)
    arguments = _parser().parse_args()
    warnings.showwarning = partial(_show_warning, warnings.showwarning)
    try:
        code = arguments.do(arguments) or 0
        if sys.stdout:
            sys.stdout.flush()  # a reader that has gone is noticed here, and not while Python ends
        return code
    except (MnistS7Error, ReceptiveFieldError) as error:
        print(f"mnist-s7 {arguments.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nmnist-s7 {arguments.command}: stopped; no run was left half-written", file=sys.stderr)
        return 128 + signal.SIGINT
    except OSError as error:
        if not _output_fails():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still has to write there
        if error.errno == errno.EPIPE:  # `| head`, say, has seen enough
            return 128 + signal.SIGPIPE
        print(f"mnist-s7 {arguments.command}: its output cannot be written ({error.strerror})", file=sys.stderr)
        return 1


def _output_fails() -> bool:
    """Whether nothing more can be written to the standard output."""
    try:
        print(flush=True)
    except OSError:
        return True
    return False


def _end(number: int, _) -> None:
    """End as after an error, so that what was begun is cleaned up: other processes, locks, temporary files."""
    name = signal.Signals(number).name
    os.write(2, f"\nmnist-s7: stopped by {name}; no run was left half-written\n".encode())  # print may be at work
    sys.exit(128 + number)


def _whole(least: int, most: int) -> Callable[[str], int]:
    """For argparse: a whole number of this range."""

    def number(text: str) -> int:
        if not text.isdecimal() or len(text) > 20 or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least:,} to {most:,}")
        return int(text)

    return number


def _show_warning(others: Callable, message: Warning, category: type[Warning], *where) -> None:
    """The package's own as one line; others as Python shows them, with a line of their code."""
    if issubclass(category, MnistS7Warning):
        print(f"mnist-s7: {message}", file=sys.stderr)
    else:
        others(message, category, *where)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mnist-s7", description="Train, compare and measure small CNNs on MNIST.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, do, help: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        added.set_defaults(do=do)
        return added

    run = command("run", _run, "run the notebooks top to bottom, then show the iterations side by side")
    run.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="by name, MNIST_S7_T1 say; default: all")
    run.add_argument("--publish", action="store_true", help="store outputs and results under notebooks/; MNIST only")

    train = command("train", _train, "train one iteration and save the run")
    train.add_argument("experiment", choices=EXPERIMENTS, metavar="EXPERIMENT", help=", ".join(EXPERIMENTS))
    train.add_argument("--seed", type=_whole(0, 2**64 - 1), default=1, help="random seed; default: %(default)s")

    sweep = command("sweep", _sweep, "train experiments with many seeds, one process per core, and save the runs")
    sweep.add_argument("experiments", nargs="+", metavar="EXPERIMENT", help=", ".join(EXPERIMENTS))
    sweep.add_argument("--seeds", default="1-10", help="1-10, or 1,4,7-9; default: %(default)s")
    where = sweep.add_mutually_exclusive_group()
    where.add_argument(
        "--jobs",
        type=_whole(1, 10_000),
        help="runs at a time; default: as many as cores and memory allow, or one on a GPU",
    )
    where.add_argument(
        "--ray", metavar="ADDRESS", help="hand the runs to the Ray cluster at HOST:PORT, or to a `local` one"
    )

    for training in (train, sweep):
        training.add_argument("--epochs", type=_whole(1, 10**6), help="default: the iteration's own number")
        training.add_argument("--device", help="cpu or cuda; default: cuda where there is one")
        training.add_argument(
            "--data", metavar="FOLDER", help="where MNIST's files are; default: MNIST_S7_DATA, or data/"
        )
        training.add_argument("--dataset", choices=["mnist", "synthetic"], help="default: MNIST_S7_DATASET, or mnist")
        training.add_argument(
            "--validation",
            action="store_true",
            help="train on the first 50,000 training images and test on the other 10,000: to choose hyperparameters",
        )
        training.add_argument("--output", type=Path, default=RUNS, metavar="FOLDER", help="default: runs/results")

    compare = command("compare", _compare, "compare T1 to T4 with one seed, from the runs of a folder")
    compare.add_argument("folder", type=Path, nargs="?", default=PUBLISHED, help="default: notebooks/results")
    compare.add_argument("--seed", type=_whole(0, 2**64 - 1), default=1, help="random seed; default: %(default)s")
    compare.add_argument("--dataset", choices=["mnist", "synthetic"], default="mnist", help="default: %(default)s")

    bench = command(
        "bench",
        _bench,
        "measure seconds per epoch: this package, a baseline loop, torch.compile, the convolutions alone",
    )
    bench.add_argument("--rounds", type=_whole(1, 1000), default=5, help="repetitions; default: %(default)s")
    bench.add_argument("--publish", action="store_true", help="store the figures for the README")

    readme = command(
        "readme",
        _readme,
        "write the README, the results page, their figures and the notebooks' tables from the results",
    )
    readme.add_argument("--check", action="store_true", help="write nothing; fail if they or the notebooks differ")
    return parser


def _run(arguments: argparse.Namespace) -> None:
    from mnist_s7.report import comparison, series_runs
    from mnist_s7.report.notebook_progress import Overview, in_words
    from mnist_s7.report.notebooks import NOTEBOOKS, ORDER, execute
    from mnist_s7.report.stored import SEED
    from mnist_s7.sweep import stored_run

    if not NOTEBOOKS.is_dir():
        raise InvalidArgument(f"{NOTEBOOKS} does not exist: this command is for a working copy of the repository")
    *iterations, compare = ORDER
    names = arguments.notebooks or ORDER
    if unknown := set(names) - set(ORDER):
        raise InvalidArgument(f"no notebook {', '.join(sorted(unknown))}: there are {', '.join(ORDER)}")
    folder, results = (NOTEBOOKS, PUBLISHED) if arguments.publish else (PROJECT / "runs", RUNS)
    prepare(folder, *(f"{name}.ipynb" for name in names))
    prepare(results)
    digits = digits_or_synthetic()
    if arguments.publish and digits.name != MNIST:
        raise PublishingRefused(f"only runs on MNIST are published, and these digits are {digits.name}")
    if not arguments.publish:  # a notebook replaces the run of its name, and must not replace another one
        for name in set(names) & set(iterations):
            experiment = EXPERIMENTS[name.removeprefix("MNIST_S7_")]
            stored_run(results / f"{run_name(experiment.name, SEED, digits.name)}.json", experiment, None)

    expected = {name: _usual_seconds(name.removeprefix("MNIST_S7_"), SEED) for name in iterations if name in names}
    expected = dict(sorted(expected.items(), key=lambda each: -each[1]))  # the longest first: then all end together
    at_once = side_by_side(len(expected), KERNEL_MEMORY)
    # Runs side by side get more out of the cores than one after the other on all of them.
    if arguments.publish:
        os.environ["OMP_NUM_THREADS"] = "1"
    elif len(expected) > 1:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    started = time.monotonic()
    made = []
    if expected:
        if usable_device(None).type == "cpu":
            library.load()  # so that what it warns of is said once, here, and not in each notebook
        print(f"{len(expected)} notebooks on {digits.name}, {at_once} at a time:", flush=True)
        made += execute(list(expected), at_once, folder, results, digits, Overview(expected, at_once))
    if compare in names:
        made += execute([compare], 1, folder, results, digits, Overview({compare: 1.0}, 1))

    print(f"Made in {in_words(time.monotonic() - started)}:")
    for path in sorted(made):
        print(f"  {os.path.relpath(path)}")
    print(f"The runs are in {os.path.relpath(results)}.")
    print(f"To look at the notebooks: {_jupyter()} lab {os.path.relpath(folder)}")
    if compare in names:
        print(f"\n{comparison(series_runs(results, dataset=digits.name))}")


def _usual_seconds(experiment: str, seed: int) -> float:
    """Of the published run with this seed; a guess for an iteration that has none yet."""
    path = PUBLISHED / f"{run_name(experiment, seed, MNIST)}.json"
    return sum(epoch.seconds for epoch in Run.load(path).epochs) if path.exists() else 200.0


def _jupyter() -> str:
    """The command, as it can be typed here."""
    there = Path(sys.executable).with_name("jupyter")
    return os.path.relpath(there) if there.exists() else "jupyter"


def _digits(arguments: argparse.Namespace) -> Digits:
    digits = load_digits(arguments.data, arguments.dataset)
    return validation_split(digits) if arguments.validation else digits


def _train(arguments: argparse.Namespace) -> None:
    from mnist_s7.sweep import stored_run

    experiment = EXPERIMENTS[arguments.experiment]
    usable_device(arguments.device)
    digits = _digits(arguments)
    refuse_publishing(digits.name, arguments.output)  # before the training, and not after it
    path = arguments.output / f"{run_name(experiment.name, arguments.seed, digits.name)}.json"
    prepare(arguments.output, path.name)
    if found := stored_run(path, experiment, arguments.epochs):
        print(f"{path} is there: final test accuracy {found.final.test_accuracy:.2f} %. To train it again, move it.")
        return
    print(f"{experiment.name} on {digits.name} ({digits.source}), seed {arguments.seed}: {experiment.recipe}")
    run = fit(experiment, digits, arguments.seed, arguments.epochs, arguments.device)
    print(f"final test accuracy {run.final.test_accuracy:.2f} %, saved as {run.save(arguments.output)}")


def _sweep(arguments: argparse.Namespace) -> int:
    from mnist_s7.report.across_seeds import against_first, means
    from mnist_s7.results import by_experiment
    from mnist_s7.sweep import in_processes, on_ray, parse_seeds, run_sweep

    seeds = parse_seeds(arguments.seeds)
    digits = _digits(arguments)
    if arguments.ray is not None:
        device = arguments.device or "cpu"  # the cluster's machines are not this one
        if device not in ("cpu", "cuda"):
            raise InvalidArgument(f"device is {device!r}: on a Ray cluster it should be cpu or cuda")
        engine, where = partial(on_ray, address=arguments.ray), f"on Ray ({arguments.ray}), {device}"
    else:
        device = str(usable_device(arguments.device))
        most = side_by_side(len(seeds) * len(arguments.experiments), KERNEL_MEMORY) if device == "cpu" else 1
        jobs = arguments.jobs or most
        engine, where = partial(in_processes, at_once=jobs), f"{jobs} at a time on {device}"
    print(f"{', '.join(arguments.experiments)} on {digits.name}, seeds {arguments.seeds}, {where}", flush=True)
    outcome = run_sweep(arguments.experiments, seeds, digits, arguments.output, engine, arguments.epochs, device)
    print(f"{outcome}\nThe runs are in {arguments.output}.")
    if names := sorted(outcome.found + outcome.made):
        runs = by_experiment([Run.load(arguments.output / f"{name}.json") for name in names])
        print(f"\n{means(runs)}")
        if len(runs) > 1:
            print(f"\n{against_first({name: runs[name] for name in arguments.experiments if name in runs})}")
    return 1 if outcome.failed else 0


def _compare(arguments: argparse.Namespace) -> None:
    from mnist_s7.report import comparison, series_runs

    dataset = {"mnist": MNIST, "synthetic": SYNTHETIC_DIGITS}[arguments.dataset]
    print(comparison(series_runs(arguments.folder, arguments.seed, dataset)))


def _bench(arguments: argparse.Namespace) -> None:
    from mnist_s7.bench.measure import benchmark
    from mnist_s7.report import benchmark as tables
    from mnist_s7.report.pages import BENCHMARK, draw_benchmark

    if arguments.publish and not PUBLISHED.is_dir():
        raise InvalidArgument(f"{PUBLISHED} does not exist: --publish is for a working copy of the repository")
    folder, digits = PUBLISHED if arguments.publish else RUNS, load_digits()
    if arguments.publish and digits.name != MNIST:
        raise PublishingRefused(f"only a benchmark on MNIST is published, and these digits are {digits.name}")
    prepare(folder, BENCHMARK.name)
    found = benchmark(digits, arguments.rounds)
    found.save(folder / BENCHMARK.name)
    for text in (tables.costs, tables.ratios, tables.throughput, tables.shares, tables.scaling, tables.how_measured):
        print(f"\n{text(found)}")
    print(f"\nsaved as {folder / BENCHMARK.name} and {draw_benchmark(found, folder.parent)}")


def _readme(arguments: argparse.Namespace) -> int:
    from mnist_s7.report.pages import stale_pages, write_pages

    if not arguments.check:
        write_pages()
        return 0
    stale = stale_pages(side_by_side(MOST_NOTEBOOKS, KERNEL_MEMORY))
    for what in stale:
        print(what, file=sys.stderr)
    if not stale:
        print("README.md, the results page, their figures and the notebooks' tables are what notebooks/results gives.")
    return 1 if stale else 0
