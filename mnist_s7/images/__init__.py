"""A digit in a picture of any kind: read, made an image as MNIST's are, and classified.

May import torch, scipy and Pillow, and of the package `data`, `training` and `results`. Open `preprocessing` first,
which finds the digit and makes it MNIST's; `reading` takes files, arrays and whatever else holds a picture, and has
the errors; `prediction` is what a network says. README.md has the steps, and how often the answers are right.
"""

from mnist_s7.images.prediction import Prediction, image_files, predict_image
from mnist_s7.images.preprocessing import digit_image
from mnist_s7.images.reading import ImageError, ImageUnreadable, NoDigit, RawImage, SeveralDigits, read_image

__all__ = [
    "ImageError",
    "ImageUnreadable",
    "NoDigit",
    "Prediction",
    "RawImage",
    "SeveralDigits",
    "digit_image",
    "image_files",
    "predict_image",
    "read_image",
]
