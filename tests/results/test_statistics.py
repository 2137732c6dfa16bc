"""Statistics of several runs, against figures from textbooks, others' functions, and ones worked out by hand."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from mnist_s7.results import (
    CORRECTED_LABELS,
    LABEL_ERRORS,
    Difference,
    Epoch,
    Misclassified,
    Run,
    Summary,
    adjusted,
    by_experiment,
    compare,
    compare_with_stated,
    corrected_accuracy,
    failures,
    misclassified,
    prediction_interval,
    summarize,
    trained,
    wilson,
)

ACCURACIES = [
    [99.53, 99.40],
    [99.53, 99.40, 99.26, 99.36],
    [98.4, 99.1, 20.1, 100.0, 50.0, 99.4, 99.4, 99.4, 99.4, 99.41],
    [99.4 + 0.01 * ((7 * i) % 13) for i in range(101)],
]

# Student's t that 95 % of its distribution lie within, by degrees of freedom, from the tables of textbooks.
T_TABLE = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 9: 2.262, 30: 2.042, 100: 1.984}

# W. Gosset's own example, the hours of sleep that two drugs gave to ten patients (Student 1908, "The Probable Error of
# a Mean", Biometrika 6:1-25); R's manual has it as `sleep`, with t.test's findings.
SLEEP = ([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0], [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])


def make_run(seed=1, test_accuracy=99.4, experiment="T3", dataset="MNIST", errors=()):
    """A run that was best in its first epoch, which is not the one to quote."""
    epochs = [Epoch(i, 0.05, 0.04, 98.9, 0.02, accuracy, 7.5) for i, accuracy in enumerate([99.99, test_accuracy])]
    return Run(experiment, "a recipe", seed, dataset, 6544, {}, epochs, list(errors))


def make_runs(accuracies, seeds=None, **others):
    seeds = range(len(accuracies)) if seeds is None else seeds
    return [make_run(seed, accuracy, **others) for seed, accuracy in zip(seeds, accuracies, strict=True)]


@pytest.mark.parametrize("df", T_TABLE)
def test_intervals_are_those_of_the_textbooks_table(df):
    values = [99.0 + 0.1 * (i % 2) for i in range(df + 1)]
    spread = np.std(values, ddof=1)

    low, high = summarize(values).interval
    assert (high - low) / 2 == pytest.approx(T_TABLE[df] * spread / math.sqrt(df + 1), rel=3e-4)
    low, high = prediction_interval(values)
    assert (high - low) / 2 == pytest.approx(T_TABLE[df] * spread * math.sqrt(1 + 1 / (df + 1)), rel=3e-4)


@pytest.mark.parametrize("values", ACCURACIES)
def test_a_summary_is_scipys(values):
    found = summarize(values)

    interval = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    assert (found.n, found.minimum, found.maximum) == (len(values), min(values), max(values))
    assert found.mean == pytest.approx(np.mean(values), rel=1e-14)
    assert found.sd == pytest.approx(np.std(values, ddof=1), rel=1e-12)
    assert found.interval == pytest.approx(interval, rel=1e-9)


def test_a_summary_of_one_value_has_no_spread():
    assert summarize([99.4]) == Summary(1, 99.4, None, None, 99.4, 99.4)


def test_a_summary_of_equal_values_has_a_spread_of_zero():
    assert summarize([99.4] * 3) == Summary(3, 99.4, 0.0, (99.4, 99.4), 99.4, 99.4)


def test_a_summary_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no values"):
        summarize([])


@pytest.mark.parametrize("confidence", [0.95, 0.999])
@pytest.mark.parametrize("values", ACCURACIES)
def test_a_prediction_interval_is_scipys(values, confidence):
    n = len(values)
    scale = np.std(values, ddof=1) * math.sqrt(1 + 1 / n)

    expected = stats.t.interval(confidence, n - 1, loc=np.mean(values), scale=scale)
    assert prediction_interval(values, confidence) == pytest.approx(expected, rel=1e-9)


def test_a_prediction_interval_holds_the_next_run_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(99.4, 0.1, (2000, 5))

    held = 0
    for *values, following in draws.tolist():
        low, high = prediction_interval(values)
        held += low <= following <= high
    assert stats.binomtest(held, len(draws), 0.95).pvalue > 0.01


@pytest.mark.parametrize("values", [[], [99.4]])
def test_a_prediction_from_fewer_than_two_runs_is_refused(values):
    with pytest.raises(ValueError, match=f"at least two values, found {len(values)}"):
        prediction_interval(values)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # R. Newcombe 1998, "Two-sided confidence intervals for the single proportion", Statistics in Medicine
        # 17:857-872, table I, method 3.
        (81, 263, 25.53, 36.62),
        (15, 148, 6.24, 16.05),
        (0, 20, 0.0, 16.11),
        (1, 29, 0.61, 17.18),
    ],
)
def test_wilson_is_what_has_been_published(successes, n, low, high):
    assert wilson(successes, n) == pytest.approx((low, high), abs=0.006)


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 10), (10, 10), (3, 7), (9949, 10_000), (1, 10**9)])
def test_wilson_is_scipys_in_percent(successes, n):
    expected = stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")

    low, high = wilson(successes, n)

    assert (low, high) == pytest.approx((100 * expected.low, 100 * expected.high), rel=1e-12, abs=1e-12)
    assert 0 <= low < high <= 100


def test_wilson_stays_within_0_and_100_percent():
    for n in range(1, 300):
        assert wilson(0, n)[0] >= 0
        assert wilson(n, n)[1] <= 100


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 10), (11, 10), (-2, -1)])
def test_what_is_no_proportion_is_refused(successes, n):
    with pytest.raises(ValueError, match=f"{successes} of {n} is not a proportion"):
        wilson(successes, n)


# Differences


def both(ones, others, paired, **settings):
    """`compare` of runs with these final accuracies, shifted to where accuracies are: differences stay."""
    return compare(
        make_runs([50 + each for each in ones]),
        make_runs([50 + each for each in others], experiment="T2"),
        paired,
        **settings,
    )


def test_students_own_example():
    """R: t.test(extra ~ group, data = sleep), with paired = TRUE and without."""
    paired, welch = both(*SLEEP, paired=True), both(*SLEEP, paired=False)

    assert (paired.n, paired.mean, paired.test) == ((10, 10), -1.58, "paired t-test")
    assert paired.p == pytest.approx(0.002833, abs=5e-7)
    assert paired.interval == pytest.approx((-2.4598858, -0.7001142), abs=5e-8)
    assert (welch.n, welch.mean, welch.test) == ((10, 10), -1.58, "Welch's t-test")
    assert welch.p == pytest.approx(0.07939, abs=5e-6)
    assert welch.interval == pytest.approx((-3.3654832, 0.2054832), abs=5e-8)


def test_a_paired_difference_worked_out_by_hand():
    """Differences 1, 2, 3: mean 2, SD 1, t = 2 sqrt(3) with 2 degrees of freedom, where 1 - p = t / sqrt(t^2 + 2)."""
    found = both([11, 12, 13], [10, 10, 10], paired=True)

    assert found.mean == 2
    assert found.interval == pytest.approx((2 - 4.3026527 / math.sqrt(3), 2 + 4.3026527 / math.sqrt(3)))
    assert found.p == pytest.approx(1 - math.sqrt(12 / 14))


def test_welchs_difference_worked_out_by_hand():
    """Means 3 and 7 apart by 4, variances 1 and 4 of three runs each: t = 4 / sqrt(5 / 3), and Welch's degrees of
    freedom are (5 / 3)^2 / ((1 / 3)^2 / 2 + (4 / 3)^2 / 2) = 50 / 17."""
    found = both([6, 7, 8], [1, 3, 5], paired=False)

    assert found.mean == 4
    assert found.p == pytest.approx(2 * stats.t.sf(4 / math.sqrt(5 / 3), 50 / 17))
    half = stats.t.ppf(0.975, 50 / 17) * math.sqrt(5 / 3)
    assert found.interval == pytest.approx((4 - half, 4 + half))


@pytest.mark.parametrize("values", ACCURACIES)
def test_a_paired_difference_is_scipys(values):
    others = [round(value - 0.05 + 0.04 * math.sin(7 * i), 4) for i, value in enumerate(values)]
    values = [round(value, 4) for value in values]

    found = compare(make_runs(values), make_runs(others, experiment="T2"), paired=True)

    expected = stats.ttest_1samp(np.subtract(values, others), 0)
    assert found.n == (len(values), len(values))
    assert found.mean == pytest.approx(np.mean(np.subtract(values, others)), rel=1e-6)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval(0.95)), rel=1e-6)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-6)


def test_a_pair_is_of_one_seed_and_others_are_left_out():
    ones = make_runs([99.5, 99.3, 99.4, 50.0], seeds=[3, 1, 2, 8])
    others = make_runs([30.0, 99.1, 99.2, 99.2], seeds=[9, 1, 3, 2])

    found = compare(ones, others, paired=True)

    expected = stats.ttest_rel([99.3, 99.4, 99.5], [99.1, 99.2, 99.2])
    assert found.n == (3, 3)
    assert found.mean == pytest.approx(0.7 / 3)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)


def test_without_pairs_every_run_counts():
    ones = make_runs([99.5, 99.3, 99.4], seeds=[3, 1, 2])
    others = make_runs([99.0, 99.1, 99.2, 99.15, 99.25], seeds=[9, 1, 3, 2, 7])

    found = compare(ones, others, paired=False)

    expected = stats.ttest_ind([99.3, 99.4, 99.5], [99.1, 99.15, 99.2, 99.25, 99.0], equal_var=False)
    assert (found.n, found.test) == ((3, 5), "Welch's t-test")
    assert (found.mean, found.p) == pytest.approx((0.26, expected.pvalue))


@pytest.mark.parametrize("paired", [True, False])
def test_the_order_of_a_difference_is_its_sign(paired):
    ones, others = make_runs([99.5, 99.3, 99.4]), make_runs([99.1, 99.2, 99.2])

    there, back = compare(ones, others, paired), compare(others, ones, paired)

    assert there.mean > 0
    assert (back.mean, back.p) == pytest.approx((-there.mean, there.p))
    assert back.interval == pytest.approx((-there.interval[1], -there.interval[0]))


def test_another_figure_can_be_compared():
    found = both([49.5, 49.3], [49.1, 49.2], paired=True, figure=lambda run: run.best.test_accuracy)

    assert found == Difference((2, 2), 0.0, (0.0, 0.0), 1.0, "permutation test")


@pytest.mark.parametrize("paired", [True, False])
def test_runs_that_failed_to_train_are_left_out(paired):
    ones, others = make_runs([99.5, 99.3, 99.4]), make_runs([99.1, 99.2, 99.25])
    failed = make_runs([9.8, 20.0], seeds=[7, 8])

    whole = compare([*ones, failed[0]], [*others, *failed], paired)

    assert whole == compare(ones, others, paired)
    assert whole.n == (3, 3)
    assert compare([*ones[:1], failed[0]], others, paired) is None


@pytest.mark.parametrize(("difference", "positive"), [(0.0, None), (0.25, True), (-0.25, False)])
def test_of_differences_that_are_all_the_same_signs_are_counted(difference, positive):
    values = [50.0, 60.0, 70.0, 80.0, 90.0, 99.0]

    few, many = (
        compare(make_runs([v + difference for v in some]), make_runs(some), paired=True)
        for some in (values[:3], values)
    )

    ends = (difference, difference)
    assert few == Difference((3, 3), difference, ends, 0.25 if difference else 1.0, "permutation test")
    assert few.positive is None
    assert many.p == (stats.binomtest(6, 6).pvalue if difference else 1.0)
    assert many.positive is positive


@pytest.mark.parametrize("sizes", [(2, 2), (3, 4), (5, 2)])
def test_of_two_groups_without_spread_rearrangements_are_counted(sizes):
    found = both([1.0] * sizes[0], [0.75] * sizes[1], paired=False)

    def statistic(x, y):
        return np.mean(x) - np.mean(y)

    expected = stats.permutation_test(([1.0] * sizes[0], [0.75] * sizes[1]), statistic, n_resamples=np.inf)
    assert found == Difference(sizes, 0.25, (0.25, 0.25), pytest.approx(expected.pvalue), "permutation test")
    assert both([1.0] * sizes[0], [1.0] * sizes[1], paired=False).p == 1


@pytest.mark.parametrize(("ones", "others"), [([1.0, 1.0, 1.0], [0.5, 0.7, 0.9]), ([0.5, 0.7, 0.9], [1.0, 1.0, 1.0])])
def test_one_group_without_spread_is_compared_by_the_others(ones, others):
    found = both(ones, others, paired=False)

    varied = others if len({*ones}) == 1 else ones
    assert found.test == "Welch's t-test"
    assert found.p == pytest.approx(stats.ttest_1samp(varied, 1.0).pvalue)


def test_digits_beyond_the_accuracies_own_are_no_difference():
    found = compare(make_runs([99.35000000000001, 99.4]), make_runs([99.35, 99.39999999999999]), paired=True)

    assert found == Difference((2, 2), 0.0, (0.0, 0.0), 1.0, "permutation test")


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize(
    ("ones", "others", "message"),
    [
        ([1, 2, 1], [1, 2], "the first runs: more than one run with seed 1"),
        ([1, 2, 3], [3, 2, 2, 3], "the second runs: more than one run with seed 2, 3"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(ones, others, message, paired):
    with pytest.raises(ValueError, match=message):
        compare(make_runs([99.4] * len(ones), seeds=ones), make_runs([99.3] * len(others), seeds=others), paired)


@pytest.mark.parametrize(("ones", "others"), [([1, 2], [3, 4]), ([1, 2], [2]), ([], [1, 2])])
def test_fewer_than_two_common_seeds_make_no_difference(ones, others):
    ones, others = make_runs([99.4] * len(ones), seeds=ones), make_runs([99.3] * len(others), seeds=others)

    assert compare(ones, others, paired=True) is None
    assert (compare(ones, others, paired=False) is None) == (min(len(ones), len(others)) < 2)


@pytest.mark.parametrize(
    ("mean", "p", "positive"), [(0.1, 0.04, True), (-0.1, 0.04, False), (0.1, 0.06, None), (0.1, 0.05, None)]
)
def test_a_difference_tells_its_sign_where_it_is_significant(mean, p, positive):
    assert Difference((3, 3), mean, (mean - 0.1, mean + 0.1), p, "paired t-test").positive is positive


# Several differences


def differences(*ps):
    return [Difference((3, 3), 0.1 * (i + 1), (-1.0, 1.0), p, "paired t-test") for i, p in enumerate(ps)]


def test_holms_adjustment_worked_out_by_hand():
    """0.005 x 4, 0.01 x 3, 0.03 x 2, and 0.04, which is not to be below the one before."""
    found = adjusted(differences(0.01, 0.04, 0.03, 0.005))

    assert [each.p for each in found] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert [each.positive for each in found] == [True, None, None, True]
    for before, after in zip(differences(0.01, 0.04, 0.03, 0.005), found, strict=True):
        assert (after.n, after.mean, after.interval, after.test) == (
            before.n,
            before.mean,
            before.interval,
            before.test,
        )


def test_holms_adjustment_keeps_the_order_and_never_lowers_a_p():
    random = np.random.default_rng(0)
    for n in (1, 2, 5, 20):
        before = random.uniform(0, 1, n) ** 3
        after = np.array([each.p for each in adjusted(differences(*before.tolist()))])

        assert (after >= before).all() and (after <= 1).all()
        assert (after <= np.minimum(n * before, 1) + 1e-15).all()  # nor is it stricter than Bonferroni's
        assert (np.diff(after[np.argsort(before)]) >= 0).all()
    assert [each.p for each in adjusted(differences(0.2))] == [0.2]
    assert adjusted([]) == []


# Several runs


def test_runs_that_failed_to_train_are_counted():
    runs = make_runs([99.4, 9.8, 20.0, 20.01])

    assert [run.seed for run in trained(runs)] == [0, 3]
    assert failures(runs) == " (2 of 4 runs failed to train)"
    assert failures(trained(runs)) == failures([]) == ""


def test_misclassified_images_are_counted_over_the_runs_that_trained():
    runs = [make_run(1, errors=[(5, 3), (7, 1)]), make_run(2, errors=[(5, 8), (9, 2)]), make_run(3, errors=[(5, 8)])]
    runs.append(make_run(4, 9.8, errors=[(7, 0), (9, 0), (11, 0)]))

    assert misclassified(runs) == [Misclassified(5, 3, 8), Misclassified(7, 1, 1), Misclassified(9, 1, 2)]
    assert misclassified([]) == []


def test_runs_by_experiment_are_sorted_by_seed():
    runs = [make_run(seed, experiment=name) for name, seed in [("T3", 10), ("T1", 1), ("T3", 2), ("T1", 0), ("T3", 1)]]

    found = by_experiment(runs)

    assert list(found) == ["T3", "T1"]
    assert [run.seed for run in found["T3"]] == [1, 2, 10]
    assert found["T1"] == [runs[3], runs[1]]
    assert by_experiment([]) == {}


def test_runs_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="different digits.*: MNIST, synthetic digits"):
        by_experiment([make_run(1), make_run(2, dataset="synthetic digits")])
    with pytest.raises(ValueError, match="T2: more than one run with seed 5"):
        by_experiment([make_run(5), make_run(5, experiment="T2"), make_run(5, experiment="T2")])
    assert len(by_experiment([make_run(1, dataset="synthetic digits")])) == 1


def test_a_correction_is_of_a_label_error_and_gives_another_digit(mnist):
    assert len(LABEL_ERRORS) == 15 and len(CORRECTED_LABELS) == 10
    assert set(CORRECTED_LABELS) < set(LABEL_ERRORS)
    for index, digit in CORRECTED_LABELS.items():
        assert digit in range(10) and digit != mnist.test_labels[index]


def test_corrected_labels_make_rights_wrong_and_wrongs_right():
    assert corrected_accuracy(make_run()) == 99.90  # ten images count as wrong that had the given label
    assert corrected_accuracy(make_run(errors=[(947, 9)])) == 99.91  # a 9 that was given as an 8
    assert corrected_accuracy(make_run(errors=[(947, 3)])) == 99.90  # wrong with either label
    assert corrected_accuracy(make_run(errors=[(2130, 9)])) == 99.89  # no majority, so the given label stays
    assert corrected_accuracy(make_run(errors=CORRECTED_LABELS.items())) == 100


def test_corrected_accuracy_is_that_of_predictions_against_the_corrected_labels(mnist):
    corrected = mnist.test_labels.clone()
    corrected[list(CORRECTED_LABELS)] = torch.tensor(list(CORRECTED_LABELS.values()))
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        predicted = torch.where(torch.rand(10_000, generator=generator) < 0.5, corrected, mnist.test_labels)
        predicted[:3000] = torch.randint(10, (3000,), generator=generator)
        wrong = (predicted != mnist.test_labels).nonzero().flatten().tolist()
        run = make_run(errors=[(index, int(predicted[index])) for index in wrong])

        assert corrected_accuracy(run) == pytest.approx(100 * (predicted == corrected).double().mean().item())


def test_other_digits_have_no_corrected_labels():
    with pytest.raises(ValueError, match="T3-seed1-synthetic-digits was tested on synthetic digits"):
        corrected_accuracy(make_run(dataset="synthetic digits"))


def test_values_are_compared_with_a_mean_and_a_deviation_that_are_stated():
    """As with the values themselves."""
    ours, theirs = [98.9, 98.75, 98.95, 98.84], [98.76, 98.61, 98.9, 98.7, 98.83, 98.55]

    found = compare_with_stated(ours, len(theirs), np.mean(theirs), np.std(theirs, ddof=1))

    expected = stats.ttest_ind(ours, theirs, equal_var=False)
    assert found.n == (4, 6) and found.test == "Welch's t-test"
    assert found.mean == pytest.approx(np.mean(ours) - np.mean(theirs))
    assert found.p == pytest.approx(expected.pvalue)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert compare_with_stated([98.9, 98.9], 6, 98.7, 0.1) is None
    assert compare_with_stated([], 6, 98.7, 0.1) is None
