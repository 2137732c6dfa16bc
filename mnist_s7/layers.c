/* A layer on a batch, (n, h, w, c), image by image: what stands before it is applied to its input on the way. */

#include "images.h"

/* How many floats a layer's packed weights are, and so a part's sums of their gradient. */
long sums_size(const Layer *layer) {
    return layer->kind == CONVOLUTION ? packed_size(layer) : layer->kind == DEPTHWISE ? depthwise_size(layer) : 0;
}

static const unsigned char *kept_of(const Norm *norm, long at) { return norm->kept ? norm->kept + at : NULL; }

/* x -> y. `before` is what stands between x and the layer, `after` what is behind it: its batch's mean and variance are
   found. Either can be NULL. With nothing before it, the identity only finds those, and y is not written. `skip` is NULL
   but where the layer adds it. */
void forward(const Layer *layer, const Norm *before, Norm *after, const float *x, const float *skip, float *y, long n,
             long threads) {
    long size = layer->h * layer->w * layer->c, size_out = layer->h_out * layer->w_out * layer->c_out;
    float packed[sums_size(layer) + 1]; /* an array of none is not allowed */
    Sums moments[PARTS];
    if (after) memset(moments, 0, sizeof moments);
    if (layer->kind == CONVOLUTION) pack(layer, packed);
    if (layer->kind == DEPTHWISE) pack_depthwise(layer, packed);

    #pragma omp parallel for num_threads(threads)
    for (int part = 0; part < PARTS; part++) {
        float normalized[before && layer->kind != IDENTITY ? size : 1];
        for (long image = n * part / PARTS; image < n * (part + 1) / PARTS; image++) {
            const float *from = x + image * size;
            float *to = y + image * size_out;
            if (before) {
                float *whole = layer->kind == IDENTITY ? to : normalized;
                normalize(before, from, kept_of(before, image * size), whole, size);
                from = whole;
            }
            if (layer->adds)
                for (long j = 0; j < size; j++) {
                    float sum = to[j] + skip[image * size + j];
                    to[j] = sum < 0 ? 0 : sum; /* a NaN stays one */
                }
            switch (layer->kind) {
                case CONVOLUTION: convolve(layer, packed, from, to); break;
                case DEPTHWISE: convolve_depthwise(layer, packed, from, to); break;
                case MAX_POOL: max_pool(layer, from, to); break;
            }
            if (after) add_moments(after, layer->kind == IDENTITY ? from : to, size_out, moments + part);
        }
    }
    if (after) finish_moments(after, moments);
}

/* The gradient g behind what is `after` the layer -> the one behind what is `before` it, if x_gradient is not NULL, plus
   `skip_gradient`, if that is not NULL. The layer's y is needed for `after` and for a ReLU. The weights' gradient is
   added up in `sums`, zero, (PARTS, packed weights). The identity without either may have g for x_gradient. */
void backward(const Layer *layer, Norm *before, const Norm *after, const float *g, const float *skip_gradient,
              const float *x, const float *y, float *x_gradient, float *sums, float *weight_gradient,
              float *norm_weight_gradient, float *norm_bias_gradient, long n, long threads) {
    long size = layer->h * layer->w * layer->c, size_out = layer->h_out * layer->w_out * layer->c_out;
    float turned[layer->kind == CONVOLUTION ? turned_size(layer) : sums_size(layer) + 1];
    Sums gradients[PARTS];
    if (before) memset(gradients, 0, sizeof gradients);
    if (layer->kind == CONVOLUTION) turn(layer, turned);
    if (layer->kind == DEPTHWISE) turn_depthwise(layer, turned);

    #pragma omp parallel for num_threads(threads)
    for (int part = 0; part < PARTS; part++) {
        int identity = layer->kind == IDENTITY;
        float normalized[before && !identity ? size : 1], gradient[!identity && (after || layer->relu) ? size_out : 1];
        for (long image = n * part / PARTS; image < n * (part + 1) / PARTS; image++) {
            const float *from = x + image * size, *of_y = g + image * size_out;
            const float *output = after || layer->relu || layer->adds ? y + image * size_out : NULL;
            float *to = x_gradient ? x_gradient + image * size : NULL, *sum = sums + part * sums_size(layer);
            if (after) {
                float *whole = identity ? to : gradient;
                normalize_backward(after, of_y, output, kept_of(after, image * size_out), whole, size_out);
                of_y = whole;
            } else if (layer->relu || layer->adds) {
                float *whole = identity ? to : gradient;
                for (long j = 0; j < size_out; j++) whole[j] = output[j] > 0 ? of_y[j] : 0;
                of_y = whole;
            }
            if (before && !identity) {
                normalize(before, from, kept_of(before, image * size), normalized, size);
                from = normalized;
            }
            switch (layer->kind) {
                case CONVOLUTION: convolve_backward(layer, turned, of_y, from, to, sum); break;
                case DEPTHWISE: convolve_depthwise_backward(layer, turned, of_y, from, to, sum); break;
                case MAX_POOL: max_pool_backward(layer, of_y, from, to); break;
            }
            if (skip_gradient && to)
                for (long j = 0; j < size; j++) to[j] += skip_gradient[image * size + j];
            if (before) {
                const unsigned char *kept = kept_of(before, image * size);
                add_gradients(before, identity ? of_y : to, x + image * size, kept, size, gradients + part);
            }
        }
    }
    if (layer->kind == CONVOLUTION) unpack(layer, sums, weight_gradient);
    if (layer->kind == DEPTHWISE) unpack_depthwise(layer, sums, weight_gradient);
    if (before) finish_gradients(before, gradients, norm_weight_gradient, norm_bias_gradient);
}
