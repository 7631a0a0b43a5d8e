/*
 * wide.h - what plain loops need to become vectors: compilation for wider ones, and functions that are
 * polynomials where those of the C library are calls, one for each value.
 */
#ifndef TRAINER_WIDE_H
#define TRAINER_WIDE_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* Compiles a function for wider vectors too, taken where the processor has them.  The width of a vector
   changes no result: products and sums are rounded one by one (C11 mode fuses none). */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) &&                             \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define WIDE __attribute__((target_clones("arch=x86-64-v4", "avx2", "default")))
#else
#define WIDE
#endif

/* 2^x for -126 <= x <= 127, to 2e-7. */
static inline float wide_exp2(float x) {
    float whole = rintf(x), t = (x - whole) * 0.69314718f; /* |t| <= 0.35 */
    float power =
        1 + t * (1 + t * (0.5f + t * (1 / 6.0f + t * (1 / 24.0f + t * (1 / 120.0f + t / 720)))));
    int32_t bits = ((int32_t)whole + 127) << 23;
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return power * scale;
}

/* e^x for x <= 0; 0 below -87. */
static inline float wide_exp_negative(float x) {
    return x < -87 ? 0 : wide_exp2((x < -87 ? -87 : x) * 1.44269504f);
}

/* Of a normal number above 0, to 2e-7 or as much of the result. */
static inline float wide_log2(float x) {
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    int32_t octave = (bits - 0x3f3504f3) >> 23; /* the rest is between the roots of 1/2 and 2 */
    bits -= octave * (1 << 23);
    float rest;
    memcpy(&rest, &bits, sizeof rest);
    float t = (rest - 1) / (rest + 1), u = t * t; /* log(rest) = 2 artanh(t) */
    return (float)octave +
           2.88539008f * t * (1 + u * (1 / 3.0f + u * (1 / 5.0f + u * (1 / 7.0f + u / 9))));
}

#endif
