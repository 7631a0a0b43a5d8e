/*
 * winograd.c - see winograd.h.
 *
 * Pictures are cut into tiles of 4x4 outputs, which depend on 6x6 inputs.  Transformed, a convolution
 * is 36 matrix products (tiles x inputs) * (inputs x outputs), one for each of 36 points:
 *
 *   forward, data gradient    each thread takes blocks of tiles: transforms the inputs of a block, which
 *                             then stay in its second-level cache, multiplies them with a panel or
 *                             two of outputs at a time and transforms that back, adding bias and the rest.
 *                             The data gradient is the same with weights turned around.
 *   weight gradient           all threads transform a chunk of tiles, then share out (point, panel of
 *                             outputs) and add each's product over the tiles to its sum.  The sums
 *                             are transformed back at the end.
 *
 * A 4x4 convolution of stride 2 is one of stride 1 on blocks of 2x2 pixels, with 3x3 taps that are partly
 * zero: 25 products, those of 36 that are not zero, for 16 outputs of four times the inputs, where there
 * were 64.  A `view` says how a tensor is cut into blocks; each pixel of the block has its own panels.
 *
 * What a value is summed from, and in which order, does not depend on the number of threads but for
 * the length of a chunk.  Everything is in the backend's scratch memory; weights are transformed at
 * each call, which costs little beside the products.
 */
#include "trainer/winograd.h"
#include "trainer/winograd_kernels.h"
#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>
#endif
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
    LINE = 16,                 /* words of a cache line */
    BLOCK_WORDS = 448 * 1024 / 4, /* of a block of transformed inputs */
    CHUNK_TILES = 96           /* of a chunk, for each thread; of pairs twice as many */
};

struct winograd {
    backend *b;
    const winograd_kernels *kernels;
    conv_options options;
    bool pairs; /* the factors of the gradients are bfloat16 */
    size_t down, across, tiles; /* of a picture, of the batch */
    uint64_t live[4][4];        /* points that are not zero by pixel and phase: see find_live() */
};

/* A tensor: positions of the convolution are blocks of block x block pixels. */
typedef struct view {
    int height, width, channels, block;
    tensor_type type;
} view;

/* Pointers of positions outside the picture. */
static const float zeros[TENSOR_MAX_CHANNELS];

static const winograd_kernels *find_kernels(const char *name) {
#if defined(__x86_64__) && defined(__GNUC__)
    if (strcmp(name, "avx512bf16") == 0 && __builtin_cpu_supports("avx512bf16"))
        return &winograd_kernels_avx512bf16;
    if (strcmp(name, "avx512") == 0 && __builtin_cpu_supports("avx512f"))
        return &winograd_kernels_avx512;
    if (strcmp(name, "avx2") == 0 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return &winograd_kernels_avx2;
#endif
    return strcmp(name, "portable") == 0 ? &winograd_kernels_portable : NULL;
}

/* Whether the processor has AMX with bfloat16, which __builtin_cpu_supports of clang 14 cannot tell. */
static bool has_amx(void) {
#if defined(__x86_64__) && defined(__GNUC__)
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 22 & 1);
#else
    return false;
#endif
}

static const winograd_kernels *best_kernels(void) {
    static const char *const names[] = {"avx512bf16", "avx512", "avx2"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (find_kernels(names[i]))
            return find_kernels(names[i]);
    return find_kernels("portable");
}

static size_t round_up(size_t value, size_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

static size_t pixel_panels(const view *v) {
    return ((size_t)v->channels + PANEL - 1) / PANEL;
}

static size_t panels_of(const view *v) {
    return (size_t)(v->block * v->block) * pixel_panels(v);
}

static view src_view(const winograd *w) {
    const conv_options *o = &w->options;
    return (view){o->height, o->width, o->cin, o->stride, o->src_type};
}

static view dst_view(const winograd *w) {
    const conv_options *o = &w->options;
    return (view){(o->height + o->stride - 1) / o->stride, (o->width + o->stride - 1) / o->stride,
                  o->cout, 1, o->dst_type};
}

/* The same as gradients. */
static view grad_view(const winograd *w, view v) {
    v.type = w->options.grad_type;
    return v;
}

/* Distances that are large powers of two would put all points into the same few lines of a cache. */
static size_t pad_stride(size_t words) {
    return words + LINE;
}

/* ---- what needs how much memory ---- */

/* Words of `count` factors. */
static size_t words_of(bool pairs, size_t count) {
    return pairs ? count / 2 : count;
}

/* Transformed inputs of some tiles; distances in words. */
typedef struct layout {
    size_t panels, tiles, panel_stride, point_stride;
} layout;

static layout make_layout(const view *v, size_t tiles, bool pairs) {
    layout l = {.panels = panels_of(v),
                .tiles = tiles,
                .panel_stride = words_of(pairs, tiles * PANEL)};
    l.point_stride = pad_stride(l.panels * l.panel_stride);
    return l;
}

static size_t layout_size(const layout *l) {
    return POINTS * l->point_stride;
}

/* Tiles of a block of a pass: as many as the cache holds. */
static size_t block_tiles(const winograd *w, const view *v, bool pairs) {
    size_t fit = BLOCK_WORDS / words_of(pairs, POINTS * panels_of(v) * PANEL) / ROWS * ROWS;
    return VQZI_MIN(VQZI_MAX(fit, (size_t)ROWS), round_up(w->tiles, ROWS));
}

static size_t chunk_tiles(const winograd *w) {
    size_t tiles = (size_t)CHUNK_TILES * (size_t)backend_threads(w->b);
    return VQZI_MIN(round_up(w->tiles, ROWS), w->pairs ? 2 * tiles : tiles);
}

/* Transformed weights: [panel of outputs][point][input][PANEL], or pairs of inputs. */
static size_t weights_point_stride(const view *from, bool pairs) {
    return pad_stride(words_of(pairs, panels_of(from) * PANEL * PANEL));
}

static size_t weights_size(const view *from, const view *to, bool pairs) {
    return panels_of(to) * POINTS * weights_point_stride(from, pairs);
}

/* Panels of outputs that are multiplied together. */
static size_t group_of(const winograd *w, bool pairs) {
    return pairs ? w->kernels->pair_group : w->kernels->group;
}

static size_t products_stride(size_t tiles) {
    return pad_stride(tiles * PANEL);
}

/* Of one thread: transformed inputs, and products of some panels. */
static size_t thread_size(const winograd *w, const view *from, bool pairs) {
    layout l = make_layout(from, block_tiles(w, from, pairs), pairs);
    return layout_size(&l) + WINOGRAD_GROUP * POINTS * products_stride(l.tiles);
}

static size_t pass_size(const winograd *w, const view *from, const view *to, bool pairs) {
    return weights_size(from, to, pairs) +
           (size_t)backend_threads(w->b) * thread_size(w, from, pairs);
}

/* Sums of the weight gradient: [point][output][inputs of whole panels]. */
static size_t sums_stride(const winograd *w) {
    view src = src_view(w), dst = dst_view(w);
    return pad_stride(panels_of(&dst) * PANEL * panels_of(&src) * PANEL);
}

static size_t gradient_size(const winograd *w) {
    view s = src_view(w), d = dst_view(w);
    layout src = make_layout(&s, chunk_tiles(w), w->pairs);
    layout grad = make_layout(&d, chunk_tiles(w), w->pairs);
    return layout_size(&src) + layout_size(&grad) + POINTS * sums_stride(w);
}

/* ---- which taps there are ---- */

/* Which of the convolution's own taps is tap 0 to 8 of a pixel of the blocks; -1 for none. */
static int source_tap(const winograd *w, int tap, int pixel) {
    if (w->options.stride == 1)
        return tap;
    int y = 2 * (tap / 3) + pixel / 2 - 1, x = 2 * (tap % 3) + pixel % 2 - 1;
    return y >= 0 && y < 4 && x >= 0 && x < 4 ? y * 4 + x : -1;
}

/* The outputs of a transposed convolution are four phases, where each panel has one; else all are one. */
static size_t phase_of(const winograd *w, size_t panel) {
    size_t phase_size = (size_t)w->options.cout / 4;
    return w->options.transposed && phase_size % PANEL == 0 ? panel * PANEL / phase_size : 0;
}

static bool has_tap(const winograd *w, int tap, int pixel, size_t phase) {
    bool phases = w->options.transposed && w->options.cout / 4 % PANEL == 0;
    int dy = (int)phase / 2, dx = (int)phase % 2;
    return source_tap(w, tap, pixel) >= 0 &&
           !(phases && (tap / 3 == 2 * (1 - dy) || tap % 3 == 2 * (1 - dx)));
}

/* The first row of points is made of the first row of taps alone, the last row of the last, and columns
   alike.  Where such taps do not exist, as in strided and transposed convolutions, of which 11 points of
   36 are zero, there is nothing to multiply. */
static void find_live(winograd *w) {
    for (int pixel = 0; pixel < 4; pixel++)
        for (size_t phase = 0; phase < 4; phase++) {
            bool rows[SIDE] = {false, true, true, true, true, false}, columns[SIDE];
            memcpy(columns, rows, sizeof columns);
            for (int tap = 0; tap < TAPS; tap++)
                if (has_tap(w, tap, w->options.stride == 1 ? 0 : pixel, phase)) {
                    rows[0] |= tap / 3 == 0;
                    rows[SIDE - 1] |= tap / 3 == 2;
                    columns[0] |= tap % 3 == 0;
                    columns[SIDE - 1] |= tap % 3 == 2;
                }
            for (int i = 0; i < POINTS; i++)
                if (rows[i / SIDE] && columns[i % SIDE])
                    w->live[pixel][phase] |= (uint64_t)1 << i;
        }
}

static bool is_live(const winograd *w, size_t src_panel, size_t dst_panel, size_t point) {
    view src = src_view(w);
    return w->live[src_panel / pixel_panels(&src)][phase_of(w, dst_panel)] >> point & 1;
}

/* The same point of weights whose taps are in reverse order. */
static size_t turned_point(size_t point) {
    static const size_t turned[SIDE] = {5, 1, 2, 3, 4, 0};
    return turned[point / SIDE] * SIDE + turned[point % SIDE];
}

/* ---- planning ---- */

bool winograd_possible(const conv_options *o) {
    bool known = (o->kernel == 3 && o->stride == 1) || (o->kernel == 4 && o->stride == 2);
    return known && o->cin <= TENSOR_MAX_CHANNELS && o->cout <= TENSOR_MAX_CHANNELS;
}

bool winograd_pays(const backend *b, const conv_options *o, bool gradients) {
    /* Below these numbers of channels, as measured, the transforms cost more than is saved; a stride
       saves less. */
    int least_in = o->stride == 1 ? 12 : 48, least_out = o->stride == 1 ? 8 : 48;
    if (backend_precision(b) == PRECISION_BFLOAT16) {
        /* Direct products are twice as fast as float32 ones, or with AMX eight times. */
        if (has_amx() || (o->stride != 1 && !gradients))
            return false;
        if (o->stride == 1)
            least_in = least_out = gradients ? 12 : 32;
    }
    if (!winograd_possible(o) || o->cin < least_in || o->cout < least_out)
        return false;
    /* Of a tile at the border, what lies outside the picture is computed for nothing. */
    size_t tile = (size_t)(TILE * o->stride);
    double inside = (double)o->height * o->width;
    double whole = (double)round_up((size_t)o->height, tile) * (double)round_up((size_t)o->width, tile);
    return inside / whole >= (o->stride == 1 ? 0.35 : 0.85);
}

vqz_status winograd_create(winograd **made, backend *b, const conv_options *options, vqz_diag *diag) {
    winograd *w = calloc(1, sizeof *w);
    if (!w)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "not enough memory to plan a convolution");
    w->b = b;
    w->kernels = best_kernels();
    w->options = *options;
    view src = src_view(w), dst = dst_view(w);
    w->down = round_up((size_t)dst.height, TILE) / TILE;
    w->across = round_up((size_t)dst.width, TILE) / TILE;
    w->tiles = (size_t)options->batch * w->down * w->across;
    w->pairs = options->grad_type == TENSOR_BFLOAT16;
    find_live(w);
    size_t size = pass_size(w, &src, &dst, false);
    if (options->training) {
        size = VQZI_MAX(size, pass_size(w, &dst, &src, w->pairs));
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

/* Pointers to pixel `pixel` of side x side blocks, `margin` before the tile's first; tiles past the last
   are zero. */
static void locate(const winograd *w, const view *v, const void *src, size_t tile, int pixel, int side,
                   int margin, winograd_tile *found) {
    size_t sample, pixel_size = (size_t)v->channels * tensor_type_size(v->type);
    int y0, x0, dy = pixel / v->block, dx = pixel % v->block;
    bool exists = tile < w->tiles;
    found->type = v->type;
    tile_position(w, exists ? tile : 0, &sample, &y0, &x0);
    for (int i = 0; i < side; i++) {
        int y = (y0 + i - margin) * v->block + dy;
        bool row_inside = exists && y >= 0 && y < v->height;
        /* Pointers are only formed to what is inside. */
        size_t row = (sample * (size_t)v->height + (size_t)(row_inside ? y : 0)) * (size_t)v->width;
        for (int j = 0; j < side; j++) {
            int x = (x0 + j - margin) * v->block + dx;
            bool inside = row_inside && x >= 0 && x < v->width;
            found->at[i * side + j] =
                inside ? (const char *)src + (row + (size_t)x) * pixel_size : (const char *)zeros;
        }
    }
}

/* All of a tile of inputs; dst: value 0 and panel 0 of the tile. */
static void transform_inputs(const winograd *w, const view *v, const void *src, size_t tile,
                             winograd_format format, float *dst, const layout *l) {
    for (int pixel = 0; pixel < v->block * v->block; pixel++) {
        winograd_tile found;
        locate(w, v, src, tile, pixel, SIDE, 1, &found);
        w->kernels->transform_src(&found, (size_t)v->channels, format,
                                  dst + (size_t)pixel * pixel_panels(v) * l->panel_stride,
                                  l->panel_stride, l->point_stride);
    }
}

static size_t taps_of(const winograd *w) {
    return (size_t)(w->options.kernel * w->options.kernel);
}

/* Where number `index` of the rows that a sum is over goes, with pairs two to a word, and how. */
static size_t word_row(bool pairs, size_t index) {
    return (pairs ? index / 2 : index) * PANEL;
}

static winograd_format word_format(bool pairs, size_t index) {
    return !pairs ? WINOGRAD_FLOAT : index % 2 == 0 ? WINOGRAD_EVEN : WINOGRAD_ODD;
}

/* ---- forward and data gradient ---- */

/* Weights of PANEL outputs for the forward pass, turned so that outputs are vectors. */
static void forward_weights(const winograd *w, const float *weights, size_t panel, float *dst) {
    view src = src_view(w);
    size_t cin = (size_t)w->options.cin, first = panel * PANEL;
    size_t stride = weights_point_stride(&src, false);
    size_t outputs = VQZI_MIN((size_t)PANEL, (size_t)w->options.cout - first);
    float turned[TAPS][PANEL][PANEL]; /* tap, input, output */
    for (size_t from = 0; from < panels_of(&src); from++) {
        int pixel = (int)(from / pixel_panels(&src));
        size_t input = from % pixel_panels(&src) * PANEL, inputs = VQZI_MIN((size_t)PANEL, cin - input);
        memset(turned, 0, sizeof turned);
        for (int tap = 0; tap < TAPS; tap++) {
            int own = source_tap(w, tap, pixel);
            for (size_t o = 0; o < outputs && own >= 0; o++) {
                const float *row = weights + ((first + o) * taps_of(w) + (size_t)own) * cin + input;
                for (size_t i = 0; i < inputs; i++)
                    turned[tap][i][o] = row[i];
            }
        }
        for (size_t i = 0; i < PANEL; i++)
            w->kernels->transform_weights(turned[0][i], PANEL * PANEL, WINOGRAD_FLOAT,
                                          dst + (from * PANEL + i) * PANEL, stride);
    }
}

/* For the data gradient: outputs are inputs, and the taps are in reverse order. */
static void backward_weights(const winograd *w, const float *weights, size_t panel, float *dst) {
    view to = src_view(w), from = dst_view(w);
    int pixel = (int)(panel / pixel_panels(&to));
    size_t cin = (size_t)w->options.cin, cout = (size_t)w->options.cout;
    size_t first = panel % pixel_panels(&to) * PANEL, inputs = VQZI_MIN((size_t)PANEL, cin - first);
    float turned[TAPS][PANEL] = {{0}};
    for (size_t o = 0; o < panels_of(&from) * PANEL; o++) {
        if (o == cout)
            memset(turned, 0, sizeof turned);
        for (int tap = 0; tap < TAPS && o < cout; tap++) {
            int own = source_tap(w, tap, pixel);
            if (own >= 0)
                memcpy(turned[TAPS - 1 - tap],
                       weights + (o * taps_of(w) + (size_t)own) * cin + first,
                       inputs * sizeof **turned);
        }
        w->kernels->transform_weights(turned[0], PANEL, word_format(w->pairs, o),
                                      dst + word_row(w->pairs, o),
                                      weights_point_stride(&from, w->pairs));
    }
}

/* One convolution, from a tensor to another. */
typedef struct pass {
    const void *src, *add;
    const float *bias;
    void *dst;
    view from, to;
    tensor_type add_type;
    bool activate, pairs, forward;
    float slope;
    const float *weights; /* transformed */
} pass;

static void write_panel(const winograd *w, const pass *p, size_t first, size_t tiles, size_t panel,
                        const float *products, size_t stride) {
    const view *v = &p->to;
    int pixel = (int)(panel / pixel_panels(v)), dy = pixel / v->block, dx = pixel % v->block;
    int channel = (int)(panel % pixel_panels(v)) * PANEL;
    float bias[PANEL] = {0};
    winograd_output o = {.bias = p->bias ? bias : NULL,
                         .dst_type = v->type,
                         .add_type = p->add_type,
                         .pixel = (size_t)(v->block * v->channels),
                         .row = (size_t)(v->block * v->channels) * (size_t)v->width,
                         .channels = VQZI_MIN(PANEL, v->channels - channel),
                         .activate = p->activate,
                         .slope = p->slope};
    if (p->bias)
        memcpy(bias, p->bias + channel, (size_t)o.channels * sizeof *bias);
    for (size_t t = 0; t < tiles; t++) {
        size_t sample;
        int y, x;
        tile_position(w, first + t, &sample, &y, &x);
        y = y * v->block + dy;
        x = x * v->block + dx;
        if (y >= v->height || x >= v->width)
            continue;
        size_t offset = ((sample * (size_t)v->height + (size_t)y) * (size_t)v->width + (size_t)x) *
                            (size_t)v->channels + (size_t)channel;
        o.dst = (char *)p->dst + offset * tensor_type_size(v->type);
        o.add = p->add ? (const char *)p->add + offset * tensor_type_size(p->add_type) : NULL;
        o.rows = VQZI_MIN(TILE, (v->height - y + v->block - 1) / v->block);
        o.columns = VQZI_MIN(TILE, (v->width - x + v->block - 1) / v->block);
        w->kernels->transform_dst(products + t * PANEL, stride, &o);
    }
}

/* Panels of inputs of the pass that count at a point, for some panels of its outputs. */
static void list_panels(const winograd *w, const pass *p, size_t first, size_t group, size_t point,
                        winograd_list *list) {
    list->count = 0;
    for (size_t panel = 0; panel < panels_of(&p->from); panel++) {
        bool live = false;
        for (size_t to = first; to < first + group; to++)
            live |= p->forward ? is_live(w, panel, to, point)
                               : is_live(w, to, panel, turned_point(point));
        if (live)
            list->panels[list->count++] = (uint16_t)panel;
    }
}

static void compute_block(const winograd *w, const pass *p, size_t first, float *work) {
    layout l = make_layout(&p->from, block_tiles(w, &p->from, p->pairs), p->pairs);
    size_t tiles = VQZI_MIN(l.tiles, w->tiles - first), rows = round_up(tiles, ROWS);
    size_t stride = products_stride(l.tiles), panels = panels_of(&p->to);
    size_t weights_stride = weights_point_stride(&p->from, p->pairs);
    float *products = work + layout_size(&l);
    for (size_t t = 0; t < rows; t++)
        transform_inputs(w, &p->from, p->src, first + t, p->pairs ? WINOGRAD_HALF : WINOGRAD_FLOAT,
                         work + words_of(p->pairs, t * PANEL), &l);
    for (size_t panel = 0; panel < panels; panel += group_of(w, p->pairs)) {
        size_t group = VQZI_MIN(panels - panel, group_of(w, p->pairs));
        for (size_t i = 0; i < POINTS; i++) {
            winograd_list list;
            list_panels(w, p, panel, group, i, &list);
            w->kernels->multiply(work + i * l.point_stride, l.panel_stride,
                                 p->weights + (panel * POINTS + i) * weights_stride,
                                 POINTS * weights_stride, &list, rows, p->pairs, group,
                                 products + i * stride, POINTS * stride);
        }
        for (size_t g = 0; g < group; g++)
            write_panel(w, p, first, tiles, panel + g, products + g * POINTS * stride, stride);
    }
}

static void run_pass(const winograd *w, pass *p, const float *weights) {
    float *scratch = backend_scratch(w->b);
    float *blocks = scratch + weights_size(&p->from, &p->to, p->pairs);
    size_t block = block_tiles(w, &p->from, p->pairs), size = thread_size(w, &p->from, p->pairs);
    size_t panels = panels_of(&p->to);
    size_t panel_size = POINTS * weights_point_stride(&p->from, p->pairs);
    p->weights = scratch;
#pragma omp parallel num_threads(backend_threads(w->b))
    {
#pragma omp for schedule(static)
        for (size_t panel = 0; panel < panels; panel++)
            (p->forward ? forward_weights : backward_weights)(w, weights, panel,
                                                              scratch + panel * panel_size);
#pragma omp for schedule(dynamic)
        for (size_t first = 0; first < w->tiles; first += block)
            compute_block(w, p, first, blocks + (size_t)omp_get_thread_num() * size);
    }
}

void winograd_forward(const winograd *w, const float *weights, const float *bias, const void *src,
                      const void *add, void *dst) {
    const conv_options *o = &w->options;
    bool fused = o->fuse_bias;
    run_pass(w,
             &(pass){.src = src,
                     .dst = dst,
                     .from = src_view(w),
                     .to = dst_view(w),
                     .bias = fused ? bias : NULL,
                     .add = fused && o->fuse_add ? add : NULL,
                     .add_type = o->add_type,
                     .activate = fused && o->activation != ACT_NONE,
                     .slope = o->activation == ACT_LEAKY ? ldexpf(1, -o->slope) : 0,
                     .forward = true},
             weights);
}

void winograd_backward_data(const winograd *w, const float *weights, const void *grad_dst,
                            void *grad_src) {
    run_pass(w,
             &(pass){.src = grad_dst,
                     .dst = grad_src,
                     .from = grad_view(w, dst_view(w)),
                     .to = grad_view(w, src_view(w)),
                     .pairs = w->pairs},
             weights);
}

/* ---- weight gradient ---- */

/* Gradients of PANEL outputs, from the sums.  Those that were not formed reach no tap that exists. */
static void finish_gradient(const winograd *w, size_t panel, const float *sums, float *grad_weights) {
    view src = src_view(w);
    size_t cin = (size_t)w->options.cin, cout = (size_t)w->options.cout;
    size_t panels = panels_of(&src), row = panels * PANEL;
    for (size_t o = panel * PANEL; o < VQZI_MIN((panel + 1) * PANEL, cout); o++)
        for (size_t p = 0; p < panels; p++) {
            int pixel = (int)(p / pixel_panels(&src));
            size_t input = p % pixel_panels(&src) * PANEL;
            float taps[TAPS * PANEL];
            w->kernels->transform_grad_weights(sums + o * row + p * PANEL, sums_stride(w), taps);
            for (int tap = 0; tap < TAPS; tap++) {
                int own = source_tap(w, tap, pixel);
                if (own >= 0)
                    memcpy(grad_weights + (o * taps_of(w) + (size_t)own) * cin + input,
                           taps + tap * PANEL,
                           VQZI_MIN((size_t)PANEL, cin - input) * sizeof *taps);
            }
        }
}

void winograd_backward_weights(const winograd *w, const void *src, const void *grad_dst,
                               float *grad_weights) {
    const view sv = src_view(w), gv = grad_view(w, dst_view(w));
    const layout s = make_layout(&sv, chunk_tiles(w), w->pairs);
    const layout g = make_layout(&gv, chunk_tiles(w), w->pairs);
    float *inputs = backend_scratch(w->b), *gradients = inputs + layout_size(&s);
    float *sums = gradients + layout_size(&g);
    const size_t row = s.panels * PANEL;
#pragma omp parallel num_threads(backend_threads(w->b))
    {
        for (size_t first = 0; first < w->tiles; first += s.tiles) {
            size_t rows = VQZI_MIN(s.tiles, round_up(w->tiles - first, ROWS));
            /* Both of a pair in one thread: they share words. */
#pragma omp for schedule(static)
            for (size_t pair = 0; pair < rows / 2; pair++)
                for (size_t t = 2 * pair; t < 2 * pair + 2; t++) {
                    winograd_tile tile;
                    winograd_format format = word_format(w->pairs, t);
                    transform_inputs(w, &sv, src, first + t, format, inputs + word_row(w->pairs, t),
                                     &s);
                    locate(w, &gv, grad_dst, first + t, 0, TILE, 0, &tile);
                    w->kernels->transform_grad(&tile, (size_t)gv.channels, format,
                                               gradients + word_row(w->pairs, t), g.panel_stride,
                                               g.point_stride);
                }
#pragma omp for schedule(dynamic)
            for (size_t job = 0; job < POINTS * g.panels; job++) {
                size_t point = job / g.panels, panel = job % g.panels;
                winograd_list list = {.count = 0};
                for (size_t from = 0; from < s.panels; from++)
                    if (is_live(w, from, panel, point))
                        list.panels[list.count++] = (uint16_t)from;
                w->kernels->multiply_grad(gradients + point * g.point_stride + panel * g.panel_stride,
                                          inputs + point * s.point_stride, s.panel_stride, &list,
                                          rows, w->pairs, first > 0,
                                          sums + point * sums_stride(w) + panel * PANEL * row, row);
            }
        }
#pragma omp for schedule(static)
        for (size_t panel = 0; panel < g.panels; panel++)
            finish_gradient(w, panel, sums, grad_weights);
    }
}
