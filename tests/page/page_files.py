"""Small pages that run some of the modules, under the Content-Security-Policy that the real page has."""

import json
from pathlib import Path

from mnist_s7.page.bundle import script_of, style_of

HTML = """<!doctype html><html lang="en"><meta charset="utf-8"><title>A test</title>
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; script-src 'nonce-of-the-test'; style-src 'nonce-of-the-test'">
<style nonce="of-the-test">{css}</style><main><h1>A panel</h1><div id="draw"></div><div id="fields"></div></main>
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


def page_file(path: Path, data: object, script: str, *modules: str) -> str:
    """The address of a page that runs the modules and the `script`."""
    css = THEME + style_of("draw", "fields")
    text = json.dumps(data).replace("<", "\\u003c")
    path.write_text(HTML.format(css=css, data=text, script=script_of(*modules) + script), encoding="utf-8")
    return path.as_uri()
