/*
 * model_level.c - what a model says at one quality (normative, spec/vqm-format.md "Qualities"), and
 * the derived facts about a net that its runners need.
 */
#include "format/model.h"

#include <string.h>

enum { QUALITY_SPAN = 99 }; /* qualities 1..100 */

vqzi_level vqzi_model_level(const vqzi_model *model, int quality) {
    uint32_t t = (uint32_t)(quality - 1) * (model->levels - 1u);
    vqzi_level level;
    level.lower = t / QUALITY_SPAN;
    level.fraction = t % QUALITY_SPAN;
    level.nearest = level.lower + (level.fraction >= 50);
    return level;
}

uint16_t vqzi_model_step(const vqzi_model *model, vqzi_level level, uint32_t channel) {
    size_t d = model->latent_channels;
    uint32_t low = model->steps[level.lower * d + channel];
    if (level.fraction == 0)
        return (uint16_t)low; /* the last level has no successor to read */
    uint32_t high = model->steps[(level.lower + 1) * d + channel];
    return (uint16_t)((low * (QUALITY_SPAN - level.fraction) + high * level.fraction + 49) /
                      QUALITY_SPAN);
}

void vqzi_model_entries(const vqzi_model *model, vqzi_level level, uint32_t plane,
                        int16_t *entries) {
    const vqzi_plane *p = &model->planes[plane];
    size_t book = p->books > 1 ? level.nearest : 0;
    const int16_t *codebook = p->codebook + book * p->codes * p->dims; /* (K, d) */
    int32_t high = (1 << (model->latent_bits - 1)) - 1, low = -high - 1;
    int32_t round = model->step_shift > 0 ? 1 << (model->step_shift - 1) : 0;
    int32_t steps[VQZI_MAX_PLANE_DIMS];
    for (uint32_t i = 0; i < p->dims; i++)
        steps[i] = vqzi_model_step(model, level, p->channels[i]);
    for (uint32_t k = 0; k < p->codes; k++)
        for (uint32_t i = 0; i < p->dims; i++) {
            /* at most 2^15 * (2^15 - 1) + 2^14 in magnitude: fits */
            int32_t e = (*codebook++ * steps[i] + round) >> model->step_shift;
            *entries++ = (int16_t)VQZI_MAX(low, VQZI_MIN(high, e));
        }
}

void vqzi_op_biases(const vqzi_op *op, vqzi_level level, int32_t *biases) {
    size_t channels = op->channels;
    if (op->bias_sets <= 1 || level.fraction == 0) {
        const int32_t *set = op->biases + (op->bias_sets <= 1 ? 0 : level.lower * channels);
        memcpy(biases, set, channels * sizeof *biases);
        return;
    }
    const int32_t *low = op->biases + level.lower * channels, *high = low + channels;
    int64_t fraction = level.fraction;
    for (size_t c = 0; c < channels; c++) {
        int64_t sum = low[c] * (QUALITY_SPAN - fraction) + high[c] * fraction + 49;
        int64_t quotient = sum / QUALITY_SPAN;
        biases[c] = (int32_t)(quotient - (sum % QUALITY_SPAN < 0)); /* C truncates; we want floor */
    }
}

uint32_t vqzi_log2(uint32_t power_of_two) {
    uint32_t log = 0;
    while (power_of_two >> log > 1)
        log++;
    return log;
}

vqzi_register vqzi_net_register(const vqzi_net *net, uint32_t reg) {
    vqzi_register result = {vqzi_net_channels(net, reg), 0, 0};
    /* follow the sources back to the input: src <= i makes the chain end */
    while (reg > 0) {
        const vqzi_op *op = &net->ops[reg - 1];
        if (op->kind == VQZI_CONV) {
            result.scale += (int32_t)vqzi_log2(op->stride);
            if (result.bits == 0)
                result.bits = op->bits;
        } else if (op->kind == VQZI_S2D) {
            result.scale += (int32_t)vqzi_log2(op->block);
        } else if (op->kind == VQZI_D2S) {
            result.scale -= (int32_t)vqzi_log2(op->block);
        }
        reg = op->src;
    }
    if (result.bits == 0)
        result.bits = net->input_bits;
    return result;
}

uint32_t vqzi_net_channels(const vqzi_net *net, uint32_t reg) {
    return reg == 0 ? net->input_channels : net->ops[reg - 1].channels;
}

uint64_t vqzi_net_macs_per_input_position_x1000(const vqzi_net *net) {
    uint64_t total = 0;
    for (uint32_t i = 0; i < net->op_count; i++) {
        const vqzi_op *op = &net->ops[i];
        if (op->kind != VQZI_CONV)
            continue;
        uint64_t macs = (uint64_t)op->kernel * op->kernel * vqzi_net_channels(net, op->src) *
                        op->channels * 1000;
        int32_t scale = vqzi_net_register(net, i + 1).scale;
        total += scale >= 0 ? macs >> (2 * scale) : macs << (-2 * scale);
    }
    return total;
}

uint64_t vqzi_prior_macs_per_position(const vqzi_model *model) {
    uint64_t total = 0;
    for (uint32_t i = 0; i < model->prior.stage_count; i++)
        total += vqzi_net_macs_per_input_position_x1000(&model->prior.stages[i].net) / 1000;
    return total;
}
