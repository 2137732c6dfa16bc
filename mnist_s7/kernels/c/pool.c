/* Max pool by 2 with stride 2, and its gradient, with no zeros written beforehand.

   A last row or column without a partner is left out. */

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

void max_pool(const Layer *layer, const float *restrict x, float *restrict y) {
    for (int i = 0; i < layer->h_out; i++)
        for (int j = 0; j < layer->w_out; j++, y += layer->c)
            for (int c = 0; c < layer->c; c += LANES) {
                Vector max = load(corner(layer, x, i, j, 0) + c, layer->c - c);
                UNROLLED for (int k = 1; k < WINDOW; k++)
                    max = larger(max, load(corner(layer, x, i, j, k) + c, layer->c - c));
                store(y + c, max, layer->c - c);
            }
}

/* The gradient g of y -> that of x: all of it goes to the first of a window's largest, that of a NaN to none. */
void max_pool_backward(const Layer *layer, const float *restrict g, const float *restrict x,
                       float *restrict x_gradient) {
    if (layer->h % 2 || layer->w % 2) memset(x_gradient, 0, layer->h * layer->w * layer->c * sizeof *x_gradient);
    for (int i = 0; i < layer->h_out; i++)
        for (int j = 0; j < layer->w_out; j++, g += layer->c)
            for (int c = 0; c < layer->c; c += LANES) {
                Vector four[WINDOW], left = load(g + c, layer->c - c);
                UNROLLED for (int k = 0; k < WINDOW; k++) four[k] = load(corner(layer, x, i, j, k) + c, layer->c - c);
                Vector max = larger(larger(four[0], four[1]), larger(four[2], four[3]));
                UNROLLED for (int k = 0; k < WINDOW; k++) {
                    Mask largest = four[k] == max;
                    float *to = x_gradient + (corner(layer, x, i, j, k) - x) + c;
                    store(to, (Vector)((Mask)left & largest), layer->c - c);
                    left = (Vector)((Mask)left & ~largest);
                }
            }
}
