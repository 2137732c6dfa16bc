"""The benchmark: seconds per epoch of several training loops, measured and kept.

May import `training` and what that may, `kernels` above all. Open `record` first: what a benchmark's file holds;
`measure` fills it. `layers` measures a step layer by layer. Tables are made in `report.benchmark`, figures in
`plots.benchmark` and `plots.layers`.
"""

from mnist_s7.bench.record import (
    Benchmark,
    BenchmarkFileError,
    Cost,
    LayerCost,
    LayerCosts,
    Pass,
    benchmark_file,
    stored_benchmarks,
)

__all__ = [
    "Benchmark",
    "BenchmarkFileError",
    "Cost",
    "LayerCost",
    "LayerCosts",
    "Pass",
    "benchmark_file",
    "stored_benchmarks",
]
