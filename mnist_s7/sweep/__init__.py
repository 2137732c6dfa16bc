"""Many runs: in processes of this machine or on a Ray cluster, on a GPU several seeds at once.

May import `training` and what that may. Open `runs` first: which runs of a sweep are missing, made and kept. `jobs` is
what one process does, `processes` and `ray_cluster` say where it is, and `locks` keep two sweeps from making the same
run. `teachers` are trained like other networks, and say what another is trained on.
"""

from mnist_s7.sweep.locks import RunLocks
from mnist_s7.sweep.processes import in_processes
from mnist_s7.sweep.ray_cluster import on_ray
from mnist_s7.sweep.runs import MixedLayers, RunConflict, parse_seeds, run_sweep, stored_run
from mnist_s7.sweep.teachers import TeachersMissing, teach, teacher_of

__all__ = [
    "MixedLayers",
    "RunConflict",
    "RunLocks",
    "TeachersMissing",
    "in_processes",
    "on_ray",
    "parse_seeds",
    "run_sweep",
    "stored_run",
    "teach",
    "teacher_of",
]
