/*
 * winograd_template.h - the kernels of winograd_kernels.h for vectors of LANES floats, by the vector
 * extensions of GCC and Clang.  Included once for each instruction set, by a file that is compiled
 * for it and defines LANES, TABLE, and what a product holds in registers: of the passes ROWS tiles (a
 * divisor of WINOGRAD_ROWS) by OUTPUTS panels, of the weights' gradient GRAD_ROWS rows by GRAD_PANELS
 * panels.  GROUP: panels of outputs that products of floats are best given at once (pairs: OUTPUTS).
 *
 * F(4x4, 3x3) on the points 0, 1, -1, 2, -2 and infinity, as Lavin and Gray, "Fast Algorithms for
 * Convolutional Neural Networks" (2015), give it:  Y = A^T [(G g G^T) . (B^T d B)] A.  The gradient of
 * g is its transpose:  G^T [(A y A^T) . (B^T d B)] G.
 */
#include "trainer/winograd_kernels.h"
#include <string.h>
#ifdef __AVX2__
#include <immintrin.h>
#endif

enum { VECTORS = WINOGRAD_PANEL / LANES };

typedef float vec __attribute__((vector_size(LANES * sizeof(float))));
typedef float loose_vec __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));
typedef int mask_vec __attribute__((vector_size(LANES * sizeof(float))));
typedef uint32_t bits_vec __attribute__((vector_size(LANES * sizeof(float))));
typedef uint32_t loose_bits_vec
    __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));
typedef uint16_t half_vec __attribute__((vector_size(LANES * 2)));
typedef uint16_t loose_half_vec __attribute__((vector_size(LANES * 2), aligned(2), may_alias));

#define INLINE static inline __attribute__((always_inline))

INLINE vec load(const void *p) {
    return *(const loose_vec *)p;
}

INLINE void save(void *p, vec v) {
    *(loose_vec *)p = v;
}

/* gcc 12 makes six instructions of what one does. */
INLINE bits_vec widen(half_vec half) {
#if defined(__AVX512F__)
    return (bits_vec)_mm512_cvtepu16_epi32((__m256i)half);
#elif defined(__AVX2__)
    return (bits_vec)_mm256_cvtepu16_epi32((__m128i)half);
#else
    return __builtin_convertvector(half, bits_vec);
#endif
}

/* Vector at value `index` of a tensor; `type` is known where this is inlined. */
INLINE vec load_from(const void *p, size_t index, tensor_type type) {
    if (type == TENSOR_FLOAT32)
        return load((const float *)p + index);
    return (vec)(widen(*(const loose_half_vec *)((const uint16_t *)p + index)) << 16);
}

/* As narrow() of elementwise.c does it: infinities survive, a NaN stays one. */
INLINE half_vec to_halves(vec v) {
#ifdef __AVX512BF16__
    return (half_vec)_mm512_cvtneps_pbh((__m512)v);
#else
    bits_vec bits = (bits_vec)v, is_nan = (bits_vec)((bits & 0x7fffffff) > 0x7f800000);
    bits_vec rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16, quiet = (bits >> 16) | 0x40;
    return __builtin_convertvector((quiet & is_nan) | (rounded & ~is_nan), half_vec);
#endif
}

INLINE void save_to(void *p, size_t index, tensor_type type, vec v) {
    if (type == TENSOR_FLOAT32)
        save((float *)p + index, v);
    else
        *(loose_half_vec *)((uint16_t *)p + index) = to_halves(v);
}

/* Factors of a product; the format is known where this is inlined.  Those of pairs are rounded halves
   away from zero, which takes a single addition. */
INLINE void save_factors(void *p, winograd_format format, vec v) {
    loose_bits_vec *pairs = p;
    bits_vec rounded = (bits_vec)v + 0x8000;
    if (format == WINOGRAD_FLOAT)
        save(p, v);
    else if (format == WINOGRAD_HALF)
        *(loose_half_vec *)p = to_halves(v);
    else if (format == WINOGRAD_EVEN)
        *pairs = rounded >> 16;
    else
        *pairs = *pairs | (rounded & 0xffff0000);
}

/* Words that `count` channels take. */
INLINE size_t words_of(winograd_format format, size_t count) {
    return format == WINOGRAD_HALF ? count / 2 : count;
}

/* ---- the transforms in one dimension ---- */

/* B^T */
INLINE void transform_input(vec d0, vec d1, vec d2, vec d3, vec d4, vec d5, vec *t) {
    vec even = d4 - d2 * 4, odd = d3 - d1 * 4, near = d4 - d2, far = (d3 - d1) * 2;
    t[0] = d0 * 4 - d2 * 5 + d4;
    t[1] = even + odd;
    t[2] = even - odd;
    t[3] = near + far;
    t[4] = near - far;
    t[5] = d1 * 4 - d3 * 5 + d5;
}

/* A^T */
INLINE void transform_output(vec m0, vec m1, vec m2, vec m3, vec m4, vec m5, vec *y) {
    vec sum1 = m1 + m2, difference1 = m1 - m2, sum2 = m3 + m4, difference2 = m3 - m4;
    y[0] = m0 + sum1 + sum2;
    y[1] = difference1 + difference2 * 2;
    y[2] = sum1 + sum2 * 4;
    y[3] = difference1 + difference2 * 8 + m5;
}

/* A */
INLINE void transform_output_grad(vec y0, vec y1, vec y2, vec y3, vec *z) {
    vec even1 = y0 + y2, odd1 = y1 + y3, even2 = y0 + y2 * 4, odd2 = y1 * 2 + y3 * 8;
    z[0] = y0;
    z[1] = even1 + odd1;
    z[2] = even1 - odd1;
    z[3] = even2 + odd2;
    z[4] = even2 - odd2;
    z[5] = y3;
}

/* G */
INLINE void transform_taps(vec g0, vec g1, vec g2, vec *u) {
    vec even1 = (g0 + g2) * (-1.0f / 6), odd1 = g1 * (1.0f / 6);
    vec even2 = g0 * (1.0f / 24) + g2 * (1.0f / 6), odd2 = g1 * (1.0f / 12);
    u[0] = g0 * 0.25f;
    u[1] = even1 - odd1;
    u[2] = even1 + odd1;
    u[3] = even2 + odd2;
    u[4] = even2 - odd2;
    u[5] = g2;
}

/* G^T */
INLINE void transform_taps_grad(vec w0, vec w1, vec w2, vec w3, vec w4, vec w5, vec *g) {
    vec sum1 = (w1 + w2) * (1.0f / 6), sum2 = w3 + w4;
    g[0] = w0 * 0.25f - sum1 + sum2 * (1.0f / 24);
    g[1] = (w2 - w1) * (1.0f / 6) + (w3 - w4) * (1.0f / 12);
    g[2] = sum2 * (1.0f / 6) - sum1 + w5;
}

/* ---- and in two ---- */

enum { SIDE = WINOGRAD_SIDE, TILE = WINOGRAD_TILE, PANEL = WINOGRAD_PANEL, TAPS = 3 };

INLINE void src_vector(const void *const *at, tensor_type type, size_t channel,
                       winograd_format format, uint32_t *dst, size_t point_stride) {
    vec column[SIDE][SIDE];
#pragma GCC unroll 6
    for (int x = 0; x < SIDE; x++) {
        vec t[SIDE];
        transform_input(load_from(at[x], channel, type), load_from(at[SIDE + x], channel, type),
                        load_from(at[2 * SIDE + x], channel, type),
                        load_from(at[3 * SIDE + x], channel, type),
                        load_from(at[4 * SIDE + x], channel, type),
                        load_from(at[5 * SIDE + x], channel, type), t);
        for (int y = 0; y < SIDE; y++)
            column[y][x] = t[y];
    }
#pragma GCC unroll 6
    for (int y = 0; y < SIDE; y++) {
        vec t[SIDE], *d = column[y];
        transform_input(d[0], d[1], d[2], d[3], d[4], d[5], t);
        for (int x = 0; x < SIDE; x++, dst += point_stride)
            save_factors(dst, format, t[x]);
    }
}

INLINE void grad_vector(const void *const *at, tensor_type type, size_t channel,
                        winograd_format format, uint32_t *dst, size_t point_stride) {
    vec column[SIDE][TILE];
#pragma GCC unroll 4
    for (int x = 0; x < TILE; x++) {
        vec t[SIDE];
        transform_output_grad(load_from(at[x], channel, type),
                              load_from(at[TILE + x], channel, type),
                              load_from(at[2 * TILE + x], channel, type),
                              load_from(at[3 * TILE + x], channel, type), t);
        for (int y = 0; y < SIDE; y++)
            column[y][x] = t[y];
    }
#pragma GCC unroll 6
    for (int y = 0; y < SIDE; y++) {
        vec t[SIDE], *d = column[y];
        transform_output_grad(d[0], d[1], d[2], d[3], t);
        for (int x = 0; x < SIDE; x++, dst += point_stride)
            save_factors(dst, format, t[x]);
    }
}

/* Copies the channels of a last panel that is not full, with zeros behind them; copy: room for PANEL
   floats a position. */
static void fill_panel(const winograd_tile *tile, int count, size_t channel, size_t channels,
                       float *copy, winograd_tile *filled) {
    size_t size = tensor_type_size(tile->type);
    memset(copy, 0, (size_t)count * PANEL * sizeof *copy);
    for (int i = 0; i < count; i++) {
        memcpy(copy + i * PANEL, (const char *)tile->at[i] + channel * size,
               (channels - channel) * size);
        filled->at[i] = copy + i * PANEL;
    }
}

/* A tile of gradients, or of inputs, panel by panel; what it is and how it is written are known where
   this is inlined. */
INLINE void tile_panels(const winograd_tile *tile, tensor_type type, bool gradient, size_t channels,
                        winograd_format format, uint32_t *dst, size_t panel_stride,
                        size_t point_stride) {
    for (size_t channel = 0; channel < channels; channel += PANEL, dst += panel_stride) {
        float copy[SIDE * SIDE * PANEL];
        winograd_tile filled;
        bool whole = channel + PANEL <= channels;
        if (!whole)
            fill_panel(tile, gradient ? TILE * TILE : SIDE * SIDE, channel, channels, copy, &filled);
        const void *const *at = whole ? tile->at : filled.at;
        size_t first = whole ? channel : 0;
        for (size_t v = 0; v < PANEL; v += LANES)
            (gradient ? grad_vector : src_vector)(at, type, first + v, format,
                                                  dst + words_of(format, v), point_stride);
    }
}

INLINE void tile_formats(const winograd_tile *tile, tensor_type type, bool gradient,
                         size_t channels, winograd_format format, uint32_t *dst,
                         size_t panel_stride, size_t point_stride) {
#define CASE(f)                                                                                    \
    case f: tile_panels(tile, type, gradient, channels, f, dst, panel_stride, point_stride); break
    switch (format) {
        CASE(WINOGRAD_FLOAT);
        CASE(WINOGRAD_HALF);
        CASE(WINOGRAD_EVEN);
        CASE(WINOGRAD_ODD);
    }
#undef CASE
}

static void transform_src(const winograd_tile *tile, size_t channels, winograd_format format,
                          void *dst, size_t panel_stride, size_t point_stride) {
    if (tile->type == TENSOR_FLOAT32)
        tile_formats(tile, TENSOR_FLOAT32, false, channels, format, dst, panel_stride, point_stride);
    else
        tile_formats(tile, TENSOR_BFLOAT16, false, channels, format, dst, panel_stride, point_stride);
}

static void transform_grad(const winograd_tile *tile, size_t channels, winograd_format format,
                           void *dst, size_t panel_stride, size_t point_stride) {
    if (tile->type == TENSOR_FLOAT32)
        tile_formats(tile, TENSOR_FLOAT32, true, channels, format, dst, panel_stride, point_stride);
    else
        tile_formats(tile, TENSOR_BFLOAT16, true, channels, format, dst, panel_stride, point_stride);
}

INLINE vec finish(vec value, const winograd_output *o, size_t offset, size_t v) {
    if (o->bias)
        value += load(o->bias + v);
    if (o->add)
        value += load_from(o->add, offset + v, o->add_type);
    if (o->activate) {
        vec negative = value * o->slope;
        mask_vec positive = value > 0;
        value = (vec)(((mask_vec)value & positive) | ((mask_vec)negative & ~positive));
    }
    return value;
}

/* Between a partial panel of a picture and PANEL values a position of `whole`: copies what exists. */
static void copy_partial(void *dst, const void *src, const winograd_output *o, size_t size,
                         bool to_picture) {
    for (int y = 0; y < o->rows; y++)
        for (int x = 0; x < o->columns; x++) {
            size_t picture = ((size_t)y * o->row + (size_t)x * o->pixel) * size;
            size_t whole = (size_t)(y * TILE + x) * PANEL * size;
            memcpy((char *)dst + (to_picture ? picture : whole),
                   (const char *)src + (to_picture ? whole : picture), (size_t)o->channels * size);
        }
}

INLINE void dst_panel(const float *src, size_t point_stride, const winograd_output *o,
                      tensor_type type) {
    for (size_t v = 0; v < PANEL; v += LANES) {
        vec column[TILE][SIDE];
        const float *s = src + v;
#pragma GCC unroll 6
        for (int x = 0; x < SIDE; x++, s += point_stride) {
            vec t[TILE];
            size_t row = SIDE * point_stride;
            transform_output(load(s), load(s + row), load(s + 2 * row), load(s + 3 * row),
                             load(s + 4 * row), load(s + 5 * row), t);
            for (int y = 0; y < TILE; y++)
                column[y][x] = t[y];
        }
        for (int y = 0; y < o->rows; y++) {
            vec t[TILE], *m = column[y];
            transform_output(m[0], m[1], m[2], m[3], m[4], m[5], t);
            for (int x = 0; x < o->columns; x++) {
                size_t offset = (size_t)y * o->row + (size_t)x * o->pixel;
                save_to(o->dst, offset + v, type, finish(t[x], o, offset, v));
            }
        }
    }
}

static void transform_dst(const float *src, size_t point_stride, const winograd_output *o) {
    float cut[TILE * TILE * PANEL], added[TILE * TILE * PANEL];
    winograd_output whole = *o;
    bool partial = o->channels < PANEL;
    if (partial) { /* work on whole panels beside the tensors */
        memset(added, 0, sizeof added);
        if (o->add) {
            copy_partial(added, o->add, o, tensor_type_size(o->add_type), false);
            whole.add = added;
        }
        whole.row = TILE * PANEL;
        whole.pixel = PANEL;
        whole.dst = cut;
    }
    if (o->dst_type == TENSOR_FLOAT32)
        dst_panel(src, point_stride, &whole, TENSOR_FLOAT32);
    else
        dst_panel(src, point_stride, &whole, TENSOR_BFLOAT16);
    if (partial)
        copy_partial(o->dst, cut, o, tensor_type_size(o->dst_type), true);
}

/* Weights of one output and PANEL inputs, or the other way round; the format is known where this is
   inlined. */
INLINE void weights_vectors(const float *weights, size_t tap_stride, winograd_format format,
                            uint32_t *dst, size_t point_stride) {
    for (size_t v = 0; v < PANEL; v += LANES) {
        vec column[SIDE][TAPS];
        for (int x = 0; x < TAPS; x++) {
            const float *w = weights + (size_t)x * tap_stride + v;
            vec t[SIDE];
            transform_taps(load(w), load(w + TAPS * tap_stride), load(w + 2 * TAPS * tap_stride), t);
            for (int y = 0; y < SIDE; y++)
                column[y][x] = t[y];
        }
        uint32_t *d = dst + words_of(format, v);
        for (int y = 0; y < SIDE; y++) {
            vec t[SIDE];
            transform_taps(column[y][0], column[y][1], column[y][2], t);
            for (int x = 0; x < SIDE; x++, d += point_stride)
                save_factors(d, format, t[x]);
        }
    }
}

static void transform_weights(const float *weights, size_t tap_stride, winograd_format format,
                              void *dst, size_t point_stride) {
    if (format == WINOGRAD_FLOAT)
        weights_vectors(weights, tap_stride, WINOGRAD_FLOAT, dst, point_stride);
    else if (format == WINOGRAD_EVEN)
        weights_vectors(weights, tap_stride, WINOGRAD_EVEN, dst, point_stride);
    else
        weights_vectors(weights, tap_stride, WINOGRAD_ODD, dst, point_stride);
}

static void transform_grad_weights(const float *src, size_t point_stride, float *taps) {
    for (size_t v = 0; v < PANEL; v += LANES) {
        vec column[TAPS][SIDE];
        const float *s = src + v;
        for (int x = 0; x < SIDE; x++, s += point_stride) {
            vec t[TAPS];
            size_t row = SIDE * point_stride;
            transform_taps_grad(load(s), load(s + row), load(s + 2 * row), load(s + 3 * row),
                                load(s + 4 * row), load(s + 5 * row), t);
            for (int y = 0; y < TAPS; y++)
                column[y][x] = t[y];
        }
        for (int y = 0; y < TAPS; y++) {
            vec t[TAPS], *w = column[y];
            transform_taps_grad(w[0], w[1], w[2], w[3], w[4], w[5], t);
            for (int x = 0; x < TAPS; x++)
                save(taps + (y * TAPS + x) * PANEL + v, t[x]);
        }
    }
}

/* ---- products ---- */

/* sum + vector * word, of floats or of pairs, for which vdpbf16ps was made. */
INLINE vec add_product(vec sum, vec vector, const uint32_t *word, bool pairs) {
    if (!pairs) {
        float factor;
        memcpy(&factor, word, sizeof factor);
        return sum + vector * factor;
    }
    bits_vec a = (bits_vec)vector, b = *word + (bits_vec){0};
#ifdef __AVX512BF16__
    return (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
#else
    return sum + (vec)(a << 16) * (vec)(b << 16) + (vec)(a & 0xffff0000) * (vec)(b & 0xffff0000);
#endif
}

/* ROWS tiles by one panel of outputs, or by several, all sums in registers; outputs and pairs are
   known where this is inlined. */
INLINE void multiply_panels(const uint32_t *src, size_t panel_stride, const uint32_t *weights,
                            size_t weights_stride, const winograd_list *list, size_t tiles,
                            bool pairs, int outputs, float *dst, size_t dst_stride) {
    const size_t row = pairs ? PANEL / 2 : PANEL; /* words of a tile */
    for (size_t tile = 0; tile < tiles; tile += ROWS) {
        vec sum[ROWS][OUTPUTS * VECTORS] = {{{0}}};
        for (size_t k = 0; k < list->count; k++) {
            const uint32_t *s = src + list->panels[k] * panel_stride + tile * row;
            const uint32_t *w = weights + list->panels[k] * row * PANEL;
            for (size_t c = 0; c < row; c++, w += PANEL, s++) {
                vec b[OUTPUTS * VECTORS];
#pragma GCC unroll 4
                for (int v = 0; v < outputs * VECTORS; v++)
                    b[v] = load(w + (size_t)(v / VECTORS) * weights_stride + v % VECTORS * LANES);
#pragma GCC unroll 12
                for (size_t r = 0; r < ROWS; r++)
#pragma GCC unroll 4
                    for (int v = 0; v < outputs * VECTORS; v++)
                        sum[r][v] = add_product(sum[r][v], b[v], s + r * row, pairs);
            }
        }
#pragma GCC unroll 12
        for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
            for (int v = 0; v < outputs * VECTORS; v++)
                save(dst + (size_t)(v / VECTORS) * dst_stride + (tile + (size_t)r) * PANEL +
                         v % VECTORS * LANES,
                     sum[r][v]);
    }
}

INLINE void multiply_all(const uint32_t *src, size_t panel_stride, const uint32_t *weights,
                         size_t weights_stride, const winograd_list *list, size_t tiles,
                         bool pairs, size_t outputs, float *dst, size_t dst_stride) {
    size_t done = 0;
    for (; done + OUTPUTS <= outputs; done += OUTPUTS)
        multiply_panels(src, panel_stride, weights + done * weights_stride, weights_stride, list,
                        tiles, pairs, OUTPUTS, dst + done * dst_stride, dst_stride);
    for (; done < outputs; done++)
        multiply_panels(src, panel_stride, weights + done * weights_stride, weights_stride, list,
                        tiles, pairs, 1, dst + done * dst_stride, dst_stride);
}

static void multiply(const void *src, size_t panel_stride, const void *weights,
                     size_t weights_stride, const winograd_list *list, size_t tiles, bool pairs,
                     size_t outputs, float *dst, size_t dst_stride) {
    if (pairs)
        multiply_all(src, panel_stride, weights, weights_stride, list, tiles, true, outputs, dst,
                     dst_stride);
    else
        multiply_all(src, panel_stride, weights, weights_stride, list, tiles, false, outputs, dst,
                     dst_stride);
}

/* Some rows of the product with one panel of inputs, or with several; rows, panels and pairs are known
   where this is inlined. */
INLINE void grad_rows(const uint32_t *grad, const uint32_t *src, size_t panel_stride,
                      const uint16_t *list, size_t steps, bool pairs, bool accumulate, int rows,
                      int panels, float *dst, size_t row_stride) {
    vec sum[GRAD_ROWS][GRAD_PANELS * VECTORS];
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < panels * VECTORS; v++)
            sum[r][v] = (vec){0};
    for (size_t step = 0; step < steps; step++, grad += PANEL, src += PANEL) {
        vec b[GRAD_PANELS * VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < panels * VECTORS; v++)
            b[v] = load(src + list[v / VECTORS] * panel_stride + v % VECTORS * LANES);
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
            for (int v = 0; v < panels * VECTORS; v++)
                sum[r][v] = add_product(sum[r][v], b[v], grad + r, pairs);
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < panels * VECTORS; v++) {
            float *d = dst + (size_t)r * row_stride + list[v / VECTORS] * PANEL + v % VECTORS * LANES;
            save(d, accumulate ? load(d) + sum[r][v] : sum[r][v]);
        }
}

/* One panel of inputs, or several. */
INLINE void grad_panels(const uint32_t *grad, const uint32_t *src, size_t panel_stride,
                        const uint16_t *list, size_t steps, bool pairs, bool accumulate, int panels,
                        float *dst, size_t row_stride) {
    int r = 0;
    for (; r + GRAD_ROWS <= PANEL; r += GRAD_ROWS)
        grad_rows(grad + r, src, panel_stride, list, steps, pairs, accumulate, GRAD_ROWS, panels,
                  dst + (size_t)r * row_stride, row_stride);
    if (PANEL % GRAD_ROWS > 0)
        grad_rows(grad + r, src, panel_stride, list, steps, pairs, accumulate, PANEL % GRAD_ROWS,
                  panels, dst + (size_t)r * row_stride, row_stride);
}

INLINE void grad_all(const uint32_t *grad, const uint32_t *src, size_t panel_stride,
                     const winograd_list *list, size_t steps, bool pairs, bool accumulate,
                     float *dst, size_t row_stride) {
    size_t k = 0;
    for (; k + GRAD_PANELS <= list->count; k += GRAD_PANELS)
        grad_panels(grad, src, panel_stride, list->panels + k, steps, pairs, accumulate, GRAD_PANELS,
                    dst, row_stride);
    for (; k < list->count; k++)
        grad_panels(grad, src, panel_stride, list->panels + k, steps, pairs, accumulate, 1, dst,
                    row_stride);
}

static void multiply_grad(const void *grad, const void *src, size_t panel_stride,
                          const winograd_list *list, size_t tiles, bool pairs, bool accumulate,
                          float *dst, size_t row_stride) {
    if (pairs)
        grad_all(grad, src, panel_stride, list, tiles / 2, true, accumulate, dst, row_stride);
    else
        grad_all(grad, src, panel_stride, list, tiles, false, accumulate, dst, row_stride);
}

_Static_assert(GROUP <= WINOGRAD_GROUP && OUTPUTS <= WINOGRAD_GROUP, "a thread's scratch");
const winograd_kernels TABLE = {GROUP,         OUTPUTS,           transform_src,
                                transform_grad, multiply,          transform_dst,
                                multiply_grad,  transform_weights, transform_grad_weights};
