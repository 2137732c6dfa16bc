"""The figure of corrupted images draws what was measured, and can be read."""

import numpy as np
import pytest
from test_across_seeds_plots import assert_readable

from mnist_s7 import plots
from mnist_s7.plots.style import LOOKS
from mnist_s7.robustness import CORRUPTIONS, Curve, Robustness

NAMES = ("T1", "T2", "T3", "T4", "T5")


@pytest.fixture
def record():
    """Accuracies that fall from the neutral strength on, for each network and seed otherwise."""

    def curve(corruption):
        away = np.abs(np.array(corruption.strengths) - corruption.neutral) / np.ptp(corruption.strengths)
        seeds = {name: [(99 - 80 * away - i - seed).tolist() for seed in (0, 0.4)] for i, name in enumerate(NAMES)}
        return Curve(corruption.unit, list(corruption.strengths), corruption.neutral, seeds)

    curves = {corruption.name: curve(corruption) for corruption in CORRUPTIONS}
    return Robustness({}, "MNIST", 10_000, dict.fromkeys(NAMES, [1, 2]), curves)


def test_every_corruption_has_a_panel_with_the_mean_of_each_network(record):
    figure = plots.robustness_figure(record)

    panels = [ax for ax in figure.axes if ax.axison]
    assert [ax.get_title(loc="left") for ax in panels] == [corruption.name for corruption in CORRUPTIONS]
    for ax, (name, curve) in zip(panels, record.curves.items(), strict=True):
        assert ax.get_xlabel() == curve.unit
        neutral, *lines = ax.lines
        assert set(neutral.get_xdata()) == {curve.neutral}, name
        assert [(line.get_color(), line.get_marker()) for line in lines] == [LOOKS[network] for network in NAMES]
        for line, network in zip(lines, NAMES, strict=True):
            assert list(line.get_xdata()) == curve.strengths
            assert line.get_ydata() == pytest.approx(np.mean(curve.accuracies[network], axis=0))
    low, high = panels[0].get_ylim()
    assert all(ax.get_ylim() == (low, high) and ax.get_yscale() == "function" for ax in panels)
    assert all(low < a < high for curve in record.curves.values() for name in NAMES for a in curve.mean(name))
    [legend] = [ax.get_legend() for ax in figure.axes if ax.get_legend()]
    assert [text.get_text() for text in legend.get_texts()] == [*NAMES, "images as they are"]
    assert "mean of the seeds" in figure._suptitle.get_text()


def test_the_figure_can_be_read(record):
    assert_readable(plots.robustness_figure(record))


def test_other_digits_are_named(record):
    record = Robustness({}, "Fashion-MNIST", 10_000, record.seeds, record.curves)

    assert "Fashion-MNIST" in plots.robustness_figure(record)._suptitle.get_text()
