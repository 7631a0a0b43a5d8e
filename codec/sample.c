/*
 * sample.c - pictures drawn from the prior of a model: the decoder at work on a file that is not there,
 * whose codes prior_sample.c draws.
 */
#include "codec/internal.h"

#include <string.h>

void vqz_sample_options_init(vqz_sample_options *options) {
    *options = (vqz_sample_options){.quality = 50};
}

vqz_status vqz_sample(vqz_context *context, const vqz_model *model,
                      const vqz_sample_options *options, const vqz_image *image, vqz_diag *diag) {
    const vqzi_model *raw = &model->model;
    if (raw->prior.stage_count == 0)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                         "the model has no prior, and pictures are drawn from that");
    if (options->quality < 1 || options->quality > 100)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "quality %d; 1 to 100 exist", options->quality);
    if (options->temperature < -16 || options->temperature > 8)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "temperature %d; -16 to 8 exist",
                         options->temperature);
    if (image->channels != raw->channels)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "the model's pictures have %u channels, not %u",
                         raw->channels, image->channels);
    VQZ_TRY(vqzi_check_size(context, image->width, image->height, image->channels, diag));
    vqz_decoder *decoder;
    vqzi_header header = {
        .version = VQZI_VERSION_PRIOR,
        .width = image->width,
        .height = image->height,
        .quality = (uint32_t)options->quality,
        .gray = raw->channels == 1,
        .alpha = raw->channels == 4,
        .rans = true,
    };
    memcpy(header.model_hash, raw->hash, sizeof header.model_hash);
    VQZ_TRY(vqzi_decoder_open(&decoder, context, model, &header, NULL, NULL, false, options, diag));
    vqz_status status =
        vqz_decoder_read(decoder, image->pixels, image->stride, image->height, diag);
    vqz_decoder_free(decoder);
    return status;
}
