/* prior.c - see prior.h. */
#include "trainer/prior.h"
#include "trainer/tensor.h"
#include "trainer/wide.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Of a probability: bounds the bits of outliers, which tables code by escapes. */
static const float FLOOR = 1e-6f;
/* log2 spread: the classes of the integer prior. */
static const float MIN_SPREAD = -4.0f, MAX_SPREAD = 5.75f;
static const float LOGISTIC = 0.55132890f; /* sqrt(3) / pi: scale of deviation 1 */
/* Bits per step that a single value may pull its latent with: a channel that is nearly always zero has
   a tiny spread, and its first value would otherwise upset the run. */
static const float MAX_PULL = 6.0f;

enum { CHOICES = 2, BLOCK = 256 /* values worked on at a time */ };

struct prior {
    const model_spec *spec;
    quantiser *quantiser;
    int batch;
    size_t per_sample, positions, parameter_count;
    size_t net_offset[VQZI_MAX_STAGES];
    network *nets[VQZI_MAX_STAGES];
    float *outputs[VQZI_MAX_STAGES]; /* (positions, outputs of the stage) */
    int output_count[VQZI_MAX_STAGES];
    int first_output[VQZI_MAX_PLANES]; /* of a plane, in its stage */
    float *parameters;                 /* borrowed */
    float *context; /* (positions, D): quantised latents in deviations */
    float *input;   /* (positions, end of a stage) */
    float *values;  /* (positions, D): what bits were asked for, in steps */
    uint16_t *codes; /* borrowed indices of the last assignment, (planes, positions) */
    float *gradient; /* (positions, outputs of a stage) */
    float *scratch;  /* (D, batch): sums over the positions of a sample */
    double *sums;    /* (batch) */
    /* (L, D) each, made anew every step */
    float *steps, *ratios; /* step; deviation / step */
};

static bool allocate(prior *p, int most_outputs, int most_inputs) {
    size_t D = (size_t)p->spec->latent_channels, L = (size_t)p->spec->levels, n = p->positions;
    void *context, *input, *values, *gradient;
    if (backend_allocate(&context, n * D * sizeof(float), NULL) == VQZ_OK)
        p->context = context;
    if (backend_allocate(&input, n * (size_t)most_inputs * sizeof(float), NULL) == VQZ_OK)
        p->input = input;
    if (backend_allocate(&values, n * D * sizeof(float), NULL) == VQZ_OK)
        p->values = values;
    if (backend_allocate(&gradient, n * (size_t)most_outputs * sizeof(float), NULL) == VQZ_OK)
        p->gradient = gradient;
    p->scratch = malloc(D * (size_t)p->batch * sizeof *p->scratch);
    p->sums = malloc((size_t)p->batch * sizeof *p->sums);
    p->steps = malloc(L * D * sizeof *p->steps);
    p->ratios = malloc(L * D * sizeof *p->ratios);
    return p->context && p->input && p->values && p->gradient && p->scratch && p->sums &&
           p->steps && p->ratios;
}

vqz_status prior_create(prior **out, const model_spec *spec, backend *b, quantiser *q, int batch,
                        int side, vqz_diag *diag) {
    prior *p = calloc(1, sizeof *p);
    if (!p)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory for the prior");
    p->spec = spec;
    p->quantiser = q;
    p->batch = batch;
    p->per_sample = (size_t)side * (size_t)side;
    p->positions = p->per_sample * (size_t)batch;
    p->parameter_count = (size_t)spec->latent_channels;
    int most_outputs = 1, most_inputs = 1;
    vqz_status status = VQZ_OK;
    for (int i = 0; i < spec->stage_count && status == VQZ_OK; i++) {
        const stage_spec *stage = &spec->stages[i];
        int outputs = 0;
        for (int k = stage->first_plane; k < stage->first_plane + stage->planes; k++) {
            p->first_output[k] = outputs;
            outputs += spec->planes[k].scalar ? 2 : spec->planes[k].codes;
        }
        p->output_count[i] = outputs;
        p->net_offset[i] = p->parameter_count;
        p->parameter_count += stage->net.parameter_count;
        most_outputs = VQZI_MAX(most_outputs, outputs);
        most_inputs = VQZI_MAX(most_inputs, stage->end);
        void *memory = NULL;
        status = backend_allocate(&memory, p->positions * (size_t)outputs * sizeof(float), diag);
        p->outputs[i] = memory;
        if (status == VQZ_OK)
            status = network_create(&p->nets[i], &stage->net, b, batch, side, side, true, diag);
    }
    if (status == VQZ_OK && !allocate(p, most_outputs, most_inputs))
        status = vqzi_fail(diag, VQZ_ERROR_MEMORY,
                           "out of memory for the prior; try a smaller batch or crop");
    if (status != VQZ_OK) {
        prior_free(p);
        return status;
    }
    *out = p;
    return VQZ_OK;
}

void prior_free(prior *p) {
    if (!p)
        return;
    for (int i = 0; i < VQZI_MAX_STAGES; i++) {
        network_free(p->nets[i]);
        backend_release(p->outputs[i]);
    }
    backend_release(p->context);
    backend_release(p->input);
    backend_release(p->values);
    backend_release(p->gradient);
    free(p->scratch);
    free(p->sums);
    free(p->steps);
    free(p->ratios);
    free(p);
}

size_t prior_parameter_count(const prior *p) {
    return p->parameter_count;
}

void prior_bind(prior *p, float *parameters) {
    p->parameters = parameters;
}

const float *prior_log_deviations(const prior *p) {
    return p->parameters;
}

const network *prior_net(const prior *p, int stage) {
    return p->nets[stage];
}

size_t prior_net_offset(const prior *p, int stage) {
    return p->net_offset[stage];
}

void prior_init(prior *p, const float *deviations, random_state *random) {
    const model_spec *spec = p->spec;
    for (int c = 0; c < spec->latent_channels; c++)
        p->parameters[c] = logf(fmaxf(deviations[c], 1e-4f));
    for (int i = 0; i < spec->stage_count; i++) {
        const stage_spec *stage = &spec->stages[i];
        float *parameters = p->parameters + p->net_offset[i];
        network_init_parameters(&stage->net, 1.0f, random, parameters);
        const layer *last = &stage->net.layers[stage->net.layer_count - 1];
        for (size_t w = last->weights; w < last->biases; w++)
            parameters[w] *= 0.3f;
        for (int k = stage->first_plane; k < stage->first_plane + stage->planes; k++) {
            if (!spec->planes[k].scalar)
                continue;
            int c = spec->planes[k].channels[0];
            for (int level = 0; level < spec->levels; level++) {
                float steps = p->parameters[c] - quantiser_steps_log(p->quantiser, level)[c];
                parameters[last->biases + (size_t)(level * last->cout + p->first_output[k] + 1)] =
                    fmaxf(steps * 1.44269504f, -2.5f);
            }
        }
    }
}

void prior_rescale(prior *p, const float *deviations) {
    const model_spec *spec = p->spec;
    for (int i = 0; i < spec->stage_count; i++) {
        const stage_spec *stage = &spec->stages[i];
        const layer *first = &stage->net.layers[0];
        const layer *last = &stage->net.layers[stage->net.layer_count - 1];
        float *parameters = p->parameters + p->net_offset[i];
        for (size_t w = first->weights; w < first->biases; w++) {
            size_t c = (w - first->weights) % (size_t)first->cin;
            parameters[w] *= deviations[c] / expf(p->parameters[c]);
        }
        for (int k = stage->first_plane; k < stage->first_plane + stage->planes; k++) {
            if (!spec->planes[k].scalar)
                continue;
            int c = spec->planes[k].channels[0], output = p->first_output[k];
            float factor = expf(p->parameters[c]) / deviations[c];
            for (int w = 0; w < last->cin; w++)
                parameters[last->weights + (size_t)(output * last->cin + w)] *= factor;
            for (int set = 0; set < last->bias_sets; set++)
                parameters[last->biases + (size_t)(set * last->cout + output)] *= factor;
        }
    }
    for (int c = 0; c < spec->latent_channels; c++)
        p->parameters[c] = logf(deviations[c]);
}

/* ---- the logistic variable ---- */

/* For x >= 0: e^-x / (1 + e^-x) is the logistic function of -x, and this of x.  */
static inline float logistic(float x) {
    float e = wide_exp_negative(x < 0 ? x : -x);
    return (x < 0 ? e : 1) / (1 + e);
}

/* Inverse of the scale b of a spread. */
static inline float inverse_scale(float spread) {
    float least = spread < MIN_SPREAD ? MIN_SPREAD : spread;
    return wide_exp2(-(least > MAX_SPREAD ? MAX_SPREAD : least)) / LOGISTIC;
}

/* Bits of values at distances from their means. */
WIDE static void logistic_bits(const float *restrict distances, const float *restrict spreads,
                               int count, float *restrict bits) {
    for (int i = 0; i < count; i++) {
        float magnitude = fabsf(distances[i]), inverse = inverse_scale(spreads[i]);
        bits[i] = -wide_log2(logistic((0.5f - magnitude) * inverse) -
                             logistic((-0.5f - magnitude) * inverse) + FLOOR);
    }
}

/* Their derivatives by distance and by log2 scale. */
WIDE static void logistic_gradients(const float *restrict distances, const float *restrict spreads,
                                    int count, float *restrict by_distance,
                                    float *restrict by_spread) {
    for (int i = 0; i < count; i++) {
        float magnitude = fabsf(distances[i]), inverse = inverse_scale(spreads[i]);
        float a = (0.5f - magnitude) * inverse, b = (-0.5f - magnitude) * inverse;
        float sa = logistic(a), sb = logistic(b);
        float p = sa - sb + FLOOR, da = sa * (1 - sa), db = sb * (1 - sb);
        float to_bits = -1.44269504f / p;
        float pull = to_bits * -(da - db) * inverse * (distances[i] < 0 ? -1.0f : 1.0f);
        pull = pull < -MAX_PULL ? -MAX_PULL : pull;
        by_distance[i] = pull > MAX_PULL ? MAX_PULL : pull;
        float widening = to_bits * -(da * a - db * b) * 0.69314718f;
        /* beyond the limits only back */
        bool out_of_range = (spreads[i] < MIN_SPREAD) & (widening > 0);
        out_of_range |= (spreads[i] > MAX_SPREAD) & (widening < 0);
        by_spread[i] = out_of_range ? 0 : widening;
    }
}

/* ---- running the nets ---- */

static void prepare_tables(prior *p) {
    size_t D = (size_t)p->spec->latent_channels;
    for (size_t level = 0; level < (size_t)p->spec->levels; level++)
        for (size_t c = 0; c < D; c++) {
            float log_step = quantiser_steps_log(p->quantiser, (int)level)[c];
            p->steps[level * D + c] = expf(log_step);
            p->ratios[level * D + c] = expf(p->parameters[c] - log_step);
        }
}

static void set_context(prior *p, const float *quantised, int begin, int end) {
    size_t D = (size_t)p->spec->latent_channels;
    float inverse[VQZI_MAX_LATENT_CHANNELS];
    for (int c = begin; c < end; c++)
        inverse[c] = expf(-p->parameters[c]);
#pragma omp parallel for schedule(static)
    for (size_t n = 0; n < p->positions; n++)
        for (int c = begin; c < end; c++)
            p->context[n * D + (size_t)c] = quantised[n * D + (size_t)c] * inverse[c];
}

static vqz_status run_stage(prior *p, int i, const int *levels) {
    size_t D = (size_t)p->spec->latent_channels, end = (size_t)p->spec->stages[i].end;
#pragma omp parallel for schedule(static)
    for (size_t n = 0; n < p->positions; n++)
        memcpy(p->input + n * end, p->context + n * D, end * sizeof *p->input);
    return network_forward(p->nets[i], p->parameters + p->net_offset[i], p->input, levels,
                           p->outputs[i]);
}

/* Scalar planes of a stage, at a block of positions of one sample. */
typedef struct scalars {
    size_t channel[VQZI_MAX_PLANES];
    int plane[VQZI_MAX_PLANES], count;
    size_t per_block; /* positions */
} scalars;

static scalars find_scalars(const prior *p, int i) {
    const stage_spec *stage = &p->spec->stages[i];
    scalars found = {.count = 0};
    for (int k = stage->first_plane; k < stage->first_plane + stage->planes; k++)
        if (p->spec->planes[k].scalar) {
            found.plane[found.count] = k;
            found.channel[found.count++] = (size_t)p->spec->planes[k].channels[0];
        }
    found.per_block = (size_t)(BLOCK / VQZI_MAX(found.count, 1));
    return found;
}

/* Mean (in deviations) and spread of a scalar plane. */
static const float *scalar_output(const prior *p, int stage, int plane, size_t position) {
    return p->outputs[stage] + position * (size_t)p->output_count[stage] + p->first_output[plane];
}

/* Bits of logit plane k of stage i at position n. */
static double logit_bits(const prior *p, int i, int k, size_t n, int code) {
    const float *logits = p->outputs[i] + n * (size_t)p->output_count[i] + p->first_output[k];
    float terms[VQZI_MAX_CODES], largest;
    float sum = softmax_terms(logits, p->spec->planes[k].codes, terms, &largest);
    return (logf(sum) + largest - logits[code]) * 1.44269504f;
}

/* Distances from the means of values (positions, D) that are given in steps, at `count` positions from
   `first` on, and spreads: (positions, scalar planes); returns how many. */
static int gather_scalars(const prior *p, int stage, const scalars *s, const int *levels,
                          const float *values, size_t first, size_t count, float *distances,
                          float *spreads) {
    size_t D = (size_t)p->spec->latent_channels;
    const float *ratios = p->ratios + (size_t)levels[first / p->per_sample] * D;
    int gathered = 0;
    for (size_t n = first; n < first + count; n++)
        for (int j = 0; j < s->count; j++, gathered++) {
            const float *o = scalar_output(p, stage, s->plane[j], n);
            distances[gathered] = values[n * D + s->channel[j]] - o[0] * ratios[s->channel[j]];
            spreads[gathered] = o[1];
        }
    return gathered;
}

/* Bits of stage i's planes, a sum a sample, added to p->sums. */
static void stage_bits(prior *p, int i, const int *levels) {
    const model_spec *spec = p->spec;
    const stage_spec *stage = &spec->stages[i];
    const scalars s = find_scalars(p, i);
#pragma omp parallel for schedule(static)
    for (int sample = 0; sample < p->batch; sample++) {
        size_t begin = (size_t)sample * p->per_sample, end = begin + p->per_sample;
        double sum = 0;
        for (size_t n = begin; n < end && s.count > 0; n += s.per_block) {
            float distances[BLOCK], spreads[BLOCK], bits[BLOCK];
            int count = gather_scalars(p, i, &s, levels, p->values, n,
                                       VQZI_MIN(s.per_block, end - n), distances, spreads);
            logistic_bits(distances, spreads, count, bits);
            for (int j = 0; j < count; j++)
                sum += (double)bits[j];
        }
        for (int k = stage->first_plane; k < stage->first_plane + stage->planes; k++)
            for (size_t n = begin; n < end && !spec->planes[k].scalar; n++)
                sum += logit_bits(p, i, k, n, p->codes[(size_t)k * p->positions + n]);
        p->sums[sample] += sum;
    }
}

vqz_status prior_noisy(prior *p, const float *latent, const int *levels,
                       const uint64_t *noise_seeds, float *quantised, double *bits) {
    size_t D = (size_t)p->spec->latent_channels;
    prepare_tables(p);
#pragma omp parallel for schedule(static)
    for (int sample = 0; sample < p->batch; sample++) {
        const float *steps = p->steps + (size_t)levels[sample] * D;
        random_state random;
        random_seed(&random, noise_seeds[sample]);
        for (size_t n = (size_t)sample * p->per_sample; n < (size_t)(sample + 1) * p->per_sample; n++)
            for (size_t c = 0; c < D; c++) {
                float y = latent[n * D + c] / steps[c];
                quantised[n * D + c] = steps[c] * roundf(y);
                p->values[n * D + c] = y + random_uniform(&random) - 0.5f;
            }
    }
    set_context(p, quantised, 0, (int)D);
    memset(p->sums, 0, (size_t)p->batch * sizeof *p->sums);
    for (int i = 0; i < p->spec->stage_count; i++) {
        VQZ_TRY(run_stage(p, i, levels));
        stage_bits(p, i, levels);
    }
    memcpy(bits, p->sums, (size_t)p->batch * sizeof *bits);
    return VQZ_OK;
}

static int clamp_value(int v, int codes) {
    return VQZI_MIN(VQZI_MAX(v, -(codes / 2)), codes - 1 - codes / 2);
}

/* Rounded values of a stage's scalar planes, as a first guess of its own context. */
static void round_stage(prior *p, const stage_spec *stage, const float *latent, const int *levels,
                        float *quantised) {
    const model_spec *spec = p->spec;
    size_t D = (size_t)spec->latent_channels;
#pragma omp parallel for schedule(static)
    for (size_t n = 0; n < p->positions; n++)
        for (int k = stage->first_plane; k < stage->first_plane + stage->planes; k++) {
            if (!spec->planes[k].scalar)
                continue;
            size_t c = (size_t)spec->planes[k].channels[0];
            float step = p->steps[(size_t)levels[n / p->per_sample] * D + c];
            quantised[n * D + c] = step * roundf(latent[n * D + c] / step);
        }
}

/* Squared error of a value, weighted, plus lambda times its bits. */
static float cost_of(const plane_spec *s, const float *book, float value, float y, float weight,
                     float lambda, float bits) {
    float difference = y - book[(int)value + s->codes / 2];
    return difference * difference * weight + lambda * bits;
}

/* The values of scalar planes at `count` positions of one sample, from `first` on. */
static void choose_block(prior *p, int i, const scalars *s, const float *latent, int level,
                         float lambda, size_t first, size_t count, uint16_t *indices,
                         float *quantised) {
    size_t D = (size_t)p->spec->latent_channels;
    const float *steps = p->steps + (size_t)level * D, *ratios = p->ratios + (size_t)level * D;
    enum { NEAREST, TOWARDS_ZERO, CANDIDATES };
    float values[CANDIDATES][BLOCK], distances[CANDIDATES][BLOCK], bits[CANDIDATES][BLOCK] = {{0}};
    float spreads[BLOCK];
    int gathered = 0;
    for (size_t n = first; n < first + count; n++)
        for (int j = 0; j < s->count; j++, gathered++) {
            int codes = p->spec->planes[s->plane[j]].codes;
            const float *o = scalar_output(p, i, s->plane[j], n);
            float y = latent[n * D + s->channel[j]] / steps[s->channel[j]];
            int nearest = (int)fminf(fmaxf(roundf(y), -30000), 30000);
            /* Not towards the mean: that feeds on itself, and costs 2 % of rate at equal PSNR. */
            int towards_zero = nearest - (nearest > 0) + (nearest < 0);
            values[NEAREST][gathered] = (float)clamp_value(nearest, codes);
            values[TOWARDS_ZERO][gathered] = (float)clamp_value(towards_zero, codes);
            for (int k = 0; k < CANDIDATES; k++)
                distances[k][gathered] = values[k][gathered] - o[0] * ratios[s->channel[j]];
            spreads[gathered] = o[1];
        }
    for (int k = 0; k < CANDIDATES && lambda > 0; k++)
        logistic_bits(distances[k], spreads, gathered, bits[k]);
    gathered = 0;
    for (size_t n = first; n < first + count; n++)
        for (int j = 0; j < s->count; j++, gathered++) {
            size_t c = s->channel[j], at = n * D + c;
            const plane_spec *plane = &p->spec->planes[s->plane[j]];
            const float *book = quantiser_book(p->quantiser, s->plane[j], level);
            float costs[CANDIDATES];
            for (int k = 0; k < CANDIDATES; k++)
                costs[k] = cost_of(plane, book, values[k][gathered], latent[at] / steps[c],
                                   steps[c] * steps[c], lambda, bits[k][gathered]);
            bool smaller = lambda > 0 && costs[TOWARDS_ZERO] < costs[NEAREST];
            float value = values[smaller ? TOWARDS_ZERO : NEAREST][gathered];
            int code = (int)value + plane->codes / 2;
            indices[(size_t)s->plane[j] * p->positions + n] = (uint16_t)code;
            p->values[at] = value;
            quantised[at] = steps[c] * book[code];
        }
}

static void choose_stage(prior *p, int i, const float *latent, const int *levels,
                         const float *lambdas, uint16_t *indices, float *quantised) {
    const scalars s = find_scalars(p, i);
#pragma omp parallel for schedule(static)
    for (int sample = 0; sample < p->batch; sample++) {
        size_t begin = (size_t)sample * p->per_sample, end = begin + p->per_sample;
        for (size_t n = begin; n < end; n += s.per_block)
            choose_block(p, i, &s, latent, levels[sample], lambdas[levels[sample]], n,
                         VQZI_MIN(s.per_block, end - n), indices, quantised);
    }
}

vqz_status prior_assign(prior *p, const float *latent, const int *levels, const float *lambdas,
                        uint16_t *indices, float *quantised, double *bits) {
    prepare_tables(p);
    p->codes = indices;
    memset(p->sums, 0, (size_t)p->batch * sizeof *p->sums);
    for (int i = 0; i < p->spec->stage_count; i++) {
        const stage_spec *stage = &p->spec->stages[i];
        bool scalar = false;
        for (int k = stage->first_plane; k < stage->first_plane + stage->planes; k++)
            scalar = scalar || p->spec->planes[k].scalar;
        /* An encoder chooses one code after the other, each with the codes before it as context.  Here all
           are chosen at once, first with rounded values as context, then with the first choices. */
        if (scalar)
            round_stage(p, stage, latent, levels, quantised);
        for (int pass = 0; pass < CHOICES && scalar; pass++) {
            set_context(p, quantised, stage->begin, stage->end);
            VQZ_TRY(run_stage(p, i, levels));
            choose_stage(p, i, latent, levels, lambdas, indices, quantised);
        }
        set_context(p, quantised, stage->begin, stage->end);
        VQZ_TRY(run_stage(p, i, levels));
        stage_bits(p, i, levels);
    }
    memcpy(bits, p->sums, (size_t)p->batch * sizeof *bits);
    return VQZ_OK;
}

/* ---- gradients ---- */

/* Sums over the positions of the samples, in p->scratch, to the log steps of channel c. */
static void add_to_steps(const prior *p, size_t c, const int *levels, float *grad_steps_log) {
    size_t D = (size_t)p->spec->latent_channels, batch = (size_t)p->batch;
    for (size_t sample = 0; sample < batch; sample++)
        grad_steps_log[(size_t)levels[sample] * D + c] += p->scratch[c * batch + sample];
}

/* Scalar planes of stage i: gradients of its outputs, of the latents, of the steps by way of values and
   means. */
static void scalars_backward(prior *p, int i, const float *latent, const int *levels,
                             const float *weights, float *grad_latent, float *grad_steps_log) {
    const scalars s = find_scalars(p, i);
    size_t D = (size_t)p->spec->latent_channels;
#pragma omp parallel for schedule(static)
    for (int sample = 0; sample < p->batch; sample++) {
        const float *steps = p->steps + (size_t)levels[sample] * D;
        const float *ratios = p->ratios + (size_t)levels[sample] * D;
        size_t begin = (size_t)sample * p->per_sample, end = begin + p->per_sample;
        double step_sums[VQZI_MAX_PLANES] = {0};
        for (size_t first = begin; first < end; first += s.per_block) {
            float distances[BLOCK], spreads[BLOCK], by_distance[BLOCK], by_spread[BLOCK];
            size_t count = VQZI_MIN(s.per_block, end - first);
            int gathered = gather_scalars(p, i, &s, levels, p->values, first, count, distances, spreads);
            logistic_gradients(distances, spreads, gathered, by_distance, by_spread);
            gathered = 0;
            for (size_t n = first; n < first + count; n++)
                for (int j = 0; j < s.count; j++, gathered++) {
                    size_t c = s.channel[j], at = n * D + c;
                    float *g = p->gradient + n * (size_t)p->output_count[i] +
                               p->first_output[s.plane[j]];
                    float pull = by_distance[gathered] * weights[sample];
                    float mean = p->values[at] - distances[gathered];
                    g[0] = -pull * ratios[c];
                    g[1] = by_spread[gathered] * weights[sample];
                    grad_latent[at] += pull / steps[c];
                    step_sums[j] -= (double)(pull * (latent[at] / steps[c] - mean));
                }
        }
        for (int j = 0; j < s.count; j++)
            p->scratch[s.channel[j] * (size_t)p->batch + (size_t)sample] = (float)step_sums[j];
    }
    for (int j = 0; j < s.count && grad_steps_log; j++)
        add_to_steps(p, s.channel[j], levels, grad_steps_log);
}

/* The steps' gradients of scalar channel c by way of the quantised latents. */
static void steps_backward(prior *p, size_t c, const float *latent, const int *levels,
                           const float *grad_quantised, float *grad_steps_log) {
    size_t D = (size_t)p->spec->latent_channels;
#pragma omp parallel for schedule(static)
    for (int sample = 0; sample < p->batch; sample++) {
        float step = p->steps[(size_t)levels[sample] * D + c];
        double sum = 0;
        for (size_t n = (size_t)sample * p->per_sample; n < (size_t)(sample + 1) * p->per_sample;
             n++) {
            float y = latent[n * D + c] / step;
            sum += (double)(grad_quantised[n * D + c] * step * (roundf(y) - y));
        }
        p->scratch[c * (size_t)p->batch + (size_t)sample] = (float)sum;
    }
    add_to_steps(p, c, levels, grad_steps_log);
}

static void logit_backward(prior *p, int i, int k, const float *weights) {
    int codes = p->spec->planes[k].codes;
    size_t pitch = (size_t)p->output_count[i], first = (size_t)p->first_output[k];
#pragma omp parallel for schedule(static)
    for (size_t n = 0; n < p->positions; n++) {
        const float *logits = p->outputs[i] + n * pitch + first;
        float *g = p->gradient + n * pitch + first, largest;
        float sum = softmax_terms(logits, codes, g, &largest);
        float scale = weights[n / p->per_sample] * 1.44269504f;
        for (int j = 0; j < codes; j++)
            g[j] *= scale / sum;
        g[p->codes[(size_t)k * p->positions + n]] -= scale;
    }
}

/* From the gradient of stage i's input, in p->input, to that of the latents it was made of. */
static void add_context_gradient(const prior *p, int i, float *grad_quantised) {
    size_t D = (size_t)p->spec->latent_channels, end = (size_t)p->spec->stages[i].end;
    float inverse[VQZI_MAX_LATENT_CHANNELS];
    for (size_t c = 0; c < end; c++)
        inverse[c] = expf(-p->parameters[c]);
#pragma omp parallel for schedule(static)
    for (size_t n = 0; n < p->positions; n++)
        for (size_t c = 0; c < end; c++)
            grad_quantised[n * D + c] += p->input[n * end + c] * inverse[c];
}

vqz_status prior_backward(prior *p, const float *latent, const int *levels, const float *weights,
                          float *grad_quantised, float *grad_latent, float *grad_steps_log,
                          float *grad_parameters) {
    const model_spec *spec = p->spec;
    memset(grad_parameters, 0, (size_t)spec->latent_channels * sizeof *grad_parameters);
    for (int i = 0; i < spec->stage_count; i++) {
        const stage_spec *stage = &spec->stages[i];
        scalars_backward(p, i, latent, levels, weights, grad_latent, grad_steps_log);
        for (int k = stage->first_plane; k < stage->first_plane + stage->planes; k++)
            if (!spec->planes[k].scalar)
                logit_backward(p, i, k, weights);
        VQZ_TRY(network_backward(p->nets[i], p->parameters + p->net_offset[i], p->gradient,
                                 grad_parameters + p->net_offset[i],
                                 grad_quantised ? p->input : NULL));
        if (grad_quantised)
            add_context_gradient(p, i, grad_quantised);
    }
    for (int k = 0; k < spec->plane_count && grad_steps_log && grad_quantised; k++)
        if (spec->planes[k].scalar)
            steps_backward(p, (size_t)spec->planes[k].channels[0], latent, levels, grad_quantised,
                           grad_steps_log);
    return VQZ_OK;
}

/* ---- for export ---- */

prior_symbol prior_symbol_at(const prior *p, size_t position, int plane, const int *levels) {
    const model_spec *spec = p->spec;
    int i = 0;
    while (plane >= spec->stages[i].first_plane + spec->stages[i].planes)
        i++;
    size_t D = (size_t)spec->latent_channels, c = (size_t)spec->planes[plane].channels[0];
    const float *o = scalar_output(p, i, plane, position);
    float ratio = p->ratios[(size_t)levels[position / p->per_sample] * D + c];
    int mean8 = (int)floorf(o[0] * ratio * 8 + 0.5f), near = (mean8 + 4) >> 3;
    prior_symbol symbol = {.phase = mean8 - 8 * near,
                           .residual = (int)p->values[position * D + c] - near};
    if (symbol.phase < 0) {
        symbol.phase = -symbol.phase;
        symbol.residual = -symbol.residual;
    }
    int class = (int)floorf(4 * (o[1] + 4) + 0.5f);
    symbol.class = VQZI_MIN(VQZI_MAX(class, 0), VQZI_CLASSES - 1);
    return symbol;
}
