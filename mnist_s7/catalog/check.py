"""Whether a network can classify digits at all: told before a training run begins, by its name."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

from mnist_s7 import MnistS7Error
from mnist_s7.experiments import torch_defaults

IMAGES = 3  # few, and no number that a network would expect by accident


class NetworkUnfit(MnistS7Error, ValueError):
    """A network that cannot be trained to classify digits as it is."""


def check_network(experiment: str, network: Callable[[], nn.Module]) -> None:
    """Raise `NetworkUnfit` unless `network` builds one that gives (N, 10) log-probabilities for (N, 1, 28, 28) images,
    in training and in evaluation mode.

    PyTorch's random state is left as it was.
    """
    name = getattr(network, "__name__", type(network).__name__)
    with torch.random.fork_rng(devices=[]), torch_defaults(), torch.autocast("cpu", enabled=False):
        try:
            model = network()
        except Exception as error:  # whatever a constructor from elsewhere raises
            raise NetworkUnfit(
                f"{experiment}: {name}() fails: {_in_words(error)}; it is called without arguments"
            ) from error
        who = f"{experiment}: {type(model).__name__}"
        if not isinstance(model, nn.Module):
            raise NetworkUnfit(
                f"{who} is no torch.nn.Module: give a class derived from it, or a function that builds one"
            )
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise NetworkUnfit(f"{who} has no parameter that can be trained; are its layers attributes of the module?")
        images = torch.randn(IMAGES, 1, 28, 28, generator=Generator().manual_seed(0))
        for training in (False, True):
            try:
                output = model.train(training)(images)
            except Exception as error:
                raise NetworkUnfit(
                    f"{who} cannot take MNIST's images, of shape {tuple(images.shape)}: {_in_words(error)}. They have "
                    "one channel and 28x28 pixels"
                ) from error
            _check_output(output, who, training)


def _check_output(output: object, who: str, training: bool) -> None:
    mode = "training" if training else "evaluation"
    if not isinstance(output, Tensor):
        raise NetworkUnfit(
            f"{who} gives a {type(output).__name__} in {mode} mode: a tensor of log-probabilities is needed"
        )
    if output.shape != (IMAGES, 10):
        raise NetworkUnfit(
            f"{who} gives {tuple(output.shape)} for {IMAGES} images: ({IMAGES}, 10) is needed, a log-probability for "
            "each of the ten digits"
        )
    if training and not output.requires_grad:
        raise NetworkUnfit(f"{who} gives an output that does not depend on its parameters, so that nothing is learned")
    if output.isnan().any():
        raise NetworkUnfit(
            f"{who} gives NaN for ordinary images in {mode} mode, before any training: look for a 0 / 0, or "
            "the logarithm or root of a negative number, in its forward"
        )
    sums = output.detach().double().exp().sum(1)
    if not torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
        values = output.detach().double()
        probabilities = (values >= 0).all() and torch.allclose(values.sum(1), torch.ones_like(sums), atol=1e-3)
        raise NetworkUnfit(
            f"{who} gives {'probabilities' if probabilities else 'logits'} in {mode} mode, and log-probabilities are "
            f"needed: let its forward end in F.log_softmax(x, dim=1){' instead of softmax' if probabilities else ''}"
        )


def _in_words(error: Exception) -> str:
    """`RuntimeError: size mismatch`, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}".removesuffix(".")
