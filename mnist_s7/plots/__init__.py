"""Every figure: functions that take runs, images or tables, and return a matplotlib `Figure`.

May import matplotlib, and of the package `results`, `receptive_field`, `bench`, `images` and `robustness`. The figures
live outside pyplot: one shows itself where a notebook's cell ends with it. Open `runs` first, the figures of one run;
`across_seeds` has those of many seeds, `published_networks` what others state beside runs of their networks, and
`images` those made of digits. `benchmark`, `layers`, `conclusions` and `robustness` have those of what they are named
for, `style` and `axes` how all of them look.
"""

from mnist_s7.plots.across_seeds import (
    ablation_study,
    accuracy_against_parameters,
    accuracy_by_epoch,
    every_seed,
    most_misclassified,
    results_figure,
)
from mnist_s7.plots.benchmark import benchmark_figure
from mnist_s7.plots.conclusions import two_data_sets
from mnist_s7.plots.distillation import soft_targets
from mnist_s7.plots.images import (
    augmentation_grid,
    confident_errors,
    disagreements,
    effective_fields,
    predictions,
    receptive_fields,
)
from mnist_s7.plots.layers import layers_figure
from mnist_s7.plots.published_networks import claims_figure, selection_figure
from mnist_s7.plots.robustness import robustness_figure
from mnist_s7.plots.runs import accuracy_per_digit, compare_curves, confusion_matrix, training_curves
from mnist_s7.plots.search import search_figure
from mnist_s7.plots.style import write_figure

__all__ = [
    "ablation_study",
    "accuracy_against_parameters",
    "accuracy_by_epoch",
    "accuracy_per_digit",
    "augmentation_grid",
    "benchmark_figure",
    "claims_figure",
    "compare_curves",
    "confident_errors",
    "confusion_matrix",
    "disagreements",
    "effective_fields",
    "every_seed",
    "layers_figure",
    "most_misclassified",
    "predictions",
    "receptive_fields",
    "results_figure",
    "robustness_figure",
    "search_figure",
    "selection_figure",
    "soft_targets",
    "training_curves",
    "two_data_sets",
    "write_figure",
]
