"""An accelerated model trains as the model does, whatever anybody has changed in it or looks at."""

import copy
import io
import pickle
import random
import threading

import pytest
import torch
import torch.nn.functional as F
from reference import Residual, assert_trains_as_pytorch
from scipy import stats
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.utils.checkpoint import checkpoint

from mnist_s7 import models
from mnist_s7.kernels import CompiledLayersMissing, accelerate, accelerated, chain, dropout, library
from mnist_s7.kernels.library import CHOICE, RELU_AFTER, RELU_BEFORE
from mnist_s7.models import MnistNet_1, MnistNet_2, MnistNet_3, MnistNet_4, MnistNet_5, Teacher

NETWORKS = [MnistNet_1, MnistNet_2, MnistNet_3, MnistNet_4, MnistNet_5, Teacher]


def bare(*sizes, **options):
    return nn.Conv2d(*sizes, bias=False, **options)


def network():
    """Of every kind of layer that C takes, without dropout."""
    torch.manual_seed(0)
    branch = nn.Sequential(bare(8, 8, 3, groups=8, padding=1), nn.BatchNorm2d(8))
    return nn.Sequential(
        nn.Sequential(bare(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), Residual(branch), nn.MaxPool2d(2), bare(8, 4, 1)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


X = torch.randn(16, 3, 12, 12, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(16) % 4


def losses(forward, model, steps=3):
    """Those of a few steps of training."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    found = []
    for _ in range(steps):
        loss = F.cross_entropy(forward(X), LABELS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


def assert_same_training(ours, plain):
    """In float32 both: after some steps, losses, parameters and buffers are the same but for rounding."""
    found, expected = losses(accelerate(ours), ours), losses(plain, plain)
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), rtol=1e-4, atol=1e-5)
    for (name, one), other in zip(ours.state_dict().items(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-3, msg=lambda text, name=name: f"{name}: {text}")


def layers_of(links):
    return {id(layer) for link in links for layer in (link.conv, link.before and link.before.module) if layer}


# -------------------------------------------------------------------------------- what may have been done to a layer


def replaced_forward(layer):
    forward = layer.forward
    layer.forward = lambda x: 2 * forward(x)


def derived(layer):
    kind = type(layer)
    layer.__class__ = type("Derived", (kind,), {"forward": lambda self, x: 2 * kind.forward(self, x)})


def frozen(layer):
    layer.weight.requires_grad_(False)


def twice_the_gradient(layer, of_inputs, of_outputs):
    return None if of_inputs[0] is None else (2 * of_inputs[0],)


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


CHANGES = {
    "pruned": lambda layer: prune.random_unstructured(layer, "weight", amount=3),
    "weight norm": lambda layer: parametrizations.weight_norm(layer),
    "weight norm of old": lambda layer: nn.utils.weight_norm(layer),
    "spectral norm": lambda layer: parametrizations.spectral_norm(layer),
    "spectral norm of old": lambda layer: nn.utils.spectral_norm(layer),
    "parametrized": lambda layer: parametrize.register_parametrization(layer, "weight", Doubled()),
    "forward replaced": replaced_forward,
    "derived class": derived,
    "frozen": frozen,
    "compiled": lambda layer: layer.compile(backend="eager"),
    "forward hook": lambda layer: layer.register_forward_hook(lambda layer, inputs, output: 2 * output),
    "forward pre-hook": lambda layer: layer.register_forward_pre_hook(lambda layer, inputs: (2 * inputs[0],)),
    "backward hook": lambda layer: layer.register_full_backward_hook(twice_the_gradient),
    "backward pre-hook": lambda layer: layer.register_full_backward_pre_hook(lambda layer, got: (2 * got[0],)),
}
LAYERS = {"conv": "0.0", "norm": "0.1", "depthwise conv": "0.3.branch.0", "norm of a branch": "0.3.branch.1"}


@pytest.mark.filterwarnings("ignore")  # of what is deprecated, and of hooks on inputs without gradients
@pytest.mark.parametrize(
    ("change", "layer"),
    # The spectral norm is one of matrices.
    [(change, layer) for change in CHANGES for layer in LAYERS if not ("spectral" in change and "norm" in layer)],
)
def test_a_changed_layer_is_pytorchs_and_the_others_are_not(links, change, layer):
    ours, plain, name, change = network(), network(), LAYERS[layer], CHANGES[change]
    for model in (ours, plain):
        torch.manual_seed(2)
        change(model.get_submodule(name))

    assert_same_training(ours, plain)

    assert links
    assert id(ours.get_submodule(name)) not in layers_of(links)


def test_a_change_counts_from_the_next_call_on(links):
    model = network()
    accelerated = accelerate(model)
    accelerated(X)
    assert id(model[0][0]) in layers_of(links)
    links.clear()

    handle = model[0][0].register_forward_hook(lambda *_: None)
    accelerated(X)
    assert links and id(model[0][0]) not in layers_of(links)
    links.clear()

    handle.remove()
    accelerated(X)
    assert id(model[0][0]) in layers_of(links)


@pytest.mark.parametrize("name", ["0.3", "0.3.branch"])
def test_hooks_on_blocks_and_branches_are_called(links, name):
    model, seen = network(), []
    model.get_submodule(name).register_forward_hook(lambda module, inputs, output: seen.append(module))

    accelerate(model)(X)

    assert seen == [model.get_submodule(name)]
    assert links and all(link.adds is None for link in links)


def test_hooks_on_all_layers_fire_with_the_same_activations():
    ours, plain = MnistNet_2(dropout=0), MnistNet_2()
    plain.load_state_dict(ours.state_dict())
    plain.apply(lambda layer: setattr(layer, "p", 0) if isinstance(layer, nn.Dropout) else None)
    x, seen = torch.randn(4, 1, 28, 28), {ours: [], plain: []}
    for model, noted in seen.items():
        for name, layer in model.named_modules():
            layer.register_forward_hook(
                lambda _, __, y, name=name, noted=noted: noted.append((name, y.detach().clone()))
            )

    accelerate(ours)(x)
    plain(x)

    assert [name for name, _ in seen[ours]] == [name for name, _ in seen[plain]]
    assert len(seen[ours]) == len(list(ours.modules()))
    for (_, one), (_, other) in zip(*seen.values(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_container_s_hooks_get_the_container_and_leave_its_layers_to_c(links):
    model, seen = network(), []
    model[0].register_forward_hook(lambda module, inputs, output: seen.append((module, output.shape)))

    accelerate(model)(X)

    assert seen == [(model[0], (16, 4, 5, 5))]
    assert sum(link.conv is not None for link in links) == 3


class Named(nn.Sequential):
    """A network as many write it."""

    def __init__(self):
        torch.manual_seed(0)
        super().__init__(bare(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), bare(4, 4, 3), nn.AdaptiveAvgPool2d(1))
        self.add_module("flat", nn.Flatten())


class Doubling(Named):
    def forward(self, x):
        return 2 * super().forward(x)


class DoublingWhenCalled(Named):
    def __call__(self, x):
        return 2 * super().__call__(x)


class WithoutItsReLU(Named):
    def __iter__(self):
        yield from list(super().__iter__())[:2]
        yield from list(super().__iter__())[3:]


@pytest.mark.parametrize("kind", [Named, WithoutItsReLU])
def test_a_class_derived_from_sequential_has_its_layers_in_c(links, kind):
    assert_same_training(kind(), kind())
    assert sum(link.conv is not None for link in links) == 2 * 3  # in each of three steps


@pytest.mark.parametrize("kind", [Doubling, DoublingWhenCalled])
def test_one_that_does_something_else_is_called(links, kind):
    assert_same_training(kind(), kind())
    assert links == []


def test_a_method_replaced_on_a_class_is_called(monkeypatch, links):
    model = network()
    monkeypatch.setattr(nn.ReLU, "forward", lambda self, x: -torch.relu(x))

    assert_same_training(accelerate(model), network())
    assert links == []


def test_a_pytorch_without_the_functions_that_tell_is_said_and_has_its_own_layers(monkeypatch, links):
    monkeypatch.setattr("mnist_s7.kernels.accelerated.KNOWS_THIS_TORCH", False)

    with pytest.warns(CompiledLayersMissing, match="lacks a function that tells"):
        accelerated = accelerate(network())

    assert_same_training(accelerated, network())
    assert links == []


def test_global_hooks_are_called_for_every_layer(links):
    model, seen = network(), []
    handle = nn.modules.module.register_module_forward_hook(lambda module, *_: seen.append(module))
    try:
        accelerated = accelerate(model)
        accelerated(X)
    finally:
        handle.remove()

    assert set(seen) == {accelerated, *model.modules()}
    assert not links


def test_activations_and_their_gradients_can_be_had_as_for_grad_cam():
    ours, plain, found = network(), network(), {}
    for model in (ours, plain):
        kept = {}
        found[model] = kept
        model[0][1].register_forward_hook(lambda _, __, y, kept=kept: kept.update(activation=y))
        model[0][1].register_full_backward_hook(lambda _, __, gradients, kept=kept: kept.update(gradient=gradients[0]))

    accelerate(ours)(X)[:, 1].sum().backward()
    plain(X)[:, 1].sum().backward()

    for key in ("activation", "gradient"):
        torch.testing.assert_close(found[ours][key], found[plain][key], rtol=1e-3, atol=1e-5)


# ---------------------------------------------------------------------------- what may be looking on at a whole call


def test_fake_tensors(links):
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True):
        y = accelerate(network())(torch.empty(2, 3, 12, 12))

    assert type(y).__name__ == "FakeTensor" and y.shape == (2, 4)
    assert not links


def test_make_fx(links):
    from torch.fx.experimental.proxy_tensor import make_fx

    model = network()
    graph = make_fx(accelerate(model))(X).graph

    assert sum("convolution" in str(node.target) for node in graph.nodes) == 3
    assert not links


def test_counts_of_operations_are_the_models():
    from torch.utils.flop_counter import FlopCounterMode

    model, counts = network(), []
    for forward in (model, accelerate(model)):
        with FlopCounterMode(display=False) as counter:
            forward(X)
        counts.append(counter.get_total_flops())

    assert counts[0] == counts[1] > 0


def test_torchinfo_in_training_mode_finds_all_layers():
    torchinfo = pytest.importorskip("torchinfo")
    model = MnistNet_2()
    ours, plain = (
        torchinfo.summary(module, input_data=torch.randn(2, 1, 28, 28), mode="train", verbose=0, depth=9)
        for module in (accelerate(model), model)
    )

    assert len(ours.summary_list) == len(plain.summary_list) + 1
    assert ours.total_mult_adds == plain.total_mult_adds


def per_sample_loss(forward):
    def loss(parameters, x, label):
        y = torch.func.functional_call(forward, parameters, (x.unsqueeze(0),))
        return F.cross_entropy(y, label.unsqueeze(0))

    return loss


@pytest.mark.filterwarnings("ignore")  # forward-mode derivatives load what torch.jit, deprecated, compiles
def test_functional_calls_gradients_and_vmap(links):
    model = nn.Sequential(nn.Sequential(bare(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), bare(8, 4, 5)), nn.Flatten())
    found = []
    for forward in (model, accelerate(model)):
        parameters = {name: 2 * parameter.detach() for name, parameter in forward.named_parameters()}
        found.append(torch.func.functional_call(forward, parameters, (X,)))
        gradient = torch.func.grad(per_sample_loss(forward))
        found += gradient(parameters, X[0], LABELS[0]).values()
        found += torch.func.vmap(gradient, in_dims=(None, 0, 0))(parameters, X, LABELS).values()
        found.append(torch.func.jvp(forward, (X,), (X,))[1])
    ours, plain = found[len(found) // 2 :], found[: len(found) // 2]

    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("inside", [True, False])
def test_a_checkpoint_runs_the_same_twice(inside, reentrant):
    class Checkpointed(nn.Module):
        def __init__(self, block):
            super().__init__()
            self.block = block

        def forward(self, x):
            return checkpoint(self.block, x, use_reentrant=reentrant)

    block, x = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5)), X.clone().requires_grad_()
    with torch.no_grad():
        block[0].weight.fill_(0)
        block[0].bias.fill_(1)  # so that the output is the mask
    model = accelerate(Checkpointed(block)) if inside else Checkpointed(accelerate(block))

    y = model(x)
    y.sum().backward()

    torch.testing.assert_close(block[0].bias.grad, y.detach().sum((0, 2, 3)))


@pytest.mark.filterwarnings("ignore")  # torch.jit is deprecated
@pytest.mark.parametrize("network", NETWORKS)
def test_the_networks_can_be_scripted_and_traced(network):
    model, x = network().eval(), torch.randn(2, 1, 28, 28)
    accelerated = accelerate(model)

    for other in (torch.jit.script(model), torch.jit.trace(model, x), torch.jit.trace(accelerated, x)):
        torch.testing.assert_close(other(x), model(x))


def test_a_compiled_model_is_left_alone(links):
    ours, plain = network(), network()
    compiled = torch.compile(ours, backend="eager")

    assert_same_training(compiled, torch.compile(plain, backend="eager"))

    assert not links


# ---------------------------------------------------------------------------------------------- what C does not take


def test_other_types_and_autocast_and_training_mode_without_gradients_are_pytorchs(links):
    model = network()
    accelerated = accelerate(model)

    with torch.autocast("cpu", torch.bfloat16):
        assert accelerated(X).dtype == torch.bfloat16
    with torch.no_grad():
        accelerated(X)
    assert accelerate(network().double())(X.double()).dtype == torch.float64
    accelerated.eval()
    model[0][3].branch[1].train()  # whose running statistics a call changes
    with torch.inference_mode():
        accelerated(X)
    assert not links
    assert accelerated.kernels == "PyTorch"


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_evaluation_is_in_c(links, mode):
    model = network().eval()
    buffers = [buffer.clone() for buffer in model.buffers()]

    with mode():
        torch.testing.assert_close(accelerate(model)(X), model(X))

    assert links
    assert all(map(torch.equal, model.buffers(), buffers))


def test_another_default_type_or_device_does_no_harm(links):
    model = nn.Sequential(bare(3, 8, 3), nn.BatchNorm2d(8), nn.Dropout(0.5), bare(8, 8, 1))
    accelerated = accelerate(model)

    def output():
        torch.manual_seed(3)
        return accelerated(X)

    expected = output()
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(output(), expected)
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.device("meta"):
        assert torch.equal(output(), expected)
    assert len(links) == 6


def test_errors_are_pytorchs_own(links):
    for shape in [(2, 3, 2, 9), (2, 1, 9, 9), (2, 3, 0, 5)]:
        with pytest.raises(RuntimeError, match="size|channel"):
            accelerate(nn.Sequential(bare(3, 8, 3, padding=2 * (shape[2] == 0))))(torch.randn(shape))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        accelerate(nn.Sequential(nn.BatchNorm2d(3)))(torch.randn(1, 3, 1, 1))
    with pytest.raises((IndexError, RuntimeError)):
        accelerate(nn.Sequential(nn.BatchNorm2d(0)))(torch.randn(2, 0, 3, 3))
    with pytest.raises(RuntimeError, match="same"):
        accelerate(nn.Sequential(bare(3, 8, 1), bare(8, 8, 3).double()))(X)
    smaller = bare(3, 8, 3)
    smaller.weight = nn.Parameter(smaller.weight[:, :2].detach().clone())
    with pytest.raises(RuntimeError, match="channels"):
        accelerate(nn.Sequential(smaller))(X)
    assert all(link.conv.kernel_size == (1, 1) for link in links)


def test_fewer_filters_than_the_layer_says_are_taken_for_what_they_are(links):
    conv = bare(3, 8, 3)
    conv.weight = nn.Parameter(conv.weight[:4].detach().clone())

    assert accelerate(nn.Sequential(conv))(X).shape == (16, 4, 10, 10)
    assert not links


def test_large_images_are_left_to_pytorch(links):
    accelerate(nn.Sequential(bare(3, 8, 3), nn.MaxPool2d(2)))(torch.randn(1, 3, 300, 300))

    assert not links


def test_what_is_done_in_place_is_seen_by_who_else_reads_there(links):
    x = torch.randn(2, 3, 4, 4)

    accelerate(nn.Sequential(nn.ReLU(inplace=True), nn.BatchNorm2d(3)))(x)

    assert links
    assert x.min() == 0


def test_without_compiled_layers_pytorchs_do_it(monkeypatch, links):
    monkeypatch.setenv(CHOICE, "pytorch")
    library.load.cache_clear()
    try:
        model = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.1))
        accelerated = accelerate(model)
        torch.manual_seed(1)
        y = accelerated(X)
        torch.manual_seed(1)
        assert torch.equal(y, model(X))
        assert not links
        assert accelerated.kernels == "PyTorch"
    finally:
        library.load.cache_clear()


def test_a_model_elsewhere_than_on_the_cpu_compiles_nothing(monkeypatch):
    monkeypatch.setattr(library, "load", lambda: pytest.fail("compiled"))
    monkeypatch.setattr(accelerated, "keep_freed_memory", lambda: pytest.fail("changed the allocator's settings"))

    for model in (network().to("meta"), network().double(), nn.ReLU()):
        assert accelerate(model).freed_memory == "given back"


def test_a_model_on_the_cpu_has_the_process_keep_freed_memory(monkeypatch):
    for keeps, freed_memory in ((True, "kept"), (False, "given back")):
        monkeypatch.setattr(accelerated, "keep_freed_memory", lambda keeps=keeps: keeps)
        assert accelerate(network()).freed_memory == freed_memory


# --------------------------------------------------------------------------------------------------- residual blocks


class Block(nn.Module):
    """`what(block, x)` as its class's forward."""

    def __init__(self, p=0.0):
        super().__init__()
        self.branch = nn.Sequential(bare(3, 3, 3, padding=1), nn.BatchNorm2d(3))
        self.relu = nn.ReLU()
        self.p, self.calls = p, 0


class BranchFirst(Block):
    def forward(self, x):
        y = self.branch(x)
        return torch.relu(y.add(x))


class WithModule(Block):
    def forward(self, x):
        return self.relu(torch.add(x, self.branch(x)))


class InPlace(Block):
    def forward(self, x):
        return (self.branch(x) + x).relu_()


class Scaled(Block):
    def forward(self, x):
        return F.relu(torch.add(x, self.branch(x), alpha=0.5))


class Twice(Block):
    def forward(self, x):
        return F.relu(self.branch(x) + self.branch(x))


class WithoutRelu(Block):
    def forward(self, x):
        return x + self.branch(x)


class Counting(Block):
    def forward(self, x):
        self.calls += 1
        return F.relu(x + self.branch(x))


class Stochastic(Block):
    """Stochastic depth: a trace sees one of two ways."""

    def forward(self, x):
        if self.training and random.random() < self.p:
            return x
        return F.relu(x + self.branch(x))


def relu(x):
    """Of a name that a residual block may use, and its author's own."""
    calls.append(x)
    return F.relu(x)


calls = []


class WithOwnRelu(Block):
    def forward(self, x):
        return relu(x + self.branch(x))


class ReplacedCall(InPlace):
    def __call__(self, x):
        return 2 * super().__call__(x)


class ReplacedCallImpl(InPlace):
    def _call_impl(self, x):
        return 2 * super()._call_impl(x)


class Optional(Block):
    """Does otherwise where it has no `more`."""

    def __init__(self):
        super().__init__()
        self.register_module("more", None)

    def forward(self, x):
        if self.more is not None:
            return F.relu(x + self.branch(x))
        return x + self.branch(x)


@pytest.mark.parametrize(
    ("block", "recognised"),
    [(BranchFirst, True), (WithModule, True), (InPlace, True)]
    + [(block, False) for block in (Scaled, Twice, WithoutRelu, Counting, Stochastic, Optional)]
    + [(block, False) for block in (ReplacedCall, ReplacedCallImpl, WithOwnRelu)],
)
def test_residual_blocks_are_recognised_by_what_they_compute(links, block, recognised):
    torch.manual_seed(0)
    model = nn.Sequential(bare(3, 3, 1), block(), nn.MaxPool2d(2), InPlace())

    assert_trains_as_pytorch(model, X.clone().requires_grad_())

    assert links
    assert sum(link.adds is not None for link in links) == 1 + recognised
    assert model[1].calls == (block is Counting)


def test_a_skipped_block_is_skipped():
    model = nn.Sequential(Stochastic(p=1.0), bare(3, 3, 1))

    torch.testing.assert_close(accelerate(model)(X), model[1](X))


def test_a_changed_relu_of_a_block_is_called(links):
    model = nn.Sequential(WithModule())
    model[0].relu.register_forward_hook(lambda module, inputs, output: 2 * output)
    plain = copy.deepcopy(model)

    torch.testing.assert_close(accelerate(model)(X), plain(X))
    assert all(link.adds is None for link in links)


# ----------------------------------------------------------------------------------------------- the model afterwards


def test_the_model_is_left_as_it_was():
    ours, plain = network(), network()
    names = list(ours.state_dict())
    accelerated = accelerate(ours)
    losses(accelerated, ours)

    assert list(ours.state_dict()) == names
    for one, other in zip(ours.modules(), plain.modules(), strict=True):
        assert type(one) is type(other) and vars(one).keys() == vars(other).keys()
    buffer = io.BytesIO()
    torch.save(ours, buffer)
    buffer.seek(0)
    for again in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours)), torch.load(buffer, weights_only=False)):
        assert all(map(torch.equal, again.state_dict().values(), ours.state_dict().values()))
    assert losses(accelerate(copy.deepcopy(accelerated)), accelerated)  # of a copy of what is accelerated, too


def test_the_model_is_left_as_it_was_after_an_error():
    class Fails(nn.Module):
        def forward(self, x):
            raise ArithmeticError

    model = nn.Sequential(bare(3, 3, 1), Fails())

    with pytest.raises(ArithmeticError):
        accelerate(model)(X)
    assert "forward" not in vars(model)


def test_training_and_evaluation_reach_the_model():
    model = network()
    accelerated = accelerate(model)

    assert not any(module.training for module in accelerated.eval() and model.modules())
    assert all(module.training for module in accelerated.train() and model.modules())


def test_two_threads_may_run_one_model():
    model = nn.Sequential(bare(3, 8, 3), nn.ReLU(), nn.Sequential(bare(8, 8, 3), nn.ReLU()), nn.MaxPool2d(2))
    expected, wrong = model(X), []

    def run():
        accelerated = accelerate(model)
        for _ in range(30):
            try:
                torch.testing.assert_close(accelerated(X), expected)
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not wrong
    assert "forward" not in vars(model)


# ------------------------------------------------------------------------------------------------------ the networks


@pytest.mark.parametrize("network", NETWORKS)
def test_all_convolutions_of_the_networks_are_cs_and_all_sums(links, network):
    torch.manual_seed(0)
    model, x, labels = network(), torch.randn(8, 1, 28, 28), torch.arange(8)
    accelerated = accelerate(model)

    F.nll_loss(accelerated(x), labels).backward()

    assert sum(link.conv is not None for link in links) == sum(isinstance(m, nn.Conv2d) for m in model.modules())
    assert sum(link.adds is not None for link in links) == sum(isinstance(m, models.Residual) for m in model.modules())
    assert accelerated.kernels == "compiled"


@pytest.mark.parametrize("network", NETWORKS)
def test_the_networks_train_as_on_pytorch(network):
    torch.manual_seed(0)
    model = network()
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0

    assert_trains_as_pytorch(model, torch.randn(8, 1, 28, 28))


def test_the_networks_draw_a_mask_for_each_dropout(monkeypatch, links):
    drawn, draw = [], chain.keep_mask
    monkeypatch.setattr(chain, "keep_mask", lambda n, p: drawn.append((n, p)) or draw(n, p))

    accelerate(MnistNet_3())(torch.randn(2, 1, 28, 28))

    shapes = [(8, 26), (16, 24), (12, 10), (16, 8), (16, 6)]
    assert drawn == [(2 * channels * side * side, 0.01) for channels, side in shapes]
    assert [link.before.relu for link in links if link.before] == [RELU_AFTER] * 2 + [RELU_BEFORE] * 3


def test_a_dropout_apart_is_drawn_as_those_in_a_chain(monkeypatch):
    drawn, draw = [], dropout.keep_mask
    monkeypatch.setattr(dropout, "keep_mask", lambda n, p, *of: drawn.append((n, p)) or draw(n, p, *of))
    torch.manual_seed(0)
    x = torch.ones(4, 3, 50, 50, requires_grad=True)
    block = nn.Sequential(nn.MaxPool2d(1), nn.Dropout(0.2), nn.Flatten(), nn.Identity())  # a pool that is PyTorch's
    block[3].weight = nn.Parameter(torch.ones(()))  # to be trained

    y = accelerate(block)(x)
    y.sum().backward()

    assert drawn == [(y.numel(), 0.2)]
    assert sorted(set(y.flatten().tolist())) == [0, 1.25]
    assert torch.equal(x.grad.flatten(1), y)  # dropped are the same ones
    assert stats.binomtest(int((y == 0).sum()), y.numel(), 0.2).pvalue > 0.001
    block.eval()
    assert torch.equal(accelerate(block)(x), x.flatten(1))


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: layer.register_forward_hook(lambda *_: None),
        lambda layer: setattr(layer, "forward", layer.forward),
        lambda layer: setattr(layer, "inplace", True),
        lambda layer: setattr(layer, "p", 1.0),
        lambda layer: layer.eval(),
    ],
)
def test_a_dropout_that_is_not_as_any_other_is_pytorchs(monkeypatch, change):
    monkeypatch.setattr(accelerated, "dropped", None)
    change(layer := nn.Dropout(0.5))

    model = accelerate(nn.Sequential(bare(3, 3, 1), nn.MaxPool2d(1), layer))
    assert model(torch.ones(2, 3, 4, 4)).shape == (2, 3, 4, 4)


def test_dropped_elements_change_from_step_to_step(links):
    block = accelerate(nn.Sequential(nn.BatchNorm2d(4), nn.Dropout(0.5)))
    x = torch.rand(2, 4, 8, 8).add_(1)

    assert not torch.equal(block(x) == 0, block(x) == 0)
    assert links
