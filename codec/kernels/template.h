/*
 * template.h - the vector kernels, written once.  A file of one instruction set defines the names
 * below and includes this one; it has no include guard, because each such file is compiled alone.
 *
 *   NAME(x)       x with the suffix of the instruction set
 *   LANES         int32 lanes of a vector, 8 or 16: as many output channels or codes
 *   POSITIONS     output positions at a time; 2 * POSITIONS sums must fit the registers
 *   SEARCHES      residuals at a time: 16 / LANES sums and 2 vectors of results for each
 *   vec           LANES int32
 *   vec_pairs     LANES pairs of int16, one of the operands of a multiply-add
 *   vec_spread    one pair of int16 for all lanes, the other operand
 *   CONV_NARROW   the convolution for at most LANES / 2 channels, if another one is better
 *
 *   load, load_pairs, spread     from memory of any alignment; store is the inverse of load
 *   set_all                      one int32 in all lanes
 *   multiply_add(acc, p, s)      acc + p.first * s.first + p.second * s.second, wrapping
 *   add, maximum, minimum, shift_each (by a vector), shift_all (by one number; arithmetic)
 *   load_narrow, store_narrow    LANES int16 from and to memory; values fit
 *   store_pair                   2 * LANES int16 to memory, of any values, clamped
 *   narrow_act                   2 * LANES int16 of an activation
 *   keep_lower(best, codes, cost, code)   where cost < best: best = cost, codes = code
 *   lowest_code(best, codes)     the code of the lowest cost, the lowest code among equals
 *
 * A convolution holds n positions x 2 * LANES channels in registers.  Each pair of taps costs two
 * loads of weights, n spreads and 2 n multiply-adds, so the multipliers are the limit and not the
 * loads.  With one position, matvec, every weight is used once and loads are the limit; it holds up to
 * 8 * LANES channels, so that one spread serves many.  All sums wrap, as the reference's do.
 */
#include "codec/kernels/kernels.h"

#include <string.h>

/* Loops over accumulators, which live in registers only when every index is a constant: unrolled
   over all that there can be (`most`) before the functions are inlined, and cut to the constant
   `count` after it. */
#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif
#define FOR_EACH(i, most, count)                                                                   \
    UNROLL                                                                                         \
    for (int i = 0; i < (most); i++)                                                               \
        if (i < (count))

/* count < 16 elements; memcpy of a variable size would be a call. */
INLINE void copy_few(int16_t *dst, const int16_t *src, uint32_t count) {
    uint32_t at = 0;
    if (count & 8) {
        memcpy(dst, src, 8 * sizeof *dst);
        at = 8;
    }
    if (count & 4) {
        memcpy(dst + at, src + at, 4 * sizeof *dst);
        at += 4;
    }
    if (count & 2) {
        memcpy(dst + at, src + at, 2 * sizeof *dst);
        at += 2;
    }
    if (count & 1)
        dst[at] = src[at];
}

/* Residual, activation and saturation of `count` <= LANES channels of one position. */
INLINE void finish(const vqzi_conv *conv, vec t, const int16_t *add_src, int16_t *dst,
                   uint32_t count) {
    int16_t staged[LANES];
    if (add_src) {
        if (count < LANES) {
            memset(staged, 0, sizeof staged);
            copy_few(staged, add_src, count);
            add_src = staged;
        }
        t = add(t, load_narrow(add_src));
    }
    t = maximum(t, shift_all(t, conv->slope));
    t = minimum(maximum(t, set_all(conv->minimum)), set_all(conv->maximum));
    if (count == LANES) {
        store_narrow(dst, t);
    } else {
        store_narrow(staged, t);
        copy_few(dst, staged, count);
    }
}

/* n positions (a constant, 1..POSITIONS) x `vectors` (a constant, 1 or 2) times LANES channels.
   `away` is the distance of the second vector's weights from the first's.  sums: see VQZI_SUMS_KERNEL,
   or NULL to finish the convolution.  That is asked once a block, and not a constant: the code is
   large as it is. */
INLINE void conv_block(const vqzi_conv_job *job, int32_t *sums, uint32_t first, uint32_t x,
                       const int n, const int vectors) {
    const vqzi_conv *conv = job->conv;
    size_t step = (size_t)conv->stride * conv->in_channels;
    size_t block = (size_t)conv->rows * conv->pairs * 2 * VQZI_CONV_BLOCK;
    size_t sums_step = (conv->out_channels + VQZI_CONV_BLOCK - 1) & ~(size_t)(VQZI_CONV_BLOCK - 1);
    size_t away = LANES < VQZI_CONV_BLOCK ? 2 * LANES : block;
    const int16_t *weights =
        conv->weights + first / VQZI_CONV_BLOCK * block + first % VQZI_CONV_BLOCK * 2;
    vec acc[POSITIONS][2];

    if (sums)
        sums += x * sums_step + first;
    if (!job->offsets) {
        FOR_EACH (i, POSITIONS, n)
            FOR_EACH (v, 2, vectors)
                acc[i][v] = load(sums + i * sums_step + v * LANES);
    } else {
        FOR_EACH (i, POSITIONS, n)
            FOR_EACH (v, 2, vectors)
                acc[i][v] = load(job->offsets + first + v * LANES);
    }
    for (uint32_t ky = 0; ky < conv->rows; ky++) {
        /* every third position has its pointer; the two between are one and two steps from it */
        const int16_t *src[POSITIONS / 3];
        FOR_EACH (i, POSITIONS / 3, (n + 2) / 3)
            src[i] = job->src + ky * job->src_pitch + (x + (size_t)i * 3) * step;
        for (uint32_t pair = 0; pair < conv->pairs; pair++) {
            vec_pairs w[2];
            FOR_EACH (v, 2, vectors)
                w[v] = load_pairs(weights + v * away);
            FOR_EACH (i, POSITIONS, n) {
                vec_spread s = spread(src[i / 3] + i % 3 * step);
                FOR_EACH (v, 2, vectors)
                    acc[i][v] = multiply_add(acc[i][v], w[v], s);
            }
            weights += 2 * VQZI_CONV_BLOCK;
            FOR_EACH (i, POSITIONS / 3, (n + 2) / 3)
                src[i] += 2;
        }
    }
    if (sums) {
        FOR_EACH (i, POSITIONS, n)
            FOR_EACH (v, 2, vectors)
                store(sums + i * sums_step + v * LANES, acc[i][v]);
        return;
    }
    FOR_EACH (v, 2, vectors) {
        uint32_t channel = first + (uint32_t)v * LANES;
        uint32_t count = VQZI_MIN(conv->out_channels - channel, (uint32_t)LANES);
        vec shifts = load(conv->shifts + channel);
        FOR_EACH (i, POSITIONS, n) {
            size_t at = (size_t)(x + (uint32_t)i) * conv->out_channels + channel;
            finish(conv, shift_each(acc[i][v], shifts), job->add ? job->add + at : NULL,
                   job->dst + at, count);
        }
    }
}

/* A row in blocks of nearly equal size: a short block at the end would leave the multipliers
   waiting for the sums. */
INLINE void conv_columns(const vqzi_conv_job *job, int32_t *sums, uint32_t first, const int vectors) {
    uint32_t blocks = (job->width + POSITIONS - 1) / POSITIONS;
    for (uint32_t x = 0; blocks > 0; blocks--) {
        uint32_t n = (job->width - x + blocks - 1) / blocks;
        switch (n) {
#if POSITIONS > 6
        case 12:
            conv_block(job, sums, first, x, 12, vectors);
            break;
        case 11:
            conv_block(job, sums, first, x, 11, vectors);
            break;
        case 10:
            conv_block(job, sums, first, x, 10, vectors);
            break;
        case 9:
            conv_block(job, sums, first, x, 9, vectors);
            break;
        case 8:
            conv_block(job, sums, first, x, 8, vectors);
            break;
        case 7:
            conv_block(job, sums, first, x, 7, vectors);
            break;
#endif
        case 6:
            conv_block(job, sums, first, x, 6, vectors);
            break;
        case 5:
            conv_block(job, sums, first, x, 5, vectors);
            break;
        case 4:
            conv_block(job, sums, first, x, 4, vectors);
            break;
        case 3:
            conv_block(job, sums, first, x, 3, vectors);
            break;
        case 2:
            conv_block(job, sums, first, x, 2, vectors);
            break;
        default:
            conv_block(job, sums, first, x, 1, vectors);
            break;
        }
        x += n;
    }
}

static VQZI_SUMS_KERNEL(NAME(sums)) {
    uint32_t channels = job->conv->out_channels, first = 0;
    for (; first + LANES < channels; first += 2 * LANES)
        conv_columns(job, sums, first, 2);
    if (first < channels)
        conv_columns(job, sums, first, 1);
}

static VQZI_CONV_KERNEL(NAME(conv)) {
#ifdef CONV_NARROW
    if (job->conv->out_channels <= LANES / 2) {
        CONV_NARROW(job);
        return;
    }
#endif
    NAME(sums)(job, NULL);
}

/* `vectors` (a constant, 1..8) times LANES channels from `first`, a multiple of 16.  Each channel has
   `ways` (a constant) sums, of different pairs, so that additions do not wait for each other. */
INLINE void matvec_block(const vqzi_conv *conv, const int32_t *start, const int16_t *src,
                         int16_t *dst, uint32_t first, const int vectors, const int ways) {
    enum { PARTS = VQZI_CONV_BLOCK / LANES };
    size_t block = (size_t)conv->pairs * 2 * VQZI_CONV_BLOCK;
    const int16_t *weights = conv->weights + first / VQZI_CONV_BLOCK * block;
    uint32_t left = conv->pairs;
    vec acc[8];

    FOR_EACH (v, 8, vectors)
        acc[v] = load(start + first + v * LANES);
    FOR_EACH (v, 8, (ways - 1) * vectors)
        acc[vectors + v] = set_all(0);
    for (; left >= (uint32_t)ways; left -= (uint32_t)ways) {
        FOR_EACH (w, 4, ways) {
            vec_spread s = spread(src + 2 * w);
            FOR_EACH (v, 8, vectors)
                acc[w * vectors + v] = multiply_add(
                    acc[w * vectors + v],
                    load_pairs(weights + v / PARTS * block + v % PARTS * (2 * LANES)), s);
            weights += 2 * VQZI_CONV_BLOCK;
        }
        src += 2 * ways;
    }
    for (; left > 0; left--) {
        vec_spread s = spread(src);
        FOR_EACH (v, 8, vectors)
            acc[v] = multiply_add(
                acc[v], load_pairs(weights + v / PARTS * block + v % PARTS * (2 * LANES)), s);
        weights += 2 * VQZI_CONV_BLOCK;
        src += 2;
    }
    FOR_EACH (v, 8, (ways - 1) * vectors)
        acc[v % vectors] = add(acc[v % vectors], acc[vectors + v]);
    FOR_EACH (v, 8, vectors) {
        acc[v] = shift_each(acc[v], load(conv->shifts + first + v * LANES));
        acc[v] = maximum(acc[v], shift_all(acc[v], conv->slope));
    }
    FOR_EACH (v, 4, vectors / 2)
        store_pair(dst + first + v * 2 * LANES, acc[2 * v], acc[2 * v + 1], conv->minimum,
                   conv->maximum);
    if (vectors == 1)
        store_narrow(dst + first, minimum(maximum(acc[0], set_all(conv->minimum)),
                                          set_all(conv->maximum)));
}

static VQZI_MATVEC_KERNEL(NAME(matvec)) {
    for (uint32_t first = 0; first < conv->out_channels;) {
        uint32_t left = (conv->out_channels - first + LANES - 1) / LANES;
        if (left >= 8) {
            matvec_block(conv, start, src, dst, first, 8, 1);
            first += 8 * LANES;
        } else if (left >= 4) {
            matvec_block(conv, start, src, dst, first, 4, 2);
            first += 4 * LANES;
        } else if (left >= 2) {
            matvec_block(conv, start, src, dst, first, 2, 4);
            first += 2 * LANES;
        } else {
            matvec_block(conv, start, src, dst, first, 1, 4);
            first += LANES;
        }
    }
}

static VQZI_ACT_KERNEL(NAME(act)) {
    size_t i = 0;
    for (; i + 2 * LANES <= count; i += 2 * LANES)
        narrow_act(dst + i, src + i, slope, minimum);
    for (; i < count; i++) {
        int t = VQZI_MAX(src[i], src[i] >> slope);
        dst[i] = (int16_t)VQZI_MAX(t, minimum);
    }
}

/* n residuals (a constant, 1..SEARCHES) against all codes.  Each lane sees its codes in ascending
   order and keeps the first of equals; lane i holds codes i, i + LANES, ... */
INLINE void search_block(const vqzi_codes *codes, const int16_t *residuals, uint16_t *found,
                         const int n) {
    enum { PARTS = VQZI_SEARCH_BLOCK / LANES };
    size_t dims = (size_t)codes->pairs * 2;
    const int16_t *packed = codes->packed;
    vec best[SEARCHES], best_code[SEARCHES];
    vec code = first_codes(), next = set_all(LANES);

    FOR_EACH (i, SEARCHES, n) {
        best[i] = set_all(INT32_MAX);
        best_code[i] = set_all(0);
    }
    for (uint32_t k = 0; k < codes->blocks * VQZI_SEARCH_BLOCK; k += VQZI_SEARCH_BLOCK) {
        vec acc[SEARCHES][PARTS];
        FOR_EACH (i, SEARCHES, n)
            FOR_EACH (v, PARTS, PARTS)
                acc[i][v] = load(codes->base + k + v * LANES);
        for (size_t d = 0; d < dims; d += 2) {
            vec_pairs e[PARTS];
            FOR_EACH (v, PARTS, PARTS)
                e[v] = load_pairs(packed + v * 2 * LANES);
            FOR_EACH (i, SEARCHES, n) {
                vec_spread r = spread(residuals + (size_t)i * dims + d);
                FOR_EACH (v, PARTS, PARTS)
                    acc[i][v] = multiply_add(acc[i][v], e[v], r);
            }
            packed += 2 * VQZI_SEARCH_BLOCK;
        }
        FOR_EACH (v, PARTS, PARTS) {
            FOR_EACH (i, SEARCHES, n)
                keep_lower(&best[i], &best_code[i], acc[i][v], code);
            code = add(code, next);
        }
    }
    /* A lane that met only padding keeps cost INT32_MAX, which no real code has. */
    FOR_EACH (i, SEARCHES, n)
        found[i] = lowest_code(best[i], best_code[i]);
}

static VQZI_SEARCH_KERNEL(NAME(search)) {
    size_t dims = (size_t)codes->pairs * 2;
    size_t i = 0;
    for (; i + SEARCHES <= count; i += SEARCHES)
        search_block(codes, residuals + i * dims, found + i, SEARCHES);
    for (; i < count; i++)
        search_block(codes, residuals + i * dims, found + i, 1);
}

INLINE void NAME(fill)(vqzi_kernels *kernels) {
    kernels->conv = NAME(conv);
    kernels->sums = NAME(sums);
    kernels->matvec = NAME(matvec);
    kernels->act = NAME(act);
    kernels->search = NAME(search);
}
