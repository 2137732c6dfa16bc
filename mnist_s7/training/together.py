"""Several seeds of one experiment, trained at once in one network that holds a network for each."""

import time
from collections.abc import Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from mnist_s7 import InvalidArgument
from mnist_s7.data import Digits, normalization
from mnist_s7.experiments import Experiment
from mnist_s7.kernels import keep_freed_memory, kernels_on
from mnist_s7.kernels.cuda_graphs import CapturedStep, Step
from mnist_s7.results import Run
from mnist_s7.results.machine import environment
from mnist_s7.results.progress import Silent
from mnist_s7.training.ensemble import CannotBeMerged, Ensemble, check_ensemble
from mnist_s7.training.loops import (
    Evaluation,
    LossNotFinite,
    Steps,
    checked,
    dataloader_order,
    epoch_record,
    evaluation,
    prepared_at_once,
    repeatable,
    shuffled_parts,
    train_epoch,
)
from mnist_s7.training.rates import Rates
from mnist_s7.training.soft_targets import SoftTargets
from mnist_s7.transforms import batched, normalize, renormalized

TESTED_AT_ONCE = 20_000  # images, of all networks


def fit_seeds(
    experiment: Experiment,
    digits: Digits,
    seeds: Sequence[int],
    epochs: int | None = None,
    device: str | torch.device | None = None,
    progress: Silent | None = None,
) -> list[Run | LossNotFinite]:
    """Train `experiment` once with each of `seeds`, all at once, and return a run for each, with its trained model.

    Each has its own initialisation, shuffling, augmentation and dropout; but with a `Distillation` all see the same
    augmented images. On a CPU they are those of `fit` with that seed, and so is the run within rounding, where C does
    all dropout; on a GPU dropout draws other numbers, and so does augmentation without a `Distillation`. An epoch's
    seconds are those of all seeds together. It is for GPUs, which one such network leaves idle: on a CPU, a process for
    each core is faster. `progress` shows the mean figures of all seeds while an epoch lasts, and the first seed's after
    it.

    A seed whose loss turns NaN or infinite has its `LossNotFinite` in the place of a run, and the others go on.

    Raises as `fit` otherwise, and `InvalidArgument` for no seeds, and `CannotBeMerged`, which is one, for a network
    of which several cannot be trained as one, and for several with early stopping, which ends each at its own time.
    """
    if not seeds:
        raise InvalidArgument("no seeds: give at least one")
    seeds, epochs, device = checked(experiment, digits, seeds, epochs, device)
    check_ensemble(experiment.name, experiment.network)
    if experiment.early_stopping and len(seeds) > 1:
        raise CannotBeMerged(f"{experiment.name}: early stopping ends each run at its own time; train one at a time")
    progress = progress or Silent()
    keeps = device.type == "cpu" and keep_freed_memory()
    machine = environment(device) | {"freed_memory": "kept" if keeps else "given back", "seeds_together": len(seeds)}
    records = [[] for _ in seeds]
    lost: dict[int, LossNotFinite] = {}  # by the place of their seeds

    with repeatable(device):
        training = _Training(experiment, digits, seeds, epochs, device)
        for epoch in range(epochs):
            started, lrs = time.perf_counter(), training.rates.of_networks()
            progress.epoch_starts(epoch, lrs[0], training.steps)
            try:
                trained = training.train(epoch, progress)
            finally:
                progress.epoch_trained()
            tested = training.test()
            training.rates.after_epoch([steps.loss for steps in trained], [each.loss for each in tested])
            seconds = time.perf_counter() - started
            for i, (steps, each) in enumerate(zip(trained, tested, strict=True)):
                try:
                    steps.check(experiment.name, epoch, lrs[i])
                    each.check(experiment.name, epoch, lrs[i])
                except LossNotFinite as error:
                    lost.setdefault(i, error)
                records[i].append(epoch_record(epoch, lrs[i], steps, each, seconds))
            if len(lost) == len(seeds):
                return [lost[i] for i in range(len(seeds))]
            progress.epoch_ends(records[0][-1], len(digits.test_images))
            if experiment.is_whole(records[0], epochs):
                break
        progress.run_ends(records[0])
        models = training.models()
    machine["kernels"] = training.kernels

    return [
        lost.get(i)
        or Run(
            experiment=experiment.name,
            fingerprint=experiment.fingerprint,
            seed=seed,
            dataset=digits.name,
            parameters=sum(parameter.numel() for parameter in one.parameters()),
            environment=machine,
            epochs=epochs_of_one,
            errors=each.errors,
            trained_model=one.to(device, memory_format=torch.channels_last),
        )
        for i, (seed, one, epochs_of_one, each) in enumerate(zip(seeds, models, records, tested, strict=True))
    ]


class _Training:
    """S networks at their training, each with the random numbers of its seed."""

    def __init__(self, experiment: Experiment, digits: Digits, seeds: Sequence[int], epochs: int, device: torch.device):
        self.experiment, self.device, self.dataset = experiment, device, digits.name
        count = experiment.trained_on(len(digits.train_images))
        self.images, self.labels = digits.train_images[:count].to(device), digits.train_labels[:count].to(device)
        self.test_images, self.test_labels = digits.test_images.to(device), digits.test_labels.to(device)
        self.transform = batched(renormalized(experiment.train_transform, *normalization(digits.name)))
        self.alone, self.orders = zip(*(_initialised(experiment, seed) for seed in seeds), strict=True)
        self.augmenting = [Generator(device).manual_seed(seed) for seed in seeds]
        self.ensemble = Ensemble(self.alone, self.orders if device.type == "cpu" else self.augmenting, device)
        self.soft_targets = SoftTargets(experiment, digits) if experiment.distillation else None
        if self.soft_targets:
            self.soft_targets.check(epochs)
        self.steps = -(-count // experiment.batch_size)  # of an epoch
        self.rates = Rates(experiment, len(seeds), epochs, count, device)
        step = _training_step(self.ensemble, experiment, self.rates)
        self.step = CapturedStep(step) if device.type == "cuda" else step

    def train(self, epoch: int, progress: Silent) -> list[Steps]:
        """An epoch: the steps of each network."""

        def at_its_rate(*batch: Tensor) -> tuple[Tensor, Tensor]:
            self.rates.fill()
            return self.step(*batch)

        def on_step(losses: Tensor, correct: Tensor, size: int) -> None:
            self.rates.after_step()
            progress.step(losses, correct, size)

        batch_size = self.experiment.batch_size
        if self.soft_targets:
            at_once = prepared_at_once(batch_size, self.device)
            parts = self.soft_targets.batches(epoch, at_once, self.device, self.orders)
        else:
            parts = [
                shuffled_parts(self.images, self.labels, self.transform, batch_size, *own)
                for own in zip(self.augmenting, self.orders, strict=True)
            ]
        trained = train_epoch(self.ensemble, _batches_together(parts, batch_size), at_its_rate, on_step)
        each = zip(trained.losses.unbind(1), trained.correct.unbind(1), strict=True)
        return [Steps(losses, correct, trained.sizes) for losses, correct in each]

    def test(self) -> list[Evaluation]:
        found = _predict(self.ensemble, self.test_images, normalization(self.dataset))
        for order in self.orders:
            dataloader_order(len(self.test_images), order)  # as in `fit`
        return [evaluation(each, self.test_labels) for each in found]

    def models(self) -> tuple[nn.Module, ...]:
        """The networks, trained."""
        self.ensemble.give_back(self.alone)
        for model in self.alone:
            model.trained_on = self.dataset  # as in `fit`
        return self.alone

    @property
    def kernels(self) -> str:
        """Known only after the steps, since a capture can fail."""
        return kernels_on(self.device, captured=isinstance(self.step, CapturedStep) and self.step.works)


def _training_step(ensemble: Ensemble, experiment: Experiment, rates: Rates) -> Step:
    """A step of S networks: of (S, B, 1, 28, 28) inputs and (S, B) labels, the (S,) mean losses and right images."""
    state = experiment.algorithm.state(ensemble.weights)
    losses = experiment.distillation.losses if experiment.distillation else _negative_log_likelihoods

    def step(inputs: Tensor, labels: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
        log_probabilities = ensemble(inputs)
        loss = losses(log_probabilities, labels, *others).mean(1)
        # Each loss moves its own weights; what a network does not use gets gradients of 0.
        gradients = torch.autograd.grad(loss.sum(), ensemble.views, materialize_grads=True)
        gradient = torch.cat([each.reshape(ensemble.size, -1) for each in gradients], dim=1)
        with torch.no_grad():
            settings = rates.lr, rates.momentum, experiment.nesterov, experiment.weight_decay
            experiment.algorithm.step(ensemble.weights, gradient, state, *settings)
        return loss.detach(), (log_probabilities.detach().argmax(-1) == labels).sum(1)

    return step


def _negative_log_likelihoods(log_probabilities: Tensor, labels: Tensor) -> Tensor:
    """Of each image: (S, B, 10) and (S, B) -> (S, B)."""
    return F.nll_loss(log_probabilities.flatten(0, 1), labels.flatten(), reduction="none").view_as(labels)


def _initialised(experiment: Experiment, seed: int) -> tuple[nn.Module, Generator]:
    """A seed's network, and a generator that goes on from its initialisation, as the global one does in `fit`."""
    torch.manual_seed(seed)
    model = experiment.network()
    return model, Generator().set_state(torch.get_rng_state())


def _batches_together(parts: Iterable[Iterator[tuple[Tensor, ...]]], size: int) -> Iterator[tuple[Tensor, ...]]:
    """(C, 1, 28, 28) inputs, (C,) labels, ... of each of S -> (S, size, 1, 28, 28), (S, size), ..., of C many.

    Parts are put together, and not batches: that is some hundred calls in an epoch, and not in a step.
    """
    for several in zip(*parts, strict=True):
        together = map(torch.stack, zip(*several, strict=True))
        yield from zip(*(each.split(size, dim=1) for each in together), strict=True)


def _predict(ensemble: Ensemble, images: Tensor, constants: tuple[float, float]) -> Tensor:
    """(S, N, 10) log-probabilities of S networks for uint8 (N, 28, 28) `images`."""
    ensemble.eval()
    at_once = max(1, TESTED_AT_ONCE // ensemble.size)
    with torch.inference_mode():
        parts = [ensemble(normalize(part.unsqueeze(1), *constants)) for part in images.split(at_once)]
    return torch.cat(parts, dim=1)
