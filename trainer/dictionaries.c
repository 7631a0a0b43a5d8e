/*
 * dictionaries.c - zstd dictionaries for the index streams, so that small pictures pay no table.
 *
 * Samples are the streams of training crops as the encoder would write them, at the crop size and in
 * pieces of it: what a dictionary is for is short streams.
 */
#include "format/container.h"
#include "trainer/trainer.h"
#include <stdlib.h>
#include <string.h>

enum { DICTIONARY_BATCHES = 8, DICTIONARY_SIZE = 512 };

/* Symbols of all samples of one stream (low or high bytes of a plane), one level, back to back. */
static void gather_stream(const uint16_t *indices, size_t count, bool wide, bool high,
                          uint8_t *stream) {
    for (size_t n = 0; n < count; n++)
        stream[n] = (uint8_t)(wide && high ? indices[n] >> 8 : indices[n] & 255);
}

/* All codes of DICTIONARY_BATCHES batches at one level: (planes, DICTIONARY_BATCHES * positions). */
static vqz_status gather_codes(trainer *t, int level, random_state *random, uint16_t *codes) {
    crop_options crops = {.size = t->crop, .min_scale = t->settings.min_scale, .flip = false};
    for (int i = 0; i < t->batch; i++)
        t->levels[i] = level;
    for (size_t b = 0; b < DICTIONARY_BATCHES; b++) {
        corpus_crops(t->corpus, random, &crops, t->batch, t->options.threads, t->pixels);
        VQZ_TRY(run_hard(t));
        for (int p = 0; p < t->spec.plane_count; p++)
            memcpy(codes + ((size_t)p * DICTIONARY_BATCHES + b) * t->positions,
                   t->indices + (size_t)p * t->positions, t->positions * sizeof *codes);
    }
    return VQZ_OK;
}

vqz_status train_dictionaries(trainer *t, vqzi_model *model, vqz_diag *diag) {
    const model_spec *spec = &t->spec;
    size_t total = DICTIONARY_BATCHES * t->positions;
    size_t samples = DICTIONARY_BATCHES * (size_t)t->batch;
    random_state random;
    random_seed(&random, 0x64696374u);
    model->dictionaries =
        calloc((size_t)spec->levels * model->stream_count, sizeof *model->dictionaries);
    uint16_t *codes = malloc((size_t)spec->plane_count * total * sizeof *codes);
    uint8_t *stream = malloc(total);
    size_t *sizes = malloc(samples * sizeof *sizes);
    vqz_status status = model->dictionaries && codes && stream && sizes
                            ? VQZ_OK
                            : vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory for dictionaries");
    for (int level = 0; level < spec->levels && status == VQZ_OK; level++) {
        status = gather_codes(t, level, &random, codes);
        vqzi_dictionary *dictionary = model->dictionaries + (size_t)level * model->stream_count;
        for (int p = 0; p < spec->plane_count && status == VQZ_OK; p++) {
            bool wide = spec->planes[p].codes > 256;
            for (int high = 0; high <= wide && status == VQZ_OK; high++, dictionary++) {
                gather_stream(codes + (size_t)p * total, total, wide, high, stream);
                for (size_t i = 0; i < samples; i++)
                    sizes[i] = t->per_sample;
                void *data;
                status = vqzi_dictionary_train(stream, sizes, samples, DICTIONARY_SIZE, &data,
                                               &dictionary->size);
                if (status == VQZ_OK)
                    dictionary->data = data;
            }
        }
    }
    free(codes);
    free(stream);
    free(sizes);
    return status;
}
