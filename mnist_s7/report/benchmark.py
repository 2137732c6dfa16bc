"""A benchmark as Markdown tables, with how it was measured."""

from statistics import median

from mnist_s7.bench import Benchmark, LayerCosts, Pass, benchmark_file
from mnist_s7.catalog import EXPERIMENTS
from mnist_s7.report.markdown import Markdown, table

SHORTEST = 5e-5  # seconds: of what is shorter, most is the call

LOOPS = {
    "baseline": "baseline loop",
    "in_memory": "in-memory loop, PyTorch's layers",
    "torch_compile": "in-memory loop, torch.compile",
    "jax": "in-memory loop, JAX",
    "package": "in-memory loop, compiled layers",
    "convolutions": "PyTorch's convolutions alone",
}


def benchmark_figure_name(benchmark: Benchmark) -> str:
    """Of its file, in the folder of the notebooks or of one's own runs."""
    return benchmark_file(benchmark.instruction_set).replace(".json", ".png")


def costs(benchmark: Benchmark) -> Markdown:
    """Seconds per epoch of each loop: medians of the rounds."""
    rows = (
        (name, *(f"{median(found):.1f}" if (found := getattr(cost, loop)) else "" for cost in benchmark.costs.values()))
        for loop, name in _measured(benchmark)
    )
    return table(("seconds per epoch", *benchmark.costs), rows)


def ratios(benchmark: Benchmark) -> Markdown:
    """How many times the seconds of this package the other loops take: medians of the rounds, and their range."""
    rows = (
        (name, *(_median(cost.ratios(loop, "package"), ".1f") for cost in benchmark.costs.values()))
        for loop, name in _measured(benchmark)
        if loop != "package"
    )
    return table(("seconds, relative to the compiled layers", *benchmark.costs), rows)


def _measured(benchmark: Benchmark) -> list[tuple[str, str]]:
    """Those of `LOOPS` that at least one experiment has."""
    costs = benchmark.costs.values()
    return [(loop, name) for loop, name in LOOPS.items() if any(getattr(cost, loop) for cost in costs)]


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
    settings = ", ".join(f"{cost.convolutions_setting} ({name})" for name, cost in benchmark.costs.items())
    return (
        f"{benchmark.processor}, {benchmark.cores} cores, {machine['system']}, Python {machine['python']}, torch "
        f"{machine['torch']}, float32. Medians of {benchmark.rounds} interleaved rounds, with their range where one is "
        f"given, each measured on {benchmark.part:,} training images, batch sizes and threads on half as many, with "
        "as large a part of the test images, and scaled to 60,000 and 10,000. Ratios are taken within a round. With "
        "one process per core, each has one thread, and the epochs of all are counted. A pass over so many images is "
        f"not scaled. DataLoader workers of the baseline, the fastest of 0, 1 and {benchmark.cores}: {workers}. Data "
        f"type and memory format of PyTorch's convolutions alone, the fastest of four: {settings}. torch.compile is "
        f"measured after it has compiled.{_in_jax(benchmark)}{_on_labels(benchmark)} Layers of this package: "
        f"{machine['kernels']}."
    )


def _on_labels(benchmark: Benchmark) -> str:
    taught = [name for name in benchmark.costs if name in EXPERIMENTS and EXPERIMENTS[name].distillation]
    return f" On labels, not soft targets, which are made once: {', '.join(taught)}." if taught else ""


def _in_jax(benchmark: Benchmark) -> str:
    missing = [name for name, cost in benchmark.costs.items() if not cost.jax]
    if len(missing) == len(benchmark.costs):
        return ""
    without = f", without {', '.join(missing)}, whose layers or optimiser are not there" if missing else ""
    return f" JAX, too, on an eighth of the images{without}."


def layers(costs: LayerCosts) -> Markdown:
    """Each layer's milliseconds in a step, and how many times their bound that is."""

    def cells(each: Pass) -> tuple[str, ...]:
        bound = each.bound(costs.peak, costs.bandwidth)
        times = f"{each.seconds / bound:.1f}" if each.seconds >= SHORTEST else ""
        return f"{each.flop / 1e6:.1f}", f"{each.bytes / 1e6:.1f}", f"{1e3 * each.seconds:.2f}", times

    columns = "MFLOP", "MB", "ms", "times the bound"
    header = "layer", *(f"{way}: {name}" for way in ("forward", "backward") for name in columns)
    return table(header, ((layer.name, *cells(layer.forward), *cells(layer.backward)) for layer in costs.layers))


def layers_in_words(costs: LayerCosts) -> str:
    """The step as a whole, and what the bound is."""
    times, of_step = costs.in_c / costs.arithmetic, costs.step / costs.arithmetic
    return (
        f"{costs.experiment}, a training step on {costs.batch_size} images, one core of {costs.device}: "
        f"{1e3 * costs.step:.1f} ms, of which layers in C take {1e3 * costs.in_c:.1f}. Their arithmetic alone takes "
        f"{1e3 * costs.arithmetic:.1f} ms at the measured peak of {costs.peak / 1e9:.0f} GFLOP/s, so the layers take "
        f"{times:.1f} and the step {of_step:.1f} times as long. The bound of a layer is the longer of two times: of "
        "its multiplications and additions at that peak, and of reading and writing its feature maps at the "
        f"{costs.bandwidth / 1e9:.0f} GB/s of copying 4 MB; {1e3 * costs.bound:.1f} ms in all. BatchNorm, ReLU and "
        "dropout are done with the layer after them, and are not in the bound. Medians."
    )


def _median(values: list[float], form: str) -> str:
    """Empty where nothing was measured."""
    if not values:
        return ""
    low, high = format(min(values), form), format(max(values), form)
    return f"{median(values):{form}} ({low} to {high})"
