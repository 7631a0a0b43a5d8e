/*
 * test_target.c - the search for a quality, on curves that are known.
 */
#include "cli/target.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <math.h>

/* What comes out at a point: bytes that grow by `step` a quality and fall with the bias, or dB. */
typedef struct curve {
    target_kind kind;
    double least, step;
    double bias_power; /* 0: the bias has no effect */
    bool one_level;
} curve;

static double value_at(const curve *c, const target_point *point) {
    double quality = c->one_level ? 50 : point->quality;
    double dear = pow(1 + point->rate_bias / 100.0 + 1e-3, -c->bias_power);
    if (c->kind == TARGET_BYTES)
        return floor(c->least * pow(c->step, quality - 1) * dear);
    return c->least + c->step * (quality - 1) + 3 * log10(dear);
}

static target_search run(const curve *c, double wanted, int *tries) {
    target_search search;
    target_point point;
    double kept = 0;
    target_begin(&search, c->kind, wanted, c->one_level);
    for (*tries = 0; target_next(&search, &point); ++*tries) {
        assert_in_range(point.quality, 1, 100);
        assert_true(point.rate_bias >= -100 && point.rate_bias <= 900);
        assert_true(*tries < 15);
        double value = value_at(c, &point);
        if (target_report(&search, value))
            kept = value;
    }
    assert_true(kept == search.best.reached && kept == value_at(c, &search.best));
    return search;
}

static void test_sizes(void **state) {
    (void)state;
    static const curve curves[] = {
        {TARGET_BYTES, 1000, 1.03, 0.3, false},
        {TARGET_BYTES, 1000, 1.08, 0.3, false}, /* steps beyond the tolerance: the bias is needed */
        {TARGET_BYTES, 20000, 1.03, 0.4, true},
    };
    for (size_t i = 0; i < sizeof curves / sizeof *curves; i++) {
        double low = value_at(&curves[i], &(target_point){.quality = 1, .rate_bias = 600});
        double high = value_at(&curves[i], &(target_point){.quality = 100, .rate_bias = -30});
        for (double wanted = low; wanted < high; wanted *= 1.013) {
            int tries;
            target_search search = run(&curves[i], wanted, &tries);
            assert_true(target_met(&search));
            /* no more than was asked for */
            assert_true(search.best.reached <= wanted && search.best.reached >= 0.97 * wanted);
        }
    }
}

static void test_psnr(void **state) {
    (void)state;
    static const curve c = {TARGET_PSNR, 20, 0.19, 1, false};
    for (double wanted = 20; wanted < 38; wanted += 0.07) {
        int tries;
        target_search search = run(&c, wanted, &tries);
        assert_true(target_met(&search));
        assert_true(search.best.reached >= wanted && search.best.reached <= wanted + 0.1);
    }
}

/* Too coarse, too small, too large: the nearest, told apart from what was met. */
static void test_missed(void **state) {
    (void)state;
    static const curve coarse = {TARGET_BYTES, 1000, 1.2, 0, false};
    int tries;
    target_search search = run(&coarse, 1000 * 1.2 * 1.06, &tries);
    assert_false(target_met(&search));
    assert_int_equal(search.best.quality, 2);
    search = run(&coarse, 10, &tries);
    assert_false(target_met(&search));
    assert_int_equal(search.best.quality, 1);
    search = run(&coarse, 1e30, &tries);
    assert_false(target_met(&search));
    assert_int_equal(search.best.quality, 100);
    assert_true(tries <= 9); /* a bias without effect is not pursued */
    static const curve fine = {TARGET_BYTES, 1000, 1.03, 0.3, false};
    search = run(&fine, 10, &tries);
    assert_false(target_met(&search));
    assert_true(search.best.quality == 1 && search.best.rate_bias > 800);
    search = run(&fine, 1e9, &tries);
    assert_true(search.best.quality == 100 && search.best.rate_bias < -90);
    /* a picture that any quality keeps whole */
    static const curve perfect = {TARGET_PSNR, HUGE_VAL, 0, 0, false};
    search = run(&perfect, 40, &tries);
    assert_false(target_met(&search));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_psnr),
        cmocka_unit_test(test_missed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
