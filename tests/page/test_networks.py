"""The JavaScript's networks compute what PyTorch's do."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from example_networks import Network
from torch import nn

from mnist_s7 import SERIES, predict, pretrained
from mnist_s7.catalog import ABLATIONS, EXPERIMENTS
from mnist_s7.page import NotInBrowser, network_data
from mnist_s7.transforms import normalize

LOAD = "window.networks = JSON.parse(document.getElementById('data').textContent).map(network.loadNetwork);"
RUN = "window.run = network.run;"
MEDIAN_MS = """(pictures) => {
  const times = [];
  for (let i = 0; i < 80; i++) {
    const before = performance.now();
    for (const network of networks) run(network, pictures[i]);
    if (i >= 30) times.push(performance.now() - before);
  }
  return times.sort((a, b) => a - b)[25];
}"""
LOG_PROBABILITIES = """(pictures) => networks.map((network) =>
  pictures.map((picture) => Array.from(run(network, picture).logProbabilities)))"""


def said_by_javascript(open_page, networks, images) -> tuple[torch.Tensor, object]:
    page = open_page([network_data(network) for network in networks], LOAD + RUN, "network")
    return torch.tensor(page.evaluate(LOG_PROBABILITIES, images.flatten(1).tolist())), page


def test_the_series_says_the_same_of_the_test_images(open_page, mnist):
    networks = [pretrained(experiment.name) for experiment in SERIES]
    images = mnist.test_images[:1000]

    found, page = said_by_javascript(open_page, networks, images)

    furthest = 0.0
    for network, log_probabilities in zip(networks, found, strict=True):
        expected = predict(network, images)
        furthest = max(furthest, (log_probabilities - expected).abs().max().item())
        assert torch.equal(log_probabilities.argmax(1), expected.argmax(1))
        torch.testing.assert_close(log_probabilities, expected, rtol=0, atol=1e-4)
    time = page.evaluate(MEDIAN_MS, images[:80].flatten(1).tolist())
    print(f"\nall four networks: {time:.1f} ms an image; at most {furthest:.1e} apart")
    assert time < 200


@pytest.mark.parametrize("name", [experiment.name for experiment in (*SERIES, *ABLATIONS)])
def test_every_network_of_the_series_is_known(name):
    data = network_data(EXPERIMENTS[name].network())

    assert json.loads(json.dumps(data)) == data
    assert [data["steps"][0]["shape"], data["steps"][-1]["shape"]] == [[1, 28, 28], [10]]


def test_steps_are_named_as_in_the_network():
    steps = network_data(pretrained("T4"))["steps"]

    first = ["image", "block1.0", "block1.2", "block1.3.branch.0", "block1.3.branch.2", "block1.3.branch.3"]
    assert [step["name"] for step in steps[:8]] == [*first, "block1.3.add", "block1.3.relu"]
    assert [step["name"] for step in steps[-4:]] == ["pool", "head.0", "flatten", "log_softmax"]
    assert [step["shape"] for step in steps[6:8]] == [[16, 26, 26]] * 2
    assert steps[6]["inputs"] == [2, 5]


# ------------------------------------------------------------------------------------------------------ any network


def random_network(seed: int) -> nn.Module:
    """Convolutions of any kernel, stride, padding, dilation and groups, now and then with what may be after one."""
    random = np.random.default_rng(seed)
    channels, layers = 1, []
    side = 28
    while side > 6 and len(layers) < 12:
        kernel = tuple(int(k) for k in random.integers(1, 5, 2))
        groups = int(random.choice([g for g in (1, 2, 4, channels) if channels % g == 0]))
        wider = groups * int(random.integers(1, 4))
        settings = {
            "stride": tuple(int(s) for s in random.integers(1, 3, 2)),
            "padding": tuple(int(random.integers(0, 3)) for _ in range(2)),
            "dilation": int(random.integers(1, 3)),
            "bias": bool(random.integers(2)),
        }
        if random.random() < 0.2:
            settings |= {"stride": 1, "padding": "same"}
        layers += [nn.Conv2d(channels, wider, kernel, groups=groups, **settings)]
        channels = wider
        if random.random() < 0.5:
            layers += [nn.ReLU(inplace=bool(random.integers(2))), nn.BatchNorm2d(channels)]
        if random.random() < 0.3:
            layers += [nn.MaxPool2d(3, 2, padding=1, ceil_mode=bool(random.integers(2)))]
        side = min(nn.Sequential(*layers).eval()(torch.zeros(1, 1, 28, 28)).shape[2:])
        if random.random() < 0.3 and side > 8:
            layers += [nn.AvgPool2d((2, 3), (2, int(random.integers(1, 3))))]
            side = (side - 3) // 2 + 1
    head = nn.Linear(channels, 10, bias=bool(random.integers(2)))
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head, nn.LogSoftmax(1))
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight)
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.3, 3)
    return network.eval()


def residual(network, x):
    x = first = network.first(x)
    changed = x
    x = torch.add(network.second(x).relu(), x)
    changed.add_(x)  # in place, so that `first` is another one from here on
    x = x + F.relu(changed, inplace=True) + first
    x = F.avg_pool2d(F.max_pool2d(x, 2, stride=3, padding=1), 2, stride=1)
    return network.end(network.last(x.view(x.size(0), -1))).log_softmax(dim=-1)


def own_networks() -> list[nn.Module]:
    torch.manual_seed(0)
    return [
        *map(random_network, range(20)),
        Network(
            residual,
            first=nn.Conv2d(1, 6, 5),
            second=nn.Conv2d(6, 6, 3, padding=1, groups=3),
            last=nn.Linear(6 * 8 * 8, 20),
            end=nn.Linear(20, 10),
        ).eval(),
        nn.Sequential(
            nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.BatchNorm1d(16), nn.Linear(16, 10), nn.LogSoftmax(1)
        ),
    ]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_other_networks_say_the_same(open_page):
    networks = [network.eval() for network in own_networks()]
    images = torch.randint(0, 256, (5, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)

    found, _ = said_by_javascript(open_page, networks, images)

    with torch.no_grad():
        expected = torch.stack([network(normalize(images.unsqueeze(1))) for network in networks])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_network_of_another_data_set_has_its_normalisation():
    network = EXPERIMENTS["T3"].network().eval()
    assert (network_data(network)["mean"], network_data(network)["std"]) == (0.1307, 0.3081)

    network.trained_on = "Fashion-MNIST"
    assert (network_data(network)["mean"], network_data(network)["std"]) == (0.2860, 0.3530)


def test_every_layer_gives_what_pytorch_s_does(open_page, mnist):
    """Of T2, whose layers are in a row, and folded so that each is there."""
    from mnist_s7 import folded

    network = folded(pretrained("T2"))
    page = open_page([network_data(network)], LOAD + RUN, "network")
    image = mnist.test_images[0]
    layers = page.evaluate(
        "(picture) => run(networks[0], picture).layers.map((layer) => ({...layer, values: Array.from(layer.values)}))",
        image.flatten().tolist(),
    )

    values = {}
    for name, module in network.named_modules():
        module.register_forward_hook(lambda module, given, value, name=name: values.update({name: value}))
    with torch.no_grad():
        network(normalize(image[None, None]))
    compared = [layer for layer in layers if layer["name"] in values]
    assert len(compared) == 14
    for layer in compared:
        expected = values[layer["name"]][0]
        assert layer["shape"] == list(expected.shape)
        torch.testing.assert_close(torch.tensor(layer["values"]), expected.flatten(), rtol=1e-4, atol=1e-4)


HEAD = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LogSoftmax(1))
UNKNOWN = {
    "1, a PReLU": nn.Sequential(nn.Conv2d(1, 10, 3), nn.PReLU(), *HEAD),
    "0, a Conv2d with these settings": nn.Sequential(nn.Conv2d(1, 10, 3, padding=1, padding_mode="reflect"), *HEAD),
    "1, a AdaptiveAvgPool2d with": nn.Sequential(nn.Conv2d(1, 10, 3), nn.AdaptiveAvgPool2d(2), nn.Flatten()),
    "1, a AvgPool2d with": nn.Sequential(nn.Conv2d(1, 10, 3), nn.AvgPool2d(2, padding=1), *HEAD),
    "0, a AvgPool2d with": nn.Sequential(nn.AvgPool2d(3, ceil_mode=True), nn.Conv2d(1, 10, 3), *HEAD),
    "compute mul; it has conv2d": Network(lambda self, x: 2 * self.head(x), head=nn.Conv2d(1, 10, 28)),
    "compute add": Network(lambda self, x: self.head(x) + 1, head=nn.Conv2d(1, 10, 28)),
    "gives [20] for an image": nn.Sequential(nn.Flatten(), nn.Linear(784, 20)),
    "cannot trace": Network(lambda self, x: self.head(x) if x.sum() > 0 else x, head=nn.Conv2d(1, 10, 28)),
}


@pytest.mark.parametrize("named", UNKNOWN)
def test_a_layer_that_the_page_does_not_have_is_named(named):
    with pytest.raises(NotInBrowser) as error:
        network_data(UNKNOWN[named])

    assert named in str(error.value)
