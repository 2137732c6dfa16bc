"""The panel "Receptive fields", used as a reader uses it: with the mouse, a finger and the keyboard."""

import re

import pytest
import torch

from mnist_s7 import SERIES, pretrained, receptive_field
from mnist_s7.page import digit_data, field_data, network_data
from mnist_s7.receptive_field import effective_receptive_field
from mnist_s7.transforms import normalize

MODULES = (
    *("dom", "network", "maps", "gradient", "effective", "picture", "heatmaps", "units", "fieldtable", "fields"),
)
MOUNT = """
const { networks, digits } = JSON.parse(document.getElementById("data").textContent);
fields.mountFields(document.getElementById("fields"), { networks, digits, title: "Receptive fields" });
"""
COLOURS = """(canvas) => { // of a copy, since a browser warns of many readings of one canvas
  const context = new OffscreenCanvas(28, 28).getContext("2d");
  context.drawImage(canvas, 0, 0);
  return [...context.getImageData(0, 0, 28, 28).data];
}"""
PHONE = {"viewport": {"width": 380, "height": 800}, "has_touch": True, "is_mobile": True}
# Moves the unit one step at a time, and takes the time from each key until the heat maps are there.
MOVES_MS = """async () => {
  const grid = document.querySelector(".fields-grid");
  const times = [];
  for (const key of ["ArrowUp", "ArrowLeft", "ArrowDown", "ArrowRight", "ArrowDown", "ArrowRight", "ArrowUp"]) {
    const before = performance.now();
    grid.dispatchEvent(new KeyboardEvent("keydown", { key }));
    await new Promise((ready) => requestAnimationFrame(ready));
    times.push(performance.now() - before);
  }
  return Math.min(...times); // the others wait for what else the computer does
}"""


@pytest.fixture(scope="module")
def untrained():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return {experiment.name: experiment.untrained() for experiment in SERIES}


@pytest.fixture(scope="module")
def data(mnist, untrained):
    networks = []
    for name, before in untrained.items():
        model = pretrained(name)
        networks.append({"name": name, "data": network_data(model), "fields": field_data(model, before)})
    return {"networks": networks, "digits": digit_data(mnist)}


@pytest.fixture
def panel(open_page, data):
    def mounted(**settings):
        page = open_page(data, MOUNT, *MODULES, **settings)
        sentence(page, "T1, block2.6, unit (2, 2) of 5×5")
        return page

    return mounted


def select(page, **choices):
    for name, label in choices.items():
        page.get_by_label(name.capitalize(), exact=True).select_option(label)


def sentence(page, beginning: str) -> str:
    """What is said, once it begins so."""
    page.wait_for_function(
        "(beginning) => document.querySelector('.fields-sentence')?.textContent.startsWith(beginning)",
        arg=beginning,
        timeout=20000,
    )
    return page.locator(".fields-sentence").text_content()


def marked(page) -> list[list[float]]:
    """The boxes in the three pictures, x, y, width and height in pixels."""
    names = ("x", "y", "width", "height")
    return [
        [float(box.get_attribute(name)) for name in names] for box in page.locator(".fields-picture .fields-rect").all()
    ]


def test_it_starts_with_the_last_convolution_and_says_what_it_sees(panel, mnist, untrained):
    page = panel()

    said = sentence(page, "T1")
    pixels = normalize(torch.stack([mnist.test_images[mnist.test_labels == digit][0] for digit in range(10)])[:, None])
    before, after = (effective_receptive_field(model, pixels) for model in (untrained["T1"], pretrained("T1")))
    assert (after.layer, after.unit) == ("block2.6", (2, 2))
    assert said == (
        "T1, block2.6, unit (2, 2) of 5×5: sees rows 4–23, columns 4–23, 20×20 pixels; 95 % of the gradient lies "
        f"within {after.radius:.1f} pixels of the gradient’s centre (before training: {before.radius:.1f}). "
        "The fields of neighbouring units are 2 pixels apart (effective stride)."
    )
    assert page.locator(".fields-sentence").get_attribute("aria-live") == "polite"
    assert marked(page) == [[4, 4, 20, 20]] * 3
    dot = page.locator(".fields-over .fields-circle")
    assert [dot.get_attribute(name) for name in ("cx", "cy")] == ["14", "14"]
    for index, (when, field) in enumerate([("Before", before), ("After", after)]):
        caption = f"{when} training: 95 % within a radius of {field.radius:.1f} pixels"
        assert page.locator(".fields-figures figcaption").nth(1 + index).text_content() == caption
        assert page.get_by_role("img", name=f"Heat map. {caption}").count() == 1
        circle = page.locator(".fields-picture .fields-circle").nth(1 + index)
        found = [float(circle.get_attribute(name)) for name in ("cy", "cx", "r")]
        assert found == pytest.approx([*(place + 0.5 for place in field.centre), field.radius], abs=0.05)


def test_the_lightest_pixel_has_most_of_the_gradient(panel, mnist):
    """And on this digit alone the map is another one."""
    page = panel()
    select(page, network="T3")
    sentence(page, "T3")
    shown = page.locator(".fields-picture canvas").nth(2)

    def lightest():
        return torch.tensor(shown.evaluate(COLOURS)).view(784, 4).sum(1).argmax()

    images = [mnist.test_images[mnist.test_labels == digit][0] for digit in range(10)]
    for choice, taken in [("mean over 10 digits", images), ("on this digit alone", [images[3]])]:
        select(page, gradient=choice)
        page.wait_for_timeout(500)
        fields = effective_receptive_field(pretrained("T3"), normalize(torch.stack(taken)[:, None]))
        assert lightest() == fields.map.argmax()
    select(page, digit="7")
    page.wait_for_timeout(500)
    fields = effective_receptive_field(pretrained("T3"), normalize(images[7][None, None]))
    assert lightest() == fields.map.argmax()
    assert page.get_by_role("img", name="A handwritten 7").count() == 1


def test_every_layer_of_every_network_shows_its_box(panel, data):
    page = panel()
    for network in data["networks"]:
        select(page, network=network["name"])
        table = receptive_field(pretrained(network["name"]))
        options = page.get_by_label("Layer", exact=True).locator("option").all_text_contents()
        steps = [step for step in network["data"]["steps"][1:] if len(step["shape"]) == 3]
        assert [option.split(",")[0].split(":")[0] for option in options] == [step["name"] for step in steps]
        for index, step in enumerate(steps):
            page.get_by_label("Layer", exact=True).select_option(index=index)
            label = page.locator(".fields-grid").get_attribute("aria-label")
            unit = tuple(map(int, re.search(r"row (\d+), column (\d+)", label).groups()))
            assert label.endswith(f" of {step['shape'][1]}×{step['shape'][2]}")
            if step["kind"] in ("conv2d", "maxpool2d", "average"):
                rows, columns = table.box(step["name"], unit).clipped
                size = (columns[1] - columns[0] + 1, rows[1] - rows[0] + 1)
                assert marked(page)[0] == [columns[0], rows[0], *size]
    said = sentence(page, "T5, head.0")
    assert "(0, 0) of 1×1: sees rows 0–27, columns 0–27, the part in the image of a field of 51×51 pixels;" in said
    assert "neighbouring" not in said


def test_the_mouse_moves_the_unit(panel):
    page = panel()
    select(page, layer="block1.7, maxpool2d: 8×8")  # 11x11 units, 2 pixels apart, the first in the middle of 3.5
    digit, grid = page.locator(".fields-over"), page.locator(".fields-grid")

    def point(element, x, y, press=False):
        element.scroll_into_view_if_needed()
        box = element.bounding_box()
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        if press:
            page.mouse.down()

    sentence(page, "T1, block1.7, unit (5, 5)")
    point(digit, 0.2, 0.2)  # which alone does nothing
    page.wait_for_timeout(600)
    sentence(page, "T1, block1.7, unit (5, 5)")
    point(digit, (3.5 + 2 * 3 + 0.5) / 28, (3.5 + 2 * 7 + 0.5) / 28, press=True)
    sentence(page, "T1, block1.7, unit (7, 3) of 11×11: sees rows 14–21, columns 6–13, 8×8 pixels;")
    point(digit, 1.5, -1)  # outside, still pressed
    sentence(page, "T1, block1.7, unit (0, 10) of 11×11: sees rows 0–7, columns 20–27")
    page.mouse.up()
    point(digit, 0.5, 0.5)
    page.wait_for_timeout(600)
    sentence(page, "T1, block1.7, unit (0, 10)")
    point(grid, 2.5 / 11, 9.5 / 11, press=True)
    page.mouse.up()
    sentence(page, "T1, block1.7, unit (9, 2)")
    assert page.locator(".fields-chosen").get_attribute("x") == "2"
    assert page.locator(".fields-chosen").get_attribute("y") == "9"
    assert page.locator(".fields-grid svg").get_attribute("viewBox") == "0 0 11 11"


def test_the_unit_stays_where_it_is_in_the_image(panel):
    page = panel()
    select(page, layer="block1.0, conv2d: 3×3")
    page.locator(".fields-grid").focus()
    for _ in range(30):
        page.keyboard.press("ArrowUp")
    sentence(page, "T1, block1.0, unit (0, 13)")
    select(page, layer="block2.0, conv2d: 12×12")
    sentence(page, "T1, block2.0, unit (0, 4)")
    select(page, network="T4")
    sentence(page, "T4, block3.10, unit (1, 3)")


def test_the_keyboard_alone_reaches_all(panel):
    page = panel()
    reached = []
    for _ in range(7):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.className || 'summary'"))
    selects = ["fields-network", "fields-layer", "fields-digit", "fields-average"]
    assert reached == [*selects, "fields-over", "fields-grid", "summary"]
    page.keyboard.press("Enter")
    assert page.get_by_role("table").is_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    for key in ("ArrowDown", "ArrowDown", "ArrowLeft"):
        page.keyboard.press(key)
    sentence(page, "T1, block2.6, unit (4, 1)")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Control+ArrowRight")  # the browser's
    page.keyboard.press("x")
    sentence(page, "T1, block2.6, unit (3, 2)")
    label = page.locator(".fields-over").get_attribute("aria-label")
    assert label == "Unit over the digit: row 3, column 2 of 5×5"


def test_a_finger_moves_the_unit_on_a_small_screen(panel):
    page = panel(**PHONE)
    digit = page.locator(".fields-over")
    digit.scroll_into_view_if_needed()
    scrolled = page.evaluate("scrollY")
    client = page.context.new_cdp_session(page)
    box = digit.bounding_box()
    for kind, y in [("touchStart", 0.5), ("touchMove", 0.3), ("touchMove", 0.05), ("touchEnd", None)]:
        points = [] if y is None else [{"x": box["x"] + box["width"] / 2, "y": box["y"] + y * box["height"]}]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    sentence(page, "T1, block2.6, unit (0, 2)")
    assert page.evaluate("scrollY") == scrolled
    page.locator("summary").tap()
    for network in ("T2", "T3", "T4", "T5"):
        select(page, network=network)
        assert page.evaluate("document.documentElement.scrollWidth") <= 380


@pytest.mark.parametrize("width", [1200, 760, 380])
def test_nothing_moves_when_values_change(panel, width):
    page = panel(viewport={"width": width, "height": 900})

    def sizes():
        return page.evaluate(
            "[...document.querySelectorAll('.fields *')]"
            ".filter((element) => !element.closest('svg, span, option, details > :not(summary)'))"
            ".map((element) => { const box = element.getBoundingClientRect();"
            " return [element.tagName, element.className, box.x, box.y + scrollY, box.width, box.height]; })"
        )

    before = sizes()
    select(page, network="T4", gradient="on this digit alone", digit="8")
    for layer in ("block3.6.branch.0, conv2d: 32×32", "block1.0, conv2d: 3×3", "head.0, conv2d: 60×60"):
        select(page, layer=layer)
        sentence(page, f"T4, {layer.split(',')[0]}")
        assert sizes() == before


def test_the_table_has_all_layers(panel):
    page = panel()
    page.locator("summary").click()
    for experiment in SERIES:
        select(page, network=experiment.name)
        rows = receptive_field(pretrained(experiment.name)).to_dicts()
        cells = page.locator("tbody td").all_text_contents()
        assert page.locator("tbody th").all_text_contents() == [row["layer"] for row in rows]
        assert cells == [
            text
            for row in rows
            for text in (
                f"{row['k']}×{row['k']}",
                f"{row['s']}",
                f"{row['r_out']}×{row['r_out']}",
                f"{row['j_out']}",
                f"{row['start']}",
            )
        ]
    assert page.locator("caption").text_content() == "Receptive fields of T5"
    assert page.locator("[aria-current=true] th").text_content() == "block3.3"


def test_moving_the_unit_is_quick(panel):
    page = panel()
    for network in ("T1", "T2", "T3", "T4", "T5"):
        select(page, network=network)
        sentence(page, network)
        time = page.evaluate(MOVES_MS)
        print(f"\n{network}: {time:.0f} ms from a key to the two heat maps of ten digits")
        assert time < 400


def test_a_unit_without_a_gradient_says_so(open_page, mnist):
    """Of a ReLU that no digit gets through; and one that sees padding alone."""
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 10, 3, padding=3),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.LogSoftmax(1),
    ).eval()
    torch.nn.init.constant_(model[0].weight, 0)
    torch.nn.init.constant_(model[0].bias, -1)
    network = {"name": "silent", "data": network_data(model), "fields": field_data(model, model)}
    page = open_page({"networks": [network], "digits": digit_data(mnist)}, MOUNT, *MODULES)

    select(page, layer="1, relu: 3×3")
    said = sentence(page, "silent, 1, unit (16, 16) of 32×32: sees")
    assert "the unit has no gradient here (before training: none)." in said
    assert page.locator(".fields-figures figcaption").nth(2).text_content() == "After training: no gradient"
    page.locator(".fields-grid").focus()
    for _ in range(16):
        page.keyboard.press("ArrowUp")
    sentence(page, "silent, 1, unit (0, 16) of 32×32: sees padding alone;")
    assert marked(page)[0][3] == 0


def test_colours_get_lighter_and_lighter(open_page):
    """So that who cannot tell hues apart can read them: relative luminance as WCAG 2.2 defines it."""
    page = open_page(None, "window.COLOURS = picture.COLOURS;", "dom", "picture")

    def luminance(colour):
        linear = [part / 255 / 12.92 if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in colour]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    found = [luminance(colour) for colour in page.evaluate("COLOURS")]
    ratios = [(lighter + 0.05) / (darker + 0.05) for darker, lighter in zip(found, found[1:], strict=False)]
    assert min(ratios) > 1.5
