"""What is said of a published network, and of the experiment that trains it again."""

from dataclasses import dataclass, replace

from torchvision import transforms

from mnist_s7.baselines.architecture import Architecture
from mnist_s7.experiments import Experiment
from mnist_s7.results import BEST_EPOCH
from mnist_s7.transforms import PLAIN


@dataclass(frozen=True)
class Source:
    """A repository on GitHub, as owner/name, and the commit that was read."""

    repository: str
    commit: str


@dataclass(frozen=True)
class Finals:
    """The final test accuracies of all of its authors' own runs, so many, where they publish them: their mean and
    standard deviation, in percent."""

    runs: int
    mean: float
    sd: float


@dataclass(frozen=True)
class Stated:
    """The test accuracy on MNIST that its authors state, in percent, and how they came by it.

    Where they show several, such as a best and a last epoch, it is the one that they put forward. `figure` is which of
    a run's figures it is, one of `FIGURES`, and None where it is none; `best_of` is of how many runs it is the highest.
    """

    accuracy: float
    how: str
    figure: str | None = BEST_EPOCH
    best_of: int = 1


@dataclass(frozen=True)
class Published:
    """An experiment that trains a published network again by its authors' recipe.

    `differs` says what is not as with them, apart from the seeds, the loops and the last epoch's accuracy that this
    package reports. A variant has the same source and nothing stated, and is named after the network that it is of.
    """

    experiment: Experiment
    source: Source
    stated: Stated | None
    differs: str
    variant_of: str | None = None
    finals: Finals | None = None

    def variant(
        self, what: str, change: str, stated: Stated | None = None, differs: str = "", **settings
    ) -> "Published":
        """With other settings of its experiment, named after what they are."""
        name, differs = self.experiment.name, "; ".join(filter(None, [self.differs, differs]))
        experiment = replace(self.experiment, name=f"{name}-{what}", change=change, **settings)
        return replace(self, experiment=experiment, stated=stated, differs=differs, variant_of=name)


def published(
    source: Source,
    name: str,
    stated: Stated,
    network: Architecture,
    train_transform: transforms.Compose = PLAIN,
    differs: str = "",
    finals: Finals | None = None,
    **recipe,
) -> Published:
    """The recipe holds the settings of an `Experiment` that are not its defaults: SGD with momentum 0.9 at a constant
    learning rate, batches of 128, 15 epochs."""
    experiment = Experiment(
        name=name,
        title=f"the network of {source.repository}",
        change="its authors' network and recipe",
        network=network,
        train_transform=train_transform,
        goal=stated.accuracy,
        targets=(),
        claims=(),
        reference=None,
        **recipe,
    )
    return Published(experiment, source, stated, differs, finals=finals)


def augmented_by(*augmentation) -> transforms.Compose:
    """torchvision's transforms of PIL images, and then the normalisation."""
    return transforms.Compose([*augmentation, *PLAIN.transforms])
