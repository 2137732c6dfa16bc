"""Training on what teachers say of each image."""

import dataclasses
import re

import pytest
import torch
from safetensors.torch import save
from torch import Generator, nn

from mnist_s7 import T2, T3, T5, fit
from mnist_s7.catalog import EXPERIMENTS, find_experiment
from mnist_s7.distillation import Distillation
from mnist_s7.kernels.library import load
from mnist_s7.results.progress import Silent
from mnist_s7.training import SoftTargets, SoftTargetsMissing, fit_seeds, soft_targets
from mnist_s7.transforms import PLAIN

TAUGHT = dataclasses.replace(T3, epochs=2, lr=0.0005, distillation=Distillation(T2, 2))


class Certain(nn.Module):
    """A teacher that knows each image's label, in the order of the data set."""

    def __init__(self, labels):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.left = labels

    def forward(self, x):
        own, self.left = self.left[: len(x)], self.left[len(x) :]
        return nn.functional.one_hot(own, 10).float().log()


class NoEpoch(Silent):
    """An epoch must not start."""

    epoch_starts = None


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(soft_targets, "TEACHERS", tmp_path)
    return tmp_path


def test_teachers_that_know_the_labels_teach_as_these_do(few_digits, folder):
    """So every image keeps its own soft targets, however images are shuffled."""
    taught = dataclasses.replace(TAUGHT, train_transform=PLAIN)
    for epoch in range(2):
        SoftTargets(taught, few_digits).make(epoch, [Certain(few_digits.train_labels)])

    run = fit(taught, few_digits, device="cpu", progress=False)

    plain = fit(dataclasses.replace(taught, distillation=None), few_digits, device="cpu", progress=False)
    for one, other in zip(run.epochs, plain.epochs, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-4)
        assert one.train_accuracy == pytest.approx(other.train_accuracy, abs=0.4)  # two images
    assert run.fingerprint != plain.fingerprint


@pytest.mark.skipif(load() is None, reason="without the compiled dropout, a run alone draws other numbers")
def test_seeds_together_are_taught_as_each_alone(few_digits, folder):
    teachers = [T2.network().eval() for _ in range(2)]
    for epoch in range(2):
        SoftTargets(TAUGHT, few_digits).make(epoch, teachers)

    for run in fit_seeds(TAUGHT, few_digits, [3, 1], device="cpu"):
        alone = fit(TAUGHT, few_digits, run.seed, device="cpu", progress=False)
        for one, other in zip(run.epochs, alone.epochs, strict=True):
            assert one.train_loss == pytest.approx(other.train_loss, rel=1e-4)
            assert one.test_loss == pytest.approx(other.test_loss, rel=1e-3)


def test_the_mean_of_the_teachers_is_stored(few_digits, folder):
    torch.manual_seed(0)
    teachers, targets = [T2.network().eval() for _ in range(2)], SoftTargets(TAUGHT, few_digits)

    targets.make(1, teachers)

    with torch.no_grad():
        images = targets.images_of(1)
        expected = (teachers[0](images).exp() + teachers[1](images).exp()) / 2
    torch.testing.assert_close(targets.probabilities_of(1), expected)
    assert targets.missing(3) == [0, 2]


def test_what_other_teachers_said_is_missing(few_digits, folder):
    torch.manual_seed(0)
    (one, other), targets = [T2.network().eval() for _ in range(2)], SoftTargets(TAUGHT, few_digits)
    targets.make(0, [one])
    targets.make(1, [other])
    whole = targets.path(1).read_bytes()
    targets.path(2).write_bytes(whole[: len(whole) // 2])
    targets.path(3).write_bytes(save({"probabilities": torch.full((512, 10), 0.1)}))  # nobody's

    assert targets.missing(5) == [4]
    assert targets.missing(5, [one]) == [1, 2, 3, 4]
    assert targets.missing(5, [other]) == [0, 2, 3, 4]
    assert targets.missing(2, [one, other]) == [0, 1]


def test_images_are_the_same_in_every_run_and_others_in_every_epoch(few_digits):
    one, other = SoftTargets(TAUGHT, few_digits), SoftTargets(dataclasses.replace(TAUGHT, lr=0.1), few_digits)
    torch.manual_seed(5)

    assert torch.equal(one.images_of(0), other.images_of(0))
    assert not torch.equal(one.images_of(0), one.images_of(1))
    assert one.images_of(0).shape == (512, 1, 28, 28)


def test_batches_keep_images_labels_and_soft_targets_together(few_digits, folder):
    targets = SoftTargets(dataclasses.replace(TAUGHT, train_transform=PLAIN, batch_size=100), few_digits)
    targets.make(0, [Certain(few_digits.train_labels)])

    orders = [Generator().manual_seed(seed) for seed in (1, 2)]
    one, other = (list(batches) for batches in targets.batches(0, 100, torch.device("cpu"), orders))

    assert [len(labels) for _, labels, _ in one] == [100] * 5 + [12]
    assert not torch.equal(one[0][0], other[0][0])
    for inputs, labels, soft in one + other:
        assert torch.equal(soft.argmax(1), labels)
        known = dict(zip(map(hash_of, targets.images_of(0)), few_digits.train_labels.tolist(), strict=True))
        assert [known[hash_of(image)] for image in inputs] == labels.tolist()


def hash_of(image):
    return image.numpy().tobytes()


def test_other_teachers_images_and_augmentations_are_kept_apart(few_digits):
    fewer = dataclasses.replace(
        few_digits, train_images=few_digits.train_images[1:], train_labels=few_digits.train_labels[1:]
    )
    folders = [
        SoftTargets(dataclasses.replace(TAUGHT, **changes), digits).folder
        for changes, digits in [
            ({}, few_digits),
            ({}, fewer),
            ({}, dataclasses.replace(few_digits, name="other digits")),
            ({"train_transform": PLAIN}, few_digits),
            ({"distillation": Distillation(T2, 3)}, few_digits),
            ({"distillation": Distillation(T2, 2, 4.0)}, few_digits),
            ({"distillation": Distillation(EXPERIMENTS["T2-dropout-0.01"], 2)}, few_digits),
        ]
    ]

    assert len(set(folders)) == len(folders)
    for same in ({"distillation": Distillation(T2, 2, 1.0, 0.5)}, {"lr": 0.1}, {"network": T2.network}, {"epochs": 9}):
        assert SoftTargets(dataclasses.replace(TAUGHT, **same), few_digits).folder == folders[0]


@pytest.mark.parametrize("train", [fit, lambda *given, **settings: fit_seeds(*given, seeds=[1], **settings)])
def test_what_teachers_have_not_said_is_found_out_before_the_first_epoch(few_digits, folder, train):
    targets = SoftTargets(TAUGHT, few_digits)
    with pytest.raises(SoftTargetsMissing, match="epoch-0.safetensors: soft targets that are not there; `teach"):
        train(TAUGHT, few_digits, device="cpu")
    for epoch in range(2):
        targets.make(epoch, [Certain(few_digits.train_labels)])
    with pytest.raises(SoftTargetsMissing, match="T3 has 2 epochs, and soft targets for no more"):
        train(TAUGHT, few_digits, epochs=3, device="cpu")


def test_the_remedy_is_a_command_that_makes_them(few_digits, folder, own_file):
    path = own_file("""
        from dataclasses import replace
        from mnist_s7 import T2, T3
        from mnist_s7.distillation import Distillation

        SMALL = replace(T3, name="SMALL", distillation=Distillation(T2, 2))
    """)
    variant = find_experiment(f"{path}:SMALL", ["epochs=3"])
    digits = dataclasses.replace(few_digits, name="Fashion-MNIST")

    with pytest.raises(SoftTargetsMissing) as error:
        SoftTargets(variant, digits).check(1)

    command = re.search("`mnist-s7 teach (.*)` makes it", str(error.value))[1].split()
    assert command[1:] == ["--set", "epochs=3", "--dataset", "fashion-mnist"]
    assert find_experiment(command[0], command[2:3]) == variant


@pytest.mark.parametrize(
    ("dataset", "options"),
    [
        ("MNIST", []),
        ("MNIST validation", ["--validation"]),
        ("Fashion-MNIST validation", ["--dataset", "fashion-mnist", "--validation"]),
    ],
)
def test_the_remedy_is_for_the_same_digits(few_digits, folder, dataset, options):
    targets = SoftTargets(T5, dataclasses.replace(few_digits, name=dataset))

    with pytest.raises(SoftTargetsMissing) as error:
        targets.check(1)

    assert re.search("`mnist-s7 teach (.*)` makes it", str(error.value))[1].split() == ["T5", *options]


@pytest.mark.parametrize(("name", "dataset"), [("OWN", "MNIST"), ("T5", "digits of mine")])
def test_where_no_command_makes_them_the_remedy_is_python(few_digits, folder, name, dataset):
    targets = SoftTargets(dataclasses.replace(T5, name=name), dataclasses.replace(few_digits, name=dataset))

    with pytest.raises(SoftTargetsMissing, match=rf"`teach\({name}, digits\)` makes it"):
        targets.check(1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no file", "not a whole safetensors file; remove it"),
        (save({"other": torch.zeros(3)}), "not the probabilities of 512 images"),
        (save({"probabilities": torch.full((511, 10), 0.1)}), "not the probabilities of 512 images"),
        (save({"probabilities": torch.zeros(512, 10)}), "not the probabilities of 512 images"),
    ],
)
def test_files_that_are_none_are_named(few_digits, folder, content, message):
    targets = SoftTargets(TAUGHT, few_digits)
    targets.make(0, [Certain(few_digits.train_labels)])
    targets.path(1).write_bytes(content)

    with pytest.raises(SoftTargetsMissing, match=message):  # of the last epoch, before the first one
        fit(TAUGHT, few_digits, device="cpu", progress=NoEpoch())
