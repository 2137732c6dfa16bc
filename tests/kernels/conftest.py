import pytest

from mnist_s7.kernels.chain import Chain
from mnist_s7.kernels.library import load


@pytest.fixture
def links(monkeypatch):
    """The links that C ran, in their order. Without a C compiler there are none, and no test of them."""
    if load() is None:
        pytest.skip("no compiled layers")
    ran, apply = [], Chain.apply

    def noted(x, links, *parameters):
        ran.extend(links)
        return apply(x, links, *parameters)

    monkeypatch.setattr(Chain, "apply", noted)
    return ran
