"""The JavaScript makes the same picture of a drawing as `digit_image`, and refuses it in the same words."""

import base64
import io
import re

import numpy as np
import pytest
from images.drawings import curves, ink_mask, ring
from PIL import Image, ImageDraw, ImageOps

from mnist_s7.images import ImageError, digit_image, preprocessing
from mnist_s7.page.bundle import FOLDER

DRAWN = """async (png) => {
  const image = new Image();
  image.src = "data:image/png;base64," + png;
  await image.decode();
  const canvas = Object.assign(document.createElement("canvas"), { width: image.width, height: image.height });
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, image.width, image.height);
  const greys = Uint8Array.from({ length: data.length / 4 }, (_, index) => data[4 * index]);
  const before = performance.now();
  const { picture, reason } = preprocessing.digitImage(greys, image.width, image.height);
  return { picture: picture && Array.from(picture), reason, time: performance.now() - before };
}"""
STROKES = """(strokes) => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 320, height: 320 });
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, 320, 320);
  context.lineWidth = 22;
  context.lineCap = context.lineJoin = "round";
  for (const points of strokes) {
    context.beginPath();
    for (const [x, y] of points) context.lineTo(x, y);
    context.stroke();
  }
  return canvas.toDataURL().split(",")[1];
}"""
"""The test page allows no pictures from anywhere, but for those of these tests."""


@pytest.fixture
def page(open_page):
    return open_page(None, "window.preprocessing = preprocessing;", "grids", "preprocessing", bypass_csp=True)


def in_python(picture: Image.Image) -> np.ndarray | str:
    try:
        return digit_image(picture).numpy()
    except ImageError as error:
        return str(error)


def in_javascript(page, picture: Image.Image) -> np.ndarray | str:
    file = io.BytesIO()
    picture.save(file, "PNG")
    found = page.evaluate(DRAWN, base64.b64encode(file.getvalue()).decode())
    return found.get("reason") or np.array(found["picture"], np.uint8).reshape(28, 28)


def drawings() -> list[Image.Image]:
    """Digits of any size, place, stroke width and polarity."""
    random = np.random.default_rng(0)
    found = []
    for index in range(40):
        side = int(random.integers(60, 440))
        height = side * random.uniform(0.35, 0.8)
        centre = np.array([side, side * random.uniform(0.8, 1)]) / 2 + random.uniform(-0.08, 0.08, 2) * side
        width = height * random.uniform(0.02, 0.25)
        mask = ink_mask((side, round(2 * centre[1])), curves(index % 10, random), height, width, centre)
        found.append(mask if random.random() < 0.3 else ImageOps.invert(mask))
    return found


def strokes() -> list[list[np.ndarray]]:
    random = np.random.default_rng(1)
    return [
        [(160 + random.uniform(80, 260) * line).tolist() for line in curves(index % 10, random)] for index in range(20)
    ]


def test_a_drawing_becomes_the_same_picture(page):
    in_canvas = [Image.open(io.BytesIO(base64.b64decode(page.evaluate(STROKES, drawn)))) for drawn in strokes()]
    pictures = [*drawings(), *in_canvas]
    furthest = 0
    for picture in pictures:
        expected, found = in_python(picture), in_javascript(page, picture)
        if isinstance(expected, str):
            assert found == expected
            continue
        assert not isinstance(found, str), found
        furthest = max(furthest, np.abs(found.astype(int) - expected).max())
    print(f"\n{len(pictures)} drawings, at most {furthest} of 255 apart")
    assert furthest <= 1


def test_a_symmetric_drawing_is_shifted_to_the_same_side(page):
    for width, height in [(60, 100), (69, 135), (78, 128), (96, 135), (114, 114), (141, 107), (159, 156)]:
        for pen in (9, 14, 20):
            picture = ring(width, height, pen)
            expected, found = in_python(picture), in_javascript(page, picture)
            assert np.abs(found.astype(int) - expected).max() <= 1, (width, height, pen)


def shapes() -> dict[str, Image.Image]:
    """Drawings that are not one digit, and some that are though they have several parts or touch the border."""
    random = np.random.default_rng(2)
    found = {"blank": Image.new("L", (320, 320), 255)}

    def draw(name):
        found[name] = Image.new("L", (320, 320), 255)
        return ImageDraw.Draw(found[name])

    draw("a speck").ellipse((100, 100, 106, 106), fill=0)
    draw("a pale line").line((100, 60, 110, 250), fill=240, width=20)
    draw("a blot").ellipse((60, 60, 200, 220), fill=0)
    draw("ink all over").rectangle((20, 20, 299, 260), fill=0)
    draw("a wide line").line((40, 150, 280, 160), fill=0, width=20)
    ones = draw("two ones")
    ones.line((80, 60, 80, 250), fill=0, width=20)
    ones.line((220, 60, 220, 250), fill=0, width=20)
    five = draw("a five in two parts")
    five.line([(120, 60), (110, 150), (180, 160), (190, 230), (100, 250)], fill=0, width=20)
    five.line([(140, 50), (210, 50)], fill=0, width=20)
    dots = draw("dots all over")
    for x, y in random.uniform(5, 300, (60, 2)):
        dots.ellipse((x, y, x + 14, y + 14), fill=0)
    grid = draw("a grid")
    for place in range(40, 281, 40):
        grid.line((place, 40, place, 280), fill=0, width=8)
        grid.line((40, place, 280, place), fill=0, width=8)
    edge = draw("a line to the border")
    edge.line((160, 0, 150, 319), fill=0, width=20)
    dirty = draw("a digit and dirt")
    dirty.line([(130, 80), (155, 60), (160, 250)], fill=0, width=20)
    dirty.ellipse((20, 20, 28, 28), fill=0)
    draw("a small one").line([(98, 103), (102, 100), (102, 115)], fill=0, width=3)
    draw("repeated pixels").polygon([(144, 64), (175, 64), (175, 255), (159, 255), (159, 79), (144, 79)], fill=0)
    return found


@pytest.mark.parametrize("name", shapes())
def test_what_is_no_digit_is_refused_in_the_same_words(page, name):
    picture = shapes()[name]
    expected, found = in_python(picture), in_javascript(page, picture)

    if isinstance(expected, str):
        assert found == expected
    else:
        assert not isinstance(found, str), found
        assert np.abs(found.astype(int) - expected).max() <= 1


def test_the_constants_are_those_of_python():
    source = (FOLDER / "js" / "preprocessing.js").read_text(encoding="utf-8")
    constants = re.findall(r"^const ([A-Z_]+) = ([\d.]+);$", source, re.M)

    assert len(constants) == 22
    assert all(float(value) == getattr(preprocessing, name) for name, value in constants)


def test_the_time_of_one_drawing(page):
    picture = ImageOps.invert(ink_mask((320, 320), curves(3, np.random.default_rng(0)), 220, 22, (160, 160)))
    file = io.BytesIO()
    picture.save(file, "PNG")
    times = [page.evaluate(DRAWN, base64.b64encode(file.getvalue()).decode())["time"] for _ in range(40)][10:]

    print(f"\na drawing of 320x320: {np.median(times):.1f} ms")
    assert np.median(times) < 300
