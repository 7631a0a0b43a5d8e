/*
 * quantise.h - between latents and the indices of the planes.
 *
 * Encoder: the planes are assigned in order.  Each sees r = latent - what earlier planes
 * contribute, saturated to latent_bits, and takes k = argmin_k |e_k - r|^2 + penalty_k, the lowest
 * k on ties, with penalty_k = lambda * rate_k / 8 (entropy-constrained VQ; Chou, Lookabaugh, Gray
 * 1989).
 * Decoder: latent = the sum of the entries, saturated to latent_bits.  Only that is normative.
 */
#ifndef VQZI_QUANTISE_H
#define VQZI_QUANTISE_H

#include "codec/net.h"

/* What a bit may cost, in squared latent units: interpolated between the levels as steps are, and
   `bias` percent more, see vqz_encode_options. */
uint64_t vqzi_lambda(const vqzi_model *model, vqzi_level level, int bias);

typedef struct vqzi_quantiser vqzi_quantiser;

typedef struct vqzi_quantiser_options {
    vqzi_level level;
    bool encode;            /* prepare the search too */
    int rate_bias;          /* of the search */
    uint32_t max_width;     /* positions of a row */
    uint64_t positions;     /* of the picture: how often the search will run */
    const vqzi_kernels *kernels;
    int threads;
} vqzi_quantiser_options;

/* Bytes that a quantiser with these options allocates. */
uint64_t vqzi_quantiser_memory(const vqzi_model *model, const vqzi_quantiser_options *options);
VQZ_MUST_CHECK vqz_status vqzi_quantiser_create(vqzi_quantiser **quantiser,
                                                const vqzi_model *model,
                                                const vqzi_quantiser_options *options);
void vqzi_quantiser_free(vqzi_quantiser *quantiser);

/* Of one position, as team.h counts it. */
uint64_t vqzi_quantiser_work(const vqzi_quantiser *quantiser);

/* Indices of one row of latents: plane p's go to indices[p][0..width-1].  thread: 0..threads-1, and
   one call at a time with each. */
void vqzi_quantise_row(const vqzi_quantiser *quantiser, int thread, const int16_t *latents,
                       uint32_t width, uint16_t *const *indices);
/* The inverse: latents (width, D) of one row. */
void vqzi_dequantise_row(const vqzi_quantiser *quantiser, int thread,
                         const uint16_t *const *indices, uint32_t width, int16_t *latents);
/* The same of the first planes alone: what the others contribute is zero. */
void vqzi_dequantise_planes(const vqzi_quantiser *quantiser, int thread,
                            const uint16_t *const *indices, uint32_t planes, uint32_t width,
                            int16_t *latents);

#endif
