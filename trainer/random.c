/* random.c - see random.h. */
#include "trainer/random.h"
#include <math.h>

void random_seed(random_state *r, uint64_t seed) {
    for (int i = 0; i < 4; i++) {
        uint64_t z = (seed += 0x9E3779B97F4A7C15u);
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        r->s[i] = z ^ (z >> 31);
    }
}

static uint64_t rotate(uint64_t x, int k) {
    return (x << k) | (x >> (64 - k));
}

uint64_t random_next(random_state *r) {
    uint64_t *s = r->s;
    uint64_t result = rotate(s[0] + s[3], 23) + s[0], t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

uint32_t random_below(random_state *r, uint32_t bound) {
    /* Lemire 2019: multiply, and reject the few values that would bias the result. */
    uint64_t product = (random_next(r) >> 32) * bound;
    if ((uint32_t)product < bound) {
        uint32_t threshold = -bound % bound;
        while ((uint32_t)product < threshold)
            product = (random_next(r) >> 32) * bound;
    }
    return (uint32_t)(product >> 32);
}

float random_uniform(random_state *r) {
    return (float)(random_next(r) >> 40) * 0x1p-24f;
}

float random_normal(random_state *r) {
    /* Box-Muller, one value a call so that the state is all there is. */
    float u = 1.0f - random_uniform(r), v = random_uniform(r);
    return sqrtf(-2.0f * logf(u)) * cosf(6.28318530718f * v);
}
