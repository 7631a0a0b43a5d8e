/*
 * refine.c - see refine.h.
 *
 * Codes are chosen for the least |latent - entry|^2 + lambda * bits.  That stands in for the
 * squared error of the picture, E.  Near the chosen entries q,
 *
 *     E(q + d) = E(q) + 2 g d + d' H d,  g = J' (decoded - picture),  H = J' J,
 *
 * where J is the Jacobian of the synthesis network.  H is close to a diagonal, h; with that E is,
 * but for a constant, h times the squared distance to q - g / h.  So this is what the latents t
 * move to:
 *
 *     t becomes q + KEEP (t - q) - STEP g / h.
 *
 * KEEP averages over the attempts, since H is not quite diagonal; with STEP = 1 - KEEP the latents
 * come to rest at q - g / h.  h of a channel is the mean square of the gradient there of an error
 * of random signs.
 */
#include "codec/refine.h"
#include "codec/executor.h"
#include "codec/pixels.h"
#include "codec/quantise.h"

#include <stdlib.h>
#include <string.h>

enum {
    WINDOW = 768,   /* pixels across */
    ERROR_BITS = 5, /* fraction of an error in pixels */
    PROBE_BITS = 7, /* errors of random signs are 1 or -1 times 2^PROBE_BITS */
    UNIT_BITS = 16, /* fraction of 1 / h */
    STEP_BITS = 24, /* fraction of STEP / h */
    KEEP = 230,     /* 2^-8 */
    STEP = 26       /* 2^-8 */
};

/* Latent positions, within the window and around it. */
typedef struct window {
    vqzi_span x, y;         /* with the margin */
    vqzi_span own_x, own_y; /* without */
} window;

struct vqzi_refiner {
    vqzi_refiner_options options;
    const vqzi_model *model;
    vqzi_net_plan plan;
    vqzi_executor *executor;
    vqzi_quantiser *quantiser; /* looks codes up */
    uint32_t reach, margin, window_columns;
    int16_t *above;    /* (margin, columns, D): chosen, of the rows before `row` */
    int16_t *chosen;   /* (tile rows, columns, D) */
    int16_t *gradient; /* (tile rows, columns, D) */
    int16_t *work;     /* (threads, work_row) */
    size_t work_row;
    uint64_t *row_errors; /* (pixel rows of a window) */
    /* of the row of tiles */
    uint32_t row, rows;
    int16_t *latents;
    const int16_t *below;
    uint64_t unit; /* 1 / h, of all channels; 0 before the first measure */
    int64_t steps[VQZI_MAX_LATENT_CHANNELS]; /* STEP / h */
};

/* ---- setting up ---- */

/* Latent positions that a pixel reads to each side of its own, and that read it. */
static uint32_t reach_of(const vqzi_refiner_options *options) {
    enum { FAR = 1 << 16 };
    int64_t stride = options->model->model.stride;
    vqzi_span span = vqzi_net_input_span(vqzi_adjoint_net(options->adjoint), 2 * FAR,
                                         (vqzi_span){FAR * stride, (FAR + 1) * stride});
    return (uint32_t)VQZI_MAX(FAR - span.begin, span.end - FAR - 1);
}

uint32_t vqzi_refiner_margin(const vqzi_refiner_options *options) {
    return VQZI_MIN(2 * reach_of(options), options->tile_rows);
}

static uint32_t window_columns(const vqzi_refiner_options *options) {
    uint32_t most = WINDOW / options->model->model.stride;
    uint32_t count = (options->columns + most - 1) / most;
    return (options->columns + count - 1) / count;
}

static void make_plan(vqzi_net_plan *plan, const vqzi_refiner_options *options) {
    uint64_t width = window_columns(options) + 4ull * reach_of(options);
    uint64_t height = options->tile_rows + 2ull * vqzi_refiner_margin(options);
    vqzi_net_plan_whole(plan, vqzi_adjoint_net(options->adjoint),
                        (uint32_t)VQZI_MIN(width, options->columns),
                        (uint32_t)VQZI_MIN(height, options->rows));
}

static vqzi_quantiser_options quantiser_options(const vqzi_refiner_options *options) {
    return (vqzi_quantiser_options){
        .level = options->level,
        .max_width = options->columns,
        .kernels = &options->context->kernels,
        .threads = options->context->team.threads,
    };
}

uint64_t vqzi_refiner_memory(const vqzi_refiner_options *options) {
    const vqzi_model *model = &options->model->model;
    uint64_t rows = 2ull * options->tile_rows + vqzi_refiner_margin(options);
    vqzi_net_plan plan;
    make_plan(&plan, options);
    uint64_t elements = vqzi_mul_sizes(rows * options->columns, model->latent_channels);
    elements =
        vqzi_add_sizes(elements, vqzi_adjoint_elements(vqzi_adjoint_net(options->adjoint), &plan,
                                                       options->context->team.threads));
    uint64_t bytes = vqzi_add_sizes(plan.memory, vqzi_mul_sizes(elements, sizeof(int16_t)));
    vqzi_quantiser_options quantiser = quantiser_options(options);
    bytes = vqzi_add_sizes(bytes, vqzi_quantiser_memory(model, &quantiser));
    return vqzi_add_sizes(bytes, (uint64_t)plan.height * model->stride * sizeof(uint64_t));
}

/* STEP / h is STEP times 2 to this power over the mean square of a probe's gradient. */
static int step_scale(const vqzi_model *model, const vqzi_adjoint *adjoint) {
    return STEP_BITS - 8 + 2 * PROBE_BITS - ERROR_BITS + model->pixel_shift +
           vqzi_adjoint_exponent(adjoint);
}

/* 1 / h is 2 to this power over it. */
static int unit_scale(const vqzi_model *model, const vqzi_adjoint *adjoint) {
    return UNIT_BITS + 2 * (PROBE_BITS + model->pixel_shift + vqzi_adjoint_exponent(adjoint));
}

vqz_status vqzi_refiner_find(const vqz_model *model, const vqzi_adjoint **found) {
    const vqzi_adjoint *adjoint;
    VQZ_TRY(vqzi_model_adjoint(model, &adjoint));
    bool able = vqzi_adjoint_is_able(adjoint);
    if (able) { /* and numbers are of a size that there are bits for */
        int step = step_scale(&model->model, adjoint), unit = unit_scale(&model->model, adjoint);
        able = step >= 0 && step <= 50 && unit >= 0 && unit <= 60;
    }
    *found = able ? adjoint : NULL;
    return VQZ_OK;
}

static vqz_status prepare(vqzi_refiner *refiner) {
    const vqzi_refiner_options *options = &refiner->options;
    uint64_t row = (uint64_t)options->columns * refiner->model->latent_channels;
    const vqzi_prepared_net *net = vqzi_adjoint_net(options->adjoint);
    int threads = options->context->team.threads;
    make_plan(&refiner->plan, options);
    refiner->reach = reach_of(options);
    refiner->margin = vqzi_refiner_margin(options);
    refiner->window_columns = window_columns(options);
    uint64_t elements = vqzi_adjoint_elements(net, &refiner->plan, threads);
    refiner->work_row = (size_t)(elements / (uint64_t)threads);
    refiner->above = vqzi_allocate(refiner->margin * row, sizeof *refiner->above);
    refiner->chosen = vqzi_allocate(options->tile_rows * row, sizeof *refiner->chosen);
    refiner->gradient = vqzi_allocate(options->tile_rows * row, sizeof *refiner->gradient);
    refiner->work = vqzi_allocate(elements, sizeof *refiner->work);
    refiner->row_errors = vqzi_allocate((uint64_t)refiner->plan.height * refiner->model->stride,
                                        sizeof *refiner->row_errors);
    if (!refiner->above || !refiner->chosen || !refiner->gradient || !refiner->work ||
        !refiner->row_errors)
        return VQZ_ERROR_MEMORY;
    vqzi_quantiser_options quantiser = quantiser_options(options);
    VQZ_TRY(vqzi_quantiser_create(&refiner->quantiser, refiner->model, &quantiser));
    return vqzi_executor_create(&refiner->executor, net, &refiner->plan, options->level,
                                &options->context->kernels, &options->context->team);
}

vqz_status vqzi_refiner_create(vqzi_refiner **out, const vqzi_refiner_options *options) {
    vqzi_refiner *refiner = calloc(1, sizeof *refiner);
    if (!refiner)
        return VQZ_ERROR_MEMORY;
    refiner->options = *options;
    refiner->model = &options->model->model;
    vqz_status status = prepare(refiner);
    if (status == VQZ_OK)
        *out = refiner;
    else
        vqzi_refiner_free(refiner);
    return status;
}

void vqzi_refiner_free(vqzi_refiner *refiner) {
    if (!refiner)
        return;
    vqzi_executor_free(refiner->executor);
    vqzi_quantiser_free(refiner->quantiser);
    free(refiner->above);
    free(refiner->chosen);
    free(refiner->gradient);
    free(refiner->work);
    free(refiner->row_errors);
    free(refiner);
}

/* ---- a row of tiles ---- */

void vqzi_refiner_begin(vqzi_refiner *refiner, uint32_t row, uint32_t rows, int16_t *latents,
                        const int16_t *below) {
    refiner->row = row;
    refiner->rows = rows;
    refiner->latents = latents;
    refiner->below = below;
    refiner->unit = 0;
}

static size_t row_elements(const vqzi_refiner *refiner) {
    return (size_t)refiner->options.columns * refiner->model->latent_channels;
}

typedef struct code_job {
    const vqzi_refiner *refiner;
    const uint16_t *codes; /* (planes, tile rows, columns) */
} code_job;

static void choose_row(const void *argument, int thread, int64_t y) {
    const code_job *job = argument;
    const vqzi_refiner *refiner = job->refiner;
    size_t columns = refiner->options.columns;
    const uint16_t *planes[VQZI_MAX_PLANES];
    for (uint32_t p = 0; p < refiner->model->plane_count; p++)
        planes[p] = job->codes + ((size_t)p * refiner->options.tile_rows + (size_t)y) * columns;
    vqzi_dequantise_row(refiner->quantiser, thread, planes, (uint32_t)columns,
                        refiner->chosen + (size_t)y * row_elements(refiner));
}

/* Looks up the latents that codes stand for, from row `first` of the row of tiles on. */
static void choose(const vqzi_refiner *refiner, const uint16_t *codes, uint32_t first) {
    code_job job = {refiner, codes};
    uint64_t positions = (uint64_t)(refiner->rows - first) * refiner->options.columns;
    vqzi_team_run(&refiner->options.context->team,
                  positions * vqzi_quantiser_work(refiner->quantiser), first, refiner->rows,
                  choose_row, &job);
}

/* Latents (columns, D) of a row, what is above and below included. */
static const int16_t *latents_of(const vqzi_refiner *refiner, int64_t y) {
    size_t row = row_elements(refiner);
    int64_t first = refiner->row, end = first + refiner->rows;
    if (y < first)
        return refiner->above + (size_t)(y - (first - refiner->margin)) * row;
    return y < end ? refiner->chosen + (size_t)(y - first) * row
                   : refiner->below + (size_t)(y - end) * row;
}

static vqzi_span widen(vqzi_span span, uint32_t by, uint32_t size) {
    return (vqzi_span){VQZI_MAX(span.begin - (int64_t)by, 0),
                       VQZI_MIN(span.end + (int64_t)by, (int64_t)size)};
}

/* Pixels of a window that are those of the picture: not those that the edge of the window changes.
 */
static vqzi_span exact(const vqzi_refiner *refiner, vqzi_span span, uint32_t size,
                       uint32_t pixels) {
    int64_t stride = refiner->model->stride, reach = refiner->reach;
    int64_t begin = span.begin > 0 ? (span.begin + reach) * stride : 0;
    int64_t end = span.end < size ? (span.end - reach) * stride : pixels;
    return (vqzi_span){begin, VQZI_MAX(end, begin)};
}

typedef struct error_job {
    const vqzi_refiner *refiner;
    const window *window;
    vqzi_view output; /* of the network, in pixels from the window's first on */
    vqzi_span x, y;   /* exact pixels */
} error_job;

/* Error of a value of the network, in pixels, times 2^ERROR_BITS. */
static inline int error_of(int value, int pixel, uint32_t shift) {
    int limit = 255 << shift;
    int decoded = VQZI_MIN(VQZI_MAX(value + (128 << shift), 0), limit);
    int error = decoded - ((pixel + 128) << shift);
    return shift <= ERROR_BITS ? error * (1 << (ERROR_BITS - shift))
                               : error >> (shift - ERROR_BITS);
}

/* Puts the errors of a pixel in place of its values and gives the sum of their squares.  Where the
   picture is gray (channels: its own) the mean of the colours is what counts; colours of
   transparent pixels and an alpha that the picture has not do not. */
static inline uint64_t pixel_error(const vqzi_view *view, int16_t *values, const int16_t *pixel,
                                   uint32_t shift, uint32_t channels) {
    int errors[4] = {0};
    uint64_t sum = 0;
    for (uint32_t c = 0; c < view->channels; c++)
        if (c == 3 ? channels % 2 == 0 : view->channels < 4 || pixel[3] > -128)
            errors[c] = error_of(values[c], pixel[c], shift);
    if (channels < 3 && view->channels >= 3)
        errors[0] = errors[1] = errors[2] = (errors[0] + errors[1] + errors[2]) / 3;
    for (uint32_t c = 0; c < view->channels; c++) {
        values[c] = (int16_t)errors[c];
        sum += (uint64_t)(errors[c] * errors[c]);
    }
    return sum;
}

/* Puts the errors of a row of pixels in place of the output. */
static void error_row(const void *argument, int thread, int64_t row) {
    const error_job *job = argument;
    const vqzi_refiner *refiner = job->refiner;
    const vqzi_pixel_ring *ring = &refiner->options.pixels;
    uint32_t stride = refiner->model->stride, channels = job->output.channels;
    int64_t first = job->window->x.begin * stride; /* column of the picture */
    int64_t y = job->window->y.begin * stride + row;
    int64_t width = job->output.x.end - job->output.x.begin;
    int16_t *values = job->output.data + (size_t)row * job->output.pitch;
    bool is_own = y >= job->window->own_y.begin * stride && y < job->window->own_y.end * stride;
    int16_t *source = refiner->work + (size_t)thread * refiner->work_row;
    uint64_t sum = 0;

    refiner->row_errors[row] = 0;
    if (y < job->y.begin || y >= job->y.end) {
        memset(values, 0, (size_t)width * channels * sizeof *values);
        return;
    }
    vqzi_view view = {source, 0, job->x, {y, y + 1}, channels};
    vqzi_pixels_load_row(&view, y,
                         ring->data + (size_t)(y % ring->rows) * ring->width * ring->channels,
                         ring->width, ring->channels);
    for (int64_t x = first; x < first + width; x++, values += channels) {
        if (x < job->x.begin || x >= job->x.end) {
            memset(values, 0, channels * sizeof *values);
            continue;
        }
        uint64_t error =
            pixel_error(&job->output, values, source + (size_t)(x - job->x.begin) * channels,
                        refiner->model->pixel_shift, ring->channels);
        bool counts =
            is_own && x >= job->window->own_x.begin * stride && x < job->window->own_x.end * stride;
        sum += counts ? error : 0;
    }
    refiner->row_errors[row] = sum;
}

typedef struct copy_job {
    const vqzi_refiner *refiner;
    const window *window;
    vqzi_view input;
} copy_job;

static void load_row(const void *argument, int thread, int64_t row) {
    const copy_job *job = argument;
    size_t channels = job->input.channels;
    (void)thread;
    memcpy(job->input.data + (size_t)row * job->input.pitch,
           latents_of(job->refiner, job->window->y.begin + row) +
               (size_t)job->window->x.begin * channels,
           (size_t)(job->window->x.end - job->window->x.begin) * channels * sizeof(int16_t));
}

/* The gradient of a row of the window's own. */
static void keep_row(const void *argument, int thread, int64_t y) {
    const copy_job *job = argument;
    const window *w = job->window;
    const vqzi_refiner *refiner = job->refiner;
    size_t channels = job->input.channels;
    (void)thread;
    memcpy(refiner->gradient + (size_t)(y - refiner->row) * row_elements(refiner) +
               (size_t)w->own_x.begin * channels,
           job->input.data + (size_t)(y - w->y.begin) * job->input.pitch +
               (size_t)(w->own_x.begin - w->x.begin) * channels,
           (size_t)(w->own_x.end - w->own_x.begin) * channels * sizeof(int16_t));
}

static uint64_t positions_of(const window *w) {
    return (uint64_t)((w->x.end - w->x.begin) * (w->y.end - w->y.begin));
}

/* Decodes a window; the view is of the output. */
static vqzi_view decode_window(vqzi_refiner *refiner, copy_job *copy, const window *w) {
    refiner->plan.width = (uint32_t)(w->x.end - w->x.begin);
    refiner->plan.height = (uint32_t)(w->y.end - w->y.begin);
    *copy = (copy_job){refiner, w, vqzi_executor_begin(refiner->executor, 0, 0)};
    vqzi_team_run(&refiner->options.context->team,
                  positions_of(w) * copy->input.channels * VQZI_ELEMENT_WORK, 0,
                  refiner->plan.height, load_row, copy);
    return vqzi_executor_run(refiner->executor);
}

/* Sum of the squared errors of the window's own pixels, times 2^(2 ERROR_BITS). */
static uint64_t measure_window(vqzi_refiner *refiner, const window *w, bool gradient) {
    const vqzi_refiner_options *options = &refiner->options;
    const vqzi_team *team = &options->context->team;
    uint64_t sum = 0;
    copy_job copy;
    error_job errors = {
        refiner,
        w,
        decode_window(refiner, &copy, w),
        exact(refiner, w->x, options->columns, options->pixels.width),
        exact(refiner, w->y, options->rows, options->pixels.height),
    };
    uint32_t stride = refiner->model->stride, height = refiner->plan.height * stride;
    vqzi_team_run(team,
                  positions_of(w) * stride * stride * errors.output.channels * VQZI_ELEMENT_WORK, 0,
                  height, error_row, &errors);
    for (uint32_t y = 0; y < height; y++)
        sum += refiner->row_errors[y];
    if (gradient) {
        vqzi_adjoint_run(refiner->options.adjoint, refiner->executor, refiner->work);
        vqzi_team_run(team, positions_of(w) * copy.input.channels * VQZI_ELEMENT_WORK,
                      w->own_y.begin, w->own_y.end, keep_row, &copy);
    }
    return sum;
}

/* The steps of all channels and the unit, from a window with the codes as they are. */
static void find_steps(vqzi_refiner *refiner, const window *w) {
    uint64_t squares[VQZI_MAX_LATENT_CHANNELS] = {0}, all = 0;
    uint32_t random = 1;
    copy_job copy;
    vqzi_view output = decode_window(refiner, &copy, w);
    for (int64_t y = output.y.begin; y < output.y.end; y++) {
        int16_t *row = output.data + (size_t)(y - output.y.begin) * output.pitch;
        for (size_t i = 0; i < (size_t)(output.x.end - output.x.begin) * output.channels; i++) {
            random = random * 1664525 + 1013904223;
            row[i] = random >> 31 ? 1 << PROBE_BITS : -(1 << PROBE_BITS);
        }
    }
    vqzi_adjoint_run(refiner->options.adjoint, refiner->executor, refiner->work);
    uint64_t positions =
        (uint64_t)((w->own_x.end - w->own_x.begin) * (w->own_y.end - w->own_y.begin));
    for (int64_t y = w->own_y.begin; y < w->own_y.end; y++) {
        const int16_t *gradient =
            vqzi_view_at(&copy.input, y - w->y.begin, w->own_x.begin - w->x.begin);
        for (int64_t x = w->own_x.begin; x < w->own_x.end; x++)
            for (uint32_t c = 0; c < copy.input.channels; c++, gradient++)
                squares[c] += (uint64_t)(*gradient * *gradient);
    }
    int scale = step_scale(refiner->model, refiner->options.adjoint);
    for (uint32_t c = 0; c < copy.input.channels; c++) {
        uint64_t mean = VQZI_MAX(squares[c] / positions, 1);
        refiner->steps[c] = ((int64_t)STEP << scale) / (int64_t)mean;
        all += mean;
    }
    scale = unit_scale(refiner->model, refiner->options.adjoint);
    uint64_t unit = ((uint64_t)1 << scale) / (all / copy.input.channels); /* NOLINT(*DivideZero) */
    refiner->unit = VQZI_MAX(unit, 1);
}

/* The window whose own columns begin at x. */
static window window_at(const vqzi_refiner *refiner, int64_t x) {
    const vqzi_refiner_options *options = &refiner->options;
    int64_t end = VQZI_MIN(x + refiner->window_columns, (int64_t)options->columns);
    window w = {.own_x = {x, end}, .own_y = {refiner->row, (int64_t)refiner->row + refiner->rows}};
    w.x = widen(w.own_x, 2 * refiner->reach, options->columns);
    w.y = widen(w.own_y, refiner->margin, options->rows);
    return w;
}

uint64_t vqzi_refiner_measure(vqzi_refiner *refiner, const uint16_t *codes, bool gradient) {
    uint32_t columns = refiner->options.columns, step = refiner->window_columns;
    uint64_t sum = 0;
    choose(refiner, codes, 0);
    for (uint32_t x = 0; x < columns; x += step) {
        window w = window_at(refiner, x);
        sum += measure_window(refiner, &w, gradient);
    }
    sum >>= 2 * ERROR_BITS;
    if (refiner->unit == 0) {
        window middle = window_at(refiner, columns / step / 2 * step);
        find_steps(refiner, &middle);
    }
    return vqzi_mul_sizes(sum, refiner->unit) >> UNIT_BITS;
}

static void move_row(const void *argument, int thread, int64_t y) {
    const vqzi_refiner *refiner = argument;
    size_t channels = refiner->model->latent_channels, at = (size_t)y * row_elements(refiner);
    int64_t high = (1 << (refiner->model->latent_bits - 1)) - 1;
    (void)thread;
    for (uint32_t x = 0; x < refiner->options.columns; x++)
        for (size_t c = 0; c < channels; c++, at++) {
            int chosen = refiner->chosen[at];
            int64_t kept = (KEEP * (refiner->latents[at] - chosen) + 128) >> 8;
            int64_t step =
                (refiner->gradient[at] * refiner->steps[c] + (1 << (STEP_BITS - 1))) >> STEP_BITS;
            refiner->latents[at] =
                (int16_t)VQZI_MIN(VQZI_MAX(chosen + kept - step, -high - 1), high);
        }
}

void vqzi_refiner_move(vqzi_refiner *refiner) {
    vqzi_team_run(&refiner->options.context->team,
                  refiner->rows * row_elements(refiner) * VQZI_ELEMENT_WORK, 0, refiner->rows,
                  move_row, refiner);
}

void vqzi_refiner_end(vqzi_refiner *refiner, const uint16_t *codes) {
    size_t row = row_elements(refiner);
    uint32_t rows = VQZI_MIN(refiner->margin, refiner->rows), first = refiner->rows - rows;
    choose(refiner, codes, first);
    memcpy(refiner->above + (refiner->margin - rows) * row, refiner->chosen + first * row,
           rows * row * sizeof *refiner->above);
}
