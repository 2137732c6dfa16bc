"""Optimisers as data: the algorithm, and those of its settings that an experiment has no field for."""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn, optim


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent."""

    def optimizer(
        self, parameters: Iterable[nn.Parameter], lr: float, momentum: float, nesterov: bool, weight_decay: float
    ) -> optim.Optimizer:
        return optim.SGD(parameters, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)

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
        return kind(parameters, lr=lr, betas=(momentum, self.beta2), eps=self.eps, weight_decay=weight_decay)

    def described(self, momentum: float, nesterov: bool) -> str:
        return f"{'AdamW' if self.decoupled else 'Adam'}, betas {momentum:g} and {self.beta2:g}"
