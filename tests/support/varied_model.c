/*
 * varied_model.c - see varied_model.h.
 */
#include "tests/support/varied_model.h"
#include "tests/support/random_prior.h"

#include <stdlib.h>

static int32_t draw(test_random *random, int32_t low, int32_t high) {
    return test_random_range(random, low, high);
}

/* ---- networks ---- */

static vqzi_op *append(vqzi_net *net, vqzi_op_kind kind, uint32_t channels) {
    vqzi_op *op = &net->ops[net->op_count];
    *op = (vqzi_op){.kind = (uint8_t)kind,
                    .src = (uint8_t)net->op_count++,
                    .add = VQZI_NO_REGISTER,
                    .block = 2,
                    .channels = (uint16_t)channels};
    return op;
}

void extend_synthesis(vqzi_model *model, const random_model_options *options, test_random *random,
                      bool strided) {
    test_net_builder builder = {options, random, &model->synthesis};
    uint32_t channels = model->channels, bits = VQZI_MIN(16u, 8u + model->pixel_shift), last;
    if (!strided)
        append(builder.net, VQZI_S2D, 4 * channels);
    last = builder.net->op_count;
    test_set_activation(&builder, test_convolve(&builder, last, 4 * channels,
                                                (uint32_t)draw(random, strided ? 2 : 1, 5),
                                                strided ? 2 : 1, bits));
    append(builder.net, VQZI_D2S, channels);
    test_set_activation(&builder, append(builder.net, VQZI_ACT, channels));
}

static size_t weight_count(const vqzi_net *net, const vqzi_op *op) {
    return (size_t)op->kernel * op->kernel * vqzi_net_channels(net, op->src) * op->channels;
}

/* Changes one field of a convolution, its weights or its biases. */
static void vary_convolution(const vqzi_net *net, vqzi_op *op, uint32_t levels,
                             test_random *random) {
    size_t weights = weight_count(net, op);
    switch (draw(random, 0, 5)) {
    case 0: /* few large weights among zeros; the stages' hidden taps stay zero */
        for (size_t i = 0; i < weights; i++)
            if (draw(random, 0, 20) > 0 || op->weights[i] == 0)
                op->weights[i] = 0;
            else
                op->weights[i] = test_coin(random) ? INT16_MIN : INT16_MAX;
        break;
    case 1:
        for (uint32_t c = 0; c < op->channels; c++)
            op->shift[c] = (uint8_t)draw(random, 0, 30);
        break;
    case 2:
        for (uint32_t i = 0; i < (uint32_t)op->bias_sets * op->channels; i++)
            op->biases[i] = draw(random, -(1 << draw(random, 0, 30)), 1 << draw(random, 0, 30));
        break;
    case 3:
        op->bits = (uint8_t)draw(random, 2, 16);
        break;
    case 4:
        op->activation = (uint8_t)draw(random, VQZI_NONE, VQZI_LEAKY);
        op->slope = op->activation == VQZI_LEAKY ? (uint8_t)draw(random, 1, 8) : 0;
        break;
    default: /* a bias set for every level, far from each other */
        free(op->biases);
        op->bias_sets = (uint8_t)levels;
        op->biases = test_allocate((size_t)levels * op->channels, sizeof *op->biases);
        for (uint32_t i = 0; i < levels * op->channels; i++)
            op->biases[i] = draw(random, -1000000, 1000000);
    }
}

static void vary_net(vqzi_net *net, uint32_t levels, test_random *random) {
    vqzi_op *op = &net->ops[draw(random, 0, (int32_t)net->op_count - 1)];
    if (op->kind == VQZI_CONV)
        vary_convolution(net, op, levels, random);
}

/* ---- quantiser and prior ---- */

static void vary_quantiser(vqzi_model *model, test_random *random) {
    vqzi_plane *plane = &model->planes[draw(random, 0, (int32_t)model->plane_count - 1)];
    switch (draw(random, 0, 4)) {
    case 0:
        model->step_shift = (uint8_t)draw(random, 0, 15);
        break;
    case 1:
        for (uint32_t i = 0; i < (uint32_t)model->levels * model->latent_channels; i++)
            model->steps[i] = (uint16_t)(test_coin(random) ? 1 : draw(random, 1, 32767));
        break;
    case 2:
        for (size_t i = 0; i < (size_t)plane->books * plane->codes * plane->dims; i++)
            plane->codebook[i] = (int16_t)draw(random, INT16_MIN, INT16_MAX);
        break;
    case 3: { /* few bits, on both sides */
        vqzi_op *last = &model->analysis.ops[model->analysis.op_count - 1];
        model->latent_bits = (uint8_t)draw(random, 2, VQZI_MAX_LATENT_BITS);
        model->synthesis.input_bits = model->latent_bits;
        if (last->kind == VQZI_CONV)
            last->bits = model->latent_bits;
        break;
    }
    default:
        plane->ordered = (uint8_t)(plane->dims == 1 && model->prior.stage_count == 0);
    }
}

/* A table of one likely symbol. */
static void sharpen(uint16_t *table, test_random *random) {
    for (int i = 0; i < VQZI_SYMBOLS; i++)
        table[i] = 1;
    table[draw(random, 0, VQZI_SYMBOLS - 1)] = 65536 - (VQZI_SYMBOLS - 1);
}

static void vary_prior(vqzi_model *model, test_random *random) {
    vqzi_prior *prior = &model->prior;
    vqzi_stage *stage = &prior->stages[draw(random, 0, (int32_t)prior->stage_count - 1)];
    switch (draw(random, 0, 4)) {
    case 0:
        prior->gain_shift = (uint8_t)draw(random, 0, 15);
        for (uint32_t c = 0; c < model->latent_channels; c++)
            prior->gains[c] = (uint16_t)draw(random, 0, 65535);
        break;
    case 1:
        for (uint32_t c = 0; c < model->latent_channels; c++)
            if (prior->mean_gains[c] > 0)
                prior->mean_gains[c] = (uint32_t)draw(random, 0, INT32_MAX);
        break;
    case 2:
        for (int i = 0; i < VQZI_CLASSES; i++)
            prior->class_bits[i] = (uint8_t)draw(random, 0, 8);
        break;
    case 3:
        for (int i = 0; i < VQZI_CLASSES * VQZI_PHASES; i++)
            if (test_coin(random))
                sharpen(prior->frequencies + i * VQZI_SYMBOLS, random);
        break;
    default:
        vary_net(&stage->net, model->levels, random);
    }
}

void varied_model(vqzi_model *model, uint64_t seed) {
    test_random random = {seed ^ 0x7a1e5};
    random_model_options options;
    random_model_options_draw(&options, seed);
    if (draw(&random, 0, 9) == 0)
        options.stride = 32;
    if (draw(&random, 0, 9) == 0)
        options.levels = 16;
    random_model(model, &options);
    if (draw(&random, 0, 2) == 0)
        extend_synthesis(model, &options, &random, test_coin(&random));
    for (int32_t changes = draw(&random, 0, 4); changes > 0; changes--)
        switch (draw(&random, 0, 3)) {
        case 0:
            vary_net(&model->synthesis, model->levels, &random);
            break;
        case 1:
            vary_net(&model->analysis, model->levels, &random);
            break;
        case 2:
            vary_quantiser(model, &random);
            break;
        default:
            if (model->prior.stage_count > 0)
                vary_prior(model, &random);
        }
}
