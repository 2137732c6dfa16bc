/* Dropout's masks, drawn by STREAMS generators side by side.

   xoshiro128+: D. Blackman and S. Vigna, "Scrambled Linear Pseudorandom Number Generators" (arXiv:1805.01407). Its
   lowest bits are the weak ones, and a comparison goes by the highest. */

#include "kernels.h"

typedef unsigned Streams __attribute__((vector_size(STREAMS * sizeof(unsigned))));
typedef unsigned char Bytes __attribute__((vector_size(STREAMS)));

/* `keep` is of n bytes, 0 with probability dropped / 2^32, else 1; `state` (words, streams), any but all 0. */
EXPORTED void mnist_s7_keep_mask(const unsigned *state, unsigned dropped, unsigned char *keep, long n) {
    Streams s[WORDS];
    memcpy(s, state, sizeof s);
    for (long at = 0; at < n; at += STREAMS) {
        Bytes kept = __builtin_convertvector(s[0] + s[3] >= dropped, Bytes) & 1;
        if (n - at >= STREAMS) memcpy(keep + at, &kept, STREAMS);
        else memcpy(keep + at, &kept, n - at);
        Streams shifted = s[1] << 9;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= shifted;
        s[3] = s[3] << 11 | s[3] >> 21;
    }
}
