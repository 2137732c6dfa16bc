"""A file of a reader's own, in parts: a network, and an experiment that trains it. And a network of any shape."""

from torch import nn

NETWORK = """
    import torch.nn.functional as F
    from torch import nn

    WIDTH = 8

    def activate(x):
        return F.relu(x)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, WIDTH, 3, stride=2)
            self.head = nn.Linear(WIDTH * 16, 10)

        def forward(self, x):
            x = F.adaptive_max_pool2d(activate(self.conv(x)), 4)
            return F.log_softmax(self.head(x.flatten(1)), dim=1)
"""
EXPERIMENT = """
    from dataclasses import replace
    from mnist_s7 import T3

    MINE = replace(T3, name="MINE", network=Net, lr=0.02)
"""


class Network(nn.Module):
    """Layers, and a function of them and of the images."""

    def __init__(self, function, **layers):
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x):
        return self.function(self, x)
