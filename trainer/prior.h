/*
 * prior.h - the conditional prior in training: how many bits each code costs, given those before it.
 *
 * The integer prior is defined in format/model.h; this is the float network that it is exported from.
 * Stage i reads the quantised latents of the channels before it, and of its own at earlier positions,
 * divided by fixed deviations.  For each of its planes it gives
 *
 *   scalar planes   mean m (in deviations) and log2 spread s (in steps) of a logistic variable v:
 *                   bits(v) = -log2( S((v + 1/2 - m') / b) - S((v - 1/2 - m') / b) ), m' = m sigma / step,
 *                   b = 2^s sqrt(3) / pi, S the logistic function (Balle et al. 2017, Minnen et al. 2018)
 *   other planes    K logits: bits(k) = -log2 softmax_k
 *
 * Noise phase: v = latent / step + uniform noise.  Hard phase: v is the code chosen, by
 * argmin (latent - entry)^2 + lambda bits, and the gradient passes straight through to the latent.
 * Contexts carry it too: a value is worth what it saves those that see it.  Without that, energy drifts
 * to the channels coded last, and longer training makes larger files.
 */
#ifndef TRAINER_PRIOR_H
#define TRAINER_PRIOR_H

#include "trainer/quantiser.h"

typedef struct prior prior;

/* For batches of latents (batch, side, side, D).  The quantiser must outlive it. */
VQZ_MUST_CHECK vqz_status prior_create(prior **p, const model_spec *spec, backend *b, quantiser *q,
                                       int batch, int side, vqz_diag *diag);
void prior_free(prior *p);

/* Parameters, a segment of the trainer's flat array: log deviations (D, never trained), then the nets of the
   stages. */
size_t prior_parameter_count(const prior *p);
void prior_bind(prior *p, float *parameters);
/* The quantiser's steps must be known: spreads start from them. */
void prior_init(prior *p, const float *deviations, random_state *random);
const float *prior_log_deviations(const prior *p); /* (D) */
/* Other deviations for the same bits: the weights that meet them change with them. */
void prior_rescale(prior *p, const float *deviations);
const network *prior_net(const prior *p, int stage);
size_t prior_net_offset(const prior *p, int stage); /* of its parameters */

/* Noise phase.  quantised = step * round(latent / step); bits (batch) of every sample.  The noise of a
   sample depends on its seed alone. */
VQZ_MUST_CHECK vqz_status prior_noisy(prior *p, const float *latent, const int *levels,
                                      const uint64_t *noise_seeds, float *quantised, double *bits);
/* Hard phase: chooses the codes of the scalar planes, takes those of the others as they are in indices
   and quantised (from quantiser_assign); bits (batch) of every sample. */
VQZ_MUST_CHECK vqz_status prior_assign(prior *p, const float *latent, const int *levels,
                                       const float *lambdas, uint16_t *indices, float *quantised,
                                       double *bits);
/* Gradients of sum over samples of weights[sample] * bits, of the last prior_noisy or prior_assign.
   grad_parameters (prior_parameter_count) is overwritten.  To grad_latent (positions, D) those of the values
   are added, to grad_quantised those of the contexts (NULL: these are not wanted).  In the noise phase,
   where steps are learned, grad_steps_log (L, D) receives theirs, by the values and by grad_quantised as
   it then is: d quantised / d log step = step * (round(y) - y); NULL otherwise. */
VQZ_MUST_CHECK vqz_status prior_backward(prior *p, const float *latent, const int *levels,
                                         const float *weights, float *grad_quantised,
                                         float *grad_latent, float *grad_steps_log,
                                         float *grad_parameters);

/* What the integer prior needs of a code: class, phase and residual of scalar plane c at position n as
   format/model.h defines them, from the floats of the last prior_assign. */
typedef struct prior_symbol {
    int class, phase, residual;
} prior_symbol;
prior_symbol prior_symbol_at(const prior *p, size_t position, int plane, const int *levels);

#endif
