/*
 * test_shared_model.c - one model used by several threads from its first use on: what it makes
 * lazily is made while others want it too.  Run under SAN=thread, this is the proof that they may.
 */
#include "codec/vqz.h"
#include "tests/support/random_model.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SIDE = 48, THREADS = 4, QUALITIES = 3, ROUNDS = 3 };
static const int qualities[QUALITIES] = {1, 50, 100};

typedef struct work {
    pthread_barrier_t *start;
    const vqz_model *model;
    uint8_t pixels[SIDE * SIDE * 3];
    void *files[QUALITIES];
    size_t sizes[QUALITIES];
    uint8_t decoded[QUALITIES][SIDE * SIDE * 3];
    vqz_status status;
} work;

static vqz_status code(work *w, vqz_context *context, int i) {
    vqz_image image = {.width = SIDE, .height = SIDE, .channels = 3, .stride = SIDE * 3};
    vqz_encode_options options;
    vqz_encode_options_init(&options);
    options.quality = qualities[i];
    image.pixels = w->pixels;
    vqz_status status =
        vqz_encode(context, w->model, &image, &options, &w->files[i], &w->sizes[i], NULL);
    image.pixels = w->decoded[i];
    return status != VQZ_OK ? status
                            : vqz_decode(context, w->model, w->files[i], w->sizes[i], &image, NULL);
}

static void *run(void *argument) {
    work *w = argument;
    vqz_context_options options;
    vqz_context *context = NULL;
    vqz_context_options_init(&options);
    options.threads = 1;
    w->status = vqz_context_create(&context, &options, NULL);
    if (w->start != NULL)
        pthread_barrier_wait(w->start);
    for (int i = 0; i < QUALITIES && w->status == VQZ_OK; i++)
        w->status = code(w, context, i);
    vqz_context_free(context);
    return NULL;
}

static void work_clear(work *w) {
    for (int i = 0; i < QUALITIES; i++)
        vqz_free(w->files[i]);
}

static vqz_model *load(void) {
    size_t size;
    const void *data = vqz_default_model(&size);
    vqz_model *model = NULL;
    assert_int_equal(vqz_model_load(&model, data, size, NULL, NULL), VQZ_OK);
    return model;
}

static void test_first_use(void **state) {
    (void)state;
    static work expected, works[THREADS];
    test_random random = {1};
    vqz_model *model = load();
    expected.model = model;
    for (int i = 0; i < SIDE * SIDE * 3; i++)
        expected.pixels[i] = (uint8_t)(i / (SIDE * 3) * 4 + test_random_range(&random, 0, 30));
    run(&expected);
    assert_int_equal(expected.status, VQZ_OK);
    vqz_model_free(model);
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t threads[THREADS];
        pthread_barrier_t start;
        assert_int_equal(pthread_barrier_init(&start, NULL, THREADS), 0);
        model = load();
        for (int t = 0; t < THREADS; t++) {
            works[t] = (work){.start = &start, .model = model};
            memcpy(works[t].pixels, expected.pixels, sizeof expected.pixels);
            assert_int_equal(pthread_create(&threads[t], NULL, run, &works[t]), 0);
        }
        for (int t = 0; t < THREADS; t++)
            assert_int_equal(pthread_join(threads[t], NULL), 0);
        for (int t = 0; t < THREADS; t++) {
            assert_int_equal(works[t].status, VQZ_OK);
            for (int i = 0; i < QUALITIES; i++) {
                assert_int_equal(works[t].sizes[i], expected.sizes[i]);
                assert_memory_equal(works[t].files[i], expected.files[i], expected.sizes[i]);
                assert_memory_equal(works[t].decoded[i], expected.decoded[i],
                                    sizeof expected.decoded[i]);
            }
            work_clear(&works[t]);
        }
        vqz_model_free(model);
        pthread_barrier_destroy(&start);
    }
    work_clear(&expected);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_first_use)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
