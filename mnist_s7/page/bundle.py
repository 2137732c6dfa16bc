"""The page's scripts and styles, each made one text: no build chain, and nothing that a browser would have to fetch."""

import re
from pathlib import Path

FOLDER = Path(__file__).parent


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


def style_of(*names: str) -> str:
    return "\n".join((FOLDER / "css" / f"{name}.css").read_text(encoding="utf-8") for name in names)
