/*
 * vector_256.h - AVX2 vocabulary of template.h, all but the multiply-add.
 *
 * 6 positions x 2 vectors keep 12 of 16 registers; two are weights and one is the spread pair.
 */
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

#define LANES 8
#define POSITIONS 6
#define SEARCHES 4

typedef __m256i vec, vec_pairs, vec_spread;

INLINE vec load(const int32_t *src) {
    return _mm256_loadu_si256((const __m256i *)src);
}

INLINE void store(int32_t *dst, vec a) {
    _mm256_storeu_si256((__m256i *)dst, a);
}

INLINE vec_pairs load_pairs(const int16_t *src) {
    return _mm256_loadu_si256((const __m256i *)src);
}

INLINE vec_spread spread(const int16_t *src) {
    int32_t pair;
    memcpy(&pair, src, sizeof pair);
    return _mm256_set1_epi32(pair);
}

INLINE vec set_all(int32_t value) {
    return _mm256_set1_epi32(value);
}

INLINE vec add(vec a, vec b) {
    return _mm256_add_epi32(a, b);
}

INLINE vec maximum(vec a, vec b) {
    return _mm256_max_epi32(a, b);
}

INLINE vec minimum(vec a, vec b) {
    return _mm256_min_epi32(a, b);
}

INLINE vec shift_each(vec a, vec counts) {
    return _mm256_srav_epi32(a, counts);
}

INLINE vec shift_all(vec a, int32_t count) {
    return _mm256_sra_epi32(a, _mm_cvtsi32_si128(count));
}

INLINE vec load_narrow(const int16_t *src) {
    return _mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)src));
}

INLINE void store_narrow(int16_t *dst, vec a) {
    __m128i packed = _mm_packs_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    _mm_storeu_si128((__m128i *)dst, packed);
}

INLINE void store_pair(int16_t *dst, vec a, vec b, int minimum, int maximum) {
    __m256i t = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
    t = _mm256_max_epi16(t, _mm256_set1_epi16((int16_t)minimum));
    t = _mm256_min_epi16(t, _mm256_set1_epi16((int16_t)maximum));
    _mm256_storeu_si256((__m256i *)dst, t);
}

INLINE void narrow_act(int16_t *dst, const int16_t *src, int slope, int minimum) {
    __m256i t = _mm256_loadu_si256((const __m256i *)src);
    t = _mm256_max_epi16(t, _mm256_sra_epi16(t, _mm_cvtsi32_si128(slope)));
    t = _mm256_max_epi16(t, _mm256_set1_epi16((int16_t)minimum));
    _mm256_storeu_si256((__m256i *)dst, t);
}

INLINE vec first_codes(void) {
    return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
}

INLINE void keep_lower(vec *best, vec *codes, vec cost, vec code) {
    *codes = _mm256_blendv_epi8(*codes, code, _mm256_cmpgt_epi32(*best, cost));
    *best = _mm256_min_epi32(*best, cost);
}

/* Minimum of all lanes, in all lanes. */
INLINE vec lowest(vec a) {
    a = _mm256_min_epi32(a, _mm256_permute2x128_si256(a, a, 1));
    a = _mm256_min_epi32(a, _mm256_shuffle_epi32(a, 0x4e));
    return _mm256_min_epi32(a, _mm256_shuffle_epi32(a, 0xb1));
}

INLINE uint16_t lowest_code(vec best, vec codes) {
    vec others = _mm256_cmpgt_epi32(best, lowest(best)); /* all ones: no code is above */
    codes = lowest(_mm256_or_si256(codes, _mm256_srli_epi32(others, 1)));
    return (uint16_t)_mm256_cvtsi256_si32(codes);
}
