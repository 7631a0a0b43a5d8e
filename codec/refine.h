/*
 * refine.h - latents that make better codes than the analysis network's: the encoder decodes its
 * codes, looks at the error, and moves the latents against the gradient of that error.
 *
 * A row of tiles at a time, in windows of it that the synthesis network can be run on.  A window
 * has a margin of the latents around it, so that its error and its gradient are those of the whole
 * picture (but where a network reaches farther than half a row of tiles): above, the codes that
 * were chosen; to the sides, those of the same attempt; below, the latents as they are analysed.
 */
#ifndef VQZI_REFINE_H
#define VQZI_REFINE_H

#include "codec/internal.h"

/* Rows of a picture, row y at y modulo `rows`. */
typedef struct vqzi_pixel_ring {
    const uint8_t *data;
    uint32_t rows;
    uint32_t width, height, channels; /* of the picture */
} vqzi_pixel_ring;

typedef struct vqzi_refiner_options {
    const vqz_context *context;
    const vqz_model *model;
    const vqzi_adjoint *adjoint; /* from vqzi_refiner_find */
    vqzi_level level;
    uint32_t columns, rows; /* of the latent */
    uint32_t tile_rows;     /* of a row of tiles */
    vqzi_pixel_ring pixels;
} vqzi_refiner_options;

typedef struct vqzi_refiner vqzi_refiner;

/* The adjoint that refining codes of this model needs; NULL where there is none. */
VQZ_MUST_CHECK vqz_status vqzi_refiner_find(const vqz_model *model, const vqzi_adjoint **adjoint);

/* Latent rows around a row of tiles that it looks at, in each direction. */
uint32_t vqzi_refiner_margin(const vqzi_refiner_options *options);
/* Bytes that a refiner with these options allocates. */
uint64_t vqzi_refiner_memory(const vqzi_refiner_options *options);
VQZ_MUST_CHECK vqz_status vqzi_refiner_create(vqzi_refiner **refiner,
                                              const vqzi_refiner_options *options);
void vqzi_refiner_free(vqzi_refiner *refiner);

/* A row of tiles: its `rows` rows from `row` on.  latents (rows, columns, D) are its own, which
   move changes; below, those of the next row of tiles, may be read up to the margin. */
void vqzi_refiner_begin(vqzi_refiner *refiner, uint32_t row, uint32_t rows, int16_t *latents,
                        const int16_t *below);
/* The squared error of an attempt's codes (planes, tile rows, columns) in the decoded picture, in
   squared units of the latent.  The first call for a row of tiles finds that unit, and the steps
   that move takes. */
uint64_t vqzi_refiner_measure(vqzi_refiner *refiner, const uint16_t *codes, bool gradient);
/* After a measure with gradient: moves the latents. */
void vqzi_refiner_move(vqzi_refiner *refiner);
/* These codes are final: they are what the next row of tiles has above it. */
void vqzi_refiner_end(vqzi_refiner *refiner, const uint16_t *codes);

#endif
