/*
 * test_streams.c - index planes as byte streams: every method and filter, edge sizes, hostile
 * bytes, dictionaries.
 */
#include "format/container.h"
#include "tests/support/random_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PACKED = 0, ZSTD = 1, DICTIONARY = 2, CONSTANT = 3, MED = 4 };

static uint64_t base_seed(void) {
    const char *text = getenv("SEED");
    return text != NULL ? strtoull(text, NULL, 0) : 1;
}

/* A model of one plane, as far as streams care: K codes, one dimension. */
typedef struct plane_model {
    vqzi_model model;
    vqzi_plane plane;
    vqzi_dictionary dictionaries[2];
} plane_model;

static void plane_model_init(plane_model *m, uint32_t codes, bool ordered) {
    memset(m, 0, sizeof *m);
    m->plane = (vqzi_plane){.codes = (uint16_t)codes, .dims = 1, .ordered = ordered};
    m->model = (vqzi_model){.levels = 1,
                            .plane_count = 1,
                            .planes = &m->plane,
                            .stream_count = codes > 256 ? 2 : 1,
                            .dictionaries = m->dictionaries};
}

static void write_tile(const plane_model *m, const uint16_t *indices, uint32_t rows,
                       uint32_t columns, vqzi_buffer *out) {
    vqzi_stream_coder *coder;
    assert_int_equal(vqzi_stream_coder_create(&coder, &m->model, 0, NULL), VQZ_OK);
    assert_int_equal(vqzi_tile_write(coder, out, &indices, rows, columns, columns), VQZ_OK);
    vqzi_stream_coder_free(coder);
}

static vqz_status read_tile(const plane_model *m, const uint8_t *bytes, size_t size,
                            uint16_t *indices, uint32_t rows, uint32_t columns, size_t *used) {
    vqzi_stream_coder *coder;
    vqzi_reader reader = {bytes, size, 0};
    assert_int_equal(vqzi_stream_coder_create(&coder, &m->model, 0, NULL), VQZ_OK);
    vqz_status status = vqzi_tile_read(coder, &reader, &indices, rows, columns, columns);
    vqzi_stream_coder_free(coder);
    *used = reader.position;
    return status;
}

/* Writes, reads back, compares; gives the first stream's filter and method. */
static uint32_t round_trip(const plane_model *m, const uint16_t *indices, uint32_t rows,
                           uint32_t columns) {
    vqzi_buffer out = {0};
    size_t used, count = (size_t)rows * columns;
    uint16_t *back = malloc(count * sizeof *back);
    assert_non_null(back);
    write_tile(m, indices, rows, columns, &out);
    assert_int_equal(read_tile(m, out.data, out.size, back, rows, columns, &used), VQZ_OK);
    assert_int_equal(used, out.size);
    assert_memory_equal(indices, back, count * sizeof *back);
    uint32_t kind = out.data[0] & 7;
    free(back);
    vqzi_buffer_clear(&out);
    return kind;
}

enum { SIDE = 64 };

static void test_methods(void **state) {
    (void)state;
    uint16_t indices[SIDE * SIDE];
    test_random random = {base_seed()};
    plane_model m;
    plane_model_init(&m, 200, true);
    for (int i = 0; i < SIDE * SIDE; i++)
        indices[i] = 7;
    assert_int_equal(round_trip(&m, indices, SIDE, SIDE), CONSTANT);
    /* a ramp from zero on has one residual */
    for (int x = 0; x < SIDE; x++)
        indices[x] = (uint16_t)(3 * (x + 1));
    assert_int_equal(round_trip(&m, indices, 1, SIDE), CONSTANT | MED);
    for (int i = 0; i < SIDE * SIDE; i++)
        indices[i] = (uint16_t)test_random_range(&random, 0, 199);
    assert_int_equal(round_trip(&m, indices, SIDE, SIDE), PACKED);
    /* few symbols in use, no order among neighbours */
    for (int i = 0; i < SIDE * SIDE; i++)
        indices[i] = (uint16_t)(test_random_range(&random, 0, 9) == 0 ? 150 : 3);
    assert_int_equal(round_trip(&m, indices, SIDE, SIDE), ZSTD);
    /* a smooth surface with a little noise: residuals are few */
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++)
            indices[y * SIDE + x] = (uint16_t)(20 + x + y + test_random_range(&random, 0, 1));
    assert_int_equal(round_trip(&m, indices, SIDE, SIDE), ZSTD | MED);
    m.plane.ordered = false; /* where codes have no order, prediction is not even tried */
    assert_int_equal(round_trip(&m, indices, SIDE, SIDE) & MED, 0);
}

static void test_sizes(void **state) {
    (void)state;
    static const uint32_t sides[] = {1, 2, 3, 7, 8, 9, 128},
                          codes[] = {2, 3, 4, 5, 16, 17, 255, 256, 257, 300, 512, 4096};
    test_random random = {base_seed()};
    uint16_t *indices = malloc(128 * 128 * sizeof *indices);
    assert_non_null(indices);
    for (size_t c = 0; c < sizeof codes / sizeof *codes; c++)
        for (size_t a = 0; a < sizeof sides / sizeof *sides; a++)
            for (size_t b = a; b < sizeof sides / sizeof *sides; b++) {
                plane_model m;
                uint32_t rows = sides[c % 2 ? a : b], columns = sides[c % 2 ? b : a];
                plane_model_init(&m, codes[c], test_random_range(&random, 0, 1) == 1);
                int32_t most = (int32_t)codes[c] - 1;
                if (test_random_range(&random, 0, 1) == 1)
                    most = VQZI_MIN(most, 5);
                for (uint32_t i = 0; i < rows * columns; i++)
                    indices[i] =
                        (uint16_t)((int32_t)codes[c] - 1 - test_random_range(&random, 0, most));
                round_trip(&m, indices, rows, columns);
            }
    free(indices);
}

/* More symbols than the window holds, and than the slow level is used for. */
static void test_large_tile(void **state) {
    (void)state;
    enum { ROWS = 512, COLUMNS = 512 };
    uint16_t *indices = malloc(ROWS * COLUMNS * sizeof *indices);
    test_random random = {base_seed()};
    plane_model m;
    assert_non_null(indices);
    plane_model_init(&m, 4096, false);
    for (int i = 0; i < ROWS * COLUMNS; i++) /* repeats from far back tempt zstd to reach there */
        indices[i] =
            (uint16_t)(i < 200000 ? test_random_range(&random, 0, 4095) : indices[i - 200000]);
    round_trip(&m, indices, ROWS, COLUMNS);
    free(indices);
}

/* Row pitch, several planes with one and two streams, one coder for several tiles, threads. */
static void test_tiles(void **state) {
    (void)state;
    for (uint64_t seed = base_seed(); seed < base_seed() + 25; seed++) {
        random_model_options options;
        vqzi_model model;
        vqzi_stream_coder *writer, *alone, *reader;
        vqzi_buffer out = {0}, expected = {0};
        test_random random = {seed};
        random_model_options_draw(&options, seed);
        random_model(&model, &options);
        enum { TILES = 3, PITCH = 40, ROWS = 20 };
        uint32_t level = model.levels - 1u, rows[TILES] = {20, 1, 13}, columns[TILES] = {33, 7, 1};
        size_t plane_size = PITCH * ROWS;
        uint16_t *indices = calloc(model.plane_count * TILES * plane_size, 2);
        uint16_t *back = calloc(model.plane_count * TILES * plane_size, 2);
        assert_true(indices != NULL && back != NULL);
        const vqzi_team team = {.threads = 1 + (int)(seed % 4)}; /* shares everything */
        assert_int_equal(vqzi_stream_coder_create(&writer, &model, level, &team), VQZ_OK);
        assert_int_equal(vqzi_stream_coder_create(&alone, &model, level, NULL), VQZ_OK);
        assert_int_equal(vqzi_stream_coder_create(&reader, &model, level, &team), VQZ_OK);
        for (uint32_t t = 0; t < TILES; t++) {
            const uint16_t *planes[VQZI_MAX_PLANES];
            for (uint32_t p = 0; p < model.plane_count; p++) {
                uint16_t *plane = indices + (t * model.plane_count + p) * plane_size;
                int32_t most = (int32_t)model.planes[p].codes - 1;
                for (uint32_t y = 0; y < rows[t]; y++)
                    for (uint32_t x = 0; x < columns[t]; x++)
                        plane[y * PITCH + x] = (uint16_t)test_random_range(
                            &random, 0, test_random_range(&random, 0, most));
                planes[p] = plane;
            }
            assert_int_equal(vqzi_tile_write(writer, &out, planes, rows[t], columns[t], PITCH),
                             VQZ_OK);
            assert_int_equal(vqzi_tile_write(alone, &expected, planes, rows[t], columns[t], PITCH),
                             VQZ_OK);
        }
        assert_int_equal(out.size, expected.size);
        assert_memory_equal(out.data, expected.data, out.size);
        vqzi_reader bytes = {out.data, out.size, 0};
        for (uint32_t t = 0; t < TILES; t++) {
            uint16_t *planes[VQZI_MAX_PLANES];
            for (uint32_t p = 0; p < model.plane_count; p++)
                planes[p] = back + (t * model.plane_count + p) * plane_size;
            assert_int_equal(vqzi_tile_read(reader, &bytes, planes, rows[t], columns[t], PITCH),
                             VQZ_OK);
        }
        assert_int_equal(bytes.position, out.size);
        assert_memory_equal(indices, back, model.plane_count * TILES * plane_size * 2);
        vqzi_stream_coder_free(writer);
        vqzi_stream_coder_free(alone);
        vqzi_stream_coder_free(reader);
        vqzi_buffer_clear(&out);
        vqzi_buffer_clear(&expected);
        vqzi_model_clear(&model);
        free(indices);
        free(back);
    }
}

static void test_hostile_streams(void **state) {
    (void)state;
    static const struct {
        uint32_t codes;
        uint8_t size, bytes[16];
        vqz_status status;
    } cases[] = {
        /* 4 x 2 symbols of 3 bits: 24 bits */
        {5, 4, {PACKED, 0x88, 0xc6, 0x00}, VQZ_OK},
        {5, 4, {PACKED, 0x88, 0xc6, 0xa0}, VQZ_ERROR_CORRUPT}, /* symbol 5 */
        {5, 3, {PACKED, 0x88, 0xc6}, VQZ_ERROR_TRUNCATED},
        {5, 4, {PACKED | 8, 0x88, 0xc6, 0x00}, VQZ_ERROR_CORRUPT}, /* argument */
        {5, 1, {CONSTANT | 4 << 3}, VQZ_OK},
        {5, 1, {CONSTANT | 5 << 3}, VQZ_ERROR_CORRUPT},
        {5, 1, {CONSTANT | MED | 4 << 3}, VQZ_OK},
        {5, 0, {0}, VQZ_ERROR_TRUNCATED},
        {5, 2, {0x83, 0x00}, VQZ_ERROR_CORRUPT},                     /* varint with a zero group */
        {2, 2, {CONSTANT | 0x80 | 1 << 3, 0x40}, VQZ_ERROR_CORRUPT}, /* argument 2^10 + 1 */
        /* a raw block would be longer than packing, so use RLE: last, RLE, 8 symbols */
        {256, 5, {ZSTD | 4 << 3, 0x43, 0, 0, 9}, VQZ_OK},
        {5, 5, {ZSTD | 4 << 3, 0x43, 0, 0, 9}, VQZ_ERROR_CORRUPT}, /* longer than packed: 3 */
        {9, 5, {ZSTD | 4 << 3, 0x43, 0, 0, 9}, VQZ_ERROR_CORRUPT}, /* symbol 9 of 9 */
        {10, 5, {ZSTD | 4 << 3, 0x43, 0, 0, 9}, VQZ_OK},
        {256, 5, {ZSTD | 4 << 3, 0x3b, 0, 0, 9}, VQZ_ERROR_CORRUPT},    /* 7 symbols */
        {256, 5, {ZSTD | 4 << 3, 0x4b, 0, 0, 9}, VQZ_ERROR_CORRUPT},    /* 9 symbols */
        {256, 5, {ZSTD | 4 << 3, 0x42, 0, 0, 9}, VQZ_ERROR_CORRUPT},    /* not the last block */
        {256, 5, {ZSTD | 4 << 3, 0x47, 0, 0, 9}, VQZ_ERROR_CORRUPT},    /* reserved block type */
        {256, 6, {ZSTD | 5 << 3, 0x43, 0, 0, 9, 0}, VQZ_ERROR_CORRUPT}, /* a byte behind */
        {256, 9, {ZSTD | 8 << 3, 0x02, 0, 0, 0x43, 0, 0, 9, 0}, VQZ_ERROR_CORRUPT},
        {256, 4, {ZSTD | 4 << 3, 0x43, 0, 0}, VQZ_ERROR_TRUNCATED},
        {256, 1, {ZSTD | 0 << 3}, VQZ_ERROR_CORRUPT},
        {256, 5, {DICTIONARY | 4 << 3, 0x43, 0, 0, 9}, VQZ_ERROR_CORRUPT}, /* there is none */
        {256,
         10,
         {ZSTD | 120, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
         VQZ_ERROR_CORRUPT},
        /* K = 300: low bytes, then high bytes; 255 * 256 + ... and 1 * 256 + 44 are too large */
        {300, 2, {CONSTANT | 0x80 | 11 << 3, 0x02}, VQZ_ERROR_TRUNCATED},
        {300, 3, {CONSTANT | 0x80 | 11 << 3, 0x02, CONSTANT | 1 << 3}, VQZ_OK},            /* 299 */
        {300, 3, {CONSTANT | 0x80 | 12 << 3, 0x02, CONSTANT | 1 << 3}, VQZ_ERROR_CORRUPT}, /* 300 */
        {300, 3, {CONSTANT | 0x80 | 11 << 3, 0x02, CONSTANT | 2 << 3}, VQZ_ERROR_CORRUPT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        plane_model m;
        uint16_t indices[8];
        size_t used;
        uint8_t *copy = malloc(cases[i].size + 1u);
        assert_non_null(copy);
        memcpy(copy, cases[i].bytes, cases[i].size);
        plane_model_init(&m, cases[i].codes, false);
        vqz_status status = read_tile(&m, copy, cases[i].size, indices, 2, 4, &used);
        if (status != cases[i].status)
            fail_msg("case %zu: status %d instead of %d", i, status, cases[i].status);
        if (status == VQZ_OK)
            assert_int_equal(used, cases[i].size);
        free(copy);
    }
}

/* Whatever the bytes, the reader returns indices of the plane or an error. */
static void test_random_damage(void **state) {
    (void)state;
    test_random random = {base_seed()};
    uint16_t indices[SIDE * SIDE], back[SIDE * SIDE];
    static const uint32_t codes[] = {6, 200, 256, 300, 4096};
    for (int round = 0; round < 600; round++) {
        plane_model m;
        vqzi_buffer out = {0};
        uint32_t k = codes[round % 5];
        size_t used;
        plane_model_init(&m, k, round % 2 == 0);
        for (int i = 0; i < SIDE * SIDE; i++)
            indices[i] = (uint16_t)((uint32_t)(test_random_range(&random, 0, 3) + i / 900) % k);
        write_tile(&m, indices, SIDE, SIDE, &out);
        for (int32_t n = test_random_range(&random, 1, 4); n > 0; n--)
            out.data[test_random_range(&random, 0, (int32_t)out.size - 1)] ^=
                (uint8_t)(1u << test_random_range(&random, 0, 7));
        if (read_tile(&m, out.data, out.size, back, SIDE, SIDE, &used) == VQZ_OK)
            for (int i = 0; i < SIDE * SIDE; i++)
                assert_true(back[i] < k);
        vqzi_buffer_clear(&out);
    }
}

/* ---- dictionaries ---- */

/* A stream of a tiny picture: each symbol likely small, or like its neighbour. */
static void draw_sample(uint8_t *sample, size_t size, test_random *random) {
    for (size_t i = 0; i < size; i++) {
        int32_t value = 0;
        while (value < 30 && test_random_range(random, 0, 99) < 70)
            value++;
        sample[i] = (uint8_t)(value * 7 % 31); /* frequent symbols scattered over the alphabet */
    }
}

static void test_dictionary_profit(void **state) {
    (void)state;
    enum { SAMPLES = 300, TILE = 16, SIZE = TILE * TILE };
    uint8_t *samples = malloc(SAMPLES * SIZE);
    size_t sizes[SAMPLES], with = 0, without = 0, chosen = 0;
    test_random random = {base_seed()};
    plane_model m;
    void *data;
    assert_non_null(samples);
    for (int i = 0; i < SAMPLES; i++)
        sizes[i] = SIZE;
    draw_sample(samples, SAMPLES * SIZE, &random);
    plane_model_init(&m, 200, false);
    assert_int_equal(
        vqzi_dictionary_train(samples, sizes, SAMPLES, 512, &data, &m.dictionaries[0].size),
        VQZ_OK);
    assert_non_null(data);
    assert_in_range(m.dictionaries[0].size, 1, 512);
    plane_model plain = m;
    plain.model.planes = &plain.plane;
    plain.model.dictionaries = NULL;
    m.dictionaries[0].data = data;
    for (int i = 0; i < 50; i++) { /* pictures that the dictionary has not seen */
        uint8_t sample[SIZE];
        uint16_t indices[SIZE];
        vqzi_buffer out = {0};
        draw_sample(sample, SIZE, &random);
        for (int k = 0; k < SIZE; k++)
            indices[k] = sample[k];
        chosen += round_trip(&m, indices, TILE, TILE) == DICTIONARY;
        write_tile(&m, indices, TILE, TILE, &out);
        with += out.size;
        vqzi_buffer_clear(&out);
        write_tile(&plain, indices, TILE, TILE, &out);
        without += out.size;
        vqzi_buffer_clear(&out);
    }
    print_message("50 tiles of 16 x 16: %zu bytes, %zu with a dictionary of %zu bytes\n", without,
                  with, m.dictionaries[0].size);
    assert_true(chosen > 40);
    assert_true(with * 100 < without * 95);
    vqzi_dictionary_clear(&m.dictionaries[0]);
    free(samples);
}

/* The load of a model looks at a dictionary's tables; whatever gets past that and cannot be
   digested is an error where it is first used, in both directions. */
static void test_dictionary_damage(void **state) {
    (void)state;
    enum { SAMPLES = 300, SIZE = 256 };
    uint8_t samples[SAMPLES * SIZE];
    uint16_t indices[SIZE], back[SIZE];
    size_t sizes[SAMPLES];
    test_random random = {base_seed()};
    plane_model m;
    vqzi_buffer out = {0};
    vqzi_stream_coder *coder;
    void *data;
    for (int i = 0; i < SAMPLES; i++)
        sizes[i] = SIZE;
    draw_sample(samples, SAMPLES * SIZE, &random);
    plane_model_init(&m, 200, false);
    vqzi_dictionary *dictionary = &m.dictionaries[0];
    assert_int_equal(vqzi_dictionary_train(samples, sizes, SAMPLES, 512, &data, &dictionary->size),
                     VQZ_OK);
    assert_non_null(data);
    dictionary->data = data;
    assert_int_equal(vqzi_dictionary_check(dictionary->data, dictionary->size), VQZ_OK);
    for (int i = 0; i < SIZE; i++)
        indices[i] = samples[i];
    write_tile(&m, indices, 16, 16, &out);
    assert_int_equal(out.data[0] & 3, DICTIONARY);
    /* the same dictionary, not digested yet, and its tables cut short */
    for (size_t cut = 4; cut < 40; cut += 7) {
        vqzi_dictionary damaged = {.data = malloc(cut), .size = cut};
        const uint16_t *source = indices;
        size_t used;
        assert_non_null(damaged.data);
        memcpy(damaged.data, dictionary->data, cut);
        assert_int_equal(vqzi_dictionary_check(damaged.data, cut), VQZ_ERROR_MODEL_INVALID);
        plane_model broken = m;
        broken.model.planes = &broken.plane;
        broken.model.dictionaries = &damaged;
        vqzi_buffer ignored = {0};
        assert_int_equal(read_tile(&broken, out.data, out.size, back, 16, 16, &used),
                         VQZ_ERROR_MODEL_INVALID);
        if (cut > 8) { /* zstd's compressor takes anything shorter as plain content */
            assert_int_equal(vqzi_stream_coder_create(&coder, &broken.model, 0, NULL), VQZ_OK);
            assert_int_equal(vqzi_tile_write(coder, &ignored, &source, 16, 16, 16),
                             VQZ_ERROR_MODEL_INVALID);
            vqzi_stream_coder_free(coder);
        }
        vqzi_buffer_clear(&ignored);
        vqzi_dictionary_clear(&damaged);
        assert_null(damaged.data);
    }
    vqzi_buffer_clear(&out);
    vqzi_dictionary_clear(dictionary);
}

/* Uniform noise has nothing that a dictionary could know; too few samples prove nothing. */
static void test_dictionary_refusal(void **state) {
    (void)state;
    enum { SAMPLES = 100, SIZE = 64 };
    uint8_t samples[SAMPLES * SIZE];
    size_t sizes[SAMPLES], size = 1;
    test_random random = {base_seed()};
    void *data = samples;
    for (int i = 0; i < SAMPLES; i++)
        sizes[i] = SIZE;
    for (int i = 0; i < SAMPLES * SIZE; i++)
        samples[i] = (uint8_t)test_random_next(&random);
    assert_int_equal(vqzi_dictionary_train(samples, sizes, SAMPLES, 512, &data, &size), VQZ_OK);
    assert_null(data);
    assert_int_equal(size, 0);
    memset(samples, 0, sizeof samples);
    assert_int_equal(vqzi_dictionary_train(samples, sizes, 1, 512, &data, &size), VQZ_OK);
    assert_null(data);
    assert_int_equal(vqzi_dictionary_train(samples, sizes, 0, 512, &data, &size), VQZ_OK);
    assert_null(data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_methods),           cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_large_tile),        cmocka_unit_test(test_tiles),
        cmocka_unit_test(test_hostile_streams),   cmocka_unit_test(test_random_damage),
        cmocka_unit_test(test_dictionary_profit), cmocka_unit_test(test_dictionary_damage),
        cmocka_unit_test(test_dictionary_refusal)};
    print_message("SEED=%llu\n", (unsigned long long)base_seed());
    return cmocka_run_group_tests_name("streams", tests, NULL, NULL);
}
