"""The benchmark: seconds per epoch of several training loops, measured and kept.

May import `training` and what that may, `kernels` above all. Open `record` first: what a benchmark's file holds;
`measure` fills it. Tables of it are made in `report.benchmark`, its figure in `plots.benchmark`.
"""

from mnist_s7.bench.record import Benchmark, BenchmarkFileError, Cost

__all__ = ["Benchmark", "BenchmarkFileError", "Cost"]
