/*
 * alpha.h - the alpha of a picture as a chunk payload: residuals of the MED predictor modulo 256, as
 * packed metadata (spec/vqz-format.md, "Chunks"), row by row in both directions.
 */
#ifndef VQZI_ALPHA_H
#define VQZI_ALPHA_H

#include "format/container.h"

typedef struct vqzi_alpha {
    uint32_t width, height, y; /* y: rows so far */
    uint8_t *rows;             /* (3, width): row above, this row, its residuals */
    vqzi_packer *packer;
    vqzi_unpacker *unpacker;
} vqzi_alpha;

/* Bytes that a picture of this width takes beside zstd's tables. */
uint64_t vqzi_alpha_memory(uint32_t width);

/* alpha: all zero.  The payload must outlive it and is whole after the last row. */
VQZ_MUST_CHECK vqz_status vqzi_alpha_write_begin(vqzi_alpha *alpha, uint32_t width,
                                                 uint32_t height, vqzi_buffer *payload);
/* The alpha of the next row: first byte, then one every `step` bytes. */
VQZ_MUST_CHECK vqz_status vqzi_alpha_write(vqzi_alpha *alpha, const uint8_t *src, size_t step);

VQZ_MUST_CHECK vqz_status vqzi_alpha_read_begin(vqzi_alpha *alpha, uint32_t width, uint32_t height,
                                                const uint8_t *payload, size_t size);
VQZ_MUST_CHECK vqz_status vqzi_alpha_read(vqzi_alpha *alpha, uint8_t *dst, size_t step);

void vqzi_alpha_clear(vqzi_alpha *alpha);

#endif
