"""The benchmark: what an epoch costs, measured (`measure`), kept (`record`) and told (`tables`)."""

from mnist_s7.bench.record import Benchmark, BenchmarkFileError, Cost

__all__ = ["Benchmark", "BenchmarkFileError", "Cost"]
