/*
 * test_rd.c - the interpolation and the BD-rate of bench_rd, against cases whose answer is known.
 */
#include "tests/bench/rd_curve.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const double PSNR[] = {22, 25.5, 27, 31, 34.2, 40};
static const double RATE[] = {0.05, 0.11, 0.2, 0.45, 0.7, 2.1};
enum { POINTS = 6 };

static void assert_near(double value, double expected, double tolerance) {
    if (!(fabs(value - expected) <= tolerance))
        fail_msg("%.12g is not %.12g", value, expected);
}

static void scaled(rd_curve *c, double factor) {
    double rate[POINTS];
    for (int i = 0; i < POINTS; i++)
        rate[i] = factor * RATE[i];
    rd_curve_init(c, rate, PSNR, POINTS);
}

/* A curve that needs a constant factor of another's rate differs by exactly that factor. */
static void test_constant_factor(void **state) {
    (void)state;
    const double factors[] = {0.25, 0.8, 1, 1.3, 7};
    rd_curve a, b;
    rd_difference d;
    scaled(&b, 1);
    for (int i = 0; i < 5; i++) {
        scaled(&a, factors[i]);
        assert_true(rd_curve_compare(&d, &a, &b, 0, INFINITY));
        assert_near(d.factor, factors[i], 1e-12 * factors[i]);
        assert_near(d.least_psnr, 22, 0);
        assert_near(d.most_psnr, 40, 0);
    }
}

/* Straight lines in log rate, sampled at different PSNRs: the mean difference over the interval
   that they share, [26, 38], is the difference in its middle. */
static void test_lines(void **state) {
    (void)state;
    const double psnr_a[] = {20, 23, 29, 38}, psnr_b[] = {26, 31, 35, 36, 44};
    double rate_a[4], rate_b[5];
    rd_curve a, b;
    rd_difference d;
    for (int i = 0; i < 4; i++)
        rate_a[i] = exp(0.15 * psnr_a[i] - 3);
    for (int i = 0; i < 5; i++)
        rate_b[i] = exp(0.12 * psnr_b[i] - 2.5);
    rd_curve_init(&a, rate_a, psnr_a, 4);
    rd_curve_init(&b, rate_b, psnr_b, 5);
    assert_true(rd_curve_compare(&d, &a, &b, 0, INFINITY));
    assert_near(d.least_psnr, 26, 0);
    assert_near(d.most_psnr, 38, 0);
    assert_near(log(d.factor), 0.03 * 32 - 0.5, 1e-12);

    /* a rate range holds for both: from a's PSNR, the greater, at the least, to b's at the most */
    double least = exp(0.15 * 28 - 3), most = exp(0.12 * 37 - 2.5);
    assert_true(rd_curve_compare(&d, &a, &b, least, most));
    assert_near(d.least_psnr, fmax(28, (log(least) + 2.5) / 0.12), 1e-9);
    assert_near(d.most_psnr, fmin(37, (log(most) + 3) / 0.15), 1e-9);
    assert_near(log(d.factor), 0.03 * (d.least_psnr + d.most_psnr) / 2 - 0.5, 1e-9);
}

/* Expected: the same polynomials in the power form of Fritsch and Carlson, computed apart from this
 * code. */
static void test_pchip(void **state) {
    (void)state;
    const double at[] = {22.5, 26, 30, 33, 39},
                 expected[] = {-2.932163322472, -2.017265489848, -0.963964292650, -0.524350424579,
                               0.525283379833};
    rd_curve c;
    scaled(&c, 1);
    for (int i = 0; i < POINTS; i++)
        assert_near(rd_curve_rate(&c, PSNR[i]), RATE[i], 1e-12);
    for (int i = 0; i < 5; i++) {
        assert_near(log(rd_curve_rate(&c, at[i])), expected[i], 1e-9);
        assert_near(rd_curve_psnr(&c, rd_curve_rate(&c, at[i])), at[i], 1e-9);
    }
    assert_true(isnan(rd_curve_rate(&c, 21.9)) && isnan(rd_curve_rate(&c, 40.1)));
    assert_near(rd_curve_psnr(&c, 0.01), 22, 0);
    assert_near(rd_curve_psnr(&c, 100), 40, 0);
}

/* Order does not matter; settings that nobody would use are no part of the curve. */
static void test_points(void **state) {
    (void)state;
    const double psnr[] = {40, 25, 22, 25, 31, 25}, rate[] = {2, 0.3, 0.1, 0.2, 0.5, 0.2};
    rd_curve c;
    rd_curve_init(&c, rate, psnr, 6);
    assert_int_equal(c.count, 4);
    assert_near(c.psnr[1], 25, 0);
    assert_near(rd_curve_rate(&c, 25), 0.2, 1e-12);
    assert_near(rd_curve_rate(&c, 31), 0.5, 1e-12);
}

static void test_nothing_in_common(void **state) {
    (void)state;
    const double low[] = {20, 25}, high[] = {26, 30}, rate[] = {1, 2};
    rd_curve a, b, one;
    rd_difference d;
    rd_curve_init(&a, rate, low, 2);
    rd_curve_init(&b, rate, high, 2);
    rd_curve_init(&one, rate, low, 1);
    assert_false(rd_curve_compare(&d, &a, &b, 0, INFINITY));
    assert_false(rd_curve_compare(&d, &one, &a, 0, INFINITY));
    assert_false(rd_curve_compare(&d, &a, &a, 3, 4));
    assert_near(rd_curve_rate(&one, 20), 1, 1e-12);
    assert_near(rd_curve_psnr(&one, 5), 20, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_constant_factor),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_pchip),
        cmocka_unit_test(test_points),
        cmocka_unit_test(test_nothing_in_common),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
