/*
 * test_model.c - model files: round trips, the values that apply at a quality, and damage.
 */
#include "codec/internal.h"
#include "format/container.h"
#include "format/model_parts.h"
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

static void assert_same_prior(const vqzi_prior *a, const vqzi_prior *b, size_t channels) {
    assert_int_equal(a->stage_count, b->stage_count);
    if (a->stage_count == 0)
        return;
    assert_int_equal(a->gain_shift, b->gain_shift);
    assert_memory_equal(a->gains, b->gains, channels * sizeof *a->gains);
    assert_memory_equal(a->mean_gains, b->mean_gains, channels * sizeof *a->mean_gains);
    assert_memory_equal(a->class_bits, b->class_bits, sizeof a->class_bits);
    assert_memory_equal(a->frequencies, b->frequencies,
                        VQZI_CLASSES * VQZI_PHASES * VQZI_SYMBOLS * sizeof *a->frequencies);
    for (uint32_t i = 0; i < a->stage_count; i++) {
        assert_int_equal(a->stages[i].planes, b->stages[i].planes);
        assert_same_net(&a->stages[i].net, &b->stages[i].net);
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
    assert_same_prior(&a->prior, &b->prior, a->latent_channels);
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
        assert_int_equal(((const uint8_t *)file)[3], options.prior ? 2 : 1);
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
    vqzi_plane plane = {
        .codes = 2, .dims = 1, .books = 3, .channels = channels, .codebook = codebook};
    vqzi_op op = {.channels = 1, .bias_sets = 3, .biases = biases};
    vqzi_model model = {.levels = 3,
                        .latent_bits = 12,
                        .step_shift = 8,
                        .latent_channels = 1,
                        .steps = steps,
                        .plane_count = 1,
                        .planes = &plane};
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

/* ---- damage ---- */

static void small_file(uint8_t **file, size_t *size, bool prior) {
    random_model_options options;
    random_model_options_init(&options, base_seed());
    options.hidden = 2;
    options.max_codes = 8;
    options.levels = 2;
    options.stride = 4;
    options.prior = prior;
    vqzi_model model;
    void *bytes;
    random_model(&model, &options);
    assert_int_equal(vqzi_model_serialise(&model, &bytes, size, NULL), VQZ_OK);
    *file = bytes;
    vqzi_model_clear(&model);
}

static void check_truncation(bool prior) {
    uint8_t *file;
    size_t size;
    small_file(&file, &size, prior);
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

static void test_truncation(void **state) {
    (void)state;
    check_truncation(false);
    check_truncation(true);
}

/* A flipped bit is refused, unless it lies in the card, which the hash leaves out, or changes only
   how the same body is spelled. */
static void test_bit_flips(void **state) {
    (void)state;
    uint8_t *file;
    size_t size, accepted = 0;
    small_file(&file, &size, false);
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
static void hostile_file(vqzi_buffer *file, uint8_t version, const uint8_t *body, size_t size) {
    uint8_t hash[VQZI_HASH_SIZE];
    size_t bound = ZSTD_compressBound(size);
    uint8_t *frame = malloc(bound);
    assert_non_null(frame);
    vqzi_sha256(hash, body, size);
    vqzi_buffer_append(file, "VQM", 3);
    vqzi_buffer_byte(file, version);
    vqzi_buffer_varint(file, size);
    vqzi_buffer_append(file, hash, sizeof hash);
    vqzi_buffer_varint(file, 0);
    vqzi_buffer_append(file, frame, ZSTD_compress(frame, bound, body, size, 1));
    assert_int_equal(vqzi_buffer_status(file), VQZ_OK);
    free(frame);
}

/* Bytes that the prior takes at the end of a body. */
static size_t prior_size(const vqzi_model *model) {
    vqzi_buffer body = {0};
    vqzi_put_prior(&body, &model->prior, model->latent_channels);
    assert_int_equal(vqzi_buffer_status(&body), VQZ_OK);
    size_t size = body.size;
    vqzi_buffer_clear(&body);
    return size;
}

/* A body whose hash is right but whose content is hostile: what an attacker writes. */
static void check_hostile_bodies(bool prior) {
    uint8_t *file;
    size_t size;
    test_random random = {base_seed()};
    small_file(&file, &size, prior);
    vqzi_reader reader = {file, size, 4};
    uint64_t body_size, card_size;
    const uint8_t *bytes;
    assert_int_equal(vqzi_read_varint(&reader, UINT64_MAX, &body_size), VQZ_OK);
    assert_int_equal(vqzi_read_bytes(&reader, VQZI_HASH_SIZE, &bytes), VQZ_OK);
    assert_int_equal(vqzi_read_varint(&reader, UINT64_MAX, &card_size), VQZ_OK);
    assert_int_equal(vqzi_read_bytes(&reader, (size_t)card_size, &bytes), VQZ_OK);
    vqzi_model model_in_file;
    assert_int_equal(vqzi_model_parse(&model_in_file, file, size, NULL, NULL), VQZ_OK);
    uint8_t *body = malloc((size_t)body_size);
    assert_non_null(body);
    size_t frame = reader.position, rejected = 0;
    assert_int_equal(ZSTD_decompress(body, (size_t)body_size, file + frame, size - frame),
                     body_size);
    enum { ROUNDS = 3000 };
    for (int round = 0; round < ROUNDS; round++) {
        uint8_t *mutant = malloc((size_t)body_size);
        assert_non_null(mutant);
        memcpy(mutant, body, (size_t)body_size);
        /* the start holds the fields that sizes hang on */
        int32_t last = (int32_t)body_size - 1, reach = round % 2 == 0 ? 60 : last, from = 0;
        if (prior && round % 2 == 0) { /* and the prior's end the file */
            from = (int32_t)(body_size - prior_size(&model_in_file));
            reach = round % 4 == 0 ? from + 4 + 6 * model_in_file.latent_channels : last;
        }
        for (int32_t n = test_random_range(&random, 1, 3); n > 0; n--)
            mutant[test_random_range(&random, from, reach)] = (uint8_t)test_random_next(&random);
        vqzi_buffer out = {0};
        hostile_file(&out, prior ? 2 : 1, mutant, (size_t)body_size);
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

    /* every shorter body, and one of a byte more; the other version's rules */
    for (size_t cut = 0; cut <= body_size + 1; cut++) {
        bool whole = cut == body_size;
        vqzi_buffer out = {0};
        uint8_t *other = calloc(cut + 1, 1);
        assert_non_null(other);
        memcpy(other, body, VQZI_MIN(cut, (size_t)body_size));
        hostile_file(&out, prior == !whole ? 2 : 1, other, cut);
        vqzi_model model;
        vqz_diag diag = {""};
        assert_int_equal(vqzi_model_parse(&model, out.data, out.size, NULL, &diag),
                         VQZ_ERROR_MODEL_INVALID);
        assert_true(diag.message[0] != '\0');
        vqzi_buffer_clear(&out);
        free(other);
    }
    vqzi_model_clear(&model_in_file);
    free(body);
    vqz_free(file);
}

static void test_hostile_bodies(void **state) {
    (void)state;
    check_hostile_bodies(false);
    check_hostile_bodies(true);
}

/* A version that does not exist yet. */
static void test_version(void **state) {
    (void)state;
    for (uint8_t version = 0; version < 5; version++) {
        vqzi_buffer out = {0};
        hostile_file(&out, version, (const uint8_t *)"x", 1);
        vqzi_model model;
        assert_int_equal(vqzi_model_parse(&model, out.data, out.size, NULL, NULL),
                         version == 1 || version == 2 ? VQZ_ERROR_MODEL_INVALID
                                                      : VQZ_ERROR_VERSION);
        vqzi_buffer_clear(&out);
    }
}

/* The built-in model is taken on trust: it is the one of its file, and a copy is not. */
static void test_built_in(void **state) {
    (void)state;
    size_t size;
    const void *file = vqz_default_model(&size);
    if (size == 0)
        skip();
    vqzi_model checked;
    vqzi_buffer body = {0};
    assert_int_equal(vqzi_model_parse(&checked, file, size, NULL, NULL), VQZ_OK);
    vqzi_put_body(&body, &checked);
    assert_int_equal(vqzi_buffer_status(&body), VQZ_OK);
    assert_memory_equal(body.data, vqzi_default_body(), body.size);

    vqz_model *loaded;
    vqz_model_info info;
    assert_int_equal(vqz_model_load(&loaded, file, size, NULL, NULL), VQZ_OK);
    vqz_model_get_info(loaded, &info);
    assert_memory_equal(info.hash, checked.hash, sizeof info.hash);
    vqz_model_free(loaded);

    uint8_t *damaged = malloc(size);
    assert_non_null(damaged);
    memcpy(damaged, file, size);
    damaged[size / 2] ^= 1;
    assert_int_not_equal(vqz_model_load(&loaded, damaged, size, NULL, NULL), VQZ_OK);
    free(damaged);
    vqzi_buffer_clear(&body);
    vqzi_model_clear(&checked);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),     cmocka_unit_test(test_hash),
        cmocka_unit_test(test_level_values),   cmocka_unit_test(test_registers),
        cmocka_unit_test(test_truncation),     cmocka_unit_test(test_bit_flips),
        cmocka_unit_test(test_hostile_bodies), cmocka_unit_test(test_version),
        cmocka_unit_test(test_built_in)};
    print_message("SEED=%llu\n", (unsigned long long)base_seed());
    return cmocka_run_group_tests_name("model", tests, NULL, NULL);
}
