/*
 * naive_prior.h - tiles through the conditional prior a second time, slow and plain: one position
 * after the other, one loop a sum, int64 everywhere.  Written from the comments of format/model.h
 * and format/rans.h; shares no code with the library.
 */
#ifndef TESTS_NAIVE_PRIOR_H
#define TESTS_NAIVE_PRIOR_H

#include "format/container.h"

/* Codes of a tile: plane p at codes[p], (rows, columns) with `pitch` elements from row to row. */
typedef struct naive_tile {
    uint32_t rows, columns;
    size_t pitch;
    uint16_t *codes[VQZI_MAX_PLANES];
} naive_tile;

/* Appends the stream of stage i to streams[i] (scans: all stages) or of all stages to streams[0]
   (scans: 1).  Any codes below K will do. */
void naive_prior_encode(const vqzi_model *model, int quality, const naive_tile *tile,
                        uint32_t scans, vqzi_buffer *streams);
/* The inverse; false when a stream does not hold exactly such codes. */
bool naive_prior_decode(const vqzi_model *model, int quality, const naive_tile *tile,
                        uint32_t scans, const vqzi_reader *streams);

#endif
