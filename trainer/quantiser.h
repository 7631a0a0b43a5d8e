/*
 * quantiser.h - the vector quantiser in training: index planes over latents, with learned codebooks.
 *
 * A latent z (D channels) is divided by per-level steps; plane p sees its channels of the residual
 * that earlier planes left, r, and picks the code
 *
 *     k = argmin_k ||r - s e_k||^2 + lambda * bits_k            (s: steps of the level)
 *
 * where bits_k = -log2 of the code's smoothed frequency (entropy-constrained VQ, Chou et al. 1989;
 * lambda = 0 gives the plain VQ-VAE).  Codebooks follow their vectors either by exponential moving
 * averages with Laplace smoothing, divided by 1 - decay^t so that they start unbiased (van den Oord et
 * al. 2017, appendix A.1, as in Sonnet), or by gradient of the codebook loss ||sg[r] - s e_k||^2.
 * The gradient of the reconstruction passes straight through; the encoder is pulled to its codes by
 * the commitment loss.  The codes of scalar planes are chosen by the prior (prior.h), whose bits know
 * their context; their entries follow by averages too, but stay near the values they stand for.
 *
 * Codebooks, EMA state and usage are kept per level ("book").
 */
#ifndef TRAINER_QUANTISER_H
#define TRAINER_QUANTISER_H

#include "trainer/backend.h"
#include "trainer/preset.h"
#include "trainer/random.h"

typedef struct quantiser quantiser;

VQZ_MUST_CHECK vqz_status quantiser_create(quantiser **q, const model_spec *spec, backend *b,
                                           size_t max_positions, vqz_diag *diag);
void quantiser_free(quantiser *q);

/* Learned parameters, a segment of the trainer's flat array: log steps (L, D), codebooks (plane: L, K, d)
   in steps. */
size_t quantiser_parameter_count(const quantiser *q);
size_t quantiser_books_offset(const quantiser *q); /* where the codebooks begin */
void quantiser_bind(quantiser *q, float *parameters);
/* Sets steps from the lambdas (uniform quantisation at high rate: step = 2.94 sqrt(lambda); 1 when
   lambda is 0), codebooks uniform in +-sqrt(3 / K), as Sonnet does; those of scalar planes are the
   integers. */
void quantiser_init(quantiser *q, const float *lambdas, random_state *random);
/* State that is not learned by gradient (EMA, usage), for checkpoints. */
void quantiser_state(const quantiser *q, void **state, size_t *size);

/* ---- hard phase ---- */

/* indices: (planes, positions).  quantised = sum over planes of s e_k.  Uses lambdas (L).  Scalar planes
   are left to prior_assign. */
VQZ_MUST_CHECK vqz_status quantiser_assign(quantiser *q, const float *latent, size_t positions,
                                           size_t per_sample, const int *levels,
                                           const float *lambdas, uint16_t *indices,
                                           float *quantised);
/* ---- gradients ---- */

/* sum over elements of (latent - quantised)^2 * weights[sample]; grad_latent += beta * its gradient:
   the commitment loss. */
double quantiser_commitment(const float *latent, const float *quantised, size_t positions,
                            size_t per_sample, int channels, const float *weights, float beta,
                            float *grad_latent);
/* Gradient of sum weights[sample] ||sg[r] - s e_k||^2 over the codebooks, added to grad_parameters. */
void quantiser_codebook_backward(const quantiser *q, const uint16_t *indices, size_t positions,
                                 size_t per_sample, const int *levels, const float *weights,
                                 float *grad_parameters);

/* ---- codebook upkeep ---- */

/* What codebooks learn from, apart from how it was gathered, so that the statistics of several
   processes can be added up: positions seen (L), then of all planes the counts of the codes chosen
   (L, K), then of all planes the sums of the residuals they stood for (L, K, d). */
size_t quantiser_statistics_count(const quantiser *q);
/* Those of the last assignment. */
void quantiser_gather(const quantiser *q, const uint16_t *indices, size_t positions,
                      size_t per_sample, const int *levels, float *statistics);
/* After a step that was accepted: counts usage, and with ema moves the codebooks; refreshes bits. */
void quantiser_update(quantiser *q, const float *statistics, bool ema);
/* Finds codes that were used less than `threshold` times since the last call (where a level has a
   lambda, only a few of them), chooses random positions of the last assignment to replace them by,
   and forgets usage; returns how many.  levels (samples) are those of the whole batch, of which this
   process has samples first, first + step, ...  Each code found gets a count in the statistics, and
   where the position chosen is here, its residual as the sum. */
size_t quantiser_find_dead(quantiser *q, size_t samples, size_t per_sample, const int *levels,
                           size_t first, size_t step, const float *lambdas, uint64_t threshold,
                           random_state *random, float *statistics);
/* Restarts the codes with a count, their moving averages included. */
void quantiser_restart(quantiser *q, const float *statistics);
/* Codebooks from the latents of one level: the most frequent integer vectors, then random ones, then
   Lloyd iterations with the level's lambda.  Uniform books are left alone. */
VQZ_MUST_CHECK vqz_status quantiser_init_books(quantiser *q, const float *latent, size_t positions,
                                               int level, const float *lambdas,
                                               random_state *random);
/* Orders the codes of planes that are not scalar by falling frequency. */
void quantiser_sort(quantiser *q);

/* ---- access, for measuring and export ---- */
const float *quantiser_steps_log(const quantiser *q, int level);            /* (D) */
const float *quantiser_book(const quantiser *q, int plane, int level);      /* (K, d) in steps */
float *quantiser_book_mutable(quantiser *q, int plane, int level);
const float *quantiser_bits(const quantiser *q, int plane, int level);      /* (K) */
/* Rebuilds bits and EMA state from code costs (fine-tuning a stored model). */
void quantiser_set_bits(quantiser *q, int plane, int level, const float *bits);

#endif
