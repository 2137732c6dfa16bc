"""One digit in a picture: where it is, what it is written with, and what is no digit."""

import numpy as np
import pytest
import torch
from drawings import INKS, PAPERS, curves, drawing, ink_mask, many, photo
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

from mnist_s7.images import ImageError, NoDigit, SeveralDigits, digit_image
from mnist_s7.images.preprocessing import BOX, HOLES, THICKEST, THIN, USUAL, WIDEST, _box, _centred, _stroke_width


def mask_of(digit: int, side=200, height=130.0, width=14.0, centre=None, seed=3) -> Image.Image:
    """White ink on black paper."""
    lines = curves(digit, np.random.default_rng(seed))
    return ink_mask((side, side), lines, height, width, centre or (side / 2, side / 2))


def coloured(mask: Image.Image, ink, paper) -> Image.Image:
    return Image.composite(Image.new("RGB", mask.size, ink), Image.new("RGB", mask.size, paper), mask)


def difference(a, b) -> float:
    """The mean difference of 28x28 images, in grey levels."""
    return (digit_image(a).float() - digit_image(b).float()).abs().mean().item()


def test_test_images_stay_as_they_are(mnist):
    """Most of them up to 3 grey levels."""
    changes = []
    for image in mnist.test_images[:500]:
        try:
            changes.append((digit_image(image).int() - image.int()).abs().max().item())
        except ImageError:
            changes.append(255)

    assert np.mean(np.array(changes) <= 3) > 0.94
    assert np.mean(np.array(changes) == 255) <= 0.01


@pytest.mark.parametrize("digit", range(10))
def test_the_box_and_the_centre_are_those_of_mnist(digit):
    found = digit_image(mask_of(digit)).numpy()

    assert max(_box(found > 0)[1]) == BOX
    assert all(13 <= middle < 15 for middle in ndimage.center_of_mass(found))
    assert found.max() == 255


@pytest.mark.parametrize("seed", range(10))
def test_half_a_pixel_is_rounded_to_the_same_side(seed):
    """The centre of 20 symmetric pixels is half a pixel off, give or take the rounding errors of float32."""
    random = np.random.default_rng(seed)
    quarter = random.uniform(0.1, 0.9, (10, 10))
    half = np.concatenate([quarter, quarter[::-1]])
    digit = np.concatenate([half, half[:, ::-1]], axis=1)
    digit *= 1 + 2**-24 * random.uniform(-1, 1, digit.shape)

    assert _box(_centred(digit.astype(np.float32)) > 0) == ((4, 4), (20, 20))


@pytest.mark.parametrize("digit", range(10))
def test_place_size_and_polarity_make_no_difference(digit):
    plain = mask_of(digit)

    assert difference(plain, Image.eval(plain, lambda v: 255 - v)) < 0.5
    assert difference(plain, mask_of(digit, side=400, centre=(120, 280))) < 4
    assert difference(plain, plain.resize((700, 700), Image.Resampling.BICUBIC)) < 10
    assert difference(plain, plain.resize((120, 120), Image.Resampling.BOX)) < 15


def test_pixels_that_were_repeated_count_once(mnist):
    image = mnist.train_images[0]
    enlarged = image.repeat_interleave(7, 0).repeat_interleave(7, 1)

    assert digit_image(enlarged).equal(digit_image(image))


def test_stretched_by_repeating_is_stretched(mnist):
    image = mnist.train_images[0]

    assert _box(digit_image(image.repeat_interleave(4, 0).repeat_interleave(2, 1)).numpy() > 0)[1][1] <= BOX / 2 + 1


SEEN = [
    (ink, paper)
    for ink in INKS
    for paper in [*PAPERS, (40, 160, 70), (0, 0, 0)]
    if sum(abs(a - b) for a, b in zip(ink, paper, strict=True)) >= 150
]


@pytest.mark.parametrize(("ink", "paper"), SEEN)
def test_any_ink_on_any_paper(ink, paper):
    plain = mask_of(5)

    assert difference(plain, coloured(plain, ink, paper)) < 3


def test_red_on_green_of_the_same_grey():
    plain = mask_of(2)
    picture = coloured(plain, (200, 60, 60), (60, 131, 60))
    assert np.ptp(np.asarray(picture.convert("L"))) < 5

    assert difference(plain, picture) < 3


def test_a_slope_of_light_and_specks_make_no_difference():
    plain = mask_of(3)
    ink = np.asarray(plain) / 255
    light = np.linspace(110, 250, 200)[:, None] * np.linspace(0.7, 1, 200)
    specks = Image.fromarray((light * (1 - 0.8 * ink)).astype(np.uint8))
    draw = ImageDraw.Draw(specks)
    for x, y in ((20, 30), (180, 25), (170, 185)):
        draw.ellipse((x - 1, y - 1, x + 1, y + 1), fill=20)

    assert difference(plain, specks) < 6


def test_desk_at_the_border_is_removed():
    plain = mask_of(4)
    picture = Image.eval(plain, lambda v: 240 - v * 220 // 255)
    draw = ImageDraw.Draw(picture)
    draw.polygon([(0, 0), (200, 0), (200, 8), (0, 20)], fill=70)
    draw.polygon([(0, 0), (12, 0), (5, 200), (0, 200)], fill=90)

    assert difference(plain, picture) < 3


def test_a_thin_line_is_thickened_and_a_usual_one_is_not():
    def width(pen):
        return _stroke_width(digit_image(mask_of(2, side=600, height=450, width=pen)).numpy() / 255)

    thin = 450 / BOX * THIN
    assert width(5) == pytest.approx(USUAL, rel=0.15)
    assert width(0.8 * thin) == pytest.approx(USUAL, rel=0.15)
    assert THIN < width(1.15 * thin) < 0.9 * USUAL


def test_training_images_are_what_the_constants_say(mnist):
    images = mnist.train_images[:3000].numpy()
    boxes = np.array([_box(image > 0)[1] for image in images])
    widths = np.array([_stroke_width(image / 255) for image in images])
    middles = np.array([ndimage.center_of_mass(image) for image in images])

    assert (boxes.max(axis=1) == BOX).mean() > 0.999
    assert np.mean(boxes[:, 1] > WIDEST * boxes[:, 0]) < 0.002
    assert np.quantile(widths, 0.05) == pytest.approx(THIN, abs=0.1)
    assert np.median(widths) == pytest.approx(USUAL, abs=0.1)
    assert widths.max() < THICKEST
    assert middles.min() >= 13.49 and middles.max() <= 14.51


BROKEN = {
    5: [[(60, 40), (140, 40)], [(60, 62), (60, 100), (120, 100), (130, 130), (120, 160), (60, 165)]],
    4: [[(60, 40), (55, 100), (105, 100)], [(122, 60), (122, 170)]],
}


@pytest.mark.parametrize("digit", BROKEN)
def test_a_broken_digit_is_one(digit):
    picture = Image.new("L", (200, 200), 255)
    for line in BROKEN[digit]:
        ImageDraw.Draw(picture).line(line, fill=0, width=12)

    rows, columns = _box(digit_image(picture).numpy() > 0)[1]
    assert rows == BOX and columns > BOX // 2


def test_several_digits_are_counted():
    apart = Image.new("L", (640, 200))
    for i, digit in enumerate((1, 2, 3)):
        apart.paste(mask_of(digit), (220 * i, 0))
    with pytest.raises(SeveralDigits, match="3 marks stand apart; crop the picture to one digit"):
        digit_image(apart)


def test_two_ones_are_two():
    picture = Image.new("L", (200, 200), 255)
    for x in (80, 110):
        ImageDraw.Draw(picture).line([(x, 30), (x, 170)], fill=0, width=10)
    with pytest.raises(SeveralDigits, match="2 marks"):
        digit_image(picture)


def test_a_word_is_wider_than_any_digit():
    picture = Image.new("L", (400, 150), 255)
    points = [(30 + 20 * i, 40 + 60 * (i % 2)) for i in range(17)]
    ImageDraw.Draw(picture).line(points, fill=0, width=8)
    with pytest.raises(SeveralDigits, match=r"\d times as wide as high, and digits are at most 1.7"):
        digit_image(picture)


y, x = np.mgrid[:200, :200]
noise = np.random.default_rng(1).standard_normal((200, 200))
GRID = Image.new("L", (200, 200), 255)
for i in range(40, 161, 24):
    ImageDraw.Draw(GRID).line([(40, i), (160, i)], fill=0, width=6)
    ImageDraw.Draw(GRID).line([(i, 40), (i, 160)], fill=0, width=6)

NOTHING = {
    "black": np.zeros((28, 28), np.uint8),
    "white": np.full((300, 200), 255, np.uint8),
    "one pixel": np.zeros((1, 1), np.uint8),
    "noise": (128 + 40 * noise).clip(0, 255).astype(np.uint8),
    "weak noise": (200 + 4 * noise).astype(np.uint8),
    "a gradient": (60 + 0.5 * x + 0.3 * y).astype(np.uint8),
    "hardly any contrast": np.asarray(mask_of(5)) // 20 + 200,
    "a shadow": Image.fromarray((230 - 100 * (np.hypot(x - 90, y - 110) < 50)).astype(np.uint8)).filter(
        ImageFilter.GaussianBlur(14)
    ),
    "a disc": (255 * (np.hypot(x - 100, y - 100) < 60)).astype(np.uint8),
    "a speck": (255 * (np.hypot(x - 100, y - 100) < 2)).astype(np.uint8),
    "a grid": GRID,
}


@pytest.mark.parametrize("kind", NOTHING)
def test_no_digit_is_said(kind):
    with pytest.raises(NoDigit, match="^no digit found: .*(;|$)"):
        digit_image(NOTHING[kind])


def test_blank_sheets_are_mostly_refused():
    """Photos of paper with nothing on it but sharp-edged shadows, some of which look like strokes."""
    random, refused = np.random.default_rng(77), 0
    for _ in range(20):
        try:
            digit_image(photo(None, random))
        except ImageError:
            refused += 1
    assert refused >= 15


def test_errors_name_the_file(tmp_path):
    path = tmp_path / "blank.png"
    Image.new("L", (50, 50), 255).save(path)
    with pytest.raises(NoDigit, match=f"^{path}: no digit found: "):
        digit_image(path)


def test_a_tight_crop_is_a_digit(mnist):
    for image, rows, columns in ((i, (i > 0).any(1), (i > 0).any(0)) for i in mnist.train_images[:50]):
        try:
            found = digit_image(image[rows][:, columns])
        except ImageError:
            pytest.fail("a tight crop was refused")
        assert (found.float() - image.float()).abs().mean() < 25


def test_drawings_are_images_of_digits():
    for picture, _ in many(drawing, 30, 5):
        found = digit_image(picture)
        assert found.dtype == torch.uint8 and found.shape == (28, 28)
        assert ndimage.label(found.numpy() == 0)[1] - 1 <= HOLES


@pytest.mark.parametrize("side", [100, 300, 600])
def test_noise_is_no_digit(side):
    for seed in range(3):
        with pytest.raises(NoDigit):
            digit_image(np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8))
