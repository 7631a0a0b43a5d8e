/*
 * test_prior.c - the conditional prior in training: bits against their definition, gradients against
 * central differences, contexts that see only what came before.
 */
#include "trainer/prior.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { D = 5, LEVELS = 2, SIDE = 6, PER_SAMPLE = SIDE * SIDE, SAMPLES = 3, N = PER_SAMPLE * SAMPLES };
static const float WEIGHTS[SAMPLES] = {0.5f, 1.0f, 2.0f};
static const uint64_t NOISE_SEEDS[SAMPLES] = {99, 7, 1234567};

typedef struct fixture {
    model_spec spec;
    backend *backend;
    quantiser *q;
    prior *p;
    random_state random;
    float *parameters, *steps, *gradients, *latent, *quantised, *grad_latent, grad_steps[LEVELS * D];
    uint16_t *indices;
    int levels[SAMPLES];
    float lambdas[LEVELS];
    bool hard;
} fixture;

static void add_stage(model_spec *spec, int planes, int kernel) {
    stage_spec *s = &spec->stages[spec->stage_count];
    int outputs = 0;
    s->first_plane = spec->stage_count ? s[-1].first_plane + s[-1].planes : 0;
    s->begin = s->end = spec->stage_count ? s[-1].end : 0;
    s->planes = planes;
    for (int k = s->first_plane; k < s->first_plane + planes; k++) {
        s->end += spec->planes[k].dims;
        outputs += spec->planes[k].scalar ? 2 : spec->planes[k].codes;
    }
    network_spec_init(&s->net, s->end);
    int reg = network_conv(&s->net, 0, 8, kernel, 1, ACT_LEAKY, 3, -1, LEVELS);
    network_make_causal(&s->net, s->begin);
    reg = network_conv(&s->net, reg, 8, 1, 1, ACT_LEAKY, 3, -1, 1);
    network_conv(&s->net, reg, outputs, 1, 1, ACT_NONE, 0, -1, LEVELS);
    spec->stage_count++;
}

/* A scalar plane, one of codes, two scalar planes together. */
static int setup(void **state) {
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    model_spec *spec = &f->spec;
    spec->latent_channels = D;
    spec->levels = LEVELS;
    spec->plane_count = 4;
    spec->planes[0] = (plane_spec){.dims = 1, .codes = 32, .scalar = true, .channels = {0}};
    spec->planes[1] = (plane_spec){.dims = 2, .codes = 6, .channels = {1, 2}};
    spec->planes[2] = (plane_spec){.dims = 1, .codes = 16, .scalar = true, .channels = {3}};
    spec->planes[3] = (plane_spec){.dims = 1, .codes = 16, .scalar = true, .channels = {4}};
    add_stage(spec, 1, 5);
    add_stage(spec, 1, 3);
    add_stage(spec, 2, 3);
    random_seed(&f->random, getenv("SEED") ? strtoull(getenv("SEED"), NULL, 0) : 7);
    vqz_diag diag;
    assert_int_equal(backend_create(&f->backend, PRECISION_FLOAT32, 2, &diag), VQZ_OK);
    assert_int_equal(quantiser_create(&f->q, spec, f->backend, N, &diag), VQZ_OK);
    assert_int_equal(prior_create(&f->p, spec, f->backend, f->q, SAMPLES, SIDE, &diag), VQZ_OK);
    f->steps = calloc(quantiser_parameter_count(f->q), sizeof(float));
    f->parameters = calloc(prior_parameter_count(f->p), sizeof(float));
    f->gradients = calloc(prior_parameter_count(f->p), sizeof(float));
    f->latent = calloc(N * D, sizeof(float));
    f->quantised = calloc(N * D, sizeof(float));
    f->grad_latent = calloc(N * D, sizeof(float));
    f->indices = calloc((size_t)spec->plane_count * N, sizeof(uint16_t));
    quantiser_bind(f->q, f->steps);
    prior_bind(f->p, f->parameters);
    f->lambdas[0] = 0.1f;
    f->lambdas[1] = 0.02f;
    quantiser_init(f->q, f->lambdas, &f->random);
    for (int i = 0; i < LEVELS * D; i++)
        f->steps[i] += 0.3f * random_normal(&f->random);
    float deviations[D] = {4, 1, 1, 2, 1.5f}; /* wide enough for no pull to be limited */
    prior_init(f->p, deviations, &f->random);
    for (size_t i = D; i < prior_parameter_count(f->p); i++) /* biases too */
        f->parameters[i] += 0.1f * random_normal(&f->random);
    for (int i = 0; i < spec->stage_count; i++)
        network_mask(&spec->stages[i].net, f->parameters + prior_net_offset(f->p, i));
    for (int i = 0; i < N * D; i++)
        f->latent[i] = deviations[i % D] * random_normal(&f->random);
    for (int i = 0; i < SAMPLES; i++)
        f->levels[i] = i % LEVELS;
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    prior_free(f->p);
    quantiser_free(f->q);
    backend_free(f->backend);
    free(f->parameters);
    free(f->steps);
    free(f->gradients);
    free(f->latent);
    free(f->quantised);
    free(f->grad_latent);
    free(f->indices);
    free(f);
    return 0;
}

static void assign(fixture *f, double *bits) {
    assert_int_equal(quantiser_assign(f->q, f->latent, N, PER_SAMPLE, f->levels, f->lambdas,
                                      f->indices, f->quantised),
                     VQZ_OK);
    assert_int_equal(prior_assign(f->p, f->latent, f->levels, f->lambdas, f->indices, f->quantised,
                                  bits),
                     VQZ_OK);
}

static double weighted_bits(fixture *f) {
    double bits[SAMPLES], total = 0;
    if (f->hard)
        assign(f, bits);
    else
        assert_int_equal(
            prior_noisy(f->p, f->latent, f->levels, NOISE_SEEDS, f->quantised, bits), VQZ_OK);
    for (int i = 0; i < SAMPLES; i++)
        total += WEIGHTS[i] * bits[i];
    return total;
}

static void backward(fixture *f, float *grad_quantised) {
    memset(f->grad_latent, 0, N * D * sizeof(float));
    memset(f->grad_steps, 0, sizeof f->grad_steps);
    assert_int_equal(prior_backward(f->p, f->latent, f->levels, WEIGHTS, grad_quantised,
                                    f->grad_latent, f->grad_steps, f->gradients),
                     VQZ_OK);
}

static double quotient(fixture *f, float *value, float h) {
    float keep = *value;
    *value = keep + h;
    double above = weighted_bits(f);
    *value = keep - h;
    double below = weighted_bits(f);
    *value = keep;
    return (above - below) / (2.0 * h);
}

static void assert_close(double analytic, double numeric) {
    if (fabs(analytic - numeric) > 2e-2 * (0.2 + fabs(numeric)))
        fail_msg("gradient %g, difference quotient %g", analytic, numeric);
}

/* Parameters of every stage, in both phases (in the hard one codes move with parameters; where none is
   rate-constrained they do not). */
static void test_parameter_gradients(void **state) {
    fixture *f = *state;
    for (int hard = 0; hard < 2; hard++) {
        f->hard = hard;
        if (hard)
            memset(f->lambdas, 0, sizeof f->lambdas);
        else /* the noise phase knows scalar planes alone: the codes are fixed ones */
            assign(f, (double[SAMPLES]){0});
        weighted_bits(f);
        backward(f, NULL);
        for (int i = 0; i < D; i++)
            assert_true(f->gradients[i] == 0); /* deviations are fixed */
        double difference = 0, size = 0;
        for (int i = 0; i < 150; i++) {
            size_t at = D + random_below(&f->random, (uint32_t)prior_parameter_count(f->p) - D);
            if (f->parameters[at] == 0) { /* taps that a causal layer lacks */
                assert_true(f->gradients[at] == 0);
                continue;
            }
            double numeric = quotient(f, &f->parameters[at], 2e-3f);
            difference += pow(f->gradients[at] - numeric, 2);
            size += numeric * numeric;
        }
        /* All together: single ones meet the kinks of the activations. */
        if (sqrt(difference / size) > 0.06)
            fail_msg("gradients differ from quotients by %g of their size", sqrt(difference / size));
    }
}

/* Rounded contexts have no difference quotient: where they have no weight, the bits' gradient by latents
   and steps is exact. */
static void blind(fixture *f) {
    for (int i = 0; i < f->spec.stage_count; i++) {
        const layer *first = &f->spec.stages[i].net.layers[0];
        float *parameters = f->parameters + prior_net_offset(f->p, i);
        memset(parameters + first->weights, 0, (first->biases - first->weights) * sizeof(float));
    }
}

static void test_latent_and_step_gradients(void **state) {
    fixture *f = *state;
    blind(f);
    assign(f, (double[SAMPLES]){0});
    weighted_bits(f);
    backward(f, NULL);
    for (int i = 0; i < 80; i++) {
        size_t n = random_below(&f->random, N), c = (size_t[]){0, 3, 4}[i % 3];
        assert_close(f->grad_latent[n * D + c], quotient(f, &f->latent[n * D + c], 2e-3f));
    }
    for (int level = 0; level < LEVELS; level++)
        for (int c = 0; c < D; c++)
            if (c == 0 || c >= 3)
                assert_close(f->grad_steps[level * D + c],
                             quotient(f, &f->steps[level * D + c], 2e-3f));
    /* What the quantised latents ask for besides, here where contexts ask for nothing. */
    float by_bits[LEVELS * D], *asked = malloc(N * D * sizeof *asked);
    double expected[LEVELS * D] = {0};
    assert_non_null(asked);
    weighted_bits(f);
    backward(f, NULL);
    memcpy(by_bits, f->grad_steps, sizeof by_bits);
    for (size_t i = 0; i < N * D; i++) {
        size_t at = (size_t)f->levels[i / D / PER_SAMPLE] * D + i % D;
        asked[i] = random_normal(&f->random);
        expected[at] += asked[i] * (f->quantised[i] - f->latent[i]);
    }
    backward(f, asked);
    for (int at = 0; at < LEVELS * D; at++)
        if (at % D == 0 || at % D >= 3)
            assert_close(f->grad_steps[at] - by_bits[at], expected[at]);
    free(asked);
}

/* A deviation divides what contexts see, and nothing else once the mean's weights make up for it. */
static double context_quotient(fixture *f, int channel, float h) {
    double bits[2];
    for (int sign = 0; sign < 2; sign++) {
        float *keep = malloc(prior_parameter_count(f->p) * sizeof *keep), deviations[D], log_scale;
        assert_non_null(keep);
        memcpy(keep, f->parameters, prior_parameter_count(f->p) * sizeof *keep);
        for (int c = 0; c < D; c++)
            deviations[c] = expf(f->parameters[c] + (c == channel ? (sign ? h : -h) : 0));
        prior_rescale(f->p, deviations);
        log_scale = f->parameters[channel];
        for (int i = 0; i < f->spec.stage_count; i++) { /* the first layer as it was: contexts differ */
            const layer *first = &f->spec.stages[i].net.layers[0];
            size_t at = prior_net_offset(f->p, i) + first->weights;
            memcpy(f->parameters + at, keep + at, (first->biases - first->weights) * sizeof *keep);
        }
        assert_true(log_scale != keep[channel]);
        bits[sign] = weighted_bits(f);
        memcpy(f->parameters, keep, prior_parameter_count(f->p) * sizeof *keep);
        free(keep);
    }
    return (bits[1] - bits[0]) / (2.0 * h);
}

static void test_context_gradients(void **state) {
    fixture *f = *state;
    assign(f, (double[SAMPLES]){0}); /* the codes of plane 1 */
    weighted_bits(f);
    float *grad_quantised = calloc(N * D, sizeof *grad_quantised);
    assert_non_null(grad_quantised);
    backward(f, grad_quantised);
    double difference = 0, size = 0;
    for (int c = 0; c < D; c++) {
        if (c == 1 || c == 2)
            continue; /* not of a scalar plane: the noise phase knows scalar planes alone */
        double by_deviation = 0, numeric = context_quotient(f, c, 5e-3f);
        for (int n = 0; n < N; n++)
            by_deviation -= grad_quantised[n * D + c] * f->quantised[n * D + c];
        difference += pow(by_deviation - numeric, 2);
        size += numeric * numeric;
    }
    /* All together: single ones meet the kinks of the activations. */
    assert_true(size > 1);
    if (sqrt(difference / size) > 0.06)
        fail_msg("gradients differ from quotients by %g of their size", sqrt(difference / size));
    free(grad_quantised);
}

/* Other deviations, the same bits. */
static void test_rescale(void **state) {
    fixture *f = *state;
    double before[SAMPLES], after[SAMPLES];
    assign(f, before);
    prior_rescale(f->p, (float[D]){2, 3, 0.5f, 2.5f, 1});
    for (int c = 0; c < D; c++)
        assert_true(fabsf(prior_log_deviations(f->p)[c] - logf((float[]){2, 3, 0.5f, 2.5f, 1}[c])) < 1e-6f);
    assign(f, after);
    for (int i = 0; i < SAMPLES; i++)
        assert_true(fabs(before[i] - after[i]) < 1e-3 * before[i]);
}

/* The code chosen costs no more than its neighbours, bits included. */
static void test_choice(void **state) {
    fixture *f = *state;
    double with[SAMPLES], without[SAMPLES], rate = 0, plain = 0;
    double error[2] = {0};
    assign(f, with);
    for (int i = 0; i < N * D; i++)
        error[0] += pow(f->latent[i] - f->quantised[i], 2);
    memset(f->lambdas, 0, sizeof f->lambdas);
    assign(f, without);
    for (int i = 0; i < N * D; i++)
        error[1] += pow(f->latent[i] - f->quantised[i], 2);
    for (int i = 0; i < SAMPLES; i++) {
        rate += with[i];
        plain += without[i];
    }
    assert_true(rate < plain && error[0] > error[1]);
    for (int k = 0; k < 4; k++)
        for (int n = 0; n < N && f->spec.planes[k].scalar; n++) { /* no rate: the nearest */
            int c = f->spec.planes[k].channels[0], codes = f->spec.planes[k].codes;
            float y = f->latent[n * D + c] / expf(f->steps[f->levels[n / PER_SAMPLE] * D + c]);
            int nearest = VQZI_MIN(VQZI_MAX((int)roundf(y) + codes / 2, 0), codes - 1);
            assert_int_equal(f->indices[k * N + n], nearest);
        }
}

/* What comes later in the order of coding changes no earlier bits. */
static void test_causality(void **state) {
    fixture *f = *state;
    memset(f->lambdas, 0, sizeof f->lambdas);
    double before[SAMPLES], after[SAMPLES];
    assign(f, before);
    prior_symbol first = prior_symbol_at(f->p, 8, 2, f->levels);
    for (int n = 8; n < PER_SAMPLE; n++) /* the stage of planes 2 and 3, from position 8 on */
        for (int c = 3; c < 5; c++)
            if (n > 8)
                f->latent[n * D + c] += 3;
    assign(f, after);
    prior_symbol second = prior_symbol_at(f->p, 8, 2, f->levels);
    assert_int_equal(first.class, second.class);
    assert_int_equal(first.phase, second.phase);
    assert_int_equal(first.residual, second.residual);
    assert_true(fabs(before[0] - after[0]) > 1);
    assert_true(before[1] == after[1]);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_parameter_gradients),
        TEST(test_latent_and_step_gradients),
        TEST(test_context_gradients),
        TEST(test_rescale),
        TEST(test_choice),
        TEST(test_causality),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
