"""Convolutions of several networks, for a GPU, in Triton.

Feature maps are float32, (S, N, H, W, C) in memory: S networks with N images each, the channels of a pixel neighbours.
Weights are (S, taps, c_in, c_out), contiguous for each network. All sums are in float32 and in one order: products on
the tensor cores are of three TF32 parts each, which is float32's precision ("tf32x3").
"""

import triton
import triton.language as tl


@triton.jit
def convolve(
    x, weight, bias, y, n, height, width, height_out, width_out, weight_stride, bias_stride,
    C_IN: tl.constexpr, C_OUT: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, PAD_H: tl.constexpr,
    PAD_W: tl.constexpr, FLIP: tl.constexpr, BIAS: tl.constexpr, BLOCK: tl.constexpr, LANES: tl.constexpr,
    K_BLOCK: tl.constexpr,
):  # fmt: skip
    """y = x * weight + bias. A program has BLOCK output pixels of a network, and all their channels.

    `FLIP` takes the weights of a convolution the other way round: from their last tap on, and from what was its output.
    """
    network = tl.program_id(1).to(tl.int64)
    K: tl.constexpr = KH * KW * C_IN
    pixels = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    exists = pixels < n * height_out * width_out
    row = pixels // width_out
    left = pixels % width_out - PAD_W
    image = row // height_out
    top = row % height_out - PAD_H
    x += network * n * height * width * C_IN
    weight += network * weight_stride
    corner = ((image * height + top) * width + left) * C_IN
    lanes = tl.arange(0, LANES)
    total = tl.zeros((BLOCK, LANES), tl.float32)
    for start in range(0, K, K_BLOCK):
        k = start + tl.arange(0, K_BLOCK)
        tap = k // C_IN
        down = tap // KW
        right = tap % KW
        read = exists[:, None] & (k < K)[None, :]
        if PAD_H > 0 or PAD_W > 0:
            i = top[:, None] + down[None, :]
            j = left[:, None] + right[None, :]
            read = read & (i >= 0) & (i < height) & (j >= 0) & (j < width)
        offset = (down * width + right) * C_IN + k % C_IN
        values = tl.load(x + corner[:, None] + offset[None, :], mask=read, other=0.0)
        if FLIP:
            of_tap = (KH * KW - 1 - tap) * C_OUT * C_IN + k % C_IN
            at = of_tap[:, None] + lanes[None, :] * C_IN
        else:
            at = k[:, None] * C_OUT + lanes[None, :]
        filters = tl.load(weight + at, mask=(k < K)[:, None] & (lanes < C_OUT)[None, :], other=0.0)
        total = tl.dot(values, filters, total, input_precision="tf32x3")
    if BIAS:
        total += tl.load(bias + network * bias_stride + lanes, mask=lanes < C_OUT, other=0.0)[None, :]
    y += network * n * height_out * width_out * C_OUT
    tl.store(y + pixels[:, None] * C_OUT + lanes[None, :], total, mask=exists[:, None] & (lanes < C_OUT)[None, :])


@triton.jit
def weight_gradient(
    x, gradient, partial, of_bias, n, height, width, height_out, width_out, blocks_each,
    C_IN: tl.constexpr, C_OUT: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, PAD_H: tl.constexpr,
    PAD_W: tl.constexpr, BIAS: tl.constexpr, BLOCK: tl.constexpr, LANES: tl.constexpr, K_BLOCK: tl.constexpr,
):  # fmt: skip
    """partial, (parts, S, K, c_out): for each part of a network's output pixels, the sum of x times gradient; and
    of_bias, (parts, S, c_out): that of the gradient."""
    part = tl.program_id(0)
    network = tl.program_id(1).to(tl.int64)
    K: tl.constexpr = KH * KW * C_IN
    k = tl.program_id(2) * K_BLOCK + tl.arange(0, K_BLOCK)
    tap = k // C_IN
    down = tap // KW
    right = tap % KW
    offset = (down * width + right) * C_IN + k % C_IN
    lanes = tl.arange(0, LANES)
    count = n * height_out * width_out
    x += network * n * height * width * C_IN
    gradient += network * count * C_OUT
    total = tl.zeros((K_BLOCK, LANES), tl.float32)
    alone = tl.zeros((BLOCK, LANES), tl.float32)
    for block in range(part * blocks_each, (part + 1) * blocks_each):
        pixels = block * BLOCK + tl.arange(0, BLOCK)
        exists = pixels < count
        row = pixels // width_out
        left = pixels % width_out - PAD_W
        image = row // height_out
        top = row % height_out - PAD_H
        corner = ((image * height + top) * width + left) * C_IN
        read = (k < K)[:, None] & exists[None, :]
        if PAD_H > 0 or PAD_W > 0:
            i = top[None, :] + down[:, None]
            j = left[None, :] + right[:, None]
            read = read & (i >= 0) & (i < height) & (j >= 0) & (j < width)
        values = tl.load(x + offset[:, None] + corner[None, :], mask=read, other=0.0)
        given = tl.load(
            gradient + pixels[:, None] * C_OUT + lanes[None, :], mask=exists[:, None] & (lanes < C_OUT)[None, :],
            other=0.0,
        )  # fmt: skip
        total = tl.dot(values, given, total, input_precision="tf32x3")
        if BIAS:
            alone += given
    if BIAS:
        of_bias += (part * tl.num_programs(1) + network) * C_OUT
        tl.store(of_bias + lanes, tl.sum(alone, 0), mask=(lanes < C_OUT) & (tl.program_id(2) == 0))
    partial += (part * tl.num_programs(1) + network) * K * C_OUT
    tl.store(partial + k[:, None] * C_OUT + lanes[None, :], total, mask=(k < K)[:, None] & (lanes < C_OUT)[None, :])


@triton.jit
def convolve_depthwise(
    x, weight, bias, y, n, height, width, height_out, width_out, weight_stride, bias_stride,
    C: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, PAD_H: tl.constexpr, PAD_W: tl.constexpr,
    FLIP: tl.constexpr, BIAS: tl.constexpr, BLOCK: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Each channel with its own filter, weights (S, taps, c). `FLIP` takes the filters from their last tap on."""
    network = tl.program_id(1).to(tl.int64)
    pixels = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    exists = pixels < n * height_out * width_out
    row = pixels // width_out
    left = pixels % width_out - PAD_W
    image = row // height_out
    top = row % height_out - PAD_H
    x += network * n * height * width * C
    weight += network * weight_stride
    corner = ((image * height + top) * width + left) * C
    lanes = tl.arange(0, LANES)
    used = lanes < C
    total = tl.zeros((BLOCK, LANES), tl.float32)
    for tap in tl.static_range(KH * KW):
        down = tap // KW
        right = tap % KW
        read = exists & (top + down >= 0) & (top + down < height) & (left + right >= 0) & (left + right < width)
        values = tl.load(
            x + (corner + (down * width + right) * C)[:, None] + lanes[None, :], mask=read[:, None] & used[None, :],
            other=0.0,
        )  # fmt: skip
        taken = KH * KW - 1 - tap if FLIP else tap
        total += values * tl.load(weight + taken * C + lanes, mask=used, other=0.0)[None, :]
    if BIAS:
        total += tl.load(bias + network * bias_stride + lanes, mask=used, other=0.0)[None, :]
    y += network * n * height_out * width_out * C
    tl.store(y + pixels[:, None] * C + lanes[None, :], total, mask=exists[:, None] & used[None, :])


@triton.jit
def depthwise_weight_gradient(
    x, gradient, partial, n, height, width, height_out, width_out, blocks_each,
    C: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, PAD_H: tl.constexpr, PAD_W: tl.constexpr,
    BLOCK: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """partial, (parts, S, taps, c), a program for each part, network and tap."""
    part = tl.program_id(0)
    network = tl.program_id(1).to(tl.int64)
    tap = tl.program_id(2)
    down = tap // KW
    right = tap % KW
    lanes = tl.arange(0, LANES)
    used = lanes < C
    count = n * height_out * width_out
    x += network * n * height * width * C
    gradient += network * count * C
    total = tl.zeros((BLOCK, LANES), tl.float32)
    for block in range(part * blocks_each, (part + 1) * blocks_each):
        pixels = block * BLOCK + tl.arange(0, BLOCK)
        exists = pixels < count
        row = pixels // width_out
        i = row % height_out - PAD_H + down
        j = pixels % width_out - PAD_W + right
        read = exists & (i >= 0) & (i < height) & (j >= 0) & (j < width)
        source = ((row // height_out * height + i) * width + j) * C
        values = tl.load(x + source[:, None] + lanes[None, :], mask=read[:, None] & used[None, :], other=0.0)
        given = tl.load(
            gradient + pixels[:, None] * C + lanes[None, :], mask=exists[:, None] & used[None, :], other=0.0
        )
        total += values * given
    partial += ((part * tl.num_programs(1) + network) * KH * KW + tap) * C
    tl.store(partial + lanes, tl.sum(total, 0), mask=used)
