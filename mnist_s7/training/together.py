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
from mnist_s7.schedules import Stepped
from mnist_s7.training.joined import Joined
from mnist_s7.training.loops import (
    LossNotFinite,
    Steps,
    checked,
    dataloader_order,
    epoch_record,
    evaluation,
    repeatable,
    shuffled_batches,
    train_epoch,
)
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

    Each has its own initialisation, shuffling, augmentation and dropout. On a CPU they are those of `fit` with that
    seed, and so is the run within rounding; on a GPU augmentation and dropout draw other numbers. An epoch's seconds
    are those of all seeds together. It is for GPUs, which one such network leaves idle: on a CPU, a process for each
    core is faster. `progress` shows the mean figures of all seeds while an epoch lasts, and the first seed's after it.

    A seed whose loss turns NaN or infinite has its `LossNotFinite` in the place of a run, and the others go on.

    Raises as `fit` otherwise, and `InvalidArgument` for no seeds, or for a network that cannot be joined.
    """
    if not seeds:
        raise InvalidArgument("no seeds: give at least one")
    seeds, epochs, device = checked(experiment, digits, seeds, epochs, device)
    progress = progress or Silent()
    keeps = device.type == "cpu" and keep_freed_memory()
    machine = environment(device) | {"freed_memory": "kept" if keeps else "given back", "seeds_together": len(seeds)}
    count = experiment.trained_on(len(digits.train_images))
    train_images, train_labels = digits.train_images[:count].to(device), digits.train_labels[:count].to(device)
    test_images, test_labels = digits.test_images.to(device), digits.test_labels.to(device)
    transform = batched(renormalized(experiment.train_transform, *normalization(digits.name)))
    records = [[] for _ in seeds]
    lost: dict[int, LossNotFinite] = {}  # by the place of their seeds

    with repeatable(device):
        models, own = zip(*(_initialised(experiment, seed) for seed in seeds), strict=True)
        augmenting = [Generator(device).manual_seed(seed) for seed in seeds]
        joined = Joined(models, own if device.type == "cpu" else augmenting, device)
        rates = Rates(experiment, len(seeds), epochs, count, device)
        step = _training_step(joined, experiment, rates)
        captured = CapturedStep(step) if device.type == "cuda" else step

        def at_its_rate(inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            rates.fill()
            return captured(inputs, labels)

        def on_step(losses: Tensor, correct: Tensor, size: int) -> None:
            rates.after_step()
            progress.step(losses, correct, size)

        for epoch in range(epochs):
            started = time.perf_counter()
            lrs = rates.of_networks()
            batches = (
                shuffled_batches(train_images, train_labels, transform, experiment.batch_size, generator, order)
                for generator, order in zip(augmenting, own, strict=True)
            )
            progress.epoch_starts(epoch, lrs[0], steps=-(-count // experiment.batch_size))
            try:
                trained = train_epoch(joined, _batches_together(batches), at_its_rate, on_step)
            finally:
                progress.epoch_trained()
            tested = [
                evaluation(each, test_labels) for each in _predict(joined, test_images, normalization(digits.name))
            ]
            for order in own:
                dataloader_order(len(test_images), order)  # as in `fit`
            of_each = [Steps(trained.losses[:, i], trained.correct[:, i], trained.sizes) for i in range(len(seeds))]
            rates.after_epoch([steps.loss for steps in of_each])
            seconds = time.perf_counter() - started
            for i, (steps, each) in enumerate(zip(of_each, tested, strict=True)):
                try:
                    steps.check(experiment.name, epoch, lrs[i])
                    each.check(experiment.name, epoch, lrs[i])
                except LossNotFinite as error:
                    lost.setdefault(i, error)
                records[i].append(epoch_record(epoch, lrs[i], steps, each, seconds))
            if len(lost) == len(seeds):
                return [lost[i] for i in range(len(seeds))]
            progress.epoch_ends(records[0][-1], len(test_images))
        progress.run_ends(records[0])
        joined.give_back(models)
    machine["kernels"] = kernels_on(device, captured=isinstance(captured, CapturedStep) and captured.works)
    for model in models:
        model.trained_on = digits.name

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


class Rates:
    """The learning rates and the momentum of S networks, as tensors that stay and as the schedule has them.

    A schedule that goes by the training loss gives each network a rate of its own; others give all the same.
    """

    def __init__(self, experiment: Experiment, networks: int, epochs: int, images: int, device: torch.device):
        self.networks = networks
        alone = experiment.schedule.stepped is Stepped.TRAINING_LOSS
        # Of a parameter that nothing moves: PyTorch's schedules set an optimiser's rates.
        self.optimizers = [
            experiment.optimizer(nn.Linear(1, 1, device="meta")) for _ in range(networks if alone else 1)
        ]
        self.steppings = [experiment.stepping(optimizer, epochs, images) for optimizer in self.optimizers]
        for optimizer in self.optimizers:
            optimizer.step()  # PyTorch warns of a schedule that is ahead of its optimiser
        self.lr = torch.zeros(len(self.optimizers), 1, device=device)
        self.momentum = torch.zeros((), device=device)
        self.set: tuple[list[float], float] | None = None

    def fill(self) -> None:
        """Put the rates of the step to come into the tensors."""
        group = self.optimizers[0].param_groups[0]
        rates = [optimizer.param_groups[0]["lr"] for optimizer in self.optimizers]
        momentum = group["momentum"] if "momentum" in group else group["betas"][0]
        if self.set != (rates, momentum):
            self.set = rates, momentum
            for place, rate in enumerate(rates):
                self.lr[place].fill_(rate)
            self.momentum.fill_(momentum)

    def of_networks(self) -> list[float]:
        rates = [optimizer.param_groups[0]["lr"] for optimizer in self.optimizers]
        return rates if len(rates) == self.networks else rates * self.networks

    def after_step(self) -> None:
        for stepping in self.steppings:
            stepping.after_step()

    def after_epoch(self, losses: list[float]) -> None:
        for stepping, loss in zip(self.steppings, losses, strict=False):
            stepping.after_epoch(loss)


def _training_step(joined: Joined, experiment: Experiment, rates: Rates) -> Step:
    """A step of S networks: of (S, B, 1, 28, 28) inputs and (S, B) labels, the (S,) mean losses and right images."""
    state = experiment.algorithm.state(joined.weights)

    def step(inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        log_probabilities = joined(inputs)
        loss = F.nll_loss(log_probabilities.flatten(0, 1), labels.flatten(), reduction="none").view_as(labels).mean(1)
        # Each loss moves its own weights.
        gradients = torch.autograd.grad(loss.sum(), joined.views)
        gradient = torch.cat([each.reshape(joined.size, -1) for each in gradients], dim=1)
        with torch.no_grad():
            settings = rates.lr, rates.momentum, experiment.nesterov, experiment.weight_decay
            experiment.algorithm.step(joined.weights, gradient, state, *settings)
        return loss.detach(), (log_probabilities.detach().argmax(-1) == labels).sum(1)

    return step


def _initialised(experiment: Experiment, seed: int) -> tuple[nn.Module, Generator]:
    """A seed's network, and a generator that goes on from its initialisation, as the global one does in `fit`."""
    torch.manual_seed(seed)
    model = experiment.network()
    return model, Generator().set_state(torch.get_rng_state())


def _batches_together(batches: Iterable[Iterator[tuple[Tensor, Tensor]]]) -> Iterator[tuple[Tensor, Tensor]]:
    """(B, 1, 28, 28) inputs and (B,) labels of each of S -> (S, B, 1, 28, 28) and (S, B)."""
    for several in zip(*batches, strict=True):
        inputs, labels = zip(*several, strict=True)
        yield torch.stack(inputs), torch.stack(labels)


def _predict(joined: Joined, images: Tensor, constants: tuple[float, float]) -> Tensor:
    """(S, N, 10) log-probabilities of S networks for uint8 (N, 28, 28) `images`."""
    joined.eval()
    at_once = max(1, TESTED_AT_ONCE // joined.size)
    with torch.inference_mode():
        parts = [joined(normalize(part.unsqueeze(1), *constants)) for part in images.split(at_once)]
    return torch.cat(parts, dim=1)
