/*
 * outcome.c - see outcome.h.
 */
#include "tests/support/outcome.h"
#include "format/container.h"
#include "tests/support/random_prior.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *name_of(vqz_status status) {
    static const struct {
        vqz_status status;
        const char *name;
    } names[] = {{VQZ_ERROR_ARGUMENT, "argument"},
                 {VQZ_ERROR_FORMAT, "format"},
                 {VQZ_ERROR_TRUNCATED, "truncated"},
                 {VQZ_ERROR_CORRUPT, "corrupt"},
                 {VQZ_ERROR_VERSION, "version"},
                 {VQZ_ERROR_UNSUPPORTED, "unsupported"},
                 {VQZ_ERROR_MODEL_INVALID, "model-invalid"},
                 {VQZ_ERROR_MODEL_MISMATCH, "model-mismatch"},
                 {VQZ_ERROR_MEMORY, "memory"},
                 {VQZ_ERROR_LIMIT, "limit"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].status == status)
            return names[i].name;
    return "unknown";
}

static void append_hash(char *outcome, const void *data, size_t size) {
    uint8_t hash[VQZI_HASH_SIZE];
    char *end = outcome + strlen(outcome);
    vqzi_sha256(hash, data, size);
    *end++ = ' ';
    for (int i = 0; i < VQZI_HASH_SIZE; i++, end += 2)
        snprintf(end, 3, "%02x", hash[i]);
}

static vqz_status append_metadata(char *outcome, const void *file, size_t size, vqz_metadata kind) {
    void *data;
    size_t data_size;
    VQZ_TRY(vqz_read_metadata(file, size, kind, &data, &data_size, NULL));
    if (data != NULL)
        append_hash(outcome, data, data_size);
    else
        strcat(outcome, " -");
    vqz_free(data);
    return VQZ_OK;
}

static vqz_status decode(char *outcome, vqz_context *context, const vqz_model *model,
                         const void *file, size_t size) {
    vqz_info info;
    VQZ_TRY(vqz_read_info(file, size, &info, NULL));
    if ((uint64_t)info.width * info.height > 1 << 24)
        return VQZ_ERROR_LIMIT;
    size_t pixel_bytes = (size_t)info.width * info.height * info.channels;
    vqz_image image = {info.width, info.height, info.channels, (size_t)info.width * info.channels,
                       test_allocate(pixel_bytes, 1)};
    vqz_status status = vqz_decode(context, model, file, size, &image, NULL);
    if (status == VQZ_OK) {
        snprintf(outcome, OUTCOME_SIZE, "%ux%ux%u", (unsigned)info.width, (unsigned)info.height,
                 (unsigned)info.channels);
        append_hash(outcome, image.pixels, pixel_bytes);
        status = append_metadata(outcome, file, size, VQZ_METADATA_ICC);
    }
    if (status == VQZ_OK)
        status = append_metadata(outcome, file, size, VQZ_METADATA_EXIF);
    free(image.pixels);
    return status;
}

void library_outcome(char outcome[OUTCOME_SIZE], vqz_cpu cpu, int threads, const void *model_file,
                     size_t model_size, const void *file, size_t size) {
    vqz_context_options options;
    vqz_context *context = NULL;
    vqz_model *model = NULL;
    vqz_context_options_init(&options);
    options.cpu = cpu;
    options.threads = threads;
    outcome[0] = '\0';
    vqz_status status = vqz_context_create(&context, &options, NULL);
    if (status == VQZ_OK)
        status = vqz_model_load(&model, model_file, model_size, NULL, NULL);
    if (status == VQZ_OK)
        status = decode(outcome, context, model, file, size);
    if (status != VQZ_OK)
        snprintf(outcome, OUTCOME_SIZE, "%s", name_of(status));
    vqz_model_free(model);
    vqz_context_free(context);
}
