"""Optimisers as data: the algorithm, and those of its settings that an experiment has no field for.

Each makes PyTorch's own optimiser of a network, fused, so that one call moves all parameters. And each does the same
steps itself for several networks at once, whose weights are the rows of one tensor: with the learning rate and the
momentum as tensors, they are the same kernels in every step, so that a CUDA graph can hold them.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn, optim


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent."""

    def optimizer(
        self, parameters: Iterable[nn.Parameter], lr: float, momentum: float, nesterov: bool, weight_decay: float
    ) -> optim.Optimizer:
        parameters = list(parameters)
        settings = {"momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
        optimizer = optim.SGD(parameters, lr=lr, **settings, fused=True)
        for parameter in parameters if momentum else ():  # the fused one cannot begin with some of them
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return optimizer

    def state(self, weights: Tensor) -> tuple[Tensor, ...]:
        """What it remembers of (S, P) `weights` before the first step."""
        return (torch.zeros_like(weights),)

    def step(
        self,
        weights: Tensor,
        gradient: Tensor,
        state: tuple[Tensor, ...],
        lr: Tensor,
        momentum: Tensor,
        nesterov: bool,
        weight_decay: float,
    ) -> None:
        """Move (S, P) `weights` and their `state`, with (S, 1) learning rates, or (1, 1) for all, and () momentum."""
        [velocity] = state
        if weight_decay:
            gradient = gradient.add(weights, alpha=weight_decay)
        velocity.mul_(momentum).add_(gradient)
        weights.sub_(lr * (gradient + momentum * velocity if nesterov else velocity))

    def described(self, momentum: float, nesterov: bool) -> str:
        return f"SGD, {'Nesterov momentum' if nesterov else 'momentum'} {momentum:g}"


@dataclass(frozen=True)
class Adam:
    """Adam, whose beta1 is the experiment's momentum. Weight decay is added to the gradient, or is AdamW's where it is
    `decoupled`: then it takes lr x decay of the weights in each step.

    After D. Kingma & J. Ba (arXiv:1412.6980), algorithm 1, and I. Loshchilov & F. Hutter (arXiv:1711.05101).
    """

    beta2: float = 0.999
    eps: float = 1e-8
    decoupled: bool = False

    def optimizer(
        self, parameters: Iterable[nn.Parameter], lr: float, momentum: float, nesterov: bool, weight_decay: float
    ) -> optim.Optimizer:
        kind = optim.AdamW if self.decoupled else optim.Adam
        settings = {"betas": (momentum, self.beta2), "eps": self.eps, "weight_decay": weight_decay}
        return kind(parameters, lr=lr, **settings, fused=True)

    def state(self, weights: Tensor) -> tuple[Tensor, ...]:
        """What it remembers of (S, P) `weights` before the first step."""
        return torch.zeros_like(weights), torch.zeros_like(weights), weights.new_zeros(())

    def step(
        self,
        weights: Tensor,
        gradient: Tensor,
        state: tuple[Tensor, ...],
        lr: Tensor,
        momentum: Tensor,
        nesterov: bool,
        weight_decay: float,
    ) -> None:
        """Move (S, P) `weights` and their `state`, with (S, 1) learning rates, or (1, 1) for all, and () beta1."""
        mean, square, steps = state
        steps += 1
        if self.decoupled:
            weights.mul_(1 - lr * weight_decay)
        elif weight_decay:
            gradient = gradient.add(weights, alpha=weight_decay)
        mean.lerp_(gradient, 1 - momentum)
        square.mul_(self.beta2).addcmul_(gradient, gradient, value=1 - self.beta2)
        deviation = (square / (1 - self.beta2**steps)).sqrt_().add_(self.eps)
        weights.sub_(lr / (1 - momentum**steps) * mean / deviation)

    def described(self, momentum: float, nesterov: bool) -> str:
        return f"{'AdamW' if self.decoupled else 'Adam'}, betas {momentum:g} and {self.beta2:g}"
