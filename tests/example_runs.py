"""What a run needs besides its figures to be saved."""

ENVIRONMENT = {
    "python": "3",
    "torch": "2",
    "torchvision": "0",
    "system": "a system",
    "device": "a CPU",
    "threads": 2,
    "precision": "float32",
    "kernels": "compiled",
    "freed_memory": "kept",
    "commit": None,
    "dirty": None,
}


def errors(accuracy, images=10_000):
    """As many as the accuracy, in percent, says."""
    return [(index, index % 10) for index in range(round(images * (100 - accuracy) / 100))]
