/*
 * fuzz_decode.c - .vqz bytes through everything that reads them: facts, metadata, index planes, the
 * whole picture, its rows, a region, what is left of a cut file.
 *
 * What must hold: a file decodes whole exactly when it decodes by rows, on every instruction set,
 * to the same pixels; if it does, so do its index planes, its regions and itself as a partial file.
 */
#include "format/container.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_PIXELS = 1 << 14, HASH_OFFSET = 4, HASH_SIZE = 4, CRC_SIZE = 4 };

const char fuzz_name[] = "decode";

typedef struct hostile_file {
    const uint8_t *data;
    size_t size;
    const vqz_model *model;
    vqz_context *context;
    vqz_info info; /* of the whole file, or of the partial one */
    test_random choices;
    vqz_image whole; /* its pixels, once decoded; else pixels NULL */
} hostile_file;

static const uint8_t *model_hash(uint32_t index) {
    static vqz_model_info info;
    vqz_model_get_info(fuzz_model(index), &info);
    return info.hash;
}

/* The model that a file names, or FUZZ_MODELS. */
static uint32_t find_model(const uint8_t *data, size_t size) {
    uint32_t index = 0;
    if (size < HASH_OFFSET + HASH_SIZE)
        return FUZZ_MODELS;
    while (index < FUZZ_MODELS && memcmp(data + HASH_OFFSET, model_hash(index), HASH_SIZE) != 0)
        index++;
    return index;
}

static void read_metadata(const hostile_file *file) {
    void *data;
    size_t size;
    for (int kind = VQZ_METADATA_ICC; kind <= VQZ_METADATA_EXIF; kind++) {
        vqz_metadata wanted = (vqz_metadata)kind;
        if (vqz_read_metadata(file->data, file->size, wanted, &data, &size, NULL) == VQZ_OK)
            vqz_free(data);
        if (vqz_read_partial_metadata(file->data, file->size, wanted, &data, &size, NULL) == VQZ_OK)
            vqz_free(data);
    }
}

static bool decode_whole(hostile_file *file) {
    const vqz_info *info = &file->info;
    file->whole = fuzz_image(info->width, info->height, info->channels);
    if (vqz_decode(file->context, file->model, file->data, file->size, &file->whole, NULL) ==
        VQZ_OK)
        return true;
    free(file->whole.pixels);
    file->whole.pixels = NULL;
    return false;
}

static void decode_rows(const hostile_file *file, vqz_context *context) {
    vqz_image rows = fuzz_image(file->info.width, file->info.height, file->info.channels);
    vqz_status status = fuzz_decode_rows(context, file->model, file->data, file->size, NULL, &rows);
    FUZZ_REQUIRE((status == VQZ_OK) == (file->whole.pixels != NULL));
    FUZZ_REQUIRE(status != VQZ_OK || fuzz_is_part(&file->whole, &rows, 0, 0));
    free(rows.pixels);
}

/* A region of the file, whole or not. */
static void decode_region(hostile_file *file, bool partial) {
    const vqz_info *info = &file->info;
    vqz_decode_options options;
    vqz_decode_options_init(&options);
    options.partial = partial;
    options.x = (uint32_t)(test_random_next(&file->choices) % info->width);
    options.y = (uint32_t)(test_random_next(&file->choices) % info->height);
    options.width = (uint32_t)(1 + test_random_next(&file->choices) % (info->width - options.x));
    options.height = (uint32_t)(1 + test_random_next(&file->choices) % (info->height - options.y));
    vqz_image part = fuzz_image(options.width, options.height, info->channels);
    vqz_status status =
        vqz_decode_with(file->context, file->model, file->data, file->size, &options, &part, NULL);
    if (file->whole.pixels != NULL) {
        FUZZ_REQUIRE(status == VQZ_OK);
        FUZZ_REQUIRE(fuzz_is_part(&file->whole, &part, options.x, options.y));
    }
    free(part.pixels);
}

static void decode_partial(const hostile_file *file) {
    vqz_decode_options options;
    vqz_decode_options_init(&options);
    options.partial = 1;
    vqz_image image = fuzz_image(file->info.width, file->info.height, file->info.channels);
    vqz_status status =
        fuzz_decode_rows(file->context, file->model, file->data, file->size, &options, &image);
    if (file->whole.pixels != NULL) {
        FUZZ_REQUIRE(status == VQZ_OK);
        FUZZ_REQUIRE(fuzz_is_part(&file->whole, &image, 0, 0));
    }
    free(image.pixels);
}

static void read_codes(const hostile_file *file) {
    vqz_model_info model;
    vqz_model_get_info(file->model, &model);
    size_t rows = (file->info.height + model.stride - 1) / model.stride;
    size_t columns = (file->info.width + model.stride - 1) / model.stride;
    size_t count = rows * columns * model.planes;
    uint16_t *codes = fuzz_allocate(count * sizeof *codes);
    vqz_status status =
        vqz_read_codes(file->context, file->model, file->data, file->size, codes, count, NULL);
    FUZZ_REQUIRE(status == VQZ_OK || file->whole.pixels == NULL);
    free(codes);
}

/* A file that says it is smaller than the limits. */
static bool is_small(const vqz_info *info) {
    return (uint64_t)info->width * info->height <= MAX_PIXELS;
}

static void decode_all(hostile_file *file, vqz_context *other) {
    fuzz_accepted += decode_whole(file);
    decode_rows(file, other);
    decode_region(file, false);
    decode_partial(file);
    read_codes(file);
    free(file->whole.pixels);
    file->whole.pixels = NULL;
}

/* The same bytes, cut anywhere. */
static void decode_cut(hostile_file *file) {
    int whole;
    file->size = test_random_next(&file->choices) % (file->size + 1);
    if (vqz_read_partial_info(file->data, file->size, &file->info, &whole, NULL) != VQZ_OK ||
        !is_small(&file->info))
        return;
    decode_partial(file);
    decode_region(file, true);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static vqz_context *best, *scalar;
    if (best == NULL) {
        best = fuzz_context(MAX_PIXELS, false);
        scalar = fuzz_context(MAX_PIXELS, true);
    }
    hostile_file file = {.data = data, .size = size, .context = best};
    uint32_t model = find_model(data, size);
    file.model = fuzz_model(model % FUZZ_MODELS);
    file.choices = fuzz_choices(data, size);
    read_metadata(&file);
    if (vqz_read_info(data, size, &file.info, NULL) == VQZ_OK && is_small(&file.info))
        decode_all(&file, scalar);
    decode_cut(&file);
    return 0;
}

size_t fuzz_mutate(uint8_t *data, size_t size, size_t capacity, test_random *random,
                   fuzz_byte_mutator *mutate) {
    size_t body = size > CRC_SIZE ? size - CRC_SIZE : 0;
    size = mutate(data, body, capacity - CRC_SIZE);
    if (size < HASH_OFFSET + HASH_SIZE)
        return size;
    if (test_random_range(random, 0, 15) > 0) {
        memcpy(data, "VQZ", 3);
        if (find_model(data, size) == FUZZ_MODELS)
            memcpy(data + HASH_OFFSET,
                   model_hash((uint32_t)test_random_range(random, 0, FUZZ_MODELS - 1)), HASH_SIZE);
    }
    uint32_t crc = vqzi_crc32(0, data, size);
    for (int i = 0; i < CRC_SIZE; i++)
        data[size++] = (uint8_t)(crc >> (8 * i));
    return size;
}
