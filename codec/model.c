/*
 * model.c - the opaque vqz_model: a parsed model with its weights packed for the kernels, once.
 * Threads share it freely: what changes after loading (the packed nets here, the digested
 * dictionaries in format/dictionary.c) is made at first use and published in one atomic step.
 */
#include "codec/internal.h"

#include <stdlib.h>
#include <string.h>

vqz_status vqz_model_load(vqz_model **out, const void *data, size_t size, const vqz_limits *limits,
                          vqz_diag *diag) {
    vqz_model *model = calloc(1, sizeof *model);
    if (!model)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory for a model");
    size_t built_in;
    bool known = data == vqz_default_model(&built_in) && size == built_in;
    vqz_status status =
        known ? vqzi_model_parse_known(&model->model, data, size, vqzi_default_body(), limits, diag)
              : vqzi_model_parse(&model->model, data, size, limits, diag);
    if (status != VQZ_OK) {
        free(model);
        return status;
    }
    *out = model;
    return VQZ_OK;
}

static void free_net(vqzi_prepared_net *net) {
    if (net)
        vqzi_net_unprepare(net);
    free(net);
}

vqz_status vqzi_model_net(const vqz_model *model, bool analysis, const vqzi_prepared_net **net) {
    vqz_model *cache = (vqz_model *)model; /* the packed form is no part of the model's value */
    _Atomic(vqzi_prepared_net *) *slot = analysis ? &cache->analysis : &cache->synthesis;
    vqzi_prepared_net *shared = atomic_load_explicit(slot, memory_order_acquire);
    if (!shared) {
        vqzi_prepared_net *own = calloc(1, sizeof *own);
        if (!own)
            return VQZ_ERROR_MEMORY;
        vqz_status status =
            vqzi_net_prepare(own, analysis ? &model->model.analysis : &model->model.synthesis);
        if (status != VQZ_OK) {
            free(own);
            return status;
        }
        if (atomic_compare_exchange_strong_explicit(slot, &shared, own, memory_order_acq_rel,
                                                    memory_order_acquire))
            shared = own;
        else
            free_net(own);
    }
    *net = shared;
    return VQZ_OK;
}

vqz_status vqzi_model_adjoint(const vqz_model *model, const vqzi_adjoint **adjoint) {
    vqz_model *cache = (vqz_model *)model;
    vqzi_adjoint *shared = atomic_load_explicit(&cache->adjoint, memory_order_acquire), *own;
    if (!shared) {
        const vqzi_prepared_net *synthesis;
        VQZ_TRY(vqzi_model_net(model, false, &synthesis));
        VQZ_TRY(vqzi_adjoint_create(&own, synthesis));
        if (atomic_compare_exchange_strong_explicit(&cache->adjoint, &shared, own,
                                                    memory_order_acq_rel, memory_order_acquire))
            shared = own;
        else
            vqzi_adjoint_free(own);
    }
    *adjoint = shared;
    return VQZ_OK;
}

vqz_status vqzi_model_prior(const vqz_model *model, const vqzi_prepared_prior **prior) {
    vqz_model *cache = (vqz_model *)model;
    vqzi_prepared_prior *shared = atomic_load_explicit(&cache->prior, memory_order_acquire), *own;
    if (!shared) {
        VQZ_TRY(vqzi_prior_prepare(&own, &model->model));
        if (atomic_compare_exchange_strong_explicit(&cache->prior, &shared, own,
                                                    memory_order_acq_rel, memory_order_acquire))
            shared = own;
        else
            vqzi_prior_unprepare(own);
    }
    *prior = shared;
    return VQZ_OK;
}

void vqz_model_free(vqz_model *model) {
    if (!model)
        return;
    vqzi_prior_unprepare(atomic_load(&model->prior));
    vqzi_adjoint_free(atomic_load(&model->adjoint));
    free_net(atomic_load(&model->analysis));
    free_net(atomic_load(&model->synthesis));
    vqzi_model_clear(&model->model);
    free(model);
}

static uint64_t net_parameters(const vqzi_net *net) {
    uint64_t total = 0;
    for (uint32_t i = 0; i < net->op_count; i++) {
        const vqzi_op *op = &net->ops[i];
        if (op->kind == VQZI_CONV)
            total += (uint64_t)op->channels *
                     ((uint64_t)op->kernel * op->kernel * vqzi_net_channels(net, op->src) +
                      op->bias_sets);
    }
    return total;
}

void vqz_model_get_info(const vqz_model *model, vqz_model_info *info) {
    const vqzi_model *m = &model->model;
    uint64_t area = (uint64_t)m->stride * m->stride;

    memset(info, 0, sizeof *info);
    memcpy(info->hash, m->hash, sizeof info->hash);
    info->channels = m->channels;
    info->stride = m->stride;
    info->latent_channels = m->latent_channels;
    info->planes = m->plane_count;
    info->levels = m->levels;
    info->parameters = net_parameters(&m->analysis) + net_parameters(&m->synthesis);
    for (uint32_t p = 0; p < m->plane_count; p++)
        info->parameters += (uint64_t)m->planes[p].books * m->planes[p].codes * m->planes[p].dims;
    info->analysis_macs = vqzi_net_macs_per_input_position_x1000(&m->analysis) / 1000;
    info->synthesis_macs = vqzi_net_macs_per_input_position_x1000(&m->synthesis) / 1000 / area;
    info->card = m->card ? m->card : "";
    info->prior_macs = (vqzi_prior_macs_per_position(m) + area - 1) / area;
    info->prior_stages = m->prior.stage_count;
    for (uint32_t i = 0; i < m->prior.stage_count; i++)
        info->parameters += net_parameters(&m->prior.stages[i].net);
}
