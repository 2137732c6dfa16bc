"""Training: `fit` for one seed, `fit_seeds` for several at once, and the loops that both are made of.

May import experiments and catalog, data, transforms, schedules, kernels and results. Open `fit` first. `loops` has its
parts: batches, steps, epochs, and the test. `together` trains the networks of several seeds as one, which is how a GPU
is used; `ensemble` is that network, of `ensemble_layers`, and `rates` are its learning rates. `soft_targets` are what
the teachers of an experiment with a `Distillation` say.
"""

from mnist_s7.training.ensemble import CannotBeMerged
from mnist_s7.training.fit import fit
from mnist_s7.training.loops import (
    Evaluation,
    LossNotFinite,
    Steps,
    evaluate,
    evaluation,
    predict,
    shuffled_batches,
    train_epoch,
    training_step,
    whole_number,
)
from mnist_s7.training.soft_targets import TEACHERS, SoftTargets, SoftTargetsMissing
from mnist_s7.training.together import fit_seeds

__all__ = [
    "TEACHERS",
    "CannotBeMerged",
    "Evaluation",
    "LossNotFinite",
    "SoftTargets",
    "SoftTargetsMissing",
    "Steps",
    "evaluate",
    "evaluation",
    "fit",
    "fit_seeds",
    "predict",
    "shuffled_batches",
    "train_epoch",
    "training_step",
    "whole_number",
]
