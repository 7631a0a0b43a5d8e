/*
 * encode.c - picture -> .vqz.
 *
 * Rows of pixels go into a ring that holds just as many as one row of work tiles (net.h) looks at,
 * halo included.  As soon as the last of them is there the row of work tiles is analysed.
 *   version 1, of models without a prior: the latents go straight through the quantiser; as soon as
 *     a row of container tiles has its indices, its streams are written;
 *   version 2: as soon as a row of container tiles has its latents, their codes are chosen and
 *     written (tile_writer.h).
 * So neither the picture nor its latents are ever held.
 */
#include "codec/alpha.h"
#include "codec/internal.h"
#include "codec/pixels.h"
#include "codec/quantise.h"
#include "codec/tile_writer.h"

#include <stdlib.h>
#include <string.h>

struct vqz_encoder {
    const vqz_context *context;
    const vqzi_model *model;
    const vqzi_prepared_net *net;
    uint32_t width, height, channels;
    vqz_encode_options options;
    vqzi_job job;
    vqzi_tile_writer *writer; /* version 2, else NULL */
    /* version 1 */
    vqzi_quantiser *quantiser;
    vqzi_stream_coder *coder;
    uint16_t *indices; /* (planes, tile rows, columns) of one row of container tiles */
    /* both */
    uint8_t *ring; /* (ring_rows, width, channels): row y at y modulo ring_rows */
    uint32_t ring_rows;
    uint32_t rows;        /* of pixels, written so far */
    uint32_t latent_rows; /* analysed so far */
    vqzi_alpha alpha;
    vqzi_buffer alpha_chunk, tiles;
};

void vqz_encode_options_init(vqz_encode_options *options) {
    memset(options, 0, sizeof *options);
    options->quality = 50;
    options->effort = 6;
}

static vqz_status check_request(const vqz_encoder *encoder, vqz_diag *diag) {
    const vqz_encode_options *options = &encoder->options;
    VQZ_TRY(vqzi_check_size(encoder->context, encoder->width, encoder->height, encoder->channels,
                            diag));
    if (encoder->model->channels == 1 && encoder->channels >= 3)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                         "the model codes gray pictures and this one has colours; convert it to "
                         "gray or use a colour model");
    if (options->quality < 1 || options->quality > 100)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "quality %d; 1 (smallest) to 100 (best) exist",
                         options->quality);
    if (options->effort < 1 || options->effort > 9)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "effort %d; 1 (fastest) to 9 exist",
                         options->effort);
    if (options->rate_bias < -100 || options->rate_bias > 900)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "rate bias %d; -100 to 900 percent exist",
                         options->rate_bias);
    if (options->entropy < VQZ_ENTROPY_AUTO || options->entropy > VQZ_ENTROPY_ZSTD)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "unknown entropy coder %d in the options",
                         options->entropy);
    if (encoder->model->prior.stage_count == 0 &&
        (options->entropy == VQZ_ENTROPY_RANS || options->progressive))
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                         "the model has no prior; rANS and progressive files need one");
    if ((options->icc_size > 0 && !options->icc) || (options->exif_size > 0 && !options->exif))
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "a metadata block has a size but no data");
    if (options->icc_size > VQZI_MAX_METADATA || options->exif_size > VQZI_MAX_METADATA)
        return vqzi_fail(diag, VQZ_ERROR_LIMIT,
                         "an ICC profile or EXIF block exceeds %d bytes; strip it",
                         VQZI_MAX_METADATA);
    return VQZ_OK;
}

static bool needs_alpha_chunk(const vqz_encoder *encoder) {
    return encoder->channels % 2 == 0 && encoder->model->channels != 4;
}

static size_t row_bytes(const vqz_encoder *encoder) {
    return (size_t)encoder->width * encoder->channels;
}

static vqz_status prepare_version_1(vqz_encoder *encoder, const vqzi_quantiser_options *options,
                                    uint64_t indices) {
    if (indices <= SIZE_MAX)
        encoder->indices = malloc((size_t)indices);
    if (!encoder->indices)
        return VQZ_ERROR_MEMORY;
    VQZ_TRY(vqzi_quantiser_create(&encoder->quantiser, encoder->model, options));
    return vqzi_stream_coder_create(&encoder->coder, encoder->model, options->level.nearest,
                                    &encoder->context->team);
}

static vqz_status prepare(vqz_encoder *encoder, const vqz_model *model, vqz_diag *diag) {
    const vqz_context *context = encoder->context;
    const vqz_encode_options *request = &encoder->options;
    if (vqzi_model_net(model, true, &encoder->net) != VQZ_OK)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory for the analysis network");
    bool version_2 = encoder->model->prior.stage_count > 0;
    uint32_t stride = encoder->model->stride;
    uint32_t columns = (encoder->width + stride - 1) / stride;
    uint32_t tile_rows = (version_2 ? VQZI_TILE_HEIGHT : VQZI_TILE) / stride;
    uint64_t indices =
        (uint64_t)columns * tile_rows * encoder->model->plane_count * sizeof(uint16_t);
    vqzi_quantiser_options options = {
        .level = vqzi_model_level(encoder->model, request->quality),
        .encode = true,
        .rate_bias = request->rate_bias,
        .max_width = context->work_width / stride,
        .positions = (uint64_t)encoder->width * encoder->height / stride / stride,
        .kernels = &context->kernels,
        .threads = context->team.threads,
    };
    vqzi_tile_writer_options writer = {
        .context = context,
        .model = model,
        .level = options.level,
        .columns = columns,
        .rows = (encoder->height + stride - 1) / stride,
        .effort = request->effort,
        .rate_bias = request->rate_bias,
        .entropy = request->entropy,
        .progressive = request->progressive != 0,
    };
    uint32_t more_rows = 0;
    uint64_t other;
    if (version_2) {
        if (vqzi_tile_writer_wants_adjoint(&writer) &&
            vqzi_refiner_find(model, &writer.adjoint) != VQZ_OK)
            return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory for the adjoint network");
        more_rows = VQZI_MIN(vqzi_tile_writer_pixel_rows(&writer), encoder->height);
        other = vqzi_add_sizes(vqzi_tile_writer_memory(&writer),
                               (uint64_t)more_rows * row_bytes(encoder));
    } else {
        other = vqzi_quantiser_memory(encoder->model, &options) + indices;
    }
    if (needs_alpha_chunk(encoder))
        other += vqzi_alpha_memory(encoder->width);
    other += 2 * ((uint64_t)request->icc_size + request->exif_size); /* frame, payload */
    VQZ_TRY(vqzi_job_plan(&encoder->job, context, model, encoder->net, encoder->width,
                          encoder->height, tile_rows, row_bytes(encoder), other, diag));

    vqz_status status = VQZ_ERROR_MEMORY;
    size_t ring;
    encoder->ring_rows = VQZI_MIN(encoder->job.band + more_rows, encoder->height);
    if (vqzi_mul(encoder->ring_rows, row_bytes(encoder), &ring))
        encoder->ring = malloc(ring);
    writer.pixels = (vqzi_pixel_ring){encoder->ring, encoder->ring_rows, encoder->width,
                                      encoder->height, encoder->channels};
    if (encoder->ring)
        status = vqzi_job_open(&encoder->job, context, encoder->net, options.level);
    if (status == VQZ_OK)
        status = version_2 ? vqzi_tile_writer_create(&encoder->writer, &writer)
                           : prepare_version_1(encoder, &options, indices);
    if (status == VQZ_OK && needs_alpha_chunk(encoder))
        status = vqzi_alpha_write_begin(&encoder->alpha, encoder->width, encoder->height,
                                        &encoder->alpha_chunk);
    return status == VQZ_OK ? VQZ_OK
                            : vqzi_fail(diag, status, "the encoder cannot be set up: %s",
                                        vqz_status_string(status));
}

vqz_status vqz_encoder_create(vqz_encoder **out, vqz_context *context, const vqz_model *model,
                              uint32_t width, uint32_t height, uint32_t channels,
                              const vqz_encode_options *options, vqz_diag *diag) {
    vqz_encoder *encoder = calloc(1, sizeof *encoder);
    if (!encoder)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory for an encoder");
    encoder->context = context;
    encoder->model = &model->model;
    encoder->width = width;
    encoder->height = height;
    encoder->channels = channels;
    if (options)
        encoder->options = *options;
    else
        vqz_encode_options_init(&encoder->options);
    vqz_status status = check_request(encoder, diag);
    if (status == VQZ_OK)
        status = prepare(encoder, model, diag);
    if (status != VQZ_OK) {
        vqz_encoder_free(encoder);
        return status;
    }
    *out = encoder;
    return VQZ_OK;
}

/* ---- bands ---- */

typedef struct work_tile {
    const vqz_encoder *encoder;
    uint32_t x; /* latent column it starts at; its first row is encoder->latent_rows */
    vqzi_view input, latents;
} work_tile;

static void load_row(const void *job, int thread, int64_t row) {
    const work_tile *tile = job;
    const vqz_encoder *encoder = tile->encoder;
    size_t y = (size_t)VQZI_MIN(row, (int64_t)encoder->height - 1);
    (void)thread;
    vqzi_pixels_load_row(&tile->input, row,
                         encoder->ring + y % encoder->ring_rows * row_bytes(encoder),
                         encoder->width, encoder->channels);
}

/* Quantises a row of latents, or keeps it. */
static void quantise_row(const void *job, int thread, int64_t row) {
    const work_tile *tile = job;
    const vqz_encoder *encoder = tile->encoder;
    const vqzi_view *view = &tile->latents;
    uint32_t columns = encoder->job.columns, tile_rows = encoder->job.tile_rows;
    uint32_t width = VQZI_MIN(encoder->job.plan.tile_width, columns - tile->x);
    const int16_t *latents = view->data + (size_t)(row - view->y.begin) * view->pitch +
                             (size_t)(tile->x - view->x.begin) * view->channels;
    uint16_t *planes[VQZI_MAX_PLANES];
    if (encoder->writer) {
        memcpy(vqzi_tile_writer_row(encoder->writer, (uint32_t)row) +
                   (size_t)tile->x * view->channels,
               latents, (size_t)width * view->channels * sizeof *latents);
        return;
    }
    for (uint32_t p = 0; p < encoder->model->plane_count; p++)
        planes[p] = encoder->indices + ((size_t)p * tile_rows + (size_t)row % tile_rows) * columns +
                    tile->x;
    vqzi_quantise_row(encoder->quantiser, thread, latents, width, planes);
}

static void encode_work_tile(const void *argument, int worker, int64_t index) {
    const vqz_encoder *encoder = argument;
    const vqzi_job *job = &encoder->job;
    const vqzi_team *team = &job->teams[worker];
    uint32_t x = (uint32_t)index * job->plan.tile_width, y = encoder->latent_rows;
    uint64_t width = VQZI_MIN(job->plan.tile_width, job->columns - x);
    uint64_t height = VQZI_MIN(job->plan.tile_height, job->rows - y);
    work_tile tile = {.encoder = encoder, .x = x};

    tile.input = vqzi_executor_begin(job->executors[worker], x, y);
    const vqzi_view *input = &tile.input;
    uint64_t pixels = (uint64_t)((input->y.end - input->y.begin) * (input->x.end - input->x.begin));
    vqzi_team_run(team, pixels * input->channels * VQZI_ELEMENT_WORK, input->y.begin, input->y.end,
                  load_row, &tile);
    tile.latents = vqzi_executor_run(job->executors[worker]);
    uint64_t work = encoder->writer ? (uint64_t)encoder->model->latent_channels * VQZI_ELEMENT_WORK
                                    : vqzi_quantiser_work(encoder->quantiser);
    vqzi_team_run(team, width * height * work, y, (int64_t)(y + height), quantise_row, &tile);
}

/* Writes the tiles whose last latent row is the last analysed. */
static vqz_status write_tiles(vqz_encoder *encoder) {
    const vqzi_job *job = &encoder->job;
    uint32_t rows = (encoder->latent_rows - 1) % job->tile_rows + 1;
    if (encoder->writer)
        return vqzi_tile_writer_run(encoder->writer, encoder->latent_rows - rows, rows);
    for (uint32_t x = 0; x < job->columns; x += job->tile_rows) {
        const uint16_t *planes[VQZI_MAX_PLANES];
        for (uint32_t p = 0; p < encoder->model->plane_count; p++)
            planes[p] = encoder->indices + (size_t)p * job->tile_rows * job->columns + x;
        VQZ_TRY(vqzi_tile_write(encoder->coder, &encoder->tiles, planes, rows,
                                VQZI_MIN(job->tile_rows, job->columns - x), job->columns));
    }
    return VQZ_OK;
}

/* Analyses every band whose pixels are there. */
static vqz_status encode_rows(vqz_encoder *encoder) {
    const vqzi_job *job = &encoder->job;
    while (encoder->latent_rows < job->rows) {
        int64_t begin = encoder->latent_rows, end = begin + job->plan.tile_height;
        vqzi_span input =
            vqzi_net_input_span(encoder->net, job->plan.height, (vqzi_span){begin, end});
        if (encoder->rows < VQZI_MIN(input.end, (int64_t)encoder->height))
            break;
        vqzi_job_run_band(job, encode_work_tile, encoder);
        encoder->latent_rows = (uint32_t)VQZI_MIN(end, (int64_t)job->rows);
        if (encoder->latent_rows % job->tile_rows == 0 || encoder->latent_rows == job->rows)
            VQZ_TRY(write_tiles(encoder));
    }
    return VQZ_OK;
}

/* ---- the interface ---- */

static vqz_status add_row(vqz_encoder *encoder, const uint8_t *row) {
    VQZ_TRY(encode_rows(encoder)); /* what the next row overwrites in the ring is done with */
    memcpy(encoder->ring + encoder->rows % encoder->ring_rows * row_bytes(encoder), row,
           row_bytes(encoder));
    encoder->rows++;
    return needs_alpha_chunk(encoder)
               ? vqzi_alpha_write(&encoder->alpha, row + encoder->channels - 1, encoder->channels)
               : VQZ_OK;
}

static vqz_status encoding_failed(vqz_status status, vqz_diag *diag) {
    return vqzi_fail(diag, status, "encoding failed: %s", vqz_status_string(status));
}

vqz_status vqz_encoder_write(vqz_encoder *encoder, const uint8_t *rows, size_t stride,
                             uint32_t count, vqz_diag *diag) {
    VQZ_TRY(vqzi_check_rows(rows, stride, row_bytes(encoder), encoder->rows, count, encoder->height,
                            diag));
    for (; count > 0; count--, rows += stride) {
        vqz_status status = add_row(encoder, rows);
        if (status != VQZ_OK)
            return encoding_failed(status, diag);
    }
    return VQZ_OK;
}

static vqz_status write_file(vqz_encoder *encoder, vqzi_buffer *file) {
    const vqz_encode_options *options = &encoder->options;
    vqzi_buffer icc = {0}, exif = {0};
    vqzi_header header = {
        .version = VQZI_VERSION,
        .width = encoder->width,
        .height = encoder->height,
        .quality = (uint32_t)options->quality,
        .gray = encoder->channels < 3,
        .alpha = encoder->channels % 2 == 0,
        .alpha_data = encoder->alpha_chunk.data,
        .alpha_size = encoder->alpha_chunk.size,
    };
    vqz_status status = VQZ_OK;

    if (encoder->writer) {
        header.version = VQZI_VERSION_PRIOR;
        header.scans = options->progressive != 0;
        status = vqzi_tile_writer_finish(encoder->writer, &header.rans, &encoder->tiles);
    }
    memcpy(header.model_hash, encoder->model->hash, sizeof header.model_hash);
    if (status == VQZ_OK && options->icc_size > 0)
        status = vqzi_pack(&icc, options->icc, options->icc_size);
    if (status == VQZ_OK && options->exif_size > 0)
        status = vqzi_pack(&exif, options->exif, options->exif_size);
    if (status == VQZ_OK) {
        header.icc_data = icc.data;
        header.icc_size = icc.size;
        header.exif_data = exif.data;
        header.exif_size = exif.size;
        vqzi_header_write(file, &header);
        vqzi_buffer_append(file, encoder->tiles.data, encoder->tiles.size);
        vqzi_trailer_write(file);
        status = vqzi_buffer_status(file);
    }
    vqzi_buffer_clear(&icc);
    vqzi_buffer_clear(&exif);
    return status;
}

vqz_status vqz_encoder_finish(vqz_encoder *encoder, void **out, size_t *size, vqz_diag *diag) {
    vqzi_buffer file = {0};
    if (encoder->rows < encoder->height)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "the picture ends after %u of %u rows",
                         encoder->rows, encoder->height);
    vqz_status status = encode_rows(encoder);
    if (status == VQZ_OK)
        status = write_file(encoder, &file);
    if (status != VQZ_OK) {
        vqzi_buffer_clear(&file);
        return encoding_failed(status, diag);
    }
    *out = file.data;
    *size = file.size;
    return VQZ_OK;
}

void vqz_encoder_free(vqz_encoder *encoder) {
    if (!encoder)
        return;
    vqzi_job_close(&encoder->job);
    vqzi_tile_writer_free(encoder->writer);
    vqzi_quantiser_free(encoder->quantiser);
    vqzi_stream_coder_free(encoder->coder);
    vqzi_alpha_clear(&encoder->alpha);
    vqzi_buffer_clear(&encoder->alpha_chunk);
    vqzi_buffer_clear(&encoder->tiles);
    free(encoder->indices);
    free(encoder->ring);
    free(encoder);
}

vqz_status vqz_encode(vqz_context *context, const vqz_model *model, const vqz_image *image,
                      const vqz_encode_options *options, void **file, size_t *file_size,
                      vqz_diag *diag) {
    vqz_encoder *encoder;
    VQZ_TRY(vqz_encoder_create(&encoder, context, model, image->width, image->height,
                               image->channels, options, diag));
    vqz_status status =
        vqz_encoder_write(encoder, image->pixels, image->stride, image->height, diag);
    if (status == VQZ_OK)
        status = vqz_encoder_finish(encoder, file, file_size, diag);
    vqz_encoder_free(encoder);
    return status;
}
