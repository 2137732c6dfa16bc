"""Experiments found by name: the trained networks that come with the package, and variants by their settings."""

import pytest
import torch

from mnist_s7 import SERIES, T3, InvalidArgument, Run, evaluate, find_experiment, load_runs, pretrained
from mnist_s7.catalog import EXPERIMENTS, origin_of
from mnist_s7.report.stored import SEED
from mnist_s7.results import PUBLISHED, WEIGHTS


@pytest.mark.parametrize("name", [experiment.name for experiment in SERIES])
def test_stored_weights_give_the_accuracy_of_their_run_to_the_image(mnist, name):
    run = Run.load(PUBLISHED / f"{name}-seed{SEED}.json")

    found = evaluate(pretrained(name), mnist.test_images, mnist.test_labels)

    assert found.errors == run.errors
    assert found.accuracy == pytest.approx(run.final.test_accuracy)
    assert found.loss == pytest.approx(run.final.test_loss, rel=1e-4)


def test_every_stored_weights_file_belongs_to_a_stored_run():
    stored = {run.name: run for run in load_runs(PUBLISHED)}
    files = sorted(WEIGHTS.iterdir())

    assert [path.stem for path in files] == [f"{experiment.name}-seed{SEED}" for experiment in SERIES]
    for path in files:
        assert stored[path.stem].weights == PUBLISHED / "weights" / path.name
        parameters = sum(parameter.numel() for parameter in stored[path.stem].model.parameters())
        assert parameters == stored[path.stem].parameters


def test_a_trained_network_is_in_evaluation_mode_and_nothing_was_drawn():
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)

    model = pretrained("T2")

    assert not any(module.training for module in model.modules())
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("name", ["T9", "", "../T1", "T3-dropout-0.05", "*"])
def test_a_name_without_a_trained_network_is_refused(name):
    with pytest.raises(InvalidArgument, match="comes with the package: there are T1, T2, T3, T4"):
        pretrained(name)


def test_settings_make_a_variant_with_a_name_of_its_own():
    variant = find_experiment("T3", ["batch_size=64", "lr=0.1", "epochs=20"])

    assert variant.name == "T3-lr=0.1-batch_size=64-epochs=20"  # in one order, whatever it was asked in
    assert (variant.lr, variant.batch_size, variant.epochs) == (0.1, 64, 20)
    assert variant.network is T3.network
    assert variant.targets == variant.claims == () and variant.reference is None
    assert variant.change == "lr 0.1, batch size 64, epochs 20"
    assert EXPERIMENTS[variant.name] is variant
    assert origin_of(variant.name).experiment() == variant
    assert variant.fingerprint != T3.fingerprint


@pytest.mark.parametrize("settings", [[], ["lr=0.05"], ["lr=5e-2", "nesterov=false"]])
def test_settings_that_an_experiment_has_make_no_variant(settings):
    assert find_experiment("T3", settings) is T3


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("lr", "'lr' is no setting: write NAME=VALUE, where NAME is lr, momentum, "),
        ("dropout=0.1", "'dropout=0.1' is no setting"),
        ("lr=fast", "lr=fast: a number is needed"),
        ("lr=nan", "T3-lr=nan: lr is nan, and should be a number, 0 or more"),
        ("lr=-1", "lr is -1.0, and should be a number, 0 or more"),
        ("momentum=1", "momentum is 1.0, and should be a number, 0 or more and below 1"),
        ("batch_size=0", "batch_size is 0, and should be a whole number, 1 or more"),
        ("batch_size=1.5", "batch_size=1.5: a whole number is needed"),
        ("epochs=-3", "epochs is -3, and should be a whole number, 1 or more"),
        ("nesterov=maybe", "nesterov=maybe: true or false is needed"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(setting, message):
    with pytest.raises(InvalidArgument, match=message):
        find_experiment("T3", [setting])


def test_a_setting_twice_is_refused():
    with pytest.raises(InvalidArgument, match="lr is set twice"):
        find_experiment("T3", ["lr=0.1", "lr=0.2"])


def test_nesterov_needs_momentum():
    with pytest.raises(InvalidArgument, match="Nesterov momentum needs a momentum above 0"):
        find_experiment("T2", ["momentum=0"])


def test_an_unknown_name_is_refused_with_those_there_are():
    with pytest.raises(InvalidArgument, match="no experiment T9: there are T1, T2, T3, T4, .* as FILE.py:NAME"):
        find_experiment("T9")
