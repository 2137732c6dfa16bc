/* Convolution with a small square kernel, stride 1, no bias, and the ReLU after it where there is one.

   Weights are (c_out, k, k, c_in), which is PyTorch's channels last. Feature maps are channels last, too, so the
   k * c_in inputs that a kernel's row meets lie side by side, in the order of its weights. A vector holds as many output
   channels as it has lanes, and sums for several pixels (in the weights' gradient: for several inputs) stay in
   registers, enough of them that no multiplication waits for the addition before it. */

#include "kernels.h"

enum { MAX_NARROW = 8, MAX_WIDE = 6, STRIP = 6 };
_Static_assert(MAX_NARROW == 8 && MAX_WIDE == 6, "FOR_EACH_COUNT has a case for each count");
_Static_assert(VECTORS == 2, "what is not in one vector is in two: no case is between");

/* `function` for `n` things at once with vectors of so many, at most MAX_NARROW of one or MAX_WIDE of two: after its
   arguments it is given n and the caller's `vectors`, both constants once it is inlined. */
#define CASE(n, function, ...) case n: function(__VA_ARGS__, n, vectors); break;
#define FOR_EACH_COUNT(n, ...) \
    switch (n) { \
        CASE(1, __VA_ARGS__) CASE(2, __VA_ARGS__) CASE(3, __VA_ARGS__) \
        CASE(4, __VA_ARGS__) CASE(5, __VA_ARGS__) CASE(6, __VA_ARGS__) \
        default: if (vectors == 1) switch (n) { CASE(7, __VA_ARGS__) CASE(8, __VA_ARGS__) } \
    }

static int vectors_of(int channels) { return (channels + LANES - 1) / LANES; }

/* In how few blocks of nearly one size `n` things are done. */
static int count_of(int n, int vectors) { int max = vectors == 1 ? MAX_NARROW : MAX_WIDE; return (n + max - 1) / max; }

/* Channels of a pixel from `vectors` sums: `channels` of them, if they are fewer than there are lanes. */
INLINED void store_sums(float *y, const Vector *sums, int channels, int relu, const int vectors) {
    UNROLLED for (int v = 0; v < vectors; v++, y += LANES, channels -= LANES) {
        Vector sum = sums[v];
        will_write(y);
        if (relu) sum = (Vector)((Mask)sum & ~(sum < 0)); /* not sum > 0: a NaN stays one */
        store(y, sum, channels);
    }
}

/* y, pixels side by side, from x at the first one's upper left, its rows `row` floats; weights (k, k * c_in, lanes). */
INLINED void convolve_pixels(const float *restrict x, long row, int c_in, int k, const float *restrict weights,
                             float *restrict y, int c_out, int channels, int relu, const int pixels,
                             const int vectors) {
    Vector sums[MAX_NARROW][VECTORS], weight[VECTORS];
    UNROLLED for (int p = 0; p < pixels; p++)
        UNROLLED for (int v = 0; v < vectors; v++) sums[p][v] = (Vector){0};
    for (int i = 0; i < k; i++, x += row)
        for (int j = 0; j < k * c_in; j++, weights += vectors * LANES) {
            UNROLLED for (int v = 0; v < vectors; v++) weight[v] = *(const Vector *)(weights + v * LANES);
            UNROLLED for (int p = 0; p < pixels; p++)
                UNROLLED for (int v = 0; v < vectors; v++) sums[p][v] += x[p * c_in + j] * weight[v];
        }
    UNROLLED for (int p = 0; p < pixels; p++) store_sums(y + p * c_out, sums[p], channels, relu, vectors);
}

INLINED void convolve_row(const float *x, long row, int c_in, int k, const float *weights, float *y, const float *end,
                          int width, int c_out, int channels, int relu, const int vectors) {
    int start = 0, pixels;
    for (int blocks = count_of(width, vectors); blocks; blocks--, start += pixels) {
        pixels = (width - start) / blocks;
        int whole = end - (y + (start + pixels - 1) * c_out) >= vectors * LANES;
        FOR_EACH_COUNT(pixels, convolve_pixels, x + start * c_in, row, c_in, k, weights, y + (long)start * c_out, c_out,
                       whole ? vectors * LANES : channels, relu)
    }
}

void convolve(const float *x, Map x_map, int k, const float *packed, float *y, int c_out, int relu) {
    int h = x_map.h - k + 1, w = x_map.w - k + 1;
    long row = (long)x_map.w * x_map.c;
    const float *end = y + (long)h * w * c_out;
    for (int c = (c_out - 1) / (VECTORS * LANES) * (VECTORS * LANES); c >= 0; c -= VECTORS * LANES) {
        const float *weights = packed + (long)k * k * x_map.c * c;
        for (int i = 0; i < h; i++) {
            float *to = y + (long)i * w * c_out + c;
            const float *from = x + i * row;
            if (c_out - c <= LANES) convolve_row(from, row, x_map.c, k, weights, to, end, w, c_out, c_out - c, relu, 1);
            else convolve_row(from, row, x_map.c, k, weights, to, end, w, c_out, c_out - c, relu, VECTORS);
        }
    }
}

/* Add to `sums`, (inputs, lanes), the products of inputs side by side with the gradients at as many pixels. */
INLINED void add_some(const float *restrict x, long x_row, int c_in, const float *restrict g, long g_row, int c_out,
                      int h, int w, float *restrict to, const int inputs, const int vectors) {
    Vector sums[MAX_NARROW][VECTORS], gradient[VECTORS];
    UNROLLED for (int j = 0; j < inputs; j++)
        UNROLLED for (int v = 0; v < vectors; v++) sums[j][v] = *(Vector *)(to + (j * vectors + v) * LANES);
    for (int i = 0; i < h; i++) {
        const float *a = x + i * x_row, *b = g + i * g_row;
        for (int p = 0; p < w; p++, a += c_in, b += c_out) {
            UNROLLED for (int v = 0; v < vectors; v++) gradient[v] = *(const Vector *)(b + v * LANES);
            UNROLLED for (int j = 0; j < inputs; j++)
                UNROLLED for (int v = 0; v < vectors; v++) sums[j][v] += a[j] * gradient[v];
        }
    }
    UNROLLED for (int j = 0; j < inputs; j++)
        UNROLLED for (int v = 0; v < vectors; v++) *(Vector *)(to + (j * vectors + v) * LANES) = sums[j][v];
}

INLINED void add_row_of_weights(const float *x, long x_row, int c_in, const float *g, long g_row, int c_out, int h,
                                int w, float *to, int inputs, const int vectors) {
    int start = 0, some;
    for (int blocks = count_of(inputs, vectors); blocks; blocks--, start += some) {
        some = (inputs - start) / blocks;
        FOR_EACH_COUNT(some, add_some, x + start, x_row, c_in, g, g_row, c_out, h, w, to + start * vectors * LANES)
    }
}

void add_products(const float *x, Map x_map, int k, const float *g, long g_row, int c_out, float *sums) {
    int h = x_map.h - k + 1, w = x_map.w - k + 1, c_in = x_map.c;
    long row = (long)x_map.w * c_in;
    for (int top = 0; top < h; top += STRIP) { /* as much as stays in the nearest cache */
        int rows = min(STRIP, h - top);
        for (int c = 0; c < c_out; c += VECTORS * LANES)
            for (int i = 0; i < k; i++) {
                const float *from = x + (top + i) * row, *gradient = g + top * g_row + c;
                int lanes = LANES * min(VECTORS, vectors_of(c_out - c));
                float *to = sums + (long)k * k * c_in * c + (long)i * k * c_in * lanes;
                int inputs = k * c_in;
                if (lanes == LANES) add_row_of_weights(from, row, c_in, gradient, g_row, c_out, rows, w, to, inputs, 1);
                else add_row_of_weights(from, row, c_in, gradient, g_row, c_out, rows, w, to, inputs, VECTORS);
            }
    }
}

/* Where among the packed weights that of input i, at tap t of k * k, for output o is. */
static long packed_index(int o, int i, int t, int c_out, int c_in, int k) {
    int group = o / (VECTORS * LANES) * (VECTORS * LANES), lanes = LANES * min(VECTORS, vectors_of(c_out - group));
    return (long)k * k * c_in * group + ((long)t * c_in + i) * lanes + o - group;
}

long packed_size(const Layer *layer) { return layer->k * layer->k * layer->c * vectors_of(layer->c_out) * LANES; }
long flipped_size(const Layer *layer) { return layer->k * layer->k * layer->c_out * vectors_of(layer->c) * LANES; }

void pack(const Layer *layer, float *packed) {
    int c_in = layer->c, c_out = layer->c_out, taps = layer->k * layer->k;
    memset(packed, 0, packed_size(layer) * sizeof *packed);
    for (int o = 0; o < c_out; o++)
        for (int t = 0; t < taps; t++)
            for (int i = 0; i < c_in; i++)
                packed[packed_index(o, i, t, c_out, c_in, layer->k)] = layer->weight[(o * taps + t) * c_in + i];
}

/* The gradient of x is a convolution of g with the kernel flipped both ways, outputs and inputs exchanged. */
void flip(const Layer *layer, float *flipped) {
    int c_in = layer->c, c_out = layer->c_out, taps = layer->k * layer->k;
    memset(flipped, 0, flipped_size(layer) * sizeof *flipped);
    for (int o = 0; o < c_out; o++)
        for (int t = 0; t < taps; t++)
            for (int i = 0; i < c_in; i++) {
                long at = packed_index(i, o, taps - 1 - t, c_in, c_out, layer->k);
                flipped[at] = layer->weight[(o * taps + t) * c_in + i];
            }
}

void unpack(const Layer *layer, const float *sums, float *weight_gradient) {
    int c_in = layer->c, c_out = layer->c_out, taps = layer->k * layer->k;
    for (int o = 0; o < c_out; o++)
        for (int t = 0; t < taps; t++)
            for (int i = 0; i < c_in; i++) {
                double sum = 0;
                for (int part = 0; part < PARTS; part++)
                    sum += sums[part * packed_size(layer) + packed_index(o, i, t, c_out, c_in, layer->k)];
                weight_gradient[(o * taps + t) * c_in + i] = (float)sum;
            }
}
