/* tile_writer.c - see tile_writer.h. */
#include "codec/tile_writer.h"

#include <stdlib.h>

enum { RANS, ZSTD, CODERS };
enum { TRY_BOTH_EFFORT = 7 };

/* The segments of one coder, scan after scan; within a scan in the order of the tiles. */
typedef struct segments {
    bool wanted;
    vqzi_buffer scans[VQZI_MAX_STAGES];
    size_t *sizes; /* (scans, tiles) */
    size_t total;
} segments;

struct vqzi_tile_writer {
    vqzi_tile_writer_options options;
    const vqzi_model *model;
    vqzi_tiling tiling;
    uint32_t scan_count;
    int worker_count;
    vqzi_prior_coder **workers; /* (worker_count) */
    vqzi_stream_coder *coder;   /* NULL: zstd cannot be wanted */
    int16_t *latents;           /* (tile rows, columns, D) of one row of tiles */
    uint16_t *codes;            /* (planes, tile rows, columns) */
    vqzi_buffer *streams;       /* (tiles across, scans): what the workers write */
    vqz_status *statuses;       /* (tiles across) */
    segments segments[CODERS];
};

/* ---- setting up ---- */

static int count_workers(const vqzi_tile_writer_options *options, const vqzi_tiling *tiling) {
    return VQZI_MIN(options->context->team.threads, (int)tiling->across);
}

uint64_t vqzi_tile_writer_memory(const vqzi_tile_writer_options *options) {
    const vqzi_model *model = &options->model->model;
    vqzi_tiling tiling = vqzi_tiling_make(VQZI_VERSION_PRIOR, options->columns, options->rows,
                                          model->stride);
    uint64_t positions = (uint64_t)tiling.tile_rows * options->columns;
    uint64_t segment_count = (uint64_t)tiling.across * tiling.down *
                             (options->progressive ? model->prior.stage_count : 1);
    return positions * (model->latent_channels + model->plane_count) * sizeof(uint16_t) +
           CODERS * segment_count * sizeof(size_t) +
           (uint64_t)count_workers(options, &tiling) *
               vqzi_prior_memory(model, tiling.tile_rows, tiling.tile_columns, true);
}

static vqz_status open_workers(vqzi_tile_writer *writer) {
    const vqzi_tile_writer_options *options = &writer->options;
    const vqzi_prepared_prior *prior;
    VQZ_TRY(vqzi_model_prior(options->model, &prior));
    for (int i = 0; i < writer->worker_count; i++) {
        VQZ_TRY(vqzi_prior_create(&writer->workers[i], prior, options->level,
                                  &options->context->kernels, writer->tiling.tile_rows,
                                  writer->tiling.tile_columns, true));
        vqzi_prior_set_rate_bias(writer->workers[i], options->level, options->rate_bias);
    }
    if (!writer->segments[ZSTD].wanted)
        return VQZ_OK;
    return vqzi_stream_coder_create(&writer->coder, writer->model, options->level.nearest,
                                    &options->context->team);
}

vqz_status vqzi_tile_writer_create(vqzi_tile_writer **out,
                                   const vqzi_tile_writer_options *options) {
    const vqzi_model *model = &options->model->model;
    vqzi_tile_writer *writer = calloc(1, sizeof *writer);
    if (!writer)
        return VQZ_ERROR_MEMORY;
    writer->options = *options;
    writer->model = model;
    writer->tiling = vqzi_tiling_make(VQZI_VERSION_PRIOR, options->columns, options->rows,
                                          model->stride);
    writer->scan_count = options->progressive ? model->prior.stage_count : 1;
    writer->worker_count = count_workers(options, &writer->tiling);
    writer->segments[RANS].wanted = options->entropy != VQZ_ENTROPY_ZSTD;
    /* zstd beats a prior so rarely that a quick encoder does not try */
    writer->segments[ZSTD].wanted =
        options->entropy == VQZ_ENTROPY_ZSTD ||
        (options->entropy == VQZ_ENTROPY_AUTO && options->effort >= TRY_BOTH_EFFORT);
    size_t across = writer->tiling.across, tiles = across * writer->tiling.down, positions;
    bool ready = vqzi_mul(writer->tiling.tile_rows, options->columns, &positions) &&
                 positions <= SIZE_MAX / VQZI_MAX_LATENT_CHANNELS / 2;
    if (ready) {
        writer->latents = malloc(positions * model->latent_channels * sizeof *writer->latents);
        writer->codes = malloc(positions * model->plane_count * sizeof *writer->codes);
    }
    writer->workers = calloc((size_t)writer->worker_count, sizeof *writer->workers);
    writer->streams = calloc(across * writer->scan_count, sizeof *writer->streams);
    writer->statuses = calloc(across, sizeof *writer->statuses);
    for (int i = 0; i < CODERS; i++) {
        writer->segments[i].sizes =
            calloc(tiles * writer->scan_count, sizeof *writer->segments[i].sizes);
        ready &= writer->segments[i].sizes != NULL;
    }
    vqz_status status = VQZ_ERROR_MEMORY;
    if (ready && writer->latents && writer->codes && writer->workers && writer->streams &&
        writer->statuses)
        status = open_workers(writer);
    if (status != VQZ_OK) {
        vqzi_tile_writer_free(writer);
        return status;
    }
    *out = writer;
    return VQZ_OK;
}

void vqzi_tile_writer_free(vqzi_tile_writer *writer) {
    if (!writer)
        return;
    for (int i = 0; writer->workers && i < writer->worker_count; i++)
        vqzi_prior_free(writer->workers[i]);
    for (size_t i = 0; writer->streams && i < writer->tiling.across * writer->scan_count; i++)
        vqzi_buffer_clear(&writer->streams[i]);
    for (int i = 0; i < CODERS; i++) {
        for (uint32_t scan = 0; scan < VQZI_MAX_STAGES; scan++)
            vqzi_buffer_clear(&writer->segments[i].scans[scan]);
        free(writer->segments[i].sizes);
    }
    vqzi_stream_coder_free(writer->coder);
    free(writer->workers);
    free(writer->latents);
    free(writer->codes);
    free(writer->streams);
    free(writer->statuses);
    free(writer);
}

/* ---- rows of tiles ---- */

int16_t *vqzi_tile_writer_row(const vqzi_tile_writer *writer, uint32_t row) {
    return writer->latents + (size_t)(row % writer->tiling.tile_rows) * writer->options.columns *
                                 writer->model->latent_channels;
}

typedef struct tile_row {
    const vqzi_tile_writer *writer;
    uint32_t rows;
} tile_row;

/* Tile `index` of the row, and its codes' planes. */
static vqzi_prior_tile tile_at(const tile_row *job, uint32_t index, uint16_t **planes) {
    const vqzi_tile_writer *writer = job->writer;
    uint32_t begin = vqzi_tiling_column(&writer->tiling, index), columns = writer->options.columns;
    for (uint32_t p = 0; p < writer->model->plane_count; p++)
        planes[p] = writer->codes + (size_t)p * writer->tiling.tile_rows * columns + begin;
    return (vqzi_prior_tile){
        .rows = job->rows,
        .columns = vqzi_tiling_column(&writer->tiling, index + 1) - begin,
        .latents = writer->latents + (size_t)begin * writer->model->latent_channels,
        .latent_pitch = (size_t)columns * writer->model->latent_channels,
        .codes = planes,
        .code_pitch = columns,
    };
}

static void encode_tile(const void *argument, int thread, int64_t index) {
    const tile_row *job = argument;
    const vqzi_tile_writer *writer = job->writer;
    uint16_t *planes[VQZI_MAX_PLANES];
    vqzi_prior_tile tile = tile_at(job, (uint32_t)index, planes);
    vqzi_buffer *streams = writer->streams + (size_t)index * writer->scan_count;
    for (uint32_t scan = 0; scan < writer->scan_count; scan++)
        streams[scan].size = 0;
    writer->statuses[index] =
        vqzi_prior_encode(writer->workers[thread], &tile, writer->options.effort,
                          writer->scan_count, writer->segments[RANS].wanted ? streams : NULL);
}

/* Adds what is in writer->streams for every tile of a row. */
static vqz_status collect(vqzi_tile_writer *writer, segments *result, uint32_t first_tile) {
    const vqzi_tiling *tiling = &writer->tiling;
    size_t tiles = (size_t)tiling->across * tiling->down;
    for (uint32_t i = 0; i < tiling->across; i++)
        for (uint32_t scan = 0; scan < writer->scan_count; scan++) {
            const vqzi_buffer *stream = &writer->streams[(size_t)i * writer->scan_count + scan];
            vqzi_buffer_append(&result->scans[scan], stream->data, stream->size);
            VQZ_TRY(vqzi_buffer_status(&result->scans[scan]));
            result->sizes[scan * tiles + first_tile + i] = stream->size;
            result->total += stream->size;
        }
    return VQZ_OK;
}

/* The planes of every scan of every tile as streams of version 1. */
static vqz_status write_streams(const vqzi_tile_writer *writer, const tile_row *job) {
    const vqzi_model *model = writer->model;
    for (uint32_t i = 0; i < writer->tiling.across; i++) {
        uint16_t *planes[VQZI_MAX_PLANES];
        const uint16_t *sources[VQZI_MAX_PLANES];
        vqzi_prior_tile tile = tile_at(job, i, planes);
        for (uint32_t p = 0; p < model->plane_count; p++)
            sources[p] = planes[p];
        for (uint32_t scan = 0, plane = 0; scan < writer->scan_count; scan++) {
            uint32_t count = writer->scan_count > 1 ? model->prior.stages[scan].planes
                                                    : model->plane_count;
            vqzi_buffer *stream = &writer->streams[(size_t)i * writer->scan_count + scan];
            stream->size = 0;
            VQZ_TRY(vqzi_planes_write(writer->coder, stream, plane, count, sources, tile.rows,
                                      tile.columns, tile.code_pitch));
            plane += count;
        }
    }
    return VQZ_OK;
}

/* Whether zstd has a chance, see the top of tile_writer.h; the first row of tiles is coded by rANS. */
static vqz_status is_contest(vqzi_tile_writer *writer, const tile_row *job, bool *contest) {
    enum { FEW = 1024 }; /* positions, of which zstd takes no time, and dictionaries save much */
    size_t quick = 0;
    *contest = true;
    if ((uint64_t)writer->options.columns * job->rows < FEW)
        return VQZ_OK;
    vqzi_stream_coder_quick(writer->coder, true);
    vqz_status status = write_streams(writer, job);
    vqzi_stream_coder_quick(writer->coder, false);
    for (size_t i = 0; i < writer->tiling.across * writer->scan_count; i++)
        quick += writer->streams[i].size;
    *contest = writer->segments[RANS].total >= quick - quick / 5;
    return status;
}

vqz_status vqzi_tile_writer_run(vqzi_tile_writer *writer, uint32_t row, uint32_t rows) {
    const vqzi_tiling *tiling = &writer->tiling;
    uint32_t first_tile = row / tiling->tile_rows * tiling->across;
    tile_row job = {writer, rows};
    vqzi_team team = {.threads = writer->worker_count, .grain = writer->options.context->team.grain};
    uint64_t work = vqzi_mul_sizes((uint64_t)rows * writer->options.columns,
                                   vqzi_prior_work(writer->model));
    vqzi_team_run(&team, work, 0, tiling->across, encode_tile, &job);
    for (uint32_t i = 0; i < tiling->across; i++)
        VQZ_TRY(writer->statuses[i]);
    if (writer->segments[RANS].wanted)
        VQZ_TRY(collect(writer, &writer->segments[RANS], first_tile));
    if (first_tile == 0 && writer->segments[RANS].wanted && writer->segments[ZSTD].wanted)
        VQZ_TRY(is_contest(writer, &job, &writer->segments[ZSTD].wanted));
    if (!writer->segments[ZSTD].wanted)
        return VQZ_OK;
    VQZ_TRY(write_streams(writer, &job));
    return collect(writer, &writer->segments[ZSTD], first_tile);
}

vqz_status vqzi_tile_writer_finish(const vqzi_tile_writer *writer, bool *rans,
                                   vqzi_buffer *tiles) {
    const segments *best = &writer->segments[ZSTD];
    if (!best->wanted || (writer->segments[RANS].wanted &&
                          writer->segments[RANS].total <= writer->segments[ZSTD].total))
        best = &writer->segments[RANS];
    size_t count = (size_t)writer->tiling.across * writer->tiling.down * writer->scan_count;
    *rans = best == &writer->segments[RANS];
    vqzi_segment_sizes_write(tiles, best->sizes, count);
    for (uint32_t scan = 0; scan < writer->scan_count; scan++)
        vqzi_buffer_append(tiles, best->scans[scan].data, best->scans[scan].size);
    return vqzi_buffer_status(tiles);
}
