/* optimiser.c - see optimiser.h. */
#include "trainer/optimiser.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double OUTLIER = 5.0, CLIP = 2.0; /* times the running norm */
static const float FAST = 10.0f;
enum { GATE_WARM_UP = 50, NORM_BLOCK = 4096 };

vqz_status optimiser_create(optimiser *o, size_t count, size_t fast_from, float beta2,
                            vqz_diag *diag) {
    *o = (optimiser){
        .count = count, .fast_from = fast_from, .beta1 = 0.9f, .beta2 = beta2};
    o->m = calloc(count, sizeof *o->m);
    o->v = calloc(count, sizeof *o->v);
    if (!o->m || !o->v) {
        optimiser_clear(o);
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory for the optimiser");
    }
    return VQZ_OK;
}

void optimiser_clear(optimiser *o) {
    free(o->m);
    free(o->v);
    memset(o, 0, sizeof *o);
}

/* Sum of squares in fixed blocks: one order for every number of threads. */
static double norm_of(const float *values, size_t count) {
    double total = 0;
    for (size_t block = 0; block < count; block += NORM_BLOCK) {
        double sum = 0;
        for (size_t i = block; i < VQZI_MIN(block + NORM_BLOCK, count); i++)
            sum += (double)values[i] * values[i];
        total += sum;
    }
    return sqrt(total);
}

bool optimiser_step(optimiser *o, float *parameters, const float *gradients, double loss,
                    float learning_rate, double *norm) {
    *norm = norm_of(gradients, o->count);
    if (!isfinite(*norm) || !isfinite(loss))
        return false;
    bool warm = o->gated < GATE_WARM_UP;
    double average = o->average_norm, rate = warm ? 1.0 / (o->gated + 1) : 0.02;
    bool outlier = !warm && *norm > OUTLIER * average;
    o->average_norm = average + rate * ((outlier ? OUTLIER * average : *norm) - average);
    o->gated += 1;
    if (outlier)
        return false;

    o->steps += 1;
    float scale = o->average_norm > 0 && *norm > CLIP * o->average_norm
                      ? (float)(CLIP * o->average_norm / *norm)
                      : 1.0f;
    float b1 = o->beta1, b2 = o->beta2;
    float correct1 = 1.0f / (float)(1 - pow(b1, o->steps));
    float correct2 = 1.0f / (float)(1 - pow(b2, o->steps));
    float *m = o->m, *v = o->v;
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < o->count; i++) {
        float g = gradients[i] * scale;
        m[i] = b1 * m[i] + (1 - b1) * g;
        v[i] = b2 * v[i] + (1 - b2) * g * g;
        float rate_here = i < o->fast_from ? learning_rate : learning_rate * FAST;
        parameters[i] -= rate_here * (m[i] * correct1) / (sqrtf(v[i] * correct2) + 1e-8f);
    }
    return true;
}
