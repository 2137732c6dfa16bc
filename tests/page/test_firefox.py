"""The whole page in Firefox, by its own remote control: Playwright drives none but a Firefox of its own."""

import shutil
from importlib.util import find_spec

import pytest

from mnist_s7 import SERIES
from mnist_s7.page import write_page


@pytest.fixture
def firefox(tmp_path):
    if not find_spec("marionette_driver"):
        pytest.skip("marionette_driver is not installed: pip install marionette-driver")
    if not (program := shutil.which("firefox-esr") or shutil.which("firefox")):
        pytest.skip("there is no Firefox to test the page in")
    from marionette_driver.marionette import Marionette

    driver = Marionette(bin=program, headless=True, startup_timeout=180, gecko_log=str(tmp_path / "firefox.log"))
    driver.start_session()
    yield driver
    driver.quit()


@pytest.mark.filterwarnings("ignore")  # of Firefox's own packages, which are older than this Python
def test_the_page_in_firefox(firefox, runs, networks, tmp_path):
    from marionette_driver import Wait

    firefox.navigate(write_page(tmp_path / "page.html", runs, networks, None).as_uri())

    def told(script):
        return firefox.execute_script(f"return {script}")

    waiting = Wait(firefox, timeout=60)
    waiting.until(lambda _: told("document.querySelectorAll('.chart[data-drawn] svg').length === 3"))
    waiting.until(lambda _: told("document.querySelector('.draw-summary').textContent.startsWith('T1: 3')"))
    assert told("[...document.querySelectorAll('.draw-answer')].map((cell) => cell.textContent)") == ["3"] * len(SERIES)
    with firefox.using_context("chrome"):
        said = told("Services.console.getMessageArray().map((each) => String(each.message ?? each))")
    assert not [message for message in said if "page.html" in message]
