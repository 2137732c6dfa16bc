"""The README's generated parts: from the published runs, put between markers, and checked there."""

import hashlib
import re
from collections.abc import Collection, Iterable
from pathlib import Path

from mnist_s7 import seeds, synthetic
from mnist_s7.bench import Benchmark
from mnist_s7.bench.tables import costs, how_measured, scaling, shares
from mnist_s7.claims import Runs, signed
from mnist_s7.errors import InvalidArgument
from mnist_s7.experiments import EXPERIMENTS, SERIES, Experiment, load_own_runs
from mnist_s7.receptive_field import receptive_field
from mnist_s7.report import Markdown, analysis, architecture, changes, seconds, series_runs, table, targets, verdicts
from mnist_s7.results import (
    HELD_OUT,
    PUBLISHED,
    SYNTHETIC,
    Run,
    RunFileError,
    SyntheticRefused,
    by_experiment,
    paired,
    summarize,
)

__all__ = [
    "digest",
    "fill",
    "published_held_out",
    "published_plain",
    "published_runs",
    "published_seeds",
    "readme_blocks",
]


def published_runs() -> dict[str, Run]:
    """The published runs of the notebooks. Those on synthetic digits, which are in no table, are checked as well."""
    _published(PUBLISHED)
    _published(SYNTHETIC, synthetic.NAME)
    return series_runs(PUBLISHED)


def published_seeds() -> dict[str, list[Run]]:
    """Every published run, by its experiment."""
    return by_experiment(_published(PUBLISHED))


def published_plain() -> dict[str, list[Run]]:
    """The published runs on PyTorch's own layers, which are for comparison alone."""
    return by_experiment(_published(PUBLISHED / "plain"))


def published_held_out() -> dict[str, list[Run]]:
    """The published runs that were tested on training images."""
    return by_experiment(_published(HELD_OUT, "MNIST held out"))


def _published(folder: Path, dataset: str = "MNIST") -> list[Run]:
    """The runs of a folder that is published: on these digits, and each trained in full.

    Raises `SyntheticRefused` where one is on other digits, and `RunFileError` as `load_own_runs`, or where one is cut
    short.
    """
    runs = load_own_runs(folder)
    for run in runs:
        path = folder / f"{run.name}.json"
        if run.experiment not in EXPERIMENTS:
            raise RunFileError(f"{path}: a run of {run.experiment}, and there is no such experiment")
        if run.dataset != dataset:
            raise SyntheticRefused(f"{path} is a run on {run.dataset}: it cannot be published")
        if len(run.epochs) != EXPERIMENTS[run.experiment].epochs:
            raise RunFileError(f"{path}: a run of fewer epochs than are published")
    return runs


def readme_blocks(
    runs: dict[str, Run], all_seeds: Runs, plain: Runs, held_out: Runs, benchmark: Benchmark
) -> dict[str, str]:
    """The README's generated parts, by the name in their markers, from `published_runs()`, `published_seeds()`,
    `published_plain()`, `published_held_out()` and the benchmark."""
    blocks = {
        "results": _results(runs.values(), all_seeds),
        "best": _flattery(runs.values()),
        "time": _time(runs.values()),
        "seeds": _over_seeds(all_seeds),
        "speed": _speed(benchmark),
        "plain": _against_plain(all_seeds, plain),
        "worth": str(seeds.worth(held_out)),
    }
    previous = None
    for experiment in SERIES:
        run = runs[experiment.name]
        blocks[experiment.name] = _iteration(experiment, run, previous, all_seeds)
        previous = run
    return blocks


def fill(text: str, blocks: dict[str, str]) -> str:
    """`text` with each of `blocks` between its markers, `<!-- begin NAME -->` and `<!-- end NAME -->`.

    Raises `InvalidArgument` where markers and blocks do not belong together.
    """
    markers = re.findall(r"<!-- begin (\w+) -->", text)
    if sorted(markers) != sorted(blocks):
        raise InvalidArgument(f"the text has markers for {sorted(markers)}, and the blocks are {sorted(blocks)}")
    for name, block in blocks.items():
        pattern = rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)"
        text, count = re.subn(
            pattern, lambda match, block=block: f"{match[1]}\n{block.strip()}\n\n{match[2]}", text, flags=re.S
        )
        if count != 1:
            raise InvalidArgument(f"<!-- begin {name} --> has no <!-- end {name} --> after it")
    return text


def digest(shown: Runs | Benchmark) -> str:
    """Changes whenever a figure that is shown does: kept in a picture, it says what the picture shows."""
    if isinstance(shown, Benchmark):
        figures = repr(shown)
    else:
        runs = [run for name in sorted(shown) for run in shown[name]]
        figures = repr([(run.experiment, run.dataset, run.parameters, run.epochs) for run in runs])
    return hashlib.sha256(figures.encode()).hexdigest()


def _results(runs: Iterable[Run], all_seeds: Runs) -> Markdown:
    def row(run: Run) -> tuple[str, ...]:
        document = EXPERIMENTS[run.experiment].document
        final = summarize([each.final.test_accuracy for each in all_seeds[run.experiment]])
        return (
            f"[{run.experiment}](notebooks/MNIST_S7_{run.experiment}.ipynb)",
            f"{run.parameters:,}",
            f"**{seeds.spread(final.mean, final.deviation)} %** ({final.n})",
            f"{run.final.test_accuracy:.2f} %",
            f"{document.final_test:.2f} % / {document.best_test:.2f} %" if document else "none",
            f"{seconds(run):.1f}",
            f"[{run.name}.json](notebooks/results/{run.name}.json)",
            f"`OMP_NUM_THREADS=1 python -m mnist_s7 train {run.experiment} --seed {run.seed}`",
        )

    header = (
        "iteration",
        "parameters",
        "final test accuracy: mean ± deviation (seeds)",
        "the notebook's run",
        "original series: final / best epoch",
        "seconds an epoch, one thread",
        "run",
        "command",
    )
    return table(header, map(row, runs))


def _flattery(runs: Iterable[Run]) -> str:
    gains = ", ".join(f"{run.best.test_accuracy - run.final.test_accuracy:.2f} ({run.experiment})" for run in runs)
    return f"In the notebooks' runs the best epoch is ahead of the final one by {gains} points."


def _time(runs: Collection[Run]) -> str:
    minutes = {run.experiment: sum(epoch.seconds for epoch in run.epochs) / 60 for run in runs}
    each = ", ".join(f"{spent:.0f} ({name})" for name, spent in minutes.items())
    machine = next(iter(runs)).environment
    return (
        f"The trainings in the table took {each} minutes, each on {machine['threads']} thread "
        f"({machine['device']}, {machine['system']}, torch {machine['torch']}). `make run` and `make test` train the "
        f"iterations side by side, one thread each: on two such cores at least {sum(minutes.values()) / 2:.0f} minutes "
        "of either, besides building the environment and the unit tests."
    )


def _speed(benchmark: Benchmark) -> str:
    tables = (costs(benchmark), how_measured(benchmark), shares(benchmark), scaling(benchmark))
    return "\n\n".join(map(str, tables))


def _over_seeds(all_seeds: Runs) -> str:
    return f"""
{seeds.means(all_seeds)}

Each iteration against the one before:

{seeds.differences(all_seeds)}

Each iteration with one part changed, against the iteration as it is:

{seeds.worth(all_seeds)}
"""


def _against_plain(all_seeds: Runs, plain: Runs) -> Markdown:
    rows = []
    for name, group in plain.items():
        if found := paired(all_seeds[name], group):
            interval = " to ".join(map(signed, found.interval))
            rows.append((name, found.n, signed(found.mean), interval, seeds.probability(found.p)))
    return table(("compiled minus PyTorch's layers", "seeds", "points", "95 % interval", "p"), rows)


def _iteration(experiment: Experiment, run: Run, previous: Run | None, all_seeds: Runs) -> str:
    previous_experiment = None if previous is None else EXPERIMENTS[previous.experiment]
    return f"""
**Target**

{targets(experiment)}

**Change**: {experiment.change}.

{changes(previous_experiment, experiment) if previous_experiment else changes(experiment)}

**Result** of seed {run.seed}

{verdicts(experiment, run)}

**Result** over seeds

{seeds.claims(experiment, all_seeds)}

**Analysis** of seed {run.seed}

{analysis(experiment, run, previous)}

{seeds.place(run, all_seeds)}

<details><summary>Architecture and receptive field</summary>

An input is height x width x channels; a kernel is height x width x channels in (1 where it is depthwise) x channels
out; an output is its height, which is its width. For the second table see
[Receptive fields of any model](#receptive-fields-of-any-model).

{architecture(experiment.network())}

{receptive_field(experiment.network()).to_markdown()}

</details>
"""
