/* What the C functions share.

   Images are float32, channels last: (h, w, c). Between two layers an image stays as it left the first one: the
   BatchNorm, ReLU and dropout in between are applied, and what a residual adds is added, whenever the image is read,
   while it lies in the nearest caches. So every layer goes through memory once each way. */

#ifndef IMAGES_H
#define IMAGES_H

#include <string.h>

/* Work is cut into PARTS, whatever the number of threads, and so is the order in which sums are added up. */
enum { LANES = 8, PARTS = 16, MOST_CHANNELS = 64 };

/* What is done to each channel is done in periods: the channels of as many pixels as fill whole vectors. */
enum { LONGEST_PERIOD = LANES * MOST_CHANNELS };
enum { IDENTITY, CONVOLUTION, DEPTHWISE, MAX_POOL };
enum { NO_RELU, RELU_BEFORE, RELU_AFTER };

typedef float Vector __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float))));
typedef int Mask __attribute__((vector_size(LANES * sizeof(int))));
typedef struct { int h, w, c; } Map;

/* From (h, w, c) to (h_out, w_out, c_out). Weights are (c_out, k, k, c), in a depthwise convolution (c, 3, 3). */
typedef struct {
    long kind, h, w, c, h_out, w_out, c_out;
    long k, padding, relu; /* a convolution's kernel, the border it adds, and whether a ReLU is behind it */
    const float *weight;
} Layer;

/* A BatchNorm with the ReLU before or after it and the dropout behind it, which multiplies what it keeps by `scale`. At
   the end of a residual branch it adds other images, with a norm of their own or none, and a ReLU is behind the sum. */
typedef struct Norm {
    long c, relu;
    const unsigned char *kept; /* 1 for every element that dropout keeps, 0 for the others; NULL where all are kept */
    const float *weight, *bias;
    float *running_mean, *running_variance;
    float eps, momentum, scale;
    const float *added; /* NULL where nothing is */
    const struct Norm *added_norm;
    /* From the batch, for v, which is x (behind a ReLU before it) less its mean:
       v * factor + constant, and of the gradient g, g * factor + v * slope + offset; for each float of a period. */
    float variance[MOST_CHANNELS], mean[LONGEST_PERIOD], factor[LONGEST_PERIOD], constant[LONGEST_PERIOD];
    float slope[LONGEST_PERIOD], offset[LONGEST_PERIOD];
} Norm;

/* Sums over a part's `n` pixels, less `shift`, and their squares; or of its gradients, and their products with v. Those of
   the latest `periods` are still in float. */
typedef struct {
    long n, periods;
    float shift[LONGEST_PERIOD], late_first[LONGEST_PERIOD], late_second[LONGEST_PERIOD];
    double first[MOST_CHANNELS], second[MOST_CHANNELS];
} Sums;

/* What is always inlined is compiled for every number of sums and vectors, so that they stay in registers. */
#define INLINED static inline __attribute__((always_inline))
#define UNROLLED _Pragma("GCC unroll 9")

/* To a cache line: a vector that lies in two of them is read twice. */
#define ALIGNED __attribute__((aligned(64)))

/* The first `channels` of a vector, or all of it, if they are more. */
INLINED void store(float *y, Vector v, int channels) {
    if (channels >= LANES) *(Vector *)y = v;
    else memcpy(y, &v, channels * sizeof *y);
}

INLINED Vector load(const float *x, int channels) {
    Vector v = {0};
    if (channels >= LANES) return *(const Vector *)x;
    memcpy(&v, x, channels * sizeof *x);
    return v;
}

/* normalize.c, on `size` elements of x */
void normalize(const Norm *norm, const float *x, const unsigned char *kept, float *y, long size);
void add_normalized(const Norm *norm, const float *x, const unsigned char *kept, float *y, long size);
void normalize_backward(const Norm *norm, const float *g, const float *x, const unsigned char *kept, float *x_gradient,
                        long size);
void add_moments(const Norm *norm, const float *x, long size, Sums *sums);
void add_gradients(const Norm *norm, const float *g, const float *x, const unsigned char *kept, long size, Sums *sums);
void finish_moments(Norm *norm, Sums *parts);
void finish_gradients(Norm *norm, Sums *parts, float *weight_gradient, float *bias_gradient);

/* convolve.c and depthwise.c, on one image: `convolve` without padding, x of x_map, its border included, to y. `packed`
   weights are those of a layer as it wants them, `turned` those of the convolution that gives the gradient of x. To sums,
   packed too, `add_products` adds the gradient of the weights; the gradient g of y has rows of g_row. Vectors of g, and of
   a depthwise convolution's x, are read beyond their ends, by less than SLACK floats. */
enum { SLACK = 2 * LANES };
long packed_size(const Layer *layer);
long turned_size(const Layer *layer);
void pack(const Layer *layer, float *packed);
void turn(const Layer *layer, float *turned);
void convolve(const float *x, Map x_map, int k, const float *packed, float *y, int c_out, int relu);
void add_products(const float *x, Map x_map, int k, const float *g, long g_row, int c_out, float *sums);
void unpack(const Layer *layer, const float *sums, float *weight_gradient);

long depthwise_size(const Layer *layer);
void pack_depthwise(const Layer *layer, float *packed);
void turn_depthwise(const Layer *layer, float *turned);
void convolve_depthwise(const float *x, Map x_map, const float *packed, float *y);
void add_depthwise_products(const float *x, Map x_map, const float *g, long g_row, float *sums);
void unpack_depthwise(const Layer *layer, const float *sums, float *weight_gradient);

/* pool.c, on one image */
void max_pool(const Layer *layer, const float *x, float *y);
void max_pool_backward(const Layer *layer, const float *g, const float *x, float *x_gradient);

#endif
