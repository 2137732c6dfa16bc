"""What a notebook shows of the trials by which an iteration's recipe was chosen."""

import csv
from statistics import mean

import pytest
import scipy.stats

from mnist_s7 import T4, T5, InvalidArgument, report
from mnist_s7.catalog import ABLATIONS, base_of
from mnist_s7.report import trials as trials_module
from mnist_s7.results import PUBLISHED, adjusted, compare

HEADER = (
    *("network", "parameters", "optimiser", "trained on", "epochs", "where", "chosen as", "seed"),
    *("validation accuracy (%)", "validation loss (nats)", "train accuracy (%)"),
)
USUAL = ("narrow", "7000", "SGD", "soft targets", "15", "a CPU", "T4")


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """Store a file of these trials, and make it T4's."""
    monkeypatch.setattr(trials_module, "PUBLISHED", tmp_path)

    def store(*rows):
        with (tmp_path / "search_T4.csv").open("w", newline="") as file:
            csv.writer(file).writerows([HEADER, *rows])

    return store


def cells(row):
    return [cell.strip() for cell in row.split("|")[1:-1]]


def test_single_runs_are_shown_as_the_file_has_them(stored):
    rows = [(*USUAL, "1", "99.5", "0.02", ""), ("wide", *USUAL[1:-1], "", "3", "99.4", "0.0111", "98.7")]
    stored(*rows)

    said, _, header, _, *shown = report.search(T4).splitlines()

    assert said == "2 training runs:"
    assert [cells(header), *map(cells, shown)] == [list(HEADER), *map(list, rows)]


def test_runs_of_one_recipe_share_a_row(stored):
    stored(
        (*USUAL, "1", "99.50", "0.0210", "99.11 (mean of both)"),
        ("wide", *USUAL[1:-1], "", "1", "99.4", "0.0111", ""),
        (*USUAL, "2", "99.65", "0.0300", "99.11 (mean of both)"),
        ("wide", *USUAL[1:-1], "", "2", "99.4", "0.0110", "98.7"),
    )

    said, _, header, _, *rows = report.search(T4).splitlines()

    assert said == "4 training runs of 2 recipes; of several seeds the mean, and the range in parentheses:"
    assert cells(header) == list(HEADER)
    assert [cells(row) for row in rows] == [
        [*USUAL, "1, 2", "99.58 (99.50 to 99.65)", "0.0255 (0.0210 to 0.0300)", "99.11 (mean of both)"],
        ["wide", *USUAL[1:-1], "", "1, 2", "99.4", "0.0111 (0.0110 to 0.0111)", "-, 98.7"],
    ]


@pytest.mark.parametrize("experiment", [T4, T5], ids=lambda experiment: experiment.name)
def test_every_run_of_the_published_searches_is_shown(experiment):
    with (PUBLISHED / f"search_{experiment.name}.csv").open(newline="") as file:
        runs = list(csv.DictReader(file))

    said, _, header, _, *rows = report.search(experiment).splitlines()

    assert said.startswith(f"{len(runs)} training runs of {len(rows)} recipes")
    seed = cells(header).index("seed")
    shown = [(*cells(row)[:seed], each) for row in rows for each in cells(row)[seed].split(", ")]
    assert sorted(shown) == sorted(tuple(run.values())[: seed + 1] for run in runs)


def test_what_t4_became_is_among_its_trials():
    (own,) = [row for row in report.search(T4).splitlines() if "this is T4" in row]
    assert f"| {T4.parameters} " in own


@pytest.fixture
def drawn(stored, monkeypatch):
    """What is drawn of a file of these trials."""
    given = []
    monkeypatch.setattr(trials_module.plots, "search_figure", lambda *arguments: given.extend(arguments))

    def draw(*rows):
        stored(*rows)
        report.search_figure(T4)
        return given

    return draw


def test_a_file_without_the_groups_columns_is_refused():
    """The search for T4 was another kind: single runs in one place."""
    with pytest.raises(InvalidArgument, match=r"search_T4\.csv: no column where, chosen as, by which trials are shown"):
        report.search_figure(T4)


def test_trials_are_named_by_what_is_unusual_among_their_like(drawn):
    named, chosen = drawn(
        (*USUAL, "1", "99.5", "0.02", ""),
        (*USUAL, "2", "99.6", "0.03", ""),
        ("wide", "7900", "SGD", "labels", "15", "a CPU", "", "1", "99.4", "0.01", ""),
        ("narrow", "7000", "SGD", "soft targets", "15", "a GPU", "", "1", "99.5", "0.002", ""),
        ("narrow", "7000", "Adam", "soft targets", "15", "a CPU", "", "1", "99.4", "0.04", ""),
        ("narrow", "7000", "SGD", "soft targets", "8", "a CPU", "", "1", "99.4", "0.001", ""),  # is left out
        ("large", "20000", "SGD", "labels", "20", "a CPU", "", "1", "99.7", "0.005", ""),
    )

    said, of_all = "Where nothing else is said", "narrow; SGD; trained on soft targets; 15 epochs"
    assert {heading: [name for name, _ in group] for heading, group in named.items()} == {
        f"Networks below 8,000 parameters, on a CPU. {said}: {of_all}": [
            *("wide; trained on labels", "T4: as said above", "Adam")
        ],
        f"Networks below 8,000 parameters, on a GPU. {said}: {of_all}": ["as said above"],
        f"Networks of 8,000 parameters and more, on a CPU. {said}: large; SGD; trained on labels; 20 epochs": [
            "as said above"
        ],
    }
    assert [trial.losses for trial in chosen] == [[0.02, 0.03]]


def test_of_a_setting_in_parts_a_trial_is_named_by_those_that_are_unusual(drawn):
    """One with a part less is named by all of them: of what is missing nothing could be said."""
    recipes = ("SGD lr 0.2; batch 128",) * 2 + ("SGD lr 0.4; batch 128", "SGD lr 0.2; batch 64; Nesterov", "SGD")
    rows = [
        ("narrow", "7000", recipe, *USUAL[3:-1], "", str(i), "99.5", f"0.0{i}", "") for i, recipe in enumerate(recipes)
    ]

    [group] = drawn(*rows)[0].values()

    assert [name for name, _ in group] == ["as said above", "SGD lr 0.4", "batch 64; Nesterov", "SGD"]


@pytest.fixture
def later_trials():
    """Those made once T5 was chosen, of its network: T5's own by their seeds, and all."""
    with (PUBLISHED / "search_T5.csv").open(newline="") as file:
        trials = [row for row in csv.DictReader(file) if "once T5 was chosen" in row["where"]]
    own = {row["seed"]: row for row in trials if row["chosen as"] == "T5"}
    [network] = {row["network"] for row in own.values()}
    return own, [row for row in trials if row["network"] == network]


def losses_of(rows):
    return [float(row["validation loss (nats)"]) for row in rows]


@pytest.mark.parametrize(
    ("setting", "words", "lower"),
    [
        ("optimiser", "Muon lr 0.1, momentum 0.9 for 1x1 convolutions; ", True),
        ("trained on", "labels for 10 % of the loss", False),
    ],
)
def test_what_the_notebook_says_of_ten_seeds_of_a_trial(later_trials, setting, words, lower):
    """Each beside T5's own: whether the loss is lower or inconclusive; the accuracy is."""
    own, trials = later_trials
    tried = {row["seed"]: row for row in trials if words in row[setting]}

    def tested(column):
        return scipy.stats.ttest_rel(*([float(runs[seed][column]) for seed in own] for runs in (tried, own)))

    assert own.keys() == tried.keys() and len(own) == 10
    loss = tested("validation loss (nats)")
    assert loss.statistic < 0 and loss.pvalue < 0.05 if lower else loss.pvalue > 0.05
    assert tested("validation accuracy (%)").pvalue > 0.05


def test_what_the_notebook_says_of_trials_of_two_seeds(later_trials):
    own, trials = later_trials
    accuracy = "validation accuracy (%)"
    sharpness, smoothed = (
        [row for row in trials if words in row[setting]]
        for setting, words in (("optimiser", "sharpness-aware"), ("trained on", "labels, smoothed"))
    )
    last, *means = (
        [row for row in trials if words in row["optimiser"]]
        for words in ("weights after the last epoch", *(f"each of the last {count} epochs" for count in (2, 3, 5)))
    )

    assert {len(rows) for rows in (sharpness, smoothed, last, *means)} == {2}
    assert all(min(losses_of(own.values())) <= loss <= max(losses_of(own.values())) for loss in losses_of(sharpness))
    assert all(sum(losses_of(rows)) > sum(losses_of(last)) for rows in means)
    assert max(float(row[accuracy]) for row in smoothed) < mean(float(row[accuracy]) for row in own.values())


def test_what_the_notebook_says_of_the_losses_of_the_ablation_study():
    """Each is higher than T5's own with the same seeds, but for that with one teacher, which is inconclusive."""
    runs = report.validation_runs()
    variants = [variant.name for variant in ABLATIONS if base_of(variant) is T5 and variant.name in runs]
    losses = [compare(runs[name], runs["T5"], paired=True, figure=lambda run: run.final.test_loss) for name in variants]

    assert {loss.n for loss in losses} == {(10, 10)}
    higher = {name: loss.positive for name, loss in zip(variants, adjusted(losses), strict=True)}
    removed = ("T5-labels", "T5-T4-network", "T5-max-pools", "T5-temperature-1")
    assert higher == dict.fromkeys(removed, True) | {"T5-one-teacher": None}
