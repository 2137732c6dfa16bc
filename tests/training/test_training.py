"""The loops: right figures, the same figures again, and faults that say where they are."""

import contextlib
import dataclasses
import functools
import importlib
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from mnist_s7 import (
    T1,
    T2,
    T3,
    Digits,
    DigitsInvalid,
    InvalidArgument,
    LossNotFinite,
    NetworkUnfit,
    Run,
    evaluate,
    fit,
    load_model,
    predict,
)
from mnist_s7.kernels.library import load, timed_calls
from mnist_s7.results.machine import usable_device
from mnist_s7.schedules import OneCycle, StepLR
from mnist_s7.training import fit_seeds, shuffled_batches, train_epoch, training_step
from mnist_s7.transforms import PLAIN, batched, normalize

GPU = torch.device("cuda")
QUICK = {"batch_size": 100, "epochs": 2}


def figures(run):
    return [dataclasses.replace(epoch, seconds=0) for epoch in run.epochs], run.errors


@pytest.mark.parametrize("experiment", [T1, T3], ids=["T1", "T3"])
def test_the_same_seed_gives_the_same_run_to_the_last_digit(few_digits, experiment):
    experiment = dataclasses.replace(experiment, **QUICK)

    def trained(seed):
        return figures(fit(experiment, few_digits, seed=seed, progress=False))

    torch.manual_seed(100)
    first = trained(seed=1)
    torch.manual_seed(200)  # what came before must not matter
    assert trained(seed=1) == first
    assert trained(seed=2) != first


def test_the_callers_random_state_is_left(few_digits):
    state = torch.random.get_rng_state()

    fit(dataclasses.replace(T3, **QUICK), few_digits, epochs=1, progress=False)

    assert torch.equal(torch.random.get_rng_state(), state)


def test_on_a_gpu_a_seed_is_trained_as_several_are(few_digits, monkeypatch, capsys):
    """On a machine without one: with a device that is said to be a GPU, and trained on the CPU."""
    module = importlib.import_module("mnist_s7.training.fit")
    monkeypatch.setattr(module, "checked", lambda experiment, digits, seeds, epochs, device: (seeds, 2, GPU))
    on_cpu = module.fit_seeds
    monkeypatch.setattr(module, "fit_seeds", lambda *given: on_cpu(*given[:4], "cpu", *given[5:]))

    run = fit(dataclasses.replace(T3, **QUICK), few_digits, seed=7)

    shown = capsys.readouterr().out
    assert (run.seed, len(run.epochs), run.environment["seeds_together"]) == (7, 2, 1)
    assert "Epoch=1" in shown and "T3: 2 epochs" in shown
    diverging = dataclasses.replace(T3, **QUICK, lr=1e30)
    with pytest.raises(LossNotFinite, match="T3: the loss is"):
        fit(diverging, few_digits, progress=False)


@pytest.mark.skipif(load() is None, reason="without the compiled layers, PyTorch tests, too")
def test_the_test_pass_is_in_c(few_digits):
    with timed_calls() as calls:
        fit(dataclasses.replace(T3, **QUICK), few_digits, epochs=1, device="cpu", progress=False)

    evaluating = [call.direction for call in calls if call.before and call.before.evaluates]
    assert evaluating and set(evaluating) == {"forward"}


def test_showing_progress_changes_no_figure(few_digits, capsys):
    runs = [fit(dataclasses.replace(T3, **QUICK), few_digits, progress=shown) for shown in (True, False)]

    assert runs[0].final.train_loss == runs[1].final.train_loss
    assert runs[0].errors == runs[1].errors


@pytest.mark.parametrize("train", [fit, lambda *given, **named: fit_seeds(*given, seeds=[1], **named)[0]])
def test_a_cycle_spans_the_epochs_that_are_trained(few_digits, train):
    experiment = dataclasses.replace(T3, **QUICK, lr=0.1, schedule=OneCycle(0.5))
    run = train(experiment, few_digits, epochs=4, device="cpu")

    assert [epoch.lr for epoch in run.epochs] == pytest.approx([0.025, 0.075, 0.075, 0.025])


def test_a_run_holds_what_happened(few_digits):
    experiment = dataclasses.replace(T2, **QUICK, schedule=StepLR(0.65))
    run = fit(experiment, few_digits, seed=3, epochs=3, device="cpu", progress=False)

    assert (run.experiment, run.seed, run.dataset, run.parameters) == ("T2", 3, "few digits", 7_416)
    assert [epoch.epoch for epoch in run.epochs] == [0, 1, 2]
    assert [epoch.lr for epoch in run.epochs] == pytest.approx([0.075, 0.075 * 0.65, 0.075 * 0.65**2])
    assert all(epoch.seconds > 0 for epoch in run.epochs)
    assert run.final.test_accuracy == pytest.approx(100 - len(run.errors))
    assert {"torch", "torchvision", "device", "threads", "precision", "commit", "dirty"} <= run.environment.keys()
    assert run.environment["kernels"] == ("compiled" if load() else "PyTorch")
    predicted = predict(run.model, few_digits.test_images).argmax(1)
    assert torch.equal(predicted, run.predictions(few_digits.test_labels))


@pytest.mark.parametrize("experiment", [T2, T3], ids=["T2", "T3"])
def test_learns(few_digits, experiment):
    """T1's network would need hundreds of steps to leave its plateau: the first epoch on real digits speaks for it."""
    run = fit(dataclasses.replace(experiment, batch_size=16, lr=0.03), few_digits, epochs=8, progress=False)

    assert run.final.train_loss < run.epochs[0].train_loss / 2
    assert run.final.test_accuracy > 90


def test_losses_are_true_means_also_with_a_smaller_last_batch(few_digits):
    """Against one pass over all images at once, with weights that do not move."""
    model = T1.network()
    images, labels = few_digits.train_images[:50], few_digits.train_labels[:50]
    batches = shuffled_batches(images, labels, batched(PLAIN), 16, torch.Generator().manual_seed(0))

    steps = train_epoch(model, batches, training_step(model, torch.optim.SGD(model.parameters(), lr=0.0)))

    log_probabilities = model(normalize(images.unsqueeze(1)))
    assert steps.sizes.tolist() == [16, 16, 16, 2]
    assert steps.loss == pytest.approx(F.nll_loss(log_probabilities, labels).item(), rel=1e-5)
    assert steps.accuracy == pytest.approx(100 * (log_probabilities.argmax(1) == labels).float().mean().item())


def test_an_epoch_sees_every_image_once_in_a_new_order(few_digits):
    images, labels = few_digits.train_images, torch.arange(512)
    generator = torch.Generator().manual_seed(0)

    epochs = [
        torch.cat([chosen for _, chosen in shuffled_batches(images, labels, batched(PLAIN), 100, generator)])
        for _ in range(2)
    ]

    assert all(torch.equal(epoch.sort().values, labels) for epoch in epochs)
    assert not torch.equal(epochs[0], epochs[1])
    inputs, chosen = next(shuffled_batches(images, labels, batched(PLAIN), 100, generator))
    assert torch.equal(inputs, normalize(images[chosen].unsqueeze(1)))


def test_the_order_is_that_of_a_dataloader_with_the_same_seed(few_digits):
    labels = torch.arange(512)
    torch.manual_seed(4)
    expected = [torch.cat(list(DataLoader(labels, batch_size=100, shuffle=True))) for _ in range(2)]

    torch.manual_seed(4)
    found = [
        torch.cat(
            [chosen for _, chosen in shuffled_batches(few_digits.train_images, labels, batched(PLAIN), 100, None)]
        )
        for _ in range(2)
    ]

    assert torch.equal(torch.stack(found), torch.stack(expected))


def test_evaluate_against_one_pass(few_digits):
    model = T3.network()
    images, labels = few_digits.test_images, few_digits.test_labels

    found = evaluate(model, images, labels)

    assert model.training  # left as it was
    log_probabilities = model.eval()(normalize(images.unsqueeze(1)))
    predicted = log_probabilities.argmax(1)
    assert found.loss == pytest.approx(F.nll_loss(log_probabilities, labels).item(), rel=1e-5)
    assert found.accuracy == pytest.approx(100 * (predicted == labels).float().mean().item())
    assert found.errors == [(i, predicted[i].item()) for i in range(len(labels)) if predicted[i] != labels[i]]


def test_predicting_in_parts_changes_nothing(few_digits):
    model = T3.network()

    torch.testing.assert_close(
        predict(model, few_digits.test_images, batch_size=7), predict(model, few_digits.test_images, batch_size=100)
    )


class Views(nn.Module):
    """As many networks in tutorials: `view` needs its input in another memory format than the fast one."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 5, stride=2), nn.Linear(4 * 12 * 12, 10)

    def forward(self, x):
        return self.head(self.conv(x).relu().view(-1, 4 * 12 * 12)).log_softmax(1)


def test_a_network_that_views_is_trained_stored_and_used(few_digits, tmp_path):
    run = fit(dataclasses.replace(T1, name="views", network=Views), few_digits, epochs=1, device="cpu", progress=False)

    model = load_model(run.save(tmp_path).with_suffix(".safetensors"), network=Views)

    assert evaluate(model, few_digits.test_images, few_digits.test_labels).errors == run.errors


class Explodes(nn.Module):
    """Gives a loss that is not finite from the given step on."""

    def __init__(self, step):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(10))
        self.countdown = step

    def forward(self, x):
        self.countdown -= self.training
        return (self.weight + (float("inf") if self.countdown < 0 else 0)).log_softmax(0).expand(len(x), 10)


@pytest.mark.parametrize(("at", "epoch", "step"), [(2, 0, 2), (3, 0, 3), (8, 1, 2)])
def test_a_loss_that_is_not_finite_stops_the_run_and_says_where(few_digits, at, epoch, step):
    experiment = dataclasses.replace(T1, network=functools.partial(Explodes, at), batch_size=100)

    with pytest.raises(LossNotFinite, match=rf"T1: the loss is nan in epoch {epoch} at step {step}, ") as error:
        fit(experiment, few_digits, epochs=3, progress=False)
    assert (error.value.epoch, error.value.step) == (epoch, step)


def test_a_test_loss_that_is_not_finite_stops_the_run(few_digits):
    """The last step spoils the weights: its own loss is still finite."""

    class SpoiledByTraining(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(10))

        def forward(self, x):
            spoiled = not self.training and self.weight.any()
            return (self.weight + (torch.nan if spoiled else 0)).log_softmax(0).expand(len(x), 10)

    experiment = dataclasses.replace(T1, network=SpoiledByTraining)

    with pytest.raises(LossNotFinite, match="T1: the loss is nan on the test set after epoch 0, "):
        fit(experiment, few_digits, epochs=1, progress=False)


@pytest.mark.parametrize("device", ["quantum", "mps", "cuda:99", "cuda", "cpu:x", "cpu:1", "cuda:-1", object()])
def test_a_device_that_is_not_there_is_refused(monkeypatch, few_digits, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(InvalidArgument, match="device is '.*': on this machine it should be cpu$"):
        fit(T1, few_digits, device=device)


def test_of_two_gpus_the_third_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    assert [str(usable_device(name)) for name in (None, "cuda:1", "cpu", "cpu:0")] == ["cuda", "cuda:1", "cpu", "cpu"]
    with pytest.raises(InvalidArgument, match="'cuda:2': on this machine it should be cpu or cuda or cuda:0 or cuda:1"):
        usable_device("cuda:2")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "epochs is 0: a whole number from 1"),
        ({"epochs": True}, "epochs is True"),
        ({"epochs": 1.5}, "epochs is 1.5"),
        ({"seed": -1}, "seed is -1: a whole number from 0"),
        ({"seed": 2**64}, "seed is 18446744073709551616"),
        ({"seed": True}, "seed is True"),
        ({"seed": "1"}, "seed is '1'"),
        ({"experiment": "T1"}, "experiment is 'T1': an Experiment is needed"),
        ({"digits": "mnist"}, "digits are a str: Digits are needed"),
    ],
)
def test_arguments_that_cannot_be_are_refused(few_digits, arguments, message):
    with pytest.raises(InvalidArgument, match=message):
        fit(**{"experiment": T1, "digits": few_digits, "progress": False} | arguments)


def test_numpys_integers_are_seeds_and_epochs(few_digits, tmp_path):
    run = fit(T1, few_digits, np.int64(2), np.uint8(1), progress=False)

    assert Run.load(run.save(tmp_path)).seed == 2
    assert figures(run) == figures(fit(T1, few_digits, 2, 1, progress=False))


def test_the_largest_seed_is_one(few_digits, tmp_path):
    run = fit(T1, few_digits, 2**64 - 1, 1, progress=False)

    assert Run.load(run.save(tmp_path)).seed == 2**64 - 1


@pytest.mark.parametrize(
    "setting",
    [
        lambda stack: torch.set_default_dtype(torch.float64),
        lambda stack: torch.set_default_device("meta"),
        lambda stack: stack.enter_context(torch.inference_mode()),
        lambda stack: stack.enter_context(torch.no_grad()),
    ],
    ids=["float64", "meta", "inference mode", "no gradients"],
)
def test_what_the_caller_has_set_for_all_of_pytorch_changes_no_figure(few_digits, setting):
    expected = fit(T3, few_digits, epochs=1, device="cpu", progress=False)

    with contextlib.ExitStack() as stack:
        stack.callback(torch.set_default_dtype, torch.float32)
        stack.callback(torch.set_default_device, None)
        setting(stack)
        before = torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled()
        found = fit(T3, few_digits, epochs=1, device="cpu", progress=False)
        assert (torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled()) == before

    assert figures(found) == figures(expected)


def test_autocast_is_recorded(few_digits):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        run = fit(T3, few_digits, epochs=1, device="cpu", progress=False)

    assert run.environment["precision"] == "autocast to bfloat16"
    assert run.environment["kernels"] == "PyTorch"


IMAGES, LABELS = torch.zeros(4, 28, 28, dtype=torch.uint8), torch.tensor([0, 9, 1, 2])


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES, torch.tensor([0, 1, 2, 3, 4]), r"labels: one for each of the 4 images is needed, found \(5,\)"),
        (IMAGES, torch.tensor([0, 1, 2, -100]), "labels: digits from 0 to 9 are needed, found -100 to 2"),
        (IMAGES, torch.tensor([0, 1, 2, 10]), "found 0 to 10"),
        (IMAGES, torch.tensor([0.0, 1, 2, 3]), "an int64 tensor is needed, found torch.float32"),
        (IMAGES, [0, 1, 2, 3], "an int64 tensor is needed, found list"),
        (
            IMAGES / 255,
            LABELS,
            r"images: uint8 is needed, 0 black to 255 white, found torch.float32; .*\(255 \* images",
        ),
        (IMAGES[0], LABELS, r"images: the shape \(N, 28, 28\) is needed, found \(28, 28\)"),
        (IMAGES[:, None], LABELS, r"found \(4, 1, 28, 28\)"),
        (torch.zeros(4, 32, 32, dtype=torch.uint8), LABELS, r"found \(4, 32, 32\)"),
        (IMAGES[:0], LABELS[:0], "images: there are none"),
        (IMAGES.numpy(), LABELS, "images: a uint8 tensor is needed, found ndarray"),
    ],
)
def test_tensors_that_are_no_digits_are_refused(images, labels, message):
    model = T1.network()
    with pytest.raises(DigitsInvalid, match=message):
        evaluate(model, images, labels)
    with pytest.raises(DigitsInvalid, match=message):
        Digits(IMAGES, LABELS, images, labels, "a name", "a test")
    with pytest.raises(DigitsInvalid, match=message):
        Digits(images, labels, IMAGES, LABELS, "a name", "a test")
    if message.startswith("images"):
        with pytest.raises(DigitsInvalid, match=message):
            predict(model, images)


def test_evaluating_leaves_each_layer_in_the_mode_it_was_in(few_digits):
    model = T3.network()
    frozen = model.block1[1].eval()

    evaluate(model, few_digits.test_images, few_digits.test_labels)

    assert not frozen.training
    assert model.training and model.block1[0].training
    evaluate(model.eval(), few_digits.test_images, few_digits.test_labels)
    assert not any(module.training for module in model.modules())


def test_lines_are_in_the_references_form(few_digits, capsys):
    run = fit(dataclasses.replace(T2, **QUICK), few_digits, epochs=3)

    lines = capsys.readouterr().out.splitlines()
    rates = [line for line in lines if line.startswith("Adjusting")]
    assert rates == ["Adjusting learning rate to 7.5000e-02.", "Adjusting learning rate to 4.8750e-02."]
    bars = [line for line in lines if line.startswith("Epoch=")]
    assert len(bars) == 3
    assert re.fullmatch(
        r"Epoch=2 Batch=5 loss=\d\.\d{7} Accuracy=\d+\.\d\d%: 100%\|█+\| 6/6 \[00:0\d<00:00, .*it/s\]", bars[2]
    )
    last = [line for line in lines if line.startswith("Test set")][-1]
    right = 100 - len(run.errors)
    assert last == f"Test set: Average loss: {run.final.test_loss:.7f}, Accuracy: {right}/100 ({right:.2f}%)"


def test_a_network_that_gives_no_log_probabilities_is_refused(few_digits):
    experiment = dataclasses.replace(T1, network=lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10)))

    with pytest.raises(NetworkUnfit, match="T1: Sequential gives logits in evaluation mode"):
        fit(experiment, few_digits, epochs=1, progress=False)


@pytest.mark.parametrize("name", ["", "a/b"])
def test_names_that_no_file_can_have_are_refused(few_digits, name):
    with pytest.raises(InvalidArgument, match="name is "):
        dataclasses.replace(T1, name=name)
    with pytest.raises(InvalidArgument, match="name is "):
        dataclasses.replace(few_digits, name=name)


def named(digits, name):
    return dataclasses.replace(digits, name=name)


def test_images_are_normalised_by_the_constants_of_their_data_set(few_digits, monkeypatch, tmp_path):
    """In training, in testing and wherever the network is used after: a network sees what it was trained on."""
    monkeypatch.setattr("mnist_s7.results.run.TESTED_ON", {})
    fashion = named(few_digits, "Fashion-MNIST")
    run, on_mnist = (fit(T3, digits, epochs=1, progress=False) for digits in (fashion, named(few_digits, "MNIST")))
    assert run.fingerprint == on_mnist.fingerprint

    pixels = fashion.test_images.unsqueeze(1) / 255
    expected = run.model.eval()((pixels - 0.2860) / 0.3530).detach()
    assert torch.allclose(predict(run.model, fashion.test_images), expected, atol=1e-5)
    assert not torch.allclose(run.model((pixels - 0.1307) / 0.3081), expected, atol=1e-2)

    path = run.save(tmp_path)
    assert path.name == "T3-seed1-Fashion-MNIST.json"
    for loaded in (Run.load(path).model, load_model(path.with_suffix(".safetensors"))):
        assert torch.allclose(predict(loaded, fashion.test_images), expected, atol=1e-5)


def test_training_images_are_normalised_by_the_constants_of_their_data_set(few_digits):
    """As a network sees them: BatchNorm's running mean of a layer that hands on its input."""

    class Sees(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(1, momentum=None)  # None: the mean over all steps
            self.layer = nn.Linear(784, 10)

        def forward(self, x):
            return F.log_softmax(self.layer(self.norm(x).flatten(1)), dim=1)

    experiment = dataclasses.replace(T1, name="sees", network=Sees)
    pixels = few_digits.train_images.double().mean() / 255
    for name, mean, std in (("MNIST", 0.1307, 0.3081), ("Fashion-MNIST", 0.2860, 0.3530), ("KMNIST", 0.1918, 0.3483)):
        run = fit(experiment, named(few_digits, name), epochs=1, progress=False)
        assert run.model.norm.running_mean.item() == pytest.approx((pixels.item() - mean) / std, abs=1e-3)
