"""Tables and sentences made from runs: the notebooks, the README and the results page say nothing by hand.

May import every room but `sweep`. Open `iteration` first, which says of one run whether it met its targets;
`across_seeds` asks the same of many seeds, `benchmark` and `deployed` have the tables of a benchmark and of deployed
networks, `published_networks` those of the networks of others, `selection` what choosing on the test set adds,
`robustness` that of corrupted images, `fashion` what holds on Fashion-MNIST, `distillation` what is shown of teachers,
`trials` those by which a recipe was chosen, and `markdown` is what all of them are written in. `stored` reads and
checks the published runs. `readme` and `results_page` make the generated parts of those pages, and `pages` writes and
checks them. `notebooks` executes the notebooks, in `jupyter_kernels` and with `notebook_progress`; `notebook_cells` is
what their cells call besides tables and plots.
"""

from mnist_s7.report.across_seeds import (
    ablation_table,
    ablations,
    against_previous,
    means,
    rank_among_seeds,
    replication,
)
from mnist_s7.report.distillation import soft_targets, teachers
from mnist_s7.report.fashion import fashion_figure, fashion_report
from mnist_s7.report.iteration import (
    analysis,
    architecture,
    changes,
    comparison,
    source,
    summary,
    targets,
    verdicts,
)
from mnist_s7.report.markdown import Markdown
from mnist_s7.report.notebook_cells import (
    augmentation,
    check_rerun,
    claims_figure,
    confident_errors,
    digits,
    effective_fields,
    most_misclassified,
    save,
    shown_runs,
)
from mnist_s7.report.published_networks import claims_table, place, public_comparison, variants_table
from mnist_s7.report.robustness import robustness_report, stored_robustness
from mnist_s7.report.selection import selection_table, selections
from mnist_s7.report.stored import baseline_runs, series, series_runs, stored_runs, validation_runs
from mnist_s7.report.trials import search, search_figure

__all__ = [
    "Markdown",
    "ablation_table",
    "ablations",
    "against_previous",
    "analysis",
    "architecture",
    "augmentation",
    "baseline_runs",
    "changes",
    "check_rerun",
    "claims_figure",
    "claims_table",
    "comparison",
    "confident_errors",
    "digits",
    "effective_fields",
    "fashion_figure",
    "fashion_report",
    "means",
    "most_misclassified",
    "place",
    "public_comparison",
    "rank_among_seeds",
    "replication",
    "robustness_report",
    "save",
    "search",
    "search_figure",
    "selection_table",
    "selections",
    "series",
    "series_runs",
    "shown_runs",
    "soft_targets",
    "source",
    "stored_robustness",
    "stored_runs",
    "summary",
    "targets",
    "teachers",
    "validation_runs",
    "variants_table",
    "verdicts",
]
