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

from mnist_s7 import T4
from mnist_s7.distillation import Distillation
from mnist_s7.models import Residual
from mnist_s7.transforms import Deformation


class Student(nn.Sequential):
    """7,824 parameters in T4's kinds of layers, four of the six separable convolutions on 12x12 pixels, with pools that
    a shift by a pixel changes less: the maximum of 2x2 pixels at every pixel, and not at every other, and then the
    averages of 2x2 maxima.

    After R. Zhang, "Making Convolutional Networks Shift-Invariant Again" (arXiv:1904.11486), section 3.
    """

    def __init__(self):
        super().__init__(
            *(nn.Conv2d(1, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(), Residual(16)),  # (N, 16, 26, 26)
            *(nn.MaxPool2d(2, stride=1), nn.AvgPool2d(2)),  # (N, 16, 12, 12)
            *(*_separable(16, 32), Residual(32), Residual(32), Residual(32)),  # (N, 32, 12, 12)
            *(nn.MaxPool2d(2, stride=1), nn.AvgPool2d(2)),  # (N, 32, 5, 5)
            *(*_separable(32, 40), nn.AdaptiveAvgPool2d(1)),  # (N, 40, 1, 1)
            *(nn.Conv2d(40, 10, 1, bias=False), nn.Flatten(), nn.LogSoftmax(1)),
        )


def _separable(channels_in, channels_out):
    return (
        *(
            nn.Conv2d(channels_in, channels_in, 3, padding=1, groups=channels_in, bias=False),
            nn.BatchNorm2d(channels_in),
        ),
        *(nn.ReLU(), nn.Conv2d(channels_in, channels_out, 1, bias=False), nn.BatchNorm2d(channels_out), nn.ReLU()),
    )


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
