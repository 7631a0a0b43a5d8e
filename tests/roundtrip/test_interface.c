/*
 * test_interface.c - what vqz.h promises beside pixels: limits, refusals and their messages,
 * metadata, sizes of files, models shared between threads.
 */
#include "codec/internal.h"
#include "tests/support/random_model.h"

#include <pthread.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct fixture {
    vqz_model *model;
    vqz_context *context;
    vqz_diag diag;
} fixture;

static vqz_model *load_model(uint64_t seed, uint32_t channels) {
    random_model_options options;
    random_model_options_init(&options, seed);
    options.channels = channels;
    return random_model_load(&options);
}

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->model = load_model(11, 3);
    assert_int_equal(vqz_context_create(&f->context, NULL, NULL), VQZ_OK);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    vqz_model_free(f->model);
    vqz_context_free(f->context);
    free(f);
    return 0;
}

static vqz_image make_image(uint32_t width, uint32_t height, uint32_t channels) {
    vqz_image image = {width, height, channels, (size_t)width * channels, NULL};
    image.pixels = malloc(image.stride * height);
    assert_non_null(image.pixels);
    for (size_t i = 0; i < image.stride * height; i++)
        image.pixels[i] = (uint8_t)(i * 7 + i / image.stride * 13);
    return image;
}

static vqz_context *limited(uint64_t max_pixels, uint64_t max_memory) {
    vqz_context_options options;
    vqz_context *context;
    vqz_context_options_init(&options);
    options.threads = 1;
    options.limits.max_pixels = max_pixels;
    options.limits.max_memory = max_memory;
    assert_int_equal(vqz_context_create(&context, &options, NULL), VQZ_OK);
    return context;
}

static void test_limits(void **state) {
    fixture *f = *state;
    vqz_image image = make_image(600, 520, 3), out = make_image(600, 520, 3);
    vqz_image again = make_image(600, 520, 3);
    void *file, *same;
    size_t size, same_size;
    assert_int_equal(vqz_encode(f->context, f->model, &image, NULL, &file, &size, NULL), VQZ_OK);
    assert_int_equal(vqz_decode(f->context, f->model, file, size, &out, NULL), VQZ_OK);

    vqz_context *pixels = limited(600 * 520 - 1, 1 << 30);
    assert_int_equal(vqz_encode(pixels, f->model, &image, NULL, &same, &same_size, &f->diag),
                     VQZ_ERROR_LIMIT);
    assert_non_null(strstr(f->diag.message, "max_pixels"));
    assert_int_equal(vqz_decode(pixels, f->model, file, size, &again, &f->diag), VQZ_ERROR_LIMIT);
    vqz_context_free(pixels);

    vqz_context *tiny = limited(1 << 28, 20000);
    assert_int_equal(vqz_encode(tiny, f->model, &image, NULL, &same, &same_size, &f->diag),
                     VQZ_ERROR_LIMIT);
    assert_non_null(strstr(f->diag.message, "max_memory"));
    assert_int_equal(vqz_decode(tiny, f->model, file, size, &again, &f->diag), VQZ_ERROR_LIMIT);
    vqz_context_free(tiny);

    /* little memory makes smaller work tiles, not other results */
    vqz_context *small = limited(1 << 28, 1500000);
    assert_int_equal(vqz_encode(small, f->model, &image, NULL, &same, &same_size, NULL), VQZ_OK);
    assert_int_equal(same_size, size);
    assert_memory_equal(same, file, size);
    assert_int_equal(vqz_decode(small, f->model, file, size, &again, NULL), VQZ_OK);
    assert_memory_equal(again.pixels, out.pixels, out.stride * out.height);
    vqz_context_free(small);
    vqz_free(file);
    vqz_free(same);
    free(image.pixels);
    free(out.pixels);
    free(again.pixels);
}

static void test_wrong_model(void **state) {
    fixture *f = *state;
    vqz_model *other = load_model(12, 3);
    vqz_image image = make_image(9, 9, 3);
    vqz_model_info info, other_info;
    void *file;
    size_t size;
    char needs[9], has[9];
    assert_int_equal(vqz_encode(f->context, f->model, &image, NULL, &file, &size, NULL), VQZ_OK);
    assert_int_equal(vqz_decode(f->context, other, file, size, &image, &f->diag),
                     VQZ_ERROR_MODEL_MISMATCH);
    vqz_model_get_info(f->model, &info);
    vqz_model_get_info(other, &other_info);
    snprintf(needs, sizeof needs, "%02x%02x%02x%02x", info.hash[0], info.hash[1], info.hash[2],
             info.hash[3]);
    snprintf(has, sizeof has, "%02x%02x%02x%02x", other_info.hash[0], other_info.hash[1],
             other_info.hash[2], other_info.hash[3]);
    assert_non_null(strstr(f->diag.message, needs));
    assert_non_null(strstr(f->diag.message, has));
    vqz_free(file);
    free(image.pixels);
    vqz_model_free(other);
}

static void test_arguments(void **state) {
    fixture *f = *state;
    vqz_model *gray = load_model(13, 1);
    vqz_image image = make_image(16, 16, 3), bad = image;
    vqz_encode_options options;
    vqz_context_options context_options;
    vqz_context *context = NULL;
    void *file = NULL;
    size_t size = 77;
    assert_int_equal(vqz_encode(f->context, gray, &image, NULL, &file, &size, &f->diag),
                     VQZ_ERROR_ARGUMENT);
    assert_non_null(strstr(f->diag.message, "gray"));
    vqz_encode_options_init(&options);
    options.quality = 101;
    assert_int_equal(vqz_encode(f->context, f->model, &image, &options, &file, &size, NULL),
                     VQZ_ERROR_ARGUMENT);
    options.quality = 0;
    assert_int_equal(vqz_encode(f->context, f->model, &image, &options, &file, &size, NULL),
                     VQZ_ERROR_ARGUMENT);
    options.quality = 1;
    options.icc_size = 5;
    assert_int_equal(vqz_encode(f->context, f->model, &image, &options, &file, &size, NULL),
                     VQZ_ERROR_ARGUMENT);
    bad.width = 0;
    assert_int_equal(vqz_encode(f->context, f->model, &bad, NULL, &file, &size, NULL),
                     VQZ_ERROR_ARGUMENT);
    bad = image;
    bad.height = 65536;
    assert_int_equal(vqz_encode(f->context, f->model, &bad, NULL, &file, &size, NULL),
                     VQZ_ERROR_ARGUMENT);
    bad = image;
    bad.channels = 5;
    assert_int_equal(vqz_encode(f->context, f->model, &bad, NULL, &file, &size, NULL),
                     VQZ_ERROR_ARGUMENT);
    bad = image;
    bad.stride = 47;
    assert_int_equal(vqz_encode(f->context, f->model, &bad, NULL, &file, &size, NULL),
                     VQZ_ERROR_ARGUMENT);
    assert_null(file); /* outputs are untouched by failures */
    assert_int_equal(size, 77);
    assert_int_equal(vqz_encode(f->context, f->model, &image, NULL, &file, &size, NULL), VQZ_OK);
    bad = image;
    bad.width = 15;
    assert_int_equal(vqz_decode(f->context, f->model, file, size, &bad, &f->diag),
                     VQZ_ERROR_ARGUMENT);
    bad = image;
    bad.channels = 1;
    assert_int_equal(vqz_decode(f->context, f->model, file, size, &bad, &f->diag),
                     VQZ_ERROR_ARGUMENT);
    assert_int_equal(vqz_decode(f->context, f->model, "PNG", 3, &image, &f->diag),
                     VQZ_ERROR_FORMAT);
    vqz_context_options_init(&context_options);
    context_options.threads = -1;
    assert_int_equal(vqz_context_create(&context, &context_options, &f->diag), VQZ_ERROR_ARGUMENT);
    assert_null(context);
    vqz_free(file);
    free(image.pixels);
    vqz_model_free(gray);
}

static void test_metadata(void **state) {
    fixture *f = *state;
    vqz_image image = make_image(20, 10, 2);
    vqz_encode_options options;
    vqz_info info;
    char icc[3000], exif[] = "II*\0 camera";
    void *file, *bare, *data = &info;
    size_t size, bare_size, data_size;
    for (size_t i = 0; i < sizeof icc; i++)
        icc[i] = (char)(i % 50);
    vqz_encode_options_init(&options);
    assert_int_equal(vqz_encode(f->context, f->model, &image, &options, &bare, &bare_size, NULL),
                     VQZ_OK);
    options.quality = 33;
    options.icc = icc;
    options.icc_size = sizeof icc;
    options.exif = exif;
    options.exif_size = sizeof exif;
    assert_int_equal(vqz_encode(f->context, f->model, &image, &options, &file, &size, NULL),
                     VQZ_OK);
    assert_int_equal(vqz_read_info(file, size, &info, NULL), VQZ_OK);
    assert_int_equal(info.version, 1);
    assert_int_equal(info.width, 20);
    assert_int_equal(info.height, 10);
    assert_int_equal(info.channels, 2);
    assert_int_equal(info.quality, 33);
    assert_int_equal(info.icc_size, sizeof icc);
    assert_int_equal(info.exif_size, sizeof exif);
    assert_int_equal(info.header_bytes, 15);
    assert_int_equal(info.header_bytes + info.chunk_bytes + info.index_bytes, size);
    assert_true(info.chunk_bytes < 1000); /* the profile repeats itself */
    assert_int_equal(vqz_read_metadata(file, size, VQZ_METADATA_ICC, &data, &data_size, NULL),
                     VQZ_OK);
    assert_int_equal(data_size, sizeof icc);
    assert_memory_equal(data, icc, sizeof icc);
    vqz_free(data);
    assert_int_equal(vqz_read_metadata(file, size, VQZ_METADATA_EXIF, &data, &data_size, NULL),
                     VQZ_OK);
    assert_int_equal(data_size, sizeof exif);
    assert_memory_equal(data, exif, sizeof exif);
    vqz_free(data);
    data = &info;
    assert_int_equal(vqz_read_metadata(bare, bare_size, VQZ_METADATA_ICC, &data, &data_size, NULL),
                     VQZ_OK);
    assert_null(data);
    assert_int_equal(data_size, 0);
    vqz_free(file);
    vqz_free(bare);
    free(image.pixels);
}

static void test_opaque_alpha_is_cheap(void **state) {
    fixture *f = *state;
    vqz_image image = make_image(300, 200, 4), out = make_image(300, 200, 4);
    vqz_info info;
    void *file;
    size_t size;
    for (size_t i = 3; i < image.stride * image.height; i += 4)
        image.pixels[i] = 255;
    assert_int_equal(vqz_encode(f->context, f->model, &image, NULL, &file, &size, NULL), VQZ_OK);
    assert_int_equal(vqz_read_info(file, size, &info, NULL), VQZ_OK);
    assert_int_equal(info.channels, 4);
    assert_true(info.chunk_bytes < 40);
    assert_int_equal(vqz_decode(f->context, f->model, file, size, &out, NULL), VQZ_OK);
    for (size_t i = 3; i < out.stride * out.height; i += 4)
        assert_int_equal(out.pixels[i], 255);
    vqz_free(file);
    free(image.pixels);
    free(out.pixels);
}

static void test_model_info(void **state) {
    fixture *f = *state;
    vqz_model_info info;
    const vqzi_model *raw = &f->model->model;
    vqz_model_get_info(f->model, &info);
    assert_int_equal(info.channels, 3);
    assert_int_equal(info.stride, raw->stride);
    assert_int_equal(info.latent_channels, raw->latent_channels);
    assert_int_equal(info.planes, raw->plane_count);
    assert_int_equal(info.levels, raw->levels);
    assert_memory_equal(info.hash, raw->hash, sizeof info.hash);
    assert_non_null(info.card);
    assert_true(info.analysis_macs > 0);
    assert_true(info.synthesis_macs > 0);
    assert_true(info.parameters > 100);
}

/* One model, several threads with a context each. */
typedef struct worker {
    const vqz_model *model;
    const vqz_image *image;
    void *file;
    size_t size;
    vqz_status status;
} worker;

static void *work(void *argument) {
    worker *w = argument;
    vqz_context_options options;
    vqz_context *context;
    vqz_context_options_init(&options);
    options.threads = 1;
    w->status = vqz_context_create(&context, &options, NULL);
    for (int i = 0; i < 10 && w->status == VQZ_OK; i++) {
        vqz_free(w->file);
        w->file = NULL;
        w->status = vqz_encode(context, w->model, w->image, NULL, &w->file, &w->size, NULL);
    }
    vqz_context_free(context);
    return NULL;
}

static void test_shared_model(void **state) {
    fixture *f = *state;
    vqz_image image = make_image(90, 70, 3);
    pthread_t threads[3];
    worker workers[3];
    for (int i = 0; i < 3; i++) {
        workers[i] = (worker){f->model, &image, NULL, 0, VQZ_ERROR_ARGUMENT};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(workers[i].status, VQZ_OK);
        assert_int_equal(workers[i].size, workers[0].size);
        assert_memory_equal(workers[i].file, workers[0].file, workers[0].size);
    }
    for (int i = 0; i < 3; i++)
        vqz_free(workers[i].file);
    free(image.pixels);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_limits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_wrong_model, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_arguments, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_metadata, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_opaque_alpha_is_cheap, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_model_info, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_shared_model, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
