"""The effective receptive field against convolutions whose gradients are known, and inside the theoretical one."""

import pytest
import torch
from torch import nn

from mnist_s7.models import MnistNet_1, MnistNet_3
from mnist_s7.receptive_field import ReceptiveFieldError, effective_receptive_field, receptive_field


def test_effective_field_of_one_convolution_is_its_weights():
    conv = nn.Conv2d(1, 1, 3, bias=False)
    field = effective_receptive_field(conv, torch.randn(7, 1, 9, 9))  # a 7x7 feature map with its centre at (3, 3)
    expected = torch.zeros(9, 9, dtype=torch.float64)
    expected[3:6, 3:6] = conv.weight[0, 0].detach().abs()
    torch.testing.assert_close(field.map, expected / expected.sum())
    assert (field.layer, field.unit) == ("", (3, 3))


def test_effective_field_lies_in_the_theoretical_one():
    model = MnistNet_3()
    images = torch.randn(10, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    field = effective_receptive_field(model, images)
    assert (field.layer, field.unit) == ("block2.8", (3, 3))
    (top, bottom), (left, right) = receptive_field(model).box(field.layer, field.unit).clipped
    inside = field.map[top : bottom + 1, left : right + 1].sum().item()
    assert inside == pytest.approx(1) and field.map.sum().item() == pytest.approx(1)
    assert 2 < field.radius < 13
    assert effective_receptive_field(MnistNet_1(), images).layer == "block2.6"


def test_effective_radius_holds_95_percent():
    model = nn.Conv2d(1, 1, 5, padding=2, bias=False)
    nn.init.zeros_(model.weight)
    with torch.no_grad():
        model.weight[0, 0, 2, 2], model.weight[0, 0, 2, 0], model.weight[0, 0, 2, 4] = 0.96, 0.02, 0.02
    assert effective_receptive_field(model, torch.ones(1, 1, 9, 9)).radius == pytest.approx(0, abs=1e-9)
    with torch.no_grad():
        model.weight[0, 0, 2, 2] = 0.5
    assert effective_receptive_field(model, torch.ones(1, 1, 9, 9)).radius == pytest.approx(2)


@pytest.mark.parametrize("rank", [1, 3])
def test_effective_fields_along_one_axis_and_three(rank):
    conv = (nn.Conv1d, None, nn.Conv3d)[rank - 1](1, 1, 3, bias=False)
    field = effective_receptive_field(conv, torch.randn(5, 1, *[9] * rank))
    expected = torch.zeros(*[9] * rank, dtype=torch.float64)
    expected[(slice(3, 6),) * rank] = conv.weight[0, 0].detach().abs()
    expected /= expected.sum()
    torch.testing.assert_close(field.map, expected)
    assert field.unit == (3,) * rank
    along = [expected.sum([a for a in range(rank) if a != axis]) if rank > 1 else expected for axis in range(rank)]
    assert field.centre == pytest.approx([(torch.arange(9) * one).sum().item() for one in along])
    assert 0 < field.radius <= rank**0.5 * 2


def test_what_has_no_effective_field_is_refused():
    images = torch.ones(1, 1, 9, 9)
    with pytest.raises(KeyError, match="no module"):
        effective_receptive_field(nn.Conv2d(1, 1, 3), images, layer="conv")
    with pytest.raises(ReceptiveFieldError, match="name a layer"):
        effective_receptive_field(nn.Flatten(), images)
    with pytest.raises(ReceptiveFieldError, match="'0' gives no feature map"):
        effective_receptive_field(nn.Sequential(nn.Flatten(), nn.Linear(81, 2)), images, layer="0")
    dead = nn.Conv2d(1, 1, 3)
    nn.init.zeros_(dead.weight)
    with pytest.raises(ReceptiveFieldError, match="no gradient"):
        effective_receptive_field(dead, images)


class WithoutGradient(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3)

    @torch.no_grad()
    def forward(self, x):
        return self.conv(x)


def test_models_that_cannot_be_measured():
    with pytest.raises(ReceptiveFieldError, match="without one"):
        effective_receptive_field(WithoutGradient(), torch.ones(1, 1, 9, 9))
    with pytest.raises(ReceptiveFieldError, match=r"cannot run on images \(1, 3, 9, 9\)"):
        effective_receptive_field(nn.Conv2d(1, 1, 3), torch.ones(1, 3, 9, 9))
    with pytest.raises(ReceptiveFieldError, match=r"give images as \(N, C, H, W\)"):
        effective_receptive_field(nn.Conv2d(1, 1, 3), torch.ones(1, 9, 9))
    model = nn.Conv2d(1, 1, 3)
    with torch.inference_mode():
        assert effective_receptive_field(model, torch.ones(1, 1, 9, 9)).unit == (3, 3)
