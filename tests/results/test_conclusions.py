"""A conclusion's verdict goes by what two data sets say."""

import pytest

from mnist_s7.results import Difference
from mnist_s7.results.conclusions import Comparison, Conclusion

HIGHER = Conclusion("A is better than B", "A", "B")
NO_LOSS = Conclusion("A costs at most 0.1 pp", "A", "B", margin=0.1)


def difference(mean, half, p=0.001):
    return Difference((10, 10), mean, (mean - half, mean + half), p, "paired t-test")


UP, DOWN, OPEN = difference(0.3, 0.1), difference(-0.3, 0.1), difference(0.1, 0.2, p=0.3)


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        (UP, UP, "holds"),
        (DOWN, DOWN, "holds"),
        (UP, DOWN, "reversed"),
        (DOWN, UP, "reversed"),
        (UP, OPEN, "inconclusive"),
        (OPEN, UP, "inconclusive"),
        (OPEN, OPEN, "inconclusive"),
        (UP, None, "not measured"),
        (None, DOWN, "not measured"),
    ],
)
def test_the_verdict_goes_by_both_data_sets(first, second, verdict):
    assert Comparison(HIGHER, (first, second)).verdict == verdict


@pytest.mark.parametrize(
    ("mean", "half", "finding"),
    [
        (-0.02, 0.05, True),  # lower, and not by 0.1
        (-0.05, 0.04, True),  # significantly lower, and still not by 0.1
        (0.3, 0.1, True),
        (-0.05, 0.06, None),
        (-0.15, 0.04, False),
        (0.0, 0.5, None),
    ],
)
def test_a_margin_goes_by_the_interval(mean, half, finding):
    assert NO_LOSS.finding(difference(mean, half)) is finding
