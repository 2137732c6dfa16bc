"""Captured steps against plain ones, on a CPU, with a fake capture."""

import copy

import torch

from mnist_s7 import T3, MnistNet_3
from mnist_s7.kernels import cuda_graphs
from mnist_s7.kernels.cuda_graphs import EAGER_STEPS, CapturedStep
from mnist_s7.training import shuffled_batches, train_epoch, training_step
from mnist_s7.transforms import batched


class Recorder:
    """A fake `capture` on a CPU: what it is given leaves no trace until it is replayed."""

    def __init__(self, model, optimizer):
        self.model, self.optimizer, self.captured, self.replays = model, optimizer, 0, 0

    def __call__(self, function):
        states = copy.deepcopy((self.model.state_dict(), self.optimizer.state_dict()))
        random = torch.get_rng_state()
        written = function()
        self.model.load_state_dict(states[0])
        self.optimizer.load_state_dict(states[1])
        torch.set_rng_state(random)
        self.captured += 1

        def replay():
            self.replays += 1
            for tensor, now in zip(written, function(), strict=True):
                tensor.copy_(now)

        return replay, *written


def steps_of(captured, few_digits, monkeypatch, capture=None):
    """Two epochs of T3: the losses and the weights, and the recorder."""
    torch.manual_seed(0)
    model = MnistNet_3()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    recorder = Recorder(model, optimizer)
    monkeypatch.setattr(cuda_graphs, "capture", capture or recorder)
    step = training_step(model, optimizer)
    if captured:
        step = CapturedStep(step)
    found = []
    for _ in range(2):
        order = torch.Generator().manual_seed(1)
        images, labels = few_digits.train_images[:500], few_digits.train_labels[:500]  # the last batch is smaller
        batches = shuffled_batches(images, labels, batched(T3.train_transform), 64, order, order)
        found.append(train_epoch(model, batches, step).losses)
    return torch.cat(found), list(model.state_dict().values()), recorder


def test_captured_steps_are_the_same_steps(few_digits, monkeypatch):
    losses, weights, _ = steps_of(False, few_digits, monkeypatch)
    captured_losses, captured_weights, recorder = steps_of(True, few_digits, monkeypatch)

    assert torch.equal(captured_losses, losses)
    assert all(map(torch.equal, captured_weights, weights))
    assert recorder.captured == 1  # the last batches are too few
    assert recorder.replays == 2 * 7 - EAGER_STEPS


def test_where_capturing_fails_all_steps_are_done_without(few_digits, monkeypatch):
    calls = []

    def fails(function):
        calls.append(function)
        raise RuntimeError("operation not permitted when stream is capturing")

    losses, weights, _ = steps_of(False, few_digits, monkeypatch)
    captured_losses, captured_weights, _ = steps_of(True, few_digits, monkeypatch, capture=fails)

    assert torch.equal(captured_losses, losses)
    assert all(map(torch.equal, captured_weights, weights))
    assert len(calls) == 1
