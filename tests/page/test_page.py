"""The whole page, in a browser and as it is without one."""

import dataclasses
import json
import re
import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

from torch import nn

from mnist_s7 import SERIES
from mnist_s7.page import Network, page, write_page
from mnist_s7.results import MNIST


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


HOSTILE = "</script><img src=x onerror=alert(1)>\"'`$x_{<!--"


class Elements(HTMLParser):
    """What elements a page has, with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def test_it_is_one_file_that_asks_for_nothing(runs, networks):
    text = page(runs, networks, None)

    assert len(text) < 3_000_000
    elements = Elements(text).found
    assert not [a for _, a in elements if a.keys() & {"srcset", "action", "data", "style"}]
    assert all(a["src"].startswith("data:") for _, a in elements if "src" in a)
    assert all(a["href"].startswith("#") for tag, a in elements if tag in ("a", "link"))
    [policy] = [a["content"] for tag, a in elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy


def test_the_results_are_there_without_javascript(runs, networks):
    text = page(runs, networks, None)

    for experiment in SERIES:
        assert f">{experiment.parameters:,}</td>" in text
        assert experiment.change[1:] in text
    assert [tag for tag, _ in Elements(text).found].count("table") == 1 + 2 * len(SERIES) + 2
    pictures = [a for tag, a in Elements(text).found if tag == "img"]
    assert [picture["alt"].partition(" ")[0] for picture in pictures] == ["Test", "Final", "Accuracy"]


def test_names_of_runs_never_become_markup(runs, networks):
    hostile = {HOSTILE: [dataclasses.replace(run, experiment=HOSTILE) for run in runs["T3"]]}

    ordinary, elements = (Elements(page(some, networks, None)).found for some in ({"T3": runs["T3"]}, hostile))

    tables = (
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "caption",
        "div",
        "span",
    )  # of targets, which the other has none of
    assert [tag for tag, _ in elements if tag not in tables] == [tag for tag, _ in ordinary if tag not in tables]
    assert "<img src=x" not in page(hostile, {HOSTILE: networks["T3"]}, None)


def test_other_digits_are_named_in_the_title(runs, networks):
    synthetic = {"T3": [dataclasses.replace(run, dataset="synthetic digits") for run in runs["T3"]]}

    assert "on synthetic digits, not on MNIST" in re.search("<h1>(.*?)</h1>", page(synthetic, networks, None))[1]
    assert MNIST not in re.search("<h1>(.*?)</h1>", page(runs, networks, None))[1]


def test_every_panel_says_that_digits_are_synthetic(open_whole, runs):
    synthetic = {
        name: [dataclasses.replace(run, dataset="synthetic digits") for run in group] for name, group in runs.items()
    }
    opened = open_whole(synthetic)

    headings = opened.locator("h2").all_inner_texts()
    assert len(headings) == 8
    for said in (*headings, *opened.locator("figcaption.note").all_inner_texts()):
        assert "on synthetic digits, not on MNIST" in said
    assert "wrong label" not in opened.locator("main").inner_text()  # the known label errors are MNIST's


def test_a_column_is_sorted_by_its_head(open_whole, runs):
    opened = open_whole()
    names = "#iterations tbody tr th"
    parameters = {name: group[0].parameters for name, group in runs.items()}

    opened.get_by_role("button", name="parameters").click()
    assert opened.locator(names).all_inner_texts()[: len(runs)] == sorted(runs, key=parameters.get)
    opened.get_by_role("button", name="parameters").press("Enter")
    assert opened.locator(names).all_inner_texts()[: len(runs)] == sorted(runs, key=parameters.get, reverse=True)
    assert opened.locator("th[aria-sort=descending]").inner_text() == "parameters"


def test_the_networks_answer_to_the_digit_that_is_there(open_whole):
    opened = open_whole()
    opened.locator("#drawing").get_by_text("T5: 3").wait_for()  # said a moment later than it is drawn

    assert opened.locator("td.draw-answer").all_inner_texts() == ["3"] * len(SERIES)


def test_a_phone_needs_no_sideways_scrolling(open_whole):
    opened = open_whole(viewport={"width": 380, "height": 800})

    assert opened.evaluate("document.documentElement.scrollWidth") <= 380


def test_a_web_server_serves_it_too(new_tab, runs, networks, tmp_path):
    write_page(tmp_path / "page.html", runs, networks, None)
    handler = partial(QuietHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/page.html"
        tab = new_tab(address)
        tab.goto(address)
        tab.locator("#drawing").get_by_text("T5: 3").wait_for()
        server.shutdown()


def test_without_javascript_there_are_tables_and_figures(new_tab, runs, networks, tmp_path):
    tab = new_tab(java_script_enabled=False, viewport={"width": 1200, "height": 900})
    tab.goto(write_page(tmp_path / "page.html", runs, networks, None).as_uri())

    for still in tab.locator("img.still").all():
        assert still.bounding_box()["width"] > 600
    assert "Drawing needs JavaScript" in tab.locator("#draw").inner_text()
    assert tab.locator("#draw").bounding_box()["height"] < 200  # no room is left for what does not come


def test_a_network_without_receptive_fields_is_named(runs, networks):
    strange = Network(own_network(), own_network(), "seed 1")
    unknown = dataclasses.replace(networks["T3"], untrained=None)

    text = page(runs, {"T3": networks["T3"], "strange": strange, "unknown": unknown}, None)

    assert "Left out: strange (" in text
    assert "Left out: unknown (the experiment is not known here" in text
    [data] = re.findall('<script id="data" type="application/json">(.*?)</script>', text)
    with_fields = {network["name"]: "fields" in network for network in json.loads(data)["networks"]}
    assert with_fields == {"T3": True, "strange": False, "unknown": False}


def own_network():
    """A perceptron, none of whose layers has a feature map."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.LogSoftmax(1))
