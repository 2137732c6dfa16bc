"""The figures of published networks, compared with the claims and runs that they were given."""

import pytest
from test_across_seeds_plots import assert_readable, make_runs
from test_runs_and_digits import texts

from mnist_s7 import InvalidArgument, plots
from mnist_s7.results import CheckedClaim, Selection, summarize


def claim(name, parameters, accuracy, final, verdict="reproduced", optimistic=None):
    values = [final - 0.03, final, final + 0.03]
    final, best = summarize(values), summarize([value + 0.05 for value in values])
    return CheckedClaim(name, parameters, accuracy, 3, final, best, 0, 0, None, verdict, optimistic)


CLAIMS = [
    claim("someone-9962", 9_962, 99.47, 99.40, optimistic=0.07),
    claim("another-697-with-a-long-name", 697, 99.03, 98.70, "not reproduced", 0.33),
    claim("third-7000", 7_000, 97.25, 97.70, "exceeded"),
]


@pytest.fixture(scope="module")
def drawn():
    return plots.claims_figure(CLAIMS, make_runs(names=("T1", "T2", "T3", "T4")))


def points(ax, marker):
    """(x, row) of each mark of this kind."""
    lines = [line for line in ax.lines if line.get_marker() == marker]
    return [(round(line.get_xdata()[0], 3), line.get_ydata()[0]) for line in lines]


def test_claims_stand_beside_the_means_by_parameters(drawn):
    [ax] = drawn.axes
    rows = [label.get_text() for label in ax.get_yticklabels()]
    row = {name.partition(",")[0]: i for i, name in enumerate(rows)}

    assert rows == [
        *("another-697-with-a-long-name", "T3, 6,544", "third-7000"),
        *("T2, 7,416", "T4, 7,800", "T1, 8,620", "someone-9962"),
    ]
    by_row = sorted(CLAIMS, key=lambda each: each.parameters)
    assert [x for x, y in points(ax, "D") if rows[y] in {c.experiment for c in CLAIMS}] == [c.accuracy for c in by_row]
    assert points(ax, "|") == [(round(c.best.mean, 3), row[c.experiment]) for c in by_row]
    means = {y: x for x, y in points(ax, "o")}
    assert {y: x for y, x in means.items() if y != row["T1"]} == {
        row[c.experiment]: round(c.final.mean, 3) for c in CLAIMS
    }
    words = {"reproduced, optimistic by 0.07 pp", "not reproduced, optimistic by 0.33 pp", "exceeded"}
    assert words < set(texts(ax))
    low, high = ax.get_ylim()
    assert low > high  # the smallest network is at the top
    intervals = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) == 2 and line.get_linewidth() == 2]
    assert len(intervals) == 7 and tuple(CLAIMS[1].final.interval) in [tuple(each) for each in intervals]


def test_the_figures_can_be_read(drawn):
    assert_readable(drawn)
    assert_readable(plots.claims_figure(CLAIMS[:1], {}))
    many = [claim(f"network-{size}", size, 99.4, 99.3, optimistic=0.1) for size in range(600, 9_900, 300)]
    figure = plots.claims_figure(many, make_runs(names=("T1", "T2", "T3", "T4")))
    assert_readable(figure)
    assert len(figure._repr_png_()) < 100_000
    assert figure.get_size_inches()[0] * figure.dpi == 880


def test_what_selection_adds_is_drawn_by_parameters():
    found = [
        Selection("T4", 7_824, 15, summarize([0.0, 0.02]), 0.07, 0.08),
        Selection("small", 1_674, 15, summarize([0.2, 0.3]), 0.5, 0.9),
        Selection("few", 4_266, 5, summarize([0.0, 0.0]), None, None),
    ]
    figure = plots.selection_figure(found)
    [ax] = figure.axes

    assert_readable(figure)
    drawn = {
        line.get_marker(): sorted(zip(line.get_xdata(), line.get_ydata(), strict=True))
        for line in ax.lines
        if line.get_marker() in "^xo"
    }
    assert drawn["o"] == [(1_674, pytest.approx(0.25)), (4_266, 0), (7_824, pytest.approx(0.01))]
    assert drawn["^"] == [(1_674, 0.5), (7_824, 0.07)]
    assert drawn["x"] == [(1_674, 0.9), (7_824, 0.08)]
    assert ax.get_xscale() == "log" and ax.get_ylim()[0] == 0


def test_nothing_cannot_be_drawn():
    with pytest.raises(InvalidArgument, match="no claims to draw"):
        plots.claims_figure([], make_runs())
    with pytest.raises(InvalidArgument, match="nothing to draw"):
        plots.selection_figure([])
