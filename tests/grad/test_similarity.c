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

/* Two crops, as bytes and as floats, and a gradient of zeros. */
typedef struct crop_pair {
    int count;
    uint8_t *a, *b;
    float *x, *y, *gradient;
} crop_pair;

static crop_pair make_pair(random_state *random, int side, int channels) {
    crop_pair p = {.count = side * side * channels};
    size_t count = (size_t)p.count;
    p.a = malloc(2 * count);
    p.x = malloc(2 * count * sizeof *p.x);
    p.gradient = calloc(count, sizeof *p.gradient);
    assert_true(p.a && p.x && p.gradient);
    p.b = p.a + count;
    p.y = p.x + count;
    draw_pair(random, side, channels, p.a, p.b);
    to_floats(p.a, 2 * p.count, p.x);
    return p;
}

static void free_pair(crop_pair *p) {
    free(p->a);
    free(p->x);
    free(p->gradient);
}

static void check_value(random_state *random, int side, int channels) {
    crop_pair p = make_pair(random, side, channels);
    vqz_image first = {(uint32_t)side, (uint32_t)side, (uint32_t)channels,
                       (size_t)side * (size_t)channels, p.a};
    vqz_image second = first;
    second.pixels = p.b;
    double metric;
    similarity *s;
    assert_int_equal(metrics_ms_ssim(&first, &second, 1, &metric), VQZ_OK);
    assert_int_equal(similarity_create(&s, side, channels, 2), VQZ_OK);
    double loss = similarity_loss(s, 1, p.x, p.y, 0, p.gradient);
    assert_true(metric > 0.3 && metric < 0.999);
    assert_true(fabs(1 - loss - metric) < 2e-4);
    assert_true(fabs(similarity_loss(s, 0, p.x, p.x, 0, p.gradient)) < 1e-6);
    for (int i = 0; i < p.count; i++)
        assert_true(p.gradient[i] == 0);
    similarity_free(s);
    free_pair(&p);
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
    const float step = 0.02f;
    crop_pair p = make_pair(random, side, channels);
    float *unused = calloc((size_t)p.count, sizeof *unused);
    assert_non_null(unused);
    similarity *s;
    assert_int_equal(similarity_create(&s, side, channels, 1), VQZ_OK);
    similarity_loss(s, 0, p.x, p.y, 2, p.gradient);
    double error = 0, square = 0;
    for (int probe = 0; probe < PROBES; probe++) {
        int at = (int)random_below(random, (uint32_t)p.count);
        float kept = p.x[at];
        p.x[at] = kept + step;
        double above = similarity_loss(s, 0, p.x, p.y, 0, unused);
        p.x[at] = kept - step;
        double below = similarity_loss(s, 0, p.x, p.y, 0, unused);
        p.x[at] = kept;
        double slope = 2 * (above - below) / (2 * (double)step);
        error += (slope - p.gradient[at]) * (slope - p.gradient[at]);
        square += slope * slope;
    }
    assert_true(square > 0);
    assert_true(sqrt(error / square) < 0.02);
    similarity_free(s);
    free_pair(&p);
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
