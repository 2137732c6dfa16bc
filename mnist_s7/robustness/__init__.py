"""How networks do on corrupted test images: rotated, shifted, scaled, noisy, blurred, with other strokes or contrast.

May import `training`, `kernels`, `transforms`, `results` and `data`. Open `corruptions` first: what is done to the
images, and how strongly; `measure` classifies them, and keeps what it finds. The table of it is made in
`report.robustness`, its figure in `plots.robustness`.
"""

from mnist_s7.robustness.corruptions import CORRUPTIONS, Corruption
from mnist_s7.robustness.measure import Curve, Robustness, RobustnessFileError, measure_robustness

__all__ = ["CORRUPTIONS", "Corruption", "Curve", "Robustness", "RobustnessFileError", "measure_robustness"]
