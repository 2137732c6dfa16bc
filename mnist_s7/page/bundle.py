"""The page's scripts and styles, each made one text: no build chain, and nothing that a browser would have to fetch."""

import re
from functools import cache
from pathlib import Path

import vl_convert

FOLDER = Path(__file__).parent
LICENCE = (
    "/* Vega, Vega-Lite and vega-embed: copyright University of Washington Interactive Data Lab and Vega-Embed's "
    "authors, BSD-3-Clause, https://github.com/vega/vega/blob/main/LICENSE */\n"
)


def script_of(*names: str) -> str:
    """The modules of `js`, each after those that it imports, as one script in which each is an object by its name."""
    script = ""
    for name in names:
        source = (FOLDER / "js" / f"{name}.js").read_text(encoding="utf-8")
        exported = re.findall(r"^export (?:function|const) (\w+)", source, re.M)
        source = re.sub(r'^import (\{.*?\}) from "\./(\w+)\.js";$', r"const \1 = \2;", source, flags=re.M | re.S)
        source = re.sub(r"^export (?=function|const)", "", source, flags=re.M)
        script += f"const {name} = (() => {{\n{source}\nreturn {{ {', '.join(exported)} }};\n}})();\n"
    return script


@cache
def charts_library() -> str:
    """Vega-Lite, which draws the charts, as a script that makes `window.vegaEmbed`; its licence is said in it.

    Of the libraries that a Python package brings whole it is the smallest (0.9 MB; Bokeh 1.3 MB, Plotly 4.6 MB), and
    the one that runs under a Content-Security-Policy without `unsafe-eval`.
    """
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return LICENCE + bundle.replace("</script", "<\\/script")


def style_of(*names: str) -> str:
    return "\n".join((FOLDER / "css" / f"{name}.css").read_text(encoding="utf-8") for name in names)
