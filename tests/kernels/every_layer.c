/* Every layer, forward and backward, before and after every norm, with a sum or none, with dropout or none, on numbers
   that are the same on every processor: for test_instruction_sets.py, which compiles this with the kernels' own sources.

   The only argument is the numbers' seed. Arrays go to standard output: the number of the case, that of the array in it,
   its size, and so many floats. */

#include <stdio.h>
#include <stdlib.h>

#include "kernels.h"

long mnist_s7_sums_size(const Layer *layer);
void mnist_s7_forward(const Layer *whole, const Norm *before, Norm *after, const float *x, float *y, long n,
                      long threads);
void mnist_s7_backward(const Layer *whole, Norm *before, const Norm *after, const float *g, const float *added_gradient,
                       const float *x, const float *y, float *x_gradient, float *sums, float *weight_gradient,
                       float *norm_weight_gradient, float *norm_bias_gradient, long n, long threads);
void mnist_s7_keep_mask(const unsigned *states, unsigned dropped, unsigned char *keep, long n, long threads);

enum { N = 17, SIDES = 2, THREADS = 1, DROPPED = 1u << 30 };
static const int HEIGHTS[SIDES] = {6, 7}, WIDTHS[SIDES] = {8, 5};

/* Kind, channels in and out, kernel and padding. */
static const int LAYERS[][5] = {
    {CONVOLUTION, 1, 8, 3, 0}, {CONVOLUTION, 3, 5, 3, 1},  {CONVOLUTION, 8, 16, 3, 2}, {CONVOLUTION, 12, 20, 3, 0},
    {CONVOLUTION, 5, 4, 5, 0}, {CONVOLUTION, 16, 40, 1, 0}, {DEPTHWISE, 3, 3, 3, 0},   {DEPTHWISE, 20, 20, 3, 1},
    {MAX_POOL, 12, 12, 0, 0},  {ANTI_ALIASED_POOL, 9, 9, 0, 0}, {IDENTITY, 12, 12, 0, 0},
};

static unsigned state;
static int arrays, cases;

static unsigned drawn(void) { return state = state * 1664525u + 1013904223u; }

/* From -1 to 1. */
static float *numbers(long size) {
    float *x = malloc(size * sizeof *x);
    for (long i = 0; i < size; i++) x[i] = (float)(drawn() >> 8) / (1 << 23) - 1;
    return x;
}

static float *zeros(long size) { return calloc(size, sizeof(float)); }

static void put(const float *x, long size) {
    int head[] = {cases, arrays++, (int)size};
    fwrite(head, sizeof *head, 3, stdout);
    fwrite(x, sizeof *x, size, stdout);
}

static unsigned char *mask(long size) {
    unsigned states[PARTS * WORDS * STREAMS];
    unsigned char *keep = malloc(size);
    float *kept = zeros(size);
    for (int i = 0; i < PARTS * WORDS * STREAMS; i++) states[i] = drawn();
    mnist_s7_keep_mask(states, DROPPED, keep, size, THREADS);
    for (long i = 0; i < size; i++) kept[i] = keep[i];
    put(kept, size);
    free(kept);
    return keep;
}

/* Before or after `size` floats of c channels; a leaky ReLU is after a bias alone. */
static Norm norm_of(int c, long size, int relu, int drops) {
    Norm norm = {.c = c, .relu = relu, .eps = 1e-5f, .momentum = 0.1f, .scale = 1, .below = 0.2f};
    if (drops) norm.scale = 4.0f / 3;
    if (drops) norm.keep = mask(size);
    if (relu != LEAKY_AFTER) norm.weight = numbers(c);
    norm.bias = numbers(c);
    norm.running_mean = zeros(c);
    norm.running_variance = zeros(c);
    return norm;
}

static void put_norm(const Norm *norm, const float *weight_gradient, const float *bias_gradient) {
    put(norm->running_mean, norm->c);
    put(norm->running_variance, norm->c);
    put(weight_gradient, norm->c);
    put(bias_gradient, norm->c);
}

/* What is read, the norm `before` and the layer, the norm `after`, and what applies that. */
static void train(const int *kind, int h, int w, int relu, int drops, int adds) {
    int c = kind[1], c_out = kind[2], smaller = kind[3] ? kind[3] - 1 - 2 * kind[4] : 0;
    Layer layer = {kind[0], h, w, c, h - smaller, w - smaller, c_out, kind[3], kind[4], 0, NULL};
    if (layer.kind == MAX_POOL) layer.h_out = h / 2, layer.w_out = w / 2;
    if (layer.kind == ANTI_ALIASED_POOL) layer.h_out = (h - 1) / 2, layer.w_out = (w - 1) / 2;
    layer.relu = layer.kind == CONVOLUTION && relu == RELU_BEFORE;
    long size = (long)N * h * w * c, size_out = N * layer.h_out * layer.w_out * c_out;
    long weights = layer.kind == DEPTHWISE ? c * 9 : layer.k * layer.k * c * c_out;
    layer.weight = numbers(weights);
    const Layer in = {IDENTITY, h, w, c, h, w, c, 0, 0, 0, NULL};
    const Layer out = {IDENTITY, layer.h_out, layer.w_out, c_out, layer.h_out, layer.w_out, c_out, 0, 0, 0, NULL};

    float *x = numbers(size), *y = zeros(size_out), *z = zeros(size_out), *added = numbers(size);
    Norm before = norm_of(c, size, relu, drops), after = norm_of(c_out, size_out, relu, drops);
    Norm of_added = norm_of(c, size, RELU_AFTER, drops);
    mnist_s7_forward(&in, NULL, &before, x, NULL, N, THREADS);
    mnist_s7_forward(&in, NULL, &of_added, added, NULL, N, THREADS);
    if (adds) before.added = added, before.added_norm = &of_added;
    mnist_s7_forward(&layer, &before, &after, x, y, N, THREADS);
    mnist_s7_forward(&out, &after, NULL, y, z, N, THREADS);
    put(y, size_out);
    put(z, size_out);

    float *g = numbers(size_out), *x_gradient = zeros(size), *first_gradient = zeros(size);
    float *sums = zeros(PARTS * mnist_s7_sums_size(&layer)), *weight_gradient = zeros(weights);
    float *of_before[] = {zeros(c), zeros(c)}, *of_after[] = {zeros(c_out), zeros(c_out)};
    mnist_s7_backward(&out, &after, NULL, g, NULL, y, z, g, NULL, NULL, of_after[0], of_after[1], N, THREADS);
    mnist_s7_backward(&layer, &before, &after, g, NULL, x, y, x_gradient, sums, weight_gradient, of_before[0],
                      of_before[1], N, THREADS);
    mnist_s7_backward(&in, NULL, &before, x_gradient, NULL, x, x, first_gradient, NULL, NULL, NULL, NULL, N, THREADS);
    put(x_gradient, size);
    put(first_gradient, size);
    put(weight_gradient, weights);
    put_norm(&before, of_before[0], of_before[1]);
    put_norm(&after, of_after[0], of_after[1]);
}

int main(int count, char **arguments) {
    if (count != 2) return 1;
    state = (unsigned)atoi(arguments[1]);
    for (unsigned i = 0; i < sizeof LAYERS / sizeof *LAYERS; i++)
        for (int relu = NO_RELU; relu <= LEAKY_AFTER; relu++)
            for (int side = 0; side < SIDES; side++, cases++) {
                arrays = 0;
                train(LAYERS[i], HEIGHTS[side], WIDTHS[side], relu, (relu / 2 + side) % 2, (i + relu) % 2);
            }
    return 0;
}
