/* A max pool by 2, and an anti-aliased one: maxima of 2x2 pixels at every pixel, then averages of 2x2 maxima, by 2. The
   window of both moves by two pixels.

   Vectors are read and written whole, but for a row's end: what the last lanes of a pixel write over the next one's
   channels, those overwrite in turn. So channels go upwards where one pixel is written; and downwards in a gradient,
   where a window has two neighbouring pixels, and the last lanes of the first would write over channels of the second
   that are there already. Where gradients are added, the last lanes add 0 to them. */

#include "kernels.h"

enum { WINDOW = 4 };

/* Where pixel k of a window is, from its first one. */
INLINED long place(const Layer *layer, int k) { return (k / 2 * layer->w + k % 2) * layer->c; }

/* Where the first pixel is for row i and column j of the output. */
INLINED long corner(const Layer *layer, int i, int j) { return (2 * i * layer->w + 2 * j) * layer->c; }

/* How many lanes a vector of channels from c on has, for column j of the output, so that it ends within its row. */
INLINED int lanes_at(const Layer *layer, int j, int c) {
    return (layer->w_out - j) * layer->c - c >= LANES ? LANES : layer->c - c;
}

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

INLINED void pool_window(const Layer *layer, const float *x, float *y, const int width) {
    will_read(x);
    will_read(x + place(layer, 2));
    if (layer->kind == MAX_POOL) {
        store(y, largest(layer, x, width), width);
        return;
    }
    Vector sum = {0};
    UNROLLED for (int k = 0; k < WINDOW; k++) sum += largest(layer, x + place(layer, k), width);
    store(y, sum / WINDOW, width);
}

void pool(const Layer *layer, const float *restrict x, float *restrict y) {
    for (int i = 0; i < layer->h_out; i++)
        for (int j = 0; j < layer->w_out; j++, y += layer->c)
            for (int c = 0; c < layer->c; c += LANES) {
                int lanes = lanes_at(layer, j, c);
                const float *from = x + corner(layer, i, j) + c;
                if (lanes == LANES) pool_window(layer, from, y + c, LANES);
                else pool_window(layer, from, y + c, lanes);
            }
}

INLINED void pool_window_backward(const Layer *layer, Vector g, const float *x, float *x_gradient, const int width) {
    will_read(x);
    will_read(x + place(layer, 2));
    if (layer->kind == MAX_POOL) give_to_largest(layer, g, x, x_gradient, width, 0);
    else
        UNROLLED for (int k = 0; k < WINDOW; k++)
            give_to_largest(layer, g / WINDOW, x + place(layer, k), x_gradient + place(layer, k), width, 1);
}

/* The gradient g of y -> that of x. Zeros are written beforehand where gradients are added, or where a max pool leaves
   out a last row or column, which has no partner. */
void pool_backward(const Layer *layer, const float *restrict g, const float *restrict x, float *restrict x_gradient) {
    if (layer->kind != MAX_POOL || layer->h % 2 || layer->w % 2)
        memset(x_gradient, 0, layer->h * layer->w * layer->c * sizeof *x_gradient);
    for (int i = 0; i < layer->h_out; i++)
        for (int j = 0; j < layer->w_out; j++, g += layer->c)
            for (int c = (layer->c - 1) / LANES * LANES; c >= 0; c -= LANES) {
                int lanes = lanes_at(layer, j, c);
                long at = corner(layer, i, j) + c;
                Vector own = load(g + c, (int)min(LANES, layer->c - c)); /* 0 in lanes beyond the pixel */
                if (lanes == LANES) pool_window_backward(layer, own, x + at, x_gradient + at, LANES);
                else pool_window_backward(layer, own, x + at, x_gradient + at, lanes);
            }
}
