/*
 * prior.c - the stages of a prior: packed, prepared for one quality, and run; see prior_stage.h.
 */
#include "codec/prior_stage.h"

#include <stdlib.h>
#include <string.h>

static size_t padded(uint32_t channels) {
    return (channels + VQZI_CONV_BLOCK - 1u) / VQZI_CONV_BLOCK * VQZI_CONV_BLOCK;
}

/* ---- packing ---- */

static vqz_status pack_stage(vqzi_prepared_stage *stage) {
    const vqzi_op *first = &stage->ops[0], *second = &stage->ops[1], *third = &stage->ops[2];
    uint32_t k = first->kernel, channels = stage->begin + stage->own;
    vqzi_taps known = {0, k, k, 0, stage->begin};
    vqzi_taps above = {0, stage->reach, k, stage->begin, stage->own};
    vqzi_taps left = {stage->reach, 1, stage->reach, stage->begin, stage->own};
    vqzi_taps middle = {0, 1, 1, 0, first->channels}, last = {0, 1, 1, 0, second->channels};
    if (stage->begin > 0)
        VQZ_TRY(vqzi_conv_pack(&stage->known, first, channels, &known));
    VQZ_TRY(vqzi_conv_pack(&stage->above, first, channels, &above));
    VQZ_TRY(vqzi_conv_pack(&stage->left, first, channels, &left));
    VQZ_TRY(vqzi_conv_pack(&stage->middle, second, first->channels, &middle));
    return vqzi_conv_pack(&stage->last, third, second->channels, &last);
}

/* floor(2^COST_BITS * log2(1 + i / 256) + 1/2) by repeated squaring: integers only, so that every
   machine makes the same choices. */
static uint16_t logarithm(uint32_t i) {
    uint64_t mantissa = (uint64_t)(256 + i) << 22; /* 1 is 2^30 */
    uint32_t result = 0;
    for (int bit = 0; bit < VQZI_COST_BITS + 1; bit++) {
        mantissa = mantissa * mantissa >> 30;
        result <<= 1;
        if (mantissa >> 31 != 0) {
            mantissa >>= 1;
            result |= 1;
        }
    }
    return (uint16_t)((result + 1) >> 1);
}

static void make_tables(vqzi_prepared_prior *prepared) {
    const vqzi_prior *prior = &prepared->model->prior;
    for (uint32_t i = 0; i < 256; i++)
        prepared->logarithms[i] = logarithm(i);
    for (uint32_t t = 0; t < VQZI_CLASSES * VQZI_PHASES; t++) {
        const uint16_t *frequencies = prior->frequencies + (size_t)t * VQZI_SYMBOLS;
        uint32_t bits = prior->class_bits[t / VQZI_PHASES], start = 0;
        for (uint32_t s = 0; s < VQZI_SYMBOLS; s++) {
            bool escape = s == 0 || s == VQZI_SYMBOLS - 1;
            prepared->starts[t][s] = (uint16_t)start;
            prepared->costs[t][s] = (uint16_t)(vqzi_prior_cost(prepared, frequencies[s]) +
                                               ((bits + escape) << VQZI_COST_BITS));
            start += frequencies[s];
        }
    }
}

vqz_status vqzi_prior_prepare(vqzi_prepared_prior **out, const vqzi_model *model) {
    vqzi_prepared_prior *prepared = calloc(1, sizeof *prepared);
    if (!prepared)
        return VQZ_ERROR_MEMORY;
    prepared->model = model;
    prepared->stage_count = model->prior.stage_count;
    make_tables(prepared);
    uint32_t plane = 0, channel = 0;
    for (uint32_t i = 0; i < prepared->stage_count; i++) {
        vqzi_prepared_stage *stage = &prepared->stages[i];
        stage->ops = model->prior.stages[i].net.ops;
        stage->first_plane = plane;
        stage->planes = model->prior.stages[i].planes;
        stage->begin = channel;
        stage->reach = stage->ops[0].kernel / 2u;
        for (uint32_t p = 0; p < stage->planes; p++)
            stage->own += model->planes[plane++].dims;
        channel += stage->own;
        if (pack_stage(stage) != VQZ_OK) {
            vqzi_prior_unprepare(prepared);
            return VQZ_ERROR_MEMORY;
        }
    }
    *out = prepared;
    return VQZ_OK;
}

void vqzi_prior_unprepare(vqzi_prepared_prior *prepared) {
    for (uint32_t i = 0; prepared && i < prepared->stage_count; i++) {
        vqzi_prepared_stage *stage = &prepared->stages[i];
        vqzi_conv_unpack(&stage->known);
        vqzi_conv_unpack(&stage->above);
        vqzi_conv_unpack(&stage->left);
        vqzi_conv_unpack(&stage->middle);
        vqzi_conv_unpack(&stage->last);
    }
    free(prepared);
}

uint64_t vqzi_prior_work(const vqzi_model *model) {
    uint64_t work = 0;
    for (uint32_t i = 0; i < model->prior.stage_count; i++) {
        const vqzi_net *net = &model->prior.stages[i].net;
        work += vqzi_net_macs_per_input_position_x1000(net) / 1000 +
                (uint64_t)net->ops[VQZI_STAGE_OPS - 1].channels * VQZI_ELEMENT_WORK;
    }
    return work;
}

/* ---- coders ---- */

/* What the stages of a model need at most. */
typedef struct sizes {
    uint64_t known, own;             /* channels */
    uint64_t hidden, outputs, codes; /* hidden: of both inner layers */
    uint64_t values;                 /* codebook entries times dimensions, all planes */
    uint64_t offsets;
} sizes;

static sizes find_sizes(const vqzi_model *model) {
    sizes most = {0};
    uint32_t plane = 0;
    uint64_t channel = 0;
    for (uint32_t i = 0; i < model->prior.stage_count; i++) {
        const vqzi_stage *stage = &model->prior.stages[i];
        const vqzi_op *ops = stage->net.ops;
        uint64_t own = 0;
        for (uint32_t p = 0; p < stage->planes; p++, plane++) {
            own += model->planes[plane].dims;
            most.codes = VQZI_MAX(most.codes, model->planes[plane].codes);
            most.values += (uint64_t)model->planes[plane].codes * model->planes[plane].dims;
        }
        most.known = VQZI_MAX(most.known, channel);
        most.own = VQZI_MAX(most.own, own);
        channel += own;
        for (int op = 0; op < VQZI_STAGE_OPS; op++)
            most.offsets += padded(ops[op].channels);
        most.hidden = VQZI_MAX(most.hidden, padded(ops[0].channels));
        most.hidden = VQZI_MAX(most.hidden, padded(ops[1].channels));
        most.outputs = VQZI_MAX(most.outputs, padded(ops[2].channels));
    }
    return most;
}

/* Elements of a context array. */
static uint64_t context_elements(uint32_t rows, uint32_t columns, uint64_t channels) {
    return ((uint64_t)rows + 2 * VQZI_PRIOR_MARGIN) * ((uint64_t)columns + 2 * VQZI_PRIOR_MARGIN) *
               channels +
           VQZI_KERNEL_SLACK;
}

uint64_t vqzi_prior_memory(const vqzi_model *model, uint32_t rows, uint32_t columns, bool encode) {
    sizes most = find_sizes(model);
    uint64_t elements = 2 * context_elements(rows, columns, most.known) +
                        context_elements(rows, columns, most.own) + 2 * most.hidden + most.outputs +
                        most.codes + 2 * most.values;
    uint64_t words = columns * most.hidden + most.offsets;
    if (encode) { /* further passes; symbols, escapes among them, in an array that doubles */
        elements += columns * (2 * most.hidden + most.outputs + rows * most.own);
        words +=
            (uint64_t)rows * columns * most.hidden + 4ull * rows * columns * model->plane_count;
    }
    return elements * sizeof(int16_t) + words * sizeof(int32_t);
}

static int16_t context_of(const vqzi_prior *prior, uint32_t channel, int16_t latent) {
    int32_t high = (1 << (VQZI_CONTEXT_BITS - 1)) - 1;
    int32_t round = prior->gain_shift > 0 ? 1 << (prior->gain_shift - 1) : 0;
    /* 2^12 * 2^16 at most, and the rounding: fits */
    int32_t context = (latent * (int32_t)prior->gains[channel] + round) >> prior->gain_shift;
    return (int16_t)VQZI_MIN(VQZI_MAX(context, -high - 1), high);
}

static vqz_status make_plane(vqzi_prior_plane *plane, const vqzi_model *model, vqzi_level level,
                             uint32_t index, uint32_t channel) {
    const vqzi_plane *source = &model->planes[index];
    size_t values = (size_t)source->codes * source->dims;
    *plane = (vqzi_prior_plane){
        .values = malloc(values * sizeof *plane->values),
        .mean_gain =
            (int32_t)(model->prior.mean_gains[channel] / vqzi_model_step(model, level, channel)),
        .codes = source->codes,
        .half = source->codes / 2,
        .dims = source->dims,
        .ordered = source->ordered != 0,
        .sorted = true,
    };
    plane->lowest = (int16_t)(-8 * plane->half);
    plane->highest = (int16_t)(8 * (plane->codes - 1 - plane->half));
    int16_t *entries = malloc(values * sizeof *entries);
    if (!plane->values || !entries) {
        free(entries);
        return VQZ_ERROR_MEMORY;
    }
    vqzi_model_entries(model, level, index, entries);
    for (size_t i = 0; i < values; i++) {
        plane->values[i].latent = entries[i];
        plane->values[i].context =
            context_of(&model->prior, channel + (uint32_t)(i % plane->dims), entries[i]);
        plane->sorted &= i == 0 || entries[i - 1] <= entries[i];
    }
    free(entries);
    return VQZ_OK;
}

static vqz_status make_offsets(vqzi_prior_coder *coder, vqzi_level level) {
    for (uint32_t i = 0; i < coder->prepared->stage_count; i++)
        for (int op = 0; op < VQZI_STAGE_OPS; op++) {
            const vqzi_op *source = &coder->prepared->stages[i].ops[op];
            int32_t *offsets = calloc(padded(source->channels), sizeof *offsets);
            if (!offsets)
                return VQZ_ERROR_MEMORY;
            vqzi_conv_offsets(offsets, source, level);
            coder->offsets[i][op] = offsets;
        }
    return VQZ_OK;
}

vqz_status vqzi_prior_create(vqzi_prior_coder **out, const vqzi_prepared_prior *prepared,
                             vqzi_level level, const vqzi_kernels *kernels, uint32_t rows,
                             uint32_t columns, uint64_t lambda) {
    const vqzi_model *model = prepared->model;
    vqzi_prior_coder *coder = calloc(1, sizeof *coder);
    if (!coder)
        return VQZ_ERROR_MEMORY;
    sizes most = find_sizes(model);
    coder->prepared = prepared;
    coder->kernels = *kernels;
    coder->max_rows = rows;
    coder->max_columns = columns;
    coder->lambda = lambda;
    coder->planes = calloc(model->plane_count, sizeof *coder->planes);
    coder->known = vqzi_allocate(context_elements(rows, columns, most.known), sizeof *coder->known);
    coder->next = vqzi_allocate(context_elements(rows, columns, most.known), sizeof *coder->next);
    coder->own = vqzi_allocate(context_elements(rows, columns, most.own), sizeof *coder->own);
    coder->sums = vqzi_allocate(columns * most.hidden, sizeof *coder->sums);
    coder->hidden[0] = vqzi_allocate(most.hidden, sizeof(int16_t));
    coder->hidden[1] = vqzi_allocate(most.hidden, sizeof(int16_t));
    coder->outputs = vqzi_allocate(most.outputs, sizeof *coder->outputs);
    coder->frequencies = vqzi_allocate(most.codes, sizeof *coder->frequencies);
    bool ready = coder->planes && coder->known && coder->next && coder->own && coder->sums &&
                 coder->hidden[0] && coder->hidden[1] && coder->outputs && coder->frequencies &&
                 make_offsets(coder, level) == VQZ_OK;
    uint32_t channel = 0;
    for (uint32_t p = 0; ready && p < model->plane_count; p++) {
        ready = make_plane(&coder->planes[p], model, level, p, channel) == VQZ_OK;
        channel += model->planes[p].dims;
    }
    if (!ready) {
        vqzi_prior_free(coder);
        return VQZ_ERROR_MEMORY;
    }
    *out = coder;
    return VQZ_OK;
}

uint64_t vqzi_prior_lambda(const vqzi_prior_coder *coder) {
    return coder->lambda;
}

void vqzi_prior_free(vqzi_prior_coder *coder) {
    if (!coder)
        return;
    for (uint32_t p = 0; coder->planes && p < coder->prepared->model->plane_count; p++)
        free(coder->planes[p].values);
    for (uint32_t i = 0; i < VQZI_MAX_STAGES; i++)
        for (int op = 0; op < VQZI_STAGE_OPS; op++)
            free(coder->offsets[i][op]);
    free(coder->planes);
    free(coder->known);
    free(coder->next);
    free(coder->own);
    free(coder->sums);
    free(coder->hidden[0]);
    free(coder->hidden[1]);
    free(coder->outputs);
    free(coder->frequencies);
    free(coder->row_hidden[0]);
    free(coder->row_hidden[1]);
    free(coder->row_outputs);
    free(coder->known_sums);
    free(coder->nearest);
    vqzi_rans_encoder_clear(&coder->rans);
    free(coder);
}

vqz_status vqzi_prior_reserve_passes(vqzi_prior_coder *coder) {
    sizes most = find_sizes(coder->prepared->model);
    for (int i = 0; i < 2; i++)
        if (!coder->row_hidden[i])
            coder->row_hidden[i] =
                vqzi_allocate(coder->max_columns * most.hidden, sizeof *coder->row_hidden[i]);
    if (!coder->row_outputs)
        coder->row_outputs =
            vqzi_allocate(coder->max_columns * most.outputs, sizeof *coder->row_outputs);
    if (!coder->known_sums)
        coder->known_sums = vqzi_allocate((size_t)coder->max_rows * coder->max_columns * most.hidden,
                                     sizeof *coder->known_sums);
    if (!coder->nearest)
        coder->nearest = vqzi_allocate((size_t)coder->max_rows * coder->max_columns * most.own,
                                       sizeof *coder->nearest);
    return coder->row_hidden[0] && coder->row_hidden[1] && coder->row_outputs &&
                   coder->known_sums && coder->nearest
               ? VQZ_OK
               : VQZ_ERROR_MEMORY;
}

/* ---- running ---- */

/* Elements from one row of a context array to the next. */
static size_t pitch_of(const vqzi_prior_coder *coder, uint32_t channels) {
    return ((size_t)coder->columns + 2 * VQZI_PRIOR_MARGIN) * channels;
}

void vqzi_prior_begin_tile(vqzi_prior_coder *coder, uint32_t rows, uint32_t columns) {
    coder->rows = rows;
    coder->columns = columns;
    coder->stage = NULL;
}

/* Known for the next stage is what was known for this one and its own channels. */
static void join_contexts(vqzi_prior_coder *coder) {
    const vqzi_prepared_stage *stage = coder->stage;
    size_t old = stage->begin, own = stage->own, joined = old + own;
    size_t positions = (coder->rows + 2 * (size_t)VQZI_PRIOR_MARGIN) *
                       (coder->columns + 2 * (size_t)VQZI_PRIOR_MARGIN);
    const int16_t *known = coder->known, *added = coder->own; /* margins, zeros all, come along */
    int16_t *next = coder->next;
    for (size_t i = 0; i < positions; i++, known += old, added += own, next += joined) {
        memcpy(next, known, old * sizeof *next);
        memcpy(next + old, added, own * sizeof *next);
    }
    next = coder->next;
    coder->next = coder->known;
    coder->known = next;
}

void vqzi_prior_begin_stage(vqzi_prior_coder *coder, uint32_t index) {
    if (index > 0)
        join_contexts(coder);
    coder->stage = &coder->prepared->stages[index];
    coder->known_is_summed = false;
    size_t rows = coder->rows + 2 * (size_t)VQZI_PRIOR_MARGIN;
    memset(coder->own, 0, rows * pitch_of(coder, coder->stage->own) * sizeof *coder->own);
}

/* Adds the products of taps on one of the context arrays, or sets the sums where offsets are given:
   of `count` positions of row y from x on. */
static void sum_taps(const vqzi_prior_coder *coder, const vqzi_conv *conv, const int16_t *context,
                     const int32_t *offsets, uint32_t y, uint32_t x, uint32_t count,
                     int32_t *sums) {
    size_t corner = VQZI_PRIOR_MARGIN - coder->stage->reach; /* first tap of position (0, 0) */
    size_t channels = conv->in_channels, pitch = pitch_of(coder, (uint32_t)channels);
    vqzi_conv_job job = {conv,  offsets, context + (y + corner) * pitch + (x + corner) * channels,
                         pitch, NULL,    NULL,
                         count};
    coder->kernels.sums(&job, sums);
}

/* The sums of `count` positions of a row from x on, but for the taps to the left. */
static void sum_row(vqzi_prior_coder *coder, uint32_t y, uint32_t x, uint32_t count,
                    int32_t *sums) {
    const vqzi_prepared_stage *stage = coder->stage;
    const int32_t *offsets = coder->offsets[stage - coder->prepared->stages][0];
    size_t hidden = vqzi_prior_hidden(stage);
    if (stage->begin > 0) {
        if (coder->known_is_summed)
            memcpy(sums, coder->known_sums + ((size_t)y * coder->columns + x) * hidden,
                   count * hidden * sizeof *sums);
        else
            sum_taps(coder, &stage->known, coder->known, offsets, y, x, count, sums);
        offsets = NULL;
    }
    sum_taps(coder, &stage->above, coder->own, offsets, y, x, count, sums);
}

void vqzi_prior_sum_known(vqzi_prior_coder *coder) {
    const vqzi_prepared_stage *stage = coder->stage;
    size_t row = coder->columns * vqzi_prior_hidden(stage);
    if (stage->begin == 0)
        return;
    for (uint32_t y = 0; y < coder->rows; y++)
        sum_taps(coder, &stage->known, coder->known,
                 coder->offsets[stage - coder->prepared->stages][0], y, 0, coder->columns,
                 coder->known_sums + y * row);
    coder->known_is_summed = true;
}

void vqzi_prior_begin_row(vqzi_prior_coder *coder, uint32_t y) {
    sum_row(coder, y, 0, coder->columns, coder->sums);
}

/* The layers after the first, whose values are in hidden[0]. */
static const int16_t *run_rest(vqzi_prior_coder *coder) {
    const vqzi_prepared_stage *stage = coder->stage;
    int32_t *const *offsets = coder->offsets[stage - coder->prepared->stages];
    coder->kernels.matvec(&stage->middle, offsets[1], coder->hidden[0], coder->hidden[1]);
    coder->kernels.matvec(&stage->last, offsets[2], coder->hidden[1], coder->outputs);
    return coder->outputs;
}

const int16_t *vqzi_prior_outputs(vqzi_prior_coder *coder, uint32_t y, uint32_t x) {
    const vqzi_prepared_stage *stage = coder->stage;
    coder->kernels.matvec(&stage->left, coder->sums + x * vqzi_prior_hidden(stage),
                          vqzi_prior_own(coder, y, (int64_t)x - stage->reach), coder->hidden[0]);
    return run_rest(coder);
}

/* The first layer once all its taps are summed up. */
static vqzi_conv without_taps(const vqzi_prepared_stage *stage) {
    vqzi_conv none = stage->left;
    none.kernel = 0;
    none.pairs = 0;
    return none;
}

const int16_t *vqzi_prior_row_outputs(vqzi_prior_coder *coder, uint32_t y) {
    const vqzi_prepared_stage *stage = coder->stage;
    int32_t *const *offsets = coder->offsets[stage - coder->prepared->stages];
    size_t hidden = vqzi_prior_hidden(stage);
    vqzi_conv none = without_taps(stage);
    vqzi_conv_job left = {
        &stage->left, NULL,          vqzi_prior_own(coder, y, -(int64_t)stage->reach), 0, NULL,
        NULL,         coder->columns};
    sum_row(coder, y, 0, coder->columns, coder->sums);
    coder->kernels.sums(&left, coder->sums);
    /* what is written beyond a position's channels, the next position overwrites */
    for (uint32_t x = 0; x < coder->columns; x++)
        coder->kernels.matvec(&none, coder->sums + x * hidden, coder->outputs,
                              coder->row_hidden[0] + (size_t)x * none.out_channels);
    vqzi_conv_job middle = {&stage->middle, offsets[1],           coder->row_hidden[0], 0,
                            NULL,           coder->row_hidden[1], coder->columns};
    vqzi_conv_job last = {&stage->last, offsets[2],         coder->row_hidden[1], 0,
                          NULL,         coder->row_outputs, coder->columns};
    coder->kernels.conv(&middle);
    coder->kernels.conv(&last);
    return coder->row_outputs;
}
