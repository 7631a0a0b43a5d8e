/*
 * test_threads.c - a context of several threads, with every loop shared and many small work tiles,
 * makes the files and the pixels of one thread.  Small, so that it can run under a race detector:
 * `make check-tsan`.
 */
#include "codec/internal.h"
#include "tests/support/random_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { WIDTH = 420, HEIGHT = 70, CHANNELS = 4, THREADS = 4, ROW = WIDTH * CHANNELS };

typedef struct result {
    void *file;
    size_t size;
    uint8_t pixels[HEIGHT * ROW], part[HEIGHT * ROW];
} result;

static void must(vqz_status status, const vqz_diag *diag) {
    if (status != VQZ_OK)
        fail_msg("%s: %s", vqz_status_string(status), diag->message);
}

static void code(result *r, const vqz_model *model, const vqz_encode_options *options,
                 int threads) {
    static uint8_t pixels[HEIGHT * ROW];
    vqz_diag diag = {""};
    vqz_context *context;
    vqz_context_options settings;
    vqz_context_options_init(&settings);
    settings.threads = threads;
    must(vqz_context_create(&context, &settings, &diag), &diag);
    vqzi_context_set_tuning(context, 32, 0);
    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = (uint8_t)(i / 5 + i / ROW * 3 + i * i % 17);
    vqz_image image = {WIDTH, HEIGHT, CHANNELS, ROW, pixels};
    must(vqz_encode(context, model, &image, options, &r->file, &r->size, &diag), &diag);
    image.pixels = r->pixels;
    must(vqz_decode(context, model, r->file, r->size, &image, &diag), &diag);
    vqz_decode_options part;
    vqz_decode_options_init(&part);
    part.partial = 1; /* and cut: the last tiles are missed */
    memset(r->part, 0, sizeof r->part);
    image.pixels = r->part;
    must(vqz_decode_with(context, model, r->file, r->size - r->size / 4, &part, &image, &diag),
         &diag);
    vqz_context_free(context);
}

static void check(bool prior, const vqz_encode_options *options) {
    static result one, many;
    random_model_options model_options;
    random_model_options_init(&model_options, 4);
    model_options.prior = prior;
    model_options.hidden = 3;
    vqz_model *model = random_model_load(&model_options);
    code(&many, model, options, THREADS); /* first: the model is still to be prepared */
    code(&one, model, options, 1);
    assert_int_equal(one.size, many.size);
    assert_memory_equal(one.file, many.file, one.size);
    assert_memory_equal(one.pixels, many.pixels, sizeof one.pixels);
    assert_memory_equal(one.part, many.part, sizeof one.part);
    vqz_free(one.file);
    vqz_free(many.file);
    vqz_model_free(model);
}

static void test_zstd(void **state) {
    (void)state;
    vqz_encode_options options;
    vqz_encode_options_init(&options);
    check(false, &options);
}

static void test_rans(void **state) {
    (void)state;
    vqz_encode_options options;
    vqz_encode_options_init(&options);
    options.entropy = VQZ_ENTROPY_RANS;
    options.effort = 7;
    check(true, &options);
    options.effort = 2;
    options.progressive = 1;
    check(true, &options);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_zstd), cmocka_unit_test(test_rans)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
