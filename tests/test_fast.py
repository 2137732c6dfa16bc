"""The joined layers against the plain PyTorch layers, and the sparse drawing against the Bernoulli distribution."""

import copy
import ctypes
import platform
import re
from types import SimpleNamespace

import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from mnist_s7 import MnistNet_1, MnistNet_2, MnistNet_3, MnistNet_4, compiled, fast
from mnist_s7.compiled import CHOICE, CONVOLUTION, DEPTHWISE, MAX_POOL, RELU_AFTER, RELU_BEFORE, kernels
from mnist_s7.fast import Residual, Sequential, _successes, kept

FORMATS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}


def conv():
    return nn.Conv2d(3, 8, 3, bias=False)  # as in the networks: BatchNorm takes a bias out again


def frozen_norm():
    norm = nn.BatchNorm2d(3)
    norm.eval()
    return norm


def bare(*sizes, **options):
    return nn.Conv2d(*sizes, bias=False, **options)


LAYERS = {
    "conv, relu": lambda p: [conv(), nn.ReLU(), nn.Conv2d(8, 4, 1)],
    "convs of all widths": lambda p: [bare(3, 9, 3), nn.ReLU(), bare(9, 16, 2), bare(16, 23, 1), bare(23, 1, 5)],
    "padded convs": lambda p: [
        bare(3, 8, 3, padding=1),
        bare(8, 12, 5, padding=3),
        nn.ReLU(),
        bare(12, 8, 3, padding=2),
    ],
    "conv of whole images": lambda p: [bare(3, 10, 13), nn.ReLU()],
    "conv with a bias": lambda p: [nn.Conv2d(3, 8, 3), nn.ReLU()],
    "strided conv": lambda p: [bare(3, 8, 3, stride=2), nn.ReLU()],
    "dilated conv": lambda p: [bare(3, 8, 3, dilation=2)],
    "grouped conv": lambda p: [bare(3, 6, 3, groups=3)],
    "oblong conv": lambda p: [bare(3, 6, (3, 1)), nn.ReLU()],
    "conv with reflecting borders": lambda p: [bare(3, 6, 3, padding=1, padding_mode="reflect")],
    "conv with a named padding": lambda p: [bare(3, 6, 3, padding="same")],
    "conv with more padding than kernel": lambda p: [bare(3, 6, 2, padding=3)],
    "conv of many channels": lambda p: [bare(3, 65, 3), nn.ReLU(), bare(65, 3, 1)],
    "conv, relu, norm, dropout": lambda p: [conv(), nn.ReLU(), nn.BatchNorm2d(8), nn.Dropout(p), nn.MaxPool2d(2)],
    "conv, norm, relu, dropout": lambda p: [conv(), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(p), nn.Conv2d(8, 4, 3)],
    "conv, norm, dropout": lambda p: [conv(), nn.BatchNorm2d(8), nn.Dropout(p)],
    "conv alone": lambda p: [conv()],
    "norm, relu": lambda p: [nn.BatchNorm2d(3), nn.ReLU(), conv()],
    "relu, norm": lambda p: [nn.ReLU(), nn.BatchNorm2d(3)],
    "norm alone, of one channel, pooled": lambda p: [
        nn.Conv2d(3, 1, 1, bias=False),
        nn.BatchNorm2d(1),
        nn.AdaptiveAvgPool2d(1),
    ],
    "norm of 64 channels": lambda p: [nn.Conv2d(3, 64, 5, bias=False), nn.ReLU(), nn.BatchNorm2d(64), nn.Dropout(p)],
    "norm of more channels than are joined": lambda p: [nn.Conv2d(3, 65, 5, bias=False), nn.BatchNorm2d(65), nn.ReLU()],
    "norm without weight": lambda p: [nn.BatchNorm2d(3, affine=False), nn.ReLU()],
    "norm without bias": lambda p: [nn.BatchNorm2d(3, bias=False), nn.ReLU()],
    "norm without running statistics": lambda p: [nn.BatchNorm2d(3, track_running_stats=False), nn.ReLU()],
    "norm of another momentum": lambda p: [nn.BatchNorm2d(3, momentum=0.3, eps=0.1), nn.ReLU()],
    "norm with a mean of all batches": lambda p: [nn.BatchNorm2d(3, momentum=None), nn.ReLU()],
    "frozen norm": lambda p: [frozen_norm(), nn.ReLU(), conv()],
    "dropout alone": lambda p: [conv(), nn.Dropout(0.0), nn.ReLU()],
    "everything dropped": lambda p: [nn.BatchNorm2d(3), nn.Dropout(1.0)],
    "depthwise conv, norm, relu": lambda p: [
        bare(3, 3, 3, groups=3, padding=1),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Dropout(p),
        bare(3, 20, 1),
        nn.BatchNorm2d(20),
        bare(20, 20, 3, groups=20, padding=2),
        nn.ReLU(),
        nn.BatchNorm2d(20),
    ],
    "depthwise conv, relu": lambda p: [bare(3, 3, 3, groups=3), nn.ReLU()],
    "large depthwise conv": lambda p: [bare(3, 3, 5, groups=3)],
    "norm, relu, pool": lambda p: [nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2)],
    "two norms": lambda p: [nn.BatchNorm2d(3), nn.Dropout(p), nn.ReLU(), nn.BatchNorm2d(3)],
    "pool alone": lambda p: [nn.MaxPool2d(2)],
    "overlapping pool": lambda p: [nn.MaxPool2d(2, stride=1)],
    "pool of three": lambda p: [nn.MaxPool2d(3)],
    "padded pool": lambda p: [nn.MaxPool2d(2, padding=1)],
    "relu first": lambda p: [nn.ReLU(), conv()],
}


class GivenDrop(nn.Module):
    """Plain dropout with the kept elements given, in the order of channels last memory."""

    def __init__(self, p, kept):
        super().__init__()
        self.p, self.kept = p, kept

    def forward(self, x):
        n, channels, height, width = x.shape
        return x * self.kept.view(n, height, width, channels).permute(0, 3, 1, 2) / (1 - self.p)


@pytest.fixture
def links(monkeypatch):
    """The layers that C did, in their order. Without a C compiler there are none, and no test of them."""
    if kernels() is None:
        pytest.skip("no compiled layers")
    done = []
    apply = fast._Chain.apply

    def noted(x, links, *parameters):
        done.extend(links)
        return apply(x, links, *parameters)

    monkeypatch.setattr(fast._Chain, "apply", noted)
    return done


def assert_same(ours, exact):
    """Within float32's rounding of the same in float64, whose largest element tells what was summed up."""
    torch.testing.assert_close(ours.double(), exact.double(), rtol=1e-4, atol=3e-5 * exact.detach().abs().max().item())


@pytest.mark.parametrize("memory_format", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize("layers", LAYERS.values(), ids=LAYERS)
def test_outputs_gradients_and_buffers_are_those_of_the_plain_layers(monkeypatch, links, layers, p, memory_format):
    torch.manual_seed(0)
    ours = Sequential(*layers(p)).to(memory_format=memory_format)
    for norm in ours:
        if isinstance(norm, nn.BatchNorm2d):
            for parameter in norm.parameters():
                nn.init.normal_(parameter)
    plain = nn.Sequential(*copy.deepcopy(list(ours)))
    drawn = []
    monkeypatch.setattr(fast, "kept", lambda n, p: drawn.append(kept(n, p)) or drawn[-1])
    x = torch.randn(5, 3, 13, 13).add_(3).to(memory_format=memory_format).requires_grad_()  # 845 pixels: no whole rows
    before = x.detach().clone()

    y = ours(x)
    weights = torch.randn(y.shape).contiguous()  # also a gradient in another memory format than y's
    (y * weights).sum().backward()

    for i, layer in enumerate(plain):
        if isinstance(layer, nn.Dropout) and layer.p < 1 and drawn:
            plain[i] = GivenDrop(p, drawn[0])
    plain.double()
    x2 = x.detach().double().requires_grad_()
    y2 = plain(x2)
    (y2 * weights).sum().backward()

    assert_same(y, y2)
    assert_same(x.grad, x2.grad)
    for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
        assert_same(one.grad, other.grad)
    for one, other in zip(ours.buffers(), plain.buffers(), strict=True):
        assert_same(one, other)
    assert torch.equal(x.detach(), before)  # nothing is done in place to what came from outside


def test_joins_what_it_can_and_only_that(links):
    x = torch.randn(2, 3, 13, 13)
    for name, layers in LAYERS.items():
        Sequential(*layers(0.1))(x)
        expected = "norm" in name and not any(
            word in name for word in ("without", "more", "mean of all", "frozen")
        ) or name == "everything dropped"  # fmt: skip
        assert any(link.before for link in links) == expected, name
        links.clear()


# What C does of them: kind, channels in, channels out, whether with the ReLU behind it.
DONE = {
    "conv, relu": [(CONVOLUTION, 3, 8, True)],  # the second has a bias
    "convs of all widths": [
        (CONVOLUTION, 3, 9, True),
        (CONVOLUTION, 9, 16, False),
        (CONVOLUTION, 16, 23, False),
        (CONVOLUTION, 23, 1, False),
    ],
    "padded convs": [(CONVOLUTION, 3, 8, False), (CONVOLUTION, 8, 12, True), (CONVOLUTION, 12, 8, False)],
    "conv of whole images": [(CONVOLUTION, 3, 10, True)],
    "conv, relu, norm, dropout": [(CONVOLUTION, 3, 8, False), (MAX_POOL, 8, 8, False)],
    "conv, norm, relu, dropout": [(CONVOLUTION, 3, 8, False)],
    "conv alone": [(CONVOLUTION, 3, 8, False)],
    "norm alone, of one channel, pooled": [(CONVOLUTION, 3, 1, False)],
    "depthwise conv, norm, relu": [(DEPTHWISE, 3, 3, False), (CONVOLUTION, 3, 20, False), (DEPTHWISE, 20, 20, False)],
    "depthwise conv, relu": [(DEPTHWISE, 3, 3, False)],
    "norm, relu, pool": [(MAX_POOL, 3, 3, False)],
    "pool alone": [(MAX_POOL, 3, 3, False)],
    "large depthwise conv": [],
    "overlapping pool": [],
    "pool of three": [],
    "padded pool": [],
    "norm of 64 channels": [],
    "norm of more channels than are joined": [],
    "conv with a bias": [],
    "strided conv": [],
    "dilated conv": [],
    "grouped conv": [],
    "oblong conv": [],
    "conv with reflecting borders": [],
    "conv with a named padding": [],
    "conv with more padding than kernel": [],
    "conv of many channels": [],
}


@pytest.mark.parametrize("name", DONE)
def test_does_what_it_can_and_only_that(links, name):
    Sequential(*LAYERS[name](0.1))(torch.randn(2, 3, 13, 13))

    layers = [link for link in links if link.kind != compiled.IDENTITY]
    assert [(link.kind, link.size[2], link.size_out[2], link.relu) for link in layers] == DONE[name]


def separable(channels=3):
    return Sequential(
        bare(channels, channels, 3, groups=channels, padding=1),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        bare(channels, channels, 1),
        nn.BatchNorm2d(channels),
    )


def norms():
    return [nn.BatchNorm2d(3), nn.ReLU(), nn.BatchNorm2d(3)]


def dropped(p):
    return Sequential(bare(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3), nn.Dropout(p))


RESIDUALS = {  # and how many sums are taken in C
    "alone": (lambda p: [Residual(separable())], 1),
    "behind a norm and a relu": (lambda p: [nn.BatchNorm2d(3), nn.ReLU(), Residual(separable()), bare(3, 4, 3)], 1),
    "behind a conv and a relu": (lambda p: [bare(3, 9, 3), nn.ReLU(), Residual(separable(9)), nn.MaxPool2d(2)], 1),
    "behind a pool": (lambda p: [nn.MaxPool2d(2), Residual(separable()), bare(3, 4, 1)], 1),
    "between dropouts": (lambda p: [*dropped(p), Residual(dropped(p)), *dropped(p)], 1),
    "before a pool": (lambda p: [*dropped(p), Residual(separable()), nn.MaxPool2d(2)], 1),
    "before a depthwise conv": (lambda p: [*dropped(p), Residual(separable()), bare(3, 3, 3, groups=3)], 1),
    "before a padded conv": (lambda p: [Residual(separable()), bare(3, 5, 3, padding=1)], 1),
    "before a norm": (lambda p: [nn.BatchNorm2d(3), Residual(separable()), nn.BatchNorm2d(3), nn.ReLU()], 1),
    "before a relu and a norm": (lambda p: [Residual(separable()), nn.ReLU(), nn.BatchNorm2d(3)], 1),
    "two in a row": (lambda p: [nn.BatchNorm2d(3), Residual(separable()), Residual(dropped(p))], 2),
    "two, with a conv between": (lambda p: [Residual(separable()), bare(3, 9, 3), Residual(separable(9))], 2),
    "of a norm": (lambda p: [Residual(Sequential(nn.BatchNorm2d(3)))], 1),
    "of a norm and a relu": (lambda p: [nn.BatchNorm2d(3), Residual(Sequential(nn.BatchNorm2d(3), nn.ReLU()))], 1),
    "of a norm behind a pool": (lambda p: [nn.MaxPool2d(2), Residual(Sequential(nn.BatchNorm2d(3)))], 1),
    "of two norms behind a conv": (lambda p: [bare(3, 3, 1), Residual(Sequential(nn.BatchNorm2d(3), *separable()))], 1),
    "of two norms behind a sum": (lambda p: [Residual(separable()), Residual(Sequential(*norms()))], 2),
    "of two norms behind two": (lambda p: [*norms(), Residual(Sequential(*norms())), bare(3, 4, 3)], 1),
    "of a relu in place": (lambda p: [bare(3, 3, 1), Residual(Sequential(nn.ReLU(inplace=True), *separable()))], 0),
    "of nothing": (lambda p: [nn.BatchNorm2d(3), Residual(Sequential()), bare(3, 4, 3)], 0),
    "inside another": (lambda p: [Residual(Sequential(bare(3, 3, 1), Residual(separable()), *separable()))], 2),
    "at the start of another": (lambda p: [Residual(Sequential(Residual(separable()), *separable()))], 1),
    "at the end of another": (lambda p: [Residual(Sequential(*separable(), Residual(separable())))], 1),
    "a conv at the end": (lambda p: [Residual(Sequential(nn.BatchNorm2d(3), bare(3, 3, 1)))], 0),
    "a conv that is not in C": (lambda p: [Residual(Sequential(bare(3, 3, 3, padding="same"), nn.BatchNorm2d(3)))], 0),
    "one channel, added to all": (lambda p: [Residual(Sequential(bare(3, 1, 1), nn.BatchNorm2d(1)))], 0),
    "a branch of PyTorch's": (lambda p: [nn.BatchNorm2d(3), Residual(nn.Sequential(*separable()))], 0),
    "a branch in evaluation": (lambda p: [nn.BatchNorm2d(3), Residual(separable().eval())], 0),
    "a class of its own": (lambda p: [nn.BatchNorm2d(3), Difference(separable())], 0),
}  # fmt: skip


class Difference(Residual):
    def forward(self, x):
        return x - self.branch(x)


def with_given_drops(layers, masks):
    """The same layers, all of them PyTorch's, whose dropouts keep what `masks` say, in their order."""
    for name, layer in list(layers.named_children()):
        if isinstance(layer, nn.Dropout) and layer.p:
            setattr(layers, name, GivenDrop(layer.p, next(masks)))
        elif isinstance(layer, Sequential):
            setattr(layers, name, with_given_drops(nn.Sequential(*layer), masks))
        else:
            with_given_drops(layer, masks)
    return layers


@pytest.mark.parametrize("needs", [True, False], ids=["with gradient", "without"])
@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize(("layers", "sums"), RESIDUALS.values(), ids=RESIDUALS)
def test_a_residual_is_that_of_the_plain_layers(monkeypatch, links, layers, sums, p, needs):
    torch.manual_seed(1)
    ours = Sequential(*layers(p))
    for norm in ours.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
    masks = []
    monkeypatch.setattr(fast, "kept", lambda n, p: masks.append(kept(n, p)) or masks[-1])
    x = torch.randn(5, 3, 7, 9).requires_grad_(needs)
    copied = copy.deepcopy(ours)

    y = ours(x)
    weights = torch.randn(y.shape)
    (y * weights).sum().backward()
    plain = with_given_drops(nn.Sequential(*copied), iter(masks)).double()
    x2 = x.detach().double().requires_grad_(needs)
    y2 = plain(x2)
    (y2 * weights).sum().backward()

    assert_same(y, y2)
    if needs:
        assert_same(x.grad, x2.grad)
    for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
        assert_same(one.grad, other.grad)
    for one, other in zip(ours.buffers(), plain.buffers(), strict=True):
        assert_same(one, other)
    assert sum(link.adds is not None for link in links) == sums


BEGINNINGS = {
    "conv": lambda: [conv()],
    "depthwise conv": lambda: [bare(3, 3, 3, groups=3), conv()],
    "pool": lambda: [nn.MaxPool2d(2), conv()],
    "norm": lambda: [nn.BatchNorm2d(3), conv()],
}


@pytest.mark.parametrize("layers", BEGINNINGS.values(), ids=BEGINNINGS)
def test_an_image_that_needs_no_gradient_gets_none(links, layers):
    torch.manual_seed(0)
    ours, x = Sequential(*layers()), torch.randn(9, 3, 10, 10)
    plain = copy.deepcopy(nn.Sequential(*ours)).double()

    y = ours(x)
    weights = torch.randn(y.shape)
    (y * weights).sum().backward()
    (plain(x.double()) * weights).sum().backward()

    assert links
    assert x.grad is None
    for one, other in zip(ours[-1:].parameters(), plain[-1:].parameters(), strict=True):
        assert_same(one.grad, other.grad)


def gradients(forward, model, x):
    """Of the parameters and of x, for a weighted sum of the outputs."""
    x = x.detach().requires_grad_()
    model.zero_grad()
    y = forward(x)
    (y * torch.arange(y.numel()).view(y.shape).remainder(7)).sum().backward()
    return [parameter.grad for parameter in model.parameters() if parameter.requires_grad] + [x.grad]


ENDINGS = {
    "conv": lambda: [bare(3, 8, 3)],
    "depthwise conv": lambda: [bare(3, 3, 3, groups=3)],
    "norm": lambda: [bare(3, 8, 3), nn.BatchNorm2d(8)],
    "pool": lambda: [nn.MaxPool2d(2)],
}


@pytest.mark.parametrize("layers", ENDINGS.values(), ids=ENDINGS)
def test_outputs_may_be_changed_in_place(links, layers):
    torch.manual_seed(0)
    ours, x = Sequential(*layers()), torch.randn(4, 3, 9, 9)

    in_place = gradients(lambda x: ours(x).mul_(3).relu_(), ours, x)

    assert links
    for one, other in zip(in_place, gradients(lambda x: (ours(x) * 3).relu(), ours, x), strict=True):
        assert torch.equal(one, other)


def block():
    """With weights that are copied for C, since they are not channels last."""
    return Sequential(
        bare(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        bare(8, 8, 3, groups=8),
        nn.BatchNorm2d(8),
        nn.MaxPool2d(2),
        bare(8, 8, 3, padding=1),
    )


def test_gradients_are_the_same_under_checkpoints_and_hooks_of_saved_tensors(links):
    torch.manual_seed(0)
    ours, x = block(), torch.randn(4, 3, 12, 12)
    plain = gradients(ours, ours, x)

    def hooked(x):
        with torch.autograd.graph.saved_tensors_hooks(torch.clone, torch.Tensor.contiguous):  # in another layout
            return ours(x)

    for forward in (hooked, lambda x: checkpoint(ours, x, use_reentrant=False)):
        assert all(map(torch.equal, gradients(forward, ours, x), plain))
    assert links


def test_frozen_parameters_get_no_gradient(links):
    torch.manual_seed(0)
    ours, x = block(), torch.randn(4, 3, 12, 12)
    everything = gradients(ours, ours, x)

    ours[0].weight.requires_grad_(False)
    ours[1].bias.requires_grad_(False)
    assert all(map(torch.equal, gradients(ours, ours, x), [everything[1], *everything[3:]]))
    with torch.no_grad():
        assert not ours(x).requires_grad


class Doubled(nn.Module):
    calls = 0

    def forward(self, weight):
        Doubled.calls += 1
        return 2 * weight


@pytest.mark.parametrize("layer", [0, 1, 3], ids=["conv", "norm", "depthwise conv"])
def test_parametrized_weights_are_asked_for_once(links, layer):
    torch.manual_seed(0)
    ours, x = block(), torch.randn(4, 3, 12, 12)
    doubled = copy.deepcopy(ours)
    parametrize.register_parametrization(doubled[layer], "weight", Doubled())
    with torch.no_grad():
        ours[layer].weight.mul_(2)

    Doubled.calls = 0
    y = doubled(x)
    assert Doubled.calls == 1
    assert len(links) == 4
    torch.testing.assert_close(y, ours(x))


def test_strided_parameters_are_read_as_such(links):
    norm, x = nn.BatchNorm2d(3), torch.randn(4, 3, 5, 5)
    norm.weight = nn.Parameter(torch.tensor([1.0, 100, 2, 100, 3, 100])[::2])

    y = Sequential(norm)(x)

    assert links
    torch.testing.assert_close(y, norm(x))


def test_a_batch_too_small_to_normalise_is_pytorchs_affair():
    ours = Sequential(nn.BatchNorm2d(3))

    with pytest.raises(ValueError, match="more than 1 value per channel"):
        ours(torch.randn(1, 3, 1, 1))
    assert ours(torch.randn(0, 3, 4, 4)).shape == (0, 3, 4, 4)
    assert torch.equal(ours[0].running_var, torch.ones(3))


def test_a_derived_class_is_taken_for_what_it_is(links):
    class Tenfold(nn.BatchNorm2d):
        def forward(self, x):
            return 10 * super().forward(x)

    norm, x = Tenfold(3), torch.randn(4, 3, 5, 5)

    assert torch.equal(Sequential(norm)(x), norm(x))
    assert not links


def test_another_default_type_and_autocast_do_no_harm(links):
    ours, x = Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), bare(8, 8, 1)), torch.randn(4, 3, 9, 9)
    expected = ours(x)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(ours(x), expected)
    finally:
        torch.set_default_dtype(torch.float32)
    assert links
    links.clear()
    with torch.autocast("cpu", torch.bfloat16):
        assert ours(x).dtype == torch.bfloat16
    assert not links


@pytest.mark.parametrize("n", [1, 2, 3, 17])
def test_as_few_images_as_there_are_will_do(links, n):
    torch.manual_seed(0)
    ours, x = block(), torch.randn(n, 3, 8, 10)
    plain = copy.deepcopy(nn.Sequential(*ours)).double()

    both = gradients(ours, ours, x), gradients(plain, plain, x.double())
    assert_same(*(torch.cat([each.flatten() for each in those]) for those in both))
    assert links


@pytest.mark.parametrize("shape", [(2, 3, 2, 9), (2, 1, 9, 9), (2, 3, 0, 5)])
def test_impossible_images_get_pytorchs_own_error(shape):
    with pytest.raises(RuntimeError, match="size|channel"):
        Sequential(bare(3, 8, 3, padding=2 * (shape[2] == 0)))(torch.randn(shape))


def test_no_channels_get_pytorchs_own_answer(links):
    norm = nn.BatchNorm2d(0)

    with pytest.raises((IndexError, RuntimeError)):
        norm(torch.randn(2, 0, 3, 3))
    with pytest.raises((IndexError, RuntimeError)):
        Sequential(norm)(torch.randn(2, 0, 3, 3))
    assert not links


def test_what_is_done_in_place_is_seen_by_who_else_reads_there(links):
    x = torch.randn(2, 3, 4, 4)

    Sequential(nn.ReLU(inplace=True), nn.BatchNorm2d(3))(x)

    assert links
    assert x.min() == 0


def test_large_images_are_left_to_pytorch(links):
    Sequential(conv(), nn.MaxPool2d(2))(torch.randn(1, 3, 300, 300))

    assert not links


@pytest.mark.parametrize("side", [4, 5])
def test_the_gradient_of_a_pool_goes_to_the_first_of_equals_as_pytorchs_does(links, side):
    ours, plain = (torch.zeros(2, 3, side, side).requires_grad_() for _ in range(2))
    weights = torch.randn(2, 3, 2, 2)

    (Sequential(nn.MaxPool2d(2))(ours) * weights).sum().backward()
    (nn.MaxPool2d(2)(plain) * weights).sum().backward()

    assert links
    assert torch.equal(ours.grad, plain.grad)


def test_a_nan_passes_the_pool(links):
    x = torch.zeros(1, 1, 8, 8)
    x[0, 0, 0, 0] = x[0, 0, 3, 3] = x[0, 0, 4, 7] = float("nan")

    assert torch.equal(Sequential(nn.MaxPool2d(2))(x).isnan(), nn.MaxPool2d(2)(x).isnan())
    assert links


def test_a_nan_passes_the_relu():
    x = torch.full((1, 3, 5, 5), float("nan"))

    assert Sequential(conv(), nn.ReLU())(x).isnan().all()


def test_layers_elsewhere_than_the_images_are_refused(links):
    for layer in (conv().double(), nn.BatchNorm2d(3).to("meta")):
        with pytest.raises(ValueError, match="in float32 on the CPU met a layer in torch.float(64 on cpu|32 on meta)"):
            Sequential(layer)(torch.randn(2, 3, 5, 5))


def test_a_large_mean_costs_no_digits(links):
    """Squares of values about 1,000 have no digits left in float32 for a variance of 1."""
    x = torch.randn(4, 8, 10, 10) + 1_000
    norm = nn.BatchNorm2d(8)

    y = Sequential(norm)(x)

    assert links
    torch.testing.assert_close(y, nn.BatchNorm2d(8).double()(x.double()).float(), rtol=1e-3, atol=1e-3)


def test_one_pixel_far_off_costs_no_digits(links):
    """Whichever it is: the first of a part's pixels, for one, is no measure of the others."""
    x = torch.full((16, 3, 40, 40), 0.3)
    x[:, :, 0, 0] = 1000.123
    ours, plain = Sequential(nn.BatchNorm2d(3)), nn.BatchNorm2d(3).double()

    ours(x)
    plain(x.double())

    assert links
    torch.testing.assert_close(ours[0].running_var.double(), plain.running_var, rtol=1e-5, atol=0)


@pytest.mark.parametrize("n", [5, 37])
def test_the_number_of_threads_changes_no_digit(links, n):
    torch.manual_seed(0)
    x, ours, threads = torch.randn(n, 3, 20, 20), block(), torch.get_num_threads()
    model = Sequential(*ours, Residual(separable(8)))

    def figures(threads):
        torch.set_num_threads(threads)
        return gradients(model, model, x)

    try:
        assert all(map(torch.equal, figures(1), figures(2)))
    finally:
        torch.set_num_threads(threads)
    assert any(link.adds is not None for link in links)


def test_without_the_compiled_layers_the_plain_ones_do_it(monkeypatch, links):
    monkeypatch.setenv(CHOICE, "pytorch")
    kernels.cache_clear()
    try:
        torch.manual_seed(0)
        block = Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.1))
        x = torch.randn(4, 1, 12, 12)
        torch.manual_seed(1)
        y = block(x)
        torch.manual_seed(1)
        assert torch.equal(y, nn.Sequential(*block)(x))
        assert not links
    finally:
        kernels.cache_clear()


def test_other_types_are_left_to_the_plain_layers(links):
    block = Sequential(nn.BatchNorm2d(3), nn.ReLU()).double()

    assert block(torch.randn(2, 3, 4, 4).double()).dtype == torch.float64
    assert not links


def test_constants_are_those_of_the_header():
    header = compiled.HEADER.read_text()
    enums = [names.split(", ") for names in re.findall(r"^enum \{ (.*) \};$", header, re.MULTILINE)]
    constants = {}
    for names in enums:
        for position, name in enumerate(names):
            name, _, value = name.partition(" = ")
            constants[name] = eval(value, {}, constants) if value else position
    shared = {name: value for name, value in constants.items() if hasattr(compiled, name)}

    assert len(shared) == 11
    assert shared == {name: getattr(compiled, name) for name in shared}


@pytest.mark.parametrize("structure", [compiled.Layer, compiled.Norm])
def test_structures_are_those_of_the_header(structure):
    body = re.search(r"typedef struct \w*\s*\{([^}]*)\} " + structure.__name__, compiled.HEADER.read_text())[1]
    types = {"long": ctypes.c_long, "float": ctypes.c_float, "*": ctypes.c_void_p}
    declared = []
    for declaration in re.sub(r"/\*.*?\*/", "", body, flags=re.DOTALL).split(";")[:-1]:
        kind, names = re.match(r"\s*((?:const |unsigned |struct )*\w+) (.*)", declaration).groups()
        for name in names.split(", "):
            plain = types["*" if "*" in name else kind]
            name, _, length = name.strip("*").removesuffix("]").partition("[")
            declared.append((name, plain * getattr(compiled, length) if length else plain))

    assert declared == structure._fields_


@pytest.mark.parametrize("network", [MnistNet_1, MnistNet_2, MnistNet_3, MnistNet_4])
def test_the_networks_evaluate_as_with_plain_sequentials(monkeypatch, network):
    torch.manual_seed(0)
    model, x = network().eval(), torch.randn(4, 1, 28, 28)
    expected = model(x)
    monkeypatch.setattr(Sequential, "forward", nn.Sequential.forward)

    assert torch.equal(model(x), expected)


@pytest.mark.parametrize("network", [MnistNet_1, MnistNet_4])  # the two without dropout
def test_the_networks_train_as_with_plain_sequentials(monkeypatch, links, network):
    torch.manual_seed(0)
    model, x, labels = network(), torch.randn(8, 1, 28, 28), torch.arange(8)
    plain = copy.deepcopy(model).double()

    nn.functional.nll_loss(model(x), labels).backward()
    monkeypatch.setattr(Sequential, "forward", nn.Sequential.forward)
    nn.functional.nll_loss(plain(x.double()), labels).backward()

    assert sum(link.conv is not None for link in links) == sum(isinstance(m, nn.Conv2d) for m in model.modules())
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        assert_same(one.grad, other.grad)


def test_the_networks_draw_their_dropout_sparsely(monkeypatch, links):
    drawn = []
    monkeypatch.setattr(fast, "_successes", lambda n, p, generator: drawn.append((n, p)) or _successes(n, p, generator))

    MnistNet_3()(torch.randn(2, 1, 28, 28))

    shapes = [(8, 26), (16, 24), (12, 10), (16, 8), (16, 6)]
    assert drawn == [(2 * channels * side * side, 0.01) for channels, side in shapes]
    assert [link.before.relu for link in links if link.before] == [RELU_AFTER] * 2 + [RELU_BEFORE] * 3


def test_dropped_elements_change_from_step_to_step():
    block = Sequential(nn.BatchNorm2d(4), nn.Dropout(0.5))
    x = torch.rand(2, 4, 8, 8).add_(1)

    assert not torch.equal(block(x) == 0, block(x) == 0)


@pytest.mark.parametrize("p", [0.01, 0.05, 0.5])
def test_rate_is_p(p):
    torch.manual_seed(1)
    n = 2_000_000

    assert stats.binomtest(len(_successes(n, p)), n, p).pvalue > 0.001


def test_drops_are_independent_of_their_neighbours():
    """The number of drops in a window is binomial, as for independent draws, for windows of any length."""
    torch.manual_seed(2)
    n, p = 1_000_000, 0.05
    mask = torch.zeros(n)
    mask[_successes(n, p)] = 1

    for window in (2, 10, 100):
        counts = mask.view(-1, window).sum(1).numpy()
        expected = stats.binom(window, p)
        top = int(expected.ppf(0.999))  # the last class holds the rest, and is never empty
        observed = [(counts == k).sum() for k in range(top)] + [(counts >= top).sum()]
        shares = [expected.pmf(k) for k in range(top)] + [expected.sf(top - 1)]
        assert stats.chisquare(observed, [share * len(counts) for share in shares]).pvalue > 0.001


def test_every_position_can_be_dropped():
    torch.manual_seed(3)

    assert sorted({int(i) for _ in range(200) for i in _successes(10, 0.2)}) == list(range(10))
    assert kept(10, 0).tolist() == [1] * 10


def test_gaps_between_drops_are_geometric():
    torch.manual_seed(4)
    p = 0.2
    gaps = fast._geometric(100_000, p).numpy()

    top = 30
    observed = [(gaps == k).sum() for k in range(1, top)] + [(gaps >= top).sum()]
    shares = [stats.geom(p).pmf(k) for k in range(1, top)] + [stats.geom(p).sf(top - 1)]
    assert gaps.min() == 1
    assert stats.chisquare(observed, [share * len(gaps) for share in shares]).pvalue > 0.001


def test_draws_never_run_out(monkeypatch):
    calls = []
    geometric = fast._geometric

    def short(n, p, generator):  # gaps so small that the first draws end before the last trial
        calls.append(n)
        return geometric(n, p) if len(calls) > 1 else torch.ones(n, dtype=torch.int64)

    monkeypatch.setattr(fast, "_geometric", short)
    positions = _successes(10_000, 0.05)

    assert len(calls) > 1
    assert positions[-1] > 5_000
    assert positions.diff().min() > 0


@pytest.mark.parametrize(
    ("most", "trims", "works"),
    [(1 << 30, True, True), (32 << 20, True, True), (0, True, False), (1 << 30, False, False)],
)
def test_freed_memory_is_kept_as_far_as_glibc_allows(monkeypatch, most, trims, works):
    taken = {}

    def mallopt(parameter, value):
        allowed = value <= most if parameter == fast.M_MMAP_THRESHOLD else trims
        taken.update({parameter: value} if allowed else {})
        return int(allowed)

    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.31"))
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(mallopt=mallopt))

    assert fast.keep_freed_memory() is works
    assert taken.get(fast.M_MMAP_THRESHOLD, 0) == most
    assert taken.get(fast.M_TRIM_THRESHOLD) == ((1 << 30) if trims else None)
