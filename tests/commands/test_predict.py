"""Pictures classified, as a user does it."""

import io
import json
import sys
from types import SimpleNamespace

import pytest
from PIL import Image, ImageDraw

from mnist_s7.commands import predict


def seven(size=200):
    """A 7 in black ink on white paper."""
    image = Image.new("RGB", (size, size), "white")
    line = [(0.3 * size, 0.2 * size), (0.7 * size, 0.2 * size), (0.45 * size, 0.8 * size)]
    ImageDraw.Draw(image).line(line, fill="black", width=size // 14, joint="curve")
    return image


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """A folder with a 7, a blank page and a file that is no picture."""
    monkeypatch.setattr(predict, "FIGURE", tmp_path / "figures" / "predict.png")
    folder = tmp_path / "pictures"
    folder.mkdir()
    seven().save(folder / "2.png")
    seven(400).save(folder / "10.jpg")
    return folder


def test_a_line_for_each_picture(mnist_s7, pictures):
    code, output, errors = mnist_s7("predict", pictures)

    assert (code, errors) == (0, "")
    first, second = output.splitlines()
    assert first.startswith(f"{pictures / '2.png'}: 7 (")
    assert second.startswith(f"{pictures / '10.jpg'}: 7 (")
    assert first.endswith(" %)") and ", then " in first


def test_what_cannot_be_classified_does_not_stop_the_others(mnist_s7, pictures):
    blank, text = pictures / "blank.png", pictures / "text.txt"
    Image.new("L", (100, 100), 250).save(blank)
    text.write_text("no picture")
    missing = pictures / "missing.png"

    code, output, errors = mnist_s7("predict", blank, text, missing, pictures / "2.png")

    assert code == 1
    assert output.startswith(f"{pictures / '2.png'}: 7 (")
    lines = errors.splitlines()
    assert [line.partition(": ")[2].partition(": ")[0] for line in lines] == [str(blank), str(text), str(missing)]
    assert all(line.startswith("mnist-s7 predict: ") for line in lines)


def test_several_networks_answer_beside_each_other(mnist_s7, pictures):
    code, output, _ = mnist_s7("predict", pictures / "2.png", "--model", "T1", "--model", "T3")

    assert code == 0
    assert [line.partition(": ")[0] for line in output.splitlines()] == [
        f"{pictures / '2.png'}, T1",
        f"{pictures / '2.png'}, T3",
    ]


def test_json_has_an_object_for_each(mnist_s7, pictures):
    code, output, errors = mnist_s7("predict", pictures / "2.png", pictures / "missing.png", "--json")

    assert (code, errors) == (1, "")
    found, failed = map(json.loads, output.splitlines())
    assert (found["file"], found["network"], found["digit"]) == (str(pictures / "2.png"), "T5", 7)
    assert found["probability"] == max(found["probabilities"]) == found["probabilities"][7]
    assert found["runner_up_probability"] == found["probabilities"][found["runner_up"]]
    assert sum(found["probabilities"]) == pytest.approx(1)
    assert failed == {
        "file": str(pictures / "missing.png"),
        "error": f"{pictures / 'missing.png'}: there is no such file; check the path",
    }


@pytest.mark.parametrize(("picture", "expected"), [(seven(), 0), (None, 1)])
def test_standard_input_is_a_picture(mnist_s7, monkeypatch, picture, expected):
    content = io.BytesIO()
    if picture:
        picture.save(content, "PNG")
        content.seek(0)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=content))

    code, output, errors = mnist_s7("predict", "-")

    assert code == expected
    if picture:
        assert output.startswith("-: 7 (")
    else:
        assert "nothing in it; give a picture" in errors


def test_what_the_network_saw_is_drawn(mnist_s7, pictures):
    code, output, errors = mnist_s7("predict", pictures, "--show")

    assert code == 0
    assert f"drawn as {predict.FIGURE}" in errors
    assert len(output.splitlines()) == 2  # for another program, still a line for each picture
    with Image.open(predict.FIGURE) as image:
        assert image.width > 600


def test_a_network_of_ones_own_classifies_too(mnist_s7, on_few_digits, pictures, tmp_path):
    mnist_s7("train", "T1", "--epochs", 1, "--device", "cpu", "--output", tmp_path)
    weights = tmp_path / "T1-seed1-few-digits.json"

    code, output, _ = mnist_s7("predict", pictures / "2.png", "--weights", weights)

    assert code == 0
    assert output.startswith(f"{pictures / '2.png'}: ")


def test_an_empty_folder_is_told(mnist_s7, tmp_path):
    (tmp_path / "empty").mkdir()

    code, output, errors = mnist_s7("predict", tmp_path / "empty")

    assert (code, output) == (1, "")
    assert errors.startswith(f"mnist-s7 predict: {tmp_path / 'empty'}: no picture in this folder")


def test_a_variant_by_its_settings_is_used_by_its_weights(mnist_s7, on_few_digits, pictures, tmp_path):
    mnist_s7("train", "T1", "--set", "lr=0.02", "epochs=1", "--device", "cpu", "--output", tmp_path)
    weights = tmp_path / "T1-lr=0.02-epochs=1-seed1-few-digits.json"

    for model in ([], ["--model", "T1"]):
        code, output, errors = mnist_s7("predict", pictures / "2.png", "--weights", weights, *model)
        assert (code, errors) == (0, "")
        assert output.startswith(f"{pictures / '2.png'}: ")


def test_networks_of_one_name_are_told_apart_by_their_files(mnist_s7, on_few_digits, pictures, tmp_path):
    weights = [tmp_path / folder / "T1-seed1-few-digits.safetensors" for folder in ("a", "b")]
    for each in weights:
        mnist_s7("train", "T1", "--epochs", 1, "--device", "cpu", "--output", each.parent)

    code, output, _ = mnist_s7(
        "predict", pictures / "2.png", *(part for each in weights for part in ("--weights", each))
    )

    assert code == 0
    assert [line.partition(": ")[0] for line in output.splitlines()] == [f"{pictures / '2.png'}, {w}" for w in weights]


@pytest.mark.parametrize(
    ("name", "message"), [("", "a name of no letters"), ("x" * 300, "too long"), ("https://x.org/7.png", "not fetched")]
)
def test_names_that_are_no_files_are_told(mnist_s7, name, message):
    code, output, errors = mnist_s7("predict", name)

    assert (code, output) == (1, "")
    assert message in errors


def test_a_file_named_like_standard_input_is_a_file(mnist_s7, pictures, monkeypatch):
    monkeypatch.chdir(pictures)
    seven().save("-", "PNG")

    code, output, _ = mnist_s7("predict", "./-")

    assert code == 0
    assert output.startswith("-: 7 (")
