"""The JavaScript's gradients and effective receptive fields are PyTorch's."""

import pytest
import torch
import torch.nn.functional as F
from example_networks import Network
from test_networks import own_networks
from torch import Tensor, fx, nn

from mnist_s7 import SERIES, folded, pretrained
from mnist_s7.page import network_data
from mnist_s7.page.networks import KINDS
from mnist_s7.receptive_field import effective_receptive_field
from mnist_s7.transforms import normalize

LOAD = "window.networks = JSON.parse(document.getElementById('data').textContent).map(network.loadNetwork);"
EXPORT = "Object.assign(window, { run: network.run, ...gradient, ...effective });"
MODULES = ("network", "gradient", "effective")
# Of units of steps, [network, step, row, column]: the gradient on each picture.
GRADIENTS = """([pictures, asked]) => {
  const results = networks.map((network) => pictures.map((picture) => run(network, picture).layers));
  return asked.map(([at, step, row, column]) =>
    results[at].map((layers) => Array.from(unitGradient(networks[at], layers, step, [row, column]))));
}"""
# Of the centre unit of each step that has a feature map: the effective field on the pictures.
CENTRE_FIELDS = """(pictures) => networks.map((network) => {
  const results = pictures.map((picture) => run(network, picture).layers);
  return network.steps.slice(1).filter((step) => step.shape.length === 3).map(({ name, kind, shape }) => {
    const index = network.steps.findIndex((step) => step.name === name);
    const unit = [Math.floor(shape[1] / 2), Math.floor(shape[2] / 2)];
    const field = effectiveField(results.map((layers) => unitGradient(network, layers, index, unit)), 28);
    return { name, kind, ...field, map: Array.from(field.map) };
  });
})"""


@pytest.fixture(scope="module")
def images(mnist) -> Tensor:
    """The first test image of each digit, (10, 28, 28)."""
    labels = mnist.test_labels.tolist()
    return torch.stack([mnist.test_images[labels.index(digit)] for digit in range(10)])


def layer_in(model: nn.Module, name: str, kind: str) -> str:
    """The model's layer that gives what the page's step does: of a convolution the BatchNorm that is folded into it."""
    block, _, place = name.removesuffix(".relu").rpartition(".")
    following = f"{block}.{int(place) + 1}" if kind == "conv2d" else ""
    is_folded = isinstance(dict(model.named_modules()).get(following), nn.BatchNorm2d)
    return following if is_folded else name.removesuffix(".relu")


def test_effective_fields_of_every_layer_of_the_series(open_page, images):
    """Of the networks as they are, but for two pools: those of T2 and T3, where the BatchNorm before the pool is folded
    into the layer after it. These, and all that are modules there too, are compared with the folded networks'."""
    models = {experiment.name: pretrained(experiment.name).eval() for experiment in SERIES}
    page = open_page([network_data(model) for model in models.values()], LOAD + EXPORT, *MODULES)
    found = page.evaluate(CENTRE_FIELDS, images.flatten(1).tolist())
    pixels = normalize(images.unsqueeze(1))

    furthest, compared = 0.0, 0
    for (title, model), layers in zip(models.items(), found, strict=True):
        smaller = folded(model)
        for layer in layers:
            name, kind = layer["name"], layer["kind"]
            expected = []
            if kind != "add" and (title, name) not in [("T2", "pool"), ("T3", "pool")]:
                expected.append(effective_receptive_field(model, pixels, layer_in(model, name, kind)))
            if name in dict(smaller.named_modules()):
                expected.append(effective_receptive_field(smaller, pixels, name))
            assert expected or kind == "add"  # a call, which the next test compares
            for field in expected:
                furthest = max(furthest, (torch.tensor(layer["map"]) - field.map.flatten()).abs().max().item())
                assert layer["centre"] == pytest.approx(field.centre, abs=0.01)
                assert layer["radius"] == pytest.approx(field.radius, abs=0.05)
                compared += 1
    print(f"\n{compared} effective receptive fields: at most {furthest:.1e} apart")
    assert furthest < 1e-4
    assert compared == 205


def branching(network, x):
    """Calls, and values that several steps take, without changes in place that autograd cannot go back through."""
    x = network.first(x)
    changed = torch.add(network.second(x).relu(), x)
    x = F.avg_pool2d(F.max_pool2d(changed + F.relu(x) + x, 2, stride=3, padding=1), 2, stride=1)
    return network.end(network.last(x.view(x.size(0), -1))).log_softmax(dim=-1)


def networks_with_gradients() -> list[nn.Module]:
    *random, residual, dense = own_networks()
    return [network.eval() for network in (*random, Network(branching, **dict(residual.named_children())), dense)]


class Gradient(fx.Interpreter):
    """Runs a network, and finds the gradient of a unit, summed over channels, of one of `network_data`'s steps."""

    def __init__(self, network: nn.Module, pixels: Tensor, step: int, unit: list[int]):
        super().__init__(network)
        self.pixels, self.left, self.unit = pixels, step, unit
        self.run(pixels.clone())  # which the first layer may change in place

    def run_node(self, n: fx.Node) -> object:
        value = super().run_node(n)
        if isinstance(value, Tensor):
            if self.left == 0:  # now, before a later step changes what autograd needs
                total = value.sum() if value.dim() == 2 else value[(..., *self.unit)].sum()
                [self.found] = torch.autograd.grad(total, self.pixels, retain_graph=True)
            self.left -= 1
        return value


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths", "ignore::mnist_s7.export.NotFolded")
def test_gradients_of_all_kinds_of_steps(open_page):
    """Of a random unit of every step of every network; of a step without a feature map, of all its values together."""
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 28, 28), generator=random, dtype=torch.uint8)
    networks = networks_with_gradients()
    data = [network_data(network) for network in networks]
    asked = []
    for at, network in enumerate(data):
        for index, step in enumerate(network["steps"]):
            sides = [*step["shape"], 1, 1][1:3]
            asked.append([at, index, *(int(torch.randint(side, (), generator=random)) for side in sides)])

    page = open_page(data, LOAD + EXPORT, *MODULES)
    found = torch.tensor(page.evaluate(GRADIENTS, [images.flatten(1).tolist(), asked]))

    for (at, index, *unit), gradients in zip(asked, found, strict=True):
        for image, gradient in zip(images, gradients, strict=True):
            pixels = normalize(image[None, None]).requires_grad_()
            expected = Gradient(folded(networks[at]), pixels, index, unit).found.flatten()
            torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-4 * max(expected.abs().max().item(), 1e-6))
    assert {step["kind"] for network in data for step in network["steps"]} == {"image", *KINDS}
