/*
 * pixels.c - colour modes, padding, rounding to 8 bits, and lossless alpha.
 */
#include "codec/pixels.h"
#include "format/predict.h"

#include <stdlib.h>

void vqzi_pixels_load_row(const vqzi_view *view, int64_t y, const vqz_image *image) {
    const uint8_t *row = image->pixels + (size_t)VQZI_MIN(y, (int64_t)image->height - 1) *
                                             image->stride;
    int16_t *dst = view->data + (size_t)(y - view->y.begin) * view->pitch;
    uint32_t colours = image->channels < 3 ? 1 : 3;
    bool alpha = image->channels % 2 == 0;

    for (int64_t x = view->x.begin; x < view->x.end; x++) {
        const uint8_t *pixel =
            row + (size_t)VQZI_MIN(x, (int64_t)image->width - 1) * image->channels;
        if (view->channels == 1) {
            *dst++ = (int16_t)(pixel[0] - 128);
            continue;
        }
        *dst++ = (int16_t)(pixel[0] - 128);
        *dst++ = (int16_t)(pixel[colours > 1 ? 1 : 0] - 128);
        *dst++ = (int16_t)(pixel[colours > 1 ? 2 : 0] - 128);
        if (view->channels == 4)
            *dst++ = (int16_t)((alpha ? pixel[colours] : 255) - 128);
    }
}

static inline uint8_t to_pixel(int value, int round, uint32_t shift) {
    int pixel = 128 + ((value + round) >> shift);
    return (uint8_t)VQZI_MIN(VQZI_MAX(pixel, 0), 255);
}

void vqzi_pixels_store_row(const vqzi_view *view, int64_t y, int64_t x_begin, int64_t x_end,
                           uint32_t shift, const vqz_image *image) {
    const int16_t *src = view->data + (size_t)(y - view->y.begin) * view->pitch +
                         (size_t)(x_begin - view->x.begin) * view->channels;
    uint8_t *dst = image->pixels + (size_t)y * image->stride + (size_t)x_begin * image->channels;
    int round = shift > 0 ? 1 << (shift - 1) : 0;
    size_t count = (size_t)(x_end - x_begin);

    if (view->channels == image->channels && view->channels != 4) {
        for (size_t i = 0; i < count * view->channels; i++)
            dst[i] = to_pixel(src[i], round, shift);
        return;
    }
    for (size_t i = 0; i < count; i++, src += view->channels, dst += image->channels) {
        uint8_t red = to_pixel(src[0], round, shift);
        if (view->channels == 1) {
            dst[0] = red;
            continue;
        }
        uint8_t green = to_pixel(src[1], round, shift), blue = to_pixel(src[2], round, shift);
        if (image->channels < 3) {
            dst[0] = (uint8_t)((red + green + blue + 1) / 3);
        } else {
            dst[0] = red;
            dst[1] = green;
            dst[2] = blue;
        }
        if (view->channels == 4 && image->channels % 2 == 0)
            dst[image->channels - 1] = to_pixel(src[3], round, shift);
    }
}

vqz_status vqzi_alpha_pack(vqzi_buffer *payload, const vqz_image *image) {
    size_t width = image->width, size = width * image->height, step = image->channels;
    uint8_t *residuals = malloc(size), *dst = residuals;
    if (!residuals)
        return VQZ_ERROR_MEMORY;
    for (size_t y = 0; y < image->height; y++) {
        const uint8_t *src = image->pixels + y * image->stride + step - 1;
        for (size_t x = 0; x < width; x++, src += step)
            *dst++ = (uint8_t)(*src - vqzi_predict(src, x, y, step, image->stride));
    }
    vqz_status status = vqzi_pack(payload, residuals, size);
    free(residuals);
    return status;
}

vqz_status vqzi_alpha_unpack(const uint8_t *payload, size_t size, const vqz_image *image) {
    size_t width = image->width, pixels = width * image->height, step = image->channels;
    uint64_t raw;
    VQZ_TRY(vqzi_packed_size(payload, size, &raw));
    if (raw != pixels)
        return VQZ_ERROR_CORRUPT;
    uint8_t *residuals = malloc(pixels);
    if (!residuals)
        return VQZ_ERROR_MEMORY;
    vqz_status status = vqzi_unpack(payload, size, residuals, pixels);
    const uint8_t *src = residuals;
    for (size_t y = 0; status == VQZ_OK && y < image->height; y++) {
        uint8_t *dst = image->pixels + y * image->stride + step - 1;
        for (size_t x = 0; x < width; x++, dst += step)
            *dst = (uint8_t)(*src++ + vqzi_predict(dst, x, y, step, image->stride));
    }
    free(residuals);
    return status;
}
