"""Published networks from the command line: trained by name, and their runs kept apart from the series'."""

import pytest

from mnist_s7 import Run
from mnist_s7.commands import options
from mnist_s7.results import folders
from mnist_s7.results.folders import MNIST


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Published results of its own."""
    place = tmp_path / "results"
    for module in (options, folders):
        monkeypatch.setattr(module, "PUBLISHED", place)
        monkeypatch.setattr(module, "PUBLISHED_BASELINES", place / "baselines")
    monkeypatch.setattr(folders, "STORED", {MNIST: place})
    monkeypatch.setattr(folders, "ALSO_STORED", {MNIST: (place / "baselines",)})
    return place


@pytest.mark.parametrize("command", ["train", "sweep"])
@pytest.mark.parametrize(
    ("name", "folder"), [("hexhowells-807", "."), ("T3", "baselines"), ("T4-no-skip", "baselines")]
)
def test_runs_do_not_mix(mnist, mnist_s7, published, command, name, folder):
    code, _, errors = mnist_s7(command, name, "--epochs", 1, "--output", published / folder)

    assert code == 1 and f"runs of {name} are not published there, but in {published}" in errors
    assert not published.exists()


@pytest.mark.parametrize("name", ["hexhowells-807", "joshwarn-997", "satyajit-9962", "ruslangrimov-1936"])
@pytest.mark.usefixtures("own_file")  # which forgets the variants
def test_a_published_network_is_trained_by_its_name(mnist_s7, few_digits, monkeypatch, tmp_path, name):
    """Saved with its weights, and found again there; a setting makes a variant of it."""
    monkeypatch.setattr("mnist_s7.commands.options.load_digits", lambda *_: few_digits)
    for settings, full in (([], name), (["--set", "batch_size=256"], f"{name}-batch_size=256")):
        code, output, _ = mnist_s7("train", name, "--epochs", 1, "--output", tmp_path, "--device", "cpu", *settings)

        assert code in (0, None) and "final test accuracy" in output
        run = Run.load(next(tmp_path.glob(f"{full}-seed1*.json")))
        assert run.experiment == full
        assert not run.model.training
    code, output, _ = mnist_s7("train", name, "--epochs", 1, "--output", tmp_path, "--device", "cpu")
    assert "is there: final test accuracy" in output


def test_help_names_the_series_and_one_published_network(mnist_s7):
    code, output, _ = mnist_s7("train", "--help")

    words = " ".join(output.split())
    assert "T1, T2, T3, T4, T5" in words and "joshwarn-697 is one (mnist_s7/baselines)" in words
    assert "satyajit" not in words
