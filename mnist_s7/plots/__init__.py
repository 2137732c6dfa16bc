"""Every figure: functions that take runs, images or tables, and return a matplotlib `Figure`.

The figures live outside pyplot: one shows itself where a notebook's cell ends with it.
"""

from mnist_s7.plots.benchmark import benchmark_picture
from mnist_s7.plots.images import augmentation_grid, confident_errors, disagreements, effective_fields, field_growth
from mnist_s7.plots.runs import (
    accuracy_per_digit,
    compare_curves,
    confusion_matrix,
    training_curves,
)
from mnist_s7.plots.seeds import (
    against_published,
    bands,
    every_seed,
    most_missed,
    results_picture,
    worth_of_changes,
)

__all__ = [
    "accuracy_per_digit",
    "against_published",
    "augmentation_grid",
    "bands",
    "benchmark_picture",
    "compare_curves",
    "confident_errors",
    "confusion_matrix",
    "disagreements",
    "effective_fields",
    "every_seed",
    "field_growth",
    "most_missed",
    "results_picture",
    "training_curves",
    "worth_of_changes",
]
