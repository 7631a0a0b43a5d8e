/*
 * test_region.c - parts of files: a region has the pixels that it has in the whole picture; a file that
 * was cut gives what its bytes hold, and the more the longer it is.
 *
 * SEED=n replays a run.
 */
#include "codec/internal.h"
#include "format/tiles.h"
#include "tests/support/random_model.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t seed;

static vqz_context *make_context(uint32_t work_tile) {
    vqz_context_options options;
    vqz_context *context = NULL;
    vqz_context_options_init(&options);
    options.threads = 2;
    assert_int_equal(vqz_context_create(&context, &options, NULL), VQZ_OK);
    vqzi_context_set_tuning(context, work_tile, 0);
    return context;
}

static vqz_image make_image(uint32_t width, uint32_t height, uint32_t channels) {
    vqz_image image = {width, height, channels, (size_t)width * channels, NULL};
    image.pixels = malloc(image.stride * height);
    assert_non_null(image.pixels);
    return image;
}

static void fill(const vqz_image *image, test_random *random) {
    for (size_t i = 0; i < image->stride * image->height; i++)
        image->pixels[i] = (uint8_t)(i / image->stride + i % image->stride * 3 +
                                     (size_t)test_random_range(random, 0, 20));
}

/* A file and its whole decode. */
typedef struct sample_file {
    vqz_model *model;
    vqz_image image;
    void *file;
    size_t size;
} sample_file;

static sample_file make_file(uint64_t number, uint32_t width, uint32_t height, bool prior,
                             int entropy, bool progressive) {
    sample_file made = {NULL};
    test_random random = {seed + number};
    random_model_options options;
    vqz_encode_options encode;
    vqz_diag diag = {""};
    random_model_options_draw(&options, seed + 40 * number);
    options.prior = prior;
    options.max_codes = VQZI_MIN(options.max_codes, 64u);
    options.planes = VQZI_MIN(options.planes, 6u);
    made.model = random_model_load(&options);
    uint32_t channels = options.channels == 1 ? 1 + (uint32_t)number % 2 : 1 + (uint32_t)number % 4;
    made.image = make_image(width, height, channels);
    fill(&made.image, &random);
    vqz_encode_options_init(&encode);
    encode.entropy = entropy;
    encode.progressive = progressive;
    vqz_context *context = make_context(512);
    if (vqz_encode(context, made.model, &made.image, &encode, &made.file, &made.size, &diag) !=
            VQZ_OK ||
        vqz_decode(context, made.model, made.file, made.size, &made.image, &diag) != VQZ_OK)
        fail_msg("%s", diag.message);
    vqz_context_free(context);
    return made;
}

static void clear_file(sample_file *made) {
    vqz_free(made->file);
    free(made->image.pixels);
    vqz_model_free(made->model);
}

/* ---- regions ---- */

static void check_region(vqz_context *context, const sample_file *made, uint32_t x, uint32_t y,
                         uint32_t width, uint32_t height) {
    vqz_diag diag = {""};
    vqz_decode_options options;
    vqz_decode_options_init(&options);
    options.x = x;
    options.y = y;
    options.width = width;
    options.height = height;
    vqz_image part = make_image(width, height, made->image.channels);
    memset(part.pixels, 0xa5, part.stride * height);
    if (vqz_decode_with(context, made->model, made->file, made->size, &options, &part, &diag) !=
        VQZ_OK)
        fail_msg("%s", diag.message);
    for (uint32_t row = 0; row < height; row++)
        assert_memory_equal(part.pixels + row * part.stride,
                            made->image.pixels + (y + row) * made->image.stride +
                                (size_t)x * part.channels,
                            part.stride);
    free(part.pixels);

    /* the same in rows, a few at a time */
    vqz_decoder *decoder;
    assert_int_equal(vqz_decoder_create_with(&decoder, context, made->model, made->file,
                                             made->size, &options, &diag),
                     VQZ_OK);
    vqz_image band = make_image(width, 7, made->image.channels);
    for (uint32_t row = 0, count; row < height; row += count) {
        count = VQZI_MIN(7u, height - row);
        assert_int_equal(vqz_decoder_read(decoder, band.pixels, band.stride, count, &diag), VQZ_OK);
        for (uint32_t i = 0; i < count; i++)
            assert_memory_equal(band.pixels + i * band.stride,
                                made->image.pixels + (y + row + i) * made->image.stride +
                                    (size_t)x * band.channels,
                                band.stride);
    }
    assert_int_equal(vqz_decoder_read(decoder, band.pixels, band.stride, 1, &diag),
                     VQZ_ERROR_ARGUMENT);
    vqz_decoder_free(decoder);
    free(band.pixels);
}

static void test_regions(void **state) {
    static const uint32_t tiles[] = {32, 64, 256, 1024};
    (void)state;
    for (uint64_t m = 0; m < 20; m++) {
        test_random random = {seed + 7 * m};
        bool prior = m % 4 != 0;
        bool tall = m % 3 == 0;
        uint32_t width = (uint32_t)test_random_range(&random, 1, tall ? 60 : 900);
        uint32_t height = (uint32_t)test_random_range(&random, tall ? 1000 : 1, tall ? 2300 : 150);
        sample_file made = make_file(m, width, height, prior,
                                     prior ? (int)(m / 4 % 3) : VQZ_ENTROPY_AUTO, prior && m % 2);
        vqz_context *context = make_context(tiles[m % 4]);
        check_region(context, &made, 0, 0, width, height);
        check_region(context, &made, width - 1, height - 1, 1, 1);
        for (int i = 0; i < 5; i++) {
            uint32_t x = (uint32_t)test_random_range(&random, 0, (int32_t)width - 1);
            uint32_t y = (uint32_t)test_random_range(&random, 0, (int32_t)height - 1);
            uint32_t most = i < 3 ? 50 : 3000;
            check_region(context, &made, x, y,
                         (uint32_t)test_random_range(&random, 1,
                                                     (int32_t)VQZI_MIN(most, width - x)),
                         (uint32_t)test_random_range(&random, 1,
                                                     (int32_t)VQZI_MIN(most, height - y)));
        }
        vqz_context_free(context);
        clear_file(&made);
    }
}

/* Work tiles of any size that the memory limit leaves. */
static void test_little_memory(void **state) {
    (void)state;
    int done = 0;
    for (uint64_t m = 0; m < 4; m++) {
        sample_file made = make_file(300 + m, 1900, 40, m % 2, VQZ_ENTROPY_AUTO, false);
        for (uint64_t limit = 1 << 18; limit < 1 << 26; limit += limit / 4) {
            vqz_context_options options;
            vqz_context *context;
            vqz_decoder *decoder;
            vqz_decode_options region = {.x = 795, .y = 1, .width = 500, .height = 30};
            vqz_context_options_init(&options);
            options.threads = 1;
            options.limits.max_memory = limit;
            assert_int_equal(vqz_context_create(&context, &options, NULL), VQZ_OK);
            vqz_status status = vqz_decoder_create_with(&decoder, context, made.model, made.file,
                                                        made.size, &region, NULL);
            if (status == VQZ_OK) {
                vqz_decoder_free(decoder);
                check_region(context, &made, region.x, region.y, region.width, region.height);
                done++;
            }
            vqz_context_free(context);
        }
        clear_file(&made);
    }
    assert_true(done > 20);
}

/* A corner of a large picture needs one tile of it. */
static void test_few_tiles(void **state) {
    (void)state;
    sample_file made = make_file(3, 1500, 1500, true, VQZ_ENTROPY_RANS, true);
    vqz_context *context = make_context(1024);
    vqz_decode_options options = {.x = 100, .y = 700, .width = 20, .height = 20};
    vqz_decoder *decoder;
    uint8_t pixels[20 * 20 * 4];
    uint64_t found, codes, all;
    vqz_model_info info;
    vqz_model_get_info(made.model, &info);
    all = (uint64_t)((1500 + info.stride - 1) / info.stride) *
          ((1500 + info.stride - 1) / info.stride) * info.planes;
    assert_int_equal(vqz_decoder_create_with(&decoder, context, made.model, made.file, made.size,
                                             &options, NULL),
                     VQZ_OK);
    assert_int_equal(vqz_decoder_read(decoder, pixels, 80, 20, NULL), VQZ_OK);
    vqz_decoder_get_found(decoder, &found, &codes);
    assert_int_equal(found, codes);
    assert_in_range(codes, 1, all / 11); /* there are 4 x 3 tiles, those at the bottom lower */
    vqz_decoder_free(decoder);

    static const vqz_decode_options wrong[] = {
        {.x = 1500, .width = 1, .height = 1},
        {.x = 1499, .width = 2, .height = 1},
        {.y = 1400, .width = 1, .height = 101},
        {.width = 5},
        {.x = UINT32_MAX, .width = 2, .height = 2},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        vqz_diag diag = {""};
        assert_int_equal(vqz_decoder_create_with(&decoder, context, made.model, made.file,
                                                 made.size, &wrong[i], &diag),
                         VQZ_ERROR_ARGUMENT);
        assert_non_null(strstr(diag.message, "1500x1500"));
    }
    vqz_context_free(context);
    clear_file(&made);
}

/* ---- files that were cut ---- */

/* Decodes the first bytes of a file; false when the header is not among them. */
static bool decode_cut(vqz_context *context, const sample_file *made, size_t size,
                       const vqz_image *image, uint64_t *found, uint64_t *codes) {
    vqz_decode_options options = {.partial = 1};
    vqz_decoder *decoder;
    vqz_info info;
    int whole = -1;
    /* a copy of just these bytes, so that a sanitizer sees reads outside of them */
    uint8_t *copy = malloc(size + 1);
    assert_non_null(copy);
    memcpy(copy, made->file, size);
    vqz_status status = vqz_decoder_create_with(&decoder, context, made->model, copy, size,
                                                &options, NULL);
    assert_int_equal(vqz_read_partial_info(copy, size, &info, &whole, NULL) == VQZ_OK,
                     status == VQZ_OK);
    if (status == VQZ_OK) {
        vqz_diag diag = {""};
        assert_int_equal(whole, size == made->size);
        assert_int_equal(vqz_decoder_read(decoder, image->pixels, image->stride, image->height,
                                          &diag),
                         VQZ_OK);
        vqz_decoder_get_found(decoder, found, codes);
        assert_true(*found <= *codes);
        vqz_decoder_free(decoder);
    }
    free(copy);
    return status == VQZ_OK;
}

static void test_cut_files(void **state) {
    (void)state;
    for (uint64_t m = 0; m < 16; m++) {
        bool prior = m % 4 != 0;
        sample_file made = make_file(100 + m, m % 2 ? 500 : 90, m % 2 ? 70 : 700, prior,
                                     prior ? (int)(m / 4 % 3) : VQZ_ENTROPY_AUTO, prior && m % 3);
        vqz_context *context = make_context(256);
        vqz_image image = make_image(made.image.width, made.image.height, made.image.channels);
        uint64_t last = 0, found, codes;
        vqzi_header header;
        assert_int_equal(vqzi_header_read(&header, made.file, made.size, NULL), VQZ_OK);
        for (size_t size = 0; size < header.tiles_offset; size += 1 + header.tiles_offset / 9)
            assert_false(decode_cut(context, &made, size, &image, &found, &codes));
        for (size_t size = header.tiles_offset; size < made.size;
             size += 1 + header.tiles_size / 37) {
            assert_true(decode_cut(context, &made, size, &image, &found, &codes));
            /* with a part of the checksum among its bytes the last tile may end in noise */
            if (size + 4 <= made.size && found < last)
                fail_msg("model %d: %d of %d bytes give %d codes, fewer gave %d", (int)m, (int)size,
                         (int)made.size, (int)found, (int)last);
            last = found;
            assert_int_not_equal(vqz_decode(context, made.model, made.file, size, &image, NULL),
                                 VQZ_OK);
        }
        assert_true(decode_cut(context, &made, made.size, &image, &found, &codes));
        assert_int_equal(found, codes);
        assert_memory_equal(image.pixels, made.image.pixels, image.stride * image.height);
        free(image.pixels);
        vqz_context_free(context);
        clear_file(&made);
    }
}

static vqzi_segments read_segments(const sample_file *made, vqzi_header *header) {
    vqzi_segments segments;
    assert_int_equal(vqzi_header_read(header, made->file, made->size, NULL), VQZ_OK);
    uint32_t tiles = vqzi_tile_count(2, header->width, header->height);
    uint32_t scans = header->scans ? made->model->model.prior.stage_count : 1;
    assert_int_equal(vqzi_segments_read(&segments, (uint8_t *)made->file + header->tiles_offset,
                                        header->tiles_size, tiles, scans, false),
                     VQZ_OK);
    return segments;
}

/* Tiles whose bytes are there have their pixels, but for the edge to those that are not. */
static void test_whole_tiles_of_a_cut_file(void **state) {
    (void)state;
    for (int entropy = VQZ_ENTROPY_RANS; entropy <= VQZ_ENTROPY_ZSTD; entropy++) {
        sample_file made = make_file(200, 100, 1400, true, entropy, false);
        vqzi_header header;
        vqzi_segments segments = read_segments(&made, &header);
        vqz_context *context = make_context(256);
        vqz_image image = make_image(100, 1400, made.image.channels);
        uint64_t found, codes;
        size_t cut = (size_t)(segments.data - (uint8_t *)made.file) + segments.ends[1] + 3;
        assert_int_equal(segments.count, 3);
        assert_true(decode_cut(context, &made, cut, &image, &found, &codes));
        uint32_t stride = made.model->model.stride;
        assert_true(found * ((1400 + stride - 1) / stride) >= codes * (1024 / stride));
        /* no net of a random model looks further than this */
        assert_memory_equal(image.pixels, made.image.pixels, image.stride * 600);
        free(image.pixels);
        vqzi_segments_clear(&segments);
        vqz_context_free(context);
        clear_file(&made);
    }
}

/* With the first scan there is something of every tile. */
static void test_first_scan(void **state) {
    (void)state;
    for (int entropy = VQZ_ENTROPY_RANS; entropy <= VQZ_ENTROPY_ZSTD; entropy++) {
        sample_file made = make_file(201, 500, 700, true, entropy, true);
        const vqzi_model *model = &made.model->model;
        vqzi_header header;
        vqzi_segments segments = read_segments(&made, &header);
        vqz_context *context = make_context(256);
        vqz_image image = make_image(500, 700, made.image.channels);
        uint64_t found, codes;
        size_t tiles = segments.tiles;
        size_t cut = (size_t)(segments.data - (uint8_t *)made.file) + segments.ends[tiles - 1];
        assert_int_equal(tiles, 4);
        bool one = model->prior.stage_count == 1; /* then the last segment is among them */
        assert_true(decode_cut(context, &made, cut + (one ? 4 : 0), &image, &found, &codes));
        assert_true(found >= codes / model->plane_count * model->prior.stages[0].planes);
        free(image.pixels);
        vqzi_segments_clear(&segments);
        vqz_context_free(context);
        clear_file(&made);
    }
}

/* ---- samples ---- */

static void test_samples(void **state) {
    (void)state;
    int different = 0;
    for (uint64_t m = 0; m < 9; m++) {
        random_model_options options;
        vqz_sample_options sample;
        vqz_diag diag = {""};
        random_model_options_draw(&options, seed + 900 + m);
        static const uint32_t channels[] = {1, 3, 4};
        options.channels = channels[m % 3];
        options.prior = true;
        vqz_model *model = random_model_load(&options);
        vqz_context *context = make_context(512), *other = make_context(32);
        vqz_context_options scalar;
        vqz_context *plain;
        vqz_context_options_init(&scalar);
        scalar.threads = 1;
        scalar.cpu = VQZ_CPU_SCALAR;
        assert_int_equal(vqz_context_create(&plain, &scalar, NULL), VQZ_OK);
        vqz_image a = make_image(450, 60, options.channels), b = make_image(450, 60, a.channels);
        size_t size = a.stride * a.height;
        vqz_sample_options_init(&sample);
        sample.seed = m;
        sample.temperature = (int)m % 3 * 4 - 4;
        if (vqz_sample(context, model, &sample, &a, &diag) != VQZ_OK)
            fail_msg("%s", diag.message);
        assert_int_equal(vqz_sample(other, model, &sample, &b, NULL), VQZ_OK);
        assert_memory_equal(a.pixels, b.pixels, size);
        memset(b.pixels, 0, size);
        assert_int_equal(vqz_sample(plain, model, &sample, &b, NULL), VQZ_OK);
        assert_memory_equal(a.pixels, b.pixels, size);
        sample.seed = m + 1;
        assert_int_equal(vqz_sample(context, model, &sample, &b, NULL), VQZ_OK);
        different += memcmp(a.pixels, b.pixels, size) != 0;
        sample.quality = 0;
        assert_int_equal(vqz_sample(context, model, &sample, &b, NULL), VQZ_ERROR_ARGUMENT);
        vqz_sample_options_init(&sample);
        b.channels = 2;
        assert_int_equal(vqz_sample(context, model, &sample, &b, NULL), VQZ_ERROR_ARGUMENT);
        b.channels = a.channels;
        vqz_model_free(model);
        options.prior = false;
        model = random_model_load(&options);
        assert_int_equal(vqz_sample(context, model, &sample, &b, &diag), VQZ_ERROR_ARGUMENT);
        assert_non_null(strstr(diag.message, "prior"));
        vqz_model_free(model);
        vqz_context_free(context);
        vqz_context_free(other);
        vqz_context_free(plain);
        free(a.pixels);
        free(b.pixels);
    }
    assert_true(different >= 6); /* some random models only know one picture */
}

/* The dearer bits are, the fewer there are; and decoding does not notice. */
static void test_rate_bias(void **state) {
    (void)state;
    for (int prior = 0; prior < 2; prior++) {
        random_model_options options;
        test_random random = {seed};
        random_model_options_init(&options, seed + 77);
        options.prior = prior;
        vqz_model *model = random_model_load(&options);
        vqz_context *context = make_context(512);
        vqz_image image = make_image(300, 200, 3);
        fill(&image, &random);
        vqz_encode_options encode;
        void *file;
        size_t size;
        vqz_encode_options_init(&encode);
        encode.rate_bias = 901;
        assert_int_equal(vqz_encode(context, model, &image, &encode, &file, &size, NULL),
                         VQZ_ERROR_ARGUMENT);
        for (encode.rate_bias = -100; encode.rate_bias <= 900; encode.rate_bias += 500) {
            vqz_image back = make_image(300, 200, 3);
            assert_int_equal(vqz_encode(context, model, &image, &encode, &file, &size, NULL),
                             VQZ_OK);
            assert_int_equal(vqz_decode(context, model, file, size, &back, NULL), VQZ_OK);
            free(back.pixels);
            vqz_free(file);
        }
        free(image.pixels);
        vqz_context_free(context);
        vqz_model_free(model);
    }
}

int main(void) {
    const char *text = getenv("SEED");
    seed = text ? strtoull(text, NULL, 10) : (uint64_t)time(NULL);
    printf("SEED=%llu\n", (unsigned long long)seed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_regions),
        cmocka_unit_test(test_little_memory),
        cmocka_unit_test(test_few_tiles),
        cmocka_unit_test(test_cut_files),
        cmocka_unit_test(test_whole_tiles_of_a_cut_file),
        cmocka_unit_test(test_first_scan),
        cmocka_unit_test(test_samples),
        cmocka_unit_test(test_rate_bias),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
