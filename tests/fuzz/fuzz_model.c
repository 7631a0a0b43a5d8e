/*
 * fuzz_model.c - .vqm bytes: loaded under small limits, and what loads encodes and decodes a
 * picture.
 *
 * What must hold: a file that an accepted model makes, it decodes, by rows too, to the same pixels.
 * Mutations reach the body behind its zstd frame and its hash.
 */
#include "format/container.h"
#include "format/sha256.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

enum { WIDTH = 21, HEIGHT = 13, MAX_BODY = 1 << 17 };

const char fuzz_name[] = "model";

static const vqz_limits limits = {1 << 16, 8 << 20, 2000};

static void round_trip(const vqz_model *model, test_random *choices) {
    static vqz_context *context;
    if (context == NULL)
        context = fuzz_context(1 << 16, false);
    vqz_model_info info;
    vqz_model_get_info(model, &info);
    vqz_encode_options options;
    vqz_encode_options_init(&options);
    options.quality = test_random_range(choices, 1, 100);
    options.effort = test_random_range(choices, 1, 9);
    options.progressive = info.prior_stages > 0 && test_random_range(choices, 0, 1);
    options.entropy = info.prior_stages > 0 ? test_random_range(choices, 0, 2) : VQZ_ENTROPY_AUTO;
    vqz_image image = fuzz_image(WIDTH, HEIGHT, info.channels);
    for (size_t i = 0; i < image.stride * HEIGHT; i++)
        image.pixels[i] = (uint8_t)test_random_next(choices);
    void *file;
    size_t size;
    vqz_status status = vqz_encode(context, model, &image, &options, &file, &size, NULL);
    /* dictionaries are zstd's to judge, at their first use */
    FUZZ_REQUIRE(status == VQZ_OK || status == VQZ_ERROR_LIMIT ||
                 status == VQZ_ERROR_MODEL_INVALID);
    if (status == VQZ_OK) {
        vqz_image rows = fuzz_image(WIDTH, HEIGHT, info.channels);
        FUZZ_REQUIRE(vqz_decode(context, model, file, size, &image, NULL) == VQZ_OK);
        FUZZ_REQUIRE(fuzz_decode_rows(context, model, file, size, NULL, &rows) == VQZ_OK);
        FUZZ_REQUIRE(fuzz_is_part(&image, &rows, 0, 0));
        free(rows.pixels);
        vqz_free(file);
        fuzz_accepted++;
    }
    free(image.pixels);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    vqz_model *model;
    vqz_diag diag = {""};
    test_random choices = fuzz_choices(data, size);
    if (vqz_model_load(&model, data, size, &limits, &diag) == VQZ_OK) {
        round_trip(model, &choices);
        vqz_model_free(model);
    } else {
        FUZZ_REQUIRE(diag.message[0] != '\0');
    }
    return 0;
}

/* Where the parts of a model file are: varint body size at 4, hash, varint card size, card, frame.
 */
typedef struct model_file {
    size_t hash, card, frame;
} model_file;

static bool find_parts(const uint8_t *data, size_t size, model_file *parts) {
    vqzi_reader reader = {data, size, 0};
    const uint8_t *bytes;
    uint64_t value;
    if (vqzi_read_bytes(&reader, 4, &bytes) != VQZ_OK ||
        vqzi_read_varint(&reader, MAX_BODY, &value) != VQZ_OK)
        return false;
    parts->hash = reader.position;
    if (vqzi_read_bytes(&reader, VQZI_HASH_SIZE, &bytes) != VQZ_OK)
        return false;
    parts->card = reader.position;
    if (vqzi_read_varint(&reader, size, &value) != VQZ_OK ||
        vqzi_read_bytes(&reader, (size_t)value, &bytes) != VQZ_OK)
        return false;
    parts->frame = reader.position;
    return true;
}

/* A file with this body and the version and the card of `data`; 0 when it does not fit. */
static size_t build(uint8_t *data, size_t capacity, const model_file *parts, const uint8_t *body,
                    size_t body_size) {
    vqzi_buffer file = {0};
    uint8_t hash[VQZI_HASH_SIZE];
    size_t bound = ZSTD_compressBound(body_size), size;
    uint8_t *frame = fuzz_allocate(bound);
    vqzi_sha256(hash, body, body_size);
    vqzi_buffer_append(&file, data, 4);
    vqzi_buffer_varint(&file, body_size);
    vqzi_buffer_append(&file, hash, sizeof hash);
    vqzi_buffer_append(&file, data + parts->card, parts->frame - parts->card);
    vqzi_buffer_append(&file, frame, ZSTD_compress(frame, bound, body, body_size, 1));
    size = file.size <= capacity ? file.size : 0;
    if (size > 0)
        memcpy(data, file.data, size);
    vqzi_buffer_clear(&file);
    free(frame);
    return size;
}

size_t fuzz_mutate(uint8_t *data, size_t size, size_t capacity, test_random *random,
                   fuzz_byte_mutator *mutate) {
    static uint8_t body[MAX_BODY];
    model_file parts;
    if (test_random_range(random, 0, 7) == 0 || !find_parts(data, size, &parts))
        return mutate(data, size, capacity);
    size_t body_size = ZSTD_decompress(body, MAX_BODY, data + parts.frame, size - parts.frame);
    if (ZSTD_isError(body_size) || body_size == 0)
        return mutate(data, size, capacity);
    body_size = mutate(body, body_size, MAX_BODY);
    if (test_random_range(random, 0, 15) == 0)
        data[3] = (uint8_t)test_random_range(random, 1, 2);
    size_t built = build(data, capacity, &parts, body, body_size);
    return built > 0 ? built : size;
}
