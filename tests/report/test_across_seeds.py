"""What is said across seeds: counts, verdicts and tables, on runs whose figures are easy to check."""

import dataclasses
import re
import sys

import pytest

from mnist_s7 import SERIES, T1, T2, T3, T4, Run, report
from mnist_s7.catalog import EXPERIMENTS
from mnist_s7.experiments import start_alike
from mnist_s7.report.across_seeds import against_first, differences
from mnist_s7.results import CORRECTED_LABELS, Epoch, adjusted, compare
from mnist_s7.results.claims import signed


def run(name, seed, finals, errors=(), train=98.8):
    """A run whose test accuracies in epochs 9 to 14 are `finals`, and below them until then."""
    tests = [min(finals) - 1] * 9 + list(finals)
    epochs = [Epoch(i, 0.01, 0.1, train, 0.05, test, 6.0) for i, test in enumerate(tests)]
    return Run(name, "a recipe", seed, "MNIST", 6_544, {}, epochs, list(errors))


def ending(name, *finals):
    """A run for each of `finals`, a flat one, with seeds 1, 2, ..."""
    return [run(name, seed, [final] * 6) for seed, final in enumerate(finals, start=1)]


def cells(markdown, start):
    """The cells of the table's row that begins so."""
    [line] = [line for line in markdown.splitlines() if line.startswith(f"| {start}")]
    return [cell.strip().strip("*") for cell in line.strip("|").split("|")]


def verdict(markdown, claim):
    [line] = [line for line in markdown.splitlines() if claim in line]
    return [cell.strip().strip("*") for cell in line.strip("|").split("|")][2:]


def test_means_lead_with_the_final_epoch():
    runs = {"T3": [run("T3", 1, [99.5, 99.3, 99.3, 99.3, 99.3, 99.3]), run("T3", 2, [99.5] * 6)]}

    row = cells(report.means(runs), "T3")

    assert row[1:4] == ["6,544", "2", "99.40 ± 0.14"]
    assert row[4] == "98.13 to 100.00"  # 99.4 +- t(0.975, 1) * 0.1, t = 12.706, and no accuracy is above 100
    assert row[5] == "99.30 to 99.50"
    assert row[6] == "99.90 ± 0.00"  # no error, so wrong in the ten corrected labels
    assert row[7] == "99.50 ± 0.00"
    assert "selected on the test set" in report.means(runs)


def test_a_single_run_has_no_spread():
    row = cells(report.means({"T1": ending("T1", 98.2)}), "T1")

    assert row[2:6] == ["1", "98.20", "-", "98.20 to 98.20"]


def test_what_is_known_of_mnist_is_not_said_of_other_digits():
    runs = [dataclasses.replace(run, dataset="MNIST validation") for run in ending("T3", 99.3, 99.5)]

    row = cells(report.means({"T3": runs}), "T3")

    assert row[3] == "99.40 ± 0.14"
    assert row[6] == "-"
    assert "on the MNIST validation set" in report.means({"T3": runs})


def test_corrected_labels_are_counted():
    errors = [(index, digit) for index, digit in CORRECTED_LABELS.items()]
    runs = {"T3": [run("T3", 1, [99.9] * 6, errors), run("T3", 2, [99.9] * 6, errors)]}

    assert cells(report.means(runs), "T3")[6] == "100.00 ± 0.00"


def test_differences_say_how_they_were_tested():
    """Variants start from the same weights with the same seed, and are paired; T3 and T2 do not."""
    runs = {name: ending(name, *FINALS[name]) for name in FINALS}

    assert start_alike(T3, EXPERIMENTS["T3-dropout-0.05"]) and not start_alike(T3, T2)
    row = cells(report.against_previous(runs), "T3 minus T2")
    assert row[1:4] == [T3.change, "Welch's, 4 and 3 runs", "+0.110"]
    row = cells(report.ablation_table(runs), "T3-dropout-0.05 minus T3")
    assert row[1:4] == [EXPERIMENTS["T3-dropout-0.05"].change, "paired, 3 seeds", "-0.060"]
    assert cells(report.against_previous({"T2": runs["T3"], "T3": runs["T2"]}), "T3 minus T2")[3] == "-0.110"


FINALS = {
    "T2": [99.2, 99.4, 99.3],
    "T3": [99.3, 99.51, 99.4, 99.43],
    "T3-dropout-0.05": [99.24, 99.44, 99.35],
    "T3-rotation-7": [99.25, 99.41, 99.36, 99.31],
}


@pytest.mark.parametrize("pairs", [[("T3", "T2")], [("T3-dropout-0.05", "T3"), ("T3-rotation-7", "T3"), ("T3", "T2")]])
def test_every_p_is_adjusted_for_the_others_of_its_table(pairs):
    runs = {name: ending(name, *finals) for name, finals in FINALS.items()}

    found = differences(runs, pairs)

    alone = [
        compare(runs[one], runs[other], paired=start_alike(EXPERIMENTS[one], EXPERIMENTS[other]))
        for one, other in pairs
    ]
    assert list(found.items()) == list(zip(pairs, adjusted(alone), strict=True))


def test_the_verdict_goes_by_the_adjusted_p():
    """One with p = 0.03 is lower by itself, and inconclusive beside two others: 3 x 0.03 is above 0.05."""
    base = [99.3, 99.4, 99.5, 99.35]
    ups = {
        "T3-dropout-0.05": [-0.07, -0.02, -0.08, -0.04],
        "T3-rotation-7": [0.02, -0.01, 0.01, -0.02],
        "T3-rotation-15": [0.03, -0.02, 0.01, -0.01],
    }
    runs = {"T3": ending("T3", *base)}
    runs |= {name: ending(name, *[a + b for a, b in zip(base, up, strict=True)]) for name, up in ups.items()}
    [(_, alone)] = differences(runs, [("T3-dropout-0.05", "T3")]).items()
    assert 0.017 < alone.p < 0.05 and alone.positive is False

    row = cells(report.ablation_table(runs), "T3-dropout-0.05 minus T3")

    assert float(row[5]) == pytest.approx(3 * alone.p, abs=0.0005)
    assert row[4] == " to ".join(map(signed, alone.interval))  # which is not adjusted
    assert row[6] == "inconclusive"
    few = {name: runs[name] for name in ("T3", "T3-dropout-0.05")}
    assert cells(report.ablation_table(few), "T3-dropout-0.05 minus T3")[5:] == [f"{alone.p:.3f}", "lower"]
    assert [found.positive for found in report.ablations(runs).values()] == [None] * 3  # in the figure, too


def test_the_p_of_a_variant_does_not_depend_on_those_of_other_iterations():
    """So that it is the same in its iteration's notebook and on the page of all results."""
    bases = {"T3": ending("T3", 99.3, 99.4, 99.5, 99.35), "T4": ending("T4", 99.4, 99.5, 99.6, 99.45)}
    finals = {
        "T3-dropout-0.05": [99.23, 99.38, 99.42, 99.31],
        "T3-rotation-7": [99.32, 99.39, 99.51, 99.33],
        "T4-no-skip": [99.41, 99.47, 99.59, 99.44],
        "T4-StepLR": [99.32, 99.46, 99.58, 99.41],
    }
    runs = bases | {name: ending(name, *accuracies) for name, accuracies in finals.items()}

    together, in_figure = report.ablation_table(runs), list(report.ablations(runs).values())
    for iteration in (T3, T4):
        variants = [name for name in finals if name.startswith(iteration.name)]
        own = report.ablation_table(runs, iteration)
        for name in variants:
            pair = f"{name} minus {iteration.name}"
            assert cells(together, pair) == cells(own, pair)
        pairs = [(name, iteration.name) for name in variants]
        assert set(differences(runs, pairs).values()) <= set(in_figure)
    assert len(in_figure) == len(finals)


def test_what_only_one_seed_says_nothing_of_has_no_row():
    runs = {"T2": ending("T2", 99.2, 99.4, 99.3), "T3": ending("T3", 99.3, 99.51), "T1": ending("T1", 98)}

    assert "T2 minus T1" not in report.against_previous(runs)
    assert report.ablation_table(runs) == "No difference is tested: that needs two runs or more of each."


def test_ablations_are_there_for_those_that_were_run():
    runs = {"T3": ending("T3", 99.4, 99.5), "T3-no-batchnorm": ending("T3-no-batchnorm", 99.2, 99.4)}

    [(what, found)] = report.ablations(runs).items()

    assert what == "T3: no BatchNorm"
    assert (found.n, found.mean, found.test) == ((2, 2), pytest.approx(-0.15), "Welch's t-test")


FAILED = "(1 of 4 runs failed to train)"


def with_a_failure(name):
    """Three runs that trained, and a fourth one that did not."""
    return ending(name, 99.3, 99.5, 99.43, 9.8)


@pytest.fixture
def stored(monkeypatch):
    """Takes the place of the published runs."""

    def take(runs):
        monkeypatch.setattr(sys.modules["mnist_s7.report.across_seeds"], "stored_runs", lambda: runs)
        return runs

    return take


TABLES = {
    "means": lambda runs: report.means(runs),
    "means without details": lambda runs: report.means(runs, details=False),
    "against_previous": lambda runs: report.against_previous(runs),
    "against_first": lambda runs: against_first({name: runs[name] for name in ("T2", "T3")}),
    "ablation_table": lambda runs: report.ablation_table(runs),
    "replication": lambda runs: report.replication(T3),
    "rank_among_seeds": lambda runs: report.rank_among_seeds(runs["T3"][0]),
    "public_comparison": lambda runs: report.public_comparison(report.series(runs), {}),
}


@pytest.mark.parametrize("table", TABLES)
def test_a_run_that_failed_to_train_is_left_out_and_counted(stored, table):
    names = ("T2", "T3", "T3-dropout-0.05")
    whole = {name: ending(name, *finals) for name, finals in zip(names, ([99.2, 99.3],) * 3, strict=True)}
    whole["T3"] = with_a_failure("T3")[:3]
    failing = whole | {"T3": with_a_failure("T3")}

    without, said = (squeezed(TABLES[table](stored(runs))) for runs in (whole, failing))

    assert "failed to train" not in without
    assert FAILED in said
    # Among claims it counts as a run in which they do not hold.
    assert re.sub(r"in (\d) of 4", r"in \1 of 3", said.replace(f" {FAILED}", "")) == without


def test_a_failure_reaches_no_target_for_every_seed():
    runs = {"T4": ending("T4", 99.6, 99.6, 99.6, 10.0)}
    [claim] = [claim for claim in T4.targets if claim.text.endswith("with every seed")]

    assert verdict(report.replication(T4, runs), claim.text) == ["3 of 4, the lowest 10.00 %", "not met"]


def squeezed(text):
    """Without what only pads a table's columns."""
    return re.sub("-+", "-", re.sub(" +", " ", text))


def test_a_failure_is_counted_on_either_side_of_a_difference():
    runs = {"T3": with_a_failure("T3"), "T3-no-batchnorm": with_a_failure("T3-no-batchnorm")}

    assert f"| T3-no-batchnorm {FAILED} minus T3 {FAILED} " in report.ablation_table(runs)
    assert list(report.ablations(runs)) == [f"T3 {FAILED}: no BatchNorm {FAILED}"]


@pytest.mark.parametrize(("difference", "words"), [(-0.0004, "+0.000"), (-0.003, "-0.003"), (0.96, "+0.960")])
def test_differences_have_a_sign_and_no_negative_zero(difference, words):
    assert signed(difference) == words


def test_a_variant_that_never_trains_keeps_its_row():
    runs = {"T3": ending("T3", 99.4, 99.5), "T3-no-batchnorm": ending("T3-no-batchnorm", 9.8, 9.8)}

    row = cells(report.ablation_table(runs), "T3-no-batchnorm (2 of 2 runs failed to train) minus T3")

    assert row[1:] == ["no BatchNorm", *["-"] * 5]
    row = cells(report.means(runs), "T3-no-batchnorm (2 of 2 runs failed to train)")
    assert row[1:] == ["6,544", "0", *["-"] * 5]
    assert report.ablations(runs) == {}


def test_public_networks_stand_beside_the_series_by_size():
    said = report.public_comparison({"T3": ending("T3", 99.4, 99.5), "T1": ending("T1", 98.2)}, {})

    sizes = [int(line.split("|")[2].replace(",", "")) for line in said.splitlines()[2:]]
    assert sizes == sorted(sizes)
    assert cells(said, "T3")[1:] == ["6,544", "99.45 ± 0.07", "mean of 2 runs, final epoch"]
    assert cells(said, "T1")[2:] == ["98.20", "one run"]
    [stated] = [line for line in said.splitlines() if "JoshWarn" in line]
    assert "| 997 " in stated and "98.76 ± 0.105 " in stated and "mean of 223 runs" in stated


def test_a_difference_within_the_spread_is_inconclusive():
    runs = {"T3": ending("T3", 99.3, 99.5, 99.4), "T3-no-batchnorm": ending("T3-no-batchnorm", 99.5, 99.3, 99.39)}

    row = cells(report.ablation_table(runs), "T3-no-batchnorm minus T3")

    assert row[1] == EXPERIMENTS["T3-no-batchnorm"].change
    assert row[6] == "inconclusive"
    assert float(row[5]) > 0.05


@pytest.mark.parametrize(
    ("consistent", "word"),
    [(10, "holds"), (9, "holds"), (8, "inconclusive"), (2, "inconclusive"), (1, "does not hold")],
)
def test_a_claim_of_one_run_holds_where_it_does_in_most(consistent, word):
    runs = {"T3": ending("T3", *[99.45] * consistent, *[99.35] * (10 - consistent))}

    assert verdict(report.replication(T3, runs), "in every epoch from the tenth") == [f"in {consistent} of 10", word]


def test_a_figure_is_consistent_where_one_more_run_could_have_it():
    near = {"T3": ending("T3", *[99.3, 99.5] * 5)}
    far = {"T3": ending("T3", *[99.1, 99.15] * 5)}

    assert verdict(report.replication(T3, near), "final epoch's test accuracy 99.40 %")[1] == "consistent with it"
    said, word = verdict(report.replication(T3, far), "final epoch's test accuracy 99.40 %")
    assert word == "not consistent with it"
    assert said == "95 % prediction interval 99.06 to 99.19 %"


def test_of_a_few_seeds_no_figure_is_said_to_be_consistent():
    few = {"T3": ending("T3", 99.3, 99.5, 99.4, 99.4)}

    assert verdict(report.replication(T3, few), "final epoch's test accuracy 99.40 %")[1] == "inconclusive"


def test_what_is_in_the_recipe_needs_no_seeds():
    assert verdict(report.replication(T3, {"T3": ending("T3", 99.4, 99.5)}), "fewer than 7K") == ["6,544", "met"]


def test_any_experiments_can_be_compared_with_the_first():
    runs = {"T3": ending("T3", 99.4, 99.5, 99.45), "T1": ending("T1", 98.4, 98.6, 98.5)}

    row = cells(against_first(runs), "T1 minus T3")

    assert row[2:4] == ["Welch's, 3 and 3 runs", "-0.950"]
    assert row[6] == "lower"


def test_means_are_in_the_order_of_the_series_whatever_that_of_the_runs():
    runs = {name: ending(name, 99.4, 99.5) for name in ("MINE", "T3-dropout-0.05", "T3", "T1")}

    names = [line.split("|")[1].strip() for line in report.means(runs).splitlines()[2:]]

    assert names == ["T1", "T3", "T3-dropout-0.05", "MINE"]  # last, what is not known here


def test_a_mean_is_of_as_many_seeds_as_it_speaks_of():
    claim = "as a mean of 20 seeds"
    runs = {"T4": ending("T4", *[99.61] * 10, *[99.59] * 10)}
    below = {"T4": ending("T4", *[99.61] * 10, *[99.58] * 10)}

    assert verdict(report.replication(T4, runs), claim) == ["99.600 % with 20 seeds", "met"]
    assert verdict(report.replication(T4, below), claim) == ["99.595 % with 20 seeds", "not met"]
    assert verdict(report.replication(T4, {"T4": runs["T4"][:19]}), claim)[1] == "inconclusive"
    assert T4.targets[1].check(run("T4", 1, [99.7])).holds is None


def test_every_seed_means_all_of_them():
    claim = "at least 99.50 % with every seed"
    all_reach = report.replication(T4, {"T4": ending("T4", *[99.6] * 11, 99.5)})
    all_but_one = report.replication(T4, {"T4": ending("T4", *[99.6] * 11, 99.49)})

    assert verdict(all_reach, claim) == ["12 of 12, the lowest 99.50 %", "met"]
    assert verdict(all_but_one, claim) == ["11 of 12, the lowest 99.49 %", "not met"]
    assert T4.targets[2].check(run("T4", 1, [99.5])).holds is None  # one run can only refute it
    assert T4.targets[2].check(run("T4", 1, [99.49])).holds is False


def test_claims_about_two_settings_compare_them():
    runs = {"T3": ending("T3", 99.4, 99.5, 99.45), "T3-dropout-0.05": ending("T3-dropout-0.05", 99.3, 99.4, 99.36)}
    claim = "dropout 0.01 does better than 0.05"

    said, word = verdict(report.replication(T3, runs), claim)

    assert said.startswith(
        "T3 minus T3-dropout-0.05: +0.097 pp, 95 % CI +0.082 to +0.111, p (Holm) 0.001, paired t-test"
    )
    assert word == "holds"
    assert verdict(report.replication(T3, {"T3": runs["T3"]}), claim)[1] == "inconclusive"


def test_consistency_counts_epochs_at_the_headline():
    runs = {
        "T2": [run("T2", seed, [99.5, 99.3, 99.3, 99.4, 99.3, 99.3]) for seed in (1, 2, 3)],
        "T3": [run("T3", seed, [99.4] * 5 + [99.3 if seed == 3 else 99.4]) for seed in (1, 2, 3)],
    }

    said, word = verdict(report.replication(T3, runs), "more consistent than T2")

    assert said == "T3 minus T2: +3.667 epochs, 95 % CI +2.232 to +5.101, p (Holm) 0.008, Welch's t-test"
    assert word == "holds"


def test_varying_dropout_is_met_by_runs_that_do():
    runs = {"T2": ending("T2", 99.4, 99.5), "T2-dropout-0.01": ending("T2-dropout-0.01", 99.3, 99.45)}

    assert verdict(report.replication(T2, runs), "vary the dropout rate")[1] == "met"
    assert verdict(report.replication(T2, {"T2": runs["T2"]}), "vary the dropout rate")[1] == "inconclusive"


@pytest.mark.parametrize("experiment", SERIES, ids=lambda experiment: experiment.name)
def test_one_run_tells_nothing_across_seeds(experiment):
    said = report.replication(experiment, {experiment.name: ending(experiment.name, 99)})

    assert said == f"Fewer than two runs of {experiment.name} are stored, so nothing is known of its spread."


def test_what_a_check_cannot_tell_it_says_itself():
    short = [dataclasses.replace(each, epochs=each.epochs[:5]) for each in ending("T1", 98, 98.1)]

    assert verdict(report.replication(T1, {"T1": short}), "gap of train and test narrows") == [
        "too few epochs",
        "inconclusive",
    ]


def test_rank_of_a_run(stored):
    runs = stored({"T3": ending("T3", 99.3, 99.4, 99.5)})
    runs["T3"][1].errors = [(index, 0) for index in range(60)]

    said = report.rank_among_seeds(runs["T3"][1])

    assert said.startswith("This run ends at 99.40 %. The 3 stored runs of T3 end at 99.40 ± 0.10 % ")
    assert "(mean ± SD; range 99.30 to 99.50), 1 of them above this one" in said
    assert "95 % prediction interval for one more run is 98.90 to 99.90 %" in said
    assert "the 95 % Wilson interval of this run is 99.23 to 99.53 %" in said
    on_others = dataclasses.replace(runs["T3"][0], dataset="synthetic digits")
    assert "this one is on synthetic digits, not on MNIST" in report.rank_among_seeds(on_others)
    stored({"T3": runs["T3"][:1]})
    assert "nothing is known of its spread" in report.rank_among_seeds(runs["T3"][0])
