"""The benchmark: that it measures what it says, and that its record and its tables keep it."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from mnist_s7 import SERIES, T1, T3, T4, fast, plots
from mnist_s7.bench import Benchmark, BenchmarkFileError, measure, tables
from mnist_s7.fast import Sequential
from mnist_s7.transforms import PLAIN


def test_ratios_are_those_of_a_round(measured):
    cost = measured.costs["T1"]

    assert cost.ratios("usual", "ours") == [4.0, 3.0]  # and not 5.0 or 2.0, of figures of two rounds
    assert cost.ratios("ours", "floor") == [2.0, 4.0]


def test_tables_show_medians_with_the_lowest_and_the_highest_round(measured):

    row = str(tables.costs(measured)).splitlines()[2]
    assert [cell.strip() for cell in row.split("|")[1:-1]] == [
        "T1",
        "50.0 (40.0 to 60.0)",
        "15.0 (10.0 to 20.0)",
        "5.0 (5.0 to 5.0)",
        "**3.5 (3.0 to 4.0)**",
        "3.0 (2.0 to 4.0)",
        "514",  # 3,600 / 7
        "7.5 (5.0 to 10.0)",
        "812",
    ]
    assert "| T3 | 25 % | 75 %    |" in tables.shares(measured)
    assert "| batch size 2,048      | 8.0  | 8.0  | 8.0  |" in tables.scaling(measured)
    said = tables.how_measured(measured)
    assert "a CPU, 2 cores" in said
    assert "2 interleaved rounds" in said
    assert "12,000 training images" in said


def test_the_record_comes_back_as_it_was(measured, tmp_path):
    path = tmp_path / "new" / "benchmark.json"

    measured.save(path)

    assert Benchmark.load(path) == measured


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"costs": {"T1": {"fast": 1}}}', '{"costs": {}, "rounds": 1}'], ids=repr
)
def test_what_is_no_benchmark_is_refused(tmp_path, content):
    path = tmp_path / "benchmark.json"
    path.write_text(content)

    with pytest.raises(BenchmarkFileError, match=r"benchmark.json: not a benchmark .*make bench"):
        Benchmark.load(path)


def test_a_part_of_the_digits_keeps_the_share_of_the_test(few_digits):
    part = measure._first(few_digits, 256)

    assert (len(part.train_images), len(part.train_labels)) == (256, 256)
    assert (len(part.test_images), len(part.test_labels)) == (50, 50)


@pytest.mark.parametrize("experiment", [T3, T4], ids=["T3", "T4"])
def test_the_usual_loop_is_plain_pytorch_on_torchvisions_images(few_digits, monkeypatch, experiment):
    """It trains the experiment's own layers, none of them this package's, on images as the pipeline makes them."""
    trained = []
    optimizer = type(T3).optimizer
    monkeypatch.setattr(type(T3), "optimizer", lambda self, model: trained.append(model) or optimizer(self, model))
    compiled = []
    monkeypatch.setattr(fast, "_chain", lambda layers, x: compiled.append(layers) or ((), layers))

    seconds = measure.usual(experiment, few_digits, workers=0)

    (model,) = trained
    assert seconds > 0
    assert not compiled
    assert not [block for block in model.modules() if isinstance(block, Sequential)]
    assert list(model.state_dict()) == list(experiment.network().state_dict())
    assert model.block1[1].num_batches_tracked == 4  # 512 images in batches of 128
    image, label = measure._Images(few_digits.train_images, few_digits.train_labels, PLAIN)[7]
    assert label == few_digits.train_labels[7]
    torch.testing.assert_close(image, (few_digits.train_images[7:8] / 255 - 0.1307) / 0.3081)


def test_seconds_are_scaled_to_all_digits(few_digits):
    assert measure._scaled(2.0, few_digits) == pytest.approx(2.0 * 60_000 / 512)


@pytest.mark.parametrize(("experiment", "layers"), [(T1, 9), (T4, 14)], ids=["T1", "T4"])
@pytest.mark.parametrize("setting", measure.FLOOR_SETTINGS)
def test_the_floor_is_every_convolution_once_each_way(monkeypatch, setting, experiment, layers):
    forward, backward = [], []
    conv2d, grad = measure.F.conv2d, torch.autograd.grad

    def noted(x, weight, *settings):
        if torch.is_grad_enabled():  # not while the images' sizes are found
            forward.append((x, weight, settings))
        return conv2d(x, weight, *settings)

    monkeypatch.setattr(measure.F, "conv2d", noted)
    monkeypatch.setattr(torch.autograd, "grad", lambda y, of, g: backward.append(len(of)) or grad(y, of, g))

    assert measure.floor(experiment, setting, steps=1) > 0

    dtype, memory_format = measure.FLOOR_SETTINGS[setting]
    convs = [m for m in experiment.network().modules() if isinstance(m, nn.Conv2d)]
    assert len(convs) == layers
    assert [weight.shape for _, weight, _ in forward] == [conv.weight.shape for conv in convs]
    assert [settings[-1] for *_, settings in forward] == [conv.groups for conv in convs]
    assert all(x.dtype == weight.dtype == dtype for x, weight, _ in forward)
    assert all(x.is_contiguous(memory_format=memory_format) for x, *_ in forward)
    assert backward == [1] + [2] * (layers - 1)  # no gradient of the image


def test_shares_are_of_the_whole_epoch(few_digits):
    shares = measure._shares(T3, few_digits)

    assert list(shares) == ["data", "forward", "backward", "optimizer", "figures", "evaluation"]
    assert sum(shares.values()) == pytest.approx(100)
    assert min(shares.values()) > 0
    assert shares["forward"] + shares["backward"] > shares["optimizer"]


def test_a_benchmark_has_every_figure_of_every_round(few_digits, monkeypatch, tmp_path):
    monkeypatch.setattr(measure, "EXPERIMENTS", {"T3": T3})
    monkeypatch.setattr(measure, "FLOOR_SETTINGS", dict(list(measure.FLOOR_SETTINGS.items())[:2]))
    monkeypatch.setattr(measure, "BATCH_SIZES", (64, 128))
    monkeypatch.setattr(measure, "IMAGES", (256, 512, 60_000))  # the last are more than there are
    monkeypatch.setattr(measure, "usable_cores", lambda: 1)
    monkeypatch.setattr(measure, "_processes", ThreadPoolExecutor)  # new processes take seconds to start
    threads = torch.get_num_threads()
    shown = []

    found = measure.benchmark(few_digits, rounds=2, part=256, show=shown.append)

    assert list(found.costs) == ["T3"]
    for cost in found.costs.values():
        kinds = (cost.usual, cost.ours, cost.floor, cost.each_core, *cost.by_batch_size.values())
        for rounds in (*kinds, *cost.by_threads.values(), *cost.by_images.values()):
            assert len(rounds) == 2
            assert min(rounds) > 0
        assert (list(cost.by_batch_size), list(cost.by_threads)) == (["64", "128"], ["1"])
        assert list(cost.by_images) == ["256", "512"]
        assert 100 < cost.peak_memory < 20_000
        assert sum(cost.shares.values()) == pytest.approx(100)
    assert len(shown) == 3
    assert torch.get_num_threads() == threads
    json.dumps(found.environment)


def test_no_rounds_are_refused(few_digits):
    with pytest.raises(ValueError, match="at least one"):
        measure.benchmark(few_digits, rounds=0)


def test_the_picture_has_every_bar_and_every_line(measured):
    figure = plots.benchmark_picture(measured)
    bars, *panels = figure.axes

    assert [bar.get_width() for bar in bars.patches] == [50, 15, 5] * len(SERIES)
    said = [text.get_text() for text in bars.texts]
    assert said[:3] == [
        "usual loop: 50.0 s, 3.5 times ours",
        "this package: 15.0 s",
        "PyTorch's convolutions alone: 5.0 s",
    ]
    for panel, heights in zip(panels, ([31, 8], [20, 15], [1.25, 12.5]), strict=True):
        assert [line.get_label() for line in panel.lines] == [experiment.name for experiment in SERIES]
        assert all(list(line.get_ydata()) == heights for line in panel.lines)
        assert "seconds" in panel.get_ylabel()
        assert panel.get_xlabel()
