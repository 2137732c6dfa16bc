"""What selection on the test set adds, compared with all choices of runs, one by one."""

from itertools import combinations
from statistics import mean

import pytest

from mnist_s7 import InvalidArgument, Run
from mnist_s7.results import BEST_OF, Epoch, expected_best, selection


def run(seed, best, final, length=3):
    epochs = [Epoch(i, 0.01, 0.1, 99.0, 0.05, test, 6.0) for i, test in enumerate((90.0, best, final))]
    return Run("T3", "a recipe", seed, "MNIST", 6_544, {}, epochs[-length:], [])


@pytest.mark.parametrize("best_of", range(1, 8))
def test_the_expected_best_is_the_mean_over_all_choices(best_of):
    values = [99.3, 99.5, 99.5, 99.1, 99.42, 98.9, 99.47]

    assert expected_best(values, best_of) == pytest.approx(mean(map(max, combinations(values, best_of))))


@pytest.mark.parametrize("best_of", [0, 3])
def test_more_than_there_are_cannot_be_chosen(best_of):
    with pytest.raises(InvalidArgument, match=f"the best of {best_of} of 2 values"):
        expected_best([99.3, 99.5], best_of)


def test_what_selection_adds():
    finals, bests = [99.3, 99.5, 99.1, 99.42, 98.9, 99.47], [99.4, 99.5, 99.45, 99.42, 99.3, 99.5]
    runs = [run(seed, *figures) for seed, figures in enumerate(zip(bests, finals, strict=True))]

    found = selection([*runs, run(9, 12.0, 11.35)])

    assert (found.experiment, found.parameters, found.epochs, found.best_epoch.n) == ("T3", 6_544, (3, 3), 6)
    assert found.best_epoch.mean == pytest.approx(mean(bests) - mean(finals))
    assert found.best_run == pytest.approx(mean(map(max, combinations(finals, BEST_OF))) - mean(finals))
    assert found.both == pytest.approx(mean(map(max, combinations(bests, BEST_OF))) - mean(finals))


def test_runs_may_be_of_different_lengths():
    assert selection([run(1, 99.4, 99.3), run(2, 99.5, 99.4, length=2)]).epochs == (2, 3)


def test_of_few_runs_there_is_no_best():
    runs = [run(seed, 99.4, 99.3) for seed in range(BEST_OF - 1)]

    found = selection(runs)

    assert (found.best_epoch.mean, found.best_run, found.both) == (pytest.approx(0.1), None, None)
    assert selection([run(1, 12.0, 11.35)]) is None
