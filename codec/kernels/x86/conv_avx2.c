/*
 * conv_avx2.c - AVX2 kernels: vpmaddwd on pairs of int16.
 *
 * The convolution keeps 6 positions x 16 output channels in 12 registers; each pair of taps costs
 * two weight loads, six broadcasts, 12 multiply-adds and 12 additions, which keeps the two
 * multipliers of current cores busy without being bound by loads.  All additions wrap, as the
 * reference's do.
 */
#include "codec/kernels/kernels.h"

#if defined(__AVX2__)
#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* The loops over a constant number of accumulators: rolled, these would live in memory, not
   registers. */
#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

INLINE __m256i broadcast_pair(const int16_t *src) {
    int32_t pair;
    memcpy(&pair, src, sizeof pair);
    return _mm256_set1_epi32(pair);
}

INLINE __m256i load(const void *src) {
    return _mm256_loadu_si256((const __m256i *)src);
}

/* Shift, residual, activation and saturation of 16 channels of one position. */
INLINE void finish(const vqzi_conv *conv, uint32_t first, __m256i low, __m256i high,
                   const int16_t *add, int16_t *dst, uint32_t count) {
    __m128i slope = _mm_cvtsi32_si128(conv->slope);
    __m256i minimum = _mm256_set1_epi32(conv->minimum);
    __m256i maximum = _mm256_set1_epi32(conv->maximum);
    int16_t staged[VQZI_CONV_BLOCK];

    low = _mm256_srav_epi32(low, load(conv->shifts + first));
    high = _mm256_srav_epi32(high, load(conv->shifts + first + 8));
    if (add) {
        if (count < VQZI_CONV_BLOCK) {
            memset(staged, 0, sizeof staged);
            memcpy(staged, add, count * sizeof *add);
            add = staged;
        }
        __m256i both = load(add);
        low = _mm256_add_epi32(low, _mm256_cvtepi16_epi32(_mm256_castsi256_si128(both)));
        high = _mm256_add_epi32(high, _mm256_cvtepi16_epi32(_mm256_extracti128_si256(both, 1)));
    }
    low = _mm256_max_epi32(low, _mm256_sra_epi32(low, slope));
    high = _mm256_max_epi32(high, _mm256_sra_epi32(high, slope));
    low = _mm256_min_epi32(_mm256_max_epi32(low, minimum), maximum);
    high = _mm256_min_epi32(_mm256_max_epi32(high, minimum), maximum);
    __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8);
    if (count == VQZI_CONV_BLOCK) {
        _mm256_storeu_si256((__m256i *)dst, packed);
    } else {
        _mm256_storeu_si256((__m256i *)staged, packed);
        memcpy(dst, staged, count * sizeof *dst);
    }
}

/* n positions (a constant, 1..6) x 16 output channels. */
INLINE void conv_block(const vqzi_conv_job *job, const int16_t *weights, uint32_t first, uint32_t x,
                       const int n) {
    const vqzi_conv *conv = job->conv;
    size_t step = (size_t)conv->stride * conv->in_channels;
    __m256i acc[6][2];

    UNROLL
    for (int i = 0; i < n; i++) {
        acc[i][0] = load(job->offsets + first);
        acc[i][1] = load(job->offsets + first + 8);
    }
    for (uint32_t ky = 0; ky < conv->kernel; ky++) {
        const int16_t *src0 = job->src + ky * job->src_pitch + x * step;
        const int16_t *src3 = n > 3 ? src0 + 3 * step : src0;
        for (uint32_t pair = 0; pair < conv->pairs; pair++) {
            __m256i w0 = load(weights), w1 = load(weights + 16);
            UNROLL
            for (int i = 0; i < n; i++) {
                __m256i s = broadcast_pair(i < 3 ? src0 + i * step : src3 + (i - 3) * step);
                acc[i][0] = _mm256_add_epi32(acc[i][0], _mm256_madd_epi16(s, w0));
                acc[i][1] = _mm256_add_epi32(acc[i][1], _mm256_madd_epi16(s, w1));
            }
            weights += 2 * VQZI_CONV_BLOCK;
            src0 += 2;
            src3 += 2;
        }
    }
    uint32_t count = VQZI_MIN(conv->out_channels - first, (uint32_t)VQZI_CONV_BLOCK);
    UNROLL
    for (int i = 0; i < n; i++) {
        size_t at = (size_t)(x + (uint32_t)i) * conv->out_channels + first;
        finish(conv, first, acc[i][0], acc[i][1], job->add ? job->add + at : NULL, job->dst + at,
               count);
    }
}

static VQZI_CONV_KERNEL(conv_avx2) {
    const vqzi_conv *conv = job->conv;
    for (uint32_t first = 0; first < conv->out_channels; first += VQZI_CONV_BLOCK) {
        const int16_t *weights = conv->weights + (size_t)first * conv->kernel * conv->pairs * 2;
        uint32_t x = 0;
        for (; x + 6 <= job->width; x += 6)
            conv_block(job, weights, first, x, 6);
        switch (job->width - x) {
        case 5: conv_block(job, weights, first, x, 5); break;
        case 4: conv_block(job, weights, first, x, 4); break;
        case 3: conv_block(job, weights, first, x, 3); break;
        case 2: conv_block(job, weights, first, x, 2); break;
        case 1: conv_block(job, weights, first, x, 1); break;
        default: break;
        }
    }
}

static VQZI_ACT_KERNEL(act_avx2) {
    __m128i shift = _mm_cvtsi32_si128(slope);
    __m256i floor = _mm256_set1_epi16((int16_t)minimum);
    size_t i = 0;
    for (; i + 16 <= count; i += 16) {
        __m256i t = load(src + i);
        t = _mm256_max_epi16(_mm256_max_epi16(t, _mm256_sra_epi16(t, shift)), floor);
        _mm256_storeu_si256((__m256i *)(dst + i), t);
    }
    for (; i < count; i++) {
        int t = VQZI_MAX(src[i], src[i] >> slope);
        dst[i] = (int16_t)VQZI_MAX(t, minimum);
    }
}

/* The lowest cost of eight lanes, and among equals the lowest code. */
INLINE uint16_t lowest(__m256i best, __m256i code) {
    int32_t costs[8], found[8];
    _mm256_storeu_si256((__m256i *)costs, best);
    _mm256_storeu_si256((__m256i *)found, code);
    int at = 0;
    for (int i = 1; i < 8; i++)
        if (costs[i] < costs[at] || (costs[i] == costs[at] && found[i] < found[at]))
            at = i;
    return (uint16_t)found[at];
}

/* n residuals (a constant, 1..4) against all codes, 16 at a time.  Each lane sees its codes in
   ascending order and keeps the first of equals; lane i holds codes i, i + 8, ... */
INLINE void search_block(const vqzi_codes *codes, const int16_t *residuals, uint16_t *found,
                         const int n) {
    size_t dims = (size_t)codes->pairs * 2;
    const int16_t *packed = codes->packed;
    __m256i best[4], best_code[4];
    __m256i code = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i eight = _mm256_set1_epi32(8);

    UNROLL
    for (int i = 0; i < n; i++) {
        best[i] = _mm256_set1_epi32(INT32_MAX);
        best_code[i] = _mm256_setzero_si256();
    }
    for (uint32_t block = 0; block < codes->blocks; block++) {
        __m256i acc[4][2];
        UNROLL
        for (int i = 0; i < n; i++) {
            acc[i][0] = load(codes->base + (size_t)block * VQZI_SEARCH_BLOCK);
            acc[i][1] = load(codes->base + (size_t)block * VQZI_SEARCH_BLOCK + 8);
        }
        for (size_t d = 0; d < dims; d += 2) {
            __m256i e0 = load(packed), e1 = load(packed + 16);
            UNROLL
            for (int i = 0; i < n; i++) {
                __m256i r = broadcast_pair(residuals + (size_t)i * dims + d);
                acc[i][0] = _mm256_add_epi32(acc[i][0], _mm256_madd_epi16(r, e0));
                acc[i][1] = _mm256_add_epi32(acc[i][1], _mm256_madd_epi16(r, e1));
            }
            packed += 2 * VQZI_SEARCH_BLOCK;
        }
        UNROLL
        for (int half = 0; half < 2; half++) {
            UNROLL
            for (int i = 0; i < n; i++) {
                __m256i better = _mm256_cmpgt_epi32(best[i], acc[i][half]);
                best[i] = _mm256_min_epi32(best[i], acc[i][half]);
                best_code[i] = _mm256_blendv_epi8(best_code[i], code, better);
            }
            code = _mm256_add_epi32(code, eight);
        }
    }
    /* A lane that met only padding keeps cost INT32_MAX, which no real code has. */
    UNROLL
    for (int i = 0; i < n; i++)
        found[i] = lowest(best[i], best_code[i]);
}

static VQZI_SEARCH_KERNEL(search_avx2) {
    size_t dims = (size_t)codes->pairs * 2;
    size_t i = 0;
    for (; i + 4 <= count; i += 4)
        search_block(codes, residuals + i * dims, found + i, 4);
    for (; i < count; i++)
        search_block(codes, residuals + i * dims, found + i, 1);
}

void vqzi_kernels_init_avx2(vqzi_kernels *kernels) {
    if (!__builtin_cpu_supports("avx2"))
        return;
    kernels->conv = conv_avx2;
    kernels->act = act_avx2;
    kernels->search = search_avx2;
}

#else

void vqzi_kernels_init_avx2(vqzi_kernels *kernels) {
    (void)kernels;
}

#endif
