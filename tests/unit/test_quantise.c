/*
 * test_quantise.c - the three ways of searching a plane (kernel, wide, table) against the
 * definition of quantise.h in int64, on codebooks from tiny to so extreme that costs leave int32.
 *
 * SEED=n replays a run.
 */
#include "codec/quantise.h"
#include "tests/support/random_model.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CHANNELS = 64, WIDTH = 50 };

static uint64_t seed;

/* One plane over the first `dims` channels, step 1, so that entries are the codebook itself. */
typedef struct book {
    vqzi_model model;
    vqzi_plane plane;
    uint8_t channels[CHANNELS];
    uint16_t steps[CHANNELS];
    uint32_t lambda;
} book;

static void book_init(book *b, test_random *random, uint32_t codes, uint32_t dims, bool extreme) {
    int32_t reach = extreme ? 4095 : test_random_range(random, 1, 300);
    memset(b, 0, sizeof *b);
    b->lambda = (uint32_t)test_random_range(random, 0, extreme ? (1 << 28) - 1 : 2000);
    b->plane = (vqzi_plane){.codes = (uint16_t)codes, .dims = (uint8_t)dims, .books = 1,
                            .channels = b->channels};
    b->plane.codebook = malloc((size_t)codes * dims * sizeof *b->plane.codebook);
    b->plane.rates = malloc(codes);
    assert_non_null(b->plane.codebook);
    assert_non_null(b->plane.rates);
    for (uint32_t k = 0; k < codes; k++) {
        b->plane.rates[k] = (uint8_t)test_random_next(random);
        bool negative = test_random_next(random) & 1;
        for (uint32_t i = 0; i < dims; i++)
            b->plane.codebook[k * dims + i] =
                (int16_t)(extreme ? (negative ? -reach - 1 : reach)
                                  : test_random_range(random, -reach, reach));
    }
    for (uint32_t c = 0; c < CHANNELS; c++) {
        b->channels[c] = (uint8_t)c;
        b->steps[c] = 1;
    }
    b->model.levels = 1;
    b->model.latent_bits = extreme ? 13 : 10;
    b->model.latent_channels = CHANNELS;
    b->model.steps = b->steps;
    b->model.lambdas = &b->lambda;
    b->model.plane_count = 1;
    b->model.planes = &b->plane;
}

static void book_clear(book *b) {
    free(b->plane.codebook);
    free(b->plane.rates);
}

static uint32_t nearest(const book *b, const int16_t *latent) {
    int64_t best = INT64_MAX;
    uint32_t code = 0;
    for (uint32_t k = 0; k < b->plane.codes; k++) {
        int64_t cost = VQZI_MIN((int64_t)b->lambda * b->plane.rates[k] / 8, (int64_t)1 << 29);
        for (uint32_t i = 0; i < b->plane.dims; i++) {
            int64_t difference = latent[i] - b->plane.codebook[k * b->plane.dims + i];
            cost += difference * difference;
        }
        if (cost < best) {
            best = cost;
            code = k;
        }
    }
    return code;
}

static void check(test_random *random, uint32_t codes, uint32_t dims, bool extreme, bool table) {
    book b;
    vqzi_kernels kernels;
    vqzi_quantiser *quantiser;
    int16_t latents[WIDTH * CHANNELS], back[WIDTH * CHANNELS];
    uint16_t found[WIDTH], *planes[1] = {found};
    const uint16_t *read_planes[1] = {found};
    book_init(&b, random, codes, dims, extreme);
    int32_t reach = 1 << (b.model.latent_bits - 1);
    vqzi_kernels_init(&kernels, VQZ_CPU_BEST);
    vqzi_quantiser_options options = {.encode = true, .max_width = WIDTH, .kernels = &kernels,
                                      .threads = 1, .positions = table ? 1 << 20 : 1};
    assert_int_equal(vqzi_quantiser_create(&quantiser, &b.model, &options), VQZ_OK);
    for (uint32_t x = 0; x < WIDTH; x++) {
        bool negative = test_random_next(random) & 1;
        for (uint32_t c = 0; c < CHANNELS; c++)
            latents[x * CHANNELS + c] =
                (int16_t)(extreme ? (negative ? -reach : reach - 1)
                                  : test_random_range(random, -reach, reach - 1));
    }
    vqzi_quantise_row(quantiser, 0, latents, WIDTH, planes);
    vqzi_dequantise_row(quantiser, 0, read_planes, WIDTH, back);
    for (uint32_t x = 0; x < WIDTH; x++) {
        assert_int_equal(found[x], nearest(&b, latents + x * CHANNELS));
        for (uint32_t c = 0; c < CHANNELS; c++)
            assert_int_equal(back[x * CHANNELS + c],
                             c < dims ? b.plane.codebook[found[x] * dims + c] : 0);
    }
    vqzi_quantiser_free(quantiser);
    book_clear(&b);
}

static void test_kernel_and_table(void **state) {
    static const uint32_t counts[] = {2, 9, 256, 4096};
    test_random random = {seed};
    (void)state;
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        check(&random, counts[c], 1, false, false);
        check(&random, counts[c], 1, false, true);
        check(&random, counts[c], 3, false, true);
        check(&random, counts[c], 64, false, false);
    }
}

static void test_costs_beyond_int32(void **state) {
    test_random random = {seed + 1};
    (void)state;
    for (int i = 0; i < 20; i++) {
        check(&random, 40, 64, true, false);
        check(&random, 40, 1, true, true);
        check(&random, 40, 31, true, false);
    }
}

int main(void) {
    const char *replay = getenv("SEED");
    seed = replay ? strtoull(replay, NULL, 0) : (uint64_t)time(NULL);
    printf("SEED=%llu\n", (unsigned long long)seed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernel_and_table),
        cmocka_unit_test(test_costs_beyond_int32),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
