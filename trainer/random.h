/*
 * random.h - the trainer's random numbers: xoshiro256++ (Blackman and Vigna 2019), one small state
 * that checkpoints can hold.
 */
#ifndef TRAINER_RANDOM_H
#define TRAINER_RANDOM_H

#include <stdint.h>

typedef struct random_state {
    uint64_t s[4];
} random_state;

void random_seed(random_state *r, uint64_t seed);       /* splitmix64 expansion */
uint64_t random_next(random_state *r);
uint32_t random_below(random_state *r, uint32_t bound); /* 0 .. bound - 1, unbiased */
float random_uniform(random_state *r);                  /* [0, 1) */
float random_normal(random_state *r);                   /* mean 0, variance 1 */

#endif
