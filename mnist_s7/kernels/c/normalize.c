/* BatchNorm, or a bias alone, together with the ReLU before or after it and the dropout after it.

   S. Ioffe and C. Szegedy, "Batch Normalization" (arXiv:1502.03167), section 3. */

#include <math.h>

#include "kernels.h"

/* How many vectors of a period are done at once, with all that belongs to their channels in registers; and after how
   many periods, about, what was added up in float goes into the doubles. */
enum { GROUP = 4, PERIODS_IN_FLOAT = 64, CHUNK = 2 * LANES * MAX_CHANNELS };
_Static_assert(GROUP == 4, "FOR_EACH_GROUP has a case for each count");

static long period_of(long c) {
    long period = c;
    while (period % LANES) period += c;
    while (2 * period <= GROUP * LANES) period *= 2; /* that no addition waits for the one before it */
    return period;
}

/* How many vectors from `at` on are done at once: all in as few groups as there have to be, of nearly one size. */
static long group_at(long at, long period) {
    long left = (period - at) / LANES, groups = (left + GROUP - 1) / GROUP;
    return (left + groups - 1) / groups;
}

/* `function` compiled for each kind of ReLU, with dropout and without. */
#define CASE_OF_KIND(kind, function, ...) \
    case kind: \
        if (keep) function(__VA_ARGS__, kind, keep); \
        else function(__VA_ARGS__, kind, NULL); \
        break;
#define FOR_EACH_KIND(...) \
    switch (norm->relu) { \
        CASE_OF_KIND(NO_RELU, __VA_ARGS__) \
        CASE_OF_KIND(RELU_BEFORE, __VA_ARGS__) \
        CASE_OF_KIND(RELU_AFTER, __VA_ARGS__) \
        CASE_OF_KIND(LEAKY_AFTER, __VA_ARGS__) \
    }

/* `function` on the vectors of all periods in `size` floats that lie in them where `at` does, the next ones, ...
   After its arguments it is given `at`, the period and how many vectors. These macros take norm, size and keep from
   where they are written: `normalize` calls, for each chunk of each group of vectors,
   normalize_group(norm, x + start, y + start, some, adds, relu, multiplier, at, period, count). */
#define CASE_OF_COUNT(count, function, ...) case count: function(__VA_ARGS__, at, period, count); break;
#define FOR_EACH_GROUP(...) \
    for (long period = period_of(norm->c), at = 0, group; at < period; at += group * LANES) \
        switch (group = group_at(at, period)) { \
            CASE_OF_COUNT(1, __VA_ARGS__) CASE_OF_COUNT(2, __VA_ARGS__) \
            CASE_OF_COUNT(3, __VA_ARGS__) CASE_OF_COUNT(4, __VA_ARGS__) \
        }

/* The same on at most CHUNK floats at a time, from `start` on `some` of them. The mask is made floats before: not all
   compilers do that well within the loop over vectors. */
#define FOR_EACH_CHUNK(...) \
    for (long max = CHUNK / period_of(norm->c) * period_of(norm->c), start = 0, some; start < size; start += some) { \
        float multiplier[CHUNK] ALIGNED; \
        some = min(max, size - start); \
        for (long j = 0; keep && j < some; j++) multiplier[j] = keep[start + j]; \
        FOR_EACH_GROUP(__VA_ARGS__, keep ? multiplier : NULL) \
    }

/* How many floats from j on a vector has, where there are `size`. */
INLINED int width_at(long j, long size) { return j + LANES <= size ? LANES : j < size ? (int)(size - j) : 0; }

INLINED void load_group(Vector *to, const float *from, const int vectors) {
    UNROLLED for (int v = 0; v < vectors; v++) to[v] = *(const Vector *)(from + v * LANES);
}

INLINED void store_group(float *to, const Vector *from, const int vectors) {
    UNROLLED for (int v = 0; v < vectors; v++) *(Vector *)(to + v * LANES) = from[v];
}

/* What of a BatchNorm belongs to a group's channels. */
typedef struct { Vector mean[GROUP], factor[GROUP], constant[GROUP]; } Channels;

INLINED void load_channels(Channels *to, const Norm *norm, long at, const int vectors) {
    load_group(to->mean, norm->mean + at, vectors);
    load_group(to->factor, norm->factor + at, vectors);
    load_group(to->constant, norm->constant + at, vectors);
}

INLINED Vector zero_where(Mask where, Vector x) { return (Vector)((Mask)x & ~where); }
INLINED Vector rectified(Vector x) { return zero_where(x < 0, x); } /* a NaN stays one */
INLINED Vector scaled_where(Mask where, Vector x, float scale) {
    return (Vector)(((Mask)(x * scale) & where) | ((Mask)x & ~where));
}
INLINED Vector centred(Vector x, Vector mean, const int relu) {
    return (relu == RELU_BEFORE ? rectified(x) : x) - mean;
}

/* The gradient before the ReLU that is after the norm, whose output is v * factor + constant. */
INLINED Vector through(Vector gradient, Vector v, Vector factor, Vector constant, const int relu, float below) {
    if (relu == RELU_AFTER) return zero_where(v * factor + constant <= 0, gradient);
    return relu == LEAKY_AFTER ? scaled_where(v * factor + constant <= 0, gradient, below) : gradient;
}

INLINED void normalize_group(const Norm *norm, const float *x, float *y, long size, const int adds, const int relu,
                             const float *keep, long at, long period, const int vectors) {
    Channels of;
    load_channels(&of, norm, at, vectors);
    for (long i = at; i < size; i += period)
        UNROLLED for (int v = 0; v < vectors; v++) {
            long j = i + v * LANES;
            int width = width_at(j, size);
            will_read(x + j);
            Vector value = centred(load(x + j, width), of.mean[v], relu) * of.factor[v] + of.constant[v];
            if (relu == RELU_AFTER) value = rectified(value);
            if (relu == LEAKY_AFTER) value = scaled_where(value < 0, value, norm->below);
            if (keep) value *= load(keep + j, width);
            store(y + j, adds ? rectified(load(y + j, width) + value) : value, width);
        }
}

INLINED void normalize_all(const Norm *norm, const float *x, float *y, long size, const int adds, const int relu,
                           const unsigned char *keep) {
    FOR_EACH_CHUNK(normalize_group, norm, x + start, y + start, some, adds, relu)
}

void normalize(const Norm *norm, const float *x, const unsigned char *keep, float *y, long size) {
    FOR_EACH_KIND(normalize_all, norm, x, y, size, 0)
}

/* To y, and then the ReLU. The norm can be NULL. */
void add_normalized(const Norm *norm, const float *x, const unsigned char *keep, float *y, long size) {
    if (norm) { FOR_EACH_KIND(normalize_all, norm, x, y, size, 1) }
    else for (long j = 0; j < size; j++) y[j] = y[j] + x[j] < 0 ? 0 : y[j] + x[j];
}

INLINED void normalize_group_backward(const Norm *norm, const float *g, const float *x, float *x_gradient, long size,
                                      const int relu, const float *keep, long at, long period, const int vectors) {
    Vector slope[GROUP], offset[GROUP];
    Channels of;
    load_channels(&of, norm, at, vectors);
    load_group(slope, norm->slope + at, vectors);
    load_group(offset, norm->offset + at, vectors);
    for (long i = at; i < size; i += period)
        UNROLLED for (int v = 0; v < vectors; v++) {
            long j = i + v * LANES;
            int width = width_at(j, size);
            will_read(g + j);
            will_read(x + j);
            Vector input = load(x + j, width), value = centred(input, of.mean[v], relu);
            Vector d = load(g + j, width);
            if (keep) d *= load(keep + j, width);
            d = through(d, value, of.factor[v], of.constant[v], relu, norm->below);
            d = d * of.factor[v] + value * slope[v] + offset[v];
            store(x_gradient + j, relu == RELU_BEFORE ? zero_where(input <= 0, d) : d, width);
        }
}

INLINED void normalize_all_backward(const Norm *norm, const float *g, const float *x, float *x_gradient, long size,
                                    const int relu, const unsigned char *keep) {
    FOR_EACH_CHUNK(normalize_group_backward, norm, g + start, x + start, x_gradient + start, some, relu)
}

/* The gradient g of y -> that of x. */
void normalize_backward(const Norm *norm, const float *g, const float *x, const unsigned char *keep, float *x_gradient,
                        long size) {
    FOR_EACH_KIND(normalize_all_backward, norm, g, x, x_gradient, size)
}

/* A pixel's channels for the other pixels of a period, too. */
static void widen(float *wide, long c) {
    for (long i = c; i < period_of(c); i++) wide[i] = wide[i - c];
}

static void add_pending(Sums *sums, long c) {
    for (long i = 0; i < period_of(c); i++) {
        sums->first[i % c] += sums->pending_first[i];
        sums->second[i % c] += sums->pending_second[i];
        sums->pending_first[i] = sums->pending_second[i] = 0;
    }
    sums->periods = 0;
}

/* `size` more floats have been added up. */
static void count(Sums *sums, long c, long size) {
    sums->n += size / c;
    sums->periods += size / period_of(c) + 1;
    if (sums->periods >= PERIODS_IN_FLOAT) add_pending(sums, c);
}

INLINED void add_moments_group(const float *x, long size, Sums *sums, const int relu, long at, long period,
                               const int vectors) {
    Vector shift[GROUP], first[GROUP], second[GROUP];
    load_group(shift, sums->shift + at, vectors);
    load_group(first, sums->pending_first + at, vectors);
    load_group(second, sums->pending_second + at, vectors);
    for (long i = at; i < size; i += period)
        UNROLLED for (int v = 0; v < vectors; v++) {
            int width = width_at(i + v * LANES, size);
            Vector value = centred(load(x + i + v * LANES, width), shift[v], relu);
            value = load((float *)&value, width); /* nothing of what is not there */
            first[v] += value;
            second[v] += value * value;
        }
    store_group(sums->pending_first + at, first, vectors);
    store_group(sums->pending_second + at, second, vectors);
}

void add_moments(const Norm *norm, const float *x, long size, Sums *sums) {
    long c = norm->c, max = PERIODS_IN_FLOAT * period_of(c);
    if (!norm->weight || norm->evaluates) return;
    /* Less the mean of a part's first pixels, the values are about 0: their squares lose no digits to a large mean. */
    if (!sums->n) {
        for (long i = 0; i < size; i += c)
            for (long j = 0; j < c; j++)
                sums->shift[j] += (norm->relu == RELU_BEFORE && x[i + j] < 0 ? 0 : x[i + j]) * c / size;
        widen(sums->shift, c);
    }
    for (long start = 0; start < size; start += max) {
        long some = min(max, size - start);
        if (norm->relu == RELU_BEFORE) { FOR_EACH_GROUP(add_moments_group, x + start, some, sums, RELU_BEFORE) }
        else { FOR_EACH_GROUP(add_moments_group, x + start, some, sums, NO_RELU) }
        count(sums, c, some);
    }
}

INLINED void add_gradients_group(const Norm *norm, const float *g, const float *x, long size, Sums *sums,
                                 const int relu, const float *keep, long at, long period, const int vectors) {
    Vector first[GROUP], second[GROUP];
    Channels of;
    load_channels(&of, norm, at, vectors);
    load_group(first, sums->pending_first + at, vectors);
    load_group(second, sums->pending_second + at, vectors);
    for (long i = at; i < size; i += period)
        UNROLLED for (int v = 0; v < vectors; v++) {
            long j = i + v * LANES;
            int width = width_at(j, size);
            Vector value = centred(load(x + j, width), of.mean[v], relu);
            Vector d = load(g + j, width);
            if (keep) d *= load(keep + j, width);
            d = through(d, value, of.factor[v], of.constant[v], relu, norm->below);
            first[v] += d;
            second[v] += d * value;
        }
    store_group(sums->pending_first + at, first, vectors);
    store_group(sums->pending_second + at, second, vectors);
}

INLINED void add_all_gradients(const Norm *norm, const float *g, const float *x, long size, Sums *sums, const int relu,
                               const unsigned char *keep) {
    FOR_EACH_CHUNK(add_gradients_group, norm, g + start, x + start, some, sums, relu)
}

void add_gradients(const Norm *norm, const float *g, const float *x, const unsigned char *keep, long size, Sums *sums) {
    FOR_EACH_KIND(add_all_gradients, norm, g, x, size, sums)
    count(sums, norm->c, size);
}

/* The running statistic after a batch that had this one: with momentum 1 that one itself, however large it was. */
static float running(const Norm *norm, float before, float of_batch) {
    return norm->momentum * of_batch + (1 - norm->momentum) * before;
}

/* A channel's mean and biased variance in the batch, from those of the parts; the running ones, the variance unbiased,
   follow. */
static void find_statistics(Norm *norm, const Sums *parts, int j) {
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
    norm->running_mean[j] = running(norm, norm->running_mean[j], norm->mean[j]);
    norm->running_variance[j] = running(norm, norm->running_variance[j], (float)(squares / (n - 1)));
}

/* What the norm does to each channel. A bias alone has no mean and no variance: they stay 0. */
void finish_moments(Norm *norm, Sums *parts) {
    int c = norm->c;
    for (int j = 0; j < c; j++) {
        norm->factor[j] = norm->scale;
        norm->constant[j] = norm->bias[j] * norm->scale;
    }
    for (int part = 0; part < PARTS; part++) add_pending(parts + part, c);
    for (int j = 0; norm->weight && j < c; j++) {
        if (norm->evaluates) {
            norm->mean[j] = norm->running_mean[j];
            norm->variance[j] = norm->running_variance[j];
        } else find_statistics(norm, parts, j);
        norm->factor[j] = norm->weight[j] * norm->scale / sqrtf(norm->variance[j] + norm->eps);
    }
    widen(norm->mean, c); widen(norm->factor, c); widen(norm->constant, c);
}

void finish_gradients(Norm *norm, Sums *parts, float *weight_gradient, float *bias_gradient) {
    int c = norm->c;
    for (int part = 0; part < PARTS; part++) add_pending(parts + part, c);
    for (int j = 0; j < c; j++) {
        double n = 0, sum = 0, product = 0, precision = 1 / ((double)norm->variance[j] + norm->eps);
        for (int part = 0; part < PARTS; part++) {
            n += parts[part].n;
            sum += parts[part].first[j];
            product += parts[part].second[j];
        }
        bias_gradient[j] = (float)(norm->scale * sum);
        if (!norm->weight) continue;
        weight_gradient[j] = (float)(norm->scale * product * sqrt(precision));
        if (norm->evaluates) continue;
        norm->offset[j] = (float)(-norm->factor[j] * sum / n);
        norm->slope[j] = (float)(-norm->factor[j] * product * precision / n);
    }
    widen(norm->slope, c); widen(norm->offset, c);
}
