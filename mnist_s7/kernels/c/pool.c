/* Max pools by 2, their gradients, and averages of maxima, which alias less.

   Of a max pool with stride 2 no zeros are written beforehand: a last row or column without a partner is left out.
   Vectors are read and written whole, but for a row's end: what their last lanes write over the next pixel's channels,
   those overwrite in turn. */

#include "kernels.h"

enum { WINDOW = 4 };

/* Where pixel k of the four is, from the first one of a window in the map x. */
INLINED long place(const Layer *layer, int k) { return (k / 2 * layer->w + k % 2) * layer->c; }

INLINED Vector larger(Vector a, Vector b) {
    Mask second = (b > a) | (b != b); /* a NaN stays one */
    return (Vector)(((Mask)a & ~second) | ((Mask)b & second));
}

/* Of the window that starts at x. */
INLINED Vector largest(const Layer *layer, const float *x, const int width) {
    Vector four[WINDOW];
    UNROLLED for (int k = 0; k < WINDOW; k++) four[k] = load(x + place(layer, k), width);
    return larger(larger(four[0], four[1]), larger(four[2], four[3]));
}

/* The gradient g goes to the first of the window's largest, that of a NaN to none: the other pixels get 0. Or it is
   added to what they have. */
INLINED void give_to_largest(const Layer *layer, Vector g, const float *x, float *x_gradient, const int width,
                             const int adds) {
    Vector max = largest(layer, x, width);
    UNROLLED for (int k = 0; k < WINDOW; k++) {
        Mask chosen = load(x + place(layer, k), width) == max;
        Vector part = (Vector)((Mask)g & chosen);
        float *to = x_gradient + place(layer, k);
        store(to, adds ? load(to, width) + part : part, width);
        g = (Vector)((Mask)g & ~chosen);
    }
}

/* Whether vectors in the window at column j end within its row. */
INLINED int is_whole(const Layer *layer, int j) { return (layer->w_out - j - 1) * layer->c >= LANES; }

/* Where the window at row i and column j starts, in a map of (h, w, c). */
INLINED long corner(const Layer *layer, int i, int j) { return (2 * i * layer->w + 2 * j) * layer->c; }

INLINED void will_read_window(const Layer *layer, const float *x) {
    will_read(x);
    will_read(x + place(layer, 2));
}

INLINED void pool_window(const Layer *layer, const float *x, float *y, const int width) {
    will_read_window(layer, x);
    store(y, largest(layer, x, width), width);
}

void max_pool(const Layer *layer, const float *restrict x, float *restrict y) {
    for (int i = 0; i < layer->h_out; i++)
        for (int j = 0; j < layer->w_out; j++, y += layer->c)
            for (int c = 0; c < layer->c; c += LANES) {
                const float *from = x + corner(layer, i, j) + c;
                if (is_whole(layer, j)) pool_window(layer, from, y + c, LANES);
                else pool_window(layer, from, y + c, layer->c - c);
            }
}

INLINED void pool_window_backward(const Layer *layer, const float *g, const float *x, float *x_gradient,
                                  const int width) {
    will_read_window(layer, x);
    give_to_largest(layer, load(g, width), x, x_gradient, width, 0);
}

/* The gradient g of y -> that of x. */
void max_pool_backward(const Layer *layer, const float *restrict g, const float *restrict x,
                       float *restrict x_gradient) {
    if (layer->h % 2 || layer->w % 2) memset(x_gradient, 0, layer->h * layer->w * layer->c * sizeof *x_gradient);
    for (int i = 0; i < layer->h_out; i++)
        for (int j = 0; j < layer->w_out; j++, g += layer->c)
            for (int c = (layer->c - 1) / LANES * LANES; c >= 0; c -= LANES) { /* a pixel's first channels last */
                long at = corner(layer, i, j) + c;
                if (is_whole(layer, j)) pool_window_backward(layer, g + c, x + at, x_gradient + at, LANES);
                else pool_window_backward(layer, g + c, x + at, x_gradient + at, layer->c - c);
            }
}

INLINED void average_window(const Layer *layer, const float *x, float *y, const int width) {
    Vector sum = {0};
    UNROLLED for (int k = 0; k < WINDOW; k++) sum += largest(layer, x + place(layer, k), width);
    store(y, sum / WINDOW, width);
}

/* The largest of 2x2 pixels at every pixel, and then the averages of 2x2 of these, by stride 2: each of 3x3 pixels. */
void averaged_max_pool(const Layer *layer, const float *restrict x, float *restrict y) {
    for (int i = 0; i < layer->h_out; i++)
        for (int j = 0; j < layer->w_out; j++, y += layer->c)
            for (int c = 0; c < layer->c; c += LANES) {
                const float *from = x + corner(layer, i, j) + c;
                if (c + LANES <= layer->c) average_window(layer, from, y + c, LANES);
                else average_window(layer, from, y + c, layer->c - c);
            }
}

INLINED void average_window_backward(const Layer *layer, const float *g, const float *x, float *x_gradient,
                                     const int width) {
    Vector part = load(g, width) / WINDOW;
    UNROLLED for (int k = 0; k < WINDOW; k++)
        give_to_largest(layer, part, x + place(layer, k), x_gradient + place(layer, k), width, 1);
}

void averaged_max_pool_backward(const Layer *layer, const float *restrict g, const float *restrict x,
                                float *restrict x_gradient) {
    memset(x_gradient, 0, layer->h * layer->w * layer->c * sizeof *x_gradient);
    for (int i = 0; i < layer->h_out; i++)
        for (int j = 0; j < layer->w_out; j++, g += layer->c)
            for (int c = 0; c < layer->c; c += LANES) {
                long at = corner(layer, i, j) + c;
                if (c + LANES <= layer->c) average_window_backward(layer, g + c, x + at, x_gradient + at, LANES);
                else average_window_backward(layer, g + c, x + at, x_gradient + at, layer->c - c);
            }
}
