"""The loss of distillation against its formula in float64, and the settings."""

import dataclasses

import pytest
import torch
from torch import nn

from mnist_s7 import T3, T4, InvalidArgument
from mnist_s7.distillation import Distillation


def random_batch(*shape):
    torch.manual_seed(0)
    logits = torch.randn(*shape, 10, requires_grad=True)
    return logits, torch.randint(0, 10, shape), (2 * torch.randn(*shape, 10)).softmax(-1)


@pytest.mark.parametrize("labels", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("shape", [(5,), (2, 5)])
def test_loss_is_that_of_hinton_vinyals_and_dean(temperature, labels, shape):
    logits, digits, soft_targets = random_batch(*shape)

    losses = Distillation(T4, 1, temperature, labels).losses(logits.log_softmax(-1), digits, soft_targets)

    exact, p = logits.detach().double(), soft_targets.double()
    q = (exact / temperature).exp() / (exact / temperature).exp().sum(-1, keepdim=True)
    divergence = temperature**2 * (p * (p / q).log()).sum(-1)
    right = exact.log_softmax(-1).gather(-1, digits.unsqueeze(-1)).squeeze(-1)
    assert losses.shape == shape
    torch.testing.assert_close(losses.double(), (1 - labels) * divergence - labels * right, rtol=1e-5, atol=1e-6)


def test_each_teacher_is_softened_before_the_mean():
    """By the formula: the square roots of probabilities, for temperature 2, scaled to a sum of 1."""
    sure, unsure = torch.full((10,), 1e-6), torch.full((10,), 0.05)
    sure[3], unsure[3] = 1 - 9e-6, 0.55
    roots = [p.double().sqrt() / p.double().sqrt().sum() for p in (sure, unsure)]

    found = Distillation(T4, 2, 2.0).soft_targets(torch.stack([sure, unsure]).log().unsqueeze(1))

    torch.testing.assert_close(found[0].double(), sum(roots) / 2, rtol=1e-5, atol=1e-8)
    plain = Distillation(T4, 2).soft_targets(torch.stack([sure, unsure]).log().unsqueeze(1))
    torch.testing.assert_close(plain[0], (sure + unsure) / 2)
    assert not torch.allclose(found[0], plain[0].sqrt() / plain[0].sqrt().sum(), atol=0.02)


def test_certain_teachers_are_as_labels():
    logits, digits, _ = random_batch(8)
    certain = nn.functional.one_hot(digits, 10).float()

    loss = Distillation(T4, 1).loss(logits.log_softmax(1), digits, certain)

    torch.testing.assert_close(loss, nn.functional.cross_entropy(logits, digits))


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_who_agrees_with_the_teachers_is_left_alone(temperature):
    logits, digits, _ = random_batch(8)

    taught = Distillation(T4, 1, temperature)
    loss = taught.loss(logits.log_softmax(1), digits, taught.soft_targets(logits.detach().log_softmax(1)[None]))
    loss.backward()

    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert logits.grad.abs().max() < 1e-6


def test_gradients_are_finite_where_teachers_rule_digits_out():
    logits, digits, _ = random_batch(8)

    Distillation(T4, 1, 4.0, 0.1).loss(
        logits.log_softmax(1), digits, nn.functional.one_hot(digits, 10).float()
    ).backward()

    assert logits.grad.isfinite().all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"teachers": 0}, "teachers is 0"),
        ({"teachers": 1.5}, "teachers is 1.5"),
        ({"teachers": True}, "teachers is True"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"temperature": "warm"}, "temperature is 'warm'"),
        ({"labels": None}, "labels is None"),
        ({"labels": 1.1}, "labels is 1.1"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(InvalidArgument, match=message):
        Distillation(**{"teacher": T4, "teachers": 2} | settings)


def test_fingerprints_and_recipes_tell_distillations_apart():
    taught = [
        dataclasses.replace(T3, distillation=distillation)
        for distillation in (
            None,
            Distillation(T4, 2),
            Distillation(T4, 3),
            Distillation(T4, 2, 4.0),
            Distillation(T4, 2, labels=0.1),
            Distillation(dataclasses.replace(T4, lr=0.1), 2),
            Distillation(dataclasses.replace(T4, epochs=30), 2),
        )
    ]

    assert len({experiment.fingerprint for experiment in taught}) == len(taught)
    assert taught[3].recipe.startswith("soft targets of 2 networks of T4 at temperature 4; SGD")
    assert taught[0].fingerprint == T3.fingerprint
