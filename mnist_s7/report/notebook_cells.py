"""What the notebooks call besides tables and plots: digits, their run's file, and figures that need the digits."""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure

from mnist_s7 import plots
from mnist_s7.data import Digits, digits_or_synthetic, normalization
from mnist_s7.experiments import Experiment
from mnist_s7.receptive_field import effective_receptive_field, receptive_field
from mnist_s7.report.markdown import Markdown
from mnist_s7.report.published_networks import checked_claims
from mnist_s7.report.stored import series, series_runs
from mnist_s7.results import (
    MNIST,
    RUNS,
    Run,
    Runs,
    check_against_stored,
    misclassified,
    results_folder,
    stored_folder,
    trained,
)
from mnist_s7.training import predict
from mnist_s7.transforms import augmented, normalize


def digits() -> Digits:
    """`digits_or_synthetic()`, and a line that says what they are."""
    found = digits_or_synthetic()
    print(f"{found.name}: {len(found.train_images):,} training and {len(found.test_images):,} test images")
    return found


def augmentation(experiment: Experiment, digits: Digits) -> Figure:
    """The first 20 training images, and what the iteration's transforms make of them."""
    before, labels = digits.train_images[:20], digits.train_labels[:20]
    after = augmented(before, experiment.train_transform, seed=1)
    return plots.augmentation_grid(before, after, labels, f"Training images of {experiment.name}", digits.name)


def save(run: Run) -> str:
    """Write the run's file, where MNIST_S7_RESULTS says or else to runs/results, and return its name."""
    return run.save(results_folder(RUNS)).name


def check_rerun(run: Run) -> Markdown:
    """How far the run is from the stored one of its name, and what is allowed. Raises `RunDiffers` outside of that."""
    return Markdown(check_against_stored(run))


def shown_runs(digits: Digits) -> dict[str, Run]:
    """A run of each iteration that has one on these digits: from where MNIST_S7_RESULTS says, or a published one."""
    return series_runs(results_folder(stored_folder(digits.name) or RUNS), dataset=digits.name)


def confident_errors(run: Run, digits: Digits) -> Figure:
    """The 20 test images that the run's model gets most confidently wrong."""
    return plots.confident_errors(
        digits.test_images,
        digits.test_labels,
        predict(run.model, digits.test_images),
        f"The test images that {run.experiment} gets most confidently wrong",
        dataset=digits.name,
    )


def most_misclassified(runs: Sequence[Run], digits: Digits) -> Figure | None:
    """The test images that `runs`, which are on MNIST, most often get wrong; None where `digits` are others."""
    if digits.name != MNIST:
        return None
    return plots.most_misclassified(digits.test_images, digits.test_labels, misclassified(runs), len(trained(runs)))


def claims_figure(runs: Runs, baselines: Runs) -> Figure | None:
    """Each claim beside our runs of its network, and the series among them; None where there are no such runs."""
    claims = checked_claims(baselines)
    return plots.claims_figure(claims, series(runs)) if claims else None


def effective_fields(experiment: Experiment, run: Run, digits: Digits) -> Figure:
    """The effective receptive field of a central unit, on 500 test images, before training and after."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)  # the weights that the training started from
        untrained = experiment.network()
    images = normalize(digits.test_images[:500].unsqueeze(1), *normalization(digits.name))
    before, after = (effective_receptive_field(model, images) for model in (untrained, run.model))
    return plots.effective_fields(before, after, receptive_field(untrained), digits.name)
