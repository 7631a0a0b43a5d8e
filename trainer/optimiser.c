/* optimiser.c - see optimiser.h. */
#include "trainer/optimiser.h"
#include "trainer/wide.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double OUTLIER = 5.0, CLIP = 2.0; /* times the running norm */
static const float FAST = 10.0f;
enum { GATE_WARM_UP = 50, SUMS = 16, BLOCK = 4096 };

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

/* In a fixed order, whatever the width of a vector. */
WIDE static double norm_of(const float *values, size_t count) {
    double sums[SUMS] = {0}, total = 0;
    size_t i = 0;
    for (; i + SUMS <= count; i += SUMS)
        for (size_t k = 0; k < SUMS; k++)
            sums[k] += (double)values[i + k] * (double)values[i + k];
    for (; i < count; i++)
        total += (double)values[i] * (double)values[i];
    for (size_t k = 0; k < SUMS; k++)
        total += sums[k];
    return sqrt(total);
}

/* Adam; scale: of the gradients, correct1 and correct2: of the moments, which begin at zero. */
typedef struct update {
    float b1, b2, scale, correct1, correct2, rate;
} update;

WIDE static void move(const update u, float *restrict m, float *restrict v,
                      float *restrict parameters, const float *restrict gradients, size_t count) {
    for (size_t i = 0; i < count; i++) {
        float g = gradients[i] * u.scale;
        m[i] = u.b1 * m[i] + (1 - u.b1) * g;
        v[i] = u.b2 * v[i] + (1 - u.b2) * g * g;
        parameters[i] -= u.rate * (m[i] * u.correct1) / (sqrtf(v[i] * u.correct2) + 1e-8f);
    }
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
    update u = {.b1 = o->beta1,
                .b2 = o->beta2,
                .scale = scale,
                .correct1 = 1.0f / (float)(1 - pow(o->beta1, o->steps)),
                .correct2 = 1.0f / (float)(1 - pow(o->beta2, o->steps))};
    const size_t bounds[] = {0, VQZI_MIN(o->fast_from, o->count), o->count};
    for (int part = 0; part < 2; part++) {
        u.rate = part == 0 ? learning_rate : learning_rate * FAST;
#pragma omp parallel for schedule(static)
        for (size_t i = bounds[part]; i < bounds[part + 1]; i += BLOCK)
            move(u, o->m + i, o->v + i, parameters + i, gradients + i,
                 VQZI_MIN((size_t)BLOCK, bounds[part + 1] - i));
    }
    return true;
}
