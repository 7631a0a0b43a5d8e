/*
 * streams.c - the index planes of a tile as byte streams: prediction, packing, zstd
 * (spec/vqz-format.md, "Streams").
 *
 * Streams know nothing of each other, so that the threads of a team write them side by side; they
 * are joined in order when all are there.  Reading takes a hundredth of the time, less than it may
 * cost to wake a thread on a busy machine, and is not shared.
 *
 * The writer tries every method that could win and keeps the smallest; what it writes depends on
 * the symbols, the model and the zstd that is linked, never on the machine.  The reader accepts any
 * bytes: a stream cannot make it write past the tile, and a zstd stream is never longer than the
 * packed one.
 */
#include "format/container.h"
#include "format/dictionary.h"
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
    LEVEL_LARGE = 12,
    LEVEL_QUICK = 1,
    WRITE_WORK = 1 << 15 /* of a symbol, as team.h counts it */
};

/* What one thread works with. */
typedef struct stream_worker {
    ZSTD_CCtx *compressor; /* made on first use */
    ZSTD_DCtx *decompressor;
    size_t capacity;              /* symbols that the arrays below can hold */
    uint8_t *symbols, *residuals; /* (capacity) */
    uint8_t *best, *trial;        /* (frame_capacity): a stream's bytes */
    size_t frame_capacity;        /* room for any frame of `capacity` symbols */
} stream_worker;

/* A stream of one tile: its plane, and the shape of its symbols. */
typedef struct stream_shape {
    uint32_t plane, alphabet, rows, columns;
    size_t count;       /* rows * columns */
    bool ordered, high; /* high: the second stream of its plane, of the high bytes */
} stream_shape;

typedef struct tile_stream {
    stream_shape shape;
    vqzi_dictionary *dictionary; /* of the model, or NULL */
    vqz_status status;
    vqzi_buffer output;   /* writing: the stream */
    uint64_t header;      /* reading: */
    const uint8_t *bytes; /* what follows the header, or NULL when nothing does */
} tile_stream;

struct vqzi_stream_coder {
    const vqzi_model *model;
    bool quick;
    const vqzi_team *team;
    stream_worker *workers; /* (team->threads) */
    tile_stream *streams;   /* (stream_count) */
};

static const vqzi_team alone = {.threads = 1};

vqz_status vqzi_stream_coder_create(vqzi_stream_coder **coder, const vqzi_model *model,
                                    uint32_t level, const vqzi_team *team) {
    if (level >= model->levels)
        return VQZ_ERROR_ARGUMENT;
    vqzi_stream_coder *result = calloc(1, sizeof *result);
    if (result == NULL)
        return VQZ_ERROR_MEMORY;
    result->model = model;
    result->team = team != NULL ? team : &alone;
    result->workers = calloc((size_t)result->team->threads, sizeof *result->workers);
    result->streams = calloc(model->stream_count, sizeof *result->streams);
    if (result->workers == NULL || result->streams == NULL) {
        vqzi_stream_coder_free(result);
        return VQZ_ERROR_MEMORY;
    }
    tile_stream *stream = result->streams;
    for (uint32_t p = 0; p < model->plane_count; p++) {
        uint32_t codes = model->planes[p].codes;
        for (uint32_t part = 0; part < vqzi_plane_streams(&model->planes[p]); part++, stream++) {
            size_t index = (size_t)(stream - result->streams);
            stream->shape.plane = p;
            stream->shape.high = part == 1;
            stream->shape.alphabet = part == 1 ? ((codes - 1) >> 8) + 1 : VQZI_MIN(codes, 256u);
            stream->shape.ordered = model->planes[p].ordered != 0;
            if (model->dictionaries == NULL)
                continue;
            stream->dictionary = &model->dictionaries[level * model->stream_count + index];
            if (stream->dictionary->size == 0)
                stream->dictionary = NULL;
        }
    }
    *coder = result;
    return VQZ_OK;
}

static void free_arrays(stream_worker *worker) {
    free(worker->symbols);
    free(worker->residuals);
    free(worker->best);
    free(worker->trial);
    worker->symbols = worker->residuals = worker->best = worker->trial = NULL;
    worker->capacity = 0;
}

void vqzi_stream_coder_free(vqzi_stream_coder *coder) {
    if (coder == NULL)
        return;
    for (int i = 0; coder->workers != NULL && i < coder->team->threads; i++) {
        free_arrays(&coder->workers[i]);
        ZSTD_freeCCtx(coder->workers[i].compressor);
        ZSTD_freeDCtx(coder->workers[i].decompressor);
    }
    for (uint32_t i = 0; coder->streams != NULL && i < coder->model->stream_count; i++)
        vqzi_buffer_clear(&coder->streams[i].output);
    free(coder->workers);
    free(coder->streams);
    free(coder);
}

static vqz_status reserve(stream_worker *worker, size_t count) {
    if (count <= worker->capacity)
        return VQZ_OK;
    free_arrays(worker);
    worker->symbols = malloc(count);
    worker->residuals = malloc(count);
    worker->frame_capacity = ZSTD_compressBound(count) + VQZI_FRAME_HEADER;
    worker->best = malloc(worker->frame_capacity);
    worker->trial = malloc(worker->frame_capacity);
    if (worker->symbols == NULL || worker->residuals == NULL || worker->best == NULL ||
        worker->trial == NULL) {
        free_arrays(worker);
        return VQZ_ERROR_MEMORY;
    }
    worker->capacity = count;
    return VQZ_OK;
}

void vqzi_stream_coder_quick(vqzi_stream_coder *coder, bool quick) {
    coder->quick = quick;
}

/* Streams of some planes. */
typedef struct stream_range {
    uint32_t begin, end;
} stream_range;

/* Gives these streams the size of a tile. */
static vqz_status begin_tile(vqzi_stream_coder *coder, stream_range range, uint32_t rows,
                             uint32_t columns) {
    size_t count;
    if (rows == 0 || columns == 0 || !vqzi_mul(rows, columns, &count) || count > SIZE_MAX / 4)
        return VQZ_ERROR_ARGUMENT;
    for (uint32_t i = range.begin; i < range.end; i++) {
        tile_stream *stream = &coder->streams[i];
        stream->shape.rows = rows;
        stream->shape.columns = columns;
        stream->shape.count = count;
        stream->status = VQZ_OK;
    }
    return VQZ_OK;
}

static stream_range find_streams(const vqzi_stream_coder *coder, uint32_t first_plane,
                                 uint32_t planes) {
    stream_range range = {0, 0};
    for (uint32_t i = 0; i < coder->model->stream_count; i++) {
        range.begin += coder->streams[i].shape.plane < first_plane;
        range.end += coder->streams[i].shape.plane < first_plane + planes;
    }
    return range;
}

/* The status of the first stream that failed. */
static vqz_status tile_status(const vqzi_stream_coder *coder, stream_range range) {
    for (uint32_t i = range.begin; i < range.end; i++)
        VQZ_TRY(coder->streams[i].status);
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

/* Compresses into worker->trial, frame header included.  *size is 0 when the frame has no place in
   a .vqz file.  (Offering zstd less room would not end a losing attempt earlier, but make it give
   up on tiny blocks that fit: its entropy coders want some bytes to spare.) */
static vqz_status compress(stream_worker *worker, const uint8_t *symbols, size_t count, int level,
                           const ZSTD_CDict *dictionary, size_t *size) {
    *size = 0;
    if (worker->compressor == NULL)
        worker->compressor = vqzi_frame_compressor(level, WINDOW_LOG);
    ZSTD_CCtx *zstd = worker->compressor;
    if (zstd == NULL)
        return VQZ_ERROR_MEMORY;
    if (ZSTD_isError(ZSTD_CCtx_setParameter(zstd, ZSTD_c_compressionLevel, level)) ||
        ZSTD_isError(ZSTD_CCtx_refCDict(zstd, dictionary)))
        return VQZ_ERROR_MEMORY;
    size_t used = ZSTD_compress2(zstd, worker->trial, worker->frame_capacity, symbols, count);
    if (ZSTD_isError(used))
        return VQZ_ERROR_MEMORY; /* with room for any frame, nothing else can fail */
    /* zstd narrows the window to the input; the reader's fixed, wider one serves as well */
    if (used < VQZI_FRAME_HEADER || worker->trial[0] != 0 || worker->trial[1] > WINDOW_BYTE)
        return VQZ_OK;
    *size = used;
    return VQZ_OK;
}

/* Puts worker->symbols into stream->output. */
static vqz_status stream_write(stream_worker *worker, tile_stream *stream, bool quick) {
    const stream_shape *shape = &stream->shape;
    vqzi_buffer *output = &stream->output;
    uint32_t bits = symbol_bits(shape->alphabet);
    const uint8_t *sources[2] = {worker->symbols, worker->residuals};
    uint32_t filters = shape->ordered ? 2 : 1;
    if (filters == 2)
        filter(worker->residuals, worker->symbols, shape);
    for (uint32_t f = 0; f < filters; f++)
        if (is_constant(sources[f], shape->count)) {
            vqzi_buffer_varint(output, (uint64_t)sources[f][0] << ARGUMENT_SHIFT | f * FILTER_MED |
                                           METHOD_CONSTANT);
            return vqzi_buffer_status(output);
        }
    size_t best_size = packed_size(shape->count, bits); /* without the stream's varint */
    size_t best_total = 1 + best_size;
    uint64_t best_header = METHOD_PACKED;
    const ZSTD_CDict *dictionary = NULL;
    int level = shape->count <= SMALL ? VQZI_STREAM_LEVEL : LEVEL_LARGE;
    if (quick)
        level = LEVEL_QUICK;
    else if (shape->count <= SMALL && stream->dictionary != NULL)
        VQZ_TRY(vqzi_dictionary_compressor(stream->dictionary, &dictionary));
    for (uint32_t attempt = 0; attempt < 2 * filters; attempt++) {
        uint32_t f = attempt / 2, method = attempt % 2 == 0 ? METHOD_ZSTD : METHOD_DICTIONARY;
        size_t used;
        if (method == METHOD_DICTIONARY && dictionary == NULL)
            continue;
        VQZ_TRY(compress(worker, sources[f], shape->count, level,
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
        uint8_t *swap = worker->best;
        worker->best = worker->trial;
        worker->trial = swap;
    }
    vqzi_buffer_varint(output, best_header);
    if (best_header == METHOD_PACKED) {
        pack(worker->trial, worker->symbols, shape->count, bits);
        vqzi_buffer_append(output, worker->trial, best_size);
    } else {
        vqzi_buffer_append(output, worker->best + VQZI_FRAME_HEADER, best_size);
    }
    return vqzi_buffer_status(output);
}

typedef struct write_job {
    const vqzi_stream_coder *coder;
    const uint16_t *const *indices;
    size_t pitch;
} write_job;

static vqz_status write_one(const write_job *job, stream_worker *worker, tile_stream *stream) {
    const stream_shape *shape = &stream->shape;
    uint32_t codes = job->coder->model->planes[shape->plane].codes;
    VQZ_TRY(reserve(worker, shape->count));
    uint8_t *symbol = worker->symbols;
    for (uint32_t y = 0; y < shape->rows; y++) {
        const uint16_t *row = job->indices[shape->plane] + y * job->pitch;
        for (uint32_t x = 0; x < shape->columns; x++) {
            if (row[x] >= codes)
                return VQZ_ERROR_ARGUMENT;
            *symbol++ = (uint8_t)(shape->high ? row[x] >> 8 : row[x]);
        }
    }
    return stream_write(worker, stream, job->coder->quick);
}

static void write_row(const void *argument, int thread, int64_t row) {
    const write_job *job = argument;
    tile_stream *stream = &job->coder->streams[row];
    stream->output.size = 0;
    stream->output.failed = false;
    stream->status = write_one(job, &job->coder->workers[thread - job->coder->team->first], stream);
}

vqz_status vqzi_planes_write(vqzi_stream_coder *coder, vqzi_buffer *buffer, uint32_t first_plane,
                             uint32_t planes, const uint16_t *const *indices, uint32_t rows,
                             uint32_t columns, size_t pitch) {
    stream_range range = find_streams(coder, first_plane, planes);
    VQZ_TRY(begin_tile(coder, range, rows, columns));
    write_job job = {coder, indices, pitch};
    uint64_t symbols = vqzi_mul_sizes((uint64_t)rows * columns, range.end - range.begin);
    vqzi_team_run(coder->team, vqzi_mul_sizes(symbols, WRITE_WORK), range.begin, range.end,
                  write_row, &job);
    VQZ_TRY(tile_status(coder, range));
    for (uint32_t i = range.begin; i < range.end; i++)
        vqzi_buffer_append(buffer, coder->streams[i].output.data, coder->streams[i].output.size);
    return vqzi_buffer_status(buffer);
}

vqz_status vqzi_tile_write(vqzi_stream_coder *coder, vqzi_buffer *buffer,
                           const uint16_t *const *indices, uint32_t rows, uint32_t columns,
                           size_t pitch) {
    return vqzi_planes_write(coder, buffer, 0, coder->model->plane_count, indices, rows, columns,
                             pitch);
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

static vqz_status decompress(stream_worker *worker, const uint8_t *bytes, size_t size, size_t count,
                             const ZSTD_DDict *dictionary) {
    uint64_t bound;
    if (worker->decompressor == NULL)
        worker->decompressor = vqzi_frame_decompressor();
    if (worker->decompressor == NULL)
        return VQZ_ERROR_MEMORY;
    worker->trial[0] = 0;
    worker->trial[1] = WINDOW_BYTE;
    memcpy(worker->trial + VQZI_FRAME_HEADER, bytes, size);
    size += VQZI_FRAME_HEADER;
    if (vqzi_frame_check(worker->trial, size, WINDOW_LOG, &bound) != VQZ_OK)
        return VQZ_ERROR_CORRUPT;
    if (ZSTD_isError(ZSTD_DCtx_refDDict(worker->decompressor, dictionary)))
        return VQZ_ERROR_MEMORY;
    size_t used =
        ZSTD_decompressDCtx(worker->decompressor, worker->symbols, count, worker->trial, size);
    return used == count ? VQZ_OK : VQZ_ERROR_CORRUPT;
}

/* Reads a stream's header and passes over its bytes. */
static vqz_status stream_locate(vqzi_reader *reader, tile_stream *stream) {
    VQZ_TRY(vqzi_read_varint(reader, UINT64_MAX, &stream->header));
    const stream_shape *shape = &stream->shape;
    uint64_t argument = stream->header >> ARGUMENT_SHIFT;
    uint32_t method = stream->header & 3;
    size_t most = packed_size(shape->count, symbol_bits(shape->alphabet));
    stream->bytes = NULL;
    if (method == METHOD_CONSTANT)
        return argument < shape->alphabet ? VQZ_OK : VQZ_ERROR_CORRUPT;
    if (method == METHOD_PACKED)
        return argument == 0 ? vqzi_read_bytes(reader, most, &stream->bytes) : VQZ_ERROR_CORRUPT;
    if (argument > most) /* no writer does; bounds the copy in decompress */
        return VQZ_ERROR_CORRUPT;
    if (method == METHOD_DICTIONARY && stream->dictionary == NULL)
        return VQZ_ERROR_CORRUPT;
    return vqzi_read_bytes(reader, (size_t)argument, &stream->bytes);
}

/* Decodes a located stream into worker->symbols. */
static vqz_status stream_read(stream_worker *worker, const tile_stream *stream) {
    const stream_shape *shape = &stream->shape;
    size_t argument = (size_t)(stream->header >> ARGUMENT_SHIFT);
    uint32_t method = stream->header & 3;
    const ZSTD_DDict *dictionary = NULL;
    if (method == METHOD_CONSTANT) {
        memset(worker->symbols, (int)argument, shape->count);
    } else if (method == METHOD_PACKED) {
        VQZ_TRY(unpack(worker->symbols, stream->bytes, shape->count, symbol_bits(shape->alphabet)));
    } else {
        if (method == METHOD_DICTIONARY)
            VQZ_TRY(vqzi_dictionary_decompressor(stream->dictionary, &dictionary));
        VQZ_TRY(decompress(worker, stream->bytes, argument, shape->count, dictionary));
    }
    if (shape->alphabet < 256)
        for (size_t i = 0; i < shape->count; i++)
            if (worker->symbols[i] >= shape->alphabet)
                return VQZ_ERROR_CORRUPT;
    if ((stream->header & FILTER_MED) != 0)
        unfilter(worker->symbols, shape);
    return VQZ_OK;
}

/* A stream of high bytes completes the indices that its plane's low bytes have begun. */
static vqz_status read_one(stream_worker *worker, const tile_stream *stream, uint32_t codes,
                           uint16_t *indices, size_t pitch) {
    const stream_shape *shape = &stream->shape;
    VQZ_TRY(reserve(worker, shape->count));
    VQZ_TRY(stream_read(worker, stream));
    const uint8_t *symbol = worker->symbols;
    for (uint32_t y = 0; y < shape->rows; y++) {
        uint16_t *row = indices + y * pitch;
        for (uint32_t x = 0; x < shape->columns; x++, symbol++) {
            uint32_t index = shape->high ? row[x] | (uint32_t)*symbol << 8 : *symbol;
            /* the low byte alone may exceed nothing: K > 256 when there is a second part */
            if (index >= codes)
                return VQZ_ERROR_CORRUPT;
            row[x] = (uint16_t)index;
        }
    }
    return VQZ_OK;
}

vqz_status vqzi_planes_read(vqzi_stream_coder *coder, vqzi_reader *reader, uint32_t first_plane,
                            uint32_t planes, uint16_t *const *indices, uint32_t rows,
                            uint32_t columns, size_t pitch) {
    stream_range range = find_streams(coder, first_plane, planes);
    VQZ_TRY(begin_tile(coder, range, rows, columns));
    for (uint32_t i = range.begin; i < range.end; i++) {
        tile_stream *stream = &coder->streams[i];
        uint32_t plane = stream->shape.plane;
        VQZ_TRY(stream_locate(reader, stream));
        VQZ_TRY(read_one(&coder->workers[0], stream, coder->model->planes[plane].codes,
                         indices[plane], pitch));
    }
    return VQZ_OK;
}

vqz_status vqzi_tile_read(vqzi_stream_coder *coder, vqzi_reader *reader, uint16_t *const *indices,
                          uint32_t rows, uint32_t columns, size_t pitch) {
    return vqzi_planes_read(coder, reader, 0, coder->model->plane_count, indices, rows, columns,
                            pitch);
}
