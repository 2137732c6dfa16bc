"""The batched equivalents against torchvision's own transforms, on tensors and on PIL images."""

import pytest
import torch
from scipy import stats
from torchvision import transforms
from torchvision.transforms import functional as F

from mnist_s7 import InvalidArgument
from mnist_s7.transforms import (
    AUGMENTED,
    ONE_AFFINE,
    PLAIN,
    STD,
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
        transforms.ColorJitter(),
        transforms.RandomAffine(10, shear=5),
        transforms.RandomAffine(10, interpolation=transforms.InterpolationMode.BICUBIC),
        transforms.RandomRotation(5, expand=True),
    ],
)
def test_a_transform_without_an_equivalent_is_refused(transform):
    with pytest.raises(ValueError, match="no batched equivalent of"):
        batched(transforms.Compose([transform]))


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
