/*
 * test_prior_rules.c - every rule that the prior of a model can break is broken once, and refused.
 */
#include "format/model.h"
#include "tests/support/random_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef void mutation(vqzi_model *model);

enum { TABLES = VQZI_CLASSES * VQZI_PHASES };

static vqzi_net *net_of(vqzi_model *model, uint32_t stage) {
    return &model->prior.stages[stage].net;
}

/* Weight of output 0 of a stage's first op. */
static int16_t *weight(vqzi_model *model, uint32_t stage, uint32_t tap, uint32_t channel) {
    const vqzi_net *net = net_of(model, stage);
    return &net->ops[0].weights[tap * net->input_channels + channel];
}
static uint32_t centre(vqzi_model *model, uint32_t stage) {
    return net_of(model, stage)->ops[0].kernel == 3 ? 4 : 12;
}
/* The channel of the first plane that is ordered, or not. */
static uint32_t channel_of(const vqzi_model *model, bool ordered) {
    for (uint32_t p = 0; p < model->plane_count; p++)
        if ((model->planes[p].ordered != 0) == ordered)
            return model->planes[p].channels[0];
    fail_msg("the random model lacks a plane");
    return 0;
}

#define MUTATION(name, statement)                                                                  \
    static void name(vqzi_model *model) {                                                          \
        statement;                                                                                 \
    }
MUTATION(stages_33, model->prior.stage_count = 33)
MUTATION(stages_less, model->prior.stage_count--)
MUTATION(stages_null, model->prior.stages = NULL)
MUTATION(stage_empty, model->prior.stages[0].planes = 0)
MUTATION(stage_wide, model->prior.stages[0].planes++)
MUTATION(stage_too_wide, model->prior.stages[1].planes = 200)
MUTATION(channel_swapped, model->planes[0].channels[0] = 1)
MUTATION(channel_missing, model->planes[model->plane_count - 1].dims--)
MUTATION(gain_shift_16, model->prior.gain_shift = 16)
MUTATION(gains_null, model->prior.gains = NULL)
MUTATION(mean_gains_null, model->prior.mean_gains = NULL)
MUTATION(frequencies_null, model->prior.frequencies = NULL)
MUTATION(mean_gain_large, model->prior.mean_gains[channel_of(model, true)] = 1u << 31)
MUTATION(mean_gain_unordered, model->prior.mean_gains[channel_of(model, false)] = 1)
MUTATION(class_bits_9, model->prior.class_bits[VQZI_CLASSES - 1] = 9)
MUTATION(frequency_zero, (model->prior.frequencies[1] += model->prior.frequencies[0],
                          model->prior.frequencies[0] = 0))
MUTATION(table_sum, model->prior.frequencies[TABLES * VQZI_SYMBOLS - 1]++)
MUTATION(ops_two, net_of(model, 0)->op_count = 2)
MUTATION(ops_null, net_of(model, 0)->ops = NULL)
MUTATION(input_bits, net_of(model, 0)->input_bits = 12)
MUTATION(input_channels, net_of(model, 1)->input_channels--)
MUTATION(kind, net_of(model, 0)->ops[1].kind = VQZI_ACT)
MUTATION(src, net_of(model, 0)->ops[2].src = 1)
MUTATION(add, net_of(model, 0)->ops[1].add = 1)
MUTATION(kernel_one, net_of(model, 0)->ops[0].kernel = 1)
MUTATION(kernel_four, net_of(model, 0)->ops[0].kernel = 4)
MUTATION(kernel_second, net_of(model, 0)->ops[1].kernel = 3)
MUTATION(stride_two, net_of(model, 0)->ops[0].stride = 2)
MUTATION(stage_bits_17, net_of(model, 0)->ops[2].bits = 17)
MUTATION(stage_shift_31, net_of(model, 0)->ops[2].shift[0] = 31)
MUTATION(stage_bias_sets, net_of(model, 0)->ops[2].bias_sets = 2)
MUTATION(stage_activation, net_of(model, 0)->ops[0].activation = 3)
MUTATION(outputs_less, net_of(model, 0)->ops[2].channels--)
MUTATION(overflow_bias, net_of(model, 1)->ops[2].biases[0] = INT32_MAX)
MUTATION(looks_at_itself, *weight(model, 0, centre(model, 0), 0) = 1)
MUTATION(looks_ahead, *weight(model, 0, centre(model, 0) + 1, 0) = -1)
MUTATION(looks_below, *weight(model, 1, net_of(model, 1)->ops[0].kernel == 3 ? 8u : 24u,
                              net_of(model, 1)->input_channels - 1u) = 1)

static void hidden_wide(vqzi_model *model) {
    net_of(model, 0)->ops[0].channels = VQZI_MAX_CHANNELS + 1;
}

static const struct {
    const char *name;
    mutation *apply;
} rules[] = {
#define RULE(name)                                                                                 \
    { #name, name }
    RULE(stages_33),
    RULE(stages_less),
    RULE(stages_null),
    RULE(stage_empty),
    RULE(stage_wide),
    RULE(stage_too_wide),
    RULE(channel_swapped),
    RULE(channel_missing),
    RULE(gain_shift_16),
    RULE(gains_null),
    RULE(mean_gains_null),
    RULE(frequencies_null),
    RULE(mean_gain_large),
    RULE(mean_gain_unordered),
    RULE(class_bits_9),
    RULE(frequency_zero),
    RULE(table_sum),
    RULE(ops_two),
    RULE(ops_null),
    RULE(input_bits),
    RULE(input_channels),
    RULE(kind),
    RULE(src),
    RULE(add),
    RULE(kernel_one),
    RULE(kernel_four),
    RULE(kernel_second),
    RULE(stride_two),
    RULE(stage_bits_17),
    RULE(stage_shift_31),
    RULE(stage_bias_sets),
    RULE(stage_activation),
    RULE(outputs_less),
    RULE(overflow_bias),
    RULE(looks_at_itself),
    RULE(looks_ahead),
    RULE(looks_below),
    RULE(hidden_wide)};

/* A prior with both kinds of planes and at least two stages. */
static void rule_model(vqzi_model *model) {
    for (uint64_t seed = 1;; seed++) {
        random_model_options options;
        random_model_options_init(&options, seed);
        options.latent_channels = 8;
        options.planes = 6;
        options.prior = true;
        random_model(model, &options);
        uint32_t ordered = 0;
        for (uint32_t p = 0; p < model->plane_count; p++)
            ordered += model->planes[p].ordered;
        if (ordered > 0 && ordered < 4 && model->prior.stage_count > 1 &&
            model->planes[model->plane_count - 1].dims > 1 && !model->planes[0].ordered)
            return;
        vqzi_model_clear(model);
    }
}

static void test_rules(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        vqzi_model model, kept;
        vqzi_stage stages[VQZI_MAX_STAGES];
        vqz_diag diag = {""};
        rule_model(&model);
        assert_int_equal(vqzi_model_check(&model, NULL, NULL), VQZ_OK);
        kept = model; /* counts and pointers as they were, for freeing */
        memcpy(stages, model.prior.stages, model.prior.stage_count * sizeof *stages);
        rules[i].apply(&model);
        vqz_status status = vqzi_model_check(&model, NULL, &diag);
        if (status != VQZ_ERROR_MODEL_INVALID || diag.message[0] == '\0')
            fail_msg("rule %s: status %d, message \"%s\"", rules[i].name, status, diag.message);
        memcpy(kept.prior.stages, stages, kept.prior.stage_count * sizeof *stages);
        vqzi_model_clear(&kept);
    }
}

/* What the mask allows: everything of the stages before, and the stage's own codes before this one.
 */
static void test_mask(void **state) {
    (void)state;
    vqzi_model model;
    rule_model(&model);
    uint32_t taps = centre(&model, 1) * 2 + 1, inputs = net_of(&model, 1)->input_channels;
    uint32_t begin = net_of(&model, 0)->input_channels;
    for (uint32_t tap = 0; tap < taps; tap++)
        for (uint32_t c = 0; c < inputs; c++) {
            int16_t *w = weight(&model, 1, tap, c), old = *w;
            bool allowed = c < begin || tap < taps / 2;
            if (!allowed)
                assert_int_equal(old, 0);
            *w = 1;
            assert_int_equal(vqzi_model_check(&model, NULL, NULL),
                             allowed ? VQZ_OK : VQZ_ERROR_MODEL_INVALID);
            *w = old;
        }
    vqzi_model_clear(&model);
}

/* A plane of 4096 codes has 4096 logits; two of them are too many for a stage. */
static void test_widest(void **state) {
    (void)state;
    random_model_options options;
    random_model_options_init(&options, 5);
    options.prior = true;
    options.max_codes = VQZI_MAX_CODES;
    options.planes = 2;
    options.levels = 1;
    vqzi_model model, parsed;
    void *file;
    size_t size;
    random_model(&model, &options);
    assert_int_equal(net_of(&model, 0)->ops[2].channels, VQZI_MAX_CODES);
    assert_int_equal(vqzi_model_serialise(&model, &file, &size, NULL), VQZ_OK);
    assert_int_equal(vqzi_model_parse(&parsed, file, size, NULL, NULL), VQZ_OK);
    vqzi_model_clear(&parsed);
    vqz_free(file);
    net_of(&model, 0)->ops[2].channels++;
    assert_int_equal(vqzi_model_check(&model, NULL, NULL), VQZ_ERROR_MODEL_INVALID);
    net_of(&model, 0)->ops[2].channels--;
    vqzi_model_clear(&model);
}

/* The prior and the synthesis together are a decoder's work. */
static void test_limit(void **state) {
    (void)state;
    vqzi_model model;
    vqz_limits limits;
    random_model_options options;
    random_model_options_init(&options, 3);
    options.prior = true;
    options.stride = 2; /* so that the prior outweighs the analysis */
    options.max_codes = 2000;
    random_model(&model, &options);
    vqz_limits_init(&limits);
    uint64_t prior = vqzi_prior_macs_per_position(&model);
    uint64_t synthesis = vqzi_net_macs_per_input_position_x1000(&model.synthesis) / 1000;
    uint64_t analysis = vqzi_net_macs_per_input_position_x1000(&model.analysis) / 1000;
    limits.max_macs_per_pixel = (prior + synthesis) / 4;
    assert_true(limits.max_macs_per_pixel > VQZI_MAX(analysis, synthesis / 4));
    assert_int_equal(vqzi_model_check(&model, &limits, NULL), VQZ_OK);
    limits.max_macs_per_pixel--;
    assert_int_equal(vqzi_model_check(&model, &limits, NULL), VQZ_ERROR_LIMIT);
    vqzi_model_clear(&model);
}

static void test_info(void **state) {
    (void)state;
    random_model_options options;
    vqz_model_info info;
    random_model_options_init(&options, 1);
    vqz_model *model = random_model_load(&options);
    vqz_model_get_info(model, &info);
    assert_int_equal(info.prior_macs, 0);
    vqz_model_free(model);
    options.prior = true;
    model = random_model_load(&options);
    vqz_model_get_info(model, &info);
    assert_true(info.prior_macs > 0);
    vqz_model_free(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rules), cmocka_unit_test(test_mask),
                                       cmocka_unit_test(test_widest), cmocka_unit_test(test_limit),
                                       cmocka_unit_test(test_info)};
    return cmocka_run_group_tests_name("prior rules", tests, NULL, NULL);
}
