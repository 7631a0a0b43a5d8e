/*
 * import.c - an integer model back to float parameters, to fine-tune it (--init).
 *
 * The inverse of export.c: weight = integer / 2^scale, where the scale of a channel follows from its
 * shift and the fractional bits of its registers, which the card records.
 */
#include "trainer/export_internal.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Reads "key":[i,i,...] with exactly `count` integers. */
static bool read_integers(const char *card, const char *key, int *values, int count) {
    const char *at = strstr(card, key);
    at = at ? strchr(at, '[') : NULL;
    for (int i = 0; i < count; i++) {
        char *end;
        if (!at)
            return false;
        long value = strtol(at + 1, &end, 10);
        if (end == at + 1 || value < -16 || value > 31 || *end != (i + 1 < count ? ',' : ']'))
            return false;
        values[i] = (int)value;
        at = end;
    }
    return true;
}

static bool same_layer(const layer *l, const vqzi_op *op) {
    switch (l->kind) {
    case LAYER_CONV:
        return op->kind == VQZI_CONV && op->src == l->src && op->channels == l->cout &&
               op->kernel == l->kernel && op->stride == l->stride &&
               op->bias_sets == l->bias_sets &&
               op->add == (l->add >= 0 ? l->add : VQZI_NO_REGISTER);
    case LAYER_ACT:
        return op->kind == VQZI_ACT && op->src == l->src;
    case LAYER_S2D:
        return op->kind == VQZI_S2D && op->src == l->src && op->block == l->block;
    default:
        return op->kind == VQZI_D2S && op->src == l->src && op->block == l->block;
    }
}

static bool import_net(const network_spec *spec, const vqzi_net *net, const int *fractions,
                       float *parameters) {
    if (net->op_count != (uint32_t)spec->layer_count || net->input_channels != spec->input_channels)
        return false;
    for (int i = 0; i < spec->layer_count; i++) {
        const layer *l = &spec->layers[i];
        const vqzi_op *op = &net->ops[i];
        if (!same_layer(l, op))
            return false;
        if (l->kind != LAYER_CONV)
            continue;
        size_t taps = (size_t)(l->kernel * l->kernel) * (size_t)l->cin;
        for (int c = 0; c < l->cout; c++) {
            int in = fractions[l->src], scale = op->shift[c] + fractions[i + 1] - in;
            for (size_t w = 0; w < taps; w++)
                parameters[l->weights + (size_t)c * taps + w] =
                    ldexpf(op->weights[(size_t)c * taps + w], -scale);
            for (int set = 0; set < l->bias_sets; set++)
                parameters[l->biases + (size_t)(set * l->cout + c)] =
                    ldexpf((float)op->biases[set * l->cout + c], -scale - in);
        }
    }
    return true;
}

static void import_steps(trainer *t, const vqzi_model *model, int latent_fraction, int entry_bits) {
    int step_bits = model->step_shift - entry_bits;
    float *log_steps = t->parameters + t->quantiser_offset;
    for (int i = 0; i < t->spec.levels * t->spec.latent_channels; i++)
        log_steps[i] = logf(ldexpf(model->steps[i], -latent_fraction - step_bits));
}

/* Codebooks and code lengths. */
static bool import_planes(trainer *t, const vqzi_model *model, int entry_bits) {
    const model_spec *spec = &t->spec;
    if (model->plane_count != (uint32_t)spec->plane_count)
        return false;
    for (int p = 0; p < spec->plane_count; p++) {
        const plane_spec *s = &spec->planes[p];
        const vqzi_plane *plane = &model->planes[p];
        if (plane->codes != s->codes || plane->dims != s->dims || plane->books != spec->levels)
            return false;
        for (int c = 0; c < s->dims; c++)
            if (plane->channels[c] != s->channels[c])
                return false;
    }
    for (int p = 0; p < spec->plane_count; p++) {
        const plane_spec *s = &spec->planes[p];
        const vqzi_plane *plane = &model->planes[p];
        for (int level = 0; level < spec->levels; level++) {
            float *book = quantiser_book_mutable(t->quantiser, p, level), bits[VQZI_MAX_CODES];
            size_t first = (size_t)level * (size_t)(s->codes * s->dims);
            for (int i = 0; i < s->codes * s->dims; i++)
                book[i] = ldexpf(plane->codebook[first + (size_t)i], -entry_bits);
            for (int k = 0; k < s->codes; k++)
                bits[k] = plane->rates[level * s->codes + k] / 8.0f;
            quantiser_set_bits(t->quantiser, p, level, bits);
        }
    }
    return true;
}

/* The inverse of export_prior; false when the model's prior is of another shape. */
static bool import_prior(trainer *t, const vqzi_model *model, const int *fractions,
                         int latent_fraction) {
    const model_spec *spec = &t->spec;
    const vqzi_prior *from = &model->prior;
    if (from->stage_count != (uint32_t)spec->stage_count)
        return false;
    float *parameters = t->parameters + t->prior_offset;
    for (int i = 0; i < spec->stage_count; i++) {
        const network_spec *net = &spec->stages[i].net;
        const layer *last = &net->layers[net->layer_count - 1];
        float *own = parameters + prior_net_offset(t->prior, i);
        if (from->stages[i].planes != spec->stages[i].planes ||
            !import_net(net, &from->stages[i].net, fractions + i * (VQZI_STAGE_OPS + 1), own))
            return false;
        for (int o = 0; o < last->cout; o++) {
            float factor, offset;
            prior_output_scale(spec, i, o, &factor, &offset);
            for (int k = 0; k < last->cin; k++)
                own[last->weights + (size_t)(o * last->cin + k)] /= factor;
            for (int set = 0; set < last->bias_sets; set++) {
                float *bias = &own[last->biases + (size_t)(set * last->cout + o)];
                *bias = (*bias - offset) / factor;
            }
        }
    }
    for (int c = 0; c < spec->latent_channels; c++)
        parameters[c] = -logf(ldexpf(from->gains[c],
                                     latent_fraction - CONTEXT_FRACTION - from->gain_shift));
    return true;
}

vqz_status import_model(trainer *t, const void *data, size_t size, bool *prior_known,
                        vqz_diag *diag) {
    const model_spec *spec = &t->spec;
    vqzi_model model = {0};
    int analysis[NETWORK_MAX_LAYERS + 1], synthesis[NETWORK_MAX_LAYERS + 1], entry_bits;
    int stages[VQZI_MAX_STAGES * (VQZI_STAGE_OPS + 1)];
    vqz_diag inner = {""};
    vqz_status status = vqzi_model_parse(&model, data, size, NULL, &inner);
    if (status != VQZ_OK)
        return vqzi_fail(diag, status, "%s: %.400s",
                         t->options.init ? t->options.init : "the model to start from",
                         inner.message);
    bool known = read_integers(model.card, "\"analysis_fraction_bits\"", analysis,
                               spec->analysis.layer_count + 1) &&
                 read_integers(model.card, "\"synthesis_fraction_bits\"", synthesis,
                               spec->synthesis.layer_count + 1) &&
                 read_integers(model.card, "\"entry_fraction_bits\"", &entry_bits, 1);
    bool fits = known && model.channels == spec->channels && model.levels == spec->levels &&
                model.latent_channels == spec->latent_channels &&
                import_net(&spec->analysis, &model.analysis, analysis, t->parameters) &&
                import_net(&spec->synthesis, &model.synthesis, synthesis,
                           t->parameters + t->synthesis_offset);
    if (fits) {
        import_steps(t, &model, synthesis[0], entry_bits);
        *prior_known = read_integers(model.card, "\"prior_fraction_bits\"", stages,
                                     spec->stage_count * (VQZI_STAGE_OPS + 1)) &&
                       import_planes(t, &model, entry_bits) &&
                       import_prior(t, &model, stages, synthesis[0]);
        if (*prior_known)
            t->run.hard = 1; /* its codebooks are there */
    }
    vqzi_model_clear(&model);
    if (!fits)
        return vqzi_fail(diag, VQZ_ERROR_MODEL_MISMATCH,
                         "%s: not a %d-channel model of preset %s as this program trains it; give "
                         "the preset and channels that it was trained with",
                         t->options.init ? t->options.init : "the model to start from",
                         spec->channels, spec->name);
    return VQZ_OK;
}
