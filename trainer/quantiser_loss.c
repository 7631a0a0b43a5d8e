/*
 * quantiser_loss.c - rate model, commitment and codebook losses, with their gradients.
 *
 * The rate of channel c at level l is that of a zero-mean logistic variable y = latent / step of
 * scale exp(ls), integrated over a unit interval (Balle et al. 2017 with a fixed family):
 *   bits(y) = -log2( S((1/2 - |y|) / e^ls) - S((-1/2 - |y|) / e^ls) ),  S the logistic function.
 * In the scalar phase y carries uniform noise; in the hard phase it is the quantised value, and the
 * gradient passes straight through to the latent.
 */
#include "trainer/quantiser_internal.h"
#include <math.h>

static const float FLOOR = 1e-9f; /* of a probability: bounds bits and gradients for outliers */
/* Least scale in steps.  A channel that is nearly always zero would shrink its scale for ever, and the
   first value that is not zero would then get a gradient of 1.44 / scale: training blows up. */
static const float MIN_LOG_SCALE = -1.9f;

static float logistic(float x) {
    return 1.0f / (1.0f + expf(-x));
}

/* Bits, and their derivatives by y and by log scale. */
static float logistic_bits(float y, float inverse_scale, float *by_y, float *by_log_scale) {
    float magnitude = fabsf(y);
    float a = (0.5f - magnitude) * inverse_scale, b = (-0.5f - magnitude) * inverse_scale;
    float sa = logistic(a), sb = logistic(b);
    float p = sa - sb + FLOOR, da = sa * (1 - sa), db = sb * (1 - sb);
    float to_bits = -1.44269504f / p;
    *by_y = to_bits * -(da - db) * inverse_scale * (y < 0 ? -1.0f : 1.0f);
    *by_log_scale = to_bits * -(da * a - db * b);
    return -log2f(p);
}

static double rate_of(const quantiser *q, size_t positions, size_t per_sample, const int *levels) {
    size_t D = (size_t)q->spec->latent_channels, L = (size_t)q->spec->levels;
    double total = 0;
    enum { CHUNK = 64 }; /* sums of chunks are added in order: the same for every thread count */
    size_t chunks = (positions + CHUNK - 1) / CHUNK;
    double *sums = q->chunk_sums;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < chunks; i++) {
        double sum = 0;
        for (size_t n = i * CHUNK; n < VQZI_MIN((i + 1) * CHUNK, positions); n++) {
            const float *scales = q->parameters + (L + (size_t)levels[n / per_sample]) * D;
            for (size_t c = 0; c < D; c++) {
                float by_y, by_scale;
                sum += logistic_bits(q->noisy[n * D + c], expf(-fmaxf(scales[c], MIN_LOG_SCALE)), &by_y, &by_scale);
            }
        }
        sums[i] = sum;
    }
    for (size_t i = 0; i < chunks; i++)
        total += sums[i];
    return total;
}

double quantiser_scalar_forward(quantiser *q, const float *latent, size_t positions,
                                size_t per_sample, const int *levels, const uint64_t *noise_seeds,
                                float *quantised) {
    size_t D = (size_t)q->spec->latent_channels;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < positions / per_sample; i++) {
        const float *steps = quantiser_steps_log(q, levels[i]);
        random_state random;
        random_seed(&random, noise_seeds[i]);
        for (size_t n = i * per_sample; n < (i + 1) * per_sample; n++)
            for (size_t c = 0; c < D; c++) {
                float step = expf(steps[c]), y = latent[n * D + c] / step;
                quantised[n * D + c] = step * roundf(y);
                q->noisy[n * D + c] = y + random_uniform(&random) - 0.5f;
            }
    }
    return rate_of(q, positions, per_sample, levels);
}

double quantiser_hard_rate(quantiser *q, const float *quantised, size_t positions,
                           size_t per_sample, const int *levels) {
    size_t D = (size_t)q->spec->latent_channels;
    for (size_t n = 0; n < positions; n++) {
        const float *steps = quantiser_steps_log(q, levels[n / per_sample]);
        for (size_t c = 0; c < D; c++)
            q->noisy[n * D + c] = quantised[n * D + c] / expf(steps[c]);
    }
    return rate_of(q, positions, per_sample, levels);
}

void quantiser_rate_backward(quantiser *q, const float *latent, size_t positions, size_t per_sample,
                             const int *levels, const float *weights, const float *grad_quantised,
                             float *grad_latent, float *grad_parameters) {
    size_t D = (size_t)q->spec->latent_channels, L = (size_t)q->spec->levels;
    size_t samples = positions / per_sample;
    /* Threads own channels, so that sums over positions have one order. */
#pragma omp parallel for schedule(static)
    for (size_t c = 0; c < D; c++)
        for (size_t i = 0; i < samples; i++) {
            size_t level = (size_t)levels[i];
            float step = expf(q->parameters[level * D + c]);
            float log_scale = q->parameters[(L + level) * D + c];
            float inverse_scale = expf(-fmaxf(log_scale, MIN_LOG_SCALE));
            double step_sum = 0, scale_sum = 0;
            for (size_t n = i * per_sample; n < (i + 1) * per_sample; n++) {
                float by_y, by_scale, y = latent[n * D + c] / step;
                logistic_bits(q->noisy[n * D + c], inverse_scale, &by_y, &by_scale);
                grad_latent[n * D + c] += weights[i] * by_y / step;
                scale_sum += weights[i] * by_scale;
                if (grad_quantised)
                    step_sum += grad_quantised[n * D + c] * step * (roundf(y) - y) -
                                weights[i] * by_y * y;
            }
            grad_parameters[level * D + c] += (float)step_sum;
            if (log_scale > MIN_LOG_SCALE || scale_sum < 0) /* at the floor only upwards */
                grad_parameters[(L + level) * D + c] += (float)scale_sum;
        }
}

double quantiser_commitment(const float *latent, const float *quantised, size_t positions,
                            size_t per_sample, int channels, const float *weights, float beta,
                            float *grad_latent) {
    size_t D = (size_t)channels;
    double total = 0;
    for (size_t n = 0; n < positions; n++) {
        float weight = weights[n / per_sample], sum = 0;
        for (size_t c = 0; c < D; c++) {
            float difference = latent[n * D + c] - quantised[n * D + c];
            sum += difference * difference;
            grad_latent[n * D + c] += 2 * beta * weight * difference;
        }
        total += weight * sum;
    }
    return total;
}

void quantiser_codebook_backward(const quantiser *q, const uint16_t *indices, size_t positions,
                                 size_t per_sample, const int *levels, const float *weights,
                                 float *grad_parameters) {
    for (int p = 0; p < q->spec->plane_count; p++) {
        const plane_spec *s = &q->spec->planes[p];
        if (s->uniform)
            continue;
        for (size_t n = 0; n < positions; n++) {
            int level = levels[n / per_sample];
            const float *steps = quantiser_steps_log(q, level);
            size_t k = indices[(size_t)p * positions + n], d = (size_t)s->dims;
            const float *entry = quantiser_book(q, p, level) + k * d;
            const float *r = q->residuals + n * (size_t)q->residual_width + q->residual_offset[p];
            float *grad = grad_parameters + (entry - q->parameters);
            for (size_t c = 0; c < d; c++) {
                float step = expf(steps[s->channels[c]]);
                grad[c] -= 2 * weights[n / per_sample] * step * (r[c] - step * entry[c]);
            }
        }
    }
}
