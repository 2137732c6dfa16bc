"""What is said of runs: right for any run, and checked against the runs that are stored."""

import dataclasses

import pytest
from example_runs import ENVIRONMENT

from mnist_s7 import SERIES, T1, T2, T3, T4, Run, RunFileError, RunsMissing, SyntheticRefused, readme, report
from mnist_s7.bench import Benchmark
from mnist_s7.claims import first_epoch_at
from mnist_s7.experiments import EXPERIMENTS
from mnist_s7.results import PUBLISHED, Epoch

# The original series' accuracies, (train, test) by epoch, from its training logs.
DOCUMENT = {
    "T1": "14.03 16.82 45.83 89.15 93.52 95.38 95.92 96.58 96.81 97.24 97.25 97.68 97.55 98.04 97.81 98.13 97.98 98.01 "
    "98.07 98.37 98.20 98.34 98.34 98.33 98.49 98.34 98.42 98.11 98.66 98.24",
    "T2": "92.80 98.55 97.39 98.86 98.06 99.07 98.16 99.02 98.35 99.28 98.49 99.24 98.64 99.38 98.64 99.29 98.69 99.36 "
    "98.72 99.41 98.72 99.38 98.79 99.38 98.83 99.47 98.87 99.40 98.85 99.34",
    "T3": "90.56 97.11 97.37 98.59 97.76 98.69 98.00 99.00 98.47 99.24 98.65 99.17 98.62 99.24 98.62 99.36 98.69 99.36 "
    "98.78 99.45 98.80 99.42 98.78 99.41 98.92 99.42 98.91 99.41 98.88 99.40",
}
PARAMETERS = {"T1": 8_620, "T2": 7_416, "T3": 6_544}


def document_run(name, dataset="MNIST"):
    """The original series' run of an iteration, as a run of ours."""
    figures = [float(figure) for figure in DOCUMENT[name].split()]
    epochs = [
        Epoch(i, 0.01, 0.1, train, 0.05, test, 6.0)
        for i, (train, test) in enumerate(zip(figures[::2], figures[1::2], strict=True))
    ]
    wrong = [(i, 0) for i in range(round(100 * (100 - epochs[-1].test_accuracy)))]
    return Run(name, "a recipe", 1, dataset, PARAMETERS[name], ENVIRONMENT, epochs, wrong)


def saved(folder, name, dataset="MNIST"):
    """The same, saved with the recipe that it would have here."""
    run, experiment = document_run(name, dataset), EXPERIMENTS[name]
    epochs = zip(run.epochs, experiment.learning_rates(15), strict=True)
    run.epochs = [dataclasses.replace(epoch, lr=lr) for epoch, lr in epochs]
    run.recipe = experiment.fingerprint
    return run.save(folder)


@pytest.fixture
def runs():
    return {name: document_run(name) for name in DOCUMENT}


@pytest.mark.parametrize("experiment", (T1, T2, T3), ids=lambda experiment: experiment.name)
def test_the_documents_own_run_meets_its_targets_and_claims(experiment):
    """Every check, given the run that the claim was made of; what one run cannot tell is left open."""
    run = document_run(experiment.name)

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
        (T1, "then train overtakes test", "T3"),
        (T2, "fewer than 8K parameters", "T1"),
        (T2, "reaches 99.4 % but is not consistent", "T3"),
        (T2, "reaches 99.4 % but is not consistent", "T1"),
        (T3, "fewer than 7K parameters", "T2"),
        (T3, "at least 99.4 % test accuracy once before", "T1"),
        (T3, "at least 99.4 % in every epoch from the tenth", "T2"),
    ],
)
def test_each_check_can_fail(experiment, text, other):
    run = document_run(other or "T1")
    if other is None:  # train far ahead from epoch 9 on
        run.epochs[9:] = [dataclasses.replace(epoch, train_accuracy=100.0) for epoch in run.epochs[9:]]

    assert fails(experiment, text, run)


def test_train_accuracy_of_99_fails_its_claim():
    run = document_run("T3")
    run.epochs[3] = dataclasses.replace(run.epochs[3], train_accuracy=99.0)

    assert fails(T3, "train accuracy stays under 99 %", run)
    assert fails(T2, "train accuracy stays under 99 %", run)


def test_above_is_above_and_at_least_is_at_least():
    run = document_run("T1")
    run.epochs[:] = [dataclasses.replace(epoch, test_accuracy=98.0) for epoch in run.epochs]
    assert fails(T1, "above 98 % test accuracy", run)

    run.epochs[:] = [dataclasses.replace(epoch, test_accuracy=99.4) for epoch in run.epochs]
    assert not fails(T3, "at least 99.4 % test accuracy once before", run)


def test_layer_targets_look_at_the_network():
    wrong_way_round = dataclasses.replace(T1, targets=T2.targets[1:3] + T1.targets[2:])

    assert [claim.check(document_run("T1")).holds for claim in wrong_way_round.targets] == [True, True, True, True]
    assert T2.targets[1].check(document_run("T1")).found == "5 BatchNorm2d layers"
    assert T1.targets[2].check(document_run("T1")).found == "0 BatchNorm2d layers"


def test_an_iteration_that_the_original_series_does_not_have():
    own = dataclasses.replace(T3, document=None, claims=())

    assert "original series" not in report.analysis(own, document_run("T3"))
    assert "| claim " not in report.verdicts(own, document_run("T3"))


def test_first_epoch_at():
    assert first_epoch_at(document_run("T3"), 99.4).epoch == 9
    assert first_epoch_at(document_run("T1"), 99.4) is None


def test_architecture_is_the_documents_with_its_error_mended():
    """The document's T1 table has 16 -> 16 for its first 1x1 convolution, and 7x7x16 before its second."""
    rows = [
        tuple(cell.strip() for cell in line.split("|")[1:-1])
        for line in report.architecture(T1.network()).splitlines()[2:]
    ]
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


def test_comparison_has_a_column_for_each_run(runs):
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in report.comparison(runs).splitlines()]
    rows = {line[0]: line[1:] for line in lines}

    assert rows[""] == ["T1, seed 1", "T2, seed 1", "T3, seed 1"]
    assert rows["parameters"] == ["8,620", "7,416", "6,544"]
    assert rows["mult-adds of one image"] == ["2.00 M", "1.13 M", "1.07 M"]
    assert rows["receptive field"] == ["28 pixels"] * 3
    assert rows["**final test accuracy**"] == ["**98.24 %**", "**99.34 %**", "**99.40 %**"]
    assert rows["best test accuracy (picked on the test set)"] == [
        "98.37 %, epoch 9",
        "99.47 %, epoch 12",
        "99.45 %, epoch 9",
    ]
    assert rows["first epoch at 99.4 % test"] == ["none", "9", "9"]
    assert rows["targets met"] == ["4 of 4", "3 of 4; one run cannot tell: vary the dropout rate", "5 of 5"]


def test_comparison_names_the_targets_that_are_missed(runs):
    runs["T2"] = dataclasses.replace(runs["T2"], parameters=8_001)
    (met,) = [line for line in report.comparison(runs).splitlines() if "targets met" in line]

    assert "| 2 of 4; missed: fewer than 8K parameters; one run cannot tell: vary the dropout rate |" in met


def test_the_search_is_shown_whole():
    lines = (PUBLISHED / "search_T4.csv").read_text().splitlines()

    said, _, header, _, *rows = report.search(T4).splitlines()
    assert said == f"{len(lines) - 1} trainings:"
    assert len(rows) == len(lines) - 1
    (own,) = [row for row in rows if "this is T4" in row]
    assert f"| {sum(p.numel() for p in T4.network().parameters())} " in own
    assert [name.strip() for name in header.strip("|").split("|")] == lines[0].split(",")
    assert all(row.count("|") == len(lines[0].split(",")) + 1 for row in rows)


def test_a_depthwise_kernel_has_one_channel_in():
    rows = report.architecture(T4.network()).splitlines()

    assert [" ".join(row.split()) for row in rows[3:5]] == [
        "| 26x26x16 | 3x3x1x16 | 26 |",
        "| 26x26x16 | 1x1x16x16 | 26 |",
    ]


def test_changes_shows_only_what_differs():
    both = report.changes(T2, T3)

    assert "7,416" in both
    assert "RandomRotation" not in both  # the same in both
    assert "RandomRotation" in report.changes(T1, T2)
    assert "learning rate 0.01, constant" in report.changes(T1)


def test_analysis_speaks_of_this_run_and_the_one_before(runs):
    said = report.analysis(T3, runs["T3"], previous=runs["T2"])

    assert "99.40 % test accuracy: 60 test images wrong" in said
    assert "+0.00 points against the original series" in said
    assert "below it in 15 of 15 epochs" in said
    assert "first reached in epoch 9; from the tenth epoch on it holds in 6 of 6 epochs" in said
    assert "-872 parameters, +0.06 points" in said
    assert "No epoch reaches" in report.analysis(T1, runs["T1"])
    assert "flatters the run by 0.05 points" in said
    ended_at_its_best = dataclasses.replace(runs["T3"], epochs=runs["T3"].epochs[:10])
    assert "None of the epochs before it was better." in report.analysis(T3, ended_at_its_best)


def test_stand_in_digits_are_named_wherever_figures_are():
    run = document_run("T2", dataset="synthetic digits")

    for text in (report.verdicts(T2, run), report.analysis(T2, run), report.comparison({"T2": run})):
        assert "on synthetic digits, not on MNIST" in text


def test_the_readme_is_what_the_results_give():
    from mnist_s7.__main__ import BENCHMARK, BENCHMARK_PICTURE, PICTURE, README, _shows

    runs, seeds, benchmark = readme.published_runs(), readme.published_seeds(), Benchmark.load(BENCHMARK)
    text = README.read_text(encoding="utf-8")

    assert (
        readme.fill(
            text, readme.readme_blocks(runs, seeds, readme.published_plain(), readme.published_held_out(), benchmark)
        )
        == text
    )
    assert _shows(PICTURE, readme.digest({name: seeds[name] for name in runs}))
    assert _shows(BENCHMARK_PICTURE, readme.digest(benchmark))


def test_the_published_runs_are_all_on_mnist():
    runs = readme.published_runs()

    assert [run.name for run in runs.values()] == [f"{experiment.name}-seed1" for experiment in SERIES]
    assert not any(run.environment["dirty"] for run in runs.values())
    assert sorted(PUBLISHED.glob("*synthetic*.json")) == []


def test_the_published_t1_begins_as_the_original_series_run():
    """The same initialisation, images in the same order, the same steps: what is left is rounding.

    It grows fast where the network begins to learn: initial weights that are 1e-7 of themselves away give 89.0 to
    91.6 % test accuracy in epoch 1, and 45.7 to 45.9 % train accuracy.
    """
    run = readme.published_runs()["T1"]
    train, test = (list(map(float, DOCUMENT["T1"].split()[i::2])) for i in (0, 1))

    for epoch, train_tolerance, test_tolerance in ((0, 0.02, 0.02), (1, 0.2, 4), (2, 0.2, 1), (3, 0.2, 1)):
        assert run.epochs[epoch].train_accuracy == pytest.approx(train[epoch], abs=train_tolerance)
        assert run.epochs[epoch].test_accuracy == pytest.approx(test[epoch], abs=test_tolerance)


def test_a_changed_figure_is_noticed(runs, measured):
    def with_own(runs):  # the document has none of T4's
        return {**runs, "T4": dataclasses.replace(runs["T3"], experiment="T4")}

    def blocks(runs):
        return readme.readme_blocks(runs, in_groups(runs), {}, {}, measured)

    def in_groups(runs):
        return {name: [run] for name, run in runs.items()}

    runs = with_own(runs)
    text = "".join(f"<!-- begin {name} -->\n\n<!-- end {name} -->\n" for name in blocks(runs))
    before = readme.fill(text, blocks(runs))
    digest = readme.digest(in_groups(runs))
    runs["T2"].epochs[-1] = dataclasses.replace(runs["T2"].final, test_accuracy=99.35)

    assert readme.fill(before, blocks(runs)) != before
    assert readme.digest(in_groups(runs)) != digest
    runs = with_own({name: document_run(name) for name in DOCUMENT})
    assert readme.fill(before, blocks(runs)) == before
    digest = readme.digest(measured)
    measured.costs["T2"].ours[0] += 1
    assert readme.fill(before, blocks(runs)) != before
    assert readme.digest(measured) != digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- begin a -->\n<!-- end a -->", r"markers for \['a'\], and the blocks are \['a', 'b'\]"),
        ("<!-- begin a -->\n<!-- end a -->\n<!-- begin b -->\n", "begin b --> has no"),
    ],
)
def test_markers_that_do_not_fit_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        readme.fill(text, {"a": "1", "b": "2"})


def test_a_stand_in_run_among_the_published_is_refused(tmp_path, monkeypatch):
    saved(tmp_path, "T1", dataset="synthetic digits")
    monkeypatch.setattr(readme, "PUBLISHED", tmp_path)

    with pytest.raises(SyntheticRefused, match="it cannot be published"):
        readme.published_runs()


def test_a_missing_run_is_named(tmp_path):
    saved(tmp_path, "T1")

    with pytest.raises(RunsMissing, match="no run of T2, T3, T4 with seed 1 on MNIST"):
        report.series_runs(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": "0123456789abcdef"}, "T1-seed1.json: a run of another recipe than T1 has today"),
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


def test_a_run_of_fewer_epochs_is_not_published(tmp_path, monkeypatch):
    monkeypatch.setattr(readme, "PUBLISHED", tmp_path)
    run = Run.load(saved(tmp_path, "T1"))
    assert len(readme.published_seeds()["T1"]) == 1

    wrong = round(10_000 - 100 * run.epochs[-2].test_accuracy)
    dataclasses.replace(run, epochs=run.epochs[:-1], errors=[(i, 0) for i in range(wrong)]).save(tmp_path)
    with pytest.raises(RunFileError, match="T1-seed1.json: a run of fewer epochs than are published"):
        readme.published_seeds()


def test_a_run_of_no_experiment_is_not_published(tmp_path, monkeypatch):
    monkeypatch.setattr(readme, "PUBLISHED", tmp_path)
    dataclasses.replace(Run.load(saved(tmp_path, "T1")), experiment="T9").save(tmp_path)

    with pytest.raises(RunFileError, match="T9-seed1.json: a run of T9, and there is no such experiment"):
        readme.published_seeds()
