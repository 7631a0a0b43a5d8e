/*
 * random_prior.c - see random_prior.h.  Stages of one or more planes, kernels of both sizes, and
 * tables of every shape; the outputs spread over classes, phases and codes.
 */
#include "tests/support/random_prior.h"

static uint32_t plane_outputs(const vqzi_plane *plane) {
    return plane->ordered ? 2u : plane->codes;
}

/* Frequencies that fall off from a peak anywhere, each at least 1, sum 2^16. */
static void build_table(uint16_t *frequencies, test_random *random) {
    int16_t logits[VQZI_SYMBOLS];
    int32_t peak = test_random_range(random, 0, VQZI_SYMBOLS - 1);
    int32_t slope = test_random_range(random, 0, 600);
    for (int32_t i = 0; i < VQZI_SYMBOLS; i++) {
        int32_t distance = i < peak ? peak - i : i - peak;
        logits[i] = (int16_t)(test_random_range(random, -200, 200) - slope * distance);
    }
    vqzi_prior_logits(logits, VQZI_SYMBOLS, frequencies);
}

static void build_tables(vqzi_model *model, test_random *random) {
    vqzi_prior *prior = &model->prior;
    prior->gain_shift = (uint8_t)test_random_range(random, 0, 15);
    prior->gains = test_allocate(model->latent_channels, sizeof *prior->gains);
    prior->mean_gains = test_allocate(model->latent_channels, sizeof *prior->mean_gains);
    int32_t most = VQZI_MIN(65535, 8 << prior->gain_shift);
    for (uint32_t c = 0; c < model->latent_channels; c++)
        prior->gains[c] = (uint16_t)test_random_range(random, 0, most);
    for (uint32_t p = 0; p < model->plane_count; p++) {
        const vqzi_plane *plane = &model->planes[p];
        if (!plane->ordered)
            continue;
        /* with 12 bits of m, means all over the codes; or far outside, now and then */
        int32_t gain = test_random_range(random, 0, 4 * plane->codes) * (1 + model->steps[0] / 2);
        prior->mean_gains[plane->channels[0]] =
            test_random_range(random, 0, 9) == 0 ? INT32_MAX : (uint32_t)gain;
    }
    for (int i = 0; i < VQZI_CLASSES; i++)
        prior->class_bits[i] = (uint8_t)test_random_range(random, 0, test_coin(random) ? 8 : 2);
    size_t tables = VQZI_CLASSES * VQZI_PHASES;
    prior->frequencies = test_allocate(tables * VQZI_SYMBOLS, sizeof *prior->frequencies);
    for (size_t i = 0; i < tables; i++)
        build_table(prior->frequencies + i * VQZI_SYMBOLS, random);
}

/* begin: the first of the stage's own channels */
static void build_stage(vqzi_stage *stage, const random_model_options *options, test_random *random,
                        uint32_t begin, uint32_t end, uint32_t outputs) {
    test_net_builder builder = {options, random, &stage->net};
    stage->net = (vqzi_net){VQZI_CONTEXT_BITS, (uint16_t)end, 0, NULL};
    stage->net.ops = test_allocate(VQZI_STAGE_OPS, sizeof *stage->net.ops);
    vqzi_op *op = test_convolve(&builder, 0, options->hidden, test_coin(random) ? 3 : 5, 1, 12);
    uint32_t taps = (uint32_t)op->kernel * op->kernel;
    for (uint32_t c = 0; c < op->channels; c++)
        for (uint32_t tap = taps / 2; tap < taps; tap++)
            for (uint32_t i = begin; i < end; i++)
                op->weights[((size_t)c * taps + tap) * end + i] = 0;
    test_set_activation(&builder, op);
    uint32_t hidden = (uint32_t)test_random_range(random, 1, (int32_t)options->hidden);
    test_set_activation(&builder, test_convolve(&builder, 1, hidden, 1, 1, 12));
    test_convolve(&builder, 2, outputs, 1, 1, (uint32_t)test_random_range(random, 12, 14));
}

void test_random_prior(vqzi_model *model, const random_model_options *options,
                       test_random *random) {
    vqzi_prior *prior = &model->prior;
    build_tables(model, random);
    prior->stages = test_allocate(VQZI_MAX_STAGES, sizeof *prior->stages);
    uint32_t end = 0;
    for (uint32_t plane = 0; plane < model->plane_count;) {
        vqzi_stage *stage = &prior->stages[prior->stage_count++];
        uint32_t begin = end, outputs = 0;
        do {
            outputs += plane_outputs(&model->planes[plane]);
            end += model->planes[plane++].dims;
            stage->planes++;
        } while (plane < model->plane_count &&
                 outputs + plane_outputs(&model->planes[plane]) <= VQZI_STAGE_OUTPUTS &&
                 (test_coin(random) ||
                  model->plane_count - plane > VQZI_MAX_STAGES - prior->stage_count));
        build_stage(stage, options, random, begin, end, outputs);
    }
}
