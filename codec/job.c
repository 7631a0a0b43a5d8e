/*
 * job.c - how a picture runs through a network: sizes of tiles, who computes them, and what fits
 * into memory; see internal.h.
 */
#include "codec/internal.h"

#include <stdlib.h>
#include <string.h>

static uint32_t divide_up(uint32_t value, uint32_t divisor) {
    return (value + divisor - 1) / divisor;
}

/* Tiles of equal width, and as wide as they may be: the halo is computed at each border. */
static void cut(vqzi_job *job, uint32_t width, uint32_t most, uint32_t stride) {
    uint32_t tiles = divide_up(width, most);
    job->work_width = divide_up(divide_up(width, tiles), stride) * stride;
    job->tiles = divide_up(width, job->work_width);
    job->first_tile = 0;
    job->end_tile = job->tiles;
}

vqz_status vqzi_job_plan(vqzi_job *job, const vqz_context *context, const vqz_model *model,
                         const vqzi_prepared_net *net, uint32_t width, uint32_t height,
                         uint32_t tile_rows, size_t row_bytes, uint64_t other, vqz_diag *diag) {
    uint32_t stride = model->model.stride, most = context->work_width;
    bool analysis = net->net == &model->model.analysis;
    uint64_t limit = context->options.limits.max_memory, total;

    memset(job, 0, sizeof *job);
    job->columns = divide_up(width, stride);
    job->rows = divide_up(height, stride);
    job->tile_rows = tile_rows;
    job->work_height = VQZI_MIN(context->work_height, tile_rows * stride);
    for (;;) {
        cut(job, width, most, stride);
        if (analysis)
            vqzi_net_plan_make(&job->plan, net, job->columns * stride, job->rows * stride,
                               job->work_width / stride, job->work_height / stride);
        else
            vqzi_net_plan_make(&job->plan, net, job->columns, job->rows, job->work_width,
                               job->work_height);
        job->band = VQZI_MIN(analysis ? job->plan.max_tile_height : job->work_height, height);
        job->band = VQZI_MAX(job->band, 1);
        uint64_t shared = vqzi_add_sizes(vqzi_mul_sizes(job->band, row_bytes), other);
        /* with fewer than two tiles a thread, some would soon have nothing to do */
        job->workers = job->tiles / 2 >= (uint32_t)context->team.threads ? context->team.threads : 1;
        for (;; job->workers = 1) {
            total = vqzi_add_sizes(shared, vqzi_mul_sizes(job->plan.memory, (uint64_t)job->workers));
            if (total <= limit)
                return VQZ_OK;
            if (job->workers == 1)
                break;
        }
        if (most == VQZI_MIN_WORK && job->work_height == VQZI_MIN_WORK)
            return vqzi_fail(diag, VQZ_ERROR_LIMIT,
                             "%u x %u pixels need %llu bytes of work memory with this model; the "
                             "limit is %llu, raise max_memory",
                             width, height, (unsigned long long)total, (unsigned long long)limit);
        most = VQZI_MAX(most / 2, (uint32_t)VQZI_MIN_WORK);
        job->work_height = VQZI_MAX(job->work_height / 2, (uint32_t)VQZI_MIN_WORK);
    }
}

vqz_status vqzi_job_open(vqzi_job *job, const vqz_context *context, const vqzi_prepared_net *net,
                         vqzi_level level) {
    job->executors = calloc((size_t)job->workers, sizeof *job->executors);
    job->teams = calloc((size_t)job->workers, sizeof *job->teams);
    if (!job->executors || !job->teams)
        return VQZ_ERROR_MEMORY;
    for (int i = 0; i < job->workers; i++) {
        job->teams[i] = context->team;
        if (job->workers > 1)
            job->teams[i] = (vqzi_team){.threads = 1, .first = i};
        VQZ_TRY(vqzi_executor_create(&job->executors[i], net, &job->plan, level,
                                     &context->kernels, &job->teams[i]));
    }
    return VQZ_OK;
}

void vqzi_job_run_band(const vqzi_job *job, vqzi_team_row *run, const void *argument) {
    vqzi_team team = {.threads = job->workers};
    vqzi_team_run(&team, 0, job->first_tile, job->end_tile, run, argument);
}

void vqzi_job_close(vqzi_job *job) {
    for (int i = 0; job->executors && i < job->workers; i++)
        vqzi_executor_free(job->executors[i]);
    free(job->executors);
    free(job->teams);
    job->executors = NULL;
    job->teams = NULL;
}
