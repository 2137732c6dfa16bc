"""The search for T5, an iteration to come: a small network that larger ones teach.

results/search_T5.csv has the trials so far: first those on a GPU, by a program of their own, whose epochs left out the
last 80 of 50,000 images, and then those of this package. The two are not to be compared: T4's own recipe is among both,
and ends elsewhere in each. Every choice is made on the other 10,000 training images, which `--validation` keeps apart:

    mnist-s7 teach notebooks/search_T5.py:STUDENT --validation
    mnist-s7 sweep notebooks/search_T5.py:STUDENT --validation --seeds 1-4
"""

from dataclasses import replace

from torch import nn
from torchvision import transforms

from mnist_s7 import T4, MnistNet_4
from mnist_s7.distillation import Distillation
from mnist_s7.models import Residual
from mnist_s7.transforms import Deformation


class Student(MnistNet_4):
    """7,824 parameters: T4's network with its second pool later, so that four of the six separable convolutions have
    12x12 pixels, with a skip connection more, and with pools that a shift by a pixel changes less: the maximum of 2x2
    pixels at every pixel, and not at every other, and then the averages of 2x2 maxima.

    After R. Zhang, "Making Convolutional Networks Shift-Invariant Again" (arXiv:1904.11486), section 3.
    """

    def __init__(self):
        super().__init__()
        *first, _ = self.block1
        *second, _ = self.block2
        self.block1 = nn.Sequential(*first, *_anti_aliased_pool())  # (N, 1, 28, 28) -> (N, 16, 12, 12)
        self.block2 = nn.Sequential(*second, Residual(32), Residual(32), *_anti_aliased_pool())  # (N, 32, 5, 5)
        self.block3 = self.block3[-6:]  # its last separable convolution: (N, 40, 5, 5)


def _anti_aliased_pool():
    return nn.MaxPool2d(2, stride=1), nn.AvgPool2d(2)


class Teacher(nn.Sequential):
    """72,656 parameters, in standard convolutions: 16 and 16 channels, 32 and 32, 64 and 64."""

    def __init__(self):
        super().__init__(
            *(*_conv(1, 16, padding=0), *_conv(16, 16, padding=0), nn.MaxPool2d(2)),  # (N, 16, 12, 12)
            *(*_conv(16, 32), *_conv(32, 32), nn.MaxPool2d(2)),  # (N, 32, 6, 6)
            *(*_conv(32, 64), *_conv(64, 64), nn.AdaptiveAvgPool2d(1)),  # (N, 64, 1, 1)
            *(nn.Conv2d(64, 10, 1, bias=False), nn.Flatten(), nn.LogSoftmax(1)),
        )


def _conv(channels_in, channels_out, padding=1):
    conv = nn.Conv2d(channels_in, channels_out, 3, padding=padding, bias=False)
    return conv, nn.BatchNorm2d(channels_out), nn.ReLU()


TEACHER = replace(
    T4,
    name="TEACHER",
    network=Teacher,
    train_transform=transforms.Compose(
        [Deformation(degrees=10, shift=2, scale=0.1, bend=0.7), *T4.train_transform.transforms[1:]]
    ),
    weight_decay=5e-4,
    epochs=20,
    targets=(),
)

STUDENT = replace(
    T4,
    name="STUDENT",
    network=Student,
    distillation=Distillation(TEACHER, teachers=4, temperature=2.0),
    targets=(),
)
