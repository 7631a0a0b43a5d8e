/*
 * winograd_template.h - the kernels of winograd_kernels.h for vectors of LANES floats, by the vector
 * extensions of GCC and Clang.  Included once for each instruction set, by a file that is compiled
 * for it and defines LANES, ROWS (tiles that the forward product holds in registers, a divisor of
 * WINOGRAD_ROWS), GRAD_ROWS (rows of the gradient's product) and TABLE.
 *
 * F(4x4, 3x3) on the points 0, 1, -1, 2, -2 and infinity, as Lavin and Gray, "Fast Algorithms for
 * Convolutional Neural Networks" (2015), give it:  Y = A^T [(G g G^T) . (B^T d B)] A.  The gradient of
 * g is its transpose:  G^T [(A y A^T) . (B^T d B)] G.
 */
#include "trainer/winograd_kernels.h"
#include <string.h>

enum { VECTORS = WINOGRAD_PANEL / LANES };

typedef float vec __attribute__((vector_size(LANES * sizeof(float))));
typedef float loose_vec __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));
typedef int mask_vec __attribute__((vector_size(LANES * sizeof(float))));
typedef uint32_t bits_vec __attribute__((vector_size(LANES * sizeof(float))));
typedef uint16_t half_vec __attribute__((vector_size(LANES * 2)));
typedef uint16_t loose_half_vec __attribute__((vector_size(LANES * 2), aligned(2), may_alias));

#define INLINE static inline __attribute__((always_inline))

INLINE vec load(const float *p) {
    return *(const loose_vec *)p;
}

INLINE void save(float *p, vec v) {
    *(loose_vec *)p = v;
}

/* Vector at value `index` of a tensor; `type` is known where this is inlined. */
INLINE vec load_from(const void *p, size_t index, tensor_type type) {
    if (type == TENSOR_FLOAT32)
        return load((const float *)p + index);
    half_vec half = *(const loose_half_vec *)((const uint16_t *)p + index);
    return (vec)(__builtin_convertvector(half, bits_vec) << 16);
}

/* As narrow() of elementwise.c does it: infinities survive, a NaN stays one. */
INLINE void save_to(void *p, size_t index, tensor_type type, vec v) {
    if (type == TENSOR_FLOAT32) {
        save((float *)p + index, v);
        return;
    }
    bits_vec bits = (bits_vec)v, is_nan = (bits_vec)((bits & 0x7fffffff) > 0x7f800000);
    bits_vec rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16, quiet = (bits >> 16) | 0x40;
    *(loose_half_vec *)((uint16_t *)p + index) =
        __builtin_convertvector((quiet & is_nan) | (rounded & ~is_nan), half_vec);
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

INLINE void src_vector(const void *const *at, tensor_type type, size_t channel, float *dst,
                       size_t point_stride) {
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
            save(dst, t[x]);
    }
}

INLINE void grad_vector(const void *const *at, tensor_type type, size_t channel, float *dst,
                        size_t point_stride) {
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
            save(dst, t[x]);
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

/* A tile of gradients, or of inputs, panel by panel; both are known where this is inlined. */
INLINE void tile_panels(const winograd_tile *tile, tensor_type type, bool gradient, size_t channels,
                        float *dst, size_t panel_stride, size_t point_stride) {
    for (size_t channel = 0; channel < channels; channel += PANEL, dst += panel_stride) {
        float copy[SIDE * SIDE * PANEL];
        winograd_tile filled;
        bool whole = channel + PANEL <= channels;
        if (!whole)
            fill_panel(tile, gradient ? TILE * TILE : SIDE * SIDE, channel, channels, copy, &filled);
        const void *const *at = whole ? tile->at : filled.at;
        size_t first = whole ? channel : 0;
        for (size_t v = 0; v < PANEL; v += LANES)
            if (gradient)
                grad_vector(at, type, first + v, dst + v, point_stride);
            else
                src_vector(at, type, first + v, dst + v, point_stride);
    }
}

static void transform_src(const winograd_tile *tile, size_t channels, float *dst,
                          size_t panel_stride, size_t point_stride) {
    if (tile->type == TENSOR_FLOAT32)
        tile_panels(tile, TENSOR_FLOAT32, false, channels, dst, panel_stride, point_stride);
    else
        tile_panels(tile, TENSOR_BFLOAT16, false, channels, dst, panel_stride, point_stride);
}

static void transform_grad(const winograd_tile *tile, size_t channels, float *dst,
                           size_t panel_stride, size_t point_stride) {
    if (tile->type == TENSOR_FLOAT32)
        tile_panels(tile, TENSOR_FLOAT32, true, channels, dst, panel_stride, point_stride);
    else
        tile_panels(tile, TENSOR_BFLOAT16, true, channels, dst, panel_stride, point_stride);
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

/* Weights of one output and PANEL inputs, or the other way round. */
static void transform_weights(const float *weights, size_t tap_stride, float *dst,
                              size_t point_stride) {
    for (size_t v = 0; v < PANEL; v += LANES) {
        vec column[SIDE][TAPS];
        for (int x = 0; x < TAPS; x++) {
            const float *w = weights + (size_t)x * tap_stride + v;
            vec t[SIDE];
            transform_taps(load(w), load(w + TAPS * tap_stride), load(w + 2 * TAPS * tap_stride), t);
            for (int y = 0; y < SIDE; y++)
                column[y][x] = t[y];
        }
        float *d = dst + v;
        for (int y = 0; y < SIDE; y++) {
            vec t[SIDE];
            transform_taps(column[y][0], column[y][1], column[y][2], t);
            for (int x = 0; x < SIDE; x++, d += point_stride)
                save(d, t[x]);
        }
    }
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

/* ROWS tiles by one panel of outputs, all sums in registers. */
static void multiply(const float *src, size_t panel_stride, const float *weights, size_t panels,
                     size_t tiles, float *dst) {
    for (size_t tile = 0; tile < tiles; tile += ROWS) {
        vec sum[ROWS][VECTORS] = {{{0}}};
        const float *w = weights;
        for (size_t panel = 0; panel < panels; panel++) {
            const float *s = src + panel * panel_stride + tile * PANEL;
            for (int c = 0; c < PANEL; c++, w += PANEL, s++) {
                vec b[VECTORS];
#pragma GCC unroll 4
                for (int v = 0; v < VECTORS; v++)
                    b[v] = load(w + v * LANES);
#pragma GCC unroll 12
                for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
                    for (int v = 0; v < VECTORS; v++)
                        sum[r][v] += b[v] * s[r * PANEL];
            }
        }
#pragma GCC unroll 12
        for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++)
                save(dst + (tile + (size_t)r) * PANEL + v * LANES, sum[r][v]);
    }
}

/* Rows `first` to first + rows of the product; rows is known where this is inlined. */
INLINE void grad_rows(const float *grad, const float *src, size_t tiles, bool accumulate, int rows,
                      float *dst, size_t row_stride) {
    vec sum[PANEL][VECTORS];
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++)
            sum[r][v] = (vec){0};
    for (size_t tile = 0; tile < tiles; tile++, grad += PANEL, src += PANEL) {
        vec b[VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++)
            b[v] = load(src + v * LANES);
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++)
                sum[r][v] += b[v] * grad[r];
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) {
            float *d = dst + (size_t)r * row_stride + v * LANES;
            save(d, accumulate ? load(d) + sum[r][v] : sum[r][v]);
        }
}

static void multiply_grad(const float *grad, const float *src, size_t tiles, bool accumulate,
                          float *dst, size_t row_stride) {
    int r = 0;
    for (; r + GRAD_ROWS <= PANEL; r += GRAD_ROWS)
        grad_rows(grad + r, src, tiles, accumulate, GRAD_ROWS, dst + (size_t)r * row_stride,
                  row_stride);
    if (PANEL % GRAD_ROWS > 0)
        grad_rows(grad + r, src, tiles, accumulate, PANEL % GRAD_ROWS, dst + (size_t)r * row_stride,
                  row_stride);
}

const winograd_kernels TABLE = {transform_src,     transform_grad,         multiply, transform_dst,
                                multiply_grad,     transform_weights,      transform_grad_weights};
