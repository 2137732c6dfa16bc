"""The figures of a search and of what teachers say, compared with what they were given."""

import pytest
import torch
from test_across_seeds_plots import assert_readable

from mnist_s7 import InvalidArgument, plots
from mnist_s7.results.search import Trial


def trial(*losses):
    return Trial({}, tuple(99.0 for _ in losses), losses)


def test_every_trial_has_its_row():
    best, other, alone = trial(0.015, 0.017), trial(0.018, 0.019, 0.023), trial(0.021)
    long = "a name of many words " * 5

    figure = plots.search_figure({"taught": [("short", best), (long, other)], "on labels": [("T4", alone)]}, best)

    [ax] = figure.axes
    rows = {label.get_text().replace("\n", " "): label for label in ax.get_yticklabels()}
    assert list(rows) == ["taught", "short", long.strip(), "on labels", "T4"]
    assert [name for name, label in rows.items() if label.get_fontweight() == "bold"] == ["short"]
    assert [name for name, label in rows.items() if label.get_fontstyle() == "italic"] == ["taught", "on labels"]
    means = [line for line in ax.lines if line.get_marker() == "o"]
    assert [line.get_xdata()[0] for line in means] == pytest.approx([0.016, 0.02, 0.021])
    at = dict(zip(rows, ax.get_yticks(), strict=True))
    assert [line.get_ydata()[0] for line in means] == [at["short"], at[long.strip()], at["T4"]]
    seeds = [list(line.get_xdata()) for line in ax.lines if line.get_marker() == "|"]
    assert seeds == [[0.015, 0.017], [0.018, 0.019, 0.023], [0.021]]
    assert len({line.get_color() for line in means}) == 2
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        *("each seed", "mean and its standard error")
    ]
    assert_readable(figure)


def test_no_trials_are_refused():
    with pytest.raises(InvalidArgument, match="0 groups of trials"):
        plots.search_figure({})


def test_probabilities_stand_beside_their_digits():
    images, labels = torch.zeros(4, 28, 28, dtype=torch.uint8), torch.tensor([3, 1, 4, 1])
    given = {name: torch.rand(4, 10).softmax(1) for name in ("teachers", "before", "taught")}

    figure = plots.soft_labels(images, labels, given, "Digits")

    bars = [ax for ax in figure.axes if ax.patches and len(ax.patches) == 30]
    assert len(bars) == 4
    for i, ax in enumerate(bars):
        heights = [patch.get_height() for patch in ax.patches]
        expected = torch.cat([100 * each[i] for each in given.values()])
        assert heights == pytest.approx(expected.tolist(), rel=1e-5)
    assert [ax.get_xlabel() for ax in figure.axes if ax.get_xlabel().startswith("label")] == [
        *("label 3", "label 1", "label 4", "label 1")
    ]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(given)
    assert_readable(figure)


@pytest.mark.parametrize("count", [0, 4])
def test_too_many_networks_or_none_are_refused(count):
    given = {str(i): torch.full((1, 10), 0.1) for i in range(count)}
    with pytest.raises(InvalidArgument, match=f"{count} networks"):
        plots.soft_labels(torch.zeros(1, 28, 28), torch.tensor([1]), given, "Digits")
