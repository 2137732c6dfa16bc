/* BatchNorm together with the ReLU before or after it and the dropout behind it: two passes over memory each way.

   S. Ioffe and C. Szegedy, "Batch Normalization" (arXiv:1502.03167), section 3. Images are float32, channels last, as
   `n` pixels of `c` channels; `kept` holds 1 for every element that dropout keeps and 0 for the others. Work is cut
   into the same parts whatever the number of threads, and so is the order in which sums are added up. */

#include <math.h>
#include <string.h>

/* Loops run over the channels of WIDE pixels at once: 8 channels alone would leave the processor's vectors half empty. */
enum { WIDE = 8, MOST_CHANNELS = 64, WIDEST = WIDE * MOST_CHANNELS, PARTS = 16, ROWS_IN_FLOAT = 64 };
enum { NO_RELU, RELU_BEFORE, RELU_AFTER };

typedef struct { long start, end; } Part;

static Part part_of(int part, long n, int c) {
    long rows = (n + WIDE - 1) / WIDE, width = (long)WIDE * c;
    long start = rows * part / PARTS * width, end = rows * (part + 1) / PARTS * width;
    return (Part){start, end < n * c ? end : n * c};
}

static int width_at(long i, Part part, int c) {
    return part.end - i < WIDE * c ? (int)(part.end - i) : WIDE * c;
}

static void widen(float *restrict wide, const float *restrict narrow, int c) {
    for (int pixel = 0; pixel < WIDE; pixel++) memcpy(wide + pixel * c, narrow, c * sizeof *narrow);
}

static void add_narrow(double *restrict narrow, const float *restrict wide, int c) {
    for (int pixel = 0; pixel < WIDE; pixel++)
        for (int j = 0; j < c; j++) narrow[j] += wide[pixel * c + j];
}

static float centred(float x, float mean, int relu) { return (relu == RELU_BEFORE && x < 0 ? 0 : x) - mean; }

/* The gradient in front of dropout and of the ReLU behind the BatchNorm, whose output is v * factor + bias. */
static float through(float gradient, float kept, float v, float factor, float bias, int relu) {
    return relu == RELU_AFTER && v * factor + bias <= 0 ? 0 : gradient * kept;
}

/* Add to `sum` and `squares`, (c,), those of a part's elements less `shift`. */
static void add_moments(const float *restrict x, Part part, int c, int relu, const float *shift,
                        double *restrict sum, double *restrict squares) {
    float k[WIDEST], s[WIDEST], q[WIDEST];
    widen(k, shift, c);
    for (long i = part.start; i < part.end;) {
        memset(s, 0, sizeof s);
        memset(q, 0, sizeof q);
        for (int row = 0; row < ROWS_IN_FLOAT && i < part.end; row++) {
            int width = width_at(i, part, c);
            for (int j = 0; j < width; j++) {
                float v = centred(x[i + j], k[j], relu);
                s[j] += v;
                q[j] += v * v;
            }
            i += width;
        }
        add_narrow(sum, s, c);
        add_narrow(squares, q, c);
    }
}

/* Add to `sum` and `product`, (c,), those of a part's gradients, and of the gradients with the centred inputs. */
static void add_gradients(const float *restrict g, const float *restrict x, const unsigned char *restrict kept, Part part,
                          int c, int relu, const float *mean, const float *factor, const float *bias,
                          double *restrict sum, double *restrict product) {
    float m[WIDEST], f[WIDEST], b[WIDEST], s[WIDEST], q[WIDEST];
    widen(m, mean, c); widen(f, factor, c); widen(b, bias, c);
    for (long i = part.start; i < part.end;) {
        memset(s, 0, sizeof s);
        memset(q, 0, sizeof q);
        for (int row = 0; row < ROWS_IN_FLOAT && i < part.end; row++) {
            int width = width_at(i, part, c);
            for (int j = 0; j < width; j++) {
                float v = centred(x[i + j], m[j], relu);
                float d = through(g[i + j], kept[i + j], v, f[j], b[j], relu);
                s[j] += d;
                q[j] += d * v;
            }
            i += width;
        }
        add_narrow(sum, s, c);
        add_narrow(product, q, c);
    }
}

static void total(double (*parts)[MOST_CHANNELS], int c, double *sum) {
    for (int j = 0; j < c; j++) {
        sum[j] = 0;
        for (int part = 0; part < PARTS; part++) sum[j] += parts[part][j];
    }
}

/* x -> y, both (n, c), and the batch's mean and biased variance, (c,). */
void normalize(const float *restrict x, const unsigned char *restrict kept, float *restrict y, long n, long c, long relu,
               const float *weight, const float *bias, float eps, float *mean, float *variance, long threads) {
    double sums[PARTS][MOST_CHANNELS] = {0}, squares[PARTS][MOST_CHANNELS] = {0}, sum[MOST_CHANNELS], square[MOST_CHANNELS];
    float shift[MOST_CHANNELS], factor[MOST_CHANNELS], m[WIDEST], f[WIDEST], b[WIDEST];

    /* Less any element of their channel, the values are near 0, and their squares lose no digits to a large mean. */
    for (int j = 0; j < c; j++) shift[j] = centred(x[j], 0, relu);
    #pragma omp parallel for num_threads(threads)
    for (int part = 0; part < PARTS; part++)
        add_moments(x, part_of(part, n, c), c, relu, shift, sums[part], squares[part]);
    total(sums, c, sum);
    total(squares, c, square);
    for (int j = 0; j < c; j++) {
        mean[j] = (float)(shift[j] + sum[j] / n);
        variance[j] = (float)(square[j] / n - sum[j] / n * (sum[j] / n));
        factor[j] = weight[j] / sqrtf(variance[j] + eps);
    }

    widen(m, mean, c); widen(f, factor, c); widen(b, bias, c);
    #pragma omp parallel for num_threads(threads)
    for (int p = 0; p < PARTS; p++) {
        Part part = part_of(p, n, c);
        for (long i = part.start; i < part.end; i += WIDE * c) {
            int width = width_at(i, part, c);
            for (int j = 0; j < width; j++) {
                float v = centred(x[i + j], m[j], relu) * f[j] + b[j];
                y[i + j] = (relu == RELU_AFTER && v < 0 ? 0 : v) * kept[i + j];
            }
        }
    }
}

/* The gradient of y -> those of x, (n, c), of weight and of bias, (c,). */
void normalize_backward(const float *restrict g, const float *restrict x, const unsigned char *restrict kept,
                        float *restrict x_gradient, long n, long c, long relu, const float *weight, const float *bias,
                        float eps, const float *mean, const float *variance, float *weight_gradient,
                        float *bias_gradient, long threads) {
    double sums[PARTS][MOST_CHANNELS] = {0}, products[PARTS][MOST_CHANNELS] = {0}, sum[MOST_CHANNELS], product[MOST_CHANNELS];
    float factor[MOST_CHANNELS], offset[MOST_CHANNELS], slope[MOST_CHANNELS];
    float m[WIDEST], f[WIDEST], b[WIDEST], o[WIDEST], k[WIDEST];

    for (int j = 0; j < c; j++) factor[j] = weight[j] / sqrtf(variance[j] + eps);
    #pragma omp parallel for num_threads(threads)
    for (int part = 0; part < PARTS; part++)
        add_gradients(g, x, kept, part_of(part, n, c), c, relu, mean, factor, bias, sums[part], products[part]);
    total(sums, c, sum);
    total(products, c, product);
    for (int j = 0; j < c; j++) {
        double precision = 1 / ((double)variance[j] + eps);
        bias_gradient[j] = (float)sum[j];
        weight_gradient[j] = (float)(product[j] * sqrt(precision));
        offset[j] = (float)(-factor[j] * sum[j] / n);
        slope[j] = (float)(-factor[j] * product[j] * precision / n);
    }

    widen(m, mean, c); widen(f, factor, c); widen(b, bias, c); widen(o, offset, c); widen(k, slope, c);
    #pragma omp parallel for num_threads(threads)
    for (int p = 0; p < PARTS; p++) {
        Part part = part_of(p, n, c);
        for (long i = part.start; i < part.end; i += WIDE * c) {
            int width = width_at(i, part, c);
            for (int j = 0; j < width; j++) {
                float v = centred(x[i + j], m[j], relu);
                float d = through(g[i + j], kept[i + j], v, f[j], b[j], relu) * f[j] + v * k[j] + o[j];
                x_gradient[i + j] = relu == RELU_BEFORE && x[i + j] <= 0 ? 0 : d;
            }
        }
    }
}
