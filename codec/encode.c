/*
 * encode.c - picture -> .vqz.
 *
 * Container tiles are written in raster order.  Each is analysed in work tiles (net.h) whose
 * latents go straight through the quantiser, so that only the indices of one container tile are
 * ever held.
 */
#include "codec/internal.h"
#include "codec/pixels.h"
#include "codec/quantise.h"

#include <stdlib.h>
#include <string.h>

struct encoder {
    const vqz_context *context;
    const vqzi_model *model;
    const vqz_image *image;
    vqzi_job job;
    vqzi_executor *analysis;
    vqzi_quantiser *quantiser;
    vqzi_stream_coder *coder;
    uint16_t *indices; /* (planes, tile rows, tile columns) of one container tile */
    vqzi_buffer file;
};

void vqz_encode_options_init(vqz_encode_options *options) {
    memset(options, 0, sizeof *options);
    options->quality = 50;
}

static vqz_status check_request(const struct encoder *encoder, const vqz_encode_options *options,
                                vqz_diag *diag) {
    VQZ_TRY(vqzi_check_picture(encoder->context, encoder->image, diag));
    if (encoder->model->channels == 1 && encoder->image->channels >= 3)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                         "the model codes gray pictures and this one has colours; convert it to "
                         "gray or use a colour model");
    if (options->quality < 1 || options->quality > 100)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "quality %d; 1 (smallest) to 100 (best) exist",
                         options->quality);
    if ((options->icc_size > 0 && !options->icc) || (options->exif_size > 0 && !options->exif))
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "a metadata block has a size but no data");
    if (options->icc_size > VQZI_MAX_METADATA || options->exif_size > VQZI_MAX_METADATA)
        return vqzi_fail(diag, VQZ_ERROR_LIMIT,
                         "an ICC profile or EXIF block exceeds %d bytes; strip it",
                         VQZI_MAX_METADATA);
    return VQZ_OK;
}

static bool needs_alpha_chunk(const struct encoder *encoder) {
    return encoder->image->channels % 2 == 0 && encoder->model->channels != 4;
}

static uint64_t indices_size(const struct encoder *encoder) {
    uint64_t rows = VQZI_TILE / encoder->model->stride;
    return rows * rows * encoder->model->plane_count * sizeof(uint16_t);
}

static vqz_status prepare(struct encoder *encoder, const vqz_model *model,
                          const vqz_encode_options *request, vqz_diag *diag) {
    const vqz_context *context = encoder->context;
    const vqz_image *image = encoder->image;
    uint32_t stride = encoder->model->stride;
    uint64_t pixels = (uint64_t)image->width * image->height;
    vqzi_quantiser_options options = {
        .level = vqzi_model_level(encoder->model, request->quality),
        .encode = true,
        .max_width = context->work_tile / stride,
        .positions = pixels / stride / stride,
        .kernels = &context->kernels,
        .threads = context->team.threads,
    };
    uint64_t other = vqzi_quantiser_memory(encoder->model, &options) + indices_size(encoder);
    if (needs_alpha_chunk(encoder))
        other += 3 * pixels; /* residuals, frame, payload */
    other += 2 * ((uint64_t)request->icc_size + request->exif_size); /* frame, payload */
    VQZ_TRY(vqzi_job_plan(&encoder->job, context, model, &model->analysis, image->width,
                          image->height, other, diag));

    vqz_status status = VQZ_ERROR_MEMORY;
    encoder->indices = malloc((size_t)indices_size(encoder));
    if (encoder->indices)
        status = vqzi_quantiser_create(&encoder->quantiser, encoder->model, &options);
    if (status == VQZ_OK)
        status = vqzi_executor_create(&encoder->analysis, &model->analysis, &encoder->job.plan,
                                      options.level, &context->kernels, &context->team);
    if (status == VQZ_OK)
        status = vqzi_stream_coder_create(&encoder->coder, encoder->model, options.level.nearest);
    return status == VQZ_OK ? VQZ_OK
                            : vqzi_fail(diag, status, "the encoder cannot be set up: %s",
                                        vqz_status_string(status));
}

static vqz_status write_header(struct encoder *encoder, const vqz_encode_options *options) {
    vqzi_buffer alpha = {0}, icc = {0}, exif = {0};
    vqzi_header header = {0};
    vqz_status status = VQZ_OK;

    header.width = encoder->image->width;
    header.height = encoder->image->height;
    header.quality = (uint32_t)options->quality;
    header.gray = encoder->image->channels < 3;
    header.alpha = encoder->image->channels % 2 == 0;
    memcpy(header.model_hash, encoder->model->hash, sizeof header.model_hash);
    if (needs_alpha_chunk(encoder))
        status = vqzi_alpha_pack(&alpha, encoder->image);
    if (status == VQZ_OK && options->icc_size > 0)
        status = vqzi_pack(&icc, options->icc, options->icc_size);
    if (status == VQZ_OK && options->exif_size > 0)
        status = vqzi_pack(&exif, options->exif, options->exif_size);
    if (status == VQZ_OK) {
        header.alpha_data = alpha.data;
        header.alpha_size = alpha.size;
        header.icc_data = icc.data;
        header.icc_size = icc.size;
        header.exif_data = exif.data;
        header.exif_size = exif.size;
        vqzi_header_write(&encoder->file, &header);
    }
    vqzi_buffer_clear(&alpha);
    vqzi_buffer_clear(&icc);
    vqzi_buffer_clear(&exif);
    return status;
}

/* One work tile at latent position (x, y) of the picture, in the container tile whose first
   position is (tile_x, tile_y) and whose rows are `pitch` indices long. */
typedef struct work_tile {
    const struct encoder *encoder;
    uint32_t x, y, tile_x, tile_y;
    size_t pitch;
    vqzi_view input, latents;
} work_tile;

static void load_row(const void *job, int thread, int64_t row) {
    const work_tile *tile = job;
    (void)thread;
    vqzi_pixels_load_row(&tile->input, row, tile->encoder->image);
}

static void quantise_row(const void *job, int thread, int64_t row) {
    const work_tile *tile = job;
    const struct encoder *encoder = tile->encoder;
    const vqzi_view *latents = &tile->latents;
    size_t plane_size = (size_t)encoder->job.tile_rows * encoder->job.tile_rows;
    uint32_t end_x = VQZI_MIN(tile->x + encoder->job.plan.tile, encoder->job.columns);
    uint16_t *planes[VQZI_MAX_PLANES];
    for (uint32_t p = 0; p < encoder->model->plane_count; p++)
        planes[p] = encoder->indices + p * plane_size +
                    (size_t)(row - tile->tile_y) * tile->pitch + (tile->x - tile->tile_x);
    vqzi_quantise_row(encoder->quantiser, thread,
                      latents->data + (size_t)(row - latents->y.begin) * latents->pitch +
                          (size_t)(tile->x - latents->x.begin) * latents->channels,
                      end_x - tile->x, planes);
}

/* Analyses and quantises a work tile. */
static void encode_work_tile(const struct encoder *encoder, work_tile *tile) {
    const vqzi_team *team = &encoder->context->team;
    uint32_t size = encoder->job.plan.tile;
    uint64_t width = VQZI_MIN(size, encoder->job.columns - tile->x);
    uint64_t height = VQZI_MIN(size, encoder->job.rows - tile->y);

    tile->input = vqzi_executor_begin(encoder->analysis, tile->x, tile->y);
    const vqzi_view *input = &tile->input;
    uint64_t pixels = (uint64_t)((input->y.end - input->y.begin) * (input->x.end - input->x.begin));
    vqzi_team_run(team, pixels * input->channels * VQZI_ELEMENT_WORK, input->y.begin, input->y.end,
                  load_row, tile);
    tile->latents = vqzi_executor_run(encoder->analysis);
    vqzi_team_run(team, width * height * vqzi_quantiser_work(encoder->quantiser), tile->y,
                  (int64_t)(tile->y + height), quantise_row, tile);
}

static vqz_status encode_tile(struct encoder *encoder, uint32_t tile_x, uint32_t tile_y) {
    const vqzi_job *job = &encoder->job;
    uint32_t end_x = VQZI_MIN(tile_x + job->tile_rows, job->columns);
    uint32_t end_y = VQZI_MIN(tile_y + job->tile_rows, job->rows);
    size_t plane_size = (size_t)job->tile_rows * job->tile_rows;
    const uint16_t *planes[VQZI_MAX_PLANES];

    for (uint32_t y = tile_y; y < end_y; y += job->plan.tile)
        for (uint32_t x = tile_x; x < end_x; x += job->plan.tile)
            encode_work_tile(encoder, &(work_tile){.encoder = encoder, .x = x, .y = y,
                                                   .tile_x = tile_x, .tile_y = tile_y,
                                                   .pitch = end_x - tile_x});
    for (uint32_t p = 0; p < encoder->model->plane_count; p++)
        planes[p] = encoder->indices + p * plane_size;
    return vqzi_tile_write(encoder->coder, &encoder->file, planes, end_y - tile_y, end_x - tile_x,
                           end_x - tile_x);
}

static vqz_status encode(struct encoder *encoder, const vqz_encode_options *options) {
    const vqzi_job *job = &encoder->job;
    VQZ_TRY(write_header(encoder, options));
    for (uint32_t y = 0; y < job->rows; y += job->tile_rows)
        for (uint32_t x = 0; x < job->columns; x += job->tile_rows)
            VQZ_TRY(encode_tile(encoder, x, y));
    vqzi_trailer_write(&encoder->file);
    return vqzi_buffer_status(&encoder->file);
}

vqz_status vqz_encode(vqz_context *context, const vqz_model *model, const vqz_image *image,
                      const vqz_encode_options *options, void **file, size_t *file_size,
                      vqz_diag *diag) {
    struct encoder encoder = {.context = context, .model = &model->model, .image = image};
    vqz_encode_options defaults;
    if (!options) {
        vqz_encode_options_init(&defaults);
        options = &defaults;
    }
    vqz_status status = check_request(&encoder, options, diag);
    if (status == VQZ_OK)
        status = prepare(&encoder, model, options, diag);
    if (status == VQZ_OK) {
        status = encode(&encoder, options);
        if (status != VQZ_OK)
            vqzi_fail(diag, status, "encoding failed: %s", vqz_status_string(status));
    }
    if (status == VQZ_OK) {
        *file = encoder.file.data;
        *file_size = encoder.file.size;
    } else {
        vqzi_buffer_clear(&encoder.file);
    }
    vqzi_executor_free(encoder.analysis);
    vqzi_quantiser_free(encoder.quantiser);
    vqzi_stream_coder_free(encoder.coder);
    free(encoder.indices);
    return status;
}
