/*
 * kernels_neon.c - 64-bit ARM: smlal and smlal2 with one element of a pair of inputs.
 *
 * smlal has no pairs of its own.  The packed weights are taken apart into those of the first tap
 * and those of the second, once for all positions.  (ld2 would do it, but ties registers that gcc
 * then spills.)  A vector is two registers: 6 positions x 2 vectors keep 24 of 32, the weights four
 * and the pair of inputs one; 48 of 66 instructions of the inner loop multiply.
 */
#include "codec/kernels/kernels.h"

#include <arm_neon.h>

#define INLINE static inline __attribute__((always_inline))

#define NAME(x)   x##_neon
#define LANES     8
#define POSITIONS 6
#define SEARCHES  2

typedef struct vec {
    int32x4_t low, high;
} vec;
typedef struct vec_pairs {
    int16x8_t first, second;
} vec_pairs;
typedef int16x4_t vec_spread;

INLINE vec load(const int32_t *src) {
    return (vec){vld1q_s32(src), vld1q_s32(src + 4)};
}

INLINE void store(int32_t *dst, vec a) {
    vst1q_s32(dst, a.low);
    vst1q_s32(dst + 4, a.high);
}

INLINE vec_pairs load_pairs(const int16_t *src) {
    int16x8_t low = vld1q_s16(src), high = vld1q_s16(src + 8);
    return (vec_pairs){vuzp1q_s16(low, high), vuzp2q_s16(low, high)};
}

INLINE vec_spread spread(const int16_t *src) {
    int32_t pair;
    __builtin_memcpy(&pair, src, sizeof pair);
    return vreinterpret_s16_s32(vset_lane_s32(pair, vdup_n_s32(0), 0));
}

INLINE vec set_all(int32_t value) {
    return (vec){vdupq_n_s32(value), vdupq_n_s32(value)};
}

INLINE vec multiply_add(vec acc, vec_pairs pairs, vec_spread pair) {
    acc.low = vmlal_lane_s16(acc.low, vget_low_s16(pairs.first), pair, 0);
    acc.high = vmlal_high_lane_s16(acc.high, pairs.first, pair, 0);
    acc.low = vmlal_lane_s16(acc.low, vget_low_s16(pairs.second), pair, 1);
    acc.high = vmlal_high_lane_s16(acc.high, pairs.second, pair, 1);
    return acc;
}

INLINE vec add(vec a, vec b) {
    return (vec){vaddq_s32(a.low, b.low), vaddq_s32(a.high, b.high)};
}

INLINE vec maximum(vec a, vec b) {
    return (vec){vmaxq_s32(a.low, b.low), vmaxq_s32(a.high, b.high)};
}

INLINE vec minimum(vec a, vec b) {
    return (vec){vminq_s32(a.low, b.low), vminq_s32(a.high, b.high)};
}

INLINE vec shift_each(vec a, vec counts) {
    return (vec){vshlq_s32(a.low, vnegq_s32(counts.low)),
                 vshlq_s32(a.high, vnegq_s32(counts.high))};
}

INLINE vec shift_all(vec a, int32_t count) {
    return shift_each(a, set_all(count));
}

INLINE vec load_narrow(const int16_t *src) {
    int16x8_t both = vld1q_s16(src);
    return (vec){vmovl_s16(vget_low_s16(both)), vmovl_high_s16(both)};
}

INLINE void store_narrow(int16_t *dst, vec a) {
    vst1q_s16(dst, vmovn_high_s32(vmovn_s32(a.low), a.high));
}

INLINE void store_pair(int16_t *dst, vec a, vec b, int minimum, int maximum) {
    int16x8_t low = vdupq_n_s16((int16_t)minimum), high = vdupq_n_s16((int16_t)maximum);
    int16x8_t t = vqmovn_high_s32(vqmovn_s32(a.low), a.high);
    vst1q_s16(dst, vminq_s16(vmaxq_s16(t, low), high));
    t = vqmovn_high_s32(vqmovn_s32(b.low), b.high);
    vst1q_s16(dst + 8, vminq_s16(vmaxq_s16(t, low), high));
}

INLINE void narrow_act(int16_t *dst, const int16_t *src, int slope, int minimum) {
    int16x8_t shift = vdupq_n_s16((int16_t)-slope), floor = vdupq_n_s16((int16_t)minimum);
    for (int i = 0; i < 2 * LANES; i += 8) {
        int16x8_t t = vld1q_s16(src + i);
        vst1q_s16(dst + i, vmaxq_s16(vmaxq_s16(t, vshlq_s16(t, shift)), floor));
    }
}

INLINE vec first_codes(void) {
    static const int32_t codes[LANES] = {0, 1, 2, 3, 4, 5, 6, 7};
    return load(codes);
}

INLINE void keep_lower(vec *best, vec *codes, vec cost, vec code) {
    codes->low = vbslq_s32(vcltq_s32(cost.low, best->low), code.low, codes->low);
    codes->high = vbslq_s32(vcltq_s32(cost.high, best->high), code.high, codes->high);
    *best = minimum(*best, cost);
}

INLINE uint16_t lowest_code(vec best, vec codes) {
    int32x4_t lowest = vdupq_n_s32(vminvq_s32(vminq_s32(best.low, best.high)));
    /* all ones, above every code, where the cost is not the lowest */
    uint32x4_t low = vornq_u32(vreinterpretq_u32_s32(codes.low), vceqq_s32(best.low, lowest));
    uint32x4_t high = vornq_u32(vreinterpretq_u32_s32(codes.high), vceqq_s32(best.high, lowest));
    return (uint16_t)vminvq_u32(vminq_u32(low, high));
}

#include "codec/kernels/template.h"

void vqzi_kernels_init_neon(vqzi_kernels *kernels) {
    fill_neon(kernels);
}
