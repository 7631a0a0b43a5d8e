/*
 * test_prior_tables.c - frequencies from logits, against the formula of format/model.h.
 */
#include "format/model.h"
#include "tests/support/random_model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* The formula, with floating point and division. */
static void expected_frequencies(const int16_t *logits, uint32_t codes, uint32_t *frequencies) {
    uint64_t weights[VQZI_MAX_CODES], sum = 0;
    uint32_t first = 0, given = 0;
    for (uint32_t k = 1; k < codes; k++)
        if (logits[k] > logits[first])
            first = k;
    for (uint32_t k = 0; k < codes; k++) {
        int32_t below = logits[first] - logits[k];
        weights[k] = below / 256 >= 16
                         ? 0
                         : (uint64_t)floor(pow(2, 15 - below % 256 / 256.0) + 0.5) >> (below / 256);
        sum += weights[k];
    }
    for (uint32_t k = 0; k < codes; k++) {
        frequencies[k] = 1 + (uint32_t)(weights[k] * (65536 - codes) / sum);
        given += frequencies[k];
    }
    frequencies[first] += 65536 - given;
}

static void check(const int16_t *logits, uint32_t codes) {
    uint16_t frequencies[VQZI_MAX_CODES];
    uint32_t expected[VQZI_MAX_CODES], sum = 0;
    vqzi_prior_logits(logits, codes, frequencies);
    expected_frequencies(logits, codes, expected);
    for (uint32_t k = 0; k < codes; k++) {
        assert_int_equal(frequencies[k], expected[k]);
        assert_true(frequencies[k] >= 1);
        sum += frequencies[k];
    }
    assert_int_equal(sum, 65536);
}

/* Every entry of the table, and every shift. */
static void test_differences(void **state) {
    (void)state;
    for (int32_t below = 0; below <= 65535; below += below < 4500 ? 1 : 97) {
        int16_t logits[3] = {(int16_t)(INT16_MAX - below), INT16_MAX, (int16_t)(INT16_MAX - below)};
        check(logits, 2);
        check(logits, 3);
    }
}

static void test_ties(void **state) {
    (void)state;
    int16_t logits[VQZI_MAX_CODES] = {0};
    uint16_t frequencies[VQZI_MAX_CODES];
    for (uint32_t codes = 2; codes <= VQZI_MAX_CODES; codes++)
        check(logits, codes);
    /* what is missing goes to the first of the largest */
    logits[0] = -4;
    vqzi_prior_logits(logits, 7, frequencies);
    assert_true(frequencies[1] > frequencies[2]);
    assert_int_equal(frequencies[2], frequencies[6]);
    static const int16_t certain[2] = {INT16_MIN, INT16_MAX};
    vqzi_prior_logits(certain, 2, frequencies);
    assert_int_equal(frequencies[0], 1);
    assert_int_equal(frequencies[1], 65535);
}

static void test_random_logits(void **state) {
    (void)state;
    static const uint32_t counts[] = {2, 3, 16, 255, 256, 257, 1000, 4095, 4096};
    const char *text = getenv("SEED");
    test_random random = {text != NULL ? strtoull(text, NULL, 0) : 1};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        for (int32_t spread = 1; spread <= INT16_MAX; spread = spread * 2 + 1)
            for (int trial = 0; trial < 4; trial++) {
                int16_t logits[VQZI_MAX_CODES];
                for (uint32_t k = 0; k < counts[i]; k++)
                    logits[k] = (int16_t)test_random_range(&random, -spread - 1, spread);
                check(logits, counts[i]);
            }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_differences),
                                       cmocka_unit_test(test_ties),
                                       cmocka_unit_test(test_random_logits)};
    return cmocka_run_group_tests_name("prior tables", tests, NULL, NULL);
}
