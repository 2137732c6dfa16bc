"""The whole page, in a browser and as it is without one."""

import dataclasses
import re
from html.parser import HTMLParser

import pytest

from mnist_s7 import SERIES, pretrained
from mnist_s7.page import page, write_page
from mnist_s7.report.stored import series, stored_runs
from mnist_s7.results import MNIST

HOSTILE = "</script><img src=x onerror=alert(1)>\"'`<!--"


class Elements(HTMLParser):
    """What elements a page has, with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


@pytest.fixture(scope="module")
def runs():
    return series(stored_runs())


@pytest.fixture(scope="module")
def networks():
    return {experiment.name: pretrained(experiment.name) for experiment in SERIES}


@pytest.fixture
def opened(browser, runs, networks, tmp_path):
    """The page in a browser, which must say nothing on its console and ask for nothing but its file."""
    said = []
    opened = browser.new_page()
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda request: request.url.startswith("file:") or said.append(request.url))
    opened.goto(write_page(tmp_path / "page.html", runs, networks).as_uri())
    yield opened
    opened.close()
    assert not said


def test_it_is_one_file_that_asks_for_nothing(runs, networks):
    text = page(runs, networks)

    assert len(text) < 3_000_000
    elements = Elements(text).found
    assert not [a for _, a in elements if a.keys() & {"src", "srcset", "action", "data", "style"}]
    assert all(a["href"].startswith("#") for tag, a in elements if tag in ("a", "link"))
    [policy] = [a["content"] for tag, a in elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy


def test_the_results_are_there_without_javascript(runs, networks):
    text = page(runs, networks)

    for experiment in SERIES:
        assert f">{experiment.parameters:,}</td>" in text
        assert experiment.change in text
    assert text.count("<table") == 1 + len(SERIES)


def test_names_of_runs_never_become_markup(runs, networks):
    hostile = {HOSTILE: [dataclasses.replace(run, experiment=HOSTILE) for run in runs["T3"]]}

    ordinary, elements = (Elements(page(some, networks)).found for some in ({"T3": runs["T3"]}, hostile))

    tables = ("table", "thead", "tbody", "tr", "th", "td", "caption", "div")  # of targets, which the other has none of
    assert [tag for tag, _ in elements if tag not in tables] == [tag for tag, _ in ordinary if tag not in tables]
    assert "<img" not in page(hostile, {HOSTILE: networks["T3"]})


def test_other_digits_are_named_in_the_title(runs, networks):
    synthetic = {"T3": [dataclasses.replace(run, dataset="synthetic digits") for run in runs["T3"]]}

    assert "on synthetic digits, not on MNIST" in re.search("<h1>(.*?)</h1>", page(synthetic, networks))[1]
    assert MNIST not in re.search("<h1>(.*?)</h1>", page(runs, networks))[1]


def test_a_column_is_sorted_by_its_head(opened, runs):
    names = "#iterations tbody tr th"
    parameters = sorted(runs, key=lambda name: runs[name][0].parameters)

    opened.get_by_role("button", name="parameters").click()
    assert opened.locator(names).all_inner_texts()[:4] == parameters
    opened.get_by_role("button", name="parameters").press("Enter")
    assert opened.locator(names).all_inner_texts()[:4] == parameters[::-1]
    assert opened.locator("th[aria-sort=descending]").inner_text() == "parameters"


def test_the_networks_answer_to_the_digit_that_is_there(opened):
    opened.locator("#drawing").get_by_text("T4: 3").wait_for()  # said a moment later than it is drawn

    assert opened.locator("td.draw-answer").all_inner_texts() == ["3"] * 4


def test_a_phone_needs_no_sideways_scrolling(opened):
    opened.set_viewport_size({"width": 380, "height": 800})

    assert opened.evaluate("document.documentElement.scrollWidth") <= 380
