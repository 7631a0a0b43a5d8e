/*
 * winograd.c - see winograd.h.
 *
 * Pictures are cut into tiles of 4x4 outputs, which depend on 6x6 inputs.  Transformed, a convolution
 * is 36 matrix products (tiles x inputs) * (inputs x outputs), one for each of 36 points:
 *
 *   forward, data gradient    each thread takes blocks of tiles: transforms the inputs of a block, which
 *                             then stay in its second-level cache, multiplies them with one panel of
 *                             outputs at a time and transforms that back, adding bias and the rest.
 *                             The data gradient is the same with weights turned around.
 *   weight gradient           all threads transform a chunk of tiles, then share out (point, panel of
 *                             outputs) and add each's product over the tiles to its sum.  The sums
 *                             are transformed back at the end.
 *
 * What a value is summed from, and in which order, does not depend on the number of threads but for
 * the length of a chunk.  Everything is in the backend's scratch memory; weights are transformed at
 * each call, which costs little beside the products.
 */
#include "trainer/winograd.h"
#include "trainer/winograd_kernels.h"
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum {
    PANEL = WINOGRAD_PANEL,
    TILE = WINOGRAD_TILE,
    SIDE = WINOGRAD_SIDE,
    POINTS = WINOGRAD_POINTS,
    ROWS = WINOGRAD_ROWS,
    TAPS = 9,
    LINE = 16,                 /* floats of a cache line */
    BLOCK_FLOATS = 224 * 1024 / 4, /* of a block of transformed inputs */
    CHUNK_TILES = 96           /* of a chunk, for each thread */
};

struct winograd {
    backend *b;
    const winograd_kernels *kernels;
    conv_options options;
    size_t down, across, tiles; /* of a picture, of the batch */
};

/* Pointers of positions outside the picture. */
static const float zeros[TENSOR_MAX_CHANNELS];

static const winograd_kernels *find_kernels(const char *name) {
#if defined(__x86_64__) && defined(__GNUC__)
    if (strcmp(name, "avx512") == 0 && __builtin_cpu_supports("avx512f"))
        return &winograd_kernels_avx512;
    if (strcmp(name, "avx2") == 0 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return &winograd_kernels_avx2;
#endif
    return strcmp(name, "portable") == 0 ? &winograd_kernels_portable : NULL;
}

static const winograd_kernels *best_kernels(void) {
    const winograd_kernels *found = find_kernels("avx512");
    if (!found)
        found = find_kernels("avx2");
    return found ? found : find_kernels("portable");
}

static size_t round_up(size_t value, size_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

static size_t panels_of(int channels) {
    return ((size_t)channels + PANEL - 1) / PANEL;
}

/* Distances that are large powers of two would put all points into the same few lines of a cache. */
static size_t pad_stride(size_t floats) {
    return floats + LINE;
}

/* ---- what needs how much memory ---- */

/* Transformed inputs of some tiles. */
typedef struct layout {
    size_t panels, tiles, panel_stride, point_stride;
} layout;

static layout make_layout(int channels, size_t tiles) {
    layout l = {.panels = panels_of(channels), .tiles = tiles, .panel_stride = tiles * PANEL};
    l.point_stride = pad_stride(l.panels * l.panel_stride);
    return l;
}

static size_t layout_size(const layout *l) {
    return POINTS * l->point_stride;
}

/* Tiles of a block of the forward pass: as many as the cache holds. */
static size_t block_tiles(const winograd *w, int channels) {
    size_t fit = BLOCK_FLOATS / (POINTS * panels_of(channels) * PANEL) / ROWS * ROWS;
    return VQZI_MIN(VQZI_MAX(fit, (size_t)ROWS), round_up(w->tiles, ROWS));
}

static size_t chunk_tiles(const winograd *w) {
    return VQZI_MIN(round_up(w->tiles, ROWS), (size_t)CHUNK_TILES * (size_t)backend_threads(w->b));
}

/* Transformed weights: [panel of outputs][point][input][PANEL]. */
static size_t weights_point_stride(int from) {
    return pad_stride(panels_of(from) * PANEL * PANEL);
}

static size_t weights_size(int from, int to) {
    return panels_of(to) * POINTS * weights_point_stride(from);
}

static size_t products_stride(size_t tiles) {
    return pad_stride(tiles * PANEL);
}

/* Of one thread: transformed inputs, and products of one panel. */
static size_t thread_size(const winograd *w, int from) {
    layout l = make_layout(from, block_tiles(w, from));
    return layout_size(&l) + POINTS * products_stride(l.tiles);
}

static size_t pass_size(const winograd *w, int from, int to) {
    return weights_size(from, to) + (size_t)backend_threads(w->b) * thread_size(w, from);
}

/* Sums of the weight gradient: [point][output][inputs of whole panels]. */
static size_t sums_stride(const winograd *w) {
    return pad_stride(panels_of(w->options.cout) * PANEL * panels_of(w->options.cin) * PANEL);
}

static size_t gradient_size(const winograd *w) {
    layout src = make_layout(w->options.cin, chunk_tiles(w));
    layout grad = make_layout(w->options.cout, chunk_tiles(w));
    return layout_size(&src) + layout_size(&grad) + POINTS * sums_stride(w);
}

/* ---- planning ---- */

bool winograd_possible(const backend *b, const conv_options *o) {
    return backend_precision(b) == PRECISION_FLOAT32 && o->kernel == 3 && o->stride == 1 &&
           o->src_type == TENSOR_FLOAT32 && o->dst_type == TENSOR_FLOAT32 &&
           (!o->fuse_add || o->add_type == TENSOR_FLOAT32) && o->cin <= TENSOR_MAX_CHANNELS &&
           o->cout <= TENSOR_MAX_CHANNELS;
}

bool winograd_pays(const backend *b, const conv_options *o) {
    if (!winograd_possible(b, o) || o->cin < PANEL || o->cout < PANEL / 2)
        return false;
    /* Of a tile at the border, what lies outside the picture is computed for nothing. */
    double inside = (double)o->height * o->width;
    double whole = (double)round_up((size_t)o->height, TILE) * (double)round_up((size_t)o->width, TILE);
    return inside / whole >= 0.5;
}

vqz_status winograd_create(winograd **made, backend *b, const conv_options *options, vqz_diag *diag) {
    winograd *w = calloc(1, sizeof *w);
    if (!w)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "not enough memory to plan a convolution");
    w->b = b;
    w->kernels = best_kernels();
    w->options = *options;
    w->down = round_up((size_t)options->height, TILE) / TILE;
    w->across = round_up((size_t)options->width, TILE) / TILE;
    w->tiles = (size_t)options->batch * w->down * w->across;
    size_t size = pass_size(w, options->cin, options->cout);
    if (options->training) {
        size = VQZI_MAX(size, pass_size(w, options->cout, options->cin));
        size = VQZI_MAX(size, gradient_size(w));
    }
    vqz_status status = backend_reserve(b, size * sizeof(float), diag);
    if (status != VQZ_OK) {
        free(w);
        return status;
    }
    *made = w;
    return VQZ_OK;
}

void winograd_free(winograd *w) {
    free(w);
}

bool winograd_use_kernels(winograd *w, const char *name) {
    const winograd_kernels *found = find_kernels(name);
    if (found)
        w->kernels = found;
    return found != NULL;
}

/* ---- tiles ---- */

/* Where tile number `tile` of the batch starts. */
static void tile_position(const winograd *w, size_t tile, size_t *sample, int *y, int *x) {
    size_t in_sample = tile % (w->down * w->across);
    *sample = tile / (w->down * w->across);
    *y = (int)(in_sample / w->across) * TILE;
    *x = (int)(in_sample % w->across) * TILE;
}

/* Pointers to side x side positions, `margin` before the tile's first; tiles past the last are zero. */
static void locate(const winograd *w, const float *src, int channels, size_t tile, int side, int margin,
                   winograd_tile *found) {
    size_t sample;
    int height = w->options.height, width = w->options.width, y0, x0;
    bool exists = tile < w->tiles;
    tile_position(w, exists ? tile : 0, &sample, &y0, &x0);
    for (int i = 0; i < side; i++) {
        int y = y0 + i - margin;
        bool row_inside = exists && y >= 0 && y < height;
        /* Rows and columns outside are formed as offsets, never as pointers. */
        size_t row = (sample * (size_t)height + (size_t)(row_inside ? y : 0)) * (size_t)width;
        for (int j = 0; j < side; j++) {
            int x = x0 + j - margin;
            bool inside = row_inside && x >= 0 && x < width;
            found->at[i * side + j] = inside ? src + (row + (size_t)x) * (size_t)channels : zeros;
        }
    }
}

/* ---- forward and data gradient ---- */

/* Weights of PANEL outputs `to` for the forward pass: (PANEL, 9, cin), turned so that outputs are
   vectors. */
static void forward_weights(const winograd *w, const float *weights, size_t panel, float *dst) {
    size_t cin = (size_t)w->options.cin, first = panel * PANEL, stride = weights_point_stride((int)cin);
    size_t outputs = VQZI_MIN((size_t)PANEL, (size_t)w->options.cout - first);
    float turned[TAPS][PANEL][PANEL]; /* tap, input, output */
    memset(turned, 0, sizeof turned);
    for (size_t input = 0; input < panels_of((int)cin) * PANEL; input += PANEL) {
        size_t inputs = VQZI_MIN((size_t)PANEL, cin - input);
        if (inputs < PANEL)
            memset(turned, 0, sizeof turned);
        for (size_t tap = 0; tap < TAPS; tap++)
            for (size_t o = 0; o < outputs; o++) {
                const float *src = weights + ((first + o) * TAPS + tap) * cin + input;
                for (size_t i = 0; i < inputs; i++)
                    turned[tap][i][o] = src[i];
            }
        for (size_t i = 0; i < PANEL; i++)
            w->kernels->transform_weights(turned[0][i], PANEL * PANEL, dst + (input + i) * PANEL,
                                          stride);
    }
}

/* For the data gradient: outputs are inputs, and the taps are in reverse order. */
static void backward_weights(const winograd *w, const float *weights, size_t panel, float *dst) {
    size_t cin = (size_t)w->options.cin, cout = (size_t)w->options.cout, first = panel * PANEL;
    size_t stride = weights_point_stride((int)cout), inputs = VQZI_MIN((size_t)PANEL, cin - first);
    float turned[TAPS][PANEL] = {{0}};
    for (size_t o = 0; o < panels_of((int)cout) * PANEL; o++) {
        if (o == cout)
            memset(turned, 0, sizeof turned);
        for (size_t tap = 0; tap < TAPS && o < cout; tap++)
            memcpy(turned[TAPS - 1 - tap], weights + (o * TAPS + tap) * cin + first,
                   inputs * sizeof **turned);
        w->kernels->transform_weights(turned[0], PANEL, dst + o * PANEL, stride);
    }
}

/* One convolution, from `from` channels to `to`. */
typedef struct pass {
    const float *src, *add, *bias;
    float *dst;
    int from, to;
    bool activate;
    float slope;
    const float *weights; /* transformed */
} pass;

static void write_panel(const winograd *w, const pass *p, size_t first, size_t tiles, size_t panel,
                        const float *products, size_t stride) {
    int height = w->options.height, width = w->options.width, channel = (int)panel * PANEL;
    float bias[PANEL] = {0};
    winograd_output o = {.bias = p->bias ? bias : NULL,
                         .pixel = (size_t)p->to,
                         .row = (size_t)p->to * (size_t)width,
                         .channels = VQZI_MIN(PANEL, p->to - channel),
                         .activate = p->activate,
                         .slope = p->slope};
    if (p->bias)
        memcpy(bias, p->bias + channel, (size_t)o.channels * sizeof *bias);
    for (size_t t = 0; t < tiles; t++) {
        size_t sample;
        int y, x;
        tile_position(w, first + t, &sample, &y, &x);
        size_t offset = ((sample * (size_t)height + (size_t)y) * (size_t)width + (size_t)x) *
                            (size_t)p->to + (size_t)channel;
        o.dst = p->dst + offset;
        o.add = p->add ? p->add + offset : NULL;
        o.rows = VQZI_MIN(TILE, height - y);
        o.columns = VQZI_MIN(TILE, width - x);
        w->kernels->transform_dst(products + t * PANEL, stride, &o);
    }
}

static void compute_block(const winograd *w, const pass *p, size_t first, float *work) {
    layout l = make_layout(p->from, block_tiles(w, p->from));
    size_t tiles = VQZI_MIN(l.tiles, w->tiles - first), rows = round_up(tiles, ROWS);
    size_t stride = products_stride(l.tiles), weights_stride = weights_point_stride(p->from);
    float *products = work + layout_size(&l);
    for (size_t t = 0; t < rows; t++) {
        winograd_tile tile;
        locate(w, p->src, p->from, first + t, SIDE, 1, &tile);
        w->kernels->transform_src(&tile, (size_t)p->from, work + t * PANEL, l.panel_stride,
                                  l.point_stride);
    }
    for (size_t panel = 0; panel < panels_of(p->to); panel++) {
        for (size_t i = 0; i < POINTS; i++)
            w->kernels->multiply(work + i * l.point_stride, l.panel_stride,
                                 p->weights + (panel * POINTS + i) * weights_stride, l.panels, rows,
                                 products + i * stride);
        write_panel(w, p, first, tiles, panel, products, stride);
    }
}

static void run_pass(const winograd *w, pass *p, const float *weights, bool forward) {
    float *scratch = backend_scratch(w->b), *blocks = scratch + weights_size(p->from, p->to);
    size_t block = block_tiles(w, p->from), size = thread_size(w, p->from);
    size_t panels = panels_of(p->to), panel_size = POINTS * weights_point_stride(p->from);
    p->weights = scratch;
#pragma omp parallel num_threads(backend_threads(w->b))
    {
#pragma omp for schedule(static)
        for (size_t panel = 0; panel < panels; panel++)
            (forward ? forward_weights : backward_weights)(w, weights, panel,
                                                           scratch + panel * panel_size);
#pragma omp for schedule(dynamic)
        for (size_t first = 0; first < w->tiles; first += block)
            compute_block(w, p, first, blocks + (size_t)omp_get_thread_num() * size);
    }
}

void winograd_forward(const winograd *w, const float *weights, const float *bias, const float *src,
                      const float *add, float *dst) {
    const conv_options *o = &w->options;
    bool fused = o->fuse_bias;
    run_pass(w,
             &(pass){.src = src,
                     .dst = dst,
                     .from = o->cin,
                     .to = o->cout,
                     .bias = fused ? bias : NULL,
                     .add = fused && o->fuse_add ? add : NULL,
                     .activate = fused && o->activation != ACT_NONE,
                     .slope = o->activation == ACT_LEAKY ? ldexpf(1, -o->slope) : 0},
             weights, true);
}

void winograd_backward_data(const winograd *w, const float *weights, const float *grad_dst,
                            float *grad_src) {
    run_pass(w,
             &(pass){.src = grad_dst,
                     .dst = grad_src,
                     .from = w->options.cout,
                     .to = w->options.cin},
             weights, false);
}

/* ---- weight gradient ---- */

/* Gradients of PANEL outputs, from the sums. */
static void finish_gradient(const winograd *w, size_t panel, const float *sums, float *grad_weights) {
    size_t cin = (size_t)w->options.cin, cout = (size_t)w->options.cout;
    size_t row = panels_of((int)cin) * PANEL;
    for (size_t o = panel * PANEL; o < VQZI_MIN((panel + 1) * PANEL, cout); o++)
        for (size_t i = 0; i < cin; i += PANEL) {
            float taps[TAPS * PANEL];
            w->kernels->transform_grad_weights(sums + o * row + i, sums_stride(w), taps);
            for (size_t tap = 0; tap < TAPS; tap++)
                memcpy(grad_weights + (o * TAPS + tap) * cin + i, taps + tap * PANEL,
                       VQZI_MIN((size_t)PANEL, cin - i) * sizeof *taps);
        }
}

void winograd_backward_weights(const winograd *w, const float *src, const float *grad_dst,
                               float *grad_weights) {
    const conv_options *o = &w->options;
    const layout s = make_layout(o->cin, chunk_tiles(w)), g = make_layout(o->cout, chunk_tiles(w));
    float *inputs = backend_scratch(w->b), *gradients = inputs + layout_size(&s);
    float *sums = gradients + layout_size(&g);
    const size_t row = s.panels * PANEL;
#pragma omp parallel num_threads(backend_threads(w->b))
    for (size_t first = 0; first < w->tiles; first += s.tiles) {
        size_t rows = VQZI_MIN(s.tiles, round_up(w->tiles - first, ROWS));
#pragma omp for schedule(static)
        for (size_t t = 0; t < rows; t++) {
            winograd_tile tile;
            locate(w, src, o->cin, first + t, SIDE, 1, &tile);
            w->kernels->transform_src(&tile, (size_t)o->cin, inputs + t * PANEL, s.panel_stride,
                                      s.point_stride);
            locate(w, grad_dst, o->cout, first + t, TILE, 0, &tile);
            w->kernels->transform_grad(&tile, (size_t)o->cout, gradients + t * PANEL, g.panel_stride,
                                       g.point_stride);
        }
#pragma omp for schedule(dynamic)
        for (size_t job = 0; job < POINTS * g.panels; job++) {
            size_t point = job / g.panels, panel = job % g.panels;
            float *sum = sums + point * sums_stride(w) + panel * PANEL * row;
            const float *grad = gradients + point * g.point_stride + panel * g.panel_stride;
            for (size_t p = 0; p < s.panels; p++)
                w->kernels->multiply_grad(grad,
                                          inputs + point * s.point_stride + p * s.panel_stride, rows,
                                          first > 0, sum + p * PANEL, row);
        }
    }
#pragma omp parallel for schedule(static) num_threads(backend_threads(w->b))
    for (size_t panel = 0; panel < g.panels; panel++)
        finish_gradient(w, panel, sums, grad_weights);
}
