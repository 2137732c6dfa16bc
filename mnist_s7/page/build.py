"""The page: one HTML file, from stored runs and trained networks."""

import base64
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment

from mnist_s7.catalog import EXPERIMENTS, origin_of
from mnist_s7.data import SYNTHETIC_DIGITS, Digits
from mnist_s7.data.synthetic import synthetic_digits
from mnist_s7.experiments import FIRST_TO_LAST, SERIES
from mnist_s7.page.bundle import FOLDER, charts_library, script_of, style_of
from mnist_s7.page.content import HEADS, iteration_of
from mnist_s7.page.fields import digit_data, field_data
from mnist_s7.page.measured import experiments_data, pairs_data, public_data
from mnist_s7.page.networks import NotInBrowser, network_data
from mnist_s7.page.pictures import image_sheet
from mnist_s7.page.shown import Network
from mnist_s7.page.without_script import still_figures, still_tables
from mnist_s7.plots.axes import LIMIT
from mnist_s7.receptive_field import ReceptiveFieldError
from mnist_s7.results import CORRECTED_LABELS, LABEL_ERRORS, MNIST, Runs, WeightsError, on_dataset, write_atomically

MODULES = (
    *("dom", "grids", "network", "preprocessing", "paper", "answers", "maps", "draw"),
    *("picture", "gradient", "effective", "fieldtable", "heatmaps", "units", "fields"),
    *("tables", "charts", "choices", "curves", "digits", "comparison", "parameters", "main"),
)
STYLES = ("page", "draw", "charts", "fields")
MOST_NETWORKS = 8  # and test images, so that the page stays below 3 MB
MOST_IMAGES = 1000
TITLE = "Small networks that classify handwritten digits"


def write_page(
    path: Path, runs: Runs, networks: Mapping[str, Network | WeightsError], digits: Digits | None, published: int = 0
) -> Path:
    """Write the page about the experiments of `runs`, in which `networks`, by name, answer to a drawing.

    `digits` are those that the runs were tested on; without them, the page names test images and does not show them.
    Where the `runs` are a reader's, `published` says how many of them are not. A network that JavaScript cannot run, or
    that is not known here, is left out, and named. Raises `OutputError`.
    """
    write_atomically(path, page(runs, networks, digits, published))
    return path


def page(runs: Runs, networks: Mapping[str, Network | WeightsError], digits: Digits | None, published: int = 0) -> str:
    """The page's HTML. What comes from runs' files is text in it, and never markup."""
    drawn, left_out = _drawable(networks)
    without_fields = _add_fields(drawn, networks)
    with_fields = [network["name"] for network in drawn if "fields" in network]
    dataset = next(iter(runs.values()))[0].dataset
    note = on_dataset(dataset)
    experiments = experiments_data(runs)
    wrong = _shown_images(experiments)
    data = {
        "networks": drawn,
        "digits": digit_data(digits or _drawn_digits()) if with_fields else [],
        "experiments": experiments,
        "first": [experiment["name"] for experiment in experiments if _is_shown_first(experiment["name"])],
        "pairs": pairs_data(runs),
        "others": public_data(),
        "limit": LIMIT,
        "sheet": image_sheet(digits, wrong) if digits and wrong else None,
        "labelErrors": {index: CORRECTED_LABELS.get(index) for index in LABEL_ERRORS if dataset == MNIST},
        "note": note,
    }
    scripts = [charts_library(), f"\n{script_of(*MODULES)}main.start();\n"]
    style = style_of(*STYLES)
    template = Environment(autoescape=True).from_string((FOLDER / "page.html").read_text(encoding="utf-8"))
    panels = [
        ("draw", "Draw a digit"),
        ("iterations", "The iterations side by side"),
        *((("curves", "Curves"), ("compare", "Any two compared")) if experiments else ()),
        *((("parameters", "Accuracy against parameters"),) if experiments else ()),
        *((("fields", "Receptive fields"),) if with_fields else ()),
        ("verdicts", "Each experiment"),
        ("words", "How to read this"),
    ]
    return template.render(
        panels=panels,
        title=f"{TITLE} ({note})" if note else TITLE,
        note=note,
        first_to_last=FIRST_TO_LAST,
        runs=sum(map(len, runs.values())),
        published=published,
        heads=HEADS,
        iterations=[iteration_of(name, group, EXPERIMENTS.get(name), runs) for name, group in runs.items()],
        networks=drawn,
        with_fields=with_fields,
        without_fields=without_fields,
        left_out=left_out,
        experiments=experiments,
        without_images=digits is None,
        stills=still_figures(runs),
        tables=still_tables(experiments, data["pairs"], data["others"], drawn),
        data=_for_script(data),
        scripts=scripts,
        script_hashes=[_hash(script) for script in scripts],
        style=style,
        style_hash=_hash(style),
    )


def _drawable(networks: Mapping[str, Network | WeightsError]) -> tuple[list[dict], list[str]]:
    """The first ones that JavaScript can run, as data, and what is to be said of the others."""
    found: list[dict] = []
    reasons: dict[str, list[str]] = defaultdict(list)
    for name, network in networks.items():
        try:
            if isinstance(network, WeightsError):
                raise network
            if len(found) == MOST_NETWORKS:
                raise NotInBrowser(f"a page has {MOST_NETWORKS} networks")
            found.append({"name": name, "data": network_data(network.trained), "run": network.run})
        except (NotInBrowser, WeightsError) as error:
            reasons[str(error)].append(name)
    return found, _left_out(reasons)


def _add_fields(drawn: list[dict], networks: Mapping[str, Network]) -> list[str]:
    """Give each network its receptive fields, where these are defined; return what is to be said of the others."""
    reasons: dict[str, list[str]] = defaultdict(list)
    for each in drawn:
        network = networks[each["name"]]
        try:
            if network.untrained is None:
                raise ReceptiveFieldError("the experiment is not known here, nor how it starts")
            each["fields"] = field_data(network.trained, network.untrained)
        except ReceptiveFieldError as error:
            reasons[str(error)].append(each["name"])
    return _left_out(reasons)


def _left_out(reasons: Mapping[str, list[str]]) -> list[str]:
    return [f"Left out: {', '.join(names)} ({reason})." for reason, names in reasons.items()]


def _shown_images(experiments: list[dict]) -> list[int]:
    """The test images that some seeds get wrong: of too many, those that most experiments do."""
    counts = Counter(index for experiment in experiments for index in experiment["errors"])
    return sorted(index for index, _ in counts.most_common(MOST_IMAGES))


def _drawn_digits() -> Digits:
    """A few, from fonts, for a page without test images."""
    return Digits(*synthetic_digits(train=10, test=100), SYNTHETIC_DIGITS, "drawn from the fonts that matplotlib ships")


def _is_shown_first(name: str) -> bool:
    """Whether an experiment is of the series, or not of this package at all."""
    return name not in EXPERIMENTS or EXPERIMENTS[name] in SERIES or origin_of(name) is not None


def _for_script(data: object) -> str:
    """JSON that cannot end the script element that it is in."""
    return json.dumps(data, allow_nan=False).replace("<", "\\u003c").replace("\u2028", "\\u2028")


def _hash(text: str) -> str:
    """As a Content-Security-Policy names a script or a style that may run."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
