import shutil
from importlib.util import find_spec

import pytest
from page_files import page_file


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
def open_page(browser, tmp_path):
    """Opens a page of `page_file`'s arguments. Afterwards, nothing may have been said on its console."""
    contexts, said = [], []

    def open_one(data, script, *modules, **settings):
        contexts.append(browser.new_context(**settings))
        page = contexts[-1].new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: request.url.startswith("file:") or said.append(request.url))
        page.goto(page_file(tmp_path / f"page{len(contexts)}.html", data, script, *modules))
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert not said
