/* tile_reader.c - see tile_reader.h. */
#include "codec/tile_reader.h"

#include <stdlib.h>

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
    if (options->header->version == VQZI_VERSION)
        return 0;
    vqzi_tiling tiling = tiling_of(options);
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
        if (options->header->version == VQZI_VERSION)
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
                                  reader->tile_rows, reader->tiling.tile_columns, false));
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
    reader->bytes = (vqzi_reader){options->file + header->tiles_offset, header->tiles_size, 0};
    vqz_status status = VQZ_OK;
    if (header->version > VQZI_VERSION) {
        reader->scan_count = scans_of(options);
        status = vqzi_segments_read(&reader->segments, options->file + header->tiles_offset,
                                    header->tiles_size,
                                    reader->tiling.across * reader->tiling.down,
                                    reader->scan_count, false);
    }
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
    free(reader);
}

/* ---- rows of tiles ---- */

typedef struct tile_row {
    const vqzi_tile_reader *reader;
    uint32_t rows, first_tile;
    int16_t *latents;
    uint16_t *const *codes;
} tile_row;

static vqz_status read_version_1(vqzi_tile_reader *reader, const tile_row *job) {
    uint32_t columns = reader->options.columns;
    for (uint32_t i = 0; i < reader->tiling.across; i++) {
        uint32_t begin = vqzi_tiling_column(&reader->tiling, i);
        uint16_t *planes[VQZI_MAX_PLANES];
        for (uint32_t p = 0; p < reader->model->plane_count; p++)
            planes[p] = job->codes[p] + begin;
        VQZ_TRY(vqzi_tile_read(reader->coder, &reader->bytes, planes, job->rows,
                               vqzi_tiling_column(&reader->tiling, i + 1) - begin, columns));
    }
    return VQZ_OK;
}

static void decode_tile(const void *argument, int thread, int64_t index) {
    const tile_row *job = argument;
    const vqzi_tile_reader *reader = job->reader;
    uint32_t begin = vqzi_tiling_column(&reader->tiling, (uint32_t)index);
    uint32_t columns = reader->options.columns, channels = reader->model->latent_channels;
    uint16_t *planes[VQZI_MAX_PLANES];
    const uint8_t *data[VQZI_MAX_STAGES];
    size_t sizes[VQZI_MAX_STAGES];
    for (uint32_t p = 0; job->codes && p < reader->model->plane_count; p++)
        planes[p] = job->codes[p] + begin;
    for (uint32_t scan = 0; scan < reader->scan_count; scan++) {
        vqzi_reader segment =
            vqzi_segment(&reader->segments, scan, job->first_tile + (uint32_t)index, NULL);
        data[scan] = segment.data;
        sizes[scan] = segment.size;
    }
    vqzi_prior_tile tile = {
        .rows = job->rows,
        .columns = vqzi_tiling_column(&reader->tiling, (uint32_t)index + 1) - begin,
        .latents = job->latents ? job->latents + (size_t)begin * channels : NULL,
        .latent_pitch = (size_t)columns * channels,
        .codes = job->codes ? planes : NULL,
        .code_pitch = columns,
    };
    reader->statuses[index] = vqzi_prior_decode(reader->workers[thread], &tile, data, sizes,
                                                reader->scan_count);
}

static vqz_status read_rans(vqzi_tile_reader *reader, const tile_row *job) {
    uint32_t across = reader->tiling.across;
    vqzi_team team = {.threads = reader->worker_count,
                      .grain = reader->options.context->team.grain};
    uint64_t work = vqzi_mul_sizes((uint64_t)job->rows * reader->options.columns,
                                   vqzi_prior_work(reader->model));
    vqzi_team_run(&team, work, 0, across, decode_tile, job);
    for (uint32_t i = 0; i < across; i++)
        VQZ_TRY(reader->statuses[i]);
    return VQZ_OK;
}

static void dequantise_row(const void *argument, int thread, int64_t row) {
    const tile_row *job = argument;
    const vqzi_tile_reader *reader = job->reader;
    const vqzi_model *model = reader->model;
    size_t columns = reader->options.columns;
    for (uint32_t x = 0, width; x < columns; x += width) {
        const uint16_t *planes[VQZI_MAX_PLANES];
        width = (uint32_t)VQZI_MIN(columns - x, reader->options.quantiser_width);
        for (uint32_t p = 0; p < model->plane_count; p++)
            planes[p] = job->codes[p] + (size_t)row * columns + x;
        vqzi_dequantise_row(reader->options.quantiser, thread, planes, width,
                            job->latents + ((size_t)row * columns + x) * model->latent_channels);
    }
}

static vqz_status read_zstd(vqzi_tile_reader *reader, const tile_row *wanted) {
    tile_row job = *wanted;
    const vqzi_model *model = reader->model;
    uint32_t columns = reader->options.columns;
    uint16_t *own[VQZI_MAX_PLANES];
    for (uint32_t p = 0; p < model->plane_count; p++)
        own[p] = reader->codes + (size_t)p * reader->tile_rows * columns;
    if (!job.codes)
        job.codes = own;
    for (uint32_t i = 0; i < reader->tiling.across; i++) {
        uint32_t begin = vqzi_tiling_column(&reader->tiling, i), plane = 0;
        uint32_t width = vqzi_tiling_column(&reader->tiling, i + 1) - begin;
        uint16_t *planes[VQZI_MAX_PLANES];
        for (uint32_t p = 0; p < model->plane_count; p++)
            planes[p] = job.codes[p] + begin;
        for (uint32_t scan = 0; scan < reader->scan_count; scan++) {
            uint32_t count = reader->scan_count > 1 ? model->prior.stages[scan].planes
                                                    : model->plane_count;
            vqzi_reader segment = vqzi_segment(&reader->segments, scan, job.first_tile + i, NULL);
            VQZ_TRY(vqzi_planes_read(reader->coder, &segment, plane, count, planes, job.rows,
                                     width, columns));
            if (segment.position != segment.size)
                return VQZ_ERROR_CORRUPT;
            plane += count;
        }
    }
    if (job.latents)
        vqzi_team_run(&reader->options.context->team,
                      (uint64_t)job.rows * columns * vqzi_quantiser_work(reader->options.quantiser),
                      0, job.rows, dequantise_row, &job);
    return VQZ_OK;
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
    reader->row += job.rows;
    if (reader->options.header->version == VQZI_VERSION)
        return read_version_1(reader, &job);
    return reader->options.header->rans ? read_rans(reader, &job) : read_zstd(reader, &job);
}

vqz_status vqzi_tile_reader_finish(const vqzi_tile_reader *reader) {
    /* the last segment of version 2 goes on to the end, and was checked as all the others */
    bool done = reader->bytes.position == reader->bytes.size;
    return done || reader->options.header->version > VQZI_VERSION ? VQZ_OK : VQZ_ERROR_CORRUPT;
}
