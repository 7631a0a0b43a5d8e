/*
 * test_codec.c - encode and decode against a second implementation, over sizes and channel modes;
 * the same bytes and pixels for every thread count, instruction set and work tile; hostile files.
 *
 * SEED=n replays a run.
 */
#include "codec/internal.h"
#include "tests/support/file_maker.h"
#include "tests/support/naive_codec.h"
#include "tests/support/random_model.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t seed;

/* ---- helpers ---- */

/* work_tile 0: the tuning that users get; else that tile, and threads for the smallest loop. */
static vqz_context *make_context(int threads, vqz_cpu cpu, uint32_t work_tile) {
    vqz_context_options options;
    vqz_context *context = NULL;
    vqz_context_options_init(&options);
    options.threads = threads;
    options.cpu = cpu;
    assert_int_equal(vqz_context_create(&context, &options, NULL), VQZ_OK);
    if (work_tile > 0)
        vqzi_context_set_tuning(context, work_tile, 0);
    return context;
}

static vqz_image make_image(uint32_t width, uint32_t height, uint32_t channels) {
    vqz_image image = {width, height, channels, (size_t)width * channels + 5, NULL};
    image.pixels = calloc(height, image.stride);
    assert_non_null(image.pixels);
    return image;
}

/* Gradients, edges and noise, different in every channel. */
static vqz_image draw_image(test_random *random, uint32_t width, uint32_t height,
                            uint32_t channels) {
    vqz_image image = make_image(width, height, channels);
    int slope = test_random_range(random, -9, 9), noise = test_random_range(random, 0, 90);
    for (uint32_t y = 0; y < height; y++)
        for (uint32_t x = 0; x < width; x++)
            for (uint32_t c = 0; c < channels; c++) {
                int value = (int)(x * (c + 2)) * slope / 4 + (int)(y * (3 - c % 3)) +
                            (((x >> 4) + (y >> 3)) & 1 ? 80 : 0) +
                            test_random_range(random, 0, noise);
                image.pixels[y * image.stride + x * channels + c] = (uint8_t)value;
            }
    return image;
}

static void assert_same_pixels(const vqz_image *a, const vqz_image *b) {
    for (uint32_t y = 0; y < a->height; y++)
        for (size_t i = 0; i < (size_t)a->width * a->channels; i++)
            if (a->pixels[y * a->stride + i] != b->pixels[y * b->stride + i])
                fail_msg("pixel %zu, %u of %u x %u, channel %zu: %u and %u", i / a->channels, y,
                         a->width, a->height, i % a->channels, a->pixels[y * a->stride + i],
                         b->pixels[y * b->stride + i]);
}

typedef struct encoded {
    void *data;
    size_t size;
} encoded;

static encoded encode(vqz_context *context, const vqz_model *model, const vqz_image *image,
                      int quality) {
    encoded file = {NULL, 0};
    vqz_encode_options options;
    vqz_diag diag = {""};
    vqz_encode_options_init(&options);
    options.quality = quality;
    if (vqz_encode(context, model, image, &options, &file.data, &file.size, &diag) != VQZ_OK)
        fail_msg("%s", diag.message);
    return file;
}

static vqz_image decode(vqz_context *context, const vqz_model *model, encoded file) {
    vqz_info info;
    vqz_diag diag = {""};
    if (vqz_read_info(file.data, file.size, &info, &diag) != VQZ_OK)
        fail_msg("%s", diag.message);
    vqz_image image = make_image(info.width, info.height, info.channels);
    if (vqz_decode(context, model, file.data, file.size, &image, &diag) != VQZ_OK)
        fail_msg("%s", diag.message);
    return image;
}

/* ---- against the second implementation ---- */

/* The naive writer makes the same file of these indices, with and without scans. */
static void check_naive_files(vqz_context *context, const vqz_model *model,
                              const vqz_image *image, int quality, const uint16_t *indices) {
    vqz_encode_options options;
    vqz_encode_options_init(&options);
    options.quality = quality;
    options.entropy = VQZ_ENTROPY_RANS;
    for (options.progressive = 0; options.progressive < 2; options.progressive++) {
        vqzi_buffer naive = {0};
        encoded file;
        vqz_diag diag = {""};
        if (vqz_encode(context, model, image, &options, &file.data, &file.size, &diag) != VQZ_OK)
            fail_msg("%s", diag.message);
        naive_write_file(&model->model, quality, image->width, image->height, indices,
                         options.progressive, &naive);
        if (image->channels < 3) { /* what the naive writer does not know */
            naive.data[3] |= 0x10;
            mend_checksum(naive.data, naive.size);
        }
        assert_int_equal(naive.size, file.size);
        assert_memory_equal(naive.data, file.data, file.size);
        vqzi_buffer_clear(&naive);
        vqz_free(file.data);
    }
}

/* Indices that the library reads, which those of version 1 have to be; version 2 chooses them by what
   they cost. */
static uint16_t *expected_indices(vqz_context *context, const vqz_model *model,
                                  const vqz_image *image, encoded file, int quality,
                                  size_t count) {
    if (model->model.prior.stage_count == 0)
        return naive_encode(&model->model, quality, image);
    uint16_t *indices = malloc(count * sizeof *indices);
    assert_non_null(indices);
    assert_int_equal(vqz_read_codes(context, model, file.data, file.size, indices, count, NULL),
                     VQZ_OK);
    if (image->channels % 2 == 1)
        check_naive_files(context, model, image, quality, indices);
    return indices;
}

static void check_against_naive(test_random *random, vqz_context *context, const vqz_model *model,
                                uint32_t width, uint32_t height, uint32_t channels) {
    const vqzi_model *raw = &model->model;
    int quality = test_random_range(random, 1, 100);
    vqz_image image = draw_image(random, width, height, channels);
    encoded file = encode(context, model, &image, quality);
    vqz_image pixels = decode(context, model, file);
    assert_int_equal(pixels.channels, channels);

    size_t count = (size_t)naive_latent_side(raw, width) * naive_latent_side(raw, height) *
                   raw->plane_count;
    uint16_t *expected = expected_indices(context, model, &image, file, quality, count);
    uint16_t *actual = naive_read_indices(raw, file.data, file.size);
    assert_non_null(actual);
    for (size_t i = 0; i < count; i++)
        if (expected[i] != actual[i])
            fail_msg("index %zu of %zu: %u, naive %u (%u x %u, stride %u, model seed in output)", i,
                     count, actual[i], expected[i], width, height, raw->stride);
    vqz_image naive = make_image(width, height, channels);
    naive_decode(raw, quality, actual, &naive);
    if (channels % 2 == 0 && raw->channels != 4) /* alpha comes back as it was */
        for (uint32_t y = 0; y < height; y++)
            for (uint32_t x = 0; x < width; x++) {
                size_t at = x * channels + channels - 1;
                naive.pixels[y * naive.stride + at] = image.pixels[y * image.stride + at];
            }
    assert_same_pixels(&naive, &pixels);
    free(expected);
    free(actual);
    free(image.pixels);
    free(naive.pixels);
    free(pixels.pixels);
    vqz_free(file.data);
}

static void test_sizes_and_modes(void **state) {
    static const uint32_t sizes[][2] = {{1, 1}, {1, 37}, {41, 1}, {2, 2}, {15, 17}, {33, 31},
                                        {64, 64}, {65, 63}, {100, 75}};
    test_random random = {seed};
    (void)state;
    for (uint64_t m = 0; m < 24; m++) {
        random_model_options options;
        random_model_options_draw(&options, seed + m);
        vqz_model *model = random_model_load(&options);
        vqz_context *context = make_context(1, VQZ_CPU_BEST, 32u << m % 3);
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            uint32_t most = options.channels == 1 ? 2 : 4;
            uint32_t channels = (uint32_t)test_random_range(&random, 1, (int32_t)most);
            check_against_naive(&random, context, model, sizes[s][0], sizes[s][1], channels);
        }
        vqz_context_free(context);
        vqz_model_free(model);
    }
}

/* Pictures that span several container tiles. */
static void test_tile_borders(void **state) {
    static const uint32_t sizes[][2] = {{1025, 9}, {7, 1030}, {1024, 3}, {2050, 33}};
    test_random random = {seed + 1};
    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        random_model_options options;
        random_model_options_init(&options, seed + s);
        options.stride = 4u << s;
        options.hidden = 3;
        vqz_model *model = random_model_load(&options);
        vqz_context *context = make_context(2, VQZ_CPU_BEST, 0);
        check_against_naive(&random, context, model, sizes[s][0], sizes[s][1], 3);
        vqz_context_free(context);
        vqz_model_free(model);
    }
}

/* The synthesis halo may be taller than a container tile: 32 latent rows at stride 32. */
static void test_tall_halo(void **state) {
    random_model_options options;
    test_random random = {seed + 2};
    (void)state;
    random_model_options_init(&options, seed);
    options.stride = 32;
    options.hidden = 2;
    options.shuffle = true;
    vqzi_model raw;
    random_model(&raw, &options);
    /* a chain of 5x5 convolutions before the network: 20 x 2 rows each way */
    enum { CHAIN = 20 };
    uint32_t d = raw.latent_channels, count = raw.synthesis.op_count;
    vqzi_op *ops = calloc(count + CHAIN, sizeof *ops);
    assert_non_null(ops);
    memcpy(ops + CHAIN, raw.synthesis.ops, count * sizeof *ops);
    for (uint32_t i = CHAIN; i < count + CHAIN; i++) {
        ops[i].src = (uint8_t)(ops[i].src + CHAIN);
        if (ops[i].add != VQZI_NO_REGISTER)
            ops[i].add = (uint8_t)(ops[i].add + CHAIN);
    }
    for (uint32_t i = 0; i < CHAIN; i++) {
        size_t taps = 25 * (size_t)d;
        ops[i] = (vqzi_op){.kind = VQZI_CONV, .src = (uint8_t)i, .add = VQZI_NO_REGISTER,
                           .kernel = 5, .stride = 1, .bits = raw.latent_bits,
                           .channels = (uint16_t)d, .bias_sets = 1};
        ops[i].shift = calloc(d, 1);
        ops[i].weights = calloc(d * taps, sizeof(int16_t));
        ops[i].biases = calloc(d, sizeof(int32_t));
        for (size_t w = 0; w < d * taps; w++)
            ops[i].weights[w] = (int16_t)test_random_range(&random, -30, 30);
        memset(ops[i].shift, 7, d);
    }
    free(raw.synthesis.ops);
    raw.synthesis.ops = ops;
    raw.synthesis.op_count = count + CHAIN;
    void *bytes;
    size_t size;
    vqz_model *model = NULL;
    vqz_diag diag = {""};
    if (vqzi_model_serialise(&raw, &bytes, &size, &diag) != VQZ_OK ||
        vqz_model_load(&model, bytes, size, NULL, &diag) != VQZ_OK)
        fail_msg("%s", diag.message);
    vqzi_model_clear(&raw);
    free(bytes);
    vqz_context *context = make_context(1, VQZ_CPU_BEST, 256);
    check_against_naive(&random, context, model, 40, 3500, 3);
    vqz_context_free(context);
    vqz_model_free(model);
}

/* ---- the same for every machine ---- */

static void test_invariance(void **state) {
    static const struct {
        int threads;
        vqz_cpu cpu;
        uint32_t work_tile;
    } ways[] = {{1, VQZ_CPU_BEST, 1024}, {2, VQZ_CPU_BEST, 0},    {2, VQZ_CPU_BEST, 256},
                {1, VQZ_CPU_AVX2, 64},   {3, VQZ_CPU_AVX512, 128}, {1, VQZ_CPU_SCALAR, 32}};
    test_random random = {seed + 3};
    (void)state;
    for (uint64_t m = 0; m < 5; m++) {
        random_model_options options;
        random_model_options_draw(&options, seed + 100 + m);
        options.max_codes = VQZI_MIN(options.max_codes, 300u); /* the scalar search is slow */
        vqz_model *model = random_model_load(&options);
        vqz_image image = draw_image(&random, 1060 - 190 * (uint32_t)m, 50 + 40 * (uint32_t)m,
                                     options.channels);
        vqz_context *plain = make_context(1, VQZ_CPU_SCALAR, 1024);
        encoded file = encode(plain, model, &image, 70);
        vqz_image pixels = decode(plain, model, file);
        vqz_context_free(plain);
        for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
            vqz_context *context =
                make_context(ways[w].threads, ways[w].cpu, ways[w].work_tile);
            encoded again = encode(context, model, &image, 70);
            assert_int_equal(again.size, file.size);
            assert_memory_equal(again.data, file.data, file.size);
            vqz_image same = decode(context, model, again);
            assert_same_pixels(&pixels, &same);
            free(same.pixels);
            vqz_free(again.data);
            vqz_context_free(context);
        }
        free(image.pixels);
        free(pixels.pixels);
        vqz_free(file.data);
        vqz_model_free(model);
    }
}

/* ---- hostile files ---- */

static void test_mutations(void **state) {
    enum { MUTATIONS = 6000 };
    test_random random = {seed + 4};
    random_model_options options;
    size_t accepted = 0;
    (void)state;
    random_model_options_init(&options, seed);
    vqz_model *model = random_model_load(&options);
    vqz_context *context = make_context(1, VQZ_CPU_BEST, 0);
    vqz_image image = draw_image(&random, 70, 50, 4);
    vqz_encode_options encode_options;
    encoded file;
    vqz_encode_options_init(&encode_options);
    encode_options.icc = "a profile, a profile, a profile";
    encode_options.icc_size = 31;
    assert_int_equal(vqz_encode(context, model, &image, &encode_options, &file.data, &file.size,
                                NULL), VQZ_OK);
    for (int i = 0; i < MUTATIONS; i++) {
        size_t size = file.size;
        if (i % 5 == 0) /* cut short or with bytes after the end */
            size = (size_t)test_random_range(&random, 0, (int32_t)file.size + 9);
        uint8_t *bytes = malloc(VQZI_MAX(size, (size_t)1)); /* exact: sanitizers see overreads */
        assert_non_null(bytes);
        memset(bytes, 0, size);
        memcpy(bytes, file.data, VQZI_MIN(size, file.size));
        for (int n = test_random_range(&random, i % 5 == 0 ? 0 : 1, 3); n > 0 && size > 4; n--) {
            int32_t reach = test_random_next(&random) & 1 ? 40 : (int32_t)size - 5;
            size_t at = (size_t)test_random_range(&random, 0, VQZI_MIN(reach, (int32_t)size - 5));
            bytes[at] = (uint8_t)test_random_next(&random);
        }
        if (size >= 4)
            mend_checksum(bytes, size);
        vqz_info info;
        vqz_diag diag = {""};
        if (vqz_read_info(bytes, size, &info, &diag) == VQZ_OK &&
            (uint64_t)info.width * info.height <= 200000) {
            vqz_image out = make_image(info.width, info.height, info.channels);
            void *icc = NULL;
            size_t icc_size;
            if (vqz_decode(context, model, bytes, size, &out, &diag) == VQZ_OK)
                accepted++;
            else
                assert_true(diag.message[0] != 0);
            if (vqz_read_metadata(bytes, size, VQZ_METADATA_ICC, &icc, &icc_size, NULL) == VQZ_OK)
                vqz_free(icc);
            free(out.pixels);
        }
        free(bytes);
    }
    print_message("%zu of %d mutated files still decode\n", accepted, MUTATIONS);
    assert_true(accepted > 0); /* else the mutations never reach the decoder proper */
    free(image.pixels);
    vqz_free(file.data);
    vqz_context_free(context);
    vqz_model_free(model);
}

static void test_trailing_bytes(void **state) {
    random_model_options options;
    test_random random = {seed + 5};
    vqz_diag diag = {""};
    (void)state;
    random_model_options_init(&options, seed);
    vqz_model *model = random_model_load(&options);
    vqz_context *context = make_context(1, VQZ_CPU_BEST, 0);
    vqz_image image = draw_image(&random, 20, 20, 3);
    encoded file = encode(context, model, &image, 50);
    uint8_t *longer = calloc(file.size + 1, 1);
    assert_non_null(longer);
    memcpy(longer, file.data, file.size);
    mend_checksum(longer, file.size + 1);
    assert_int_equal(vqz_decode(context, model, longer, file.size + 1, &image, &diag),
                     VQZ_ERROR_CORRUPT);
    free(longer);
    free(image.pixels);
    vqz_free(file.data);
    vqz_context_free(context);
    vqz_model_free(model);
}

int main(void) {
    const char *replay = getenv("SEED");
    seed = replay ? strtoull(replay, NULL, 0) : (uint64_t)time(NULL);
    printf("SEED=%llu\n", (unsigned long long)seed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes_and_modes), cmocka_unit_test(test_tile_borders),
        cmocka_unit_test(test_tall_halo),       cmocka_unit_test(test_invariance),
        cmocka_unit_test(test_mutations),       cmocka_unit_test(test_trailing_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
