/* BatchNorm together with the ReLU before or after it and the dropout behind it.

   S. Ioffe and C. Szegedy, "Batch Normalization" (arXiv:1502.03167), section 3. */

#include <math.h>

#include "images.h"

enum { MOST_BLOCKS_IN_FLOAT = 64 };

/* The first pixel's channels for the other WIDE - 1, too. */
static void widen(float *wide, int c) {
    for (int pixel = 1; pixel < WIDE; pixel++) memcpy(wide + pixel * c, wide, c * sizeof *wide);
}

static void add_narrow(double *restrict narrow, float *restrict wide, int c) {
    for (int pixel = 0; pixel < WIDE; pixel++)
        for (int j = 0; j < c; j++) narrow[j] += wide[pixel * c + j];
    memset(wide, 0, WIDE * c * sizeof *wide);
}

static void add_late(Sums *sums, int c) {
    add_narrow(sums->first, sums->late_first, c);
    add_narrow(sums->second, sums->late_second, c);
    sums->blocks = 0;
}

static int width_at(long i, long size, int c) { return size - i < WIDE * c ? (int)(size - i) : WIDE * c; }

/* `function` compiled for each kind of ReLU, with dropout and without, for the compiler to make vectors of its loops. */
#define CASE(kind, function, ...) \
    case kind: \
        if (kept) function(__VA_ARGS__, kind, kept); \
        else function(__VA_ARGS__, kind, NULL); \
        break;
#define FOR_EACH_KIND(...) \
    switch (norm->relu) { CASE(NO_RELU, __VA_ARGS__) CASE(RELU_BEFORE, __VA_ARGS__) CASE(RELU_AFTER, __VA_ARGS__) }

static float rectified(float x) { return x < 0 ? 0 : x; } /* a NaN stays one */

static float centred(float x, float mean, int relu) { return (relu == RELU_BEFORE ? rectified(x) : x) - mean; }

/* The gradient in front of dropout and of the ReLU behind the BatchNorm, whose output is v * factor + constant. */
static float through(float gradient, float kept, float v, float factor, float constant, int relu) {
    return relu == RELU_AFTER && v * factor + constant <= 0 ? 0 : gradient * kept;
}

INLINED void normalize_all(const Norm *norm, const float *restrict x, float *restrict y, long size, const int adds,
                           const int relu, const unsigned char *restrict kept) {
    const float *restrict m = norm->mean, *restrict f = norm->factor, *restrict b = norm->constant;
    int c = norm->c;
    for (long i = 0; i < size; i += WIDE * c) {
        int width = width_at(i, size, c);
        for (int j = 0; j < width; j++) {
            float v = centred(x[i + j], m[j], relu) * f[j] + b[j];
            v = (relu == RELU_AFTER ? rectified(v) : v) * (kept ? kept[i + j] : 1);
            y[i + j] = adds ? rectified(y[i + j] + v) : v;
        }
    }
}

void normalize(const Norm *norm, const float *x, const unsigned char *kept, float *y, long size) {
    FOR_EACH_KIND(normalize_all, norm, x, y, size, 0)
}

/* To y, and then the ReLU. The norm can be NULL. */
void add_normalized(const Norm *norm, const float *x, const unsigned char *kept, float *y, long size) {
    if (norm) { FOR_EACH_KIND(normalize_all, norm, x, y, size, 1) }
    else for (long j = 0; j < size; j++) y[j] = rectified(y[j] + x[j]);
}

INLINED void normalize_all_backward(const Norm *norm, const float *restrict g, const float *restrict x,
                                    float *restrict x_gradient, long size, const int relu, const unsigned char *restrict kept) {
    const float *restrict m = norm->mean, *restrict f = norm->factor, *restrict b = norm->constant;
    const float *restrict o = norm->offset, *restrict s = norm->slope;
    int c = norm->c;
    for (long i = 0; i < size; i += WIDE * c) {
        int width = width_at(i, size, c);
        for (int j = 0; j < width; j++) {
            float v = centred(x[i + j], m[j], relu);
            float d = through(g[i + j], kept ? kept[i + j] : 1, v, f[j], b[j], relu) * f[j] + v * s[j] + o[j];
            x_gradient[i + j] = relu == RELU_BEFORE && x[i + j] <= 0 ? 0 : d;
        }
    }
}

/* The gradient g of y -> that of x. */
void normalize_backward(const Norm *norm, const float *g, const float *x, const unsigned char *kept, float *x_gradient,
                        long size) {
    FOR_EACH_KIND(normalize_all_backward, norm, g, x, x_gradient, size)
}

void add_moments(const Norm *norm, const float *restrict x, long size, Sums *sums) {
    float *restrict shift = sums->shift, *restrict s = sums->late_first, *restrict q = sums->late_second;
    int c = norm->c, relu = norm->relu;
    /* Less the mean of a part's first pixels, the values are about 0, and their squares lose no digits to a large mean. */
    if (!sums->n) {
        for (long i = 0; i < size; i += c)
            for (int j = 0; j < c; j++) shift[j] += centred(x[i + j], 0, relu) * c / size;
        widen(shift, c);
    }
    sums->n += size / c;
    for (long i = 0; i < size; i += WIDE * c) {
        int width = width_at(i, size, c);
        for (int j = 0; j < width; j++) {
            float v = centred(x[i + j], shift[j], relu);
            s[j] += v;
            q[j] += v * v;
        }
        if (++sums->blocks == MOST_BLOCKS_IN_FLOAT) add_late(sums, c);
    }
}

INLINED void add_all_gradients(const Norm *norm, const float *restrict g, const float *restrict x, long size, Sums *sums,
                               const int relu, const unsigned char *restrict kept) {
    const float *restrict m = norm->mean, *restrict f = norm->factor, *restrict b = norm->constant;
    float *restrict s = sums->late_first, *restrict q = sums->late_second;
    int c = norm->c;
    sums->n += size / c;
    for (long i = 0; i < size; i += WIDE * c) {
        int width = width_at(i, size, c);
        for (int j = 0; j < width; j++) {
            float v = centred(x[i + j], m[j], relu);
            float d = through(g[i + j], kept ? kept[i + j] : 1, v, f[j], b[j], relu);
            s[j] += d;
            q[j] += d * v;
        }
        if (++sums->blocks == MOST_BLOCKS_IN_FLOAT) add_late(sums, c);
    }
}

void add_gradients(const Norm *norm, const float *g, const float *x, const unsigned char *kept, long size, Sums *sums) {
    FOR_EACH_KIND(add_all_gradients, norm, g, x, size, sums)
}

/* The batch's mean and biased variance, from those of the parts; the running ones, the variance unbiased, follow. */
void finish_moments(Norm *norm, Sums *parts) {
    int c = norm->c;
    for (int part = 0; part < PARTS; part++) add_late(parts + part, c);
    for (int j = 0; j < c; j++) {
        double n = 0, mean = 0, squares = 0;
        for (int part = 0; part < PARTS; part++) n += parts[part].n;
        for (int part = 0; part < PARTS; part++)
            mean += (parts[part].first[j] + parts[part].n * (double)parts[part].shift[j]) / n;
        for (int part = 0; part < PARTS; part++) {
            double from_shift = mean - parts[part].shift[j];
            squares += parts[part].second[j] - 2 * from_shift * parts[part].first[j];
            squares += parts[part].n * from_shift * from_shift;
        }
        norm->mean[j] = (float)mean;
        norm->variance[j] = (float)(squares / n);
        norm->factor[j] = norm->weight[j] * norm->scale / sqrtf(norm->variance[j] + norm->eps);
        norm->constant[j] = norm->bias[j] * norm->scale;
        norm->running_mean[j] += norm->momentum * (norm->mean[j] - norm->running_mean[j]);
        norm->running_variance[j] += norm->momentum * ((float)(squares / (n - 1)) - norm->running_variance[j]);
    }
    widen(norm->mean, c); widen(norm->factor, c); widen(norm->constant, c);
}

void finish_gradients(Norm *norm, Sums *parts, float *weight_gradient, float *bias_gradient) {
    int c = norm->c;
    for (int part = 0; part < PARTS; part++) add_late(parts + part, c);
    for (int j = 0; j < c; j++) {
        double n = 0, sum = 0, product = 0, precision = 1 / ((double)norm->variance[j] + norm->eps);
        for (int part = 0; part < PARTS; part++) {
            n += parts[part].n;
            sum += parts[part].first[j];
            product += parts[part].second[j];
        }
        bias_gradient[j] = (float)(norm->scale * sum);
        weight_gradient[j] = (float)(norm->scale * product * sqrt(precision));
        norm->offset[j] = (float)(-norm->factor[j] * sum / n);
        norm->slope[j] = (float)(-norm->factor[j] * product * precision / n);
    }
    widen(norm->slope, c); widen(norm->offset, c);
}
