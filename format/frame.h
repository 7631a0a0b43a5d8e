/*
 * frame.h - the zstd frames inside a .vqz file: without magic, content size, checksum and
 * dictionary identifier, so that a frame is two header bytes (0x00 and the window) and its blocks.
 */
#ifndef VQZI_FRAME_H
#define VQZI_FRAME_H

#ifndef ZSTD_STATIC_LINKING_ONLY
#define ZSTD_STATIC_LINKING_ONLY /* the magicless format */
#endif
#include "format/common.h"

#include <zstd.h>

enum {
    VQZI_FRAME_HEADER = 2, /* bytes */
    /* Index streams and their dictionaries.  On photographs the level below costs 0.4 to 4 % more
       bytes, 19 saves 0.1 % and takes half as long again. */
    VQZI_STREAM_LEVEL = 15
};

/* Contexts set to that format; NULL when memory is short. */
ZSTD_CCtx *vqzi_frame_compressor(int level, int window_log);
ZSTD_DCtx *vqzi_frame_decompressor(void);
/* What a failed ZSTD call that reads a frame says: MEMORY, or CORRUPT. */
vqz_status vqzi_frame_status(size_t code);
/* Walks the blocks: one whole frame whose window is at most 2^window_log, and not a byte more.
 *bound receives the most bytes that its blocks can hold. */
VQZ_MUST_CHECK vqz_status vqzi_frame_check(const uint8_t *frame, size_t size, int window_log,
                                           uint64_t *bound);

#endif
