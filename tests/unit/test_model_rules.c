/*
 * test_model_rules.c - every rule that a model can break is broken once, and refused.
 */
#include "format/model.h"
#include "tests/support/random_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef void mutation(vqzi_model *model);

/* The op of this kind that comes first, which the options below provide. */
static vqzi_op *find_op(vqzi_net *net, uint8_t kind) {
    for (uint32_t i = 0; i < net->op_count; i++)
        if (net->ops[i].kind == kind)
            return &net->ops[i];
    fail_msg("the random model lacks an op of kind %u", kind);
    return NULL;
}
static vqzi_op *find_add(vqzi_net *net) {
    for (uint32_t i = 0; i < net->op_count; i++)
        if (net->ops[i].kind == VQZI_CONV && net->ops[i].add != VQZI_NO_REGISTER)
            return &net->ops[i];
    fail_msg("the random model lacks an add register");
    return NULL;
}
static vqzi_op *last_op(vqzi_net *net) {
    return &net->ops[net->op_count - 1];
}
static vqzi_op *first_conv(vqzi_model *model) {
    return find_op(&model->analysis, VQZI_CONV);
}

#define MUTATION(name, statement)                                                                  \
    static void name(vqzi_model *model) {                                                          \
        statement;                                                                                 \
    }
MUTATION(channels_two, model->channels = 2)
MUTATION(channels_five, model->channels = 5)
MUTATION(stride_one, model->stride = 1)
MUTATION(stride_six, model->stride = 6)
MUTATION(stride_64, model->stride = 64)
MUTATION(stride_other, model->stride = 16)
MUTATION(levels_none, model->levels = 0)
MUTATION(levels_17, model->levels = 17)
MUTATION(latent_bits_one, model->latent_bits = 1)
MUTATION(latent_bits_14, model->latent_bits = 14)
MUTATION(latent_channels_none, model->latent_channels = 0)
MUTATION(latent_channels_257, model->latent_channels = 257)
MUTATION(pixel_shift_9, model->pixel_shift = 9)
MUTATION(step_shift_16, model->step_shift = 16)
MUTATION(analysis_bits, model->analysis.input_bits = 9)
MUTATION(analysis_channels, model->analysis.input_channels = 1)
MUTATION(synthesis_bits, model->synthesis.input_bits ^= 1)
MUTATION(synthesis_channels, model->synthesis.input_channels++)
MUTATION(ops_none, model->analysis.op_count = 0)
MUTATION(ops_65, model->analysis.op_count = 65)
MUTATION(kind_zero, first_conv(model)->kind = 0)
MUTATION(kind_five, first_conv(model)->kind = 5)
MUTATION(src_self, model->analysis.ops[1].src = 2)
MUTATION(src_far, model->synthesis.ops[0].src = 200)
MUTATION(activation_three, first_conv(model)->activation = 3)
MUTATION(slope_zero, (first_conv(model)->activation = VQZI_LEAKY, first_conv(model)->slope = 0))
MUTATION(slope_nine, (first_conv(model)->activation = VQZI_LEAKY, first_conv(model)->slope = 9))
MUTATION(kernel_zero, first_conv(model)->kernel = 0)
MUTATION(kernel_six, first_conv(model)->kernel = 6)
MUTATION(conv_stride_zero, first_conv(model)->stride = 0)
MUTATION(conv_stride_three, first_conv(model)->stride = 3)
MUTATION(kernel_below_stride, (first_conv(model)->kernel = 1, first_conv(model)->stride = 2))
MUTATION(bits_one, first_conv(model)->bits = 1)
MUTATION(bits_17, first_conv(model)->bits = 17)
MUTATION(conv_channels_none, first_conv(model)->channels = 0)
MUTATION(conv_channels_many, first_conv(model)->channels = 1025)
MUTATION(bias_sets_none, first_conv(model)->bias_sets = 0)
MUTATION(bias_sets_two, first_conv(model)->bias_sets = 2)
MUTATION(shift_31, first_conv(model)->shift[0] = 31)
MUTATION(add_unwritten, find_add(&model->analysis)->add = 60)
MUTATION(add_input, find_add(&model->analysis)->add = 0)
MUTATION(act_channels, find_op(&model->analysis, VQZI_ACT)->channels++)
MUTATION(block_three, find_op(&model->analysis, VQZI_S2D)->block = 3)
MUTATION(block_one, find_op(&model->analysis, VQZI_S2D)->block = 1)
MUTATION(s2d_channels, find_op(&model->analysis, VQZI_S2D)->channels++)
MUTATION(d2s_channels, find_op(&model->synthesis, VQZI_D2S)->channels++)
MUTATION(d2s_block, find_op(&model->synthesis, VQZI_D2S)->block = 16)
MUTATION(overflow_bias, first_conv(model)->biases[0] = INT32_MAX)
MUTATION(overflow_negative_bias, first_conv(model)->biases[0] = INT32_MIN)
MUTATION(analysis_end_bits, last_op(&model->analysis)->bits--)
MUTATION(too_deep, (first_conv(model)->stride = 2, first_conv(model)->kernel = 3))
MUTATION(synthesis_down, (model->synthesis.ops[0].stride = 2, model->synthesis.ops[0].kernel = 2))
MUTATION(planes_none, model->plane_count = 0)
MUTATION(planes_65, model->plane_count = 65)
MUTATION(streams_wrong, model->stream_count++)
MUTATION(codes_one, model->planes[0].codes = 1)
MUTATION(codes_4097, model->planes[0].codes = 4097)
MUTATION(dims_none, model->planes[0].dims = 0)
MUTATION(dims_65, model->planes[0].dims = 65)
MUTATION(books_two, model->planes[0].books = 2)
MUTATION(books_none, model->planes[0].books = 0)
MUTATION(order_flag, model->planes[0].ordered = 2)
MUTATION(ordered_vector, (model->planes[1].ordered = 1, model->planes[1].dims = 2))
MUTATION(plane_channel_far, model->planes[0].channels[0] = 250)
MUTATION(plane_channel_twice, model->planes[1].channels[1] = model->planes[1].channels[0])
MUTATION(step_zero, model->steps[0] = 0)
MUTATION(step_large, model->steps[1] = 32768)
MUTATION(lambda_large, model->lambdas[0] = 1u << 28)
MUTATION(dictionary_garbage, memset(model->dictionaries[0].data, 0x37, model->dictionaries[0].size))
MUTATION(dictionary_cut, model->dictionaries[0].size = 40)

/* Extreme weights where most taps meet: enough for any accumulator to overflow. */
static void overflow_weights(vqzi_model *model) {
    vqzi_op *widest = NULL;
    size_t most = 0;
    for (uint32_t i = 0; i < model->analysis.op_count; i++) {
        vqzi_op *op = &model->analysis.ops[i];
        vqzi_register source = vqzi_net_register(&model->analysis, op->src);
        size_t taps = (size_t)op->kernel * op->kernel * source.channels;
        if (op->kind == VQZI_CONV && source.bits == 12 && taps > most) {
            widest = op;
            most = taps;
        }
    }
    assert_true(most * 32768 * 2048 > INT32_MAX);
    for (size_t i = 0; i < most; i++)
        widest->weights[i] = i % 2 == 0 ? INT16_MIN : INT16_MAX;
}

static const struct {
    const char *name;
    mutation *apply;
} rules[] = {
#define RULE(name)                                                                                 \
    { #name, name }
    RULE(channels_two),
    RULE(channels_five),
    RULE(stride_one),
    RULE(stride_six),
    RULE(stride_64),
    RULE(stride_other),
    RULE(levels_none),
    RULE(levels_17),
    RULE(latent_bits_one),
    RULE(latent_bits_14),
    RULE(latent_channels_none),
    RULE(latent_channels_257),
    RULE(pixel_shift_9),
    RULE(step_shift_16),
    RULE(analysis_bits),
    RULE(analysis_channels),
    RULE(synthesis_bits),
    RULE(synthesis_channels),
    RULE(ops_none),
    RULE(ops_65),
    RULE(kind_zero),
    RULE(kind_five),
    RULE(src_self),
    RULE(src_far),
    RULE(activation_three),
    RULE(slope_zero),
    RULE(slope_nine),
    RULE(kernel_zero),
    RULE(kernel_six),
    RULE(conv_stride_zero),
    RULE(conv_stride_three),
    RULE(kernel_below_stride),
    RULE(bits_one),
    RULE(bits_17),
    RULE(conv_channels_none),
    RULE(conv_channels_many),
    RULE(bias_sets_none),
    RULE(bias_sets_two),
    RULE(shift_31),
    RULE(add_unwritten),
    RULE(add_input),
    RULE(act_channels),
    RULE(block_three),
    RULE(block_one),
    RULE(s2d_channels),
    RULE(d2s_channels),
    RULE(d2s_block),
    RULE(overflow_bias),
    RULE(overflow_negative_bias),
    RULE(overflow_weights),
    RULE(analysis_end_bits),
    RULE(too_deep),
    RULE(synthesis_down),
    RULE(planes_none),
    RULE(planes_65),
    RULE(streams_wrong),
    RULE(codes_one),
    RULE(codes_4097),
    RULE(dims_none),
    RULE(dims_65),
    RULE(books_two),
    RULE(books_none),
    RULE(order_flag),
    RULE(ordered_vector),
    RULE(plane_channel_far),
    RULE(plane_channel_twice),
    RULE(step_zero),
    RULE(step_large),
    RULE(lambda_large),
    RULE(dictionary_garbage),
    RULE(dictionary_cut)};

/* A model that has everything the mutations touch. */
static void rule_model(vqzi_model *model) {
    for (uint64_t seed = 1;; seed++) {
        random_model_options options;
        random_model_options_init(&options, seed);
        options.levels = 3;
        random_model(model, &options);
        bool shuffles = false, adds = false;
        for (uint32_t i = 0; i < model->analysis.op_count; i++) {
            shuffles |= model->analysis.ops[i].kind == VQZI_S2D;
            adds |= model->analysis.ops[i].add != VQZI_NO_REGISTER &&
                    model->analysis.ops[i].kind == VQZI_CONV;
        }
        if (shuffles && adds && model->planes[1].dims > 1 && model->dictionaries[0].size > 0)
            return;
        vqzi_model_clear(model);
    }
}

/* The loader refuses what the check refuses; the message says something. */
static void test_rules(void **state) {
    (void)state;
    vqzi_model model;
    rule_model(&model);
    assert_int_equal(vqzi_model_check(&model, NULL, NULL), VQZ_OK);
    vqzi_model_clear(&model);
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        vqzi_model kept;
        vqz_diag diag = {""};
        rule_model(&model);
        kept = model; /* counts as they were, for freeing */
        rules[i].apply(&model);
        vqz_status status = vqzi_model_check(&model, NULL, &diag);
        if (status != VQZ_ERROR_MODEL_INVALID || diag.message[0] == '\0')
            fail_msg("rule %s: status %d, message \"%s\"", rules[i].name, status, diag.message);
        void *file;
        size_t size;
        assert_int_equal(vqzi_model_serialise(&model, &file, &size, NULL), VQZ_ERROR_MODEL_INVALID);
        vqzi_model_clear(&kept);
    }
}

/* The bound is exact: one more is one too many. */
static void test_overflow_bound(void **state) {
    (void)state;
    vqzi_model model;
    rule_model(&model);
    vqzi_op *op = first_conv(&model);
    size_t taps = (size_t)op->kernel * op->kernel * 3;
    int64_t sum = 0;
    for (size_t i = 0; i < taps; i++)
        sum += abs(op->weights[i]);
    op->shift[0] = 5;
    int32_t most = (int32_t)(INT32_MAX - (sum * 128 + 16 + 32768));
    for (uint32_t set = 0; set < op->bias_sets; set++)
        op->biases[set * op->channels] = -most;
    assert_int_equal(vqzi_model_check(&model, NULL, NULL), VQZ_OK);
    op->biases[(op->bias_sets - 1) * op->channels] = most + 1;
    assert_int_equal(vqzi_model_check(&model, NULL, NULL), VQZ_ERROR_MODEL_INVALID);
    vqzi_model_clear(&model);
}

static void test_limits(void **state) {
    (void)state;
    vqzi_model model;
    rule_model(&model);
    vqz_limits limits;
    vqz_limits_init(&limits);
    uint64_t encode = vqzi_net_macs_per_input_position_x1000(&model.analysis) / 1000;
    uint64_t decode = vqzi_net_macs_per_input_position_x1000(&model.synthesis) / 1000 / 64;
    limits.max_macs_per_pixel = VQZI_MAX(encode, decode);
    assert_int_equal(vqzi_model_check(&model, &limits, NULL), VQZ_OK);
    limits.max_macs_per_pixel--;
    assert_int_equal(vqzi_model_check(&model, &limits, NULL), VQZ_ERROR_LIMIT);
    vqz_limits_init(&limits);
    limits.max_memory = 1000;
    assert_int_equal(vqzi_model_check(&model, &limits, NULL), VQZ_ERROR_LIMIT);
    void *file;
    size_t size;
    vqzi_model parsed;
    assert_int_equal(vqzi_model_serialise(&model, &file, &size, NULL), VQZ_OK);
    assert_int_equal(vqzi_model_parse(&parsed, file, size, &limits, NULL), VQZ_ERROR_LIMIT);
    vqz_free(file);
    vqzi_model_clear(&model);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rules),
                                       cmocka_unit_test(test_overflow_bound),
                                       cmocka_unit_test(test_limits)};
    return cmocka_run_group_tests_name("model rules", tests, NULL, NULL);
}
