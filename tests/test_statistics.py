"""Statistics over seeds, against SciPy's."""

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
    Run,
    Summary,
    by_experiment,
    corrected_accuracy,
    paired,
    prediction_interval,
    summarize,
    wilson,
)
from mnist_s7.results.statistics import t_distribution, t_quantile

QUANTILE = 1e-9  # relative: that of scipy before 1.16 has ten digits

DEGREES = [1, 2, 3, 9, 30, 100]
ACCURACIES = [
    [99.53, 99.40],
    [99.53, 99.40, 99.26, 99.36],
    [98.4, 99.1, 20.1, 100.0, 50.0, 99.4, 99.4, 99.4, 99.4, 99.41],
    [99.4 + 0.01 * ((7 * i) % 13) for i in range(101)],
]


def make_run(seed=1, test_accuracy=99.4, experiment="T3", dataset="MNIST", errors=()):
    """A run that was best in its first epoch, which is not the one to quote."""
    epochs = [Epoch(i, 0.05, 0.04, 98.9, 0.02, accuracy, 7.5) for i, accuracy in enumerate([99.99, test_accuracy])]
    return Run(experiment, "a recipe", seed, dataset, 6544, {}, epochs, list(errors))


def make_runs(accuracies, seeds=None, **others):
    seeds = range(len(accuracies)) if seeds is None else seeds
    return [make_run(seed, accuracy, **others) for seed, accuracy in zip(seeds, accuracies, strict=True)]


@pytest.mark.parametrize("df", DEGREES)
def test_the_t_distribution_is_scipys(df):
    for t in [1e-4, 0.01, 0.3, 1.0, 1.21, 1.23, 1.34, 1.6, 1.72, 1.74, 2.0, 5.0, 12.7, 40.0, 1e3, 1e6]:
        assert t_distribution(-t, df) == pytest.approx(stats.t.cdf(-t, df), rel=2e-12)  # also of the smallest tails
        assert t_distribution(t, df) == pytest.approx(stats.t.cdf(t, df), rel=1e-14)


def test_the_t_distribution_at_its_middle_and_ends():
    assert t_distribution(0.0, 9) == 0.5
    assert t_distribution(-math.inf, 9) == 0
    assert t_distribution(math.inf, 9) == 1
    # With one degree of freedom it is Cauchy's. Next to zero, 1 - x of x = t^2 / (1 + t^2) has no digit left.
    assert t_distribution(1e-9, 1) - 0.5 == pytest.approx(1e-9 / math.pi, rel=1e-6)


@pytest.mark.parametrize("df", DEGREES)
def test_the_t_quantile_is_scipys(df):
    for p in [1e-100, 1e-12, 1e-6, 0.001, 0.025, 0.2, 0.45, 0.6, 0.9, 0.975, 0.995, 1 - 1e-6]:
        assert t_quantile(p, df) == pytest.approx(stats.t.ppf(p, df), rel=QUANTILE)
    assert t_quantile(0.5, df) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("p", [0, 1, -0.1, 1.1, math.nan])
def test_a_quantile_needs_a_probability(p):
    with pytest.raises(ValueError, match="between 0 and 1"):
        t_quantile(p, 9)


@pytest.mark.parametrize("values", ACCURACIES)
def test_a_summary_is_scipys(values):
    found = summarize(values)

    interval = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    assert (found.n, found.minimum, found.maximum) == (len(values), min(values), max(values))
    assert found.mean == pytest.approx(np.mean(values), rel=1e-14)
    assert found.deviation == pytest.approx(np.std(values, ddof=1), rel=1e-12)
    assert found.interval == pytest.approx(interval, rel=QUANTILE)


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
    assert prediction_interval(values, confidence) == pytest.approx(expected, rel=QUANTILE)


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


@pytest.mark.parametrize("values", ACCURACIES)
def test_a_paired_difference_is_scipys(values):
    others = [round(value - 0.05 + 0.04 * math.sin(7 * i), 4) for i, value in enumerate(values)]

    found = paired(make_runs(values), make_runs(others, experiment="T2"))

    expected = stats.ttest_rel(values, others)
    assert found.n == len(values)
    assert found.mean == pytest.approx(np.mean(np.subtract(values, others)), rel=1e-12)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval(0.95)), rel=QUANTILE)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-11)


def test_a_pair_is_of_one_seed_and_others_are_left_out():
    ones = make_runs([99.5, 99.3, 99.4, 10.0], seeds=[3, 1, 2, 8])
    others = make_runs([20.0, 99.1, 99.2, 99.2], seeds=[9, 1, 3, 2])

    found = paired(ones, others)

    expected = stats.ttest_rel([99.3, 99.4, 99.5], [99.1, 99.2, 99.2])
    assert found.n == 3
    assert found.mean == pytest.approx(0.7 / 3)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)


def test_the_order_of_a_difference_is_its_sign():
    ones, others = make_runs([99.5, 99.3, 99.4]), make_runs([99.1, 99.2, 99.2])

    there, back = paired(ones, others), paired(others, ones)

    assert there.mean > 0
    assert (back.mean, back.p) == (-there.mean, there.p)
    assert back.interval == (-there.interval[1], -there.interval[0])


def test_another_figure_can_be_compared():
    ones, others = make_runs([99.5, 99.3]), make_runs([99.1, 99.2])

    assert paired(ones, others, figure=lambda run: run.best.test_accuracy) == Difference(2, 0.0, (0.0, 0.0), 1.0)


@pytest.mark.parametrize(("difference", "positive"), [(0.0, None), (0.25, True), (-0.25, False)])
def test_of_differences_that_are_all_the_same_signs_are_counted(difference, positive):
    values = [50.0, 60.0, 70.0, 80.0, 90.0, 99.0]

    few, many = (paired(make_runs([v + difference for v in some]), make_runs(some)) for some in (values[:3], values))

    assert few == Difference(3, difference, (difference, difference), 0.25 if difference else 1.0)
    assert few.positive is None
    assert many.p == (stats.binomtest(6, 6).pvalue if difference else 1.0)
    assert many.positive is positive


def test_digits_beyond_the_accuracies_own_are_no_difference():
    found = paired(make_runs([99.35000000000001, 99.4]), make_runs([99.35, 99.39999999999999]))

    assert found == Difference(2, 0.0, (0.0, 0.0), 1.0)


@pytest.mark.parametrize(
    ("ones", "others", "message"),
    [
        ([1, 2, 1], [1, 2], "the first runs: more than one run with seed 1"),
        ([1, 2, 3], [3, 2, 2, 3], "the second runs: more than one run with seed 2, 3"),
    ],
)
def test_runs_that_cannot_be_paired_are_refused(ones, others, message):
    with pytest.raises(ValueError, match=message):
        paired(make_runs([99.4] * len(ones), seeds=ones), make_runs([99.3] * len(others), seeds=others))


@pytest.mark.parametrize(("ones", "others"), [([1, 2], [3, 4]), ([1, 2], [2]), ([], [1, 2])])
def test_fewer_than_two_common_seeds_make_no_difference(ones, others):
    assert paired(make_runs([99.4] * len(ones), seeds=ones), make_runs([99.3] * len(others), seeds=others)) is None


@pytest.mark.parametrize(("mean", "p", "positive"), [(0.1, 0.04, True), (-0.1, 0.04, False), (0.1, 0.06, None)])
def test_a_difference_tells_its_sign_where_it_is_significant(mean, p, positive):
    assert Difference(3, mean, (mean - 0.1, mean + 0.1), p).positive is positive


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


def test_corrected_labels_turn_rights_and_wrongs_around():
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
    with pytest.raises(ValueError, match="T3-seed1-synthetic-digits was trained on synthetic digits"):
        corrected_accuracy(make_run(dataset="synthetic digits"))
