"""The iterations with one part changed, for ablation studies. They have no targets and no claims of their own."""

from dataclasses import replace
from functools import partial

from torchvision import transforms

from mnist_s7.experiments import SERIES, T2, T3, T4, T5, Experiment
from mnist_s7.models import (
    MnistNet_2,
    MnistNet_3,
    MnistNet_4,
    MnistNet_5,
    standard_convolutions,
    with_dropout,
    with_max_pools,
    without_batchnorm,
    without_skips,
)
from mnist_s7.transforms import PLAIN


def _variant(experiment: Experiment, what: str, change: str, **changes) -> Experiment:
    name = f"{experiment.name}-{what}"
    return replace(experiment, name=name, change=change, targets=(), claims=(), reference=None, **changes)


def _rotated_by(kind: type) -> transforms.Compose:
    """T3's transforms with one of its two rotations."""
    rotations = (transforms.RandomRotation, transforms.RandomAffine)
    return transforms.Compose(
        [t for t in T3.train_transform.transforms if isinstance(t, kind) or not isinstance(t, rotations)]
    )


ABLATIONS = (
    _variant(T2, "dropout-0.01", "dropout 0.01 instead of 0.05", network=partial(MnistNet_2, dropout=0.01)),
    _variant(T3, "dropout-0.05", "dropout 0.05 instead of 0.01", network=partial(MnistNet_3, dropout=0.05)),
    _variant(T3, "no-batchnorm", "no BatchNorm", network=without_batchnorm),
    _variant(T3, "no-augmentation", "no augmentation", train_transform=PLAIN),
    _variant(
        T3, "rotation-7", "the rotation by up to 7° alone", train_transform=_rotated_by(transforms.RandomRotation)
    ),
    _variant(
        T3, "rotation-15", "the rotation by up to 15° alone", train_transform=_rotated_by(transforms.RandomAffine)
    ),
    _variant(T4, "6.5K", "narrower, to T3's size", network=partial(MnistNet_4, widths=(16, 28, 28, 36))),
    _variant(T4, "5K", "narrower, to 5,000 parameters", network=partial(MnistNet_4, widths=(12, 24, 24, 32))),
    _variant(T4, "4K", "narrower, to half the parameters", network=partial(MnistNet_4, widths=(12, 20, 20, 28))),
    _variant(T4, "no-skip", "no skip connections", network=without_skips),
    _variant(T4, "standard", "as many parameters in standard 3x3 convolutions", network=standard_convolutions),
    _variant(T4, "rotations", "T3's two rotations, no shifts or scaling", train_transform=T3.train_transform),
    _variant(
        T4,
        "StepLR",
        "T3's learning rate and schedule, no Nesterov momentum",
        lr=T3.lr,
        schedule=T3.schedule,
        nesterov=T3.nesterov,
    ),
    _variant(T4, "no-weight-decay", "no weight decay", weight_decay=0.0),
    _variant(T4, "dropout-0.01", "T3's dropout added", network=with_dropout),
    _variant(T5, "labels", "no teachers: trained on labels", distillation=None),
    _variant(T5, "T4-network", "T4's network", network=MnistNet_4),
    _variant(T5, "max-pools", "max pools, as in T4", network=with_max_pools),
    _variant(
        T5,
        "temperature-1",
        "the teachers' probabilities as they are",
        distillation=replace(T5.distillation, temperature=1.0),
    ),
    _variant(T5, "one-teacher", "one teacher instead of four", distillation=replace(T5.distillation, teachers=1)),
    _variant(T5, "6.5K", "narrower, to T3's size", network=partial(MnistNet_5, widths=(16, 28, 36))),
    _variant(T5, "4K", "narrower, to half the parameters", network=partial(MnistNet_5, widths=(12, 20, 28))),
    _variant(T5, "3K", "narrower, to 3,000 parameters", network=partial(MnistNet_5, widths=(10, 16, 24))),
)


def base_of(variant: Experiment) -> Experiment:
    """The iteration that one of `ABLATIONS` is a variant of."""
    return next(experiment for experiment in SERIES if experiment.name == variant.name.partition("-")[0])


def narrower(experiment: Experiment) -> list[Experiment]:
    """The variants of an iteration whose networks are its own with fewer channels, the largest first."""
    own = [variant for variant in ABLATIONS if base_of(variant) is experiment]
    return [variant for variant in own if "widths" in getattr(variant.network, "keywords", ())]
