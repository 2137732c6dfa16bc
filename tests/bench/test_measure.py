"""The benchmark: that it measures what it says, and that its record and its tables keep it."""

import importlib
import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from example_networks import EXPERIMENT, NETWORK
from torch import nn

from mnist_s7 import SERIES, T1, T3, T4, T5, find_experiment, plots
from mnist_s7.bench import Benchmark, BenchmarkFileError, measure, stored_benchmarks
from mnist_s7.kernels import Accelerated
from mnist_s7.report import benchmark as tables
from mnist_s7.transforms import PLAIN


def test_ratios_are_those_of_a_round(measured):
    cost = measured.costs["T1"]

    assert cost.ratios("baseline", "package") == [4.0, 3.0]  # and not 5.0 or 2.0, of figures of two rounds
    assert cost.ratios("package", "convolutions") == [2.0, 4.0]


def cells(table):
    """The first column of a Markdown table, and the second, that of T1."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in str(table).splitlines()]
    assert rows[0][1:] == [experiment.name for experiment in SERIES]
    return {row[0]: row[1] for row in rows[2:]}


def test_tables_show_medians_with_the_range_of_the_rounds(measured):
    assert cells(tables.costs(measured)) == {
        "baseline loop": "50.0",
        "in-memory loop, PyTorch's layers": "25.0",
        "in-memory loop, torch.compile": "35.0",
        "in-memory loop, compiled layers": "15.0",
        "PyTorch's convolutions alone": "5.0",
    }
    assert cells(tables.ratios(measured)) == {
        "baseline loop": "3.5 (3.0 to 4.0)",
        "in-memory loop, PyTorch's layers": "1.8 (1.5 to 2.0)",
        "in-memory loop, torch.compile": "2.5 (2.0 to 3.0)",
        "PyTorch's convolutions alone": "0.4 (0.2 to 0.5)",
    }
    assert cells(tables.throughput(measured)) == {
        "epochs per hour": "514",  # 3,600 / 7
        "times the baseline's": "7.5 (5.0 to 10.0)",
        "peak memory of a process (MB)": "812",
    }
    assert "| T3 | 25 % | 75 % |" in re.sub(" +", " ", tables.shares(measured))
    assert cells(tables.scaling(measured))["batch size: 2,048"] == "8.0"
    said = tables.how_measured(measured)
    assert "a CPU (AVX2), 2 cores" in said
    assert "2 interleaved rounds" in said
    assert "12,000 training images" in said


def test_what_is_measured_of_some_alone_is_blank_for_the_others(measured):
    assert "JAX" not in f"{tables.costs(measured)} {tables.ratios(measured)} {tables.how_measured(measured)}"
    measured.costs["T1"].jax += [90.0, 110.0]

    for table, expected in ((tables.costs, "100.0"), (tables.ratios, "7.2 (5.5 to 9.0)")):
        [row] = [line for line in str(table(measured)).splitlines() if "in-memory loop, JAX" in line]
        assert [cell.strip() for cell in row.split("|")[2:-1]] == [expected, *[""] * (len(SERIES) - 1)]
    assert "JAX, too, on an eighth of the images, without T2, T3, T4, T5, whose" in tables.how_measured(measured)
    bars = plots.benchmark_figure(measured).axes[0]
    assert [bar.get_width() for bar in bars.patches[:11]] == [50, 25, 35, 100, 15, 5, 50, 25, 35, 15, 5]
    assert bars.texts[3].get_text() == "in memory, JAX: 100.0 s, 7.2 times the compiled layers"
    assert bars.get_xlim()[1] > 110
    places = [bar.get_y() for bar in bars.patches]
    assert places == sorted(places)
    assert len({bar.get_facecolor() for bar in bars.patches[:6]}) == 6


def test_the_record_comes_back_as_it_was(measured, tmp_path):
    path = measured.save(tmp_path / "new")

    assert path == tmp_path / "new" / "benchmark-AVX2.json"
    assert Benchmark.load(path) == measured


def test_a_processor_with_other_instructions_has_a_record_of_its_own(measured, tmp_path):
    other = replace(measured, instruction_set="AVX512")
    again = replace(measured, rounds=7)

    for benchmark in (other, measured, again):
        benchmark.save(tmp_path)

    assert stored_benchmarks(tmp_path) == [again, other]


def test_a_folder_without_a_benchmark_is_named(tmp_path):
    with pytest.raises(BenchmarkFileError, match=rf"{tmp_path}: no benchmark-\*.json; `mnist-s7 bench --publish`"):
        stored_benchmarks(tmp_path)


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
def test_the_baseline_is_plain_pytorch_on_torchvisions_images(few_digits, monkeypatch, experiment):
    """It trains the experiment's own layers, none of them this package's, on images as the pipeline makes them."""
    trained, optimizers, optimizer = [], [], type(T3).optimizer

    def noted(self, model):
        trained.append(model)
        optimizers.append(optimizer(self, model))
        return optimizers[-1]

    monkeypatch.setattr(type(T3), "optimizer", noted)
    monkeypatch.setattr(measure, "accelerate", lambda model: pytest.fail("accelerated"))
    module = importlib.import_module("mnist_s7.training.fit")  # the package has the function by that name
    monkeypatch.setattr(module, "accelerate", lambda model: pytest.fail("accelerated"))

    seconds = measure.baseline(experiment, few_digits, workers=0)

    [model], [optimizer] = trained, optimizers
    assert seconds > 0
    assert not optimizer.param_groups[0]["fused"]
    assert not [block for block in model.modules() if isinstance(block, Accelerated)]
    assert list(model.state_dict()) == list(experiment.network().state_dict())
    assert model.block1[1].num_batches_tracked == 4  # 512 images in batches of 128
    image, label = measure._Images(few_digits.train_images, few_digits.train_labels, PLAIN)[7]
    assert label == few_digits.train_labels[7]
    torch.testing.assert_close(image, (few_digits.train_images[7:8] / 255 - 0.1307) / 0.3081)


def test_seconds_are_scaled_to_all_digits(few_digits):
    assert measure._scaled(2.0, few_digits) == pytest.approx(2.0 * 60_000 / 512)


@pytest.mark.parametrize(("experiment", "layers"), [(T1, 9), (T4, 14)], ids=["T1", "T4"])
@pytest.mark.parametrize("setting", measure.CONVOLUTION_SETTINGS)
def test_pytorchs_convolutions_are_all_of_a_network_once_each_way(monkeypatch, setting, experiment, layers):
    forward, backward = [], []
    conv2d, grad = measure.F.conv2d, torch.autograd.grad

    def noted(x, weight, *settings):
        if torch.is_grad_enabled():  # not while the images' sizes are found
            forward.append((x, weight, settings))
        return conv2d(x, weight, *settings)

    monkeypatch.setattr(measure.F, "conv2d", noted)
    monkeypatch.setattr(torch.autograd, "grad", lambda y, of, g: backward.append(len(of)) or grad(y, of, g))

    assert measure.pytorch_convolutions(experiment, setting, steps=1) > 0

    dtype, memory_format = measure.CONVOLUTION_SETTINGS[setting]
    convs = [m for m in experiment.network().modules() if isinstance(m, nn.Conv2d)]
    assert len(convs) == layers
    assert [weight.shape for _, weight, _ in forward] == [conv.weight.shape for conv in convs]
    assert [settings[-1] for *_, settings in forward] == [conv.groups for conv in convs]
    assert all(x.dtype == weight.dtype == dtype for x, weight, _ in forward)
    assert all(x.is_contiguous(memory_format=memory_format) for x, *_ in forward)
    assert backward == [1] + [2] * (layers - 1)  # no gradient of the image


def test_shares_are_of_the_whole_epoch(few_digits):
    shares = measure._shares(T3, few_digits)

    assert list(shares) == ["data", "forward", "backward", "optimizer", "loss and accuracy", "evaluation"]
    assert sum(shares.values()) == pytest.approx(100)
    assert min(shares.values()) > 0
    assert shares["forward"] + shares["backward"] > shares["optimizer"]


def test_other_processes_know_the_experiments_of_a_readers_file(few_digits, own_file):
    experiment = find_experiment(f"{own_file(NETWORK, EXPERIMENT)}:MINE")

    with measure._processes(1) as processes:
        seconds = processes.submit(measure._package_on_one_thread, experiment.name, few_digits).result()

    assert seconds > 0


def test_an_experiment_with_teachers_is_measured_on_labels(few_digits, measured):
    """Of these digits nobody has made soft targets."""
    assert T5.distillation
    assert measure.package(T5, few_digits) > 0
    assert "On labels, not soft targets, which are made once: T5." in tables.how_measured(measured)
    del measured.costs["T5"]
    assert "soft targets" not in tables.how_measured(measured)


@pytest.mark.parametrize(("installed", "in_jax"), [(True, 9.0), (True, None), (False, 9.0)])
def test_a_benchmark_has_every_figure_of_every_round(few_digits, monkeypatch, installed, in_jax):
    monkeypatch.setattr(measure, "CONVOLUTION_SETTINGS", dict(list(measure.CONVOLUTION_SETTINGS.items())[:2]))
    monkeypatch.setattr(measure, "BATCH_SIZES", (64, 128))
    monkeypatch.setattr(measure, "IMAGES", (256, 512, 60_000))  # the last are more than there are
    monkeypatch.setattr(measure, "usable_cores", lambda: 1)
    monkeypatch.setattr(measure, "_processes", ThreadPoolExecutor)  # new processes take seconds to start
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda model: compiled.append(model) or model)  # which takes a minute
    monkeypatch.setattr(measure, "find_spec", lambda name: installed)
    monkeypatch.setattr(measure, "in_jax", lambda *_: in_jax)  # test_jax_training has it
    threads = torch.get_num_threads()
    shown = []

    found = measure.benchmark(few_digits, rounds=2, experiments=[T3], part=256, show=shown.append)

    assert list(found.costs) == ["T3"]
    for cost in found.costs.values():
        loops = cost.baseline, cost.in_memory, cost.torch_compile, cost.package, cost.convolutions, cost.each_core
        scaled = cost.by_batch_size, cost.by_threads, cost.by_images
        for rounds in (*loops, *(each for by in scaled for each in by.values())):
            assert len(rounds) == 2
            assert min(rounds) > 0
        assert cost.jax == ([in_jax] * 2 if installed and in_jax else [])
        assert (list(cost.by_batch_size), list(cost.by_threads)) == (["64", "128"], ["1"])
        assert list(cost.by_images) == ["256", "512"]
        assert 100 < cost.peak_memory < 20_000
        assert sum(cost.shares.values()) == pytest.approx(100)
    assert len(shown) == 3
    assert [type(model) for model in compiled] == [type(T3.network())]
    assert torch.get_num_threads() == threads
    json.dumps(found.environment)


def test_no_rounds_are_refused(few_digits):
    with pytest.raises(ValueError, match="at least one"):
        measure.benchmark(few_digits, rounds=0)


def test_the_figure_has_every_bar_and_every_line(measured):
    figure = plots.benchmark_figure(measured)
    bars, *panels = figure.axes

    assert [bar.get_width() for bar in bars.patches] == [50, 25, 35, 15, 5] * len(SERIES)
    said = [text.get_text() for text in bars.texts]
    assert said[:5] == [
        "baseline loop: 50.0 s, 3.5 times the compiled layers",
        "in memory, PyTorch's layers: 25.0 s, 1.8 times the compiled layers",
        "in memory, torch.compile: 35.0 s, 2.5 times the compiled layers",
        "in memory, compiled layers: 15.0 s",
        "PyTorch's convolutions alone: 5.0 s",
    ]
    for panel, heights in zip(panels, ([31, 8], [20, 15], [1.25, 12.5]), strict=True):
        assert [line.get_label() for line in panel.lines] == [experiment.name for experiment in SERIES]
        assert all(list(line.get_ydata()) == heights for line in panel.lines)
        assert "seconds" in panel.get_ylabel()
        assert panel.get_xlabel()
