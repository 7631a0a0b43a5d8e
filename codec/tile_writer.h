/*
 * tile_writer.h - the tiles of a version 2 file (spec/vqz-format.md): from latents to segments, a
 * row of tiles at a time.
 *
 * With VQZ_ENTROPY_AUTO the same codes are coded by rANS and as the streams of version 1, and the
 * fewer bytes win, for the file as a whole.  On most pictures that is no contest, and the second
 * coder would take longer than everything else; so the first row of tiles decides whether there is
 * one: there is none where rANS takes less than 4/5 of the bytes that a quick zstd makes of the
 * same codes.
 */
#ifndef VQZI_TILE_WRITER_H
#define VQZI_TILE_WRITER_H

#include "codec/internal.h"
#include "codec/prior.h"
#include "codec/refine.h"

typedef struct vqzi_tile_writer_options {
    const vqz_context *context;
    const vqz_model *model;
    vqzi_level level;
    uint32_t columns, rows; /* of the latent */
    int effort;             /* see vqz_encode_options */
    int rate_bias;
    int entropy;
    bool progressive;
    const vqzi_adjoint *adjoint; /* with it codes are refined (refine.h) */
    vqzi_pixel_ring pixels;      /* used then */
} vqzi_tile_writer_options;

typedef struct vqzi_tile_writer vqzi_tile_writer;
/* Whether the effort is one that refines codes. */
bool vqzi_tile_writer_wants_adjoint(const vqzi_tile_writer_options *options);
/* Rows of pixels that have to stay in the ring beyond those that the analysis looks at. */
uint32_t vqzi_tile_writer_pixel_rows(const vqzi_tile_writer_options *options);
/* Bytes that a writer with these options allocates, but the segments. */
uint64_t vqzi_tile_writer_memory(const vqzi_tile_writer_options *options);
VQZ_MUST_CHECK vqz_status vqzi_tile_writer_create(vqzi_tile_writer **writer,
                                                  const vqzi_tile_writer_options *options);
void vqzi_tile_writer_free(vqzi_tile_writer *writer);

/* Where the latents (columns, D) of a row go. */
int16_t *vqzi_tile_writer_row(const vqzi_tile_writer *writer, uint32_t row);
/* To be called for every row of tiles, from above, once its `rows` latent rows from `row` on are
   there.  A writer that refines codes it a call later, or with the last. */
VQZ_MUST_CHECK vqz_status vqzi_tile_writer_run(vqzi_tile_writer *writer, uint32_t row,
                                               uint32_t rows);
/* After the last row: whether rANS won, and the segments with their sizes. */
VQZ_MUST_CHECK vqz_status vqzi_tile_writer_finish(const vqzi_tile_writer *writer, bool *rans,
                                                  vqzi_buffer *tiles);

#endif
