"""The receptive-field table: the document's figures, the faults of its like, what it refuses, how it prints."""

import copy
import csv
import io

import pytest
import torch
from random_networks import Branches, Call, Crop
from torch import nn
from torch.nn import functional as F

from mnist_s7.models import MnistNet_1, MnistNet_2, MnistNet_3
from mnist_s7.receptive_field import (
    ReceptiveFieldError,
    UnequalJumps,
    UnsupportedLayer,
    effective_receptive_field,
    gradient_receptive_field,
    receptive_field,
)

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")


def last(model, input_size=(1, 28, 28), **options):
    return receptive_field(model, input_size, **options).rows[-1]


# ---------------------------------------------------------------------------------------- the document


COLUMNS = ("n_in", "k", "s", "p", "n_out", "r_in", "j_in", "r_out", "j_out")
T1_ROWS = [  # the tables "RF Calculation" of the series' document
    (28, 3, 1, 0, 26, 1, 1, 3, 1),
    (26, 3, 1, 0, 24, 3, 1, 5, 1),
    (24, 3, 1, 0, 22, 5, 1, 7, 1),
    (22, 1, 1, 0, 22, 7, 1, 7, 1),
    (22, 2, 2, 0, 11, 7, 1, 8, 2),
    (11, 3, 1, 0, 9, 8, 2, 12, 2),
    (9, 3, 1, 0, 7, 12, 2, 16, 2),
    (7, 3, 1, 0, 5, 16, 2, 20, 2),
    (5, 5, 1, 0, 1, 20, 2, 28, 2),
]
T2_ROWS = [
    (28, 3, 1, 0, 26, 1, 1, 3, 1),
    (26, 3, 1, 0, 24, 3, 1, 5, 1),
    (24, 1, 1, 0, 24, 5, 1, 5, 1),
    (24, 2, 2, 0, 12, 5, 1, 6, 2),
    (12, 3, 1, 0, 10, 6, 2, 10, 2),
    (10, 3, 1, 0, 8, 10, 2, 14, 2),
    (8, 3, 1, 0, 6, 14, 2, 18, 2),
]


@pytest.mark.parametrize(
    "model, document, rows", [(MnistNet_1, T1_ROWS, 10), (MnistNet_2, T2_ROWS, 9), (MnistNet_3, T2_ROWS, 9)]
)
def test_document_rows_are_in_the_table_in_order(model, document, rows):
    table = receptive_field(model())
    values = iter([tuple(getattr(row, name) for name in COLUMNS) for row in table.rows])
    assert all(row in values for row in document)  # `in` consumes the iterator, so the order counts
    assert len(table.rows) == rows
    assert table.receptive_field == 28


# --------------------------------------------------------- one test for each fault of such calculators


def test_dilation_counts():
    row = last(nn.Conv2d(1, 1, 3, dilation=2))
    assert (row.d, row.r_out, row.start) == (2, 5, 2)


@pytest.mark.parametrize(
    "pool",
    [nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(1), Call("mean", lambda x: x.mean((2, 3))),
     Call("flat", lambda x: x.flatten(2).mean(-1)),
     Call("amax", lambda x: x.amax(dim=[-2, -1], keepdim=True))],
)  # fmt: skip
def test_global_pooling_is_a_window_over_the_whole_map(pool):
    model = nn.Sequential(nn.Conv2d(1, 2, 3, stride=2), pool)
    row = last(model, (1, 11, 15))
    assert (row.n_in, row.k, row.s, row.n_out) == ((5, 7), (5, 7), (5, 7), 1)
    assert row.r_out == (11, 15)


def test_functional_calls_count_like_modules():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 3)

        def forward(self, x):
            x = F.max_pool2d(F.relu(self.conv(x)), 2)
            x = F.max_pool2d(F.pad(x, (1, 0, 1, 0)), kernel_size=3)
            return torch.log_softmax(torch.flatten(x, 1), 1) if x.shape[-1] == 1 else x

    table = receptive_field(Functional())
    modules = nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), nn.ZeroPad2d((1, 0, 1, 0)), nn.MaxPool2d(3))
    assert [row.layer for row in table.rows] == ["conv", "max_pool2d", "pad", "max_pool2d (2)"]
    assert [row.kind for row in table.rows] == ["Conv2d", "max_pool2d", "pad", "max_pool2d"]
    numbers = ("n_in", "k", "s", "p", "d", "n_out", "r_in", "j_in", "r_out", "j_out", "start")
    for row, same in zip(table.rows, receptive_field(modules).rows, strict=True):
        assert [getattr(row, name) for name in numbers] == [getattr(same, name) for name in numbers]


def test_start_follows_padding_on_the_first_side_only():
    assert last(nn.Conv2d(1, 1, 3)).start == 1  # pixels 0, 1, 2
    assert last(nn.Conv2d(1, 1, 3, padding=1)).start == 0
    assert last(nn.Conv2d(1, 1, 2)).start == 0.5
    assert last(nn.Sequential(nn.ZeroPad2d((3, 0, 0, 2)), nn.Conv2d(1, 1, 3))).start == (1, -2)
    model = nn.Conv2d(1, 1, 4, padding="same")  # one unit before, two after
    assert (last(model).p, last(model).start) == (((1, 2), (1, 2)), 0.5)


def test_ceil_mode_adds_a_unit_that_sees_less():
    table = receptive_field(nn.MaxPool2d(2, ceil_mode=True), (1, 5, 5))
    assert table.rows[0].n_out == 3
    assert table.box(0, (2, 0)) == (((4, 5), (0, 1)), ((4, 4), (0, 1)))


def test_batch_norm_statistics_survive():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).train()
    before = copy.deepcopy(model.state_dict())
    for measure in (receptive_field, gradient_receptive_field):
        measure(model)
    effective_receptive_field(model, torch.randn(4, 1, 28, 28))
    assert model.training and model[1].training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


class Attention(nn.Module):
    """Written out, so that no layer says what it is."""

    def forward(self, x):
        tokens = x.flatten(2)
        return (tokens @ (tokens.transpose(1, 2) @ tokens).softmax(-1)).view(x.shape)


class Tokens(nn.Module):
    """A layer over the sequence of units, (N, H * W, C)."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        out = (
            self.layer(tokens, tokens, tokens) if isinstance(self.layer, nn.MultiheadAttention) else self.layer(tokens)
        )
        out = out[0] if isinstance(out, tuple) else out
        return out.transpose(1, 2).view(x.shape)


UNKNOWN = {
    "MultiheadAttention": ("1.layer", lambda: Tokens(nn.MultiheadAttention(4, 2, batch_first=True))),
    "LSTM": ("1.layer", lambda: Tokens(nn.LSTM(4, 4, batch_first=True))),
    "GRU": ("1.layer", lambda: Tokens(nn.GRU(4, 4, batch_first=True))),
    "matmul": ("1.matmul", Attention),
    "scaled_dot_product_attention": (
        "1.scaled_dot_product_attention",
        lambda: Call("sdpa", lambda x: F.scaled_dot_product_attention(x, x, x)),
    ),
    "GroupNorm": ("1", lambda: nn.GroupNorm(2, 4)),
    "InstanceNorm2d": ("1", lambda: nn.InstanceNorm2d(4)),
    "LayerNorm": ("1", lambda: nn.LayerNorm(26)),
    "fft_fft2": ("1.fft_fft2", lambda: Call("spectrum", lambda x: torch.fft.fft2(x).abs())),
    "softmax": ("1.softmax", lambda: Call("softmax", lambda x: x.softmax(-1))),
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_no_layer_is_passed_in_silence(kind):
    layer, make = UNKNOWN[kind]
    model = nn.Sequential(nn.Conv2d(1, 4, 3), make(), nn.Conv2d(4, 4, 3))
    with pytest.raises(UnsupportedLayer, match=kind) as error:
        receptive_field(model)
    assert (error.value.layer, error.value.kind) == (layer, kind)
    assert [row.layer for row in error.value.table.rows] == ["0"]
    if kind != "matmul":  # of two operands that look at different pixels
        table = receptive_field(model, unknown="identity")
        assert [row.r_out for row in table.rows] == [3, 5]
    table = receptive_field(model, unknown="whole")
    assert table.receptive_field == 28 and table.box(-1, (0, 0)).clipped == ((0, 27), (0, 27))
    assert [row.kind for row in table.rows if "all that its input sees" in row.note] == [kind]


REFUSED = {
    "scripted": lambda: torch.jit.script(nn.Conv2d(1, 1, 3)),
    "setitem": lambda: Call("write", lambda x: torch.zeros(1, 1, 28, 28).__setitem__((..., 0), x[..., 0]) or x),
    "shares": lambda: Call("in place", lambda x: (x[..., 1:].add_(x[..., :-1] * 2), x + 1)[1]),
    "leave torch": lambda: Call("numpy", lambda x: torch.from_numpy(x.numpy())),
    "different axes": lambda: Call("transposed", lambda x: x + x.transpose(2, 3)),
    "torn": lambda: nn.Sequential(Call("blocks", lambda x: x.view(1, 4, 14, 14)), nn.Conv2d(4, 1, 3)),
    "tears": lambda: Call("sevenths", lambda x: x.view(1, 7, 8, 14).view(1, 16, 49)),
    "torn or flattened feature map": lambda: Call("pieces", lambda x: x.flatten(1)[:, 3:]),
    "along an axis": lambda: Call("side by side", lambda x: torch.cat([x, x], 3)),
    "another operand": lambda: Call("dynamic", lambda x: F.conv2d(x, x[..., :3, :3])),
    "takes nothing": lambda: Call("empty", lambda x: x[..., 5:5]),
    "was expected": lambda: Call("where", lambda x: torch.where(x == 0)[3]),
    "it tears": lambda: Call("bytes", lambda x: x.view(torch.uint8)),
    "one dimension to another": lambda: Call("diagonal", lambda x: x[:, :, [0, 5], [0, 5]]),
    "outside of its own windows": lambda: Call(
        "unpool", lambda x: F.max_unpool2d(*F.max_pool2d(x, 4, return_indices=True), 2, 4, output_size=(28, 28))
    ),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
@pytest.mark.parametrize("reason", REFUSED)
def test_what_has_no_single_field_is_refused_clearly(reason):
    with pytest.raises(UnsupportedLayer, match=reason):
        receptive_field(REFUSED[reason]())
    if reason != "scripted":  # what identity is for: functions whose effect is not known
        with pytest.raises(UnsupportedLayer, match=reason):
            receptive_field(REFUSED[reason](), unknown="identity")


def test_identity_cannot_hide_a_change_of_shape():
    with pytest.raises(UnsupportedLayer, match="another shape"):
        receptive_field(Call("unfold", lambda x: F.unfold(x, 3)), unknown="identity")


# ------------------------------------------------------------------------------------ what is measured


def test_linear_after_flatten_covers_the_whole_input():
    model = nn.Sequential(nn.Conv2d(1, 2, 5), nn.Flatten(), nn.Linear(2 * 24 * 24, 10), nn.ReLU(), nn.Linear(10, 3))
    table = receptive_field(model)
    assert [(row.k, row.n_out, row.r_out) for row in table.rows] == [(5, 24, 5), (24, 1, 28), (1, 1, 28)]
    assert table.box("2", (0, 0)).clipped == ((0, 27), (0, 27))


def test_larger_branch_wins_and_reused_modules_have_a_row_for_each_call():
    conv = nn.Conv2d(1, 1, 3, padding=1)
    table = receptive_field(Branches("+", [nn.Identity(), nn.Sequential(conv, conv)]))
    assert [(row.layer, row.r_out) for row in table.rows] == [
        ("paths.1.0", 3),
        ("paths.1.0 (2)", 5),
        ("add", 5),
    ]
    assert table.rows[-1].note == ""


def test_unequal_jumps_name_both_branches():
    model = Branches("cat", [nn.Conv2d(1, 1, 3, stride=2, padding=1), Crop([(7, 7), (7, 7)])])
    with pytest.raises(UnequalJumps, match="'paths.0' has jump 2") as error:
        receptive_field(model)
    assert set(error.value.branches) == {"paths.0", "paths.1.getitem"}


def test_misaligned_centres_are_flagged_and_the_box_holds_both():
    model = Branches("+", [Crop([(0, 4), (0, 4)]), nn.Conv2d(1, 1, 5)])
    table = receptive_field(model)
    assert "misaligned along H" in table.rows[-1].note and "misaligned" in str(table)


def test_pairs_where_the_axes_differ():
    row = last(nn.Conv2d(1, 1, (3, 5), (1, 2), (0, 2), (2, 1)), (1, 20, 30))
    assert (row.n_in, row.k, row.s, row.p, row.d) == ((20, 30), (3, 5), (1, 2), (0, 2), (2, 1))
    assert (row.n_out, row.r_out, row.j_out, row.start) == ((16, 15), 5, (1, 2), (2, 0))


def test_a_field_larger_than_the_input_says_so():
    table = receptive_field(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 1, 9, padding=4)), (1, 8, 8))
    assert "From 1 on, the receptive field is larger than the input of 8 pixels." in str(table)
    assert table.box("1", (0, 0)) == (((-5, 5), (-5, 5)), ((0, 5), (0, 5)))
    assert "larger" not in str(receptive_field(MnistNet_1()))


def test_a_unit_that_sees_only_padding_has_no_box():
    table = receptive_field(nn.Conv2d(1, 1, 1, padding=1))
    assert table.box(0, (0, 3)) == (((-1, -1), (2, 2)), None)


def test_a_clipped_box_is_what_the_unit_is_connected_to():
    """Padding of a later feature map stands for no pixel, though the image may go on there."""
    model = nn.Sequential(nn.Conv1d(1, 1, 3, stride=2), nn.Conv1d(1, 1, 3, padding=1))  # 28 -> 13, up to pixel 26
    assert receptive_field(model, (1, 28)).box(1, 12) == (((22, 28),), ((22, 26),))


@pytest.mark.parametrize(
    "text, function, size",
    [
        ("shortcut without weights", lambda x: F.pad(x[..., ::2, ::2], (0, 0, 0, 0, 2, 2)), 1),
        ("pool with indices", lambda x: F.max_pool2d(x, 2, return_indices=True)[0], 2),
        ("adaptive with indices", lambda x: F.adaptive_max_pool2d(x, 7, return_indices=True)[0], 4),
        ("statistics of channels", lambda x: (x - x.mean(1, True)) / (x.std(1, keepdim=True) + x.amax(1, True)), 1),
        ("a normal of channels", lambda x: F.normalize(x, dim=1), 1),
        ("norm of channels", lambda x: x / torch.norm(x, p=2, dim=1, keepdim=True), 1),
        ("logarithm of a sigmoid", nn.LogSigmoid(), 1),
        ("legacy statistics", lambda x: x / x.std(1, True, True), 1),
        ("maximum with a constant", lambda x: torch.max(x, torch.zeros(1)), 1),
        ("condition", lambda x: torch.where(x > 0, x, 0.1 * x), 1),
        ("type of another", lambda x: x.type_as(F.avg_pool2d(x, 3)), 1),
        ("shape of another", lambda x: x.view_as(F.avg_pool2d(x, 3, 1, 1)), 1),
    ],
)
def test_other_functions(text, function, size):
    model = nn.Sequential(nn.Conv2d(1, 2, 1), Call(text, function), nn.Conv2d(2 if "short" not in text else 6, 1, 1))
    assert last(model).r_out == size


def test_slices_of_the_map_are_crops():
    focus = Call("focus", lambda x: torch.cat([x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)], 1))
    row = last(focus)
    assert (row.n_in, row.r_out, row.j_out, row.start) == (14, 2, 2, 0.5)
    row = last(Call("narrow", lambda x: x.narrow(3, -2, 2)))
    assert (row.n_out, row.start) == ((28, 2), (0, 26))
    row = last(Call("token", lambda x: x[:, :, 3, -1]))
    assert (row.n_out, row.start) == (1, (3, 27))


# ------------------------------------------------------------------------------- the model stays alone


def test_the_model_stays_as_it_was():
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            return x + 0 * torch.rand(1)

    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5), Counts(), nn.Conv2d(2, 2, 3))
    model[2].eval()
    model[0].weight.requires_grad_(False)
    model[0].register_forward_hook(lambda module, args, output: None)
    model(torch.randn(4, 1, 28, 28)).sum().backward()

    def state():
        return [
            [m.training for m in model.modules()],
            [(p.requires_grad, p.device, p.dtype, p.tolist()) for p in model.parameters()],
            [None if p.grad is None else p.grad.tolist() for p in model.parameters()],
            [b.tolist() for b in model.buffers()],
            [(len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in model.modules()],
            torch.get_rng_state().tolist(),
            torch.is_grad_enabled(),
        ]

    before = state()
    receptive_field(model)
    assert state() == before
    gradient_receptive_field(model)
    assert state() == before
    effective_receptive_field(model, torch.ones(4, 1, 28, 28))
    assert state() == before
    with pytest.raises(ReceptiveFieldError, match=r"\(3, 28, 28\): layer '0' \(Conv2d\)"):
        receptive_field(model, (3, 28, 28))
    assert state() == before


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_any_dtype_and_device(dtype):
    assert receptive_field(MnistNet_3().to(dtype)).receptive_field == 28
    assert receptive_field(MnistNet_3().to("meta")).receptive_field == 28


def test_arguments_are_checked():
    for options in ({"unknown": "skip"}, {"gates": "skip"}, {"until": "block9"}):
        with pytest.raises(ValueError, match=next(iter(options))):
            receptive_field(MnistNet_1(), **options)
    for size in ((28,), 28, "28", (1, 0, 28), (1, 2, 3, 4, 5), [], {}, (1.0, 28, 28), None):
        with pytest.raises(ValueError, match="input_size=.*must be"):
            receptive_field(MnistNet_1(), size)
    with pytest.raises(UnsupportedLayer, match=r"takes \(N, C, H, W\).*as in \(1, 28, 28\)"):
        receptive_field(MnistNet_1(), (28, 28))
    with pytest.raises(ReceptiveFieldError, match="lazy"):
        receptive_field(nn.LazyConv2d(1, 3))
    with pytest.raises(ReceptiveFieldError, match="does not come from its input"):
        receptive_field(Call("constant", lambda x: torch.zeros(3)))
    table = receptive_field(MnistNet_1())
    with pytest.raises(KeyError, match="block1.0"):
        table.box("conv", (0, 0))
    with pytest.raises(IndexError, match="not on the feature map"):
        table.box("block1.0", (26, 0))


# ---------------------------------------------------------------------------------------------- output


def test_prints_aligned_and_the_same_each_time():
    table = receptive_field(MnistNet_1())
    lines = str(table).splitlines()
    assert lines[0].split() == ["layer", "kind", "n_in", "k", "s", "p", "d", "n_out", "r_in", "j_in", "r_out",
                                "j_out", "start"]  # fmt: skip
    assert lines[5].split() == ["block1.7", "MaxPool2d", "22", "2", "2", "0", "1", "11", "7", "1", "8", "2", "3.5"]
    assert len({len(line) for line in lines}) == 1
    assert str(receptive_field(MnistNet_1())) == str(table) == repr(table)


def test_markdown_html_and_csv_hold_the_same_values():
    table = receptive_field(nn.Sequential(nn.Conv2d(1, 1, (3, 1)), nn.MaxPool2d(2)))
    markdown = table.to_markdown().splitlines()
    assert markdown[2] == "| 0 | Conv2d | 28 | (3, 1) | 1 | 0 | 1 | (26, 28) | 1 | 1 | (3, 1) | 1 | (1, 0) |"
    assert len(markdown) == 2 + len(table.rows)
    page = table._repr_html_()
    assert page.count("<tr>") == 1 + len(table.rows)
    assert '<td style="text-align: left">Conv2d</td>' in page and '<th style="text-align: left">layer</th>' in page
    assert '<td style="text-align: right">(26, 28)</td>' in page and '<th style="text-align: right">k</th>' in page
    file = io.StringIO()
    writer = csv.DictWriter(file, fieldnames=table.to_dicts()[0])
    writer.writeheader()
    writer.writerows(table.to_dicts())
    read = list(csv.DictReader(io.StringIO(file.getvalue())))
    assert [row["r_out"] for row in read] == ["(3, 1)", "(4, 2)"]
    assert [row["start"] for row in read] == ["(1, 0)", "(1.5, 0.5)"]
