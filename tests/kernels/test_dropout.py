"""Dropout masks: against the generator that C's are drawn by, written out, and against the Bernoulli distribution."""

import pytest
import torch
from scipy import stats

from mnist_s7.kernels import keep_mask, library

WORD = 2**32


@pytest.fixture(params=["compiled", "PyTorch"])
def layers(request, monkeypatch):
    if request.param == "PyTorch":
        monkeypatch.setattr(library, "load", lambda: None)
    elif library.load() is None:
        pytest.skip("no compiled layers")


def xoshiro(state):
    """A stream's numbers, after Blackman and Vigna's description of xoshiro128+."""
    a, b, c, d = state
    while True:
        yield (a + d) % WORD
        shifted = (b << 9) % WORD
        c, d = c ^ a, d ^ b
        b, a = b ^ c, a ^ d
        c, d = c ^ shifted, ((d << 11) | (d >> 21)) % WORD


@pytest.mark.parametrize("p", [0.01, 0.3, 0.99])
def test_masks_are_those_of_the_generators_side_by_side(p):
    if library.load() is None:
        pytest.skip("no compiled layers")
    n = 20_003  # parts of more than two blocks, and none needs the last numbers of all its streams
    mask = keep_mask(n, p, torch.Generator().manual_seed(7))

    states = torch.empty(16, 32, dtype=torch.int64)
    expected = []
    for part, state in enumerate(states.random_(-(2**63), None, generator=torch.Generator().manual_seed(7))):
        words = [word % WORD for word in state.view(torch.int32).tolist()]
        streams = [xoshiro(words[stream::16]) for stream in range(16)]
        size = n * (part + 1) // 16 - n * part // 16
        expected += [int(next(streams[i % 16]) >= round(p * WORD)) for i in range(size)]
    assert mask.tolist() == expected
    assert mask.dtype == torch.uint8


@pytest.mark.usefixtures("layers")
def test_masks_are_the_same_with_any_number_of_threads():
    def mask(threads):
        torch.set_num_threads(threads)
        return keep_mask(100_000, 0.3, torch.Generator().manual_seed(7))

    before = torch.get_num_threads()
    try:
        assert torch.equal(mask(1), mask(3))
    finally:
        torch.set_num_threads(before)


@pytest.mark.usefixtures("layers")
def test_masks_follow_the_generator():
    torch.manual_seed(3)
    first, second = keep_mask(1000, 0.5), keep_mask(1000, 0.5)
    torch.manual_seed(3)

    assert not torch.equal(first, second)
    assert torch.equal(keep_mask(1000, 0.5), first)
    assert torch.equal(keep_mask(1000, 0.5, torch.Generator().manual_seed(3)), first)
    before = torch.get_rng_state()
    keep_mask(1000, 0.5, torch.Generator().manual_seed(3))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.usefixtures("layers")
@pytest.mark.parametrize("p", [0.01, 0.05, 0.5])
def test_rate_is_p(p):
    torch.manual_seed(1)
    n = 2_000_000

    assert stats.binomtest(n - int(keep_mask(n, p).sum()), n, p).pvalue > 0.001


@pytest.mark.usefixtures("layers")
@pytest.mark.parametrize("of", ["a mask", "masks that follow one another"])
def test_drops_are_independent(of):
    """The number of drops among any neighbours is binomial, whether these are in a mask or at its first places."""
    torch.manual_seed(2)
    n, p = 1_000_000, 0.05
    keep = keep_mask(n, p) if of == "a mask" else torch.cat([keep_mask(40, p) for _ in range(n // 40)])

    for window in (2, 8, 16, 40, 200):
        counts = (1 - keep).view(-1, window).sum(1).numpy()
        expected = stats.binom(window, p)
        top = int(expected.ppf(0.999))  # the last class holds the rest, and is never empty
        observed = [(counts == k).sum() for k in range(top)] + [(counts >= top).sum()]
        shares = [expected.pmf(k) for k in range(top)] + [expected.sf(top - 1)]
        assert stats.chisquare(observed, [share * len(counts) for share in shares]).pvalue > 0.001


@pytest.mark.usefixtures("layers")
def test_drops_at_any_distance_are_uncorrelated():
    torch.manual_seed(5)
    drops = 1 - keep_mask(1_000_000, 0.5).double()

    spectrum = torch.fft.rfft(drops - drops.mean(), n=2_000_000)  # padded: no distance is around the end
    together = torch.fft.irfft(spectrum.abs() ** 2)[1:1000] / 0.25
    distances = torch.arange(1, 1000)
    z = together / (len(drops) - distances).sqrt()  # each is a sum of so many products of variance 1
    assert stats.kstest(z.numpy(), "norm").pvalue > 0.001
    assert z.abs().max() < 5


@pytest.mark.usefixtures("layers")
def test_every_position_can_be_dropped_and_none_has_to():
    torch.manual_seed(3)

    assert (torch.stack([keep_mask(37, 0.2) for _ in range(200)]).min(0).values == 0).all()
    assert keep_mask(37, 0).tolist() == [1] * 37
    assert keep_mask(37, 1).tolist() == [0] * 37
    assert keep_mask(0, 0.2).shape == (0,)
