"""The figures of a search and of what teachers say, compared with what they were given."""

import pytest
import torch
from matplotlib.colors import to_hex
from test_across_seeds_plots import assert_readable

from mnist_s7 import InvalidArgument, plots
from mnist_s7.plots.style import LOOKS
from mnist_s7.results.search import LOSS, Trial


def trial(*losses):
    return Trial({}, {LOSS: [str(loss) for loss in losses]})


def test_every_group_of_trials_has_a_panel_and_every_trial_a_row():
    best, other, alone = trial(0.015, 0.017), trial(0.018, 0.019, 0.023), trial(0.021)
    long, heading = "a name of many words " * 5, "a heading of many words " * 8

    figure = plots.search_figure({heading: [("short", best), (long, other)], "on labels": [("T4", alone)]}, [best])
    figure.draw_without_rendering()

    panels = {ax.get_title(loc="left").replace("\n", " "): ax for ax in figure.axes}
    assert list(panels) == [heading.strip(), "on labels"]
    rows = [[label.get_text().replace("\n", " ") for label in ax.get_yticklabels()] for ax in panels.values()]
    assert rows == [["short", long.strip()], ["T4"]]
    labels = [label for ax in panels.values() for label in ax.get_yticklabels()]
    assert [label.get_text() for label in labels if label.get_fontweight() == "bold"] == ["short"]
    for ax, means, seeds in zip(
        panels.values(), ([0.016, 0.02], []), ([[0.015, 0.017], [0.018, 0.019, 0.023]], [[0.021]]), strict=True
    ):
        drawn = [line for line in ax.lines if line.get_marker() == "o"]
        assert [line.get_xdata()[0] for line in drawn] == pytest.approx(means)  # a single seed has no mean
        ticks = [line for line in ax.lines if line.get_marker() == "|"]
        assert [line.get_ydata()[0] for line in ticks] == list(ax.get_yticks())
        assert [line.get_ydata()[0] for line in drawn] == list(ax.get_yticks())[: len(means)]
        assert [list(line.get_xdata()) for line in ticks] == seeds
        assert ax.get_xlabel() == "validation loss (nats)"
        heading = ax._left_title.get_window_extent()
        assert 0 < heading.x0 < heading.x1 < figure.bbox.width
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        *("each seed", "mean of several seeds and its standard error", "bold: what was chosen")
    ]
    assert_readable(figure)


@pytest.mark.parametrize("groups", [{}, {"empty": []}])
def test_no_trials_are_refused(groups):
    with pytest.raises(InvalidArgument, match="no trials"):
        plots.search_figure(groups)


def test_probabilities_stand_beside_their_digits():
    images, labels = torch.zeros(4, 28, 28, dtype=torch.uint8), torch.tensor([3, 1, 4, 1])
    given = {name: torch.rand(4, 10).softmax(1) for name in ("teachers", "T4", "T5")}

    figure = plots.soft_targets(images, labels, given, "Digits")

    bars = [ax for ax in figure.axes if ax.patches and len(ax.patches) == 30]
    assert len(bars) == 4
    for i, ax in enumerate(bars):
        heights = [patch.get_height() for patch in ax.patches]
        expected = torch.cat([100 * each[i] for each in given.values()])
        assert heights == pytest.approx(expected.tolist(), rel=1e-5)
        colours = [to_hex(bar.get_facecolor()).upper() for bar in ax.patches[::10]]
        assert colours[1:] == [LOOKS["T4"][0], LOOKS["T5"][0]] and colours[0] not in colours[1:]
    assert [ax.get_xlabel() for ax in figure.axes if ax.get_xlabel().startswith("label")] == [
        *("label 3", "label 1", "label 4", "label 1")
    ]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(given)
    assert_readable(figure)


def test_no_networks_are_refused():
    with pytest.raises(InvalidArgument, match="no networks"):
        plots.soft_targets(torch.zeros(1, 28, 28), torch.tensor([1]), {}, "Digits")
