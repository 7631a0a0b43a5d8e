/*
 * tile_reader.h - the tiles of a file, of either version, a row of tiles at a time, from the top.
 *
 * Version 1 gives codes, and latents of partial files; version 2 gives latents, codes, or both.
 */
#ifndef VQZI_TILE_READER_H
#define VQZI_TILE_READER_H

#include "codec/internal.h"
#include "codec/prior.h"
#include "codec/quantise.h"

typedef struct vqzi_tile_reader_options {
    const vqz_context *context;
    const vqz_model *model;
    const vqzi_header *header; /* of a file that stays where it is */
    const uint8_t *file;
    uint32_t columns, rows; /* of the latent */
    /* for streams of zstd whose latents are asked for; NULL otherwise */
    const vqzi_quantiser *quantiser;
    uint32_t quantiser_width; /* its max_width */
    /* Columns that are looked at: of version 2, what lies in other tiles is left as it is.  end 0: all. */
    uint32_t begin_column, end_column;
    bool partial; /* the file was cut: what is missing are zeros in the latents, and no error */
    const vqz_sample_options *sample; /* codes are drawn, there is no file; or NULL */
} vqzi_tile_reader_options;

typedef struct vqzi_tile_reader vqzi_tile_reader;
/* Latent rows of a row of tiles. */
uint32_t vqzi_tile_rows(const vqzi_model *model, const vqzi_header *header);
/* Bytes that a reader with these options allocates. */
uint64_t vqzi_tile_reader_memory(const vqzi_tile_reader_options *options);
VQZ_MUST_CHECK vqz_status vqzi_tile_reader_create(vqzi_tile_reader **reader,
                                                  const vqzi_tile_reader_options *options);
void vqzi_tile_reader_free(vqzi_tile_reader *reader);

/* Passes over a row of tiles, where that can be done without reading it: not in version 1. */
bool vqzi_tile_reader_skip(vqzi_tile_reader *reader);
/* Codes that were there so far, and those of the tiles that were looked at. */
void vqzi_tile_reader_found(const vqzi_tile_reader *reader, uint64_t *found, uint64_t *codes);
/* The next row of tiles: latents (tile rows, columns, D), NULL in version 1, unless it is partial, and
   where they are not wanted; codes: plane p at codes[p], (tile rows, columns), NULL where they are not wanted. */
VQZ_MUST_CHECK vqz_status vqzi_tile_reader_run(vqzi_tile_reader *reader, int16_t *latents,
                                               uint16_t *const *codes);
/* After the last row: whether nothing is left. */
VQZ_MUST_CHECK vqz_status vqzi_tile_reader_finish(const vqzi_tile_reader *reader);

#endif
