/*
 * streams.c - the index planes of a tile as byte streams: prediction, packing, zstd
 * (spec/vqz-format.md, "Streams").
 *
 * The writer tries every method that could win and keeps the smallest; what it writes depends on
 * the symbols, the model and the zstd that is linked, never on the machine.  The reader accepts any
 * bytes: a stream cannot make it write past the tile, and a zstd stream is never longer than the
 * packed one.
 */
#include "format/container.h"
#include "format/frame.h"
#include "format/predict.h"

#include <stdlib.h>
#include <string.h>

enum {
    METHOD_PACKED = 0,
    METHOD_ZSTD = 1,
    METHOD_DICTIONARY = 2,
    METHOD_CONSTANT = 3,
    FILTER_MED = 4,
    ARGUMENT_SHIFT = 3,
    WINDOW_LOG = 17,
    WINDOW_BYTE = (WINDOW_LOG - 10) << 3,
    SMALL = 1 << 16, /* symbols up to which the slowest level is affordable */
    LEVEL_SMALL = 19,
    LEVEL_LARGE = 12
};

typedef struct stream_dictionary {
    ZSTD_CDict *compress;
    ZSTD_DDict *decompress;
} stream_dictionary;

struct vqzi_stream_coder {
    const vqzi_model *model;
    uint32_t level;
    ZSTD_CCtx *compressor; /* made on first use, as the dictionaries are */
    ZSTD_DCtx *decompressor;
    stream_dictionary *dictionaries; /* (stream_count) */
    size_t capacity;                 /* symbols that the arrays below can hold */
    uint8_t *symbols, *residuals;    /* (capacity) */
    uint8_t *best, *trial;           /* (frame_capacity): a stream's bytes */
    size_t frame_capacity;           /* room for any frame of `capacity` symbols */
};

/* A stream of one tile: where its dictionary is, and the shape of its symbols. */
typedef struct stream_shape {
    uint32_t stream, alphabet, rows, columns;
    size_t count; /* rows * columns */
    bool ordered;
} stream_shape;

vqz_status vqzi_stream_coder_create(vqzi_stream_coder **coder, const vqzi_model *model,
                                    uint32_t level) {
    if (level >= model->levels)
        return VQZ_ERROR_ARGUMENT;
    vqzi_stream_coder *result = calloc(1, sizeof *result);
    if (result == NULL)
        return VQZ_ERROR_MEMORY;
    result->model = model;
    result->level = level;
    result->dictionaries = calloc(model->stream_count, sizeof *result->dictionaries);
    if (result->dictionaries == NULL) {
        free(result);
        return VQZ_ERROR_MEMORY;
    }
    *coder = result;
    return VQZ_OK;
}

static void free_arrays(vqzi_stream_coder *coder) {
    free(coder->symbols);
    free(coder->residuals);
    free(coder->best);
    free(coder->trial);
    coder->symbols = coder->residuals = coder->best = coder->trial = NULL;
    coder->capacity = 0;
}

void vqzi_stream_coder_free(vqzi_stream_coder *coder) {
    if (coder == NULL)
        return;
    for (uint32_t i = 0; i < coder->model->stream_count; i++) {
        ZSTD_freeCDict(coder->dictionaries[i].compress);
        ZSTD_freeDDict(coder->dictionaries[i].decompress);
    }
    free(coder->dictionaries);
    free_arrays(coder);
    ZSTD_freeCCtx(coder->compressor);
    ZSTD_freeDCtx(coder->decompressor);
    free(coder);
}

static vqz_status reserve(vqzi_stream_coder *coder, size_t count) {
    if (count <= coder->capacity)
        return VQZ_OK;
    free_arrays(coder);
    coder->symbols = malloc(count);
    coder->residuals = malloc(count);
    coder->frame_capacity = ZSTD_compressBound(count) + VQZI_FRAME_HEADER;
    coder->best = malloc(coder->frame_capacity);
    coder->trial = malloc(coder->frame_capacity);
    if (coder->symbols == NULL || coder->residuals == NULL || coder->best == NULL ||
        coder->trial == NULL) {
        free_arrays(coder);
        return VQZ_ERROR_MEMORY;
    }
    coder->capacity = count;
    return VQZ_OK;
}

static uint32_t symbol_bits(uint32_t alphabet) {
    uint32_t bits = 0;
    while ((1u << bits) < alphabet)
        bits++;
    return bits;
}

/* ceil(count * bits / 8) without the product's overflow; bits <= 8 */
static size_t packed_size(size_t count, uint32_t bits) {
    return count / 8 * bits + (count % 8 * bits + 7) / 8;
}

static size_t varint_size(uint64_t value) {
    size_t size = 1;
    while (value >>= 7)
        size++;
    return size;
}

static void filter(uint8_t *residuals, const uint8_t *symbols, const stream_shape *shape) {
    for (uint32_t y = 0; y < shape->rows; y++)
        for (uint32_t x = 0; x < shape->columns; x++, symbols++) {
            uint32_t difference = *symbols + shape->alphabet -
                                  (uint32_t)vqzi_predict(symbols, x, y, 1, shape->columns);
            *residuals++ = (uint8_t)(difference >= shape->alphabet ? difference - shape->alphabet
                                                                   : difference);
        }
}

/* The inverse, in place. */
static void unfilter(uint8_t *symbols, const stream_shape *shape) {
    for (uint32_t y = 0; y < shape->rows; y++)
        for (uint32_t x = 0; x < shape->columns; x++, symbols++) {
            uint32_t sum = *symbols + (uint32_t)vqzi_predict(symbols, x, y, 1, shape->columns);
            *symbols = (uint8_t)(sum >= shape->alphabet ? sum - shape->alphabet : sum);
        }
}

static const vqzi_dictionary *model_dictionary(const vqzi_stream_coder *coder, uint32_t stream) {
    const vqzi_model *model = coder->model;
    if (model->dictionaries == NULL)
        return NULL;
    const vqzi_dictionary *dictionary =
        &model->dictionaries[(size_t)coder->level * model->stream_count + stream];
    return dictionary->size > 0 ? dictionary : NULL;
}

/* ---- writing ---- */

static void pack(uint8_t *bytes, const uint8_t *symbols, size_t count, uint32_t bits) {
    uint32_t pending = 0, pending_bits = 0;
    for (size_t i = 0; i < count; i++) {
        pending |= (uint32_t)symbols[i] << pending_bits;
        for (pending_bits += bits; pending_bits >= 8; pending_bits -= 8, pending >>= 8)
            *bytes++ = (uint8_t)pending;
    }
    if (pending_bits > 0)
        *bytes = (uint8_t)pending;
}

static bool is_constant(const uint8_t *symbols, size_t count) {
    return memcmp(symbols, symbols + 1, count - 1) == 0;
}

/* Compresses into coder->trial, frame header included.  *size is 0 when the frame has no place in a
   .vqz file.  (Offering zstd less room would not end a losing attempt earlier, but make it give up
   on tiny blocks that fit: its entropy coders want some bytes to spare.) */
static vqz_status compress(vqzi_stream_coder *coder, const uint8_t *symbols, size_t count,
                           const ZSTD_CDict *dictionary, size_t *size) {
    *size = 0;
    int level = count <= SMALL ? LEVEL_SMALL : LEVEL_LARGE;
    if (coder->compressor == NULL)
        coder->compressor = vqzi_frame_compressor(level, WINDOW_LOG);
    ZSTD_CCtx *zstd = coder->compressor;
    if (zstd == NULL)
        return VQZ_ERROR_MEMORY;
    if (ZSTD_isError(ZSTD_CCtx_setParameter(zstd, ZSTD_c_compressionLevel, level)) ||
        ZSTD_isError(ZSTD_CCtx_refCDict(zstd, dictionary)))
        return VQZ_ERROR_MEMORY;
    size_t used = ZSTD_compress2(zstd, coder->trial, coder->frame_capacity, symbols, count);
    if (ZSTD_isError(used))
        return VQZ_ERROR_MEMORY; /* with room for any frame, nothing else can fail */
    /* zstd narrows the window to the input; the reader's fixed, wider one serves as well */
    if (used < VQZI_FRAME_HEADER || coder->trial[0] != 0 || coder->trial[1] > WINDOW_BYTE)
        return VQZ_OK;
    *size = used;
    return VQZ_OK;
}

static vqz_status compression_dictionary(vqzi_stream_coder *coder, uint32_t stream,
                                         const ZSTD_CDict **digested) {
    const vqzi_dictionary *dictionary = model_dictionary(coder, stream);
    stream_dictionary *slot = &coder->dictionaries[stream];
    if (slot->compress == NULL && dictionary != NULL) {
        slot->compress =
            ZSTD_createCDict_byReference(dictionary->data, dictionary->size, LEVEL_SMALL);
        if (slot->compress == NULL)
            return VQZ_ERROR_MEMORY;
    }
    *digested = slot->compress;
    return VQZ_OK;
}

/* Appends coder->symbols as a stream. */
static vqz_status stream_write(vqzi_stream_coder *coder, vqzi_buffer *buffer,
                               const stream_shape *shape) {
    uint32_t bits = symbol_bits(shape->alphabet);
    const uint8_t *sources[2] = {coder->symbols, coder->residuals};
    uint32_t filters = shape->ordered ? 2 : 1;
    if (filters == 2)
        filter(coder->residuals, coder->symbols, shape);
    for (uint32_t f = 0; f < filters; f++)
        if (is_constant(sources[f], shape->count)) {
            vqzi_buffer_varint(buffer, (uint64_t)sources[f][0] << ARGUMENT_SHIFT | f * FILTER_MED |
                                           METHOD_CONSTANT);
            return vqzi_buffer_status(buffer);
        }
    size_t best_size = packed_size(shape->count, bits); /* without the stream's varint */
    size_t best_total = 1 + best_size;
    uint64_t best_header = METHOD_PACKED;
    const ZSTD_CDict *dictionary = NULL;
    if (shape->count <= SMALL)
        VQZ_TRY(compression_dictionary(coder, shape->stream, &dictionary));
    for (uint32_t attempt = 0; attempt < 2 * filters; attempt++) {
        uint32_t f = attempt / 2, method = attempt % 2 == 0 ? METHOD_ZSTD : METHOD_DICTIONARY;
        size_t used;
        if (method == METHOD_DICTIONARY && dictionary == NULL)
            continue;
        VQZ_TRY(compress(coder, sources[f], shape->count,
                         method == METHOD_DICTIONARY ? dictionary : NULL, &used));
        if (used == 0)
            continue;
        size_t size = used - VQZI_FRAME_HEADER;
        uint64_t header = (uint64_t)size << ARGUMENT_SHIFT | f * FILTER_MED | method;
        if (size + varint_size(header) >= best_total)
            continue;
        best_total = size + varint_size(header);
        best_size = size;
        best_header = header;
        uint8_t *swap = coder->best;
        coder->best = coder->trial;
        coder->trial = swap;
    }
    vqzi_buffer_varint(buffer, best_header);
    if (best_header == METHOD_PACKED) {
        pack(coder->trial, coder->symbols, shape->count, bits);
        vqzi_buffer_append(buffer, coder->trial, best_size);
    } else {
        vqzi_buffer_append(buffer, coder->best + VQZI_FRAME_HEADER, best_size);
    }
    return vqzi_buffer_status(buffer);
}

static vqz_status tile_shape(vqzi_stream_coder *coder, stream_shape *shape, uint32_t rows,
                             uint32_t columns) {
    *shape = (stream_shape){.rows = rows, .columns = columns};
    if (rows == 0 || columns == 0 || !vqzi_mul(rows, columns, &shape->count) ||
        shape->count > SIZE_MAX / 4)
        return VQZ_ERROR_ARGUMENT;
    return reserve(coder, shape->count);
}

/* Sets what differs between the streams of a tile: `high` is the stream of a plane's high bytes. */
static void set_stream(stream_shape *shape, const vqzi_plane *plane, bool high) {
    uint32_t codes = plane->codes;
    shape->alphabet = high ? ((codes - 1) >> 8) + 1 : VQZI_MIN(codes, 256u);
    shape->ordered = plane->ordered != 0;
}

vqz_status vqzi_tile_write(vqzi_stream_coder *coder, vqzi_buffer *buffer,
                           const uint16_t *const *indices, uint32_t rows, uint32_t columns,
                           size_t pitch) {
    const vqzi_model *model = coder->model;
    stream_shape shape;
    VQZ_TRY(tile_shape(coder, &shape, rows, columns));
    for (uint32_t p = 0; p < model->plane_count; p++) {
        const vqzi_plane *plane = &model->planes[p];
        for (uint32_t part = 0; part < vqzi_plane_streams(plane); part++, shape.stream++) {
            set_stream(&shape, plane, part == 1);
            uint8_t *symbol = coder->symbols;
            for (uint32_t y = 0; y < rows; y++)
                for (uint32_t x = 0; x < columns; x++) {
                    uint32_t index = indices[p][y * pitch + x];
                    if (index >= plane->codes)
                        return VQZ_ERROR_ARGUMENT;
                    *symbol++ = (uint8_t)(index >> (8 * part));
                }
            VQZ_TRY(stream_write(coder, buffer, &shape));
        }
    }
    return VQZ_OK;
}

/* ---- reading ---- */

static vqz_status unpack(uint8_t *symbols, const uint8_t *bytes, size_t count, uint32_t bits) {
    uint32_t pending = 0, pending_bits = 0, mask = (1u << bits) - 1;
    for (size_t i = 0; i < count; i++) {
        if (pending_bits < bits) {
            pending |= (uint32_t)*bytes++ << pending_bits;
            pending_bits += 8;
        }
        symbols[i] = (uint8_t)(pending & mask);
        pending >>= bits;
        pending_bits -= bits;
    }
    return pending == 0 ? VQZ_OK : VQZ_ERROR_CORRUPT; /* the padding */
}

static vqz_status decompression_dictionary(vqzi_stream_coder *coder, uint32_t stream,
                                           const ZSTD_DDict **digested) {
    const vqzi_dictionary *dictionary = model_dictionary(coder, stream);
    stream_dictionary *slot = &coder->dictionaries[stream];
    if (dictionary == NULL)
        return VQZ_ERROR_CORRUPT;
    if (slot->decompress == NULL) {
        slot->decompress = ZSTD_createDDict_byReference(dictionary->data, dictionary->size);
        if (slot->decompress == NULL)
            return VQZ_ERROR_MEMORY; /* the model check has digested it before */
    }
    *digested = slot->decompress;
    return VQZ_OK;
}

static vqz_status decompress(vqzi_stream_coder *coder, const uint8_t *bytes, size_t size,
                             size_t count, const ZSTD_DDict *dictionary) {
    uint64_t bound;
    if (coder->decompressor == NULL)
        coder->decompressor = vqzi_frame_decompressor();
    if (coder->decompressor == NULL)
        return VQZ_ERROR_MEMORY;
    coder->trial[0] = 0;
    coder->trial[1] = WINDOW_BYTE;
    memcpy(coder->trial + VQZI_FRAME_HEADER, bytes, size);
    size += VQZI_FRAME_HEADER;
    if (vqzi_frame_check(coder->trial, size, WINDOW_LOG, &bound) != VQZ_OK)
        return VQZ_ERROR_CORRUPT;
    if (ZSTD_isError(ZSTD_DCtx_refDDict(coder->decompressor, dictionary)))
        return VQZ_ERROR_MEMORY;
    size_t used =
        ZSTD_decompressDCtx(coder->decompressor, coder->symbols, count, coder->trial, size);
    return used == count ? VQZ_OK : VQZ_ERROR_CORRUPT;
}

/* Reads a stream into coder->symbols. */
static vqz_status stream_read(vqzi_stream_coder *coder, vqzi_reader *reader,
                              const stream_shape *shape) {
    uint64_t header;
    const uint8_t *bytes;
    const ZSTD_DDict *dictionary = NULL;
    VQZ_TRY(vqzi_read_varint(reader, UINT64_MAX, &header));
    uint64_t argument = header >> ARGUMENT_SHIFT;
    uint32_t method = header & 3, bits = symbol_bits(shape->alphabet);
    size_t most = packed_size(shape->count, bits);
    if (method == METHOD_CONSTANT) {
        if (argument >= shape->alphabet)
            return VQZ_ERROR_CORRUPT;
        memset(coder->symbols, (int)argument, shape->count);
    } else if (method == METHOD_PACKED) {
        if (argument != 0)
            return VQZ_ERROR_CORRUPT;
        VQZ_TRY(vqzi_read_bytes(reader, most, &bytes));
        VQZ_TRY(unpack(coder->symbols, bytes, shape->count, bits));
    } else {
        if (argument > most)
            return VQZ_ERROR_CORRUPT; /* no writer does; bounds the copy below */
        if (method == METHOD_DICTIONARY)
            VQZ_TRY(decompression_dictionary(coder, shape->stream, &dictionary));
        VQZ_TRY(vqzi_read_bytes(reader, (size_t)argument, &bytes));
        VQZ_TRY(decompress(coder, bytes, (size_t)argument, shape->count, dictionary));
    }
    if (shape->alphabet < 256)
        for (size_t i = 0; i < shape->count; i++)
            if (coder->symbols[i] >= shape->alphabet)
                return VQZ_ERROR_CORRUPT;
    if ((header & FILTER_MED) != 0)
        unfilter(coder->symbols, shape);
    return VQZ_OK;
}

vqz_status vqzi_tile_read(vqzi_stream_coder *coder, vqzi_reader *reader, uint16_t *const *indices,
                          uint32_t rows, uint32_t columns, size_t pitch) {
    const vqzi_model *model = coder->model;
    stream_shape shape;
    VQZ_TRY(tile_shape(coder, &shape, rows, columns));
    for (uint32_t p = 0; p < model->plane_count; p++) {
        const vqzi_plane *plane = &model->planes[p];
        for (uint32_t part = 0; part < vqzi_plane_streams(plane); part++, shape.stream++) {
            set_stream(&shape, plane, part == 1);
            VQZ_TRY(stream_read(coder, reader, &shape));
            const uint8_t *symbol = coder->symbols;
            for (uint32_t y = 0; y < rows; y++) {
                uint16_t *row = indices[p] + y * pitch;
                for (uint32_t x = 0; x < columns; x++, symbol++) {
                    uint32_t index = part == 0 ? *symbol : row[x] | (uint32_t)*symbol << 8;
                    /* the low byte alone may exceed nothing: K > 256 when there is a second part */
                    if (index >= plane->codes)
                        return VQZ_ERROR_CORRUPT;
                    row[x] = (uint16_t)index;
                }
            }
        }
    }
    return VQZ_OK;
}
