/*
 * test_rows.c - encoders and decoders that take and give rows: whatever the pieces, the file is that of
 * vqz_encode and the pixels are those of vqz_decode; what they refuse; damage that shows late.
 *
 * SEED=n replays a run.
 */
#include "codec/internal.h"
#include "tests/support/file_maker.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t seed;

static vqz_context *make_context(uint32_t work_tile, uint64_t max_memory) {
    vqz_context_options options;
    vqz_context *context = NULL;
    vqz_context_options_init(&options);
    options.threads = 2;
    options.limits.max_memory = max_memory;
    assert_int_equal(vqz_context_create(&context, &options, NULL), VQZ_OK);
    vqzi_context_set_tuning(context, work_tile, 0);
    return context;
}

static vqz_image make_image(test_random *random, uint32_t width, uint32_t height,
                            uint32_t channels) {
    vqz_image image = {width, height, channels, (size_t)width * channels, NULL};
    image.pixels = malloc(image.stride * height);
    assert_non_null(image.pixels);
    for (size_t i = 0; i < image.stride * height; i++)
        image.pixels[i] = (uint8_t)(i / image.stride + i % image.stride * 3 +
                                    (size_t)test_random_range(random, 0, 20));
    return image;
}

/* Rows of the next piece: single ones, odd numbers, more than a band. */
static uint32_t piece(test_random *random, uint32_t left) {
    static const int32_t most[] = {1, 7, 70, 2000};
    uint32_t rows =
        (uint32_t)test_random_range(random, 0, most[test_random_range(random, 0, 3)]);
    return VQZI_MIN(rows, left);
}

static void write_pieces(test_random *random, vqz_encoder *encoder, const vqz_image *image) {
    vqz_diag diag = {""};
    for (uint32_t y = 0; y < image->height;) {
        uint32_t rows = piece(random, image->height - y);
        /* a copy of just these rows, so that a sanitizer sees reads outside of them */
        uint8_t *copy = malloc(image->stride * rows + 1);
        assert_non_null(copy);
        memcpy(copy, image->pixels + y * image->stride, image->stride * rows);
        if (vqz_encoder_write(encoder, copy, image->stride, rows, &diag) != VQZ_OK)
            fail_msg("%s", diag.message);
        free(copy);
        y += rows;
    }
}

static void read_pieces(test_random *random, vqz_decoder *decoder, const vqz_image *expected) {
    vqz_diag diag = {""};
    size_t stride = expected->stride + 3;
    for (uint32_t y = 0; y < expected->height;) {
        uint32_t rows = piece(random, expected->height - y);
        uint8_t *pixels = malloc(stride * rows + 1);
        assert_non_null(pixels);
        memset(pixels, 0xa5, stride * rows + 1);
        if (vqz_decoder_read(decoder, pixels, stride, rows, &diag) != VQZ_OK)
            fail_msg("%s", diag.message);
        for (uint32_t i = 0; i < rows; i++) {
            assert_memory_equal(pixels + i * stride, expected->pixels + (y + i) * expected->stride,
                                expected->stride);
            assert_memory_equal(pixels + i * stride + expected->stride, "\xa5\xa5\xa5", 3);
        }
        free(pixels);
        y += rows;
    }
}

static void test_pieces(void **state) {
    static const uint32_t tiles[] = {32, 64, 256, 1024};
    (void)state;
    for (uint64_t m = 0; m < 24; m++) {
        test_random random = {seed + m};
        random_model_options options;
        random_model_options_draw(&options, seed + 500 + m);
        options.max_codes = VQZI_MIN(options.max_codes, 64u);
        vqz_model *model = random_model_load(&options);
        uint32_t channels = options.channels == 1 ? 1 + (uint32_t)m % 2 : 1 + (uint32_t)m % 4;
        uint32_t height = m % 8 == 7 ? 2100 : (uint32_t)test_random_range(&random, 1, 400);
        vqz_image image = make_image(&random, (uint32_t)test_random_range(&random, 1, 200), height,
                                     channels);
        vqz_context *whole = make_context(512, 1u << 30);
        vqz_context *context = make_context(tiles[m % 4], 1u << 30);
        vqz_diag diag = {""};
        void *file, *same;
        size_t size, same_size;

        assert_int_equal(vqz_encode(whole, model, &image, NULL, &file, &size, &diag), VQZ_OK);
        vqz_encoder *encoder;
        assert_int_equal(vqz_encoder_create(&encoder, context, model, image.width, image.height,
                                            channels, NULL, &diag), VQZ_OK);
        write_pieces(&random, encoder, &image);
        assert_int_equal(vqz_encoder_finish(encoder, &same, &same_size, &diag), VQZ_OK);
        vqz_encoder_free(encoder);
        assert_int_equal(same_size, size);
        assert_memory_equal(same, file, size);

        assert_int_equal(vqz_decode(whole, model, file, size, &image, &diag), VQZ_OK);
        vqz_decoder *decoder;
        assert_int_equal(vqz_decoder_create(&decoder, context, model, file, size, &diag), VQZ_OK);
        read_pieces(&random, decoder, &image);
        uint8_t more[800];
        assert_int_equal(vqz_decoder_read(decoder, more, sizeof more, 1, &diag),
                         VQZ_ERROR_ARGUMENT);
        vqz_decoder_free(decoder);

        vqz_free(file);
        vqz_free(same);
        free(image.pixels);
        vqz_context_free(whole);
        vqz_context_free(context);
        vqz_model_free(model);
    }
}

/* A picture with fewer rows than announced is none; neither is one with more. */
static void test_misuse(void **state) {
    random_model_options options;
    test_random random = {seed};
    vqz_diag diag = {""};
    vqz_encoder *encoder = NULL;
    void *file = NULL;
    size_t size = 0;
    (void)state;
    random_model_options_init(&options, 3);
    vqz_model *model = random_model_load(&options);
    vqz_context *context = make_context(512, 1u << 30);
    vqz_image image = make_image(&random, 40, 50, 3);

    assert_int_equal(vqz_encoder_create(&encoder, context, model, 0, 50, 3, NULL, &diag),
                     VQZ_ERROR_ARGUMENT);
    assert_int_equal(vqz_encoder_create(&encoder, context, model, 40, 50, 5, NULL, &diag),
                     VQZ_ERROR_ARGUMENT);
    assert_null(encoder);
    assert_int_equal(vqz_encoder_create(&encoder, context, model, 40, 50, 3, NULL, &diag), VQZ_OK);
    assert_int_equal(vqz_encoder_write(encoder, image.pixels, 119, 1, &diag), VQZ_ERROR_ARGUMENT);
    assert_int_equal(vqz_encoder_write(encoder, NULL, 120, 1, &diag), VQZ_ERROR_ARGUMENT);
    assert_int_equal(vqz_encoder_write(encoder, image.pixels, 120, 49, &diag), VQZ_OK);
    assert_int_equal(vqz_encoder_finish(encoder, &file, &size, &diag), VQZ_ERROR_ARGUMENT);
    assert_non_null(strstr(diag.message, "49 of 50 rows"));
    assert_int_equal(vqz_encoder_write(encoder, image.pixels, 120, 2, &diag), VQZ_ERROR_ARGUMENT);
    assert_null(file);
    vqz_encoder_free(encoder);
    free(image.pixels);
    vqz_context_free(context);
    vqz_model_free(model);
}

/* The last tile row is damaged: rows above it come out, the last do not. */
static void test_late_damage(void **state) {
    random_model_options options;
    test_random random = {seed};
    vqz_diag diag = {""};
    void *file;
    size_t size;
    (void)state;
    random_model_options_init(&options, 5);
    options.dictionaries = false;
    vqz_model *model = random_model_load(&options);
    vqz_context *context = make_context(256, 1u << 30);
    vqz_image image = make_image(&random, 64, 3000, 3);
    assert_int_equal(vqz_encode(context, model, &image, NULL, &file, &size, &diag), VQZ_OK);
    /* one byte less of tiles, with the checksum made good */
    size -= 1;
    mend_checksum(file, size);

    vqz_decoder *decoder;
    assert_int_equal(vqz_decoder_create(&decoder, context, model, file, size, &diag), VQZ_OK);
    assert_int_equal(vqz_decoder_read(decoder, image.pixels, image.stride, 512, &diag), VQZ_OK);
    vqz_status status = vqz_decoder_read(decoder, image.pixels, image.stride, 3000 - 512, &diag);
    assert_in_range(status, VQZ_ERROR_TRUNCATED, VQZ_ERROR_CORRUPT);
    assert_non_null(strstr(diag.message, "damaged"));
    vqz_decoder_free(decoder);
    vqz_free(file);
    free(image.pixels);
    vqz_context_free(context);
    vqz_model_free(model);
}

/* Encodes (file NULL) or decodes a picture of 48 x height within a memory limit; false when it does
   not fit. */
static bool fits(const vqz_model *model, uint64_t limit, uint32_t height, void **file,
                 size_t *size) {
    uint8_t row[48 * 4] = {1, 2, 3, 4, 5, 6, 7, 8};
    vqz_context *context = make_context(32, limit);
    vqz_encoder *encoder = NULL;
    vqz_decoder *decoder = NULL;
    vqz_status status;
    if (!*file)
        status = vqz_encoder_create(&encoder, context, model, 48, height, 4, NULL, NULL);
    else
        status = vqz_decoder_create(&decoder, context, model, *file, *size, NULL);
    for (uint32_t y = 0; status == VQZ_OK && y < height; y++)
        if (encoder)
            assert_int_equal(vqz_encoder_write(encoder, row, sizeof row, 1, NULL), VQZ_OK);
        else
            assert_int_equal(vqz_decoder_read(decoder, row, sizeof row, 1, NULL), VQZ_OK);
    if (encoder)
        assert_int_equal(vqz_encoder_finish(encoder, file, size, NULL), VQZ_OK);
    vqz_encoder_free(encoder);
    vqz_decoder_free(decoder);
    vqz_context_free(context);
    if (status != VQZ_OK)
        assert_int_equal(status, VQZ_ERROR_LIMIT);
    return status == VQZ_OK;
}

/* Work memory follows the width, not the area: ten times the rows need no more. */
static void test_memory_follows_width(void **state) {
    random_model_options options;
    void *low = NULL, *high = NULL;
    size_t low_size, high_size;
    uint64_t limit = 1 << 14;
    (void)state;
    random_model_options_init(&options, 9);
    vqz_model *model = random_model_load(&options);
    while (!fits(model, limit, 2100, &low, &low_size))
        limit += limit / 8;
    assert_true(fits(model, limit, 20000, &high, &high_size));
    limit = 1 << 14;
    while (!fits(model, limit, 2100, &low, &low_size))
        limit += limit / 8;
    assert_true(fits(model, limit, 20000, &high, &high_size));
    vqz_free(low);
    vqz_free(high);
    vqz_model_free(model);
}

int main(void) {
    const char *text = getenv("SEED");
    seed = text ? strtoull(text, NULL, 10) : (uint64_t)time(NULL);
    printf("SEED=%llu\n", (unsigned long long)seed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_misuse),
        cmocka_unit_test(test_late_damage),
        cmocka_unit_test(test_memory_follows_width),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
