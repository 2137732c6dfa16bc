/* Depthwise convolution with a kernel of 3x3, stride 1, no bias: every channel is convolved with a kernel of its own.

   A vector holds as many channels as it has lanes, and its nine weights, or their sums, stay in registers along a row.
   What its last lanes write over the next pixels' first channels, those overwrite in turn; the map's end is kept. */

#include "kernels.h"

enum { K = 3, TAPS = K * K };

static int whole_vectors(int c) { return (c + LANES - 1) / LANES * LANES; }

/* (c, 3, 3) -> (taps, whole vectors), the first tap from `first`, the next ones `step` further on. */
static void pack_taps(const Layer *layer, int first, int step, float *packed) {
    int c = whole_vectors(layer->c);
    memset(packed, 0, TAPS * c * sizeof *packed);
    for (int j = 0; j < layer->c; j++)
        for (int t = 0; t < TAPS; t++) packed[t * c + j] = layer->weight[j * TAPS + first + t * step];
}

long depthwise_size(const Layer *layer) { return TAPS * whole_vectors(layer->c); }
void pack_depthwise(const Layer *layer, float *packed) { pack_taps(layer, 0, 1, packed); }
void flip_depthwise(const Layer *layer, float *flipped) { pack_taps(layer, TAPS - 1, -1, flipped); }

/* `channels` of `w` pixels of y, side by side in a vector, from x at the first one's upper left, with rows of `row`. */
INLINED void convolve_row(const float *restrict x, long row, int c, const float *restrict weights, float *restrict y,
                          int w, int channels, const float *end) {
    int step = whole_vectors(c);
    Vector weight[TAPS];
    UNROLLED for (int t = 0; t < TAPS; t++) weight[t] = *(const Vector *)(weights + t * step);
    for (int j = 0; j < w; j++, x += c, y += c) {
        Vector sum = {0};
        will_write(y);
        UNROLLED for (int t = 0; t < TAPS; t++) sum += weight[t] * *(const Vector *)(x + t / K * row + t % K * c);
        store(y, sum, end - y >= LANES ? LANES : channels);
    }
}

void convolve_depthwise(const float *x, Map x_map, const float *packed, float *y) {
    int c = x_map.c, w = x_map.w - K + 1;
    long row = (long)x_map.w * c;
    const float *end = y + (x_map.h - K + 1) * w * c;
    for (int i = 0; i < x_map.h - K + 1; i++, x += row, y += w * c)
        for (int v = (c - 1) / LANES * LANES; v >= 0; v -= LANES)
            convolve_row(x + v, row, c, packed + v, y + v, w, c - v, end);
}

void add_depthwise_products(const float *restrict x, Map x_map, const float *restrict g, long g_row,
                            float *restrict sums) {
    int c = x_map.c, step = whole_vectors(c);
    long row = (long)x_map.w * c;
    for (int i = 0; i < x_map.h - K + 1; i++, x += row, g += g_row)
        for (int v = 0; v < c; v += LANES) {
            Vector products[TAPS];
            UNROLLED for (int t = 0; t < TAPS; t++) products[t] = *(Vector *)(sums + t * step + v);
            for (int j = 0; j < x_map.w - K + 1; j++) {
                Vector gradient = *(const Vector *)(g + j * c + v);
                UNROLLED for (int t = 0; t < TAPS; t++)
                    products[t] += gradient * *(const Vector *)(x + t / K * row + (j + t % K) * c + v);
            }
            UNROLLED for (int t = 0; t < TAPS; t++) *(Vector *)(sums + t * step + v) = products[t];
        }
}

void unpack_depthwise(const Layer *layer, const float *sums, float *weight_gradient) {
    for (int j = 0; j < layer->c; j++)
        for (int t = 0; t < TAPS; t++) {
            double sum = 0;
            for (int part = 0; part < PARTS; part++)
                sum += sums[part * depthwise_size(layer) + t * whole_vectors(layer->c) + j];
            weight_gradient[j * TAPS + t] = (float)sum;
        }
}
