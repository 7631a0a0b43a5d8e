/*
 * net.c - prepares and runs integer networks; see net.h for how tiles, margins and buffers work.
 */
#include "codec/executor.h"

#include <stdlib.h>
#include <string.h>

/* Taps of a row, and what makes the last pair whole. */
enum { MAX_RUN = 5 * VQZI_MAX_CHANNELS + 1 };

static uint32_t round_up(uint32_t value, uint32_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

/* ---- preparation ---- */

/* One row of an output channel's taps, (kernel, in_channels) at src, pitch elements from one
   position to the next, as pairs that lie a block apart.  Every start waits for this. */
static void pack_row(const vqzi_conv *conv, const int16_t *src, size_t pitch, int16_t *dst) {
    int16_t run[MAX_RUN];
    size_t count = (size_t)conv->kernel * conv->in_channels;

    for (size_t kx = 0; kx < conv->kernel; kx++)
        memcpy(run + kx * conv->in_channels, src + kx * pitch, conv->in_channels * sizeof *run);
    run[count] = 0; /* the last pair may lack its second half */
    for (size_t i = 0; i < count; i += 2, dst += 2 * VQZI_CONV_BLOCK)
        memcpy(dst, run + i, 2 * sizeof *dst);
}

vqz_status vqzi_conv_pack(vqzi_conv *conv, const vqzi_op *op, uint32_t in_channels,
                          const vqzi_taps *taps) {
    uint32_t padded = round_up(op->channels, VQZI_CONV_BLOCK);
    size_t run = (size_t)taps->columns * taps->channels;

    conv->in_channels = taps->channels;
    conv->out_channels = op->channels;
    conv->rows = taps->rows;
    conv->kernel = taps->columns;
    conv->stride = op->stride;
    conv->pairs = (uint32_t)((run + 1) / 2);
    conv->slope = op->activation == VQZI_LEAKY ? op->slope : 0;
    conv->maximum = (1 << (op->bits - 1)) - 1;
    conv->minimum = op->activation == VQZI_RELU ? 0 : -conv->maximum - 1;
    conv->weights = calloc((size_t)padded * taps->rows * conv->pairs, 2 * sizeof *conv->weights);
    conv->shifts = calloc(padded, sizeof *conv->shifts);
    if (!conv->weights || !conv->shifts)
        return VQZ_ERROR_MEMORY;
    for (uint32_t oc = 0; oc < op->channels; oc++) {
        conv->shifts[oc] = op->shift[oc];
        for (uint32_t ky = 0; ky < taps->rows; ky++) {
            size_t row = ((size_t)oc * op->kernel + taps->first_row + ky) * op->kernel;
            size_t block = (size_t)oc / VQZI_CONV_BLOCK * taps->rows + ky;
            pack_row(conv, op->weights + row * in_channels + taps->first_channel, in_channels,
                     conv->weights + 2 * VQZI_CONV_BLOCK * conv->pairs * block +
                         2 * (oc % VQZI_CONV_BLOCK));
        }
    }
    return VQZ_OK;
}

void vqzi_conv_unpack(vqzi_conv *conv) {
    free(conv->weights);
    free(conv->shifts);
}

void vqzi_conv_offsets(int32_t *offsets, const vqzi_op *op, vqzi_level level) {
    vqzi_op_biases(op, level, offsets);
    for (uint32_t c = 0; c < op->channels; c++)
        offsets[c] += op->shift[c] ? 1 << (op->shift[c] - 1) : 0;
}

vqz_status vqzi_net_prepare(vqzi_prepared_net *prepared, const vqzi_net *net) {
    memset(prepared, 0, sizeof *prepared);
    prepared->net = net;
    prepared->convs = calloc(net->op_count, sizeof *prepared->convs);
    if (!prepared->convs)
        return VQZ_ERROR_MEMORY;
    for (uint32_t r = 0; r <= net->op_count; r++) {
        vqzi_register shape = vqzi_net_register(net, r);
        prepared->channels[r] = shape.channels;
        prepared->grow[r] = shape.scale < 0 ? 1u << -shape.scale : 1;
        prepared->shrink[r] = shape.scale > 0 ? 1u << shape.scale : 1;
    }
    for (uint32_t i = 0; i < net->op_count; i++) {
        const vqzi_op *op = &net->ops[i];
        prepared->last_use[i + 1] = i;
        prepared->last_use[op->src] = i;
        if (op->kind != VQZI_CONV)
            continue;
        if (op->add != VQZI_NO_REGISTER)
            prepared->last_use[op->add] = i;
        uint32_t channels = prepared->channels[op->src];
        vqzi_taps all = {0, op->kernel, op->kernel, 0, channels};
        if (vqzi_conv_pack(&prepared->convs[i], op, channels, &all) != VQZ_OK) {
            vqzi_net_unprepare(prepared);
            return VQZ_ERROR_MEMORY;
        }
    }
    prepared->last_use[net->op_count] = net->op_count;
    return VQZ_OK;
}

void vqzi_net_unprepare(vqzi_prepared_net *prepared) {
    for (uint32_t i = 0; prepared->convs && i < prepared->net->op_count; i++)
        vqzi_conv_unpack(&prepared->convs[i]);
    free(prepared->convs);
    memset(prepared, 0, sizeof *prepared);
}

/* ---- regions ---- */

static int64_t register_size(const vqzi_prepared_net *prepared, uint32_t reg, uint32_t input_size) {
    return (int64_t)input_size * prepared->grow[reg] / prepared->shrink[reg];
}

static void widen(vqzi_span *span, int64_t begin, int64_t end, int64_t size) {
    begin = VQZI_MAX(begin, 0);
    end = VQZI_MIN(end, size);
    if (begin >= end)
        return;
    if (span->begin == span->end) {
        span->begin = begin;
        span->end = end;
    } else {
        span->begin = VQZI_MIN(span->begin, begin);
        span->end = VQZI_MAX(span->end, end);
    }
}

/* Along one axis: what each register must hold so that the output has the positions `out`. */
static void find_spans(const vqzi_prepared_net *prepared, uint32_t input_size, vqzi_span out,
                       vqzi_span *spans) {
    const vqzi_net *net = prepared->net;
    memset(spans, 0, (net->op_count + 1) * sizeof *spans);
    widen(&spans[net->op_count], out.begin, out.end,
          register_size(prepared, net->op_count, input_size));
    for (uint32_t i = net->op_count; i-- > 0;) {
        const vqzi_op *op = &net->ops[i];
        vqzi_span *dst = &spans[i + 1];
        int64_t size = register_size(prepared, op->src, input_size);
        if (dst->begin == dst->end)
            continue;
        if (op->kind == VQZI_CONV) {
            int64_t first = dst->begin * op->stride - (op->kernel - 1) / 2;
            int64_t last = (dst->end - 1) * op->stride - (op->kernel - 1) / 2;
            widen(&spans[op->src], first, last + op->kernel, size);
            if (op->add != VQZI_NO_REGISTER)
                widen(&spans[op->add], dst->begin, dst->end, dst->end);
        } else if (op->kind == VQZI_S2D) {
            widen(&spans[op->src], dst->begin * op->block, dst->end * op->block, size);
        } else if (op->kind == VQZI_D2S) {
            /* whole blocks are written; every reader of dst has been seen, so it may grow */
            vqzi_span src = {dst->begin / op->block, (dst->end + op->block - 1) / op->block};
            dst->begin = src.begin * op->block;
            dst->end = src.end * op->block;
            widen(&spans[op->src], src.begin, src.end, size);
        } else {
            widen(&spans[op->src], dst->begin, dst->end, size);
        }
    }
}

vqzi_span vqzi_net_input_span(const vqzi_prepared_net *prepared, uint32_t input_size,
                              vqzi_span out) {
    vqzi_span spans[VQZI_MAX_OPS + 1];
    find_spans(prepared, input_size, out, spans);
    return spans[0];
}

/* ---- plans ---- */

/* Largest extent of every register over all tiles along one axis. */
static void max_extents(const vqzi_prepared_net *prepared, uint32_t input_size, uint32_t tile,
                        uint64_t *extents) {
    vqzi_span spans[VQZI_MAX_OPS + 1];
    uint32_t registers = prepared->net->op_count + 1;
    int64_t size = register_size(prepared, registers - 1, input_size);
    memset(extents, 0, registers * sizeof *extents);
    for (int64_t at = 0; at < size; at += tile) {
        find_spans(prepared, input_size, (vqzi_span){at, at + tile}, spans);
        for (uint32_t r = 0; r < registers; r++)
            extents[r] = VQZI_MAX(extents[r], (uint64_t)(spans[r].end - spans[r].begin));
    }
}

/* The free buffer that fits best; `op` writes the register (the input comes before op 0). */
static uint32_t choose_slot(vqzi_net_plan *plan, const int64_t *busy_until, int64_t op,
                            uint64_t need) {
    uint32_t best = plan->slot_count;
    for (uint32_t s = 0; s < plan->slot_count; s++) {
        if (busy_until[s] >= op)
            continue;
        uint64_t size = plan->elements[s];
        if (best == plan->slot_count || (plan->elements[best] < need
                                             ? size > plan->elements[best]
                                             : size >= need && size < plan->elements[best]))
            best = s;
    }
    if (best == plan->slot_count)
        plan->slot_count++;
    return best;
}

static void make_plan(vqzi_net_plan *plan, const vqzi_prepared_net *prepared, uint32_t width,
                      uint32_t height, uint32_t tile_width, uint32_t tile_height, bool keep) {
    uint64_t widths[VQZI_MAX_OPS + 1], heights[VQZI_MAX_OPS + 1];
    int64_t busy_until[VQZI_MAX_OPS + 1] = {0};
    uint32_t registers = prepared->net->op_count + 1;

    memset(plan, 0, sizeof *plan);
    plan->width = width;
    plan->height = height;
    plan->tile_width = tile_width;
    plan->tile_height = tile_height;
    max_extents(prepared, width, tile_width, widths);
    max_extents(prepared, height, tile_height, heights);
    plan->max_tile_width = (uint32_t)widths[0];
    plan->max_tile_height = (uint32_t)heights[0];
    for (uint32_t r = 0; r < registers; r++) {
        uint64_t row = (widths[r] + 2 * VQZI_NET_MARGIN) * prepared->channels[r];
        uint64_t need = vqzi_add_sizes(vqzi_mul_sizes(row, heights[r] + 2 * VQZI_NET_MARGIN),
                                       VQZI_KERNEL_SLACK);
        uint32_t slot = choose_slot(plan, busy_until, (int64_t)r - 1, need);
        plan->slot[r] = (uint8_t)slot;
        plan->elements[slot] = VQZI_MAX(plan->elements[slot], need);
        busy_until[slot] = keep ? INT64_MAX : (int64_t)prepared->last_use[r];
    }
    for (uint32_t s = 0; s < plan->slot_count; s++)
        plan->memory = vqzi_add_sizes(plan->memory,
                                      vqzi_mul_sizes(plan->elements[s], sizeof(int16_t)));
}

void vqzi_net_plan_make(vqzi_net_plan *plan, const vqzi_prepared_net *prepared, uint32_t width,
                        uint32_t height, uint32_t tile_width, uint32_t tile_height) {
    make_plan(plan, prepared, width, height, tile_width, tile_height, false);
}

void vqzi_net_plan_whole(vqzi_net_plan *plan, const vqzi_prepared_net *prepared, uint32_t width,
                         uint32_t height) {
    make_plan(plan, prepared, width, height,
              (uint32_t)register_size(prepared, prepared->net->op_count, width),
              (uint32_t)register_size(prepared, prepared->net->op_count, height), true);
}

/* ---- running ---- */

vqz_status vqzi_executor_create(vqzi_executor **out, const vqzi_prepared_net *prepared,
                                const vqzi_net_plan *plan, vqzi_level level,
                                const vqzi_kernels *kernels, const vqzi_team *team) {
    vqzi_executor *executor = calloc(1, sizeof *executor);
    if (!executor)
        return VQZ_ERROR_MEMORY;
    executor->prepared = prepared;
    executor->plan = plan;
    executor->kernels = *kernels;
    executor->team = team;
    for (uint32_t s = 0; s < plan->slot_count; s++) {
        if (plan->elements[s] > SIZE_MAX / sizeof(int16_t))
            goto fail;
        executor->slots[s] = malloc((size_t)plan->elements[s] * sizeof(int16_t));
        if (!executor->slots[s])
            goto fail;
    }
    for (uint32_t i = 0; i < prepared->net->op_count; i++) {
        const vqzi_op *op = &prepared->net->ops[i];
        if (op->kind != VQZI_CONV)
            continue;
        executor->offsets[i] =
            calloc(round_up(op->channels, VQZI_CONV_BLOCK), sizeof *executor->offsets[i]);
        if (!executor->offsets[i])
            goto fail;
        vqzi_conv_offsets(executor->offsets[i], op, level);
    }
    *out = executor;
    return VQZ_OK;
fail:
    vqzi_executor_free(executor);
    return VQZ_ERROR_MEMORY;
}

void vqzi_executor_free(vqzi_executor *executor) {
    if (!executor)
        return;
    for (uint32_t i = 0; i <= VQZI_MAX_OPS; i++)
        free(executor->slots[i]);
    for (uint32_t i = 0; i < VQZI_MAX_OPS; i++)
        free(executor->offsets[i]);
    free(executor);
}

/* Zeroes what lies outside the view: rows above and below, positions left and right, the slack. */
static void zero_margin(const vqzi_view *view) {
    size_t side = (size_t)VQZI_NET_MARGIN * view->channels;
    size_t band = VQZI_NET_MARGIN * view->pitch;
    size_t rows = (size_t)(view->y.end - view->y.begin);
    int16_t *row = view->data - side;

    memset(row - band, 0, band * sizeof *row);
    for (size_t y = 0; y < rows; y++, row += view->pitch) {
        memset(row, 0, side * sizeof *row);
        memset(row + view->pitch - side, 0, side * sizeof *row);
    }
    memset(row, 0, (band + VQZI_KERNEL_SLACK) * sizeof *row);
}

static void place_view(vqzi_executor *executor, uint32_t reg) {
    vqzi_view *view = &executor->views[reg];
    view->channels = executor->prepared->channels[reg];
    view->pitch = ((size_t)(view->x.end - view->x.begin) + 2 * VQZI_NET_MARGIN) * view->channels;
    view->data = executor->slots[executor->plan->slot[reg]] + VQZI_NET_MARGIN * view->pitch +
                 (size_t)VQZI_NET_MARGIN * view->channels;
    zero_margin(view);
}

vqzi_view vqzi_executor_begin(vqzi_executor *executor, uint32_t x, uint32_t y) {
    vqzi_span spans[VQZI_MAX_OPS + 1];
    const vqzi_net_plan *plan = executor->plan;
    uint32_t registers = executor->prepared->net->op_count + 1;

    find_spans(executor->prepared, plan->width, (vqzi_span){x, (int64_t)x + plan->tile_width},
               spans);
    for (uint32_t r = 0; r < registers; r++)
        executor->views[r].x = spans[r];
    find_spans(executor->prepared, plan->height, (vqzi_span){y, (int64_t)y + plan->tile_height},
               spans);
    for (uint32_t r = 0; r < registers; r++)
        executor->views[r].y = spans[r];
    place_view(executor, 0);
    return executor->views[0];
}

typedef struct op_job {
    const vqzi_executor *executor;
    uint32_t op;
} op_job;

static void run_row(const void *argument, int thread, int64_t y) {
    const op_job *loop = argument;
    const vqzi_executor *executor = loop->executor;
    uint32_t i = loop->op;
    const vqzi_op *op = &executor->prepared->net->ops[i];
    const vqzi_conv *conv = &executor->prepared->convs[i];
    const vqzi_view *src = &executor->views[op->src], *dst = &executor->views[i + 1];
    int64_t width = dst->x.end - dst->x.begin;
    int16_t *out = vqzi_view_at(dst, y, dst->x.begin);

    (void)thread;
    if (op->kind == VQZI_CONV) {
        int pad = (op->kernel - 1) / 2;
        vqzi_conv_job job = {conv, executor->offsets[i],
                             vqzi_view_at(src, y * op->stride - pad, dst->x.begin * op->stride - pad),
                             src->pitch, NULL, out, (uint32_t)width};
        if (op->add != VQZI_NO_REGISTER)
            job.add = vqzi_view_at(&executor->views[op->add], y, dst->x.begin);
        executor->kernels.conv(&job);
    } else if (op->kind == VQZI_ACT) {
        executor->kernels.act(out, vqzi_view_at(src, y, dst->x.begin), (size_t)width * dst->channels,
                              op->activation == VQZI_LEAKY ? op->slope : 0,
                              op->activation == VQZI_RELU ? 0 : INT16_MIN);
    } else if (op->kind == VQZI_S2D) {
        size_t run = (size_t)op->block * src->channels;
        for (int64_t x = 0; x < width; x++)
            for (int dy = 0; dy < op->block; dy++, out += run)
                memcpy(out, vqzi_view_at(src, y * op->block + dy, (dst->x.begin + x) * op->block),
                       run * sizeof *out);
    } else {
        size_t run = (size_t)op->block * dst->channels;
        const int16_t *in = vqzi_view_at(src, y / op->block, dst->x.begin / op->block) +
                            (size_t)(y % op->block) * run;
        for (int64_t x = 0; x < width; x += op->block, in += src->channels, out += run)
            memcpy(out, in, run * sizeof *out);
    }
}

/* Of one output position, as team.h counts it. */
static uint64_t position_work(const vqzi_executor *executor, uint32_t i) {
    const vqzi_op *op = &executor->prepared->net->ops[i];
    const vqzi_conv *conv = &executor->prepared->convs[i];
    uint64_t work = (uint64_t)op->channels * VQZI_ELEMENT_WORK;
    if (op->kind == VQZI_CONV)
        work += (uint64_t)op->channels * conv->kernel * conv->kernel * conv->in_channels;
    return work;
}

vqzi_view vqzi_executor_run(vqzi_executor *executor) {
    const vqzi_net *net = executor->prepared->net;
    for (uint32_t i = 0; i < net->op_count; i++) {
        vqzi_view *dst = &executor->views[i + 1];
        int64_t begin = dst->y.begin, end = dst->y.end;
        if (begin == end || dst->x.begin == dst->x.end)
            continue;
        place_view(executor, i + 1);
        uint64_t positions = (uint64_t)((end - begin) * (dst->x.end - dst->x.begin));
        op_job job = {executor, i};
        vqzi_team_run(executor->team, positions * position_work(executor, i), begin, end, run_row,
                      &job);
    }
    return executor->views[net->op_count];
}
