/* Dropout's masks, each part of a mask drawn by STREAMS generators side by side.

   xoshiro128+: D. Blackman and S. Vigna, "Scrambled Linear Pseudorandom Number Generators" (arXiv:1805.01407). Its
   lowest bits are the weak ones, and a comparison goes by the highest. */

#include "kernels.h"

typedef unsigned Words __attribute__((vector_size(LANES * sizeof(unsigned))));

/* So many comparisons are kept as integers, and only then made bytes, in a loop of their own, which a compiler does by
   whole vectors. Made bytes one by one as they are drawn, they took more than ten times as long with 8 lanes. */
enum { BLOCK = 512 };

/* `state` is (words, streams). A stream of which all words are 0 would stay there; of 2^128 draws one is that. */
static void draw(const unsigned *state, unsigned dropped, unsigned char *keep, long n) {
    Words s[WORDS][STREAMS / LANES];
    memcpy(s, state, sizeof s);
    for (long at = 0; at < n; at += BLOCK) {
        int over[BLOCK];
        for (int drawn = 0; drawn < BLOCK; drawn += STREAMS)
            UNROLLED
            for (int i = 0; i < STREAMS / LANES; i++) {
                Mask kept = s[0][i] + s[3][i] >= dropped;
                memcpy(over + drawn + i * LANES, &kept, sizeof kept);
                Words shifted = s[1][i] << 9;
                s[2][i] ^= s[0][i];
                s[3][i] ^= s[1][i];
                s[1][i] ^= s[2][i];
                s[0][i] ^= s[3][i];
                s[2][i] ^= shifted;
                s[3][i] = s[3][i] << 11 | s[3][i] >> 21;
            }
        long size = min(n - at, BLOCK);
        for (long i = 0; i < size; i++) keep[at + i] = over[i] & 1;
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
