/*
 * prior.h - a tile's codes through the conditional prior of a model (format/model.h): encoded with a
 * search for the codes that cost least, or decoded.
 *
 * Stage after stage.  What a row needs of the stages before it and of its own rows above is a
 * convolution, computed for the whole row at once; only the taps to the left wait for each
 * other.
 */
#ifndef VQZI_PRIOR_H
#define VQZI_PRIOR_H

#include "codec/net.h"
#include "format/rans.h"

/* The stages of a model with their weights packed; immutable, shared between threads. */
typedef struct vqzi_prepared_prior vqzi_prepared_prior;
VQZ_MUST_CHECK vqz_status vqzi_prior_prepare(vqzi_prepared_prior **prepared,
                                             const vqzi_model *model);
void vqzi_prior_unprepare(vqzi_prepared_prior *prepared);

/* Work memory for tiles of at most rows x columns positions at one quality; one per thread.  lambda: what a bit
   costs an encoder, see vqzi_lambda. */
typedef struct vqzi_prior_coder vqzi_prior_coder;
uint64_t vqzi_prior_memory(const vqzi_model *model, uint32_t rows, uint32_t columns, bool encode);
VQZ_MUST_CHECK vqz_status vqzi_prior_create(vqzi_prior_coder **coder,
                                            const vqzi_prepared_prior *prepared, vqzi_level level,
                                            const vqzi_kernels *kernels, uint32_t rows,
                                            uint32_t columns, uint64_t lambda);
void vqzi_prior_free(vqzi_prior_coder *coder);
uint64_t vqzi_prior_lambda(const vqzi_prior_coder *coder);

/* Multiply-accumulates of a position, as team.h counts work. */
uint64_t vqzi_prior_work(const vqzi_model *model);

/* A tile in the arrays of a picture: position (y, x) has its latents at latents + y * latent_pitch +
   x * D and its code of plane p at codes[p] + y * code_pitch + x. */
typedef struct vqzi_prior_tile {
    uint32_t rows, columns;
    int16_t *latents;
    size_t latent_pitch;
    uint16_t *const *codes;
    size_t code_pitch;
} vqzi_prior_tile;

/* Chooses the codes of a tile's latents, which it only reads, and appends the stream of stage i to
   streams[i] (scans = stages), or of all stages to streams[0] (scans = 1), or none (streams NULL).
   effort: see vqz_encode_options; again: the tile's codes are those of similar latents, a start. */
VQZ_MUST_CHECK vqz_status vqzi_prior_encode(vqzi_prior_coder *coder, const vqzi_prior_tile *tile,
                                            int effort, bool again, uint32_t scans,
                                            vqzi_buffer *streams);
/* Decodes a tile to latents and codes, each unless it is NULL.  sizes[i] bytes at data[i].  CORRUPT when
   a stream does not hold exactly these codes. */
VQZ_MUST_CHECK vqz_status vqzi_prior_decode(vqzi_prior_coder *coder, const vqzi_prior_tile *tile,
                                            const uint8_t *const *data, const size_t *sizes,
                                            uint32_t scans);
/* The same of a file that was cut: decodes latents as far as the bytes go, and leaves zeros in the rest.
   whole[i]: stream i is as it was written.  Gives the number of codes that were there. */
uint64_t vqzi_prior_decode_partial(vqzi_prior_coder *coder, const vqzi_prior_tile *tile,
                                   const uint8_t *const *data, const size_t *sizes,
                                   const bool *whole, uint32_t scans);
/* Draws a tile, the number-th of its picture, from the distribution of the prior. */
void vqzi_prior_sample(vqzi_prior_coder *coder, const vqzi_prior_tile *tile,
                       const vqz_sample_options *options, uint32_t number);

#endif
