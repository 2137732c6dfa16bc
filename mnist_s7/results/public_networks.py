"""Networks of a similar size that others have published, with the figures that they state."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PublicNetwork:
    """A network's test accuracy on MNIST as its authors state it.

    `source` is its GitHub repository. `accuracy` is in percent and `sd`, of runs, in percentage points; None where it
    is not stated. `measured` says what the accuracy is, as far as that is stated.
    """

    source: str
    parameters: int
    accuracy: float
    sd: float | None
    measured: str


PUBLIC_NETWORKS = (
    PublicNetwork("JoshWarn/Parameter-Efficient-MNIST", 997, 98.76, 0.105, "mean of 223 runs"),
    PublicNetwork("ruslangrimov/mnist-minimal-model", 1_936, 99.10, None, "one run, final epoch"),
    PublicNetwork("adilsammar/woolly-of-cv", 3_762, 99.52, None, "one run; a sibling run: 99.19 %"),
    PublicNetwork("nagalakshmi-nimmagadda/MNIST-CNN-COLAB", 6_188, 99.44, None, "final epoch"),
    PublicNetwork("cdeotte/MNIST-CNN-99.75", 326_000, 99.641, 0.047, "mean of 1,500 runs"),
)
