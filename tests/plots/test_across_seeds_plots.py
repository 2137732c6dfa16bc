"""What the figures across seeds draw, compared with the runs, differences, networks and images that they were given."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from scipy import stats
from test_runs_and_digits import TEST, TRAIN, drawn, level, placed, texts, title

from mnist_s7 import plots
from mnist_s7.plots.style import LOOKS
from mnist_s7.results import CORRECTED_LABELS, PUBLIC_NETWORKS, Difference, Epoch, Misclassified, Run

FINALS = {
    "T1": [98.30, 98.41, 98.17, 98.35, 98.26, 98.47, 98.31, 98.22, 98.14, 98.38],
    "T2": [99.37, 99.44, 99.30, 99.41, 99.26, 99.37, 99.46, 99.35, 99.39, 99.33],
    "T3": [99.40, 99.51, 99.32, 99.44, 99.40, 99.29, 99.47, 99.36, 99.42, 99.38],
    "T4": [99.60, 99.57, 99.66, 99.54, 99.63, 99.61, 99.58, 99.49, 99.62, 99.60],
}
SIZES = {"T1": 8620, "T2": 7416, "T3": 6544, "T4": 7800}
REFERENCES = {"T1": 98.24, "T2": 99.34, "T3": 99.40}
DIFFERENCES = {
    "T3 without BatchNorm": Difference((10, 10), -0.45, (-0.62, -0.28), 0.001, "paired t-test"),
    "T3 with the rotation by up to 15° alone": Difference((10, 10), 0.05, (-0.02, 0.12), 0.16, "paired t-test"),
    "T2 minus T1": Difference((10, 8), 1.07, (1.0, 1.14), 0.0, "Welch's t-test"),
}


def make_runs(seeds=10, names=("T1", "T2", "T3")) -> dict[str, list[Run]]:
    """Three epochs as in the other figures' tests, and a final one of their own."""
    return {name: [make_one(name, seed, FINALS[name][seed - 1]) for seed in range(1, seeds + 1)] for name in names}


def make_one(name: str, seed: int, final: float) -> Run:
    known = name if name in TEST else "T3"
    epochs = [
        Epoch(i, 0.05, 0.04, train - 0.01 * seed, 0.02, test - 0.02 * seed, 11.0)
        for i, (train, test) in enumerate(zip(TRAIN[known], TEST[known], strict=True))
    ]
    epochs[-1] = Epoch(3, 0.05, 0.04, TRAIN[known][-1] - 0.01 * seed, 0.02, final, 11.0)
    return Run(name, "a recipe", seed, "MNIST", SIZES[name], {}, epochs, [])


def words(figure: Figure) -> list[Text]:
    """All that can be read in the figure."""
    figure.draw_without_rendering()
    found = [figure._suptitle, *(text for legend in figure.legends for text in legend.get_texts())]
    for ax in figure.axes:
        found += [*ax.texts, ax.xaxis.label, ax.yaxis.label]
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            found += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    return [text for text in found if text.get_visible() and text.get_text()]


def assert_readable(figure: Figure) -> None:
    """No word on another, none cut off, and none too small."""
    found = words(figure)
    boxes = [text.get_window_extent().padded(-1) for text in found]
    width, height = figure.bbox.size
    for i, (text, box) in enumerate(zip(found, boxes, strict=True)):
        assert text.get_fontsize() >= 9, text
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, text
        assert not box.count_overlaps(boxes[:i]), text


def marks(ax) -> list:
    """Lines that are drawn as marks alone: points, whether one or many."""
    return [line for line in ax.lines if line.get_marker() not in ("None", None, "")]


def bars(ax) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """(x, x), (y, y) of the lines without marks, as intervals are; not those across the axes."""
    plain = [line for line in ax.lines if line not in marks(ax) and line.get_linestyle() == "-"]
    return [(tuple(line.get_xdata()), tuple(line.get_ydata())) for line in plain]


# Every seed


def test_every_seed_has_its_point_beside_the_mean_and_the_reference():
    runs = make_runs()
    ax = plots.every_seed(runs, {"T1": 98.24, "T3": 99.40, "T9": 50.0}).axes[0]

    clouds = [line for line in marks(ax) if len(line.get_xdata()) == 10]
    assert [list(line.get_ydata()) for line in clouds] == [FINALS[name] for name in runs]
    assert [(line.get_color(), line.get_marker()) for line in clouds] == [LOOKS[name] for name in runs]
    for i, line in enumerate(clouds):
        assert (np.diff(line.get_xdata()) > 0.04).all() and abs(line.get_xdata() - i).max() < 0.5
    means = [line for line in marks(ax) if len(line.get_xdata()) == 1 and line.get_marker() != "X"]
    assert [line.get_ydata()[0] for line in means] == pytest.approx([np.mean(FINALS[name]) for name in runs])
    for (_, interval), name in zip(bars(ax), runs, strict=True):
        values = FINALS[name]
        assert interval == pytest.approx(stats.t.interval(0.95, 9, np.mean(values), stats.sem(values)))
    references = [line for line in marks(ax) if line.get_marker() == "X"]
    assert [line.get_ydata()[0] for line in references] == [98.24, 99.40]
    assert [round(line.get_xdata()[0]) for line in references] == [0, 2]
    names = [label.get_text().split("\n") for label in ax.get_xticklabels()]
    assert names[1] == ["T2", "mean 99.37 %", "10 seeds", "7,416 parameters"]
    assert level(ax) == [99.4] and "%" in ax.get_ylabel()


def test_the_spread_of_the_best_takes_up_room_above_a_worse_iteration():
    ax = plots.every_seed(make_runs(), REFERENCES).axes[0]
    ax.figure.draw_without_rendering()
    for name in ("T2", "T3"):
        ends = ax.transAxes.inverted().transform(ax.transData.transform([(0, f(FINALS[name])) for f in (min, max)]))
        assert ends[1, 1] - ends[0, 1] > 0.15


def test_one_seed_has_no_interval_and_no_mean_beside_it():
    figure = plots.every_seed(make_runs(seeds=1), {})
    ax = figure.axes[0]
    assert not bars(ax) and [list(line.get_ydata()) for line in marks(ax)] == [[98.30], [99.37], [99.40]]
    assert "reference" not in " ".join(text.get_text() for text in words(figure))


def test_a_seed_that_learned_little_stays_on_the_axis():
    runs = make_runs(seeds=3)
    runs["T1"][0].epochs[-1] = Epoch(3, 0.05, 2.1, 21.2, 2.1, 21.35, 11.0)
    figure = plots.every_seed(runs, REFERENCES)
    assert_readable(figure)
    low, high = figure.axes[0].get_ylim()
    assert low < 21.35 and high > 99.47


def failing(runs: dict[str, list[Run]]) -> dict[str, list[Run]]:
    """The runs, the last one of T2 having failed to train."""
    runs["T2"][-1].epochs[-1] = Epoch(3, 0.05, 2.3, 11.2, 2.3, 11.35, 11.0)
    return runs


@pytest.mark.parametrize(
    "draw",
    [
        lambda runs: plots.every_seed(runs, REFERENCES),
        plots.accuracy_by_epoch,
        plots.results_figure,
        plots.accuracy_against_parameters,
    ],
    ids=["every_seed", "accuracy_by_epoch", "results_figure", "accuracy_against_parameters"],
)
def test_a_run_that_failed_to_train_is_left_out_and_counted(draw):
    """Every line and mark of T2 is that of its other runs; without them, T2 is not drawn at all."""
    figure, without = draw(failing(make_runs(seeds=4))), draw(make_runs(seeds=4) | make_runs(3, ("T2",)))

    assert_readable(figure)
    for ax, other in zip(figure.axes, without.axes, strict=True):
        for line, same in zip(ax.lines, other.lines, strict=True):
            assert np.array_equal(line.get_xydata(), same.get_xydata())
        for band, same in zip(ax.collections, other.collections, strict=True):
            assert np.array_equal(band.get_paths()[0].vertices, same.get_paths()[0].vertices)
    said = " ".join(text.get_text() for text in words(figure)).replace("\n", " ")
    assert "failed to train" in said and "(1 of " in said
    assert "failed to train" not in " ".join(text.get_text() for text in words(without))

    figure = draw(failing(make_runs(seeds=1)))
    assert "T2" not in [line.get_label() for ax in figure.axes for line in ax.lines]
    assert not any(text.get_text().startswith("T2") for text in words(figure))
    assert "(1 of " in title(figure).replace("\n", " ")


# By epoch


def test_the_results_figure_shows_means_of_the_seeds_and_parameters():
    runs = make_runs(seeds=3)
    figure = plots.results_figure(runs)
    curves, sizes = figure.axes
    assert_readable(figure)
    assert title(figure) == ("From 8,620 parameters and 98.29 % to 6,544 and 99.41 % (mean of 3 seeds)")
    assert "band: range" in curves.get_xlabel()
    assert list(drawn(curves)) == list(runs) and level(curves) == [99.4]
    assert drawn(curves)["T3"][-1] == pytest.approx(np.mean([run.final.test_accuracy for run in runs["T3"]]))
    assert [bar.get_width() for bar in sizes.patches] == [group[0].parameters for group in runs.values()]
    assert texts(sizes) == ["T1  8,620", "T2  7,416", "T3  6,544", "limit 8,000"]
    assert sizes.get_xlim()[0] == 0 and sizes.get_xlabel() == "parameters"
    assert [bar.get_facecolor() for bar in sizes.patches] == [to_rgba(line.get_color()) for line in curves.lines[:3]]


def test_bands_reach_from_the_lowest_seed_to_the_highest():
    runs = make_runs(seeds=3)
    figure = plots.accuracy_by_epoch(runs)
    for ax, split in zip(figure.axes, ("test", "train"), strict=True):
        assert list(drawn(ax)) == list(runs)
        for band, (name, group) in zip(ax.collections, runs.items(), strict=True):
            values = np.array([[getattr(epoch, f"{split}_accuracy") for epoch in run.epochs] for run in group])
            assert drawn(ax)[name] == pytest.approx(values.mean(axis=0))
            (path,) = band.get_paths()
            for epoch in range(4):
                edge = [y for x, y in path.vertices if x == epoch]
                assert (min(edge), max(edge)) == (values[:, epoch].min(), values[:, epoch].max())
            assert to_rgba(LOOKS[name][0])[:3] == tuple(band.get_facecolor()[0, :3])
    test, train = figure.axes
    assert "T3 99.41 %" in texts(test) and level(test) == [99.4] and level(train) == []
    assert "3 seeds" in title(figure) and test.get_ylim() == train.get_ylim()


def test_bands_of_one_seed_and_of_unequal_numbers():
    runs = make_runs(seeds=1) | make_runs(seeds=2, names=("T2",))
    figure = plots.accuracy_by_epoch(runs)
    assert [len(ax.collections) for ax in figure.axes] == [1, 1] and "1 to 2 seeds" in title(figure)
    runs["T2"][0].epochs.pop()
    with pytest.raises(ValueError, match="T2 have different numbers of epochs"):
        plots.accuracy_by_epoch(runs)


# Differences


def test_ablation_study_has_a_row_for_each():
    figure = plots.ablation_study(DIFFERENCES)
    ax = figure.axes[0]
    points = [(line.get_xdata()[0], line.get_ydata()[0], line.get_markerfacecolor()) for line in marks(ax)]
    assert [(x, y) for x, y, _ in points] == [(-0.45, 0), (0.05, 1), (1.07, 2)]
    assert [face == "white" for *_, face in points] == [False, True, False]  # the second's interval holds zero
    assert bars(ax) == [(found.interval, (row, row)) for row, found in enumerate(DIFFERENCES.values())]
    assert {"-0.450 (-0.620 to -0.280)", "+0.050 (-0.020 to +0.120)", "+1.070 (+1.000 to +1.140)"} < set(texts(ax))
    names = [label.get_text().replace("\n", " ") for label in ax.get_yticklabels()]
    assert names == list(DIFFERENCES) and ax.get_ylim()[0] > ax.get_ylim()[1]  # the first on top
    sides = {text.get_text(): text.get_ha() for text in ax.texts if "with it" in text.get_text()}
    assert sides == {"← worse with it": "right", "better with it →": "left"}
    assert "percentage points" in ax.get_xlabel() and ax.get_xlim()[0] < 0 < ax.get_xlim()[1]


@pytest.mark.parametrize("rows", [1, 8])
def test_worth_of_few_changes_and_of_many_can_be_read(rows):
    label, found = "with a change that takes quite some words, row {}", DIFFERENCES["T3 without BatchNorm"]
    assert_readable(plots.ablation_study({label.format(row): found for row in range(rows)}))


def test_changes_without_any_effect_are_drawn():
    plots.ablation_study(
        {"nothing": Difference((2, 2), 0.0, (0.0, 0.0), 1.0, "permutation test")}
    ).draw_without_rendering()


# Other networks


@pytest.fixture(scope="module")
def compared() -> Figure:
    return plots.accuracy_against_parameters(make_runs(), PUBLIC_NETWORKS)


def test_accuracy_against_parameters_draws_ours_filled_and_theirs_open(compared):
    (ax,) = compared.axes
    points = {
        (line.get_xdata()[0], round(line.get_ydata()[0], 3)): line.get_markerfacecolor() == "white"
        for line in marks(ax)
        if len(line.get_xdata()) == 1
    }
    ours = {(SIZES[name], round(np.mean(FINALS[name]), 3)): False for name in ("T1", "T2", "T3")}
    assert points == ours | {(network.parameters, network.accuracy): True for network in PUBLIC_NETWORKS}
    lengths = {x[0]: (y[1] - y[0]) / 2 for x, y in bars(ax)}
    assert lengths[7416] == pytest.approx(np.std(FINALS["T2"], ddof=1))
    assert lengths[997] == pytest.approx(0.105) and lengths[1936] == 0
    assert ax.get_xscale() == "log" and level(ax) == [99.4] and "limit 8,000" in texts(ax)
    said = {text.replace("\n", " ") for text in texts(ax)}
    assert {f"{n.source.split('/')[1]} {n.measured}" for n in PUBLIC_NETWORKS} | {"T1", "T2", "T3"} < said


def test_labels_of_networks_stay_clear_of_each_other_and_of_marks(compared):
    for figure in (compared, plots.accuracy_against_parameters(make_runs(seeds=2, names=FINALS), PUBLIC_NETWORKS)):
        assert_readable(figure)
        (ax,) = figure.axes
        spots = [ax.transData.transform((line.get_xdata()[0], line.get_ydata()[0])) for line in marks(ax)]
        for text in [text for text in ax.texts if text.get_text()]:
            assert not any(text.get_window_extent().contains(*spot) for spot in spots), text


def test_public_networks_say_what_they_know():
    assert len({network.source for network in PUBLIC_NETWORKS}) == len(PUBLIC_NETWORKS)
    for network in PUBLIC_NETWORKS:
        assert network.source.count("/") == 1 and network.measured
        assert (network.sd is not None) == network.measured.startswith("mean of ")


# Hard images


def test_most_misclassified_shows_images_and_marks_label_errors():
    images = torch.randint(0, 256, (2200, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    labels = torch.arange(2200) % 10
    found = [
        Misclassified(947, 10, 9),
        Misclassified(14, 9, 9),
        Misclassified(2130, 9, 1),
        *(Misclassified(i, 2, 0) for i in range(101, 121)),
    ]
    figure = plots.most_misclassified(images, labels, found, runs=10)
    ax = figure.axes[0]

    assert_readable(figure)
    assert np.array_equal(placed(ax), images[[947, 14, 2130, *range(101, 118)]].numpy())
    heading, *captions = texts(ax)
    assert heading.startswith("23 images, 20 shown") and "Framed" in heading
    assert captions[0] == "label 7, predicted 9\n10 of 10 runs\nno. 947"
    assert CORRECTED_LABELS[947] == 9 and captions[1] == "label error, is 9"
    assert captions[2] == "label 4, predicted 9\n9 of 10 runs\nno. 14"
    assert captions[4] == "label error"  # of 2130, in which most annotators did not see the same digit
    frames = [patch for patch in ax.patches if isinstance(patch, Rectangle) and patch.get_linewidth() > 1]
    assert [(frame.get_x(), frame.get_y()) for frame in frames] == [
        (image.get_extent()[0], image.get_extent()[3]) for image in (ax.images[0], ax.images[2])
    ]


def test_label_errors_are_mnists_alone():
    images, labels = torch.zeros(950, 28, 28, dtype=torch.uint8), torch.zeros(950, dtype=torch.int64)
    figure = plots.most_misclassified(images, labels, [Misclassified(947, 1, 9)], runs=1, dataset="synthetic digits")
    assert "error" not in " ".join(texts(figure.axes[0])) and "1 of 1 run" in texts(figure.axes[0])[1]


# All


def test_figures_across_seeds_can_be_read():
    runs = make_runs(names=FINALS)
    assert_readable(plots.every_seed(runs, REFERENCES))
    assert_readable(plots.accuracy_by_epoch(runs))


@pytest.mark.parametrize("runs", [{}, {"T1": []}])
def test_no_runs_are_refused(runs):
    for draw in (
        plots.accuracy_by_epoch,
        lambda r: plots.every_seed(r, {}),
        lambda r: plots.accuracy_against_parameters(r, ()),
    ):
        with pytest.raises(ValueError, match="no runs to draw"):
            draw(runs)
    with pytest.raises(ValueError, match="no differences to draw"):
        plots.ablation_study({})
