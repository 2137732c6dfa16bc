/* A layer on a batch, (n, h, w, c): what stands before it is applied to its input on the way.

   It takes an image at a time; where no pixel meets another one, as many pixels as stay in the nearest cache. */

#include "images.h"

enum { MOST_AT_ONCE = 2048 };

/* How many floats a layer's packed weights are, and so a part's sums of their gradient. */
long sums_size(const Layer *layer) {
    return layer->kind == CONVOLUTION ? packed_size(layer) : layer->kind == DEPTHWISE ? depthwise_size(layer) : 0;
}

static long least(long a, long b) { return a < b ? a : b; }
static long size_of(Map map) { return (long)map.h * map.w * map.c; }
static Map map_of(const Layer *layer) { return (Map){layer->h, layer->w, layer->c}; }
static Map map_out_of(const Layer *layer) { return (Map){layer->h_out, layer->w_out, layer->c_out}; }
static Map framed(Map map, int border) { return (Map){map.h + 2 * border, map.w + 2 * border, map.c}; }

/* Where row i of an image is, in the middle of a frame. */
static float *row_in(float *frame, Map map, int border, int i) {
    return frame + ((long)(i + border) * (map.w + 2 * border) + border) * map.c;
}

static const unsigned char *kept_of(const Norm *norm, long at) { return norm && norm->kept ? norm->kept + at : NULL; }

/* x, a batch's elements from `at`, into the middle of a frame, behind what stands `before` the layer that reads it. */
static void read(const Norm *before, const float *x, long at, Map map, int border, float *frame) {
    int rows = border ? map.h : 1;
    long row = size_of(map) / rows;
    for (int i = 0; i < rows; i++, at += row) {
        float *to = row_in(frame, map, border, i);
        if (!before) memcpy(to, x + at, row * sizeof *x);
        else normalize(before, x + at, kept_of(before, at), to, row);
        if (before && before->added)
            add_normalized(before->added_norm, before->added + at, kept_of(before->added_norm, at), to, row);
    }
}

/* The gradient g behind a ReLU, whose output is y, -> the one in front of it, which may be in the same place. */
static void through_relu(const float *y, const float *g, float *y_gradient, long size) {
    for (long j = 0; j < size; j++) y_gradient[j] = y[j] > 0 ? g[j] : 0;
}

/* The gradient g behind what is `after` the layer or its ReLU -> that of what the layer computes, in a frame. */
static void read_gradient(const Norm *after, int relu, const float *g, const float *y, long at, Map map, int border,
                          float *frame) {
    int rows = border ? map.h : 1;
    long row = size_of(map) / rows;
    for (int i = 0; i < rows; i++, at += row) {
        float *to = row_in(frame, map, border, i);
        if (after) normalize_backward(after, g + at, y + at, kept_of(after, at), to, row);
        else if (relu) through_relu(y + at, g + at, to, row);
        else memcpy(to, g + at, row * sizeof *g);
    }
}

/* How the batch is cut: into pieces of `step` pixels, for each of which `layer` is the layer. An image has `pixels`, and
   `pixels_out` behind the layer. */
typedef struct { Layer layer; long pixels, pixels_out, step; int by_pixel; } Cut;

static Cut cut_of(const Layer *layer) {
    Cut cut = {.layer = *layer, .pixels = layer->h * layer->w, .pixels_out = layer->h_out * layer->w_out};
    cut.by_pixel = layer->kind == IDENTITY || (layer->kind == CONVOLUTION && layer->k == 1 && !layer->padding);
    cut.step = cut.pixels;
    if (cut.by_pixel) {
        cut.layer.h = cut.layer.h_out = 1;
        cut.layer.w = cut.layer.w_out = cut.step = MOST_AT_ONCE / (layer->c > layer->c_out ? layer->c : layer->c_out);
    } else if (layer->kind == MAX_POOL && layer->h % 2 == 0) {
        cut.layer.h = 2;
        cut.layer.h_out = 1;
        cut.step = 2 * layer->w;
    }
    return cut;
}

/* x -> y. `before` is what stands between x and the layer, `after` what is behind it: its batch's mean and variance are
   found. Either can be NULL. With nothing before it, the identity only finds those, and y is not written. */
void forward(const Layer *whole, const Norm *before, Norm *after, const float *x, float *y, long n, long threads) {
    const Cut cut = cut_of(whole);
    float packed[sums_size(whole) + 1] ALIGNED; /* an array of none is not allowed */
    Sums moments[PARTS];
    if (after) memset(moments, 0, sizeof moments);
    if (whole->kind == CONVOLUTION) pack(whole, packed);
    if (whole->kind == DEPTHWISE) pack_depthwise(whole, packed);

    #pragma omp parallel for num_threads(threads)
    for (int part = 0; part < PARTS; part++) {
        Layer layer = cut.layer;
        /* Depthwise convolutions read beyond an image's end. */
        int border = layer.padding, copies = layer.kind != IDENTITY && (before || border || layer.kind == DEPTHWISE);
        float frame[copies ? size_of(framed(map_of(&layer), border)) + SLACK : 1] ALIGNED;
        memset(frame, 0, sizeof frame);
        long end = n * (part + 1) / PARTS * cut.pixels;
        for (long at = n * part / PARTS * cut.pixels; at < end; at += cut.step) {
            if (cut.by_pixel) layer.w = layer.w_out = least(cut.step, end - at);
            const Map map = map_of(&layer);
            const float *from = x + at * layer.c;
            float *to = y + at * cut.pixels_out / cut.pixels * layer.c_out;
            if (copies) {
                read(before, x, at * layer.c, map, border, frame);
                from = frame;
            }
            switch (layer.kind) {
                case IDENTITY: if (before) { read(before, x, at * layer.c, map, 0, to); from = to; } break;
                case CONVOLUTION: convolve(from, framed(map, border), layer.k, packed, to, layer.c_out, layer.relu); break;
                case DEPTHWISE: convolve_depthwise(from, framed(map, border), packed, to); break;
                case MAX_POOL: max_pool(&layer, from, to); break;
            }
            long size_out = layer.h_out * layer.w_out * layer.c_out;
            if (after) add_moments(after, layer.kind == IDENTITY ? from : to, size_out, moments + part);
        }
    }
    if (after) finish_moments(after, moments);
}

/* The gradient g behind what is `after` the layer -> the one behind what is `before` it, if x_gradient is not NULL. Where
   that adds other images, it is the one of both parts of the sum; where a later layer adds what this one reads,
   `added_gradient` is not NULL and is a part of it. The layer's y is needed for `after`, for a ReLU, and of an identity
   for that of a sum. The weights' gradient is added up in `sums`, zero, (PARTS, packed weights). The identity with
   nothing after it and no sum before it may have g for x_gradient. */
void backward(const Layer *whole, Norm *before, const Norm *after, const float *g, const float *added_gradient,
              const float *x, const float *y, float *x_gradient, float *sums, float *weight_gradient,
              float *norm_weight_gradient, float *norm_bias_gradient, long n, long threads) {
    const Cut cut = cut_of(whole);
    const int kind = whole->kind, weighs = kind == CONVOLUTION || kind == DEPTHWISE, adds = before && before->added;
    float turned[kind == CONVOLUTION ? turned_size(whole) : sums_size(whole) + 1] ALIGNED;
    Sums gradients[PARTS];
    if (before) memset(gradients, 0, sizeof gradients);
    if (kind == CONVOLUTION) turn(whole, turned);
    if (kind == DEPTHWISE) turn_depthwise(whole, turned);

    #pragma omp parallel for num_threads(threads)
    for (int part = 0; part < PARTS; part++) {
        Layer layer = cut.layer;
        int border = layer.padding, border_out = weighs ? layer.k - 1 - border : 0;
        int copies = kind != IDENTITY && (before || border || kind == DEPTHWISE);
        int copies_out = weighs || (kind == MAX_POOL && after);
        float frame[copies ? size_of(framed(map_of(&layer), border)) + SLACK : 1] ALIGNED;
        float frame_out[copies_out ? size_of(framed(map_out_of(&layer), border_out)) + SLACK : 1] ALIGNED;
        memset(frame, 0, sizeof frame);
        memset(frame_out, 0, sizeof frame_out);
        float *sum = sums + part * sums_size(whole);
        long end = n * (part + 1) / PARTS * cut.pixels;
        for (long at = n * part / PARTS * cut.pixels; at < end; at += cut.step) {
            if (cut.by_pixel) layer.w = layer.w_out = least(cut.step, end - at);
            const Map map = map_of(&layer), map_out = map_out_of(&layer);
            long first = at * layer.c, first_out = at * cut.pixels_out / cut.pixels * layer.c_out;
            const float *from = x + first, *of_y = g + first_out;
            float *to = x_gradient ? x_gradient + first : NULL;
            if (copies) {
                read(before, x, first, map, border, frame);
                from = frame;
            }
            if (copies_out) {
                read_gradient(after, layer.relu, g, y, first_out, map_out, border_out, frame_out);
                of_y = frame_out;
            }
            Map in = framed(map, border), wide = framed(map_out, border_out);
            const float *inner = row_in(frame_out, map_out, border_out, 0);
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
                    if (to) convolve(of_y, wide, layer.k, turned, to, layer.c, 0);
                    break;
                case DEPTHWISE:
                    add_depthwise_products(from, in, inner, row_out, sum);
                    if (to) convolve_depthwise(of_y, wide, turned, to);
                    break;
                case MAX_POOL: max_pool_backward(&layer, of_y, from, to); break;
            }
            long row = map.w * map.c;
            for (long i = 0; to && i < map.h; i++) {
                long element = first + i * row;
                float *row_to = to + i * row;
                const float *of_x = kind == IDENTITY ? of_y + i * row : row_to;
                if (added_gradient) for (long j = 0; j < row; j++) row_to[j] += added_gradient[element + j];
                if (adds) {
                    through_relu(kind == IDENTITY ? y + element : row_in(frame, map, border, i), of_x, row_to, row);
                    of_x = row_to;
                }
                if (before) add_gradients(before, of_x, x + element, kept_of(before, element), row, gradients + part);
            }
        }
    }
    if (kind == CONVOLUTION) unpack(whole, sums, weight_gradient);
    if (kind == DEPTHWISE) unpack_depthwise(whole, sums, weight_gradient);
    if (before) finish_gradients(before, gradients, norm_weight_gradient, norm_bias_gradient);
}
