/*
 * prior_file.c - the prior of a model as bytes at the end of a .vqm body (spec/vqm-format.md).
 */
#include "format/model_parts.h"

#include <stdlib.h>
#include <string.h>

enum { FREQUENCIES = VQZI_CLASSES * VQZI_PHASES * VQZI_SYMBOLS };

void vqzi_prior_clear(vqzi_prior *prior) {
    for (uint32_t i = 0; prior->stages != NULL && i < prior->stage_count; i++)
        vqzi_net_clear(&prior->stages[i].net);
    free(prior->stages);
    free(prior->gains);
    free(prior->mean_gains);
    free(prior->frequencies);
    *prior = (vqzi_prior){0};
}

void vqzi_put_prior(vqzi_buffer *body, const vqzi_prior *prior, uint32_t latent_channels) {
    vqzi_buffer_byte(body, (uint8_t)prior->stage_count);
    vqzi_buffer_byte(body, prior->gain_shift);
    vqzi_put_planes(body, prior->gains, latent_channels, 2);
    vqzi_put_planes(body, prior->mean_gains, latent_channels, 4);
    vqzi_buffer_append(body, prior->class_bits, sizeof prior->class_bits);
    vqzi_put_planes(body, prior->frequencies, FREQUENCIES, 2);
    for (uint32_t i = 0; i < prior->stage_count; i++) {
        vqzi_buffer_byte(body, prior->stages[i].planes);
        vqzi_put_net(body, &prior->stages[i].net);
    }
}

vqz_status vqzi_get_prior(vqzi_reader *body, vqzi_model *model) {
    vqzi_prior *prior = &model->prior;
    const uint8_t *bytes;
    uint8_t count;
    void *tensor;
    VQZ_TRY(vqzi_get_byte(body, &count));
    if (count < 1 || count > VQZI_MAX_STAGES)
        return VQZ_ERROR_MODEL_INVALID;
    prior->stages = calloc(count, sizeof *prior->stages);
    if (prior->stages == NULL)
        return VQZ_ERROR_MEMORY;
    prior->stage_count = count;
    VQZ_TRY(vqzi_get_byte(body, &prior->gain_shift));
    VQZ_TRY(vqzi_get_planes(body, model->latent_channels, 2, &tensor));
    prior->gains = tensor;
    VQZ_TRY(vqzi_get_planes(body, model->latent_channels, 4, &tensor));
    prior->mean_gains = tensor;
    VQZ_TRY(vqzi_read_bytes(body, sizeof prior->class_bits, &bytes));
    memcpy(prior->class_bits, bytes, sizeof prior->class_bits);
    VQZ_TRY(vqzi_get_planes(body, FREQUENCIES, 2, &tensor));
    prior->frequencies = tensor;
    uint32_t plane = 0, end = 0; /* of the planes and channels so far: the net's input */
    for (uint32_t i = 0; i < count; i++) {
        vqzi_stage *stage = &prior->stages[i];
        VQZ_TRY(vqzi_get_byte(body, &stage->planes));
        if (stage->planes > model->plane_count - plane)
            return VQZ_ERROR_MODEL_INVALID;
        for (uint32_t p = 0; p < stage->planes; p++)
            end += model->planes[plane++].dims;
        if (end > model->latent_channels)
            return VQZ_ERROR_MODEL_INVALID;
        VQZ_TRY(vqzi_get_net(body, &stage->net, VQZI_CONTEXT_BITS, end, VQZI_STAGE_OUTPUTS));
    }
    return VQZ_OK;
}
