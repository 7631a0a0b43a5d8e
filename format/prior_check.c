/*
 * prior_check.c - every rule of a model's prior (format/model.h, spec/vqm-format.md "Prior").  The
 * code that runs a prior relies on them as on those of model_check.c: above all that no output
 * depends on a code that a decoder does not have yet.
 */
#include "format/model_parts.h"

#include <stdio.h>

#define INVALID(diag, ...) vqzi_fail(diag, VQZ_ERROR_MODEL_INVALID, __VA_ARGS__)

enum { MAX_CLASS_BITS = 8, MAX_GAIN_SHIFT = 15, TOTAL = 1 << VQZI_PROBABILITY_BITS };

/* Every channel belongs to one plane, in order. */
static vqz_status check_channels(const vqzi_model *model, vqz_diag *diag) {
    uint32_t next = 0;
    for (uint32_t p = 0; p < model->plane_count; p++)
        for (uint32_t i = 0; i < model->planes[p].dims; i++)
            if (model->planes[p].channels[i] != next++)
                return INVALID(
                    diag,
                    "plane %u lists channel %u instead of %u; with a prior, every channel "
                    "belongs to one plane, in order",
                    p, model->planes[p].channels[i], next - 1);
    if (next != model->latent_channels)
        return INVALID(diag, "the planes list %u channels of %u; a prior needs all", next,
                       model->latent_channels);
    return VQZ_OK;
}

static vqz_status check_tables(const vqzi_model *model, vqz_diag *diag) {
    const vqzi_prior *prior = &model->prior;
    if (prior->gains == NULL || prior->mean_gains == NULL || prior->frequencies == NULL)
        return INVALID(diag, "the prior lacks a tensor");
    if (prior->gain_shift > MAX_GAIN_SHIFT)
        return INVALID(diag, "the prior's gain shift is %u, above %d", prior->gain_shift,
                       MAX_GAIN_SHIFT);
    for (uint32_t p = 0; p < model->plane_count; p++)
        for (uint32_t i = 0; i < model->planes[p].dims; i++) {
            uint32_t channel = model->planes[p].channels[i], gain = prior->mean_gains[channel];
            if (model->planes[p].ordered ? gain > INT32_MAX : gain != 0)
                return INVALID(
                    diag,
                    "the prior's mean gain of channel %u is %u, not below 2^31 or, for a "
                    "plane without order, not 0",
                    channel, gain);
        }
    for (uint32_t i = 0; i < VQZI_CLASSES; i++)
        if (prior->class_bits[i] > MAX_CLASS_BITS)
            return INVALID(diag, "class %u of the prior has %u bits, above %d", i,
                           prior->class_bits[i], MAX_CLASS_BITS);
    const uint16_t *frequency = prior->frequencies;
    for (uint32_t table = 0; table < VQZI_CLASSES * VQZI_PHASES; table++) {
        uint32_t sum = 0;
        for (uint32_t i = 0; i < VQZI_SYMBOLS; i++, frequency++) {
            if (*frequency == 0)
                return INVALID(diag, "symbol %u of the prior's table %u has frequency 0", i, table);
            sum += *frequency;
        }
        if (sum != TOTAL)
            return INVALID(diag, "the prior's table %u sums to %u instead of %d", table, sum,
                           TOTAL);
    }
    return VQZ_OK;
}

/* Three convolutions in a row that keep the extent. */
static vqz_status check_shape(const vqzi_net_rules *rules, uint32_t inputs, uint32_t outputs) {
    const vqzi_net *net = rules->net;
    if (net->input_bits != VQZI_CONTEXT_BITS || net->input_channels != inputs)
        return INVALID(rules->diag, "%s does not start at %d-bit context of %u channels",
                       rules->name, VQZI_CONTEXT_BITS, inputs);
    if (net->op_count != VQZI_STAGE_OPS || net->ops == NULL)
        return INVALID(rules->diag, "%s has %u ops instead of %d", rules->name, net->op_count,
                       VQZI_STAGE_OPS);
    for (uint32_t i = 0; i < VQZI_STAGE_OPS; i++) {
        const vqzi_op *op = &net->ops[i];
        bool kernel = i == 0 ? op->kernel == 3 || op->kernel == 5 : op->kernel == 1;
        if (op->kind != VQZI_CONV || op->src != i || op->add != VQZI_NO_REGISTER || !kernel ||
            op->stride != 1)
            return INVALID(
                rules->diag,
                "%s op %u is no plain convolution of the register before it: kernels are "
                "3 or 5, 1 and 1, strides 1",
                rules->name, i);
    }
    VQZ_TRY(vqzi_net_check(rules));
    if (net->ops[VQZI_STAGE_OPS - 1].channels != outputs)
        return INVALID(rules->diag, "%s ends with %u channels; its planes take %u", rules->name,
                       net->ops[VQZI_STAGE_OPS - 1].channels, outputs);
    return VQZ_OK;
}

/* The first op does not look at the stage's own channels (from `begin`) here and further on. */
static vqz_status check_mask(const vqzi_net_rules *rules, uint32_t begin) {
    const vqzi_op *op = &rules->net->ops[0];
    uint32_t inputs = rules->net->input_channels, taps = (uint32_t)op->kernel * op->kernel;
    for (uint32_t c = 0; c < op->channels; c++)
        for (uint32_t tap = taps / 2; tap < taps; tap++) {
            const int16_t *weights = op->weights + ((size_t)c * taps + tap) * inputs;
            for (uint32_t i = begin; i < inputs; i++)
                if (weights[i] != 0)
                    return INVALID(rules->diag,
                                   "%s output %u looks at codes that are not decoded yet (channel "
                                   "%u, tap %u)",
                                   rules->name, c, i, tap);
        }
    return VQZ_OK;
}

vqz_status vqzi_prior_check(const vqzi_model *model, vqz_diag *diag) {
    const vqzi_prior *prior = &model->prior;
    if (prior->stage_count == 0)
        return VQZ_OK;
    if (prior->stage_count > VQZI_MAX_STAGES || prior->stages == NULL)
        return INVALID(diag, "the prior has %u stages, more than %d", prior->stage_count,
                       VQZI_MAX_STAGES);
    VQZ_TRY(check_channels(model, diag));
    VQZ_TRY(check_tables(model, diag));
    uint32_t plane = 0, end = 0;
    for (uint32_t i = 0; i < prior->stage_count; i++) {
        const vqzi_stage *stage = &prior->stages[i];
        uint32_t begin = end, outputs = 0;
        char name[20];
        snprintf(name, sizeof name, "stage %u", i);
        if (stage->planes < 1 || stage->planes > model->plane_count - plane)
            return INVALID(diag, "%s has %u planes; %u are left", name, stage->planes,
                           model->plane_count - plane);
        for (uint32_t p = 0; p < stage->planes; p++, plane++) {
            end += model->planes[plane].dims;
            outputs += model->planes[plane].ordered ? 2 : model->planes[plane].codes;
        }
        vqzi_net_rules rules = {&stage->net, name, model->levels, 0, 0, VQZI_STAGE_OUTPUTS, diag};
        VQZ_TRY(check_shape(&rules, end, outputs));
        VQZ_TRY(check_mask(&rules, begin));
    }
    if (plane != model->plane_count)
        return INVALID(diag, "the stages of the prior have %u planes of %u", plane,
                       model->plane_count);
    return VQZ_OK;
}
