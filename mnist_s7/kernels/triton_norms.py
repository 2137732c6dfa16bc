"""What is between the convolutions of several networks, for a GPU, in Triton: norms with their ReLU and dropout, pools.

Feature maps are as in `triton_convolutions`. Of S networks with `rows` pixels each, a norm's are (S, rows, C).
"""

import triton
import triton.language as tl


@triton.jit
def _rectified(x):
    """A NaN stays one."""
    return tl.where(x < 0, 0.0, x)


@triton.jit
def moments(
    x, partial, rows, blocks_each, C: tl.constexpr, RELU_BEFORE: tl.constexpr, BLOCK: tl.constexpr,
    LANES: tl.constexpr,
):  # fmt: skip
    """partial, (S, parts, 2, c): sums and squares of x less the network's first pixel, so that they keep digits."""
    part = tl.program_id(0)
    network = tl.program_id(1).to(tl.int64)
    lanes = tl.arange(0, LANES)
    used = lanes < C
    x += network * rows * C
    first = tl.load(x + lanes, mask=used, other=0.0)
    if RELU_BEFORE:
        first = _rectified(first)
    sums = tl.zeros((BLOCK, LANES), tl.float32)
    squares = tl.zeros((BLOCK, LANES), tl.float32)
    for block in range(part * blocks_each, (part + 1) * blocks_each):
        row = block * BLOCK + tl.arange(0, BLOCK)
        read = (row < rows)[:, None] & used[None, :]
        values = tl.load(x + row[:, None] * C + lanes[None, :], mask=read, other=0.0)
        if RELU_BEFORE:
            values = _rectified(values)
        values = tl.where(read, values - first[None, :], 0.0)
        sums += values
        squares += values * values
    partial += (network * tl.num_programs(0) + part) * 2 * C
    tl.store(partial + lanes, tl.sum(sums, 0), mask=used)
    tl.store(partial + C + lanes, tl.sum(squares, 0), mask=used)


@triton.jit
def finish_moments(
    x, partial, weight, bias, running_mean, running_var, found, rows, parts, weight_stride, bias_stride, eps, momentum,
    C: tl.constexpr, RELU_BEFORE: tl.constexpr, PARTS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """found, (S, 4, c): mean, 1 / deviation, and the factor and the offset of the norm."""
    network = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, LANES)
    used = lanes < C
    first = tl.load(x + network * rows * C + lanes, mask=used, other=0.0)
    if RELU_BEFORE:
        first = _rectified(first)
    part = tl.arange(0, PARTS)
    read = (part < parts)[:, None] & used[None, :]
    partial += network * parts * 2 * C
    sums = tl.sum(tl.load(partial + part[:, None] * 2 * C + lanes[None, :], mask=read, other=0.0), 0) / rows
    squares = tl.sum(tl.load(partial + C + part[:, None] * 2 * C + lanes[None, :], mask=read, other=0.0), 0) / rows
    mean = first + sums
    variance = _rectified(squares - sums * sums)
    scale = 1 / tl.sqrt(variance + eps)
    factor = tl.load(weight + network * weight_stride + lanes, mask=used, other=0.0) * scale
    offset = tl.load(bias + network * bias_stride + lanes, mask=used, other=0.0)
    found += network * 4 * C
    tl.store(found + lanes, mean, mask=used)
    tl.store(found + C + lanes, scale, mask=used)
    tl.store(found + 2 * C + lanes, factor, mask=used)
    tl.store(found + 3 * C + lanes, offset, mask=used)
    running_mean += network * C
    running_var += network * C
    old_mean = tl.load(running_mean + lanes, mask=used, other=0.0)
    old_var = tl.load(running_var + lanes, mask=used, other=0.0)
    tl.store(running_mean + lanes, old_mean + momentum * (mean - old_mean), mask=used)
    unbiased = variance * (rows / (rows - 1.0))
    tl.store(running_var + lanes, old_var + momentum * (unbiased - old_var), mask=used)


@triton.jit
def normalize(
    x, found, keys, y, mask, rows, layer, p,
    C: tl.constexpr, RELU_BEFORE: tl.constexpr, RELU_AFTER: tl.constexpr, DROPOUT: tl.constexpr,
    BLOCK: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """y = dropout(relu((relu(x) - mean) * factor + offset)), and the mask of what dropout and the second ReLU keep."""
    network = tl.program_id(1).to(tl.int64)
    lanes = tl.arange(0, LANES)
    used = lanes < C
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    read = (row < rows)[:, None] & used[None, :]
    at = row[:, None] * C + lanes[None, :]
    values = tl.load(x + network * rows * C + at, mask=read, other=0.0)
    if RELU_BEFORE:
        values = _rectified(values)
    found += network * 4 * C
    mean = tl.load(found + lanes, mask=used, other=0.0)
    factor = tl.load(found + 2 * C + lanes, mask=used, other=0.0)
    offset = tl.load(found + 3 * C + lanes, mask=used, other=0.0)
    values = (values - mean[None, :]) * factor[None, :] + offset[None, :]
    if RELU_AFTER:
        values = _rectified(values)
    if DROPOUT:
        key = tl.load(keys + network) * 1024 + layer
        keeps = tl.rand(key, at, n_rounds=7) >= p
        values = tl.where(keeps, values / (1 - p), 0.0)
        if RELU_AFTER:
            keeps = keeps & ~(values <= 0)
        tl.store(mask + network * rows * C + at, keeps.to(tl.uint8), mask=read)
    tl.store(y + network * rows * C + at, values, mask=read)


@triton.jit
def _through_norm(
    x, gradient, mask, found, at, read, lanes, used, p,
    C: tl.constexpr, RELU_BEFORE: tl.constexpr, RELU_AFTER: tl.constexpr, DROPOUT: tl.constexpr,
):  # fmt: skip
    """Of some elements: the norm's input, its normalised input, and the gradient of what the norm gave."""
    values = tl.load(x + at, mask=read, other=0.0)
    given = tl.load(gradient + at, mask=read, other=0.0)
    taken = values
    if RELU_BEFORE:
        taken = _rectified(values)
    mean = tl.load(found + lanes, mask=used, other=0.0)
    scale = tl.load(found + C + lanes, mask=used, other=0.0)
    if DROPOUT:
        keeps = tl.load(mask + at, mask=read, other=0)
        given = tl.where(keeps != 0, given / (1 - p), 0.0)
    elif RELU_AFTER:
        factor = tl.load(found + 2 * C + lanes, mask=used, other=0.0)
        offset = tl.load(found + 3 * C + lanes, mask=used, other=0.0)
        given = tl.where((taken - mean[None, :]) * factor[None, :] + offset[None, :] <= 0, 0.0, given)
    return values, tl.where(read, (taken - mean[None, :]) * scale[None, :], 0.0), given


@triton.jit
def norm_sums(
    x, gradient, mask, found, partial, rows, blocks_each, p,
    C: tl.constexpr, RELU_BEFORE: tl.constexpr, RELU_AFTER: tl.constexpr, DROPOUT: tl.constexpr,
    BLOCK: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """partial, (S, parts, 2, c): sums of the gradient, and of the gradient times the normalised input."""
    part = tl.program_id(0)
    network = tl.program_id(1).to(tl.int64)
    lanes = tl.arange(0, LANES)
    used = lanes < C
    start = network * rows * C
    found += network * 4 * C
    sums = tl.zeros((BLOCK, LANES), tl.float32)
    products = tl.zeros((BLOCK, LANES), tl.float32)
    for block in range(part * blocks_each, (part + 1) * blocks_each):
        row = block * BLOCK + tl.arange(0, BLOCK)
        read = (row < rows)[:, None] & used[None, :]
        at = row[:, None] * C + lanes[None, :]
        _, normalized, given = _through_norm(
            x + start, gradient + start, mask + start, found, at, read, lanes, used, p,
            C, RELU_BEFORE, RELU_AFTER, DROPOUT,
        )  # fmt: skip
        sums += given
        products += given * normalized
    partial += (network * tl.num_programs(0) + part) * 2 * C
    tl.store(partial + lanes, tl.sum(sums, 0), mask=used)
    tl.store(partial + C + lanes, tl.sum(products, 0), mask=used)


@triton.jit
def norm_gradient(
    x, gradient, mask, found, sums, of_x, rows, p,
    C: tl.constexpr, RELU_BEFORE: tl.constexpr, RELU_AFTER: tl.constexpr, DROPOUT: tl.constexpr,
    BLOCK: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """The gradient of the norm's input, from that of its output and their `sums`, (S, 2, c)."""
    network = tl.program_id(1).to(tl.int64)
    lanes = tl.arange(0, LANES)
    used = lanes < C
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    read = (row < rows)[:, None] & used[None, :]
    at = row[:, None] * C + lanes[None, :]
    start = network * rows * C
    found += network * 4 * C
    values, normalized, given = _through_norm(
        x + start, gradient + start, mask + start, found, at, read, lanes, used, p,
        C, RELU_BEFORE, RELU_AFTER, DROPOUT,
    )  # fmt: skip
    factor = tl.load(found + 2 * C + lanes, mask=used, other=0.0)
    sums += network * 2 * C
    of_bias = tl.load(sums + lanes, mask=used, other=0.0) / rows
    of_weight = tl.load(sums + C + lanes, mask=used, other=0.0) / rows
    result = factor[None, :] * (given - of_bias[None, :] - normalized * of_weight[None, :])
    if RELU_BEFORE:
        result = tl.where(values <= 0, 0.0, result)
    tl.store(of_x + start + at, result, mask=read)


@triton.jit
def pool(x, y, count, height, width, height_out, width_out, C: tl.constexpr, SIZE: tl.constexpr, BLOCK: tl.constexpr):
    """The highest of each SIZE x SIZE pixels; `count` elements of y in all."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    exists = at < count
    pixel = at // C
    row = pixel // width_out
    corner = ((row // height_out * height + row % height_out * SIZE) * width + pixel % width_out * SIZE) * C + at % C
    highest = tl.load(x + corner, mask=exists, other=0.0)
    for tap in tl.static_range(1, SIZE * SIZE):
        value = tl.load(x + corner + (tap // SIZE * width + tap % SIZE) * C, mask=exists, other=0.0)
        highest = tl.where((value > highest) | (value != value), value, highest)
    tl.store(y + at, highest, mask=exists)


@triton.jit
def pool_gradient(
    x, gradient, of_x, count, height, width, height_out, width_out,
    C: tl.constexpr, SIZE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Each gradient goes to the first of the highest; to the others goes 0."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    exists = at < count
    pixel = at // C
    row = pixel // width_out
    corner = ((row // height_out * height + row % height_out * SIZE) * width + pixel % width_out * SIZE) * C + at % C
    given = tl.load(gradient + at, mask=exists, other=0.0)
    highest = tl.load(x + corner, mask=exists, other=0.0)
    best = tl.zeros((BLOCK,), tl.int32)
    for tap in tl.static_range(1, SIZE * SIZE):
        value = tl.load(x + corner + (tap // SIZE * width + tap % SIZE) * C, mask=exists, other=0.0)
        higher = (value > highest) | (value != value)
        highest = tl.where(higher, value, highest)
        best = tl.where(higher, tap, best)
    for tap in tl.static_range(SIZE * SIZE):
        tl.store(of_x + corner + (tap // SIZE * width + tap % SIZE) * C, tl.where(best == tap, given, 0.0), mask=exists)


@triton.jit
def keep(keys, mask, count, layer, p, BLOCK: tl.constexpr):
    """mask, (S, count): 0 with probability p, else 1 / (1 - p)."""
    network = tl.program_id(1).to(tl.int64)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    key = tl.load(keys + network) * 1024 + layer
    keeps = tl.rand(key, at, n_rounds=7) >= p
    tl.store(mask + network * count + at, tl.where(keeps, 1 / (1 - p), 0.0), mask=at < count)
