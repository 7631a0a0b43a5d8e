/*
 * pixels.c - see pixels.h and spec/vqz-format.md, "Pixels".
 */
#include "codec/pixels.h"

/* One pixel as the network wants it.  Colours of what is transparent are not looked at: to the network
   they are mid-gray, as in training. */
static inline int16_t *load_pixel(int16_t *dst, uint32_t wanted, const uint8_t *pixel,
                                  uint32_t channels) {
    uint32_t green = channels < 3 ? 0 : 1, blue = channels < 3 ? 0 : 2;
    int alpha = channels % 2 == 0 ? pixel[channels - 1] : 255;
    bool hidden = wanted == 4 && alpha == 0;
    *dst++ = (int16_t)(hidden ? 0 : pixel[0] - 128);
    if (wanted == 1)
        return dst;
    *dst++ = (int16_t)(hidden ? 0 : pixel[green] - 128);
    *dst++ = (int16_t)(hidden ? 0 : pixel[blue] - 128);
    if (wanted == 4)
        *dst++ = (int16_t)(alpha - 128);
    return dst;
}

void vqzi_pixels_load_row(const vqzi_view *view, int64_t y, const uint8_t *row, uint32_t width,
                          uint32_t channels) {
    int16_t *dst = view->data + (size_t)(y - view->y.begin) * view->pitch;
    int64_t x = view->x.begin, inside = VQZI_MIN(view->x.end, (int64_t)width);
    const uint8_t *last = row + (size_t)(width - 1) * channels;

    if (view->channels == channels && channels != 4) {
        const uint8_t *src = row + (size_t)x * channels;
        size_t count = x < inside ? (size_t)(inside - x) * channels : 0;
        for (size_t i = 0; i < count; i++)
            dst[i] = (int16_t)(src[i] - 128);
        dst += count;
        x = VQZI_MAX(x, inside);
    }
    for (; x < inside; x++)
        dst = load_pixel(dst, view->channels, row + (size_t)x * channels, channels);
    for (; x < view->x.end; x++)
        dst = load_pixel(dst, view->channels, last, channels);
}

static inline uint8_t to_pixel(int value, int round, uint32_t shift) {
    int pixel = 128 + ((value + round) >> shift);
    return (uint8_t)VQZI_MIN(VQZI_MAX(pixel, 0), 255);
}

void vqzi_pixels_store_row(const vqzi_view *view, int64_t y, int64_t x_begin, int64_t x_end,
                           uint32_t shift, int64_t first, uint8_t *row, uint32_t channels) {
    const int16_t *src = view->data + (size_t)(y - view->y.begin) * view->pitch +
                         (size_t)(x_begin - view->x.begin) * view->channels;
    uint8_t *dst = row + (size_t)(x_begin - first) * channels;
    int round = shift > 0 ? 1 << (shift - 1) : 0;
    size_t count = (size_t)(x_end - x_begin);

    if (view->channels == channels) {
        for (size_t i = 0; i < count * channels; i++)
            dst[i] = to_pixel(src[i], round, shift);
        return;
    }
    for (size_t i = 0; i < count; i++, src += view->channels, dst += channels) {
        uint8_t red = to_pixel(src[0], round, shift);
        if (view->channels == 1) {
            dst[0] = red;
            continue;
        }
        uint8_t green = to_pixel(src[1], round, shift), blue = to_pixel(src[2], round, shift);
        if (channels < 3) {
            dst[0] = (uint8_t)((red + green + blue + 1) / 3);
        } else {
            dst[0] = red;
            dst[1] = green;
            dst[2] = blue;
        }
        if (view->channels == 4 && channels % 2 == 0)
            dst[channels - 1] = to_pixel(src[3], round, shift);
    }
}
