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


def page_file(path: Path, data: object, script: str, *modules: str) -> str:
    """The address of a page that runs the modules and the `script`."""
    css = style_of("page", "draw", "fields")
    text = json.dumps(data).replace("<", "\\u003c")
    path.write_text(HTML.format(css=css, data=text, script=script_of(*modules) + script), encoding="utf-8")
    return path.as_uri()
