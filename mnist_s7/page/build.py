"""The page: one HTML file, from stored runs and trained networks."""

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment
from torch import nn

from mnist_s7.catalog import EXPERIMENTS
from mnist_s7.page.bundle import FOLDER, script_of, style_of
from mnist_s7.page.content import HEADS, iteration_of
from mnist_s7.page.networks import NotInBrowser, network_data
from mnist_s7.results import Runs, on_dataset, write_atomically

MODULES = ("dom", "grids", "network", "preprocessing", "paper", "answers", "maps", "draw", "tables", "main")
TITLE = "Small networks that classify handwritten digits"


def write_page(path: Path, runs: Runs, networks: Mapping[str, nn.Module]) -> Path:
    """Write the page about the experiments of `runs`, in which trained `networks`, by name, answer to a drawing.

    A network that JavaScript cannot run is left out, and named. Raises `OutputError`.
    """
    write_atomically(path, page(runs, networks))
    return path


def page(runs: Runs, networks: Mapping[str, nn.Module]) -> str:
    """The page's HTML. What comes from runs' files is text in it, and never markup."""
    drawn, left_out = [], []
    for name, model in networks.items():
        try:
            drawn.append({"name": name, "data": network_data(model)})
        except NotInBrowser as error:
            left_out.append(f"{name} is left out: {error}")
    first = next(iter(runs.values()))[0]
    note = on_dataset(first.dataset)
    script = f"\n{script_of(*MODULES)}main.start();\n"
    style = style_of("page", "draw")
    template = Environment(autoescape=True).from_string((FOLDER / "page.html").read_text(encoding="utf-8"))
    return template.render(
        title=f"{TITLE} ({note})" if note else TITLE,
        summary=f"{len(runs)} experiments, and trained networks, which classify what you draw.",
        caption=f"Final epoch's test accuracy over seeds{f', {note}' if note else ''}; a column's head sorts by it",
        heads=HEADS,
        iterations=[iteration_of(name, group, EXPERIMENTS.get(name), runs) for name, group in runs.items()],
        networks=drawn,
        left_out=left_out,
        runs=sum(map(len, runs.values())),
        data=_for_script({"networks": drawn}),
        script=script,
        script_hash=_hash(script),
        style=style,
        style_hash=_hash(style),
    )


def _for_script(data: object) -> str:
    """JSON that cannot end the script element that it is in."""
    return json.dumps(data, allow_nan=False).replace("<", "\\u003c").replace("\u2028", "\\u2028")


def _hash(text: str) -> str:
    """As a Content-Security-Policy names a script or a style that may run."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
