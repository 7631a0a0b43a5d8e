/*
 * export.c - float parameters -> integer model.
 *
 * Every register gets a number of fractional bits: as many as its measured range (times a margin)
 * leaves in its integer width.  Registers that are added, or only rearranged, share theirs, so that
 * the integer network needs no shift but the one after each accumulation.  Every output channel of a
 * convolution then gets the largest weight scale for which the overflow proof of format/model.h holds.
 */
#include "trainer/export_internal.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    HIDDEN_BITS = 14,        /* of activations: more would take precision from the weights */
    INPUT_FRACTION = 7,      /* network input is (pixel - 128) / 128 */
    CALIBRATION_BATCHES = 4
};
static const float MARGIN = 1.5f; /* over the largest value seen in calibration */

static int width_of(const network_spec *spec, int reg) {
    return reg == 0 ? spec->input_channels : spec->layers[reg - 1].cout;
}

static void join(ranges *r, int count, int a, int b) {
    int from = VQZI_MAX(r->group[a], r->group[b]), to = VQZI_MIN(r->group[a], r->group[b]);
    for (int i = 0; i < count; i++)
        if (r->group[i] == from)
            r->group[i] = to;
}

void export_find_groups(const network_spec *spec, ranges *r) {
    int count = spec->layer_count + 1;
    for (int i = 0; i < count; i++)
        r->group[i] = i;
    for (int i = 0; i < spec->layer_count; i++) {
        const layer *l = &spec->layers[i];
        if (l->kind != LAYER_CONV)
            join(r, count, i + 1, l->src);
        else if (l->add >= 0)
            join(r, count, i + 1, l->add);
    }
}

static vqz_status collect_ranges(const network *net, const network_spec *spec, ranges *r) {
    float channel_max[TENSOR_MAX_CHANNELS];
    for (int reg = 0; reg <= spec->layer_count; reg++) {
        VQZ_TRY(network_register_max(net, reg, channel_max));
        for (int c = 0; c < width_of(spec, reg); c++)
            r->max_abs[reg] = fmaxf(r->max_abs[reg], channel_max[c]);
    }
    return VQZ_OK;
}

/* What the prior divides latents by: their deviation around zero, but so much that the integer prior's
   contexts clamp no value, and that a channel that is all but unused still fits. */
static void choose_deviations(const trainer *t, const double *squares, const float *largest,
                              double positions) {
    const float reach = ldexpf(1, VQZI_CONTEXT_BITS - 1 - CONTEXT_FRACTION); /* of a context */
    float deviations[VQZI_MAX_LATENT_CHANNELS];
    for (int c = 0; c < t->spec.latent_channels; c++) {
        float smallest_step = INFINITY;
        for (int level = 0; level < t->spec.levels; level++)
            smallest_step = fminf(smallest_step, expf(quantiser_steps_log(t->quantiser, level)[c]));
        deviations[c] = fmaxf((float)sqrt(squares[c] / positions),
                              fmaxf(largest[c] * MARGIN / reach, smallest_step / 4));
    }
    prior_rescale(t->prior, deviations);
}

/* Ranges of the networks over training crops at every level; stages (stage_count).  The prior's
   deviations are chosen anew: training may have moved the latents far from those it began with. */
static vqz_status calibrate(trainer *t, ranges *analysis, ranges *synthesis, ranges *stages) {
    size_t D = (size_t)t->spec.latent_channels;
    double squares[VQZI_MAX_LATENT_CHANNELS] = {0};
    float largest[VQZI_MAX_LATENT_CHANNELS] = {0};
    crop_options crops = {.size = t->crop, .min_scale = t->settings.min_scale, .flip = false};
    random_state random;
    random_seed(&random, 0x63616c6962u);
    for (int batch = 0; batch < CALIBRATION_BATCHES; batch++) {
        corpus_crops(t->corpus, &random, &crops, t->batch, t->options.threads, t->pixels);
        for (int i = 0; i < t->batch; i++)
            t->levels[i] = (i + batch) % t->spec.levels;
        VQZ_TRY(run_hard(t));
        VQZ_TRY(collect_ranges(t->analysis, &t->spec.analysis, analysis));
        VQZ_TRY(collect_ranges(t->synthesis, &t->spec.synthesis, synthesis));
        for (int i = 0; i < t->spec.stage_count; i++)
            VQZ_TRY(collect_ranges(prior_net(t->prior, i), &t->spec.stages[i].net, &stages[i]));
        for (size_t n = 0; n < t->positions * D; n++) {
            squares[n % D] += (double)t->quantised[n] * t->quantised[n];
            largest[n % D] = fmaxf(largest[n % D], fabsf(t->quantised[n]));
        }
    }
    choose_deviations(t, squares, largest, (double)(CALIBRATION_BATCHES * t->positions));
    return VQZ_OK;
}

void export_choose_fractions(const network_spec *spec, ranges *r, int input_bits,
                             int input_fraction, int last_bits) {
    int count = spec->layer_count + 1;
    for (int i = 0; i < count; i++)
        r->bits[i] = last_bits && r->group[i] == r->group[count - 1] ? last_bits : HIDDEN_BITS;
    for (int i = 0; i < count; i++) {
        if (r->group[i] == 0) { /* the input, rearranged */
            r->bits[i] = input_bits;
            r->fraction[i] = input_fraction;
            continue;
        }
        float range = 1e-3f;
        for (int j = 0; j < count; j++)
            if (r->group[j] == r->group[i])
                range = fmaxf(range, r->max_abs[j]);
        float largest = (float)((1 << (r->bits[i] - 1)) - 1);
        r->fraction[i] = VQZI_MAX(-8, VQZI_MIN(13, (int)floorf(log2f(largest / (range * MARGIN)))));
    }
}

/* Integer weights, shift and biases of one output channel; the largest scale the proof allows. */
static bool export_channel(const layer *l, int channel, const float *parameters, int in_bits,
                           int in_fraction, int out_fraction, vqzi_op *op) {
    size_t taps = (size_t)(l->kernel * l->kernel) * (size_t)l->cin;
    const float *weights = parameters + l->weights + (size_t)channel * taps;
    double largest = 0, sum = 0, bias = 0;
    for (size_t i = 0; i < taps; i++) {
        largest = fmax(largest, fabs(weights[i]));
        sum += fabs(weights[i]);
    }
    for (int set = 0; set < l->bias_sets; set++)
        bias = fmax(bias, fabs(parameters[l->biases + (size_t)(set * l->cout + channel)]));
    double bound = ldexp(1, in_bits - 1);
    for (int shift = 30; shift >= 0; shift--) {
        int scale = shift + out_fraction - in_fraction; /* fractional bits of the weights */
        double rounding = shift ? ldexp(1, shift - 1) : 0;
        /* Rounding moves each weight by half at most. */
        double total = (ldexp(sum, scale) + 0.5 * (double)taps) * bound +
                       ldexp(bias, scale + in_fraction) + 1 + rounding + 32768;
        if (ldexp(largest, scale) > 32766 || total > 2147483647.0)
            continue;
        op->shift[channel] = (uint8_t)shift;
        for (size_t i = 0; i < taps; i++)
            op->weights[(size_t)channel * taps + i] = (int16_t)lrint(ldexp(weights[i], scale));
        for (int set = 0; set < l->bias_sets; set++)
            op->biases[set * l->cout + channel] = (int32_t)lrint(
                ldexp(parameters[l->biases + (size_t)(set * l->cout + channel)], scale + in_fraction));
        return true;
    }
    return false;
}

vqz_status export_net(const network_spec *spec, const float *parameters, const ranges *r,
                      vqzi_net *net, vqz_diag *diag) {
    net->input_bits = (uint8_t)r->bits[0];
    net->input_channels = (uint16_t)spec->input_channels;
    net->ops = calloc((size_t)spec->layer_count, sizeof *net->ops);
    if (!net->ops)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory for the model");
    net->op_count = (uint32_t)spec->layer_count;
    static const uint8_t kinds[] = {0, VQZI_CONV, VQZI_ACT, VQZI_S2D, VQZI_D2S};
    static const uint8_t activations[] = {VQZI_NONE, VQZI_RELU, VQZI_LEAKY};
    for (int i = 0; i < spec->layer_count; i++) {
        const layer *l = &spec->layers[i];
        vqzi_op *op = &net->ops[i];
        op->kind = kinds[l->kind];
        op->src = (uint8_t)l->src;
        op->add = VQZI_NO_REGISTER;
        op->channels = (uint16_t)l->cout;
        if (l->kind == LAYER_S2D || l->kind == LAYER_D2S) {
            op->block = (uint8_t)l->block;
            continue;
        }
        op->activation = activations[l->activation];
        op->slope = (uint8_t)(l->activation == ACT_LEAKY ? l->slope : 0);
        if (l->kind == LAYER_ACT)
            continue;
        op->add = l->add >= 0 ? (uint8_t)l->add : VQZI_NO_REGISTER;
        op->kernel = (uint8_t)l->kernel;
        op->stride = (uint8_t)l->stride;
        op->bits = (uint8_t)r->bits[i + 1];
        op->bias_sets = (uint8_t)l->bias_sets;
        size_t taps = (size_t)(l->kernel * l->kernel) * (size_t)l->cin;
        op->shift = calloc((size_t)l->cout, sizeof *op->shift);
        op->weights = calloc((size_t)l->cout * taps, sizeof *op->weights);
        op->biases = calloc((size_t)(l->cout * l->bias_sets), sizeof *op->biases);
        if (!op->shift || !op->weights || !op->biases)
            return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory for the model");
        for (int c = 0; c < l->cout; c++)
            if (!export_channel(l, c, parameters, r->bits[l->src], r->fraction[l->src],
                                r->fraction[i + 1], op))
                return vqzi_fail(diag, VQZ_ERROR_MODEL_INVALID,
                                 "layer %d, channel %d: weights too large for integers; the run has "
                                 "diverged, try a lower --lr",
                                 i, c);
    }
    return VQZ_OK;
}

static vqz_status export_planes(const trainer *t, vqzi_model *model, int latent_fraction,
                                int *entry_fraction, vqz_diag *diag) {
    const model_spec *spec = &t->spec;
    const quantiser *q = t->quantiser;
    int L = spec->levels, D = spec->latent_channels;
    model->planes = calloc((size_t)spec->plane_count, sizeof *model->planes);
    model->steps = calloc((size_t)(L * D), sizeof *model->steps);
    model->lambdas = calloc((size_t)L, sizeof *model->lambdas);
    if (!model->planes || !model->steps || !model->lambdas)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory for the model");
    model->plane_count = (uint32_t)spec->plane_count;

    /* Common fractional bits of all codebooks, and of all steps. */
    float largest_entry = 1e-6f, largest_step = 1e-6f;
    for (int p = 0; p < spec->plane_count; p++)
        for (int i = 0; i < L * spec->planes[p].codes * spec->planes[p].dims; i++)
            largest_entry = fmaxf(largest_entry, fabsf(quantiser_book(q, p, 0)[i]));
    for (int i = 0; i < L * D; i++)
        largest_step = fmaxf(largest_step, expf(quantiser_steps_log(q, 0)[i]));
    int entry_bits = VQZI_MAX(0, VQZI_MIN(10, (int)floorf(log2f(32767 / largest_entry))));
    float step_scale = ldexpf(1, latent_fraction);
    int step_bits = VQZI_MAX(0, VQZI_MIN(15 - entry_bits,
                                         (int)floorf(log2f(32767 / (largest_step * step_scale)))));
    model->step_shift = (uint8_t)(entry_bits + step_bits);
    *entry_fraction = entry_bits;
    for (int i = 0; i < L * D; i++) {
        float step = ldexpf(expf(quantiser_steps_log(q, 0)[i]), latent_fraction + step_bits);
        model->steps[i] = (uint16_t)fmaxf(1, fminf(32767, rintf(step)));
    }
    for (int level = 0; level < L; level++)
        model->lambdas[level] = (uint32_t)fmin(
            (1 << 28) - 1, rint(ldexp(t->settings.lambdas[level], 2 * latent_fraction)));

    for (int p = 0; p < spec->plane_count; p++) {
        const plane_spec *s = &spec->planes[p];
        vqzi_plane *plane = &model->planes[p];
        size_t entries = (size_t)(L * s->codes * s->dims), codes = (size_t)(L * s->codes);
        plane->codes = (uint16_t)s->codes;
        plane->dims = (uint8_t)s->dims;
        plane->books = (uint8_t)L;
        plane->ordered = s->scalar;
        plane->channels = calloc((size_t)s->dims, 1);
        plane->codebook = calloc(entries, sizeof *plane->codebook);
        plane->rates = calloc(codes, 1);
        if (!plane->channels || !plane->codebook || !plane->rates)
            return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory for the model");
        for (int c = 0; c < s->dims; c++)
            plane->channels[c] = (uint8_t)s->channels[c];
        for (size_t i = 0; i < entries; i++)
            plane->codebook[i] = (int16_t)fmaxf(
                -32767, fminf(32767, rintf(ldexpf(quantiser_book(q, p, 0)[i], entry_bits))));
        for (int level = 0; level < L; level++)
            for (int k = 0; k < s->codes; k++)
                plane->rates[level * s->codes + k] =
                    (uint8_t)fminf(255, rintf(8 * quantiser_bits(q, p, level)[k]));
        model->stream_count += vqzi_plane_streams(plane);
    }
    return VQZ_OK;
}

static vqz_status write_fractions(vqzi_model *model, const model_spec *spec, const ranges *analysis,
                                  const ranges *synthesis, const ranges *stages,
                                  int entry_fraction) {
    /* Fine-tuning needs them to turn integers into floats again; finish_model adds the rest. */
    char text[4096];
    int length = snprintf(text, sizeof text, "\"preset\":\"%s\",\"analysis_fraction_bits\":[",
                          spec->name);
    for (int i = 0; i <= spec->analysis.layer_count; i++)
        length += snprintf(text + length, sizeof text - (size_t)length, "%s%d", i ? "," : "",
                           analysis->fraction[i]);
    length += snprintf(text + length, sizeof text - (size_t)length,
                       "],\"synthesis_fraction_bits\":[");
    for (int i = 0; i <= spec->synthesis.layer_count; i++)
        length += snprintf(text + length, sizeof text - (size_t)length, "%s%d", i ? "," : "",
                           synthesis->fraction[i]);
    length += snprintf(text + length, sizeof text - (size_t)length, "],\"prior_fraction_bits\":[");
    for (int i = 0; i < spec->stage_count; i++)
        for (int reg = 0; reg <= VQZI_STAGE_OPS; reg++)
            length += snprintf(text + length, sizeof text - (size_t)length, "%s%d",
                               i + reg ? "," : "", stages[i].fraction[reg]);
    snprintf(text + length, sizeof text - (size_t)length, "],\"entry_fraction_bits\":[%d]",
             entry_fraction);
    model->card = strdup(text);
    return model->card ? VQZ_OK : VQZ_ERROR_MEMORY;
}

vqz_status export_model(trainer *t, vqzi_model *model, vqz_diag *diag) {
    const model_spec *spec = &t->spec;
    ranges analysis = {0}, synthesis = {0}, stages[VQZI_MAX_STAGES];
    memset(stages, 0, sizeof stages);
    VQZ_TRY(calibrate(t, &analysis, &synthesis, stages));
    export_find_groups(&spec->analysis, &analysis);
    export_find_groups(&spec->synthesis, &synthesis);
    export_choose_fractions(&spec->analysis, &analysis, 8, INPUT_FRACTION, VQZI_MAX_LATENT_BITS);
    int latent_fraction = analysis.fraction[spec->analysis.layer_count];
    export_choose_fractions(&spec->synthesis, &synthesis, VQZI_MAX_LATENT_BITS, latent_fraction, 0);
    int pixel_shift = synthesis.fraction[spec->synthesis.layer_count] - INPUT_FRACTION;
    if (pixel_shift < 0 || pixel_shift > 8)
        return vqzi_fail(diag, VQZ_ERROR_MODEL_INVALID,
                         "the decoder's output ranges over %g times the pixel range; the run has "
                         "diverged, try a lower --lr",
                         (double)synthesis.max_abs[spec->synthesis.layer_count]);

    model->channels = (uint8_t)spec->channels;
    model->stride = (uint8_t)spec->stride;
    model->levels = (uint8_t)spec->levels;
    model->latent_bits = VQZI_MAX_LATENT_BITS;
    model->pixel_shift = (uint8_t)pixel_shift;
    model->latent_channels = (uint16_t)spec->latent_channels;
    VQZ_TRY(export_net(&spec->analysis, t->parameters, &analysis, &model->analysis, diag));
    VQZ_TRY(export_net(&spec->synthesis, t->parameters + t->synthesis_offset, &synthesis,
                       &model->synthesis, diag));
    int entry_fraction = 0;
    VQZ_TRY(export_planes(t, model, latent_fraction, &entry_fraction, diag));
    VQZ_TRY(export_prior(t, model, stages, latent_fraction, model->step_shift - entry_fraction, diag));
    VQZ_TRY(write_fractions(model, spec, &analysis, &synthesis, stages, entry_fraction));
    return vqzi_model_check(model, NULL, diag);
}
