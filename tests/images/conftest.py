import pytest


@pytest.fixture(scope="session")
def network():
    """T4, trained."""
    from mnist_s7 import pretrained

    return pretrained("T4")
