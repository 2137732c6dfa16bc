"""The batched equivalents against torchvision's own transforms, on tensors and on PIL images."""

import pytest
import torch
from scipy import stats
from torchvision import transforms
from torchvision.transforms import functional as F

from mnist_s7 import InvalidArgument
from mnist_s7.baselines import BASELINES
from mnist_s7.transforms import (
    AUGMENTED,
    ONE_AFFINE,
    PLAIN,
    STD,
    BrightnessContrast,
    Deformation,
    affine,
    augmented,
    batched,
    normalize,
    renormalized,
    rotate,
)


def torchvision_rotate(image, degrees):
    return F.rotate(image, degrees, fill=[1])


def torchvision_affine(image, degrees):
    return F.affine(image, degrees, [0, 0], 1.0, [0.0, 0.0])


@pytest.fixture(scope="module")
def images(mnist):
    return mnist.test_images[:1000].unsqueeze(1)


@pytest.fixture(scope="module")
def degrees():
    return torch.empty(1000).uniform_(-15, 15, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("equivalent", "reference"),
    [(lambda x, a: rotate(x, a, fill=1), torchvision_rotate), (affine, torchvision_affine)],
    ids=["rotate", "affine"],
)
class TestTwins:
    def test_equal_torchvision_on_tensors(self, images, degrees, equivalent, reference):
        expected = torch.stack([reference(image, a) for image, a in zip(images, degrees.tolist(), strict=True)])

        assert torch.equal(equivalent(images, degrees), expected)

    def test_nearly_equal_torchvision_on_pil_images(self, images, degrees, equivalent, reference):
        pairs = zip(images, degrees.tolist(), strict=True)
        expected = torch.stack([F.pil_to_tensor(reference(F.to_pil_image(image), a)) for image, a in pairs])

        assert (equivalent(images, degrees) == expected).float().mean() >= 0.995

    def test_a_shape_that_is_not_square(self, equivalent, reference):
        image = torch.randint(0, 256, (1, 1, 20, 31), generator=torch.Generator().manual_seed(0)).byte()

        assert torch.equal(equivalent(image, torch.tensor([11.0])), reference(image, 11.0))


@pytest.fixture(scope="module")
def draws(degrees):
    generator = torch.Generator().manual_seed(1)
    shift = torch.empty(1000, 2).uniform_(-3, 3, generator=generator).round()
    return degrees, shift, torch.empty(1000).uniform_(0.9, 1.1, generator=generator)


class TestShiftsAndScales:
    """One affine of torchvision's with everything in it but shear, against the batched one with the same draws."""

    def theirs(self, images, draws, mode):
        for image, angle, shift, scale in zip(images, *(draw.tolist() for draw in draws), strict=True):
            yield F.affine(image, angle, shift, scale, [0.0, 0.0], transforms.InterpolationMode(mode), fill=[0])

    @pytest.mark.parametrize("mode", ["nearest", "bilinear"])
    def test_equal_torchvision_on_tensors(self, images, draws, mode):
        ours = affine(images.float(), *draws, mode)
        expected = torch.stack(list(self.theirs(images.float(), draws, mode)))

        near = (ours - expected).abs() < 0.01
        # Rounding decides between two pixels at equal distances, and at the rim torchvision's bilinear fades out twice.
        assert near.float().mean() > 0.9999

    @pytest.mark.parametrize("mode", ["nearest", "bilinear"])
    def test_nearly_equal_torchvision_on_pil_images(self, images, draws, mode):
        expected = self.theirs(map(F.to_pil_image, images), draws, mode)
        ours, expected = affine(images, *draws, mode).int(), torch.stack([F.pil_to_tensor(image) for image in expected])

        assert ((ours - expected).abs() <= 1).float().mean() >= 0.995  # PIL cuts off what is rounded here

    def test_the_pipelines_draws_are_torchvisions(self, images):
        """The same numbers in the same order; each image's own."""
        transform = transforms.RandomAffine(
            10, translate=(0.1, 0.2), scale=(0.9, 1.1), interpolation=transforms.InterpolationMode.BILINEAR
        )
        for seed in range(20):
            torch.manual_seed(seed)
            expected = transform(images[seed].float())
            torch.manual_seed(seed)
            ours = batched(transforms.Compose([transform]))(images[seed : seed + 1], None)[0]
            assert (ours - expected).abs().max() < 0.01

    def test_each_image_of_a_batch_has_its_own_draws(self, monkeypatch):
        """Of a map that is not square, too: shares of its width go to the right, and of its height down."""
        drawn = {}

        def record(images, degrees, shift, scale, mode, fill):
            drawn.update(degrees=degrees, x=shift[:, 0], y=shift[:, 1], scale=scale, mode=mode)
            return images

        monkeypatch.setattr("mnist_s7.transforms.affine", record)
        transform = transforms.RandomAffine(10, translate=(0.1, 0.5), scale=(0.9, 1.1), fill=3)
        equivalent = batched(transforms.Compose([transform]))
        equivalent(torch.zeros(5000, 1, 20, 40, dtype=torch.uint8), torch.Generator().manual_seed(0))

        assert drawn["mode"] == "nearest"
        assert set(drawn["x"].tolist()) == set(range(-4, 5))
        assert set(drawn["y"].tolist()) == set(range(-10, 11))
        for name, low, high in (("degrees", -10, 10), ("scale", 0.9, 1.1)):
            assert len(drawn[name].unique()) > 4990
            assert stats.kstest(drawn[name].numpy(), stats.uniform(low, high - low).cdf).pvalue > 0.01

    def test_half_a_pixel_from_outside_is_half_the_fill(self):
        white = torch.full((1, 1, 4, 4), 200.0)

        shifted = affine(white, torch.zeros(1), torch.tensor([[0.5, 0.0]]), mode="bilinear", fill=100)

        assert shifted[0, 0, 0].tolist() == pytest.approx([150, 200, 200, 200])


def test_turns_no_pixel_by_zero_degrees():
    image = torch.arange(784).remainder(256).byte().view(1, 1, 28, 28)

    assert torch.equal(rotate(image, torch.zeros(1)), image)


def test_the_whole_pipeline_follows_torchvisions(images):
    """With the angles that the generator will draw, PIL's pipeline step by step gives what the batched one gives."""
    ours = batched(AUGMENTED)(images, torch.Generator().manual_seed(5))

    generator = torch.Generator().manual_seed(5)
    rotations = torch.empty(1000).uniform_(-7, 7, generator=generator).tolist()
    turns = torch.empty(1000).uniform_(-15, 15, generator=generator).tolist()
    theirs = torch.stack(
        [
            PLAIN(F.affine(F.rotate(F.to_pil_image(image), a, fill=(1,)), b, [0, 0], 1.0, [0.0, 0.0]))
            for image, a, b in zip(images, rotations, turns, strict=True)
        ]
    )
    assert ((ours - theirs).abs() < 1e-6).float().mean() >= 0.995


def test_one_affine_follows_torchvisions(images):
    """With the numbers that the generator will draw, PIL gives what the batched one gives, but for its rounding."""
    some = images[:200]
    ours = batched(ONE_AFFINE)(some, torch.Generator().manual_seed(5))

    generator, limits = torch.Generator().manual_seed(5), ((-10, 10), (-2, 2), (-2, 2), (0.9, 1.1))
    draws = [torch.empty(200).uniform_(low, high, generator=generator).tolist() for low, high in limits]
    mode = transforms.InterpolationMode.BILINEAR
    theirs = torch.stack(
        [
            PLAIN(F.affine(F.to_pil_image(image), degrees, [round(x), round(y)], scale, [0.0, 0.0], mode))
            for image, degrees, x, y, scale in zip(some, *draws, strict=True)
        ]
    )
    assert ((ours - theirs).abs() < 1.5 / 255 / STD).float().mean() >= 0.995


def test_normalizing_equals_torchvisions(images):
    expected = torch.stack([PLAIN(F.to_pil_image(image)) for image in images[:50]])

    assert torch.equal(normalize(images[:50]), expected)


@pytest.mark.parametrize(
    ("transform", "name", "limit"),
    [
        (transforms.RandomRotation((-7.0, 7.0), fill=(1,)), "rotate", 7),
        (transforms.RandomAffine(degrees=15), "affine", 15),
    ],
)
def test_angles_are_uniform_and_each_image_has_its_own(monkeypatch, transform, name, limit):
    drawn = []

    def record(images, degrees, *settings, **fill):
        drawn.append(degrees)
        return images

    monkeypatch.setattr(f"mnist_s7.transforms.{name}", record)
    images = torch.zeros(5000, 1, 2, 2, dtype=torch.uint8)
    equivalent, generator = batched(transforms.Compose([transform])), torch.Generator().manual_seed(0)
    for _ in range(4):
        equivalent(images, generator)

    angles = torch.cat(drawn)
    assert len(angles) == 20_000
    assert stats.kstest(angles.numpy(), stats.uniform(-limit, 2 * limit).cdf).pvalue > 0.01
    assert len(angles.unique()) > 19_900


def test_one_image_many_times_comes_out_in_many_ways(images):
    rotated = batched(AUGMENTED)(images[:1].expand(50, 1, 28, 28), torch.Generator().manual_seed(0))

    assert len(rotated.unique(dim=0)) == 50


def test_fill_is_the_references():
    """1 on a scale of 255 in the corners that the rotation uncovers, 0 in those of the affine turn."""
    white = torch.full((1, 1, 28, 28), 255, dtype=torch.uint8)

    assert rotate(white, torch.tensor([7.0]), fill=AUGMENTED.transforms[0].fill[0])[0, 0, 0, 0] == 1
    assert affine(white, torch.tensor([15.0]))[0, 0, 0, 0] == 0
    corner = batched(transforms.Compose(AUGMENTED.transforms[:1]))(white.expand(99, 1, 28, 28), None)[:, 0, 0, 0]
    assert set(corner.tolist()) == {1, 255}  # 255: rotated by too little to uncover the corner


def test_augmented_is_for_looking_at(images):
    before = images[:5].squeeze(1)

    assert augmented(before, AUGMENTED, seed=1).dtype == torch.uint8
    assert torch.equal(augmented(before, PLAIN, seed=1), before)
    assert torch.equal(augmented(before, AUGMENTED, seed=1), augmented(before, AUGMENTED, seed=1))
    assert not torch.equal(augmented(before, AUGMENTED, seed=1), augmented(before, AUGMENTED, seed=2))


@pytest.mark.parametrize(
    "transform",
    [
        transforms.GaussianBlur(3),
        transforms.Pad(2, fill=1),
        transforms.RandomCrop(28, padding=2),
        transforms.Resize(28, interpolation=transforms.InterpolationMode.NEAREST),
        transforms.RandomApply([transforms.GaussianBlur(3)]),
        transforms.RandomAffine(10, shear=5),
        transforms.RandomAffine(10, interpolation=transforms.InterpolationMode.BICUBIC),
        transforms.RandomRotation(5, expand=True),
    ],
)
def test_a_transform_without_an_equivalent_is_refused(transform):
    with pytest.raises(ValueError, match="no batched equivalent of"):
        batched(transforms.Compose([transform]))


def transformed(transform, images, seed=0):
    """By the batched equivalent of one transform, with its draws from a generator of this seed."""
    return batched(transforms.Compose([transform]))(images, torch.Generator().manual_seed(seed))


def on_pil(transform, image):
    """A grey (1, 28, 28) image through torchvision's own code on a PIL image."""
    return F.pil_to_tensor(transform(F.to_pil_image(image)))


@pytest.mark.parametrize(
    "transform",
    [transforms.Pad(2), transforms.CenterCrop(22), transforms.CenterCrop((20, 24)), transforms.Resize((14, 14))],
)
def test_what_draws_nothing_equals_torchvisions_on_pil_images(images, transform):
    some = images[:50]

    expected = torch.stack([on_pil(transform, image) for image in some])
    assert (transformed(transform, some) - expected).abs().max() < 1.01  # PIL rounds what it resizes


def test_cropping_and_resizing_equals_torchvisions(images):
    """With probability 1: each image's middle, enlarged."""
    steps = [transforms.CenterCrop(22), transforms.Resize((28, 28))]
    some = images[:50]

    ours = transformed(transforms.RandomApply(steps, p=1.0), some)
    expected = torch.stack([on_pil(transforms.Compose(steps), image) for image in some])

    assert (ours - expected).abs().max() < 1.01
    assert not torch.equal(ours, some.float())


def test_a_transform_is_applied_to_its_share_of_the_images(images):
    many = images.expand(1000, 1, 28, 28)
    transform = transforms.RandomApply([transforms.CenterCrop(22), transforms.Resize((28, 28))], p=0.1)

    changed = (transformed(transform, many) != many).flatten(1).any(1)

    assert stats.binomtest(int(changed.sum()), 1000, 0.1).pvalue > 0.01
    assert torch.equal(transformed(transforms.RandomApply(transform.transforms, p=0.0), many), many.float())


def test_a_crop_is_one_of_torchvisions(images):
    """Each of the 25 windows of a padded image equally often, and each image with its own."""
    image = images[:1]
    pipeline = transforms.Compose([transforms.Pad(2), transforms.RandomCrop(28)])
    padded = F.pad(image[0], [2])
    windows = {F.crop(padded, top, left, 28, 28).numpy().tobytes(): 0 for top in range(5) for left in range(5)}

    for cropped in batched(pipeline)(image.expand(5000, 1, 28, 28), torch.Generator().manual_seed(0)).byte():
        windows[cropped.numpy().tobytes()] += 1  # a KeyError for what is none of them

    assert len(windows) == 25
    assert stats.chisquare(list(windows.values())).pvalue > 0.01


def test_a_crop_has_torchvisions_size(images):
    assert transformed(transforms.RandomCrop((20, 24)), images[:5]).shape == (5, 1, 20, 24)
    assert torch.equal(transformed(transforms.RandomCrop(28), images[:5]), images[:5].float())


@pytest.mark.parametrize("settings", [{"brightness": 0.3}, {"contrast": 0.3}, {"brightness": 0.2, "contrast": 0.3}])
def test_jitter_is_one_of_torchvisions(images, monkeypatch, settings):
    """With the factors that the generator will draw, and in the order that it will, PIL gives the same greys."""
    some = images[:100]
    transform = transforms.ColorJitter(**settings, saturation=0.5, hue=0.2)  # the last two change no grey image
    ours = transformed(transform, some, seed=3)

    generator = torch.Generator().manual_seed(3)
    first = torch.empty(100).uniform_(0, 1, generator=generator) < 0.5
    factors = [
        torch.empty(100).uniform_(*(limits or (1, 1)), generator=generator).tolist()
        for limits in (transform.brightness, transform.contrast)
    ]
    theirs = []
    for image, bright_first, brightness, contrast in zip(some, first, *factors, strict=True):
        order = torch.tensor([0, 1, 2, 3] if bright_first else [1, 0, 3, 2])
        drawn = order, brightness, contrast, 1.2, 0.1
        monkeypatch.setattr(transforms.ColorJitter, "get_params", staticmethod(lambda *limits, drawn=drawn: drawn))
        theirs.append(on_pil(transform, image))

    assert (ours - torch.stack(theirs)).abs().max() < 2.5  # PIL rounds down, twice, and rounds the mean
    assert len({*factors[0]}) > 90 or len({*factors[1]}) > 90


def test_a_deformation_that_does_not_bend_is_torchvisions_affine(images):
    """With the same draws; shifts are of parts of pixels, too."""
    some = images[:50].float()

    ours = transformed(Deformation(degrees=10, shift=2, scale=0.1, bend=0), some, seed=5)

    generator = torch.Generator().manual_seed(5)
    limits = (-10, 10), (-2, 2), (-2, 2), (0.9, 1.1)
    draws = zip(*(torch.empty(50).uniform_(*each, generator=generator).tolist() for each in limits), strict=True)
    theirs = [
        F.affine(image, degrees, [right, down], scale, [0.0], transforms.InterpolationMode.BILINEAR)
        for image, (degrees, right, down, scale) in zip(some, draws, strict=True)
    ]
    torch.testing.assert_close(ours, torch.stack(theirs), atol=0.02, rtol=0)  # of 255


@pytest.mark.parametrize("axis", [0, 1])
def test_a_deformation_bends_by_normal_shifts_of_its_nodes(axis):
    """Told by images that are as bright as their pixels are far from the edge: after they were bent, they say where
    each pixel is from."""
    ramp = torch.arange(29.0).expand(29, 29) if axis else torch.arange(29.0)[:, None].expand(29, 29)
    bent = transformed(Deformation(degrees=0, shift=0, scale=0, bend=0.8), ramp.expand(3000, 1, 29, 29), seed=1)
    shifts = (bent - ramp).squeeze(1)

    inner = shifts[:, 7:22:7, 7:22:7].flatten(1)  # nodes are 7 pixels apart, and the outer ones at the edges
    assert all(stats.kstest(node.numpy(), stats.norm(0, 0.8).cdf).pvalue > 0.001 for node in inner.T)
    assert torch.corrcoef(inner.T).fill_diagonal_(0).abs().max() < 0.08
    neighbours = torch.corrcoef(torch.stack([shifts[:, 14, 14], shifts[:, 14, 15]]))[0, 1]
    assert neighbours > 0.95  # smooth between them


def test_a_deformation_takes_pil_images_too(images):
    some, transform = images[:50], Deformation(degrees=10, shift=2, scale=0.1, bend=0.7)
    assert repr(transform) == "Deformation(degrees=10, shift=2, scale=0.1, bend=0.7)"
    for seed, image in enumerate(some):
        torch.manual_seed(seed)
        alone = on_pil(transform, image)
        torch.manual_seed(seed)
        together = batched(transforms.Compose([transform]))(image[None], None)[0]
        assert (together - alone).abs().max() <= 0.51
        assert (together - image).abs().max() > 20


def test_jitter_draws_uniform_factors():
    """Told by a grey that nothing cuts off: brightness scales it."""
    grey = torch.full((5000, 1, 4, 4), 100, dtype=torch.uint8)

    factors = transformed(transforms.ColorJitter(brightness=0.1), grey)[:, 0, 0, 0] / 100

    assert stats.kstest(factors.numpy(), stats.uniform(0.9, 0.2).cdf).pvalue > 0.01


def test_brightness_and_contrast_against_pils_own_table(images):
    """On PIL images one by one, and on all at once with the same draws."""
    some, transform = images[:50], BrightnessContrast(brightness=0.2, contrast=0.3)

    ours = transformed(transform, some, seed=4)

    generator = torch.Generator().manual_seed(4)
    factors = torch.empty(50).uniform_(0.7, 1.3, generator=generator)
    offsets = torch.empty(50).uniform_(-0.2, 0.2, generator=generator)
    expected = (some * factors.view(-1, 1, 1, 1) + 255 * offsets.view(-1, 1, 1, 1)).clamp(0, 255)
    torch.testing.assert_close(ours, expected)
    assert ours.min() == 0 and ours[:, :, 0, 0].max() > 40  # black becomes grey
    for seed, image in enumerate(some):
        torch.manual_seed(seed)
        alone = on_pil(transform, image)
        torch.manual_seed(seed)
        assert (batched(transforms.Compose([transform]))(image[None], None)[0] - alone).abs().max() <= 1


PIPELINES = {repr(each.train_transform): each for each in BASELINES}.values()


@pytest.mark.parametrize("experiment", PIPELINES, ids=lambda each: each.name)
def test_the_baselines_pipelines_take_batches_and_pil_images(images, experiment):
    """Both give normalised images of one mean, within what their draws vary."""
    some = images[:200]
    torch.manual_seed(0)

    theirs = torch.stack([experiment.train_transform(F.to_pil_image(image)) for image in some])
    ours = batched(experiment.train_transform)(some, torch.Generator().manual_seed(0))

    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    assert ours.mean() == pytest.approx(theirs.mean().item(), abs=0.05)
    assert ours.std() == pytest.approx(theirs.std().item(), abs=0.05)


class OwnAngles(transforms.RandomRotation):
    @staticmethod
    def get_params(degrees):
        return 90.0


class OwnScale(transforms.ToTensor):
    def __call__(self, image):
        return 255 * super().__call__(image)


class OwnOrder(transforms.Compose):
    def __call__(self, image):
        return super().__call__(image).flip(-1)


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        (transforms.Compose([OwnAngles(7)]), "no batched equivalent of OwnAngles"),
        (transforms.Compose([OwnScale()]), "no batched equivalent of OwnScale"),
        (OwnOrder([transforms.ToTensor()]), "no batched equivalent of a OwnOrder"),
        (transforms.Compose([transforms.Normalize((0.1, 0.2), (1, 1))]), "settings for 2 channels"),
        (transforms.Compose([transforms.RandomRotation(7, fill=(1, 2, 3))]), "settings for 3 channels"),
        (transforms.Compose([transforms.RandomAffine(7, fill=(1, 2))]), "settings for 2 channels"),
    ],
)
def test_what_the_equivalent_would_do_otherwise_is_refused(pipeline, message):
    with pytest.raises(InvalidArgument, match=message):
        batched(pipeline)


def test_another_data_sets_constants_take_the_place_of_mnists_alone():
    changed = renormalized(AUGMENTED, 0.286, 0.353)

    assert changed.transforms[:3] == AUGMENTED.transforms[:3]
    assert (changed.transforms[3].mean, changed.transforms[3].std) == ((0.286,), (0.353,))
    chosen = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])
    assert renormalized(chosen, 0.286, 0.353).transforms == chosen.transforms
