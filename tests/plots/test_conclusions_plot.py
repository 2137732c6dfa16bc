"""The figure of conclusions on two data sets draws each difference on its side, and can be read."""

import pytest
from matplotlib.colors import to_rgba
from test_across_seeds_plots import assert_readable, bars, marks

from mnist_s7 import plots
from mnist_s7.results import Difference
from mnist_s7.results.conclusions import Comparison, Conclusion


def difference(mean, low, high, p=0.001):
    return Difference((10, 10), mean, (low, high), p, "paired t-test")


COMPARISONS = (
    Comparison(
        Conclusion("BatchNorm raises accuracy", "A", "B"), (difference(0.5, 0.3, 0.7), difference(2.0, 1.0, 3.0))
    ),
    Comparison(
        Conclusion("a schedule with a long name raises accuracy, for as many parameters", "A", "C"),
        (difference(0.1, -0.1, 0.3, 0.4), difference(-1.0, -1.5, -0.5)),
    ),
    Comparison(
        Conclusion("fewer parameters cost at most 0.1 pp", "A", "D", margin=0.1),
        (difference(-0.02, -0.05, 0.01, 0.2), difference(0.0, -0.4, 0.4, 0.9)),
    ),
    Comparison(Conclusion("shifts raise accuracy", "A", "E"), (difference(0.2, 0.1, 0.3), None)),
)


@pytest.fixture
def figure():
    return plots.two_data_sets(COMPARISONS, ("MNIST", "Fashion-MNIST"))


@pytest.mark.parametrize("side", [0, 1])
def test_each_difference_has_its_mark_and_its_interval(figure, side):
    ax = figure.axes[side]
    found = [(row, each.differences[side]) for row, each in enumerate(COMPARISONS) if each.differences[side]]

    assert ax.get_title(loc="left") == ("MNIST", "Fashion-MNIST")[side]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in marks(ax)] == [
        (each.mean, row) for row, each in found
    ]
    horizontal = [(x, y) for x, y in bars(ax) if y[0] == y[1]]
    assert horizontal == [(each.interval, (row, row)) for row, each in found]
    low, high = ax.get_xlim()
    assert all(low < end < high for _, each in found for end in (*each.interval, 0))
    assert [x for x, y in bars(ax) if y[0] != y[1]] == [(-0.1, -0.1)]  # the margin


def test_what_is_inconclusive_is_hollow(figure):
    faces = [[line.get_markerfacecolor() for line in marks(ax)] for ax in figure.axes]

    hollow = [[to_rgba(face) == to_rgba("white") for face in side] for side in faces]
    assert hollow == [[False, True, False, False], [False, False, True]]


def test_the_verdicts_are_beside_their_rows(figure):
    found = {note.xy[1]: note.get_text() for note in figure.axes[1].texts}

    assert found == {0: "holds", 1: "inconclusive", 2: "inconclusive", 3: "not measured"}


def test_the_figure_can_be_read(figure):
    assert_readable(figure)
