"""A benchmark as Markdown tables, with how it was measured."""

from statistics import median

from mnist_s7.bench import Benchmark
from mnist_s7.report.markdown import Markdown, table

LOOPS = {
    "baseline": "baseline loop",
    "in_memory": "in-memory loop, PyTorch's layers",
    "torch_compile": "in-memory loop, torch.compile",
    "package": "in-memory loop, compiled layers",
    "lower_bound": "lower bound (convolutions alone)",
}


def costs(benchmark: Benchmark) -> Markdown:
    """Seconds per epoch of each loop: medians of the rounds."""
    rows = (
        (name, *(f"{median(getattr(cost, loop)):.1f}" for cost in benchmark.costs.values()))
        for loop, name in LOOPS.items()
    )
    return table(("seconds per epoch", *benchmark.costs), rows)


def ratios(benchmark: Benchmark) -> Markdown:
    """How many times the seconds of this package the other loops take: medians of the rounds, and their range."""
    rows = (
        (name, *(_median(cost.ratios(loop, "package"), ".1f") for cost in benchmark.costs.values()))
        for loop, name in LOOPS.items()
        if loop != "package"
    )
    return table(("seconds, relative to the compiled layers", *benchmark.costs), rows)


def throughput(benchmark: Benchmark) -> Markdown:
    """With one process per core, and the memory of one process."""
    rows = (
        ("epochs per hour", *(f"{3600 / median(cost.each_core):,.0f}" for cost in benchmark.costs.values())),
        (
            "times the baseline's",
            *(_median(cost.ratios("baseline", "each_core"), ".1f") for cost in benchmark.costs.values()),
        ),
        ("peak memory of a process (MB)", *(f"{cost.peak_memory:,.0f}" for cost in benchmark.costs.values())),
    )
    return table(("throughput, one process per core", *benchmark.costs), rows)


def shares(benchmark: Benchmark) -> Markdown:
    """What an epoch of this package is spent on, in percent."""
    parts = next(iter(benchmark.costs.values())).shares
    rows = ((name, *(f"{share:.0f} %" for share in cost.shares.values())) for name, cost in benchmark.costs.items())
    return table(("share of an epoch", *parts), rows)


def scaling(benchmark: Benchmark) -> Markdown:
    """Seconds per epoch of this package by batch size and threads, and per pass by images: medians of the rounds."""
    kinds = {"by_batch_size": "batch size: {}", "by_threads": "threads: {}", "by_images": "images per pass: {}"}
    any_cost = next(iter(benchmark.costs.values()))
    rows = (
        (kind.format(f"{int(n):,}"), *(f"{median(getattr(cost, by)[n]):.1f}" for cost in benchmark.costs.values()))
        for by, kind in kinds.items()
        for n in getattr(any_cost, by)
    )
    return table(("seconds per epoch", *benchmark.costs), rows)


def how_measured(benchmark: Benchmark) -> str:
    """The machine, and how the figures were measured."""
    machine = benchmark.environment
    workers = ", ".join(f"{cost.workers} ({name})" for name, cost in benchmark.costs.items())
    settings = ", ".join(f"{cost.lower_bound_setting} ({name})" for name, cost in benchmark.costs.items())
    return (
        f"{machine['device']}, {benchmark.cores} cores, {machine['system']}, Python {machine['python']}, torch "
        f"{machine['torch']}, float32. Medians of {benchmark.rounds} interleaved rounds, with their range where one is "
        f"given, each measured on {benchmark.part:,} training images, batch sizes and threads on half as many, with "
        "as large a part of the test images, and scaled to 60,000 and 10,000. Ratios are taken within a round. With "
        "one process per core, each has one thread, and the epochs of all are counted. A pass over so many images is "
        f"not scaled. DataLoader workers of the baseline, the fastest of 0, 1 and {benchmark.cores}: {workers}. Data "
        f"type and memory format of the lower bound, the fastest of four: {settings}. torch.compile is measured after "
        f"it has compiled. Layers of this package: {machine['kernels']}."
    )


def _median(values: list[float], form: str) -> str:
    low, high = format(min(values), form), format(max(values), form)
    return f"{median(values):{form}} ({low} to {high})"
