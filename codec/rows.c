/*
 * rows.c - pictures in bands of rows, over the functions for whole pictures.
 */
#include "codec/internal.h"

#include <stdlib.h>
#include <string.h>

struct vqz_encoder {
    vqz_context *context;
    const vqz_model *model;
    vqz_encode_options options;
    vqz_image image;
    uint32_t rows; /* written so far */
};

struct vqz_decoder {
    vqz_image image;
    uint32_t rows; /* read so far */
};

static vqz_status allocate(vqz_image *image, const vqz_context *context, vqz_diag *diag) {
    static uint8_t no_pixels;
    size_t size;
    image->stride = (size_t)image->width * image->channels;
    image->pixels = &no_pixels;
    VQZ_TRY(vqzi_check_picture(context, image, diag));
    image->pixels = vqzi_mul(image->stride, image->height, &size) ? malloc(size) : NULL;
    return image->pixels ? VQZ_OK
                         : vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory for %u x %u pixels",
                                     image->width, image->height);
}

static vqz_status check_rows(const vqz_image *image, uint32_t done, size_t stride, uint32_t count,
                             vqz_diag *diag) {
    if (stride < (size_t)image->width * image->channels)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "a stride of %zu bytes; a row takes %zu", stride,
                         (size_t)image->width * image->channels);
    if (count > image->height - done)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "%u rows after %u of %u", count, done,
                         image->height);
    return VQZ_OK;
}

vqz_status vqz_encoder_create(vqz_encoder **out, vqz_context *context, const vqz_model *model,
                              uint32_t width, uint32_t height, uint32_t channels,
                              const vqz_encode_options *options, vqz_diag *diag) {
    vqz_encoder *encoder = calloc(1, sizeof *encoder);
    if (!encoder)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory for an encoder");
    encoder->context = context;
    encoder->model = model;
    if (options)
        encoder->options = *options;
    else
        vqz_encode_options_init(&encoder->options);
    encoder->image = (vqz_image){.width = width, .height = height, .channels = channels};
    vqz_status status = allocate(&encoder->image, context, diag);
    if (status != VQZ_OK) {
        free(encoder);
        return status;
    }
    *out = encoder;
    return VQZ_OK;
}

vqz_status vqz_encoder_write(vqz_encoder *encoder, const uint8_t *rows, size_t stride,
                             uint32_t count, vqz_diag *diag) {
    const vqz_image *image = &encoder->image;
    VQZ_TRY(check_rows(image, encoder->rows, stride, count, diag));
    for (; count > 0; count--, rows += stride)
        memcpy(image->pixels + image->stride * encoder->rows++, rows, image->stride);
    return VQZ_OK;
}

vqz_status vqz_encoder_finish(vqz_encoder *encoder, void **file, size_t *file_size,
                              vqz_diag *diag) {
    if (encoder->rows < encoder->image.height)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "the picture ends after %u of %u rows",
                         encoder->rows, encoder->image.height);
    return vqz_encode(encoder->context, encoder->model, &encoder->image, &encoder->options, file,
                      file_size, diag);
}

void vqz_encoder_free(vqz_encoder *encoder) {
    if (!encoder)
        return;
    free(encoder->image.pixels);
    free(encoder);
}

vqz_status vqz_decoder_create(vqz_decoder **out, vqz_context *context, const vqz_model *model,
                              const void *file, size_t file_size, vqz_diag *diag) {
    vqz_info info;
    VQZ_TRY(vqz_read_info(file, file_size, &info, diag));
    vqz_decoder *decoder = calloc(1, sizeof *decoder);
    if (!decoder)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory for a decoder");
    decoder->image =
        (vqz_image){.width = info.width, .height = info.height, .channels = info.channels};
    vqz_status status = allocate(&decoder->image, context, diag);
    if (status != VQZ_OK) {
        free(decoder);
        return status;
    }
    status = vqz_decode(context, model, file, file_size, &decoder->image, diag);
    if (status != VQZ_OK) {
        vqz_decoder_free(decoder);
        return status;
    }
    *out = decoder;
    return VQZ_OK;
}

vqz_status vqz_decoder_read(vqz_decoder *decoder, uint8_t *rows, size_t stride, uint32_t count,
                            vqz_diag *diag) {
    const vqz_image *image = &decoder->image;
    VQZ_TRY(check_rows(image, decoder->rows, stride, count, diag));
    for (; count > 0; count--, rows += stride)
        memcpy(rows, image->pixels + image->stride * decoder->rows++, image->stride);
    return VQZ_OK;
}

void vqz_decoder_free(vqz_decoder *decoder) {
    if (!decoder)
        return;
    free(decoder->image.pixels);
    free(decoder);
}
