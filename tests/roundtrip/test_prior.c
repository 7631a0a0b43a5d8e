/*
 * test_prior.c - tiles through a conditional prior and back, and files of version 2: the decoder
 * finds what the encoder chose; coders, scans and efforts agree; the same bytes for every thread
 * count, instruction set and work tile; damaged streams.
 *
 * SEED=n replays a run.
 */
#include "codec/internal.h"
#include "codec/quantise.h"
#include "tests/support/file_maker.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t seed;

static void *allocate(size_t count, size_t size) {
    void *memory = calloc(count > 0 ? count : 1, size);
    assert_non_null(memory);
    return memory;
}

static void draw_options(random_model_options *options, uint64_t from) {
    random_model_options_draw(options, from);
    options->prior = true;
}

/* ---- tiles ---- */

/* A tile with its own arrays. */
typedef struct test_tile {
    vqzi_prior_tile tile;
    uint16_t *planes[VQZI_MAX_PLANES];
    size_t latents, codes; /* elements */
} test_tile;

static void tile_init(test_tile *test, const vqzi_model *model, uint32_t rows, uint32_t columns) {
    size_t pitch = columns + 3;
    test->latents = rows * pitch * model->latent_channels;
    test->codes = rows * pitch * model->plane_count;
    test->tile = (vqzi_prior_tile){rows,
                                   columns,
                                   allocate(test->latents, sizeof(int16_t)),
                                   pitch * model->latent_channels,
                                   test->planes,
                                   pitch};
    uint16_t *codes = allocate(test->codes, sizeof *codes);
    for (uint32_t p = 0; p < model->plane_count; p++)
        test->planes[p] = codes + p * rows * pitch;
}

static void tile_clear(test_tile *test) {
    free(test->tile.latents);
    free(test->planes[0]);
}

/* Latents smooth here and noisy there, or of the extremes. */
static void draw_latents(test_tile *test, test_random *random, const vqzi_model *model) {
    int32_t high = (1 << (model->latent_bits - 1)) - 1, noise = test_random_range(random, 0, high);
    int32_t style = test_random_range(random, 0, 3);
    for (size_t i = 0; i < test->latents; i++) {
        int32_t value =
            style == 0 ? (test_random_next(random) & 1 ? high : -high - 1)
                       : (int32_t)(i % 97) * (style - 1) + test_random_range(random, -noise, noise);
        test->tile.latents[i] = (int16_t)VQZI_MIN(VQZI_MAX(value, -high - 1), high);
    }
}

/* What the codes stand for. */
static void check_latents(const test_tile *test, const vqzi_model *model, vqzi_level level) {
    for (uint32_t p = 0, channel = 0; p < model->plane_count; p++) {
        const vqzi_plane *plane = &model->planes[p];
        int16_t *entries = allocate((size_t)plane->codes * plane->dims, sizeof *entries);
        vqzi_model_entries(model, level, p, entries);
        for (uint32_t y = 0; y < test->tile.rows; y++)
            for (uint32_t x = 0; x < test->tile.columns; x++) {
                uint16_t code = test->planes[p][y * test->tile.code_pitch + x];
                assert_true(code < plane->codes);
                assert_memory_equal(test->tile.latents + y * test->tile.latent_pitch +
                                        x * model->latent_channels + channel,
                                    entries + (size_t)code * plane->dims,
                                    plane->dims * sizeof *entries);
            }
        channel += plane->dims;
        free(entries);
    }
}

static bool same_codes(const test_tile *a, const test_tile *b, const vqzi_model *model) {
    for (uint32_t p = 0; p < model->plane_count; p++)
        for (uint32_t y = 0; y < a->tile.rows; y++)
            if (memcmp(a->planes[p] + y * a->tile.code_pitch, b->planes[p] + y * b->tile.code_pitch,
                       a->tile.columns * sizeof(uint16_t)) != 0)
                return false;
    return true;
}

static void check_tile(test_random *random, const vqz_model *model, uint32_t rows,
                       uint32_t columns) {
    const vqzi_model *raw = &model->model;
    vqzi_level level = vqzi_model_level(raw, test_random_range(random, 1, 100));
    uint32_t stages = raw->prior.stage_count;
    const vqzi_prepared_prior *prior;
    vqzi_kernels kernels[2];
    vqzi_prior_coder *coders[2];
    vqzi_buffer streams[VQZI_MAX_STAGES + 1] = {{0}}, again = {0};
    test_tile source, result;
    vqzi_kernels_init(&kernels[0], VQZ_CPU_BEST);
    vqzi_kernels_init(&kernels[1], VQZ_CPU_SCALAR);
    assert_int_equal(vqzi_model_prior(model, &prior), VQZ_OK);
    for (int i = 0; i < 2; i++) /* one is larger than the tile */
        assert_int_equal(vqzi_prior_create(&coders[i], prior, level, &kernels[i],
                                           rows + 3 * (uint32_t)i, columns + 5 * (uint32_t)i,
                                           vqzi_lambda(raw, level, 0)),
                         VQZ_OK);
    tile_init(&source, raw, rows, columns);
    tile_init(&result, raw, rows, columns);
    draw_latents(&source, random, raw);
    int effort = test_random_range(random, 1, 9);
    assert_int_equal(vqzi_prior_encode(coders[0], &source.tile, effort, false, stages, streams),
                     VQZ_OK);
    assert_int_equal(vqzi_prior_encode(coders[0], &source.tile, effort, false, 1, &streams[stages]),
                     VQZ_OK);
    assert_int_equal(vqzi_prior_encode(coders[1], &source.tile, effort, false, 1, &again), VQZ_OK);
    assert_int_equal(again.size, streams[stages].size);
    if (again.size > 0)
        assert_memory_equal(again.data, streams[stages].data, again.size);

    for (uint32_t scans = 1; scans <= stages; scans += VQZI_MAX(stages - 1, 1u)) {
        const vqzi_buffer *from = &streams[scans == 1 && stages > 1 ? stages : 0];
        const uint8_t *data[VQZI_MAX_STAGES];
        size_t sizes[VQZI_MAX_STAGES];
        for (uint32_t i = 0; i < scans; i++) {
            data[i] = from[i].data;
            sizes[i] = from[i].size;
        }
        memset(result.tile.latents, 1, result.latents * sizeof(int16_t));
        assert_int_equal(vqzi_prior_decode(coders[scans & 1], &result.tile, data, sizes, scans),
                         VQZ_OK);
        assert_true(same_codes(&source, &result, raw));
        check_latents(&result, raw, level);
        /* one byte fewer or more is no stream, or one of other codes: there is one spelling of each
         */
        size_t size = sizes[scans - 1];
        uint8_t *other = allocate(size + 1, 1);
        if (size > 0)
            memcpy(other, data[scans - 1], size);
        data[scans - 1] = other;
        for (size_t near = size - (size > 0); near <= size + 1; near++) {
            sizes[scans - 1] = near;
            vqz_status status = vqzi_prior_decode(coders[0], &result.tile, data, sizes, scans);
            assert_true(status == VQZ_OK || status == VQZ_ERROR_CORRUPT);
            assert_int_equal(status == VQZ_OK && same_codes(&source, &result, raw), near == size);
        }
        free(other);
    }
    for (uint32_t i = 0; i <= stages; i++)
        vqzi_buffer_clear(&streams[i]);
    vqzi_buffer_clear(&again);
    tile_clear(&source);
    tile_clear(&result);
    vqzi_prior_free(coders[0]);
    vqzi_prior_free(coders[1]);
}

static void test_tiles(void **state) {
    test_random random = {seed};
    (void)state;
    for (uint64_t m = 0; m < 40; m++) {
        random_model_options options;
        draw_options(&options, seed + m);
        vqz_model *model = random_model_load(&options);
        uint32_t most = options.max_codes > 300 ? 5 : 20; /* logits of many codes are slow */
        check_tile(&random, model, 1, 1);
        for (int i = 0; i < 4; i++)
            check_tile(&random, model, (uint32_t)test_random_range(&random, 1, (int32_t)most),
                       (uint32_t)test_random_range(&random, 1, (int32_t)most));
        vqz_model_free(model);
    }
}

/* Bytes of no stream: an error or some codes, and nothing outside the arrays. */
static void test_noise(void **state) {
    test_random random = {seed + 1};
    (void)state;
    for (uint64_t m = 0; m < 10; m++) {
        random_model_options options;
        draw_options(&options, seed + 50 + m);
        options.max_codes = VQZI_MIN(options.max_codes, 300u);
        vqz_model *model = random_model_load(&options);
        const vqzi_prepared_prior *prior;
        vqzi_kernels kernels;
        vqzi_prior_coder *coder;
        test_tile result;
        vqzi_kernels_init(&kernels, VQZ_CPU_BEST);
        assert_int_equal(vqzi_model_prior(model, &prior), VQZ_OK);
        assert_int_equal(vqzi_prior_create(&coder, prior, vqzi_model_level(&model->model, 50),
                                           &kernels, 9, 7, 0),
                         VQZ_OK);
        tile_init(&result, &model->model, 9, 7);
        for (int i = 0; i < 300; i++) {
            size_t size = (size_t)test_random_range(&random, 0, 40);
            uint8_t *bytes = allocate(size, 1); /* exact */
            for (size_t at = 0; at < size; at++)
                bytes[at] = (uint8_t)test_random_next(&random);
            const uint8_t *data = bytes;
            vqz_status status = vqzi_prior_decode(coder, &result.tile, &data, &size, 1);
            assert_true(status == VQZ_OK || status == VQZ_ERROR_CORRUPT);
            free(bytes);
        }
        tile_clear(&result);
        vqzi_prior_free(coder);
        vqz_model_free(model);
    }
}

/* ---- files ---- */

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

static vqz_image draw_image(test_random *random, uint32_t width, uint32_t height,
                            uint32_t channels) {
    vqz_image image = {width, height, channels, (size_t)width * channels,
                       allocate((size_t)width * channels, height)};
    int32_t noise = test_random_range(random, 0, 60);
    for (size_t i = 0; i < image.stride * height; i++)
        image.pixels[i] = (uint8_t)(i / image.stride + i % image.stride * 3 +
                                    (size_t)test_random_range(random, 0, noise));
    return image;
}

typedef struct encoded {
    void *data;
    size_t size;
} encoded;

static encoded encode(vqz_context *context, const vqz_model *model, const vqz_image *image,
                      int effort, int entropy, int progressive) {
    encoded file = {NULL, 0};
    vqz_encode_options options;
    vqz_diag diag = {""};
    vqz_encode_options_init(&options);
    options.quality = 60;
    options.effort = effort;
    options.entropy = entropy;
    options.progressive = progressive;
    if (vqz_encode(context, model, image, &options, &file.data, &file.size, &diag) != VQZ_OK)
        fail_msg("%s", diag.message);
    return file;
}

static void decode(vqz_context *context, const vqz_model *model, encoded file,
                   const vqz_image *image) {
    vqz_diag diag = {""};
    if (vqz_decode(context, model, file.data, file.size, image, &diag) != VQZ_OK)
        fail_msg("%s", diag.message);
}

static uint16_t *read_codes(vqz_context *context, const vqz_model *model, encoded file,
                            size_t count) {
    uint16_t *codes = allocate(count, sizeof *codes);
    vqz_diag diag = {""};
    assert_int_equal(vqz_read_codes(context, model, file.data, file.size, codes, count + 1, &diag),
                     VQZ_ERROR_ARGUMENT);
    if (vqz_read_codes(context, model, file.data, file.size, codes, count, &diag) != VQZ_OK)
        fail_msg("%s", diag.message);
    return codes;
}

/* Every way to write the same codes gives the same codes and pixels; AUTO is rANS, or with much
   effort the smaller one.  Then the bytes decide between attempts, and those of scans may decide
   otherwise. */
static void check_ways(test_random *random, const vqz_model *model, uint32_t width,
                       uint32_t height) {
    static const struct {
        int entropy, progressive;
    } ways[] = {{VQZ_ENTROPY_RANS, 0}, {VQZ_ENTROPY_RANS, 1}, {VQZ_ENTROPY_ZSTD, 0},
                {VQZ_ENTROPY_ZSTD, 1}, {VQZ_ENTROPY_AUTO, 0}, {VQZ_ENTROPY_AUTO, 1}};
    const vqzi_model *raw = &model->model;
    vqz_context *context = make_context(2, VQZ_CPU_BEST, 0);
    int effort = test_random_range(random, 1, 9);
    vqz_image image = draw_image(random, width, height, raw->channels);
    vqz_image first[2] = {draw_image(random, width, height, raw->channels),
                          draw_image(random, width, height, raw->channels)};
    vqz_image other = draw_image(random, width, height, raw->channels);
    size_t count = (size_t)((width + raw->stride - 1) / raw->stride) *
                   ((height + raw->stride - 1) / raw->stride) * raw->plane_count;
    int kinds = effort < 7 ? 1 : 2; /* of codes: all the same, or without and with scans */
    size_t sizes[6];
    uint16_t *codes[2] = {NULL};
    for (int i = 0; i < 6; i++) {
        encoded file = encode(context, model, &image, effort, ways[i].entropy, ways[i].progressive);
        uint16_t *found = read_codes(context, model, file, count);
        decode(context, model, file, i < kinds ? &first[i] : &other);
        if (i < kinds) {
            codes[i] = found;
        } else {
            assert_memory_equal(codes[i % kinds], found, count * sizeof *found);
            assert_memory_equal(first[i % kinds].pixels, other.pixels, other.stride * height);
            free(found);
        }
        vqz_info info;
        assert_int_equal(vqz_read_info(file.data, file.size, &info, NULL), VQZ_OK);
        assert_int_equal(info.version, 2);
        sizes[i] = file.size;
        vqz_free(file.data);
    }
    if (effort < 7) {
        assert_int_equal(sizes[4], sizes[0]);
        assert_int_equal(sizes[5], sizes[1]);
    } else if (width * height < 1024) { /* it tries both to the end */
        assert_int_equal(sizes[4], VQZI_MIN(sizes[0], sizes[2]));
        assert_int_equal(sizes[5], VQZI_MIN(sizes[1], sizes[3]));
    }
    for (int i = 0; i < 2; i++) {
        free(codes[i]);
        free(first[i].pixels);
    }
    free(image.pixels);
    free(other.pixels);
    vqz_context_free(context);
}

static void test_ways(void **state) {
    test_random random = {seed + 2};
    (void)state;
    for (uint64_t m = 0; m < 12; m++) {
        random_model_options options;
        draw_options(&options, seed + 100 + m);
        options.max_codes = VQZI_MIN(options.max_codes, 300u);
        vqz_model *model = random_model_load(&options);
        check_ways(&random, model, 1, 1);
        check_ways(&random, model, (uint32_t)test_random_range(&random, 2, 31),
                   (uint32_t)test_random_range(&random, 2, 31));
        check_ways(&random, model, m % 3 == 0 ? 800 : 70, m % 3 == 1 ? 1060 : 40);
        vqz_model_free(model);
    }
}

static void test_invariance(void **state) {
    static const struct {
        int threads;
        vqz_cpu cpu;
        uint32_t work_tile;
    } ways[] = {{1, VQZ_CPU_BEST, 1024}, {2, VQZ_CPU_BEST, 0},     {2, VQZ_CPU_BEST, 256},
                {1, VQZ_CPU_AVX2, 64},   {3, VQZ_CPU_AVX512, 128}, {1, VQZ_CPU_SCALAR, 32}};
    test_random random = {seed + 3};
    (void)state;
    for (uint64_t m = 0; m < 4; m++) {
        random_model_options options;
        draw_options(&options, seed + 200 + m);
        options.max_codes = VQZI_MIN(options.max_codes, 100u);
        options.hidden = VQZI_MIN(options.hidden, 6u);
        options.stride = VQZI_MAX(options.stride, 8u);
        vqz_model *model = random_model_load(&options);
        vqz_image image =
            draw_image(&random, 900 - 250 * (uint32_t)m, 50 + 350 * (uint32_t)m, options.channels);
        vqz_image pixels = draw_image(&random, image.width, image.height, image.channels);
        vqz_image same = draw_image(&random, image.width, image.height, image.channels);
        vqz_context *plain = make_context(1, VQZ_CPU_SCALAR, 512);
        int effort = test_random_range(&random, 1, 9);
        encoded file = encode(plain, model, &image, effort, VQZ_ENTROPY_RANS, m & 1);
        decode(plain, model, file, &pixels);
        vqz_context_free(plain);
        for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
            vqz_context *context = make_context(ways[w].threads, ways[w].cpu, ways[w].work_tile);
            encoded again = encode(context, model, &image, effort, VQZ_ENTROPY_RANS, m & 1);
            assert_int_equal(again.size, file.size);
            assert_memory_equal(again.data, file.data, file.size);
            decode(context, model, again, &same);
            assert_memory_equal(pixels.pixels, same.pixels, same.stride * same.height);
            vqz_free(again.data);
            vqz_context_free(context);
        }
        free(image.pixels);
        free(pixels.pixels);
        free(same.pixels);
        vqz_free(file.data);
        vqz_model_free(model);
    }
}

/* Damage behind a checksum that is right. */
static void test_mutations(void **state) {
    enum { MUTATIONS = 3000 };
    test_random random = {seed + 4};
    random_model_options options;
    size_t accepted = 0;
    (void)state;
    random_model_options_init(&options, seed);
    options.prior = true;
    vqz_model *model = random_model_load(&options);
    vqz_context *context = make_context(1, VQZ_CPU_BEST, 0);
    vqz_image image = draw_image(&random, 500, 40, 3);
    vqz_image out = draw_image(&random, 500, 40, 3);
    for (int way = 0; way < 4; way++) {
        encoded file = encode(context, model, &image, 5,
                              way & 1 ? VQZ_ENTROPY_RANS : VQZ_ENTROPY_ZSTD, way >> 1);
        for (int i = 0; i < MUTATIONS / 4; i++) {
            size_t size = file.size;
            if (i % 5 == 0)
                size = (size_t)test_random_range(&random, 0, (int32_t)file.size + 9);
            uint8_t *bytes = allocate(size, 1); /* exact */
            memcpy(bytes, file.data, VQZI_MIN(size, file.size));
            for (int n = test_random_range(&random, i % 5 == 0 ? 0 : 1, 3); n > 0 && size > 4;
                 n--) {
                int32_t reach = test_random_next(&random) & 1 ? 40 : (int32_t)size - 5;
                bytes[test_random_range(&random, 0, VQZI_MIN(reach, (int32_t)size - 5))] =
                    (uint8_t)test_random_next(&random);
            }
            if (size >= 4)
                mend_checksum(bytes, size);
            vqz_diag diag = {""};
            vqz_status status = vqz_decode(context, model, bytes, size, &out, &diag);
            accepted += status == VQZ_OK;
            assert_true(status == VQZ_OK || diag.message[0] != 0);
            free(bytes);
        }
        vqz_free(file.data);
    }
    print_message("%zu of %d mutated files still decode\n", accepted, MUTATIONS);
    free(image.pixels);
    free(out.pixels);
    vqz_context_free(context);
    vqz_model_free(model);
}

/* What a model without a prior cannot do is refused; what it can, it does as ever. */
static void test_options(void **state) {
    random_model_options options;
    vqz_encode_options request;
    vqz_diag diag;
    test_random random = {seed};
    encoded file;
    (void)state;
    random_model_options_init(&options, seed);
    vqz_model *model = random_model_load(&options);
    vqz_context *context = make_context(1, VQZ_CPU_BEST, 0);
    vqz_image image = draw_image(&random, 20, 20, 3);
    vqz_encode_options_init(&request);
    assert_int_equal(request.effort, 6);
    request.entropy = VQZ_ENTROPY_RANS;
    assert_int_equal(vqz_encode(context, model, &image, &request, &file.data, &file.size, &diag),
                     VQZ_ERROR_ARGUMENT);
    assert_non_null(strstr(diag.message, "prior"));
    request.entropy = VQZ_ENTROPY_ZSTD;
    request.effort = 10;
    assert_int_equal(vqz_encode(context, model, &image, &request, &file.data, &file.size, &diag),
                     VQZ_ERROR_ARGUMENT);
    request.effort = 1;
    assert_int_equal(vqz_encode(context, model, &image, &request, &file.data, &file.size, &diag),
                     VQZ_OK);
    vqz_info info;
    assert_int_equal(vqz_read_info(file.data, file.size, &info, NULL), VQZ_OK);
    assert_int_equal(info.version, 1);
    free(read_codes(context, model, file, 3 * 3 * model->model.plane_count));
    vqz_free(file.data);
    free(image.pixels);
    vqz_context_free(context);
    vqz_model_free(model);
}

int main(void) {
    const char *replay = getenv("SEED");
    seed = replay ? strtoull(replay, NULL, 0) : (uint64_t)time(NULL);
    printf("SEED=%llu\n", (unsigned long long)seed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tiles),     cmocka_unit_test(test_noise),
        cmocka_unit_test(test_ways),      cmocka_unit_test(test_invariance),
        cmocka_unit_test(test_mutations), cmocka_unit_test(test_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
