"""The panel to draw in, used as a reader uses it: with the mouse, a finger and the keyboard."""

import base64
import re

import numpy as np
import pytest

from mnist_s7 import SERIES, predict_image, pretrained
from mnist_s7.page import network_data

MODULES = ("dom", "grids", "network", "preprocessing", "paper", "answers", "maps", "draw")
MOUNT = """
const networks = JSON.parse(document.getElementById("data").textContent);
draw.mountDrawing(document.getElementById("draw"), { networks });
"""
GREYS = """(selector) => {
  const { data } = document.querySelector(selector).getContext("2d").getImageData(0, 0, 28, 28);
  return Array.from({ length: 784 }, (_, index) => data[4 * index]);
}"""
SEVEN = [(0.28, 0.2), (0.7, 0.2), (0.6, 0.4), (0.5, 0.6), (0.44, 0.84)]
PHONE = {"viewport": {"width": 380, "height": 800}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def networks():
    return [{"name": experiment.name, "data": network_data(pretrained(experiment.name))} for experiment in SERIES]


@pytest.fixture
def panel(open_page, networks):
    def mounted(**settings):
        return open_page(networks, MOUNT, *MODULES, **settings)

    return mounted


def answers(page) -> list[str]:
    return page.locator(".draw-answer").all_text_contents()


def wait_for(page, answer: str) -> None:
    """For what all of the networks say."""
    page.wait_for_function(
        "(answer) => [...document.querySelectorAll('.draw-answer')].every((cell) => cell.textContent === answer)",
        arg=answer,
        timeout=5000,
    )


def wait_for_summary(page, beginning: str) -> None:
    page.wait_for_function(
        "(beginning) => document.querySelector('.draw-summary').textContent.startsWith(beginning)",
        arg=beginning,
        timeout=5000,
    )


def at(page, point) -> tuple[float, float]:
    box = page.locator(".draw-canvas").bounding_box()
    return box["x"] + point[0] * box["width"], box["y"] + point[1] * box["height"]


def draw_with_the_mouse(page, points) -> None:
    page.mouse.move(*at(page, points[0]))
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*at(page, point), steps=5)
    page.mouse.up()


def sizes(page) -> list:
    """Of all elements but the texts in the cells."""
    return page.evaluate(
        "[...document.querySelectorAll('.draw, .draw *')].filter((element) => !element.closest('svg, span, option'))"
        ".map((element) => { const box = element.getBoundingClientRect();"
        " return [element.tagName, box.x, box.y + scrollY, box.width, box.height]; })"
    )


def test_it_starts_with_a_three_that_all_networks_know(panel):
    page = panel()

    wait_for(page, "3")
    summary = page.locator(".draw-summary")
    wait_for_summary(page, "T")
    assert re.fullmatch(r"(T\d: 3, \d+\.\d %(; |\.)){5}", summary.text_content())
    assert summary.get_attribute("aria-live") == "polite"
    probabilities = page.locator(".draw-table tbody td").all_text_contents()
    assert len(probabilities) == 10 * len(SERIES)
    for column in range(len(SERIES)):
        shown = [float(text.removesuffix(" %")) for text in probabilities[column :: len(SERIES)]]
        assert sum(shown) == pytest.approx(100, abs=0.5)
    assert page.locator(".draw-seen").get_attribute("aria-label").startswith("The picture")


def test_the_mouse_draws_and_the_buttons_take_back(panel):
    page = panel()
    wait_for(page, "3")
    page.get_by_role("button", name="Clear").click()
    wait_for(page, "–")
    assert page.locator(".draw-seen").get_attribute("aria-label") == "The paper is empty: draw a digit."
    page.get_by_role("button", name="Undo").click()  # there is nothing to take back
    draw_with_the_mouse(page, SEVEN)
    wait_for(page, "7")
    draw_with_the_mouse(page, [(0.05, 0.1), (0.05, 0.9)])
    wait_for(page, "–")
    wait_for_summary(page, "2 marks stand apart; draw one digit, with strokes.")
    page.get_by_role("button", name="Undo").click()
    wait_for(page, "7")


def test_the_answers_are_those_of_python_for_the_same_picture(panel):
    page = panel()
    page.get_by_role("button", name="Clear").click()
    draw_with_the_mouse(page, SEVEN)
    wait_for(page, "7")
    png = page.evaluate("document.querySelector('.draw-canvas').toDataURL().split(',')[1]")
    shown = page.locator(".draw-table tbody td").all_text_contents()

    for column, experiment in enumerate(SERIES):
        expected = predict_image(pretrained(experiment.name), base64.b64decode(png))
        found = [float(text.removesuffix(" %")) for text in shown[column :: len(SERIES)]]
        assert found == pytest.approx([100 * p for p in expected.probabilities], abs=0.3)
    assert np.abs(np.array(page.evaluate(GREYS, ".draw-seen")) - expected.seen.numpy().ravel()).max() <= 1


def test_nothing_moves_when_the_answers_change(panel):
    page = panel()
    wait_for(page, "3")
    before = sizes(page)
    page.get_by_role("button", name="Clear").click()
    wait_for(page, "–")
    page.wait_for_timeout(600)
    cleared = sizes(page)
    draw_with_the_mouse(page, SEVEN)
    wait_for(page, "7")
    page.wait_for_timeout(600)

    assert before == cleared == sizes(page)


def test_a_finger_draws_and_does_not_scroll(panel):
    page = panel(**PHONE)
    page.get_by_role("button", name="Clear").tap()
    page.locator(".draw-canvas").scroll_into_view_if_needed()
    client = page.context.new_cdp_session(page)

    def touch(kind, *points):
        places = [dict(zip("xy", at(page, point), strict=True)) for point in points]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    touch("touchStart", SEVEN[0])
    for (x, y), (next_x, next_y) in zip(SEVEN, SEVEN[1:], strict=False):
        for step in (0.25, 0.5, 0.75, 1):
            touch("touchMove", (x + step * (next_x - x), y + step * (next_y - y)))
    touch("touchEnd")

    wait_for(page, "7")
    assert page.evaluate("document.documentElement.scrollWidth") <= 380


def test_the_keyboard_alone_draws(panel):
    page = panel()
    wait_for(page, "3")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Clear":
            break
    page.keyboard.press("Enter")
    wait_for(page, "–")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.className") == "draw-canvas"
    assert page.locator(".draw-sheet svg").is_visible()
    state = page.locator(".draw-pen-state")

    def press(key, times=1):
        for _ in range(times):
            page.keyboard.press(key)

    press("ArrowUp", 10)
    press("ArrowLeft", 6)
    assert state.text_content() == "Pen up"
    press(" ")
    assert state.text_content() == "Pen down"
    press("ArrowRight", 12)
    for _ in range(7):
        press("ArrowDown", 3)
        press("ArrowLeft")
    press(" ")
    assert state.text_content() == "Pen up"
    wait_for(page, "7")
    press(" ")
    press("Tab")
    assert state.text_content() == "Pen up"


def test_feature_maps_of_any_layer_of_any_network(panel, networks):
    page = panel()
    wait_for(page, "3")
    caption, maps = page.locator(".draw-figure figcaption"), page.locator(".draw-maps canvas")
    assert re.fullmatch(
        r"T5, block1.0, conv2d: 16 maps of 26×26, from [−.\d]+ \(black\) to [.\d]+ \(white\)", caption.text_content()
    )
    for row, network in enumerate(networks):
        page.get_by_label("Network", exact=True).select_option(index=row)
        for index, step in enumerate(network["data"]["steps"]):
            page.get_by_label("Layer", exact=True).select_option(index=index)
            assert caption.text_content().startswith(f"{network['name']}, {step['name']}")
            assert maps.count() == step["shape"][0]
            assert [maps.first.get_attribute("height"), maps.first.get_attribute("width")] == [
                str(side) for side in [*step["shape"], 1, 1][1:3]
            ]
    page.get_by_role("button", name="Clear").click()
    wait_for(page, "–")
    assert caption.text_content() == "T5, log_softmax: 10 values, nothing to show"


def test_the_maps_show_the_values(panel):
    """The image is the layer whose greys are known: those of the picture beside it."""
    page = panel()
    wait_for(page, "3")
    page.get_by_label("Layer", exact=True).select_option(index=0)

    seen, shown = page.evaluate(GREYS, ".draw-seen"), page.evaluate(GREYS, ".draw-maps canvas")
    assert max(seen) == 255
    assert max(abs(a - b) for a, b in zip(seen, shown, strict=True)) <= 1
