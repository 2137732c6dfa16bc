"""Seconds per epoch: of the baseline loop, of this package's on several kinds of layers, and of the convolutions alone.

All is measured in one run, interleaved and in several rounds, since a machine's speed drifts from one minute to the
next: a ratio is that of two neighbours in time, and what is quoted is the median over the rounds. One measurement
trains on a part of the digits and tests on as large a part; its seconds are scaled to an epoch of all of them.
"""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Generator, Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from mnist_s7 import InvalidArgument
from mnist_s7.bench.record import Benchmark, Cost
from mnist_s7.catalog import EXPERIMENTS, Origin, origin_of
from mnist_s7.data import Digits
from mnist_s7.experiments import SERIES, Experiment
from mnist_s7.kernels import accelerate
from mnist_s7.results import Run
from mnist_s7.results.machine import in_fast_layout, instruction_set, peak_memory, usable_cores
from mnist_s7.training import evaluate, fit, shuffled_batches, train_epoch, training_step
from mnist_s7.transforms import PLAIN, batched

EPOCH = 60_000  # training images, to which seconds are scaled
PART = 12_000  # training images of a measurement
JAX_SHARE = 8  # a measurement in JAX, which is slow, is on an eighth of them
BATCH_SIZES = (32, 64, 128, 256, 512, 1024, 2048)
IMAGES = (6_000, 12_000, 30_000, 60_000)
Loop = Callable[[Digits], float]  # seconds per epoch on some digits


def benchmark(
    digits: Digits,
    rounds: int = 5,
    experiments: Sequence[Experiment] = SERIES,
    part: int = PART,
    show: Callable[[str], None] = print,
) -> Benchmark:
    """Measure the experiments, which must be known by their names, on this machine's CPU; `show` gets a line when a
    round is done."""
    if rounds < 1:
        raise InvalidArgument(f"rounds is {rounds}: a benchmark needs at least one")
    cores = usable_cores()
    few = _first(digits, part)
    costs = {experiment.name: Cost() for experiment in experiments}
    with _threads(cores):
        machine = _epoch(experiments[0], _first(few, 1_000)).environment
        result = Benchmark(machine, instruction_set(), cores, rounds, part, costs)
        show(f"Warming up on {cores} cores ...")
        loops = {name: _warm_up(EXPERIMENTS[name], cost, few, cores) for name, cost in costs.items()}
        for i in range(rounds):
            for name, cost in costs.items():
                _measure(EXPERIMENTS[name], cost, loops[name], digits, few, cores)
            show(f"round {i + 1} of {rounds}: " + ", ".join(_line(name, cost) for name, cost in costs.items()))
        for name, cost in costs.items():
            cost.shares = _shares(EXPERIMENTS[name], few)
            with _processes(1) as fresh:
                cost.peak_memory = fresh.submit(_peak_memory, name, digits).result()
    return result


def _warm_up(experiment: Experiment, cost: Cost, few: Digits, cores: int) -> dict[str, Loop]:
    """First calls are slow everywhere. And find the best settings of the baseline and of PyTorch's convolutions.

    Returns the loops on PyTorch's layers, on torch.compile, which has compiled then, and in JAX, where that is there.
    """
    fewer = _first(few, len(few.train_images) // 4)
    package(experiment, fewer)
    tried = sorted({0, 1, cores})
    seconds = _baseline_apart(experiment.name, fewer, tried, cores)
    cost.workers = tried[seconds.index(min(seconds))]
    settings = {name: pytorch_convolutions(experiment, name, steps=5) for name in CONVOLUTION_SETTINGS}
    cost.convolutions_setting = min(settings, key=settings.get)
    loops = {"in_memory": in_memory(experiment), "torch_compile": in_memory(experiment, torch.compile)}
    both_sizes = _first(few, experiment.batch_size + len(few.train_images) % experiment.batch_size)  # of batches
    for loop in loops.values():
        loop(both_sizes)
    apart = partial(_in_jax_apart, experiment.name, cores)
    if find_spec("jax") and apart(_first(few, JAX_SHARE * experiment.batch_size)):
        loops["jax"] = apart
    return loops


def _measure(
    experiment: Experiment, cost: Cost, loops: dict[str, Loop], digits: Digits, few: Digits, cores: int
) -> None:
    """One round."""
    cost.baseline += _baseline_apart(experiment.name, few, [cost.workers], cores)
    for name, loop in loops.items():
        getattr(cost, name).append(loop(few))
    cost.package.append(package(experiment, few))
    cost.convolutions.append(pytorch_convolutions(experiment, cost.convolutions_setting))
    cost.each_core.append(_on_each_core(experiment.name, few, cores))
    fewer = _first(few, len(few.train_images) // 2)
    for size in BATCH_SIZES:
        cost.by_batch_size.setdefault(str(size), []).append(package(replace(experiment, batch_size=size), fewer))
    for n in range(1, cores + 1):
        with _threads(n):
            cost.by_threads.setdefault(str(n), []).append(package(experiment, fewer))
    for n in IMAGES:
        if n <= len(digits.train_images):
            some = _first(digits, n)
            cost.by_images.setdefault(str(n), []).append(package(experiment, some) * n / EPOCH)


def _line(name: str, cost: Cost) -> str:
    return f"{name} {cost.baseline[-1]:.1f} baseline, {cost.package[-1]:.1f} package"


# ------------------------------------------------------------------------------------------- what is measured

CONVOLUTION_SETTINGS = {
    f"{kind}, {order}": (dtype, memory_format)
    for kind, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16))
    for order, memory_format in (("channels first", torch.contiguous_format), ("channels last", torch.channels_last))
}


def baseline(experiment: Experiment, digits: Digits, workers: int) -> float:
    """Seconds per epoch of a plain loop: DataLoader, PIL transforms, `.item()` twice a step."""
    model = experiment.network()
    optimizer = experiment.optimizer(model)
    optimizer.param_groups[0]["fused"] = None  # as PyTorch has it by default
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


def in_memory(experiment: Experiment, prepare: Callable[[nn.Module], nn.Module] = lambda model: model) -> Loop:
    """The loop of `fit` on PyTorch's layers, or on what `prepare` makes of them for training: it gives the seconds per
    epoch on some digits."""
    model = in_fast_layout(experiment.network())
    prepared, optimizer = prepare(model), experiment.optimizer(model)

    def seconds(digits: Digits) -> float:
        started = time.perf_counter()
        train_epoch(prepared, _batches(experiment, digits), training_step(prepared, optimizer))
        evaluate(model, digits.test_images, digits.test_labels)
        return _scaled(time.perf_counter() - started, digits)

    return seconds


def in_jax(name: str, threads: int, digits: Digits) -> float | None:
    """The same of a known experiment, on its network in JAX, once that is compiled; None where there is none in JAX."""
    from mnist_s7.bench.jax_training import JaxTraining, NotInJax

    try:
        training = JaxTraining(EXPERIMENTS[name])
    except NotInJax:
        return None
    some = _first(digits, len(digits.train_images) // JAX_SHARE)
    with _threads(threads):  # of PyTorch, which makes the batches
        for _ in range(2):
            started = time.perf_counter()
            training.epoch(_batches(EXPERIMENTS[name], some), some.test_images, some.test_labels)
    return _scaled(time.perf_counter() - started, some)


def package(experiment: Experiment, digits: Digits) -> float:
    """Seconds per epoch of `fit`: shuffling, augmentation, training, its figures, and the test."""
    return _scaled(_epoch(experiment, digits).final.seconds, digits)


def _epoch(experiment: Experiment, digits: Digits) -> Run:
    """An epoch of `fit` on labels, also of an experiment with teachers: soft targets are made once for all of its runs,
    and not for these digits."""
    return fit(replace(experiment, distillation=None), digits, epochs=1, device="cpu", progress=False)


def pytorch_convolutions(experiment: Experiment, setting: str, steps: int = 20) -> float:
    """Seconds per epoch of PyTorch's convolutions alone, forward and backward, on ready tensors; `setting` is one of
    `CONVOLUTION_SETTINGS`."""
    dtype, memory_format = CONVOLUTION_SETTINGS[setting]
    model = experiment.network().to(dtype=dtype, memory_format=memory_format).eval()
    convolutions = []

    def ready(conv: nn.Conv2d, inputs: tuple[Tensor], output: Tensor) -> None:
        x = torch.randn(inputs[0].shape).to(dtype=dtype, memory_format=memory_format)
        x.requires_grad_(conv.in_channels > 1)  # nobody needs the gradient of the image
        convolutions.append((conv, x, torch.randn(output.shape).to(dtype=dtype, memory_format=memory_format)))

    hooks = [m.register_forward_hook(ready) for m in model.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        model(torch.zeros(experiment.batch_size, 1, 28, 28, dtype=dtype))
    for hook in hooks:
        hook.remove()

    started = time.perf_counter()
    for _ in range(steps):
        for conv, x, gradient in convolutions:
            wanted = [conv.weight, x] if x.requires_grad else [conv.weight]
            torch.autograd.grad(conv(x), wanted, gradient)
    return (time.perf_counter() - started) / steps * -(-EPOCH // experiment.batch_size)


def _baseline_apart(name: str, digits: Digits, workers: list[int], threads: int) -> list[float]:
    """`baseline` with each number of workers, in a process of its own: this package's settings would help it, too."""
    with _processes(1) as process:
        return process.submit(_baseline_on_threads, name, digits, workers, threads).result()


def _baseline_on_threads(name: str, digits: Digits, workers: list[int], threads: int) -> list[float]:
    with _threads(threads):
        return [baseline(EXPERIMENTS[name], digits, n) for n in workers]


def _in_jax_apart(name: str, threads: int, digits: Digits) -> float | None:
    """JAX has threads of its own, with which a process must not fork."""
    with _processes(1) as process:
        return process.submit(in_jax, name, threads, digits).result()


def _on_each_core(name: str, digits: Digits, cores: int) -> float:
    """Seconds that an epoch takes of the whole machine while every core has a run of its own."""
    with _processes(cores) as processes:
        runs = [processes.submit(_package_on_one_thread, name, digits) for _ in range(cores)]
        return 1 / sum(1 / run.result() for run in runs)


def _package_on_one_thread(name: str, digits: Digits) -> float:
    with _threads(1):
        package(EXPERIMENTS[name], _first(digits, len(digits.train_images) // 8))  # first calls are slow
        return package(EXPERIMENTS[name], digits)


def _peak_memory(name: str, digits: Digits) -> float:
    """Peak memory of this process in MB, once it has trained an epoch."""
    package(EXPERIMENTS[name], digits)
    return peak_memory() / 1e6


def _shares(experiment: Experiment, digits: Digits) -> dict[str, float]:
    """Percent of an epoch's seconds by what they are spent on: the loop's own parts, with a clock read between them."""
    model = in_fast_layout(experiment.network())
    accelerated = accelerate(model)
    optimizer = experiment.optimizer(model)
    spent = dict.fromkeys(("data", "forward", "backward", "optimizer", "loss and accuracy", "evaluation"), 0.0)
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
            ends("loss and accuracy")

    accelerated.register_forward_hook(lambda *_: ends("forward"))
    optimizer.register_step_pre_hook(lambda *_: ends("backward"))
    optimizer.register_step_post_hook(lambda *_: ends("optimizer"))
    train_epoch(accelerated, timed(_batches(experiment, digits)), training_step(accelerated, optimizer))
    ends("loss and accuracy")
    evaluate(accelerate(model), digits.test_images, digits.test_labels)  # whose forward has no clock
    ends("evaluation")
    return {part: 100 * seconds / sum(spent.values()) for part, seconds in spent.items()}


def _batches(experiment: Experiment, digits: Digits) -> Iterator[tuple[Tensor, Tensor]]:
    transform, generator = batched(experiment.train_transform), Generator().manual_seed(1)
    return shuffled_batches(digits.train_images, digits.train_labels, transform, experiment.batch_size, generator)


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
    own = [origin for name in EXPERIMENTS if (origin := origin_of(name))]
    return ProcessPoolExecutor(n, multiprocessing.get_context("spawn"), initializer=_know, initargs=(own,))


def _know(own: list[Origin]) -> None:
    """Let this process find the experiments of a reader's files by their names."""
    for origin in own:
        origin.experiment()
