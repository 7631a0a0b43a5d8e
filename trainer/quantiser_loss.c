/* quantiser_loss.c - commitment and codebook losses, with their gradients. */
#include "trainer/quantiser_internal.h"
#include <math.h>

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
        if (s->scalar)
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
