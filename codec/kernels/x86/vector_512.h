/*
 * vector_512.h - AVX-512 (F, BW) vocabulary of template.h, all but the multiply-add.
 *
 * 12 positions x 2 vectors keep 24 of 32 registers.
 */
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

#define LANES 16
#define POSITIONS 12
#define SEARCHES 8

typedef __m512i vec, vec_pairs, vec_spread;

INLINE vec load(const int32_t *src) {
    return _mm512_loadu_si512(src);
}

INLINE void store(int32_t *dst, vec a) {
    _mm512_storeu_si512(dst, a);
}

INLINE vec_pairs load_pairs(const int16_t *src) {
    return _mm512_loadu_si512(src);
}

INLINE vec_spread spread(const int16_t *src) {
    int32_t pair;
    memcpy(&pair, src, sizeof pair);
    return _mm512_set1_epi32(pair);
}

INLINE vec set_all(int32_t value) {
    return _mm512_set1_epi32(value);
}

INLINE vec add(vec a, vec b) {
    return _mm512_add_epi32(a, b);
}

INLINE vec maximum(vec a, vec b) {
    return _mm512_max_epi32(a, b);
}

INLINE vec minimum(vec a, vec b) {
    return _mm512_min_epi32(a, b);
}

INLINE vec shift_each(vec a, vec counts) {
    return _mm512_srav_epi32(a, counts);
}

INLINE vec shift_all(vec a, int32_t count) {
    return _mm512_sra_epi32(a, _mm_cvtsi32_si128(count));
}

INLINE vec load_narrow(const int16_t *src) {
    return _mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i *)src));
}

INLINE void store_narrow(int16_t *dst, vec a) {
    _mm256_storeu_si256((__m256i *)dst, _mm512_cvtepi32_epi16(a));
}

INLINE void store_pair(int16_t *dst, vec a, vec b, int minimum, int maximum) {
    __m512i t = _mm512_castsi256_si512(_mm512_cvtsepi32_epi16(a));
    t = _mm512_inserti64x4(t, _mm512_cvtsepi32_epi16(b), 1);
    t = _mm512_max_epi16(t, _mm512_set1_epi16((int16_t)minimum));
    t = _mm512_min_epi16(t, _mm512_set1_epi16((int16_t)maximum));
    _mm512_storeu_si512(dst, t);
}

INLINE void narrow_act(int16_t *dst, const int16_t *src, int slope, int minimum) {
    __m512i t = _mm512_loadu_si512(src);
    t = _mm512_max_epi16(t, _mm512_sra_epi16(t, _mm_cvtsi32_si128(slope)));
    t = _mm512_max_epi16(t, _mm512_set1_epi16((int16_t)minimum));
    _mm512_storeu_si512(dst, t);
}

INLINE vec first_codes(void) {
    return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}

INLINE void keep_lower(vec *best, vec *codes, vec cost, vec code) {
    *codes = _mm512_mask_mov_epi32(*codes, _mm512_cmplt_epi32_mask(cost, *best), code);
    *best = _mm512_min_epi32(*best, cost);
}

INLINE uint16_t lowest_code(vec best, vec codes) {
    __mmask16 lowest = _mm512_cmpeq_epi32_mask(best, set_all(_mm512_reduce_min_epi32(best)));
    return (uint16_t)_mm512_mask_reduce_min_epi32(lowest, codes);
}
