"""Layers in C against PyTorch's, in float64: outputs, gradients, and the running statistics of BatchNorm."""

import os
import subprocess
import sys

import pytest
import random_chains
import torch
from reference import Residual, assert_trains_as_pytorch, gradients, in_c
from torch import nn

from mnist_s7.kernels import library
from mnist_s7.kernels.library import (
    ANTI_ALIASED_POOL,
    CHOICE,
    CONVOLUTION,
    DEPTHWISE,
    IDENTITY,
    LEAKY_AFTER,
    MAX_POOL,
    NO_RELU,
    RELU_AFTER,
    RELU_BEFORE,
)

FORMATS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}


def conv():
    return nn.Conv2d(3, 8, 3, bias=False)  # as in the networks: BatchNorm takes a bias out again


def frozen_norm():
    return with_random_statistics(nn.BatchNorm2d(3)).eval()


def frozen_bias():
    conv = nn.Conv2d(3, 8, 3)
    conv.bias.requires_grad_(False)
    return conv


def bare(*sizes, **options):
    return nn.Conv2d(*sizes, bias=False, **options)


def antialiased():
    return nn.MaxPool2d(2, stride=1), nn.AvgPool2d(2)


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
    "conv with a bias, dropout": lambda p: [nn.Conv2d(3, 8, 3), nn.Dropout(p), nn.MaxPool2d(2)],
    "conv with a bias, relu, norm": lambda p: [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.BatchNorm2d(8), nn.Dropout(p)],
    "conv with a bias, norm, relu": lambda p: [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()],
    "convs with biases, leaky relu, dropout": lambda p: [
        *(nn.Conv2d(3, 6, 3, padding=1), nn.LeakyReLU(0.2), nn.MaxPool2d(2), nn.Dropout(0.0)),
        *(bare(6, 6, 3, groups=6), nn.Conv2d(6, 5, 1), nn.LeakyReLU(0.3), nn.Dropout(p)),
        *(nn.Conv2d(5, 5, 3, groups=5), nn.LeakyReLU()),
    ],
    "biases before pools": lambda p: [
        *(nn.Conv2d(3, 10, 2), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(p)),  # the bias, after the pool, has the dropout
        *(nn.Conv2d(10, 9, 1), nn.LeakyReLU(0.2), nn.Dropout(p), nn.MaxPool2d(2)),  # not what is dropped before it
    ],
    "bias, leaky relu that falls, pool": lambda p: [nn.Conv2d(3, 6, 2), nn.LeakyReLU(-0.5), nn.MaxPool2d(2)],
    "leaky relu alone": lambda p: [conv(), nn.LeakyReLU(0.2)],
    "norm, leaky relu": lambda p: [nn.BatchNorm2d(3), nn.LeakyReLU(0.2), conv()],
    "conv with a frozen bias": lambda p: [frozen_bias(), nn.ReLU()],
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
    "norm of more channels than are fused": lambda p: [nn.Conv2d(3, 65, 5, bias=False), nn.BatchNorm2d(65), nn.ReLU()],
    "norm without weight": lambda p: [nn.BatchNorm2d(3, affine=False), nn.ReLU()],
    "norm without bias": lambda p: [nn.BatchNorm2d(3, bias=False), nn.ReLU()],
    "norm without running statistics": lambda p: [nn.BatchNorm2d(3, track_running_stats=False), nn.ReLU()],
    "norm of another momentum": lambda p: [nn.BatchNorm2d(3, momentum=0.3, eps=0.1), nn.ReLU()],
    "norm with a mean of all batches": lambda p: [nn.BatchNorm2d(3, momentum=None), nn.ReLU()],
    "frozen norm": lambda p: [frozen_norm(), nn.ReLU(), conv()],
    "norm, dropout in evaluation, dropout": lambda p: [
        *(conv(), nn.BatchNorm2d(8), nn.Dropout(0.5).eval(), nn.Conv2d(8, 4, 1, bias=False)),
        *(nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(p)),
    ],
    "no dropout alone": lambda p: [conv(), nn.Dropout(0.0), nn.ReLU()],
    "dropout alone": lambda p: [nn.Dropout(p), conv(), nn.Dropout(p), nn.ReLU(), nn.MaxPool2d(3), nn.Dropout(p)],
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
    "pool alone": lambda p: [nn.MaxPool2d((2, 2), padding=(0, 0))],
    "overlapping pool": lambda p: [nn.MaxPool2d(2, stride=1)],
    "anti-aliased pools": lambda p: [*antialiased(), *antialiased(), bare(3, 4, 1)],
    "norms, relus, anti-aliased pools": lambda p: [
        *(bare(3, 19, 2), nn.BatchNorm2d(19), nn.ReLU(), nn.Dropout(p), *antialiased()),  # from an even side
        *(nn.Conv2d(19, 16, 1), nn.ReLU(), *antialiased(), nn.BatchNorm2d(16)),  # and from an odd one
    ],
    "averages alone": lambda p: [nn.AvgPool2d(2)],
    "averages of other maxima": lambda p: [nn.MaxPool2d(2, stride=1, padding=1), nn.AvgPool2d(2)],
    "other averages of maxima": lambda p: [
        *(nn.MaxPool2d(2, stride=1), nn.AvgPool2d(2, padding=1), nn.MaxPool2d(2, stride=1)),
        *(nn.AvgPool2d(2, stride=1), nn.MaxPool2d(2, stride=1), nn.AvgPool2d(2, divisor_override=3)),
    ],
    "pool of three": lambda p: [nn.MaxPool2d(3)],
    "oblong pool": lambda p: [nn.MaxPool2d((2, 1))],
    "padded pool": lambda p: [nn.MaxPool2d(2, padding=1)],
    "relu first": lambda p: [nn.ReLU(), conv()],
}


@pytest.mark.parametrize("memory_format", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize("layers", LAYERS.values(), ids=LAYERS)
def test_outputs_gradients_and_buffers_are_pytorchs(links, layers, p, memory_format):
    torch.manual_seed(0)
    model = with_random_norms(nn.Sequential(*layers(p))).to(memory_format=memory_format)
    x = torch.randn(5, 3, 13, 13).add_(3).to(memory_format=memory_format).requires_grad_()  # 845 pixels: no whole rows
    before = x.detach().clone()

    assert_trains_as_pytorch(model, x)

    assert torch.equal(x.detach(), before)  # nothing is done in place to what came from outside


def with_random_norms(model):
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for parameter in norm.parameters():
                nn.init.normal_(parameter)
    return model


def with_random_statistics(model):
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d) and norm.track_running_stats:
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2)
    return model


def test_fuses_the_norms_that_it_can_and_no_others(links):
    x = torch.randn(2, 3, 13, 13)
    for name, layers in LAYERS.items():
        in_c(nn.Sequential(*layers(0.1)))(x)
        refused = any(word in name for word in ("without", "more", "mean of all", "frozen bias"))
        biased = "bias" in name or name in ("conv, relu", "conv, norm, relu, dropout")  # whose last one has a bias
        expected = ("norm" in name or biased) and not refused or name == "everything dropped"
        assert any(link.before for link in links) == expected, name
        links.clear()


# What C takes of them: kind, channels in, channels out, whether with the ReLU after it.
TAKEN = {
    "conv, relu": [(CONVOLUTION, 3, 8, True), (CONVOLUTION, 8, 4, False)],
    "convs of all widths": [
        (CONVOLUTION, 3, 9, True),
        (CONVOLUTION, 9, 16, False),
        (CONVOLUTION, 16, 23, False),
        (CONVOLUTION, 23, 1, False),
    ],
    "padded convs": [(CONVOLUTION, 3, 8, False), (CONVOLUTION, 8, 12, True), (CONVOLUTION, 12, 8, False)],
    "conv of whole images": [(CONVOLUTION, 3, 10, True)],
    "conv, relu, norm, dropout": [(CONVOLUTION, 3, 8, False), (MAX_POOL, 8, 8, False)],
    "conv, norm, relu, dropout": [(CONVOLUTION, 3, 8, False), (CONVOLUTION, 8, 4, False)],
    "conv alone": [(CONVOLUTION, 3, 8, False)],
    "norm alone, of one channel, pooled": [(CONVOLUTION, 3, 1, False)],
    "depthwise conv, norm, relu": [(DEPTHWISE, 3, 3, False), (CONVOLUTION, 3, 20, False), (DEPTHWISE, 20, 20, False)],
    "depthwise conv, relu": [(DEPTHWISE, 3, 3, False)],
    "norm, relu, pool": [(MAX_POOL, 3, 3, False)],
    "pool alone": [(MAX_POOL, 3, 3, False)],
    "large depthwise conv": [],
    "overlapping pool": [],
    "anti-aliased pools": [*[(ANTI_ALIASED_POOL, 3, 3, False)] * 2, (CONVOLUTION, 3, 4, False)],
    "norms, relus, anti-aliased pools": [
        *((CONVOLUTION, 3, 19, False), (ANTI_ALIASED_POOL, 19, 19, False)),
        *((CONVOLUTION, 19, 16, False), (ANTI_ALIASED_POOL, 16, 16, False)),
    ],
    "averages alone": [],
    "averages of other maxima": [],
    "other averages of maxima": [],
    "pool of three": [],
    "padded pool": [],
    "oblong pool": [],
    "norm of 64 channels": [],
    "norm of more channels than are fused": [],
    "conv with a bias": [(CONVOLUTION, 3, 8, False)],  # the ReLU is the bias's
    "conv with a bias, dropout": [(CONVOLUTION, 3, 8, False), (MAX_POOL, 8, 8, False)],
    "convs with biases, leaky relu, dropout": [
        *((CONVOLUTION, 3, 6, False), (MAX_POOL, 6, 6, False)),
        *((DEPTHWISE, 6, 6, False), (CONVOLUTION, 6, 5, False), (DEPTHWISE, 5, 5, False)),
    ],
    "biases before pools": [
        *((CONVOLUTION, 3, 10, False), (MAX_POOL, 10, 10, False)),
        *((CONVOLUTION, 10, 9, False), (MAX_POOL, 9, 9, False)),
    ],
    "leaky relu alone": [(CONVOLUTION, 3, 8, False)],
    "conv with a frozen bias": [],
    "strided conv": [],
    "dilated conv": [],
    "grouped conv": [],
    "oblong conv": [],
    "conv with reflecting borders": [],
    "conv with a named padding": [],
    "conv with more padding than kernel": [],
    "conv of many channels": [],
}


@pytest.mark.parametrize("name", TAKEN)
def test_takes_the_layers_that_it_can_and_no_others(links, name):
    in_c(nn.Sequential(*LAYERS[name](0.1)))(torch.randn(2, 3, 13, 13))

    layers = [link for link in links if link.kind != IDENTITY]
    assert [(link.kind, link.size[2], link.size_out[2], link.relu) for link in layers] == TAKEN[name]


@pytest.mark.parametrize(
    ("layers", "before", "after"),
    [
        ([nn.LeakyReLU(0.2)], False, True),
        ([nn.ReLU()], False, True),
        ([], False, True),
        ([nn.LeakyReLU(-0.5)], True, False),  # the largest becomes the smallest
        ([nn.ReLU(), nn.Dropout(0.1)], True, False),  # the largest may be dropped
        ([nn.BatchNorm2d(6)], True, False),  # its weight may be negative
    ],
)
def test_a_bias_is_applied_after_the_pool_where_that_is_the_same(links, layers, before, after):
    in_c(nn.Sequential(nn.Conv2d(3, 6, 3), *layers, nn.MaxPool2d(2), bare(6, 2, 1)))(torch.randn(2, 3, 13, 13))

    pool, following = links[-2:]
    assert (pool.kind, pool.before is not None, following.before is not None) == (MAX_POOL, before, after)


@pytest.mark.parametrize("end", [[nn.Conv2d(3, 3, 3, padding=2)], [bare(3, 3, 3, padding=2), nn.BatchNorm2d(3)]])
def test_what_a_residual_block_adds_has_its_bias_though_the_branch_starts_with_a_pool(end):
    block = Residual(nn.Sequential(nn.MaxPool2d(2), *end))  # from 4x4 to 2x2, and back

    assert_trains_as_pytorch(nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU(), block), torch.randn(4, 3, 6, 6))


@pytest.mark.parametrize("following", [[], [nn.Flatten()], [nn.BatchNorm2d(6)], [nn.Conv2d(6, 2, 1, stride=2)]])
def test_a_bias_stays_before_the_pool_where_no_layer_in_c_would_apply_it(links, following):
    in_c(nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), *following))(torch.randn(2, 3, 13, 13))

    assert [link.before is not None for link in links if link.kind == MAX_POOL] == [True]


def separable(channels=3):
    return nn.Sequential(
        bare(channels, channels, 3, groups=channels, padding=1),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        bare(channels, channels, 1),
        nn.BatchNorm2d(channels),
    )


def norms():
    return [nn.BatchNorm2d(3), nn.ReLU(), nn.BatchNorm2d(3)]


def dropped(p):
    return nn.Sequential(bare(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3), nn.Dropout(p))


def residual(*layers):
    return Residual(nn.Sequential(*layers))


RESIDUALS = {  # and how many sums are taken in C
    "alone": (lambda p: [Residual(separable())], 1),
    "after a norm and a relu": (lambda p: [nn.BatchNorm2d(3), nn.ReLU(), Residual(separable()), bare(3, 4, 3)], 1),
    "after a conv and a relu": (lambda p: [bare(3, 9, 3), nn.ReLU(), Residual(separable(9)), nn.MaxPool2d(2)], 1),
    "after a pool": (lambda p: [nn.MaxPool2d(2), Residual(separable()), bare(3, 4, 1)], 1),
    "between dropouts": (lambda p: [*dropped(p), Residual(dropped(p)), *dropped(p)], 1),
    "before an anti-aliased pool": (lambda p: [*dropped(p), Residual(separable()), *antialiased()], 1),
    "before a pool": (lambda p: [*dropped(p), Residual(separable()), nn.MaxPool2d(2)], 1),
    "before a depthwise conv": (lambda p: [*dropped(p), Residual(separable()), bare(3, 3, 3, groups=3)], 1),
    "before a padded conv": (lambda p: [Residual(separable()), bare(3, 5, 3, padding=1)], 1),
    "before a norm": (lambda p: [nn.BatchNorm2d(3), Residual(separable()), nn.BatchNorm2d(3), nn.ReLU()], 1),
    "before a relu and a norm": (lambda p: [Residual(separable()), nn.ReLU(), nn.BatchNorm2d(3)], 1),
    "two in a row": (lambda p: [nn.BatchNorm2d(3), Residual(separable()), Residual(dropped(p))], 2),
    "two, with a conv between": (lambda p: [Residual(separable()), bare(3, 9, 3), Residual(separable(9))], 2),
    "of a norm": (lambda p: [residual(nn.BatchNorm2d(3))], 1),
    "of a norm and a relu": (lambda p: [nn.BatchNorm2d(3), residual(nn.BatchNorm2d(3), nn.ReLU())], 1),
    "of a norm after a pool": (lambda p: [nn.MaxPool2d(2), residual(nn.BatchNorm2d(3))], 1),
    "of two norms after a conv": (lambda p: [bare(3, 3, 1), residual(nn.BatchNorm2d(3), *separable())], 1),
    "of two norms after a sum": (lambda p: [Residual(separable()), residual(*norms())], 2),
    "of two norms after two": (lambda p: [*norms(), residual(*norms()), bare(3, 4, 3)], 1),
    "of a relu in place": (lambda p: [bare(3, 3, 1), residual(nn.ReLU(inplace=True), *separable())], 0),
    "of nothing": (lambda p: [nn.BatchNorm2d(3), residual(), bare(3, 4, 3)], 0),
    "inside another": (lambda p: [residual(bare(3, 3, 1), Residual(separable()), *separable())], 2),
    "at the start of another": (lambda p: [residual(Residual(separable()), *separable())], 1),
    "at the end of another": (lambda p: [residual(*separable(), Residual(separable()))], 1),
    "a conv at the end": (lambda p: [residual(nn.BatchNorm2d(3), bare(3, 3, 1))], 0),
    "a bias at the end": (lambda p: [residual(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)), bare(3, 4, 1)], 1),
    "a leaky relu at the end": (lambda p: [residual(nn.Conv2d(3, 3, 1), nn.LeakyReLU(0.2), nn.Dropout(p))], 1),
    "a conv that is not in C": (lambda p: [residual(bare(3, 3, 3, padding="same"), nn.BatchNorm2d(3))], 0),
    "one channel, added to all": (lambda p: [residual(bare(3, 1, 1), nn.BatchNorm2d(1))], 0),
    "of a single layer": (lambda p: [nn.BatchNorm2d(3), Residual(nn.BatchNorm2d(3))], 0),
    "a branch in evaluation": (lambda p: [nn.BatchNorm2d(3), Residual(separable().eval())], 1),
    "a class of its own": (lambda p: [nn.BatchNorm2d(3), Difference(separable())], 0),
}  # fmt: skip


class Difference(Residual):
    def forward(self, x):
        return x - self.branch(x)


@pytest.mark.parametrize("needs", [True, False], ids=["with gradient", "without"])
@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize(("layers", "sums"), RESIDUALS.values(), ids=RESIDUALS)
def test_a_residual_block_is_pytorchs(links, layers, sums, p, needs):
    torch.manual_seed(1)
    model = with_random_norms(nn.Sequential(*layers(p)))

    assert_trains_as_pytorch(model, torch.randn(5, 3, 7, 9).requires_grad_(needs))

    assert sum(link.adds is not None for link in links) == sums


@pytest.mark.parametrize("name", [*LAYERS, *RESIDUALS])
def test_evaluation_is_pytorchs_with_gradients_and_without(links, name):
    torch.manual_seed(0)
    layers = LAYERS[name](0.3) if name in LAYERS else RESIDUALS[name][0](0.3)
    model, x = with_random_norms(nn.Sequential(*layers)), torch.randn(5, 3, 13, 13)
    with_random_statistics(model)
    in_c(model)(x)
    taken_in_training = len(links)
    links.clear()
    buffers = [buffer.clone() for buffer in model.eval().buffers()]

    y = assert_trains_as_pytorch(model, x.clone().requires_grad_())
    with torch.inference_mode():
        assert torch.equal(in_c(model)(x), y)

    assert all(map(torch.equal, model.buffers(), buffers))
    assert len(links) >= 2 * taken_in_training


def test_a_norm_in_evaluation_takes_a_single_value(links):
    model = with_random_statistics(nn.Sequential(bare(3, 4, 5), nn.BatchNorm2d(4), nn.ReLU()))
    x = torch.randn(1, 3, 5, 5)
    with pytest.raises(ValueError, match="more than 1 value"):  # which has no variance
        in_c(model)(x)
    links.clear()

    assert_trains_as_pytorch(model.eval(), x)

    assert links


BEGINNINGS = {
    "conv": lambda: [conv()],
    "depthwise conv": lambda: [bare(3, 3, 3, groups=3), conv()],
    "pool": lambda: [nn.MaxPool2d(2), conv()],
    "anti-aliased pool": lambda: [*antialiased(), conv()],
    "norm": lambda: [nn.BatchNorm2d(3), conv()],
}


@pytest.mark.parametrize("layers", BEGINNINGS.values(), ids=BEGINNINGS)
def test_an_image_that_needs_no_gradient_gets_none(links, layers):
    torch.manual_seed(0)
    x = torch.randn(9, 3, 10, 10)

    assert_trains_as_pytorch(nn.Sequential(*layers()), x)

    assert links
    assert x.grad is None


ENDINGS = {
    "conv": lambda: [bare(3, 8, 3)],
    "depthwise conv": lambda: [bare(3, 3, 3, groups=3)],
    "norm": lambda: [bare(3, 8, 3), nn.BatchNorm2d(8)],
    "pool": lambda: [nn.MaxPool2d(2)],
    "anti-aliased pool": lambda: [*antialiased()],
}


@pytest.mark.parametrize("layers", ENDINGS.values(), ids=ENDINGS)
def test_outputs_may_be_changed_in_place(links, layers):
    torch.manual_seed(0)
    model, x = nn.Sequential(*layers()), torch.randn(4, 3, 9, 9)
    accelerated = in_c(model)

    in_place = gradients(lambda x: accelerated(x).mul_(3).relu_(), model, x)

    assert links
    for one, other in zip(in_place, gradients(lambda x: (accelerated(x) * 3).relu(), model, x), strict=True):
        assert torch.equal(one, other)


def block():
    """With weights that are copied for C, since they are not channels last."""
    return nn.Sequential(
        bare(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        bare(8, 8, 3, groups=8),
        nn.BatchNorm2d(8),
        nn.MaxPool2d(2),
        bare(8, 8, 3, padding=1),
    )


@pytest.mark.parametrize("name", ["weight", "bias"])
def test_a_parameter_that_is_no_longer_one_is_pytorchs_affair(links, name):
    """As where another network makes the weights: a plain attribute, of any type."""
    for layer in (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(3)):
        value = getattr(layer, name).detach().double()
        delattr(layer, name)
        setattr(layer, name, value)
        with pytest.raises((RuntimeError, ValueError), match=r"[Dd]ouble|dtype|type"):
            in_c(nn.Sequential(layer))(torch.randn(2, 3, 5, 5))
        assert not links


def test_strided_parameters_are_read_as_such(links):
    norm, x = nn.BatchNorm2d(3), torch.randn(4, 3, 5, 5)
    norm.weight = nn.Parameter(torch.tensor([1.0, 100, 2, 100, 3, 100])[::2])

    y = in_c(nn.Sequential(norm))(x)

    assert links
    torch.testing.assert_close(y, norm(x))


@pytest.mark.parametrize("n", [1, 2, 3, 17])
def test_any_number_of_images_will_do(links, n):
    torch.manual_seed(0)

    assert_trains_as_pytorch(block(), torch.randn(n, 3, 8, 10).requires_grad_())

    assert links


@pytest.mark.parametrize(("side", "taken"), [(14, True), (28, False)])
def test_the_largest_layers_are_those_that_the_readme_says(links, side, taken):
    page = library.HEADER.parent.with_name("README.md").read_text(encoding="utf-8")
    assert "64 -> 64 channels in 3x3 on 14x14 do, on\n28x28 they do not" in page

    in_c(nn.Sequential(bare(64, 64, 3)))(torch.randn(2, 64, side, side))

    assert bool(links) == taken


def test_a_convolution_without_outputs_is_pytorchs_affair():
    with pytest.warns(UserWarning, match="zero-element"):
        model = nn.Sequential(nn.Conv2d(3, 0, 3, bias=False))

    with pytest.raises(RuntimeError, match="at dimension 0"):
        in_c(model)(torch.randn(2, 3, 8, 8))


def test_no_images_are_pytorchs_affair():
    model = nn.Sequential(nn.BatchNorm2d(3))

    assert in_c(model)(torch.randn(0, 3, 4, 4)).shape == (0, 3, 4, 4)
    assert torch.equal(model[0].running_var, torch.ones(3))


POOLS = {"pool": nn.Sequential(nn.MaxPool2d(2)), "anti-aliased pool": nn.Sequential(*antialiased())}


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
@pytest.mark.parametrize("side", [6, 7])
def test_the_gradient_of_a_pool_goes_to_the_first_of_equals_as_pytorchs_does(links, pool, side):
    ours, plain = (torch.zeros(2, 3, side, side).requires_grad_() for _ in range(2))
    weights = torch.randn(pool(plain).shape)

    (in_c(pool)(ours) * weights).sum().backward()
    (pool(plain) * weights).sum().backward()

    assert links
    assert torch.equal(ours.grad, plain.grad)


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_a_nan_passes_the_pool(links, pool):
    x = torch.zeros(1, 1, 8, 8)
    x[0, 0, 0, 0] = x[0, 0, 3, 3] = x[0, 0, 4, 7] = float("nan")

    assert torch.equal(in_c(pool)(x).isnan(), pool(x).isnan())
    assert links


def test_a_gradient_passes_the_relu_of_a_nan_as_it_does_pytorchs(links):
    ours, plain = (torch.tensor([1.0, -1, float("nan"), 2]).view(1, 1, 2, 2).requires_grad_() for _ in range(2))
    model = nn.Sequential(bare(1, 1, 1), nn.ReLU())
    nn.init.ones_(model[0].weight)

    in_c(model)(ours).sum().backward()
    model(plain).sum().backward()

    assert links
    assert torch.equal(ours.grad, plain.grad)
    assert plain.grad[0, 0, 1, 0] == model[0].weight.item()


def test_a_nan_passes_the_relu(links):
    x = torch.full((1, 3, 5, 5), float("nan"))

    assert in_c(nn.Sequential(conv(), nn.ReLU()))(x).isnan().all()
    assert links


def test_a_large_mean_costs_no_digits(links):
    """Squares of values about 1,000 have no digits left in float32 for a variance of 1."""
    x = torch.randn(4, 8, 10, 10) + 1_000

    y = in_c(nn.Sequential(nn.BatchNorm2d(8)))(x)

    assert links
    torch.testing.assert_close(y, nn.BatchNorm2d(8).double()(x.double()).float(), rtol=1e-3, atol=1e-3)


def test_one_pixel_far_off_costs_no_digits(links):
    """Whichever it is: the first of a part's pixels, for one, is no measure of the others."""
    x = torch.full((16, 3, 40, 40), 0.3)
    x[:, :, 0, 0] = 1000.123
    model, plain = nn.Sequential(nn.BatchNorm2d(3)), nn.BatchNorm2d(3).double()

    in_c(model)(x)
    plain(x.double())

    assert links
    torch.testing.assert_close(model[0].running_var.double(), plain.running_var, rtol=1e-5, atol=0)


def test_with_momentum_1_the_statistics_are_the_last_batchs(links):
    """Whatever they were before: a difference from a large number would have lost the digits of a small one."""
    x = torch.randn(16, 3, 8, 8) / 1000
    model, plain = (nn.Sequential(nn.BatchNorm2d(3, momentum=1.0)) for _ in range(2))
    for norm in (model[0], plain[0]):
        norm.running_mean.fill_(1000)

    in_c(model)(x)
    plain.double()(x.double())

    assert links
    torch.testing.assert_close(model[0].running_mean.double(), plain[0].running_mean, rtol=1e-5, atol=1e-9)


def test_the_readmes_example_is_right(links):
    conv = bare(1, 2, 2)
    conv.weight = nn.Parameter(torch.tensor([[[[1.0, 0], [0, 1]]], [[[0.0, 2], [1, 0]]]]))

    y = in_c(nn.Sequential(conv))(torch.arange(1.0, 9).view(1, 1, 2, 4))

    row = " ".join(f"[{one} {other}]" for one, other in y[0, :, 0].T.int().tolist())
    assert f"for the row y = {row}" in library.HEADER.parent.with_name("README.md").read_text(encoding="utf-8")
    assert links


@pytest.mark.parametrize("n", [5, 37])
def test_the_number_of_threads_changes_no_digit(links, n):
    torch.manual_seed(0)
    x, model, threads = (
        torch.randn(n, 3, 20, 20),
        nn.Sequential(*block(), Residual(separable(8))),
        torch.get_num_threads(),
    )
    accelerated = in_c(model)

    def figures(threads):
        torch.set_num_threads(threads)
        return gradients(accelerated, model, x)

    try:
        assert all(map(torch.equal, figures(1), figures(2)))
    finally:
        torch.set_num_threads(threads)
    assert any(link.adds is not None for link in links)


@pytest.mark.parametrize("seed", range(40))
def test_random_layers_are_pytorchs(links, seed):
    random_chains.check(seed)


def test_random_layers_have_everything_that_there_is(links):
    """Else the tests with them show less than they seem to."""
    for seed in range(40):
        model, x = random_chains.random_chain(seed, seed)
        in_c(model)(x)

    before = {link.before.relu for link in links if link.before}
    assert {link.kind for link in links} == {IDENTITY, CONVOLUTION, DEPTHWISE, MAX_POOL, ANTI_ALIASED_POOL}
    assert before == {NO_RELU, RELU_BEFORE, RELU_AFTER, LEAKY_AFTER}
    for kind in (CONVOLUTION, DEPTHWISE, MAX_POOL):
        some = [link for link in links if link.kind == kind]
        assert any(link.before for link in some) and any(link.adds is not None for link in some)
    assert any(link.before for link in links if link.kind == ANTI_ALIASED_POOL)
    assert {link.conv.padding[0] for link in links if link.conv} >= {0, 1, 2}
    assert any(link.before.dropout for link in links if link.before)


def test_c_neither_leaves_its_arrays_nor_does_what_is_undefined(tmp_path):
    """Random layers in a library with gcc's and clang's sanitizers, which end the process at the first fault."""
    flags = ["-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover"]
    program = tmp_path / "program.c"
    program.write_text("int main(void) { return 0; }")
    if subprocess.run(["cc", *flags, program, "-o", tmp_path / "program"], capture_output=True, check=False).returncode:
        pytest.skip("the C compiler has no sanitizers")
    name = "libasan.so" if b"Free Software" in subprocess.check_output(["cc", "--version"]) else "libclang_rt.asan.so"
    runtime = subprocess.check_output(["cc", f"-print-file-name={name}"], text=True).strip()
    if not os.path.isabs(runtime):
        pytest.skip("the sanitizers' library cannot be loaded before Python")

    done = subprocess.run(
        [sys.executable, random_chains.__file__, "40", *flags],
        env=os.environ
        | {"LD_PRELOAD": runtime, "ASAN_OPTIONS": "detect_leaks=0", CHOICE: os.fspath(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
