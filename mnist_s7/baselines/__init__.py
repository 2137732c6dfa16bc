"""Networks with fewer than 10,000 parameters that others have published, as experiments that train them again.

May import `transforms`, `schedules`, `optimizers`, `experiments` and `results`. Open `below_5k` first, whose networks
are in the words that `notation` reads, each with the recipe of its authors and what they state; `below_7k` and
`below_10k` go on. `published` says what is kept of each, `architecture` builds a network, and `layers` has what PyTorch
lacks for that.

All was read in the repositories that are named, at the commits that are named; no code of theirs is here.
"""

from mnist_s7.baselines.below_5k import BELOW_5K
from mnist_s7.baselines.below_7k import BELOW_7K
from mnist_s7.baselines.below_10k import BELOW_10K
from mnist_s7.baselines.notation import NotationError
from mnist_s7.baselines.published import Published, Source, Stated

PUBLISHED_NETWORKS = (*BELOW_5K, *BELOW_7K, *BELOW_10K)
BASELINES = tuple(each.experiment for each in PUBLISHED_NETWORKS)

__all__ = ["BASELINES", "PUBLISHED_NETWORKS", "NotationError", "Published", "Source", "Stated"]
