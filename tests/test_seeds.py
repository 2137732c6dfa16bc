"""What is said over seeds: counts, verdicts and tables, on runs whose figures are easy to check."""

import dataclasses

import pytest

from mnist_s7 import SERIES, T1, T2, T3, T4, Run, seeds
from mnist_s7.claims import signed
from mnist_s7.experiments import EXPERIMENTS
from mnist_s7.published import PUBLISHED_NETWORKS
from mnist_s7.results import CORRECTED_LABELS, Epoch
from mnist_s7.seeds import Missed


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

    row = cells(seeds.means(runs), "T3")

    assert row[1:4] == ["6,544", "2", "99.40 ± 0.14"]
    assert row[4] == "98.13 to 100.67"  # 99.4 +- t(0.975, 1) * 0.1, t = 12.706
    assert row[5] == "99.30 to 99.50"
    assert row[7] == "99.40"
    assert row[8] == "99.50 ± 0.00"
    assert "picked on the test set" in seeds.means(runs)


def test_a_single_run_has_no_spread():
    row = cells(seeds.means({"T1": ending("T1", 98.2)}), "T1")

    assert row[2:6] == ["1", "98.20", "-", "98.20 to 98.20"]


def test_what_is_known_of_mnist_is_not_said_of_other_digits():
    runs = [dataclasses.replace(run, dataset="MNIST held out") for run in ending("T3", 99.3, 99.5)]

    row = cells(seeds.means({"T3": runs}), "T3")

    assert row[3] == "99.40 ± 0.14"
    assert row[6:8] == ["-", "-"]


def test_corrected_labels_are_counted():
    errors = [(index, digit) for index, digit in CORRECTED_LABELS.items()]
    runs = {"T3": [run("T3", 1, [99.9] * 6, errors), run("T3", 2, [99.9] * 6, errors)]}

    assert cells(seeds.means(runs), "T3")[6] == "100.00 ± 0.00"


def test_differences_are_paired_by_seed():
    runs = {"T2": ending("T2", 99.2, 99.4, 99.3), "T3": ending("T3", 99.3, 99.51, 99.4), "T1": ending("T1", 98)}

    said = seeds.differences(runs)
    row = cells(said, "T3 minus T2")

    assert row[2:4] == ["3", "+0.103"]
    assert row[6] == "better"
    assert "T2 minus T1" not in said  # one seed in both
    assert seeds.worth(runs) == "No two seeds of them are stored yet."
    assert cells(seeds.differences({"T2": runs["T3"], "T3": runs["T2"]}), "T3 minus T2")[6] == "worse"


def test_what_a_change_is_worth_is_there_for_those_that_were_run():
    runs = {"T3": ending("T3", 99.4, 99.5), "T3-no-batchnorm": ending("T3-no-batchnorm", 99.2, 99.4)}

    [(what, found)] = seeds.worths(runs).items()

    assert what == "T3: no BatchNorm"
    assert (found.n, found.mean) == (2, pytest.approx(-0.15))


def test_runs_that_learned_nothing_are_told_and_left_out_of_differences():
    finals = {"T3": [99.4, 99.5, 99.45], "T3-no-batchnorm": [99.2, 9.8, 99.4]}
    runs = {name: ending(name, *values) for name, values in finals.items()}
    change = "no BatchNorm (left out: 1 of 3 seeds, with which T3-no-batchnorm was no better than guessing)"

    row = cells(seeds.worth(runs), "T3-no-batchnorm minus T3")

    assert row[1:4] == [change, "2", "-0.125"]
    assert [(what, found.n) for what, found in seeds.worths(runs).items()] == [
        ("T3: no BatchNorm (left out: 1 of 3 seeds)", 2)
    ]
    row = cells(seeds.means(runs), "T3-no-batchnorm")
    assert row[0] == "T3-no-batchnorm (left out: 1 of 3 runs, no better than guessing)"
    assert (row[2], row[5]) == ("2", "99.20 to 99.40")
    swapped = {"T3": runs["T3-no-batchnorm"], "T3-no-batchnorm": runs["T3"]}
    assert (
        "1 of 3 seeds, with which T3 was no better than guessing"
        in cells(seeds.worth(swapped), "T3-no-batchnorm minus T3")[1]
    )


@pytest.mark.parametrize(("difference", "words"), [(-0.0004, "+0.000"), (-0.003, "-0.003"), (0.96, "+0.960")])
def test_differences_have_a_sign_and_no_negative_zero(difference, words):
    assert signed(difference) == words


def test_a_variant_that_never_learns_keeps_its_row():
    runs = {"T3": ending("T3", 99.4, 99.5), "T3-no-batchnorm": ending("T3-no-batchnorm", 9.8, 9.8)}

    row = cells(seeds.worth(runs), "T3-no-batchnorm minus T3")

    assert cells(seeds.means(runs), "T3-no-batchnorm")[2:] == ["0", *["-"] * 6]
    assert "2 of 2 seeds" in row[1]
    assert row[2:] == ["-"] * 5


def test_published_networks_stand_beside_ours_by_size():
    said = seeds.against_published({"T3": ending("T3", 99.4, 99.5), "T1": ending("T1", 98.2)}, PUBLISHED_NETWORKS)

    sizes = [int(line.split("|")[2].replace(",", "")) for line in said.splitlines()[2:]]
    assert sizes == sorted(sizes)
    assert cells(said, "T3")[1:] == ["6,544", "99.45 ± 0.07", "mean of 2 runs, final epoch"]
    assert cells(said, "T1")[2:] == ["98.20", "one run"]
    [stated] = [line for line in said.splitlines() if "JoshWarn" in line]
    assert "| 997 " in stated and "98.76 ± 0.105 " in stated and "mean of 223 runs" in stated


def test_a_difference_within_the_spread_cannot_be_told():
    runs = {"T3": ending("T3", 99.3, 99.5, 99.4), "T3-no-batchnorm": ending("T3-no-batchnorm", 99.5, 99.3, 99.39)}

    row = cells(seeds.worth(runs), "T3-no-batchnorm minus T3")

    assert row[1] == EXPERIMENTS["T3-no-batchnorm"].change
    assert row[6] == "cannot be told"
    assert float(row[5]) > 0.05


@pytest.mark.parametrize(
    ("consistent", "word"),
    [(10, "holds"), (9, "holds"), (8, "cannot be told"), (2, "cannot be told"), (1, "does not hold")],
)
def test_a_claim_of_one_run_holds_where_it_does_in_most(consistent, word):
    runs = {"T3": ending("T3", *[99.45] * consistent, *[99.35] * (10 - consistent))}

    assert verdict(seeds.claims(T3, runs), "in every epoch from the tenth") == [f"in {consistent} of 10", word]


def test_a_figure_holds_where_one_more_run_could_have_it():
    near = {"T3": ending("T3", *[99.3, 99.5] * 5)}
    far = {"T3": ending("T3", *[99.1, 99.15] * 5)}

    assert verdict(seeds.claims(T3, near), "final epoch's test accuracy 99.40 %")[1] == "holds"
    said, word = verdict(seeds.claims(T3, far), "final epoch's test accuracy 99.40 %")
    assert word == "does not hold"
    assert said == "one more run is expected between 99.06 and 99.19 %"


def test_of_a_few_seeds_no_figure_is_said_to_hold():
    few = {"T3": ending("T3", 99.3, 99.5, 99.4, 99.4)}

    assert verdict(seeds.claims(T3, few), "final epoch's test accuracy 99.40 %")[1] == "cannot be told"


def test_what_is_in_the_recipe_needs_no_seeds():
    assert verdict(seeds.claims(T3, {"T3": ending("T3", 99.4, 99.5)}), "fewer than 7K") == ["6,544", "holds"]


def test_every_claim_is_that_of_each_iteration():
    runs = {name: ending(name, 99.4, 99.5) for name in ("T1", "T2", "T3")}

    said = seeds.every_claim(runs)

    assert [seeds.claims(experiment, runs) for experiment in SERIES] == said.split("\n\n")


def test_any_experiments_can_be_compared_with_the_first():
    runs = {"T3": ending("T3", 99.4, 99.5, 99.45), "T1": ending("T1", 98.4, 98.6, 98.5)}

    row = cells(seeds.against_the_first(runs), "T1 minus T3")

    assert row[2:4] == ["3", "-0.950"]
    assert row[6] == "worse"


def test_means_are_in_the_order_of_the_series_whatever_that_of_the_runs():
    runs = {name: ending(name, 99.4, 99.5) for name in ("T3-dropout-0.05", "T3", "T1")}

    names = [line.split("|")[1].strip() for line in seeds.means(runs).splitlines()[2:]]

    assert names == ["T1", "T3", "T3-dropout-0.05"]
    with pytest.raises(ValueError, match="runs of T9, and the experiments are T1, "):
        seeds.means({"T9": runs["T1"]})


def test_a_mean_is_held_against_as_many_seeds_as_it_speaks_of():
    claim = "on average over 20 seeds"
    runs = {"T4": ending("T4", *[99.61] * 10, *[99.59] * 10)}
    below = {"T4": ending("T4", *[99.61] * 10, *[99.58] * 10)}

    assert verdict(seeds.claims(T4, runs), claim) == ["99.600 % over 20 seeds", "holds"]
    assert verdict(seeds.claims(T4, below), claim) == ["99.595 % over 20 seeds", "does not hold"]
    assert verdict(seeds.claims(T4, {"T4": runs["T4"][:19]}), claim)[1] == "cannot be told"
    assert T4.targets[1].check(run("T4", 1, [99.7])).holds is None


def test_every_seed_means_all_of_them():
    claim = "at least 99.50 % with every seed"
    all_reach = seeds.claims(T4, {"T4": ending("T4", *[99.6] * 11, 99.5)})
    all_but_one = seeds.claims(T4, {"T4": ending("T4", *[99.6] * 11, 99.49)})

    assert verdict(all_reach, claim) == ["12 of 12, the lowest 99.50 %", "holds"]
    assert verdict(all_but_one, claim) == ["11 of 12, the lowest 99.49 %", "does not hold"]
    assert T4.targets[2].check(run("T4", 1, [99.5])).holds is None  # one run can only refute it
    assert T4.targets[2].check(run("T4", 1, [99.49])).holds is False


def test_claims_about_two_settings_compare_them():
    runs = {"T3": ending("T3", 99.4, 99.5, 99.45), "T3-dropout-0.05": ending("T3-dropout-0.05", 99.3, 99.4, 99.36)}
    claim = "dropout 0.01 does better than 0.05"

    said, word = verdict(seeds.claims(T3, runs), claim)

    assert said.startswith("T3 minus T3-dropout-0.05, 3 seeds: +0.097 points, 95 % interval")
    assert word == "holds"
    assert verdict(seeds.claims(T3, {"T3": runs["T3"]}), claim)[1] == "cannot be told"


def test_consistency_counts_epochs_at_the_headline():
    runs = {
        "T2": [run("T2", seed, [99.5, 99.3, 99.3, 99.4, 99.3, 99.3]) for seed in (1, 2, 3)],
        "T3": [run("T3", seed, [99.4] * 5 + [99.3 if seed == 3 else 99.4]) for seed in (1, 2, 3)],
    }

    said, word = verdict(seeds.claims(T3, runs), "more consistent than T2")

    assert said.startswith("T3 minus T2, 3 seeds: +3.667 epochs")
    assert word == "holds"


def test_varying_dropout_is_met_by_runs_that_do():
    runs = {"T2": ending("T2", 99.4, 99.5), "T2-dropout-0.01": ending("T2-dropout-0.01", 99.3, 99.45)}

    assert verdict(seeds.claims(T2, runs), "vary the dropout rate")[1] == "holds"
    assert verdict(seeds.claims(T2, {"T2": runs["T2"]}), "vary the dropout rate")[1] == "cannot be told"


@pytest.mark.parametrize("experiment", SERIES, ids=lambda experiment: experiment.name)
def test_one_run_tells_nothing_over_seeds(experiment):
    said = seeds.claims(experiment, {experiment.name: ending(experiment.name, 99)})

    assert said == f"Fewer than two seeds of {experiment.name} are stored, so nothing is known of its spread."


def test_what_a_check_cannot_tell_it_says_itself():
    short = [dataclasses.replace(each, epochs=each.epochs[:5]) for each in ending("T1", 98, 98.1)]

    assert verdict(seeds.claims(T1, {"T1": short}), "gap of train and test narrows") == [
        "too few epochs",
        "cannot be told",
    ]


def test_place_of_a_run():
    runs = {"T3": ending("T3", 99.3, 99.4, 99.5)}

    runs["T3"][1].errors = [(index, 0) for index in range(60)]

    said = seeds.place(runs["T3"][1], runs)

    assert "Over the 3 stored seeds of T3 the final epoch has 99.40 ± 0.10 % (99.30 to 99.50), 1 of them above" in said
    assert "to be expected in 98.90 to 99.90 % (95 % prediction" in said
    assert "99.23 to 99.53 % (95 % Wilson" in said
    assert "nothing is known of its spread" in seeds.place(runs["T3"][0], {"T3": runs["T3"][:1]})
    stand_in = dataclasses.replace(runs["T3"][0], dataset="synthetic digits")
    assert "synthetic digits" in seeds.place(stand_in, runs)


def test_missed_images_are_counted_over_the_runs():
    runs = [run("T3", 1, [99] * 6, [(5, 3), (7, 1)]), run("T3", 2, [99] * 6, [(5, 8), (9, 2)])]
    runs.append(run("T3", 3, [99] * 6, [(5, 8)]))

    assert seeds.missed(runs) == [Missed(5, 3, 8), Missed(7, 1, 1), Missed(9, 1, 2)]
