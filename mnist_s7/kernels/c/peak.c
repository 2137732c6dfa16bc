/* For the benchmark: as many multiplications and additions as the processor can do, in vectors as the layers have. */

#include "kernels.h"

enum { SUMS = 9 }; /* two units that take four cycles each want at least 8 independent sums */

/* Do `steps` steps, and return how many floating-point operations they were. */
EXPORTED double mnist_s7_multiply_and_add(long steps, float *result) {
    Vector sums[SUMS], factor, addend;
    for (int j = 0; j < LANES; j++) {
        factor[j] = 0.5f;
        addend[j] = (float)j;
    }
    UNROLLED for (int s = 0; s < SUMS; s++) sums[s] = addend * (float)s;
    for (long i = 0; i < steps; i++)
        UNROLLED for (int s = 0; s < SUMS; s++) sums[s] = sums[s] * factor + addend;
    *result = 0; /* that nothing is left out as needless */
    for (int s = 0; s < SUMS; s++)
        for (int j = 0; j < LANES; j++) *result += sums[s][j];
    return 2.0 * LANES * SUMS * (double)steps;
}
