"""Whether a network can classify digits at all: told before a training run begins, by its name."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn
from torch.nn.parameter import UninitializedParameter

from mnist_s7 import MnistS7Error
from mnist_s7.results.machine import torch_defaults

SEED = 7_364_529  # one that no constructor sets itself
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
        torch.manual_seed(SEED)
        try:
            model = network()
        except (Exception, SystemExit) as error:  # whatever a constructor from elsewhere raises
            hint = "; it is called without arguments" if isinstance(error, TypeError) else ""
            raise NetworkUnfit(f"{experiment}: {name}() fails: {in_words(error)}{hint}") from error
        who = type(model).__name__ if type(model).__name__ == experiment else f"{experiment}: {type(model).__name__}"
        if torch.initial_seed() != SEED:
            raise NetworkUnfit(f"{who} sets PyTorch's seed when it is built, so that all seeds are one; leave that out")
        _check_model(model, who)
        if network() is model:
            raise NetworkUnfit(
                f"{who} is built once and for all: every run needs a new one; give a class or a function"
            )
        images = torch.randn(IMAGES, 1, 28, 28, generator=Generator().manual_seed(SEED))
        _check_answer(model.eval(), images, who)
        _check_answer(model, images[:1], who)  # one picture, as when it is used
        for _ in range(2):  # a second step goes another way than the first where something is kept
            _check_answer(model.train(), images, who, backward=True)


def _check_model(model: nn.Module, who: str) -> None:
    if not isinstance(model, nn.Module) or isinstance(model, torch.jit.ScriptModule):
        raise NetworkUnfit(f"{who} is no torch.nn.Module in Python: give a class, or a function that builds one")
    parameters = list(model.parameters())
    if any(isinstance(parameter, UninitializedParameter) for parameter in parameters):
        raise NetworkUnfit(f"{who} has lazy layers, whose sizes are not known: write them out")
    if not any(parameter.requires_grad for parameter in parameters):
        raise NetworkUnfit(f"{who} has no parameter that can be trained; are its layers attributes of the module?")
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor) or value.layout != torch.strided:
            raise NetworkUnfit(f"{who}: {name} in its state_dict is no dense tensor, and could not be stored")


def _check_answer(model: nn.Module, images: Tensor, who: str, backward: bool = False) -> None:
    try:
        output = model(images)
        _check_output(output, len(images), who, "training" if model.training else "evaluation")
        if backward:
            output[:, 0].sum().backward()
    except NetworkUnfit:
        raise
    except (Exception, SystemExit) as error:
        shapes = isinstance(error, (RuntimeError, ValueError)) and not isinstance(error, NotImplementedError)
        hint = f". They have one channel and 28x28 pixels, and {len(images)} were given" if shapes else ""
        raise NetworkUnfit(
            f"{who} cannot take MNIST's images, of shape {tuple(images.shape)}: {in_words(error)}{hint}"
        ) from error


def _check_output(output: object, images: int, who: str, mode: str) -> None:
    if not isinstance(output, Tensor):
        raise NetworkUnfit(
            f"{who} gives a {type(output).__name__} in {mode} mode: a tensor of log-probabilities is needed"
        )
    if output.shape != (images, 10):
        raise NetworkUnfit(
            f"{who} gives {tuple(output.shape)} for {images} images: ({images}, 10) is needed, a log-probability for "
            "each of the ten digits"
        )
    if mode == "training" and not output.requires_grad:
        raise NetworkUnfit(f"{who} gives an output that does not depend on its parameters, so that nothing is learned")
    if output.isnan().any():
        raise NetworkUnfit(
            f"{who} gives NaN for ordinary images in {mode} mode, before any training: look for a 0 / 0, or "
            "the logarithm or root of a negative number, in its forward"
        )
    values = output.detach().double()
    # A sum of ten probabilities has the rounding of their type.
    tolerance = 10 * torch.finfo(output.dtype).eps if output.dtype in (torch.float16, torch.bfloat16) else 1e-3
    if not _are_one(values.exp().sum(1), tolerance):
        found, instead = "logits", ""
        if _are_one(values.sum(1), tolerance) and (values >= 0).all():
            found, instead = "probabilities", " instead of softmax"
        elif _are_one(values.exp().sum(0), tolerance):
            found, instead = "log-probabilities over the images, and not over the digits,", " instead of dim=0"
        raise NetworkUnfit(
            f"{who} gives {found} in {mode} mode, and log-probabilities of the digits are needed: let its forward end "
            f"in F.log_softmax(x, dim=1){instead}"
        )


def _are_one(sums: Tensor, tolerance: float) -> bool:
    return torch.allclose(sums, torch.ones_like(sums), atol=tolerance)


def in_words(error: BaseException) -> str:
    """`RuntimeError: size mismatch`, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}".removesuffix(".")
