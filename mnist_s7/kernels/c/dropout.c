/* Dropout's masks, each part of a mask drawn by STREAMS generators side by side.

   xoshiro128+: D. Blackman and S. Vigna, "Scrambled Linear Pseudorandom Number Generators" (arXiv:1805.01407). Its
   lowest bits are the weak ones, and a comparison goes by the highest. */

#include "kernels.h"

typedef unsigned Streams __attribute__((vector_size(STREAMS * sizeof(unsigned))));
typedef int Flags __attribute__((vector_size(STREAMS * sizeof(int))));

/* `state` is (words, streams), of no stream all 0. */
static void draw(const unsigned *state, unsigned dropped, unsigned char *keep, long n) {
    Streams s[WORDS];
    memcpy(s, state, sizeof s);
    for (long at = 0; at < n; at += STREAMS) {
        Flags over = s[0] + s[3] >= dropped;
        unsigned char kept[STREAMS];
        for (int i = 0; i < STREAMS; i++) kept[i] = over[i] & 1;
        if (n - at >= STREAMS) memcpy(keep + at, kept, STREAMS);
        else memcpy(keep + at, kept, n - at);
        Streams shifted = s[1] << 9;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= shifted;
        s[3] = s[3] << 11 | s[3] >> 21;
    }
}

/* `keep` is of n bytes, 0 with probability dropped / 2^32, else 1. `states` are (PARTS, words, streams). */
EXPORTED void mnist_s7_keep_mask(const unsigned *states, unsigned dropped, unsigned char *keep, long n, long threads) {
    (void)threads; /* which nobody uses without OpenMP */
    #pragma omp parallel for num_threads(threads)
    for (int part = 0; part < PARTS; part++) {
        long start = n * part / PARTS, end = n * (part + 1) / PARTS;
        draw(states + part * WORDS * STREAMS, dropped, keep + start, end - start);
    }
}
