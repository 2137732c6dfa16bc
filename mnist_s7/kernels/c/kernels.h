/* What the C functions share.

   Feature maps are float32, channels last: (h, w, c). Between two layers a map stays as it left the first one: the
   BatchNorm, ReLU and dropout in between are applied, and what a residual block adds is added, whenever the map is
   read, while it lies in the nearest caches. So every layer goes through memory once each way. README.md shows it. */

#ifndef KERNELS_H
#define KERNELS_H

#include <string.h>

/* Every other function is hidden (-fvisibility=hidden): one of the same name in the process would take its place. */
#define EXPORTED __attribute__((visibility("default")))

/* As many floats as a vector register holds. NEON's hold four, and a vector is two of them. */
#ifdef __AVX512F__
enum { LANES = 16 };
#else
enum { LANES = 8 };
#endif

/* Work is cut into PARTS, whatever the number of threads, and so is the order in which sums are added up. */
enum { PARTS = 16, MAX_LANES = 16, MAX_CHANNELS = 64 };

/* What is done to each channel is done in periods: the channels of as many pixels as fill whole vectors. */
enum { MAX_PERIOD = MAX_LANES * MAX_CHANNELS };
enum { IDENTITY, CONVOLUTION, DEPTHWISE, MAX_POOL, ANTI_ALIASED_POOL };
enum { NO_RELU, RELU_BEFORE, RELU_AFTER, LEAKY_AFTER };

/* Masks are drawn by so many generators, each with a state of so many words: as many whatever a vector holds, so that a
   state means the same mask on every processor. */
enum { STREAMS = 16, WORDS = 4 };

typedef float Vector __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float))));
typedef int Mask __attribute__((vector_size(LANES * sizeof(int))));
typedef struct { int h, w, c; } Map;

/* From (h, w, c) to (h_out, w_out, c_out). Weights are (c_out, k, k, c), in a depthwise convolution (c, 3, 3). */
typedef struct {
    long kind, h, w, c, h_out, w_out, c_out;
    long k, padding, relu; /* a convolution's kernel and padding, and whether a ReLU is after it */
    const float *weight;
} Layer;

/* A BatchNorm with the ReLU before or after it and the dropout after it, which multiplies what it keeps by `scale`. At
   the end of a residual branch it adds other maps, with a norm of their own or none, and a ReLU is after the sum. Where
   `weight` is NULL it is a convolution's bias alone: no statistics are found, the factor is `scale`, and the constant
   is the bias times that. */
typedef struct Norm {
    long c, relu;
    long evaluates; /* 1 where the mean and variance are the running ones, which then stay as they are */
    const unsigned char *keep; /* 1 for every element that dropout keeps, 0 for the others; NULL where it keeps all */
    const float *weight, *bias;
    float *running_mean, *running_variance;
    float eps, momentum, scale, below; /* a leaky ReLU multiplies by `below` what is below 0 */
    const float *added; /* NULL where nothing is */
    const struct Norm *added_norm;
    /* For v, which is x (after the ReLU, if that is before the norm) less its mean:
       v * factor + constant, and of the gradient g, g * factor + v * slope + offset; for each float of a period. */
    float variance[MAX_CHANNELS], mean[MAX_PERIOD], factor[MAX_PERIOD], constant[MAX_PERIOD];
    float slope[MAX_PERIOD], offset[MAX_PERIOD];
} Norm;

/* Sums over a part's `n` pixels, less `shift`, and their squares; or of its gradients, and their products with v. Those
   of about the latest `periods` are pending: they are in float, and not yet added to `first` and `second`. */
typedef struct {
    long n, periods;
    float shift[LANES * MAX_CHANNELS], pending_first[LANES * MAX_CHANNELS], pending_second[LANES * MAX_CHANNELS];
    double first[MAX_CHANNELS], second[MAX_CHANNELS];
} Sums;

/* What is always inlined is compiled for every number of sums and vectors, so that they stay in registers. */
#define INLINED static inline __attribute__((always_inline))
#define UNROLLED _Pragma("GCC unroll 9")

/* To a cache line: a vector that lies in two of them is read twice. */
#define ALIGNED __attribute__((aligned(64)))

/* Asked for so many floats before it is used, memory is in the second-level cache by then. A batch is read and written
   from its start to its end, so what lies AHEAD is what comes next. Ahead of a copy on the stack, and beyond the end, it
   is asked for in vain, which costs less than to find out. */
enum { AHEAD = 8192 };
INLINED void will_read(const float *x) { __builtin_prefetch(x + AHEAD, 0, 2); }
INLINED void will_write(const float *y) { __builtin_prefetch(y + AHEAD, 1, 2); }

INLINED long min(long a, long b) { return a < b ? a : b; }

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
void normalize(const Norm *norm, const float *x, const unsigned char *keep, float *y, long size);
void add_normalized(const Norm *norm, const float *x, const unsigned char *keep, float *y, long size);
void normalize_backward(const Norm *norm, const float *g, const float *x, const unsigned char *keep, float *x_gradient,
                        long size);
void add_moments(const Norm *norm, const float *x, long size, Sums *sums);
void add_gradients(const Norm *norm, const float *g, const float *x, const unsigned char *keep, long size, Sums *sums);
void finish_moments(Norm *norm, Sums *parts);
void finish_gradients(Norm *norm, Sums *parts, float *weight_gradient, float *bias_gradient);

/* convolve.c and depthwise.c, on one map: `convolve` goes from x, of x_map, which is padded already, to y. `packed`
   weights are those of a layer as it wants them, `flipped` those of the convolution that gives the gradient of x. To
   sums, packed too, `add_products` adds the gradient of the weights (lanes without a channel hold anything); the
   gradient g of y has rows of g_row. Output channels are done VECTORS vectors at a time, or one where that is all of
   them. Vectors of g, and of a depthwise convolution's x, are read beyond their ends, by less than SLACK floats. */
enum { VECTORS = 2, SLACK = VECTORS * LANES };
long packed_size(const Layer *layer);
long flipped_size(const Layer *layer);
void pack(const Layer *layer, float *packed);
void flip(const Layer *layer, float *flipped);
void convolve(const float *x, Map x_map, int k, const float *packed, float *y, int c_out, int relu);
void add_products(const float *x, Map x_map, int k, const float *g, long g_row, int c_out, float *sums);
void unpack(const Layer *layer, const float *sums, float *weight_gradient);

long depthwise_size(const Layer *layer);
void pack_depthwise(const Layer *layer, float *packed);
void flip_depthwise(const Layer *layer, float *flipped);
void convolve_depthwise(const float *x, Map x_map, const float *packed, float *y);
void add_depthwise_products(const float *x, Map x_map, const float *g, long g_row, float *sums);
void unpack_depthwise(const Layer *layer, const float *sums, float *weight_gradient);

/* pool.c, on one map */
void pool(const Layer *layer, const float *x, float *y);
void pool_backward(const Layer *layer, const float *g, const float *x, float *x_gradient);

#endif
