/*
 * pack.c - packed metadata (spec/vqz-format.md, "Chunks"): a varint with the raw size, then one zstd
 * frame without magic.  Both directions stream, so that alpha is never in memory as a whole.
 */
#include "format/container.h"
#include "format/frame.h"

#include <stdlib.h>

enum { LEVEL = 19, WINDOW_LOG = 23, PIECE = 1 << 16 };

struct vqzi_packer {
    ZSTD_CCtx *zstd;
    vqzi_buffer *payload;
    uint8_t piece[PIECE];
};

struct vqzi_unpacker {
    ZSTD_DCtx *zstd;
    ZSTD_inBuffer frame;
    bool done; /* the frame has ended */
};

vqz_status vqzi_packer_create(vqzi_packer **out, vqzi_buffer *payload, uint64_t size) {
    vqzi_packer *packer = malloc(sizeof *packer);
    if (packer == NULL)
        return VQZ_ERROR_MEMORY;
    packer->payload = payload;
    packer->zstd = vqzi_frame_compressor(LEVEL, WINDOW_LOG);
    if (packer->zstd == NULL || ZSTD_isError(ZSTD_CCtx_setPledgedSrcSize(packer->zstd, size))) {
        vqzi_packer_free(packer);
        return VQZ_ERROR_MEMORY;
    }
    vqzi_buffer_varint(payload, size);
    *out = packer;
    return VQZ_OK;
}

static vqz_status pump(vqzi_packer *packer, const void *data, size_t size, ZSTD_EndDirective end) {
    ZSTD_inBuffer in = {data, size, 0};
    for (;;) {
        ZSTD_outBuffer out = {packer->piece, PIECE, 0};
        size_t left = ZSTD_compressStream2(packer->zstd, &out, &in, end);
        if (ZSTD_isError(left))
            return VQZ_ERROR_MEMORY; /* or a size other than the one announced: a caller's fault */
        vqzi_buffer_append(packer->payload, packer->piece, out.pos);
        if (end == ZSTD_e_end ? left == 0 : in.pos == in.size)
            return vqzi_buffer_status(packer->payload);
    }
}

vqz_status vqzi_packer_write(vqzi_packer *packer, const void *data, size_t size) {
    return size > 0 ? pump(packer, data, size, ZSTD_e_continue) : VQZ_OK;
}

vqz_status vqzi_packer_finish(vqzi_packer *packer) {
    return pump(packer, NULL, 0, ZSTD_e_end);
}

void vqzi_packer_free(vqzi_packer *packer) {
    if (packer == NULL)
        return;
    ZSTD_freeCCtx(packer->zstd);
    free(packer);
}

vqz_status vqzi_pack(vqzi_buffer *payload, const void *data, size_t size) {
    vqzi_packer *packer;
    VQZ_TRY(vqzi_packer_create(&packer, payload, size));
    vqz_status status = vqzi_packer_write(packer, data, size);
    if (status == VQZ_OK)
        status = vqzi_packer_finish(packer);
    vqzi_packer_free(packer);
    return status;
}

vqz_status vqzi_packed_size(const uint8_t *payload, size_t payload_size, uint64_t *size) {
    vqzi_reader reader = {payload, payload_size, 0};
    uint64_t value, bound;
    VQZ_TRY(vqzi_read_varint(&reader, UINT64_MAX, &value));
    VQZ_TRY(vqzi_frame_check(payload + reader.position, payload_size - reader.position, WINDOW_LOG,
                             &bound));
    /* callers allocate what we say: a few bytes cannot hold more than their blocks can */
    if (value > bound)
        return VQZ_ERROR_CORRUPT;
    *size = value;
    return VQZ_OK;
}

vqz_status vqzi_unpacker_create(vqzi_unpacker **out, const uint8_t *payload, size_t payload_size,
                                uint64_t size) {
    vqzi_reader reader = {payload, payload_size, 0};
    uint64_t told;
    VQZ_TRY(vqzi_packed_size(payload, payload_size, &told));
    VQZ_TRY(vqzi_read_varint(&reader, UINT64_MAX, &told));
    if (told != size)
        return VQZ_ERROR_CORRUPT;
    vqzi_unpacker *unpacker = calloc(1, sizeof *unpacker);
    if (unpacker == NULL)
        return VQZ_ERROR_MEMORY;
    unpacker->frame =
        (ZSTD_inBuffer){payload + reader.position, payload_size - reader.position, 0};
    unpacker->zstd = vqzi_frame_decompressor();
    if (unpacker->zstd == NULL) {
        free(unpacker);
        return VQZ_ERROR_MEMORY;
    }
    *out = unpacker;
    return VQZ_OK;
}

/* Decompresses until dst is full or the frame ends. */
static vqz_status pull(vqzi_unpacker *unpacker, void *dst, size_t size, size_t *got) {
    ZSTD_outBuffer out = {dst, size, 0};
    while (out.pos < size && !unpacker->done) {
        size_t in_before = unpacker->frame.pos, out_before = out.pos;
        size_t left = ZSTD_decompressStream(unpacker->zstd, &out, &unpacker->frame);
        if (ZSTD_isError(left))
            return vqzi_frame_status(left);
        unpacker->done = left == 0;
        if (!unpacker->done && unpacker->frame.pos == in_before && out.pos == out_before)
            return VQZ_ERROR_CORRUPT; /* it wants bytes that there are not */
    }
    *got = out.pos;
    return VQZ_OK;
}

vqz_status vqzi_unpacker_read(vqzi_unpacker *unpacker, void *dst, size_t size) {
    size_t got = 0;
    VQZ_TRY(pull(unpacker, dst, size, &got));
    return got == size ? VQZ_OK : VQZ_ERROR_CORRUPT;
}

vqz_status vqzi_unpacker_finish(vqzi_unpacker *unpacker) {
    uint8_t probe;
    size_t got = 0;
    VQZ_TRY(pull(unpacker, &probe, 1, &got));
    return got == 0 && unpacker->frame.pos == unpacker->frame.size ? VQZ_OK : VQZ_ERROR_CORRUPT;
}

void vqzi_unpacker_free(vqzi_unpacker *unpacker) {
    if (unpacker == NULL)
        return;
    ZSTD_freeDCtx(unpacker->zstd);
    free(unpacker);
}

vqz_status vqzi_unpack(const uint8_t *payload, size_t payload_size, void *data, size_t size) {
    vqzi_unpacker *unpacker;
    VQZ_TRY(vqzi_unpacker_create(&unpacker, payload, payload_size, size));
    vqz_status status = vqzi_unpacker_read(unpacker, data, size);
    if (status == VQZ_OK)
        status = vqzi_unpacker_finish(unpacker);
    vqzi_unpacker_free(unpacker);
    return status;
}
