"""The variants of the iterations: each has that alone changed which its name says."""

import dataclasses
from itertools import pairwise

import pytest
import torch
from torch import nn
from torchvision import transforms

from mnist_s7 import SERIES, T2, T3, T4, T5
from mnist_s7.baselines import BASELINES
from mnist_s7.catalog import ABLATIONS, EXPERIMENTS
from mnist_s7.experiments import T5_TEACHER
from mnist_s7.schedules import OneCycle, StepLR

VARIANTS = {
    "T2-dropout-0.01": (T2, "network"),
    "T3-dropout-0.05": (T3, "network"),
    "T3-no-batchnorm": (T3, "network"),
    "T3-no-augmentation": (T3, "train_transform"),
    "T3-rotation-7": (T3, "train_transform"),
    "T3-rotation-15": (T3, "train_transform"),
    "T4-6.5K": (T4, "network"),
    "T4-5K": (T4, "network"),
    "T4-4K": (T4, "network"),
    "T4-no-skip": (T4, "network"),
    "T4-standard": (T4, "network"),
    "T4-rotations": (T4, "train_transform"),
    "T4-StepLR": (T4, "lr", "schedule", "nesterov"),
    "T4-no-weight-decay": (T4, "weight_decay"),
    "T4-dropout-0.01": (T4, "network"),
    "T5-labels": (T5, "distillation"),
    "T5-T4-network": (T5, "network"),
    "T5-max-pools": (T5, "network"),
    "T5-temperature-1": (T5, "distillation"),
    "T5-one-teacher": (T5, "distillation"),
    "T5-6.5K": (T5, "network"),
    "T5-4K": (T5, "network"),
    "T5-3K": (T5, "network"),
}


def layers(experiment):
    return [repr(layer) for layer in experiment.network().modules() if not list(layer.children())]


def rotations(experiment):
    fixed = (transforms.ToTensor, transforms.Normalize)
    return [repr(each) for each in experiment.train_transform.transforms if not isinstance(each, fixed)]


def test_every_experiment_has_a_name_of_its_own():
    assert list(EXPERIMENTS) == [experiment.name for experiment in (*SERIES, T5_TEACHER, *ABLATIONS, *BASELINES)]


def test_a_fingerprint_is_that_of_one_recipe():
    """The same each time, drawing no random numbers, and another for each experiment and each setting."""
    state = torch.random.get_rng_state()
    settings = {"lr": 0.06, "momentum": 0.8, "batch_size": 64, "nesterov": True, "weight_decay": 0.1}
    settings |= {"schedule": StepLR(0.35, step=5)}
    changed = [dataclasses.replace(T3, **{name: value}) for name, value in settings.items()]
    changed += [dataclasses.replace(T3, schedule=OneCycle(warmup)) for warmup in (0.12, 0.125)]
    prints = [experiment.fingerprint for experiment in [*EXPERIMENTS.values(), *changed]]

    assert prints == [experiment.fingerprint for experiment in [*EXPERIMENTS.values(), *changed]]
    assert len(set(prints)) == len(prints)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_fingerprint_does_not_depend_on_how_pytorch_words_a_batchnorm(monkeypatch):
    """With its bias named, as later releases than 2.11 have it, and without."""
    worded = {
        "affine={affine}, bias={affine}, track_running_stats={track_running_stats}",
        "affine={affine}, track_running_stats={track_running_stats}",
    }
    found = set()
    for words in worded:
        text = "{num_features}, eps={eps}, momentum={momentum}, " + words
        monkeypatch.setattr(nn.BatchNorm2d, "extra_repr", lambda norm, text=text: text.format(**vars(norm)))
        found.add(T3.fingerprint)
    monkeypatch.undo()

    assert found == {T3.fingerprint}


def rates(schedule, lr, epochs):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler = schedule.scheduler(optimizer, epochs)
    for _ in range(epochs):
        yield optimizer.param_groups[0]["lr"]
        optimizer.step()
        scheduler.step()


def test_one_cycle_rises_and_falls_in_lines():
    """Over whatever number of epochs; each has the rate of its middle, and no epoch has none."""
    assert list(rates(OneCycle(0.2), 0.2, 10)) == pytest.approx([0.05, 0.15, *(0.2 * (7.5 - i) / 8 for i in range(8))])
    assert list(rates(OneCycle(0.5), 1.0, 4)) == pytest.approx([0.25, 0.75, 0.75, 0.25])
    with pytest.raises(ValueError, match=r"warmup is 1\.0: it should be a share"):
        OneCycle(1.0)


def test_weight_decay_is_the_optimizers():
    optimizer = dataclasses.replace(T3, weight_decay=0.001).optimizer(T3.network())

    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.001]
    assert "weight decay 0.001, highest learning rate" in dataclasses.replace(T3, weight_decay=0.001).recipe


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_change_their_settings_alone(name):
    original, *changed = VARIANTS[name]
    spoken_of = {"name", "change", "targets", "claims", "reference"}
    differing = {
        field.name
        for field in dataclasses.fields(original)
        if getattr(original, field.name) != getattr(EXPERIMENTS[name], field.name)
    }

    assert differing - spoken_of == set(changed)
    assert (layers(EXPERIMENTS[name]) != layers(original)) == (changed == ["network"])


@pytest.mark.parametrize(("name", "p", "same"), [("T2-dropout-0.01", 0.01, T2), ("T3-dropout-0.05", 0.05, T3)])
def test_variants_of_dropout_have_the_others_rate_in_every_layer(name, p, same):
    found = [layer.p for layer in EXPERIMENTS[name].network().modules() if isinstance(layer, nn.Dropout)]

    assert found == [p] * 5
    assert [each for each in layers(EXPERIMENTS[name]) if "Dropout" not in each] == [
        each for each in layers(same) if "Dropout" not in each
    ]


def test_without_batchnorm_all_other_layers_are_there_with_the_same_weights():
    torch.manual_seed(0)
    bare = EXPERIMENTS["T3-no-batchnorm"].network()
    torch.manual_seed(0)
    whole = T3.network()

    assert layers(EXPERIMENTS["T3-no-batchnorm"]) == [each for each in layers(T3) if "BatchNorm" not in each]
    weights = [layer.weight for layer in whole.modules() if isinstance(layer, nn.Conv2d)]
    assert all(map(torch.equal, bare.parameters(), weights))


def test_without_skip_connections_all_layers_are_there_with_the_same_weights():
    torch.manual_seed(0)
    bare = EXPERIMENTS["T4-no-skip"].network()
    torch.manual_seed(0)
    whole = T4.network()

    assert sorted(layers(EXPERIMENTS["T4-no-skip"])) == sorted([*layers(T4), *["ReLU()"] * 3])
    assert all(map(torch.equal, bare.parameters(), whole.parameters()))
    x = torch.randn(2, 1, 28, 28)
    assert not torch.allclose(bare.eval()(x), whole.eval()(x))


def test_dropout_in_t4_is_after_each_relu_of_the_same_layers():
    torch.manual_seed(0)
    dropped = EXPERIMENTS["T4-dropout-0.01"].network()
    torch.manual_seed(0)
    whole = T4.network()

    found = layers(EXPERIMENTS["T4-dropout-0.01"])
    assert [each for each in found if "Dropout" not in each] == layers(T4)
    assert all((layer == "ReLU()") == ("p=0.01" in after) for layer, after in pairwise(found))
    assert all(map(torch.equal, dropped.parameters(), whole.parameters()))
    x = torch.randn(2, 1, 28, 28)
    assert torch.equal(dropped.eval()(x), whole.eval()(x))
    assert not torch.equal(dropped.train()(x), whole.train()(x))


@pytest.mark.parametrize(
    ("name", "most"), [("T4-6.5K", 6_544), ("T4-5K", 5_000), ("T4-4K", 4_000), ("T4-standard", 7_999)]
)
def test_networks_of_a_size_are_of_that_size(name, most):
    parameters = sum(p.numel() for p in EXPERIMENTS[name].network().parameters())

    assert 0.98 * most <= parameters <= most
    assert EXPERIMENTS[name].network().eval()(torch.zeros(2, 1, 28, 28)).exp().sum(1).tolist() == pytest.approx([1, 1])


def test_variants_of_augmentation_have_one_rotation_or_none():
    first, second = rotations(T3)

    assert rotations(EXPERIMENTS["T3-rotation-7"]) == [first]
    assert rotations(EXPERIMENTS["T3-rotation-15"]) == [second]
    assert rotations(EXPERIMENTS["T3-no-augmentation"]) == []
