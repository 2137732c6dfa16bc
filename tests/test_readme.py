"""The README's examples of the receptive-field calculator, run, against the output that it shows."""

import contextlib
import io
import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_receptive_field_examples_print_what_the_readme_shows():
    text = README.read_text(encoding="utf-8")
    section = text.split("\n## Receptive fields of any model\n")[1].split("\n## ")[0]
    blocks = re.findall(r"^```(.*?)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert [kind for kind, _ in blocks] == ["python", ""] * 3  # each example, then its output
    names = {}
    for (_, code), (_, shown) in zip(blocks[::2], blocks[1::2], strict=True):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, names)
        assert printed.getvalue() == shown
