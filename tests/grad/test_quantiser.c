/*
 * test_quantiser.c - the quantiser in training: assignment against brute force, every loss term
 * against central differences, stop-gradients, moving averages against their definition.
 */
#include "trainer/quantiser.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { D = 20, LEVELS = 2, PER_SAMPLE = 12, SAMPLES = 4, N = PER_SAMPLE * SAMPLES, SCALAR_PLANE = 3 };

typedef struct fixture {
    model_spec spec;
    backend *backend;
    quantiser *q;
    random_state random;
    float *parameters, *gradients, *latent, *quantised, *grad;
    uint16_t *indices;
    int levels[SAMPLES];
    float lambdas[LEVELS];
} fixture;

/* Planes: a wide one (matrix product), narrow ones over the same channels (residual), and a scalar one,
   which is left to the prior (test_prior.c). */
static void make_spec(model_spec *spec) {
    memset(spec, 0, sizeof *spec);
    spec->latent_channels = D;
    spec->levels = LEVELS;
    spec->plane_count = 4;
    spec->planes[0] = (plane_spec){.dims = 16, .codes = 40};
    for (int c = 0; c < 16; c++)
        spec->planes[0].channels[c] = c;
    spec->planes[1] = (plane_spec){.dims = 3, .codes = 70, .channels = {2, 3, 17}};
    spec->planes[2] = (plane_spec){.dims = 1, .codes = 9, .channels = {18}};
    spec->planes[3] =
        (plane_spec){.dims = 1, .codes = 8, .scalar = true, .channels = {19}};
}

static int setup(void **state) {
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    make_spec(&f->spec);
    random_seed(&f->random, getenv("SEED") ? strtoull(getenv("SEED"), NULL, 0) : 7);
    vqz_diag diag;
    assert_int_equal(backend_create(&f->backend, PRECISION_FLOAT32, 2, &diag), VQZ_OK);
    assert_int_equal(quantiser_create(&f->q, &f->spec, f->backend, N, &diag), VQZ_OK);
    size_t count = quantiser_parameter_count(f->q);
    f->parameters = calloc(count, sizeof(float));
    f->gradients = calloc(count, sizeof(float));
    f->latent = calloc(N * D, sizeof(float));
    f->quantised = calloc(N * D, sizeof(float));
    f->grad = calloc(N * D, sizeof(float));
    f->indices = calloc((size_t)f->spec.plane_count * N, sizeof(uint16_t));
    quantiser_bind(f->q, f->parameters);
    f->lambdas[0] = 0.02f;
    f->lambdas[1] = 0.005f;
    quantiser_init(f->q, f->lambdas, &f->random);
    for (int i = 0; i < LEVELS * D; i++) /* steps that differ between channels */
        f->parameters[i] += 0.3f * random_normal(&f->random);
    for (int i = 0; i < N * D; i++)
        f->latent[i] = random_normal(&f->random);
    for (int i = 0; i < SAMPLES; i++)
        f->levels[i] = i % LEVELS;
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    quantiser_free(f->q);
    backend_free(f->backend);
    free(f->parameters);
    free(f->gradients);
    free(f->latent);
    free(f->quantised);
    free(f->grad);
    free(f->indices);
    free(f);
    return 0;
}

static void assign(fixture *f) {
    assert_int_equal(quantiser_assign(f->q, f->latent, N, PER_SAMPLE, f->levels, f->lambdas,
                                      f->indices, f->quantised),
                     VQZ_OK);
}

static void update(fixture *f) {
    float *statistics = malloc(quantiser_statistics_count(f->q) * sizeof *statistics);
    assert_non_null(statistics);
    quantiser_gather(f->q, f->indices, N, PER_SAMPLE, f->levels, statistics);
    quantiser_update(f->q, statistics, true);
    free(statistics);
}

static size_t restart(fixture *f, const float *lambdas, uint64_t threshold) {
    float *statistics = malloc(quantiser_statistics_count(f->q) * sizeof *statistics);
    assert_non_null(statistics);
    size_t found = quantiser_find_dead(f->q, SAMPLES, PER_SAMPLE, f->levels, 0, 1, lambdas,
                                       threshold, &f->random, statistics);
    quantiser_restart(f->q, statistics);
    free(statistics);
    return found;
}

static void test_assignment_minimises_cost(void **state) {
    fixture *f = *state;
    assign(f);
    update(f); /* unequal code lengths */
    assign(f);
    for (int n = 0; n < N; n++) {
        double sum[D] = {0};
        int level = f->levels[n / PER_SAMPLE];
        for (int p = 0; p < SCALAR_PLANE; p++) {
            const plane_spec *s = &f->spec.planes[p];
            const float *book = quantiser_book(f->q, p, level);
            const float *bits = quantiser_bits(f->q, p, level);
            double cost[128], best = INFINITY;
            for (int k = 0; k < s->codes; k++) {
                cost[k] = f->lambdas[level] * bits[k];
                for (int c = 0; c < s->dims; c++) {
                    int ch = s->channels[c];
                    double step = exp(quantiser_steps_log(f->q, level)[ch]);
                    double e = f->latent[n * D + ch] - sum[ch] - step * book[k * s->dims + c];
                    cost[k] += e * e;
                }
                best = fmin(best, cost[k]);
            }
            int chosen = f->indices[p * N + n];
            assert_true(chosen < s->codes);
            assert_true(cost[chosen] <= best + 1e-4 * (1 + best));
            for (int c = 0; c < s->dims; c++)
                sum[s->channels[c]] += exp(quantiser_steps_log(f->q, level)[s->channels[c]]) *
                                       book[chosen * s->dims + c];
        }
        for (int c = 0; c < D; c++)
            assert_true(fabs(f->quantised[n * D + c] - sum[c]) < 1e-4);
    }
}

static const float WEIGHTS[SAMPLES] = {0.5f, 1.0f, 2.0f, 0.25f};

static double difference_quotient(fixture *f, float *value, double (*function)(fixture *)) {
    const float h = 2e-3f;
    float keep = *value;
    *value = keep + h;
    double above = function(f);
    *value = keep - h;
    double below = function(f);
    *value = keep;
    return (above - below) / (2.0 * h);
}

static void assert_close(double analytic, double numeric) {
    if (fabs(analytic - numeric) > 2e-2 * (0.05 + fabs(numeric)))
        fail_msg("gradient %g, difference quotient %g", analytic, numeric);
}

static double commitment_of(fixture *f) {
    float *scratch = calloc(N * D, sizeof *scratch);
    double loss = quantiser_commitment(f->latent, f->quantised, N, PER_SAMPLE, D, WEIGHTS, 1.0f,
                                       scratch);
    free(scratch);
    return loss;
}

static void test_commitment_gradient_stops_at_codes(void **state) {
    fixture *f = *state;
    const float beta = 0.25f;
    assign(f);
    size_t count = quantiser_parameter_count(f->q);
    float *before = malloc(count * sizeof *before);
    memcpy(before, f->parameters, count * sizeof *before);
    quantiser_commitment(f->latent, f->quantised, N, PER_SAMPLE, D, WEIGHTS, beta, f->grad);
    for (int i = 0; i < 60; i++) {
        /* quantised is held: the codes are behind the stop-gradient. */
        uint32_t n = random_below(&f->random, N * D);
        assert_close(f->grad[n], beta * difference_quotient(f, &f->latent[n], commitment_of));
    }
    for (size_t i = 0; i < count; i++)
        assert_true(f->gradients[i] == 0 && f->parameters[i] == before[i]);
    free(before);
}

/* sum of weighted ||r - s e_k||^2 with assignments and residuals held, as the codebook loss sees it. */
static double codebook_loss(fixture *f) {
    double total = 0;
    for (int n = 0; n < N; n++) {
        int level = f->levels[n / PER_SAMPLE];
        const plane_spec *s = &f->spec.planes[0]; /* the first plane's residual is the latent */
        const float *entry =
            quantiser_book(f->q, 0, level) + (size_t)f->indices[n] * (size_t)s->dims;
        for (int c = 0; c < s->dims; c++) {
            double step = exp(quantiser_steps_log(f->q, level)[s->channels[c]]);
            double e = f->latent[n * D + s->channels[c]] - step * entry[c];
            total += WEIGHTS[n / PER_SAMPLE] * e * e;
        }
    }
    return total;
}

static void test_codebook_gradient(void **state) {
    fixture *f = *state;
    assign(f);
    quantiser_codebook_backward(f->q, f->indices, N, PER_SAMPLE, f->levels, WEIGHTS, f->gradients);
    float *book = quantiser_book_mutable(f->q, 0, 0);
    size_t offset = (size_t)(book - f->parameters);
    for (int i = 0; i < 16 * 40 * LEVELS; i += 7)
        assert_close(f->gradients[offset + (size_t)i],
                     difference_quotient(f, &f->parameters[offset + (size_t)i], codebook_loss));
    for (int i = 0; i < LEVELS * D; i++)
        assert_true(f->gradients[i] == 0); /* sg[r]: steps do not move */
    const float *scalar = quantiser_book(f->q, 3, 0);
    for (int i = 0; i < 8 * LEVELS; i++)
        assert_true(f->gradients[scalar - f->parameters + i] == 0);
}

static void test_moving_averages(void **state) {
    fixture *f = *state;
    /* From zero sums, debiased, a first update puts each used code at the mean of its vectors. */
    assign(f);
    update(f);
    for (int level = 0; level < LEVELS; level++)
        for (int k = 0; k < 40; k++) {
            double mean[16] = {0};
            int used = 0;
            for (int n = 0; n < N; n++)
                if (f->levels[n / PER_SAMPLE] == level && f->indices[n] == k) {
                    used++;
                    for (int c = 0; c < 16; c++)
                        mean[c] += f->latent[n * D + c] /
                                   exp(quantiser_steps_log(f->q, level)[c]);
                }
            const float *entry = quantiser_book(f->q, 0, level) + k * 16;
            for (int c = 0; c < 16 && used; c++)
                assert_true(fabs(entry[c] - mean[c] / used) < 1e-3 * (1 + fabs(mean[c])));
        }
    double total = 0;
    for (int k = 0; k < 40; k++)
        total += exp2(-quantiser_bits(f->q, 0, 0)[k]);
    assert_true(total > 0.9 && total < 1.1); /* code lengths are those of a distribution */
}

/* Two processes with every other sample: their statistics add up to those of the whole batch, and the
   codes they restart are the same. */
static void test_statistics_of_parts_add_up(void **state) {
    fixture *f = *state;
    enum { HALF = SAMPLES / 2 };
    size_t count = quantiser_statistics_count(f->q);
    float *whole = malloc(count * sizeof *whole), *found = malloc(count * sizeof *found);
    float *part = malloc(count * sizeof *part);
    float *gathered = calloc(count, sizeof *gathered), *chosen = calloc(count, sizeof *chosen);
    assert_true(whole && found && part && gathered && chosen);
    const float plain[LEVELS] = {0, 0};
    random_state random = f->random;
    assign(f);
    quantiser_gather(f->q, f->indices, N, PER_SAMPLE, f->levels, whole);
    assert_true(quantiser_find_dead(f->q, SAMPLES, PER_SAMPLE, f->levels, 0, 1, plain, 1, &random,
                                    found) > 0);
    for (int rank = 0; rank < 2; rank++) {
        static float latent[HALF * PER_SAMPLE * D], quantised[HALF * PER_SAMPLE * D];
        static uint16_t indices[VQZI_MAX_PLANES * HALF * PER_SAMPLE];
        int levels[HALF];
        for (int i = 0; i < HALF; i++) {
            levels[i] = f->levels[rank + 2 * i];
            memcpy(latent + i * PER_SAMPLE * D, f->latent + (rank + 2 * i) * PER_SAMPLE * D,
                   PER_SAMPLE * D * sizeof *latent);
        }
        assert_int_equal(quantiser_assign(f->q, latent, HALF * PER_SAMPLE, PER_SAMPLE, levels,
                                          f->lambdas, indices, quantised),
                         VQZ_OK);
        quantiser_gather(f->q, indices, HALF * PER_SAMPLE, PER_SAMPLE, levels, part);
        for (size_t i = 0; i < count; i++)
            gathered[i] += part[i];
        random = f->random;
        quantiser_find_dead(f->q, SAMPLES, PER_SAMPLE, f->levels, (size_t)rank, 2, plain, 1,
                            &random, part);
        for (size_t i = 0; i < count; i++)
            chosen[i] += part[i];
    }
    size_t codes = 0;
    for (int p = 0; p < f->spec.plane_count; p++)
        codes += (size_t)(LEVELS * f->spec.planes[p].codes);
    for (size_t i = 0; i < count; i++) {
        assert_true(fabsf(gathered[i] - whole[i]) <= 1e-4f * (1 + fabsf(whole[i])));
        if (i < LEVELS + codes) /* both found the code */
            assert_true(chosen[i] == 2 * found[i]);
        else /* and one had the position */
            assert_true(chosen[i] == found[i]);
    }
    free(whole);
    free(found);
    free(part);
    free(gathered);
    free(chosen);
}

static void test_dead_codes_restart_at_data(void **state) {
    fixture *f = *state;
    const float plain[LEVELS] = {0, 0};
    float *book = quantiser_book_mutable(f->q, 0, 0);
    for (int c = 0; c < 16; c++)
        book[5 * 16 + c] = 1e6f; /* out of reach */
    assign(f);
    update(f);
    assert_true(restart(f, plain, 1) > 0);
    assert_true(fabsf(book[5 * 16]) < 100);
    size_t limited = restart(f, f->lambdas, 1000);
    assert_true(limited <= LEVELS * (40 / 32 + 70 / 32 + 9 / 32)); /* a few a call under a rate */
}

static void test_books_from_data_and_sorting(void **state) {
    fixture *f = *state;
    int level = 0;
    for (int i = 0; i < SAMPLES; i++)
        f->levels[i] = level;
    assign(f);
    double before = commitment_of(f);
    assert_int_equal(quantiser_init_books(f->q, f->latent, N, level, f->lambdas, &f->random),
                     VQZ_OK);
    assign(f);
    double after = commitment_of(f);
    assert_true(after < before);
    quantiser_sort(f->q);
    const float *bits = quantiser_bits(f->q, 0, level);
    for (int k = 1; k < 40; k++)
        assert_true(bits[k] >= bits[k - 1] - 1e-3f);
    assign(f);
    assert_true(fabs(commitment_of(f) - after) < 1e-3 * after); /* the order changes nothing else */
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_assignment_minimises_cost),
        TEST(test_commitment_gradient_stops_at_codes),
        TEST(test_codebook_gradient),
        TEST(test_moving_averages),
        TEST(test_dead_codes_restart_at_data),
        TEST(test_statistics_of_parts_add_up),
        TEST(test_books_from_data_and_sorting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
