"""`fit`: an experiment with one seed, from its first weights to its run."""

import contextlib
import time

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from mnist_s7.data import Digits, normalization
from mnist_s7.experiments import Experiment
from mnist_s7.kernels import accelerate
from mnist_s7.results import Run
from mnist_s7.results.machine import environment, in_fast_layout
from mnist_s7.results.progress import Lines, Silent
from mnist_s7.training.ensemble import CannotBeMerged
from mnist_s7.training.loops import (
    LossNotFinite,
    checked,
    dataloader_order,
    epoch_record,
    evaluate,
    repeatable,
    shuffled_batches,
    train_epoch,
    training_step,
)
from mnist_s7.training.soft_targets import SoftTargets
from mnist_s7.training.together import fit_seeds
from mnist_s7.transforms import batched, renormalized


def fit(
    experiment: Experiment,
    digits: Digits,
    seed: int = 1,
    epochs: int | None = None,
    device: str | torch.device | None = None,
    progress: bool | Silent = True,
) -> Run:
    """Train `experiment` on `digits`, testing after every epoch, and return the run with its trained model.

    The same seed on the same machine, with as many threads, gives the same run to the last digit. `epochs` of None
    stands for the experiment's own number, and is the maximum with early stopping; `device` of None for a CUDA GPU
    where there is one and the CPU elsewhere. `progress` says whether epochs are shown, or is what shows them.
    PyTorch's global random state is left as it was.

    Raises `LossNotFinite` when the loss turns NaN or infinite, `SoftTargetsMissing` for an experiment with
    distillation whose soft targets have not been made, `NetworkUnfit` before the first step for a network that
    does not give log-probabilities of ten digits for 28x28 images, and `InvalidArgument` for a device that is not
    there, a seed that is no whole number from 0 to 2^64 - 1, and other arguments that cannot be.
    """
    [seed], epochs, device = checked(experiment, digits, [seed], epochs, device)
    if isinstance(progress, bool):
        progress = Lines(experiment.name, epochs) if progress else Silent()
    if device.type == "cuda":
        with contextlib.suppress(CannotBeMerged):  # then PyTorch trains it, layer by layer, as below
            [run] = fit_seeds(experiment, digits, [seed], epochs, device, progress)
            if isinstance(run, LossNotFinite):
                raise run
            return run
    machine = environment(device)
    count = experiment.trained_on(len(digits.train_images))
    train_images, train_labels = digits.train_images[:count].to(device), digits.train_labels[:count].to(device)
    test_images, test_labels = digits.test_images.to(device), digits.test_labels.to(device)
    distillation, soft_targets = experiment.distillation, None
    if distillation:
        soft_targets = SoftTargets(experiment, digits)
        soft_targets.check(epochs)
    transform = batched(renormalized(experiment.train_transform, *normalization(digits.name)))
    records = []

    with repeatable(device):
        torch.manual_seed(seed)
        model = in_fast_layout(experiment.network()).to(device)
        model.trained_on = digits.name  # it wants their normalisation from now on
        generator = Generator(device).manual_seed(seed)
        optimizer = experiment.optimizer(model)
        stepping = experiment.stepping(optimizer, epochs, count)
        accelerated = accelerate(model)
        step = training_step(accelerated, optimizer, distillation.loss if distillation else F.nll_loss)

        def on_step(loss: Tensor, correct: Tensor, size: int) -> None:
            stepping.after_step()
            progress.step(loss, correct, size)

        for epoch in range(epochs):
            started = time.perf_counter()
            lr = optimizer.param_groups[0]["lr"]
            progress.epoch_starts(epoch, lr, steps=-(-len(train_images) // experiment.batch_size))
            if soft_targets:
                [batches] = soft_targets.batches(epoch, experiment.batch_size, device, [None])
            else:
                batches = shuffled_batches(train_images, train_labels, transform, experiment.batch_size, generator)
            try:
                trained = train_epoch(accelerated, batches, step, on_step)
            finally:
                progress.epoch_trained()
            trained.check(experiment.name, epoch, lr)
            tested = evaluate(accelerated, test_images, test_labels)
            tested.check(experiment.name, epoch, lr)
            dataloader_order(len(test_images))  # the reference series shuffles its test images too: the state moves on
            stepping.after_epoch(trained.loss, tested.loss)
            records.append(epoch_record(epoch, lr, trained, tested, time.perf_counter() - started))
            progress.epoch_ends(records[-1], len(test_images))
            if experiment.is_whole(records, epochs):
                break
        progress.run_ends(records)
    ran = {"kernels": accelerated.kernels, "freed_memory": accelerated.freed_memory}

    return Run(
        experiment=experiment.name,
        fingerprint=experiment.fingerprint,
        seed=seed,
        dataset=digits.name,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        environment=machine | ran,
        epochs=records,
        errors=tested.errors,
        trained_model=model,
    )
