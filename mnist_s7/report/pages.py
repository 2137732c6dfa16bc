"""The generated pages and figures: README.md, the results page, their figures, and the notebooks' tables."""

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from mnist_s7 import InvalidArgument, plots
from mnist_s7.bench import Benchmark, stored_benchmarks
from mnist_s7.data import PROJECT
from mnist_s7.experiments import SERIES
from mnist_s7.report import fashion, robustness
from mnist_s7.report.benchmark import benchmark_figure_name
from mnist_s7.report.notebooks import NOTEBOOKS, ORDER, refresh, stale_cells
from mnist_s7.report.published_networks import checked_claims
from mnist_s7.report.readme import digest, fill, readme_parts
from mnist_s7.report.results_page import CLAIMS_FIGURE, SELECTION_FIGURE, results_parts
from mnist_s7.report.selection import selections
from mnist_s7.report.stored import SEED, baseline_runs, series, series_runs, stored_runs
from mnist_s7.results import PUBLISHED, SYNTHETIC, RunsMissing, write_atomically

README = PROJECT / "README.md"
RESULTS_PAGE = PUBLISHED / "README.md"
ROBUSTNESS_FIGURE, FASHION_FIGURE = NOTEBOOKS / "robustness.png", NOTEBOOKS / "fashion-mnist.png"
RESULTS_FIGURE = NOTEBOOKS / "results.png"
CLAIMS, SELECTION = NOTEBOOKS / CLAIMS_FIGURE, NOTEBOOKS / SELECTION_FIGURE


def write_pages() -> None:
    """Make all of them from notebooks/results. Raises what `stored_runs`, `series_runs` and `fill` do."""
    for page, text in _pages().items():
        write_atomically(page, text)
    for path, (draw, shown) in _figures().items():
        _draw(path, draw(), shown)
    for benchmark in stored_benchmarks(PUBLISHED):
        draw_benchmark(benchmark, NOTEBOOKS)
    for name in ORDER[:-1]:
        refresh(name)


def stale_pages(at_once: int) -> list[str]:
    """A line for each page, figure and notebook cell that is not what notebooks/results gives: what to do about it.

    `at_once` notebooks are executed at a time.
    """
    found = [path for path, text in _pages().items() if path.read_text(encoding="utf-8") != text]
    shown = {path: shown for path, (_, shown) in _figures().items()}
    shown |= {NOTEBOOKS / benchmark_figure_name(each): digest(each) for each in stored_benchmarks(PUBLISHED)}
    found += [path for path, figures in shown.items() if not _shows(path, figures)]
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


def _figures() -> dict[Path, tuple[Callable[[], Figure], str]]:
    """What draws each figure but the benchmarks', and the digest of what it shows. Those of the claims and of
    Fashion-MNIST are there once there are runs to compare."""
    runs, baselines = stored_runs(), baseline_runs()
    own, claims, found = series(runs), checked_claims(baselines), selections({**runs, **baselines})
    corrupted = robustness.stored_robustness()
    figures = {
        RESULTS_FIGURE: (lambda: plots.results_figure(own), digest(own)),
        SELECTION: (lambda: plots.selection_figure(found), digest(found)),
        ROBUSTNESS_FIGURE: (lambda: plots.robustness_figure(corrupted), digest(corrupted)),
    }
    if claims:
        figures[CLAIMS] = lambda: plots.claims_figure(claims, own), digest([*claims, digest(own)])
    if fashion.any_measured(fashion.stored_comparisons()):
        figures[FASHION_FIGURE] = fashion.fashion_figure, digest(fashion.compared_runs())
    return figures


def draw_benchmark(benchmark: Benchmark, folder: Path) -> Path:
    """Write the benchmark's figure to `folder`, and return its path."""
    path = folder / benchmark_figure_name(benchmark)
    _draw(path, plots.benchmark_figure(benchmark), digest(benchmark))
    return path


def _pages() -> dict[Path, str]:
    if missing := [page for page in (README, RESULTS_PAGE) if not page.exists()]:
        raise InvalidArgument(f"{missing[0]} does not exist: this needs a working copy of the repository")
    benchmarks = stored_benchmarks(PUBLISHED)
    if missing := {experiment.name for experiment in SERIES} - series_runs(PUBLISHED).keys():
        raise RunsMissing(
            f"{PUBLISHED}: no run of {', '.join(sorted(missing))} with seed {SEED}; "
            "`mnist-s7 run --publish` trains those of the notebooks"
        )
    stored_runs(SYNTHETIC)  # in no table, and checked as well
    parts = {README: readme_parts(benchmarks), RESULTS_PAGE: results_parts(benchmarks)}
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
