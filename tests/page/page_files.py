"""Small pages that run some of the modules, under the Content-Security-Policy that the real page has."""

import json
import re
from pathlib import Path

import mnist_s7.page

FOLDER = Path(mnist_s7.page.__file__).parent
HTML = """<!doctype html><html lang="en"><meta charset="utf-8"><title>A test</title>
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; script-src 'nonce-of-the-test'; style-src 'nonce-of-the-test'">
<style nonce="of-the-test">{css}</style><main><h1>Draw a digit</h1><div id="draw"></div></main>
<script id="data" type="application/json">{data}</script>
<script type="module" nonce="of-the-test">{script}</script></html>
"""
THEME = """
:root { --ink: #1d2129; --paper: #ffffff; --accent: #1d63c4; --muted: #5b6270; --line: #c9ced6; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8ec; --paper: #15181d; --accent: #7db1ff; --muted: #a2a9b6; --line: #3a414d; }
}
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1100px; margin: auto; padding: 1rem; }
"""


def bundled(*names: str) -> str:
    """The modules of `js`, each after those that it imports, as one script in which each is an object by its name."""
    script = ""
    for name in names:
        source = (FOLDER / "js" / f"{name}.js").read_text(encoding="utf-8")
        exported = re.findall(r"^export (?:function|const) (\w+)", source, re.M)
        source = re.sub(r'^import (\{.*?\}) from "\./(\w+)\.js";$', r"const \1 = \2;", source, flags=re.M | re.S)
        source = re.sub(r"^export (?=function|const)", "", source, flags=re.M)
        script += f"const {name} = (() => {{\n{source}\nreturn {{ {', '.join(exported)} }};\n}})();\n"
    return script


def page_file(path: Path, data: object, script: str, *modules: str) -> str:
    """The address of a page that runs the modules and the `script`."""
    css = THEME + (FOLDER / "css" / "draw.css").read_text(encoding="utf-8")
    text = json.dumps(data).replace("<", "\\u003c")
    path.write_text(HTML.format(css=css, data=text, script=bundled(*modules) + script), encoding="utf-8")
    return path.as_uri()
