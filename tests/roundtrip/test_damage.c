/*
 * test_damage.c - no damage goes unnoticed: every bit of small files and models is flipped, and
 * they are cut at every byte.  Nothing of that may be taken for whole, and a model keeps its hash
 * or is refused.
 *
 * A CRC-32 finds every single bit; that a file which was cut ends in its checksum by chance is a
 * matter of 2^-32, and these files are the same at each run.
 */
#include "tests/support/random_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- files ---- */

typedef struct kind {
    const char *name;
    uint32_t channels, width, height;
    bool prior, metadata;
    int entropy, progressive;
} kind;

static const kind kinds[] = {
    {"version 1", 3, 41, 30, false, false, VQZ_ENTROPY_AUTO, 0},
    {"version 2, zstd", 3, 41, 30, true, false, VQZ_ENTROPY_ZSTD, 0},
    {"version 2, rANS", 1, 41, 30, true, false, VQZ_ENTROPY_RANS, 0},
    {"progressive", 3, 400, 30, true, false, VQZ_ENTROPY_RANS, 1},
    {"progressive zstd", 3, 41, 30, true, false, VQZ_ENTROPY_ZSTD, 1},
    {"alpha and metadata", 4, 33, 20, false, true, VQZ_ENTROPY_AUTO, 0},
    {"alpha and metadata, rANS", 4, 33, 20, true, true, VQZ_ENTROPY_RANS, 1},
};

typedef struct damaged {
    vqz_model *model;
    vqz_context *context;
    vqz_image image, back; /* as it decodes, and as what was damaged does */
    uint8_t *file;
    size_t size;
} damaged;

static vqz_image make_image(uint32_t width, uint32_t height, uint32_t channels) {
    vqz_image image = {width, height, channels, (size_t)width * channels, NULL};
    image.pixels = calloc(height, image.stride);
    assert_non_null(image.pixels);
    return image;
}

static damaged make_file(const kind *k) {
    static const char icc[] = "an ICC profile that nobody looks into", exif[] = "II*\0 and so on";
    random_model_options model;
    vqz_context_options context;
    vqz_encode_options options;
    vqz_diag diag = {""};
    test_random random = {5};
    damaged d = {.image = make_image(k->width, k->height, k->channels),
                 .back = make_image(k->width, k->height, k->channels)};
    random_model_options_init(&model, 11);
    model.prior = k->prior;
    d.model = random_model_load(&model);
    vqz_context_options_init(&context);
    context.threads = 1;
    assert_int_equal(vqz_context_create(&d.context, &context, NULL), VQZ_OK);
    for (size_t i = 0; i < d.image.stride * k->height; i++)
        d.image.pixels[i] = (uint8_t)(i / 3 + (size_t)test_random_range(&random, 0, 40));
    vqz_encode_options_init(&options);
    options.entropy = k->entropy;
    options.progressive = k->progressive;
    if (k->metadata) {
        options.icc = icc;
        options.icc_size = sizeof icc;
        options.exif = exif;
        options.exif_size = sizeof exif;
    }
    void *file;
    if (vqz_encode(d.context, d.model, &d.image, &options, &file, &d.size, &diag) != VQZ_OK)
        fail_msg("%s: %s", k->name, diag.message);
    d.file = malloc(d.size); /* so that a sanitizer sees its end */
    assert_non_null(d.file);
    memcpy(d.file, file, d.size);
    vqz_free(file);
    assert_int_equal(vqz_decode(d.context, d.model, d.file, d.size, &d.image, NULL), VQZ_OK);
    return d;
}

static void clear_file(damaged *d) {
    vqz_context_free(d->context);
    vqz_model_free(d->model);
    free(d->image.pixels);
    free(d->back.pixels);
    free(d->file);
}

/* Everything that reads a whole file refuses this one. */
static void assert_refused(const damaged *d, const uint8_t *file, size_t size, const char *what,
                           size_t at) {
    vqz_info info;
    vqz_diag diag = {""};
    void *data;
    size_t data_size;
    if (vqz_decode(d->context, d->model, file, size, &d->back, &diag) == VQZ_OK ||
        vqz_read_info(file, size, &info, NULL) == VQZ_OK ||
        vqz_read_metadata(file, size, VQZ_METADATA_ICC, &data, &data_size, NULL) == VQZ_OK)
        fail_msg("%s at %zu was not noticed", what, at);
    if (diag.message[0] == '\0')
        fail_msg("%s at %zu: no message", what, at);
}

/* What is shown of a part is never called whole; *found of all codes. */
static bool decode_partial(const damaged *d, const uint8_t *file, size_t size, uint64_t *found,
                           uint64_t *codes) {
    vqz_decode_options options = {.partial = 1};
    vqz_decoder *decoder;
    vqz_info info;
    int whole = 1;
    if (vqz_read_partial_info(file, size, &info, &whole, NULL) != VQZ_OK)
        return false;
    assert_int_equal(whole, 0);
    if (info.width != d->image.width || info.height != d->image.height ||
        vqz_decoder_create_with(&decoder, d->context, d->model, file, size, &options, NULL) !=
            VQZ_OK)
        return false;
    bool good =
        vqz_decoder_read(decoder, d->back.pixels, d->back.stride, info.height, NULL) == VQZ_OK;
    vqz_decoder_get_found(decoder, found, codes);
    assert_true(*found <= *codes);
    vqz_decoder_free(decoder);
    return good;
}

static void test_every_bit(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        damaged d = make_file(&kinds[i]);
        uint64_t found, codes;
        for (size_t bit = 0; bit < 8 * d.size; bit++) {
            d.file[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_refused(&d, d.file, d.size, kinds[i].name, bit);
            (void)decode_partial(&d, d.file, d.size, &found, &codes);
            d.file[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        assert_int_equal(vqz_decode(d.context, d.model, d.file, d.size, &d.back, NULL), VQZ_OK);
        assert_memory_equal(d.back.pixels, d.image.pixels, d.image.stride * d.image.height);
        printf("%s: %zu bits\n", kinds[i].name, 8 * d.size);
        clear_file(&d);
    }
}

static void test_every_length(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        damaged d = make_file(&kinds[i]);
        size_t shown = 0, short_of = 0;
        for (size_t size = 0; size < d.size; size++) {
            uint64_t found = 0, codes = 0;
            uint8_t *copy = malloc(size > 0 ? size : 1);
            assert_non_null(copy);
            memcpy(copy, d.file, size);
            assert_refused(&d, copy, size, kinds[i].name, size);
            if (decode_partial(&d, copy, size, &found, &codes)) {
                shown++;
                short_of += found < codes;
                /* a picture that is not the right one lacks codes, or has those of its last tile
                   from bytes of the checksum */
                if (found == codes && size + 4 < d.size)
                    assert_memory_equal(d.back.pixels, d.image.pixels,
                                        d.image.stride * d.image.height);
            }
            free(copy);
        }
        printf("%s: %zu lengths, %zu shown in part, %zu of them lacking codes\n", kinds[i].name,
               d.size, shown, short_of);
        assert_true(short_of > 0);
        /* one byte too many */
        uint8_t *longer = malloc(d.size + 1);
        assert_non_null(longer);
        memcpy(longer, d.file, d.size);
        longer[d.size] = 0;
        assert_refused(&d, longer, d.size + 1, kinds[i].name, d.size + 1);
        free(longer);
        clear_file(&d);
    }
}

/* ---- models ---- */

/* The card is not part of what the hash covers, and does not change a pixel. */
static void check_model(const uint8_t *file, size_t size, const vqz_model_info *made, size_t at) {
    vqz_model *model;
    vqz_model_info info;
    if (vqz_model_load(&model, file, size, NULL, NULL) != VQZ_OK)
        return;
    vqz_model_get_info(model, &info);
    bool same = memcmp(info.hash, made->hash, sizeof info.hash) == 0;
    vqz_model_free(model);
    if (!same || at >= size)
        fail_msg("a model that was damaged at %zu of %zu was taken", at, size);
}

static void test_models(void **state) {
    (void)state;
    for (int prior = 0; prior < 2; prior++) {
        random_model_options options;
        vqzi_model raw;
        vqz_model *model;
        vqz_model_info info;
        void *data;
        size_t size;
        random_model_options_init(&options, 3);
        options.prior = prior;
        options.hidden = 2;
        options.levels = 1;
        options.latent_channels = options.planes = 2;
        random_model(&raw, &options);
        assert_int_equal(vqzi_model_serialise(&raw, &data, &size, NULL), VQZ_OK);
        vqzi_model_clear(&raw);
        assert_int_equal(vqz_model_load(&model, data, size, NULL, NULL), VQZ_OK);
        vqz_model_get_info(model, &info);
        uint8_t *file = data;
        for (size_t bit = 0; bit < 8 * size; bit++) {
            file[bit / 8] ^= (uint8_t)(1u << bit % 8);
            check_model(file, size, &info, bit / 8);
            file[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        for (size_t cut = 0; cut < size; cut++)
            check_model(file, cut, &info, cut);
        printf("model of version %d: %zu bits\n", prior + 1, 8 * size);
        vqz_model_free(model);
        free(data);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_bit),
        cmocka_unit_test(test_every_length),
        cmocka_unit_test(test_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
