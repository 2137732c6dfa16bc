"""Soft targets: what a network's teachers say of every image that it will see, made once for all of its runs.

The augmented images are the same in every run of an experiment with a `Distillation`: those of an epoch are drawn with
the epoch's number as the seed. So teachers look at each of them once, and all runs are trained on what they said.
"""

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Generator, Tensor, nn

from mnist_s7 import MnistS7Error
from mnist_s7.catalog import EXPERIMENTS, origin_of
from mnist_s7.data import Digits, normalization
from mnist_s7.experiments import Experiment
from mnist_s7.kernels import accelerate
from mnist_s7.results import RUNS, named_after, write_atomically
from mnist_s7.results.folders import OPTIONS
from mnist_s7.training.loops import dataloader_order
from mnist_s7.transforms import augmentation_of, batched, renormalized

TEACHERS = RUNS.parent / "teachers"  # their runs, with weights, and the soft targets
AT_ONCE = 1000  # images
MADE_BY = "teachers"  # in a file of soft targets: the digest of who made them


class SoftTargetsMissing(MnistS7Error):
    """Soft targets that are not there, or not whole."""


class SoftTargets:
    """The augmented training images of each epoch of `experiment` on `digits`, and the teachers' probabilities."""

    def __init__(self, experiment: Experiment, digits: Digits):
        self.experiment, self.dataset = experiment, digits.name
        count = experiment.trained_on(len(digits.train_images))
        self.images, self.labels = digits.train_images[:count], digits.train_labels[:count]
        self.transform = batched(renormalized(experiment.train_transform, *normalization(digits.name)))

    @cached_property
    def folder(self) -> Path:
        """Another one for other teachers, another temperature, other augmentation and other images; and for another
        PyTorch, which may draw other numbers."""
        teaching = self.experiment.distillation
        images = hashlib.sha256(self.images.numpy().tobytes()).hexdigest()
        drawn = augmentation_of(self.experiment.train_transform), AT_ONCE, torch.__version__
        settings = *teaching.settings[:4], *drawn, images
        key = hashlib.sha256("\n".join(map(repr, settings)).encode()).hexdigest()[:12]
        return TEACHERS / f"{named_after(teaching.teacher.name, self.dataset)}-{key}"

    def images_of(self, epoch: int) -> Tensor:
        """(N, 1, 28, 28) float32, on the CPU, in the order of the data set."""
        generator = Generator().manual_seed(epoch)
        parts = self.images.unsqueeze(1).split(AT_ONCE)
        return torch.cat([self.transform(part, generator) for part in parts])

    def probabilities_of(self, epoch: int) -> Tensor:
        """(N, 10) of that epoch's images. Raises `SoftTargetsMissing`."""
        path = self.path(epoch)
        try:
            found = load(path.read_bytes()).get("probabilities")
        except OSError as error:
            raise SoftTargetsMissing(f"{path}: cannot be read ({error.strerror or error}); {self._remedy}") from error
        except (SafetensorError, ValueError) as error:
            raise SoftTargetsMissing(f"{path}: not a whole safetensors file; remove it, and {self._remedy}") from error
        if found is None or not _are_probabilities(found, len(self.images)):
            raise SoftTargetsMissing(
                f"{path}: not the probabilities of {len(self.images):,} images; remove it, and {self._remedy}"
            )
        return found

    def batches(
        self, epoch: int, size: int, device: torch.device, orders: Sequence[Generator | None]
    ) -> list[Iterator[tuple[Tensor, Tensor, Tensor]]]:
        """For each generator of an order, None being PyTorch's global one, every image of the epoch once, in that
        order and `size` of them at a time: (size, 1, 28, 28) inputs, (size,) labels and (size, 10) soft targets.

        Raises `SoftTargetsMissing`.
        """
        soft_targets = self.probabilities_of(epoch).to(device)
        tensors = self.images_of(epoch).to(device), self.labels.to(device), soft_targets
        shuffled = [dataloader_order(len(self.images), order).to(device) for order in orders]
        return [(tuple(each[chosen] for each in tensors) for chosen in order.split(size)) for order in shuffled]

    def make(self, epoch: int, teachers: Sequence[nn.Module]) -> None:
        """Let the teachers, in evaluation mode, look at the epoch's images, and store what they say."""
        device = next(teachers[0].parameters()).device
        accelerated = [accelerate(model) for model in teachers]
        with torch.inference_mode():
            parts = [
                self.experiment.distillation.soft_targets(torch.stack([model(part) for model in accelerated])).cpu()
                for part in self.images_of(epoch).to(device).split(AT_ONCE)
            ]
        made_by = {MADE_BY: _digest(teachers)}
        write_atomically(self.path(epoch), save({"probabilities": torch.cat(parts)}, made_by))

    def missing(self, epochs: int, teachers: Sequence[nn.Module] = ()) -> list[int]:
        """Those of the first `epochs` whose soft targets are not there; or, given `teachers`, are those of others."""
        digest = _digest(teachers) if teachers else None
        return [
            epoch
            for epoch in range(epochs)
            if not self.path(epoch).exists() or (digest and _made_by(self.path(epoch)) != digest)
        ]

    def check(self, epochs: int) -> None:
        """Raise `SoftTargetsMissing` unless those of so many epochs are there, and whole: before the first epoch, not
        after it."""
        name, own = self.experiment.name, self.experiment.epochs
        for epoch in range(epochs):
            if epoch >= own:
                raise SoftTargetsMissing(
                    f"{name} has {own} epochs, and soft targets for no more: train it for at most as many, or teach "
                    f"and train a variant of it, both with --set epochs={epochs}"
                )
            if not self.path(epoch).exists():
                raise SoftTargetsMissing(f"{self.path(epoch)}: soft targets that are not there; {self._remedy}")
            self.probabilities_of(epoch)

    @property
    def _remedy(self) -> str:
        origin, name = origin_of(self.experiment.name), self.experiment.name
        if self.dataset not in OPTIONS or not (origin or name in EXPERIMENTS):  # which no command can be given
            return f"`teach({name}, digits)` makes it, in Python (mnist_s7.teach)"
        asked, settings = (origin.asked, origin.settings) if origin else (name, ())
        variant = f" --set {' '.join(settings)}" if settings else ""
        return f"`mnist-s7 teach {asked}{variant}{OPTIONS[self.dataset]}` makes it"

    def path(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch}.safetensors"


def _digest(teachers: Sequence[nn.Module]) -> str:
    """Of their weights."""
    weights = b"".join(save({name: each.contiguous() for name, each in t.state_dict().items()}) for t in teachers)
    return hashlib.sha256(weights).hexdigest()


def _made_by(path: Path) -> str | None:
    """The digest of the teachers whose soft targets are in the file; None where it has none."""
    try:
        with safe_open(path, "pt") as file:
            return (file.metadata() or {}).get(MADE_BY)
    except (OSError, SafetensorError):
        return None


def _are_probabilities(found: Tensor, count: int) -> bool:
    whole = found.shape == (count, 10) and found.dtype == torch.float32
    return whole and bool((found >= 0).all()) and bool(((found.sum(1) - 1).abs() < 1e-3).all())
