/* tile_writer.c - see tile_writer.h. */
#include "codec/tile_writer.h"
#include "codec/quantise.h"

#include <stdlib.h>
#include <string.h>

enum { RANS, ZSTD, CODERS };
enum { TRY_BOTH_EFFORT = 7 };

/* The segments of one coder, scan after scan; within a scan in the order of the tiles. */
typedef struct segments {
    bool wanted;
    vqzi_buffer scans[VQZI_MAX_STAGES];
    size_t *sizes; /* (scans, tiles) */
    size_t total;
} segments;

/* The codes of a row of tiles, and what rANS makes of them. */
typedef struct attempt {
    uint16_t *codes;      /* (planes, tile rows, columns) */
    vqzi_buffer *streams; /* (tiles across, scans): what the workers write */
} attempt;

struct vqzi_tile_writer {
    vqzi_tile_writer_options options;
    const vqzi_model *model;
    vqzi_tiling tiling;
    uint32_t scan_count;
    int worker_count;
    vqzi_prior_coder **workers; /* (worker_count) */
    vqzi_stream_coder *coder;   /* NULL: zstd cannot be wanted */
    vqzi_refiner *refiner;      /* or NULL */
    int rounds;                 /* of it */
    int copies;                 /* with a refiner two, else one */
    int16_t *latents;     /* (copies, tile rows, columns, D): this row of tiles and the next */
    attempt attempts[2];  /* (copies): the best and another */
    size_t code_bytes;    /* of one */
    vqz_status *statuses; /* (tiles across) */
    segments segments[CODERS];
};

/* ---- setting up ---- */

static int count_workers(const vqzi_tile_writer_options *options, const vqzi_tiling *tiling) {
    return VQZI_MIN(options->context->team.threads, (int)tiling->across);
}

/* How often latents are refined. */
static int count_rounds(const vqzi_tile_writer_options *options) {
    static const uint8_t rounds[] = {[7] = 2, [8] = 6, [9] = 16};
    return rounds[options->effort];
}

bool vqzi_tile_writer_wants_adjoint(const vqzi_tile_writer_options *options) {
    return count_rounds(options) > 0;
}

static vqzi_refiner_options refiner_options(const vqzi_tile_writer_options *options,
                                            const vqzi_tiling *tiling) {
    return (vqzi_refiner_options){
        .context = options->context,
        .model = options->model,
        .adjoint = options->adjoint,
        .level = options->level,
        .columns = options->columns,
        .rows = options->rows,
        .tile_rows = tiling->tile_rows,
        .pixels = options->pixels,
    };
}

uint32_t vqzi_tile_writer_pixel_rows(const vqzi_tile_writer_options *options) {
    uint32_t stride = options->model->model.stride;
    vqzi_tiling tiling =
        vqzi_tiling_make(VQZI_VERSION_PRIOR, options->columns, options->rows, stride);
    if (!options->adjoint)
        return 0;
    vqzi_refiner_options refine = refiner_options(options, &tiling);
    return 2 * VQZI_TILE_HEIGHT + stride * vqzi_refiner_margin(&refine);
}

uint64_t vqzi_tile_writer_memory(const vqzi_tile_writer_options *options) {
    const vqzi_model *model = &options->model->model;
    vqzi_tiling tiling =
        vqzi_tiling_make(VQZI_VERSION_PRIOR, options->columns, options->rows, model->stride);
    uint64_t positions = (uint64_t)tiling.tile_rows * options->columns;
    uint64_t segment_count = (uint64_t)tiling.across * tiling.down *
                             (options->progressive ? model->prior.stage_count : 1);
    uint64_t refiner = 0, copies = 1;
    if (options->adjoint) {
        vqzi_refiner_options refine = refiner_options(options, &tiling);
        refiner = vqzi_refiner_memory(&refine);
        copies = 2;
    }
    return refiner +
           copies * positions * (model->latent_channels + model->plane_count) * sizeof(uint16_t) +
           CODERS * segment_count * sizeof(size_t) +
           (uint64_t)count_workers(options, &tiling) *
               vqzi_prior_memory(model, tiling.tile_rows, tiling.tile_columns, true);
}

static vqz_status open_workers(vqzi_tile_writer *writer) {
    const vqzi_tile_writer_options *options = &writer->options;
    const vqzi_prepared_prior *prior;
    uint64_t lambda = vqzi_lambda(writer->model, options->level, options->rate_bias);
    VQZ_TRY(vqzi_model_prior(options->model, &prior));
    for (int i = 0; i < writer->worker_count; i++) {
        VQZ_TRY(vqzi_prior_create(&writer->workers[i], prior, options->level,
                                  &options->context->kernels, writer->tiling.tile_rows,
                                  writer->tiling.tile_columns, lambda));
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
    writer->tiling =
        vqzi_tiling_make(VQZI_VERSION_PRIOR, options->columns, options->rows, model->stride);
    writer->scan_count = options->progressive ? model->prior.stage_count : 1;
    writer->worker_count = count_workers(options, &writer->tiling);
    writer->segments[RANS].wanted = options->entropy != VQZ_ENTROPY_ZSTD;
    /* zstd beats a prior so rarely that a quick encoder does not try */
    writer->segments[ZSTD].wanted =
        options->entropy == VQZ_ENTROPY_ZSTD ||
        (options->entropy == VQZ_ENTROPY_AUTO && options->effort >= TRY_BOTH_EFFORT);
    size_t across = writer->tiling.across, tiles = across * writer->tiling.down, positions;
    bool ready = vqzi_mul(writer->tiling.tile_rows, options->columns, &positions) &&
                 positions <= SIZE_MAX / VQZI_MAX_LATENT_CHANNELS / 4;
    vqz_status status = VQZ_OK;
    writer->copies = 1;
    writer->rounds = count_rounds(options);
    if (options->adjoint) {
        vqzi_refiner_options refine = refiner_options(options, &writer->tiling);
        status = vqzi_refiner_create(&writer->refiner, &refine);
        writer->copies = 2;
    }
    if (ready) {
        writer->code_bytes = positions * model->plane_count * sizeof(uint16_t);
        writer->latents = malloc((size_t)writer->copies * positions * model->latent_channels *
                                 sizeof *writer->latents);
    }
    for (int i = 0; i < writer->copies && ready; i++) {
        attempt *a = &writer->attempts[i];
        a->codes = malloc(writer->code_bytes);
        a->streams = calloc(across * writer->scan_count, sizeof *a->streams);
        ready = a->codes && a->streams;
    }
    writer->workers = calloc((size_t)writer->worker_count, sizeof *writer->workers);
    writer->statuses = calloc(across, sizeof *writer->statuses);
    for (int i = 0; i < CODERS; i++) {
        writer->segments[i].sizes =
            calloc(tiles * writer->scan_count, sizeof *writer->segments[i].sizes);
        ready &= writer->segments[i].sizes != NULL;
    }
    if (status == VQZ_OK && !(ready && writer->latents && writer->workers && writer->statuses))
        status = VQZ_ERROR_MEMORY;
    if (status == VQZ_OK)
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
    for (int i = 0; i < writer->copies; i++) {
        attempt *a = &writer->attempts[i];
        for (size_t k = 0; a->streams && k < writer->tiling.across * writer->scan_count; k++)
            vqzi_buffer_clear(&a->streams[k]);
        free(a->streams);
        free(a->codes);
    }
    vqzi_refiner_free(writer->refiner);
    for (int i = 0; i < CODERS; i++) {
        for (uint32_t scan = 0; scan < VQZI_MAX_STAGES; scan++)
            vqzi_buffer_clear(&writer->segments[i].scans[scan]);
        free(writer->segments[i].sizes);
    }
    vqzi_stream_coder_free(writer->coder);
    free(writer->workers);
    free(writer->latents);
    free(writer->statuses);
    free(writer);
}

/* ---- rows of tiles ---- */

static int16_t *latents_of(const vqzi_tile_writer *writer, uint32_t row) {
    uint32_t tile_rows = writer->tiling.tile_rows;
    size_t copy = row / tile_rows % (uint32_t)writer->copies;
    return writer->latents +
           copy * tile_rows * writer->options.columns * writer->model->latent_channels;
}

int16_t *vqzi_tile_writer_row(const vqzi_tile_writer *writer, uint32_t row) {
    return latents_of(writer, row) + (size_t)(row % writer->tiling.tile_rows) *
                                         writer->options.columns * writer->model->latent_channels;
}

typedef struct tile_row {
    const vqzi_tile_writer *writer;
    uint32_t row, rows;
    int16_t *latents;
    const attempt *attempt;
    bool again; /* its codes are a start */
} tile_row;

/* Tile `index` of the row, and its codes' planes. */
static vqzi_prior_tile tile_at(const tile_row *job, uint32_t index, uint16_t **planes) {
    const vqzi_tile_writer *writer = job->writer;
    uint32_t begin = vqzi_tiling_column(&writer->tiling, index), columns = writer->options.columns;
    for (uint32_t p = 0; p < writer->model->plane_count; p++)
        planes[p] = job->attempt->codes + (size_t)p * writer->tiling.tile_rows * columns + begin;
    return (vqzi_prior_tile){
        .rows = job->rows,
        .columns = vqzi_tiling_column(&writer->tiling, index + 1) - begin,
        .latents = job->latents + (size_t)begin * writer->model->latent_channels,
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
    vqzi_buffer *streams = job->attempt->streams + (size_t)index * writer->scan_count;
    bool wanted = writer->segments[RANS].wanted || writer->refiner;
    for (uint32_t scan = 0; scan < writer->scan_count; scan++)
        streams[scan].size = 0;
    writer->statuses[index] =
        vqzi_prior_encode(writer->workers[thread], &tile, writer->options.effort, job->again,
                          writer->scan_count, wanted ? streams : NULL);
}

static vqz_status encode_tiles(const tile_row *job) {
    const vqzi_tile_writer *writer = job->writer;
    vqzi_team team = {.threads = writer->worker_count,
                      .grain = writer->options.context->team.grain};
    uint64_t work = vqzi_mul_sizes((uint64_t)job->rows * writer->options.columns,
                                   vqzi_prior_work(writer->model));
    vqzi_team_run(&team, work, 0, writer->tiling.across, encode_tile, job);
    for (uint32_t i = 0; i < writer->tiling.across; i++)
        VQZ_TRY(writer->statuses[i]);
    return VQZ_OK;
}

/* ---- refinement ---- */

/* (squared latent error) + lambda * bits */
static uint64_t judge(const tile_row *job, bool gradient) {
    const vqzi_tile_writer *writer = job->writer;
    uint64_t bytes = 0;
    for (size_t i = 0; i < writer->tiling.across * writer->scan_count; i++)
        bytes += job->attempt->streams[i].size;
    return vqzi_add_sizes(vqzi_refiner_measure(writer->refiner, job->attempt->codes, gradient),
                          vqzi_mul_sizes(8 * bytes, vqzi_prior_lambda(writer->workers[0])));
}

/* Tries codes for latents that move round by round; job->attempt becomes the best of them. */
static vqz_status refine(const vqzi_tile_writer *writer, tile_row *job) {
    const attempt *best = &writer->attempts[1], *next = &writer->attempts[0];
    uint64_t least = UINT64_MAX;
    vqzi_refiner_begin(writer->refiner, job->row, job->rows, job->latents,
                       latents_of(writer, job->row + writer->tiling.tile_rows));
    for (int round = 0;; round++) {
        job->attempt = next;
        VQZ_TRY(encode_tiles(job));
        uint64_t cost = judge(job, round < writer->rounds);
        if (cost < least || round == 0) {
            const attempt *other = best;
            least = cost;
            best = next;
            next = other;
        }
        if (round == writer->rounds)
            break;
        if (next != job->attempt)
            memcpy(next->codes, job->attempt->codes, writer->code_bytes);
        job->again = true;
        vqzi_refiner_move(writer->refiner);
    }
    job->attempt = best;
    vqzi_refiner_end(writer->refiner, best->codes);
    return VQZ_OK;
}

/* ---- segments ---- */

/* Adds the streams of every tile of a row. */
static vqz_status collect(const tile_row *job, segments *result) {
    const vqzi_tile_writer *writer = job->writer;
    const vqzi_tiling *tiling = &writer->tiling;
    size_t tiles = (size_t)tiling->across * tiling->down;
    size_t first_tile = (size_t)job->row / tiling->tile_rows * tiling->across;
    for (uint32_t i = 0; i < tiling->across; i++)
        for (uint32_t scan = 0; scan < writer->scan_count; scan++) {
            const vqzi_buffer *stream =
                &job->attempt->streams[(size_t)i * writer->scan_count + scan];
            vqzi_buffer_append(&result->scans[scan], stream->data, stream->size);
            VQZ_TRY(vqzi_buffer_status(&result->scans[scan]));
            result->sizes[scan * tiles + first_tile + i] = stream->size;
            result->total += stream->size;
        }
    return VQZ_OK;
}

/* The planes of every scan of every tile as streams of version 1. */
static vqz_status write_streams(const tile_row *job) {
    const vqzi_tile_writer *writer = job->writer;
    const vqzi_model *model = writer->model;
    for (uint32_t i = 0; i < writer->tiling.across; i++) {
        uint16_t *planes[VQZI_MAX_PLANES];
        const uint16_t *sources[VQZI_MAX_PLANES];
        vqzi_prior_tile tile = tile_at(job, i, planes);
        for (uint32_t p = 0; p < model->plane_count; p++)
            sources[p] = planes[p];
        for (uint32_t scan = 0, plane = 0; scan < writer->scan_count; scan++) {
            uint32_t count =
                writer->scan_count > 1 ? model->prior.stages[scan].planes : model->plane_count;
            vqzi_buffer *stream = &job->attempt->streams[(size_t)i * writer->scan_count + scan];
            stream->size = 0;
            VQZ_TRY(vqzi_planes_write(writer->coder, stream, plane, count, sources, tile.rows,
                                      tile.columns, tile.code_pitch));
            plane += count;
        }
    }
    return VQZ_OK;
}

/* Whether zstd has a chance, see the top of tile_writer.h; the first row of tiles is coded by rANS.
 */
static vqz_status is_contest(const tile_row *job, bool *contest) {
    enum { FEW = 1024 }; /* positions, of which zstd takes no time, and dictionaries save much */
    const vqzi_tile_writer *writer = job->writer;
    size_t quick = 0;
    *contest = true;
    if ((uint64_t)writer->options.columns * job->rows < FEW)
        return VQZ_OK;
    vqzi_stream_coder_quick(writer->coder, true);
    vqz_status status = write_streams(job);
    vqzi_stream_coder_quick(writer->coder, false);
    for (size_t i = 0; i < writer->tiling.across * writer->scan_count; i++)
        quick += job->attempt->streams[i].size;
    *contest = writer->segments[RANS].total >= quick - quick / 5;
    return status;
}

static vqz_status write_row(vqzi_tile_writer *writer, uint32_t row, uint32_t rows) {
    tile_row job = {writer, row, rows, latents_of(writer, row), &writer->attempts[0], false};
    VQZ_TRY(writer->refiner ? refine(writer, &job) : encode_tiles(&job));
    if (writer->segments[RANS].wanted)
        VQZ_TRY(collect(&job, &writer->segments[RANS]));
    if (row == 0 && writer->segments[RANS].wanted && writer->segments[ZSTD].wanted)
        VQZ_TRY(is_contest(&job, &writer->segments[ZSTD].wanted));
    if (!writer->segments[ZSTD].wanted)
        return VQZ_OK;
    VQZ_TRY(write_streams(&job));
    return collect(&job, &writer->segments[ZSTD]);
}

vqz_status vqzi_tile_writer_run(vqzi_tile_writer *writer, uint32_t row, uint32_t rows) {
    uint32_t tile_rows = writer->tiling.tile_rows;
    if (!writer->refiner)
        return write_row(writer, row, rows);
    if (row > 0)
        VQZ_TRY(write_row(writer, row - tile_rows, tile_rows));
    return row + rows == writer->options.rows ? write_row(writer, row, rows) : VQZ_OK;
}

vqz_status vqzi_tile_writer_finish(const vqzi_tile_writer *writer, bool *rans, vqzi_buffer *tiles) {
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
