/*
 * test_similarity.c - the MS-SSIM loss: its value against the metric of `vqz eval`, its gradient
 * against central differences.
 */
#include "trainer/similarity.h"
#include "cli/metrics.h"
#include "trainer/random.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* Two crops that resemble each other, of whole 8-bit values: smooth, and with noise on it. */
static void draw_pair(random_state *random, int side, int channels, uint8_t *a, uint8_t *b) {
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++)
            for (int c = 0; c < channels; c++) {
                int at = (y * side + x) * channels + c;
                double value = 128 + 70 * sin(0.11 * x + c) * cos(0.07 * y) +
                               20 * random_uniform(random);
                a[at] = (uint8_t)value;
                b[at] = (uint8_t)fmin(255, value * 0.93 + 16 * random_uniform(random));
            }
}

static void to_floats(const uint8_t *bytes, int count, float *values) {
    for (int i = 0; i < count; i++)
        values[i] = ((int)bytes[i] - 128) / 128.0f;
}

static void check_value(random_state *random, int side, int channels) {
    int count = side * side * channels;
    uint8_t *a = malloc((size_t)count), *b = malloc((size_t)count);
    float *x = malloc((size_t)count * sizeof *x), *y = malloc((size_t)count * sizeof *y);
    float *gradient = calloc((size_t)count, sizeof *gradient);
    assert_true(a && b && x && y && gradient);
    draw_pair(random, side, channels, a, b);
    to_floats(a, count, x);
    to_floats(b, count, y);
    vqz_image first = {(uint32_t)side, (uint32_t)side, (uint32_t)channels,
                       (size_t)side * (size_t)channels, a};
    vqz_image second = first;
    second.pixels = b;
    double metric;
    similarity *s;
    assert_int_equal(metrics_ms_ssim(&first, &second, 1, &metric), VQZ_OK);
    assert_int_equal(similarity_create(&s, side, channels, 2), VQZ_OK);
    double loss = similarity_loss(s, 1, x, y, 0, gradient);
    assert_true(metric > 0.3 && metric < 0.999);
    assert_true(fabs(1 - loss - metric) < 2e-4);
    assert_true(fabs(similarity_loss(s, 0, x, x, 0, gradient)) < 1e-6);
    for (int i = 0; i < count; i++)
        assert_true(gradient[i] == 0);
    similarity_free(s);
    free(a);
    free(b);
    free(x);
    free(y);
    free(gradient);
}

static void test_value(void **state) {
    random_state random;
    (void)state;
    random_seed(&random, 1);
    check_value(&random, 176, 3);
    check_value(&random, 128, 1);
    check_value(&random, 37, 3);
}

static void check_gradient(random_state *random, int side, int channels) {
    enum { PROBES = 60 };
    int count = side * side * channels;
    uint8_t *bytes = malloc((size_t)count * 2);
    float *x = malloc((size_t)count * sizeof *x), *y = malloc((size_t)count * sizeof *y);
    float *gradient = calloc((size_t)count, sizeof *gradient);
    float *unused = calloc((size_t)count, sizeof *unused);
    assert_true(bytes && x && y && gradient && unused);
    draw_pair(random, side, channels, bytes, bytes + count);
    to_floats(bytes, count, x);
    to_floats(bytes + count, count, y);
    similarity *s;
    assert_int_equal(similarity_create(&s, side, channels, 1), VQZ_OK);
    similarity_loss(s, 0, x, y, 2, gradient);
    double error = 0, square = 0;
    for (int probe = 0; probe < PROBES; probe++) {
        int at = (int)random_below(random, (uint32_t)count);
        float kept = x[at], step = 0.02f;
        x[at] = kept + step;
        double above = similarity_loss(s, 0, x, y, 0, unused);
        x[at] = kept - step;
        double below = similarity_loss(s, 0, x, y, 0, unused);
        x[at] = kept;
        double slope = 2 * (above - below) / (2 * (double)step);
        error += (slope - gradient[at]) * (slope - gradient[at]);
        square += slope * slope;
    }
    assert_true(square > 0);
    assert_true(sqrt(error / square) < 0.02);
    similarity_free(s);
    free(bytes);
    free(x);
    free(y);
    free(gradient);
    free(unused);
}

static void test_gradient(void **state) {
    random_state random;
    (void)state;
    random_seed(&random, 2);
    check_gradient(&random, 11, 1);
    check_gradient(&random, 24, 1);
    check_gradient(&random, 47, 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_value),
                                       cmocka_unit_test(test_gradient)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
