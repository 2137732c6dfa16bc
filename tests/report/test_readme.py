"""Generated parts of pages are what the results give; and the pages' examples, run, print what is shown."""

import contextlib
import dataclasses
import io
import re
import shutil

import pytest
from test_iteration import REFERENCE, reference_run

from mnist_s7 import SERIES, T3, InvalidArgument, find_experiment
from mnist_s7.bench import stored_benchmarks
from mnist_s7.data import PROJECT
from mnist_s7.plots.axes import LIMIT
from mnist_s7.report import pages, readme
from mnist_s7.report.notebooks import ORDER
from mnist_s7.results import Epoch, RunsMissing
from mnist_s7.results.claims import HEADLINE

BLOCK = re.compile(r"^```(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLES = {"mnist_s7/receptive_field/README.md": 4}


@pytest.mark.parametrize("page", EXAMPLES)
def test_examples_print_what_is_shown(page):
    """A block of Python with an output is followed by it, in a block without a language."""
    blocks = BLOCK.findall((PROJECT / page).read_text(encoding="utf-8"))
    pairs = [(code, shown) for (kind, code), (after, shown) in zip(blocks, blocks[1:], strict=False)
             if kind == "python" and "print(" in code and after == ""]  # fmt: skip
    assert len(pairs) == EXAMPLES[page]
    names = {}
    for code, shown in pairs:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, names)
        assert printed.getvalue() == shown


def test_the_readmes_own_network_can_be_trained(own_file):
    [code] = [code for kind, code in BLOCK.findall(pages.README.read_text(encoding="utf-8")) if "# my_net.py" in code]
    path = own_file(code)

    network, experiment = find_experiment(f"{path}:MyNet"), find_experiment(f"{path}:MINE")

    assert (network.name, network.recipe) == ("MyNet", T3.recipe)
    assert (experiment.name, experiment.lr) == ("MINE", 0.02)


def test_the_pages_and_their_figures_are_what_the_results_give():
    for page, text in pages._pages().items():
        assert page.read_text(encoding="utf-8") == text
    for path, (_, shown) in pages._figures().items():
        assert pages._shows(path, shown), path
    for benchmark in stored_benchmarks(pages.PUBLISHED):
        figure = f"benchmark-{benchmark.instruction_set}.png"
        assert pages._shows(pages.NOTEBOOKS / figure, readme.digest(benchmark))
        assert f"(../{figure})" in pages.RESULTS_PAGE.read_text(encoding="utf-8")


@pytest.fixture
def project(tmp_path, monkeypatch, measured):
    """A copy of the two pages in a folder of its own, and in the place of notebooks one that is never stale."""
    (tmp_path / "notebooks").mkdir()
    for name, path in {"README": "README.md", "RESULTS_PAGE": "notebooks/RESULTS.md"}.items():
        shutil.copy(getattr(pages, name), tmp_path / path)
        monkeypatch.setattr(pages, name, tmp_path / path)
    monkeypatch.setattr(pages, "PROJECT", tmp_path)
    monkeypatch.setattr(pages, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(pages, "RESULTS_FIGURE", tmp_path / "notebooks" / "results.png")
    monkeypatch.setattr(pages, "SELECTION", tmp_path / "notebooks" / "selection.png")
    monkeypatch.setattr(pages, "CLAIMS", tmp_path / "notebooks" / "claims.png")
    monkeypatch.setattr(pages, "ROBUSTNESS_FIGURE", tmp_path / "notebooks" / "robustness.png")
    monkeypatch.setattr(pages, "FASHION_FIGURE", tmp_path / "notebooks" / "fashion-mnist.png")
    monkeypatch.setattr(pages, "stored_benchmarks", lambda _: stored_benchmarks(tmp_path))
    monkeypatch.setattr(pages, "stale_cells", lambda name: [])
    monkeypatch.setattr(pages, "refresh", lambda name: (tmp_path / name).touch())
    measured.save(tmp_path)
    dataclasses.replace(measured, instruction_set="AVX512", rounds=7).save(tmp_path)
    return tmp_path


def test_pages_that_have_been_written_are_not_stale(project):
    pages.write_pages()

    assert pages.stale_pages(1) == []
    assert sorted(path.name for path in project.iterdir() if path.suffix == "") == [*ORDER[:-1], "notebooks"]
    text = (project / "notebooks" / "RESULTS.md").read_text(encoding="utf-8")
    for experiment in SERIES:
        assert f"\n### {experiment.name}\n" in text
        assert f"| {experiment.name} " in text
    for page in (text, (project / "README.md").read_text(encoding="utf-8")):
        assert "a CPU (AVX2)" in page
        assert re.search(r"edians of 7 interleaved rounds", page)
    assert {path.name for path in (project / "notebooks").glob("bench*")} == {
        "benchmark-AVX2.png",
        "benchmark-AVX512.png",
    }


def test_each_page_figure_and_cell_that_is_stale_is_named(project, monkeypatch):
    pages.write_pages()
    page = project / "README.md"
    page.write_text(page.read_text(encoding="utf-8").replace("test accuracy in the final epoch", "accuracy"))
    (project / "notebooks" / "results.png").write_bytes(b"")
    cells = {
        "MNIST_S7_T2": ["report.targets(T2)", "run = fit(T2)\nreport.save(run)"],
        "compare": ["report.means(series)"],
    }
    monkeypatch.setattr(pages, "stale_cells", lambda name: cells.get(name, []))

    gives = "not what notebooks/results gives: run `mnist-s7"
    assert pages.stale_pages(2) == [
        f"README.md is {gives} readme`",
        f"notebooks/results.png is {gives} readme`",
        f"MNIST_S7_T2.ipynb, report.targets(T2): {gives} readme`",
        f"MNIST_S7_T2.ipynb, report.save(run): {gives} run --publish MNIST_S7_T2`",
        f"compare.ipynb, report.means(series): {gives} run --publish compare`",
    ]


def test_there_are_no_pages_without_the_run_of_a_notebook(project, monkeypatch):
    runs = pages.series_runs(pages.PUBLISHED)
    monkeypatch.setattr(pages, "series_runs", lambda _: {name: run for name, run in runs.items() if name != "T2"})

    with pytest.raises(RunsMissing, match="no run of T2 with seed 1; `mnist-s7 run --publish` trains those"):
        pages.write_pages()


def test_without_a_working_copy_there_are_no_pages(project):
    (project / "README.md").unlink()

    with pytest.raises(InvalidArgument, match="README.md does not exist: this needs a working copy"):
        pages.write_pages()


def test_a_figure_says_which_results_it_shows(measured, tmp_path):
    path = pages.draw_benchmark(measured, tmp_path)

    assert path == tmp_path / "benchmark-AVX2.png"
    assert pages._shows(path, readme.digest(measured))
    assert not pages._shows(path, "another")
    assert not pages._shows(tmp_path / "nowhere.png", readme.digest(measured))
    path.write_text("no image")
    assert not pages._shows(path, readme.digest(measured))


@pytest.fixture
def take(monkeypatch):
    """Has the README's parts made of these runs, two of each iteration."""

    def stored(**changes):
        runs = {name: [reference_run(name), dataclasses.replace(reference_run(name), seed=2)] for name in REFERENCE}
        for name in ("T4", "T5"):
            runs[name] = [dataclasses.replace(run, experiment=name) for run in runs["T3"]]
        if changes:
            runs["T2"][0].epochs[-1] = dataclasses.replace(runs["T2"][0].final, **changes)
        monkeypatch.setattr(readme, "stored_runs", lambda: runs)
        monkeypatch.setattr(readme, "published_teachers", lambda experiment: runs["T3"])
        return runs

    return stored


def test_a_changed_figure_is_noticed(take, measured):
    digest = readme.digest(take())
    parts = readme.readme_parts([measured])
    before = readme.fill("".join(f"<!-- begin {name} -->\n\n<!-- end {name} -->\n" for name in parts), parts)

    assert readme.digest(take(test_accuracy=99.35)) != digest
    assert readme.fill(before, readme.readme_parts([measured])) != before
    assert readme.digest(take()) == digest
    assert readme.fill(before, readme.readme_parts([measured])) == before
    digest = readme.digest(measured)
    measured.costs["T2"].package = [1.0, 1.0]
    assert readme.digest(measured) != digest
    assert readme.fill(before, readme.readme_parts([measured])) != before


def test_a_run_that_failed_to_train_is_left_out_and_counted(take, measured):
    failed = Epoch(14, 0.01, 2.3, 11.2, 2.3, 11.35, 6.0)
    runs = take()
    runs["T2"].append(dataclasses.replace(runs["T2"][1], seed=3, epochs=[*runs["T2"][1].epochs[:-1], failed]))

    parts = readme.readme_parts([measured])

    row = re.search(r"^\| T2 .*$", parts["results"], re.MULTILINE)[0]
    assert "**99.34 ± 0.00**" in row and "| 2 (1 of 3 runs failed to train) |" in row
    result = re.search(r"^- \*\*Result:.*$", parts["T2"], re.MULTILINE)[0]
    assert "99.34 ± 0.00 % test accuracy" in result and "2 seeds (1 of 3 runs failed to train)" in result


def test_what_did_not_come_out_is_named(take, measured):
    take()

    targets = re.search(r"^- \*\*\[Targets\].*$", readme.readme_parts([measured])["T4"], re.MULTILINE)[0]

    assert "1 of 3 met" in targets
    assert "1 not met (at least 99.50 % with every seed)" in targets
    assert "1 inconclusive (at least 99.60 % test accuracy in the final epoch, as a mean of 20 seeds)" in targets


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- begin a -->\n<!-- end a -->", r"markers for \['a'\], and the parts are \['a', 'b'\]"),
        ("<!-- begin a -->\n<!-- end a -->\n<!-- begin b -->\n", "begin b --> has no"),
    ],
)
def test_markers_that_do_not_fit_are_refused(text, message):
    with pytest.raises(InvalidArgument, match=message):
        readme.fill(text, {"a": "1", "b": "2"})


def test_parts_are_put_between_their_markers_and_nowhere_else():
    text = "Of `<!-- begin a -->` it says:\n<!-- begin a -->\nold\n<!-- end a -->\nend\n"

    filled = readme.fill(text, {"a": "new \\1"})

    assert filled == "Of `<!-- begin a -->` it says:\n<!-- begin a -->\n\nnew \\1\n\n<!-- end a -->\nend\n"
    assert readme.fill(filled, {"a": "new \\1"}) == filled
    assert readme.fill(filled, {"a": ""}).endswith("\n<!-- begin a -->\n<!-- end a -->\nend\n")


def test_the_readme_begins_with_the_sizes_the_epochs_and_the_goal_of_the_series():
    sizes = sorted(experiment.parameters for experiment in SERIES)
    text = " ".join(pages.README.read_text(encoding="utf-8").split())

    assert (
        f"with {round(sizes[0], -2):,} to {round(sizes[-1], -2):,} parameters after {SERIES[0].epochs} epochs" in text
    )
    assert f"more than {HEADLINE:g} % of the test images right, with fewer than {LIMIT:,} parameters" in text
    assert len({experiment.epochs for experiment in SERIES}) == 1


def test_what_narrower_networks_reach_is_said(take, measured):
    runs = take()
    runs["T4-4K"] = [dataclasses.replace(run) for run in runs["T4"][:2]]
    for run, accuracy in zip(runs["T4-4K"], (99.3, 99.5), strict=True):
        run.epochs = [*run.epochs[:-1], dataclasses.replace(run.final, test_accuracy=accuracy)]

    parts = readme.readme_parts([measured])

    line = re.search(r"^- \*\*With fewer parameters:.*$", parts["T4"], re.MULTILINE)[0]
    assert "99.40 ± 0.14 % with 3,940 (2 seeds)" in line
    assert "With fewer" not in parts["T3"]


def test_who_teaches_is_said_with_the_cost(take, measured):
    runs = take()
    for run, accuracy in zip(runs["T3"], (99.5, 99.7), strict=True):
        run.epochs[-1] = dataclasses.replace(run.final, test_accuracy=accuracy)

    parts = readme.readme_parts([measured])

    line = re.search(r"^- \*\*Teachers:.*$", parts["T5"], re.MULTILINE)[0]
    assert "2 networks of 6,544 parameters, trained on labels in 15 epochs; final test accuracy 99.60 ± 0.14 %" in line
    assert "Teachers" not in parts["T4"]
    assert "after the soft targets of T5" in parts["time"]
