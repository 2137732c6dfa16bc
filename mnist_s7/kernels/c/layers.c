/* A layer on a batch, (n, h, w, c): the norm before it is applied to its input while that is read.

   It takes a map at a time; of a max pool two rows, if their number is even; where no pixel meets another one, as many
   pixels as stay in the nearest cache. */

#include "kernels.h"

enum { MAX_AT_ONCE = 2048 }; /* floats */

/* For the other side to compare: it has these structures, too. */
EXPORTED long mnist_s7_layer_size(void) { return sizeof(Layer); }
EXPORTED long mnist_s7_norm_size(void) { return sizeof(Norm); }

/* How many floats a layer's packed weights are, and so a part's sums of their gradient. */
EXPORTED long mnist_s7_sums_size(const Layer *layer) {
    return layer->kind == CONVOLUTION ? packed_size(layer) : layer->kind == DEPTHWISE ? depthwise_size(layer) : 0;
}

static long size_of(Map map) { return (long)map.h * map.w * map.c; }
static Map map_of(const Layer *layer) { return (Map){layer->h, layer->w, layer->c}; }
static Map map_out_of(const Layer *layer) { return (Map){layer->h_out, layer->w_out, layer->c_out}; }
static Map padded_map(Map map, int padding) { return (Map){map.h + 2 * padding, map.w + 2 * padding, map.c}; }

/* Where row i of a map is in a padded one. */
static float *row_in(float *padded, Map map, int padding, int i) {
    return padded + ((long)(i + padding) * (map.w + 2 * padding) + padding) * map.c;
}

static const unsigned char *keep_of(const Norm *norm, long at) { return norm && norm->keep ? norm->keep + at : NULL; }

/* A map of the batch x, from element `at`, into a padded one, with the norm applied that is `before` the layer. */
static void read(const Norm *before, const float *x, long at, Map map, int padding, float *padded) {
    int rows = padding ? map.h : 1;
    long row = size_of(map) / rows;
    for (int i = 0; i < rows; i++, at += row) {
        float *to = row_in(padded, map, padding, i);
        if (!before) memcpy(to, x + at, row * sizeof *x);
        else normalize(before, x + at, keep_of(before, at), to, row);
        if (before && before->added)
            add_normalized(before->added_norm, before->added + at, keep_of(before->added_norm, at), to, row);
    }
}

/* The gradient g after a ReLU, whose output is y, -> the one before it, which may be in the same memory. */
static void through_relu(const float *y, const float *g, float *y_gradient, long size) {
    for (long j = 0; j < size; j++) y_gradient[j] = y[j] <= 0 ? 0 : g[j];
}

/* The gradient g after the norm `after` the layer, or after its ReLU -> that of what the layer computes, padded. */
static void read_gradient(const Norm *after, int relu, const float *g, const float *y, long at, Map map, int padding,
                          float *padded) {
    int rows = padding ? map.h : 1;
    long row = size_of(map) / rows;
    for (int i = 0; i < rows; i++, at += row) {
        float *to = row_in(padded, map, padding, i);
        if (after) normalize_backward(after, g + at, y + at, keep_of(after, at), to, row);
        else if (relu) through_relu(y + at, g + at, to, row);
        else memcpy(to, g + at, row * sizeof *g);
    }
}

/* How the batch is cut: into pieces of `step` pixels, for each of which `layer` is the layer. A map has `pixels`, and
   `pixels_out` after the layer. No two pieces read the same pixel; what one writes lies together, and starts where
   `pixel_out` says; and `step` divides `pixels`, unless the cut is by pixel, where the last piece may be narrower. The
   zeros around a piece are written once for all of a part. */
typedef struct { Layer layer; long pixels, pixels_out, step; int by_pixel; } Cut;

static Cut cut_of(const Layer *layer) {
    Cut cut = {.layer = *layer, .pixels = layer->h * layer->w, .pixels_out = layer->h_out * layer->w_out};
    cut.by_pixel = layer->kind == IDENTITY || (layer->kind == CONVOLUTION && layer->k == 1 && !layer->padding);
    cut.step = cut.pixels;
    if (cut.by_pixel) {
        cut.layer.h = cut.layer.h_out = 1;
        cut.layer.w = cut.layer.w_out = cut.step = MAX_AT_ONCE / (layer->c > layer->c_out ? layer->c : layer->c_out);
    } else if (layer->kind == MAX_POOL && layer->h % 2 == 0) {
        cut.layer.h = 2;
        cut.layer.h_out = 1;
        cut.step = 2 * layer->w;
    }
    return cut;
}

/* at * pixels_out / pixels, a whole number, without a product of a whole batch's pixels, which a long may not hold. */
static long pixel_out(const Cut *cut, long at) {
    return at / cut->pixels * cut->pixels_out + at % cut->pixels * cut->pixels_out / cut->pixels;
}

/* x -> y. `before` is the norm between x and the layer, `after` the one that follows the layer: its mean and
   variance are found. Either can be NULL. With nothing before it, the identity finds those, and y is not written. */
EXPORTED void mnist_s7_forward(const Layer *whole, const Norm *before, Norm *after, const float *x, float *y, long n,
                               long threads) {
    (void)threads; /* which nobody uses without OpenMP */
    const Cut cut = cut_of(whole);
    float packed[mnist_s7_sums_size(whole) + 1] ALIGNED; /* an array of none is not allowed */
    Sums moments[PARTS];
    if (after) memset(moments, 0, sizeof moments);
    if (whole->kind == CONVOLUTION) pack(whole, packed);
    if (whole->kind == DEPTHWISE) pack_depthwise(whole, packed);

    #pragma omp parallel for num_threads(threads)
    for (int part = 0; part < PARTS; part++) {
        Layer layer = cut.layer;
        /* Depthwise convolutions read beyond a map's end. */
        int padding = layer.padding, copies = layer.kind != IDENTITY && (before || padding || layer.kind == DEPTHWISE);
        float padded[copies ? size_of(padded_map(map_of(&layer), padding)) + SLACK : 1] ALIGNED;
        memset(padded, 0, sizeof padded);
        long end = n * (part + 1) / PARTS * cut.pixels;
        for (long at = n * part / PARTS * cut.pixels; at < end; at += cut.step) {
            if (cut.by_pixel) layer.w = layer.w_out = min(cut.step, end - at);
            const Map map = map_of(&layer), in = padded_map(map, padding);
            const float *from = x + at * layer.c;
            float *to = y + pixel_out(&cut, at) * layer.c_out;
            if (copies) {
                read(before, x, at * layer.c, map, padding, padded);
                from = padded;
            }
            switch (layer.kind) {
                case IDENTITY: if (before) { read(before, x, at * layer.c, map, 0, to); from = to; } break;
                case CONVOLUTION: convolve(from, in, layer.k, packed, to, layer.c_out, layer.relu); break;
                case DEPTHWISE: convolve_depthwise(from, in, packed, to); break;
                case MAX_POOL:
                case ANTI_ALIASED_POOL: pool(&layer, from, to); break;
            }
            long size_out = layer.h_out * layer.w_out * layer.c_out;
            if (after) add_moments(after, layer.kind == IDENTITY ? from : to, size_out, moments + part);
        }
    }
    if (after) finish_moments(after, moments);
}

/* The gradient g after the norm `after` the layer -> the one after the norm `before` it, if x_gradient is not NULL, as
   it may be of a convolution without a norm before it.
   Where that adds other maps, it is the one of both parts of the sum; where a later layer adds what this one reads,
   `added_gradient` is not NULL and is a part of it, and the identity then has a norm after it. The layer's y is needed
   for `after`, for a ReLU, and of an identity for that of a sum. The gradient passes the layer's own ReLU where no norm
   is after that; one that is (convolution, ReLU, ReLU, BatchNorm) is RELU_BEFORE, and stops the same gradients. The
   weights' gradient is added up in `sums`, zero, (PARTS, packed weights). The identity with nothing after it, no sum
   before it and no `added_gradient` may have g for x_gradient. */
EXPORTED void mnist_s7_backward(const Layer *whole, Norm *before, const Norm *after, const float *g,
                                const float *added_gradient, const float *x, const float *y, float *x_gradient,
                                float *sums, float *weight_gradient, float *norm_weight_gradient,
                                float *norm_bias_gradient, long n, long threads) {
    (void)threads;
    const Cut cut = cut_of(whole);
    const int kind = whole->kind, weighs = kind == CONVOLUTION || kind == DEPTHWISE, adds = before && before->added;
    float flipped[kind == CONVOLUTION ? flipped_size(whole) : mnist_s7_sums_size(whole) + 1] ALIGNED;
    Sums gradients[PARTS];
    if (before) memset(gradients, 0, sizeof gradients);
    if (kind == CONVOLUTION) flip(whole, flipped);
    if (kind == DEPTHWISE) flip_depthwise(whole, flipped);

    #pragma omp parallel for num_threads(threads)
    for (int part = 0; part < PARTS; part++) {
        Layer layer = cut.layer;
        int padding = layer.padding, padding_out = weighs ? layer.k - 1 - padding : 0;
        int copies = kind != IDENTITY && (before || padding || kind == DEPTHWISE);
        int copies_out = weighs || (kind != IDENTITY && after);
        float padded[copies ? size_of(padded_map(map_of(&layer), padding)) + SLACK : 1] ALIGNED;
        float padded_out[copies_out ? size_of(padded_map(map_out_of(&layer), padding_out)) + SLACK : 1] ALIGNED;
        memset(padded, 0, sizeof padded);
        memset(padded_out, 0, sizeof padded_out);
        float *sum = sums + part * mnist_s7_sums_size(whole);
        long end = n * (part + 1) / PARTS * cut.pixels;
        for (long at = n * part / PARTS * cut.pixels; at < end; at += cut.step) {
            if (cut.by_pixel) layer.w = layer.w_out = min(cut.step, end - at);
            const Map map = map_of(&layer), map_out = map_out_of(&layer);
            long first = at * layer.c, first_out = pixel_out(&cut, at) * layer.c_out;
            const float *from = x + first, *of_y = g + first_out;
            float *to = x_gradient ? x_gradient + first : NULL;
            if (copies) {
                read(before, x, first, map, padding, padded);
                from = padded;
            }
            if (copies_out) {
                read_gradient(after, layer.relu, g, y, first_out, map_out, padding_out, padded_out);
                of_y = padded_out;
            }
            Map in = padded_map(map, padding), wide = padded_map(map_out, padding_out);
            const float *inner = row_in(padded_out, map_out, padding_out, 0);
            long row_out = (long)wide.w * wide.c;
            switch (kind) {
                case IDENTITY:
                    if (after) {
                        read_gradient(after, 0, g, y, first_out, map_out, 0, to);
                        of_y = to;
                    }
                    break;
                case CONVOLUTION:
                    add_products(from, in, layer.k, inner, row_out, layer.c_out, sum);
                    if (to) convolve(of_y, wide, layer.k, flipped, to, layer.c, 0);
                    break;
                case DEPTHWISE:
                    add_depthwise_products(from, in, inner, row_out, sum);
                    if (to) convolve_depthwise(of_y, wide, flipped, to);
                    break;
                case MAX_POOL:
                case ANTI_ALIASED_POOL: pool_backward(&layer, of_y, from, to); break;
            }
            long row = map.w * map.c;
            for (long i = 0; to && i < map.h; i++) {
                long element = first + i * row;
                float *row_to = to + i * row;
                const float *of_x = kind == IDENTITY ? of_y + i * row : row_to; /* it may be g, so it is only read */
                if (added_gradient) for (long j = 0; j < row; j++) row_to[j] += added_gradient[element + j];
                if (adds) {
                    through_relu(kind == IDENTITY ? y + element : row_in(padded, map, padding, i), of_x, row_to, row);
                    of_x = row_to;
                }
                if (before) add_gradients(before, of_x, x + element, keep_of(before, element), row, gradients + part);
            }
        }
    }
    if (kind == CONVOLUTION) unpack(whole, sums, weight_gradient);
    if (kind == DEPTHWISE) unpack_depthwise(whole, sums, weight_gradient);
    if (before) finish_gradients(before, gradients, norm_weight_gradient, norm_bias_gradient);
}
