"""Pictures of every kind that Pillow reads or writes, and what is none."""

import io
import os

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from mnist_s7.images import ImageError, ImageUnreadable, digit_image, read_image
from mnist_s7.images.reading import PIXELS

SEVEN = np.full((90, 60), 230, np.uint8)
SEVEN[15:25, 12:48] = SEVEN[20:75, 38:48] = 20  # dark on light


def saved(image: Image.Image, form: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def difference(found, wanted=SEVEN) -> float:
    """The mean difference of two pictures' 28x28 images, in grey levels."""
    return (digit_image(found).float() - digit_image(wanted).float()).abs().mean().item()


GREY = Image.fromarray(SEVEN)
COLOUR = Image.merge("RGB", [GREY, GREY.point(lambda v: v // 2 + 60), GREY])
INK = GREY.point(lambda v: 255 if v < 128 else 0)

KINDS = {
    "PNG": saved(GREY, "PNG"),
    "colour": saved(COLOUR, "PNG"),
    "JPEG": saved(COLOUR, "JPEG", quality=80),
    "CMYK JPEG": saved(COLOUR.convert("CMYK"), "JPEG", quality=90),
    "palette": saved(COLOUR.quantize(8), "PNG"),
    "GIF": saved(GREY, "GIF", save_all=True, append_images=[Image.new("L", GREY.size)], duration=9),
    "1 bit": saved(GREY.point(lambda v: 255 * (v > 128)).convert("1"), "PNG"),
    "16 bits": saved(Image.fromarray(SEVEN.astype(np.uint16) * 200), "PNG"),
    "12 bits of 16": saved(Image.fromarray(SEVEN.astype(np.uint16) * 16), "TIFF"),
    "32 bits": saved(Image.fromarray(SEVEN.astype(np.int32) * 100_000), "TIFF"),
    "float": saved(Image.fromarray(SEVEN.astype(np.float32) / 255), "TIFF"),
    "float below 0": saved(Image.fromarray(SEVEN.astype(np.float32) - 300), "TIFF"),
    "LAB": saved(Image.merge("LAB", [GREY, Image.new("L", GREY.size, 128), Image.new("L", GREY.size, 128)]), "TIFF"),
    "BMP": saved(GREY, "BMP"),
    "WebP": saved(COLOUR, "WEBP"),
    "alpha only, black": saved(Image.merge("LA", [Image.new("L", GREY.size), INK]), "PNG"),
    "alpha only, white": saved(Image.merge("LA", [Image.new("L", GREY.size, 255), INK]), "PNG"),
    "alpha, red ink": saved(Image.merge("RGBA", [INK, *(Image.new("L", GREY.size) for _ in "GB"), INK]), "PNG"),
    "cut out of the sheet": saved(Image.merge("LA", [Image.new("L", GREY.size, 255), ImageOps.invert(INK)]), "PNG"),
    "opaque alpha": saved(COLOUR.convert("RGBA"), "PNG"),
    "transparent grey": saved(GREY.point(lambda v: 255 * (v > 128)), "PNG", transparency=255),
    "transparent palette": saved(GREY.point(lambda v: 255 * (v > 128)).convert("P"), "PNG", transparency=255),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_shows_the_same_digit(kind):
    assert difference(KINDS[kind]) < 6


def test_a_sheet_with_transparent_corners_is_a_sheet():
    mask = Image.new("L", GREY.size, 255)
    mask.paste(0, (0, 0, 9, 9))
    mask.paste(0, (50, 80, 60, 90))

    assert difference(Image.merge("LA", [GREY, mask])) == 0


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
def test_a_picture_is_held_as_it_was_taken(orientation, form):
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    large = GREY.resize((600, 900))
    turned = large.transpose(undo[orientation]) if orientation > 1 else large
    exif = Image.Exif()
    exif[0x0112] = orientation

    picture = read_image(saved(turned, form, exif=exif))

    assert picture.pixels.shape[0] > picture.pixels.shape[1]
    assert difference(picture) < 6


def test_a_path_a_file_bytes_and_an_image_are_one(tmp_path):
    path = tmp_path / "seven.png"
    path.write_bytes(KINDS["PNG"])
    with path.open("rb") as file:
        found = [read_image(s) for s in (path, str(path), file, KINDS["PNG"], io.BytesIO(KINDS["PNG"]), GREY)]
    with Image.open(path) as image:
        found.append(read_image(image))

    assert [picture.name for picture in found] == [str(path)] * 3 + [""] * 3 + [str(path)]
    assert all((picture.pixels == SEVEN[..., None]).all() for picture in found)
    assert read_image(found[0]) is found[0]


def test_standard_input_need_not_be_sought_in():
    read, write = os.pipe()
    with os.fdopen(write, "wb") as file:
        file.write(KINDS["PNG"])
    with os.fdopen(read, "rb") as file:
        assert difference(file) == 0


@pytest.mark.parametrize(
    "values",
    [
        SEVEN,
        torch.from_numpy(SEVEN),
        SEVEN / 255,
        torch.from_numpy(SEVEN).float() / 255,
        torch.from_numpy(SEVEN).bfloat16() / 255,
        SEVEN > 128,
        np.stack([SEVEN] * 3, axis=2),
        np.dstack([SEVEN] * 3 + [np.full_like(SEVEN, 255)]),
        SEVEN[:, ::-1][:, ::-1],
    ],
    ids=["array", "tensor", "floats", "float32 tensor", "bfloat16", "bool", "RGB", "RGBA", "strides"],
)
def test_arrays_and_tensors(values):
    assert difference(values) < 3


def test_large_pictures_are_reduced(tmp_path):
    big = Image.fromarray(SEVEN).resize((6000, 9000))
    big.save(tmp_path / "big.jpg", quality=50)

    picture = read_image(tmp_path / "big.jpg")

    assert picture.pixels.shape[0] * picture.pixels.shape[1] < 1.05 * PIXELS
    assert difference(picture) < 6


UNREADABLE = {
    "not there": ("missing.png", None, "no such file; check"),
    "empty": ("empty.png", b"", "empty"),
    "text": ("notes.png", b"7, more or less", "save it as PNG or JPEG"),
    "cut off": ("half.png", saved(COLOUR.resize((300, 300)), "PNG")[:500], "cut off"),
    "JPEG cut off": ("half.jpg", saved(COLOUR.resize((300, 300)), "JPEG")[:1500], "cut off"),
    "a PNG's beginning": ("begin.png", KINDS["PNG"][:20], "save"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_is_no_picture_is_named(tmp_path, kind):
    name, content, words = UNREADABLE[kind]
    if content is not None:
        (tmp_path / name).write_bytes(content)

    with pytest.raises(ImageUnreadable, match=words) as raised:
        read_image(tmp_path / name)
    assert str(raised.value).startswith(f"{tmp_path / name}: ")
    assert "object at" not in str(raised.value)


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_an_error_or_are_read(kind):
    """And nothing else is raised, whatever bytes are changed or missing."""
    random = np.random.default_rng(0)
    refused = 0
    for i in range(12):
        content = bytearray(KINDS[kind])
        if i % 2:
            del content[random.integers(1, len(content)) :]
        else:
            content[random.integers(len(content))] = random.integers(256)
        try:
            assert read_image(bytes(content)).pixels.ndim == 3
        except ImageUnreadable:
            refused += 1
    assert refused  # those that were cut off near their beginning


def test_the_caller_s_image_stays_as_it_is():
    image = Image.open(io.BytesIO(saved(COLOUR.resize((1200, 1800)), "JPEG")))

    read_image(image)

    assert image.size == (1200, 1800)


def test_a_folder_is_no_picture(tmp_path):
    with pytest.raises(ImageUnreadable, match=f"{tmp_path.name}: this is a folder; give a file"):
        read_image(tmp_path)


def test_reading_that_is_not_permitted(unprivileged):
    path = unprivileged / "secret.png"
    path.write_bytes(KINDS["PNG"])
    path.chmod(0)
    with pytest.raises(ImageUnreadable, match="secret.png: reading it is not permitted"):
        read_image(path)


def test_more_pixels_than_pillow_reads():
    """Neither read nor warned of, as far as Pillow goes; and above that, said."""
    with pytest.raises(ImageUnreadable, match="million pixels, the most that is read; scale it down"):
        read_image(saved(Image.new("1", (20_000, 10_000)), "PNG"))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (b"", "nothing in it"),
        (7, "found int; a path"),
        (None, "found NoneType"),
        (np.zeros((3, 28, 28), np.uint8), "is needed, found"),
        (np.zeros((0, 5), np.uint8), "is needed, found"),
        (np.zeros((28, 28), np.int64), "convert it to uint8"),
        (np.full((28, 28), 200.0), "found 200 to 200"),
        (np.full((28, 28), np.nan), "found nan"),
        (Image.fromarray(np.full((9, 9), np.inf, np.float32)), "infinite"),
        ("a\0b.png", "null"),
        ("x" * 5000, "too long"),
    ],
)
def test_other_sources_are_refused(source, words):
    with pytest.raises(ImageUnreadable, match=words):
        read_image(source)


def test_errors_have_one_base():
    assert issubclass(ImageUnreadable, ImageError)
