"""The published networks: as many parameters as their authors count, and the functions that their programs compute."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mnist_s7 import fit
from mnist_s7.baselines import BASELINES, PUBLISHED_NETWORKS
from mnist_s7.baselines.layers import Pixels, SampleNorm
from mnist_s7.catalog import EXPERIMENTS, check_network
from mnist_s7.kernels import accelerate
from mnist_s7.results.progress import Silent
from mnist_s7.transforms import MEAN, STD

# Trainable parameters that forward uses, counted in the authors' own programs and model summaries.
PARAMETERS = {
    **{"joshwarn-697": 697, "joshwarn-997": 997},
    **{"hexhowells-807": 807, "hexhowells-820": 820, "hexhowells-1055": 1055},
    **{"ruslangrimov-1936": 1936, "ruslangrimov-2180": 2180, "ruslangrimov-3197": 3197},
    **{"parrotletml-3762": 3762, "gustawdaniel-4266": 4266},
    **{"navyabhat-4312": 4312, "navyabhat-7524": 7524},
    **{"aknakshay-4879": 4879, "aknakshay-8580": 8580},
    **{"sudhakarmlal-5854": 5854, "sudhakarmlal-6254": 6254, "sunpau-6128": 6128},
    **{"nimmagadda-1674": 1674, "nimmagadda-5208": 5208, "nimmagadda-6188": 6188},
    **{"shwethaamrutha-6260": 6260, "jaibhagat-6712": 6712, "prashant-7568": 7568, "snehanshu-7918": 7918},
    **{"uday96-8500": 8500, "eva6-9320": 9320, "shubhamverma-7910": 7910},
    **{"school-of-ai-8932": 8932, "satyajit-9962": 9962},
}


def images(count=3, seed=1):
    return torch.randn(count, 1, 28, 28, generator=torch.Generator().manual_seed(seed))


def without_dropout(network):
    for layer in network.modules():
        if isinstance(layer, nn.Dropout | nn.Dropout2d):
            layer.p = 0.0
    return network


def test_all_are_there():
    originals = {each.experiment.name for each in PUBLISHED_NETWORKS if not each.variant_of}

    assert originals == PARAMETERS.keys()
    assert len({each.source.repository for each in PUBLISHED_NETWORKS}) == 19
    assert len({experiment.name for experiment in BASELINES}) == len(BASELINES)
    assert len({experiment.fingerprint for experiment in BASELINES}) == len(BASELINES)
    assert all(EXPERIMENTS[experiment.name] is experiment for experiment in BASELINES)


@pytest.mark.parametrize("each", PUBLISHED_NETWORKS, ids=lambda each: each.experiment.name)
def test_a_network_has_its_parameters_and_gives_log_probabilities(each):
    experiment = each.experiment

    assert experiment.parameters == PARAMETERS[each.variant_of or experiment.name]
    check_network(experiment.name, experiment.network)
    assert experiment.recipe and each.source.commit


@pytest.mark.parametrize("each", PUBLISHED_NETWORKS, ids=lambda each: each.experiment.name)
def test_a_variant_is_stated_only_where_its_authors_ran_it(each):
    ran = "five-times", "twice"

    assert (each.stated is not None) == (not each.variant_of or each.experiment.name.endswith(ran))


@pytest.mark.parametrize("experiment", BASELINES, ids=lambda experiment: experiment.name)
def test_compiled_layers_compute_the_same(experiment):
    """Loss, gradients and running statistics, next to PyTorch's of double precision, without dropout, whose masks are
    C's own. Where a ReLU is given a value within rounding of zero, its gradient is 0 for one and 1 for the other: of a
    few draws of images, one has no such value."""
    torch.manual_seed(1)
    exact = without_dropout(experiment.network()).double()
    model = copy.deepcopy(exact).float()
    compiled = accelerate(model)
    errors = []
    for seed in (1, 2, 3):
        inputs = images(3, seed)
        losses = [
            F.nll_loss(module(inputs.to(dtype)), torch.arange(3))
            for module, dtype in ((compiled, torch.float32), (exact, torch.float64))
        ]
        torch.testing.assert_close(losses[0].double(), losses[1], rtol=1e-4, atol=1e-5)
        gradients, expected = (
            torch.cat([gradient.flatten() for gradient in torch.autograd.grad(loss, list(module.parameters()))])
            for loss, module in zip(losses, (model, exact), strict=True)
        )
        errors.append(float((gradients - expected).abs().max() / expected.abs().max()))
    assert min(errors) < 1e-4
    assert max(errors) < 0.1
    for own, expected in zip(model.buffers(), exact.buffers(), strict=True):
        torch.testing.assert_close(own.to(expected.dtype), expected, rtol=1e-4, atol=1e-5)


# --------------------------------------------------- as their programs write them, in torch.nn and torch.nn.functional


class NeuralGolfing(nn.Module):
    """hexhowells-807: three convolutions, the last one's 36 values into a linear layer."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = nn.Conv2d(1, 4, 4), nn.Conv2d(4, 5, 3), nn.Conv2d(5, 4, 3)
        self.fc = nn.Linear(36, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return F.log_softmax(self.fc(F.relu(self.conv3(x)).reshape(len(x), -1)), dim=1)


class OverASample(nn.Module):
    """keras_contrib's InstanceNormalization without an axis: eps is added to the deviation."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(0.0))

    def forward(self, x):
        flat = x.reshape(len(x), -1)
        mean = flat.mean(1, keepdim=True)
        deviation = ((flat - mean) ** 2).mean(1, keepdim=True) ** 0.5
        return ((flat - mean) / (deviation + 1e-3) * self.weight + self.bias).reshape(x.shape)


class SharedSeparable(nn.Module):
    """ruslangrimov-1936: one separable convolution three times, and six norms."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3)
        self.norms = nn.ModuleList([OverASample() for _ in range(6)])
        self.depth1, self.point1 = nn.Conv2d(8, 8, 3, groups=8, bias=False), nn.Conv2d(8, 26, 1)
        self.depth2, self.point2 = nn.Conv2d(26, 26, 3, padding=1, groups=26, bias=False), nn.Conv2d(26, 26, 1)
        self.fc1, self.fc2 = nn.Linear(26, 16), nn.Linear(16, 10)

    def forward(self, x):
        x = F.max_pool2d(self.norms[0](F.relu(self.first(0.3081 * x + 0.1307))), 2)
        x = self.norms[1](F.relu(self.point1(self.depth1(x))))
        for place in (2, 3, 4):
            x = self.norms[place](F.relu(self.point2(self.depth2(x))))
        x = self.norms[5](F.relu(self.fc1(x.mean((2, 3)))))
        return torch.softmax(self.fc2(x), dim=1).log()


class Squeezed(nn.Module):
    """navyabhat-7524: no activation after the 1x1 convolution, and a 2x2 one that ends in one pixel."""

    def __init__(self):
        super().__init__()
        widths = [(1, 8), (8, 16), (10, 10), (10, 16), (16, 10), (10, 10), (10, 10)]
        self.convs = nn.ModuleList([nn.Conv2d(n, m, 3, bias=False) for n, m in widths])
        self.norms = nn.ModuleList([nn.BatchNorm2d(m) for _, m in widths])
        self.squeeze, self.last = nn.Conv2d(16, 10, 1, bias=False), nn.Conv2d(10, 10, 2, bias=False)

    def forward(self, x):
        for place, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            if place == 2:
                x = F.max_pool2d(self.squeeze(x), 2)
            x = norm(F.relu(conv(x)))
        return F.log_softmax(self.last(x)[:, :, 0, 0], dim=1)


class WithBiases(nn.Module):
    """eva6-9320: the average of the logits' maps goes through a linear layer."""

    def __init__(self):
        super().__init__()
        self.start = nn.Conv2d(1, 4, 3, padding=1)
        self.wide = nn.ModuleList([nn.Conv2d(n, n + 4, 3, padding=1) for n in (4, 8, 12, 16)])
        self.wide_norms = nn.ModuleList([nn.BatchNorm2d(n) for n in (8, 12, 16, 20)])
        self.squeeze = nn.Conv2d(20, 4, 1)
        self.narrow = nn.ModuleList([nn.Conv2d(n, n + 4, 3) for n in (4, 8, 12)])
        self.narrow_norms = nn.ModuleList([nn.BatchNorm2d(n) for n in (8, 12, 16)])
        self.scores, self.fc = nn.Conv2d(16, 10, 1), nn.Linear(10, 10)

    def forward(self, x):
        x = F.relu(self.start(x))
        for conv, norm in zip(self.wide, self.wide_norms, strict=True):
            x = norm(F.relu(conv(x)))
        x = self.squeeze(F.max_pool2d(x, 2))
        for conv, norm in zip(self.narrow, self.narrow_norms, strict=True):
            x = norm(F.relu(conv(x)))
        return F.log_softmax(self.fc(self.scores(x).mean((2, 3))), dim=1)


class LogitsNormalized(nn.Module):
    """navyabhat-4312: BatchNorm and ReLU on the logits (dropout after them is not in evaluation mode)."""

    def __init__(self):
        super().__init__()
        shapes = [(1, 8, 0), (8, 16, 0), (10, 10, 0), (10, 10, 1), (10, 10, 1)]
        self.convs = nn.ModuleList([nn.Conv2d(n, m, 3, padding=p, bias=False) for n, m, p in shapes])
        self.norms = nn.ModuleList([nn.BatchNorm2d(m) for _, m, _ in shapes])
        self.squeeze = nn.Conv2d(16, 10, 1, bias=False)
        self.scores, self.last = nn.Conv2d(10, 10, 1, bias=False), nn.BatchNorm2d(10)

    def forward(self, x):
        for place, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            if place == 2:
                x = F.max_pool2d(self.squeeze(x), 2)
            if place == 4:
                x = F.max_pool2d(x, 2)
            x = norm(F.relu(conv(x)))
        x = F.relu(self.last(self.scores(F.avg_pool2d(x, 5))))
        return F.log_softmax(x.view(-1, 10), dim=1)


class Keras8580(nn.Module):
    """aknakshay-8580: Keras's BatchNorm, and pixels from 0 to 1."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.fc = nn.Conv2d(1, 20, 7, padding=3), nn.Conv2d(20, 10, 5), nn.Linear(250, 10)
        self.norm1, self.norm2 = (nn.BatchNorm2d(n, eps=1e-3, momentum=0.01) for n in (20, 10))

    def forward(self, x):
        x = F.max_pool2d(self.norm1(F.relu(self.conv1(0.3081 * x + 0.1307))), 2)
        x = F.max_pool2d(self.norm2(F.relu(self.conv2(x))), 2)
        return F.log_softmax(self.fc(x.flatten(1)), dim=1)


WRITTEN_OUT = {
    "hexhowells-807": NeuralGolfing,
    "ruslangrimov-1936": SharedSeparable,
    "navyabhat-4312": LogitsNormalized,
    "navyabhat-7524": Squeezed,
    "aknakshay-8580": Keras8580,
    "eva6-9320": WithBiases,
}


@pytest.mark.parametrize("name", WRITTEN_OUT)
def test_a_network_computes_what_one_that_is_written_out_does(name):
    """With the same weights, in training and in evaluation mode."""
    ours, theirs = EXPERIMENTS[name].network(), WRITTEN_OUT[name]()
    for own, other in zip(parameters_as_used(ours), parameters_as_used(theirs), strict=True):
        with torch.no_grad():
            own.add_(torch.rand(own.shape) / 4)  # away from zeros and ones, which tell no two norms apart
            other.copy_(own)
    without_dropout(ours)

    for _ in range(2):  # the second time with statistics that the first one has left
        torch.testing.assert_close(ours.train()(images()), theirs.train()(images()), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.eval()(images()), theirs.eval()(images()), rtol=1e-4, atol=1e-4)


def parameters_as_used(network):
    """In the order in which the layers that have them are called first."""
    called = {}
    for layer in network.modules():
        if next(layer.parameters(recurse=False), None) is not None:
            layer.register_forward_hook(lambda layer, *_: called.setdefault(layer))
    network.eval()(images())
    return [parameter for layer in called for parameter in layer.parameters()]


def test_weights_are_drawn_as_keras_draws_them():
    """Glorot's uniform limits with Keras's fans, and He's truncated normal deviation in joshwarn-697's first layer."""
    torch.manual_seed(1)
    layers = list(EXPERIMENTS["joshwarn-697"].network().layers)
    depthwise, pointwise, dense = (layers[place] for place in (4, 5, -2))

    first = torch.cat([EXPERIMENTS["joshwarn-697"].network().layers[1].weight.flatten() for _ in range(100)])
    assert first.std().item() == pytest.approx(math.sqrt(2 / 9), rel=0.05)
    assert first.abs().max() < 2.3 * math.sqrt(2 / 9)  # a normal distribution would be beyond that 1 time in 50
    for layer, fans in ((depthwise, 9 * 6 + 9), (pointwise, 6 + 5), (dense, 8 + 10)):
        limit, found = math.sqrt(6 / fans), layer.weight.abs().max().item()
        assert 0.8 * limit < found <= limit
    assert not any(layer.bias.any() for layer in layers if getattr(layer, "bias", None) is not None)


def test_pixels_are_those_before_the_normalisation():
    greys = torch.rand(2, 1, 28, 28)

    torch.testing.assert_close(Pixels()((greys - MEAN) / STD), greys)


def test_a_sample_without_differences_has_gradients():
    """After a ReLU all values of a sample can be 0, and so is their deviation."""
    x = torch.zeros(2, 16, requires_grad=True)

    SampleNorm()(x).sum().backward()

    assert x.grad.isfinite().all()


def test_the_last_images_are_left_out(few_digits):
    """Keras's validation_split: of 512 images 460 are trained on, which is 15 batches of 32."""
    seen = []

    class Counting(Silent):
        def epoch_starts(self, epoch, lr, steps):
            seen.append(steps)

    fit(EXPERIMENTS["aknakshay-4879"], few_digits, epochs=1, device="cpu", progress=Counting())

    assert seen == [15]
