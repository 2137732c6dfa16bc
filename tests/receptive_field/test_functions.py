"""Every function that has a rule, called in every way that torch takes; and values that leave torch and come back."""

import ctypes
import dataclasses
import json
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from random_networks import Call
from torch import nn
from torch.nn import functional as F
from torch.overrides import get_testing_overrides

from mnist_s7.receptive_field import UnsupportedLayer, receptive_field
from mnist_s7.receptive_field.functions import (
    CONCATENATES,
    CONTRACTS,
    MOVES,
    PERMUTES,
    RULES,
    UNPOOLS,
    function_name,
)

# ----------------------------------------------------------------------- by position and by keyword

IMAGES = {1: (1, 4, 12), 2: (1, 4, 8, 12), 3: (1, 4, 6, 6, 6)}
ones = torch.ones
POOL = {"kernel_size": 2, "stride": 2, "padding": 1}
WINDOWED = {
    f"{name}{rank}d{suffix}": (rank, arguments)
    for rank in (1, 2, 3)
    for name, suffix, arguments in (
        ("conv", "", {"weight": ones(4, 2, *[3] * rank), "bias": None, "stride": 2, "padding": 1, "dilation": 1,
                      "groups": 2}),
        ("conv_transpose", "", {"weight": ones(4, 1, *[3] * rank), "bias": None, "stride": 2, "padding": 1,
                                "output_padding": 1, "groups": 2, "dilation": 1}),
        ("max_pool", "", {**POOL, "dilation": 1, "ceil_mode": True}),
        ("max_pool", "_with_indices", {**POOL, "dilation": 1, "ceil_mode": True}),
        ("avg_pool", "", {**POOL, "ceil_mode": True, "count_include_pad": False}),
        ("lp_pool", "", {"norm_type": 1, "kernel_size": 2, "stride": 2, "ceil_mode": True}),
        ("adaptive_avg_pool", "", {"output_size": 4}),
        ("adaptive_max_pool", "", {"output_size": 4}),
        ("adaptive_max_pool", "_with_indices", {"output_size": 4}),
        ("max_unpool", "", {"kernel_size": 2, "stride": 2, "padding": 0}),
    )
}  # fmt: skip
DIM = {"dim": 1, "keepdim": True}
CHANNELS = {
    "interpolate": {"size": None, "scale_factor": 2, "mode": "bilinear", "align_corners": True},
    "pixel_shuffle": {"upscale_factor": 2},
    "pixel_unshuffle": {"downscale_factor": 2},
    "pad": {"pad": (1, 0, 2, 1), "mode": "constant", "value": 0.0},
    "constant_pad_nd": {"pad": (1, 0, 2, 1), "value": 0.0},
    **dict.fromkeys(("amax", "amin", "max", "min", "argmax", "argmin", "any", "all", "median", "nanmedian", "mode",
                     "logsumexp", "mean", "sum", "prod", "nansum", "nanmean"), DIM),
    "aminmax": {"dim": 1, "keepdim": True},
    **dict.fromkeys(("std", "var", "std_mean", "var_mean"), {"dim": 1, "unbiased": True, "keepdim": True}),
    "norm": {"p": 2, "dim": 1, "keepdim": True},
    "linalg_vector_norm": {"ord": 2, "dim": 1, "keepdim": True},
    "linalg_norm": {"ord": 2, "dim": 1, "keepdim": True},
    "kthvalue": {"k": 2, "dim": 1, "keepdim": True},
    **dict.fromkeys(("quantile", "nanquantile"), {"q": 0.5, "dim": 1, "keepdim": True}),
    **dict.fromkeys(("sort", "argsort"), {"dim": 1, "descending": True}),
    "msort": {},
    "topk": {"k": 2, "dim": 1, "largest": False},
    **dict.fromkeys(("cumsum", "cumprod", "logcumsumexp", "cummax", "cummin"), {"dim": 1}),
    "linear": {"weight": ones(2, 12), "bias": None},
    **dict.fromkeys(("softmax", "log_softmax", "softmin"), {"dim": 1}),
    "normalize": {"p": 2.0, "dim": 1, "eps": 1e-6},
    "glu": {"dim": 1},
    **dict.fromkeys(("layer_norm", "rms_norm"), {"normalized_shape": (4,), "weight": ones(4)}),
    "group_norm": {"num_groups": 2, "weight": ones(4), "bias": None},
    "instance_norm": {"running_mean": ones(4), "running_var": ones(4), "weight": None, "bias": None,
                      "use_input_stats": False},
    "local_response_norm": {"size": 2, "alpha": 1e-4},
    "batch_norm": {"running_mean": ones(4), "running_var": ones(4), "weight": None, "bias": None, "training": False},
    "reshape": {"shape": (1, 2, 2, 8, 12)},
    "flatten": {"start_dim": 2, "end_dim": 3},
    "unflatten": {"dim": 1, "sizes": (2, 2)},
    "squeeze": {"dim": 0},
    "unsqueeze": {"dim": 2},
    "ravel": {},
    "broadcast_to": {"size": (3, 4, 8, 12)},
    "narrow": {"dim": 1, "start": 1, "length": 2},
    "select": {"dim": 1, "index": 2},
    "split": {"split_size_or_sections": 2, "dim": 1},
    "split_with_sizes": {"split_sizes": [1, 3], "dim": 1},
    **dict.fromkeys(("chunk", "unsafe_chunk"), {"chunks": 2, "dim": 1}),
    "unsafe_split": {"split_size": 2, "dim": 1},
    "tensor_split": {"indices_or_sections": 3, "dim": 1},
    "unbind": {"dim": 1},
    "permute": {"dims": (0, 2, 3, 1)},
    **dict.fromkeys(("transpose", "swapdims"), {"dim0": 1, "dim1": 2}),
    "swapaxes": {"axis0": 1, "axis1": 2},
    **dict.fromkeys(("movedim", "moveaxis"), {"source": 1, "destination": 3}),
    "adjoint": {},
    "flip": {"dims": (1, 2)},
    **dict.fromkeys(("fliplr", "flipud"), {}),
    "roll": {"shifts": 1, "dims": 1},
    "tile": {"dims": (1, 2, 1, 1)},
    "repeat_interleave": {"repeats": 2, "dim": 1},
    "index_select": {"dim": 1, "index": torch.tensor([0, 2])},
    "channel_shuffle": {"groups": 2},
    "native_channel_shuffle": {"groups": 2},
    "take_along_dim": {"indices": torch.zeros(1, 1, 8, 12, dtype=torch.long), "dim": 1},
    **dict.fromkeys(("cat", "concat", "concatenate", "stack"), {"dim": 1}),
}  # fmt: skip
# Methods and attributes whose arguments have no names, or that other tests call: views, indices, products.
ELSEWHERE = {
    "view", "view_as", "reshape_as", "expand", "expand_as", "getitem", "repeat", "t", "T", "mT", "H", "mH", "einsum",
    "matmul", "vector_norm",
}  # fmt: skip


def functions_named(name):
    """The functions of torch with this name, in torch, torch.nn.functional and Tensor; none that write in place."""
    for function in get_testing_overrides():
        if getattr(function, "__name__", "") == name == function_name(function):
            yield function


def outcome(call, rank):
    """What is found of a call: the rows, and the fields of the output by one more convolution."""
    table = receptive_field(Call("call", call), IMAGES[rank][1:], unknown="whole")
    return str(table), [row._field.layout for row in table.rows], table.notes


def test_every_rule_is_tried():
    known = {*RULES, *PERMUTES, *MOVES, *UNPOOLS, *CONCATENATES, *CONTRACTS}
    assert known - {*WINDOWED, *CHANNELS} == ELSEWHERE
    assert {*WINDOWED, *CHANNELS} <= known


@pytest.mark.parametrize("name", [*WINDOWED, *CHANNELS])
def test_arguments_by_position_and_by_keyword(name):
    rank, arguments = WINDOWED.get(name, (2, CHANNELS.get(name)))
    outcomes = []
    for function in functions_named(name):
        for call in ways_to_call(function, name, rank, arguments):
            try:
                call(torch.rand(IMAGES[rank]))
            except (TypeError, RuntimeError):  # not a way in which torch takes them
                continue
            outcomes.append(outcome(call, rank))
    assert len(outcomes) >= 2
    assert all(one == outcomes[0] for one in outcomes), outcomes
    mixes_the_map = name == "group_norm"
    assert ("all that its input sees" in str(outcomes[0])) == mixes_the_map


def ways_to_call(function, name, rank, arguments):
    """Every argument by position; the tensors by position and the rest by keyword; everything by keyword."""

    def tensors(x):
        if name in CONCATENATES:
            return ([x, x],)
        if name.startswith("max_unpool"):
            return getattr(F, f"max_pool{rank}d")(x, 2, return_indices=True)
        return (x.movedim(1, -1) if name in ("layer_norm", "rms_norm") else x,)

    yield lambda x: function(*tensors(x), *arguments.values())
    yield lambda x: function(*tensors(x), **arguments)
    for first in ("input", "self", "tensor", "tensors", "A", "x"):
        names = (first, "indices")
        yield lambda x, names=names: function(**dict(zip(names, tensors(x), strict=False)), **arguments)


# ------------------------------------------------------------------------------------------ numbers that are not int


@pytest.mark.parametrize(
    "model",
    [
        nn.MaxPool2d(np.int64(2)),
        nn.Conv2d(1, 1, 3, stride=np.int64(2)),
        nn.AdaptiveAvgPool2d((np.int64(7), np.int64(4))),
        nn.ConvTranspose2d(1, 1, 2, stride=(np.int32(2), 2)),
        nn.Upsample(scale_factor=np.float64(2)),
        Call("mean", lambda x: F.avg_pool2d(x.mean(np.int64(1), keepdim=True), 2)),
        Call("pad", lambda x: F.pad(x, (torch.tensor(1), torch.tensor(2)))),
        Call("crop", lambda x: x[..., np.int64(2) :, : torch.tensor(20)]),
        Call("select", lambda x: F.avg_pool2d(x[:, np.int64(0)], np.int64(2))),
    ],
)
def test_numbers_of_numpy_and_torch(model):
    json.dumps(receptive_field(model, (np.int64(1), 28, np.int64(28))).to_dicts())


# ------------------------------------------------------------------------------------- inputs, outputs and wrappers


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 2, 3), nn.Conv2d(1, 2, 5, padding=1)

    def forward(self, image, other):
        return self.first(image) + self.second(other)


class Conditioned(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.embed = nn.Conv2d(1, 2, 3), nn.Linear(5, 2)

    def forward(self, image, condition):
        return self.conv(image) + self.embed(condition)[:, :, None, None]


def test_several_inputs():
    sizes = [(1, 12, 12), (1, 12, 12)]
    assert receptive_field(Two(), sizes).receptive_field == 5
    assert receptive_field(Two(), dict(zip(("image", "other"), sizes, strict=True))).receptive_field == 5
    table = receptive_field(Conditioned(), [(1, 12, 12), (5,)])
    assert table.receptive_field == 3 and "input of size (5,) counts as constant" in str(table)
    assert receptive_field(Conditioned(), {"image": (1, 12, 12), "condition": torch.rand(1, 5)}).receptive_field == 3
    in_a_dict = Call("dict", lambda batch: F.max_pool2d(batch["image"], 3))
    assert receptive_field(in_a_dict, [{"image": (1, 12, 12)}]).receptive_field == 3
    with pytest.raises(ValueError, match="list or dict of sizes.*docstring"):
        receptive_field(Two(), (1, 12, 12))


@dataclasses.dataclass
class Output:
    logits: torch.Tensor
    note: str = "a dataclass"


@pytest.mark.parametrize(
    "wrapped",
    [Output, lambda y: types.SimpleNamespace(y=y), lambda y: {"out": [y]}, lambda y: (y, None), lambda y: [{1: (y,)}]],
)
def test_outputs_in_containers(wrapped):
    assert receptive_field(Call("wrapped", lambda x: wrapped(F.max_pool2d(x, 3)))).receptive_field == 3


def test_compiled_models_are_what_they_were_made_of():
    net = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU(), nn.Conv2d(1, 1, 3))
    assert [row.layer for row in receptive_field(torch.compile(net)).rows] == ["0", "2"]
    inside = nn.Sequential(torch.compile(net), nn.Conv2d(1, 1, 3))
    assert [row.layer for row in receptive_field(inside).rows] == ["0.0", "0.2", "1"]


# --------------------------------------------------------------------------- values that leave torch and come back


class Beside(nn.Module):
    """A convolution, beside what a function makes of the image on another way."""

    def __init__(self, function):
        super().__init__()
        self.near, self.far, self.function = nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3), function

    def forward(self, x):
        return self.function(self, x)


def through_memory(x):
    """The values of a tensor, read from its memory by a function that torch does not see, and moved by two."""
    size = x.numel() * x.element_size()
    values = bytes((ctypes.c_char * size).from_address(x.contiguous().data_ptr()))
    return torch.frombuffer(bytearray(values), dtype=x.dtype).view(x.shape).roll((2, 2), (2, 3))


def into_a_buffer(x):
    buffer = torch.zeros(1, 1, 14, 14)
    buffer[:, :, :12, :12].copy_(x)
    return buffer[..., 2:, 2:]


def changed_parameter(m, x):
    m.far.bias.data.fill_(x.max().item())
    return m.near(x) + m.far(F.pad(x, (1, 0, 1, 0)))[..., 1:, 1:]


def converted_constant(m, x):
    values = torch.zeros(1, 1, 12, 12).to(x)
    values[:, :, 2:].copy_(x[:, :, :10])
    return m.near(x) + m.far(values)


COME_BACK = {
    "a number": lambda m, x: m.near(x / (x.max().item() + 1)),
    "numbers in a list": lambda m, x: m.near(x * torch.tensor(x.flatten().tolist()).amax()),
    "NumPy": lambda m, x: m.near(x) + m.far(torch.from_numpy(np.roll(x.numpy(), 2, 3))),
    "memory": lambda m, x: m.near(x) + m.far(through_memory(x)),
    "a decision": lambda m, x: m.near(x) if x.sum() > 0.1 else m.far(x),
    "a choice of the output": lambda m, x: (m.near(x), m.far(x))[int(x.sum() > 0.1)],
    "a place": lambda m, x: m.near(x.roll(int(x.argmax()), 3)),
    "a view of new memory": lambda m, x: m.near(x) + m.far(into_a_buffer(x)),
    "a parameter": changed_parameter,
    "a part of a converted constant": converted_constant,
    "an output of its own": lambda m, x: (m.near(x), torch.full((3,), x.max().item())),
}


@pytest.mark.parametrize("way", COME_BACK)
def test_values_that_come_back_are_not_taken_for_constants(way):
    model = Beside(COME_BACK[way])
    for options in ({}, {"unknown": "identity"}):
        with pytest.raises(UnsupportedLayer, match="another image|leave torch"):
            receptive_field(model, (1, 12, 12), **options)
    if way != "an output of its own":
        table = receptive_field(model, (1, 12, 12), unknown="whole")
        assert table.box(-1, (4, 4)).clipped == ((0, 11), (0, 11))


def test_what_is_read_and_changes_nothing_is_no_obstacle():
    def checked(m, x):
        assert x.isfinite().all() and x.shape[1] == 1
        return m.near(x * float(x.dtype.is_floating_point) / len(x))

    assert receptive_field(Beside(checked), (1, 12, 12)).receptive_field == 3


def test_a_custom_operator_is_not_known():
    library = torch.library.Library("receptive_field_test", "DEF")
    library.define("moved(Tensor x) -> Tensor")
    library.impl("moved", lambda x: x.roll((3, 3), (2, 3)).clone(), "CPU")
    model = Beside(lambda m, x: m.near(x) + m.far(torch.ops.receptive_field_test.moved(x)))
    with pytest.raises(UnsupportedLayer, match="effect of moved"):
        receptive_field(model, (1, 11, 13))
    assert receptive_field(model, (1, 11, 13), unknown="whole").receptive_field == (11, 13)


# --------------------------------------------------------------------------- channels that look at different pixels


def test_part_of_a_concatenation_changed_in_place():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.near, self.far, self.out = (
                nn.Conv2d(1, 4, 3, padding=1),
                nn.Conv2d(1, 4, 9, padding=4),
                nn.Conv2d(4, 1, 1),
            )

        def forward(self, x):
            y = torch.cat([self.near(x), self.near(x)], 1)[:, :4]
            y += self.far(x)
            return self.out(y)

    for unknown in ("error", "identity"):
        table = receptive_field(Net(), (1, 15, 17), unknown=unknown)
        assert table.receptive_field == 9 and table.box(-1, (8, 8)).clipped == ((4, 12), (4, 12))


@pytest.mark.parametrize(
    "text, choose, size",
    [
        ("first", lambda y: y[:, :2], 1),
        ("second", lambda y: y[:, 2:], 5),
        ("both", lambda y: y[:, 1:3], 5),
        ("one by number", lambda y: y[:, 1][:, None], 1),
        ("chunk", lambda y: y.relu().chunk(2, 1)[0], 1),
        ("flipped", lambda y: y.flip(1)[:, :2], 5),
        ("pooled", lambda y: F.avg_pool2d(y, 2)[:, :2], 2),
        ("shuffled", lambda y: y.view(1, 2, 2, *y.shape[2:]).transpose(1, 2).flatten(1, 2)[:, 0::2], 1),
        ("padded and scaled", lambda y: (F.pad(y, (1, 1, 1, 1)) * torch.ones(4, 1, 1))[:, :2], 1),
        ("added", lambda y: (y + y.flip(1))[:, :1], 5),
        ("grouped", lambda y: F.conv2d(y, torch.ones(4, 2, 1, 1), groups=2)[:, :2], 1),
        ("depthwise", lambda y: F.conv2d(y, torch.ones(4, 1, 3, 3), groups=4)[:, 1:2], 3),
        ("mixed", lambda y: F.conv2d(y, torch.ones(4, 4, 1, 1))[:, :2], 5),
        ("concatenated again", lambda y: torch.cat([y[:, 2:], y], 1)[:, 2:4], 1),
        ("gated", lambda y: F.glu(torch.cat([y, y], 1), 1)[:, :2], 1),
        ("mean of groups", lambda y: y.view(1, 2, 2, *y.shape[2:]).mean(2)[:, :1], 1),
        ("largest of pairs", lambda y: y.unflatten(1, (2, 2)).amax(2)[:, 1:], 5),
        ("space to depth", lambda y: F.pixel_unshuffle(y, 2)[:, :8], 2),
        ("one corner of space to depth", lambda y: F.pixel_unshuffle(y, 2)[:, :1], 1),
        (
            "depth to space",
            lambda y: F.pixel_shuffle(torch.cat([y[:, :2], y], 1)[:, [0, 1, 2, 3, 4, 5, 4, 5]], 2)[:, :1],
            1,
        ),
        ("padded with channels", lambda y: F.pad(y, (0, 0, 0, 0, 1, 1))[:, 1:3], 1),
        ("normalised", lambda y: F.normalize(y, dim=1)[:, :1], 5),
        ("linear along the map", lambda y: F.linear(y, torch.ones(y.shape[-1], y.shape[-1]))[:, :2], (1, 28)),
        ("linear along channels", lambda y: F.linear(y.movedim(1, -1), torch.ones(3, 4)).movedim(-1, 1)[:, :1], 5),
        ("stacked", lambda y: torch.stack([y[:, :2], y[:, 2:]], 1)[:, 0], 1),
        ("einsum", lambda y: torch.einsum("nchw,nk->nckhw", y, torch.ones(1, 3))[:, 0], 1),
        ("images", lambda y: F.conv2d(torch.cat([y[:, :2], y[:, 2:]]), torch.ones(3, 2, 1, 1)).chunk(2)[0], 1),
        ("one column", lambda y: y[..., 3:4][:, :2], 1),
        ("groups of one unit", lambda y: F.group_norm(y[..., 9:10, 9:10], 2)[:, :2], 1),
        ("repeated", lambda y: y.repeat(1, 2, 1, 1)[:, 4:6], 1),
    ],
)
def test_channels_look_at_no_more_than_they_should(text, choose, size):
    wide = nn.Conv2d(1, 2, 5, padding=2)
    model = Call(text, lambda x: F.max_pool2d(choose(torch.cat([x, x, wide(x)], 1)), 1))
    assert receptive_field(model).receptive_field == size


def test_channels_that_are_written_to_are_seen_by_nobody_else():
    def swapped(m, x):
        y = torch.cat([m.near(x), m.near(m.far(F.pad(x, (1, 1, 1, 1))))], 1)
        first = y[:, :1]
        y += y.flip(1)
        return first + 1

    with pytest.raises(UnsupportedLayer, match="memory that another tensor shares"):
        receptive_field(Beside(swapped), (1, 12, 12))

    def activated(m, x):
        y = torch.cat([m.near(x), m.near(x)], 1)
        first, second = y.chunk(2, 1)
        return F.relu_(first) + second  # that changes no field

    assert receptive_field(Beside(activated), (1, 12, 12)).receptive_field == 3


def test_what_an_unknown_function_writes_is_not_used():
    library = torch.library.Library("receptive_field_test_2", "DEF")
    library.define("write(Tensor(a!) y, Tensor x) -> ()")

    def write(y, x):
        y.add_(x.roll(3, 3))

    library.impl("write", write, "CPU")

    def written(m, x):
        y = m.near(F.pad(x, (1, 1, 1, 1)))
        torch.ops.receptive_field_test_2.write(y, x)
        return y + 1

    with pytest.raises(UnsupportedLayer, match="written to in place"):
        receptive_field(Beside(written), (1, 12, 12))


def test_constants_may_be_kept_from_one_run_to_the_next():
    class Keeps(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.grid = nn.Conv2d(1, 1, 3), None

        def forward(self, x):
            if self.grid is None:
                self.grid = torch.ones_like(x) * torch.arange(12.0).to(x)
            return self.conv(x + self.grid)

    assert receptive_field(Keeps(), (1, 12, 12)).receptive_field == 3

    class KeepsAPart(Keeps):
        def forward(self, x):
            if self.grid is None:
                self.grid = torch.ones_like(x[:, :1, :6])
            return self.conv(F.pad(self.grid, (0, 0, 0, 6)) * x)

    assert receptive_field(KeepsAPart(), (1, 12, 12)).receptive_field == 3


# ------------------------------------------------------------------------------------- one value, and many constants


@pytest.mark.parametrize(
    "spread",
    [
        lambda x: x.mean((2, 3), keepdim=True) * torch.ones(1, 1, 8, 9),
        lambda x: F.linear(x.mean(2, keepdim=True).expand(-1, -1, 8, -1), torch.ones(9, 12)),
        lambda x: x.mean((2, 3), keepdim=True).expand(-1, -1, 8, 9),
        lambda x: torch.einsum("nchw,hv->ncvw", x, torch.ones(12, 8)).mean(3, keepdim=True) + torch.zeros(9),
    ],
)
def test_a_map_of_units_that_all_see_the_same(spread):
    table = receptive_field(Call("spread", lambda x: F.avg_pool2d(spread(x), 1)), (1, 12, 12))
    assert table.rows[-1].n_out == (8, 9)
    assert table.box(-1, (7, 8)).clipped == ((0, 11), (0, 11)) == table.box(-1, (0, 0)).clipped


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
def test_a_scripted_module_beside_others():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.near, self.scripted = nn.Conv2d(1, 1, 3, padding=1), torch.jit.script(nn.Conv2d(1, 1, 5, padding=2))
            self.out = nn.Conv2d(1, 1, 3)

        def forward(self, x):
            self.scripted(x)
            return self.out(self.near(x))

    for unknown in ("identity", "whole"):
        assert receptive_field(Net(), unknown=unknown).receptive_field == 5


def test_a_refused_function_that_changes_the_size_of_the_map():
    model = nn.Sequential(Call("points", lambda x: F.grid_sample(x, torch.zeros(1, 5, 6, 2), align_corners=False)))
    table = receptive_field(model, unknown="whole")
    assert table.rows[-1].n_out == (5, 6) and table.box(-1, (4, 5)).clipped == ((0, 27), (0, 27))
    table = receptive_field(nn.Conv1d(1, 1, 3), (1, np.int64(9)))
    assert table.box(np.int64(0), np.int64(2)) == table.box(0, (torch.tensor(2),)) == (((2, 4),), ((2, 4),))
    with pytest.raises(ValueError, match="must be a torch.nn.Module"):
        receptive_field(F.relu)


def test_the_field_of_the_output_is_not_that_of_a_branch_that_was_called_last():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.gate = nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 1)

        def forward(self, x):
            y = self.conv(x)
            return y * self.gate(y.mean((2, 3), keepdim=True)).sigmoid()

    assert receptive_field(Gated(), gates="ignore").receptive_field == 3
    assert receptive_field(Gated()).receptive_field == 28
    assert receptive_field(Gated(), until="conv").receptive_field == 3
    assert receptive_field(Gated(), gates="ignore").box("output", (25, 0)).clipped == ((25, 27), (0, 2))
    by_einsum = Call("gate", lambda x: torch.einsum("bchw,bc->bchw", F.max_pool2d(x, 3, 1), x.mean((2, 3))))
    assert receptive_field(by_einsum, gates="ignore").receptive_field == 3


def test_a_linear_layer_along_the_height():
    mix = nn.Linear(9, 7)
    model = nn.Sequential(Call("mix", lambda x: mix(x.transpose(2, 3)).transpose(2, 3)), nn.Conv2d(1, 1, (1, 3)))
    table = receptive_field(model, (1, 9, 8))
    assert table.rows[-1].n_out == (7, 6) and table.box(-1, (6, 5)).clipped == ((0, 8), (5, 7))


@pytest.mark.parametrize(
    ("function", "size", "units"),
    [
        (lambda x: F.linear(x.permute(0, 2, 3, 1), torch.ones(3, 2)).permute(0, 3, 1, 2), (2, 8, 1), (8, 1)),
        (lambda x: F.linear(x.transpose(2, 3), torch.ones(3, 1)).transpose(2, 3), (2, 1, 5), (3, 5)),
        (lambda x: x.mean((2, 3)).view(1, 1, 2, 2), (4, 5, 5), (2, 2)),
        (lambda x: x.mean((2, 3)).view(1, 1, 2, 1).permute(0, 2, 1, 3), (2, 5, 5), (1, 1)),
    ],
)
def test_units_of_the_output_where_an_axis_had_one(function, size, units):
    table = receptive_field(Call("units", lambda x: function(F.max_pool2d(x, 1))), size)
    assert table.box("output", [n - 1 for n in units]).clipped is not None
    with pytest.raises(IndexError):
        table.box("output", units)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: F.interpolate(x, size=(9, 5)),
        lambda x: F.pad(x, (1, 1)),
        lambda x: x.repeat(1, 1, 1, 3),
        lambda x: x + torch.ones(3),
        lambda x: F.avg_pool2d(x, (3, 1)),
    ],
)
def test_a_transposed_row_is_not_mistaken(change):
    row = nn.AvgPool2d((8, 1))
    with pytest.raises(UnsupportedLayer, match="transpose"):
        receptive_field(Call("changed", lambda x: change(row(x).transpose(2, 3)).transpose(2, 3)), (1, 8, 9))
    pooled = Call("pooled", lambda x: x.mean((2, 3), keepdim=True).transpose(2, 3).expand(-1, -1, 3, 4).transpose(2, 3))
    with pytest.raises(UnsupportedLayer, match="transpose"):
        receptive_field(pooled, (1, 8, 9))
    vector = Call("vector", lambda x: x.mean((2, 3), keepdim=True).permute(0, 2, 3, 1).reshape(1, -1, 1, 1))
    assert receptive_field(nn.Sequential(vector, nn.Conv2d(1, 1, 1)), (1, 8, 9)).receptive_field == (8, 9)
    back = Call("back", lambda x: F.max_pool2d((row(x).transpose(2, 3) + 1).relu().transpose(2, 3), (1, 3)))
    assert receptive_field(back, (1, 8, 9)).receptive_field == (8, 3)


def test_a_row_and_a_column_make_a_map():
    model = Call("outer", lambda x: F.avg_pool2d(x.mean(3, keepdim=True) * x.mean(2, keepdim=True), 1))
    table = receptive_field(model, (1, 8, 9))
    assert [row.n_out for row in table.rows] == [(8, 1), (1, 9), (8, 9), (8, 9)]
    assert table.box(-1, (2, 5)).clipped == ((0, 7), (0, 8))


def test_branches_with_one_formula_and_other_boxes_have_a_row():
    circular = nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular")
    model = Call("around", lambda x: circular(x) + F.max_pool2d(x, 3, 1, 1))
    table = receptive_field(model, (1, 9, 9))
    assert table.rows[-1].kind == "add" and table.box(-1, (0, 0)).clipped == ((0, 8), (0, 8))


def test_a_size_with_the_batch_is_told():
    with pytest.raises(ValueError, match=r"takes \(C, H, W\), without the batch"):
        receptive_field(nn.Conv2d(2, 1, 3), (1, 2, 8, 7))


@pytest.mark.parametrize(
    "text, function",
    [
        ("three axes over channels", lambda y: F.avg_pool3d(y[:, None], (3, 1, 1), 1, (1, 0, 0))[:, 0]),
        ("channels side by side", lambda y: F.pixel_shuffle(y, 2)),
        ("interleaved", lambda y: torch.stack([y[:, :2], y[:, 2:]], -1).flatten(-2)),
        ("flattened and parted", lambda y: y.flatten(1).view(1, 4, -1)[:, :2].view(1, 2, *y.shape[2:])),
    ],
)
def test_channels_that_can_no_longer_be_told_apart_are_refused(text, function):
    wide = nn.Conv2d(1, 2, 5, padding=2)

    def forward(x):
        x = F.pad(x, (-6, -6, -6, -6))[..., :6]
        return F.max_pool2d(function(torch.cat([x, x, wide(x)], 1)), 1)

    with pytest.raises(UnsupportedLayer):
        receptive_field(Call(text, forward))


def test_two_threads():
    with ThreadPoolExecutor(2) as pool:
        model = nn.Sequential(*[layer for _ in range(20) for layer in (nn.Conv2d(1, 1, 3, padding=1), nn.ReLU())])
        tables = [*pool.map(lambda _: str(receptive_field(model)), range(8))]
    assert set(tables) == {str(receptive_field(model))}
