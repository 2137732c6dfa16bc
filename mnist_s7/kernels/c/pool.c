/* Max pool by 2 with stride 2, and its gradient, with no zeros written beforehand.

   A last row or column without a partner is left out. Vectors are read and written whole, but for a row's end: what
   their last lanes write over the next pixel's channels, those overwrite in turn. */

#include "kernels.h"

enum { WINDOW = 4 };

/* Where the four of the window at row i and column j start, in a map of (h, w, c). */
INLINED const float *corner(const Layer *layer, const float *map, int i, int j, int k) {
    return map + ((2 * i + k / 2) * layer->w + 2 * j + k % 2) * layer->c;
}

INLINED Vector larger(Vector a, Vector b) {
    Mask second = (b > a) | (b != b); /* a NaN stays one */
    return (Vector)(((Mask)a & ~second) | ((Mask)b & second));
}

/* Whether vectors in the window at column j end within its row. */
INLINED int is_whole(const Layer *layer, int j) { return (layer->w_out - j - 1) * layer->c >= LANES; }

INLINED void pool_window(const Layer *layer, const float *restrict x, float *restrict y, int i, int j, int c,
                         const int width) {
    will_read(corner(layer, x, i, j, 0) + c);
    will_read(corner(layer, x, i, j, 2) + c);
    Vector max = load(corner(layer, x, i, j, 0) + c, width);
    UNROLLED for (int k = 1; k < WINDOW; k++) max = larger(max, load(corner(layer, x, i, j, k) + c, width));
    store(y + c, max, width);
}

void max_pool(const Layer *layer, const float *restrict x, float *restrict y) {
    for (int i = 0; i < layer->h_out; i++)
        for (int j = 0; j < layer->w_out; j++, y += layer->c)
            for (int c = 0; c < layer->c; c += LANES)
                if (is_whole(layer, j)) pool_window(layer, x, y, i, j, c, LANES);
                else pool_window(layer, x, y, i, j, c, layer->c - c);
}

INLINED void pool_window_backward(const Layer *layer, const float *restrict g, const float *restrict x,
                                  float *restrict x_gradient, int i, int j, int c, const int width) {
    Vector four[WINDOW], left = load(g + c, width);
    will_read(corner(layer, x, i, j, 0) + c);
    will_read(corner(layer, x, i, j, 2) + c);
    UNROLLED for (int k = 0; k < WINDOW; k++) four[k] = load(corner(layer, x, i, j, k) + c, width);
    Vector max = larger(larger(four[0], four[1]), larger(four[2], four[3]));
    UNROLLED for (int k = 0; k < WINDOW; k++) {
        Mask largest = four[k] == max;
        store(x_gradient + (corner(layer, x, i, j, k) - x) + c, (Vector)((Mask)left & largest), width);
        left = (Vector)((Mask)left & ~largest);
    }
}

/* The gradient g of y -> that of x: all of it goes to the first of a window's largest, that of a NaN to none. */
void max_pool_backward(const Layer *layer, const float *restrict g, const float *restrict x,
                       float *restrict x_gradient) {
    if (layer->h % 2 || layer->w % 2) memset(x_gradient, 0, layer->h * layer->w * layer->c * sizeof *x_gradient);
    for (int i = 0; i < layer->h_out; i++)
        for (int j = 0; j < layer->w_out; j++, g += layer->c)
            for (int c = (layer->c - 1) / LANES * LANES; c >= 0; c -= LANES) /* a pixel's first channels last */
                if (is_whole(layer, j)) pool_window_backward(layer, g, x, x_gradient, i, j, c, LANES);
                else pool_window_backward(layer, g, x, x_gradient, i, j, c, layer->c - c);
}
