"""Learning rates and momenta of whole runs against PyTorch's own classes in a loop as their authors write it."""

import dataclasses

import pytest
import torch
from torch import optim
from torch.optim import lr_scheduler

from mnist_s7 import T1, InvalidArgument, fit
from mnist_s7.catalog import EXPERIMENTS
from mnist_s7.optimizers import SGD, Adam
from mnist_s7.schedules import EarlyStopping, OneCycleLR, PlateauOnTestSet, RateTable, ReduceLROnPlateau
from mnist_s7.training import CannotBeMerged, Steps, fit_seeds

STEPS = 6  # of an epoch: 512 images in batches of 100


def settings(optimizer):
    """(learning rate, momentum or beta1) as a step would use them."""
    [group] = optimizer.param_groups
    return group["lr"], group["momentum"] if "momentum" in group else group["betas"][0]


@pytest.fixture
def used(monkeypatch):
    """What each step of every optimiser uses, in order."""
    found = []
    for kind in (optim.SGD, optim.Adam, optim.AdamW):
        step = kind.step

        def spy(self, closure=None, step=step):
            if self.param_groups[0]["params"][0].device.type != "meta":  # of one that only knows the rates
                found.append(settings(self))
            return step(self, closure)

        monkeypatch.setattr(kind, "step", spy)
    for kind in (SGD, Adam):
        step = kind.step

        def spy_together(self, weights, gradient, state, lr, momentum, *others, step=step):
            found.append((lr.item(), momentum.item()))
            step(self, weights, gradient, state, lr, momentum, *others)

        monkeypatch.setattr(kind, "step", spy_together)
    return found


def trained(name, digits, train, **changes):
    experiment = dataclasses.replace(EXPERIMENTS[name], network=T1.network, batch_size=100, **changes)
    train(experiment, digits)


def alone(experiment, digits):
    return [fit(experiment, digits, device="cpu", progress=False)]


def together(experiment, digits):
    return fit_seeds(experiment, digits, [1, 2], device="cpu")


def one_cycle(optimizer, scheduler, steps):
    for _ in range(steps):
        yield settings(optimizer)
        optimizer.step()
        scheduler.step()


def weights():
    return [torch.nn.Parameter(torch.zeros(1))]


# As in the authors' programs: the optimiser as it is constructed, and the scheduler.
ONE_CYCLES = {
    "nimmagadda-6188": lambda total: (
        (adam := optim.Adam(weights(), lr=0.001, weight_decay=5e-5)),
        lr_scheduler.OneCycleLR(adam, 0.003, total, pct_start=0.2, div_factor=25, final_div_factor=1000),
    ),
    "shwethaamrutha-6260": lambda total: (
        (sgd := optim.SGD(weights(), lr=0.01, momentum=0.98, weight_decay=5e-5)),
        lr_scheduler.OneCycleLR(sgd, 0.05, total, pct_start=0.05, div_factor=10, final_div_factor=100),
    ),
    "satyajit-9962": lambda total: (
        (sgd := optim.SGD(weights(), lr=0.01, momentum=0.9)),
        lr_scheduler.OneCycleLR(sgd, max_lr=0.01, total_steps=total),
    ),
}


@pytest.mark.parametrize("train", [alone, together])
@pytest.mark.parametrize("name", ONE_CYCLES)
def test_one_cycle_changes_rate_and_momentum_in_each_step(few_digits, used, name, train):
    trained(name, few_digits, train, epochs=4)
    found = list(used)

    expected = list(one_cycle(*ONE_CYCLES[name](4 * STEPS), 4 * STEPS))
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected))
    assert len({momentum for _, momentum in expected}) > 10


@pytest.mark.parametrize(("name", "momentum"), [("shwethaamrutha-6260", 0.98), ("satyajit-9962", 0.9)])
def test_as_written_the_momentum_stays(few_digits, used, name, momentum):
    trained(f"{name}-as-written", few_digits, alone, epochs=4)
    rates, momenta = zip(*used, strict=True)

    cycled = [rate for rate, _ in one_cycle(*ONE_CYCLES[name](4 * STEPS), 4 * STEPS)]
    assert rates == pytest.approx(cycled) and {*momenta} == {momentum}


def test_a_scheduler_that_is_dropped_has_set_the_momentum(few_digits, used):
    """parrotletml-3762: the constructor of OneCycleLR does it."""
    optimizer = optim.SGD(weights(), lr=0.05)
    lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=100)
    trained("parrotletml-3762", few_digits, alone, epochs=1)

    assert {momentum for _, momentum in used} == {settings(optimizer)[1]} == {0.95}


def test_a_table_has_the_rate_of_each_epoch(few_digits, used):
    """parrotletml-3762's points (0, 0.05), (2, 0.1), (8, 0.01), (12, 0.005) and (15, 0), joined by straight lines."""
    import numpy as np

    trained("parrotletml-3762", few_digits, alone)

    expected = np.interp(range(15), [0, 2, 8, 12, 15], [0.05, 0.1, 0.01, 0.005, 0])
    assert [rate for rate, _ in used] == pytest.approx(np.repeat(expected, STEPS))


def test_a_table_that_is_too_short_is_refused(few_digits):
    with pytest.raises(InvalidArgument, match="epochs is 3, and the table of learning rates ends after 2"):
        fit(dataclasses.replace(T1, schedule=RateTable((0.1, 0.2))), few_digits, epochs=3, progress=False)


def test_two_trainings_in_a_row_are_two_step_schedules():
    rates = []
    for _ in range(2):
        optimizer = optim.SGD(weights(), lr=0.05)
        scheduler = lr_scheduler.StepLR(optimizer, 3, gamma=0.05)
        rates += [rate for rate, _ in one_cycle(optimizer, scheduler, 15)]

    assert EXPERIMENTS["shubhamverma-7910-twice"].learning_rates(30) == pytest.approx(rates)


STEP_SCHEDULES = {
    "hexhowells-807": (20, 8e-4, None),
    "hexhowells-807-stepped": (20, 8e-4, (5, 0.62)),
    "hexhowells-1055": (20, 1e-3, (1, 0.7)),
    "navyabhat-4312-stepped": (15, 0.01, (1, 0.1)),
    "navyabhat-7524-stepped": (15, 0.01, (6, 0.1)),
    "sudhakarmlal-5854": (14, 0.019, (7, 0.1)),
    "sunpau-6128": (15, 0.01, (6, 0.1)),
    "jaibhagat-6712": (15, 0.021, None),
    "prashant-7568": (15, 0.015, (6, 0.1)),
    "snehanshu-7918": (15, 0.005, (8, 0.1)),
    "uday96-8500": (15, 0.01, (6, 0.1)),
    "eva6-9320": (19, 0.01, (8, 0.25)),
}


@pytest.mark.parametrize("name", STEP_SCHEDULES)
def test_step_schedules(name):
    epochs, lr, step = STEP_SCHEDULES[name]
    optimizer = optim.SGD(weights(), lr=lr)
    scheduler = lr_scheduler.StepLR(optimizer, *(step or (1, 1.0)))

    expected = [rate for rate, _ in one_cycle(optimizer, scheduler, epochs)]
    assert EXPERIMENTS[name].epochs == epochs
    assert EXPERIMENTS[name].learning_rates(epochs) == pytest.approx(expected)


def keras_plateau(losses, lr, factor, patience, min_lr, min_delta):
    """The rate after each epoch, by the rules in the documentation of Keras's ReduceLROnPlateau."""
    best, waited, rates = float("inf"), 0, []
    for loss in losses:
        if loss < best - min_delta:
            best, waited = loss, 0
        else:
            waited += 1
            if waited >= patience:
                lr, waited = max(lr * factor, min_lr), 0
        rates.append(lr)
    return rates


KERAS_PLATEAUS = {
    "joshwarn-697": (0.25, 50, 2.5e-5, 1e-16),
    "joshwarn-997": (0.1, 8, 1e-8, 1e-4),
    "joshwarn-997-by-test-set": (0.1, 8, 1e-8, 1e-4),
}


@pytest.mark.parametrize("name", KERAS_PLATEAUS)
def test_a_plateau_lowers_the_rate_as_keras_does(name):
    """Of losses that fall, then hardly, and then jump about."""
    generator = torch.Generator().manual_seed(1)
    falling = [1 / (epoch + 1) for epoch in range(60)]
    hardly = [falling[-1] - 3e-5 * epoch for epoch in range(100)]
    losses = [*falling, *hardly, *(0.02 + torch.rand(400, generator=generator) / 100).tolist()]
    experiment = EXPERIMENTS[name]
    optimizer = experiment.optimizer(torch.nn.Linear(1, 1))
    stepping = experiment.stepping(optimizer, len(losses), 60_000)
    by_test_set = name != "joshwarn-997"

    found = []
    for loss in losses:
        stepping.after_step()  # which changes nothing
        stepping.after_epoch(*(torch.nan, loss) if by_test_set else (loss, torch.nan))
        found.append(settings(optimizer)[0])

    expected = keras_plateau(losses, 0.01, *KERAS_PLATEAUS[name])
    assert found == pytest.approx(expected)
    assert len({*found}) > 3


def test_a_plateau_follows_the_training_loss(few_digits):
    """A network hardly learns at this rate, so that no epoch's loss is below the first one's by a third."""
    schedule = ReduceLROnPlateau(factor=0.5, patience=1, threshold=0.3)
    experiment = dataclasses.replace(T1, schedule=schedule, lr=1e-5, batch_size=100)

    rates = [epoch.lr for epoch in fit(experiment, few_digits, epochs=6, device="cpu", progress=False).epochs]

    assert rates == pytest.approx([1e-5, 1e-5, 1e-5, 5e-6, 5e-6, 2.5e-6])


def test_one_on_the_test_set_follows_that():
    stepping = dataclasses.replace(T1, schedule=PlateauOnTestSet(factor=0.5, patience=0)).stepping(
        optimizer := optim.SGD(weights(), lr=0.01), 4, 60_000
    )
    rates = []
    for train_loss, test_loss in ((1, 1), (1, 0.9), (0.5, 0.9), (0.4, 0.9)):
        stepping.after_epoch(train_loss, test_loss)
        rates.append(settings(optimizer)[0])

    assert rates == pytest.approx([0.01, 0.01, 0.005, 0.0025])


@pytest.mark.parametrize("train", [alone, together])
def test_runs_give_it_the_test_loss(few_digits, monkeypatch, train):
    given = []
    monkeypatch.setattr(optim.lr_scheduler.ReduceLROnPlateau, "step", lambda scheduler, loss: given.append(loss))
    experiment = dataclasses.replace(T1, schedule=PlateauOnTestSet(), batch_size=100, epochs=1)
    run = train(experiment, few_digits)

    assert given == [each.final.test_loss for each in run]


def test_seeds_together_go_by_their_own_training_losses(few_digits, monkeypatch):
    """With losses that make the rate of one of them fall in every epoch, and never that of the other."""
    monkeypatch.setattr(Steps, "loss", property(lambda steps: next(losses)))
    losses = iter([1, 1, 1, 1, 1, 0.9, 1, 0.9, 1, 0.8, 1, 0.8])  # each is asked for twice
    experiment = dataclasses.replace(T1, schedule=ReduceLROnPlateau(factor=0.5, patience=0), batch_size=100)

    runs = fit_seeds(experiment, few_digits, [1, 2], epochs=3, device="cpu")

    assert [[epoch.lr for epoch in run.epochs] for run in runs] == [[0.01, 0.01, 0.005], [0.01, 0.01, 0.01]]


def test_a_run_ends_where_the_test_accuracy_has_not_risen_for_so_long():
    stopping = EarlyStopping(patience=3)

    assert stopping.epochs([98.0, 97.9, 98.0, 98.1, 98.1, 98.0]) is None
    assert stopping.epochs([98.0, 97.9, 98.0, 98.1, 98.1, 98.0, 98.1]) == 7
    assert stopping.epochs([98.0, 97.9, 98.0, 98.0, 99.0, 99.1]) == 4  # what follows is not trained
    assert stopping.epochs([]) is None


@pytest.mark.parametrize(("most", "trained"), [(3, 3), (4, 4), (100, 4)])
@pytest.mark.parametrize("together", [False, True])
def test_a_run_stops_early(few_digits, most, trained, together):
    """Weights that stay give the same accuracy in each epoch, so that none but the first is a rise."""
    experiment = dataclasses.replace(T1, lr=0.0, batch_size=256, early_stopping=EarlyStopping(3))

    if together:
        [run] = fit_seeds(experiment, few_digits, [1], epochs=most, device="cpu")
    else:
        run = fit(experiment, few_digits, epochs=most, device="cpu", progress=False)

    assert [epoch.epoch for epoch in run.epochs] == list(range(trained))
    assert experiment.is_whole(run.epochs, most) and not experiment.is_whole(run.epochs[:-1], most)
    assert experiment.is_whole(run.epochs, 100) == (trained == 4)
    assert not T1.is_whole(run.epochs, 100)
    assert not experiment.is_whole(run.epochs, trained - 1)  # a run of more epochs than were asked for


def test_early_stopping_goes_with_schedules_that_go_on_for_as_long_as_a_run():
    with pytest.raises(InvalidArgument, match="T4: early stopping needs a schedule that does not plan all epochs"):
        dataclasses.replace(EXPERIMENTS["T4"], early_stopping=EarlyStopping(3))
    with pytest.raises(InvalidArgument, match="patience is 0"):
        EarlyStopping(0)


def test_seeds_that_stop_at_their_own_times_are_not_trained_together(few_digits):
    experiment = dataclasses.replace(T1, early_stopping=EarlyStopping(3))

    with pytest.raises(CannotBeMerged, match="T1: early stopping ends each run at its own time"):
        fit_seeds(experiment, few_digits, [1, 2], epochs=1, device="cpu")


def test_early_stopping_is_part_of_a_recipe():
    experiment = dataclasses.replace(T1, early_stopping=EarlyStopping(3))

    assert experiment.recipe.endswith(", early stopping (test accuracy, patience 3)")
    assert (
        len({each.fingerprint for each in (T1, experiment, dataclasses.replace(T1, early_stopping=EarlyStopping(4)))})
        == 3
    )


@pytest.mark.parametrize(
    ("algorithm", "momentum", "expected"),
    [
        (Adam(), 0.9, lambda weights: optim.Adam(weights, lr=0.1, weight_decay=0.2)),
        (Adam(eps=1e-7, beta2=0.99), 0.8, lambda weights: optim.Adam(weights, 0.1, (0.8, 0.99), 1e-7, 0.2)),
        (Adam(decoupled=True), 0.9, lambda weights: optim.AdamW(weights, lr=0.1, weight_decay=0.2)),
    ],
)
def test_adam_moves_weights_as_pytorchs(algorithm, momentum, expected):
    ours, theirs = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    theirs.load_state_dict(ours.state_dict())
    experiment = dataclasses.replace(T1, algorithm=algorithm, momentum=momentum, lr=0.1, weight_decay=0.2)

    for network, optimizer in ((ours, experiment.optimizer(ours)), (theirs, expected(theirs.parameters()))):
        for step in range(5):
            optimizer.zero_grad()
            network(torch.eye(3) + step).square().sum().backward()
            optimizer.step()

    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-6, atol=1e-6)


def test_a_weight_decay_that_is_decoupled_takes_the_share_of_tensorflow_addons():
    """joshwarn: 1e-6 of the weights in each step at the highest rate, where no gradient moves them."""
    layer = torch.nn.Linear(4, 4, bias=False).double()
    before = layer.weight.detach().clone()
    optimizer = EXPERIMENTS["joshwarn-697"].optimizer(layer)
    layer.weight.grad = torch.zeros_like(layer.weight)
    optimizer.step()

    torch.testing.assert_close(layer.weight.detach(), before * (1 - 1e-6), rtol=1e-12, atol=0)


def test_nesterov_momentum_is_not_adams():
    with pytest.raises(InvalidArgument, match="T1: Nesterov momentum is SGD's; leave nesterov out"):
        dataclasses.replace(T1, algorithm=Adam(), nesterov=True)


def test_recipes_are_told_apart():
    """By their fingerprints and in words."""
    changes = [
        {},
        {"algorithm": Adam()},
        {"algorithm": Adam(decoupled=True)},
        {"algorithm": Adam(eps=1e-7)},
        {"left_out": 0.1},
        {"schedule": OneCycleLR()},
        {"schedule": OneCycleLR(cycle_momentum=False)},
        {"schedule": ReduceLROnPlateau()},
        {"schedule": RateTable((0.01,) * 15)},
    ]
    experiments = [dataclasses.replace(T1, **each) for each in changes]

    assert len({each.fingerprint for each in experiments}) == len(changes)
    assert EXPERIMENTS["hexhowells-807"].recipe.startswith(
        "AdamW, betas 0.9 and 0.999, weight decay 0.01, learning rate"
    )
    assert "momentum from 0.95 to 0.85 and back" in EXPERIMENTS["satyajit-9962"].recipe


@pytest.mark.parametrize("schedule", [OneCycleLR(), ReduceLROnPlateau()])
def test_a_run_is_recognised_where_its_rates_are_not_known_in_advance(few_digits, schedule):
    experiment = dataclasses.replace(T1, schedule=schedule, batch_size=100)
    made = fit(experiment, few_digits, epochs=2, device="cpu", progress=False)

    assert experiment.matches(made)
    assert not dataclasses.replace(experiment, lr=0.02).matches(made)
    with pytest.raises(InvalidArgument, match="T1: no learning rate of an epoch is known in advance with"):
        experiment.learning_rates(2)
