/* Depthwise convolution with a kernel of 3x3, stride 1, no bias: every channel is convolved with a kernel of its own.

   A vector holds as many channels as it has lanes. Its nine weights stay in registers while it goes through an image.
   Images are copied into the middle of larger ones, whose channels are a multiple of the lanes. */

#include "images.h"

enum { K = 3, TAPS = K * K };

static int whole_vectors(int c) { return (c + LANES - 1) / LANES * LANES; }

/* An image into the middle of a larger one, (h + 2 * border, w + 2 * border, whole vectors). */
static void embed(const float *restrict x, Map map, int border, float *restrict wide) {
    int c = whole_vectors(map.c), row = (map.w + 2 * border) * c;
    wide += border * (row + c);
    for (int i = 0; i < map.h; i++, x += map.w * map.c, wide += row)
        if (c == map.c) memcpy(wide, x, map.w * c * sizeof *x);
        else for (int j = 0; j < map.w; j++) memcpy(wide + j * c, x + j * map.c, map.c * sizeof *x);
}

/* (c, 3, 3) -> (taps, whole vectors), the first tap from `first`, the next ones `step` further on. */
static void pack_taps(const Layer *layer, int first, int step, float *packed) {
    int c = whole_vectors(layer->c);
    memset(packed, 0, TAPS * c * sizeof *packed);
    for (int j = 0; j < layer->c; j++)
        for (int t = 0; t < TAPS; t++) packed[t * c + j] = layer->weight[j * TAPS + first + t * step];
}

long depthwise_size(const Layer *layer) { return TAPS * whole_vectors(layer->c); }
void pack_depthwise(const Layer *layer, float *packed) { pack_taps(layer, 0, 1, packed); }
void turn_depthwise(const Layer *layer, float *turned) { pack_taps(layer, TAPS - 1, -1, turned); }

/* `channels` of y, side by side in a vector, from x, with its border. */
INLINED void convolve_vector(const float *restrict x, Map y_map, int c, const float *packed, float *restrict y, int channels) {
    int row = (y_map.w + K - 1) * c;
    Vector weights[TAPS];
    UNROLLED for (int t = 0; t < TAPS; t++) weights[t] = *(const Vector *)(packed + t * c);
    for (int i = 0; i < y_map.h; i++, x += row)
        for (int j = 0; j < y_map.w; j++, y += y_map.c) {
            const float *from = x + j * c;
            Vector sum = {0};
            UNROLLED for (int t = 0; t < TAPS; t++) sum += weights[t] * *(const Vector *)(from + t / K * row + t % K * c);
            store(y, sum, channels);
        }
}

/* From x, with its border, to y, (h, w, c). */
static void convolve_wide(const float *x, Map y_map, const float *packed, float *y) {
    int c = whole_vectors(y_map.c);
    for (int v = 0; v < c; v += LANES)
        if (y_map.c - v >= LANES) convolve_vector(x + v, y_map, c, packed + v, y + v, LANES);
        else convolve_vector(x + v, y_map, c, packed + v, y + v, y_map.c - v);
}

/* Add to `sums`, (taps, whole vectors), the gradient of the weights from one image: x, with its border, and g of (h, w),
   with a border of its own. */
static void add_weights(const float *restrict x, const float *restrict g, Map g_map, int g_border, float *restrict sums) {
    int c = whole_vectors(g_map.c), row = (g_map.w + K - 1) * c, g_row = (g_map.w + 2 * g_border) * c;
    g += g_border * (g_row + c);
    for (int v = 0; v < c; v += LANES) {
        Vector products[TAPS];
        UNROLLED for (int t = 0; t < TAPS; t++) products[t] = *(Vector *)(sums + t * c + v);
        for (int i = 0; i < g_map.h; i++)
            for (int j = 0; j < g_map.w; j++) {
                const float *from = x + i * row + j * c + v;
                Vector gradient = *(const Vector *)(g + i * g_row + j * c + v);
                UNROLLED for (int t = 0; t < TAPS; t++) products[t] += gradient * *(const Vector *)(from + t / K * row + t % K * c);
            }
        UNROLLED for (int t = 0; t < TAPS; t++) *(Vector *)(sums + t * c + v) = products[t];
    }
}

void convolve_depthwise(const Layer *layer, const float *packed, const float *x, float *y) {
    Map in = {layer->h, layer->w, layer->c}, out = {layer->h_out, layer->w_out, layer->c};
    float wide[(out.h + K - 1) * (out.w + K - 1) * whole_vectors(out.c)];
    memset(wide, 0, sizeof wide);
    embed(x, in, layer->padding, wide);
    convolve_wide(wide, out, packed, y);
}

void convolve_depthwise_backward(const Layer *layer, const float *turned, const float *g, const float *x, float *x_gradient,
                                 float *sums) {
    Map in = {layer->h, layer->w, layer->c}, out = {layer->h_out, layer->w_out, layer->c};
    int border = K - 1 - layer->padding, c = whole_vectors(layer->c);
    float wide[(out.h + K - 1) * (out.w + K - 1) * c], wide_gradient[(in.h + K - 1) * (in.w + K - 1) * c];
    memset(wide, 0, sizeof wide);
    memset(wide_gradient, 0, sizeof wide_gradient);
    embed(x, in, layer->padding, wide);
    embed(g, out, border, wide_gradient);
    add_weights(wide, wide_gradient, out, border, sums);
    if (x_gradient) convolve_wide(wide_gradient, in, turned, x_gradient);
}

void unpack_depthwise(const Layer *layer, const float *sums, float *weight_gradient) {
    for (int j = 0; j < layer->c; j++)
        for (int t = 0; t < TAPS; t++) {
            double sum = 0;
            for (int part = 0; part < PARTS; part++) sum += sums[part * depthwise_size(layer) + t * whole_vectors(layer->c) + j];
            weight_gradient[j * TAPS + t] = (float)sum;
        }
}
