"""Public networks: published figures, and how many of torchvision's and timm's answer."""

import warnings
from pathlib import Path

import pytest
import torch
from random_networks import DECODERS, NETWORKS, Call
from test_decoders import DECODERS as NAMED
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torchvision import models

import mnist_s7.receptive_field as receptive_field_module
from mnist_s7.receptive_field import UnsupportedLayer, receptive_field

PAGE = Path(receptive_field_module.__file__).with_name("README.md").read_text(encoding="utf-8")


class NothingDrawn(TorchFunctionMode):
    """Leaves out what initialises weights: the table needs none, and drawing them takes seconds."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func.__name__ in ("normal_", "uniform_", "trunc_normal_"):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def without_weights(make):
    """A model on the meta device."""
    try:
        with torch.device("meta"):
            return make().eval()
    except RuntimeError:  # it computes with values
        with NothingDrawn():
            return make().eval().to("meta")


def of_torchvision(name):
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    if name in models.list_models(module=models.detection) + models.list_models(module=models.segmentation):
        options["weights_backbone"] = None
    return without_weights(lambda: models.get_model(name, weights=None, **options))


def last_map(table):
    """The last row before global pooling: what published tables state."""
    return [row for row in table.rows if row.n_out != 1][-1]


# ------------------------------------------------------------------------------------------------- published figures


def resnet_v1(name):
    """With the stride of each block in its first convolution, as in the paper; torchvision has it in the second."""
    model = of_torchvision(name)
    for stage in (model.layer2, model.layer3, model.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = stage[0].conv2.stride, stage[0].conv1.stride
    return model


def patch_discriminator():
    """P. Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks" (arXiv:1611.07004)."""
    sizes, strides = (3, 64, 128, 256, 512, 1), (2, 2, 2, 1, 1)
    layers = [nn.Conv2d(i, o, 4, s, 1) for i, o, s in zip(sizes, sizes[1:], strides, strict=False)]
    return nn.Sequential(*[part for conv in layers for part in (conv, nn.LeakyReLU(0.2))])


def wav2vec2_features():
    """A. Baevski et al., "wav2vec 2.0" (arXiv:2006.11477): 400 samples, 25 ms, at a stride of 320."""
    windows = [(10, 5), *[(3, 2)] * 4, *[(2, 2)] * 2]
    return nn.Sequential(*[nn.Conv1d(1 if i == 0 else 4, 4, k, s) for i, (k, s) in enumerate(windows)])


# The table of A. Araujo, W. Norris and J. Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill
# 2019, as far as torchvision and timm have its networks; and the two above.
DISTILL = {
    "alexnet": (lambda: of_torchvision("alexnet").features, (3, 224, 224), 195, 32),
    "vgg16": (lambda: of_torchvision("vgg16").features, (3, 224, 224), 212, 32),
    "resnet_v1_50": (lambda: resnet_v1("resnet50"), (3, 224, 224), 483, 32),
    "resnet_v1_101": (lambda: resnet_v1("resnet101"), (3, 224, 224), 1027, 32),
    "resnet_v1_152": (lambda: resnet_v1("resnet152"), (3, 224, 224), 1507, 32),
    "inception_v3": (lambda: of_torchvision("inception_v3"), (3, 299, 299), 1311, 32),
    "PatchGAN": (patch_discriminator, (3, 256, 256), 70, 8),
    "wav2vec 2.0": (wav2vec2_features, (1, 16000), 400, 320),
}
DISTILL_OF_TIMM = {"inception_v4": 2071, "inception_resnet_v2": 3039, "mobilenetv1_100": 315}


@pytest.mark.parametrize("name", DISTILL)
def test_published_figure(name):
    make, input_size, size, jump = DISTILL[name]
    row = last_map(receptive_field(make(), input_size))
    assert (row.r_out, row.j_out) == (size, jump)


@pytest.mark.parametrize("name", DISTILL_OF_TIMM)
def test_published_figure_of_a_network_in_timm(name):
    timm = pytest.importorskip("timm")
    row = last_map(receptive_field(without_weights(lambda: timm.create_model(name)), (3, 299, 299)))
    assert (row.r_out, row.j_out) == (DISTILL_OF_TIMM[name], 32)


# ------------------------------------------------------------------------------------------------ how many answer

ATTENTION = {name for name in models.list_models(module=models) if name.startswith(("vit", "swin", "maxvit"))}
SIZES = {"inception_v3": (3, 299, 299)}


@pytest.mark.parametrize("name", models.list_models(module=models))
def test_classifier_of_torchvision(name):
    model, size = of_torchvision(name), SIZES.get(name, (3, 224, 224))
    if name in ATTENTION:
        with pytest.raises(UnsupportedLayer, match="whole") as error:
            receptive_field(model, size)
        assert error.value.table.rows[0].kind == "Conv2d"
        table = receptive_field(model, size, unknown="whole")
    else:
        table = receptive_field(model, size)
    assert len(table.rows) > 8 and table.box(-1, (0, 0)).clipped is not None


@pytest.mark.parametrize("name", models.list_models(module=models.segmentation))
@pytest.mark.parametrize("size", [224, 225])
def test_segmentation_of_torchvision(name, size):
    table = receptive_field(of_torchvision(name), (3, size, size))
    assert (
        table.rows[-1].n_out == size and table.rows[-1].r_range[0] <= table.rows[-1].r_range[1] == table.receptive_field
    )


@pytest.mark.parametrize("name", models.list_models(module=models.detection))
def test_backbone_of_a_detector_of_torchvision(name):
    """Its heads choose among boxes by their scores: what they give has no field of its own."""
    table = receptive_field(of_torchvision(name).backbone, (3, 300, 300))
    assert table.rows[-1].n_out < table.rows[0].n_out


VIDEOS = [name for name in models.list_models(module=models.video) if not name.startswith(("mvit", "swin"))]


@pytest.mark.parametrize("name", VIDEOS)
def test_convolutional_video_network_of_torchvision(name):
    side = 224 if name == "s3d" else 112
    table = receptive_field(of_torchvision(name), (3, 16, side, side))
    assert table.box("output", (0, 0, 0)).clipped == ((0, 15), (0, side - 1), (0, side - 1))


TIMM = [
    "bat_resnext26ts",
    "cspdarknet53",
    "cspresnet50",
    "darknet53",
    "densenet121",
    "dla34",
    "dpn68",
    "ecaresnet26t",
    "efficientnet_b0",
    "efficientnetv2_rw_t",
    "ese_vovnet19b_dw",
    "fbnetc_100",
    "gernet_s",
    "ghostnet_100",
    "ghostnetv2_100",
    "hardcorenas_a",
    "hgnet_tiny",
    "hrnet_w18_small",
    "inception_next_tiny",
    "inception_v4",
    "lcnet_050",
    "legacy_seresnet18",
    "mnasnet_small",
    "mobilenetv2_100",
    "mobilenetv3_small_100",
    "mobilenetv4_conv_small",
    "mobileone_s0",
    "nf_resnet50",
    "regnetx_002",
    "regnety_002",
    "repghostnet_050",
    "repvgg_a0",
    "res2net50_26w_4s",
    "resnest14d",
    "resnet26d",
    "resnetv2_50",
    "resnext50_32x4d",
    "rexnet_100",
    "selecsls42b",
    "seresnet50",
    "skresnet18",
    "starnet_s1",
    "tf_efficientnet_b0",
    "tf_efficientnet_lite0",
    "tinynet_e",
    "tresnet_m",
    "vovnet39a",
    "xception41",
    "convnext_atto",
    "convnextv2_atto",
    "convmixer_768_32",
    "nasnetalarge",
    "fastvit_t8",
    "focalnet_tiny_srf",
]
TIMM_ATTENTION = [
    "botnet26t_256",
    "coatnet_nano_rw_224",
    "davit_tiny",
    "deit_tiny_patch16_224",
    "edgenext_xx_small",
    "efficientformer_l1",
    "gcresnet33ts",
    "halonet26t",
    "lambda_resnet26t",
    "mobilevit_xxs",
    "pit_ti_224",
    "poolformer_s12",
    "vit_tiny_patch16_224",
    "xcit_nano_12_p16_224",
]


@pytest.mark.parametrize("name", TIMM + TIMM_ATTENTION)
def test_network_of_timm(name):
    timm = pytest.importorskip("timm")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # timm's own
        model = without_weights(lambda: timm.create_model(name))
    size = (3, *timm.get_pretrained_cfg(name).input_size[1:])
    if name in TIMM_ATTENTION:
        with pytest.raises(UnsupportedLayer, match="whole"):
            receptive_field(model, size)
    table = receptive_field(model, size, unknown="whole" if name in TIMM_ATTENTION else "error")
    assert len(table.rows) > 8


# --------------------------------------------------------------------------------------- inputs of an unusual size


@pytest.mark.parametrize(("size", "answers"), [(256, 8), (32, 1), (224, 7)])
def test_vgg_at_any_size(size, answers):
    """Its pooling to 7 x 7 has windows of unequal size, or repeats its units."""
    table = receptive_field(of_torchvision("vgg16"), (3, size, size))
    row = next(row for row in table.rows if row.layer == "avgpool")
    assert (row.n_in, row.n_out, row.s) == (answers, 7, answers / 7)
    assert next(row for row in table.rows if row.layer == "features.30").r_out == 212


def test_rows_before_a_layer_that_is_refused():
    model = of_torchvision("vit_b_16")
    with pytest.raises(UnsupportedLayer) as error:
        receptive_field(model, (3, 224, 224))
    assert [row.layer for row in error.value.table.rows] == ["conv_proj"]
    assert receptive_field(model, (3, 224, 224), until="conv_proj").receptive_field == 16


def test_a_grey_image_repeated_for_a_network_of_three_colours():
    class Repeated(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = of_torchvision("resnet18")

        def forward(self, x):
            return self.net(x.repeat(1, 3, 1, 1))

    assert last_map(receptive_field(Repeated(), (1, 224, 224))).r_out == 435


# --------------------------------------------------------------------------------------------------- what is claimed


def test_the_page_states_how_many_networks_answer():
    page = " ".join(PAGE.split())
    assert f"{NETWORKS} random networks" in page and f"{DECODERS} random decoders and of {len(NAMED)} U-Nets" in page
    everything = models.list_models(module=models)
    assert (
        f"{len(everything)} classifiers {len(everything) - len(ATTENTION)} answer, and the {len(ATTENTION)} with"
        in page
    )
    assert f"all {len(models.list_models(module=models.segmentation))} networks for segmentation" in page
    assert f"backbones of all {len(models.list_models(module=models.detection))} detectors" in page
    assert f"{len(TIMM)} of {len(TIMM + TIMM_ATTENTION)} networks of timm" in page


class Sum(nn.Module):
    def __init__(self):
        super().__init__()
        self.wide, self.narrow = nn.Conv2d(3, 3, 9, padding=4), nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return self.wide(x) + self.narrow(x)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3)

    def forward(self, x):
        return self.second(self.first(self.first(x)))


def compared():
    """The networks of the page's comparison, in its order, with what is asked of them."""
    conv = nn.Conv2d(3, 3, 3)
    in_2d = (3, 64, 64)
    yield nn.Sequential(conv, nn.MaxPool2d(2), nn.Conv2d(3, 3, 3, dilation=2)), in_2d, {}
    yield Sum(), in_2d, {}
    yield nn.Sequential(conv, Call("pool", lambda x: F.max_pool2d(x, 2))), in_2d, {}
    yield Twice(), in_2d, {}
    up = nn.ConvTranspose2d(3, 3, 2, 2)
    yield nn.Sequential(nn.Conv2d(3, 3, 3, 2, 1), up, nn.Conv2d(3, 3, 3, padding=1)), in_2d, {}
    yield nn.Sequential(conv, nn.Upsample(scale_factor=2), nn.Conv2d(3, 3, 3)), in_2d, {}
    yield nn.Conv2d(3, 3, (3, 5)), in_2d, {}
    yield nn.Sequential(conv, nn.AdaptiveAvgPool2d(1)), in_2d, {}
    yield nn.Sequential(conv, nn.GroupNorm(3, 3)), in_2d, {"unknown": "whole"}
    yield nn.Sequential(nn.Conv1d(3, 3, 3), nn.MaxPool1d(2)), (3, 64), {}
    yield nn.Sequential(nn.Conv3d(3, 3, 3), nn.MaxPool3d(2)), (3, 16, 16, 16), {}
    yield of_torchvision("vgg16").features, (3, 224, 224), {}
    yield nn.Sequential(*[*of_torchvision("resnet18").children()][:-2]), (3, 480, 480), {}


def test_the_page_states_what_this_calculator_says_beside_others():
    lines = [line for line in PAGE.partition("## Beside other")[2].splitlines() if line.startswith("| ")][1:]
    networks = [*compared()]
    assert len(lines) == len(networks)
    for line, (model, input_size, options) in zip(lines, networks, strict=True):
        network, said = [cell.strip() for cell in line.split("|")][1:3]
        size = receptive_field(model, input_size, **options).receptive_field
        stated = ", ".join(map(str, size)) if isinstance(size, tuple) else str(size)
        assert said.endswith(stated if not options else f"{stated} if asked"), line
        assert f"{stated})" in network
