"""The torchvision pipelines, and their batched equivalents that the training loop uses.

A pipeline of torchvision transforms one PIL image at a time. `batched(pipeline)` reads the settings out of the
pipeline's own objects and does the same to a whole batch of tensors at once, with random draws for each image. Each
setting has one source, so the two cannot drift apart.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Generator, Tensor
from torchvision import transforms
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF

from mnist_s7 import InvalidArgument

MEAN, STD = 0.1307, 0.3081  # of all pixels of MNIST's training images, scaled to 0..1

PLAIN = transforms.Compose([transforms.ToTensor(), transforms.Normalize((MEAN,), (STD,))])

AUGMENTED = transforms.Compose(
    [
        # On a PIL image in 0..255 this fill is 1/255, next to black, and not the white that it looks like.
        transforms.RandomRotation((-7.0, 7.0), fill=(1,)),
        transforms.RandomAffine(degrees=15),
        transforms.ToTensor(),
        transforms.Normalize((MEAN,), (STD,)),
    ]
)

ONE_AFFINE = transforms.Compose(
    [
        transforms.RandomAffine(
            degrees=10, translate=(2 / 28, 2 / 28), scale=(0.9, 1.1), interpolation=InterpolationMode.BILINEAR
        ),
        transforms.ToTensor(),
        transforms.Normalize((MEAN,), (STD,)),
    ]
)


class BrightnessContrast:
    """A PIL image, or images on a scale of 255, as contrast * image + 255 * brightness, cut off at black and white:
    contrast from 1 - `contrast` to 1 + `contrast`, brightness from -`brightness` to `brightness`, drawn in this order.

    Black becomes grey, too, which torchvision's ColorJitter leaves black: as albumentations' RandomBrightnessContrast
    does it by default.
    """

    def __init__(self, brightness: float, contrast: float):
        self.brightness, self.contrast = brightness, contrast

    def __repr__(self) -> str:
        return f"BrightnessContrast(brightness={self.brightness:g}, contrast={self.contrast:g})"

    def __call__(self, image: Image.Image) -> Image.Image:
        factor, offset = self.draws(torch.empty(1), None)
        return image.point(lambda value: value * factor.item() + 255 * offset.item())

    def draws(self, images: Tensor, generator: Generator | None) -> tuple[Tensor, Tensor]:
        """(N,) factors and (N,) offsets for the (N, ...) images."""
        factor = _uniform(images, 1 - self.contrast, 1 + self.contrast, generator)
        return factor, _uniform(images, -self.brightness, self.brightness, generator)


class Deformation:
    """A PIL image, or images on a scale of 255, rotated, shifted, scaled and bent, and resampled once for all of it,
    which blurs them less than one transform after the other does. Black is around.

    Angles are up to `degrees` either way, shifts up to `shift` pixels, scales from 1 - `scale` to 1 + `scale`. To bend
    an image, NODES x NODES nodes that are spread over it are moved by normal draws with a standard deviation of `bend`
    pixels, and what is between them smoothly (bicubic): an elastic deformation after P. Simard et al., "Best Practices
    for Convolutional Neural Networks" (2003), on a grid, where theirs blurs a draw for every pixel.
    """

    NODES = 5

    def __init__(self, degrees: float, shift: float, scale: float, bend: float):
        self.degrees, self.shift, self.scale, self.bend = degrees, shift, scale, bend

    def __repr__(self) -> str:
        settings = f"degrees={self.degrees:g}, shift={self.shift:g}, scale={self.scale:g}, bend={self.bend:g}"
        return f"Deformation({settings})"

    def __call__(self, image: Image.Image) -> Image.Image:
        return TF.to_pil_image(self.batch(TF.pil_to_tensor(image).unsqueeze(0), None).squeeze(0))

    def batch(self, images: Tensor, generator: Generator | None) -> Tensor:
        """The (N, 1, H, W) `images`, each with its own draws, in their own type."""
        degrees = _uniform(images, -self.degrees, self.degrees, generator)
        shift = torch.stack([_uniform(images, -self.shift, self.shift, generator) for _ in "xy"], dim=1)
        scale = _uniform(images, 1 - self.scale, 1 + self.scale, generator)
        nodes = torch.empty(len(images), 2, self.NODES, self.NODES, device=images.device)
        nodes.normal_(0, self.bend, generator=generator)
        bent = F.interpolate(nodes, images.shape[2:], mode="bicubic", align_corners=True)
        return affine(images, degrees, shift, scale, mode="bilinear", bent=bent)


ELASTIC = transforms.Compose(
    [
        Deformation(degrees=10, shift=2, scale=0.1, bend=0.7),
        transforms.ToTensor(),
        transforms.Normalize((MEAN,), (STD,)),
    ]
)

Batched = Callable[[Tensor, Generator | None], Tensor]
KNOWN = (
    *(transforms.RandomRotation, transforms.RandomAffine, transforms.Pad, transforms.RandomCrop),
    *(transforms.CenterCrop, transforms.Resize, transforms.ColorJitter, BrightnessContrast, Deformation),
    *(transforms.RandomApply, transforms.ToTensor, transforms.Normalize),
)


def rotate(images: Tensor, degrees: Tensor, fill: float = 0) -> Tensor:
    """Rotate each of the (N, 1, H, W) `images` counter-clockwise by its own angle, (N,) `degrees`, about its centre.

    Nearest neighbour; pixels from outside the image become `fill`, in the images' own units. The same as
    torchvision's `rotate` on each tensor alone.
    """
    return affine(images, -degrees, fill=fill)


def affine(
    images: Tensor,
    degrees: Tensor,
    shift: Tensor | None = None,
    scale: Tensor | None = None,
    mode: str = "nearest",
    fill: float = 0,
    bent: Tensor | None = None,
) -> Tensor:
    """Rotate each of the (N, 1, H, W) `images` clockwise by its own angle, (N,) `degrees`, scale it by its own (N,)
    `scale`, and shift it by its own (N, 2) `shift`, pixels to the right and down. `mode` is nearest or bilinear.
    With `bent`, (N, 2, H, W), each pixel is then taken from so many pixels further right and down.

    As torchvision's `affine` without shear, on tensors: the grid's arithmetic is the same, in coordinates of -1..1
    with corners not aligned, and so is the `grid_sample`. What is outside is 0 there, so the fill is taken off first.
    (Bilinear, a pixel half from outside is half `fill` here; torchvision mixes the fill in once more.)
    """
    n, _, height, width = images.shape
    radians = torch.deg2rad(degrees.double())
    cos, sin = (f(radians).float()[:, None, None] for f in (torch.cos, torch.sin))
    x = torch.arange(width, device=images.device) + (0.5 - width / 2)
    y = (torch.arange(height, device=images.device) + (0.5 - height / 2))[:, None]
    if shift is not None:
        x, y = x - shift[:, 0, None, None], y - shift[:, 1, None, None]
    if scale is not None:
        cos, sin = cos / scale[:, None, None], sin / scale[:, None, None]
    half_width, half_height = width / 2, height / 2
    grid = torch.empty(n, 2, height, width, device=images.device).movedim(1, 3)  # each coordinate by itself in memory
    torch.add(x * (cos / half_width), y * (sin / half_width), out=grid[..., 0])
    torch.add(x * (-sin / half_height), y * (cos / half_height), out=grid[..., 1])
    if bent is not None:
        grid[..., 0] += bent[:, 0] / half_width
        grid[..., 1] += bent[:, 1] / half_height
    sampled = F.grid_sample(images.float() - fill, grid, mode=mode, align_corners=False).add_(fill)
    return sampled.to(images.dtype) if images.is_floating_point() else sampled.round_().to(images.dtype)


def normalize(images: Tensor, mean: float = MEAN, std: float = STD) -> Tensor:
    """(N, 1, H, W) uint8 images -> float32 of about zero mean and unit variance, as the `PLAIN` pipeline does, or with
    the `mean` and standard deviation of another data set, scaled to 0..1."""
    return batched(renormalized(PLAIN, mean, std))(images, None)


def renormalized(pipeline: transforms.Compose, mean: float, std: float) -> transforms.Compose:
    """The pipeline for a data set with this `mean` and standard deviation: they take the place of MNIST's. Other
    constants, which somebody chose, stay."""
    own = (MEAN,), (STD,)
    return transforms.Compose(
        [
            transforms.Normalize((mean,), (std,))
            if isinstance(step, transforms.Normalize) and (step.mean, step.std) == own
            else step
            for step in pipeline.transforms
        ]
    )


def batched(pipeline: transforms.Compose) -> Batched:
    """The batched equivalent of a torchvision `pipeline`: (N, 1, H, W) uint8 images and a generator on their device
    -> (N, 1, H, W) float32. Draws are the generator's; None stands for PyTorch's global one.

    Raises `InvalidArgument` for a transform, or a setting of one, that has no equivalent here.
    """
    if type(pipeline) is not transforms.Compose:
        raise InvalidArgument(f"no batched equivalent of a {type(pipeline).__name__}: a torchvision Compose is needed")
    steps = [_batched(transform) for transform in pipeline.transforms]

    def transform(images: Tensor, generator: Generator | None) -> Tensor:
        images = images.float()  # once, and not in every rotation
        for step in steps:
            images = step(images, generator)
        return images

    return transform


def augmentation_of(pipeline: transforms.Compose) -> list:
    """The transforms of `pipeline` that augment: all but those that make normalised tensors of images."""
    return [t for t in pipeline.transforms if not isinstance(t, (transforms.ToTensor, transforms.Normalize))]


def augmented(images: Tensor, pipeline: transforms.Compose, seed: int) -> Tensor:
    """uint8 (N, 28, 28) `images` as `pipeline` augments them, before it makes them floats: for a person to look at."""
    augment = batched(transforms.Compose(augmentation_of(pipeline)))
    found = augment(images.unsqueeze(1), torch.Generator().manual_seed(seed))
    return found.squeeze(1).round().to(images.dtype)


def _batched(transform: object) -> Batched:
    match transform if type(transform) in KNOWN else None:  # a class derived from one may draw in its own way
        case transforms.RandomRotation(interpolation=InterpolationMode.NEAREST, expand=False, center=None):
            (low, high), fill = transform.degrees, _scalar(transform.fill)
            return lambda images, generator: rotate(images, _uniform(images, low, high, generator), fill)
        case transforms.RandomAffine(
            interpolation=InterpolationMode.NEAREST | InterpolationMode.BILINEAR, shear=None, center=None
        ):
            fill = _scalar(transform.fill)
            return lambda images, generator: _random_affine(images, transform, fill, generator)
        case transforms.Pad(padding_mode="constant", fill=0):
            return lambda images, _: TF.pad(images, transform.padding)
        case transforms.RandomCrop(padding=None, pad_if_needed=False):
            return lambda images, generator: _random_crop(images, transform.size, generator)
        case transforms.CenterCrop():
            return lambda images, _: TF.center_crop(images, transform.size)
        case transforms.Resize(interpolation=InterpolationMode.BILINEAR, max_size=None):
            return lambda images, _: TF.resize(images, transform.size, antialias=True)
        case transforms.ColorJitter():  # saturation and hue change no grey image
            return lambda images, generator: _jitter(images, transform.brightness, transform.contrast, generator)
        case BrightnessContrast():
            return lambda images, generator: _brightness_contrast(images, *transform.draws(images, generator))
        case Deformation():
            return transform.batch
        case transforms.RandomApply():
            steps = [_batched(each) for each in transform.transforms]
            return lambda images, generator: _sometimes(images, steps, transform.p, generator)
        case transforms.ToTensor():
            return lambda images, _: images / 255
        case transforms.Normalize():
            mean, std = _scalar(transform.mean), _scalar(transform.std)
            return lambda images, _: (images - mean).div_(std)
    raise InvalidArgument(
        f"no batched equivalent of {transform}: write one in {__name__}, or use torchvision's own RandomRotation "
        "(nearest neighbour), RandomAffine (nearest or bilinear, without shear and centre), Pad (with black), "
        "RandomCrop (without padding), CenterCrop, Resize (bilinear), ColorJitter, RandomApply, ToTensor, Normalize; "
        "or Deformation, which bends images, too"
    )


def _random_affine(
    images: Tensor, transform: transforms.RandomAffine, fill: float, generator: Generator | None
) -> Tensor:
    """Draws in torchvision's order, and like it shifts by whole pixels."""
    degrees = _uniform(images, *transform.degrees, generator)
    shift = scale = None
    if transform.translate is not None:
        height, width = images.shape[2:]
        most = transform.translate[0] * width, transform.translate[1] * height
        shift = torch.stack([_uniform(images, -pixels, pixels, generator).round() for pixels in most], dim=1)
    if transform.scale is not None:
        scale = _uniform(images, *transform.scale, generator)
    return affine(images, degrees, shift, scale, transform.interpolation.value, fill)


def _random_crop(images: Tensor, size: tuple[int, int], generator: Generator | None) -> Tensor:
    """(N, 1, H, W) -> (N, 1, *size), each image's own window; all windows are equally likely."""
    height, width = size
    highest = images.shape[2] - height, images.shape[3] - width
    top, left = (_uniform(images, 0, most + 1, generator).floor().clamp(max=most).long() for most in highest)
    rows = top[:, None] + torch.arange(height, device=images.device)
    columns = left[:, None] + torch.arange(width, device=images.device)
    each = torch.arange(len(images), device=images.device)
    return images[each[:, None, None], 0, rows[:, :, None], columns[:, None, :]].unsqueeze(1)


def _jitter(
    images: Tensor,
    brightness: tuple[float, float] | None,
    contrast: tuple[float, float] | None,
    generator: Generator | None,
) -> Tensor:
    """Images on a scale of 255, each with its own two factors, from these ranges: of all pixels, and of their distances
    from the mean. Which of the two is first is drawn, too."""
    first = _uniform(images, 0, 1, generator)[:, None, None, None] < 0.5
    bright, strong = (
        _uniform(images, *(limits or (1, 1)), generator)[:, None, None, None] for limits in (brightness, contrast)
    )
    images = torch.where(first, (images * bright).clamp(0, 255), images)
    mean = images.mean((1, 2, 3), keepdim=True)
    images = (strong * images + (1 - strong) * mean).clamp(0, 255)
    return torch.where(first, images, (images * bright).clamp(0, 255))


def _brightness_contrast(images: Tensor, factor: Tensor, offset: Tensor) -> Tensor:
    return (images * factor[:, None, None, None] + 255 * offset[:, None, None, None]).clamp(0, 255)


def _sometimes(images: Tensor, steps: list[Batched], p: float, generator: Generator | None) -> Tensor:
    """Each image with probability `p` as all the steps change it, and else as it is."""
    chosen = (_uniform(images, 0, 1, generator) < p).nonzero().squeeze(1)
    if not len(chosen):
        return images
    changed = images[chosen]
    for step in steps:
        changed = step(changed, generator)
    return images.index_copy(0, chosen, changed)


def _scalar(value: float | tuple[float, ...]) -> float:
    """The one channel's value of a setting that torchvision keeps for each channel."""
    values = value if isinstance(value, (tuple, list)) else [value]
    if len(values) != 1:
        raise InvalidArgument(f"settings for {len(values)} channels, {value}: the digits have one")
    return values[0]


def _uniform(images: Tensor, low: float, high: float, generator: Generator | None) -> Tensor:
    """(N,) draws from [low, high), one for each of the (N, ...) `images`."""
    return torch.empty(len(images), device=images.device).uniform_(low, high, generator=generator)
