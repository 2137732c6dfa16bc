"""Seeds trained together against the same seeds trained alone."""

import dataclasses

import pytest
import torch
from torch import nn

from mnist_s7 import SERIES, T2, T3, LossNotFinite, fit, predict
from mnist_s7.catalog import EXPERIMENTS
from mnist_s7.kernels.library import load
from mnist_s7.optimizers import Adam
from mnist_s7.schedules import StepLR
from mnist_s7.training import Steps, fit_seeds
from mnist_s7.training.ensemble import Ensemble

SEEDS = [3, 1, 2]


# One with OneCycleLR, biases and random crops; and one with Adam, whose eps keeps rounding from becoming a step.
PUBLISHED = [
    dataclasses.replace(EXPERIMENTS["shwethaamrutha-6260"], lr=0.0005),
    dataclasses.replace(EXPERIMENTS["snehanshu-7918"], lr=0.0005, algorithm=Adam(eps=0.1)),
]
# On labels: soft targets are tested with their own.
SLOW = [dataclasses.replace(each, lr=0.0005, schedule=StepLR(0.65), distillation=None) for each in SERIES]


@pytest.mark.parametrize("experiment", [*SLOW, *PUBLISHED], ids=lambda experiment: experiment.name)
def test_each_run_is_that_of_its_seed_alone(few_digits, experiment):
    """With a small learning rate: with a larger one, rounding grows from step to step. And on digits that are not
    normalised as MNIST's are."""
    if load() is None:
        pytest.skip("without the compiled dropout, a run alone draws other numbers")
    experiment = dataclasses.replace(experiment, batch_size=100)
    few_digits = dataclasses.replace(
        few_digits,
        train_images=few_digits.train_images[:250],
        train_labels=few_digits.train_labels[:250],
        name="Fashion-MNIST",
    )

    together = fit_seeds(experiment, few_digits, SEEDS, epochs=2, device="cpu")

    assert [run.seed for run in together] == SEEDS
    for run in together:
        alone = fit(experiment, few_digits, run.seed, epochs=2, device="cpu", progress=False)
        assert (run.name, run.parameters, run.dataset) == (alone.name, alone.parameters, alone.dataset)
        for one, other in zip(run.epochs, alone.epochs, strict=True):
            assert (one.epoch, one.lr) == (other.epoch, other.lr)
            assert one.train_loss == pytest.approx(other.train_loss, rel=1e-4)
            assert one.test_loss == pytest.approx(other.test_loss, rel=1e-3)
            assert one.train_accuracy == pytest.approx(other.train_accuracy, abs=0.8)  # two images
        for name, tensor in alone.model.state_dict().items():
            torch.testing.assert_close(run.model.state_dict()[name], tensor, rtol=1e-3, atol=1e-4)


def test_runs_differ_and_know_their_errors(few_digits):
    together = fit_seeds(T3, few_digits, SEEDS, epochs=1, device="cpu")

    assert len({run.final.train_loss for run in together}) == 3
    for run in together:
        predicted = predict(run.model, few_digits.test_images).argmax(1)
        assert torch.equal(predicted, run.predictions(few_digits.test_labels))
        assert run.environment["seeds_together"] == 3


def test_which_others_are_trained_beside_it_does_not_matter(few_digits):
    experiment = dataclasses.replace(T2, lr=0.0005)
    pair, [alone] = (fit_seeds(experiment, few_digits, seeds, epochs=1, device="cpu") for seeds in ([7, 8], [8]))

    assert pair[1].final.train_loss == pytest.approx(alone.final.train_loss, rel=1e-5)


def test_the_callers_random_state_is_left(few_digits):
    state = torch.random.get_rng_state()

    fit_seeds(T3, few_digits, [1, 2], epochs=1, device="cpu")

    assert torch.equal(torch.random.get_rng_state(), state)


def test_networks_in_an_ensemble_give_what_each_gives():
    torch.manual_seed(0)
    models = [T2.network().eval() for _ in range(3)]
    for model in models:
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.normal_(layer.running_mean)
                nn.init.normal_(layer.weight)
    ensemble = Ensemble(models, [torch.Generator() for _ in models], torch.device("cpu")).eval()
    x = torch.randn(5, 1, 28, 28)

    expected = torch.stack([model(x) for model in models])
    torch.testing.assert_close(ensemble(x), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ensemble(x.expand(3, -1, -1, -1, -1)), expected, rtol=1e-4, atol=1e-4)


def nan_for_seed_2():
    network = T2.network()
    if torch.initial_seed() == 2:
        nn.init.constant_(network.block1[0].weight, torch.nan)
    return network


def test_a_seed_that_diverges_leaves_the_others_as_they_are_without_it(few_digits):
    experiment = dataclasses.replace(T2, network=nan_for_seed_2)

    first, lost, third = fit_seeds(experiment, few_digits, [1, 2, 3], epochs=2, device="cpu")

    assert isinstance(lost, LossNotFinite)
    assert str(lost).startswith("T2: the loss is nan in epoch 0 at step 0")
    without = fit_seeds(experiment, few_digits, [1, 3], epochs=2, device="cpu")
    for run, same in zip((first, third), without, strict=True):
        assert run.final.train_loss == pytest.approx(same.final.train_loss, rel=0.01)  # rounding grows with each step


def test_where_all_seeds_diverge_none_trains_on_and_each_has_its_own_error(few_digits, monkeypatch):
    def nan_in_epoch(self, experiment, epoch, lr):
        raise LossNotFinite(experiment, epoch, 0, torch.nan, lr)

    check = Steps.check
    calls = []

    def diverging(self, *arguments):
        """The second seed in the first epoch, the first one in the second."""
        calls.append(arguments)
        (nan_in_epoch if len(calls) in (2, 3) else check)(self, *arguments)

    monkeypatch.setattr(Steps, "check", diverging)

    lost = fit_seeds(T2, few_digits, [1, 2], epochs=10**6, device="cpu")

    assert [(type(each), each.epoch) for each in lost] == [(LossNotFinite, 1), (LossNotFinite, 0)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seeds": []}, "no seeds"),
        ({"seeds": [1], "epochs": 0}, "epochs is 0"),
        ({"seeds": [1, -1]}, "seed is -1"),
        ({"seeds": [1], "device": "tpu"}, "tpu"),
    ],
)
def test_what_cannot_be_trained_is_refused(few_digits, arguments, message):
    with pytest.raises(ValueError, match=message):
        fit_seeds(T3, few_digits, **arguments)
