"""What a network costs where it is deployed: parameters, and multiply-adds of one image."""

import copy
import math

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mnist_s7.export.folding import IMAGE

BATCH_NORM = torch.ops.aten.native_batch_norm


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def multiply_adds(model: nn.Module) -> int:
    """Of one (1, 28, 28) image in evaluation mode: one for each product with a weight of a convolution or a linear
    layer, and one for each value that a BatchNorm scales and shifts. The addition of a bias, ReLU, pools, sums and the
    softmax are not counted.

    torchinfo, which makes the tables of single iterations, counts for a BatchNorm its parameters, however many values
    it scales, and for a bias one more per value. Of networks that have neither, both say the same.
    """
    counted = {BATCH_NORM: _per_value, BATCH_NORM.default: _per_value}  # else it would be taken to pieces, uncounted
    network = copy.deepcopy(model).cpu().float().eval()
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=counted) as counter:
        network(torch.zeros(1, *IMAGE))
    return counter.get_total_flops() // 2  # which has two for a multiplication and an addition


def _per_value(shape: torch.Size, *_, **__) -> int:
    return 2 * math.prod(shape)
