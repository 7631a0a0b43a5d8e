/*
 * test_model.c - model files: round trips, levels, every rule that a model can break, and damage.
 */
#include "format/container.h"
#include "format/model.h"
#include "tests/support/random_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zstd.h>

/* The seed of a random test; SEED= replays one. */
static uint64_t base_seed(void) {
    const char *text = getenv("SEED");
    return text != NULL ? strtoull(text, NULL, 0) : 1;
}

static void assert_same_net(const vqzi_net *a, const vqzi_net *b) {
    assert_int_equal(a->op_count, b->op_count);
    assert_int_equal(a->input_bits, b->input_bits);
    assert_int_equal(a->input_channels, b->input_channels);
    for (uint32_t i = 0; i < a->op_count; i++) {
        const vqzi_op *x = &a->ops[i], *y = &b->ops[i];
        assert_int_equal(x->kind, y->kind);
        assert_int_equal(x->src, y->src);
        assert_int_equal(x->channels, y->channels);
        assert_int_equal(x->activation, y->activation);
        assert_int_equal(x->slope, y->slope);
        assert_int_equal(x->block, y->block);
        assert_int_equal(x->add, y->add);
        if (x->kind != VQZI_CONV)
            continue;
        assert_int_equal(x->kernel, y->kernel);
        assert_int_equal(x->stride, y->stride);
        assert_int_equal(x->bits, y->bits);
        assert_int_equal(x->bias_sets, y->bias_sets);
        size_t taps = (size_t)x->kernel * x->kernel * vqzi_net_channels(a, x->src);
        assert_memory_equal(x->shift, y->shift, x->channels);
        assert_memory_equal(x->weights, y->weights, x->channels * taps * 2);
        assert_memory_equal(x->biases, y->biases, (size_t)x->bias_sets * x->channels * 4);
    }
}

static void assert_same_model(const vqzi_model *a, const vqzi_model *b) {
    assert_int_equal(a->channels, b->channels);
    assert_int_equal(a->stride, b->stride);
    assert_int_equal(a->levels, b->levels);
    assert_int_equal(a->latent_bits, b->latent_bits);
    assert_int_equal(a->pixel_shift, b->pixel_shift);
    assert_int_equal(a->step_shift, b->step_shift);
    assert_int_equal(a->latent_channels, b->latent_channels);
    assert_same_net(&a->analysis, &b->analysis);
    assert_same_net(&a->synthesis, &b->synthesis);
    assert_memory_equal(a->steps, b->steps, (size_t)a->levels * a->latent_channels * 2);
    assert_memory_equal(a->lambdas, b->lambdas, (size_t)a->levels * 4);
    assert_int_equal(a->plane_count, b->plane_count);
    for (uint32_t p = 0; p < a->plane_count; p++) {
        const vqzi_plane *x = &a->planes[p], *y = &b->planes[p];
        assert_int_equal(x->codes, y->codes);
        assert_int_equal(x->dims, y->dims);
        assert_int_equal(x->books, y->books);
        assert_int_equal(x->ordered, y->ordered);
        assert_memory_equal(x->channels, y->channels, x->dims);
        assert_memory_equal(x->codebook, y->codebook, (size_t)x->books * x->codes * x->dims * 2);
        assert_memory_equal(x->rates, y->rates, (size_t)a->levels * x->codes);
    }
    assert_int_equal(a->stream_count, b->stream_count);
    for (size_t i = 0; i < (size_t)a->levels * a->stream_count; i++) {
        assert_int_equal(a->dictionaries[i].size, b->dictionaries[i].size);
        if (a->dictionaries[i].size > 0)
            assert_memory_equal(a->dictionaries[i].data, b->dictionaries[i].data,
                                a->dictionaries[i].size);
    }
    assert_memory_equal(a->hash, b->hash, VQZI_HASH_SIZE);
    assert_string_equal(a->card, b->card);
}

static void test_round_trip(void **state) {
    (void)state;
    for (uint64_t i = 0; i < 60; i++) {
        random_model_options options;
        random_model_options_draw(&options, base_seed() + i);
        vqzi_model model, parsed;
        vqz_diag diag = {""};
        void *file, *again;
        size_t size, again_size;
        random_model(&model, &options);
        if (vqzi_model_serialise(&model, &file, &size, &diag) != VQZ_OK ||
            vqzi_model_parse(&parsed, file, size, NULL, &diag) != VQZ_OK)
            fail_msg("seed %llu: %s", (unsigned long long)options.seed, diag.message);
        assert_same_model(&model, &parsed);
        assert_int_equal(vqzi_model_serialise(&parsed, &again, &again_size, NULL), VQZ_OK);
        assert_int_equal(size, again_size);
        assert_memory_equal(file, again, size);
        vqz_free(file);
        vqz_free(again);
        vqzi_model_clear(&model);
        vqzi_model_clear(&parsed);
    }
}

/* The hash names what a decoder computes with: the card does not change it, a weight does. */
static void test_hash(void **state) {
    (void)state;
    random_model_options options;
    random_model_options_init(&options, base_seed());
    vqzi_model model;
    uint8_t first[VQZI_HASH_SIZE];
    void *file;
    size_t size;
    random_model(&model, &options);
    assert_int_equal(vqzi_model_serialise(&model, &file, &size, NULL), VQZ_OK);
    vqz_free(file);
    memcpy(first, model.hash, sizeof first);
    model.card[0] = ' ';
    assert_int_equal(vqzi_model_serialise(&model, &file, &size, NULL), VQZ_OK);
    vqz_free(file);
    assert_memory_equal(first, model.hash, sizeof first);
    model.analysis.ops[0].weights[0] ^= 1;
    assert_int_equal(vqzi_model_serialise(&model, &file, &size, NULL), VQZ_OK);
    vqz_free(file);
    assert_memory_not_equal(first, model.hash, sizeof first);
    vqzi_model_clear(&model);
}

static void test_level_values(void **state) {
    (void)state;
    int32_t biases[3] = {-100, 100, 5};
    uint16_t steps[3] = {256, 512, 4096};
    int16_t codebook[3 * 2] = {3, -3, 5, -5, 400, -400};
    uint8_t channels[1] = {0};
    vqzi_plane plane = {.codes = 2, .dims = 1, .books = 3, .channels = channels,
                        .codebook = codebook};
    vqzi_op op = {.channels = 1, .bias_sets = 3, .biases = biases};
    vqzi_model model = {.levels = 3, .latent_bits = 12, .step_shift = 8, .latent_channels = 1,
                        .steps = steps, .plane_count = 1, .planes = &plane};
    int32_t bias;
    int16_t entries[2];

    vqzi_level level = vqzi_model_level(&model, 1);
    assert_int_equal(level.lower, 0);
    assert_int_equal(level.fraction, 0);
    assert_int_equal(vqzi_model_step(&model, level, 0), 256);
    vqzi_op_biases(&op, level, &bias);
    assert_int_equal(bias, -100);
    vqzi_model_entries(&model, level, 0, entries);
    assert_int_equal(entries[0], 3);
    assert_int_equal(entries[1], -3);

    /* t = 24 * 2 = 48: (256 * 51 + 512 * 48 + 49) / 99 = 380.6, (-100 * 51 + 100 * 48 + 49) / 99
       = -2.5 rounded down; the first codebook is still the nearest */
    level = vqzi_model_level(&model, 25);
    assert_int_equal(level.lower, 0);
    assert_int_equal(level.fraction, 48);
    assert_int_equal(level.nearest, 0);
    assert_int_equal(vqzi_model_step(&model, level, 0), 380);
    vqzi_op_biases(&op, level, &bias);
    assert_int_equal(bias, -3);
    vqzi_model_entries(&model, level, 0, entries);
    assert_int_equal(entries[0], (3 * 380 + 128) / 256);
    assert_int_equal(entries[1], -4); /* (-1140 + 128) >> 8 = -3.95 rounded down */

    /* t = 49 * 2 = 98 and t = 50 * 2 = 100 */
    level = vqzi_model_level(&model, 50);
    assert_int_equal(level.lower, 0);
    assert_int_equal(level.fraction, 98);
    assert_int_equal(level.nearest, 1);
    level = vqzi_model_level(&model, 51);
    assert_int_equal(level.lower, 1);
    assert_int_equal(level.fraction, 1);
    assert_int_equal(level.nearest, 1);

    level = vqzi_model_level(&model, 100);
    assert_int_equal(level.lower, 2);
    assert_int_equal(level.fraction, 0);
    assert_int_equal(level.nearest, 2);
    assert_int_equal(vqzi_model_step(&model, level, 0), 4096);
    vqzi_op_biases(&op, level, &bias);
    assert_int_equal(bias, 5);
    vqzi_model_entries(&model, level, 0, entries); /* 400 * 16 saturates 12 bits */
    assert_int_equal(entries[0], 2047);
    assert_int_equal(entries[1], -2048);

    model.levels = 1;
    plane.books = op.bias_sets = 1;
    for (int quality = 1; quality <= 100; quality++) {
        level = vqzi_model_level(&model, quality);
        assert_int_equal(level.lower + level.fraction + level.nearest, 0);
    }
    model.step_shift = 0; /* no rounding */
    steps[0] = 7;
    vqzi_model_entries(&model, level, 0, entries);
    assert_int_equal(entries[0], 21);
    assert_int_equal(entries[1], -21);
}

static void test_registers(void **state) {
    (void)state;
    vqzi_op ops[4] = {
        {.kind = VQZI_S2D, .src = 0, .block = 4, .channels = 48},
        {.kind = VQZI_CONV, .src = 1, .kernel = 3, .stride = 2, .bits = 11, .channels = 10},
        {.kind = VQZI_ACT, .src = 2, .channels = 10},
        {.kind = VQZI_CONV, .src = 0, .kernel = 2, .stride = 2, .bits = 9, .channels = 5}};
    vqzi_net net = {.input_bits = 8, .input_channels = 3, .op_count = 4, .ops = ops};
    vqzi_register r = vqzi_net_register(&net, 0);
    assert_int_equal(r.channels, 3);
    assert_int_equal(r.bits, 8);
    assert_int_equal(r.scale, 0);
    r = vqzi_net_register(&net, 1);
    assert_int_equal(r.channels, 48);
    assert_int_equal(r.bits, 8);
    assert_int_equal(r.scale, 2);
    r = vqzi_net_register(&net, 3);
    assert_int_equal(r.channels, 10);
    assert_int_equal(r.bits, 11);
    assert_int_equal(r.scale, 3);
    r = vqzi_net_register(&net, 4);
    assert_int_equal(r.channels, 5);
    assert_int_equal(r.scale, 1);
    /* 9 * 48 * 10 / 64 + 4 * 3 * 5 / 4 = 82.5 */
    assert_int_equal(vqzi_net_macs_per_input_position_x1000(&net), 82500);
}

/* ---- every rule ---- */

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
#define RULE(name) {#name, name}
    RULE(channels_two), RULE(channels_five), RULE(stride_one), RULE(stride_six), RULE(stride_64),
    RULE(stride_other), RULE(levels_none), RULE(levels_17), RULE(latent_bits_one),
    RULE(latent_bits_14), RULE(latent_channels_none), RULE(latent_channels_257),
    RULE(pixel_shift_9), RULE(step_shift_16), RULE(analysis_bits), RULE(analysis_channels),
    RULE(synthesis_bits), RULE(synthesis_channels), RULE(ops_none), RULE(ops_65), RULE(kind_zero),
    RULE(kind_five), RULE(src_self), RULE(src_far), RULE(activation_three), RULE(slope_zero),
    RULE(slope_nine), RULE(kernel_zero), RULE(kernel_six), RULE(conv_stride_zero),
    RULE(conv_stride_three), RULE(kernel_below_stride), RULE(bits_one), RULE(bits_17),
    RULE(conv_channels_none), RULE(conv_channels_many), RULE(bias_sets_none), RULE(bias_sets_two),
    RULE(shift_31), RULE(add_unwritten), RULE(add_input), RULE(act_channels), RULE(block_three),
    RULE(block_one), RULE(s2d_channels), RULE(d2s_channels), RULE(d2s_block), RULE(overflow_bias),
    RULE(overflow_negative_bias), RULE(overflow_weights), RULE(analysis_end_bits), RULE(too_deep),
    RULE(synthesis_down), RULE(planes_none), RULE(planes_65), RULE(streams_wrong), RULE(codes_one),
    RULE(codes_4097), RULE(dims_none), RULE(dims_65), RULE(books_two), RULE(books_none),
    RULE(order_flag), RULE(ordered_vector), RULE(plane_channel_far), RULE(plane_channel_twice),
    RULE(step_zero), RULE(step_large), RULE(lambda_large), RULE(dictionary_garbage),
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

/* ---- damage ---- */

static void small_file(uint8_t **file, size_t *size) {
    random_model_options options;
    random_model_options_init(&options, base_seed());
    options.hidden = 2;
    options.max_codes = 8;
    options.levels = 2;
    options.stride = 4;
    vqzi_model model;
    void *bytes;
    random_model(&model, &options);
    assert_int_equal(vqzi_model_serialise(&model, &bytes, size, NULL), VQZ_OK);
    *file = bytes;
    vqzi_model_clear(&model);
}

static void test_truncation(void **state) {
    (void)state;
    uint8_t *file;
    size_t size;
    small_file(&file, &size);
    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *copy = malloc(cut + 1); /* so that reading too far is seen by sanitizers */
        vqzi_model model;
        vqz_diag diag = {""};
        assert_non_null(copy);
        memcpy(copy, file, cut);
        assert_int_not_equal(vqzi_model_parse(&model, copy, cut, NULL, &diag), VQZ_OK);
        assert_true(diag.message[0] != '\0');
        free(copy);
    }
    uint8_t *longer = malloc(size + 1);
    vqzi_model model;
    assert_non_null(longer);
    memcpy(longer, file, size);
    longer[size] = 0;
    assert_int_not_equal(vqzi_model_parse(&model, longer, size + 1, NULL, NULL), VQZ_OK);
    free(longer);
    vqz_free(file);
}

/* A flipped bit is refused, unless it lies in the card, which the hash leaves out, or changes only
   how the same body is spelled. */
static void test_bit_flips(void **state) {
    (void)state;
    uint8_t *file;
    size_t size, accepted = 0;
    small_file(&file, &size);
    vqzi_model original;
    assert_int_equal(vqzi_model_parse(&original, file, size, NULL, NULL), VQZ_OK);
    for (size_t bit = 0; bit < size * 8; bit++) {
        vqzi_model model;
        file[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (vqzi_model_parse(&model, file, size, NULL, NULL) == VQZ_OK) {
            assert_memory_equal(model.hash, original.hash, VQZI_HASH_SIZE);
            vqzi_model_clear(&model);
            accepted++;
        }
        file[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_true(accepted <= 8 * strlen(original.card) + 64);
    vqzi_model_clear(&original);
    vqz_free(file);
}

/* A file around any body, with the hash that belongs to it. */
static void hostile_file(vqzi_buffer *file, const uint8_t *body, size_t size) {
    uint8_t hash[VQZI_HASH_SIZE];
    size_t bound = ZSTD_compressBound(size);
    uint8_t *frame = malloc(bound);
    assert_non_null(frame);
    vqzi_sha256(hash, body, size);
    vqzi_buffer_append(file, "VQM\1", 4);
    vqzi_buffer_varint(file, size);
    vqzi_buffer_append(file, hash, sizeof hash);
    vqzi_buffer_varint(file, 0);
    vqzi_buffer_append(file, frame, ZSTD_compress(frame, bound, body, size, 1));
    assert_int_equal(vqzi_buffer_status(file), VQZ_OK);
    free(frame);
}

/* A body whose hash is right but whose content is hostile: what an attacker writes. */
static void test_hostile_bodies(void **state) {
    (void)state;
    uint8_t *file;
    size_t size;
    test_random random = {base_seed()};
    small_file(&file, &size);
    vqzi_reader reader = {file, size, 4};
    uint64_t body_size, card_size;
    const uint8_t *bytes;
    assert_int_equal(vqzi_read_varint(&reader, UINT64_MAX, &body_size), VQZ_OK);
    assert_int_equal(vqzi_read_bytes(&reader, VQZI_HASH_SIZE, &bytes), VQZ_OK);
    assert_int_equal(vqzi_read_varint(&reader, UINT64_MAX, &card_size), VQZ_OK);
    assert_int_equal(vqzi_read_bytes(&reader, (size_t)card_size, &bytes), VQZ_OK);
    uint8_t *body = malloc((size_t)body_size);
    assert_non_null(body);
    size_t frame = reader.position, rejected = 0;
    assert_int_equal(ZSTD_decompress(body, (size_t)body_size, file + frame, size - frame), body_size);
    enum { ROUNDS = 3000 };
    for (int round = 0; round < ROUNDS; round++) {
        uint8_t *mutant = malloc((size_t)body_size);
        assert_non_null(mutant);
        memcpy(mutant, body, (size_t)body_size);
        /* the start holds the fields that sizes hang on */
        int32_t reach = (int32_t)(round % 2 == 0 ? 60 : body_size - 1);
        for (int32_t n = test_random_range(&random, 1, 3); n > 0; n--)
            mutant[test_random_range(&random, 0, reach)] = (uint8_t)test_random_next(&random);
        vqzi_buffer out = {0};
        hostile_file(&out, mutant, (size_t)body_size);
        vqzi_model model;
        if (vqzi_model_parse(&model, out.data, out.size, NULL, NULL) == VQZ_OK) {
            assert_int_equal(vqzi_model_check(&model, NULL, NULL), VQZ_OK);
            vqzi_model_clear(&model);
        } else {
            rejected++;
        }
        vqzi_buffer_clear(&out);
        free(mutant);
    }
    assert_true(rejected > ROUNDS / 10);
    free(body);
    vqz_free(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),     cmocka_unit_test(test_hash),
        cmocka_unit_test(test_level_values),   cmocka_unit_test(test_registers),
        cmocka_unit_test(test_rules),          cmocka_unit_test(test_overflow_bound),
        cmocka_unit_test(test_limits),         cmocka_unit_test(test_truncation),
        cmocka_unit_test(test_bit_flips),      cmocka_unit_test(test_hostile_bodies)};
    print_message("SEED=%llu\n", (unsigned long long)base_seed());
    return cmocka_run_group_tests_name("model", tests, NULL, NULL);
}
