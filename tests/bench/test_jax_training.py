"""The benchmark's network in JAX: that it computes and learns what PyTorch's does.

In a process of its own, as the benchmark has it: JAX has threads, with which the other tests' process must not fork.
"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mnist_s7 import T1, T2, T3, T4
from mnist_s7.baselines import BASELINES
from mnist_s7.bench import measure
from mnist_s7.transforms import PLAIN, batched

pytestmark = pytest.mark.skipif(not find_spec("jax"), reason='pip install -e ".[bench]"')


@pytest.fixture(scope="module")
def apart():
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        yield lambda function, *arguments: process.submit(function, *arguments).result()


def changed(experiment, **settings):
    """Without what another process cannot be sent."""
    return replace(experiment, targets=(), claims=(), **settings)


class Biased(nn.Module):
    """With a bias, padding, a stride and a sum, which the series' standard convolutions have not."""

    def __init__(self, **settings):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1, stride=2)
        self.second = nn.Conv2d(4, 4, 3, **{"padding": 1} | settings)
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 10, 1)

    def forward(self, x):
        x = self.first(x)
        return F.log_softmax(self.head(self.pool(F.relu(x + self.second(x)))).flatten(1), dim=1)


class Dropped(nn.Module):
    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout(0.25)

    def forward(self, x):
        return self.dropout(x).flatten(1)


def batches(n=3, size=32):
    generator = torch.Generator().manual_seed(2)
    return [
        (torch.randn(size, 1, 28, 28, generator=generator), torch.randint(10, (size,), generator=generator))
        for _ in range(n)
    ]


def both_trained(experiment):
    """A fresh network, and the same one in JAX: the figures of a few steps and of a test of each, then parameters and
    running statistics, of each in turn."""
    from mnist_s7.bench.jax_training import JaxTraining

    torch.manual_seed(1)
    model = experiment.network().train()
    optimizer = experiment.optimizer(model)
    torch.manual_seed(1)
    training = JaxTraining(experiment)
    figures, in_jax = [], []

    def own(images, labels):
        log_probabilities = model(images)
        loss = F.nll_loss(log_probabilities, labels, reduction="sum")
        figures.append((loss.item(), int((log_probabilities.argmax(1) == labels).sum())))
        return loss / len(labels)

    for batch in batches():
        optimizer.zero_grad()
        own(*batch).backward()
        optimizer.step()
        in_jax.append(training.step(*batch).tolist())
    model.eval()
    own(*batch)
    in_jax.append(training.count(*batch).tolist())
    theirs = {f"{layer}.{kind}": w for layer, found in training.parameters.items() for kind, w in found.items()}
    theirs = {name: np.array(w).transpose((3, 2, 0, 1) if w.ndim == 4 else None) for name, w in theirs.items()}
    names = "running_mean", "running_var"
    for layer, both in training.statistics.items():
        theirs |= {f"{layer}.{name}": np.array(values) for name, values in zip(names, both, strict=True)}
    return figures, in_jax, {name: values.numpy() for name, values in model.state_dict().items()}, theirs


@pytest.mark.parametrize(
    "experiment",
    [
        changed(T1),
        changed(T2, network=partial(T2.network, dropout=0.0), nesterov=True, weight_decay=1e-2),
        changed(T3, network=partial(T3.network, dropout=0.0)),
        changed(T3, network=Biased),
    ],
    ids=["T1", "T2", "T3", "biased"],
)
def test_steps_are_those_of_pytorch(apart, experiment):
    figures, in_jax, expected, found = apart(both_trained, experiment)

    np.testing.assert_allclose(in_jax, figures, rtol=1e-5)
    expected = {name: values for name, values in expected.items() if not name.endswith("num_batches_tracked")}
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-6, err_msg=name)


def dropped(in_training):
    from mnist_s7.bench.jax_training import JaxTraining

    training = JaxTraining(changed(T3, network=Dropped))
    ones, key = np.ones((50, 28, 28, 1), np.float32), training.key if in_training else None
    return np.array(training.network(training.parameters, training.statistics, ones, key)[0])


def test_dropout_scales_what_it_keeps(apart):
    in_training = apart(dropped, True)

    assert np.unique(in_training).tolist() == pytest.approx([0, 4 / 3])
    assert np.mean(in_training) == pytest.approx(1, abs=0.02)
    assert (apart(dropped, False) == 1).all()


def softmax():
    return nn.Sequential(nn.Conv2d(1, 10, 28), nn.Softmax(1))


def circular():
    """As deep as T3, and untrained: only its padding is another one."""
    network = T3.network()
    network.block2[0].padding_mode, network.block2[0].padding = "circular", (1, 1)
    network.block2[0]._reversed_padding_repeated_twice = [1] * 4
    return network


def without_statistics():
    return nn.Sequential(nn.Conv2d(1, 10, 28), nn.BatchNorm2d(10, track_running_stats=False))


def of_all_batches():
    """Its running statistics are those of all batches alike."""
    return nn.Sequential(nn.Conv2d(1, 10, 28), nn.BatchNorm2d(10, momentum=None))


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


def refusal(experiment):
    from mnist_s7.bench.jax_training import JaxTraining, NotInJax

    with pytest.raises(NotInJax) as refused:
        JaxTraining(experiment)
    return str(refused.value)


@pytest.mark.parametrize(
    ("experiment", "reason"),
    [
        (changed(T4), "in groups"),
        (next(each for each in BASELINES if each.name == "joshwarn-997"), "only SGD"),
        (changed(T3, network=partial(Biased, padding_mode="circular")), "another network in JAX"),
        (changed(T3, network=partial(Biased, padding="same")), "cannot be computed in JAX"),
        (changed(T3, network=circular), "another network in JAX"),
        (changed(T3, network=softmax), "no Softmax here"),
        (changed(T3, network=without_statistics), "cannot be computed in JAX"),
        (changed(T3, network=of_all_batches), "cannot be computed in JAX"),
        (changed(T3, network=Branching), "cannot trace Branching"),
    ],
    ids=[
        *("depthwise", "Adam", "circular", "padded by name", "circular in T3", "Softmax"),
        *("no statistics", "no momentum", "branching"),
    ],
)
def test_what_is_not_in_jax_is_refused(apart, experiment, reason):
    assert reason in apart(refusal, experiment)


def test_only_what_jax_has_is_measured(apart, few_digits):
    assert apart(measure.in_jax, "T3", 1, few_digits) > 0
    assert apart(measure.in_jax, "T4", 1, few_digits) is None


def four_epochs(digits):
    """The figures of each, those of the test asked for again, and whether the key of the dropout is another one."""
    from mnist_s7.bench.jax_training import JaxTraining

    training = JaxTraining(T3)
    key = training.key
    each = [training.epoch(measure._batches(T3, digits), digits.test_images, digits.test_labels) for _ in range(4)]
    images = batched(PLAIN)(digits.test_images.unsqueeze(1), None)
    tested = training.count(images, digits.test_labels)
    return np.array(each).tolist(), tested.tolist(), bool(key != training.key)


def test_an_epoch_learns_and_tests(apart, few_digits):
    ((first, _), *_, (last, in_last)), tested, drawn_from_another = apart(four_epochs, few_digits)

    assert last[0] < 0.8 * first[0]
    assert last[1] > first[1]
    assert in_last == pytest.approx(tested)
    assert drawn_from_another
