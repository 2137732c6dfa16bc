"""The generated pages and figures: README.md, the results page, their figures, and the notebooks' tables."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from mnist_s7 import InvalidArgument, plots
from mnist_s7.bench import Benchmark
from mnist_s7.data import PROJECT
from mnist_s7.report import fashion, robustness
from mnist_s7.report.notebooks import NOTEBOOKS, ORDER, refresh, stale_cells
from mnist_s7.report.readme import digest, fill, readme_parts
from mnist_s7.report.results_page import results_parts
from mnist_s7.report.stored import series, series_runs, stored_runs
from mnist_s7.results import PUBLISHED, SYNTHETIC, Runs, write_atomically
from mnist_s7.robustness import Robustness

README = PROJECT / "README.md"
RESULTS_PAGE = PUBLISHED / "README.md"
BENCHMARK = PUBLISHED / "benchmark.json"
ROBUSTNESS_FIGURE, FASHION_FIGURE = NOTEBOOKS / "robustness.png", NOTEBOOKS / "fashion-mnist.png"
RESULTS_FIGURE, BENCHMARK_FIGURE = NOTEBOOKS / "results.png", NOTEBOOKS / "benchmark.png"


def write_pages() -> None:
    """Make all of them from notebooks/results. Raises what `stored_runs`, `series_runs` and `fill` do."""
    for page, text in _pages().items():
        write_atomically(page, text)
    runs = series(stored_runs())
    _draw(RESULTS_FIGURE, plots.results_figure(runs), digest(runs))
    draw_benchmark(Benchmark.load(BENCHMARK), NOTEBOOKS)
    _draw(ROBUSTNESS_FIGURE, plots.robustness_figure(record := robustness.stored_robustness()), digest(record))
    if figure := fashion.fashion_figure():
        _draw(FASHION_FIGURE, figure, digest(fashion.compared_runs()))
    for name in ORDER[:-1]:
        refresh(name)


def stale_pages(at_once: int) -> list[str]:
    """A line for each page, figure and notebook cell that is not what notebooks/results gives: what to do about it.

    `at_once` notebooks are executed at a time.
    """
    found = [path for path, text in _pages().items() if path.read_text(encoding="utf-8") != text]
    shown = {RESULTS_FIGURE: series(stored_runs()), BENCHMARK_FIGURE: Benchmark.load(BENCHMARK)}
    found += [path for path, figures in shown.items() if not _shows(path, digest(figures))]
    found += [path for path, figures in _of_other_images().items() if not _shows(path, digest(figures))]
    stale = [
        f"{path.relative_to(PROJECT)} is not what notebooks/results gives: run `mnist-s7 readme`" for path in found
    ]
    with ThreadPoolExecutor(at_once) as pool:
        cells = dict(zip(ORDER, pool.map(stale_cells, ORDER), strict=True))
    for name, sources in cells.items():
        for source in sources:
            remedy = f"run --publish {name}" if name == ORDER[-1] or "fit(" in source else "readme"
            line = source.splitlines()[-1]
            stale.append(f"{name}.ipynb, {line}: not what notebooks/results gives: run `mnist-s7 {remedy}`")
    return stale


def _of_other_images() -> dict[Path, Robustness | Runs]:
    """The figures of corrupted images and of Fashion-MNIST, and what they show; the second once there are runs."""
    shown = {ROBUSTNESS_FIGURE: robustness.stored_robustness()}
    there = fashion.any_measured(fashion.stored_comparisons())
    return shown | ({FASHION_FIGURE: fashion.compared_runs()} if there else {})


def draw_benchmark(benchmark: Benchmark, folder: Path) -> Path:
    """Write the benchmark's figure to `folder`, and return its path."""
    path = folder / BENCHMARK_FIGURE.name
    _draw(path, plots.benchmark_figure(benchmark), digest(benchmark))
    return path


def _pages() -> dict[Path, str]:
    if missing := [page for page in (README, RESULTS_PAGE) if not page.exists()]:
        raise InvalidArgument(f"{missing[0]} does not exist: this needs a working copy of the repository")
    benchmark = Benchmark.load(BENCHMARK)
    series_runs(PUBLISHED)  # raises where the run of a notebook is missing
    stored_runs(SYNTHETIC)  # in no table, and checked as well
    parts = {README: readme_parts(benchmark), RESULTS_PAGE: results_parts(benchmark)}
    return {page: fill(page.read_text(encoding="utf-8"), of_page) for page, of_page in parts.items()}


def _draw(path: Path, figure: Figure, shown: str) -> None:
    """Write the figure as a PNG that says which results it shows."""
    image = io.BytesIO()
    figure.savefig(image, metadata={"Description": shown})
    write_atomically(path, image.getvalue())


def _shows(path: Path, digest: str) -> bool:
    try:
        with Image.open(path) as image:
            return image.info.get("Description") == digest
    except OSError:  # not there, or no image
        return False
