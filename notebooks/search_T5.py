"""The search for T5, an iteration to come: a small network that larger ones teach.

results/search_T5.csv has the trials so far, made on a GPU, where epochs left out the last 80 of 50,000 images. Every
choice is made on the other 10,000 training images, which `--validation` keeps apart:

    mnist-s7 teach notebooks/search_T5.py:STUDENT --validation
    mnist-s7 sweep notebooks/search_T5.py:STUDENT --validation --seeds 1-4
"""

from dataclasses import replace

from torch import nn
from torchvision import transforms

from mnist_s7 import T4, MnistNet_4
from mnist_s7.distillation import Distillation


class AntiAliased(MnistNet_4):
    """T4's network, with pools that a shift by a pixel changes less: the maximum of 2x2 pixels at every pixel, and not
    at every other, and then the averages of 2x2 maxima.

    After R. Zhang, "Making Convolutional Networks Shift-Invariant Again" (arXiv:1904.11486), section 3.
    """

    def __init__(self, widths=(16, 32, 32, 40)):
        super().__init__(widths)
        self.block1 = _anti_aliased(self.block1)  # (N, 1, 28, 28) -> (N, 16, 12, 12)
        self.block2 = _anti_aliased(self.block2)  # (N, 32, 5, 5)


def _anti_aliased(block):
    *layers, _ = block
    return nn.Sequential(*layers, nn.MaxPool2d(2, stride=1), nn.AvgPool2d(2))


class Wide(AntiAliased):
    """24,672 parameters."""

    def __init__(self):
        super().__init__(widths=(32, 64, 64, 64))


TEACHER = replace(T4, name="TEACHER", network=Wide, weight_decay=5e-4, epochs=20, targets=())

# A candidate, and a weak one at its first trial, perhaps because images that are resampled twice are blurred. Those of
# the CSV were resampled once.
ELASTIC_TEACHER = replace(
    TEACHER,
    name="ELASTIC_TEACHER",
    train_transform=transforms.Compose(
        [
            T4.train_transform.transforms[0],
            transforms.ElasticTransform(alpha=24.0, sigma=3.0),
            *T4.train_transform.transforms[1:],
        ]
    ),
)

STUDENT = replace(
    T4,
    name="STUDENT",
    network=AntiAliased,
    distillation=Distillation(TEACHER, teachers=4, temperature=2.0),
    targets=(),
)
