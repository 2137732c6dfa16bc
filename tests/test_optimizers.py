"""The steps of several networks' weights at once against PyTorch's own optimisers."""

import pytest
import torch

from mnist_s7.optimizers import SGD, Adam

ALGORITHMS = {
    "momentum": (SGD(), 0.9, False, 0.0),
    "without momentum": (SGD(), 0.0, False, 0.0),
    "Nesterov, weight decay": (SGD(), 0.9, True, 1e-2),
    "Adam": (Adam(), 0.9, False, 0.0),
    "Adam, weight decay": (Adam(beta2=0.99, eps=1e-6), 0.8, False, 1e-2),
    "AdamW": (Adam(decoupled=True), 0.9, False, 1e-2),
}


@pytest.mark.parametrize(("algorithm", "momentum", "nesterov", "decay"), ALGORITHMS.values(), ids=ALGORITHMS)
def test_each_row_moves_as_it_does_alone(algorithm, momentum, nesterov, decay):
    """With learning rates of their own, which change as the momentum does."""
    torch.manual_seed(0)
    weights = torch.randn(3, 50)
    alone = [torch.nn.Parameter(row.clone()) for row in weights]
    optimizers = [algorithm.optimizer([row], 0.1, momentum, nesterov, decay) for row in alone]
    state, lr = algorithm.state(weights), torch.empty(3, 1)

    for step in range(6):
        gradient, now = torch.randn(3, 50), momentum * (1 - step / 20)
        for i, (row, optimizer) in enumerate(zip(alone, optimizers, strict=True)):
            row.grad = gradient[i].clone()
            [group] = optimizer.param_groups
            lr[i] = 0.1 / (i + 1) / (step + 1)
            group["lr"] = lr[i, 0].item()
            group.update({"momentum": now} if "momentum" in group else {"betas": (now, group["betas"][1])})
            optimizer.step()
        algorithm.step(weights, gradient, state, lr, torch.tensor(now), nesterov, decay)

    torch.testing.assert_close(weights, torch.stack(list(alone)).detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("algorithm", "momentum", "nesterov", "decay"), ALGORITHMS.values(), ids=ALGORITHMS)
def test_a_parameter_may_have_its_first_gradient_late(algorithm, momentum, nesterov, decay):
    """As that of a branch which is not always taken. PyTorch's optimiser that is not fused is the measure."""
    torch.manual_seed(0)
    starts = torch.randn(2, 3, 4)
    moved = []
    for fused in (True, None):
        early, late = parameters = [torch.nn.Parameter(start.clone()) for start in starts]
        optimizer = algorithm.optimizer(parameters, 0.1, momentum, nesterov, decay)
        optimizer.param_groups[0]["fused"] = fused
        gradients = torch.Generator().manual_seed(1)
        for step in range(4):
            early.grad = torch.randn(3, 4, generator=gradients)
            late.grad = torch.randn(3, 4, generator=gradients) if step > 1 else None
            optimizer.step()
        moved.append(torch.stack(parameters).detach())

    assert not torch.equal(moved[0][1], starts[1])
    torch.testing.assert_close(*moved, rtol=1e-6, atol=1e-6)
