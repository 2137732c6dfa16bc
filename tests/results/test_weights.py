"""A run's weights: written together with its file, read on request, and refused where they are not its own."""

import json
import struct

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from test_run import make_run
from torch import nn

from mnist_s7 import T3, OutputError, Run, WeightsError, fit, load_model, predict
from mnist_s7.results import files


@pytest.fixture(scope="module")
def trained(few_digits):
    return fit(T3, few_digits, seed=7, epochs=1, device="cpu", progress=False)


@pytest.fixture
def saved(trained, tmp_path):
    return trained.save(tmp_path)


def test_a_run_and_its_weights_are_two_files(trained, saved):
    weights = saved.with_suffix(".safetensors")

    assert sorted(path.name for path in saved.parent.iterdir()) == [saved.name, weights.name]
    with safe_open(weights, "pt") as file:
        facts = file.metadata()
    assert facts["experiment"] == "T3"
    assert facts["fingerprint"] == T3.fingerprint
    assert facts["seed"] == "7"
    assert facts["dataset"] == "few digits"
    assert facts["commit"] == str(trained.environment["commit"])
    assert float(facts["test_accuracy"]) == trained.final.test_accuracy
    assert weights.stat().st_size < 40_000


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_a_loaded_network_is_the_trained_one(trained, saved, few_digits, suffix):
    run = Run.load(saved.with_suffix(suffix))

    assert run == trained
    assert run.trained_model is None  # nothing was read yet
    assert not any(module.training for module in run.model.modules())
    assert run.model is run.model
    assert torch.equal(predict(run.model, few_digits.test_images), predict(trained.model, few_digits.test_images))


def test_loading_leaves_the_random_state_as_it_was(saved):
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)

    _ = Run.load(saved).model

    assert torch.equal(torch.rand(3), expected)


def test_a_folder_for_weights_is_used_where_there_is_one(trained, tmp_path, few_digits):
    (tmp_path / "weights").mkdir()

    path = trained.save(tmp_path)

    weights = tmp_path / "weights" / f"{path.stem}.safetensors"
    assert [each.name for each in tmp_path.glob("*")] == ["weights", path.name] or weights.exists()
    for each in (path, weights):
        assert torch.equal(
            predict(Run.load(each).model, few_digits.test_images), predict(trained.model, few_digits.test_images)
        )


def test_a_run_without_weights_says_how_to_keep_them(tmp_path):
    run = Run.load(make_run().save(tmp_path))

    with pytest.raises(
        WeightsError, match="T3-seed1: no weights are stored beside its file; .* `mnist-s7 sweep --weights`"
    ):
        _ = run.model


def test_a_copy_of_a_run_has_its_weights(saved, tmp_path):
    copy = Run.load(saved).save(tmp_path / "elsewhere")

    assert copy.with_suffix(".safetensors").read_bytes() == saved.with_suffix(".safetensors").read_bytes()


def test_the_copy_of_an_experiment_that_is_not_known_has_its_weights(tmp_path):
    run = make_run(experiment="MINE", trained_model=nn.Linear(2, 3))

    copy = Run.load(run.save(tmp_path)).save(tmp_path / "elsewhere")

    with pytest.raises(WeightsError, match=r"weights of MINE, which is no experiment of this package: .*FILE\.py:MINE"):
        _ = Run.load(copy).model
    model = load_model(copy.with_suffix(".safetensors"), network=lambda: nn.Linear(2, 3))
    assert torch.equal(model.weight, run.trained_model.weight)


def test_tied_weights_are_kept(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.one = nn.Linear(4, 4)
            self.other = self.one

    path = make_run(experiment="MINE", trained_model=Tied()).save(tmp_path)

    model = load_model(path.with_suffix(".safetensors"), network=Tied)
    assert model.one is model.other


def truncated(path):
    path.write_bytes(path.read_bytes()[:-100])


def emptied(path):
    path.write_bytes(b"")


def pickled(path):
    torch.save({"weight": torch.zeros(1)}, path)


def removed_header(path):
    path.write_bytes(path.read_bytes()[8:])


def huge_header(path):
    path.write_bytes(struct.pack("<Q", 2**60) + path.read_bytes()[8:])


@pytest.mark.parametrize("spoil", [truncated, emptied, pickled, removed_header, huge_header])
def test_a_file_that_is_not_whole_is_refused(saved, spoil):
    weights = saved.with_suffix(".safetensors")
    spoil(weights)

    with pytest.raises(WeightsError, match=f"{weights}: not a whole safetensors file"):
        _ = Run.load(saved).model


def rewritten(path, change, metadata=None):
    """The weights file, after `change` of its tensors."""
    with safe_open(path, "pt") as file:
        facts = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(tensors)
    save_file(tensors, path, facts if metadata is None else metadata)


CHANGES = {
    "missing": lambda tensors: tensors.pop("head.0.weight"),
    "not in it": lambda tensors: tensors.update(extra=torch.zeros(1)),
    r"float32 \(10, 16, 1, 1\)": lambda tensors: tensors.update({"head.0.weight": torch.zeros(10, 8, 1, 1)}),
    "float16": lambda tensors: tensors.update({"head.0.weight": tensors["head.0.weight"].half()}),
    "not finite": lambda tensors: tensors["head.0.weight"].fill_(torch.nan),
}


@pytest.mark.parametrize("what", CHANGES)
def test_weights_of_another_network_are_refused(saved, what):
    rewritten(saved.with_suffix(".safetensors"), CHANGES[what])

    with pytest.raises(
        WeightsError, match=f"not the weights of a MnistNet_3: head.0.weight is .*{what}|extra is {what}"
    ):
        _ = Run.load(saved).model


def test_a_file_of_another_program_is_refused(saved):
    rewritten(saved.with_suffix(".safetensors"), lambda tensors: None, metadata={"format": "pt"})

    with pytest.raises(WeightsError, match="a safetensors file, and not one that `Run.save` has written"):
        _ = Run.load(saved).model


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("experiment", "T2", "experiment T2, not T3"),
        ("fingerprint", "0", "fingerprint 0, not "),
        ("seed", "8", "seed 8, not 7"),
        ("dataset", "MNIST", "dataset MNIST, not few digits"),
        ("run", "0", "another run with this seed"),
    ],
)
def test_weights_of_another_run_are_refused(trained, saved, field, value, message):
    weights = saved.with_suffix(".safetensors")
    with safe_open(weights, "pt") as file:
        facts = file.metadata() | {field: value}
    rewritten(weights, lambda tensors: None, facts)

    with pytest.raises(WeightsError, match=f"weights of {message}"):
        _ = Run.load(saved).model


def test_a_run_that_was_trained_again_elsewhere_does_not_take_the_old_weights(trained, saved):
    content = json.loads(saved.read_text())
    content["epochs"][0]["seconds"] += 1
    saved.write_text(json.dumps(content))

    with pytest.raises(WeightsError, match="another run with this seed; train it again"):
        _ = Run.load(saved).model


@pytest.mark.parametrize("failing", [0, 1])
def test_a_pair_is_written_together_or_not_at_all(trained, tmp_path, monkeypatch, failing):
    """A disk that is full at either file leaves none of the two, and nothing else."""
    opened = []

    def full(descriptor):
        opened.append(descriptor)
        if len(opened) > failing:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)

    with pytest.raises(OutputError, match="No space left on device"):
        trained.save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_pair_replaces_a_pair(trained, few_digits, saved):
    other = fit(T3, few_digits, seed=7, epochs=2, device="cpu", progress=False)

    other.save(saved.parent)

    assert torch.equal(
        predict(Run.load(saved).model, few_digits.test_images), predict(other.model, few_digits.test_images)
    )
    assert len(list(saved.parent.iterdir())) == 2


def test_a_pair_that_cannot_be_replaced_stays_as_it_is(trained, saved):
    """Where a folder is in the place of the second file, the first is not replaced."""
    weights = saved.with_suffix(".safetensors")
    weights.write_bytes(b"older")
    saved.unlink()
    saved.mkdir()

    with pytest.raises(OutputError, match="Is a directory"):
        trained.save(saved.parent)
    assert weights.read_bytes() == b"older"
    assert len(list(saved.parent.iterdir())) == 2


def test_what_is_no_tensor_is_not_stored(tmp_path):
    class Odd(nn.Linear):
        def get_extra_state(self):
            return {"a": 1}

    with pytest.raises(WeightsError, match="MINE: _extra_state in the network's state_dict is no tensor"):
        make_run(experiment="MINE", trained_model=Odd(1, 1)).save(tmp_path)
    assert list(tmp_path.iterdir()) == []
