/*
 * fuzz_roundtrip.c - pictures, options and random models there and back.
 *
 * What must hold: what is encoded decodes; the encoder that takes rows makes the same file; rows, a
 * region, index planes and metadata agree with the whole.
 *
 * An input is a recipe (below), then bytes that the pixels are taken from.
 */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

enum { RECIPE = 20, MODELS = 24, MAX_PIXELS = 4096, LONGEST = 1100 };

const char fuzz_name[] = "roundtrip";

typedef struct trip {
    const vqz_model *model;
    vqz_model_info info;
    vqz_context *context;
    vqz_encode_options options;
    vqz_image image, decoded;
    void *file;
    size_t size;
    const uint8_t *recipe;
} trip;

static const vqz_model *find_model(uint32_t index) {
    static vqz_model *models[MODELS];
    if (models[index] == NULL) {
        random_model_options options;
        random_model_options_draw(&options, 500 + index);
        options.hidden = VQZI_MIN(options.hidden, 3u);
        options.latent_channels = VQZI_MIN(options.latent_channels, 6u);
        options.max_codes = VQZI_MIN(options.max_codes, 100u);
        models[index] = random_model_load(&options);
    }
    return models[index];
}

static uint32_t get_u16(const uint8_t *bytes) {
    return bytes[0] | (uint32_t)bytes[1] << 8;
}

/* Bytes 0 model, 1-2 width, 3-4 height, 5 channels, 6 quality, 7 effort, 8 entropy and progressive,
   9-10 bias, 11 ICC size, 12 EXIF size, 13 roughness, 14-19 region and bands. */
static void follow(trip *t, const uint8_t *data, size_t size) {
    t->recipe = data;
    t->model = find_model(data[0] % MODELS);
    vqz_model_get_info(t->model, &t->info);
    uint32_t width = 1 + get_u16(data + 1) % LONGEST, height = 1 + get_u16(data + 3) % LONGEST;
    uint32_t channels = 1 + data[5] % 4u;
    vqz_encode_options_init(&t->options);
    t->options.quality = 1 + data[6] % 100;
    t->options.effort = 1 + data[7] % 7; /* 8 and 9 do more often what 7 does */
    uint32_t most = t->options.effort == 7 ? MAX_PIXELS / 4 : MAX_PIXELS;
    height = VQZI_MIN(height, VQZI_MAX(most / width, 1u));
    t->options.entropy = data[8] % 3;
    t->options.progressive = data[8] >> 4 & 1;
    t->options.rate_bias = (int)(get_u16(data + 9) % 1001) - 100;
    t->options.icc = data[11] > 0 ? data : NULL;
    t->options.icc_size = VQZI_MIN(data[11], size);
    t->options.exif = data[12] > 0 ? data : NULL;
    t->options.exif_size = VQZI_MIN(data[12], size);
    t->image = fuzz_image(width, height, channels);
    size_t left = size - RECIPE, i = 0;
    for (uint32_t y = 0; y < height; y++)
        for (uint32_t x = 0; x < width * channels; x++, i++) {
            unsigned slope = x * (data[13] & 7) + y * (data[13] >> 3 & 7);
            t->image.pixels[i] = (uint8_t)(slope + (left > 0 ? data[RECIPE + i % left] : 0));
        }
}

/* Whether the interface allows what the recipe asks for. */
static bool is_allowed(const trip *t) {
    bool prior = t->info.prior_stages > 0;
    if (t->info.channels == 1 && t->image.channels > 2)
        return false;
    return prior || (t->options.entropy != VQZ_ENTROPY_RANS && !t->options.progressive);
}

static bool encode(trip *t) {
    vqz_status status =
        vqz_encode(t->context, t->model, &t->image, &t->options, &t->file, &t->size, NULL);
    if (is_allowed(t))
        FUZZ_REQUIRE(status == VQZ_OK);
    else
        FUZZ_REQUIRE(status == VQZ_ERROR_ARGUMENT);
    return status == VQZ_OK;
}

static void encode_rows(const trip *t) {
    vqz_encoder *encoder;
    void *file;
    size_t size;
    FUZZ_REQUIRE(vqz_encoder_create(&encoder, t->context, t->model, t->image.width, t->image.height,
                                    t->image.channels, &t->options, NULL) == VQZ_OK);
    uint32_t band = 1 + t->recipe[14] % 64;
    for (uint32_t y = 0; y < t->image.height; y += band)
        FUZZ_REQUIRE(vqz_encoder_write(encoder, t->image.pixels + y * t->image.stride,
                                       t->image.stride, VQZI_MIN(band, t->image.height - y),
                                       NULL) == VQZ_OK);
    FUZZ_REQUIRE(vqz_encoder_finish(encoder, &file, &size, NULL) == VQZ_OK);
    FUZZ_REQUIRE(size == t->size && memcmp(file, t->file, size) == 0);
    vqz_free(file);
    vqz_encoder_free(encoder);
}

static void check_alpha(const trip *t) {
    uint32_t channels = t->image.channels;
    if (channels % 2 == 1 || t->info.channels == 4)
        return;
    for (size_t i = channels - 1; i < t->image.stride * t->image.height; i += channels)
        FUZZ_REQUIRE(t->image.pixels[i] == t->decoded.pixels[i]);
}

static void decode(trip *t) {
    t->decoded = fuzz_image(t->image.width, t->image.height, t->image.channels);
    vqz_image rows = fuzz_image(t->image.width, t->image.height, t->image.channels);
    FUZZ_REQUIRE(vqz_decode(t->context, t->model, t->file, t->size, &t->decoded, NULL) == VQZ_OK);
    FUZZ_REQUIRE(fuzz_decode_rows(t->context, t->model, t->file, t->size, NULL, &rows) == VQZ_OK);
    FUZZ_REQUIRE(fuzz_is_part(&t->decoded, &rows, 0, 0));
    free(rows.pixels);
    check_alpha(t);
}

static void decode_region(const trip *t) {
    vqz_decode_options options;
    vqz_decode_options_init(&options);
    options.x = get_u16(t->recipe + 14) % t->image.width;
    options.y = get_u16(t->recipe + 16) % t->image.height;
    options.width = 1 + t->recipe[18] % (t->image.width - options.x);
    options.height = 1 + t->recipe[19] % (t->image.height - options.y);
    vqz_image part = fuzz_image(options.width, options.height, t->image.channels);
    FUZZ_REQUIRE(vqz_decode_with(t->context, t->model, t->file, t->size, &options, &part, NULL) ==
                 VQZ_OK);
    FUZZ_REQUIRE(fuzz_is_part(&t->decoded, &part, options.x, options.y));
    free(part.pixels);
}

static void check_facts(const trip *t) {
    vqz_info info;
    FUZZ_REQUIRE(vqz_read_info(t->file, t->size, &info, NULL) == VQZ_OK);
    FUZZ_REQUIRE(info.width == t->image.width && info.height == t->image.height);
    FUZZ_REQUIRE(info.channels == t->image.channels);
    FUZZ_REQUIRE(info.header_bytes + info.chunk_bytes + info.index_bytes == t->size);
    const void *blocks[] = {t->options.icc, t->options.exif};
    size_t sizes[] = {t->options.icc_size, t->options.exif_size};
    for (int i = 0; i < 2; i++) {
        void *data;
        size_t size;
        FUZZ_REQUIRE(vqz_read_metadata(t->file, t->size, (vqz_metadata)(VQZ_METADATA_ICC + i),
                                       &data, &size, NULL) == VQZ_OK);
        FUZZ_REQUIRE(size == (blocks[i] != NULL ? sizes[i] : 0));
        FUZZ_REQUIRE(size == 0 || memcmp(data, blocks[i], size) == 0);
        vqz_free(data);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static vqz_context *context;
    if (context == NULL)
        context = fuzz_context(MAX_PIXELS, false);
    if (size < RECIPE)
        return 0;
    trip t = {.context = context};
    follow(&t, data, size);
    if (encode(&t)) {
        encode_rows(&t);
        decode(&t);
        decode_region(&t);
        check_facts(&t);
        free(t.decoded.pixels);
        vqz_free(t.file);
        fuzz_accepted++;
    }
    free(t.image.pixels);
    return 0;
}

size_t fuzz_mutate(uint8_t *data, size_t size, size_t capacity, test_random *random,
                   fuzz_byte_mutator *mutate) {
    if (size > RECIPE && test_random_range(random, 0, 1) == 0) /* the recipe alone */
        return mutate(data, RECIPE, RECIPE), size;
    return mutate(data, size, capacity);
}
