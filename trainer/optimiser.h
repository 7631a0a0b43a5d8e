/*
 * optimiser.h - Adam (Kingma and Ba 2015) over one flat array, behind a gate that keeps bad gradients
 * out: a step whose loss or gradient is not finite, or whose gradient norm is far above its running
 * average, is skipped and counted; the rest is clipped to a multiple of that average.
 */
#ifndef TRAINER_OPTIMISER_H
#define TRAINER_OPTIMISER_H

#include "format/common.h"

typedef struct optimiser {
    float *m, *v; /* first and second moments, (count) */
    size_t count;
    double steps;        /* accepted steps: Adam's t */
    double average_norm; /* running mean of accepted gradient norms */
    double gated;        /* steps that the average has seen */
    float beta1, beta2;
    size_t fast_from; /* parameters from here on learn FAST times as quickly: codebook entries must keep
                         up with latents, which move with the sum of many weights' steps */
} optimiser;

VQZ_MUST_CHECK vqz_status optimiser_create(optimiser *o, size_t count, size_t fast_from,
                                           float beta2, vqz_diag *diag);
void optimiser_clear(optimiser *o);
/* One step; false when it was skipped: nothing has changed then but the gate's average, which drifts
   up so that a lasting change of scale is accepted in the end.  *norm receives the gradient norm. */
bool optimiser_step(optimiser *o, float *parameters, const float *gradients, double loss,
                    float learning_rate, double *norm);

#endif
