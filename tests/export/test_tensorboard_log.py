"""Logs for TensorBoard, read back with its own reader."""

import dataclasses
import io
import time

import pytest
from PIL import Image

from mnist_s7 import T3, ExtraMissing, InvalidArgument, OutputError, Run, fit
from mnist_s7.export import TensorBoardLines, write_tensorboard
from mnist_s7.results import PUBLISHED

pytest.importorskip("tensorboard")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: E402

TAGS = {
    "accuracy/train": "train_accuracy",
    "accuracy/test": "test_accuracy",
    "loss/train": "train_loss",
    "loss/test": "test_loss",
    "epoch/learning_rate": "lr",
    "epoch/seconds": "seconds",
}


@pytest.fixture
def run() -> Run:
    return Run.load(PUBLISHED / "T3-seed1.json")


def read(folder):
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    found.Reload()
    return found


def check_epochs(log, epochs):
    for tag, name in TAGS.items():
        found = log.Scalars(tag)  # float32
        assert [event.value for event in found] == pytest.approx([getattr(epoch, name) for epoch in epochs], rel=1e-7)
        assert [event.step for event in found] == [epoch.epoch for epoch in epochs]


def test_every_figure_is_there_once_however_often_it_is_written(run, tmp_path):
    before = time.time()
    for _ in range(2):
        path = write_tensorboard(run, tmp_path / "logs")

    assert path == tmp_path / "logs" / "T3-seed1"
    assert len(list(path.iterdir())) == 1
    log = read(path)
    check_epochs(log, run.epochs)
    times = [event.wall_time for event in log.Scalars("loss/test")]
    steps = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
    assert steps == pytest.approx([epoch.seconds for epoch in run.epochs[1:]], abs=0.5)
    assert before <= times[-1] <= time.time()
    text = log.Tensors("run/text_summary")[0].tensor_proto.string_val[0].decode()
    assert T3.recipe in text and "| seed | 1 |" in text and f"{run.final.test_accuracy:.2f} %" in text
    assert not log.Tags()["images"]


def test_the_recipe_of_another_run_of_that_name_is_not_told(run, tmp_path):
    log = read(write_tensorboard(dataclasses.replace(run, fingerprint="another"), tmp_path))
    assert T3.recipe not in log.Tensors("run/text_summary")[0].tensor_proto.string_val[0].decode()


def test_the_errors_are_drawn_with_the_digits(run, mnist, tmp_path):
    log = read(write_tensorboard(run, tmp_path, mnist))

    assert set(log.Tags()["images"]) == {"errors/confusion_matrix", "errors/images"}
    for tag in log.Tags()["images"]:
        [event] = log.Images(tag)
        picture = Image.open(io.BytesIO(event.encoded_image_string))
        assert event.step == run.final.epoch
        assert min(picture.size) > 300 and len(picture.convert("L").getcolors()) > 50


def test_other_digits_than_the_runs_are_refused(run, mnist, few_digits, tmp_path):
    others = (
        few_digits,
        dataclasses.replace(mnist, test_labels=mnist.test_labels.flip(0)),
        dataclasses.replace(mnist, test_images=mnist.test_images[:5000], test_labels=mnist.test_labels[:5000]),
    )
    for digits in others:
        with pytest.raises(InvalidArgument, match="not those that T3-seed1 was tested on"):
            write_tensorboard(run, tmp_path, digits)
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_errors_is_drawn(run, few_digits, tmp_path):
    perfect = dataclasses.replace(run.epochs[0], test_accuracy=100.0)
    run = dataclasses.replace(run, dataset=few_digits.name, epochs=[perfect], errors=[])

    assert "errors/images" in read(write_tensorboard(run, tmp_path, few_digits)).Tags()["images"]


def test_epochs_are_logged_while_a_run_goes_on(few_digits, tmp_path, capsys):
    folder = tmp_path / "T3"
    seen = []

    class Watched(TensorBoardLines):
        def epoch_ends(self, record, tested):
            super().epoch_ends(record, tested)
            seen.append(len(read(folder).Scalars("loss/test")))

    for _ in range(2):  # the second log takes the first one's place
        run = fit(T3, few_digits, epochs=2, device="cpu", progress=Watched("T3", 2, folder))

    assert seen == [1, 2, 1, 2]
    check_epochs(read(folder), run.epochs)
    assert capsys.readouterr().out.count("Test set: Average loss") == 4


def test_other_files_in_the_folder_stay(run, tmp_path):
    log = tmp_path / "T3-seed1"
    log.mkdir()
    (log / "notes.txt").write_text("mine")
    write_tensorboard(run, tmp_path)

    assert (log / "notes.txt").read_text() == "mine"


def test_what_is_not_installed_or_not_writable_is_told(run, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        write_tensorboard(run, tmp_path / "file")
    monkeypatch.setattr("mnist_s7.export.extras.find_spec", lambda package: None)
    for write in (lambda: write_tensorboard(run, tmp_path), lambda: TensorBoardLines("T3", 2, tmp_path)):
        with pytest.raises(ExtraMissing, match=r'tensorboard is not installed: pip install -e "\.\[tensorboard\]"'):
            write()
