"""Each corruption does to an image what Pillow, torchvision, SciPy or the formula itself does to it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter
from scipy import ndimage
from torchvision.transforms import functional as TF

from mnist_s7.data.digits import DigitsInvalid
from mnist_s7.robustness import CORRUPTIONS
from mnist_s7.robustness.corruptions import with_noise

BY_NAME = {corruption.name: corruption for corruption in CORRUPTIONS}


@pytest.fixture(scope="module")
def images():
    """Blurred noise in a black frame of three pixels, as no digit of MNIST touches the edge."""
    noise = 255 * torch.rand(5, 1, 26, 26, generator=torch.Generator().manual_seed(0))
    smooth = (4 * (F.avg_pool2d(noise, 5, stride=1) - 127) + 127).clamp(0, 255)
    return F.pad(smooth, (3, 3, 3, 3)).squeeze(1).byte()


def pictures(images, change):
    """What `change` makes of each image as one of Pillow's, in float."""
    return torch.from_numpy(np.stack([np.asarray(change(Image.fromarray(image.numpy()))) for image in images])).float()


def assert_near(found, expected, within=1.0):
    assert found.dtype == torch.uint8 and found.shape == expected.shape
    assert (found.float() - expected).abs().max() <= within


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda each: each.name)
def test_the_neutral_strength_changes_nothing_and_the_others_do(corruption, images):
    assert list(corruption.strengths) == sorted(set(corruption.strengths))
    assert corruption.neutral in corruption.strengths
    for strength in corruption.strengths:
        found = corruption(images, strength)
        assert torch.equal(found, images) == (strength == corruption.neutral)
        assert torch.equal(found, corruption(images, strength)), "a corruption is the same each time"


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda each: each.name)
def test_an_image_is_corrupted_alike_whichever_are_beside_it(corruption, images):
    strength = corruption.strengths[0 if corruption.strengths[0] != corruption.neutral else -1]

    assert torch.equal(corruption(images, strength)[:2], corruption(images[:2], strength))


@pytest.mark.parametrize("degrees", [-45, -10, 5, 30])
def test_rotation_is_scipys(degrees, images):
    """Counter-clockwise, as the rows of an image count downwards."""
    expected = ndimage.rotate(
        images.numpy().astype(float), degrees, axes=(2, 1), reshape=False, order=1, mode="grid-constant"
    )
    by_pillow = pictures(images, lambda image: image.rotate(degrees, Image.Resampling.BILINEAR))

    found = BY_NAME["rotation"](images, degrees)
    assert_near(found, torch.from_numpy(expected).float())
    assert (found.float() - by_pillow).abs().mean() < 1  # which way it turns: at the frame, Pillow mixes otherwise


@pytest.mark.parametrize("pixels", [-5, 1, 4])
def test_shifts_move_whole_pixels(pixels, images):
    padded = F.pad(images, (6, 6, 6, 6))

    assert torch.equal(BY_NAME["horizontal shift"](images, pixels), padded[:, 6:34, 6 - pixels : 34 - pixels])
    assert torch.equal(BY_NAME["vertical shift"](images, pixels), padded[:, 6 - pixels : 34 - pixels, 6:34])


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.3])
def test_scale_is_scipys(factor, images):
    centre = 13.5 * (1 - 1 / factor)  # where the first pixel comes from
    expected = [
        ndimage.affine_transform(image.astype(float), np.eye(2) / factor, offset=centre, order=1, mode="grid-constant")
        for image in images.numpy()
    ]

    assert_near(BY_NAME["scale"](images, factor), torch.from_numpy(np.stack(expected)).float())


def test_noise_has_the_standard_deviation_that_is_asked_for():
    grey = torch.full((400, 28, 28), 128, dtype=torch.uint8)

    noise = with_noise(grey, 20).double() - 128

    assert noise.mean().abs() < 0.2
    assert noise.std() == pytest.approx((20**2 + 1 / 12) ** 0.5, abs=0.1)  # and what rounding adds
    assert abs(float(torch.corrcoef(noise.flatten(1)[:2])[0, 1])) < 0.15
    twice = with_noise(grey, 40).double() - 128
    inside = twice.abs() < 127
    assert (twice - 2 * noise)[inside].abs().max() <= 1.5


def test_noise_is_cut_off_at_black_and_white():
    black, white = torch.zeros(50, 28, 28).byte(), torch.full((50, 28, 28), 255).byte()

    assert float((with_noise(black, 50) == 0).float().mean()) == pytest.approx(0.5, abs=0.02)
    assert float((with_noise(white, 50) == 255).float().mean()) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("sd", [0.5, 1.5, 3])
def test_blur_is_a_convolution_with_a_gaussian(sd, images):
    side = 2 * int(4 * sd + 0.5) + 1

    expected = TF.gaussian_blur(F.pad(images, [20] * 4).float(), [side, side], [sd, sd])[:, 20:-20, 20:-20]

    assert_near(BY_NAME["blur"](images, sd), expected)


@pytest.mark.parametrize("pixels", [-1.5, -0.5, 1, 2.5])
def test_strokes_are_widened_by_pillows_filter(pixels, images):
    side = int(4 * abs(pixels)) + 1
    kind = ImageFilter.MaxFilter if pixels > 0 else ImageFilter.MinFilter

    def widened(image):
        fine = image.resize((112, 112), Image.Resampling.NEAREST).filter(kind(side))
        return fine.resize((28, 28), Image.Resampling.BOX)

    assert_near(BY_NAME["stroke width"](images, pixels), pictures(images, widened))


def test_a_stroke_is_as_much_wider_as_is_said():
    """A vertical line of three white pixels, and its width as the sum of a row."""
    line = torch.zeros(1, 28, 28, dtype=torch.uint8)
    line[:, 4:24, 12:15] = 255

    for pixels in (-1.5, -1, 0.5, 2, 3):
        found = BY_NAME["stroke width"](line, pixels)
        assert float(found[0, 14].sum()) / 255 == pytest.approx(3 + pixels, abs=0.01)
        assert float(found[0, :, 13].sum()) / 255 == pytest.approx(20 + pixels, abs=0.01)


@pytest.mark.parametrize("factor", [0.1, 0.6, 1.5])
def test_contrast_is_torchvisions(factor, images):
    expected = torch.stack([TF.adjust_contrast(image[None], factor)[0] for image in images])

    assert_near(BY_NAME["contrast"](images, factor), expected.float())  # which rounds down


def test_other_images_are_refused(images):
    for corruption in CORRUPTIONS:
        with pytest.raises(DigitsInvalid):
            corruption(images.float(), corruption.neutral)
