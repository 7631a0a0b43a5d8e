/*
 * test_trainer.c - the trainer's parts: eigenvectors, Adam behind its gate, presets, random numbers.
 */
#include "trainer/optimiser.h"
#include "trainer/pca.h"
#include "trainer/preset.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_eigenvectors(void **state) {
    (void)state;
    enum { M = 24 };
    double a[M * M], copy[M * M], values[M], vectors[M * M];
    random_state random;
    random_seed(&random, 3);
    for (int i = 0; i < M; i++)
        for (int j = 0; j <= i; j++)
            a[i * M + j] = a[j * M + i] = random_normal(&random);
    memcpy(copy, a, sizeof a);
    pca_eigen(a, M, values, vectors);
    for (int v = 0; v < M; v++) {
        if (v)
            assert_true(values[v] <= values[v - 1]);
        for (int w = 0; w <= v; w++) {
            double dot = 0;
            for (int i = 0; i < M; i++)
                dot += vectors[v * M + i] * vectors[w * M + i];
            assert_true(fabs(dot - (v == w)) < 1e-9);
        }
        for (int i = 0; i < M; i++) {
            double product = 0;
            for (int j = 0; j < M; j++)
                product += copy[i * M + j] * vectors[v * M + j];
            assert_true(fabs(product - values[v] * vectors[v * M + i]) < 1e-8);
        }
    }
}

static void test_adam_reaches_minimum(void **state) {
    (void)state;
    optimiser o;
    vqz_diag diag;
    assert_int_equal(optimiser_create(&o, 2, 2, 0.999f, &diag), VQZ_OK);
    float x[2] = {3, -2}, g[2];
    double norm;
    for (int i = 0; i < 3000; i++) {
        g[0] = 2 * (x[0] - 1);
        g[1] = 20 * (x[1] - 0.5f);
        assert_true(optimiser_step(&o, x, g, 1, 0.01f, &norm));
    }
    assert_true(fabsf(x[0] - 1) < 1e-2f && fabsf(x[1] - 0.5f) < 1e-2f);
    optimiser_clear(&o);
}

static void test_bad_gradients_change_nothing(void **state) {
    (void)state;
    optimiser o;
    vqz_diag diag;
    assert_int_equal(optimiser_create(&o, 3, 3, 0.99f, &diag), VQZ_OK);
    float x[3] = {1, 2, 3}, g[3] = {0.1f, -0.1f, 0.1f}, before[3], m[3];
    double norm;
    for (int i = 0; i < 100; i++)
        assert_true(optimiser_step(&o, x, g, 1, 1e-3f, &norm));
    memcpy(before, x, sizeof x);
    memcpy(m, o.m, sizeof m);
    const float bad[] = {NAN, INFINITY, -INFINITY, 1e3f};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        float wrong[3] = {0.1f, bad[i], 0.1f};
        assert_false(optimiser_step(&o, x, wrong, 1, 1e-3f, &norm));
    }
    assert_false(optimiser_step(&o, x, g, NAN, 1e-3f, &norm)); /* the loss alone */
    assert_memory_equal(x, before, sizeof x);
    assert_memory_equal(o.m, m, sizeof m);
    assert_true(optimiser_step(&o, x, g, 1, 1e-3f, &norm)); /* and it goes on */
    /* A lasting change of scale is accepted after a while. */
    float large[3] = {10, -10, 10};
    int tries = 0;
    while (!optimiser_step(&o, x, large, 1, 1e-3f, &norm) && tries < 1000)
        tries++;
    assert_true(tries > 1 && tries < 200);
    optimiser_clear(&o);
}

static void test_presets(void **state) {
    (void)state;
    static model_spec spec;
    train_settings settings;
    vqz_diag diag;
    for (int channels = 1; channels <= 4; channels++) {
        if (channels == 2)
            continue;
        const char *names[] = {"classic", "photo", "fast", "best", "graphics", "tiny"};
        for (int i = 0; i < 6; i++) {
            assert_int_equal(preset_build(names[i], channels, 0, 0, &spec, &settings, &diag),
                             VQZ_OK);
            const layer *last = &spec.synthesis.layers[spec.synthesis.layer_count - 1];
            assert_int_equal(last->cout, channels);
            last = &spec.analysis.layers[spec.analysis.layer_count - 1];
            assert_int_equal(last->cout, spec.latent_channels);
            int covered = 0;
            for (int p = 0; p < spec.plane_count; p++)
                covered += spec.planes[p].dims;
            assert_int_equal(covered, spec.latent_channels);
            const stage_spec *end = &spec.stages[spec.stage_count - 1];
            assert_int_equal(end->end, spec.latent_channels);
            assert_int_equal(end->first_plane + end->planes, spec.plane_count);
        }
    }
    /* What the sizes of photo promise of decoding: kMAC a pixel, synthesis and prior. */
    static const struct {
        const char *name;
        double most;
    } sizes[] = {{"fast", 4000}, {"photo", 10000}, {"best", 30000}};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(preset_build(sizes[i].name, 3, 0, 0, &spec, &settings, &diag), VQZ_OK);
        double macs = network_macs(&spec.synthesis, 16, 16);
        for (int k = 0; k < spec.stage_count; k++)
            macs += network_macs(&spec.stages[k].net, 16, 16);
        macs /= 16.0 * 16 * spec.stride * spec.stride;
        if (!(macs <= sizes[i].most && macs > 0.9 * sizes[i].most))
            fail_msg("%s: %.0f", sizes[i].name, macs);
    }
    /* The literature's figures: K = 512, D = 64, beta = 0.25. */
    assert_int_equal(preset_build("classic", 3, 0, 0, &spec, &settings, &diag), VQZ_OK);
    assert_int_equal(spec.planes[0].codes, 512);
    assert_int_equal(spec.planes[0].dims, 64);
    assert_true(settings.beta == 0.25f);
    assert_int_equal(preset_build("classic", 3, 4096, 0, &spec, &settings, &diag), VQZ_OK);
    assert_int_equal(preset_build("classic", 3, 4097, 0, &spec, &settings, &diag),
                     VQZ_ERROR_ARGUMENT);
    assert_int_equal(preset_build("photo", 3, 512, 0, &spec, &settings, &diag),
                     VQZ_ERROR_ARGUMENT); /* its codebooks have fixed sizes */
    assert_int_equal(preset_build("photo", 3, 0, 200, &spec, &settings, &diag),
                     VQZ_ERROR_ARGUMENT);
    assert_int_equal(preset_build("sharp", 3, 0, 0, &spec, &settings, &diag), VQZ_ERROR_ARGUMENT);
    assert_non_null(strstr(diag.message, "classic"));
}

static void test_random_numbers(void **state) {
    (void)state;
    random_state random, again;
    random_seed(&random, 5);
    double sum = 0, squares = 0;
    int counts[7] = {0};
    enum { COUNT = 70000 };
    for (int i = 0; i < COUNT; i++) {
        double v = random_normal(&random);
        sum += v;
        squares += v * v;
        counts[random_below(&random, 7)]++;
    }
    assert_true(fabs(sum / COUNT) < 0.02 && fabs(squares / COUNT - 1) < 0.03);
    for (int i = 0; i < 7; i++)
        assert_true(abs(counts[i] - COUNT / 7) < 500);
    random_seed(&random, 5);
    random_seed(&again, 5);
    for (int i = 0; i < 10; i++)
        assert_true(random_next(&random) == random_next(&again));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_eigenvectors),
        cmocka_unit_test(test_adam_reaches_minimum),
        cmocka_unit_test(test_bad_gradients_change_nothing),
        cmocka_unit_test(test_presets),
        cmocka_unit_test(test_random_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
