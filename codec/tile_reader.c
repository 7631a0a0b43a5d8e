/* tile_reader.c - see tile_reader.h. */
#include "codec/tile_reader.h"

#include <stdlib.h>
#include <string.h>

struct vqzi_tile_reader {
    vqzi_tile_reader_options options;
    const vqzi_model *model;
    uint32_t tile_rows;
    uint32_t row; /* latent rows read so far */
    vqzi_stream_coder *coder; /* of version 1 streams, or NULL */
    vqzi_reader bytes;        /* version 1: what is left */
    /* version 2 */
    vqzi_tiling tiling;
    uint32_t scan_count;
    vqzi_segments segments;
    int worker_count;
    vqzi_prior_coder **workers; /* (worker_count) */
    vqz_status *statuses;       /* (tiles across) */
    uint16_t *codes;            /* (planes, tile rows, columns): of zstd where only latents are wanted */
    /* all */
    uint32_t first_tile, end_tile; /* those of a row that are looked at */
    uint32_t *planes;              /* (tiles across): how many a tile of zstd has; partial files */
    uint64_t *found;               /* (tiles across): codes of a tile, summed over the rows of tiles */
    uint64_t wanted;
    bool lost; /* version 1: the bytes have come to their end */
};

uint32_t vqzi_tile_rows(const vqzi_model *model, const vqzi_header *header) {
    return (header->version == VQZI_VERSION ? VQZI_TILE : VQZI_TILE_HEIGHT) / model->stride;
}

static vqzi_tiling tiling_of(const vqzi_tile_reader_options *options) {
    return vqzi_tiling_make(options->header->version, options->columns, options->rows,
                            options->model->model.stride);
}

static uint32_t scans_of(const vqzi_tile_reader_options *options) {
    return options->header->scans ? options->model->model.prior.stage_count : 1;
}

static int count_workers(const vqzi_tile_reader_options *options, const vqzi_tiling *tiling) {
    return VQZI_MIN(options->context->team.threads, (int)tiling->across);
}

uint64_t vqzi_tile_reader_memory(const vqzi_tile_reader_options *options) {
    const vqzi_model *model = &options->model->model;
    vqzi_tiling tiling = tiling_of(options);
    if (options->header->version == VQZI_VERSION)
        return options->partial ? (uint64_t)tiling.tile_rows * options->columns *
                                      model->plane_count * sizeof(uint16_t)
                                : 0;
    uint64_t index = ((uint64_t)tiling.across * tiling.down * scans_of(options) + 1) *
                     sizeof(size_t);
    if (!options->header->rans)
        return index + (uint64_t)tiling.tile_rows * options->columns * model->plane_count *
                           sizeof(uint16_t);
    return index + (uint64_t)count_workers(options, &tiling) *
                       vqzi_prior_memory(model, tiling.tile_rows, tiling.tile_columns, false);
}

static vqz_status open_workers(vqzi_tile_reader *reader) {
    const vqzi_tile_reader_options *options = &reader->options;
    const vqzi_level level = vqzi_model_level(reader->model, (int)options->header->quality);
    const vqzi_prepared_prior *prior;
    size_t count;
    if (options->header->version == VQZI_VERSION || !options->header->rans) {
        VQZ_TRY(vqzi_stream_coder_create(&reader->coder, reader->model, level.nearest,
                                         &options->context->team));
        if (options->header->version == VQZI_VERSION && !options->partial)
            return VQZ_OK;
        if (vqzi_mul((size_t)reader->tile_rows * options->columns,
                     reader->model->plane_count * sizeof *reader->codes, &count))
            reader->codes = malloc(count);
        return reader->codes ? VQZ_OK : VQZ_ERROR_MEMORY;
    }
    reader->worker_count = count_workers(options, &reader->tiling);
    reader->workers = calloc((size_t)reader->worker_count, sizeof *reader->workers);
    reader->statuses = calloc(reader->tiling.across, sizeof *reader->statuses);
    if (!reader->workers || !reader->statuses)
        return VQZ_ERROR_MEMORY;
    VQZ_TRY(vqzi_model_prior(options->model, &prior));
    for (int i = 0; i < reader->worker_count; i++)
        VQZ_TRY(vqzi_prior_create(&reader->workers[i], prior, level, &options->context->kernels,
                                  reader->tile_rows, reader->tiling.tile_columns, 0));
    return VQZ_OK;
}

vqz_status vqzi_tile_reader_create(vqzi_tile_reader **out,
                                   const vqzi_tile_reader_options *options) {
    const vqzi_header *header = options->header;
    vqzi_tile_reader *reader = calloc(1, sizeof *reader);
    if (!reader)
        return VQZ_ERROR_MEMORY;
    reader->options = *options;
    reader->model = &options->model->model;
    reader->tile_rows = vqzi_tile_rows(reader->model, header);
    reader->tiling = tiling_of(options);
    reader->scan_count = scans_of(options);
    vqz_status status = VQZ_OK;
    reader->planes = calloc(reader->tiling.across, sizeof *reader->planes);
    reader->found = calloc(reader->tiling.across, sizeof *reader->found);
    if (!reader->planes || !reader->found)
        status = VQZ_ERROR_MEMORY;
    reader->end_tile = reader->tiling.across;
    if (options->end_column > 0) {
        while (vqzi_tiling_column(&reader->tiling, reader->first_tile + 1) <= options->begin_column)
            reader->first_tile++;
        while (vqzi_tiling_column(&reader->tiling, reader->end_tile - 1) >= options->end_column)
            reader->end_tile--;
    }
    if (!options->sample)
        reader->bytes = (vqzi_reader){options->file + header->tiles_offset, header->tiles_size, 0};
    if (status == VQZ_OK && header->version > VQZI_VERSION && !options->sample)
        status = vqzi_segments_read(&reader->segments, options->file + header->tiles_offset,
                                    header->tiles_size,
                                    reader->tiling.across * reader->tiling.down,
                                    reader->scan_count, options->partial);
    if (status == VQZ_OK)
        status = open_workers(reader);
    if (status != VQZ_OK) {
        vqzi_tile_reader_free(reader);
        return status;
    }
    *out = reader;
    return VQZ_OK;
}

void vqzi_tile_reader_free(vqzi_tile_reader *reader) {
    if (!reader)
        return;
    for (int i = 0; reader->workers && i < reader->worker_count; i++)
        vqzi_prior_free(reader->workers[i]);
    vqzi_stream_coder_free(reader->coder);
    free(reader->workers);
    vqzi_segments_clear(&reader->segments);
    free(reader->statuses);
    free(reader->codes);
    free(reader->planes);
    free(reader->found);
    free(reader);
}

/* ---- rows of tiles ---- */

typedef struct tile_row {
    const vqzi_tile_reader *reader;
    uint32_t rows, first_tile;
    int16_t *latents;
    uint16_t *const *codes;
} tile_row;

/* Where a tile of the row begins, and how many columns it has. */
static uint32_t tile_columns(const vqzi_tile_reader *reader, uint32_t tile, uint32_t *begin) {
    *begin = vqzi_tiling_column(&reader->tiling, tile);
    return vqzi_tiling_column(&reader->tiling, tile + 1) - *begin;
}

static void decode_tile(const void *argument, int thread, int64_t index) {
    const tile_row *job = argument;
    const vqzi_tile_reader *reader = job->reader;
    uint32_t begin, width = tile_columns(reader, (uint32_t)index, &begin);
    uint32_t columns = reader->options.columns, channels = reader->model->latent_channels;
    uint32_t number = job->first_tile + (uint32_t)index;
    uint16_t *planes[VQZI_MAX_PLANES];
    const uint8_t *data[VQZI_MAX_STAGES];
    size_t sizes[VQZI_MAX_STAGES];
    bool whole[VQZI_MAX_STAGES];
    for (uint32_t p = 0; job->codes && p < reader->model->plane_count; p++)
        planes[p] = job->codes[p] + begin;
    vqzi_prior_tile tile = {
        .rows = job->rows,
        .columns = width,
        .latents = job->latents ? job->latents + (size_t)begin * channels : NULL,
        .latent_pitch = (size_t)columns * channels,
        .codes = job->codes ? planes : NULL,
        .code_pitch = columns,
    };
    if (reader->options.sample) {
        vqzi_prior_sample(reader->workers[thread], &tile, reader->options.sample, number);
        reader->statuses[index] = VQZ_OK;
        return;
    }
    for (uint32_t scan = 0; scan < reader->scan_count; scan++) {
        vqzi_reader segment = vqzi_segment(&reader->segments, scan, number, &whole[scan]);
        data[scan] = segment.data;
        sizes[scan] = segment.size;
    }
    if (reader->options.partial) {
        reader->found[index] += vqzi_prior_decode_partial(reader->workers[thread], &tile, data,
                                                          sizes, whole, reader->scan_count);
        reader->statuses[index] = VQZ_OK;
        return;
    }
    reader->statuses[index] = vqzi_prior_decode(reader->workers[thread], &tile, data, sizes,
                                                reader->scan_count);
    reader->found[index] += (uint64_t)job->rows * width * reader->model->plane_count;
}

static vqz_status read_rans(vqzi_tile_reader *reader, const tile_row *job) {
    vqzi_team team = {.threads = reader->worker_count,
                      .grain = reader->options.context->team.grain};
    uint64_t work = vqzi_mul_sizes((uint64_t)job->rows * reader->options.columns,
                                   vqzi_prior_work(reader->model));
    vqzi_team_run(&team, work, reader->first_tile, reader->end_tile, decode_tile, job);
    for (uint32_t i = reader->first_tile; i < reader->end_tile; i++)
        VQZ_TRY(reader->statuses[i]);
    return VQZ_OK;
}

static void dequantise_row(const void *argument, int thread, int64_t row) {
    const tile_row *job = argument;
    const vqzi_tile_reader *reader = job->reader;
    const vqzi_model *model = reader->model;
    size_t columns = reader->options.columns;
    for (uint32_t i = reader->first_tile; i < reader->end_tile; i++) {
        uint32_t end = vqzi_tiling_column(&reader->tiling, i + 1), width;
        for (uint32_t x = vqzi_tiling_column(&reader->tiling, i); x < end; x += width) {
            const uint16_t *planes[VQZI_MAX_PLANES];
            width = VQZI_MIN(end - x, reader->options.quantiser_width);
            for (uint32_t p = 0; p < model->plane_count; p++)
                planes[p] = job->codes[p] + (size_t)row * columns + x;
            vqzi_dequantise_planes(reader->options.quantiser, thread, planes, reader->planes[i],
                                   width,
                                   job->latents + ((size_t)row * columns + x) *
                                                      model->latent_channels);
        }
    }
}

/* A tile's planes of a scan, or of version 1, from their bytes.  *good counts all that were read; of a
   partial file each is tried for itself. */
static vqz_status read_planes(vqzi_tile_reader *reader, vqzi_reader *bytes, uint32_t count,
                              uint16_t *const *planes, uint32_t rows, uint32_t width,
                              uint32_t *good) {
    uint32_t columns = reader->options.columns;
    if (!reader->options.partial) {
        VQZ_TRY(vqzi_planes_read(reader->coder, bytes, *good, count, planes, rows, width, columns));
        *good += count;
        return VQZ_OK;
    }
    for (; count > 0; count--, ++*good)
        VQZ_TRY(vqzi_planes_read(reader->coder, bytes, *good, 1, planes, rows, width, columns));
    return VQZ_OK;
}

static vqz_status read_tile(vqzi_tile_reader *reader, const tile_row *job, uint32_t tile,
                            uint16_t *const *planes, uint32_t width, uint32_t *good) {
    const vqzi_model *model = reader->model;
    vqz_status status = VQZ_OK;
    if (reader->options.header->version == VQZI_VERSION)
        return read_planes(reader, &reader->bytes, model->plane_count, planes, job->rows, width,
                           good);
    for (uint32_t scan = 0; status == VQZ_OK && scan < reader->scan_count; scan++) {
        uint32_t count = reader->scan_count > 1 ? model->prior.stages[scan].planes
                                                : model->plane_count;
        vqzi_reader segment = vqzi_segment(&reader->segments, scan, job->first_tile + tile, NULL);
        status = read_planes(reader, &segment, count, planes, job->rows, width, good);
        if (status == VQZ_OK && segment.position != segment.size)
            status = VQZ_ERROR_CORRUPT;
    }
    return status;
}

/* Streams of either version. */
static vqz_status read_streams(vqzi_tile_reader *reader, const tile_row *wanted) {
    tile_row job = *wanted;
    const vqzi_model *model = reader->model;
    bool version_1 = reader->options.header->version == VQZI_VERSION;
    uint32_t columns = reader->options.columns;
    uint32_t first = version_1 ? 0 : reader->first_tile; /* version 1 has to be read in order */
    uint32_t end = version_1 ? reader->tiling.across : reader->end_tile;
    uint16_t *own[VQZI_MAX_PLANES];
    for (uint32_t p = 0; reader->codes && p < model->plane_count; p++)
        own[p] = reader->codes + (size_t)p * reader->tile_rows * columns;
    if (!job.codes)
        job.codes = own;
    for (uint32_t i = first; i < end; i++) {
        uint32_t begin, width = tile_columns(reader, i, &begin), good = 0;
        uint16_t *planes[VQZI_MAX_PLANES];
        for (uint32_t p = 0; p < model->plane_count; p++)
            planes[p] = job.codes[p] + begin;
        vqz_status status =
            reader->lost ? VQZ_OK : read_tile(reader, &job, i, planes, width, &good);
        if (status != VQZ_OK && (!reader->options.partial || status == VQZ_ERROR_MEMORY))
            return status;
        reader->lost |= version_1 && good < model->plane_count;
        reader->planes[i] = good;
        reader->found[i] += (uint64_t)job.rows * width * good;
    }
    if (job.latents)
        vqzi_team_run(&reader->options.context->team,
                      (uint64_t)job.rows * columns * vqzi_quantiser_work(reader->options.quantiser),
                      0, job.rows, dequantise_row, &job);
    return VQZ_OK;
}

bool vqzi_tile_reader_skip(vqzi_tile_reader *reader) {
    if (reader->options.header->version == VQZI_VERSION)
        return false;
    reader->row += VQZI_MIN(reader->tile_rows, reader->options.rows - reader->row);
    return true;
}

void vqzi_tile_reader_found(const vqzi_tile_reader *reader, uint64_t *found, uint64_t *codes) {
    *found = 0;
    *codes = reader->wanted;
    for (uint32_t i = reader->first_tile; i < reader->end_tile; i++)
        *found += reader->found[i];
}

vqz_status vqzi_tile_reader_run(vqzi_tile_reader *reader, int16_t *latents,
                                uint16_t *const *codes) {
    tile_row job = {
        .reader = reader,
        .rows = VQZI_MIN(reader->tile_rows, reader->options.rows - reader->row),
        .first_tile = reader->row / reader->tile_rows * reader->tiling.across,
        .latents = latents,
        .codes = codes,
    };
    uint32_t columns = vqzi_tiling_column(&reader->tiling, reader->end_tile) -
                       vqzi_tiling_column(&reader->tiling, reader->first_tile);
    reader->row += job.rows;
    reader->wanted += (uint64_t)job.rows * columns * reader->model->plane_count;
    return reader->options.header->rans ? read_rans(reader, &job) : read_streams(reader, &job);
}

vqz_status vqzi_tile_reader_finish(const vqzi_tile_reader *reader) {
    /* the last segment of version 2 goes on to the end, and was checked as all the others */
    bool done = reader->bytes.position == reader->bytes.size;
    return done || reader->options.header->version > VQZI_VERSION ? VQZ_OK : VQZ_ERROR_CORRUPT;
}
