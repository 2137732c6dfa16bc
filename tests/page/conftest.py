import shutil
from importlib.util import find_spec

import pytest
from page_files import page_file

from mnist_s7.page import networks_of, write_page
from mnist_s7.report.stored import series, stored_runs


@pytest.fixture(scope="module")  # for the session, its event loop would be in the way of the notebooks' tests
def browser():
    """Chromium; tests that need it are skipped where there is none."""
    if not find_spec("playwright"):
        pytest.skip("playwright is not installed: pip install playwright")
    if not (chromium := shutil.which("chromium") or shutil.which("google-chrome")):
        pytest.skip("there is no chromium to test the page in")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def new_tab(browser):
    """Opens an empty tab. Afterwards, no page may have said anything on its console, nor asked for anything but files
    or the `allowed` address."""
    contexts, said = [], []

    def open_one(allowed="file:", **settings):
        contexts.append(browser.new_context(**settings))
        tab = contexts[-1].new_page()
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("request", lambda request: request.url.startswith((allowed, "data:")) or said.append(request.url))
        return tab

    yield open_one
    for context in contexts:
        context.close()
    assert not said


@pytest.fixture
def open_page(new_tab, tmp_path):
    """Opens a page of `page_file`'s arguments."""

    def open_one(data, script, *modules, **settings):
        tab = new_tab(**settings)
        tab.goto(page_file(tmp_path / "page.html", data, script, *modules))
        return tab

    return open_one


@pytest.fixture(scope="module")
def runs():
    return series(stored_runs())


@pytest.fixture(scope="module")
def networks(runs):
    return networks_of(runs)


@pytest.fixture
def open_whole(new_tab, runs, networks, tmp_path):
    """Opens the whole page, about the series unless other runs are given, with all charts drawn."""

    def open_one(shown=runs, digits=None, **settings):
        tab = new_tab(**settings)
        tab.goto(write_page(tmp_path / "page.html", shown, networks, digits).as_uri())
        tab.wait_for_function("document.querySelectorAll('.chart[data-drawn]').length === 3")
        return tab

    return open_one
