/*
 * test_prior_file.c - files of version 2 as the naive codec writes and reads them: round trips of
 * any codes, and damage under a checksum that fits.
 */
#include "tests/support/naive_codec.h"
#include "tests/support/random_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t base_seed(void) {
    const char *text = getenv("SEED");
    return text != NULL ? strtoull(text, NULL, 0) : 1;
}

/* Codes all over their range, or all the same. */
static uint16_t *draw_codes(const vqzi_model *model, size_t positions, test_random *random) {
    uint16_t *codes = calloc(positions * model->plane_count, sizeof *codes);
    assert_non_null(codes);
    for (uint32_t p = 0; p < model->plane_count; p++) {
        int32_t last = model->planes[p].codes - 1;
        int32_t low = test_random_range(random, 0, last), high = last;
        if (test_random_range(random, 0, 1) != 0)
            low = 0;
        else
            high = low;
        for (size_t i = 0; i < positions; i++)
            codes[p * positions + i] = (uint16_t)test_random_range(random, low, high);
    }
    return codes;
}

/* A model with its hash, and a picture of codes. */
typedef struct sample {
    vqzi_model model;
    vqz_model *loaded;
    uint32_t width, height;
    int quality;
    size_t positions;
    uint16_t *codes;
} sample;

static void make_sample(sample *s, const random_model_options *options, uint32_t width,
                        uint32_t height, test_random *random) {
    void *file;
    size_t size;
    random_model(&s->model, options);
    assert_int_equal(vqzi_model_serialise(&s->model, &file, &size, NULL), VQZ_OK);
    assert_int_equal(vqz_model_load(&s->loaded, file, size, NULL, NULL), VQZ_OK);
    vqz_free(file);
    s->width = width;
    s->height = height;
    s->quality = test_random_range(random, 1, 100);
    s->positions =
        (size_t)naive_latent_side(&s->model, width) * naive_latent_side(&s->model, height);
    s->codes = draw_codes(&s->model, s->positions, random);
}

static void clear_sample(sample *s) {
    vqz_model_free(s->loaded);
    vqzi_model_clear(&s->model);
    free(s->codes);
}

/* The library reads the same codes and makes the pixels of the naive codec. */
static void check_library(const sample *s, vqz_context *context, const vqzi_buffer *file) {
    size_t count = s->positions * s->model.plane_count;
    uint32_t channels = s->model.channels == 1 ? 1 : 3;
    size_t stride = (size_t)s->width * channels;
    uint16_t *codes = malloc(count * sizeof *codes);
    uint8_t *pixels = malloc(stride * s->height), *expected = malloc(stride * s->height);
    vqz_image image = {s->width, s->height, channels, stride, pixels};
    vqz_image naive = {s->width, s->height, channels, stride, expected};
    vqz_diag diag = {""};
    assert_true(codes != NULL && pixels != NULL && expected != NULL);
    if (vqz_read_codes(context, s->loaded, file->data, file->size, codes, count, &diag) != VQZ_OK)
        fail_msg("%s", diag.message);
    assert_memory_equal(codes, s->codes, count * sizeof *codes);
    if (vqz_decode(context, s->loaded, file->data, file->size, &image, &diag) != VQZ_OK)
        fail_msg("%s", diag.message);
    naive_decode(&s->model, s->quality, codes, &naive);
    assert_memory_equal(pixels, expected, stride * s->height);
    free(codes);
    free(pixels);
    free(expected);
}

static void test_round_trip(void **state) {
    (void)state;
    test_random random = {base_seed()};
    vqz_context *context;
    assert_int_equal(vqz_context_create(&context, NULL, NULL), VQZ_OK);
    for (uint64_t i = 0; i < 24; i++) {
        random_model_options options;
        random_model_options_draw(&options, base_seed() + i);
        options.prior = true;
        sample s;
        /* up to three tiles across and two down, of few positions */
        int32_t side = (int32_t)options.stride * (options.max_codes > 300 ? 5 : 12);
        if (options.stride >= 16 && i % 2 == 0)
            side = 900;
        if (options.max_codes > 300)
            options.planes = VQZI_MIN(options.planes, 2u);
        make_sample(&s, &options, (uint32_t)test_random_range(&random, 1, side),
                    (uint32_t)test_random_range(&random, 1, VQZI_MIN(side, 600)), &random);
        for (int scans = 0; scans < 2; scans++) {
            vqzi_buffer file = {0};
            naive_write_file(&s.model, s.quality, s.width, s.height, s.codes, scans != 0, &file);
            assert_int_equal(vqzi_buffer_status(&file), VQZ_OK);
            uint16_t *read = naive_read_indices(&s.model, file.data, file.size);
            if (read == NULL)
                fail_msg("seed %llu: the file is refused", (unsigned long long)options.seed);
            assert_memory_equal(read, s.codes, s.positions * s.model.plane_count * sizeof *read);
            check_library(&s, context, &file);
            vqz_info info;
            assert_int_equal(vqz_read_info(file.data, file.size, &info, NULL), VQZ_OK);
            assert_int_equal(info.version, 2);
            assert_int_equal(info.rans, 1);
            assert_int_equal(info.scans, scans);
            assert_int_equal(info.tiles, (s.width + 383) / 384 * ((s.height + 511) / 512));
            free(read);
            vqzi_buffer_clear(&file);
        }
        clear_sample(&s);
    }
    vqz_context_free(context);
}

static uint16_t *read_sealed(const vqzi_model *model, const uint8_t *bytes, size_t size) {
    vqzi_buffer file = {0};
    vqzi_buffer_append(&file, bytes, size);
    vqzi_trailer_write(&file);
    uint16_t *codes = naive_read_indices(model, file.data, file.size);
    vqzi_buffer_clear(&file);
    return codes;
}

/* Cut or altered streams end at another state or with bytes left, in all but a few cases. */
static void test_damage(void **state) {
    (void)state;
    test_random random = {base_seed()};
    random_model_options options;
    random_model_options_init(&options, base_seed());
    options.prior = true;
    options.stride = 32;
    options.latent_channels = 4;
    sample s;
    make_sample(&s, &options, 500, 64, &random);
    for (int scans = 0; scans < 2; scans++) {
        vqzi_buffer file = {0};
        vqzi_header header;
        size_t passed = 0, trials = 0;
        naive_write_file(&s.model, s.quality, s.width, s.height, s.codes, scans != 0, &file);
        assert_int_equal(vqzi_header_read(&header, file.data, file.size, NULL), VQZ_OK);
        size_t begin = header.tiles_offset, end = begin + header.tiles_size;
        for (size_t cut = 0; cut < end; cut++, trials++) {
            uint16_t *codes = read_sealed(&s.model, file.data, cut);
            passed += codes != NULL;
            free(codes);
        }
        for (size_t at = begin; at < end; at++)
            for (int i = 0; i < 2; i++, trials++) {
                uint8_t old = file.data[at];
                file.data[at] ^= (uint8_t)test_random_range(&random, 1, 255);
                uint16_t *codes = read_sealed(&s.model, file.data, end);
                passed += codes != NULL;
                free(codes);
                file.data[at] = old;
            }
        if (passed * 10 > trials)
            fail_msg("%zu of %zu damaged files pass", passed, trials);
        /* not a byte more; not as version 1 */
        file.data[end] = 7;
        assert_null(read_sealed(&s.model, file.data, end + 1));
        file.data[3] ^= 3;
        assert_null(read_sealed(&s.model, file.data, end));
        vqzi_buffer_clear(&file);
    }
    clear_sample(&s);
}

/* A file has the version of its model. */
static void test_version(void **state) {
    (void)state;
    test_random random = {base_seed()};
    vqz_context *context;
    assert_int_equal(vqz_context_create(&context, NULL, NULL), VQZ_OK);
    for (int prior = 0; prior < 2; prior++) {
        random_model_options options;
        random_model_options_init(&options, base_seed());
        options.prior = prior != 0;
        sample s;
        make_sample(&s, &options, 8, 8, &random);
        for (uint32_t version = 1; version <= 2; version++) {
            /* one position, every plane a constant 0 */
            vqzi_header header = {.version = version, .width = 8, .height = 8, .quality = 50};
            vqzi_buffer file = {0};
            uint16_t codes[VQZI_MAX_PLANES];
            memcpy(header.model_hash, s.model.hash, sizeof header.model_hash);
            vqzi_header_write(&file, &header);
            for (uint32_t i = 0; i < s.model.stream_count; i++)
                vqzi_buffer_byte(&file, 3);
            vqzi_trailer_write(&file);
            vqz_status status = vqz_read_codes(context, s.loaded, file.data, file.size, codes,
                                               s.model.plane_count, NULL);
            uint16_t *naive = naive_read_indices(&s.model, file.data, file.size);
            bool fits = (version == 2) == options.prior;
            assert_int_equal(status, fits ? VQZ_OK : VQZ_ERROR_CORRUPT);
            assert_int_equal(naive != NULL, fits);
            free(naive);
            vqzi_buffer_clear(&file);
        }
        clear_sample(&s);
    }
    vqz_context_free(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip),
                                       cmocka_unit_test(test_damage),
                                       cmocka_unit_test(test_version)};
    print_message("SEED=%llu\n", (unsigned long long)base_seed());
    return cmocka_run_group_tests_name("prior file", tests, NULL, NULL);
}
