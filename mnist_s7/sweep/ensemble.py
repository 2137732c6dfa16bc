"""Several seeds of one experiment, trained at once in one network that holds a network for each."""

import copy
import math
import time
from collections.abc import Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.overrides import TorchFunctionMode

from mnist_s7 import InvalidArgument
from mnist_s7.data import Digits, normalization
from mnist_s7.experiments import Experiment
from mnist_s7.kernels import keep_freed_memory, keep_mask
from mnist_s7.results import Run
from mnist_s7.results.machine import environment
from mnist_s7.schedules import Stepped
from mnist_s7.training import (
    LossNotFinite,
    Steps,
    checked,
    dataloader_order,
    epoch_record,
    evaluation,
    kernels_of,
    predict,
    repeatable,
    shuffled_batches,
    train_epoch,
    training_step,
)
from mnist_s7.transforms import batched, renormalized


def fit_seeds(
    experiment: Experiment,
    digits: Digits,
    seeds: Sequence[int],
    epochs: int | None = None,
    device: str | torch.device | None = None,
) -> list[Run | LossNotFinite]:
    """Train `experiment` once with each of `seeds`, all at once, and return a run for each, with its trained model.

    Each has its own initialisation, shuffling, augmentation and dropout. On a CPU they are those of `fit` with that
    seed, and so is the run within rounding; on a GPU dropout draws other numbers. An epoch's seconds are those of all
    seeds together. It is for GPUs, which one such network leaves idle: on a CPU, a process for each core is faster.

    A seed whose loss turns NaN or infinite has its `LossNotFinite` in the place of a run, and the others go on.

    Raises as `fit` otherwise, and `InvalidArgument` for no seeds, or for a network that cannot be joined.
    """
    if not seeds:
        raise InvalidArgument("no seeds: give at least one")
    if experiment.schedule.stepped is Stepped.TRAINING_LOSS:
        raise InvalidArgument(
            f"{experiment.name}: its learning rate follows the training loss, which each seed has of its own; train "
            "one seed at a time"
        )
    seeds, epochs, device = checked(experiment, digits, seeds, epochs, device)
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
        dropping = own if device.type == "cpu" else augmenting
        model = Ensemble(models, dropping).to(device, memory_format=torch.channels_last)
        for each in (model, *models):
            each.trained_on = digits.name  # as in `fit`
        optimizer = experiment.optimizer(model)
        stepping = experiment.stepping(optimizer, epochs, count)
        step = training_step(model, optimizer)
        for epoch in range(epochs):
            started = time.perf_counter()
            lr = optimizer.param_groups[0]["lr"]
            batches = (
                shuffled_batches(train_images, train_labels, transform, experiment.batch_size, generator, order)
                for generator, order in zip(augmenting, own, strict=True)
            )
            trained = train_epoch(model, _ensemble_batches(batches), step, lambda *step_gave: stepping.after_step())
            tested = [evaluation(each, test_labels) for each in predict(model, test_images).unbind(1)]
            for order in own:
                dataloader_order(len(test_images), order)  # as in `fit`
            stepping.after_epoch(math.nan)  # which no schedule here asks for
            seconds = time.perf_counter() - started
            for i, each in enumerate(tested):
                steps = Steps(trained.losses[:, i], trained.correct[:, i], trained.sizes)
                try:
                    steps.check(experiment.name, epoch, lr)
                    each.check(experiment.name, epoch, lr)
                except LossNotFinite as error:
                    lost.setdefault(i, error)
                records[i].append(epoch_record(epoch, lr, steps, each, seconds))
            if len(lost) == len(seeds):
                return [lost[i] for i in range(len(seeds))]
        model.give_back(models)
    machine["kernels"] = kernels_of(step, "PyTorch")

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


def _initialised(experiment: Experiment, seed: int) -> tuple[nn.Module, Generator]:
    """A seed's network, and a generator that goes on from its initialisation, as the global one does in `fit`."""
    torch.manual_seed(seed)
    model = experiment.network()
    return model, Generator().set_state(torch.get_rng_state())


def _ensemble_batches(batches: Iterable[Iterator[tuple[Tensor, Tensor]]]) -> Iterator[tuple[Tensor, Tensor]]:
    """(B, 1, 28, 28) inputs and (B,) labels of each of S -> (B, S, 28, 28) and (B, S)."""
    for several in zip(*batches, strict=True):
        inputs, labels = zip(*several, strict=True)
        yield torch.cat(inputs, dim=1), torch.stack(labels, dim=1)


class Ensemble(nn.Module):
    """S networks of one architecture as one: (N, S, 28, 28), or (N, 1, 28, 28) for all -> (N, S, 10).

    Convolutions become grouped ones, with a group for each network; BatchNorm and pooling work by channel anyway;
    dropout draws for each network from its own generator, and a log_softmax, their last layer, is over the classes of
    one network. So nothing that happens to one of them reaches the others.

    Raises `InvalidArgument` for a layer with parameters that is neither a convolution nor a BatchNorm, and for dropout
    of whole channels.
    """

    def __init__(self, models: Sequence[nn.Module], generators: Sequence[Generator]):
        super().__init__()
        self.size = len(models)
        self.joined = copy.deepcopy(models[0])
        for name, layer in list(self.joined.named_modules()):
            match layer:
                case nn.Conv2d():
                    layer.in_channels, layer.out_channels = (
                        self.size * layer.in_channels,
                        self.size * layer.out_channels,
                    )
                    layer.groups *= self.size
                case nn.BatchNorm2d():
                    layer.num_features *= self.size
                case nn.Dropout():
                    self.joined.set_submodule(name, _OwnDropout(layer.p, generators))
                case _ if type(layer) is nn.Dropout2d or next(layer.parameters(recurse=False), None) is not None:
                    raise InvalidArgument(
                        f"{name} is a {type(layer).__name__}: only convolutions, BatchNorm and dropout of single "
                        "values can be joined; train one seed at a time"
                    )
        with torch.no_grad():
            for name, together in self._tensors():
                together.data = torch.cat([_tensor(model, name) for model in models])

    def forward(self, x: Tensor) -> Tensor:
        with _LogSoftmaxByNetwork(self.size):
            return self.joined(x.expand(-1, self.size, -1, -1)).unflatten(1, (self.size, -1))

    def give_back(self, models: Sequence[nn.Module]) -> None:
        """Put each network's weights and statistics into its own of `models`."""
        counts = {name: buffer for name, buffer in self.joined.named_buffers() if buffer.dim() == 0}
        with torch.no_grad():
            for name, together in self._tensors():
                for model, part in zip(models, together.chunk(self.size), strict=True):
                    _tensor(model, name).copy_(part)
            for name, count in counts.items():
                for model in models:
                    _tensor(model, name).copy_(count)

    def _tensors(self) -> list[tuple[str, Tensor]]:
        """Parameters, and buffers but for counts, which are the same in all."""
        buffers = [(name, buffer) for name, buffer in self.joined.named_buffers() if buffer.dim() > 0]
        return [*self.joined.named_parameters(), *buffers]


class _LogSoftmaxByNetwork(TorchFunctionMode):
    """Makes a log_softmax over the classes of S networks, (N, S * 10), one over those of each."""

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def __torch_function__(self, function, types, arguments=(), settings=None):
        if function in (F.log_softmax, torch.log_softmax, Tensor.log_softmax):
            scores = arguments[0].unflatten(1, (self.size, -1))
            return scores.log_softmax(2).flatten(1)
        return function(*arguments, **(settings or {}))


def _tensor(model: nn.Module, name: str) -> Tensor:
    path, _, last = name.rpartition(".")
    return getattr(model.get_submodule(path), last)


class _OwnDropout(nn.Module):
    """Dropout on (N, S * C, H, W), for each of S networks from its own generator, as `fit` does for one."""

    def __init__(self, p: float, generators: Sequence[Generator]):
        super().__init__()
        self.p, self.generators = p, generators  # by this name, a CapturedStep finds them

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        n, channels, height, width = x.shape
        shape = torch.Size((n, height, width, channels // len(self.generators)))
        masks = [keep_mask(shape.numel(), self.p, generator).view(shape) for generator in self.generators]
        return x * torch.stack(masks, dim=3).flatten(3).permute(0, 3, 1, 2) / (1 - self.p)
