/*
 * decode.c - .vqz -> picture.
 *
 * Container tiles are read row by row into a ring of index rows that holds just as many tile rows
 * as the synthesis of one tile row looks at (its own and the neighbours its halo reaches).  Work
 * tiles are synthesised straight into the caller's picture.
 */
#include "codec/internal.h"
#include "codec/pixels.h"
#include "codec/quantise.h"

#include <stdlib.h>
#include <string.h>

struct decoder {
    const vqz_context *context;
    const vqzi_model *model;
    const vqz_image *image;
    const vqzi_prepared_net *net;
    vqzi_header header;
    vqzi_job job;
    vqzi_executor *synthesis;
    vqzi_quantiser *quantiser;
    vqzi_stream_coder *coder;
    uint32_t ring_size;   /* tile rows held */
    uint32_t tiles_read;  /* tile rows read so far */
    uint16_t *ring;       /* (ring_size, planes, tile rows, columns) */
    vqzi_reader reader;
};

/* ---- facts and metadata ---- */

vqz_status vqz_read_info(const void *file, size_t file_size, vqz_info *info, vqz_diag *diag) {
    vqzi_header header;
    uint64_t icc = 0, exif = 0;
    vqz_status status;
    VQZ_TRY(vqzi_header_read(&header, file, file_size, diag));
    status = header.icc_data ? vqzi_packed_size(header.icc_data, header.icc_size, &icc) : VQZ_OK;
    if (status == VQZ_OK && header.exif_data)
        status = vqzi_packed_size(header.exif_data, header.exif_size, &exif);
    if (status != VQZ_OK)
        return vqzi_fail(diag, status, "a metadata chunk of the file is damaged");
    memset(info, 0, sizeof *info);
    info->version = header.version;
    info->width = header.width;
    info->height = header.height;
    info->channels = (header.gray ? 1u : 3u) + (header.alpha ? 1u : 0u);
    info->quality = header.quality;
    memcpy(info->model_hash, header.model_hash, sizeof info->model_hash);
    info->icc_size = icc;
    info->exif_size = exif;
    info->index_bytes = header.tiles_size;
    info->chunk_bytes = header.tiles_offset - header.chunks_offset;
    info->header_bytes = file_size - info->index_bytes - info->chunk_bytes;
    return VQZ_OK;
}

vqz_status vqz_read_metadata(const void *file, size_t file_size, vqz_metadata kind, void **data,
                             size_t *size, vqz_diag *diag) {
    vqzi_header header;
    uint64_t raw_size;
    if (kind != VQZ_METADATA_ICC && kind != VQZ_METADATA_EXIF)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "unknown kind of metadata %d", (int)kind);
    VQZ_TRY(vqzi_header_read(&header, file, file_size, diag));
    const char *name = kind == VQZ_METADATA_ICC ? "ICC profile" : "EXIF block";
    const uint8_t *payload = kind == VQZ_METADATA_ICC ? header.icc_data : header.exif_data;
    size_t payload_size = kind == VQZ_METADATA_ICC ? header.icc_size : header.exif_size;
    if (!payload) {
        *data = NULL;
        *size = 0;
        return VQZ_OK;
    }
    vqz_status status = vqzi_packed_size(payload, payload_size, &raw_size);
    if (status != VQZ_OK)
        return vqzi_fail(diag, status, "the %s of the file is damaged", name);
    if (raw_size > VQZI_MAX_METADATA)
        return vqzi_fail(diag, VQZ_ERROR_LIMIT, "the %s of the file exceeds %d bytes", name,
                         VQZI_MAX_METADATA);
    uint8_t *raw = malloc(raw_size > 0 ? (size_t)raw_size : 1);
    if (!raw)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory for the %s", name);
    status = vqzi_unpack(payload, payload_size, raw, (size_t)raw_size);
    if (status != VQZ_OK) {
        free(raw);
        return vqzi_fail(diag, status, "the %s of the file is damaged", name);
    }
    *data = raw;
    *size = (size_t)raw_size;
    return VQZ_OK;
}

/* ---- decoding ---- */

static vqz_status check_request(const struct decoder *decoder, vqz_diag *diag) {
    const vqzi_header *header = &decoder->header;
    const vqz_image *image = decoder->image;
    const uint8_t *needs = header->model_hash, *has = decoder->model->hash;
    uint32_t channels = (header->gray ? 1u : 3u) + (header->alpha ? 1u : 0u);

    if (memcmp(needs, has, sizeof header->model_hash) != 0)
        return vqzi_fail(diag, VQZ_ERROR_MODEL_MISMATCH,
                         "the file was made with model %02x%02x%02x%02x and this is model "
                         "%02x%02x%02x%02x; load the model whose hash starts with "
                         "%02x%02x%02x%02x",
                         needs[0], needs[1], needs[2], needs[3], has[0], has[1], has[2], has[3],
                         needs[0], needs[1], needs[2], needs[3]);
    if (decoder->model->channels == 1 && !header->gray)
        return vqzi_fail(diag, VQZ_ERROR_CORRUPT, "the file has colours but its model is gray");
    if ((header->alpha_data != NULL) != (header->alpha && decoder->model->channels != 4))
        return vqzi_fail(diag, VQZ_ERROR_CORRUPT, header->alpha_data
                         ? "the file stores its alpha twice" : "the file lacks its alpha chunk");
    if (image->width != header->width || image->height != header->height ||
        image->channels != channels)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                         "the file holds %u x %u pixels of %u channels, not %u x %u of %u",
                         header->width, header->height, channels, image->width, image->height,
                         image->channels);
    return vqzi_check_picture(decoder->context, image, diag);
}

/* Latent rows that container tile row `tile` looks at. */
static vqzi_span rows_needed(const struct decoder *decoder, uint32_t tile) {
    int64_t begin = (int64_t)tile * VQZI_TILE;
    return vqzi_net_input_span(decoder->net, decoder->job.rows,
                               (vqzi_span){begin, begin + VQZI_TILE});
}

static uint32_t tile_row_count(const vqzi_job *job) {
    return (job->rows + job->tile_rows - 1) / job->tile_rows;
}

/* Tile rows that must be held at once. */
static uint32_t ring_rows(const struct decoder *decoder) {
    const vqzi_job *job = &decoder->job;
    uint32_t most = 1;
    for (uint32_t tile = 0; tile < tile_row_count(job); tile++) {
        vqzi_span rows = rows_needed(decoder, tile);
        if (rows.end > rows.begin)
            most = VQZI_MAX(most, (uint32_t)((rows.end - 1) / job->tile_rows -
                                             rows.begin / job->tile_rows + 1));
    }
    return most;
}

static vqz_status prepare(struct decoder *decoder, const vqz_model *model, vqz_diag *diag) {
    const vqz_context *context = decoder->context;
    const vqz_image *image = decoder->image;
    vqzi_job *job = &decoder->job;
    vqzi_quantiser_options options = {
        .level = vqzi_model_level(decoder->model, (int)decoder->header.quality),
        .kernels = &context->kernels,
        .threads = context->team.threads,
    };
    /* First the sizes that the ring and the quantiser follow from, then again within what they
       leave of the memory limit; a smaller work tile only needs narrower rows. */
    VQZ_TRY(vqzi_job_plan(job, context, model, &model->synthesis, image->width, image->height, 0,
                          diag));
    decoder->ring_size = ring_rows(decoder);
    options.max_width = job->plan.max_tile_width;
    uint64_t ring = vqzi_mul_sizes((uint64_t)decoder->ring_size * job->tile_rows * job->columns,
                                   decoder->model->plane_count * sizeof(uint16_t));
    uint64_t other = vqzi_add_sizes(ring, vqzi_quantiser_memory(decoder->model, &options));
    if (decoder->header.alpha_data)
        other = vqzi_add_sizes(other, (uint64_t)image->width * image->height);
    VQZ_TRY(vqzi_job_plan(job, context, model, &model->synthesis, image->width, image->height,
                          other, diag));

    vqz_status status = VQZ_ERROR_MEMORY;
    if (ring <= SIZE_MAX)
        decoder->ring = malloc((size_t)ring);
    if (decoder->ring)
        status = vqzi_quantiser_create(&decoder->quantiser, decoder->model, &options);
    if (status == VQZ_OK)
        status = vqzi_executor_create(&decoder->synthesis, &model->synthesis, &job->plan,
                                      options.level, &context->kernels, &context->team);
    if (status == VQZ_OK)
        status = vqzi_stream_coder_create(&decoder->coder, decoder->model, options.level.nearest);
    return status == VQZ_OK ? VQZ_OK
                            : vqzi_fail(diag, status, "the decoder cannot be set up: %s",
                                        vqz_status_string(status));
}

/* Indices of plane p from (row, column) of the latent on. */
static uint16_t *ring_at(const struct decoder *decoder, uint32_t p, uint32_t row,
                         uint32_t column) {
    const vqzi_job *job = &decoder->job;
    size_t slot = row / job->tile_rows % decoder->ring_size;
    size_t line = (slot * decoder->model->plane_count + p) * job->tile_rows +
                  row % job->tile_rows;
    return decoder->ring + line * job->columns + column;
}

static vqz_status read_tile_row(struct decoder *decoder) {
    const vqzi_job *job = &decoder->job;
    uint32_t y = decoder->tiles_read * job->tile_rows;
    uint32_t rows = VQZI_MIN(job->tile_rows, job->rows - y);
    uint16_t *planes[VQZI_MAX_PLANES];
    for (uint32_t x = 0; x < job->columns; x += job->tile_rows) {
        for (uint32_t p = 0; p < decoder->model->plane_count; p++)
            planes[p] = ring_at(decoder, p, y, x);
        VQZ_TRY(vqzi_tile_read(decoder->coder, &decoder->reader, planes, rows,
                               VQZI_MIN(job->tile_rows, job->columns - x), job->columns));
    }
    decoder->tiles_read++;
    return VQZ_OK;
}

typedef struct work_tile {
    const struct decoder *decoder;
    uint32_t x, y; /* pixels */
    vqzi_view input, output;
} work_tile;

static void dequantise_row(const void *job, int thread, int64_t row) {
    const work_tile *tile = job;
    const vqzi_view *input = &tile->input;
    const uint16_t *planes[VQZI_MAX_PLANES];
    for (uint32_t p = 0; p < tile->decoder->model->plane_count; p++)
        planes[p] = ring_at(tile->decoder, p, (uint32_t)row, (uint32_t)input->x.begin);
    vqzi_dequantise_row(tile->decoder->quantiser, thread, planes,
                        (uint32_t)(input->x.end - input->x.begin),
                        input->data + (size_t)(row - input->y.begin) * input->pitch);
}

static void store_row(const void *job, int thread, int64_t row) {
    const work_tile *tile = job;
    const struct decoder *decoder = tile->decoder;
    (void)thread;
    vqzi_pixels_store_row(&tile->output, row, tile->x,
                          VQZI_MIN(tile->x + decoder->job.work, decoder->image->width),
                          decoder->model->pixel_shift, decoder->image);
}

static void decode_work_tile(const struct decoder *decoder, uint32_t x, uint32_t y) {
    const vqzi_team *team = &decoder->context->team;
    work_tile tile = {.decoder = decoder, .x = x, .y = y};
    uint64_t width = VQZI_MIN(decoder->job.work, decoder->image->width - x);
    uint64_t height = VQZI_MIN(decoder->job.work, decoder->image->height - y);

    tile.input = vqzi_executor_begin(decoder->synthesis, x, y);
    const vqzi_view *input = &tile.input;
    uint64_t positions =
        (uint64_t)((input->y.end - input->y.begin) * (input->x.end - input->x.begin));
    vqzi_team_run(team, positions * vqzi_quantiser_work(decoder->quantiser), input->y.begin,
                  input->y.end, dequantise_row, &tile);
    tile.output = vqzi_executor_run(decoder->synthesis);
    vqzi_team_run(team, width * height * tile.output.channels * VQZI_ELEMENT_WORK, y,
                  (int64_t)(y + height), store_row, &tile);
}

static vqz_status decode(struct decoder *decoder) {
    const vqzi_job *job = &decoder->job;
    for (uint32_t tile = 0; tile < tile_row_count(job); tile++) {
        /* every tile row is read, whether the network looks at it or not */
        uint32_t last = tile;
        vqzi_span rows = rows_needed(decoder, tile);
        if (rows.end > rows.begin)
            last = VQZI_MAX(last, (uint32_t)((rows.end - 1) / job->tile_rows));
        while (decoder->tiles_read <= last)
            VQZ_TRY(read_tile_row(decoder));
        uint32_t begin = tile * VQZI_TILE;
        uint32_t end = VQZI_MIN(begin + VQZI_TILE, decoder->image->height);
        for (uint32_t y = begin; y < end; y += job->work)
            for (uint32_t x = 0; x < decoder->image->width; x += job->work)
                decode_work_tile(decoder, x, y);
    }
    if (decoder->reader.position != decoder->reader.size)
        return VQZ_ERROR_CORRUPT;
    return decoder->header.alpha_data
               ? vqzi_alpha_unpack(decoder->header.alpha_data, decoder->header.alpha_size,
                                   decoder->image)
               : VQZ_OK;
}

vqz_status vqz_decode(vqz_context *context, const vqz_model *model, const void *file,
                      size_t file_size, const vqz_image *image, vqz_diag *diag) {
    struct decoder decoder = {.context = context, .model = &model->model, .image = image,
                              .net = &model->synthesis};
    VQZ_TRY(vqzi_header_read(&decoder.header, file, file_size, diag));
    VQZ_TRY(check_request(&decoder, diag));
    decoder.reader.data = (const uint8_t *)file + decoder.header.tiles_offset;
    decoder.reader.size = decoder.header.tiles_size;
    vqz_status status = prepare(&decoder, model, diag);
    if (status == VQZ_OK) {
        status = decode(&decoder);
        if (status != VQZ_OK)
            vqzi_fail(diag, status, "the index planes or the alpha of the file are damaged (%s)",
                      vqz_status_string(status));
    }
    vqzi_executor_free(decoder.synthesis);
    vqzi_quantiser_free(decoder.quantiser);
    vqzi_stream_coder_free(decoder.coder);
    free(decoder.ring);
    return status;
}
