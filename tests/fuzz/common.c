/* common.c - see fuzz.h. */
#include "format/container.h"
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t fuzz_accepted;

void fuzz_fail(const char *file, int line, const char *condition) {
    fprintf(stderr, "%s:%d: %s\n", file, line, condition);
    abort();
}

test_random fuzz_choices(const uint8_t *data, size_t size) {
    return (test_random){vqzi_crc32(0, data, size)};
}

void *fuzz_allocate(size_t size) {
    void *memory = malloc(size > 0 ? size : 1);
    FUZZ_REQUIRE(memory != NULL);
    return memory;
}

vqz_context *fuzz_context(uint64_t max_pixels, bool scalar) {
    vqz_context *context;
    vqz_context_options options;
    vqz_context_options_init(&options);
    options.threads = 1;
    options.cpu = scalar ? VQZ_CPU_SCALAR : VQZ_CPU_BEST;
    options.limits.max_pixels = max_pixels;
    options.limits.max_memory = (uint64_t)64 << 20;
    FUZZ_REQUIRE(vqz_context_create(&context, &options, NULL) == VQZ_OK);
    return context;
}

vqz_image fuzz_image(uint32_t width, uint32_t height, uint32_t channels) {
    size_t stride = (size_t)width * channels;
    return (vqz_image){width, height, channels, stride, fuzz_allocate(stride * height)};
}

bool fuzz_is_part(const vqz_image *whole, const vqz_image *part, uint32_t x, uint32_t y) {
    for (uint32_t row = 0; row < part->height; row++)
        if (memcmp(part->pixels + row * part->stride,
                   whole->pixels + (y + row) * whole->stride + (size_t)x * whole->channels,
                   (size_t)part->width * part->channels) != 0)
            return false;
    return true;
}

vqz_status fuzz_decode_rows(vqz_context *context, const vqz_model *model, const void *file,
                            size_t size, const vqz_decode_options *options,
                            const vqz_image *image) {
    vqz_decoder *decoder;
    VQZ_TRY(vqz_decoder_create_with(&decoder, context, model, file, size, options, NULL));
    vqz_status status = VQZ_OK;
    uint32_t count = 1;
    for (uint32_t y = 0; status == VQZ_OK && y < image->height; y += count) {
        count = VQZI_MIN(1 + y % 37 * 3, image->height - y);
        status = vqz_decoder_read(decoder, image->pixels + y * image->stride, image->stride, count,
                                  NULL);
    }
    vqz_decoder_free(decoder);
    return status;
}

void fuzz_model_options(random_model_options *options, uint32_t index) {
    random_model_options_init(options, 100 + index);
    options->hidden = 4;
    switch (index) {
    case 0: /* dictionaries, planes that add up */
        break;
    case 1: /* prior with planes of one and of several dimensions */
        options->prior = true;
        options->latent_channels = 7;
        break;
    case 2: /* gray, two streams for a plane */
        options->channels = 1;
        options->stride = 2;
        options->max_codes = 300;
        options->latent_channels = 2;
        options->planes = 2;
        break;
    case 3: /* RGBA with prior */
        options->channels = 4;
        options->prior = true;
        options->stride = 16;
        options->max_codes = 600;
        break;
    default: /* one level, nothing on */
        options->levels = 1;
        options->stride = 4;
        options->dictionaries = options->overlap = options->residual = options->shuffle = false;
        break;
    }
}

const vqz_model *fuzz_model(uint32_t index) {
    static vqz_model *models[FUZZ_MODELS];
    if (models[index] == NULL) {
        random_model_options options;
        fuzz_model_options(&options, index);
        models[index] = random_model_load(&options);
    }
    return models[index];
}
