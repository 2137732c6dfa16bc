"""What is said of runs: right for any run, and checked against the runs that are stored."""

import dataclasses

import pytest
import torch
from example_runs import ENVIRONMENT

from mnist_s7 import SERIES, T1, T2, T3, T4, T5, PublishingRefused, Run, RunFileError, RunsMissing, experiments, report
from mnist_s7.catalog import EXPERIMENTS
from mnist_s7.results import PUBLISHED, PYTORCH_LAYERS, SYNTHETIC, VALIDATION, Epoch, stored_folder
from mnist_s7.results.claims import first_epoch_at
from mnist_s7.schedules import EarlyStopping

# The reference series' accuracies, (train, test) by epoch, from its training logs.
REFERENCE = {
    "T1": "14.03 16.82 45.83 89.15 93.52 95.38 95.92 96.58 96.81 97.24 97.25 97.68 97.55 98.04 97.81 98.13 97.98 98.01 "
    "98.07 98.37 98.20 98.34 98.34 98.33 98.49 98.34 98.42 98.11 98.66 98.24",
    "T2": "92.80 98.55 97.39 98.86 98.06 99.07 98.16 99.02 98.35 99.28 98.49 99.24 98.64 99.38 98.64 99.29 98.69 99.36 "
    "98.72 99.41 98.72 99.38 98.79 99.38 98.83 99.47 98.87 99.40 98.85 99.34",
    "T3": "90.56 97.11 97.37 98.59 97.76 98.69 98.00 99.00 98.47 99.24 98.65 99.17 98.62 99.24 98.62 99.36 98.69 99.36 "
    "98.78 99.45 98.80 99.42 98.78 99.41 98.92 99.42 98.91 99.41 98.88 99.40",
}
PARAMETERS = {"T1": 8_620, "T2": 7_416, "T3": 6_544}


def reference_run(name, dataset="MNIST"):
    """The reference series' run of an iteration, as a run of ours."""
    figures = [float(figure) for figure in REFERENCE[name].split()]
    epochs = [
        Epoch(i, 0.01, 0.1, train, 0.05, test, 6.0)
        for i, (train, test) in enumerate(zip(figures[::2], figures[1::2], strict=True))
    ]
    wrong = [(i, 0) for i in range(round(100 * (100 - epochs[-1].test_accuracy)))]
    return Run(name, "a recipe", 1, dataset, PARAMETERS[name], ENVIRONMENT, epochs, wrong)


def saved(folder, name, dataset="MNIST"):
    """The same, saved with the recipe that it would have here."""
    run, experiment = reference_run(name, dataset), EXPERIMENTS[name]
    epochs = zip(run.epochs, experiment.learning_rates(15), strict=True)
    run.epochs = [dataclasses.replace(epoch, lr=lr) for epoch, lr in epochs]
    run.fingerprint = experiment.fingerprint
    return run.save(folder)


@pytest.fixture
def runs():
    return {name: reference_run(name) for name in REFERENCE}


@pytest.mark.parametrize("experiment", (T1, T2, T3), ids=lambda experiment: experiment.name)
def test_the_references_own_run_meets_its_targets_and_claims(experiment):
    """Every check, given the run that the claim was made of; what one run cannot tell is left open."""
    run = reference_run(experiment.name)

    verdicts = {claim.text: claim.check(run) for claim in experiment.targets + experiment.claims}

    assert [text for text, verdict in verdicts.items() if verdict.holds is False] == []
    open_claims = [text for text, verdict in verdicts.items() if verdict.holds is None]
    several_runs = {"T1": [], "T2": ["vary the dropout rate"], "T3": ["dropout 0.01 does better", "is more consistent"]}
    for found, expected in zip(open_claims, several_runs[experiment.name], strict=True):
        assert found.startswith(expected)


def fails(experiment, text, run):
    (claim,) = [claim for claim in experiment.targets + experiment.claims if claim.text.startswith(text)]
    return claim.check(run).holds is False


@pytest.mark.parametrize(
    ("experiment", "text", "other"),
    [
        (T1, "about 8K parameters", "T3"),  # 6,544: too few to be about 8K
        (T2, "best train accuracy", "T1"),
        (T1, "best test accuracy", "T3"),
        (T1, "final epoch's test accuracy", "T3"),
        (T1, "the gap of train and test narrows", None),
        (T1, "train is above test", "T3"),
        (T2, "fewer than 8K parameters", "T1"),
        (T2, "reaches 99.4 % but is not consistent", "T3"),
        (T2, "reaches 99.4 % but is not consistent", "T1"),
        (T3, "fewer than 7K parameters", "T2"),
        (T3, "at least 99.4 % test accuracy once before", "T1"),
        (T3, "at least 99.4 % in every epoch from the tenth", "T2"),
    ],
)
def test_each_check_can_fail(experiment, text, other):
    run = reference_run(other or "T1")
    if other is None:  # train far ahead from epoch 9 on
        run.epochs[9:] = [dataclasses.replace(epoch, train_accuracy=100.0) for epoch in run.epochs[9:]]

    assert fails(experiment, text, run)


def test_underfitting_ignores_the_first_two_epochs_and_is_one_of_the_mean():
    run = reference_run("T1")
    [claim] = [claim for claim in T1.claims if claim.text.startswith("looks like underfitting")]

    def with_gap(gap, epochs):
        moved = [
            dataclasses.replace(epoch, train_accuracy=epoch.test_accuracy + gap if epoch.epoch in epochs else 50.0)
            for epoch in run.epochs
        ]
        return claim.check(dataclasses.replace(run, epochs=moved))

    assert with_gap(-0.2, range(2, 9)).holds
    assert not with_gap(0.2, range(2, 9)).holds
    assert with_gap(0.2, range(2, 9)).found == "train minus test +0.20 pp, mean of epochs 2 to 8"
    assert claim.check(dataclasses.replace(run, epochs=run.epochs[:2])).holds is None


def test_train_accuracy_of_99_fails_its_claim():
    run = reference_run("T3")
    run.epochs[3] = dataclasses.replace(run.epochs[3], train_accuracy=99.0)

    assert fails(T3, "train accuracy stays under 99 %", run)
    assert fails(T2, "train accuracy stays under 99 %", run)


def test_above_is_above_and_at_least_is_at_least():
    run = reference_run("T1")
    run.epochs[:] = [dataclasses.replace(epoch, test_accuracy=98.0) for epoch in run.epochs]
    assert fails(T1, "above 98 % test accuracy", run)

    run.epochs[:] = [dataclasses.replace(epoch, test_accuracy=99.4) for epoch in run.epochs]
    assert not fails(T3, "at least 99.4 % test accuracy once before", run)


def test_layer_targets_look_at_the_network():
    wrong_way_round = dataclasses.replace(T1, targets=T2.targets[1:3] + T1.targets[2:])

    assert [claim.check(reference_run("T1")).holds for claim in wrong_way_round.targets] == [True, True, True, True]
    assert T2.targets[1].check(reference_run("T1")).found == "5 BatchNorm2d layers"
    assert T1.targets[2].check(reference_run("T1")).found == "0 BatchNorm2d layers"


def test_an_iteration_that_the_reference_series_does_not_have():
    own = dataclasses.replace(T3, reference=None, claims=())

    assert "reference series" not in report.analysis(own, reference_run("T3"))
    assert "| claim " not in report.verdicts(own, reference_run("T3"))


def test_first_epoch_at():
    assert first_epoch_at(reference_run("T3"), 99.4).epoch == 9
    assert first_epoch_at(reference_run("T1"), 99.4) is None


def test_architecture_is_the_references_with_its_error_fixed():
    """The reference series' T1 table has 16 -> 16 for its first 1x1 convolution, and 7x7x16 before its second."""
    rows = [tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in report.architecture(T1).splitlines()[2:]]
    assert rows == [
        ("28x28x1", "3x3x1x8", "26"),
        ("26x26x8", "3x3x8x16", "24"),
        ("24x24x16", "3x3x16x16", "22"),
        ("22x22x16", "1x1x16x8", "22"),
        ("22x22x8", "MaxPool()", "11"),
        ("11x11x8", "3x3x8x8", "9"),
        ("9x9x8", "3x3x8x8", "7"),
        ("7x7x8", "3x3x8x16", "5"),
        ("5x5x16", "1x1x16x10", "5"),
        ("5x5x10", "5x5x10x10", "1"),
        ("1x1x10", "Flatten()", "10"),
    ]


def test_a_depthwise_kernel_has_one_channel_in():
    rows = report.architecture(T4).splitlines()

    assert [" ".join(row.split()) for row in rows[3:5]] == [
        "| 26x26x16 | 3x3x1x16 | 26 |",
        "| 26x26x16 | 1x1x16x16 | 26 |",
    ]


@pytest.mark.parametrize("experiment", SERIES, ids=lambda experiment: experiment.name)
def test_the_source_of_a_network_is_what_runs(experiment):
    """What is shown gives, by itself, the same network; and it shows each thing that the network is made of once."""
    shown = report.source(experiment.network)

    names = {"nn": torch.nn, "F": torch.nn.functional, "Tensor": torch.Tensor}
    exec(str(shown), names)
    made = []
    for network in (names[experiment.network.__name__], experiment.network):
        torch.manual_seed(0)
        made.append(network().eval())
    x = torch.randn(3, 1, 28, 28)
    assert torch.equal(made[0](x), made[1](x))
    assert shown.count("class MnistNet_") == 1
    assert ("class _Pooled" in shown) == (experiment in (T2, T3))
    assert ("class Residual" in shown) == (experiment in (T4, T5))
    assert "def standard_convolutions" not in shown and "T1" not in shown.replace("T1's", "")


@pytest.mark.parametrize("experiment", SERIES, ids=lambda experiment: experiment.name)
def test_the_source_of_an_iteration_is_its_assignment(experiment):
    shown = report.source(experiment)

    assert shown.startswith(f"{experiment.name} = ")
    names = dict(vars(experiments))
    names[experiment.name] = None
    exec(str(shown), names)
    again = names[experiment.name]
    assert (again.name, again.title, again.change) == (experiment.name, experiment.title, experiment.change)
    assert (again.fingerprint, again.epochs, again.goal) == (experiment.fingerprint, experiment.epochs, experiment.goal)
    texts = [claim.text for claim in experiment.targets + experiment.claims]
    assert [claim.text for claim in again.targets + again.claims] == texts


def test_the_source_of_a_teacher_is_its_assignment():
    shown = report.source(T5.distillation.teacher)

    assert shown.startswith("T5_TEACHER = ")
    names = dict(vars(experiments))
    exec(str(shown), names)
    assert names["T5_TEACHER"].fingerprint == T5.distillation.teacher.fingerprint


def test_the_source_of_a_function_is_its_own():
    shown = report.source(EXPERIMENTS["T4-no-skip"].network)

    assert shown.startswith("def without_skips()")
    assert "class" not in shown
    assert shown._repr_markdown_() == f"```python\n{shown}\n```"
    assert repr(shown) == str(shown)


def test_changes_shows_only_what_differs():
    both = report.changes(T3)

    assert "7,416" in both and "6,544" in both
    assert "RandomRotation" not in both  # the same in both
    assert "RandomRotation" in report.changes(T2)
    assert "learning rate 0.01, constant" in report.changes(T1)
    assert "T1" in report.changes(T2) and "T3" not in report.changes(T2)
    assert "| T4-no-skip |" in " ".join(report.changes(EXPERIMENTS["T4-no-skip"]).split())  # none before it


def test_analysis_speaks_of_this_run_and_the_one_before(runs, monkeypatch):
    monkeypatch.setattr("mnist_s7.report.stored.stored_runs", lambda folder: {"T2": [runs["T2"]]})
    said = report.analysis(T3, runs["T3"])

    assert "99.40 % test accuracy: 60 test images wrong" in said
    assert "That is +0.00 pp from the reference series' final epoch." in said
    assert "below it in 15 of 15 epochs" in said
    assert "first reached in epoch 9; from the tenth epoch on, 6 of 6 epochs have it" in said
    assert "-872 parameters and +0.06 pp of final test accuracy from T2 with the same seed" in said
    assert "No epoch reaches" in report.analysis(T1, runs["T1"])
    assert "The best epoch, 9, has 99.45 %, 0.05 pp more: it is selected on the test set." in said
    ended_at_its_best = dataclasses.replace(runs["T3"], epochs=runs["T3"].epochs[:10])
    assert "No epoch before it was better." in report.analysis(T3, ended_at_its_best)


def test_other_digits_are_named_wherever_figures_are():
    run = reference_run("T2", dataset="synthetic digits")

    for text in (report.verdicts(T2, run), report.analysis(T2, run), report.comparison({"T2": run})):
        assert "on synthetic digits, not on MNIST" in text


def test_the_published_runs_are_all_on_mnist():
    runs = report.series_runs(PUBLISHED)

    assert [run.name for run in runs.values()] == [f"{experiment.name}-seed1" for experiment in SERIES]
    assert not any(run.environment["dirty"] for run in runs.values())
    for folder in (PUBLISHED, PYTORCH_LAYERS, VALIDATION, SYNTHETIC):
        found = report.stored_runs(folder)  # which checks each
        assert {stored_folder(run.dataset) for group in found.values() for run in group} <= {folder, folder.parent}


def test_the_published_t1_begins_as_the_original_series_run():
    """The same initialisation, images in the same order, the same steps: what is left is rounding.

    It grows fast where the network begins to learn: initial weights that are 1e-7 of themselves away give 89.0 to
    91.6 % test accuracy in epoch 1, and 45.7 to 45.9 % train accuracy.
    """
    run = report.series_runs(PUBLISHED)["T1"]
    train, test = (list(map(float, REFERENCE["T1"].split()[i::2])) for i in (0, 1))

    for epoch, train_tolerance, test_tolerance in ((0, 0.02, 0.02), (1, 0.2, 4), (2, 0.2, 1), (3, 0.2, 1)):
        assert run.epochs[epoch].train_accuracy == pytest.approx(train[epoch], abs=train_tolerance)
        assert run.epochs[epoch].test_accuracy == pytest.approx(test[epoch], abs=test_tolerance)


def test_a_run_on_other_digits_among_the_published_is_refused(tmp_path):
    saved(tmp_path, "T1", dataset="synthetic digits")

    with pytest.raises(PublishingRefused, match="is a run on synthetic digits, among runs on MNIST: move it"):
        report.stored_runs(tmp_path)


def test_an_iteration_without_a_run_is_left_out(tmp_path):
    saved(tmp_path, "T3")
    saved(tmp_path, "T1")

    assert list(report.series_runs(tmp_path)) == ["T1", "T3"]


def test_no_runs_at_all_are_refused(tmp_path):
    saved(tmp_path, "T1")

    with pytest.raises(RunsMissing, match="no run of the iterations with seed 2 on MNIST; `mnist-s7 train NAME"):
        report.series_runs(tmp_path, seed=2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fingerprint": "0123456789abcdef"}, "T1-seed1.json: a run of another recipe than T1 has today"),
        ({"parameters": 8_621}, "another recipe"),
        ({"lr": 0.02}, "another recipe"),
    ],
)
def test_a_run_of_another_recipe_is_refused(tmp_path, changes, message):
    run = Run.load(saved(tmp_path, "T1"))
    if lr := changes.pop("lr", None):
        run.epochs[3] = dataclasses.replace(run.epochs[3], lr=lr)
    dataclasses.replace(run, **changes).save(tmp_path)

    with pytest.raises(RunFileError, match=message):
        report.series_runs(tmp_path)


def test_a_run_of_fewer_epochs_is_not_published(tmp_path):
    run = Run.load(saved(tmp_path, "T1"))
    assert len(report.stored_runs(tmp_path)["T1"]) == 1
    report.stored_runs.cache_clear()

    wrong = round(10_000 - 100 * run.epochs[-2].test_accuracy)
    dataclasses.replace(run, epochs=run.epochs[:-1], errors=[(i, 0) for i in range(wrong)]).save(tmp_path)
    with pytest.raises(RunFileError, match="T1-seed1.json: a run of fewer epochs than are published"):
        report.stored_runs(tmp_path)


def test_a_run_that_stopped_early_is_published(tmp_path, monkeypatch):
    run, stopping = Run.load(saved(tmp_path, "T1")), dataclasses.replace(T1, early_stopping=EarlyStopping(3))
    monkeypatch.setitem(EXPERIMENTS, "T1", stopping)
    accuracies = zip(run.epochs, (98.0, 97.0, 97.5, 97.0), strict=False)
    run.epochs = [dataclasses.replace(epoch, test_accuracy=accuracy) for epoch, accuracy in accuracies]
    run.errors, run.fingerprint = [(i, 0) for i in range(300)], stopping.fingerprint
    run.save(tmp_path)

    assert report.stored_runs(tmp_path) == {"T1": [Run.load(tmp_path / "T1-seed1.json")]}


def test_a_run_of_no_experiment_is_not_published(tmp_path):
    path = saved(tmp_path, "T1")
    dataclasses.replace(Run.load(path), experiment="T9").save(tmp_path)

    with pytest.raises(RunFileError, match="T9-seed1.json: a run of T9, and there is no such experiment"):
        report.stored_runs(tmp_path)
