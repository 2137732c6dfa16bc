"""The generated parts of notebooks/results/README.md: every table that is made from the published runs."""

from collections.abc import Sequence

from mnist_s7.bench import Benchmark
from mnist_s7.experiments import SERIES, Experiment
from mnist_s7.export import DeployedNetworks
from mnist_s7.plots.axes import LIMIT
from mnist_s7.receptive_field import receptive_field
from mnist_s7.report import fashion, robustness
from mnist_s7.report.across_seeds import (
    ablation_table,
    against_previous,
    means,
    rank_among_seeds,
    replication,
)
from mnist_s7.report.benchmark import (
    benchmark_figure_name,
    costs,
    how_measured,
    ratios,
    scaling,
    shares,
    throughput,
)
from mnist_s7.report.deployed import deployed_table, how_deployed
from mnist_s7.report.iteration import analysis, architecture, changes, targets, verdicts
from mnist_s7.report.markdown import Markdown, p_value, table
from mnist_s7.report.published_networks import (
    OURS,
    against_ours,
    claim_details,
    claims_table,
    place,
    public_comparison,
    stored_networks,
    variants_table,
)
from mnist_s7.report.selection import selection_summary, selection_table
from mnist_s7.report.stored import DEPLOYED, SEED, baseline_runs, series, stored_runs, validation_runs
from mnist_s7.results import PYTORCH_LAYERS, Runs, adjusted, compare, failures
from mnist_s7.results.claims import signed

CLAIMS_FIGURE, SELECTION_FIGURE = "claims.png", "selection.png"  # in the notebooks' folder


def results_parts(benchmarks: Sequence[Benchmark]) -> dict[str, str]:
    """The parts, by the name in their markers, made from the published runs and the benchmarks."""
    runs, baselines = stored_runs(), baseline_runs()
    deployed = DeployedNetworks.load(DEPLOYED)
    return {
        "means": means(runs),
        "previous": against_previous(runs),
        "ablation": ablation_table(runs),
        "validation": ablation_table(validation_runs()),
        "public": public_comparison(series(runs), baselines),
        "published": _published(runs, baselines),
        "selection": _selection({**runs, **baselines}),
        "iterations": "\n".join(map(_iteration, SERIES)),
        "speed": "\n\n".join(map(_speed, benchmarks)),
        "layers": _pytorch_layers(),
        "deployed": f"{deployed_table(deployed)}\n\n{how_deployed(deployed)}",
        "robustness": robustness.robustness_report(robustness.stored_robustness()),
        "fashion": _fashion(),
    }


def _speed(benchmark: Benchmark) -> str:
    alt = "Seconds per epoch of several loops, and of this package by batch size, threads and images"
    figure = f"![{alt}](../{benchmark_figure_name(benchmark)})"
    tables = (costs, ratios, throughput, shares, scaling, how_measured)
    return "\n\n".join((f"### {benchmark.processor}", figure, *(str(table(benchmark)) for table in tables)))


def _iteration(experiment: Experiment) -> str:
    run = next(run for run in stored_runs()[experiment.name] if run.seed == SEED)
    return f"""### {experiment.name}

Targets:

{targets(experiment)}

{changes(experiment)}

All seeds:

{replication(experiment)}

Seed {run.seed}, the run of [its notebook](../MNIST_S7_{experiment.name}.ipynb):

{verdicts(experiment, run)}

{analysis(experiment, run)}

{rank_among_seeds(run)}

<details><summary>Architecture and receptive field of {experiment.name}</summary>

An input is height x width x channels; a kernel is height x width x channels in (1 where it is depthwise) x channels
out; an output is its height, which is its width. The columns of the second table are explained in [its
room](../../mnist_s7/receptive_field/README.md).

{architecture(experiment)}

{receptive_field(experiment.network()).to_markdown()}

</details>
"""


def _fashion() -> str:
    """The figure is there once there are runs to compare."""
    figure = "![Differences on MNIST and on Fashion-MNIST, with their 95 % CI](../fashion-mnist.png)\n\n"
    there = fashion.any_measured(fashion.stored_comparisons())
    return f"{figure if there else ''}{fashion.fashion_report()}"


def _published(runs: Runs, baselines: Runs) -> str:
    """All that is said of the networks of others; one sentence before any has runs."""
    if not stored_networks(baselines):
        return place(runs, baselines)
    return f"""{place(runs, baselines)}

![Each claim beside the mean of our runs, by the parameters of its network](../{CLAIMS_FIGURE})

{claims_table(baselines)}

[All runs of these networks](baselines)

<details><summary>How each claim was obtained, and what our runs do differently</summary>

{claim_details(baselines)}

</details>

Variants, with mechanics that the authors did not see or did not run, beside their network:

{variants_table(baselines)}

<details><summary>Each network below {LIMIT:,} parameters beside {OURS}</summary>

{against_ours(runs, baselines)}

</details>
"""


def _selection(runs: Runs) -> str:
    return f"""{selection_summary(runs)}

![What selection adds in each experiment, by its parameters](../{SELECTION_FIGURE})

{selection_table(runs)}
"""


def _pytorch_layers() -> Markdown:
    runs, plain = stored_runs(), stored_runs(PYTORCH_LAYERS)
    found = {name: compare(runs.get(name, ()), group, paired=True) for name, group in plain.items()}
    found = {name: difference for name, difference in found.items() if difference is not None}
    rows = (
        (
            f"{name}{failures([*runs[name], *plain[name]])}",
            f"{each.n[0]}",
            signed(each.mean),
            " to ".join(map(signed, each.interval)),
            p_value(each.p),
        )
        for name, each in zip(found, adjusted(list(found.values())), strict=True)
    )
    return table(("compiled minus PyTorch's layers", "seeds", "mean (pp)", "95 % CI", "p (Holm)"), rows)
