"""What the figures draw, compared with the runs, images and tables that they were given."""

import math
import sys
from collections import OrderedDict
from io import BytesIO

import numpy as np
import pytest
import torch
from IPython.core.formatters import DisplayFormatter
from matplotlib.patches import Circle, Rectangle
from PIL import Image
from scipy.stats import binomtest
from torch import nn

from mnist_s7 import InvalidArgument, plots
from mnist_s7.models import MnistNet_1, MnistNet_3
from mnist_s7.plots.axes import place_apart
from mnist_s7.plots.style import looks_of
from mnist_s7.receptive_field import EffectiveField, effective_receptive_field, receptive_field
from mnist_s7.results import PUBLIC_NETWORKS, Difference, Epoch, Misclassified, Run

# The first epochs as the reference series has them: T1 starts near chance, T3 does not.
TEST = {"T1": (16.82, 89.15, 98.37, 98.24), "T2": (98.55, 99.07, 99.47, 99.34), "T3": (97.11, 99.00, 99.45, 99.40)}
TRAIN = {"T1": (14.03, 45.83, 98.07, 98.66), "T2": (92.80, 98.06, 98.83, 98.85), "T3": (90.56, 98.00, 98.78, 98.88)}
SIZES = {"T1": 8620, "T2": 7416, "T3": 6544}
NO_DIFFERENCE = Difference((2, 2), 0.1, (-0.1, 0.3), 0.1, "paired t-test")


def make_run(name="T3", epochs=4, errors=(), dataset="MNIST", seed=1) -> Run:
    pairs = list(zip(TRAIN[name[:2]], TEST[name[:2]], strict=True))[:epochs]
    records = [Epoch(i, 0.05 / 2**i, 2.3 / 4**i, a, 2.2 / 5**i, b, 11.0) for i, (a, b) in enumerate(pairs)]
    return Run(name, "a recipe", seed, dataset, SIZES[name[:2]], {}, records, list(errors))


@pytest.fixture
def runs() -> dict[str, Run]:
    return {name: make_run(name) for name in TEST}


@pytest.fixture(scope="module")
def labels() -> torch.Tensor:
    return torch.arange(200) % 10  # 20 of each digit


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randint(0, 256, (200, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def title(figure) -> str:
    return figure.get_suptitle()


def drawn(ax) -> dict[str, list[float]]:
    """The named lines of the axes and their heights."""
    return {line.get_label(): list(line.get_ydata()) for line in ax.lines if not line.get_label().startswith("_")}


def level(ax) -> list[float]:
    """Heights of the lines that cross the whole axes."""
    unnamed = [line for line in ax.lines if line.get_label().startswith("_")]
    return [line.get_ydata()[0] for line in unnamed if list(line.get_xdata()) == [0, 1]]


def placed(ax) -> list[np.ndarray]:
    """The images in reading order."""
    by_place = sorted(ax.images, key=lambda image: (image.get_extent()[3], image.get_extent()[0]))
    return [np.asarray(image.get_array()) for image in by_place]


# One run


def test_training_curves_draw_the_records():
    run = make_run("T1")
    loss, accuracy, *rates = plots.training_curves(run, target=98).axes
    assert drawn(loss) == {s: [getattr(e, f"{s}_loss") for e in run.epochs] for s in ("train", "test")}
    assert drawn(accuracy) == {"train": list(TRAIN["T1"]), "test": list(TEST["T1"])}
    assert level(accuracy) == [98] and "target 98 %" in texts(accuracy)
    assert {"train 98.66 %", "test 98.24 %"} < set(texts(accuracy))
    assert len(rates) == 2
    for ax in rates:
        assert list(ax.lines[0].get_ydata()) == [e.lr for e in run.epochs]
        assert ax.get_xlabel() == "epoch"
    assert "nats" in loss.get_ylabel() and "%" in accuracy.get_ylabel() and rates[0].get_ylabel() == "learning rate"
    styles = {line.get_label(): line.get_linestyle() for line in loss.lines}
    assert styles == {"train": "--", "test": "-"}


def test_a_loss_to_soft_targets_is_named():
    loss, accuracy, *_ = plots.training_curves(make_run(), soft_targets=True).axes

    assert {line.get_label() for line in loss.lines} == {"train, to soft\ntargets", "test"}
    assert {line.get_label() for line in accuracy.lines} == {"train", "test"}
    assert any(text.startswith("train, to soft\ntargets 0.") for text in texts(loss))


@pytest.mark.parametrize("epochs", [1, 2, 4])
def test_training_curves_hold_every_epoch(epochs):
    run = make_run("T1", epochs)
    figure = plots.training_curves(run)
    figure.draw_without_rendering()
    _, accuracy, rate, _ = figure.axes
    assert not level(accuracy)
    low, high = accuracy.get_ylim()
    assert all(low < a < high for values in drawn(accuracy).values() for a in values)
    ticks = [tick for tick in rate.get_xticks() if -0.5 < tick < epochs - 0.5]
    assert ticks == list(range(epochs))


def test_accuracies_up_to_100_have_a_place():
    run = make_run()
    run.epochs[-1] = Epoch(3, 0.05, 0.01, 99.99, 0.01, 100.0, 11.0)
    accuracy = plots.training_curves(run, target=99.4).axes[1]
    assert accuracy.get_ylim()[1] > 100
    points = accuracy.transData.transform([(0, a) for a in (0, 14, 90, 99, 99.4, 99.99, 100)])
    steps = np.diff(points[:, 1])
    assert (steps > 0).all() and steps[-1] < steps[3]  # 100 % does not push the rest together


def test_confusion_matrix_counts(labels):
    run = make_run(errors=[(4, 9), (14, 9), (24, 9), (7, 2), (1, 2)])
    figure = plots.confusion_matrix(run, labels)
    ax = figure.axes[0]
    cells = {text.xy: int(text.get_text()) for text in ax.texts}
    off_diagonal = {(y, x): count for (x, y), count in cells.items() if x != y}
    assert off_diagonal == {(4, 9): 3, (7, 2): 1, (1, 2): 1}  # (label, prediction)
    assert [cells[d, d] for d in range(10)] == [20, 19, 20, 20, 17, 20, 20, 19, 20, 20]
    assert "5 errors in 200 test images" in title(figure)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted digit", "label")
    coloured = ax.images[0].get_array()
    assert coloured.sum() == 5 and coloured.mask.diagonal().all()


@pytest.mark.parametrize("wrong", [0, 180])
def test_confusion_matrix_of_no_error_and_of_many(labels, wrong):
    run = make_run(errors=[(i, (i + 3) % 10) for i in range(wrong)])
    figure = plots.confusion_matrix(run, labels)
    figure.draw_without_rendering()
    cells = [(text.xy, int(text.get_text())) for text in figure.axes[0].texts]
    assert sum(count for (x, y), count in cells if x != y) == wrong


def test_accuracy_per_digit(labels):
    run = make_run(errors=[(4, 9), (14, 9), (3, 5)])
    ax = plots.accuracy_per_digit(run, labels).axes[0]
    assert list(ax.lines[0].get_xdata()) == [100, 100, 100, 95, 90, 100, 100, 100, 100, 100]
    assert list(ax.lines[0].get_ydata()) == list(range(10))
    assert texts(ax) == ["all digits 98.50 %"] + [f"{n} of 20 wrong" for n in (0, 0, 0, 1, 2, 0, 0, 0, 0, 0)]
    assert ax.lines[1].get_xdata()[0] == pytest.approx(98.5)
    for (low, _), (high, _) in (segment for segment in ax.collections[0].get_segments()):
        assert ax.get_xlim()[0] < low and high <= 100 + 1e-9 < ax.get_xlim()[1]
    interval = binomtest(18, 20).proportion_ci(method="wilson")
    (low, _), (high, _) = ax.collections[0].get_segments()[4]
    assert (low, high) == pytest.approx((100 * interval.low, 100 * interval.high))
    assert "%" in ax.get_xlabel() and "95 % Wilson" in ax.get_xlabel()


# Several runs


@pytest.mark.parametrize("name", ["compare_curves", "results_figure", "accuracy_by_epoch"])
def test_no_runs_are_refused(name):
    with pytest.raises(ValueError, match="no runs to draw"):
        getattr(plots, name)({})


def test_compare_curves_overlay_the_runs(runs):
    test, train = plots.compare_curves(runs).axes
    assert drawn(test) == {name: list(values) for name, values in TEST.items()}
    assert drawn(train) == {name: list(values) for name, values in TRAIN.items()}
    assert level(test) == [99.4] and level(train) == []  # the target is one of test accuracy
    assert {"T1 98.24 %", "T2 99.34 %", "T3 99.40 %", "T1 is below 90 % in 2 epochs"} < set(texts(test))
    assert test.get_ylim() == train.get_ylim() and 85 < test.get_ylim()[0] < 90
    assert (test.get_xlabel(), train.get_xlabel()) == ("epoch", "epoch")


def test_curves_near_chance_are_not_cut_off(runs):
    runs["T1"] = make_run("T1", epochs=1)
    test, train = plots.compare_curves(runs).axes
    assert test.get_ylim()[0] < TRAIN["T1"][0] and not any("below" in text for text in texts(test) + texts(train))


def test_end_labels_stay_apart_and_in_order():
    heights = place_apart([0.9, 0.5, 0.51, 0.1], gap=0.075)
    assert (np.diff(np.sort(heights)) > 0.075 - 1e-9).all() and list(np.argsort(heights)) == [3, 1, 2, 0]
    assert heights[[0, 3]] == pytest.approx([0.9, 0.1])


def test_an_iteration_keeps_its_look(runs):
    def looks(ax):
        named = [line for line in ax.lines if line.get_label() in runs]
        return {line.get_label(): (line.get_color(), line.get_marker()) for line in named}

    test, train = plots.compare_curves(runs).axes
    (alone,) = [line for line in plots.training_curves(runs["T2"]).axes[1].lines if line.get_label() == "test"]
    assert looks(test) == looks(train) == looks(plots.compare_curves(dict(reversed(runs.items()))).axes[0])
    assert (alone.get_color(), alone.get_marker()) == looks(test)["T2"]
    assert len({colour for colour, _ in looks(test).values()}) == len({m for _, m in looks(test).values()}) == 3


def test_variants_get_looks_of_their_own(runs):
    runs |= {"a": make_run("T3-dropout-0.05"), "b": make_run("T3-lr-0.1"), "c": make_run("T3", seed=2)}
    looks = looks_of(runs.values())
    assert len(set(looks)) == 5 and looks[2] == looks[5]


# Digits


def test_augmentation_grid_keeps_pairs(images, labels):
    figure = plots.augmentation_grid(images[:13], 255 - images[:13], labels[:13], "Thirteen")
    ax = figure.axes[0]
    rows = [images[:10], 255 - images[:10], images[10:13], 255 - images[10:13]]
    assert np.array_equal(placed(ax), torch.cat(rows).numpy())
    sides = ["label", "before", "after"]
    assert texts(ax) == ["0", *sides, *"123456789", "0", *sides, "1", "2"]
    assert title(figure) == "Thirteen"


def test_confident_errors_are_ranked(images, labels):
    probabilities = torch.full((200, 10), 0.01)
    probabilities[torch.arange(200), labels] = 0.91
    for index, predicted, p in ((4, 9, 0.62), (15, 3, 0.98), (6, 0, 0.999), (8, 1, 0.305)):
        probabilities[index] = (1 - p) / 9
        probabilities[index, predicted] = p
    ax = plots.confident_errors(images, labels, probabilities.log(), "Wrong", count=3).axes[0]
    heading, *captions = texts(ax)
    assert captions == ["6→0 >99 %\nno. 6", "5→3 98 %\nno. 15", "4→9 62 %\nno. 4"]
    assert heading.startswith("4 images, 3 shown")
    assert np.array_equal(placed(ax), images[[6, 15, 4]].numpy())


def test_confident_errors_of_a_model_without_errors(images, labels):
    figure = plots.confident_errors(images, labels, torch.eye(10)[labels].log(), "Wrong")
    figure.draw_without_rendering()
    assert not placed(figure.axes[0]) and texts(figure.axes[0])[0].startswith("0 images")


def test_disagreements_both_ways(images, labels):
    first = make_run("T2", errors=[(1, 7), (2, 3), (5, 6)])
    second = make_run("T3", errors=[(1, 4), (9, 4)])  # both wrong at 1, though in different ways
    figure = plots.disagreements(images, labels, first, second)
    assert texts(figure.axes[0]) == [
        "T2 (seed 1) right, T3 (seed 1) wrong: 1 image (label→wrong prediction)",
        "9→4\nno. 9",
        "T3 (seed 1) right, T2 (seed 1) wrong: 2 images (label→wrong prediction)",
        "2→3\nno. 2",
        "5→6\nno. 5",
    ]
    assert np.array_equal(placed(figure.axes[0]), images[[9, 2, 5]].numpy())
    heading = texts(plots.disagreements(images, labels, first, second, count=1).axes[0])[2]
    assert "2 images, 1 shown" in heading


# Receptive fields


@pytest.mark.parametrize("network", [MnistNet_1, MnistNet_3])
def test_receptive_fields_outlines_the_boxes(images, network):
    table = receptive_field(network())
    ax = plots.receptive_fields(table, images[0]).axes[0]
    assert len(ax.images) == len(table.rows)
    frames = [patch for patch in ax.patches if patch.get_linewidth() == 1]
    boxes = [patch for patch in ax.patches if patch.get_linewidth() == 2]
    assert len(frames) == len(boxes) == len(table.rows)
    for row, frame, box in zip(table.rows, frames, boxes, strict=True):
        assert box.get_width() * 28 == pytest.approx(min(row.r_out, 28))
        left = row.start + row.j_out * (row.n_out // 2) - (row.r_out - 1) / 2  # first pixel, before clipping
        assert (box.get_x() - frame.get_x()) * 28 == pytest.approx(max(left, 0))
    captions = [(f"field {r.r_out}×{r.r_out}", r.layer, f"{r.kind}, {r.n_out}×{r.n_out}") for r in table.rows]
    assert texts(ax) == [line for caption in captions for line in caption]


def test_receptive_fields_of_windows_that_are_not_square(images):
    table = receptive_field(nn.Sequential(nn.Conv2d(1, 1, (1, 3)), nn.Conv2d(1, 1, (5, 1))))
    ax = plots.receptive_fields(table, images[0]).axes[0]
    assert texts(ax)[3:] == ["field 5×3", "1", "Conv2d, 24×26"]
    *_, frame, box = ax.patches
    corner = (box.get_y() - frame.get_y(), box.get_x() - frame.get_x(), box.get_height(), box.get_width())
    assert [28 * length for length in corner] == pytest.approx([12, 13, 5, 3])


def test_receptive_fields_captions_are_in_even_rows(images):
    table = receptive_field(MnistNet_3())
    captions = plots.receptive_fields(table, images[0]).axes[0].texts
    below = [text.get_position()[1] for text in captions]  # points under the digit's lower edge
    assert below == below[:3] * len(table.rows) and below[0] > below[1] > below[2]
    assert {text.get_va() for text in captions} == {"baseline"}


def test_receptive_fields_of_any_network_on_any_image():
    """Of a network with many layers and upsampling, on a wide picture in colour."""
    layers = [layer for _ in range(14) for layer in (nn.Conv2d(3, 3, 3, padding=1), nn.MaxPool2d(3, 1, 1))]
    table = receptive_field(nn.Sequential(*layers, nn.ConvTranspose2d(3, 3, 2, stride=2)), (3, 20, 40))
    figure = plots.receptive_fields(table, torch.randn(3, 20, 40))
    (ax,) = figure.axes
    assert "20 of 29 layers" in figure.get_suptitle() and len(ax.images) == 20
    assert np.asarray(ax.images[0].get_array()).shape == (20, 40, 3)
    left, right, bottom, top = ax.images[0].get_extent()
    assert (right - left, bottom - top) == pytest.approx((1, 0.5))
    assert texts(ax)[-3:] == ["field 57×57", "28", "ConvTranspose2d, 40×80"]
    assert texts(ax)[:3] == ["field 3×3", "0", "Conv2d, 20×40"]
    for wrong in (torch.zeros(28, 28), torch.zeros(2, 20, 40), torch.zeros(40), None, np.zeros((20, 40))):
        with pytest.raises(InvalidArgument, match="an image of"):
            plots.receptive_fields(table, wrong)


def test_receptive_fields_of_layers_with_any_name(images):
    table = receptive_field(nn.ModuleDict({"x$_{y$": nn.Conv2d(1, 1, 3)})["x$_{y$"])
    named = receptive_field(nn.Sequential(OrderedDict({"x$_{y$": nn.Conv2d(1, 1, 3)})))
    for one in (table, named):
        assert plots.receptive_fields(one, images[0])._repr_png_()


def test_effective_fields_share_a_scale(images):
    table = receptive_field(model := MnistNet_3())
    after = effective_receptive_field(model, images[:4, None] / 255)
    before = EffectiveField(after.map.T / 2, after.centre[::-1], 7.0, after.layer, after.unit)
    figure = plots.effective_fields(before, after, table)
    for ax, field, when in zip(figure.axes[:2], (before, after), ("before", "after"), strict=True):
        assert np.allclose(ax.images[0].get_array(), 100 * field.map)
        assert ax.get_title("left") == f"{when} training: 95 % within {field.radius:.1f} pixels"
        (circle,) = [patch for patch in ax.patches if isinstance(patch, Circle)]
        assert circle.radius == field.radius and circle.center == (field.centre[1], field.centre[0])
        (box,) = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
        (top, bottom), (left, right) = table.box(field.layer, field.unit).clipped
        assert (box.get_x(), box.get_y()) == (left - 0.5, top - 0.5)
        assert (box.get_width(), box.get_height()) == (right - left + 1, bottom - top + 1)
        assert "pixels" in ax.get_xlabel()
    assert figure.axes[0].images[0].get_clim() == figure.axes[1].images[0].get_clim()
    assert "% per pixel" in figure.axes[2].get_ylabel()


# Every figure


@pytest.fixture(scope="module")
def every(images, labels):
    """Each public function, as a function of the dataset's name."""

    def of(function, *names):
        return lambda dataset: function(*[make_run(name, errors=[(4, 9)], dataset=dataset) for name in names])

    def of_all(function):
        return lambda dataset: function({name: make_run(name, dataset=dataset) for name in TEST})

    def of_groups(function):
        return lambda dataset: function({name: [make_run(name, dataset=dataset)] for name in TEST})

    table = receptive_field(model := MnistNet_1())
    field = effective_receptive_field(model, images[:2, None] / 255)
    wrong = torch.full((200, 10), -math.log(10))
    return {
        "training_curves": of(plots.training_curves, "T1"),
        "confusion_matrix": of(lambda run: plots.confusion_matrix(run, labels), "T1"),
        "accuracy_per_digit": of(lambda run: plots.accuracy_per_digit(run, labels), "T1"),
        "disagreements": of(lambda a, b: plots.disagreements(images, labels, a, b), "T1", "T2"),
        "compare_curves": of_all(plots.compare_curves),
        "results_figure": of_groups(plots.results_figure),
        "every_seed": of_groups(lambda runs: plots.every_seed(runs, {"T1": 98.24})),
        "accuracy_by_epoch": of_groups(plots.accuracy_by_epoch),
        "accuracy_against_parameters": of_groups(lambda runs: plots.accuracy_against_parameters(runs, PUBLIC_NETWORKS)),
        "ablation_study": lambda d: plots.ablation_study({"it": NO_DIFFERENCE}, dataset=d),
        "most_misclassified": lambda d: plots.most_misclassified(
            images, labels, [Misclassified(4, 1, 9)], runs=1, dataset=d
        ),
        "augmentation_grid": lambda d: plots.augmentation_grid(images[:9], images[:9], labels[:9], "Pairs", dataset=d),
        "confident_errors": lambda d: plots.confident_errors(images, labels, wrong, "Wrong", dataset=d),
        "soft_targets": lambda d: plots.soft_targets(images[:2], labels[:2], {"T4": wrong[:2].exp()}, "Said", d),
        "receptive_fields": lambda d: plots.receptive_fields(table, images[0], d),
        "effective_fields": lambda d: plots.effective_fields(field, field, table, d),
    }


def test_every_figure_names_digits_that_are_not_mnists(every):
    of_no_data_set = {"benchmark_figure", "layers_figure", "predictions", "write_figure"}
    of_fixed_ones = {"claims_figure", "search_figure", "selection_figure", "robustness_figure", "two_data_sets"}
    assert set(every) == set(plots.__all__) - of_no_data_set - of_fixed_ones
    for name, figure in every.items():
        assert title(figure("synthetic digits")).endswith("\non synthetic digits, not on MNIST"), name
        assert "MNIST" not in title(figure("MNIST")), name


def test_every_figure_shows_itself_small_whole_and_leaves_nothing_behind(every):
    formatter = DisplayFormatter()
    for name, make in every.items():
        figure = make("synthetic digits")
        data, _ = formatter.format(figure, include={"image/png", "text/html"})
        assert set(data) == {"image/png"}, name
        assert len(data["image/png"]) < 60_000, name
        with Image.open(BytesIO(data["image/png"])) as image:
            width, height = image.size
        assert 560 <= width <= 880, name
        for text in [text for owner in (figure, *figure.axes) for text in owner.texts]:
            box = text.get_window_extent()
            inside = box.x0 >= -1 and box.x1 <= width + 1 and box.y0 >= -1 and box.y1 <= height + 1
            assert inside, (name, text.get_text())
    if "matplotlib.pyplot" in sys.modules:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []
