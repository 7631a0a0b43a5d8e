/*
 * tiles.h - where the tiles of a .vqz file lie in the picture, and where their bytes lie in the
 * file (spec/vqz-format.md, "Tiles").
 *
 * Version 1: squares of 1024 pixels, their streams one after the other.  Version 2: rows of 512
 * pixels, cut into tiles of equal width of at most 384 (balanced, so that a narrow rest does not
 * start its context anew); the bytes of a tile in a scan are a segment, found through the index
 * before them.
 */
#ifndef VQZI_TILES_H
#define VQZI_TILES_H

#include "format/container.h"

enum {
    VQZI_TILE = 1024,       /* pixels, version 1 */
    VQZI_TILE_HEIGHT = 512, /* pixels, version 2 */
    VQZI_TILE_WIDTH = 384   /* pixels, version 2: at most */
};

/* All in latent positions. */
typedef struct vqzi_tiling {
    uint32_t columns, rows; /* of the picture */
    uint32_t tile_rows;     /* of every tile but those at the bottom, which may have fewer */
    uint32_t tile_columns;  /* the most that a tile has */
    uint32_t across, down;  /* tiles in a row, rows of tiles */
    bool balanced;          /* version 2 */
} vqzi_tiling;

vqzi_tiling vqzi_tiling_make(uint32_t version, uint32_t columns, uint32_t rows, uint32_t stride);
/* First column of tile i of a row of tiles, 0..across; the last one is where the picture ends. */
static inline uint32_t vqzi_tiling_column(const vqzi_tiling *tiling, uint32_t i) {
    if (tiling->balanced)
        return (uint32_t)((uint64_t)i * tiling->columns / tiling->across);
    return VQZI_MIN(i * tiling->tile_columns, tiling->columns);
}
/* The same for rows, 0..down. */
static inline uint32_t vqzi_tiling_row(const vqzi_tiling *tiling, uint32_t i) {
    return VQZI_MIN(i * tiling->tile_rows, tiling->rows);
}
/* Tiles of a picture of so many pixels; every stride gives the same. */
uint32_t vqzi_tile_count(uint32_t version, uint32_t width, uint32_t height);

/* Version 2: the sizes of all segments but the last as varints, then the segments; scan after scan,
   in each the tiles in raster order. */
void vqzi_segment_sizes_write(vqzi_buffer *buffer, const size_t *sizes, size_t count);

/* Segments borrowed from the bytes of a file. */
typedef struct vqzi_segments {
    size_t tiles, count;
    const uint8_t *data;
    size_t *ends; /* (known): where segment i ends; it starts where the one before ends */
    size_t known; /* segments whose place is known: all, unless the file was cut within its index */
    size_t whole; /* segments before this one are as they were written */
} vqzi_segments;

/* data: all between chunks and checksum.  TRUNCATED when the bytes are fewer than the sizes say;
   what is allocated follows from the bytes that are there.  partial: of a file that was cut,
   nothing is missed: segments end where the file does, or are empty, and `whole` tells.  The last
   segment of such a file is never whole: nothing says how long it was. */
VQZ_MUST_CHECK vqz_status vqzi_segments_read(vqzi_segments *segments, const uint8_t *data,
                                             size_t size, uint32_t tiles, uint32_t scans,
                                             bool partial);
/* The bytes of a tile in a scan; *whole may be NULL. */
vqzi_reader vqzi_segment(const vqzi_segments *segments, uint32_t scan, uint32_t tile, bool *whole);
void vqzi_segments_clear(vqzi_segments *segments);

#endif
