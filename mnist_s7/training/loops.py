"""Epochs of training and of testing: they take a model and images, and return figures."""

import math
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn, optim

from mnist_s7 import InvalidArgument, MnistS7Error
from mnist_s7.catalog import check_network
from mnist_s7.data import Digits, check_images, check_labels, normalization_of
from mnist_s7.experiments import Experiment
from mnist_s7.kernels.cuda_graphs import Step, own_stream
from mnist_s7.results import Epoch
from mnist_s7.results.machine import torch_defaults, usable_device
from mnist_s7.transforms import Batched, normalize

PREPARED_AT_ONCE = 10  # batches: a transform's many small steps cost half as much on more images


class LossNotFinite(MnistS7Error, ArithmeticError):
    """The loss became NaN or infinite, in `epoch` at `step`, both counted from 0; a step of None stands for the test
    set, after the epoch's last step."""

    def __init__(self, experiment: str, epoch: int, step: int | None, loss: float, lr: float):
        where = f"in epoch {epoch} at step {step}" if step is not None else f"on the test set after epoch {epoch}"
        super().__init__(
            f"{experiment}: the loss is {loss} {where}, with the learning rate at {lr:g}. "
            "A smaller learning rate may help"
        )
        self.epoch, self.step = epoch, step


@dataclass(frozen=True)
class Steps:
    """An epoch's steps, each (steps,) on the device: mean losses in nats, images classified correctly, images in all.

    Of S networks trained together, losses and correct images are (steps, S).
    """

    losses: Tensor
    correct: Tensor
    sizes: Tensor

    def check(self, experiment: str, epoch: int, lr: float) -> None:
        """Raise `LossNotFinite` if a loss is NaN or infinite."""
        if not torch.isfinite(self.losses).all():
            step = int(torch.nonzero(~torch.isfinite(self.losses))[0, 0])
            raise LossNotFinite(experiment, epoch, step, self.losses[step].max().item(), lr)

    @property
    def loss(self) -> float:
        """Mean loss of an image, in nats."""
        return (self.losses.double() @ self.sizes.double() / self.sizes.sum()).item()

    @property
    def accuracy(self) -> float:
        """Percent."""
        return 100 * self.correct.sum().item() / self.sizes.sum().item()


@dataclass(frozen=True)
class Evaluation:
    """Mean loss in nats, accuracy in percent, and (index, predicted digit) of every image that was got wrong."""

    loss: float
    accuracy: float
    errors: list[tuple[int, int]]

    def check(self, experiment: str, epoch: int, lr: float) -> None:
        """Raise `LossNotFinite` if the loss is NaN or infinite: the epoch's last step may have spoiled the weights."""
        if not math.isfinite(self.loss):
            raise LossNotFinite(experiment, epoch, None, self.loss, lr)


def shuffled_batches(
    images: Tensor,
    labels: Tensor,
    transform: Batched,
    batch_size: int,
    generator: Generator,
    order: Generator | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Every one of the uint8 (N, 28, 28) images once: (B, 1, 28, 28) float32, with (B,) labels.

    Their order comes from the generator `order`, None being PyTorch's global one; the transform draws from `generator`.
    """
    for inputs, chosen in shuffled_parts(images, labels, transform, batch_size, generator, order):
        yield from zip(inputs.split(batch_size), chosen.split(batch_size), strict=True)


def shuffled_parts(
    images: Tensor,
    labels: Tensor,
    transform: Batched,
    batch_size: int,
    generator: Generator,
    order: Generator | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """The same, `prepared_at_once` at a time."""
    shuffled = dataloader_order(len(images), order).to(images.device)
    for chosen in shuffled.split(prepared_at_once(batch_size, images.device)):
        yield transform(images[chosen].unsqueeze(1), generator), labels[chosen]


def prepared_at_once(batch_size: int, device: torch.device) -> int:
    """The images of several batches: on a GPU of more, which small steps leave idle."""
    batches = PREPARED_AT_ONCE if device.type == "cpu" else max(PREPARED_AT_ONCE, 12_800 // batch_size)
    return batches * batch_size


def dataloader_order(n: int, generator: Generator | None = None) -> Tensor:
    """(n,) indices in the order in which a `DataLoader` would shuffle from the generator's state.

    A seed means the same here as in a plain loop: T1's batches are those of the reference series' own run.
    """
    torch.empty((), dtype=torch.int64).random_(generator=generator)  # drawn by the loader, for workers
    seed = int(torch.empty((), dtype=torch.int64).random_(generator=generator))  # drawn by its sampler
    return torch.randperm(n, generator=Generator().manual_seed(seed))


def training_step(model: nn.Module, optimizer: optim.Optimizer, loss_function: Callable = F.nll_loss) -> Step:
    """A step of training: of inputs and labels, the mean loss and the number of right images, still on the device.

    The model gives (N, 10) log-probabilities for (N,) labels. What else a batch has is for the loss function.
    """

    def step(inputs: Tensor, labels: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
        log_probabilities = model(inputs)
        loss = loss_function(log_probabilities, labels, *others)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.detach(), (log_probabilities.detach().argmax(1) == labels).sum()

    return step


def train_epoch(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, ...]],
    step: Step,
    on_step: Callable[[Tensor, Tensor, int], None] = lambda loss, correct, size: None,
) -> Steps:
    """One pass over `batches` of inputs, labels and what else `step` takes. Nothing in it waits for the device.

    After each step `on_step` gets what the step gave, and its number of images.
    """
    model.train()
    losses, corrects, sizes = [], [], []
    for batch in batches:
        loss, correct = step(*batch)
        losses.append(loss)
        corrects.append(correct)
        sizes.append(batch[1].shape[-1])  # of each, where they are those of several networks
        on_step(loss, correct, sizes[-1])
    return Steps(torch.stack(losses), torch.stack(corrects), torch.tensor(sizes, device=losses[0].device))


def evaluate(model: nn.Module, images: Tensor, labels: Tensor) -> Evaluation:
    """How `model` does on uint8 (N, 28, 28) `images` with int64 (N,) `labels`, in evaluation mode.

    Raises `DigitsInvalid` for other images and labels than those.
    """
    check_images(images)
    check_labels(labels, len(images))
    return evaluation(predict(model, images), labels)


def evaluation(log_probabilities: Tensor, labels: Tensor) -> Evaluation:
    """How (N, 10) `log_probabilities` do on int64 (N,) `labels`."""
    labels = labels.to(log_probabilities.device)
    predicted = log_probabilities.argmax(1)
    wrong = (predicted != labels).nonzero().flatten()
    return Evaluation(
        loss=F.nll_loss(log_probabilities, labels).item(),
        accuracy=100 * (len(labels) - len(wrong)) / len(labels),
        errors=list(zip(wrong.tolist(), predicted[wrong].tolist(), strict=True)),
    )


def predict(model: nn.Module, images: Tensor, batch_size: int = 1000) -> Tensor:
    """(N, 10) log-probabilities for uint8 (N, 28, 28) `images`, in evaluation mode, which is left again after. The
    images are normalised as those that the model was trained on.

    Raises `DigitsInvalid` for other images than those.
    """
    check_images(images)
    device = next(model.parameters()).device
    mean, std = normalization_of(model)
    were_training = [module for module in model.modules() if module.training]  # not a BatchNorm that was frozen, say
    model.eval()
    try:
        with torch.inference_mode():
            parts = (normalize(part.to(device).unsqueeze(1), mean, std) for part in images.split(batch_size))
            return torch.cat([model(part) for part in parts])
    finally:
        for module in were_training:
            module.training = True


def epoch_record(epoch: int, lr: float, trained: Steps, tested: Evaluation, seconds: float) -> Epoch:
    return Epoch(
        epoch=epoch,
        lr=lr,
        train_loss=trained.loss,
        train_accuracy=trained.accuracy,
        test_loss=tested.loss,
        test_accuracy=tested.accuracy,
        seconds=seconds,
    )


def checked(
    experiment: Experiment,
    digits: Digits,
    seeds: Sequence[int],
    epochs: int | None,
    device: str | torch.device | None,
) -> tuple[list[int], int, torch.device]:
    """The seeds, the epochs and the device of runs, None standing for what `fit` says.

    Raises `InvalidArgument` where one of the arguments cannot be, and `NetworkUnfit` as `check_network`.
    """
    if not isinstance(experiment, Experiment):
        raise InvalidArgument(f"experiment is {experiment!r}: an Experiment is needed, as mnist_s7.T3 is one")
    if not isinstance(digits, Digits):
        raise InvalidArgument(f"digits are a {type(digits).__name__}: Digits are needed, as load_digits gives them")
    seeds = [whole_number("seed", seed, 0, 2**64 - 1) for seed in seeds]
    check_network(experiment.name, experiment.network)
    epochs = whole_number("epochs", experiment.epochs if epochs is None else epochs, 1, 10**6)
    return seeds, epochs, usable_device(device)


def whole_number(name: str, value: int, least: int, most: int) -> int:
    """`value` as Python's own int, which NumPy's are not. Raises `InvalidArgument` for what is not in range."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or not least <= number <= most:
        found = repr(value) if number is None or abs(number) < 10**80 else "a number of more than 80 digits"
        raise InvalidArgument(f"{name} is {found}: a whole number from {least:,} to {most:,} is needed")
    return number


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """The global random state is given back after. On a GPU, sums are made in the same order each time, and in
    float32, not in TF32; and the work is on a stream of its own, which can be captured."""
    every_gpu = range(torch.cuda.device_count())  # manual_seed reaches all of them
    exact = torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False)
    with torch.random.fork_rng(devices=every_gpu), exact, own_stream(device), torch_defaults():
        yield
