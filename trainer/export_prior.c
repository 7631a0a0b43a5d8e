/*
 * export_prior.c - the conditional prior in integers (format/model.h).
 *
 * The tables of the scalar planes are what training crops show: how often each residual came with each
 * class and phase, with the logistic distribution of the class as a start for what is rare.
 */
#include "trainer/export_internal.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    TABLE_BATCHES = 32,
    TOTAL = 1 << VQZI_PROBABILITY_BITS
};
static const double START_WEIGHT = 40; /* observations that the logistic start counts for */

void prior_output_scale(const model_spec *spec, int stage, int index, float *factor, float *offset) {
    const stage_spec *s = &spec->stages[stage];
    int first = 0;
    *factor = 1;
    *offset = 0;
    for (int k = s->first_plane; k < s->first_plane + s->planes; k++) {
        int outputs = spec->planes[k].scalar ? 2 : spec->planes[k].codes;
        if (index < first + outputs) {
            /* Spreads s become 64 * class = 256 (s + 4), logits 256 * log2(e) * l. */
            bool scalar = spec->planes[k].scalar, spread = scalar && index == first + 1;
            *factor = !scalar ? 1.44269504f / 8 : spread ? 1.0f / 8 : 1.0f;
            *offset = spread ? 0.5f : 0.0f;
            return;
        }
        first += outputs;
    }
}

/* Deviation of a class in steps. */
static double class_deviation(int class) {
    return exp2((class - 16) / 4.0);
}

/* Bits of r below the symbol: the window of 14 symbols holds some 2.7 deviations each way. */
static int class_shift(int class) {
    int shift = 0;
    while (ldexp(2.2, shift) < class_deviation(class))
        shift++;
    return shift;
}

static int symbol_of(int residual, int shift) {
    int symbol = (residual >> shift) + 7;
    return VQZI_MIN(VQZI_MAX(symbol, 0), VQZI_SYMBOLS - 1);
}

static double logistic_below(double x, double mean, double deviation) {
    return 1 / (1 + exp(-(x - mean) / (deviation * 0.5513289)));
}

static void start_table(int class, int phase, double *counts) {
    int shift = class_shift(class);
    double below = 0, deviation = class_deviation(class);
    for (int s = 0; s < VQZI_SYMBOLS; s++) {
        double end = ldexp(s - 6, shift) - 0.5; /* where the next symbol begins */
        double upto = s == VQZI_SYMBOLS - 1 ? 1 : logistic_below(end, phase / 8.0, deviation);
        counts[s] += START_WEIGHT * fmax(upto - below, 1e-7);
        below = upto;
    }
}

/* Frequencies of at least 1 that sum to TOTAL. */
static void normalise(const double *counts, uint16_t *frequencies) {
    double sum = 0;
    int total = 0, largest = 0;
    for (int s = 0; s < VQZI_SYMBOLS; s++)
        sum += counts[s];
    for (int s = 0; s < VQZI_SYMBOLS; s++) {
        frequencies[s] =
            (uint16_t)(1 + (int)floor(counts[s] / sum * (TOTAL - VQZI_SYMBOLS)));
        total += frequencies[s];
        if (frequencies[s] > frequencies[largest])
            largest = s;
    }
    frequencies[largest] = (uint16_t)(frequencies[largest] + TOTAL - total);
}

static vqz_status make_tables(trainer *t, vqzi_prior *to, vqz_diag *diag) {
    enum { TABLES = VQZI_CLASSES * VQZI_PHASES };
    const model_spec *spec = &t->spec;
    double *counts = calloc((size_t)TABLES * VQZI_SYMBOLS, sizeof *counts);
    to->frequencies = calloc((size_t)TABLES * VQZI_SYMBOLS, sizeof *to->frequencies);
    if (!counts || !to->frequencies) {
        free(counts);
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory for the prior's tables");
    }
    for (int class = 0; class < VQZI_CLASSES; class++) {
        to->class_bits[class] = (uint8_t)class_shift(class);
        for (int phase = 0; phase < VQZI_PHASES; phase++)
            start_table(class, phase, counts + (class * VQZI_PHASES + phase) * VQZI_SYMBOLS);
    }
    crop_options crops = {.size = t->crop, .min_scale = t->settings.min_scale, .flip = false};
    random_state random;
    random_seed(&random, 0x7461626c65u);
    vqz_status status = VQZ_OK;
    for (int batch = 0; batch < TABLE_BATCHES && status == VQZ_OK; batch++) {
        corpus_crops(t->corpus, &random, &crops, t->batch, t->options.threads, t->pixels);
        for (int i = 0; i < t->batch; i++)
            t->levels[i] = (i + batch) % spec->levels;
        status = run_hard(t);
        for (int k = 0; k < spec->plane_count && status == VQZ_OK; k++)
            for (size_t n = 0; spec->planes[k].scalar && n < t->positions; n++) {
                prior_symbol s = prior_symbol_at(t->prior, n, k, t->levels);
                counts[(s.class * VQZI_PHASES + s.phase) * VQZI_SYMBOLS +
                       symbol_of(s.residual, to->class_bits[s.class])]++;
            }
    }
    for (int i = 0; i < TABLES; i++)
        normalise(counts + (size_t)i * VQZI_SYMBOLS,
                  to->frequencies + (size_t)i * VQZI_SYMBOLS);
    free(counts);
    return status;
}

static vqz_status make_gains(const trainer *t, vqzi_prior *to, int latent_fraction,
                             int step_bits, vqz_diag *diag) {
    int D = t->spec.latent_channels;
    const float *log_deviations = prior_log_deviations(t->prior);
    to->gains = calloc((size_t)D, sizeof *to->gains);
    to->mean_gains = calloc((size_t)D, sizeof *to->mean_gains);
    if (!to->gains || !to->mean_gains)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory for the prior's gains");
    double largest = 0;
    for (int c = 0; c < D; c++)
        largest = fmax(largest, ldexp(exp(-log_deviations[c]), CONTEXT_FRACTION - latent_fraction));
    int shift = VQZI_MAX(0, VQZI_MIN(15, (int)floor(log2(65535 / largest))));
    to->gain_shift = (uint8_t)shift;
    for (int c = 0; c < D; c++) {
        double deviation = exp(log_deviations[c]);
        double gain = ldexp(1 / deviation, CONTEXT_FRACTION - latent_fraction + shift);
        to->gains[c] = (uint16_t)fmax(1, fmin(65535, rint(gain)));
    }
    for (int k = 0; k < t->spec.plane_count; k++) {
        if (!t->spec.planes[k].scalar)
            continue;
        int c = t->spec.planes[k].channels[0];
        double gain = ldexp(exp(log_deviations[c]), 10 + latent_fraction + step_bits);
        to->mean_gains[c] = (uint32_t)fmin(2147483647.0, rint(gain));
    }
    return VQZ_OK;
}

static vqz_status export_stage(const trainer *t, int index, ranges *r, vqzi_stage *stage,
                               vqz_diag *diag) {
    const stage_spec *s = &t->spec.stages[index];
    const network_spec *net = &s->net;
    const layer *last = &net->layers[net->layer_count - 1];
    float *parameters = malloc(net->parameter_count * sizeof *parameters);
    if (!parameters)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory for the prior");
    memcpy(parameters, t->parameters + t->prior_offset + prior_net_offset(t->prior, index),
           net->parameter_count * sizeof *parameters);
    for (int o = 0; o < last->cout; o++) {
        float factor, offset;
        prior_output_scale(&t->spec, index, o, &factor, &offset);
        for (int i = 0; i < last->cin; i++)
            parameters[last->weights + (size_t)(o * last->cin + i)] *= factor;
        for (int set = 0; set < last->bias_sets; set++) {
            float *bias = &parameters[last->biases + (size_t)(set * last->cout + o)];
            *bias = *bias * factor + offset;
        }
    }
    export_find_groups(net, r);
    export_choose_fractions(net, r, VQZI_CONTEXT_BITS, CONTEXT_FRACTION, 16);
    r->fraction[net->layer_count] = OUTPUT_FRACTION;
    stage->planes = (uint8_t)s->planes;
    vqz_status status = export_net(net, parameters, r, &stage->net, diag);
    free(parameters);
    return status;
}

vqz_status export_prior(trainer *t, vqzi_model *model, ranges *stages, int latent_fraction,
                        int step_bits, vqz_diag *diag) {
    vqzi_prior *to = &model->prior;
    to->stages = calloc((size_t)t->spec.stage_count, sizeof *to->stages);
    if (!to->stages)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory for the prior");
    to->stage_count = (uint32_t)t->spec.stage_count;
    VQZ_TRY(make_gains(t, to, latent_fraction, step_bits, diag));
    for (int i = 0; i < t->spec.stage_count; i++)
        VQZ_TRY(export_stage(t, i, &stages[i], &to->stages[i], diag));
    return make_tables(t, to, diag);
}
