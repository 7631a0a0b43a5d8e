/*
 * file_maker.c - see file_maker.h.  Out-of-memory ends the test program.
 */
#include "tests/support/file_maker.h"
#include "format/frame.h"
#include "format/model_parts.h"
#include "format/predict.h"
#include "format/tiles.h"
#include "tests/support/naive_codec.h"
#include "tests/support/random_prior.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FLAG_GRAY = 16, FLAG_ALPHA = 32, FLAG_CHUNKS = 64, FLAG_SCANS = 128, QUALITY_RANS = 128 };
enum { PACKED = 0, ZSTD = 1, DICTIONARY = 2, CONSTANT = 3, METHODS = 4 };

static uint32_t draw(test_random *random, uint32_t low, uint32_t high) {
    return (uint32_t)test_random_range(random, (int32_t)low, (int32_t)high);
}

static bool one_in(test_random *random, uint32_t n) {
    return draw(random, 1, n) == 1;
}

/* ---- options ---- */

void file_options_init(file_options *options, const vqzi_model *model, uint64_t seed) {
    *options = (file_options){.seed = seed,
                              .width = 20,
                              .height = 13,
                              .quality = 50,
                              .gray = model->channels == 1,
                              .method = MADE_ANY,
                              .filter = MADE_ANY};
}

void file_options_draw(file_options *options, const vqzi_model *model, uint64_t seed,
                       uint32_t most) {
    test_random random = {seed ^ 0xf11e};
    file_options_init(options, model, seed);
    options->width = draw(&random, 1, most);
    options->height = draw(&random, 1, most);
    if (one_in(&random, 8)) { /* more than one tile */
        bool prior = model->prior.stage_count > 0, tall = test_coin(&random);
        uint32_t large = tall && prior ? 512 : prior ? 384 : 1024;
        *(tall ? &options->height : &options->width) = draw(&random, large + 1, large + 60);
        *(tall ? &options->width : &options->height) = draw(&random, 1, 3);
    }
    options->quality = draw(&random, 1, 100);
    options->gray = model->channels == 1 || one_in(&random, 4);
    options->alpha = one_in(&random, 3);
    if (model->prior.stage_count > 0) {
        options->rans = !one_in(&random, 3);
        options->scans = test_coin(&random);
    }
    options->codes = (made_codes)draw(&random, 0, MADE_STYLES - 1);
    options->chunks = one_in(&random, 4);
    options->icc = one_in(&random, 5) ? draw(&random, 1, 3000) : 0;
    options->exif = one_in(&random, 5) ? draw(&random, 1, 3000) : 0;
    options->unknown = one_in(&random, 5) ? (int)draw(&random, 1, 3) : 0;
}

/* ---- streams ---- */

static uint32_t bits_for(uint32_t alphabet) {
    uint32_t bits = 0;
    while (1u << bits < alphabet)
        bits++;
    return bits;
}

/* A frame behind its two header bytes; blocks of any kind, now and then several.  Its size is 0
   when it has no place in a file. */
static void compress(vqzi_buffer *frame, test_random *random, const uint8_t *symbols, size_t count,
                     const vqzi_dictionary *dictionary) {
    static const int levels[4] = {-5, 1, 7, 19};
    ZSTD_CCtx *zstd = vqzi_frame_compressor(levels[draw(random, 0, 3)], 17);
    uint8_t *out = test_allocate(2 * ZSTD_compressBound(count) + 64, 1);
    size_t taken = 0, made = 0, left;
    if (dictionary != NULL &&
        ZSTD_isError(ZSTD_CCtx_loadDictionary(zstd, dictionary->data, dictionary->size)))
        abort();
    do {
        bool last = taken == count || !one_in(random, 3);
        size_t end = last ? count : taken + draw(random, 0, (uint32_t)(count - taken));
        ZSTD_inBuffer from = {symbols, end, taken};
        ZSTD_outBuffer to = {out, 2 * ZSTD_compressBound(count) + 64, made};
        left = ZSTD_compressStream2(zstd, &to, &from, last ? ZSTD_e_end : ZSTD_e_flush);
        if (ZSTD_isError(left) || left != 0)
            abort();
        taken = from.pos;
        made = to.pos;
        left = !last;
    } while (left != 0);
    ZSTD_freeCCtx(zstd);
    if (made > VQZI_FRAME_HEADER && out[0] == 0 && out[1] <= 0x38)
        vqzi_buffer_append(frame, out + VQZI_FRAME_HEADER, made - VQZI_FRAME_HEADER);
    free(out);
}

static void put_packed(vqzi_buffer *file, const uint8_t *symbols, size_t count, uint32_t bits) {
    uint32_t pending = 0, filled = 0;
    for (size_t i = 0; i < count; i++) {
        pending |= (uint32_t)symbols[i] << filled;
        for (filled += bits; filled >= 8; filled -= 8, pending >>= 8)
            vqzi_buffer_byte(file, (uint8_t)pending);
    }
    if (filled > 0)
        vqzi_buffer_byte(file, (uint8_t)pending);
}

static bool is_constant(const uint8_t *symbols, size_t count) {
    for (size_t i = 1; i < count; i++)
        if (symbols[i] != symbols[0])
            return false;
    return true;
}

/* The symbols of a tile, (rows, columns), and how they may be written. */
typedef struct made_stream {
    uint8_t *symbols;
    uint32_t rows, columns, alphabet;
    const vqzi_dictionary *dictionary; /* NULL: none */
} made_stream;

static void filter(const made_stream *s) {
    for (size_t i = (size_t)s->rows * s->columns; i-- > 0;) {
        uint8_t *here = s->symbols + i;
        uint32_t guess =
            (uint32_t)vqzi_predict(here, i % s->columns, i / s->columns, 1, s->columns);
        *here = (uint8_t)((*here + s->alphabet - guess) % s->alphabet);
    }
}

static void put_stream(vqzi_buffer *file, test_random *random, const file_options *options,
                       const made_stream *s) {
    size_t count = (size_t)s->rows * s->columns, packed;
    uint32_t method = options->method == MADE_ANY ? draw(random, 0, 3) : (uint32_t)options->method;
    uint32_t filtered =
        options->filter == MADE_ANY ? draw(random, 0, 1) : (uint32_t)options->filter;
    uint32_t bits = bits_for(s->alphabet);
    vqzi_buffer frame = {0};
    packed = (count * bits + 7) / 8;
    if (filtered)
        filter(s);
    if (method == CONSTANT && !is_constant(s->symbols, count))
        method = ZSTD;
    if (method == DICTIONARY && s->dictionary == NULL)
        method = ZSTD;
    if (method == ZSTD || method == DICTIONARY)
        compress(&frame, random, s->symbols, count, method == ZSTD ? NULL : s->dictionary);
    if (method != CONSTANT && (frame.size == 0 || frame.size > packed))
        method = PACKED;
    uint64_t argument = method == CONSTANT ? s->symbols[0] : method == PACKED ? 0 : frame.size;
    vqzi_buffer_varint(file, argument << 3 | filtered << 2 | method);
    if (method == PACKED)
        put_packed(file, s->symbols, count, bits);
    else if (method != CONSTANT)
        vqzi_buffer_append(file, frame.data, frame.size);
    vqzi_buffer_clear(&frame);
}

/* ---- codes ---- */

static uint16_t draw_code(test_random *random, made_codes style, uint32_t codes, uint32_t x,
                          uint32_t y, uint16_t before) {
    switch (style) {
    case MADE_SMOOTH:
        return (uint16_t)((x + y + draw(random, 0, 1)) * (1 + codes / 64) % codes);
    case MADE_RUNS:
        return one_in(random, 20) ? (uint16_t)draw(random, 0, codes - 1) : before;
    case MADE_LOWEST:
        return 0;
    case MADE_HIGHEST:
        return (uint16_t)(codes - 1);
    case MADE_EXTREMES:
        return test_coin(random) ? 0 : (uint16_t)(codes - 1);
    default:
        return (uint16_t)draw(random, 0, codes - 1);
    }
}

/* (planes, rows, columns), to be released with free(). */
static uint16_t *draw_codes(const vqzi_model *model, const file_options *options,
                            test_random *random, uint32_t rows, uint32_t columns) {
    uint16_t *codes = test_allocate((size_t)model->plane_count * rows * columns, sizeof *codes);
    uint16_t *next = codes;
    for (uint32_t p = 0; p < model->plane_count; p++)
        for (uint32_t y = 0; y < rows; y++)
            for (uint32_t x = 0; x < columns; x++, next++)
                *next = draw_code(random, options->codes, model->planes[p].codes, x, y,
                                  x + y > 0 ? next[-1] : 0);
    return codes;
}

/* ---- tiles ---- */

/* A file in the making. */
typedef struct maker {
    const vqzi_model *model;
    const file_options *options;
    test_random random;
    const uint16_t *codes; /* (planes, rows, columns) */
    vqzi_tiling tiling;
} maker;

/* Planes first..end - 1 of a tile as streams. */
static void put_planes(maker *m, vqzi_buffer *file, uint32_t tile, uint32_t first, uint32_t end) {
    const vqzi_tiling *t = &m->tiling;
    uint32_t y = vqzi_tiling_row(t, tile / t->across), x = vqzi_tiling_column(t, tile % t->across);
    uint32_t rows = vqzi_tiling_row(t, tile / t->across + 1) - y;
    uint32_t columns = vqzi_tiling_column(t, tile % t->across + 1) - x, number = 0;
    uint32_t level = vqzi_model_level(m->model, (int)m->options->quality).nearest;
    uint8_t *symbols = test_allocate((size_t)rows * columns, 1);
    for (uint32_t p = 0; p < end; p++) {
        uint32_t codes = m->model->planes[p].codes,
                 parts = vqzi_plane_streams(&m->model->planes[p]);
        for (uint32_t part = 0; part < parts; part++, number++) {
            const vqzi_dictionary *dictionary =
                &m->model->dictionaries[level * m->model->stream_count + number];
            uint32_t alphabet = part == 1 ? (codes - 1) / 256 + 1 : VQZI_MIN(codes, 256u);
            if (p < first)
                continue;
            for (size_t i = 0; i < (size_t)rows * columns; i++) {
                size_t at = ((size_t)p * t->rows + y + i / columns) * t->columns + x + i % columns;
                symbols[i] = (uint8_t)(m->codes[at] >> (8 * part));
            }
            put_stream(file, &m->random, m->options,
                       &(made_stream){symbols, rows, columns, alphabet,
                                      dictionary->size > 0 ? dictionary : NULL});
        }
    }
    free(symbols);
}

/* Index and segments without rANS. */
static void put_segments(maker *m, vqzi_buffer *file) {
    const vqzi_prior *prior = &m->model->prior;
    uint32_t tiles = m->tiling.across * m->tiling.down, first = 0;
    uint32_t scans = m->options->scans ? prior->stage_count : 1;
    vqzi_buffer data = {0};
    for (uint32_t i = 0; i < scans; i++) {
        uint32_t end = m->options->scans ? first + prior->stages[i].planes : m->model->plane_count;
        for (uint32_t tile = 0; tile < tiles; tile++) {
            size_t before = data.size;
            put_planes(m, &data, tile, first, end);
            if (i + 1 < scans || tile + 1 < tiles)
                vqzi_buffer_varint(file, data.size - before);
        }
        first = end;
    }
    vqzi_buffer_append(file, data.data, data.size);
    vqzi_buffer_clear(&data);
}

/* ---- header and chunks ---- */

static bool has_alpha_chunk(const maker *m) {
    return m->options->alpha && m->model->channels < 4;
}

static bool has_chunks(const vqzi_model *model, const file_options *options) {
    return options->chunks || options->icc > 0 || options->exif > 0 || options->unknown > 0 ||
           (options->alpha && model->channels < 4);
}

void make_header(vqzi_buffer *file, const vqzi_model *model, const file_options *options) {
    unsigned flags = (options->gray ? FLAG_GRAY : 0) | (options->alpha ? FLAG_ALPHA : 0) |
                     (has_chunks(model, options) ? FLAG_CHUNKS : 0) |
                     (options->scans ? FLAG_SCANS : 0);
    vqzi_buffer_append(file, "VQZ", 3);
    vqzi_buffer_byte(file, (uint8_t)(flags | (model->prior.stage_count > 0 ? 2 : 1)));
    vqzi_buffer_append(file, model->hash, 4);
    vqzi_buffer_varint(file, options->width - 1);
    vqzi_buffer_varint(file, options->height - 1);
    vqzi_buffer_byte(file, (uint8_t)(options->quality | (options->rans ? QUALITY_RANS : 0)));
}

void make_chunk(vqzi_buffer *file, uint8_t type, const void *data, size_t size) {
    vqzi_buffer payload = {0};
    if (vqzi_pack(&payload, data, size) != VQZ_OK)
        abort();
    vqzi_buffer_byte(file, type);
    vqzi_buffer_varint(file, payload.size);
    vqzi_buffer_append(file, payload.data, payload.size);
    vqzi_buffer_clear(&payload);
}

/* Filler that compresses well. */
static void put_metadata(maker *m, vqzi_buffer *file, uint8_t type, size_t size) {
    uint8_t *data = test_allocate(size, 1);
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)(i % 7 + (one_in(&m->random, 400) ? 100 : 0));
    make_chunk(file, type, data, size);
    free(data);
}

static void put_alpha(maker *m, vqzi_buffer *file) {
    uint32_t width = m->options->width, height = m->options->height;
    uint8_t *alpha = test_allocate((size_t)width * height, 1);
    for (size_t i = 0; i < (size_t)width * height; i++)
        alpha[i] = one_in(&m->random, 3) ? (uint8_t)draw(&m->random, 0, 255)
                                         : (uint8_t)(i / width * 7 + i % width);
    filter(&(made_stream){alpha, height, width, 256, NULL});
    make_chunk(file, VQZI_CHUNK_ALPHA, alpha, (size_t)width * height);
    free(alpha);
}

/* Each in its turn, from a random one on. */
static void put_chunks(maker *m, vqzi_buffer *file) {
    uint32_t start = draw(&m->random, 0, 3);
    for (uint32_t i = start; i < start + 4; i++) {
        if (i % 4 == 0 && has_alpha_chunk(m))
            put_alpha(m, file);
        if (i % 4 == 1 && m->options->icc > 0)
            put_metadata(m, file, VQZI_CHUNK_ICC, m->options->icc);
        if (i % 4 == 2 && m->options->exif > 0)
            put_metadata(m, file, VQZI_CHUNK_EXIF, m->options->exif);
        for (int k = 0; i % 4 == 3 && k < m->options->unknown; k++) {
            vqzi_buffer_byte(file, 0xff);
            vqzi_buffer_varint(file, 5);
            vqzi_buffer_append(file, "later", 5);
        }
    }
    vqzi_buffer_byte(file, VQZI_CHUNK_END);
}

/* Puts what naive_write_file has written between header and checksum. */
static void put_rans(maker *m, vqzi_buffer *file) {
    const file_options *o = m->options;
    vqzi_buffer whole = {0};
    vqzi_header header;
    naive_write_file(m->model, (int)o->quality, o->width, o->height, m->codes, o->scans, &whole);
    if (vqzi_header_read(&header, whole.data, whole.size, NULL) != VQZ_OK)
        abort();
    vqzi_buffer_append(file, whole.data + header.tiles_offset, header.tiles_size);
    vqzi_buffer_clear(&whole);
}

void make_file(vqzi_buffer *file, const vqzi_model *model, const file_options *options) {
    maker m = {.model = model, .options = options, .random = {options->seed}};
    uint32_t rows = naive_latent_side(model, options->height);
    uint32_t columns = naive_latent_side(model, options->width);
    uint32_t version = model->prior.stage_count > 0 ? 2 : 1;
    uint16_t *codes = draw_codes(model, options, &m.random, rows, columns);
    m.codes = codes;
    m.tiling = vqzi_tiling_make(version, columns, rows, model->stride);
    make_header(file, model, options);
    if (has_chunks(model, options))
        put_chunks(&m, file);
    if (options->rans)
        put_rans(&m, file);
    else if (version == 2)
        put_segments(&m, file);
    else
        for (uint32_t tile = 0; tile < m.tiling.across * m.tiling.down; tile++)
            put_planes(&m, file, tile, 0, model->plane_count);
    vqzi_trailer_write(file);
    free(codes);
}

void mend_checksum(void *file, size_t size) {
    uint32_t crc = vqzi_crc32(0, file, size - 4);
    for (int i = 0; i < 4; i++)
        ((uint8_t *)file)[size - 4 + (size_t)i] = (uint8_t)(crc >> (8 * i));
}

/* ---- model files ---- */

void wrap_body(vqzi_buffer *file, uint8_t version, const void *body, size_t size) {
    uint8_t hash[VQZI_HASH_SIZE];
    size_t bound = ZSTD_compressBound(size);
    void *frame = test_allocate(bound, 1);
    vqzi_sha256(hash, body, size);
    vqzi_buffer_append(file, "VQM", 3);
    vqzi_buffer_byte(file, version);
    vqzi_buffer_varint(file, size);
    vqzi_buffer_append(file, hash, sizeof hash);
    vqzi_buffer_byte(file, 0); /* no card */
    vqzi_buffer_append(file, frame, ZSTD_compress(frame, bound, body, size, 19));
    free(frame);
}

void make_model_file(vqzi_buffer *file, vqzi_model *model) {
    vqzi_buffer body = {0};
    vqzi_put_body(&body, model);
    vqzi_sha256(model->hash, body.data, body.size);
    wrap_body(file, model->prior.stage_count > 0 ? 2 : 1, body.data, body.size);
    vqzi_buffer_clear(&body);
}

uint8_t *unwrap_body(const void *file, size_t file_size, size_t *size) {
    vqzi_reader in = {file, file_size, 0};
    uint64_t body_size, card_size;
    const uint8_t *skipped;
    if (vqzi_read_bytes(&in, 4, &skipped) != VQZ_OK ||
        vqzi_read_varint(&in, 1 << 26, &body_size) != VQZ_OK ||
        vqzi_read_bytes(&in, VQZI_HASH_SIZE, &skipped) != VQZ_OK ||
        vqzi_read_varint(&in, 1 << 20, &card_size) != VQZ_OK ||
        vqzi_read_bytes(&in, card_size, &skipped) != VQZ_OK)
        abort();
    uint8_t *body = test_allocate(body_size, 1);
    *size = ZSTD_decompress(body, body_size, in.data + in.position, in.size - in.position);
    if (*size != body_size)
        abort();
    return body;
}
