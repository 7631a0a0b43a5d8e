/*
 * container.h - the bytes of a .vqz file (spec/vqz-format.md); knows no network and no picture files.
 *
 *   offset
 *   0   3  "VQZ"
 *   3   1  bits 0-3 version (1 or 2), bit 4 gray, bit 5 alpha, bit 6 chunks follow,
 *          bit 7 scans (version 2; zero in version 1)
 *   4   4  first four bytes of the model hash
 *   8   v  width - 1   (varint: 7 bits a byte, low first, bit 7 = more; at most 3 bytes)
 *       v  height - 1
 *       1  quality, 1..100; version 2: bit 7 rANS streams
 *       .  chunks, when bit 6 is set: { type u8, size varint, bytes } ... , type 0 ends the list
 *       .  version 1: tiles in raster order, each the streams of its planes in order
 *          version 2: index and segments (format/tiles.h)
 *   -4  4  CRC-32 (IEEE 802.3) of everything before it, little-endian
 *
 * So a picture of up to 128 x 128 costs 15 bytes beside its streams.  A chunk type with bit 7 set may be
 * skipped by a decoder that does not know it; any other unknown type is VQZ_ERROR_UNSUPPORTED.
 * Known: 0x01 alpha (predicted by MED, zstd), 0x81 ICC (zstd), 0x82 EXIF (zstd).
 *
 * Version 2 is for models with a prior, version 1 for all others.  A segment of version 2 has a tile's
 * planes, all of them or, with scans, those of one stage of the prior: as one rANS stream
 * (format/rans.h, format/model.h), or as streams like those of version 1.
 *
 * A tile's plane is an array of (tile latent rows x tile latent columns) symbols in raster order.
 *
 * A stream starts with a varint h = argument * 8 + filter * 4 + method:
 *   method 0  packed: ceil(log2 alphabet) bits a symbol, low bit first, last byte padded with zeros
 *   method 1  zstd: `argument` bytes, a zstd frame without magic and without its first two header
 *             bytes, which are always 0x00 0x38 (no checksum, no content size, window 2^17)
 *   method 2  the same with the model's dictionary for this level and stream
 *   method 3  constant: every symbol equals `argument`; no bytes follow
 *   filter 1  symbols are residuals against the MED predictor, modulo the alphabet (MED of W, N, NW;
 *             first row W, first column N, first symbol 0)
 * Anything else (argument not 0 for method 0, symbols >= alphabet, nonzero padding, wrong counts, more
 * bytes after the last stream) is VQZ_ERROR_CORRUPT.
 */
#ifndef VQZI_CONTAINER_H
#define VQZI_CONTAINER_H

#include "format/common.h"
#include "format/model.h"
#include "format/team.h"

enum {
    VQZI_VERSION = 1,
    VQZI_VERSION_PRIOR = 2,
    VQZI_CHUNK_END = 0x00,
    VQZI_CHUNK_ALPHA = 0x01,
    VQZI_CHUNK_ICC = 0x81,
    VQZI_CHUNK_EXIF = 0x82
};

/* Growing output buffer; after a failed append it stays failed and vqzi_buffer_status tells. */
typedef struct vqzi_buffer {
    uint8_t *data;
    size_t size, capacity;
    bool failed;
} vqzi_buffer;
void vqzi_buffer_append(vqzi_buffer *buffer, const void *data, size_t size);
void vqzi_buffer_byte(vqzi_buffer *buffer, uint8_t byte);
void vqzi_buffer_varint(vqzi_buffer *buffer, uint64_t value);
VQZ_MUST_CHECK vqz_status vqzi_buffer_status(const vqzi_buffer *buffer); /* OK or MEMORY */
void vqzi_buffer_clear(vqzi_buffer *buffer);

/* Bounded reader over borrowed bytes. */
typedef struct vqzi_reader {
    const uint8_t *data;
    size_t size, position;
} vqzi_reader;
VQZ_MUST_CHECK vqz_status vqzi_read_bytes(vqzi_reader *reader, size_t size, const uint8_t **bytes);
/* At most 10 bytes, canonical (no superfluous zero groups), value at most max: else CORRUPT. */
VQZ_MUST_CHECK vqz_status vqzi_read_varint(vqzi_reader *reader, uint64_t max, uint64_t *value);

uint32_t vqzi_crc32(uint32_t crc, const void *data, size_t size); /* start with 0 */
void vqzi_sha256(uint8_t hash[32], const void *data, size_t size);

typedef struct vqzi_header {
    uint32_t version, width, height, quality;
    bool gray, alpha;
    bool rans, scans; /* version 2 */
    uint8_t model_hash[4];
    /* borrowed from the file; NULL and 0 when absent */
    const uint8_t *alpha_data, *icc_data, *exif_data;
    size_t alpha_size, icc_size, exif_size;
    size_t chunks_offset, tiles_offset, tiles_size;
} vqzi_header;

/* Appends magic..chunks; alpha/icc/exif bytes are the (already compressed) chunk payloads.  The version is
   2 when header->version says so, else 1. */
void vqzi_header_write(vqzi_buffer *buffer, const vqzi_header *header);
/* Appends the CRC of all that the buffer holds. */
void vqzi_trailer_write(vqzi_buffer *buffer);
/* Verifies magic, version, checksum, sizes and chunk list. */
VQZ_MUST_CHECK vqz_status vqzi_header_read(vqzi_header *header, const void *file, size_t size,
                                           vqz_diag *diag);
/* The same for a file that may have been cut behind its chunks.  *whole: the checksum matches, and all is
   as above; otherwise no checksum is believed to be there, and the tiles go on to the end. */
VQZ_MUST_CHECK vqz_status vqzi_header_read_partial(vqzi_header *header, bool *whole,
                                                   const void *file, size_t size, vqz_diag *diag);

/* Packed metadata: a varint of the raw size, then a zstd frame without magic.  All append to, or read
   from, a chunk's payload; both can be taken in pieces of any size, which add up to `size`. */
VQZ_MUST_CHECK vqz_status vqzi_pack(vqzi_buffer *payload, const void *data, size_t size);
VQZ_MUST_CHECK vqz_status vqzi_packed_size(const uint8_t *payload, size_t payload_size,
                                           uint64_t *size);
VQZ_MUST_CHECK vqz_status vqzi_unpack(const uint8_t *payload, size_t payload_size, void *data,
                                      size_t size);

typedef struct vqzi_packer vqzi_packer;
VQZ_MUST_CHECK vqz_status vqzi_packer_create(vqzi_packer **packer, vqzi_buffer *payload,
                                             uint64_t size);
VQZ_MUST_CHECK vqz_status vqzi_packer_write(vqzi_packer *packer, const void *data, size_t size);
VQZ_MUST_CHECK vqz_status vqzi_packer_finish(vqzi_packer *packer);
void vqzi_packer_free(vqzi_packer *packer);

typedef struct vqzi_unpacker vqzi_unpacker;
VQZ_MUST_CHECK vqz_status vqzi_unpacker_create(vqzi_unpacker **unpacker, const uint8_t *payload,
                                               size_t payload_size, uint64_t size);
VQZ_MUST_CHECK vqz_status vqzi_unpacker_read(vqzi_unpacker *unpacker, void *dst, size_t size);
/* Whether nothing is left. */
VQZ_MUST_CHECK vqz_status vqzi_unpacker_finish(vqzi_unpacker *unpacker);
void vqzi_unpacker_free(vqzi_unpacker *unpacker);

/* Coder of the streams at one level of a model; owns zstd contexts (made on first use).  The streams
   of a tile are written by the threads of the team (NULL: the calling thread alone), which must
   outlive the coder; what is written does not depend on them.  One coder per calling thread. */
typedef struct vqzi_stream_coder vqzi_stream_coder;
VQZ_MUST_CHECK vqz_status vqzi_stream_coder_create(vqzi_stream_coder **coder,
                                                   const vqzi_model *model, uint32_t level,
                                                   const vqzi_team *team);
void vqzi_stream_coder_free(vqzi_stream_coder *coder);
/* Appends the streams of one tile, whichever method and filter is smallest for each.
   indices: plane p at indices[p], (rows, columns) uint16, row pitch `pitch`. */
VQZ_MUST_CHECK vqz_status vqzi_tile_write(vqzi_stream_coder *coder, vqzi_buffer *buffer,
                                          const uint16_t *const *indices, uint32_t rows,
                                          uint32_t columns, size_t pitch);
/* Reads the streams of one tile; every index written is < K of its plane. */
VQZ_MUST_CHECK vqz_status vqzi_tile_read(vqzi_stream_coder *coder, vqzi_reader *reader,
                                         uint16_t *const *indices, uint32_t rows, uint32_t columns,
                                         size_t pitch);
/* The same of some consecutive planes; indices has all. */
VQZ_MUST_CHECK vqz_status vqzi_planes_write(vqzi_stream_coder *coder, vqzi_buffer *buffer,
                                            uint32_t first_plane, uint32_t planes,
                                            const uint16_t *const *indices, uint32_t rows,
                                            uint32_t columns, size_t pitch);
VQZ_MUST_CHECK vqz_status vqzi_planes_read(vqzi_stream_coder *coder, vqzi_reader *reader,
                                           uint32_t first_plane, uint32_t planes,
                                           uint16_t *const *indices, uint32_t rows,
                                           uint32_t columns, size_t pitch);
/* For an estimate of sizes: what is written takes little time and more bytes. */
void vqzi_stream_coder_quick(vqzi_stream_coder *coder, bool quick);
/* Trains a zstd dictionary for one stream from sample streams (concatenated, `sizes` bytes each);
   *data is malloc'ed, or NULL when the samples do not profit. */
VQZ_MUST_CHECK vqz_status vqzi_dictionary_train(const uint8_t *samples, const size_t *sizes,
                                                size_t count, size_t capacity, void **data,
                                                size_t *size);
/* OK, MEMORY, or MODEL_INVALID when these bytes do not start with the tables of a zstd dictionary.  Cheap: a
   model is checked whenever it is loaded; zstd has the last word at the first use. */
VQZ_MUST_CHECK vqz_status vqzi_dictionary_check(const uint8_t *data, size_t size);

#endif
