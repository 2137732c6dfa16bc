"""Many runs: in processes of this machine, on a Ray cluster, or several seeds in one network on a GPU.

May import `training` and what that may. Open `runs` first: which runs of a sweep are missing, made and kept. `jobs` is
what one process does, `processes` and `ray_cluster` say where it is, `locks` keep two sweeps from making the same run,
and `ensemble` trains several seeds in one network.
"""

from mnist_s7.sweep.ensemble import fit_seeds
from mnist_s7.sweep.locks import RunLocks
from mnist_s7.sweep.processes import in_processes
from mnist_s7.sweep.ray_cluster import on_ray
from mnist_s7.sweep.runs import MixedLayers, RunConflict, parse_seeds, run_sweep, stored_run

__all__ = [
    "MixedLayers",
    "RunConflict",
    "RunLocks",
    "fit_seeds",
    "in_processes",
    "on_ray",
    "parse_seeds",
    "run_sweep",
    "stored_run",
]
