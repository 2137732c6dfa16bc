"""A benchmark as Markdown tables, with how it was measured."""

from statistics import median

from mnist_s7.bench.record import Benchmark, Cost
from mnist_s7.report import Markdown, table

__all__ = ["costs", "how_measured", "scaling", "shares"]


def costs(benchmark: Benchmark) -> Markdown:
    """Seconds an epoch, and the ratios: medians of the rounds, with the lowest and the highest."""

    def row(name: str, cost: Cost) -> tuple[str, ...]:
        return (
            name,
            *(_spread(getattr(cost, what), ".1f") for what in ("usual", "ours", "floor")),
            f"**{_spread(cost.ratios('usual', 'ours'), '.1f')}**",
            _spread(cost.ratios("ours", "floor"), ".1f"),
            f"{3600 / median(cost.each_core):,.0f}",
            _spread(cost.ratios("usual", "each_core"), ".1f"),
            f"{cost.peak_memory:,.0f}",
        )

    header = ("", "usual loop (s)", "ours (s)", "floor (s)", "usual / ours", "ours / floor")
    header += ("a run on each core: epochs an hour", "against the usual loop", "peak memory (MB)")
    return table(header, (row(name, cost) for name, cost in benchmark.costs.items()))


def shares(benchmark: Benchmark) -> Markdown:
    """What an epoch of ours is spent on, in percent."""
    parts = next(iter(benchmark.costs.values())).shares
    rows = ((name, *(f"{share:.0f} %" for share in cost.shares.values())) for name, cost in benchmark.costs.items())
    return table(("", *parts), rows)


def scaling(benchmark: Benchmark) -> Markdown:
    """Seconds an epoch of ours by batch size and threads, and seconds a pass by images: medians of the rounds."""
    kinds = {"by_batch_size": "batch size", "by_threads": "threads", "by_images": "images, a pass"}
    any_cost = next(iter(benchmark.costs.values()))
    rows = (
        (f"{kind} {int(n):,}", *(f"{median(getattr(cost, by)[n]):.1f}" for cost in benchmark.costs.values()))
        for by, kind in kinds.items()
        for n in getattr(any_cost, by)
    )
    return table(("seconds", *benchmark.costs), rows)


def how_measured(benchmark: Benchmark) -> str:
    """The machine, and what is behind the benchmark's figures."""
    machine = benchmark.environment
    workers = ", ".join(f"{cost.workers} ({name})" for name, cost in benchmark.costs.items())
    settings = ", ".join(f"{cost.floor_setting} ({name})" for name, cost in benchmark.costs.items())
    return (
        f"{machine['device']}, {benchmark.cores} cores, {machine['system']}, Python {machine['python']}, torch "
        f"{machine['torch']}, float32. Seconds an epoch: medians of {benchmark.rounds} interleaved rounds (lowest to "
        f"highest), each measured on {benchmark.part:,} training images, batch sizes and threads on half as many, with "
        "as large a part of the test images, and scaled to 60,000 and 10,000. Ratios are taken within a round. With *a "
        "run on each core*, each has one thread, and the epochs of all are counted. *Images, a pass* are not scaled. "
        f"DataLoader workers of the usual loop, the fastest of 0, 1 and {benchmark.cores}: {workers}. Data type and "
        f"memory format of the floor, the fastest of four: {settings}. Layers of ours: "
        f"{machine['kernels']}."
    )


def _spread(values: list[float], form: str) -> str:
    low, high = format(min(values), form), format(max(values), form)
    return f"{median(values):{form}} ({low} to {high})"
