"""The benchmark: seconds an epoch in the usual loop, in `fit`, and in PyTorch's convolutions alone.

All is measured in one run, interleaved and in several rounds, since a machine's speed drifts from one minute to the
next: a ratio is that of two neighbours in time, and what is quoted is the median over the rounds. One measurement
trains on a part of the digits and tests on as large a part; its seconds are scaled to an epoch of all of them.
"""

import multiprocessing
import re
import resource
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Generator, Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from mnist_s7.bench.record import Benchmark, Cost
from mnist_s7.data import Digits
from mnist_s7.errors import InvalidArgument
from mnist_s7.experiments import SERIES, Experiment
from mnist_s7.fast import keep_freed_memory
from mnist_s7.machine import usable_cores
from mnist_s7.training import environment, evaluate, fit, shuffled_batches, train_epoch, training_step
from mnist_s7.transforms import PLAIN, batched

__all__ = ["benchmark", "floor", "ours", "usual"]

EPOCH = 60_000  # training images, to which seconds are scaled
PART = 12_000  # training images of a measurement
BATCH_SIZES = (32, 64, 128, 256, 512, 1024, 2048)
IMAGES = (6_000, 12_000, 30_000, 60_000)
EXPERIMENTS = {experiment.name: experiment for experiment in SERIES}


def benchmark(digits: Digits, rounds: int = 5, part: int = PART, show: Callable[[str], None] = print) -> Benchmark:
    """Measure every iteration of the series on this machine's CPU; `show` gets a line when a round is done."""
    if rounds < 1:
        raise InvalidArgument(f"rounds is {rounds}: a benchmark needs at least one")
    cores = usable_cores()
    few = _first(digits, part)
    costs = {name: Cost() for name in EXPERIMENTS}
    with _threads(cores):
        result = Benchmark(environment(torch.device("cpu")), cores, rounds, part, costs)
        show(f"Warming up on {cores} cores ...")
        for name, cost in costs.items():
            _warm_up(EXPERIMENTS[name], cost, few, cores)
        for i in range(rounds):
            for name, cost in costs.items():
                _measure(EXPERIMENTS[name], cost, digits, few, cores)
            show(f"round {i + 1} of {rounds}: " + ", ".join(_line(name, cost) for name, cost in costs.items()))
        for name, cost in costs.items():
            cost.shares = _shares(EXPERIMENTS[name], few)
            with _processes(1) as fresh:
                cost.peak_memory = fresh.submit(_peak_memory, name, digits).result()
    return result


def _warm_up(experiment: Experiment, cost: Cost, few: Digits, cores: int) -> None:
    """First calls are slow everywhere. And find the usual loop's and the floor's best settings."""
    fewer = _first(few, len(few.train_images) // 4)
    ours(experiment, fewer)
    tried = sorted({0, 1, cores})
    seconds = _usual_apart(experiment.name, fewer, tried, cores)
    cost.workers = tried[seconds.index(min(seconds))]
    settings = {name: floor(experiment, name, steps=5) for name in FLOOR_SETTINGS}
    cost.floor_setting = min(settings, key=settings.get)


def _measure(experiment: Experiment, cost: Cost, digits: Digits, few: Digits, cores: int) -> None:
    """One round."""
    cost.usual += _usual_apart(experiment.name, few, [cost.workers], cores)
    cost.ours.append(ours(experiment, few))
    cost.floor.append(floor(experiment, cost.floor_setting))
    cost.each_core.append(_on_each_core(experiment.name, few, cores))
    fewer = _first(few, len(few.train_images) // 2)
    for size in BATCH_SIZES:
        cost.by_batch_size.setdefault(str(size), []).append(ours(replace(experiment, batch_size=size), fewer))
    for n in range(1, cores + 1):
        with _threads(n):
            cost.by_threads.setdefault(str(n), []).append(ours(experiment, fewer))
    for n in IMAGES:
        if n <= len(digits.train_images):
            some = _first(digits, n)
            cost.by_images.setdefault(str(n), []).append(ours(experiment, some) * n / EPOCH)


def _line(name: str, cost: Cost) -> str:
    return f"{name} {cost.usual[-1]:.1f} usual, {cost.ours[-1]:.1f} ours, {cost.floor[-1]:.1f} floor"


# ------------------------------------------------------------------------------------------- what is measured

FLOOR_SETTINGS = {
    f"{kind}, {order}": (dtype, memory_format)
    for kind, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16))
    for order, memory_format in (("channels first", torch.contiguous_format), ("channels last", torch.channels_last))
}


def usual(experiment: Experiment, digits: Digits, workers: int) -> float:
    """Seconds an epoch of the loop of the tutorials: DataLoader, PIL transforms, nn.Dropout, `.item()` twice a step."""
    model = experiment.network()
    for parent in list(model.modules()):
        for name, block in parent.named_children():
            if isinstance(block, nn.Sequential):
                setattr(parent, name, nn.Sequential(*block))  # not this package's
    optimizer = experiment.optimizer(model)
    train = _Images(digits.train_images, digits.train_labels, experiment.train_transform)
    test = _Images(digits.test_images, digits.test_labels, PLAIN)
    train_loader = DataLoader(train, experiment.batch_size, shuffle=True, num_workers=workers)
    test_loader = DataLoader(test, experiment.batch_size, shuffle=True, num_workers=workers)

    started = time.perf_counter()
    model.train()
    loss_sum = correct = 0
    for images, labels in train_loader:
        optimizer.zero_grad()
        log_probabilities = model(images)
        loss = F.nll_loss(log_probabilities, labels)
        loss.backward()
        optimizer.step()
        loss_sum += loss.item()
        correct += (log_probabilities.argmax(1) == labels).sum().item()
    model.eval()
    with torch.no_grad():
        for images, labels in test_loader:
            log_probabilities = model(images)
            loss_sum += F.nll_loss(log_probabilities, labels, reduction="sum").item()
            correct += (log_probabilities.argmax(1) == labels).sum().item()
    return _scaled(time.perf_counter() - started, digits)


class _Images(Dataset):
    """Digits as torchvision's MNIST gives them: one image at a time, transformed from PIL."""

    def __init__(self, images: Tensor, labels: Tensor, transform: transforms.Compose):
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[i].numpy())), int(self.labels[i])


def ours(experiment: Experiment, digits: Digits) -> float:
    """Seconds an epoch of `fit`: shuffling, augmentation, training, its figures, and the test."""
    run = fit(experiment, digits, epochs=1, device="cpu", progress=False)
    return _scaled(run.final.seconds, digits)


def floor(experiment: Experiment, setting: str, steps: int = 20) -> float:
    """Seconds an epoch of the convolutions' forward and backward alone, on ready tensors of one of `FLOOR_SETTINGS`."""
    dtype, memory_format = FLOOR_SETTINGS[setting]
    model = experiment.network().to(dtype=dtype, memory_format=memory_format).eval()
    work = []

    def ready(conv: nn.Conv2d, inputs: tuple[Tensor], output: Tensor) -> None:
        x = torch.randn(inputs[0].shape).to(dtype=dtype, memory_format=memory_format)
        x.requires_grad_(conv.in_channels > 1)  # nobody needs the gradient of the image
        work.append((conv, x, torch.randn(output.shape).to(dtype=dtype, memory_format=memory_format)))

    hooks = [m.register_forward_hook(ready) for m in model.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        model(torch.zeros(experiment.batch_size, 1, 28, 28, dtype=dtype))
    for hook in hooks:
        hook.remove()

    started = time.perf_counter()
    for _ in range(steps):
        for conv, x, gradient in work:
            wanted = [conv.weight, x] if x.requires_grad else [conv.weight]
            torch.autograd.grad(conv(x), wanted, gradient)
    return (time.perf_counter() - started) / steps * -(-EPOCH // experiment.batch_size)


def _usual_apart(name: str, digits: Digits, workers: list[int], threads: int) -> list[float]:
    """`usual` with each number of workers, in a process of its own: this package's settings would speed it up, too."""
    with _processes(1) as process:
        return process.submit(_usual_on_threads, name, digits, workers, threads).result()


def _usual_on_threads(name: str, digits: Digits, workers: list[int], threads: int) -> list[float]:
    with _threads(threads):
        return [usual(EXPERIMENTS[name], digits, n) for n in workers]


def _on_each_core(name: str, digits: Digits, cores: int) -> float:
    """Seconds that an epoch takes of the whole machine while every core has a run of its own."""
    with _processes(cores) as processes:
        runs = [processes.submit(_ours_on_one_thread, name, digits) for _ in range(cores)]
        return 1 / sum(1 / run.result() for run in runs)


def _ours_on_one_thread(name: str, digits: Digits) -> float:
    with _threads(1):
        ours(EXPERIMENTS[name], _first(digits, len(digits.train_images) // 8))  # first calls are slow
        return ours(EXPERIMENTS[name], digits)


def _peak_memory(name: str, digits: Digits) -> float:
    """MB that this process has held at most, once it has trained an epoch."""
    ours(EXPERIMENTS[name], digits)
    status = Path("/proc/self/status")
    if status.exists():  # Linux, where getrusage would count what the parent held when it started this process
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # bytes, as on macOS


def _shares(experiment: Experiment, digits: Digits) -> dict[str, float]:
    """Percent of an epoch's seconds by what they are spent on: the loop's own parts, with a clock read between them."""
    keep_freed_memory()
    model = experiment.network().to(memory_format=torch.channels_last)
    optimizer = experiment.optimizer(model)
    spent = dict.fromkeys(("data", "forward", "backward", "optimizer", "figures", "evaluation"), 0.0)
    last = time.perf_counter()

    def ends(part: str) -> None:
        nonlocal last
        now = time.perf_counter()
        spent[part] += now - last
        last = now

    def timed(batches: Iterator[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in batches:
            ends("data")
            yield batch
            ends("figures")

    forward = model.register_forward_hook(lambda *_: ends("forward"))
    optimizer.register_step_pre_hook(lambda *_: ends("backward"))
    optimizer.register_step_post_hook(lambda *_: ends("optimizer"))
    transform, generator = batched(experiment.train_transform), Generator().manual_seed(1)
    images, labels = digits.train_images, digits.train_labels
    batches = shuffled_batches(images, labels, transform, experiment.batch_size, generator)
    train_epoch(model, timed(batches), training_step(model, optimizer))
    forward.remove()
    ends("figures")
    evaluate(model, digits.test_images, digits.test_labels)
    ends("evaluation")
    return {part: 100 * seconds / sum(spent.values()) for part, seconds in spent.items()}


# ---------------------------------------------------------------------------------------------------- how


def _first(digits: Digits, n: int) -> Digits:
    """The first `n` training images, and as large a part of the test images."""
    tests = round(n * len(digits.test_images) / len(digits.train_images))
    return replace(
        digits,
        train_images=digits.train_images[:n],
        train_labels=digits.train_labels[:n],
        test_images=digits.test_images[:tests],
        test_labels=digits.test_labels[:tests],
    )


def _scaled(seconds: float, digits: Digits) -> float:
    return seconds * EPOCH / len(digits.train_images)


@contextmanager
def _threads(n: int) -> Iterator[None]:
    """PyTorch on `n` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _processes(n: int) -> Executor:
    """Fresh ones, since a fork would bring this one's threads and memory along.

    None is kept for later: the memory of an idle process can slow down what is measured beside it.
    """
    return ProcessPoolExecutor(n, multiprocessing.get_context("spawn"))
