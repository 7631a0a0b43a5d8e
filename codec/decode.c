/*
 * decode.c - .vqz -> picture.
 *
 * Container tiles are read into a ring of index rows that holds just as many tile rows as the
 * synthesis of one tile row looks at (its own and the neighbours its halo reaches).  The picture is
 * synthesised in bands one work tile high: straight into the caller's rows when he asks for a whole
 * band, else into a buffer that his rows are copied from.
 */
#include "codec/alpha.h"
#include "codec/internal.h"
#include "codec/pixels.h"
#include "codec/quantise.h"
#include "format/tiles.h"

#include <stdlib.h>
#include <string.h>

struct vqz_decoder {
    const vqz_context *context;
    const vqzi_model *model;
    const vqzi_prepared_net *net;
    vqzi_header header;
    uint32_t channels;
    vqzi_job job;
    vqzi_quantiser *quantiser;
    vqzi_stream_coder *coder;
    vqzi_alpha alpha;
    vqzi_reader reader;
    uint32_t ring_size;  /* tile rows held */
    uint32_t tiles_read; /* tile rows read so far */
    uint16_t *ring;      /* (ring_size, planes, tile rows, columns) */
    uint32_t y;          /* rows given to the caller so far */
    uint8_t *band;       /* (job.band, width, channels): the band that y is in, or NULL */
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
    info->tiles = vqzi_tile_count(header.version, header.width, header.height);
    info->rans = header.rans;
    info->scans = header.scans;
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

/* ---- setting up ---- */

static size_t row_bytes(const vqz_decoder *decoder) {
    return (size_t)decoder->header.width * decoder->channels;
}

static vqz_status check_request(const vqz_decoder *decoder, vqz_diag *diag) {
    const vqzi_header *header = &decoder->header;
    const uint8_t *needs = header->model_hash, *has = decoder->model->hash;

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
    return vqzi_check_size(decoder->context, header->width, header->height, decoder->channels,
                           diag);
}

/* Latent rows that container tile row `tile` looks at. */
static vqzi_span rows_needed(const vqz_decoder *decoder, uint32_t tile) {
    int64_t begin = (int64_t)tile * VQZI_TILE;
    return vqzi_net_input_span(decoder->net, decoder->job.rows,
                               (vqzi_span){begin, begin + VQZI_TILE});
}

/* Tile rows that must be held at once. */
static uint32_t ring_rows(const vqz_decoder *decoder) {
    const vqzi_job *job = &decoder->job;
    uint32_t most = 1, tiles = (job->rows + job->tile_rows - 1) / job->tile_rows;
    for (uint32_t tile = 0; tile < tiles; tile++) {
        vqzi_span rows = rows_needed(decoder, tile);
        if (rows.end > rows.begin)
            most = VQZI_MAX(most, (uint32_t)((rows.end - 1) / job->tile_rows -
                                             rows.begin / job->tile_rows + 1));
    }
    return most;
}

static vqz_status prepare(vqz_decoder *decoder, const vqz_model *model, vqz_diag *diag) {
    const vqz_context *context = decoder->context;
    const vqzi_header *header = &decoder->header;
    vqzi_job *job = &decoder->job;
    vqzi_quantiser_options options = {
        .level = vqzi_model_level(decoder->model, (int)header->quality),
        .kernels = &context->kernels,
        .threads = context->team.threads,
    };
    if (vqzi_model_net(model, false, &decoder->net) != VQZ_OK)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory for the synthesis network");
    /* First the sizes that the ring and the quantiser follow from, then again within what they
       leave of the memory limit; a smaller work tile only needs narrower rows. */
    VQZ_TRY(vqzi_job_plan(job, context, model, decoder->net, header->width, header->height,
                          row_bytes(decoder), 0, diag));
    decoder->ring_size = ring_rows(decoder);
    options.max_width = job->plan.max_tile_width;
    uint64_t ring = vqzi_mul_sizes((uint64_t)decoder->ring_size * job->tile_rows * job->columns,
                                   decoder->model->plane_count * sizeof(uint16_t));
    uint64_t other = vqzi_add_sizes(ring, vqzi_quantiser_memory(decoder->model, &options));
    if (header->alpha_data)
        other = vqzi_add_sizes(other, vqzi_alpha_memory(header->width));
    VQZ_TRY(vqzi_job_plan(job, context, model, decoder->net, header->width, header->height,
                          row_bytes(decoder), other, diag));

    vqz_status status = VQZ_ERROR_MEMORY;
    if (ring <= SIZE_MAX)
        decoder->ring = malloc((size_t)ring);
    if (decoder->ring)
        status = vqzi_quantiser_create(&decoder->quantiser, decoder->model, &options);
    if (status == VQZ_OK)
        status = vqzi_job_open(job, context, decoder->net, options.level);
    if (status == VQZ_OK)
        status = vqzi_stream_coder_create(&decoder->coder, decoder->model, options.level.nearest,
                                          &context->team);
    if (status == VQZ_OK && header->alpha_data) {
        status = vqzi_alpha_read_begin(&decoder->alpha, header->width, header->height,
                                       header->alpha_data, header->alpha_size);
        if (status != VQZ_OK && status != VQZ_ERROR_MEMORY)
            return vqzi_fail(diag, status, "the alpha of the file is damaged (%s)",
                             vqz_status_string(status));
    }
    return status == VQZ_OK ? VQZ_OK
                            : vqzi_fail(diag, status, "the decoder cannot be set up: %s",
                                        vqz_status_string(status));
}

vqz_status vqz_decoder_create(vqz_decoder **out, vqz_context *context, const vqz_model *model,
                              const void *file, size_t file_size, vqz_diag *diag) {
    vqzi_header header;
    VQZ_TRY(vqzi_header_read(&header, file, file_size, diag));
    vqz_decoder *decoder = calloc(1, sizeof *decoder);
    if (!decoder)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory for a decoder");
    decoder->context = context;
    decoder->model = &model->model;
    decoder->header = header;
    decoder->channels = (header.gray ? 1u : 3u) + (header.alpha ? 1u : 0u);
    decoder->reader.data = (const uint8_t *)file + header.tiles_offset;
    decoder->reader.size = header.tiles_size;
    vqz_status status = check_request(decoder, diag);
    if (status == VQZ_OK)
        status = prepare(decoder, model, diag);
    if (status != VQZ_OK) {
        vqz_decoder_free(decoder);
        return status;
    }
    *out = decoder;
    return VQZ_OK;
}

void vqz_decoder_free(vqz_decoder *decoder) {
    if (!decoder)
        return;
    vqzi_job_close(&decoder->job);
    vqzi_quantiser_free(decoder->quantiser);
    vqzi_stream_coder_free(decoder->coder);
    vqzi_alpha_clear(&decoder->alpha);
    free(decoder->ring);
    free(decoder->band);
    free(decoder);
}

/* ---- bands ---- */

/* Indices of plane p from (row, column) of the latent on. */
static uint16_t *ring_at(const vqz_decoder *decoder, uint32_t p, uint32_t row, uint32_t column) {
    const vqzi_job *job = &decoder->job;
    size_t slot = row / job->tile_rows % decoder->ring_size;
    size_t line = (slot * decoder->model->plane_count + p) * job->tile_rows +
                  row % job->tile_rows;
    return decoder->ring + line * job->columns + column;
}

static vqz_status read_tile_row(vqz_decoder *decoder) {
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

/* Reads the tile rows that the band in tile row `tile` looks at; the tile row itself is read whether
   the network looks at it or not. */
static vqz_status read_tiles(vqz_decoder *decoder, uint32_t tile) {
    vqzi_span rows = rows_needed(decoder, tile);
    uint32_t last = tile;
    if (rows.end > rows.begin)
        last = VQZI_MAX(last, (uint32_t)((rows.end - 1) / decoder->job.tile_rows));
    while (decoder->tiles_read <= last)
        VQZ_TRY(read_tile_row(decoder));
    return VQZ_OK;
}

/* A band of pixels, which starts at row decoder->y. */
typedef struct pixel_band {
    const vqz_decoder *decoder;
    uint8_t *rows;
    size_t stride;
    uint32_t height;
} pixel_band;

typedef struct work_tile {
    const vqz_decoder *decoder;
    const pixel_band *band;
    uint32_t x; /* pixels */
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
    const vqz_decoder *decoder = tile->decoder;
    (void)thread;
    vqzi_pixels_store_row(&tile->output, row, tile->x,
                          VQZI_MIN(tile->x + decoder->job.work_width, decoder->header.width),
                          decoder->model->pixel_shift,
                          tile->band->rows + (size_t)(row - decoder->y) * tile->band->stride,
                          decoder->channels);
}

static void decode_work_tile(const void *argument, int worker, int64_t index) {
    const pixel_band *band = argument;
    const vqz_decoder *decoder = band->decoder;
    const vqzi_job *job = &decoder->job;
    const vqzi_team *team = &job->teams[worker];
    uint32_t x = (uint32_t)index * job->work_width, y = decoder->y;
    uint64_t width = VQZI_MIN(job->work_width, decoder->header.width - x);
    work_tile tile = {.decoder = decoder, .band = band, .x = x};

    tile.input = vqzi_executor_begin(job->executors[worker], x, y);
    const vqzi_view *input = &tile.input;
    uint64_t positions =
        (uint64_t)((input->y.end - input->y.begin) * (input->x.end - input->x.begin));
    vqzi_team_run(team, positions * vqzi_quantiser_work(decoder->quantiser), input->y.begin,
                  input->y.end, dequantise_row, &tile);
    tile.output = vqzi_executor_run(job->executors[worker]);
    vqzi_team_run(team, width * band->height * tile.output.channels * VQZI_ELEMENT_WORK, y,
                  (int64_t)y + band->height, store_row, &tile);
}

static vqz_status decode_band(vqz_decoder *decoder, uint8_t *rows, size_t stride,
                              uint32_t height) {
    pixel_band band = {decoder, rows, stride, height};
    VQZ_TRY(read_tiles(decoder, decoder->y / VQZI_TILE));
    vqzi_job_run_band(&decoder->job, decode_work_tile, &band);
    for (uint32_t y = 0; decoder->header.alpha_data && y < height; y++)
        VQZ_TRY(vqzi_alpha_read(&decoder->alpha, rows + y * stride + decoder->channels - 1,
                                decoder->channels));
    bool last = decoder->y + height == decoder->header.height;
    return last && decoder->reader.position != decoder->reader.size ? VQZ_ERROR_CORRUPT : VQZ_OK;
}

/* Gives some of `count` rows, at least one. */
static vqz_status read_some(vqz_decoder *decoder, uint8_t *rows, size_t stride, uint32_t count,
                            uint32_t *given) {
    uint32_t work = decoder->job.work_height, into = decoder->y % work;
    uint32_t height = VQZI_MIN(work, decoder->header.height - (decoder->y - into));
    size_t size;

    if (into == 0 && count >= height) {
        *given = height;
        return decode_band(decoder, rows, stride, height);
    }
    if (!decoder->band) {
        if (vqzi_mul(decoder->job.band, row_bytes(decoder), &size))
            decoder->band = malloc(size);
        if (!decoder->band)
            return VQZ_ERROR_MEMORY;
    }
    if (into == 0)
        VQZ_TRY(decode_band(decoder, decoder->band, row_bytes(decoder), height));
    *given = VQZI_MIN(count, height - into);
    for (uint32_t y = 0; y < *given; y++)
        memcpy(rows + y * stride, decoder->band + (into + y) * row_bytes(decoder),
               row_bytes(decoder));
    return VQZ_OK;
}

/* ---- the interface ---- */

vqz_status vqz_decoder_read(vqz_decoder *decoder, uint8_t *rows, size_t stride, uint32_t count,
                            vqz_diag *diag) {
    VQZ_TRY(vqzi_check_rows(rows, stride, row_bytes(decoder), decoder->y, count,
                            decoder->header.height, diag));
    while (count > 0) {
        uint32_t given;
        vqz_status status = read_some(decoder, rows, stride, count, &given);
        if (status != VQZ_OK)
            return vqzi_fail(diag, status,
                             "the index planes or the alpha of the file are damaged (%s)",
                             vqz_status_string(status));
        decoder->y += given;
        rows += given * stride;
        count -= given;
    }
    return VQZ_OK;
}

vqz_status vqz_decode(vqz_context *context, const vqz_model *model, const void *file,
                      size_t file_size, const vqz_image *image, vqz_diag *diag) {
    vqz_decoder *decoder;
    VQZ_TRY(vqz_decoder_create(&decoder, context, model, file, file_size, diag));
    const vqzi_header *header = &decoder->header;
    vqz_status status;
    if (image->width != header->width || image->height != header->height ||
        image->channels != decoder->channels)
        status = vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                           "the file holds %u x %u pixels of %u channels, not %u x %u of %u",
                           header->width, header->height, decoder->channels, image->width,
                           image->height, image->channels);
    else
        status = vqz_decoder_read(decoder, image->pixels, image->stride, image->height, diag);
    vqz_decoder_free(decoder);
    return status;
}
