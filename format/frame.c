/*
 * frame.c - see frame.h.  zstd itself would go on with a second frame behind the first and leaves
 * reserved header bits to its version; walking the blocks first (RFC 8878, 3.1.1) makes what we
 * accept independent of the zstd that is linked.
 */
#include "format/frame.h"

#include <zstd_errors.h>

ZSTD_CCtx *vqzi_frame_compressor(int level, int window_log) {
    ZSTD_CCtx *zstd = ZSTD_createCCtx();
    if (zstd == NULL)
        return NULL;
    if (ZSTD_isError(ZSTD_CCtx_setParameter(zstd, ZSTD_c_format, ZSTD_f_zstd1_magicless)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(zstd, ZSTD_c_contentSizeFlag, 0)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(zstd, ZSTD_c_checksumFlag, 0)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(zstd, ZSTD_c_dictIDFlag, 0)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(zstd, ZSTD_c_compressionLevel, level)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(zstd, ZSTD_c_windowLog, window_log))) {
        ZSTD_freeCCtx(zstd);
        return NULL;
    }
    return zstd;
}

ZSTD_DCtx *vqzi_frame_decompressor(void) {
    ZSTD_DCtx *zstd = ZSTD_createDCtx();
    if (zstd != NULL &&
        ZSTD_isError(ZSTD_DCtx_setParameter(zstd, ZSTD_d_format, ZSTD_f_zstd1_magicless))) {
        ZSTD_freeDCtx(zstd);
        return NULL;
    }
    return zstd;
}

vqz_status vqzi_frame_status(size_t code) {
    return ZSTD_getErrorCode(code) == ZSTD_error_memory_allocation ? VQZ_ERROR_MEMORY
                                                                   : VQZ_ERROR_CORRUPT;
}

vqz_status vqzi_frame_check(const uint8_t *frame, size_t size, int window_log, uint64_t *bound) {
    enum { BLOCK_HEADER = 3, RAW = 0, RLE = 1, COMPRESSED = 2, MAX_BLOCK = 1 << 17 };
    if (size < VQZI_FRAME_HEADER)
        return VQZ_ERROR_TRUNCATED;
    uint32_t exponent = frame[1] >> 3, mantissa = frame[1] & 7;
    if (frame[0] != 0 || (int)(10 + exponent + (mantissa > 0)) > window_log)
        return VQZ_ERROR_CORRUPT;
    uint64_t window = (uint64_t)(8 + mantissa) << (7 + exponent), total = 0;
    uint64_t block_limit = VQZI_MIN(window, (uint64_t)MAX_BLOCK);
    size_t position = VQZI_FRAME_HEADER;
    for (;;) {
        if (size - position < BLOCK_HEADER)
            return VQZ_ERROR_TRUNCATED;
        const uint8_t *bytes = frame + position;
        uint32_t block = (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16;
        uint32_t type = block >> 1 & 3, block_size = block >> 3;
        if (type > COMPRESSED || block_size > block_limit)
            return VQZ_ERROR_CORRUPT;
        size_t stored = type == RLE ? 1 : block_size;
        position += BLOCK_HEADER;
        if (size - position < stored)
            return VQZ_ERROR_TRUNCATED;
        position += stored;
        total += type == COMPRESSED ? block_limit : block_size;
        if ((block & 1) != 0)
            break;
    }
    *bound = total;
    return position == size ? VQZ_OK : VQZ_ERROR_CORRUPT;
}
