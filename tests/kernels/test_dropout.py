"""Dropout masks against the Bernoulli distribution."""

import pytest
import torch
from scipy import stats

from mnist_s7.kernels import dropout, keep_mask
from mnist_s7.kernels.dropout import _successes


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
    assert keep_mask(10, 0).tolist() == [1] * 10


def test_gaps_between_drops_are_geometric():
    torch.manual_seed(4)
    p = 0.2
    gaps = dropout._geometric(100_000, p).numpy()

    top = 30
    observed = [(gaps == k).sum() for k in range(1, top)] + [(gaps >= top).sum()]
    shares = [stats.geom(p).pmf(k) for k in range(1, top)] + [stats.geom(p).sf(top - 1)]
    assert gaps.min() == 1
    assert stats.chisquare(observed, [share * len(gaps) for share in shares]).pvalue > 0.001


def test_draws_never_run_out(monkeypatch):
    calls = []
    geometric = dropout._geometric

    def short(n, p, generator):  # gaps so small that the first draws end before the last trial
        calls.append(n)
        return geometric(n, p) if len(calls) > 1 else torch.ones(n, dtype=torch.int64)

    monkeypatch.setattr(dropout, "_geometric", short)
    positions = _successes(10_000, 0.05)

    assert len(calls) > 1
    assert positions[-1] > 5_000
    assert positions.diff().min() > 0
