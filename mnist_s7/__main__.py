"""The command line: python -m mnist_s7 run | train | sweep | compare | bench | readme."""

import argparse
import io
import os
import sys
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from mnist_s7 import synthetic
from mnist_s7.data import WORKING_COPY, Digits, DigitsError, digits_or_synthetic, hold_out, load_digits
from mnist_s7.errors import InvalidArgument
from mnist_s7.experiments import EXPERIMENTS
from mnist_s7.fast import usable_cores
from mnist_s7.receptive_field import ReceptiveFieldError
from mnist_s7.results import PUBLISHED, RUNS, Run, RunFileError, SyntheticRefused, refuse_synthetic, write_atomically
from mnist_s7.training import LossNotFinite, fit, usable_device

README = WORKING_COPY / "README.md"
PICTURE = WORKING_COPY / "notebooks" / "results.png"
BENCHMARK = PUBLISHED / "benchmark.json"
BENCHMARK_PICTURE = WORKING_COPY / "notebooks" / "benchmark.png"


def main() -> int:
    arguments = _parser().parse_args()
    try:
        return arguments.do(arguments) or 0
    except (
        DigitsError,
        RunFileError,
        SyntheticRefused,
        LossNotFinite,
        ModuleNotFoundError,
        ReceptiveFieldError,
        OSError,
        ValueError,
    ) as error:
        print(f"mnist_s7 {arguments.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nmnist_s7 {arguments.command}: stopped; no run was left half-written", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mnist_s7", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, do, help: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help, description=help)
        added.set_defaults(do=do)
        return added

    run = command("run", _run, "run the notebooks top to bottom, then show the iterations side by side")
    run.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="by name, MNIST_S7_T1 say; default: all")
    run.add_argument("--publish", action="store_true", help="store outputs and results under notebooks/; MNIST only")

    train = command("train", _train, "train one iteration and save the run")
    train.add_argument("experiment", choices=EXPERIMENTS, metavar="EXPERIMENT", help=", ".join(EXPERIMENTS))
    train.add_argument("--seed", type=int, default=1, help="default: %(default)s")

    sweep = command("sweep", _sweep, "train experiments with many seeds, one run a core, and save the runs")
    sweep.add_argument("experiments", nargs="+", metavar="EXPERIMENT", help=", ".join(EXPERIMENTS))
    sweep.add_argument("--seeds", default="1-10", help="1-10, or 1,4,7-9; default: %(default)s")
    where = sweep.add_mutually_exclusive_group()
    where.add_argument("--jobs", type=int, help="runs at a time; default: one a core, or one on a GPU")
    where.add_argument("--ray", metavar="ADDRESS", help="hand the runs to the Ray cluster there, or to a `local` one")

    for training in (train, sweep):
        training.add_argument("--epochs", type=int, help="default: the iteration's own number")
        training.add_argument("--device", help="cpu or cuda; default: cuda where there is one")
        training.add_argument(
            "--data", metavar="FOLDER", help="where MNIST's files are; default: MNIST_S7_DATA, or data/"
        )
        training.add_argument("--dataset", choices=["mnist", "synthetic"], help="default: MNIST_S7_DATASET, or mnist")
        training.add_argument(
            "--held-out",
            action="store_true",
            help="test on the last 10,000 training images, and train on the others: to choose between recipes",
        )
        training.add_argument("--output", type=Path, default=RUNS, metavar="FOLDER", help="default: runs/results")

    compare = command("compare", _compare, "the runs of a folder side by side")
    compare.add_argument("folder", type=Path, nargs="?", default=PUBLISHED, help="default: notebooks/results")
    compare.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    compare.add_argument("--dataset", choices=["mnist", "synthetic"], default="mnist", help="default: %(default)s")

    bench = command("bench", _bench, "measure seconds an epoch: the usual loop, this package, its convolutions alone")
    bench.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    bench.add_argument("--publish", action="store_true", help="store the figures for the README")

    readme = command(
        "readme", _readme, "write the README's tables and pictures and the iterations' tables from notebooks/results"
    )
    readme.add_argument("--check", action="store_true", help="write nothing; fail if they or the notebooks differ")
    return parser


def _run(arguments: argparse.Namespace) -> int | None:
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    from mnist_s7.notebooks import NOTEBOOKS, ORDER, execute, execute_side_by_side
    from mnist_s7.report import comparison, series_runs

    digits = digits_or_synthetic()
    if arguments.publish and digits.name != "MNIST":
        raise SyntheticRefused(f"only runs on MNIST are published, and these digits are {digits.name}")
    folder, results = (NOTEBOOKS, PUBLISHED) if arguments.publish else (WORKING_COPY / "runs", RUNS)
    if arguments.publish:  # as the other seeds are made; figures and seconds depend on it
        os.environ["OMP_NUM_THREADS"] = "1"

    if unknown := set(arguments.notebooks) - set(ORDER):
        raise InvalidArgument(f"no notebook {', '.join(sorted(unknown))}: there are {', '.join(ORDER)}")
    *iterations, compare = ORDER
    names = arguments.notebooks
    if not names:
        if digits.name != "MNIST":
            os.environ["MNIST_S7_DATASET"] = "synthetic"  # settled: no need to look for MNIST again
        # What is published shows seconds an epoch: there no run shares its core with another.
        at_once, options = (usable_cores(), ["--publish"]) if arguments.publish else (len(iterations), [])
        if not execute_side_by_side(iterations, at_once, *options):
            return 1
        names = [compare]
    for name in names:
        print(f"\n{name} on {digits.name}", flush=True)
        try:
            path = execute(name, folder, results, digits)
        except CellExecutionError as error:
            print(f"{name}: a cell failed with {error.ename}: {error.evalue}", file=sys.stderr)
            print("The notebook as far as it came, with the traceback, is in runs/.", file=sys.stderr)
            return 1
        except DeadKernelError:  # nbclient's answer to Ctrl-C, too
            print(f"{name}: stopped, or its kernel died (out of memory?)", file=sys.stderr)
            return 130
        print(f"executed: {path.relative_to(WORKING_COPY)}", flush=True)
    if compare in names:
        print(f"\n{comparison(series_runs(results, dataset=digits.name))}")
    return None


def _digits(arguments: argparse.Namespace) -> Digits:
    digits = load_digits(arguments.data, arguments.dataset)
    return hold_out(digits) if arguments.held_out else digits


def _train(arguments: argparse.Namespace) -> None:
    digits = _digits(arguments)
    refuse_synthetic(digits.name, arguments.output)  # before the training, and not after it
    experiment = EXPERIMENTS[arguments.experiment]
    print(f"{experiment.name} on {digits.name} ({digits.source}), seed {arguments.seed}: {experiment.recipe}")
    run = fit(experiment, digits, arguments.seed, arguments.epochs, arguments.device)
    print(f"final test accuracy {run.final.test_accuracy:.2f} %, saved as {run.save(arguments.output)}")


def _sweep(arguments: argparse.Namespace) -> int:
    from mnist_s7.results import by_experiment
    from mnist_s7.seeds import against_the_first, means
    from mnist_s7.sweep import in_processes, on_ray, parse_seeds, sweep

    seeds = parse_seeds(arguments.seeds)
    digits = _digits(arguments)
    if arguments.ray:
        device = arguments.device or "cpu"  # the cluster's machines are not this one
        engine, place = partial(on_ray, address=arguments.ray), f"on Ray ({arguments.ray}), {device}"
    else:
        device = str(usable_device(arguments.device))
        jobs = arguments.jobs if arguments.jobs is not None else usable_cores() if device == "cpu" else 1
        engine, place = partial(in_processes, jobs=jobs), f"{jobs} at a time on {device}"
    print(f"{', '.join(arguments.experiments)} on {digits.name}, seeds {arguments.seeds}, {place}")
    outcome = sweep(arguments.experiments, seeds, digits, arguments.output, engine, arguments.epochs, device)
    print(f"{outcome}\nThe runs are in {arguments.output}.")
    if names := sorted(outcome.found + outcome.made):
        runs = by_experiment([Run.load(arguments.output / f"{name}.json") for name in names])
        print(f"\n{means(runs)}")
        if len(runs) > 1:
            print(f"\n{against_the_first({name: runs[name] for name in arguments.experiments if name in runs})}")
    return 1 if outcome.failed else 0


def _compare(arguments: argparse.Namespace) -> None:
    from mnist_s7.report import comparison, series_runs

    dataset = {"mnist": "MNIST", "synthetic": synthetic.NAME}[arguments.dataset]
    print(comparison(series_runs(arguments.folder, arguments.seed, dataset)))


def _bench(arguments: argparse.Namespace) -> None:
    from mnist_s7 import plots
    from mnist_s7.bench import tables
    from mnist_s7.bench.measure import benchmark
    from mnist_s7.readme import digest

    folder = PUBLISHED if arguments.publish else RUNS
    found = benchmark(load_digits(), arguments.rounds)
    found.save(folder / BENCHMARK.name)
    for text in (tables.costs, tables.shares, tables.scaling, tables.how_measured):
        print(f"\n{text(found)}")
    picture = folder.parent / BENCHMARK_PICTURE.name
    _draw(picture, plots.benchmark_picture(found), digest(found))
    print(f"\nsaved as {folder / BENCHMARK.name} and {picture}")


def _readme(arguments: argparse.Namespace) -> int:
    from mnist_s7 import plots
    from mnist_s7.bench import Benchmark
    from mnist_s7.notebooks import ORDER, refresh_tables, stale_cells
    from mnist_s7.readme import (
        digest,
        fill,
        published_held_out,
        published_plain,
        published_runs,
        published_seeds,
        readme_blocks,
    )

    runs, seeds, benchmark = published_runs(), published_seeds(), Benchmark.load(BENCHMARK)
    text = README.read_text(encoding="utf-8")
    filled = fill(text, readme_blocks(runs, seeds, published_plain(), published_held_out(), benchmark))
    series = {name: seeds[name] for name in runs}
    shown = {PICTURE: digest(series), BENCHMARK_PICTURE: digest(benchmark)}
    if not arguments.check:
        write_atomically(README, filled)
        _draw(PICTURE, plots.results_picture(series), shown[PICTURE])
        _draw(BENCHMARK_PICTURE, plots.benchmark_picture(benchmark), shown[BENCHMARK_PICTURE])
        for name in ORDER[:-1]:
            refresh_tables(name, runs, seeds)
        return 0

    stale = [README.name] * (filled != text)
    stale += [picture.name for picture, figures in shown.items() if not _shows(picture, figures)]
    for name in stale:
        print(f"{name} is not what notebooks/results gives: run `python -m mnist_s7 readme`", file=sys.stderr)
    for name in ORDER:
        for cell in stale_cells(name, runs, seeds):
            stale.append(name)
            executed = name == ORDER[-1] or "fit(" in cell
            remedy = f"run --publish {name}" if executed else "readme"
            print(
                f"{name}.ipynb, {cell.splitlines()[-1]}: not what notebooks/results gives: "
                f"run `python -m mnist_s7 {remedy}`",
                file=sys.stderr,
            )
    if not stale:
        print("README.md, its pictures and the notebooks' figures are what notebooks/results gives.")
    return 1 if stale else 0


def _draw(path: Path, figure: Figure, shown: str) -> None:
    """Write the figure as a PNG that says which results it shows."""
    picture = io.BytesIO()
    figure.savefig(picture, metadata={"Description": shown})
    write_atomically(path, picture.getvalue())


def _shows(picture: Path, digest: str) -> bool:
    from PIL import Image

    if not picture.exists():
        return False
    with Image.open(picture) as image:
        return image.info.get("Description") == digest


if __name__ == "__main__":
    sys.exit(main())
