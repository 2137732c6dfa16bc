"""The joined layers against the plain PyTorch layers, and the sparse drawing against the Bernoulli distribution."""

import copy

import pytest
import torch
from scipy import stats
from torch import nn

from mnist_s7 import MnistNet_1, MnistNet_2, MnistNet_3, fast
from mnist_s7.fast import Sequential, _successes

FORMATS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}


def conv():
    return nn.Conv2d(3, 8, 3)


LAYERS = {
    "conv, relu": lambda p: [conv(), nn.ReLU(), nn.Conv2d(8, 4, 1)],
    "conv, relu, norm, dropout": lambda p: [conv(), nn.ReLU(), nn.BatchNorm2d(8), nn.Dropout(p), nn.MaxPool2d(2)],
    "conv, norm, relu, dropout": lambda p: [conv(), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(p), nn.Conv2d(8, 4, 3)],
    "norm, relu": lambda p: [nn.BatchNorm2d(3), nn.ReLU(), conv()],
    "dropout alone": lambda p: [conv(), nn.Dropout(0.0), nn.ReLU()],
    "relu first": lambda p: [nn.ReLU(), conv()],
}


class GivenDrop(nn.Module):
    """Dropout with the positions given, counted in memory order, as the plain layers would write it."""

    def __init__(self, p, positions):
        super().__init__()
        self.p, self.positions = p, positions

    def forward(self, x):
        mask = torch.ones_like(x)
        mask.as_strided((mask.numel(),), (1,))[self.positions] = 0
        return x * mask / (1 - self.p)


@pytest.mark.parametrize("memory_format", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize("layers", LAYERS.values(), ids=LAYERS)
def test_outputs_gradients_and_buffers_are_those_of_the_plain_layers(monkeypatch, layers, p, memory_format):
    torch.manual_seed(0)
    joined = Sequential(*layers(p)).to(memory_format=memory_format)
    plain = nn.Sequential(*copy.deepcopy(list(joined)))
    drawn = []
    monkeypatch.setattr(fast, "_successes", lambda n, p: drawn.append(_successes(n, p)) or drawn[-1])
    x = torch.randn(5, 3, 12, 12).to(memory_format=memory_format).requires_grad_()
    before = x.detach().clone()

    y = joined(x)
    weights = torch.randn(y.shape).contiguous()  # also a gradient in another memory format than y's
    (y * weights).sum().backward()

    for i, layer in enumerate(plain):
        if isinstance(layer, nn.Dropout) and drawn:
            plain[i] = GivenDrop(p, drawn[0])
    x2 = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    y2 = plain(x2)
    (y2 * weights).sum().backward()

    torch.testing.assert_close(y, y2)
    torch.testing.assert_close(x.grad, x2.grad, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(joined.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(joined.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert torch.equal(x.detach(), before)  # nothing is done in place to what came from outside


@pytest.mark.parametrize("network", [MnistNet_1, MnistNet_2, MnistNet_3])
def test_the_networks_evaluate_as_with_plain_sequentials(monkeypatch, network):
    torch.manual_seed(0)
    model, x = network().eval(), torch.randn(4, 1, 28, 28)
    expected = model(x)
    monkeypatch.setattr(Sequential, "forward", nn.Sequential.forward)

    assert torch.equal(model(x), expected)


def test_the_networks_draw_their_dropout_sparsely(monkeypatch):
    drawn = []
    monkeypatch.setattr(fast, "_successes", lambda n, p: drawn.append((n, p)) or _successes(n, p))

    MnistNet_3()(torch.randn(2, 1, 28, 28))

    shapes = [(8, 26), (16, 24), (12, 10), (16, 8), (16, 6)]
    assert drawn == [(2 * channels * side * side, 0.01) for channels, side in shapes]


def test_dropped_elements_change_from_step_to_step():
    block = Sequential(nn.BatchNorm2d(4), nn.Dropout(0.5))
    x = torch.rand(2, 4, 8, 8).add_(1)

    assert not torch.equal(block(x) == 0, block(x) == 0)


@pytest.mark.parametrize("p", [0.01, 0.05, 0.5])
def test_rate_is_p(p):
    torch.manual_seed(1)
    n = 2_000_000

    assert stats.binomtest(len(_successes(n, p)), n, p).pvalue > 0.001


def test_drops_are_independent_of_their_neighbours():
    """The number of drops in a window is binomial, as for independent draws, for windows of any length."""
    torch.manual_seed(2)
    n, p = 1_000_000, 0.05
    mask = torch.zeros(n)
    mask[_successes(n, p)] = 1

    for window in (2, 10, 100):
        counts = mask.view(-1, window).sum(1).numpy()
        expected = stats.binom(window, p)
        top = int(expected.ppf(0.999))  # the last class holds the rest, and is never empty
        observed = [(counts == k).sum() for k in range(top)] + [(counts >= top).sum()]
        shares = [expected.pmf(k) for k in range(top)] + [expected.sf(top - 1)]
        assert stats.chisquare(observed, [share * len(counts) for share in shares]).pvalue > 0.001


def test_every_position_can_be_dropped():
    torch.manual_seed(3)

    assert sorted({int(i) for _ in range(200) for i in _successes(10, 0.2)}) == list(range(10))
    assert len(_successes(10, 0)) == 0


def test_draws_never_run_out(monkeypatch):
    calls = []
    geometric = torch.Tensor.geometric_

    def short(self, p):  # gaps so small that the first draws end before n
        calls.append(p)
        return geometric(self, p) if len(calls) > 1 else self.fill_(1)

    monkeypatch.setattr(torch.Tensor, "geometric_", short)
    positions = _successes(10_000, 0.05)

    assert len(calls) > 1
    assert positions[-1] > 5_000
    assert positions.diff().min() > 0
